"""Faults of the machine: no room, no permission, a folder that vanishes, a run beside this one.

Each ends with one line that names the place, status 2, and nothing damaged: what is there is whole, and the same
command works once the fault is mended.
"""

import ctypes
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import config
import main
from config import DATA_DIR_VARIABLE, Config
from deep_ecg.beats import cache
from deep_ecg.beats.arrays import Beats
from deep_ecg.labelling import annotations, table
from deep_ecg.labelling.labelled import Labelled
from deep_ecg.networks import torch_network
from deep_ecg.records import database, guard, synthetic
from deep_ecg.records.wfdb_files import Record
from deep_ecg.scoring import strips
from deep_ecg.system.errors import DeepECGError
from deep_ecg.system.files import locked, write_text
from deep_ecg.system.json_files import write_json
from deep_ecg.training import engine, pictures
from tests.support import ROOT

resource = pytest.importorskip("resource", reason="limits of files are set as on Unix")
LIMIT_S = 120
ROOM_BYTES = 1000
ABOVE_PERMISSIONS = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH: linux/capability.h
CAPABILITY_VERSION = 0x20080522  # 3: two words a set


def assert_refused(status: int, errors: str, *named: object):
    assert status == 2, errors
    assert re.fullmatch(r"error: [^\n]*\n", errors), errors
    assert all(str(part) in errors for part in named), errors


@contextmanager
def little_room() -> Iterator[None]:
    """No file may grow beyond ROOM_BYTES, as on a disk that is nearly full; that of pytest's own output included."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM_BYTES, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.fixture(scope="module")
def record(tmp_path_factory) -> Path:
    """A SYNTHETIC record of one minute."""
    folder = tmp_path_factory.mktemp("record")
    synthetic.write_database(folder, ["100"], 1.0)
    return folder / "100"


# No room -------------------------------------------------------------------------------------------------------------


def many_beats() -> Beats:
    return Beats(np.zeros((50, 2, 280), np.float32), np.zeros((50, 3), np.float32), *np.zeros((5, 50), np.int64))


def labelled() -> Labelled:
    record = Record("r", "MLII", 360.0, np.random.default_rng(0).normal(size=36_000))
    return Labelled(record, np.arange(0, 36_000, 40), np.tile(np.eye(5), (180, 1)), None, False)


WRITERS = {
    "text": lambda path: write_text(path, "x" * 5000),
    "json": lambda path: write_json(path, {"x": "x" * 5000}),
    "network": lambda path: torch_network.write_torch_file(path, {"x": engine.torch.zeros(5000)}),
    "cache": lambda path: cache.write_entry(path, [many_beats()], ["100"]),
    "annotations": lambda path: annotations.write_annotations(path, labelled()),
    "table": lambda path: table.write_table(path, labelled()),
    "picture": lambda path: strips.signal_figure(path, np.arange(99), np.arange(99), 360, 0, "100", "MLII", False),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_file_for_which_there_is_no_room_is_named_and_the_old_one_stays(tmp_path, writer):
    path = tmp_path / "there.pred"
    path.write_text("old")
    with pytest.raises(DeepECGError) as refusal, little_room():
        WRITERS[writer](path)
    assert str(path) in str(refusal.value)
    assert [file.name for file in tmp_path.iterdir()] == ["there.pred"] and path.read_text() == "old"


def test_a_synthetic_database_for_which_there_is_no_room(tmp_path):
    config = Config(data_source="synthetic", cache_dir=str(tmp_path))
    with pytest.raises(DeepECGError, match="synthetic-4min cannot be written"), little_room():
        database.ingest(config)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_predict_on_a_full_disk(tmp_path, record, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with little_room():
        status = main.main(["predict", str(record), "--preset", "edge"])
    assert_refused(status, capsys.readouterr().err, "predictions/100-SYNTHETIC.csv cannot be written")
    assert not list((tmp_path / "predictions").iterdir())


def test_the_output_of_predict_on_a_full_disk(tmp_path, record):
    """The real script, whose output is a file."""
    arguments = ["predict", str(record), "--preset", "edge", "--runtime", "onnx"]
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run(
            [sys.executable, str(ROOT / "main.py"), *arguments],
            cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE, text=True, timeout=LIMIT_S,
        )  # fmt: skip
    assert_refused(done.returncode, done.stderr, "No space left")


def test_no_memory_is_one_line(monkeypatch, capsys):
    def greedy(*unused, **also_unused):
        raise MemoryError

    monkeypatch.setattr(main, "run", greedy)
    assert main.main([]) == 2
    assert re.fullmatch(r"error: there is not enough memory[^\n]*\n", capsys.readouterr().err)


@pytest.mark.parametrize("check", ["check_header_text", "check_signal_files", "check_annotations"])
def test_no_memory_while_a_record_is_read_is_not_called_a_broken_file(check, record, tmp_path, monkeypatch, capsys):
    def greedy(*unused, **also_unused):
        raise MemoryError

    monkeypatch.setattr(guard, check, greedy)
    assert main.main(["predict", str(record), "--preset", "edge", "--peaks", "atr", "--out", str(tmp_path)]) == 2
    assert re.fullmatch(r"error: there is not enough memory[^\n]*\n", capsys.readouterr().err)


# No permission -------------------------------------------------------------------------------------------------------


@contextmanager
def as_anyone() -> Iterator[None]:
    """Takes from this thread, where it is root's, what sets root above permissions."""
    if os.geteuid():
        yield
        return
    kernel, header, sets = ctypes.CDLL(None), (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0), (ctypes.c_uint32 * 6)()
    kernel.capget(header, sets)
    effective = sets[0]
    sets[0] &= ~ABOVE_PERMISSIONS
    kernel.capset(header, sets)
    try:
        yield
    finally:
        sets[0] = effective
        kernel.capset(header, sets)


