"""Strips of ECG on its paper: 25 mm/s and 10 mm/mV, a line every millimetre and a stronger one every five.

A millimetre is as long along time as along voltage, so that shapes and slopes look as on any other ECG. Where a row
would be too high, the gain is halved as on paper, and the axis says so.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MultipleLocator

from config import CLASSES
from deep_ecg.scoring.canvas import (
    BLUE,
    CLASS_COLOURS,
    DPI,
    INK,
    RED,
    WIDTH_IN,
    class_style,
    new_figure,
    save,
)
from deep_ecg.scoring.ecg_paper import MM_S, SQUARE_MM, gain_for

LEAST_TRACE_MM, LEAST_ROW_MM = 10.0, 30.0  # of a row with labels, which take room too; of one without
GRID = ((1, "#FAE3E3", 0.5), (SQUARE_MM, "#F0BEBE", 0.5))  # distance in mm, colour and width in points of the lines
PAPER_PX, LARGEST_MM_PX = 1250, 8  # most pixels of a row, and of a millimetre of a short one
TITLE_PX, TICKS_PX, LABEL_PX, LEGEND_PX, BETWEEN_PX = 46, 26, 28, 34, 12
LETTER_MM, REFERENCE_MM, RR_MM = 3.5, 9.0, 2.5  # middle of class letter and reference below the top, of RR above bottom
ABOVE_MM, BELOW_MM = 13.5, 5.0  # what these take of a row, above and below the trace
RR_LEAST_S, EDGE_S = 0.15, 0.15  # shorter RR intervals have no room for their number; how near to an edge that stands
RING: dict[str, Any] = {
    "marker": "o", "markersize": 17, "markerfacecolor": "none", "markeredgecolor": INK, "markeredgewidth": 2.0
}  # fmt: skip


def signal_figure(
    path: str | Path,
    raw_mv: np.ndarray,
    clean_mv: np.ndarray,
    fs_hz: float,
    start_s: float,
    record: str,
    lead: str,
    synthetic: bool,
) -> Path:
    """A strip of ECG before (red) and after (blue) filtering; both panels span the same number of millivolts.

    raw_mv, clean_mv: (n,) the same strip in mV at `fs_hz`; its first sample lies `start_s` seconds into the record.
    """
    raw_mv, clean_mv = np.asarray(raw_mv), np.asarray(clean_mv)
    time_s = start_s + np.arange(len(raw_mv)) / fs_hz
    length_s = len(raw_mv) / fs_hz
    span_mv = max(np.ptp(raw_mv), np.ptp(clean_mv))
    gain = gain_for(span_mv)
    row_mm = _whole_squares(max(gain * span_mv + SQUARE_MM, LEAST_ROW_MM))
    title = f"Record {record}, {lead}, {length_s:.1f} s from {start_s:.1f} s (n = {len(raw_mv):,} samples)"
    figure, rows = _sheet(title, synthetic, length_s, row_mm, 0)
    for axes, signal_mv, name, colour in zip(rows, (raw_mv, clean_mv), ("raw", "cleaned"), (RED, BLUE)):
        low_mv = (signal_mv.min() + signal_mv.max() - row_mm / gain) / 2
        _paper(axes, (start_s, start_s + length_s), (low_mv, low_mv + row_mm / gain), gain)
        axes.plot(time_s, signal_mv, color=colour, linewidth=1.0)
        axes.text(
            0.006, 0.97, name, color=colour, fontsize=10, fontweight="bold", ha="left", va="top",
            transform=axes.transAxes, bbox=_box(),
        )  # fmt: skip
    rows[-1].set_xlabel(_time_label(gain))
    return save(figure, path, synthetic)


def predictions_figure(
    path: str | Path,
    signal_mv: np.ndarray,
    fs_hz: float,
    start_s: float,
    peaks_s: np.ndarray,
    predicted: np.ndarray,
    reference: np.ndarray | None,
    record: str,
    synthetic: bool,
    mode: str = "",
    known: np.ndarray | None = None,
) -> Path:
    """A strip of labelled beats in two rows: cleaned signal, R peaks by class, RR intervals, wrong labels ringed.

    signal_mv: (n,) in mV at `fs_hz`; its first sample lies `start_s` seconds into the record. peaks_s: (k,) R peaks in
    seconds of the record; those outside the strip are not drawn. predicted: (k,) class indices. reference:
    (k,) class indices, -1 where no reference beat belongs to the peak; None where the record has no reference. known:
    (k,) whether the RR interval before each peak is one, by default all are.
    """
    signal_mv, peaks_s, predicted = np.asarray(signal_mv), np.asarray(peaks_s, float), np.asarray(predicted, int)
    reference = None if reference is None else np.asarray(reference, int)
    end_s = start_s + len(signal_mv) / fs_hz
    shown = np.flatnonzero((peaks_s >= start_s) & (peaks_s < end_s))
    agree = None if reference is None else int((predicted[shown] == reference[shown]).sum())
    gain, row_s = gain_for(np.ptp(signal_mv)), (end_s - start_s) / 2
    row_mm = _whole_squares(max(gain * np.ptp(signal_mv), LEAST_TRACE_MM) + ABOVE_MM + BELOW_MM)
    title = _predictions_title(record, mode, start_s, end_s, len(shown), agree)
    figure, rows = _sheet(title, synthetic, row_s, row_mm, LEGEND_PX)

    time_s = start_s + np.arange(len(signal_mv)) / fs_hz
    low_mv = signal_mv.min() - BELOW_MM / gain
    for row, axes in enumerate(rows):
        _paper(axes, (start_s + row * row_s, start_s + (row + 1) * row_s), (low_mv, low_mv + row_mm / gain), gain)
        in_row = (time_s - start_s) // row_s == row
        axes.plot(time_s[in_row], signal_mv[in_row], color=INK, linewidth=0.9, zorder=2)
        _draw_rr_intervals(axes, peaks_s, known, low_mv + RR_MM / gain)
    for i in shown:
        axes = rows[int(peaks_s[i] >= start_s + row_s)]
        peak_mv = np.interp(peaks_s[i], time_s, signal_mv)
        _draw_beat(axes, peaks_s[i], peak_mv, predicted[i], None if reference is None else reference[i], gain)
    rows[-1].set_xlabel(f"{_time_label(gain)}, between beats their RR interval, ms")
    _class_legend(figure, predicted[shown], agree is not None and agree < len(shown))
    return save(figure, path, synthetic)


# The paper -----------------------------------------------------------------------------------------------------------


def _whole_squares(height_mm: float) -> int:
    return SQUARE_MM * math.ceil(height_mm / SQUARE_MM)


def _sheet(title: str, synthetic: bool, row_s: float, row_mm: int, below_px: int) -> tuple[Figure, Sequence[Axes]]:
    """A figure of two rows of `row_s` seconds and `row_mm` millimetres, with `below_px` pixels free at the bottom.

    A millimetre has whole pixels where that is possible, so that the grid's lines are evenly apart.
    """
    fits = PAPER_PX / (MM_S * row_s)
    mm_px = min(LARGEST_MM_PX, math.floor(fits) or fits)
    width_px, height_px = MM_S * row_s * mm_px, row_mm * mm_px
    bottom_px = below_px + LABEL_PX + TICKS_PX
    sheet_px = (WIDTH_IN * DPI, bottom_px + 2 * height_px + BETWEEN_PX + TICKS_PX + TITLE_PX)
    figure = new_figure(round(sheet_px[1]) / DPI, title, synthetic, layout=None)
    left_px = round((sheet_px[0] - width_px) / 2)
    rows = []
    for from_bottom_px in (bottom_px + height_px + BETWEEN_PX + TICKS_PX, bottom_px):
        place = (left_px / sheet_px[0], from_bottom_px / sheet_px[1], width_px / sheet_px[0], height_px / sheet_px[1])
        rows.append(figure.add_axes(place))
    return figure, rows


def _paper(axes: Axes, span_s: tuple[float, float], span_mv: tuple[float, float], gain: float):
    """Sets the limits of `axes` and draws the grid: its lines lie at whole millimetres from 0 s and 0 mV."""
    for step_mm, colour, width in GRID:
        lines: dict[str, Any] = {"colors": colour, "linewidths": width, "antialiaseds": False, "zorder": 0}
        axes.vlines(_multiples(step_mm / MM_S, span_s), *span_mv, **lines)
        axes.hlines(_multiples(step_mm / gain, span_mv), *span_s, **lines)
    axes.set(xlim=span_s, ylim=span_mv)
    axes.set_yticks([])
    axes.xaxis.set_major_locator(MultipleLocator(1))
    axes.tick_params(labelsize=9)
    axes.xaxis.label.set_fontsize(9)
    axes.spines[:].set_color(GRID[1][1])


def _multiples(step: float, span: tuple[float, float]) -> np.ndarray:
    return step * np.arange(math.ceil(span[0] / step), math.floor(span[1] / step) + 1)


def _time_label(gain: float) -> str:
    return f"time in the record, s ({MM_S:g} mm/s, {gain:g} mm/mV)"


def _box(edge: str = "none") -> dict[str, Any]:
    return {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": edge, "alpha": 0.85}


# Labelled beats ------------------------------------------------------------------------------------------------------


def _draw_rr_intervals(axes: Axes, peaks_s: np.ndarray, known: np.ndarray | None, at_mv: float):
    """The RR interval in ms between each two peaks whose middle lies in the row of `axes`, where it is `known`."""
    first_s, last_s = axes.get_xlim()
    order = np.argsort(peaks_s, kind="stable")
    before_s, after_s = peaks_s[order[:-1]], peaks_s[order[1:]]
    middles_s, rr_s = (before_s + after_s) / 2, after_s - before_s
    there = (first_s <= middles_s) & (middles_s < last_s) & (rr_s >= RR_LEAST_S)  # of all the beats of a day
    there &= True if known is None else known[order[1:]]
    for place_s, interval_s in zip(np.clip(middles_s, first_s + EDGE_S, last_s - EDGE_S)[there], rr_s[there]):
        text = f"{1000 * interval_s:.0f}"
        axes.text(place_s, at_mv, text, color=INK, fontsize=7.5, ha="center", va="center", bbox=_box())


def _draw_beat(axes: Axes, peak_s: float, peak_mv: float, label: int, reference: int | None, gain: float):
    """Marker on the R peak and class letter above the trace; a wrong one gets a ring and the boxed reference."""
    name, top_mv = CLASSES[label], axes.get_ylim()[1]
    centred: dict[str, Any] = {"ha": "center", "va": "center", "fontweight": "bold"}
    whole: dict[str, Any] = {"zorder": 3, "clip_on": False}  # at the edge of the paper, too
    axes.plot(peak_s, peak_mv, markeredgecolor="white", markeredgewidth=0.6, **whole, **class_style(name))
    axes.text(peak_s, top_mv - LETTER_MM / gain, name, color=CLASS_COLOURS[name], fontsize=12, **centred)
    if reference is not None and reference != label:
        axes.plot(peak_s, peak_mv, **whole, **RING)
        letter = CLASSES[reference] if reference >= 0 else "none"
        axes.text(peak_s, top_mv - REFERENCE_MM / gain, letter, color=INK, fontsize=10, bbox=_box(INK), **centred)


def _class_legend(figure: Figure, labels: np.ndarray, any_wrong: bool):
    present = [name for i, name in enumerate(CLASSES) if i in labels]
    handles = [Line2D([], [], linestyle="", label=name, **class_style(name)) for name in present]
    if any_wrong:
        ring = RING | {"markersize": 11}
        handles.append(Line2D([], [], linestyle="", label="wrong: the reference is the boxed letter", **ring))
    if handles:
        figure.legend(handles=handles, loc="lower center", ncols=len(handles), frameon=False, fontsize=9)


def _predictions_title(record: str, mode: str, start_s: float, end_s: float, beats: int, agree: int | None) -> str:
    run = f"Record {record}, {mode} mode" if mode else f"Record {record}"
    verdict = "no reference" if agree is None else f"{agree} agree with the reference"
    return f"{run}, {end_s - start_s:.1f} s from {start_s:.1f} s: n = {beats} beats, {verdict}"
