"""Fixtures shared by the tests of beats."""

import pytest

from deep_ecg.records.wfdb_files import read_beats, read_record


@pytest.fixture(scope="module")
def record(synthetic_db):
    """Normal, ventricular and fusion beats."""
    return read_record(synthetic_db / "208", "MLII")


@pytest.fixture(scope="module")
def annotation(synthetic_db):
    return read_beats(synthetic_db / "208", "atr")
