"""Live ECG: samples of one lead in as they come, labelled beats out, each with the sample at which it was known.

A stream has no recipe of its own: it calls the resampling, filter, detector and `BeatRecipe` by which whole records
are prepared, with their state carried. In causal mode the labels are those that `predict` gives the whole record.
"""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from deep_ecg.beats.beat_network import ON_TIME_S, STEP_HZ, RPeak, RPeakNetwork, one_row
from deep_ecg.beats.beat_picking import BACK_STEPS
from deep_ecg.beats.inputs import CHANNELS, FEATURES, BeatRecipe
from deep_ecg.beats.rhythm import rr_interval_s
from deep_ecg.beats.shape import cut_windows
from deep_ecg.beats.signal_quality import QUALITIES, UNREADABLE
from deep_ecg.beats.signal_watch import SignalWatch
from deep_ecg.labelling.signal_state import noise_kind
from deep_ecg.networks.classifier import UNREAD, Classifier, predict_proba
from deep_ecg.networks.decision import Decision
from deep_ecg.system.errors import DeepECGError
from dsp_filters import CausalCleaner, OnePassFilter

# Diagnostic mode filters backward too, over the window and so long after it: at the order and band of config.py what
# the filter still remembers after that is below 1e-4 of the signal.
SETTLE_S = 5.0
FILTER_S = 1.0  # what no beat asks for is filtered so much at a time
WHY_S = 2.0  # of the latest signal tell why it cannot be read
LOOK_BACK_S = BACK_STEPS / STEP_HZ + 1  # a beat is detected at most so long after its R-peak


@dataclass(frozen=True)
class Beat:
    """One labelled beat of a stream; `sample` and `known` count from the first sample ever pushed.

    `sample` is the R-peak, `label` the index into CLASSES, `proba` (5,), `known` the sample at which everything that
    the label depends on was there: what comes later cannot change it. `late` tells that the beat was detected more
    than ON_TIME_S after its R-peak. `complete` is False where the stream ended before the window or, in diagnostic
    mode, the next beat had come: the label was then made of what there was. `quality` is that of the signal, one of
    QUALITIES: a beat of unreadable signal is Q, and shown to no network. `after_gap` tells that the signal was lost or
    unreadable since the beat before it: there is no RR interval; `alone` that its shape is like that of no beat before.
    """

    sample: int
    label: int
    proba: np.ndarray
    known: int
    late: bool
    complete: bool = True
    quality: str = "ok"
    after_gap: bool = False
    alone: bool = False


@dataclass(frozen=True)
class Change:
    """The signal's quality from `sample` on, see `BeatStream.quality`; `why` it is unreadable, see `BeatStream.why`."""

    sample: int
    quality: str
    why: str | None = None


@dataclass(frozen=True)
class Prepared:
    """A beat whose network inputs are ready: window (CHANNELS, samples), features (count,), group of shapes, rr_s.

    The rest as in `Beat`. What of it is unreadable has zeros.
    """

    sample: int
    known: int
    late: bool
    complete: bool
    window: np.ndarray
    features: np.ndarray
    group: int
    rr_s: float
    quality: str

    @property
    def readable(self) -> bool:
        """Whether it is shown to the network."""
        return self.quality != "unreadable"

    @property
    def after_gap(self) -> bool:
        """Whether there is no RR interval."""
        return math.isnan(self.rr_s)


@dataclass
class _Waiting:
    """A detected beat `found`: the place of its R-peak in the filtered signal, its RR interval.

    `cut_at` is the sample that completes its window, `beat_mv` (window_samples,) that window once it is cut.
    """

    found: RPeak
    place: int
    rr_s: float
    cut_at: int
    beat_mv: np.ndarray | None = None


class GivenPeaks:
    """R-peaks from elsewhere in the place of the detector: each is known at its own sample, none is judged.

    `samples` rise; they are read as the stream reaches them. Raises DeepECGError where they do not rise.
    """

    quality = "ok"
    changes = ()

    def __init__(self, samples: Iterable[int]):
        self._coming = iter(samples)
        self._next = next(self._coming, None)
        self._pushed = 0

    def push_watched(self, filled_mv: np.ndarray, missing: np.ndarray) -> list[RPeak]:
        """The beats within the next samples (n,), as `RPeakNetwork.push_watched` tells them."""
        self._pushed += len(filled_mv)
        beats = []
        while self._next is not None and self._next < self._pushed:
            beats.append(RPeak(int(self._next), int(self._next)))
            self._next = next(self._coming, None)
            if self._next is not None and self._next <= beats[-1].sample:
                raise DeepECGError(f"R-peak {self._next} does not come after {beats[-1].sample}: give them in order")
        return beats

    @property
    def due(self) -> float:
        """The sample with which the next beat is known."""
        return math.inf if self._next is None else self._next

    def finish(self) -> list[RPeak]:
        """None: those beyond the end of the signal are not of it."""
        return []


