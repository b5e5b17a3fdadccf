"""The benchmark of records by length: what it makes them of, and its table by hand."""

import numpy as np
import pytest
import wfdb

from deep_ecg.records.synthetic import write_database
from experiments import record_speed


@pytest.fixture
def folder(tmp_path, monkeypatch):
    write_database(tmp_path / "data", ["101", "106"], 0.5)
    monkeypatch.setattr(record_speed, "DS1", ("101", "106"))
    names = wfdb.rdheader(str(tmp_path / "data" / "101")).sig_name
    monkeypatch.setattr(record_speed, "LEADS", tuple(names))
    return tmp_path / "data"


def test_a_record_is_made_of_others_one_after_the_other(folder, tmp_path):
    record_speed.write_record(folder, tmp_path / "made", 75)
    made = wfdb.rdrecord(str(tmp_path / "made"))
    parts = [wfdb.rdrecord(str(folder / name)).p_signal for name in ("101", "106", "101")]
    assert made.fs == 360 and made.sig_len == 75 * 360 and tuple(made.sig_name) == record_speed.LEADS
    np.testing.assert_allclose(made.p_signal, np.concatenate(parts)[: 75 * 360], atol=0.0026)


def test_the_table_by_hand():
    one = {"wall_s": 2.0, "cpu_s": 1.26, "peak_rss_mb": 321.4}
    lengths = [{"seconds": s, "commands": dict.fromkeys(record_speed.COMMANDS, one)} for s in (30, 5400)]
    lines = record_speed.table({"machine": "abacus", "lengths": lengths})
    assert [cell.strip() for cell in lines[0].strip("|").split("|")][1:] == ["30 s of signal", "1.5 h of signal"]
    assert [cell.strip() for cell in lines[2].strip("|").split("|")] == ["predict", "1.3, 321", "1.3, 321"]
    assert lines[-1] == "abacus."
