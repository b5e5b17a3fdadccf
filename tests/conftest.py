"""Fixtures shared by all tests."""

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from config import DATA_DIR_VARIABLE  # noqa: E402


@pytest.fixture(scope="session")
def mitdb() -> Path:
    """Folder of the real MIT-BIH Arrhythmia Database; tests that need it skip visibly where it is absent."""
    folder = Path(os.environ.get(DATA_DIR_VARIABLE) or ROOT / "mitdb")
    if not (folder / "100.dat").is_file():
        pytest.skip(f"the MIT-BIH Arrhythmia Database is not in {folder}: set {DATA_DIR_VARIABLE}")
    return folder
