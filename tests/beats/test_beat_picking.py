"""Which peaks are beats: cases worked out by hand."""

import numpy as np
import pytest

from deep_ecg.beats.beat_picking import Peak, StreamPicker, StrongestPeaks, peaks_of, record_beats, strongest


def picked(*peaks: tuple[int, float], threshold=0.0, least=-2.0, clearly=1.0) -> list[list[int]]:
    """The steps told with each of `peaks`, (step, logit)."""
    picker = StreamPicker(threshold, least, clearly)
    return [[one.step for one in picker(Peak(step, logit, 7 * step))] for step, logit in peaks]


def test_peaks_are_local_maxima_above_the_threshold():
    row = np.array([0.0, 2.0, 1.0, 1.0, 3.0, 3.0, 0.5, 0.9, 0.1])
    assert peaks_of(row, 1.0).tolist() == [0, 3]  # of two equals the first; 0.9 is too low


def test_a_peak_below_the_threshold_is_no_beat():
    assert picked((50, 2.0), (90, -0.1), (130, 0.0)) == [[50], [], [130]]


def test_a_peak_within_the_refractory_period_is_none_unless_it_is_clearly_higher():
    assert picked((50, 0.2), (57, 1.1)) == [[50], []]
    assert picked((50, 0.2), (57, 1.2)) == [[50], [57]]  # the first was a P wave
    assert picked((50, 0.2), (55, 5.0)) == [[50], []]  # too near for that


REGULAR = [(50, 2.0), (90, 2.0), (130, 2.0), (170, 2.0)]  # RR of 40 steps


def test_a_pause_shows_that_a_low_peak_was_a_beat():
    assert picked(*REGULAR, (211, -1.0), (250, 2.0))[-2:] == [[], [211, 250]]


def test_of_several_low_peaks_the_highest_was_the_beat():
    assert picked(*REGULAR, (200, -1.9), (211, -1.0), (225, -1.5), (250, 2.0))[-1] == [211, 250]


def test_no_beat_is_looked_for_without_a_pause_near_a_beat_or_before_the_rhythm_is_known():
    assert picked(*REGULAR, (200, -1.0), (226, 2.0))[-1] == [226]  # 56 steps are no longer than 1.4 times 40
    assert picked(*REGULAR, (184, -1.0), (250, 2.0))[-1] == [250]  # 14 steps after a beat
    assert picked(*REGULAR, (236, -1.0), (250, 2.0))[-1] == [250]  # 14 before
    assert picked(*REGULAR[:3], (171, -1.0), (210, 2.0))[-1] == [210]  # two intervals tell no rhythm


def test_what_is_too_long_ago_is_left():
    assert picked(*REGULAR, (211, -1.0), (337, 2.0))[-1] == [337]
    assert picked(*REGULAR, (211, -1.0), (336, 2.0))[-1] == [211, 336]


P_WAVE = (59, 0.5), (69, 2.0)  # after which a peak below 1.5 is held for 12 steps


def held(*peaks: tuple[int, float], end: int) -> list[tuple[int, int]]:
    """The steps told after a P wave that was taken for a beat, each with the step by which it was known."""
    picker, told = StreamPicker(0.0, -2.0, 1.0), []
    for peak in P_WAVE:
        assert len(picker(Peak(*peak, r=7))) == 1
    by_step = dict(peaks)
    for step in range(70, end):
        if picker.held_until is not None and step > picker.held_until:
            told += [(one.step, step) for one in picker.let_go()]
        if step in by_step:
            told += [(one.step, step) for one in picker(Peak(step, by_step[step], 7))]
    return told


def test_a_low_peak_before_a_clearly_higher_one_is_a_p_wave_once_one_was():
    assert held((100, 0.5), (111, 2.0), end=150) == [(111, 111)]
    assert held((100, 0.5), (112, 1.6), end=150) == [(112, 112)]  # 12 steps later
    assert held((100, 0.5), (107, 1.5), end=150) == [(107, 107)]


