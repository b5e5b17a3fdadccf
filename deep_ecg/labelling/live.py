"""`python main.py stream`: a record replayed as a live feed, or samples from standard input, labelled beat by beat.

Lines of text where the output is no terminal, else a view of trace, beats and alarms. The beats are written as
`predict` writes them, as they are told.
"""

import shutil
import signal
import sys
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from io import BufferedReader
from pathlib import Path

import numpy as np

from config import CLASSES
from deep_ecg.beats.beat_network import ON_TIME_S
from deep_ecg.labelling.beat_files import SAVE_S, BeatFiles
from deep_ecg.labelling.choice import NO_SETTINGS, open_record
from deep_ecg.labelling.signal_state import NO_BEATS, SILENT_S, UNREAD_S, Stretch
from deep_ecg.labelling.stream import SETTLE_S, Beat, BeatStream, Change
from deep_ecg.labelling.summary import print_summary
from deep_ecg.networks.classifier import UNCLASSIFIABLE, Classifier, check_min_confidence, is_sure
from deep_ecg.records.formats import TextSettings
from deep_ecg.records.long_signal import pieces
from deep_ecg.records.text_samples import SampleLines
from deep_ecg.records.wfdb_files import Record
from deep_ecg.system import machine
from deep_ecg.system.console import abandon_output, draw_in_place
from deep_ecg.system.errors import DeepECGError, NoBeats
from deep_ecg.system.files import check_writable
from deep_ecg.system.stopping import Stopped, stop_signals
from deep_ecg.system.text import clock

CHUNK_S, FAST_CHUNK_S = 0.1, 60.0  # of a replay, and of one as fast as possible
BLOCK_BYTES = 65_536  # of standard input at a time, less where less is there
UNITS = {"mV": 1.0, "uV": 1e-3, "V": 1e3}  # what a line's value may be in, in millivolts
RUN_BEATS = 3  # V beats in a row: a ventricular run
PAUSE_S = 3.0
RATE_BEATS = 8  # heart rate is the median over so many intervals
RECENT = 12  # beats and alarms that the view can show
KEPT_BEATS = 10 * RECENT  # no more are within the strip
LOST = ("missing", "flat", "saturated", "unreadable")  # qualities in which no beat can be told
KEPT_STRETCHES = 1000  # of unreadable signal, the latest

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
) -> "Monitor":
    """Labels the beats of `feed` as they come, writes them to NAME.csv and NAME.pred in `out`, and shows them.

    The end is that of the feed, a reader that closes the output, a wrong line (DeepECGError), Ctrl-C, or a signal that
    ends processes; the latter are raised again when the files are whole (Stopped), and the last three leave out the
    beats that were not labelled yet. NoBeats is raised where none was found. Beats whose highest probability is below
    `min_confidence` are not classified: they are shown and written as Q.
    """
    check_min_confidence(min_confidence)
    check_writable(out)
    stream = BeatStream(classifier, feed.fs_hz)
    monitor = Monitor(feed.fs_hz, classifier.inputs.mode, min_confidence)
    record = Record(feed.name, feed.lead, feed.fs_hz, np.zeros(0))
    files = BeatFiles(record, out, feed.synthetic, min_confidence)
    stop: BaseException | None = None
    with stop_signals() as stops:
        try:
            view = view or (Screen if sys.stdout.isatty() else Lines)(feed, classifier.inputs.mode)
            for chunk_mv, beats in _labelled(stream, feed.chunks_mv):
                beats = _sure(beats, min_confidence)
                with stops.held():
                    files.add(beats)
                view.show(chunk_mv, monitor, monitor.follow(len(chunk_mv), beats, stream.changes))
            stops.hold()
        except (KeyboardInterrupt, BrokenPipeError, DeepECGError) as caught:
            stop = caught
        finally:
            stops.hold()
            files.close(ended=stop is None)
    _tell_end(feed, monitor, files, stream.unit, stop)
    return monitor


def _labelled(stream: BeatStream, chunks_mv: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, list[Beat]]]:
    """Each chunk with the beats that it makes known, and at last an empty one with those that the end does."""
    for chunk_mv in chunks_mv:
        yield chunk_mv, stream.push(chunk_mv)
    yield np.empty(0), stream.finish()