@pytest.mark.parametrize("arguments", ["--data-source synthetic", "predict RECORD --preset edge"])
def test_a_folder_that_may_not_be_written(tmp_path, record, arguments, monkeypatch, capsys):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    monkeypatch.chdir(closed)
    with as_anyone():
        status = main.main(arguments.replace("RECORD", str(record)).split())
    assert_refused(status, capsys.readouterr().err, "cannot be written", "Permission denied")
    assert not list(closed.iterdir())


@pytest.mark.parametrize("ending", ["hea", "dat"])
def test_files_that_may_not_be_read(tmp_path, record, ending, monkeypatch, capsys):
    shutil.copytree(record.parent, tmp_path / "data")
    (tmp_path / "data" / f"100.{ending}").chmod(0)
    monkeypatch.chdir(tmp_path)
    with as_anyone():
        status = main.main(["predict", str(tmp_path / "data" / "100"), "--preset", "edge"])
    assert_refused(status, capsys.readouterr().err, tmp_path / "data" / "100", "Permission denied")


# What vanishes -------------------------------------------------------------------------------------------------------


def test_a_data_folder_that_vanishes_in_mid_run(synthetic_db, tmp_path, monkeypatch, capsys):
    """In the last training; once it is back, the same command goes on from there to its end."""
    data, gone, fit = tmp_path / "data", tmp_path / "gone", engine.fit
    shutil.copytree(synthetic_db, data)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(DATA_DIR_VARIABLE, str(data))
    small = {"train_records": ("106", "118", "203"), "validation_records": ("118",), "test_records": ("202", "221")}
    options = {"preset": "edge", "epochs": 2, "threads": 1, "replays": 0, "data_source": "local", "batch_size": 32}
    monkeypatch.setattr(main, "Config", lambda: Config(**options, **small))
    monkeypatch.setattr(pictures, "draw_run", lambda *unused: [])

    trainings = iter(["validation", "seed 0"])

    def vanishing_fit(*arguments, **options):
        if next(trainings) == "seed 0":
            data.rename(gone)
        return fit(*arguments, **options)

    monkeypatch.setattr(engine, "fit", vanishing_fit)
    assert main.main(["--name", "trial"]) == 2
    assert re.fullmatch(rf"error: data folder {data}: [^\n]*\n", capsys.readouterr().err)
    monkeypatch.setattr(engine, "fit", fit)
    gone.rename(data)
    assert main.main(["--name", "trial"]) == 0
    assert not re.search(r"epoch +1 ", capsys.readouterr().out)  # nothing is trained again
    assert json.loads((tmp_path / "runs" / "trial" / "report.json").read_text())["data_source"] == "synthetic"


# Two at once ---------------------------------------------------------------------------------------------------------


def test_a_second_run_in_the_same_folder_is_one_line(synthetic_db, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(DATA_DIR_VARIABLE, str(synthetic_db))
    folder = tmp_path / "runs" / "trial"
    folder.mkdir(parents=True)
    with locked(folder):
        status = main.main(["--data-source", "local", "--name", "trial"])
    assert_refused(status, capsys.readouterr().err, "runs/trial is in use by another run")
    assert not list(folder.iterdir())


def test_two_runs_that_write_the_synthetic_database_at_once_both_have_it(tmp_path):
    code = "import sys; sys.path.insert(0, sys.argv[1])\n"
    code += "from config import Config; from deep_ecg.records import database\n"
    code += "print(database.ingest(Config(data_source='synthetic', synthetic_minutes=1)).folder)"
    start = [sys.executable, "-c", code, str(ROOT)]
    both = [subprocess.Popen(start, cwd=tmp_path, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=LIMIT_S)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert all(text.endswith("cache/synthetic-1min\n") for text in said)
    assert sorted("waiting" in text for text in said) == [False, True]
    names = {path.name for path in (tmp_path / "cache" / "synthetic-1min").iterdir()}
    endings = ("hea", "dat", "atr")
    records = {f"{name}.{ending}" for name in config.DS1 + config.DS2 for ending in endings}
    assert names == records | {"RECORDS", "SYNTHETIC.txt"}
