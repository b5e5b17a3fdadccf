"""Long stretches without beats: where, and why."""

import numpy as np
import pytest

from deep_ecg.labelling.signal_state import Stretch, as_json, in_words, silent_stretches
from deep_ecg.records.wfdb_files import Record
from tests.support.records import beat_times_s, spikes_mv

FS_HZ = 250.0


@pytest.mark.parametrize(
    "why, lost",
    [
        ("missing", lambda count: np.full(count, np.nan)),
        ("flat", lambda count: np.full(count, 0.1)),
        ("saturated", lambda count: np.full(count, 5.0)),
        ("signal too small: lead off?", lambda count: np.random.default_rng(1).normal(0, 0.002, count)),
        ("no beats found", lambda count: np.random.default_rng(1).normal(0, 0.2, count)),
    ],
)
def test_a_long_stretch_without_beats_has_a_reason(why, lost):
    times_s = beat_times_s(60)
    signal_mv = spikes_mv(times_s, 60, FS_HZ)
    signal_mv[20 * 250 : 40 * 250] = lost(20 * 250)
    samples = np.round(times_s[(times_s < 19.9) | (times_s > 40.1)] * FS_HZ).astype(int)
    before, after = samples[samples < 5000].max(), samples[samples > 9999].min()
    silent = silent_stretches(Record("r", "II", FS_HZ, signal_mv), samples)
    assert silent == [Stretch(before, after, why)]


@pytest.mark.parametrize("pause_s, told", [(4.9, 0), (5.1, 1)])
def test_a_pause_is_not_told(pause_s, told):
    samples = np.array([250, 500, 500 + round(pause_s * 250), 750 + round(pause_s * 250)])
    signal_mv = np.random.default_rng(1).normal(0, 0.2, samples[-1] + 100)
    assert len(silent_stretches(Record("r", "II", FS_HZ, signal_mv), samples)) == told


def test_words_and_numbers_of_the_stretches():
    silent = as_json([Stretch(150_000, 750_000, "flat")], FS_HZ)
    assert silent == [{"first": 150_000, "last": 750_000, "first_s": 600.0, "last_s": 3000.0, "why": "flat"}]
    assert in_words(silent) == "no beats for 2,400 s: 0:10:00-0:50:00 (flat)"
    five = ", ".join(5 * ["0:10:00-0:50:00 (flat)"])
    assert in_words(8 * silent) == f"no beats for 19,200 s: {five} and 3 stretches more"
    assert in_words([]) is None
