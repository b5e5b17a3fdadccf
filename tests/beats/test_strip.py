"""Strips of ECG: all usable leads of a record, the one of the settings first, at their rate."""

import numpy as np
import pytest
import wfdb

from config import CLASSES, Config
from deep_ecg.beats.strip import read_strip
from deep_ecg.records.wfdb_files import AAMI, read_beats
from tests.support.records import refused, write_beats, write_record


@pytest.mark.parametrize("name", ["100", "114"])
def test_a_strip_holds_both_leads_mlii_first(mitdb, name):
    """Record 114 has them the other way round. Beats and labels are those of the annotation file."""
    strip = read_strip(mitdb / name, Config())
    record = wfdb.rdrecord(str(mitdb / name))
    order = [record.sig_name.index("MLII"), 1 - record.sig_name.index("MLII")]
    assert np.array_equal(strip.leads_mv, record.p_signal[:, order]) and strip.fs_hz == 360
    beats = read_beats(mitdb / name, "atr")
    assert np.array_equal(strip.peaks, beats.samples) and np.array_equal(strip.after_gap, beats.after_gap)
    assert [CLASSES[label] for label in strip.labels] == [AAMI[symbol] for symbol in beats.symbols]


def test_a_strip_is_brought_to_the_rate_of_the_settings(tmp_path):
    t_s = np.arange(2500) / 250
    path = write_record(tmp_path, "slow", np.sin(2 * np.pi * t_s), fs=250)
    write_beats(tmp_path, "slow", [(250, "N"), (500, "V"), (1000, "A")])
    strip = read_strip(path, Config())
    assert strip.leads_mv.shape == (3600, 1) and strip.fs_hz == 360
    assert strip.peaks.tolist() == [360, 720, 1440] and strip.labels.tolist() == [0, 2, 1]
    middle = slice(360, 3240)  # the ends feel the anti-aliasing filter
    np.testing.assert_allclose(strip.leads_mv[middle, 0], np.sin(2 * np.pi * np.arange(3600) / 360)[middle], atol=0.01)


@pytest.mark.parametrize("second", [np.full(3600, 0.5), np.where(np.arange(3600) == 7, np.nan, np.arange(3600) / 1000)])
def test_a_second_lead_that_cannot_be_used_is_left_out_of_a_strip(tmp_path, second):
    signals = np.stack([second, np.sin(np.arange(3600) / 20)], axis=1)
    leads = {"units": ["mV"] * 2, "sig_name": ["V1", "MLII"], "fmt": ["16"] * 2, "write_dir": str(tmp_path)}
    wfdb.wrsamp("two", 360, p_signal=signals, **leads)
    write_beats(tmp_path, "two", [(360, "N"), (720, "N")])
    strip = read_strip(tmp_path / "two", Config())
    assert strip.leads_mv.shape == (3600, 1)
    np.testing.assert_allclose(strip.leads_mv[:, 0], signals[:, 1], atol=1e-3)


def test_a_strip_of_a_wrong_record_is_refused_by_name(few, tmp_path):
    refused(lambda: read_strip(few.folder / "101", Config()), few.folder / "101")
    refused(lambda: read_strip(few.folder / "100", Config(lead="aVR")), few.folder / "100", "'aVR'")
    flat = write_record(tmp_path, "flat", np.full(3600, 0.25))
    refused(lambda: read_strip(flat, Config()), flat, "flat")
