"""Groups of like beats over a whole record."""

import numpy as np
import pytest

from deep_ecg.report.beat_series import BeatSeries
from deep_ecg.report.shapes import REST, as_json, shapes_of

FS_HZ = 250.0


def wave(kind: str) -> np.ndarray:
    """A second of signal with the R-peak in its middle: narrow and upright, wide and inverted, or of two peaks."""
    t_s = np.arange(250) / FS_HZ - 0.5
    if kind == "narrow":
        return np.exp(-0.5 * (t_s / 0.015) ** 2)
    if kind == "wide":
        return -1.5 * np.exp(-0.5 * (t_s / 0.05) ** 2) + 0.5 * np.exp(-0.5 * ((t_s - 0.2) / 0.05) ** 2)
    return np.exp(-0.5 * ((t_s + 0.05) / 0.01) ** 2) - np.exp(-0.5 * ((t_s - 0.05) / 0.01) ** 2)


def record(kinds: list[str], labels: list[int]) -> tuple[BeatSeries, np.ndarray]:
    signal_mv = np.concatenate([wave(kind) for kind in kinds])
    samples = 125 + 250 * np.arange(len(kinds))
    return BeatSeries(samples, np.array(labels), FS_HZ, len(signal_mv)), signal_mv


def test_shapes_counts_and_agreement():
    """Of 6 narrow beats 5 are N and one S: 83.3 %; of 3 wide ones all V; the only one of two peaks is no shape.

    The narrow ones lost their place to the odd one and began a group again (~0): they are one shape.
    """
    kinds = ["narrow", "narrow", "wide", "narrow", "wide", "odd", "narrow", "narrow", "wide", "narrow"]
    labels = [0, 0, 2, 1, 2, 4, 0, 0, 2, 0]
    groups = np.array([~0, 0, ~1, 0, 1, ~0, ~0, 0, 1, 0])
    shapes, shape_of_beat = shapes_of(*record(kinds, labels), groups)
    assert as_json(shapes) == [
        {"beats": 6, "label": "N", "agreement_percent": 83.3, "counts": {"N": 5, "S": 1}},
        {"beats": 3, "label": "V", "agreement_percent": 100.0, "counts": {"V": 3}},
    ]
    assert shape_of_beat.tolist() == [0, 0, 1, 0, 1, REST, 0, 0, 1, 0]
    expected = wave("narrow")[125 - 62 : 125 + 113]
    assert np.allclose(shapes[0].mean_mv[:175], expected[:175] - shapes[0].mean_mv.mean() - expected.mean(), atol=0.02)


def test_beats_marked_a_little_off_are_of_one_shape():
    """R-peaks 20 ms off: the means agree when shifted."""
    series, signal_mv = record(["narrow"] * 8, [0] * 8)
    samples = series.samples + np.array([0, 0, 0, 0, 5, 5, 5, 5])
    series = BeatSeries(samples, series.labels, FS_HZ, series.length)
    shapes, _ = shapes_of(series, signal_mv, np.array([~0, 0, 0, 0, ~1, 1, 1, 1]))
    assert [shape.beats for shape in shapes] == [8]


@pytest.mark.parametrize("at", [0, -1])
def test_beats_at_the_ends_and_missing_samples(at):
    series, signal_mv = record(["narrow"] * 3, [0, 0, 0])
    samples = series.samples.copy()
    samples[at] = 0 if at == 0 else series.length - 1
    signal_mv[130:140] = np.nan
    shapes, _ = shapes_of(BeatSeries(samples, series.labels, FS_HZ, series.length), signal_mv, np.array([~0, 0, 0]))
    assert len(shapes) == 1 and np.isfinite(shapes[0].mean_mv).all()


def test_beats_of_which_no_two_are_alike_are_no_shape():
    shapes, shape_of_beat = shapes_of(*record(["narrow", "wide", "odd"], [0, 2, 4]), np.array([~0, ~1, ~2]))
    assert shapes == [] and shape_of_beat.tolist() == [REST] * 3
