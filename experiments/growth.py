"""What time and memory do as the database grows: 1, 4 and 16 times a small SYNTHETIC one.

`python benchmarks/growth.py` takes some minutes and writes results/growth.json, stamped SYNTHETIC: processor seconds
and peak memory of each stage, each in a process of its own (ingest, beats and replays, one epoch of the preset `edge`,
evaluation), the bytes on disk, and how much memory an hour of one record takes. The table's second part says, on paper,
what 11,000 patients of two weeks each would need by these figures.
"""

import argparse
import dataclasses
import json
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import config as settings
from config import DS1, DS2, Config
from data_loader import load_beats, load_replays
from deep_ecg.records.database import Source, ingest
from deep_ecg.records.synthetic import write_database
from deep_ecg.scoring.report import SYNTHETIC_LINE
from deep_ecg.system import console
from deep_ecg.system.errors import DeepECGError
from deep_ecg.system.json_files import write_json
from deep_ecg.system.text import markdown_table, number
from deep_ecg.system.workers import worker_pool
from experiments import ROOT

TIMES = (1, 4, 16)
MINUTES = 2.0  # of each of the 44 records that the database has once
HOURS = (1, 4)  # of the single records by which the memory of one is told
STAGES = ("ingest", "beats", "epoch", "evaluate")
SAMPLED_S = 0.02  # between two looks at the memory
PATIENTS, DAYS, TRAINED_EPOCHS = 11_000, 14, settings.PRESETS["edge"].epochs


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the measurements; returns the exit status, see `console.exit_status`."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--out", type=Path, default=ROOT / "results" / "growth.json", help="the file to write")
    options.add_argument("--minutes", type=float, default=MINUTES, help="length of each record")
    options.add_argument("--times", type=int, nargs="+", default=TIMES, help="sizes of the database")
    options.add_argument("--stage", choices=(*STAGES, "record"), help=argparse.SUPPRESS)
    options.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    chosen = options.parse_args(arguments)
    if chosen.stage:
        return console.exit_status(lambda: stage(chosen.stage, chosen.folder), console.NOTHING_WRITTEN)
    return console.exit_status(
        lambda: benchmark(chosen.out, chosen.minutes, chosen.times), console.NOTHING_WRITTEN
    )


def benchmark(out: Path, minutes: float = MINUTES, times: Sequence[int] = TIMES, hours: Sequence[int] = HOURS):
    """Measures each size of the database, writes the report to `out` and prints the tables."""
    report = {"data_source": "synthetic", "machine": f"{platform.machine()}, {os.cpu_count()} cores", "sizes": []}
    with TemporaryDirectory() as scratch:
        for count in times:
            folder = Path(scratch) / str(count)
            for copy in range(count):  # a patient a record, each with a seed of its own
                write_database(folder / "data" / f"copy{copy}", DS1 + DS2, minutes, seed=copy)
            records = count * len(DS1 + DS2)
            size = {"times": count, "records": records, "minutes": records * minutes}
            size |= {name: timed(name, folder) for name in STAGES}
            size |= {"signal_bytes": _bytes(folder / "data"), "cache_bytes": _bytes(folder / "cache")}
            report["sizes"].append(size)
            print(json.dumps(size), flush=True)
        report["record"] = []
        for length in hours:
            folder = Path(scratch) / f"record-{length}"
            write_database(folder / "data", DS1[:1], 60.0 * length)
            report["record"].append({"hours": length, **timed("record", folder)})
    write_json(out, report)
    print("\n".join(table(report)))


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def timed(name: str, folder: Path) -> dict:
    """The stage `name` on the database below `folder`, in a process of its own: see `stage`."""
    command = [sys.executable, "-m", "experiments.growth", "--stage", name, "--folder", str(folder)]
    alone = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", settings.DATA_DIR_VARIABLE: ""}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=os.environ | alone, cwd=ROOT)
    if done.returncode:
        raise DeepECGError(f"stage {name} ended with status {done.returncode}: see the lines above")
    return json.loads(done.stdout.splitlines()[-1])


# One stage -----------------------------------------------------------------------------------------------------------


def stage(name: str, folder: Path):
    """Does one stage and prints, as JSON, processor seconds (its workers' too), and the most memory held meanwhile.

    That is the memory of all its processes together which is no mere copy of a file's pages.
    """
    records = sorted(path.name for path in (folder / "data").iterdir() if path.is_dir())
    lists = {"train_records": [f"{copy}/{one}" for copy in records for one in DS1]}
    lists |= {"validation_records": lists["train_records"][:4]}
    lists |= {"test_records": [f"{copy}/{one}" for copy in records for one in DS2]}
    if name == "record":
        lists = {}
    config = Config(preset="edge", data_source="local", data_dir=str(folder / "data"), cache_dir=str(folder / "cache"),
                    **{key: tuple(value) for key, value in lists.items()})  # fmt: skip
    work = {"ingest": _ingest, "beats": _beats, "epoch": _epoch, "evaluate": _evaluate, "record": _record}[name]
    memory = _Memory()
    before_s = _processor_s()
    with memory:
        work(config, folder)
    print(json.dumps({"cpu_s": _processor_s() - before_s, "memory_mb": memory.most_mb}))


def _ingest(config: Config, folder: Path):
    ingest(config)


def _source(config: Config) -> Source:
    return Source("synthetic", config.data_folder)