def test_a_low_peak_is_a_beat_when_nothing_higher_follows_soon():
    assert held((100, 0.5), end=150) == [(100, 113)]
    assert held((100, 0.5), (113, 2.0), end=150) == [(100, 113), (113, 113)]
    assert held((100, 0.5), (111, 0.9), end=150) == [(100, 111), (111, 111)]
    assert held((100, 0.5), (107, 0.9), end=150) == [(100, 113)]  # within the refractory period


def test_a_peak_that_is_nearly_as_high_as_the_beat_before_is_not_held():
    assert held((100, 1.5), (111, 2.0), end=150) == [(100, 100), (111, 111)]


def test_after_three_beats_without_a_p_wave_no_peak_is_held():
    regular = [(100 + 40 * beat, 2.0) for beat in range(4)]
    last = regular[-1][0]
    assert held(*regular[:-1], (last, 0.5), end=last + 30)[-1] == (last, last)
    assert held(*regular[:-2], (last - 40, 0.5), end=last)[-1] == (last - 40, last - 40 + 13)


def logits(length: int, peaks: dict[int, float]) -> np.ndarray:
    row = np.full(length, -6.0)
    for step, logit in peaks.items():
        row[step] = logit
    return row


def beats_of(row: np.ndarray, threshold: float, least: float) -> np.ndarray:
    peaks = strongest(row, least)
    return peaks[record_beats(peaks, row[peaks], threshold)]


def test_of_close_peaks_of_a_record_the_higher_one_is_the_beat():
    row = logits(200, {50: 1.0, 58: 3.0, 100: 3.0, 109: 3.0, 150: -0.5})
    assert beats_of(row, 0.0, -3.0).tolist() == [58, 100]


def test_where_beats_are_sure_the_rhythm_does_not_matter():
    peaks = {50 + 40 * beat: 4.0 for beat in range(30)} | {70 + 40 * 20: 0.1, 70 + 40 * 22: -0.1}
    assert beats_of(logits(1400, peaks), 0.0, -3.0).tolist() == sorted({*peaks} - {70 + 40 * 22})


def test_where_beats_are_doubtful_what_is_in_time_is_taken_and_what_is_not_is_left():
    regular = {50 + 40 * beat: 0.5 for beat in range(60)}
    late = 50 + 40 * 30
    peaks = regular | {late: -0.4, 68 + 40 * 15: 0.3}
    assert beats_of(logits(2500, peaks), 0.0, -3.0).tolist() == sorted(regular)


def test_beats_that_are_all_too_unlikely_make_no_longer_usual_interval():
    """Most intervals between the likely beats are of 120 steps, for between them two are unlikely each time."""
    regular = {50 + 40 * beat: 0.5 if beat % 7 in (0, 3, 6) else -0.6 for beat in range(60)}
    peaks = regular | {68 + 40 * beat: 0.1 for beat in (15, 33)}
    assert beats_of(logits(2500, peaks), 0.0, -3.0).tolist() == sorted(regular)


def test_there_may_be_no_peak_at_all():
    assert beats_of(np.full(500, -6.0), 0.0, -3.0).tolist() == []
    assert beats_of(np.zeros(0), 0.0, -3.0).tolist() == []


@pytest.mark.parametrize("size", [1, 7, 20, 64, 1000])
def test_peaks_are_the_same_in_parts_of_any_size(size):
    row = np.random.default_rng(size).integers(-4, 4, 3000).astype(float)  # with many equals
    find = StrongestPeaks(0.0)
    parts = [find(row[start : start + size]) for start in range(0, len(row), size)] + [find(np.zeros(0), ended=True)]
    steps, heights = (np.concatenate(both) for both in zip(*parts))
    assert steps.tolist() == strongest(row, 0.0).tolist()
    assert heights.tolist() == row[steps].tolist()