def _tell_end(feed: Feed, monitor: "Monitor", files: BeatFiles, unit: str | None, stop: BaseException | None):
    """Prints the summary, where somebody can be there to read it, and raises what is to be told by the exit status."""
    number = getattr(stop, "number", signal.SIGINT)
    if isinstance(stop, BrokenPipeError) or number == getattr(signal, "SIGHUP", None):  # the terminal has gone
        abandon_output()
    elif files.beats:
        summary = files.summary(unit, monitor.unread, monitor.silent, monitor.pushed)
        print_summary(summary, "detected R-peaks", feed.synthetic)
    if isinstance(stop, KeyboardInterrupt):
        word = "Interrupted" if number == signal.SIGINT else f"Ended by {signal.Signals(number).name}"
        raise Stopped(f"{word} after {monitor.pushed / feed.fs_hz:.1f} s of signal.", number) from None
    if isinstance(stop, DeepECGError):
        raise stop
    if not files.beats and stop is None:
        found = f"no beat was found in {monitor.pushed / feed.fs_hz:.1f} s of signal"
        raise NoBeats(f"{feed.name}: {found}: check the lead, and rate and units where you name them")


def _sure(beats: Sequence[Beat], min_confidence: float) -> list[Beat]:
    """The beats, those whose confidence is too low as Q."""
    return [beat if is_sure(beat.proba, min_confidence) else replace(beat, label=UNCLASSIFIABLE) for beat in beats]


# Feeds -----------------------------------------------------------------------------------------------------------


def record_feed(
    path: Path,
    classifier: Classifier,
    lead: str | None = None,
    speed: float = 1.0,
    text: TextSettings = NO_SETTINGS,
) -> Feed:
    """The record at `path` as a live feed, `speed` times as fast as it was recorded; 0: at once.

    Raises DeepECGError as `open_record` does, or for a speed below 0.
    """
    if not 0 <= speed < float("inf"):
        raise DeepECGError(f"--speed {speed:g} cannot be used: it must be 0 (as fast as possible) or more")
    record, synthetic = open_record(path, classifier, lead, text)
    return Feed(record.name, record.lead, record.fs_hz, _replayed(record, speed), synthetic)


def _replayed(record: Record, speed: float) -> Iterator[np.ndarray]:
    step = max(round((CHUNK_S if speed else FAST_CHUNK_S) * record.fs_hz), 1)
    started_s, sent = time.monotonic(), 0
    for chunk_mv in pieces(record.signal_mv, step):
        sent += len(chunk_mv)
        if speed:
            due_s = started_s + sent / record.fs_hz / speed
            time.sleep(max(due_s - time.monotonic(), 0))
        yield chunk_mv


def line_feed(
    stream: BufferedReader,
    fs_hz: float,
    synthetic: bool = False,
    column: str | None = None,
    units: str | None = None,
) -> Feed:
    """Samples from the lines of `stream`, as `records.text_samples` reads them; `column` is the ECG's.

    They are taken as they are, or, where `units` are given (UNITS), brought to millivolts.
    """
    return Feed("stdin", "unnamed", fs_hz, _parsed(stream, column, UNITS[units] if units else 1.0), synthetic)


def _parsed(stream: BufferedReader, column: str | None, scale: float) -> Iterator[np.ndarray]:
    """What is there of the lines, as soon as it is there, and nothing every SAVE_S while there is nothing.

    Raises DeepECGError at the first that holds no sample.
    """
    lines = SampleLines("standard input", column)
    try:
        while (block := _next_block(stream)) != b"":
            yield scale * lines.push(block) if block else np.empty(0)
        yield scale * lines.finish()
    except DeepECGError:
        yield scale * lines.rescued()
        raise


def _next_block(stream: BufferedReader) -> bytes | None:
    """What is there of `stream`, nothing at its end; None where nothing has come for SAVE_S, as far as can be told."""
    at_rest = machine.is_at_rest(stream, SAVE_S)
    return None if at_rest else stream.read1(BLOCK_BYTES)  # which leaves nothing in the reader's own buffer


# What has been seen ----------------------------------------------------------------------------------------------