class BeatStream:
    """Labels the beats of one lead as its samples come, in chunks of any size.

    The mode of the network of `classifier` decides:

    causal: a beat is labelled as soon as its window (`inputs.look_ahead_samples` after R) and its detection are
        there. Windows and features are those of `beats.inputs.network_inputs` at the same R-peaks.
    diagnostic: a beat waits for the next one (its post-RR), for half a window and for SETTLE_S more, which the
        backward run of the zero-phase filter needs. That filter then agrees with the one over the whole record to
        1e-4 of the signal, except within SETTLE_S of the record's ends. At another rate than `inputs.fs_hz` the
        signal is brought to it by linear interpolation, where the whole record is resampled with a low-pass filter.

    Where samples are not numbers the last one is held, and an RR interval across lost signal is none. `fs_hz` is 100
    to 1000 Hz (DeepECGError outside) unless R-peaks are given in `peaks`, rising sample numbers, in the place of the
    detector's. Memory stays the same for ever.
    """

    def __init__(self, classifier: Classifier, fs_hz: float, peaks: Iterable[int] | None = None):
        inputs = classifier.inputs
        self.classifier, self.inputs, self.fs_hz = classifier, inputs, float(fs_hz)
        self._source = RPeakNetwork(fs_hz) if peaks is None else GivenPeaks(peaks)
        self._after = inputs.look_ahead_samples
        self._before = inputs.window_samples - self._after
        self._zero_phase = not inputs.causal
        self._settle = round(SETTLE_S * inputs.fs_hz) if self._zero_phase else 0
        self._reach = self._before + self._after + self._settle + round(LOOK_BACK_S * inputs.fs_hz)
        self._sos = inputs.sos()
        self._clean = CausalCleaner(fs_hz, inputs.fs_hz, self._sos)
        self._recipe = BeatRecipe(inputs)
        shape = (CHANNELS, inputs.window_samples)
        self._unread = np.zeros(shape, np.float32), np.zeros(len(FEATURES[inputs.mode]), np.float32), 0
        self._filtered_mv = np.zeros(0)  # the latest; `_start` is the place of the first of them
        self._start, self._pushed = 0, 0
        self._arrived_mv: list[np.ndarray] = []  # what nothing has looked at yet, and what is not filtered yet
        self._unfiltered_mv: list[np.ndarray] = []
        self._taken, self._filtered = 0, 0  # samples looked at, and filtered
        self._due = self._source.due  # before this sample nothing can be known
        self._watch = SignalWatch(fs_hz)
        self._latest_mv = np.zeros(0)
        self._changes: list[Change] = []
        self._last_r: int | None = None
        self._waiting: deque[_Waiting] = deque()
        self._decision = Decision(classifier.description.decision)
        self._finished = False

    def push(self, chunk_mv: np.ndarray) -> list[Beat]:
        """Feeds the next samples (n,), any n >= 0, in millivolts; returns the beats that they make known, in order.

        Raises DeepECGError where `chunk_mv` is not one row of numbers, or after `finish`.
        """
        return push_many([self], [chunk_mv])[0]

    def finish(self) -> list[Beat]:
        """The beats that still wait when the stream has ended; those that lacked something say so in `complete`."""
        return _classified([self], [self.prepare_rest()])[0]

    def labelled(self, prepared: Sequence[Prepared], proba: np.ndarray) -> list[Beat]:
        """The next beats, `prepared`, with the network's answers `proba` (readable beats, 5): the decision goes on."""
        readable = [beat for beat in prepared if beat.readable]
        groups, rr_s = np.array([beat.group for beat in readable], np.int64), np.array([beat.rr_s for beat in readable])
        rows = iter(self._decision(proba, groups, rr_s))
        proba_of = [next(rows) if beat.readable else UNREAD for beat in prepared]
        return [
            Beat(
                one.sample,
                int(row.argmax()),
                row,
                one.known,
                one.late,
                one.complete,
                one.quality,
                one.after_gap,
                one.group < 0,
            )
            for one, row in zip(prepared, proba_of)
        ]

    @property
    def quality(self) -> str:
        """The signal just now, see `RPeakNetwork.quality`; where R-peaks are given, "ok" unless it is lost."""
        self._take_in()
        return self._watch.fault or self._source.quality

    @property
    def why(self) -> str | None:
        """Why the signal cannot be read just now: "mains", "muscle" or "motion"; None where it can, or is lost."""
        return noise_kind(self._latest_mv, self.fs_hz) if self.quality == "unreadable" else None

    @property
    def changes(self) -> list[Change]:
        """Those of the signal's quality in the latest push, wherever in it they are."""
        self._take_in()
        return self._changes

    @property
    def unit(self) -> str | None:
        """A line that says so where the signal's numbers are no millivolts."""
        return self._watch.unit

    def prepare(self, chunk_mv: np.ndarray) -> list[Prepared]:
        """`push` without the network, for callers that run it for many streams at once."""
        if self._finished:
            raise DeepECGError("this stream was finished: start a new BeatStream for new samples")
        self._changes = []
        chunk_mv = one_row(chunk_mv)
        if len(chunk_mv) == 0:
            return []
        self._arrived_mv.append(chunk_mv.copy())  # the caller may use its array again
        self._pushed += len(chunk_mv)
        if self._pushed <= self._due:
            return []
        self._take_in()
        prepared = self._prepared(ended=False)
        if self._taken - self._filtered >= FILTER_S * self.fs_hz:
            self._filter_rest()
        self._forget()
        self._due = min([self._source.due, *(beat.cut_at for beat in self._waiting if beat.beat_mv is None)])
        return prepared

    def prepare_rest(self) -> list[Prepared]:
        """`finish` without the network."""
        self._finished = True
        self._take_in()
        self._changes = []
        if self._pushed:
            for beat in self._source.finish():
                self._expect(beat)
        self._filter_rest()
        self._remember(self._clean.finish())
        return self._prepared(ended=True)

    def _take_in(self):
        """Looks at the samples that have arrived: small pushes do so once for each step of the detector."""
        if not self._arrived_mv:
            return
        fault, quality = self._watch.fault, self._source.quality
        filled_mv, missing = self._watch(_joined(self._arrived_mv))
        self._arrived_mv = []
        self._unfiltered_mv.append(filled_mv)
        for beat in self._source.push_watched(filled_mv, missing):
            self._expect(beat)
        latest_mv = np.concatenate((self._latest_mv, filled_mv))
        self._note_changes(fault, quality, latest_mv)
        self._latest_mv = latest_mv[-round(WHY_S * self.fs_hz) :]
        self._taken += len(filled_mv)
        self._watch.forget(self._taken - round(LOOK_BACK_S * self.fs_hz))

    def _note_changes(self, fault: str | None, quality: str, latest_mv: np.ndarray):
        """Takes in how the signal, of which `latest_mv` are the latest samples, changed from `fault` and `quality`."""
        first = self._taken - len(self._latest_mv)
        told = fault or quality
        of_fault, of_quality = dict(self._watch.changes), dict(self._source.changes)
        for sample in sorted(of_fault.keys() | of_quality.keys()):
            fault, quality = of_fault.get(sample, fault), of_quality.get(sample, quality)
            if (fault or quality) != told:
                told = fault or quality
                until = sample + 1 - first
                part_mv = latest_mv[max(until - round(WHY_S * self.fs_hz), 0) : until]
                why = noise_kind(part_mv, self.fs_hz) if told == QUALITIES[UNREADABLE] else None
                self._changes.append(Change(sample, told, why))

    def _filter_rest(self):
        """Filters what is not filtered yet: only windows need it, many steps of the detector at a time."""
        if self._unfiltered_mv:
            self._remember(self._clean(_joined(self._unfiltered_mv)))
            self._unfiltered_mv, self._filtered = [], self._taken

    def _remember(self, filtered_mv: np.ndarray):
        self._filtered_mv = np.concatenate((self._filtered_mv, filtered_mv))

    def _forget(self):
        """Drops what no beat can need: the detector looks back LOOK_BACK_S at most."""
        surplus = len(self._filtered_mv) - self._reach
        if surplus > 0:
            self._filtered_mv = self._filtered_mv[surplus:].copy()
            self._start += surplus

    def _expect(self, beat: RPeak):
        """Takes a detected beat into the queue."""
        earlier = None if beat.after_gap else self._last_r
        rr_s = rr_interval_s(earlier, beat.sample, self.fs_hz, self._watch)
        place = round(beat.sample * self.inputs.fs_hz / self.fs_hz)
        cut_at = self._clean.needed(place + self._after - 1 + self._settle)
        self._waiting.append(_Waiting(beat, place, rr_s, cut_at))
        self._last_r = beat.sample

    def _prepared(self, ended: bool) -> list[Prepared]:
        """The beats at the head of the queue that lack nothing; all beats when the stream has `ended`."""
        uncut = [beat for beat in self._waiting if beat.beat_mv is None and (ended or beat.cut_at < self._pushed)]
        if uncut:
            self._filter_rest()
        for beat in uncut:
            beat.beat_mv = self._window(beat.place)
        ready: list[tuple[_Waiting, _Waiting | None]] = []
        while self._waiting and self._waiting[0].beat_mv is not None:
            following = self._waiting[1] if len(self._waiting) > 1 else None
            if self._zero_phase and following is None and not ended:
                break
            ready.append((self._waiting.popleft(), following if self._zero_phase else None))
        return [self._told(beat, following, *inputs) for (beat, following), inputs in zip(ready, self._inputs(ready))]

    def _inputs(self, ready: list[tuple[_Waiting, _Waiting | None]]) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
        """Window, features and group of each beat; beats without an unreadable one between them are made at once."""
        for readable, run in groupby(ready, lambda pair: pair[0].found.readable):
            beats, waited_for = zip(*run)
            if not readable:
                yield from [self._unread] * len(beats)
                continue
            next_rr_s = math.nan if waited_for[-1] is None else waited_for[-1].rr_s
            rr_s = np.array([beat.rr_s for beat in beats])
            inputs = self._recipe(np.stack([beat.beat_mv for beat in beats]), rr_s, next_rr_s)
            yield from zip(inputs.windows, inputs.features, inputs.groups.tolist())

    def _window(self, place: int) -> np.ndarray:
        """The window of the beat at `place` of the filtered signal, (window_samples,).

        Where the stream begins or has ended within it, its first or last sample is repeated, as in `cut_windows`.
        """
        end = self._start + len(self._filtered_mv)
        place = min(place, end - 1)  # resampling can round the last sample away
        first = max(place - self._before, self._start)
        last = min(place + self._after + self._settle, end)
        span_mv = self._filtered_mv[first - self._start : last - self._start]
        if self._zero_phase:
            span_mv = OnePassFilter(self._sos)(span_mv[::-1])[::-1]
        return cut_windows(span_mv, np.array([place - first]), self._before, self._after)[0]

    def _told(
        self, beat: _Waiting, waited_for: _Waiting | None, window: np.ndarray, features: np.ndarray, group: int
    ) -> Prepared:
        """`beat` with its inputs, after the one that it `waited_for`."""
        known = max(beat.cut_at, beat.found.known, 0 if waited_for is None else waited_for.found.known)
        return Prepared(
            sample=beat.found.sample,
            known=min(known, self._pushed - 1),
            late=beat.found.known - beat.found.sample > ON_TIME_S * self.fs_hz,
            complete=known < self._pushed and (waited_for is not None or not self._zero_phase),
            window=window,
            features=features,
            group=group,
            rr_s=beat.rr_s,
            quality=beat.found.quality,
        )


