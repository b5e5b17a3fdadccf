"""SIGKILL at random moments of a whole run: `python -m tests.support.kill --kills 200 --seed 0`.

A small SYNTHETIC database is served from this machine; `main.run` downloads it, caches beats and replays, trains,
evaluates, draws and quantizes with a small configuration. It is killed, with its workers or alone, at moments spread
over all stages, a third of them while a file is being written, and started again with the same settings. After each
kill every file under its final name must be whole and no worker may live on; after some kills the run may end, and its
scores, histories and checkpoint must be those of an undisturbed run to the bit, with nothing unfinished left behind.

With `--archive` the same is done to `predict` over a folder of records, whose results must be the same to the byte.
"""

import argparse
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import psutil

import main as program
from deep_ecg.records.synthetic import write_database
from deep_ecg.system.files import UNFINISHED
from deep_ecg.system.workers import LEFT, SHARED_MEMORY
from tests.support import ROOT
from tests.support.physionet_server import Handler, Server, hash_list

TRAINED, TESTED = "106 118 124 203 208 209".split(), "202 213 221 232".split()
STAGES = ("start", "ingest", "beats", "train", "evaluate", "figures", "quantize")
EARLY = ("start", "ingest", "ingest", "beats", "beats")  # where the first kills are: what is done is not done again
MARK = "DEEP_ECG_KILL"  # environment variable by which the processes of a run are known
LIMIT_S = 600
WORKERS_END_S = 60  # on a busy machine
SMALL = f"""import functools, sys
sys.path.insert(0, {str(ROOT)!r})
import main
from deep_ecg.deploy import dynamic_int8
from deep_ecg.training import pictures

_, url, threads, *options = sys.argv
if "undrawn" in options:
    pictures.draw_run = lambda *unused: []
dynamic_int8.LATENCY_CALLS = 10
main.Config = functools.partial(main.Config, preset="edge", epochs=2, threads=int(threads), replays=1, batch_size=32,
    data_source="physionet", data_dir="mitdb", physionet_url=url,
    train_records={tuple(TRAINED)}, validation_records=("118", "124"), test_records={tuple(TESTED)})
sys.exit(main.main(["--name", "run"]))
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Kills, prints the counts of each stage, and returns 0; AssertionError at the first thing that is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--each", type=int, default=14, help="kills before a run may end")
    parser.add_argument("--stages", nargs="+", choices=STAGES, help="where the first kills are, in turn")
    parser.add_argument("--threads", type=int, default=2, help="1: no worker processes")
    parser.add_argument("--undrawn", action="store_true", help="runs without figures")
    parser.add_argument("--archive", action="store_true", help="kill `predict FOLDER` instead")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="kill-") as folder:
        if chosen.archive:
            archive = ArchiveKiller(Path(folder), np.random.default_rng(chosen.seed))
            return archive.kill_all(chosen.kills, min(chosen.each, 4))
        options = [str(chosen.threads), *["undrawn"] * chosen.undrawn]
        killer = Killer(Path(folder), np.random.default_rng(chosen.seed), chosen.stages or EARLY, options)
        with killer.serving():
            killer.undisturbed()
            while killer.kills < chosen.kills:
                killer.disturbed(min(chosen.each, chosen.kills - killer.kills))
    return 0


class SlowHandler(Handler):
    """A server that sends in pieces, so that a download lasts long enough to be killed."""

    def send_body(self, body: bytes, start: int, is_cut: bool):
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        for place in range(start, len(body), 16_384):
            self.wfile.write(body[place : place + 16_384])
            time.sleep(0.01)


class Processes:
    """Starts one command again and again in `folder`/work, and kills it with its workers or alone."""

    def __init__(self, folder: Path, rng: np.random.Generator):
        self.work, self.rng, self.kills = folder / "work", rng, 0
        self.kinds: Counter[str] = Counter()
        self.processes: set[int] = set()

    def command(self) -> list[str]:
        """What is started."""
        raise NotImplementedError

    def start(self) -> subprocess.Popen:
        """The command in the working folder; its output goes to a file beside it."""
        (self.work / "tmp").mkdir(parents=True, exist_ok=True)
        self.log, self.mark = self.work.with_name("log.txt"), f"{os.getpid()}-{self.kills}"
        quiet = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        own = {MARK: self.mark, "TMPDIR": str(self.work / "tmp"), "NO_PROXY": "127.0.0.1", "DEEP_ECG_DATA_DIR": ""}
        with self.log.open("wb") as log:
            process = subprocess.Popen(
                self.command(),
                cwd=self.work, env=os.environ | quiet | own, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        self.processes.add(process.pid)
        return process

    def end(self, process: subprocess.Popen):
        """SIGKILL to `process`, at random with its workers."""
        alone = self.rng.random() < 0.5
        os.kill(process.pid, signal.SIGKILL) if alone else os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self.kills += 1
        self.kinds["alone" if alone else "with workers"] += 1
        self.kinds["in mid-file"] += self.is_writing()

    def is_writing(self) -> bool:
        """Whether a file is being written, or was when the run was killed."""
        return any(is_unfinished(path) for path in paths_below(self.work))

    def check_processes(self):
        """No process of the run lives on, and what is left of it in memory is empty and does not pile up."""
        give_up_s = time.monotonic() + WORKERS_END_S
        while alive := living(MARK, self.mark):
            assert time.monotonic() < give_up_s, f"processes of a killed run live on: {alive}"
            time.sleep(0.05)
        left = {name for name in _in_memory() if int(LEFT.fullmatch(name)[1]) in self.processes}
        sizes = [_size(SHARED_MEMORY / name) for name in left]
        assert len(left) <= 50 and sum(sizes) <= 50 * 64, f"left in memory: {left}"


class ArchiveKiller(Processes):
    """Kills `predict` over a folder of records."""

    def __init__(self, folder: Path, rng: np.random.Generator):
        super().__init__(folder, rng)
        self.data, self.out = folder / "data", self.work / "out"
        for below in ("", "ward", "ward/night"):
            write_database(self.data / below, ["100", "203", "221"], minutes=1)

    def command(self) -> list[str]:
        options = "--preset edge --runtime onnx --workers 2".split()
        return [sys.executable, str(ROOT / "main.py"), "predict", str(self.data), "--out", str(self.out), *options]

    def finish(self) -> dict[str, bytes]:
        """Runs to the end; returns what is written."""
        process = self.start()
        assert process.wait(LIMIT_S) == 0, self.log.read_text()
        self.check_processes()
        return self.written()

    def written(self) -> dict[str, bytes]:
        """Every file of the results."""
        return {str(path.relative_to(self.out)): path.read_bytes() for path in self.out.rglob("*") if path.is_file()}

    def undisturbed(self) -> dict[str, bytes]:
        """What the same command writes in this process."""
        script, *arguments = self.command()[1:]
        assert Path(script) == ROOT / "main.py" and program.main([*arguments, "--workers", "1"]) == 0
        return self.written()

    def kill_all(self, kills: int, each: int) -> int:
        """Kills runs, `each` times before one may end, and compares what they write with an undisturbed run's."""
        expected = self.undisturbed()
        assert len(expected) == 5 * 9 + 2, sorted(expected)
        while self.kills < kills:
            shutil.rmtree(self.work)
            for _ in range(min(each, kills - self.kills)):
                self.kill()
            assert self.finish() == expected, "the results of a killed run differ from those of an undisturbed one"
            print(f"{self.kills} kills ({dict(self.kinds)}): the same to the byte", flush=True)
        return 0

    def kill(self):
        """Kills a run at a random moment from one after some more records are done, at times in mid-file."""
        process, before, start_s = self.start(), len(self.done()), time.monotonic()
        wanted = int(self.rng.integers(0, max(9 - before, 1)))
        while process.poll() is None and len(self.done()) < before + wanted:
            assert time.monotonic() - start_s < LIMIT_S, "the run does not end"
            time.sleep(0.002)
        last_s, writing = time.monotonic() + self.rng.uniform(0, 1.0 if wanted else 5.0), self.rng.random() < 0.5
        while process.poll() is None and time.monotonic() < last_s:
            if writing and self.is_writing():
                break
            time.sleep(0.001)
        if process.poll() is not None:  # too late: no kill
            assert process.returncode == 0, self.log.read_text()
            return
        self.end(process)
        self.check_processes()
        for path in self.done():
            for name, size in json.loads(path.read_bytes())["files"].items():
                assert path.with_name(name).stat().st_size == size, f"{path} tells of files that are not there"

    def is_writing(self) -> bool:
        """As above, but for the manifest, which is written as long as a run lasts."""
        return any(is_unfinished(path) and "manifest" not in path.name for path in paths_below(self.work))

    def done(self) -> list[Path]:
        """What tells that a record is done."""
        return [path for path in paths_below(self.out) if path.suffix == ".json"]