class Monitor:
    """What a stream has shown so far: latest beats, counts, heart rate, delay, and the alarms raised.

    Alarms are RUN_BEATS or more V beats in a row, no beat for more than PAUSE_S, and a signal in which no beat can be
    seen. A pause across a lost signal is none. Demonstrations, not the alarms of a monitor at a bedside.
    """

    def __init__(self, fs_hz: float, mode: str, min_confidence: float = 0.0):
        self.fs_hz, self.min_confidence = fs_hz, min_confidence
        self.pushed = 0
        self.beats: deque[Beat] = deque(maxlen=KEPT_BEATS)  # the latest
        self.counts: Counter[str] = Counter()
        self.alarms: deque[Event] = deque(maxlen=RECENT)
        self.quality = "ok"
        self._wait_s = ON_TIME_S if mode == "causal" else ON_TIME_S + SETTLE_S + 0.5  # until a beat is labelled
        self._rr_s: deque[float] = deque(maxlen=RATE_BEATS)
        self._run = 0
        self._lost_at = -1
        self._stretches: deque[Stretch] = deque(maxlen=KEPT_STRETCHES)
        self._lost: Stretch | None = None
        self._silent: deque[Stretch] = deque(maxlen=KEPT_STRETCHES)
        self._paused_after: Beat | None = None

    def follow(self, count: int, beats: Sequence[Beat], changes: Sequence[Change]) -> list[Beat | Event]:
        """`update` with `count` more samples in the parts into which the `changes` of their quality divide them."""
        news, end = [], self.pushed + count
        for change in changes:
            told = [beat for beat in beats if beat.known <= change.sample]
            news += self.update(change.sample + 1 - self.pushed, told, change.quality, change.why)
            beats = beats[len(told) :]
        return news + self.update(end - self.pushed, beats, self.quality)

    def update(self, count: int, beats: Sequence[Beat], quality: str, why: str | None = None) -> list[Beat | Event]:
        """Takes `count` more samples, the `beats` that they made known and the signal's quality; returns the news.

        `why` tells why the signal is unreadable.
        """
        self.pushed += count
        news: list[Beat | Event] = []
        if quality != self.quality and (quality in LOST or self.quality in LOST):
            told = f"signal {quality}" + f": {why}" * bool(why)
            news.append(Event(self.pushed, told if quality in LOST else "signal is back"))
        self._note(quality, why)
        was_lost, self.quality = self.quality in LOST, quality
        if quality in LOST or was_lost:
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

    @property
    def unread(self) -> list[Stretch]:
        """The stretches of UNREAD_S and more in which nothing could be read, as they were told."""
        told = [*self._stretches, *([self._lost] if self._lost else [])]
        return [one for one in told if one.last - one.first >= UNREAD_S * self.fs_hz]

    @property
    def silent(self) -> list[Stretch]:
        """The stretches longer than SILENT_S without beats, up to now."""
        return [*self._silent, *self._silence(self.pushed)]

    def _silence(self, until: int) -> list[Stretch]:
        """The stretch from the last beat to sample `until`, if it is a long one."""
        last = self.beats[-1].sample if self.beats else 0
        return [Stretch(last, until, NO_BEATS)] if until - last > SILENT_S * self.fs_hz else []

    def _note(self, quality: str, why: str | None):
        """Goes on with the stretch of unreadable signal, or ends it."""
        if quality in LOST:
            first, reason = (self._lost.first, self._lost.why) if self._lost else (self.pushed, why or quality)
            self._lost = Stretch(first, self.pushed, reason)
        elif self._lost:
            self._stretches.append(replace(self._lost, last=self.pushed))
            self._lost = None

    def _count(self, beat: Beat) -> list[Event]:
        name = CLASSES[beat.label]
        if self.beats and not beat.after_gap and self._lost_at < self.beats[-1].sample:
            self._rr_s.append((beat.sample - self.beats[-1].sample) / self.fs_hz)
        self._silent += self._silence(beat.sample)
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
        notes += f", {beat.quality} signal" * (beat.quality != "ok")
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
        rate, beats = monitor.heart_rate_per_min, list(monitor.beats)[-RECENT:]
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
            f"beats {monitor.counts.total():,}: {counts}",
            f"last label {delay}",
            "alarms" + " none" * (not alarms),
            *alarms,
            *[""] * (ALARM_ROWS - len(alarms)),
        ]

    def _labels(self, monitor: Monitor, columns: int) -> str:
        row, first = [" "] * columns, monitor.pushed - len(self._strip_mv)
        for beat in monitor.beats:
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
