"""Windows around each beat, and features of its P wave, worked by hand."""

import numpy as np
import pytest

from deep_ecg.beats.shape import P_WAVE, PWaveMemory, cut_windows, p_wave_span

P_SPAN = slice(10, 70)
WAVE = np.sin(np.pi * np.arange(60) / 59)  # of one P wave, which fills its span


def test_windows_lie_around_r_and_repeat_the_ends_of_the_record():
    signal = np.arange(100.0)
    windows = cut_windows(signal, np.array([2, 50, 99]), 4, 3)
    np.testing.assert_array_equal(windows, [[0, 0, 0, 1, 2, 3, 4], np.arange(46, 53), [95, 96, 97, 98, 99, 99, 99]])


def p_waves(*heights_mv, template_mv=0.1, memory=None):
    """Features of P waves of `heights_mv` (beats,) against a template of `template_mv`, on a level of 0.3 mV."""
    beats_mv = np.zeros((len(heights_mv), 280))
    beats_mv[:, P_SPAN] = 0.3 + np.outer(heights_mv, WAVE)
    templates_mv = np.zeros((len(heights_mv), 280))
    templates_mv[:, P_SPAN] = template_mv * WAVE
    return (memory or PWaveMemory(P_SPAN, 360.0)).steps(beats_mv, templates_mv)


def test_a_p_wave_is_like_the_usual_one_whatever_its_height_and_level_and_the_means_are_of_earlier_beats():
    rows = p_waves(0.1, 0.2, -0.1, 0.05)
    np.testing.assert_allclose(rows[:, 0], [1, 1, -1, 1], atol=1e-6)
    for mean in rows[:, 1:].T:
        np.testing.assert_allclose(mean, [0, 1, 1, 1 / 3], atol=1e-6)


def test_noise_above_the_band_of_a_p_wave_leaves_it_alike():
    """A hum of 20 or 60 Hz, whole cycles of which last 50 ms, has no mean over them; one of 6 Hz is no noise."""
    wave_mv = np.pad(0.1 * WAVE, (P_SPAN.start, 280 - P_SPAN.stop))

    def correlation(hz: float) -> float:
        beat_mv = wave_mv + 0.3 * np.cos(2 * np.pi * hz * np.arange(280) / 360)
        return PWaveMemory(P_SPAN, 360.0).steps(beat_mv[None], wave_mv[None])[0, 0]

    assert [correlation(20.0), correlation(60.0)] == pytest.approx([1, 1], abs=1e-6)
    assert correlation(6.0) < 0.5


@pytest.mark.parametrize("samples, expected", [(17, 0.0), (18, 0.0), (19, 1.0)])
def test_a_span_too_short_to_be_smoothed_says_nothing(samples, expected):
    """Eighteen samples give one mean, which is alike to nothing; nineteen give two."""
    rising_mv = np.arange(64.0)[None]
    assert PWaveMemory(slice(4, 4 + samples), 360.0).steps(rising_mv, rising_mv)[0, 0] == pytest.approx(expected)


def test_without_a_p_wave_there_is_nothing_to_be_alike():
    np.testing.assert_allclose(p_waves(0.0)[0], 0, atol=1e-6)
    np.testing.assert_allclose(p_waves(0.1, template_mv=0.0)[0], 0, atol=1e-6)


def test_a_window_that_holds_no_p_wave_says_nothing():
    assert p_wave_span(20, 44, 360.0) == slice(0, 0)
    rows = PWaveMemory(slice(0, 0), 360.0).steps(np.ones((2, 64)), np.ones((2, 64)))
    np.testing.assert_array_equal(rows, np.zeros((2, len(P_WAVE))))


@pytest.mark.parametrize("place, memory", [(1, 8), (2, 32)])
def test_the_usual_p_wave_is_forgotten_by_so_many_beats(place, memory):
    """After any number of beats alike, one upside down takes 2 / memory off the mean, two nearly twice that."""
    rows = p_waves(*[0.1] * 50, -0.1, -0.1, 0.1)
    assert rows[50, place] == pytest.approx(1)
    assert rows[51, place] == pytest.approx(1 - 2 / memory)
    assert rows[52, place] == pytest.approx(1 - 2 / memory - (2 - 2 / memory) / memory)


def test_p_waves_one_by_one_are_the_same():
    heights_mv, memory = np.random.default_rng(0).normal(size=70), PWaveMemory(P_SPAN, 360.0)
    single = [p_waves(height_mv, memory=memory) for height_mv in heights_mv]
    assert np.array_equal(np.concatenate(single), p_waves(*heights_mv))
