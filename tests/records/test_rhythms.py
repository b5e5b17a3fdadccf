"""Beats and rhythms of databases without a signal: WFDB annotations and the tables of VitalDB."""

import numpy as np
import pytest
import wfdb

from deep_ecg.records.rhythms import read_table, read_wfdb
from tests.support.records import refused

TABLE = "time_second,beat_type,rhythm_label,bad_signal_quality,bad_signal_quality_label\n"


def write_wfdb(folder):
    """Beats every second at 250 Hz; AFIB from 3 s on, N again from 6.5 s on; nothing is said before 1.5 s."""
    (folder / "04.hea").write_text("04 0 250 0\n")
    own = {"record_name": "04", "fs": 250, "write_dir": str(folder)}
    wfdb.wrann(extension="qrs", sample=np.arange(250, 2251, 250), symbol=["N"] * 9, **own)
    changes = {"sample": np.array([375, 750, 1625]), "symbol": ["+"] * 3, "aux_note": ["(N", "(AFIB", "(N"]}
    wfdb.wrann(extension="atr", **changes, **own)
    return folder / "04"


def test_the_rhythm_of_a_beat_is_that_of_the_latest_mark(tmp_path):
    record = read_wfdb(write_wfdb(tmp_path), "qrs")
    assert record.times_s.tolist() == list(range(1, 10)) and set(record.symbols.tolist()) == {"N"}
    assert record.rhythms.tolist() == ["", "N", *["AFIB"] * 4, *["N"] * 3]
    assert record.fibrillates.tolist() == [False] * 2 + [True] * 4 + [False] * 3


def test_a_file_that_is_missing_is_one_line(tmp_path):
    path = write_wfdb(tmp_path)
    (tmp_path / "04.qrs").unlink()
    refused(lambda: read_wfdb(path, "qrs"), path, "no annotation file")


def test_conducted_beats_of_fibrillation_are_n_and_marks_are_no_beats(tmp_path):
    path = tmp_path / "Annotation_file_7.csv"
    rows = ["1.0,N,N,False,", "1.5,S,N,False,", "2.0,S,AFIB/AFL,False,", "2.2,P,N,False,", "2.4,,N,False,",
            "3.0,V,AFIB/AFL,False,", "4.0,U,Noise,True,x"]  # fmt: skip
    path.write_text(TABLE + "\n".join(rows) + "\n", encoding="utf-8-sig")
    record = read_table(path)
    assert record.name == "7" and record.times_s.tolist() == [1.0, 1.5, 2.0, 3.0, 4.0]
    assert record.symbols.tolist() == ["N", "S", "N", "V", "U"]
    assert record.fibrillates.tolist() == [False, False, True, True, False]


@pytest.mark.parametrize(
    "text, why",
    [
        ("time,beat\n1,N\n", "no column 'time_second'"),
        (TABLE + "one,N,N,False,\n", "could not convert"),
        (TABLE + "2.0,N,N,False,\n1.0,N,N,False,\n", "do not rise"),
        (TABLE + "nan,N,N,False,\n", "do not rise"),
    ],
)
def test_a_table_that_is_none_is_one_line(tmp_path, text, why):
    path = tmp_path / "Annotation_file_7.csv"
    path.write_text(text)
    refused(lambda: read_table(path), path, why)


def test_a_table_that_is_missing_is_one_line(tmp_path):
    refused(lambda: read_table(tmp_path / "Annotation_file_7.csv"), "Annotation_file_7.csv", "cannot be read")
