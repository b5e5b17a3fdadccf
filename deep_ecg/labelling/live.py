"""`python main.py stream`: a record replayed as a live feed, or samples from standard input, labelled beat by beat.

Lines of text where the output is no terminal, else a view of trace, beats and alarms. When the feed ends, or Ctrl-C
ends it, the beats seen are written as `predict` writes them.
"""

import shutil
import sys
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from io import BufferedReader
from pathlib import Path

import numpy as np

from config import CLASSES
from deep_ecg.beats.detector import ON_TIME_S
from deep_ecg.labelling.predict import Labelled, open_record, print_summary, summarise, write_annotations, write_table
from deep_ecg.labelling.stream import SETTLE_S, Beat, BeatStream
from deep_ecg.networks.classifier import UNCLASSIFIABLE, Classifier, check_min_confidence, is_sure
from deep_ecg.records.wfdb_files import Record
from deep_ecg.system.console import abandon_output, draw_in_place
from deep_ecg.system.errors import DeepECGError
from deep_ecg.system.files import check_writable
from deep_ecg.system.text import clock

CHUNK_S = 0.1  # of a replay
BLOCK_BYTES = 65_536  # of standard input at a time, less where less is there
LINE_BYTES = 100  # no number is longer
RUN_BEATS = 3  # V beats in a row: a ventricular run
PAUSE_S = 3.0
RATE_BEATS = 8  # heart rate is the median over so many intervals
RECENT = 12  # beats and alarms that the view can show
LOST = ("missing", "flat", "saturated")  # qualities in which no beat can be seen

STRIP_S = 6.0
STRIP_ROWS = 9
ALARM_ROWS = 4
REFRESH_S = 0.1
COLUMNS = (40, 110)


@dataclass(frozen=True)
class Feed:
    """Where samples come from: `chunks_mv` (n,) of any size at `fs_hz`, under the name that the results get."""

    name: str
    lead: str
    fs_hz: float
    chunks_mv: Iterable[np.ndarray]
    synthetic: bool = False


@dataclass(frozen=True)
class Event:
    """Something to be noticed, and the sample at which it happened."""

    sample: int
    text: str


def follow(
    feed: Feed,
    classifier: Classifier,
    out: Path,
    view: "Lines | Screen | None" = None,
    min_confidence: float = 0.0,
) -> list[Beat]:
    """Labels the beats of `feed` as they come, shows them, and writes NAME.pred and NAME.csv into `out` at the end.

    The end is that of the feed, a reader that closes the output, a wrong line (DeepECGError), or Ctrl-C, which is
    raised again when the files are written; the latter two leave out the beats that were not labelled yet. Beats whose
    highest probability is below `min_confidence` are not classified: they are shown and written as Q.
    """
    check_min_confidence(min_confidence)
    check_writable(out)
    stream = BeatStream(classifier, feed.fs_hz)
    monitor = Monitor(feed.fs_hz, classifier.inputs.mode, min_confidence)
    stop = None
    try:
        view = view or (Screen if sys.stdout.isatty() else Lines)(feed, classifier.inputs.mode)
        for chunk_mv in feed.chunks_mv:
            beats = _sure(stream.push(chunk_mv), min_confidence)
            view.show(chunk_mv, monitor, monitor.update(len(chunk_mv), beats, stream.quality))
        view.show(np.empty(0), monitor, monitor.update(0, _sure(stream.finish(), min_confidence), stream.quality))
    except (KeyboardInterrupt, BrokenPipeError, DeepECGError) as caught:
        stop = caught
    if isinstance(stop, BrokenPipeError):
        abandon_output()
    save(feed, monitor.beats, out, min_confidence)
    if isinstance(stop, KeyboardInterrupt):
        raise KeyboardInterrupt(f"Interrupted after {monitor.pushed / feed.fs_hz:.1f} s of signal.") from None
    if isinstance(stop, DeepECGError):
        raise stop
    return monitor.beats


