"""Fixtures shared by all tests."""

import os
import shutil
import sys

# Before anything reads them. As many test processes run side by side as there are cores: more threads in each, and
# worker processes where a test asks for one a core, would only wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("LOKY_MAX_CPU_COUNT", "1")

from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import pytest

from config import DATA_DIR_VARIABLE, DS1, DS2
from deep_ecg.records.database import Source
from deep_ecg.records.physionet import expected_files
from deep_ecg.records.synthetic import write_database
from tests.support import ROOT

WATCHERS = []  # an audit hook stays for the life of the process: it is installed once and reports to these


def _audit(event: str, arguments: tuple):
    if event == "open" and WATCHERS:
        for watcher in WATCHERS:
            watcher(arguments[0])


@contextmanager
def _opened_files(log: list):
    if not getattr(sys, "_deep_ecg_audit", False):
        sys.addaudithook(_audit)
        sys._deep_ecg_audit = True

    def watcher(path):
        if isinstance(path, (str, bytes, os.PathLike)):
            log.append(os.fsdecode(path))

    WATCHERS.append(watcher)
    try:
        yield
    finally:
        WATCHERS.remove(watcher)


@pytest.fixture(scope="session")
def opened_files() -> Callable:
    """A context that writes the path of every file that this process opens into the list given."""
    return _opened_files


@pytest.fixture(scope="session")
def mitdb() -> Path:
    """Folder of the real MIT-BIH Arrhythmia Database; tests that need it skip visibly where it is absent."""
    folder = Path(os.environ.get(DATA_DIR_VARIABLE) or ROOT / "mitdb")
    if not (folder / "100.dat").is_file():
        pytest.skip(f"the MIT-BIH Arrhythmia Database is not in {folder}: set {DATA_DIR_VARIABLE}")
    return folder


@pytest.fixture(scope="session")
def ec57_golden(mitdb) -> Path:
    """Folder of test annotations and of what EC57's reference implementation says of them, beside the database."""
    folder = mitdb.parent / "reference" / "ec57"
    if not (folder / "bxb_matrices.txt").is_file():
        pytest.skip(f"the output of EC57's reference implementation is not in {folder}")
    return folder


@pytest.fixture(scope="session")
def synthetic_db(tmp_path_factory) -> Path:
    """Folder of a SYNTHETIC database, one minute of each DS1 and DS2 record. Tests only read it."""
    folder = tmp_path_factory.mktemp("synthetic-db")
    write_database(folder, DS1 + DS2, minutes=1)
    return folder


@pytest.fixture
def few(synthetic_db, tmp_path) -> Source:
    """A source with three synthetic records that a test may break."""
    folder = tmp_path / "few"
    folder.mkdir()
    for name in expected_files(("100", "208", "232")):
        shutil.copy2(synthetic_db / name, folder)
    return Source("synthetic", folder)


@pytest.fixture(scope="session")
def beats_cache(tmp_path_factory) -> Path:
    """Folder for the cached beats of `synthetic_db`, for all tests in which they may have been cut before."""
    return tmp_path_factory.mktemp("beats-cache")
