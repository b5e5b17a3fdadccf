"""Fixtures shared by all tests."""

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from config import DATA_DIR_VARIABLE  # noqa: E402
from data_loader import DS1, DS2  # noqa: E402
from synthetic import write_database  # noqa: E402


@pytest.fixture(scope="session")
def mitdb() -> Path:
    """Folder of the real MIT-BIH Arrhythmia Database; tests that need it skip visibly where it is absent."""
    folder = Path(os.environ.get(DATA_DIR_VARIABLE) or ROOT / "mitdb")
    if not (folder / "100.dat").is_file():
        pytest.skip(f"the MIT-BIH Arrhythmia Database is not in {folder}: set {DATA_DIR_VARIABLE}")
    return folder


@pytest.fixture(scope="session")
def synthetic_db(tmp_path_factory) -> Path:
    """Folder of a SYNTHETIC database, one minute of each DS1 and DS2 record. Tests only read it."""
    folder = tmp_path_factory.mktemp("synthetic-db")
    write_database(folder, DS1 + DS2, minutes=1)
    return folder