def _sure(beats: Sequence[Beat], min_confidence: float) -> list[Beat]:
    """The beats, those whose confidence is too low as Q."""
    return [beat if is_sure(beat.proba, min_confidence) else replace(beat, label=UNCLASSIFIABLE) for beat in beats]


def save(feed: Feed, beats: Sequence[Beat], out: Path, min_confidence: float = 0.0):
    """Writes the annotation file and the table of `predict`, and prints its summary."""
    if not beats:
        print(f"{feed.name}: no beats were found, nothing is written")
        return
    samples, proba = np.array([beat.sample for beat in beats]), np.stack([beat.proba for beat in beats])
    record = Record(feed.name, feed.lead, feed.fs_hz, np.zeros(0))
    labelled = Labelled(record, samples, proba, None, feed.synthetic, min_confidence)
    files = [out / f"{feed.name}.pred", out / f"{feed.name}{'-SYNTHETIC' * feed.synthetic}.csv"]
    write_annotations(files[0], labelled)
    write_table(files[1], labelled)
    print_summary(summarise(labelled) | {"files": list(map(str, files))}, "detected R-peaks", feed.synthetic)


# Feeds -----------------------------------------------------------------------------------------------------------


def record_feed(path: Path, classifier: Classifier, lead: str | None = None, speed: float = 1.0) -> Feed:
    """The WFDB record at `path` (no extension) as a live feed, `speed` times as fast as it was recorded; 0: at once.

    Raises DeepECGError as `predict.open_record` does, or for a speed below 0.
    """
    if not 0 <= speed < float("inf"):
        raise DeepECGError(f"--speed {speed:g} cannot be used: it must be 0 (as fast as possible) or more")
    record, synthetic = open_record(path, classifier, lead)
    return Feed(record.name, record.lead, record.fs_hz, _replayed(record, speed), synthetic)


def _replayed(record: Record, speed: float) -> Iterator[np.ndarray]:
    step, started_s = max(round(CHUNK_S * record.fs_hz), 1), time.monotonic()
    for start in range(0, len(record.signal_mv), step):
        chunk_mv = record.signal_mv[start : start + step]
        if speed:
            due_s = started_s + (start + len(chunk_mv)) / record.fs_hz / speed
            time.sleep(max(due_s - time.monotonic(), 0))
        yield chunk_mv


def line_feed(stream: BufferedReader, fs_hz: float, synthetic: bool = False) -> Feed:
    """Samples from the lines of `stream`: one value a line in millivolts, "nan" where the signal is lost."""
    return Feed("stdin", "unnamed", fs_hz, _parsed(stream), synthetic)


def _parsed(stream: BufferedReader) -> Iterator[np.ndarray]:
    """What is there of the lines, as soon as it is there. Raises DeepECGError at the first that is no number."""
    rest, number, values_mv = b"", 0, []
    while block := stream.read1(BLOCK_BYTES):
        *lines, rest = (rest + block).split(b"\n")
        try:
            for line in lines:
                number += 1
                values_mv.append(_millivolts(line, number))
            if len(rest) > LINE_BYTES:
                _millivolts(rest, number + 1)
        finally:
            yield np.array(values_mv, float)  # before an error is raised, too
            values_mv = []
    if rest:
        yield np.array([_millivolts(rest, number + 1)])


def _millivolts(line: bytes, number: int) -> float:
    text = line[: LINE_BYTES + 1].decode(errors="replace").strip()
    try:
        value_mv = float(text)
    except ValueError:
        value_mv = float("inf")
    if np.isinf(value_mv) or len(line) > LINE_BYTES:
        said = repr(text if len(text) <= 30 else f"{text[:30]}...")
        raise DeepECGError(
            f"standard input, line {number}: {said} is no number: one value a line in mV, nan where it is lost"
        )
    return value_mv


# What has been seen ----------------------------------------------------------------------------------------------


