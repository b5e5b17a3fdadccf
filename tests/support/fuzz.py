"""Broken and hostile input by the ten thousand: `python -m tests.support.fuzz --count 50000 --seed 0`.

Valid records, annotation files, checkpoints, ONNX files, caches, training states, lists of records, notes on what is
done and lines of text are changed at random and given to `predict`, of a record or an archive, `score`,
`stream --stdin`, the cache reader and the loaders. Each must be used or refused with one line
(DeepECGError), in less than TIME_LIMIT_S and MEMORY_BYTES beyond what the process holds at the start, without a file
opened outside its own folder, a connection made, or a program started. Input number i depends on the seed and i alone.

The inputs run in processes of BATCH; one that dies counts as a failure of the input that it was at. Progress and
failures lie in --out (default a temporary folder): the same command goes on from there. `--only predict score` chooses
targets, `--guided 600` lets atheris, where it is installed, search for new code in the readers instead of choosing at
random, for so many seconds.
"""

import argparse
import contextlib
import faulthandler
import io
import json
import os
import pickle
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.support import ROOT

TIME_LIMIT_S = 10  # of work; WAIT_LIMIT_S also counts what a busy machine takes for others
WAIT_LIMIT_S = 120
MEMORY_BYTES = 2**30
BATCH = 1000
NETWORK = ROOT / "pretrained" / "causal-edge.onnx"
FS_HZ = 250
RECORD_S = 12
TARGETS = ("predict", "score", "stdin", "checkpoint", "cache", "resume", "onnx", "archive")
WEIGHTS = (0.36, 0.2, 0.08, 0.08, 0.08, 0.04, 0.11, 0.05)
TOKENS = (
    "0 -0 1 -1 2 3 255 256 65536 2147483648 -2147483649 9223372036854775808 99999999999999999999 1e308 1e999 1e-320 "
    "inf -inf nan 0.0 .5 360 250 5000 49 1e5 2000/0 x0 212x0 212x4 16x99999 212:5 212:99999999 212+24 16+99999999 8 16 "
    "24 32 61 80 160 212 310 311 508 516 524 0 999 200(0)/mV 0(0)/mV 1e-9/mV 200(99999999999999999999)/mV -200/uV "
    "200/V 200/Ohm ../../etc/passwd /etc/passwd ~ . .. link.dat far.dat zero.dat pipe.dat folder.dat r.hea r.atr "
    "other.dat 100/3 r/2 r/0 r/99999 MLII II V5 \x1b[2J \x00 \x7f ä %s {} $x$ $\\frac{ # , ; :: file::x 00:00:61 "
    "99/99/99"
).split(" ")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the inputs; returns 0 where all went well, 1 where there were failures."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--count", type=int, default=50_000)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--only", nargs="+", choices=TARGETS, default=list(TARGETS))
    options.add_argument("--out", type=Path, help="folder of the progress and the failures")
    options.add_argument("--guided", type=int, metavar="SECONDS", help="search by coverage with atheris instead")
    options.add_argument("--one", type=int, metavar="NUMBER", help="this input alone, with its traceback")
    options.add_argument("--batch", type=int, nargs=2, help=argparse.SUPPRESS)
    chosen = options.parse_args(arguments)
    if chosen.batch or chosen.one is not None:
        first, end = chosen.batch or (chosen.one, chosen.one + 1)
        return run_batch(chosen.seed, first, end, chosen.only, verbose=chosen.one is not None)
    if chosen.guided:
        return guided(chosen.guided, chosen.seed, chosen.out)
    return supervise(chosen.count, chosen.seed, chosen.only, chosen.out or Path(tempfile.mkdtemp(prefix="fuzz-")))


def supervise(count: int, seed: int, only: Sequence[str], out: Path) -> int:
    """Runs inputs 0 to `count` in child processes and prints what came of them."""
    out.mkdir(parents=True, exist_ok=True)
    state_path = out / f"seed-{seed}-{'-'.join(only)}.json"
    state = json.loads(state_path.read_text()) if state_path.exists() else {"next": 0, "counts": {}, "failures": []}
    while state["next"] < count:
        end = min(state["next"] + BATCH, count)
        command = [sys.executable, "-m", "tests.support.fuzz", "--seed", str(seed)]
        command += ["--batch", str(state["next"]), str(end), "--only"]
        done = subprocess.run([*command, *only], capture_output=True, text=True)
        results = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        if "ready" not in done.stdout:
            raise SystemExit(f"the valid files cannot be used, status {done.returncode}:\n{done.stderr[-3000:]}")
        if len(results) < end - state["next"]:  # it died: that is the result of the input it was at
            number = state["next"] + len(results)
            what = f"the process ended with {done.returncode}: {done.stderr[-2000:]}"
            results.append({"number": number, "target": "?", "outcome": "died", "what": what})
        for result in results:
            key = f"{result['target']} {result['outcome']}"
            state["counts"][key] = state["counts"].get(key, 0) + 1
            state["failures"] += [result] * (result["outcome"] not in ("used", "refused"))
        state["next"] = results[-1]["number"] + 1
        state_path.write_text(json.dumps(state, indent=1))
        print(f"{state['next']:,} of {count:,}: {len(state['failures'])} failures", flush=True)
    for name, number in sorted(state["counts"].items()):
        print(f"{name:25} {number:8,}")
    for failure in state["failures"][:20]:
        print(f"\n{failure['number']} {failure['target']} {failure['outcome']}\n{failure['what']}")
    print(f"details in {state_path}")
    return int(bool(state["failures"]))