def _beats(config: Config, folder: Path):
    with worker_pool(config.threads) as workers:
        load_beats(_source(config), config.train_records, config, run=workers)
        load_replays(_source(config), config.train_records, config, run=workers)
        load_beats(_source(config), config.test_records, config, run=workers)


def _epoch(config: Config, folder: Path):
    from deep_ecg.training import experiment

    settings.PRESETS["edge"] = dataclasses.replace(settings.PRESETS["edge"], epochs=1)
    source = _source(config)
    ds1, replays = (load(source, config.train_records, config) for load in (load_beats, load_replays))
    experiment.train(config, source, ds1, replays, 0, folder / "run", say=lambda line: None)


def _evaluate(config: Config, folder: Path):
    import torch

    from deep_ecg.networks.classifier import load_network
    from deep_ecg.training.experiment import score_network

    model, description = load_network(config, folder / "run" / "checkpoint.pt")
    torch.set_num_threads(1)
    beats = load_beats(_source(config), config.test_records, config)
    score_network(model, description, config, beats)


def _record(config: Config, folder: Path):
    load_beats(_source(config), DS1[:1], dataclasses.replace(config, threads=1))


def _processor_s() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


class _Memory(threading.Thread):
    """Looks at the memory of this process and its children while the block lasts; `most_mb` in the end."""

    def __init__(self):
        super().__init__(daemon=True)
        self.most_mb, self._ended = 0.0, threading.Event()

    def __enter__(self):
        self.start()

    def __exit__(self, *error):
        self._ended.set()
        self.join()

    def run(self):
        """Until the block ends, and once more."""
        while True:
            ended = self._ended.is_set()
            self.most_mb = max(self.most_mb, sum(_anonymous_kb(process) for process in _family(os.getpid())) / 1024)
            if ended:
                return
            time.sleep(SAMPLED_S)


def _family(process: int) -> list[int]:
    """`process` and all that descend from it."""
    family = [process]
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        for child in _read(task).split():
            family += _family(int(child))
    return family


def _anonymous_kb(process: int) -> int:
    fields = [line.split() for line in _read(Path(f"/proc/{process}/status")).splitlines()]
    return next((int(field[1]) for field in fields if field[:1] == ["RssAnon:"]), 0)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # it has ended
        return ""


# The tables ----------------------------------------------------------------------------------------------------------


def table(report: dict) -> list[str]:
    """The report as lines of Markdown: what was measured, and what it means on paper."""
    header = ["SYNTHETIC database", "records", "hours"]
    header += [f"{name}: processor s, MB" for name in ("ingest", "beats", "one epoch", "evaluation")]
    rows = []
    for size in report["sizes"]:
        row = [f"{size['times']} x", number(size["records"]), f"{size['minutes'] / 60:.1f}"]
        rows.append(row + [f"{size[name]['cpu_s']:.1f}, {size[name]['memory_mb']:.0f}" for name in STAGES])
    return [SYNTHETIC_LINE, "", *markdown_table([*header, "cache, MB"], [
        [*row, f"{size['cache_bytes'] / 1e6:.0f}"] for row, size in zip(rows, report["sizes"])
    ]), "", *paper(report)]  # fmt: skip


def paper(report: dict) -> list[str]:
    """What PATIENTS of DAYS each would need, by what each further minute of ECG takes from the smallest size on."""
    sizes, minutes = report["sizes"], PATIENTS * DAYS * 24 * 60
    if len(sizes) < 2:
        return []
    share = minutes / sizes[-1]["minutes"]
    hours = {name: minutes * _growth(sizes, name, "cpu_s") / 3600 for name in STAGES}
    short, long = report["record"]
    hourly_mb = (long["memory_mb"] - short["memory_mb"]) / (long["hours"] - short["hours"])
    held_tb = {name: minutes * _growth(sizes, name, "memory_mb") / 1e6 for name in STAGES}
    rows = [
        ["signals on disk (two leads, 12 bits, 360 Hz)", f"{share * sizes[-1]['signal_bytes'] / 1e12:.1f} TB"],
        ["cache of beats and replays on disk", f"{share * sizes[-1]['cache_bytes'] / 1e12:.1f} TB"],
        ["beats and replays, once", f"{number(round(hours['beats']))} processor hours"],
        [f"training, {TRAINED_EPOCHS} epochs", f"{number(round(TRAINED_EPOCHS * hours['epoch']))} processor hours"],
        ["evaluation, once", f"{number(round(hours['evaluate']))} processor hours"],
        ["memory of a worker that reads a record of two weeks", f"{hourly_mb * 24 * DAYS / 1e3:.0f} GB"],
        ["memory of a training: features and labels, without windows", f"{held_tb['epoch']:.1f} TB"],
        ["memory of an evaluation in one piece", f"{held_tb['evaluate']:.1f} TB"],
    ]
    return markdown_table([f"on paper: {PATIENTS:,} patients, {DAYS} days each", ""], rows)


def _growth(sizes: list[dict], name: str, what: str) -> float:
    """How much more of `what` a stage takes for each further minute of ECG, from the smallest to the largest size."""
    first, last = sizes[0], sizes[-1]
    return max(last[name][what] - first[name][what], 0) / (last["minutes"] - first["minutes"])


if __name__ == "__main__":
    sys.exit(main())