class Monitor:
    """What a stream has shown so far: beats, counts, heart rate, delay, and the alarms raised.

    Alarms are RUN_BEATS or more V beats in a row, no beat for more than PAUSE_S, and a signal in which no beat can be
    seen. A pause across a lost signal is none. Demonstrations, not the alarms of a monitor at a bedside.
    """

    def __init__(self, fs_hz: float, mode: str, min_confidence: float = 0.0):
        self.fs_hz, self.min_confidence = fs_hz, min_confidence
        self.pushed = 0
        self.beats: list[Beat] = []
        self.counts: Counter[str] = Counter()
        self.alarms: deque[Event] = deque(maxlen=RECENT)
        self.quality = "learning"
        self._wait_s = ON_TIME_S if mode == "causal" else ON_TIME_S + SETTLE_S + 0.5  # until a beat is labelled
        self._rr_s: deque[float] = deque(maxlen=RATE_BEATS)
        self._run = 0
        self._lost_at = -1
        self._paused_after: Beat | None = None

    def update(self, count: int, beats: Sequence[Beat], quality: str) -> list[Beat | Event]:
        """Takes `count` more samples, the `beats` that they made known and the signal's quality; returns the news."""
        self.pushed += count
        news: list[Beat | Event] = []
        if (quality in LOST) != (self.quality in LOST):
            news.append(Event(self.pushed, f"signal {quality}" if quality in LOST else "signal is back"))
        self.quality = quality
        if quality in LOST:
            self._lost_at, self._run = self.pushed, 0
            self._rr_s.clear()
        for beat in beats:
            news += [*self._pause(beat.sample), beat, *self._count(beat)]
        news += self._pause(self.pushed - round(self._wait_s * self.fs_hz))
        self.alarms += [one for one in news if isinstance(one, Event)]
        return news

    @property
    def heart_rate_per_min(self) -> float | None:
        """From the median of the last RATE_BEATS intervals; None where there is none, or no beat for PAUSE_S."""
        waited_s = (self.pushed - self.beats[-1].sample) / self.fs_hz if self.beats else float("inf")
        return 60 / float(np.median(self._rr_s)) if self._rr_s and waited_s < PAUSE_S + self._wait_s else None

    def delay_ms(self, beat: Beat) -> float:
        """From the R-peak to the sample at which the label was known."""
        return 1000 * (beat.known - beat.sample) / self.fs_hz

    def _count(self, beat: Beat) -> list[Event]:
        name = CLASSES[beat.label]
        if self.beats and self._lost_at < self.beats[-1].sample:
            self._rr_s.append((beat.sample - self.beats[-1].sample) / self.fs_hz)
        self.beats.append(beat)
        self.counts[name] += 1
        self._run = self._run + 1 if name == "V" else 0
        return [Event(beat.sample, f"ventricular run: {RUN_BEATS} V in a row")] if self._run == RUN_BEATS else []

    def _pause(self, until: int) -> list[Event]:
        """The pause between the last beat and sample `until`, told once."""
        last = self.beats[-1] if self.beats else None
        if last is None or last is self._paused_after or self._lost_at >= last.sample:
            return []
        if until - last.sample <= PAUSE_S * self.fs_hz:
            return []
        self._paused_after = last
        return [Event(last.sample + round(PAUSE_S * self.fs_hz), f"pause: no beat for {PAUSE_S:g} s")]


# Views -----------------------------------------------------------------------------------------------------------


class Lines:
    """One line a beat or alarm, for files and pipes."""

    def __init__(self, feed: Feed, mode: str):
        stamp = "SYNTHETIC " if feed.synthetic else ""
        print(f"{stamp}{feed.name}, lead {feed.lead}, {feed.fs_hz:g} Hz, {mode} mode, no medical device", flush=True)

    def show(self, chunk_mv: np.ndarray, monitor: Monitor, news: Sequence[Beat | Event]):
        """Prints the `news`."""
        for one in news:
            time_s = one.sample / monitor.fs_hz
            print(f"{time_s:10.3f} s  " + (f"! {one.text}" if isinstance(one, Event) else self._beat(one, monitor)))
        if news:
            sys.stdout.flush()

    def _beat(self, beat: Beat, monitor: Monitor) -> str:
        notes = ", found by looking back" * beat.late + ", the stream ended before all of it came" * (not beat.complete)
        notes += ", noisy signal" * (monitor.quality == "noisy")
        notes += ", not classified" * bool(not is_sure(beat.proba, monitor.min_confidence))
        return f"{CLASSES[beat.label]} {beat.proba.max():.2f}  label after {monitor.delay_ms(beat):.0f} ms{notes}"