def run_batch(seed: int, first: int, end: int, only: Sequence[str], verbose: bool = False) -> int:
    """Runs inputs `first` to `end` in this process, a line of JSON for each."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        fuzzer = Fuzzer(Path(folder))
        fuzzer.restrict()
        print("ready", flush=True)
        for number in range(first, end):
            result = fuzzer.run(seed, number, only)
            print(json.dumps(result), flush=True)
            if verbose:
                print(result.get("what", ""), file=sys.stderr)
    return 0


# One input -------------------------------------------------------------------------------------------------------


class TooLong(BaseException):
    """The time limit; no `except Exception` of the code under test takes it."""


_TIMERS = (
    (signal.SIGPROF, signal.ITIMER_PROF, TIME_LIMIT_S),
    (signal.SIGALRM, signal.ITIMER_REAL, WAIT_LIMIT_S),
)


def _too_long(*unused):
    raise TooLong


class Fuzzer:
    """Valid files of every kind under `folder`, and one method for each target that spoils and uses them."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.valid, self.work, self.outside = folder / "valid", folder / "work", folder / "outside"
        for path in (self.valid, self.outside):
            path.mkdir(parents=True)
        write_valid(self.valid)
        (self.outside / "secret.dat").write_bytes(bytes(10_000))
        self.strayed: list[str] = []
        self._watched = False
        self._classifiers: dict = {}
        library = Path(np.__file__).parent.parent
        homes = (
            self.work,
            self.valid,
            ROOT,
            library,
            sys.prefix,
            sys.base_prefix,
            "/usr",
            "/proc",
            "/sys",
            "/dev/null",
        )
        self._homes = tuple(os.path.realpath(home) for home in homes)

    def restrict(self):
        """From now on: a limit on memory, a look at every file that is opened, and an end to what takes for ever."""
        self.warm_up()
        held = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY_BYTES, resource.RLIM_INFINITY))
        sys.addaudithook(self._audit)

    def warm_up(self):
        """Each target once on valid files, so that what they import and cache is there."""
        for target in TARGETS:
            self.fresh()
            with contextlib.redirect_stdout(io.StringIO()):
                self.use_draw()
                getattr(self, f"use_{target}")(np.random.default_rng(0))

    def fresh(self):
        """The working folder with nothing but the valid files."""
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.copytree(self.valid, self.work)

    def run(self, seed: int, number: int, only: Sequence[str] = TARGETS) -> dict:
        """Input `number` of `seed`: which target, and "used", "refused" or what went wrong."""
        rng = np.random.default_rng([seed, number])
        weights = np.array([WEIGHTS[TARGETS.index(name)] for name in only])
        target = str(rng.choice(list(only), p=weights / weights.sum()))
        self.fresh()
        getattr(self, f"spoil_{target}")(rng)
        return {"number": number, "target": target, **self.outcome(lambda: getattr(self, f"use_{target}")(rng))}

    def outcome(self, use: Callable[[], object]) -> dict:
        """What comes of `use`, as `outcome` and, for a failure, `what`."""
        from deep_ecg.system.errors import DeepECGError

        self.strayed.clear()
        for number, timer, limit_s in _TIMERS:
            signal.signal(number, _too_long)
            signal.setitimer(timer, limit_s)
        faulthandler.dump_traceback_later(2 * WAIT_LIMIT_S, exit=True)
        self._watched = True
        try:
            with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
                warnings.simplefilter("error", RuntimeWarning)
                use()
            found = {"outcome": "used"}
        except DeepECGError as error:
            line = str(error)
            found = {"outcome": "refused", "why": line} if line.isprintable() else {"outcome": "lines", "what": line}
        except TooLong:
            found = {"outcome": "hang", "what": traceback.format_exc()[-3000:]}
        except BaseException as error:
            found = {"outcome": type(error).__name__, "what": traceback.format_exc()[-3000:]}
        finally:
            self._watched = False
            for _, timer, _ in _TIMERS:
                signal.setitimer(timer, 0)
            faulthandler.cancel_dump_traceback_later()
        if self.strayed:
            found = {"outcome": "strayed", "what": ", ".join(self.strayed)}
        return found

    def _audit(self, event: str, arguments: tuple):
        if not self._watched:
            return
        if event == "open" and isinstance(arguments[0], (str, bytes, os.PathLike)):
            path = os.path.realpath(os.fsdecode(arguments[0]))
            if not path.startswith(self._homes):
                self.strayed.append(f"opened {path}")
        elif event in ("socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.system", "os.exec"):
            self.strayed.append(event)

    # predict and score --------------------------------------------------------------------------------------------

    def spoil_predict(self, rng: np.random.Generator):
        self._hazards()
        for ending in rng.choice(["hea", "hea", "hea", "dat", "atr"], size=rng.integers(1, 4)):
            spoil_file(self.work / f"r.{ending}", str(ending), rng)

    def use_predict(self, rng: np.random.Generator):
        from config import Config
        from deep_ecg.labelling import annotations, predict, table
        from deep_ecg.labelling.summary import print_summary, summarise

        classifier = self._classifier(str(rng.choice(["diagnostic", "causal"])))
        peaks = None if rng.random() < 0.4 else "atr"
        lead = None if rng.random() < 0.8 else "V5"
        labelled = predict.label_record(self.work / "r", classifier, Config(), peaks, lead)
        assert labelled.proba.shape == (len(labelled.samples), 5) and np.isfinite(labelled.proba).all()
        assert np.abs(labelled.proba.sum(axis=1) - 1).max() < 1e-3
        out = self.work / "out"
        annotations.write_annotations(out / "r.pred", labelled)
        table.write_table(out / "r.csv", labelled)
        if rng.random() < 0.02:
            self.use_draw()
        print_summary(summarise(labelled) | {"files": []}, "", False)

    def use_draw(self):
        """The picture, which is slow, of the whole of `predict`."""
        from config import Config
        from deep_ecg.labelling import predict

        record, checkpoint = str(self.work / "r"), self.valid / "diagnostic.pt"
        predict.predict_records([record], Config(preset="edge"), self.work / "out", checkpoint=checkpoint)

    def spoil_score(self, rng: np.random.Generator):
        self._hazards()
        for ending in rng.choice(["hea", "atr", "tst", "tst"], size=rng.integers(1, 4)):
            spoil_file(self.work / f"long.{ending}", "hea" if ending == "hea" else "atr", rng)

    def use_score(self, rng: np.random.Generator):
        from deep_ecg.scoring import ec57

        ec57.score_records([str(self.work / "long")], "tst", json_path=self.work / "score.json", matrices=True)

    def _hazards(self):
        """What a header may name: links to elsewhere, devices, pipes, folders."""
        links = {"link.dat": self.outside / "secret.dat", "far.dat": "/etc/passwd", "zero.dat": "/dev/zero"}
        for name, target in links.items():
            (self.work / name).symlink_to(target)
        os.mkfifo(self.work / "pipe.dat")
        (self.work / "folder.dat").mkdir()
        (self.work / "other.dat").write_bytes(bytes(range(256)) * 40)

    def _classifier(self, mode: str):
        from config import Config
        from deep_ecg.networks.classifier import load_classifier

        if mode not in self._classifiers:
            path = self.valid / f"{mode}.pt"
            self._classifiers[mode] = load_classifier(Config(mode=mode, preset="edge"), path)
        return self._classifiers[mode]

    # stream ---------------------------------------------------------------------------------------------------------

    def spoil_stdin(self, rng: np.random.Generator):
        path = self.work / "lines.txt"
        lines = path.read_bytes().split(b"\n")
        for _ in range(rng.integers(0, 4)):
            token = TOKENS[rng.integers(len(TOKENS))].encode() * int(rng.choice([1, 1, 1, 50]))
            place = rng.integers(len(lines))
            lines[place : place + rng.integers(0, 3)] = [token] * int(rng.choice([1, 2, 600]))
        path.write_bytes(b"\n".join(lines))
        if rng.random() < 0.3:
            spoil_bytes(path, rng)

    def use_stdin(self, rng: np.random.Generator):
        from deep_ecg.labelling import live

        fs_hz = float(FS_HZ if rng.random() < 0.7 else rng.choice([100, 1000, 360, 128.7, 0, -1, np.nan, np.inf, 1e9]))
        stream = io.BufferedReader(_Trickle((self.work / "lines.txt").read_bytes(), rng))
        feed = live.line_feed(stream, fs_hz)
        view = live.Screen if rng.random() < 0.3 and 0 < fs_hz < 2000 else live.Lines
        mode = str(rng.choice(["diagnostic", "causal"]))
        live.follow(feed, self._classifier(mode), self.work / "streamed", view(feed, mode))

    # Checkpoints, caches, training states -----------------------------------------------------------------------------

    def spoil_checkpoint(self, rng: np.random.Generator):
        spoil_stored(self.work / "causal.pt", rng)

    def use_checkpoint(self, rng: np.random.Generator):
        from config import Config
        from deep_ecg.labelling import predict
        from deep_ecg.networks.classifier import load_classifier

        classifier = load_classifier(Config(mode="causal", preset="edge"), self.work / "causal.pt")
        labelled = predict.label_record(self.work / "r", classifier, Config(), "atr")
        assert np.isfinite(labelled.proba).all()
        assert not (self.work / "taken").exists()

    def spoil_cache(self, rng: np.random.Generator):
        entry = self.work / "beats"
        path = entry / str(rng.choice([*os.listdir(entry), "index.json"]))
        match rng.integers(8):
            case 0 | 1:
                spoil_text(path, rng) if path.suffix == ".json" else spoil_bytes(path, rng)
            case 2:
                path.write_bytes(pickle.dumps(Taker(self.work / "taken"), protocol=2))
            case 3:
                spoil_file(path, "npy", rng)
            case _:
                arrays = {file.stem: np.load(file) for file in entry.glob("*.npy")}
                for _ in range(rng.integers(1, 3)):
                    spoil_array(arrays, str(rng.choice(list(arrays))), self.work / "taken", rng)
                store_entry(entry, arrays, with_index=rng.random() < 0.8)

    def use_cache(self, rng: np.random.Generator):
        from deep_ecg.beats import cache

        beats = cache.read_entry(self.work / "beats")
        assert not (self.work / "taken").exists()
        if beats is not None:
            assert beats.windows.ndim == 3 and beats.features.ndim == 2 and set(beats.labels) <= set(range(5))
            assert {len(getattr(beats, name)) for name in beats.__dataclass_fields__} == {len(beats)}

    def spoil_resume(self, rng: np.random.Generator):
        spoil_stored(self.work / "resume.pt", rng)

    def use_resume(self, rng: np.random.Generator):
        training_run().restore(self.work / "resume.pt", "fingerprint")


    # ONNX files and archives ----------------------------------------------------------------------------------------

    def spoil_onnx(self, rng: np.random.Generator):
        path = self.work / "network.onnx"
        if rng.random() < 0.4:
            spoil_bytes(path, rng)
            return
        import onnx

        proto = onnx.load(path)
        for _ in range(rng.integers(1, 4)):
            spoil_graph(proto, rng)
        path.write_bytes(proto.SerializeToString())

    def use_onnx(self, rng: np.random.Generator):
        from config import Config
        from deep_ecg.labelling import predict
        from deep_ecg.networks.classifier import load_classifier

        classifier = load_classifier(Config(mode="causal", preset="edge"), self.work / "network.onnx", "onnx")
        labelled = predict.label_record(self.work / "r", classifier, Config(), "atr")
        assert np.isfinite(labelled.proba).all() and np.abs(labelled.proba.sum(axis=1) - 1).max() < 1e-3

    def spoil_archive(self, rng: np.random.Generator):
        self._hazards()
        (self.work / "loop").symlink_to(".")
        (self.work / "self.hea").symlink_to("self.hea")
        for path in rng.choice(["labels/r.json", "labels/r.json", "LIST", "r.hea"], size=rng.integers(1, 3)):
            spoil_text(self.work / str(path), rng)

    def use_archive(self, rng: np.random.Generator):
        from deep_ecg.labelling import archive
        from deep_ecg.labelling.archive_records import records_below, records_listed
        from deep_ecg.system.errors import PartlyDone

        listed = rng.random() < 0.5
        found = records_listed(self.work / "LIST") if listed else records_below(self.work)
        said = io.StringIO()
        with contextlib.redirect_stderr(said), contextlib.suppress(PartlyDone):
            archive.label_archive(self.work, found, archive_config(), self.work / "labels", 1, **archive_options())
        lines = said.getvalue().split("\n")[:-1]
        assert all(line.startswith("failed: ") and line.isprintable() for line in lines), lines
        _, *rest = (self.work / "labels" / archive.MANIFEST).read_text().split("\n")[:-1]
        for line in map(json.loads, rest):
            for name, size in line.get("files", {}).items():
                assert (self.work / "labels" / line["record"]).with_name(name).stat().st_size == size, line


