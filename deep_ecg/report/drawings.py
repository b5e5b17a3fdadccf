"""Drawings of a report as SVG: strips on ECG paper, mean waveforms, histogram and Lorenz plot.

Lengths of paper are millimetres, 25 to the second and 10 to the millivolt, so that a printed page has them. Colours
are those of the style sheet, so that light and dark are one drawing.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from markupsafe import Markup

from config import CLASSES
from deep_ecg.beats.signal_watch import stretches
from deep_ecg.report.recording import Recording
from deep_ecg.report.shapes import BEFORE_S, Shape
from deep_ecg.report.strips import STRIP_S
from deep_ecg.scoring.ecg_paper import MM_MV, MM_S, MOST_TRACE_MM, SQUARE_MM, gain_for
from deep_ecg.system.text import count_of

LABELS_MM, LEAST_TRACE_MM = 10.0, 20.0  # room for letters above a trace; of the trace itself
LETTER_MM, REFERENCE_MM = 4.0, 8.2  # of their baselines, from the top
HALF_LETTER_MM = 1.6  # of its width
NUMBERS_MM, RR_MM = 4.0, 1.2  # room for RR intervals below; of their baseline, from the bottom
STEPS_MM = 100  # in which a trace is drawn
SHAPE_MM = 30  # most of a mean waveform
PLOT_PX = (500, 300)
LORENZ_PX = 420
MARGIN_PX = (46, 20, 36, 12)  # left, right, bottom, top
SHADES = 4  # of the cells of a Lorenz plot, by how many pairs they hold


def strip_svg(recording: Recording, start_s: float) -> Markup:
    """A strip from `start_s` on, with the label of each beat above, and the reference beside it where there is one."""
    times_s, signal_mv = recording.drawn(start_s, STRIP_S)
    low_mv, span_mv = _extent(signal_mv)
    gain = gain_for(span_mv)
    trace_mm = min(max(math.ceil(gain * span_mv / SQUARE_MM) * SQUARE_MM, LEAST_TRACE_MM), MOST_TRACE_MM)
    height_mm = math.ceil((trace_mm + LABELS_MM + NUMBERS_MM) / SQUARE_MM) * SQUARE_MM
    width_mm, middle_mm = MM_S * STRIP_S, (height_mm + LABELS_MM - NUMBERS_MM) / 2
    y_mm = middle_mm - gain * (signal_mv - low_mv - span_mv / 2)
    parts = [_paper(width_mm, height_mm), _trace(MM_S * (times_s - start_s), y_mm)]
    parts += _labels(recording, start_s, height_mm)
    if gain != MM_MV:
        parts.append(f'<text x="1" y="{height_mm - 1:g}" class="rr" text-anchor="start">{gain:g} mm/mV</text>')
    return _svg(width_mm, height_mm, parts, "mm", f"ECG from {recording.series.time_text(start_s)}")


def _labels(recording: Recording, start_s: float, height_mm: float) -> Iterator[str]:
    """Letters of labels and reference, and RR intervals in ms."""
    series, end_s = recording.series, start_s + STRIP_S
    first, last = np.searchsorted(series.times_s, [start_s, end_s]).tolist()
    for place in range(first, last):
        x_mm = MM_S * (series.times_s[place] - start_s)
        name = CLASSES[series.labels[place]] if series.in_class[place] else "?"
        colour = f"c-{name if name != '?' else 'Q'}"
        yield f'<text x="{_inside(x_mm):.1f}" y="{LETTER_MM}" class="beat {colour}">{name}</text>'
        if place > first and np.isfinite(series.rr_s[place]):
            rr_s = series.rr_s[place]
            middle_mm = x_mm - MM_S * rr_s / 2
            yield f'<text x="{middle_mm:.1f}" y="{height_mm - RR_MM:g}" class="rr">{1000 * rr_s:.0f}</text>'
    if recording.reference is not None:
        times_s = recording.reference.samples / series.fs_hz
        for place in np.flatnonzero((times_s >= start_s) & (times_s < end_s)).tolist():
            x_mm, name = MM_S * (times_s[place] - start_s), CLASSES[recording.reference.labels[place]]
            yield f'<text x="{_inside(x_mm):.1f}" y="{REFERENCE_MM}" class="ref">{name.lower()}</text>'


def _inside(x_mm: float) -> float:
    """Where a letter at `x_mm` of a strip stands whole."""
    return min(max(x_mm, HALF_LETTER_MM), MM_S * STRIP_S - HALF_LETTER_MM)


def shape_svg(shape: Shape, fs_hz: float) -> Markup:
    """The mean waveform of a shape."""
    low_mv, span_mv = _extent(shape.mean_mv)
    gain = gain_for(span_mv, SHAPE_MM - SQUARE_MM)
    width_mm = math.ceil(MM_S * len(shape.mean_mv) / fs_hz / SQUARE_MM) * SQUARE_MM
    x_mm = MM_S * np.arange(len(shape.mean_mv)) / fs_hz
    y_mm = SHAPE_MM / 2 - gain * (shape.mean_mv - low_mv - span_mv / 2)
    at_mm = MM_S * BEFORE_S
    parts = [_paper(width_mm, SHAPE_MM), f'<path class="r-line" d="M{at_mm:g} 0V{SHAPE_MM}"/>', _trace(x_mm, y_mm)]
    if gain != MM_MV:
        parts.append(f'<text x="1" y="{SHAPE_MM - 1}" class="rr" text-anchor="start">{gain:g} mm/mV</text>')
    return _svg(width_mm, SHAPE_MM, parts, "mm", f"mean of {count_of(shape.beats, 'beat')}")


def _extent(signal_mv: np.ndarray) -> tuple[float, float]:
    """Lowest value and span of what is known of a signal."""
    known_mv = signal_mv[np.isfinite(signal_mv)]
    return (float(known_mv.min()), float(np.ptp(known_mv))) if len(known_mv) else (0.0, 0.0)


def _paper(width_mm: float, height_mm: float) -> str:
    return "".join(
        f'<rect width="{width_mm:g}" height="{height_mm:g}" class="{name}"/>' for name in ("paper", "fine", "coarse")
    )


def _trace(x_mm: np.ndarray, y_mm: np.ndarray) -> str:
    """A line through the points (n,), broken where one is missing."""
    points = np.round(STEPS_MM * np.stack([x_mm, np.nan_to_num(y_mm)], axis=1)).astype(int)
    parts = []
    for first, last in stretches(np.isfinite(y_mm)):
        steps = np.diff(points[first : last + 1], axis=0).tolist()
        parts.append(f"M{points[first, 0]} {points[first, 1]}l" + " ".join(f"{dx} {dy}" for dx, dy in steps))
    return f'<path class="trace" transform="scale({1 / STEPS_MM})" d="{"".join(parts)}"/>'


def _svg(width: float, height: float, parts: Sequence[str], unit: str, title: str) -> Markup:
    size = f'width="{width:g}{unit}" height="{height:g}{unit}" viewBox="0 0 {width:g} {height:g}"'
    return Markup(f'<svg {size} role="img" aria-label="{title}">{"".join(parts)}</svg>')


# Plots ---------------------------------------------------------------------------------------------------------------


class _Plot:
    """A frame with axes: `x` and `y` give the pixel of a value."""

    def __init__(self, size_px: tuple[int, int], x_span: tuple[float, float], y_span: tuple[float, float]):
        left, right, bottom, top = MARGIN_PX
        self.size_px, self._x_span, self._y_span = size_px, x_span, y_span
        self._inner = (left, size_px[0] - right, size_px[1] - bottom, top)

    def x(self, value: float) -> float:
        """The pixel of `value` from the left."""
        left, right, _, _ = self._inner
        return left + (right - left) * (value - self._x_span[0]) / ((self._x_span[1] - self._x_span[0]) or 1)

    def y(self, value: float) -> float:
        """The pixel of `value` from the top."""
        _, _, bottom, top = self._inner
        return bottom - (bottom - top) * (value - self._y_span[0]) / ((self._y_span[1] - self._y_span[0]) or 1)

    def axes(self, x_label: str, y_label: str) -> Iterator[str]:
        """Lines, numbers and labels of both axes."""
        left, right, bottom, top = self._inner
        for value in ticks(*self._x_span):
            x = self.x(value)
            yield f'<path class="tick" d="M{x:.1f} {top}V{bottom}"/>'
            yield f'<text x="{x:.1f}" y="{bottom + 14}">{value:g}</text>'
        for value in ticks(*self._y_span):
            y = self.y(value)
            yield f'<path class="tick" d="M{left} {y:.1f}H{right}"/>'
            yield f'<text x="{left - 5}" y="{y + 4:.1f}" class="end">{value:g}</text>'
        yield f'<text x="{(left + right) / 2}" y="{self.size_px[1] - 4}">{x_label}</text>'
        middle = (top + bottom) / 2
        yield f'<text x="11" y="{middle}" transform="rotate(-90 11 {middle})">{y_label}</text>'


def ticks(low: float, high: float, most: int = 7) -> list[float]:
    """At most so many round values from `low` to `high`."""
    rough = (high - low) / most or 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(size * power for size in (1, 2, 5, 10) if size * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(step * number, 6) for number in range(first, last + 1)]


def histogram_svg(histogram: dict) -> Markup | None:
    """The RR histogram of `measures.rr_histogram`, the classes one upon the other; None where it is empty."""
    counts = {name: np.array(one) for name, one in histogram["counts"].items()}
    if not counts:
        return None
    total, width, first = np.sum(list(counts.values()), axis=0), histogram["bin_ms"], histogram["first_ms"]
    plot = _Plot(PLOT_PX, (first, first + width * len(total)), (0, 1.05 * int(total.max())))
    parts, below = list(plot.axes("RR, ms", "beats")), np.zeros(len(total), int)
    for name, one in counts.items():
        path = []
        for place in np.flatnonzero(one).tolist():
            left, right = plot.x(first + width * place), plot.x(first + width * (place + 1))
            low, high = plot.y(below[place]), plot.y(below[place] + one[place])
            path.append(f"M{left:.1f} {low:.1f}V{high:.1f}H{right:.1f}V{low:.1f}z")
        parts.append(f'<path class="c-{name}" d="{"".join(path)}"/>')
        below = below + one
    return _svg(*PLOT_PX, parts, "", "RR histogram")


def lorenz_svg(cells: dict) -> Markup | None:
    """The Lorenz plot of `measures.lorenz`: the RR after a beat over the one before it; None where it is empty."""
    found = {name: np.array(one) for name, one in cells["cells"].items()}
    if not found:
        return None
    every, width = np.concatenate(list(found.values())), cells["bin_ms"]
    span = (float(every[:, :2].min() * width), float((every[:, :2].max() + 1) * width))
    plot = _Plot((LORENZ_PX, LORENZ_PX), span, span)
    size = plot.x(span[0] + width) - plot.x(span[0])
    parts = list(plot.axes("RR before the beat, ms", "RR after it, ms"))
    most = math.log(every[:, 2].max() + 1)
    for name, one in found.items():
        shades = np.ceil(SHADES * np.log(one[:, 2] + 1) / most).astype(int)
        for shade in range(1, SHADES + 1):
            squares = "".join(
                f"M{plot.x(x * width):.1f} {plot.y(y * width):.1f}h{size:.1f}v{-size:.1f}h{-size:.1f}z"
                for x, y, _ in one[shades == shade].tolist()
            )
            if squares:
                parts.append(f'<path class="c-{name}" opacity="{0.25 + 0.75 * shade / SHADES:.2f}" d="{squares}"/>')
    return _svg(LORENZ_PX, LORENZ_PX, parts, "", "Lorenz plot")