class Killer(Processes):
    """Runs, kills and checks in `folder`; what was killed where is counted in `stages`."""

    def __init__(self, folder: Path, rng: np.random.Generator, where: Sequence[str], options: list[str]):
        super().__init__(folder, rng)
        self.where, self.options = where, options
        self.stages: Counter[str] = Counter()
        self.seconds: dict[str, float] = {}
        write_database(folder / "served", TRAINED + TESTED, minutes=1)
        self.served = {path.name: path.read_bytes() for path in (folder / "served").iterdir()}
        self.served["SHA256SUMS.txt"] = hash_list(self.served)

    def serving(self) -> Server:
        """The server, answering; a context that ends it."""
        self.server = Server(self.served)
        self.server.RequestHandlerClass = SlowHandler
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self.server

    # Runs -----------------------------------------------------------------------------------------------------------

    def command(self) -> list[str]:
        return [sys.executable, "-c", SMALL, self.server.url, *self.options]

    def finish(self) -> dict:
        """Runs to the end; what must be the same each time."""
        process = self.start()
        times_s, start_s = {}, time.monotonic()
        while process.poll() is None:
            times_s.setdefault(self.stage(), time.monotonic())
            assert time.monotonic() - start_s < LIMIT_S, "the run does not end"
            time.sleep(0.01)
        assert process.returncode == 0, self.log.read_text()
        self.check_whole()
        self.check_processes()
        left = [path for path in self.work.rglob("*") if is_unfinished(path)]
        left += [path for path in (self.work / "tmp").iterdir() if path.name[:13] != "torchinductor"]  # one a user
        assert not left, f"left behind: {left}"
        bounds_s = [*times_s.values(), time.monotonic()]
        self.seconds = self.seconds or {stage: bounds_s[k + 1] - bounds_s[k] for k, stage in enumerate(times_s)}
        run = self.work / "runs" / "run"
        report = json.loads((run / "report.json").read_text())
        kept = {name: report[name] for name in ("ds2", "baselines", "kept_beats", "validation", "parameters")}
        kept["history"] = report["training"]["history"]
        kept["int8_accuracy"] = report["int8"]["int8_accuracy"]
        weights = ("model_fp32.pt", "model_int8.pt")  # the checkpoint also says whether its data were just downloaded
        return kept | {name: hashlib.sha256((run / "seed-0" / name).read_bytes()).hexdigest() for name in weights}

    def undisturbed(self):
        """The run that the others must equal; done twice, from nothing."""
        self.expected = self.finish()
        print("undisturbed: " + ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in self.seconds.items()))
        shutil.rmtree(self.work)

    def disturbed(self, kills: int):
        """A run from nothing, killed so many times, that must end as the undisturbed one."""
        for number in range(kills):
            stage = self.where[number] if number < len(self.where) else str(self.rng.choice(STAGES[2:]))
            if not self.kill(stage):
                break
        ended = self.finish()
        differs = [name for name in self.expected if ended[name] != self.expected[name]]
        assert not differs, f"{', '.join(differs)} of a disturbed run differ from those of an undisturbed one"
        shutil.rmtree(self.work)
        counts = ", ".join(f"{stage} {self.stages[stage]}" for stage in STAGES)
        print(f"{self.kills} kills ({counts}; {dict(self.kinds)}): the same to the bit", flush=True)

    def kill(self, stage: str) -> bool:
        """Starts the run and kills it at a random moment from the beginning of `stage`; False where it ended before."""
        process, start_s = self.start(), time.monotonic()
        while process.poll() is None and STAGES.index(self.stage()) < STAGES.index(stage):
            assert time.monotonic() - start_s < LIMIT_S, "the run does not end"
            time.sleep(0.002)
        last_s = time.monotonic() + self.rng.uniform(0, self.seconds.get(stage, 1))
        writing = self.rng.random() < 0.35
        while process.poll() is None and time.monotonic() < last_s:
            if writing and self.is_writing():
                break
            time.sleep(0.002)
        reached = self.stage()
        if process.poll() is not None:
            assert process.returncode == 0, self.log.read_text()
            return True
        self.end(process)
        self.stages[reached] += 1
        self.check_whole()
        self.check_processes()
        return True

    def stage(self) -> str:
        """The stage whose heading was printed last."""
        return STAGES[max(self.log.read_bytes().count(b"/6] "), 0)]

    # Checks ---------------------------------------------------------------------------------------------------------

    def check_whole(self):
        """Every file under its final name is what it should be from the first byte to the last."""
        for path in self.work.rglob("*"):
            inside = any(UNFINISHED.fullmatch(part) for part in path.parts)
            if path.is_file() and not inside and path.suffix != ".part":
                assert self._is_whole(path), f"{path} is not whole"
        unfinished = [path for path in self.work.rglob("*") if UNFINISHED.fullmatch(path.name)]
        assert len(unfinished) <= 4, f"what killed runs were writing piles up: {unfinished}"

    def _is_whole(self, path: Path) -> bool:
        content = path.read_bytes()
        if path.parent.name == "mitdb":
            return content == self.served[path.name]
        if path.suffix == ".npy":
            index = json.loads((path.parent / "index.json").read_bytes())
            return index[path.stem]["crc32"] == zlib.crc32(content)
        if path.suffix == ".pt":
            with zipfile.ZipFile(path) as archive:
                return archive.testzip() is None
        if path.suffix == ".json":
            return bool(json.loads(content))
        if path.suffix == ".png":
            return content.endswith(b"IEND\xaeB`\x82")
        return path.suffix == ".md" and content.endswith(b"\n")


def paths_below(folder: Path) -> list[Path]:
    """Every file and folder below `folder`, whose run may be removing some of them: `Path.rglob` stops at these."""
    return [Path(above, name) for above, folders, files in os.walk(folder) for name in folders + files]


def is_unfinished(path: Path) -> bool:
    """Whether the file at `path` is one that a run was writing."""
    return path.suffix == ".part" or bool(UNFINISHED.fullmatch(path.name))


def _size(path: Path) -> int:
    """Bytes of a file, or of the files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files)


def living(variable: str, value: str) -> list[str]:
    """Command lines of the processes that have `variable` with this `value` in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(variable) == value and process.status() != psutil.STATUS_ZOMBIE:
                found.append(" ".join(process.cmdline())[:200])
        except psutil.Error:  # it has ended, or is another user's
            continue
    return found


def _in_memory() -> list[str]:
    return [path.name for path in SHARED_MEMORY.glob("*") if LEFT.fullmatch(path.name)]


if __name__ == "__main__":
    sys.exit(main())