class _Trickle(io.RawIOBase):
    """Bytes that come in pieces of any size, as a pipe's do."""

    def __init__(self, content: bytes, rng: np.random.Generator):
        self._rest, self._rng = content, rng

    def readable(self) -> bool:
        return True

    def readinto(self, target) -> int:
        count = min(len(self._rest), len(target), int(self._rng.integers(1, 4000)))
        target[:count], self._rest = self._rest[:count], self._rest[count:]
        return count


# Valid files -----------------------------------------------------------------------------------------------------


def write_valid(folder: Path):
    """One of each kind of file that is read, small and whole."""
    import torch
    import wfdb

    from config import Config
    from deep_ecg.beats.arrays import Beats
    from deep_ecg.beats.cache import write_entry
    from deep_ecg.beats.inputs import CHANNELS, FEATURES
    from deep_ecg.labelling import archive
    from deep_ecg.labelling.archive_records import Found
    from deep_ecg.networks.torch_network import save_checkpoint
    from deep_ecg.records.database import Source
    from deep_ecg.training.experiment import describe, hybrid_arguments
    from model import HybridECGNet

    rng = np.random.default_rng(0)
    t_s = np.arange(RECORD_S * FS_HZ) / FS_HZ
    beats = np.arange(0.6, RECORD_S - 0.5, 0.8)
    signal_mv = 0.01 * rng.normal(size=len(t_s)) + sum(np.exp(-0.5 * ((t_s - beat) / 0.012) ** 2) for beat in beats)
    pair = np.stack([signal_mv, -0.5 * signal_mv], axis=1)
    options = {"units": ["mV"] * 2, "sig_name": ["MLII", "V5"], "fmt": ["212"] * 2, "write_dir": str(folder)}
    wfdb.wrsamp("r", FS_HZ, p_signal=pair, adc_gain=[200] * 2, baseline=[0] * 2, comments=["a comment"], **options)
    peaks = np.round(beats * FS_HZ).astype(int)
    wfdb.wrann("r", "atr", peaks, (list("NNVNA") * 3)[: len(peaks)], fs=FS_HZ, write_dir=str(folder))
    signals = (folder / "r.hea").read_text().splitlines(True)[1:]
    (folder / "long.hea").write_text("".join(["long 2 250 150000\n", *signals]))
    at = np.arange(200, 149_000, 900)
    symbols = (list("NNVN[!]A~") * len(at))[: len(at)]
    wfdb.wrann("long", "atr", at, symbols, subtype=np.tile([0, 0, 0x30], len(at))[: len(at)], write_dir=str(folder))
    wfdb.wrann("long", "tst", at + 5, symbols[::-1], aux_note=["note"] * len(at), fs=FS_HZ, write_dir=str(folder))
    (folder / "lines.txt").write_text("".join(f"{value:.4f}\n" for value in signal_mv[: 6 * FS_HZ]))
    for mode in ("diagnostic", "causal"):
        config = Config(mode=mode, preset="edge")
        arguments = hybrid_arguments(config)
        torch.manual_seed(1)
        model = HybridECGNet(**arguments)
        save_checkpoint(folder / f"{mode}.pt", model, arguments, describe(config, Source("local", folder), 0))
    cached = Beats(
        windows=rng.normal(size=(6, CHANNELS, 280)).astype(np.float32),
        features=rng.normal(size=(6, len(FEATURES["causal"]))).astype(np.float32),
        labels=np.arange(6) % 5,
        records=np.array(["100"] * 6),
        samples=np.arange(6),
        groups=np.zeros(6, np.int64),
        rr_s=np.full(6, 0.8),
    )
    write_entry(folder / "beats", [cached], ["100"])
    training_run().store(folder / "resume.pt", "fingerprint")
    shutil.copy(NETWORK, folder / "network.onnx")
    (folder / "LIST").write_text("r\nlong\nabsent\n")
    with contextlib.redirect_stdout(io.StringIO()):
        archive.label_archive(folder, [Found("r")], archive_config(), folder / "labels", 1, **archive_options())


