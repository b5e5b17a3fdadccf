"""A report as one HTML file: no network, no other file; the program that draws in it is uPlot, licence beside it."""

import base64
import json
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import jinja2
import numpy as np
from markupsafe import Markup

from config import CLASSES
from deep_ecg.report.beat_series import BeatSeries
from deep_ecg.report.drawings import histogram_svg, lorenz_svg, shape_svg, strip_svg
from deep_ecg.report.episodes import NOT_READ, Episode
from deep_ecg.report.recording import Envelope, Recording, envelope_of
from deep_ecg.report.rules import written_out
from deep_ecg.report.shapes import Shape
from deep_ecg.report.strips import STRIP_S, Strip, strips_of
from deep_ecg.system.text import UNDEFINED, count_of, number

TEMPLATES = Path(__file__).parent / "templates"
TREND_BINS, LEAST_TREND_S = 720, 10.0
BURDEN_BINS, LEAST_BURDEN_S = 96, 60.0
ROUND_S = (10, 15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)
MISSING = -32768  # in place of a step: no sample
STEP_MV = 0.001  # of the samples of held strips
MOST_MARKS = 300  # episodes that the whole record shows
MOST_LISTED = 100  # episodes in the page's table
PLAIN = {
    "N": "normal, bundle branch block and most escape beats",
    "S": "supraventricular: early, from the atria or the AV node",
    "V": "ventricular",
    "F": "fusion of a normal and a ventricular beat",
    "Q": "paced, or not to be classified",
}
TRUST_WORDS = {
    "high": "the labels can be relied on as far as those of this program can be",
    "fair": "some labels are to be looked at",
    "low": "the labels are not to be relied on without looking at the strips",
}


def report_page(recording: Recording, measures: dict, episodes: Sequence[Episode], shapes: Sequence[Shape]) -> str:
    """The page of a recording with its `measures` (`measures_of`), `episodes` and `shapes`."""
    series = recording.series
    strips = strips_of(series, episodes)
    page = template("report.html").render(
        recording=recording,
        measures=measures,
        classes=CLASSES,
        plain=PLAIN,
        trust_words=TRUST_WORDS,
        rules=written_out(series.rules),
        unread=[one for one in measures["episodes"] if one["kind"] == NOT_READ],
        episodes=[one for one in measures["episodes"] if one["kind"] != NOT_READ],
        most_listed=MOST_LISTED,
        strips=[(one, strip_svg(recording, one.start_s)) for one in strips],
        strip_s=STRIP_S,
        shapes=[(one, shape_svg(one, series.fs_hz)) for one in shapes],
        others=len(series) - sum(one.beats for one in shapes) if shapes else 0,
        histogram=histogram_svg(measures["rr_histogram"]),
        lorenz=lorenz_svg(measures["lorenz"]),
        data=inline_json(_data(recording, episodes, strips)),
        **_inlined("report.js"),
    )
    return encodable(page)


def encodable(page: str) -> str:
    """`page` with a mark in the place of bytes of a name that are no text."""
    return page.encode(errors="surrogateescape").decode(errors="replace")


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"number": number, "count_of": count_of, "duration": duration}
    environment.globals["undefined"] = UNDEFINED
    return environment


def template(name: str) -> jinja2.Template:
    """A template of this package, with the filters that all of them use."""
    return _environment().get_template(name)


def _inlined(script: str) -> dict[str, Markup]:
    return {
        "style": Markup(text_of("report.css") + text_of("uplot/uPlot.min.css")),
        "uplot": Markup(text_of("uplot/uPlot.iife.min.js")),
        "script": Markup(text_of(script)),
    }


@cache
def text_of(name: str) -> str:
    """A file of the templates, as it is."""
    return (TEMPLATES / name).read_text(encoding="utf-8")