class Screen:
    """A view drawn in place: trace with the labels of its beats, heart rate, counts, delay, alarms."""

    def __init__(self, feed: Feed, mode: str):
        self._feed, self._mode = feed, mode
        self._strip_mv = np.full(round(STRIP_S * feed.fs_hz), np.nan)
        self._drawn_s, self._height = 0.0, 0
        draw_in_place()

    def show(self, chunk_mv: np.ndarray, monitor: Monitor, news: Sequence[Beat | Event]):
        """Draws anew, REFRESH_S after the last time at the earliest, and at the end of the stream."""
        self._strip_mv = np.concatenate((self._strip_mv, chunk_mv))[-len(self._strip_mv) :]
        now_s = time.monotonic()
        if len(chunk_mv) and now_s - self._drawn_s < REFRESH_S:
            return
        columns = min(max(shutil.get_terminal_size().columns - 1, COLUMNS[0]), COLUMNS[1])
        lines = self.lines(monitor, columns)
        up = f"\x1b[{self._height}F" if self._height else ""
        print(up + "".join(f"{line[:columns]}\x1b[K\n" for line in lines), end="", flush=True)
        self._drawn_s, self._height = now_s, len(lines)

    def lines(self, monitor: Monitor, columns: int) -> list[str]:
        """The view as lines of text, always as many."""
        feed, stamp = self._feed, "SYNTHETIC " if self._feed.synthetic else ""
        rate, beats = monitor.heart_rate_per_min, monitor.beats[-RECENT:]
        delay = f"{monitor.delay_ms(beats[-1]):.0f} ms after its R-peak" if beats else "-"
        counts = ", ".join(f"{name} {monitor.counts[name]:,}" for name in CLASSES)
        alarms = [f"  {clock(event.sample / feed.fs_hz)}  ! {event.text}" for event in monitor.alarms][-ALARM_ROWS:]
        return [
            f"{stamp}{feed.name}  {feed.lead}  {self._mode} mode  {clock(monitor.pushed / feed.fs_hz)}"
            f"  signal: {monitor.quality}",
            self._labels(monitor, columns),
            *trace(self._strip_mv, columns, STRIP_ROWS),
            f"heart rate {'--' if rate is None else round(rate)}/min   last beats "
            + " ".join(CLASSES[beat.label] for beat in beats),
            f"beats {len(monitor.beats):,}: {counts}",
            f"last label {delay}",
            "alarms" + " none" * (not alarms),
            *alarms,
            *[""] * (ALARM_ROWS - len(alarms)),
        ]

    def _labels(self, monitor: Monitor, columns: int) -> str:
        row, first = [" "] * columns, monitor.pushed - len(self._strip_mv)
        for beat in monitor.beats[-10 * RECENT :]:
            if beat.sample >= first:
                row[(beat.sample - first) * columns // len(self._strip_mv)] = CLASSES[beat.label]
        return "".join(row)


def trace(strip_mv: np.ndarray, columns: int, rows: int) -> list[str]:
    """`strip_mv` (n,) drawn in `rows` lines of `columns` characters, highest first; lost samples stay empty."""
    picture = np.full((rows, columns), " ")
    known = strip_mv[np.isfinite(strip_mv)]
    if len(known):
        low_mv, span_mv = known.min(), max(np.ptp(known), 1e-3)
        for column, part in enumerate(np.array_split(strip_mv, columns)):
            part = part[np.isfinite(part)]
            if len(part):
                height = (np.array([part.max(), part.min()]) - low_mv) / span_mv
                top, bottom = np.round((1 - height) * (rows - 1)).astype(int)
                picture[top : bottom + 1, column] = "|" if bottom > top else "-"
    return ["".join(row) for row in picture]