def archive_config():
    """The settings of an archive's labels."""
    from config import Config

    return Config(mode="causal", preset="edge")


def archive_options() -> dict:
    """And its other ones, which every record has in common."""
    return {"checkpoint": NETWORK, "runtime": "onnx", "peaks": "atr"}


def training_run():
    """A training that has not begun yet, of a small network."""
    import torch

    from deep_ecg.training import engine

    torch.manual_seed(0)
    data = engine.BeatTensors(np.zeros((8, 4), np.float32), np.zeros((8, 2), np.float32), np.arange(8) % 5)
    return engine._Run(torch.nn.Linear(4, 5), data, engine.Schedule(2, 0.01, 4, 0.0), 0)


# Spoiling ---------------------------------------------------------------------------------------------------------


def spoil_file(path: Path, kind: str, rng: np.random.Generator):
    """Changes the file at `path`, of `kind` hea, dat or atr, a little, much, or into something else."""
    if rng.random() < 0.01 and not path.is_dir():  # where an earlier change has put a folder, it stays
        path.unlink(missing_ok=True)
        return rng.choice([path.mkdir, lambda: os.mkfifo(path), lambda: path.symlink_to("/dev/zero"), lambda: None])()
    if not path.is_file():
        return None
    if kind == "hea" and rng.random() < 0.75:
        return path.write_bytes(spoil_header(path.read_text(errors="replace"), rng))
    if kind == "atr" and rng.random() < 0.4:
        return path.write_bytes(spoil_annotations(path.read_bytes(), rng))
    return spoil_bytes(path, rng)


