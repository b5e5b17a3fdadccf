"""Figures drawn in tests, and what is measured on them."""

from itertools import combinations
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from deep_ecg.scoring import strips

FS_HZ = 360.0


def beat_strip(seconds: float = 12.0) -> tuple[np.ndarray, np.ndarray]:
    """A spike of 1 mV every 0.75 s, and the times of the spikes in seconds of the strip."""
    signal_mv = np.zeros(int(seconds * FS_HZ))
    peaks_s = np.arange(0.5, seconds, 0.75)
    signal_mv[np.round(peaks_s * FS_HZ).astype(int)] = 1.0
    return signal_mv, peaks_s


def draw_signal(path: Path, synthetic: bool) -> Path:
    signal_mv, _ = beat_strip()
    return strips.signal_figure(path, signal_mv + 0.3, signal_mv, FS_HZ, 60.0, "208", "MLII", synthetic)


def draw_predictions(path: Path, synthetic: bool) -> Path:
    signal_mv, peaks_s = beat_strip()
    labels = np.zeros(len(peaks_s), int)
    return strips.predictions_figure(path, signal_mv, FS_HZ, 0.0, peaks_s, labels, labels, "208", synthetic)


def overlapping(figure: Figure, artists: list) -> list[tuple[str, str]]:
    boxes = [(artist.get_text(), artist.get_window_extent(figure.canvas.get_renderer())) for artist in artists]
    return [(a, b) for (a, box_a), (b, box_b) in combinations(boxes, 2) if box_a.overlaps(box_b)]