def inline_json(value: object) -> Markup:
    """JSON that can stand in a <script>: nothing in it ends that."""
    return Markup(json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"))


def duration(seconds: float | None) -> str:
    """Seconds in words: 1 d 3 h 20 min, 4 min 5 s, 12 s."""
    if seconds is None:
        return UNDEFINED
    if seconds < 60:
        return f"{seconds:.3g} s"
    left, parts = round(seconds), []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        if left >= size and not (size == 1 and seconds >= 3600):
            parts.append(f"{left // size} {unit}")
        left %= size
    return " ".join(parts)


# What the page's program draws ---------------------------------------------------------------------------------------


def _data(recording: Recording, episodes: Sequence[Episode], strips: Sequence[Strip]) -> dict:
    series = recording.series
    clock = series.clock_of(0.0)
    return {
        "start_of_day_s": None if clock is None else 3600 * clock.hour + 60 * clock.minute + clock.second,
        "duration_s": round(series.duration_s, 3),
        "rate": rate_trend(series),
        "burden": burden_trend(series),
        "envelope": _envelope(envelope_of(recording.signal_mv, series.fs_hz)),
        "strips": [_samples(recording, one.start_s) for one in strips],
        "marks": list(_marks(series, episodes)),
    }


def _bins(series: BeatSeries, most: int, least_s: float) -> tuple[float, int, np.ndarray]:
    """A round width of at most so many bins over the record, how many, and the bin of each beat (beats,)."""
    width_s = max(series.duration_s / most, least_s)
    width_s = next((one for one in ROUND_S if one >= width_s), width_s)
    count = max(int(np.ceil(series.duration_s / width_s)), 1)
    return width_s, count, np.minimum((series.times_s // width_s).astype(int), count - 1)


def rate_trend(series: BeatSeries) -> dict:
    """Lowest, mean and highest heart rate of each bin, None where there is none."""
    width_s, count, bins = _bins(series, TREND_BINS, LEAST_TREND_S)
    known = np.isfinite(series.rate_per_min)
    rates, places = series.rate_per_min[known], bins[known]
    low, high = np.full(count, np.inf), np.full(count, -np.inf)
    np.minimum.at(low, places, rates)
    np.maximum.at(high, places, rates)
    with_rr = np.isfinite(series.rr_s)
    beats = np.bincount(bins[with_rr], minlength=count)
    mean = 60 * beats / np.maximum(np.bincount(bins[with_rr], series.rr_s[with_rr], minlength=count), 1e-9)
    told = {"low": low, "mean": np.where(beats > 0, mean, np.nan), "high": high}
    return {"bin_s": width_s} | {name: _rounded(values) for name, values in told.items()}


def burden_trend(series: BeatSeries) -> dict:
    """Percentage of S, V and F in the counted beats of each bin, None where there is no beat."""
    width_s, count, bins = _bins(series, BURDEN_BINS, LEAST_BURDEN_S)
    of = np.bincount(bins[series.in_class], minlength=count)
    shares = {}
    for name in "SVF":
        mine = series.in_class & (series.labels == CLASSES.index(name))
        share = 100 * np.bincount(bins[mine], minlength=count) / np.maximum(of, 1)
        shares[name] = _rounded(np.where(of > 0, share, np.nan), 2)
    return {"bin_s": width_s, "percent": shares}


def _rounded(values: np.ndarray, digits: int = 1) -> list[float | None]:
    return [round(value, digits) if np.isfinite(value) else None for value in values.tolist()]


def _envelope(envelope: Envelope) -> dict:
    codes = {name: _base64(getattr(envelope, name)) for name in ("low", "high")}
    return {"bin_s": envelope.bin_s, "step_mv": envelope.step_mv, **codes}


def _samples(recording: Recording, start_s: float) -> dict:
    """A strip as it is held in full."""
    times_s, signal_mv = recording.drawn(start_s, STRIP_S)
    known = np.isfinite(signal_mv)
    steps = np.clip(np.round(np.where(known, signal_mv, 0.0) / STEP_MV), -32767, 32767)
    steps = np.where(known, steps, MISSING).astype("<i2")
    step_s = round(float(times_s[1] - times_s[0]), 9) if len(times_s) > 1 else 1.0
    return {"start_s": round(start_s, 3), "step_s": step_s, "step_mv": STEP_MV, "mv": _base64(steps)}


def _base64(values: np.ndarray) -> str:
    return base64.b64encode(values.tobytes()).decode()


def _marks(series: BeatSeries, episodes: Sequence[Episode]) -> Iterator[dict]:
    """Episodes for the whole record: the longest of each kind where there are too many."""
    chosen = sorted(episodes, key=lambda one: one.first - one.last)[:MOST_MARKS]
    for one in sorted(chosen, key=lambda one: one.first):
        yield {
            "kind": one.kind,
            "from_s": round(one.first / series.fs_hz, 2),
            "to_s": round(one.last / series.fs_hz, 2),
        }