def push_many(streams: Sequence[BeatStream], chunks_mv: Sequence[np.ndarray]) -> list[list[Beat]]:
    """Feeds each stream its chunk and runs the network once for the beats of all; returns each stream's beats.

    All streams share one model. Raises DeepECGError where they do not, or where there is not one chunk a stream.
    """
    if len(streams) != len(chunks_mv):
        raise DeepECGError(f"{len(streams)} streams were given {len(chunks_mv)} chunks: give each its own")
    if any(stream.classifier.model is not streams[0].classifier.model for stream in streams):
        raise DeepECGError("the streams have different networks: push those of each network on their own")
    return _classified(streams, [stream.prepare(chunk_mv) for stream, chunk_mv in zip(streams, chunks_mv)])


def _classified(streams: Sequence[BeatStream], prepared: list[list[Prepared]]) -> list[list[Beat]]:
    if not any(prepared):
        return [[] for _ in prepared]
    readable = [[beat for beat in of_stream if beat.readable] for of_stream in prepared]
    proba, beats = np.zeros((0, len(UNREAD))), [beat for of_stream in readable for beat in of_stream]
    if beats:
        windows, features = (np.stack([getattr(beat, name) for beat in beats]) for name in ("window", "features"))
        proba = predict_proba(streams[0].classifier.model, windows, features)
    rows = np.split(proba, np.cumsum([len(of_stream) for of_stream in readable])[:-1])
    return [stream.labelled(own, proba) if own else [] for stream, own, proba in zip(streams, prepared, rows)]


def _joined(chunks_mv: list[np.ndarray]) -> np.ndarray:
    return chunks_mv[0] if len(chunks_mv) == 1 else np.concatenate(chunks_mv)
