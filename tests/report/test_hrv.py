"""HRV of normal beats alone, against values worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.signal import lombscargle

from config import CLASSES
from deep_ecg.report.beat_series import BeatSeries
from deep_ecg.report.hrv import TOO_ECTOPIC, TOO_FEW, band_powers_ms2, hrv_of, lomb, nn_intervals
from deep_ecg.report.rules import Rules


def test_sdnn_rmssd_and_pnn50_of_alternating_intervals(beats):
    """300 intervals in turn 800 and 860 ms: mean 830, every one 30 off: SDNN is 30 * sqrt(300 / 299).

    Every difference is 60 ms: RMSSD 60, pNN50 100 %.
    """
    told = hrv_of(beats("N" * 301, [800, 860] * 150))
    assert told["nn"] == 300 and told["none"] is None
    assert told["sdnn_ms"] == pytest.approx(30 * np.sqrt(300 / 299))
    assert told["rmssd_ms"] == pytest.approx(60)
    assert told["pnn_percent"] == pytest.approx(100)


def test_pnn50_counts_what_is_above_and_not_at_50_ms(beats):
    """Differences: 50, -50, 51, -51, again and again; half of them are above 50 ms. RMSSD: sqrt((50^2 + 51^2) / 2)."""
    told = hrv_of(beats("N" * 401, [800, 850, 800, 851] * 100))
    # 399 differences: 100 of 50, 100 of -50, 100 of 51, 99 of -51
    assert told["pnn_percent"] == pytest.approx(100 * 199 / 399)
    assert told["rmssd_ms"] == pytest.approx(np.sqrt((200 * 50**2 + 199 * 51**2) / 399))


def test_50_ms_are_50_ms_where_a_sample_is_no_whole_number_of_milliseconds(beats):
    """At 360 Hz 18 samples are 50 ms and 19 are 52.8: intervals of 174, 192, 174 and 193 samples, again and again."""
    rr = np.tile([174, 192, 174, 193], 100)
    series = replace(beats("N" * 401), samples=np.concatenate([[0], np.cumsum(rr)]) + 360, fs_hz=360.0, length=80_000)
    assert hrv_of(series)["pnn_percent"] == pytest.approx(100 * 199 / 399)


def test_intervals_next_to_an_ectopic_beat_are_none(beats):
    """Every tenth of 3,000 beats is V, early, with a pause after it: no figure knows of it.

    NN are 8 of each 10 intervals, all 800 ms.
    """
    series = beats(("N" * 9 + "V") * 300, ([800] * 8 + [500, 1100]) * 299 + [800] * 8 + [500])
    told = hrv_of(replace(series, rules=Rules(least_nn_percent=79)))
    assert told["nn"] == 8 * 300
    assert told["sdnn_ms"] == pytest.approx(0) and told["rmssd_ms"] == pytest.approx(0) and told["pnn_percent"] == 0


def test_differences_are_of_intervals_that_follow_one_another(beats):
    """200 intervals of 700 ms, V, 200 of 900 ms: no difference crosses the V."""
    series = beats("N" * 201 + "V" + "N" * 201, [700] * 200 + [500, 1200] + [900] * 200)
    told = hrv_of(series)
    assert told["nn"] == 400 and told["rmssd_ms"] == pytest.approx(0)
    assert told["sdnn_ms"] == pytest.approx(100 * np.sqrt(400 / 399))


def test_sdann_of_three_segments(beats):
    """Five minutes each of 600, 750 and 1000 ms: the deviations of the means from 783.33 are -183.33, -33.33, 216.67.

    SDANN: sqrt((183.33^2 + 33.33^2 + 216.67^2) / 2) = 202.07. The beats begin at 0 s.
    """
    steps = np.array([600] * 500 + [750] * 400 + [1000] * 300)
    samples = np.concatenate([[0], np.cumsum(steps)])
    told = hrv_of(BeatSeries(samples, np.zeros(len(samples), int), 1000.0, int(samples[-1]) + 1))
    # an interval that ends at the edge of a segment is in the next one: so one of 600 ms, and one of 750
    means = [600, (600 + 399 * 750) / 400, (750 + 299 * 1000) / 300]
    assert told["sdann_ms"] == pytest.approx(np.std(means, ddof=1))
    assert told["sdann_ms"] == pytest.approx(202.07, abs=0.6)


def test_no_sdann_of_one_segment(beats):
    assert hrv_of(beats("N" * 301))["sdann_ms"] is None


@pytest.mark.parametrize("lf_ms, hf_ms", [(40.0, 20.0), (15.0, 45.0), (30.0, 0.0)])
def test_power_of_sines(lf_ms, hf_ms):
    """Sines of 0.1 and 0.25 Hz of amplitudes a and b have the powers a^2 / 2 and b^2 / 2, also with beats left out."""
    rng = np.random.default_rng(5)
    times_s = np.arange(0, 300, 0.8) + rng.uniform(-0.05, 0.05, 375)
    nn_ms = 800 + lf_ms * np.sin(2 * np.pi * 0.1 * times_s) + hf_ms * np.sin(2 * np.pi * 0.25 * times_s)
    kept = rng.random(375) < 0.9
    low, high = band_powers_ms2(times_s[kept], nn_ms[kept], Rules())
    # a tenth for what leaks out of a window of five minutes, and a twentieth of the other sine over the gaps
    assert low == pytest.approx(lf_ms**2 / 2, rel=0.1, abs=0.05 * hf_ms**2 / 2)
    assert high == pytest.approx(hf_ms**2 / 2, rel=0.1, abs=0.05 * lf_ms**2 / 2)


def test_lf_over_hf_of_a_record():
    """A heart that breathes at 0.25 Hz by 30 ms and sways at 0.1 Hz by 60 ms: (60 / 30)^2 is 4."""
    times_s = [0.0]
    while times_s[-1] < 1800:
        t = times_s[-1]
        times_s.append(t + 0.8 + 0.06 * np.sin(2 * np.pi * 0.1 * t) + 0.03 * np.sin(2 * np.pi * 0.25 * t))
    samples = np.round(10_000 * np.array(times_s)).astype(int)
    told = hrv_of(BeatSeries(samples, np.zeros(len(samples), int), 10_000.0, int(samples[-1]) + 1))
    assert told["lf_hf"] == pytest.approx(4, rel=0.25)
    assert told["lf_ms2"] == pytest.approx(1800, rel=0.15)


@pytest.mark.parametrize("rr_s", [0.8, 2.5])  # of 0.4 Hz, which sees even times of 2.5 s at one phase alone
def test_the_periodogram_is_scipys(rr_s):
    times_s, frequencies_hz = rr_s * np.arange(1.0, 200.0), np.append(np.arange(0.04, 0.4, 0.01), 0.4)
    values = np.random.default_rng(3).normal(size=len(times_s))
    expected = lombscargle(times_s, values, 2 * np.pi * frequencies_hz)
    np.testing.assert_array_equal(lomb(times_s, values, frequencies_hz), expected)


def test_none_is_told_where_too_few_or_too_many_others(beats):
    assert hrv_of(beats("N" * 200))["none"] == TOO_FEW  # 199 intervals
    assert hrv_of(beats("N" * 201))["none"] is None
    assert hrv_of(beats("NNNV" * 150))["none"] == TOO_ECTOPIC  # two of four intervals
    assert "sdnn_ms" not in hrv_of(beats("NNNV" * 150))


def test_intervals_of_missed_and_false_beats_are_no_nn(beats):
    """0.3 to 2 s are: of 250, 300, 2000 and 2050 ms the middle two."""
    assert nn_intervals(beats("NNNNN", [250, 300, 2000, 2050])).tolist() == [False, False, True, True, False]


def test_labels_that_do_not_count_end_nn(beats):
    series = beats("NNNN", classified=np.array([1, 0, 1, 1], bool))
    assert nn_intervals(series).tolist() == [False, False, False, True]
    assert CLASSES[0] == "N"