def spoil_bytes(path: Path, rng: np.random.Generator):
    """Flips, inserts, removes, repeats or cuts bytes."""
    content = bytearray(path.read_bytes())
    for _ in range(rng.integers(1, 6)):
        place = int(rng.integers(len(content) + 1))
        length = int(rng.choice([1, 1, 2, 8, 100]))
        match rng.integers(6):
            case 0 if place < len(content):
                content[place] ^= 1 << int(rng.integers(8))
            case 1:
                content[place:place] = rng.bytes(length)
            case 2:
                del content[place : place + length]
            case 3:
                content[place:place] = content[place : place + length] * 5
            case 4 if rng.random() < 0.3:
                del content[place:]
            case 5:
                content[place : place + length] = bytes([int(rng.choice([0, 255, 59 << 2, 63 << 2]))]) * length
    path.write_bytes(bytes(content))


def spoil_header(text: str, rng: np.random.Generator) -> bytes:
    """Changes fields, lines or the encoding of a header."""
    lines = text.splitlines() or [""]
    for _ in range(rng.integers(1, 4)):
        row = int(rng.integers(len(lines)))
        fields = lines[row].split(" ")
        column, token = int(rng.integers(len(fields))), TOKENS[rng.integers(len(TOKENS))]
        match rng.integers(9):
            case 0 | 1 | 2 | 3:
                fields[column] = token
            case 4:
                fields[column] += token
            case 5:
                fields.insert(column, token)
            case 6:
                del fields[column]
            case 7:
                lines.insert(row, lines[row])
            case 8 if len(fields[column]) < 1000:
                fields[column] *= int(rng.choice([2, 100, 3000]))
        lines[row] = " ".join(fields)
        if rng.random() < 0.03 and sum(map(len, lines)) < 10_000:
            lines = lines * int(rng.choice([0, 2, 400])) or [""]
    encoding = str(rng.choice(["utf-8", "utf-16", "latin-1", "utf-8-sig"], p=[0.94, 0.02, 0.02, 0.02]))
    return str(rng.choice(["\n", "\r\n", "\r"], p=[0.9, 0.05, 0.05])).join(lines).encode(encoding, "replace")


