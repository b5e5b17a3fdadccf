"""The running template, on drawn beats: which beats join it, how they are aligned, what it forgets."""

import numpy as np
import pytest

from deep_ecg.beats.shape import cut_windows
from deep_ecg.beats.templates import RunningTemplate

T = np.arange(-140, 140)  # samples around R
NARROW, WIDE = np.exp(-0.5 * (T / 4) ** 2), -np.exp(-0.5 * (T / 15) ** 2)


def templates_of(beats_mv, qrs=slice(110, 171), block_beats=256):
    """What a new template makes of `beats_mv` (beats, 280) at 360 Hz."""
    return RunningTemplate(280, qrs, 360.0).steps(beats_mv, block_beats)


@pytest.mark.parametrize("late, expected", [(12, [*range(12, 280), *[279] * 12]), (-12, [*[0] * 12, *range(268)])])
def test_an_aligned_beat_is_shifted_and_repeats_its_last_sample(late, expected):
    late_mv = np.roll(NARROW, late) + 0.001 * T / 140
    aligned_mv, templates_mv, _ = templates_of(np.stack([NARROW, late_mv]))
    assert np.array_equal(templates_mv[1], NARROW)
    assert np.array_equal(aligned_mv[1], late_mv[expected])


def test_a_beat_without_need_is_not_shifted():
    """A straight slope is of the same shape at every shift."""
    aligned_mv, *_ = templates_of(np.stack([T / 140, T / 100]))
    assert np.array_equal(aligned_mv[1], T / 100)


def test_the_template_of_a_beat_is_of_the_beats_before_it():
    rng = np.random.default_rng(0)
    beats_mv = rng.normal(size=(40, 280))
    aligned_mv, templates_mv, _ = templates_of(beats_mv, slice(110, 170))
    assert np.array_equal(templates_mv[0], beats_mv[0]) and np.array_equal(aligned_mv[0], beats_mv[0])
    for beat in (1, 5, 39):
        changed = np.concatenate([beats_mv[:beat], rng.normal(size=(40 - beat, 280))])
        other_aligned_mv, other_templates_mv, _ = templates_of(changed, slice(110, 170))
        assert np.array_equal(other_templates_mv[: beat + 1], templates_mv[: beat + 1])
        assert np.array_equal(other_aligned_mv[:beat], aligned_mv[:beat])


def test_templates_of_a_stream_are_those_of_the_record(record, annotation):
    """What a step returned stays as it was, whatever comes later; blocks of the record are no bounds."""
    beats_mv = cut_windows(record.signal_mv, annotation.samples, 140, 140)
    template = RunningTemplate(280, slice(110, 171), 360.0)
    steps = [template.steps(beat_mv[None]) for beat_mv in beats_mv]
    for of_steps, of_record in zip(zip(*steps), templates_of(beats_mv, block_beats=7)):
        assert np.array_equal(np.concatenate(of_steps), of_record)


def test_beats_of_a_shape_are_of_one_group_and_a_new_shape_starts_one():
    """Narrow, wide and narrow beats in turn; the first of each shape is told by ~group."""
    beats_mv = np.stack([WIDE if i % 3 == 1 else NARROW for i in range(12)])
    _, _, groups = templates_of(beats_mv)
    assert groups.tolist() == [~0, ~1, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0]


def test_the_template_is_the_mean_of_the_latest_twenty_beats_of_its_shape():
    """Of beats that grow by 1 a beat up to 20: the mean of 1 ... n. Then each new one moves it by a twentieth."""
    heights = np.arange(1.0, 32.0)
    _, templates_mv, _ = templates_of(heights[:, None] * NARROW)
    expected = [1.0] + [(n + 1) / 2 for n in range(1, 20)]  # of beats 0 ... 19, before each
    np.testing.assert_allclose(templates_mv[:20].max(axis=1), expected, rtol=0.01)  # ranks fade by 0.2 % a beat
    moved = np.diff(templates_mv.max(axis=1))[22:]
    np.testing.assert_allclose(moved, (heights - templates_mv.max(axis=1))[22:-1] / 20, rtol=0.01)


def test_the_template_is_the_commoner_shape_and_never_a_blend():
    """Two shapes in turn from the very first beat: bigeminy. The template is one of them, then the commoner one."""
    beats = np.array([WIDE, NARROW] * 20 + [NARROW] * 10)
    _, templates_mv, _ = templates_of(beats)
    is_narrow = np.isclose(templates_mv, NARROW).all(axis=1)
    assert (is_narrow | np.isclose(templates_mv, WIDE).all(axis=1)).all()
    assert is_narrow[-8:].all()
