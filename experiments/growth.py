"""What time and memory do as the database grows: 1 to 64 times a small SYNTHETIC one.

Processor seconds and peak memory of each stage, each in a process of its own (ingest, beats and replays, one epoch of
the preset `edge`, evaluation), the bytes on disk, and how much memory an hour of one record takes. The table's second
part says, on paper, what 11,000 patients of two weeks each would need by these figures. Takes a quarter of an hour.
"""

import argparse
import json
import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from config import DATA_DIR_VARIABLE, DS1, DS2, PRESETS, Config, with_overrides
from data_loader import load_beats, load_replays
from deep_ecg.records.database import Source, ingest
from deep_ecg.records.synthetic import write_database
from deep_ecg.system.machine import Watch
from deep_ecg.system.text import SYNTHETIC_LINE, markdown_table, number
from deep_ecg.system.workers import worker_pool
from experiments import ROOT
from experiments.programs import run_python

REPORT = "growth.json"
TIMES = (1, 4, 16, 64)
MINUTES = 2.0  # of each of the 44 records that the database has once
HOURS = (1, 4)  # of the single records by which the memory of one is told
STAGES = ("ingest", "beats", "epoch", "evaluate")
PATIENTS, DAYS, TRAINED_EPOCHS = 11_000, 14, PRESETS["edge"].epochs


def add_options(parser: argparse.ArgumentParser):
    """Sizes of the databases, and for a process of its own the stage."""
    parser.add_argument("--minutes", type=float, default=MINUTES, help=f"length of each record (default {MINUTES:g})")
    about = "sizes of the database (default 1 4 16 64)"
    parser.add_argument("--times", type=int, nargs="+", default=TIMES, metavar="N", help=about)
    about = "lengths of the single records (default 1 4)"
    parser.add_argument("--hours", type=float, nargs=2, default=HOURS, metavar="H", help=about)
    about = "records of DS1 and DS2 that the database has once (default: all)"
    parser.add_argument("--records", nargs="+", choices=DS1 + DS2, default=DS1 + DS2, metavar="RECORD", help=about)
    parser.add_argument("--stage", choices=WORK, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)


def run(options: argparse.Namespace) -> dict | None:
    """The report: each size of the database, measured. With a stage, which is done alone, none."""
    if options.stage:
        stage(options.stage, options.folder)
        return None
    report: dict = {"data_source": "synthetic", "machine": f"{platform.machine()}, {os.cpu_count()} cores", "sizes": []}
    with TemporaryDirectory() as scratch:
        for count in options.times:
            size = sized(Path(scratch) / str(count), count, options.records, options.minutes)
            report["sizes"].append(size)
            print(json.dumps(size), flush=True)
        report["record"] = []
        for length in options.hours:
            folder = Path(scratch) / f"record-{length}"
            write_database(folder / "data", DS1[:1], 60.0 * length)
            report["record"].append({"hours": length, **timed("record", folder)})
    return report


def sized(folder: Path, count: int, records: Sequence[str], minutes: float) -> dict:
    """What every stage takes on a database of `count` times the `records`, made in `folder`, and its bytes on disk."""
    for copy in range(count):  # a patient a record, each with a seed of its own
        write_database(folder / "data" / f"copy{copy}", records, minutes, seed=copy)
    size: dict = {"times": count, "records": count * len(records), "minutes": count * len(records) * minutes}
    size |= {name: timed(name, folder) for name in STAGES}
    return size | {"signal_bytes": _bytes(folder / "data"), "cache_bytes": _bytes(folder / "cache")}


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def timed(name: str, folder: Path) -> dict:
    """The stage `name` on the database below `folder`, in a process of its own: see `stage`."""
    command = ["-m", "experiments", "growth", "--stage", name, "--folder", str(folder)]
    alone = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", DATA_DIR_VARIABLE: ""}
    options = {"stdout": subprocess.PIPE, "text": True, "env": os.environ | alone, "cwd": ROOT}
    done = run_python(f"stage {name}", *command, **options)
    return json.loads(done.stdout.splitlines()[-1])


# One stage -----------------------------------------------------------------------------------------------------------


def stage(name: str, folder: Path):
    """Does one stage and prints, as JSON, processor seconds (its workers' too), and the most memory held meanwhile.

    That is the memory of all its processes together which is no mere copy of a file's pages.
    """
    config = Config(preset="edge", epochs=1, data_source="local", data_dir=str(folder / "data"),
                    cache_dir=str(folder / "cache"))  # fmt: skip
    if name != "record":
        config = with_overrides(config, **_lists(folder / "data"))
    with Watch(os.getpid()) as watch:
        WORK[name](config, folder)
    print(json.dumps({"cpu_s": watch.cpu_s, "memory_mb": watch.peak_private_mb}))


def _lists(data: Path) -> dict[str, tuple[str, ...]]:
    """The settings that name the records below `data`: those of DS1 of all copies to train on, of DS2 to test on."""
    names = sorted(str(path.relative_to(data).with_suffix("")) for path in data.glob("*/*.hea"))
    train, test = (tuple(name for name in names if Path(name).name in of) for of in (DS1, DS2))
    return {"train_records": train, "validation_records": train[:4], "test_records": test}


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
    # torch is imported by the stages that need it: it is no part of the memory of the others
    from deep_ecg.training import experiment

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
    load_beats(_source(config), DS1[:1], with_overrides(config, threads=1))


WORK = {"ingest": _ingest, "beats": _beats, "epoch": _epoch, "evaluate": _evaluate, "record": _record}


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
        ["memory of a training: which beats it shows, and in what order", f"{held_tb['epoch']:.1f} TB"],
        ["memory of an evaluation: the probabilities of all beats", f"{held_tb['evaluate']:.1f} TB"],
    ]
    return markdown_table([f"on paper: {PATIENTS:,} patients, {DAYS} days each", ""], rows)


def _growth(sizes: list[dict], name: str, what: str) -> float:
    """How much more of `what` a stage takes for each further minute of ECG, from the smallest to the largest size."""
    first, last = sizes[0], sizes[-1]
    return max(last[name][what] - first[name][what], 0) / (last["minutes"] - first["minutes"])