def spoil_text(path: Path, rng: np.random.Generator):
    """Changes words, numbers or lines of a text, or its bytes."""
    text = path.read_text(errors="replace")
    for _ in range(rng.integers(1, 4)):
        words = list(re.finditer(r"[\w./-]+", text)) or list(re.finditer("$", text))
        word, token = words[rng.integers(len(words))], TOKENS[rng.integers(len(TOKENS))]
        match rng.integers(5):
            case 0 | 1:
                text = text[: word.start()] + token + text[word.end() :]
            case 2:
                text = text[: word.start()] + token * int(rng.choice([1, 300, 30_000])) + text[word.start() :]
            case 3:
                lines = text.splitlines(True) or [""]
                text = "".join([*lines, *lines[rng.integers(len(lines)) :] * int(rng.choice([1, 50]))])
            case 4 if rng.random() < 0.3:
                others = ("", "{}", "[]", "null", "7", "[" * 100_000, '{"files":' * 5000, "NaN", "\0", "\n")
                text = others[rng.integers(len(others))]
    path.write_text(text, errors="replace")
    if rng.random() < 0.2:
        spoil_bytes(path, rng)


def spoil_graph(proto: Any, rng: np.random.Generator):
    """Changes one thing of an ONNX model: an operator, its inputs or attributes, a tensor, a shape, the description."""
    import onnx

    graph = proto.graph
    node, tensor = graph.node[rng.integers(len(graph.node))], graph.initializer[rng.integers(len(graph.initializer))]
    odd = [-(2**63), -(2**31), -2, -1, 0, 1, 2, 3, 7, 100, 2**16, 2**31 - 1, 2**31, 2**62]
    names = [name for other in graph.node for name in (*other.input, *other.output)]
    number = odd[rng.integers(len(odd))]
    match rng.integers(16):
        case 0:
            node.op_type = str(rng.choice([*ODD_OPERATORS, *(other.op_type for other in graph.node)]))
        case 1:
            node.domain = str(rng.choice(["", "com.microsoft", "custom", "ai.onnx.ml"]))
        case 2 if node.input:
            node.input[rng.integers(len(node.input))] = str(rng.choice([*names, "", "nowhere"]))
        case 3:
            node.output[0] = str(rng.choice([*names, "logits", ""]))
        case 4 | 5:
            spoil_attribute(node, number, rng)
        case 6:
            graph.node.insert(int(rng.integers(len(graph.node))), node)
        case 7:
            graph.node.remove(node)
        case 8 if tensor.dims:
            tensor.dims[rng.integers(len(tensor.dims))] = number
        case 9:
            tensor.data_type = int(rng.integers(0, 24))
        case 10:
            where = str(rng.choice(["/etc/passwd", "../outside/secret.dat", "far.dat", "r.dat", "/dev/zero"]))
            tensor.data_location = onnx.TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value=where)
            if rng.random() < 0.5:
                tensor.ClearField("raw_data")
        case 11 if tensor.raw_data:
            value = [np.nan, np.inf, 0.0, 1e38, -1.0][rng.integers(5)]
            tensor.raw_data = np.full(len(tensor.raw_data) // 4, value, "f").tobytes() + bytes(len(tensor.raw_data) % 4)
        case 12:
            values = [*graph.value_info, *graph.input, *graph.output]
            kind = values[rng.integers(len(values))].type.tensor_type
            kind.shape.dim.add().dim_value = number
            kind.shape.dim[0].dim_value, kind.elem_type = number, int(rng.integers(0, 17))
        case 13:
            proto.opset_import[0].version, proto.ir_version = (int(rng.integers(1, 30)) for _ in range(2))
        case 14:
            body = onnx.helper.make_graph([node], "body", [], [])
            node.attribute.append(onnx.helper.make_attribute(str(rng.choice(["body", "then_branch", "axis"])), body))
        case 15:
            text = proto.metadata_props[0].value
            place, token = int(rng.integers(len(text))), TOKENS[rng.integers(len(TOKENS))]
            proto.metadata_props[0].value = text[:place] + token + text[place + int(rng.integers(0, 30)) :]


ODD_OPERATORS = "Loop If Scan Expand Tile Range NonZero Resize Relu Reshape Identity Nonsense SequenceAt Pad".split()


def spoil_attribute(node: Any, number: int, rng: np.random.Generator):
    """Changes or adds an attribute of a node of an ONNX model."""
    import onnx

    if not node.attribute or rng.random() < 0.2:
        name = str(rng.choice(["axis", "group", "pads", "perm", "axes", "x", "kernel_shape", "strides"]))
        value = [number] * int(rng.integers(1, 4)) if rng.random() < 0.5 else number
        node.attribute.append(onnx.helper.make_attribute(name, value))
        return
    attribute = node.attribute[rng.integers(len(node.attribute))]
    if attribute.ints:
        attribute.ints[rng.integers(len(attribute.ints))] = number
        attribute.ints.extend([number] * int(rng.choice([0, 0, 1, 100])))
    elif rng.random() < 0.1:
        attribute.type = int(rng.integers(0, 15))
    else:
        attribute.i, attribute.f = number, float(rng.choice([np.nan, np.inf, 0, -1, 1e38]))


def spoil_annotations(content: bytes, rng: np.random.Generator) -> bytes:
    """Inserts fields of the format: skips, notes of any length, statements of the time resolution, end marks."""
    pieces = [
        bytes([0, 59 << 2]) + rng.bytes(4),
        bytes([0, 59 << 2, 255, 127, 255, 255]),
        bytes([0, 59 << 2, 0, 128, 0, 0]),
        bytes([int(rng.integers(256)), 63 << 2]) + rng.bytes(int(rng.integers(0, 40))),
        bytes([int(rng.integers(256)), int(rng.integers(60, 64)) << 2]),
        bytes([0, 0]),
        rng.bytes(2),
    ]
    value = TOKENS[rng.integers(len(TOKENS))]
    notes = (f"## time resolution: {value}", "## annotation type definitions", f"{value} {value} {value}", "SYNTHETIC")
    note = str(rng.choice(notes)).encode("utf-8", "replace")[:255]
    pieces.append(bytes([0, 22 << 2, len(note), 63 << 2]) + note + bytes(len(note) % 2))
    changed = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        place = 0 if rng.random() < 0.4 else 2 * int(rng.integers(len(changed) // 2 + 1))
        changed[place:place] = pieces[rng.integers(len(pieces))] * int(rng.choice([1, 1, 3, 200]))
    return bytes(changed)


def spoil_stored(path: Path, rng: np.random.Generator):
    """Changes the bytes of a file of torch's, or what is stored in it."""
    if rng.random() < 0.5:
        spoil_archive(path, rng)
        return
    import torch

    stored = torch.load(path, weights_only=True)
    spoil_tree(stored, rng)
    torch.save(stored, path)


def spoil_archive(path: Path, rng: np.random.Generator):
    """Changes bytes of a zip archive, or of one member with everything else about it right."""
    if rng.random() < 0.4:
        spoil_bytes(path, rng)
        return
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    chosen = str(rng.choice([*members, *(name for name in members if name.endswith(".pkl"))]))
    member = path.with_name("member")
    member.write_bytes(members[chosen])
    match rng.integers(5):
        case 0 | 1 | 2:
            spoil_bytes(member, rng)
        case 3:
            member.write_bytes(pickle.dumps(Taker(path.with_name("taken")), protocol=2))
        case 4:
            member.write_bytes(bytes(int(rng.choice([0, 10, 30_000_000]))))
    members[chosen] = member.read_bytes()
    compression = zipfile.ZIP_DEFLATED if rng.random() < 0.3 else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


class Taker:
    """Unpickled without care, it makes the file `path`."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def odd_values(rng: np.random.Generator) -> list:
    """Values that have no place in a checkpoint."""
    import torch

    deep: list = []
    for _ in range(100):
        deep = [deep, deep]
    own: list = []
    own.append(own)
    size = int(rng.choice([0, 1, 10**6, 10**9, 2**62]))
    return [
        None, True, -1, 0, 1, 3, 10**6, 10**9, 2**62, 10**30, 0.5, -0.5, float("nan"), float("inf"), "", "x", "$",
        "HybridECGNet", "\n\x1b[2J", "x" * 10**6, [], {}, [[]], {"a": []}, deep, own, [10**9] * 3, [1e9], (1, 2), b"x",
        torch.zeros(1).expand(size) if size else torch.zeros(0), torch.full((3, 3), torch.nan),
        torch.zeros(5, dtype=torch.int8), torch.eye(3).to_sparse(), torch.zeros(3, dtype=torch.complex64),
        torch.empty(10**12, device="meta"), torch.quantize_per_tensor(torch.zeros(3), 0.1, 0, torch.qint8),
    ]  # fmt: skip


def spoil_tree(tree: dict, rng: np.random.Generator):
    """Replaces, adds or removes entries anywhere in nested dicts and lists; tensors keep their shape at times."""
    import torch

    for _ in range(rng.integers(1, 4)):
        branch, values = tree, odd_values(rng)
        while True:
            keys = list(branch) if isinstance(branch, dict) else list(range(len(branch)))
            if not keys:
                break
            key = keys[rng.integers(len(keys))]
            if isinstance(branch[key], dict | list) and rng.random() < 0.8:
                branch = branch[key]
                continue
            value = branch[key]
            plain = isinstance(value, torch.Tensor) and value.dtype in (torch.float16, torch.float32, torch.int64)
            plain = plain and value.layout == torch.strided and value.numel() < 10**7
            match rng.integers(5):
                case 0 if plain:
                    branch[key] = torch.full_like(value, float("nan")) if value.is_floating_point() else value * 0 - 1
                case 1 if plain:
                    branch[key] = value.reshape(-1)[:1].expand(value.shape) if value.ndim else value - 1
                case 2:
                    del branch[key]
                case 3 if isinstance(branch, dict):
                    branch[f"{key}x"] = values[rng.integers(len(values))]
                case _:
                    branch[key] = values[rng.integers(len(values))]
            break


def spoil_array(arrays: dict[str, np.ndarray], name: str, trace: Path, rng: np.random.Generator):
    """Gives array `name` another kind, shape, length or values, or removes it."""
    array = arrays[name]
    match rng.integers(8):
        case 0:
            arrays[name] = array[:-1]
        case 1 if array.dtype != object:
            with contextlib.suppress(ValueError):  # texts of an earlier change that are no numbers stay texts
                arrays[name] = array.astype(str(rng.choice(["f8", "i4", "U8", "c8", "S3", "?"])))
        case 2:
            arrays[name] = array[..., None]
        case 3:
            arrays[name] = np.array([Taker(trace)] * len(array), object)
        case 4 if array.dtype.kind == "f":
            arrays[name] = np.full_like(array, np.nan)
        case 5 if array.dtype.kind == "i":
            arrays[name] = array - rng.choice(np.array([100, 2**40]))
        case 6:
            del arrays[name]
            arrays[f"{name}x"] = array
        case 7:
            arrays[name] = np.zeros(int(rng.choice([0, 1, 10**6])), array.dtype)


def store_entry(entry: Path, arrays: dict[str, np.ndarray], with_index: bool):
    """Writes `arrays` into the folder `entry` of a cache, with an index that agrees with them where asked for."""
    shutil.rmtree(entry)
    entry.mkdir()
    index = {}
    for name, array in arrays.items():
        np.save(entry / f"{name}.npy", array)
        crc32 = zlib.crc32((entry / f"{name}.npy").read_bytes())
        index[name] = {"shape": array.shape, "dtype": array.dtype.str, "crc32": crc32}
    if with_index:
        (entry / "index.json").write_text(json.dumps(index))


# By coverage --------------------------------------------------------------------------------------------------------


def guided(seconds: int, seed: int, out: Path | None) -> int:
    """Lets atheris change header and annotation file, led by the code that they reach in wfdb and the readers."""
    import atheris

    with atheris.instrument_imports(include=["wfdb.io", "deep_ecg.records", "deep_ecg.scoring.ec57"]):
        pass
    corpus = (out or Path(tempfile.mkdtemp(prefix="fuzz-"))) / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    fuzzer = Fuzzer(Path(tempfile.mkdtemp(prefix="fuzz-")))
    fuzzer.warm_up()
    fuzzer.fresh()
    sys.addaudithook(fuzzer._audit)
    for name in ("r", "long"):
        parts = [(fuzzer.valid / f"{name}.{ending}").read_bytes() for ending in ("hea", "atr")]
        (corpus / name).write_bytes(b"\xff\xff".join(parts))
    counts: Counter[str] = Counter()

    def one(content: bytes):
        header, _, marks = content.partition(b"\xff\xff")
        for name in ("r", "long"):
            (fuzzer.work / f"{name}.hea").write_bytes(header)
            (fuzzer.work / f"{name}.atr").write_bytes(marks)
        for use in (fuzzer.use_predict, fuzzer.use_score):
            found = fuzzer.outcome(lambda use=use: use(np.random.default_rng(1)))
            counts[found["outcome"]] += 1
            if found["outcome"] not in ("used", "refused"):
                raise RuntimeError(f"{found['outcome']}: {found['what']}; {dict(counts)}")

    limits = [f"-max_total_time={seconds}", f"-seed={seed + 1}", "-max_len=4096", f"-artifact_prefix={corpus.parent}/"]
    atheris.Setup([sys.argv[0], str(corpus), *limits], one)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
