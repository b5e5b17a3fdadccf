"""R-peaks and signal quality of a whole record, in both forms: as a live stream has them, and looking both ways.

A record is read a piece at a time, so that memory and time grow with its length and no faster.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import log

import numpy as np

from deep_ecg.beats.arrays import each
from deep_ecg.beats.beat_network import (
    APART_S,
    R_BASELINE_S,
    STEP,
    STEP_HZ,
    LogitStream,
    RPeak,
    RPeakNetwork,
    RPlace,
    pretrained,
    primed_gain,
    r_about,
)
from deep_ecg.beats.beat_picking import AROUND_STEPS, StrongestPeaks, record_beats
from deep_ecg.beats.record_network import LAG_STEPS, RecordNetwork
from deep_ecg.beats.signal_quality import LOST, NOISY, SETTLE_STEPS, UNREADABLE
from deep_ecg.beats.signal_watch import Growing, GrowingRuns, Runs, SignalWatch, stretches
from deep_ecg.records.long_signal import pieces
from deep_ecg.system.work import NOTHING_KEPT, Work
from dsp_filters import running_mean

PIECE_S = 20.0  # small enough for a processor's cache
LEAST, THRESHOLD = log(0.05 / 0.95), log(0.25 / 0.75)  # of a peak that can turn out to be a beat, of a beat
LIMITS = log(0.25 / 0.75), log(0.88 / 0.12)  # of noisy and of unreadable signal
BLOCK = 2**18  # steps or samples of known states that are worked on at once
SETTLED_STEPS = 4 * SETTLE_STEPS  # no step further away has a say in the state at one


@dataclass(frozen=True)
class Reading:
    """What a lead shows: R-peaks `samples` (beats,) int64, rising, and for every sample its state, a place in STATES.

    `readable` (beats,): whether the signal could be read at each; `after_gap` (beats,): whether it could not since the
    last readable beat before it. `watch` has seen all of the signal.
    """

    samples: np.ndarray
    readable: np.ndarray
    after_gap: np.ndarray
    states: Runs
    watch: SignalWatch


class CausalReading:
    """A lead as it is read by the detector of live streams: a stage of `Work`."""

    def __init__(self, fs_hz: float, arrays: Mapping[str, np.ndarray] | None = None):
        arrays = pretrained() if arrays is None else arrays
        self._fs_hz, self._delay_steps = fs_hz, int(arrays["delay_steps"])
        self._detector, self._watch = RPeakNetwork(fs_hz, arrays), SignalWatch(fs_hz)
        self._beats = Growing(np.zeros((0, 3), np.int64))
        self._states, self._taken = GrowingRuns(), 0

    def steps(self, signal_mv: np.ndarray) -> Iterator[None]:
        """Reads what is left of the lead `signal_mv` (n,), a piece at a step."""
        for piece_mv in pieces(signal_mv, round(PIECE_S * self._fs_hz), self._taken):
            self._take(self._detector.push_watched(*self._watch(piece_mv)))
            self._taken += len(piece_mv)
            yield

    def result(self) -> Reading:
        """What the lead shows."""
        if self._taken:
            self._take(self._detector.finish())
        beats, known = self._beats.all(), self._states.runs().after(self._delay_steps)
        samples, readable = beats[:, 0].copy(), beats[:, 1] > 0
        states = _by_sample(known, self._taken, self._fs_hz, self._watch)
        by_sample = Runs.of(_as_told(states, samples, readable, self._fs_hz))
        return Reading(samples, readable, beats[:, 2] > 0, by_sample, self._watch)

    def _take(self, beats: list[RPeak]):
        rows = [(beat.sample, beat.readable, beat.after_gap) for beat in beats]
        self._beats.add(np.array(rows, np.int64).reshape(-1, 3))
        self._states.add(self._detector.states)


def read_causal(
    signal_mv: np.ndarray,
    fs_hz: float,
    arrays: Mapping[str, np.ndarray] | None = None,
    work: Work = NOTHING_KEPT,
) -> Reading:
    """The lead `signal_mv` (n,) as a live stream reads it. DeepECGError where the detector cannot run at that rate."""
    return work.result_of(lambda: CausalReading(fs_hz, arrays), signal_mv)


def _as_told(
    states: Iterable[np.ndarray], samples: np.ndarray, readable: np.ndarray, fs_hz: float
) -> Iterator[np.ndarray]:
    """The parts (n,) of the `states` of a lead with those around each beat as it was told: it is judged then."""
    reach, first = round(APART_S * fs_hz), 0
    for part in states:
        near = slice(*np.searchsorted(samples, (first - reach, first + len(part) + reach)))
        if (part == UNREADABLE).any() or not readable[near].all():
            for sample, is_readable in zip((samples[near] - first).tolist(), readable[near].tolist()):
                around = part[max(sample - reach, 0) : max(sample + reach + 1, 0)]
                around[(around == UNREADABLE) == is_readable] = NOISY if is_readable else UNREADABLE
        yield part
        first += len(part)


class WholeReading:
    """A lead as it is read by the network that looks both ways: a stage of `Work`. It begins with `signal_mv` (n,).

    Without `finds` it is asked for states alone.
    """

    def __init__(self, signal_mv: np.ndarray, fs_hz: float, finds: bool = True):
        self._fs_hz, self._taken = fs_hz, 0
        self._watch, self._network = SignalWatch(fs_hz), RecordNetwork()
        self._stream = LogitStream(fs_hz, self._network, primed_gain(signal_mv, fs_hz) if len(signal_mv) else None)
        self._levels, self._finds, self._candidates = GrowingRuns(), finds, _Candidates(fs_hz)

    def steps(self, signal_mv: np.ndarray) -> Iterator[None]:
        """Reads what is left of the lead `signal_mv` (n,), a piece at a step."""
        for piece_mv in pieces(signal_mv, round(PIECE_S * self._fs_hz), self._taken):
            filled_mv, missing = self._watch(piece_mv)
            self._take(self._stream.push(filled_mv), filled_mv, missing)
            self._taken += len(piece_mv)
            yield

    def result(self) -> Reading:
        """What the lead shows."""
        states = self.states()
        return _reading(self._candidates.beats(), states, self._watch)

    def states(self) -> Runs:
        """For every sample its state."""
        if not self._taken:
            return Runs.of([])
        owed = np.concatenate((self._stream.finish(), self._network.finish()))
        self._take(owed, np.zeros(0), np.zeros(0, bool))
        settled = Runs.of(_settled(self._levels.runs()))
        return Runs.of(_by_sample(settled, self._taken, self._fs_hz, self._watch))

    def _take(self, logits: np.ndarray, filled_mv: np.ndarray, missing: np.ndarray):
        if self._finds:
            self._candidates.add(logits[:, 0], filled_mv, missing)
        self._levels.add(_levels(logits[:, 1]))


def read_whole(signal_mv: np.ndarray, fs_hz: float, work: Work = NOTHING_KEPT) -> Reading:
    """The lead `signal_mv` (n,) by a network that looks both ways. DeepECGError as `read_causal`."""
    return work.result_of(lambda: WholeReading(signal_mv, fs_hz), signal_mv)


def read_states(signal_mv: np.ndarray, fs_hz: float) -> Runs:
    """For every sample of a lead its state, as `read_whole` has it. DeepECGError as `read_causal`."""
    reading = WholeReading(signal_mv, fs_hz, finds=False)
    for _ in reading.steps(signal_mv):
        pass
    return reading.states()


class _Candidates:
    """The peaks of the beat logit of a lead as it passes, each with the R-peak near it, -1 for none."""

    def __init__(self, fs_hz: float):
        self._fs_hz = fs_hz
        self._strongest, self._place = StrongestPeaks(LEAST), RPlace(fs_hz)
        back_steps = LAG_STEPS + 2 * AROUND_STEPS + STEP
        self._history = round((back_steps / STEP_HZ + R_BASELINE_S) * fs_hz) + self._place.reach
        self._signal_mv, self._missing, self._zero = np.zeros(0), np.zeros(0, bool), 0
        self._steps, self._logits, self._r = (Growing(np.zeros(0, kind)) for kind in (np.int64, float, np.int64))

    def add(self, logits: np.ndarray, filled_mv: np.ndarray, missing: np.ndarray):
        """Takes the next samples (n,) and the `logits` (steps,) then known; without samples the signal has ended."""
        surplus = max(len(self._signal_mv) - self._history, 0)
        self._signal_mv = np.concatenate((self._signal_mv[surplus:], filled_mv))
        self._missing = np.concatenate((self._missing[surplus:], missing))
        self._zero += surplus
        steps, heights = self._strongest(logits, ended=len(filled_mv) == 0)
        self._steps.add(steps)
        self._logits.add(heights)
        self._r.add(np.array([self._r_near(step) for step in steps.tolist()], np.int64))

    def beats(self) -> np.ndarray:
        """The R-peaks (beats,) of those that are beats, rising; of two of one QRS the first."""
        steps, logits, r = (one.all() for one in (self._steps, self._logits, self._r))
        samples, last = [], -round(10.0 * self._fs_hz)
        for sample in r[record_beats(steps, logits, THRESHOLD)].tolist():
            if sample >= 0 and sample - last >= APART_S * self._fs_hz:
                samples.append(sample)
                last = sample
        return np.array(samples, np.int64)

    def _r_near(self, step: int) -> int:
        about = r_about(step, 0, self._fs_hz)
        place = None if about < 0 else self._place(self._signal_mv, self._missing, about - self._zero)
        return -1 if place is None else self._zero + place


def r_peaks(signal_mv: np.ndarray, fs_hz: float) -> np.ndarray:
    """R-peak samples of `signal_mv` (n,) at `fs_hz`, (beats,) int64, rising; empty where no beat is found.

    Samples that are not numbers are lost signal. DeepECGError where the detector cannot run at that rate.
    """
    return read_whole(signal_mv, fs_hz).samples


def causal_r_peaks(signal_mv: np.ndarray, fs_hz: float) -> np.ndarray:
    """`r_peaks` as `RPeakNetwork` tells them in a stream."""
    return read_causal(signal_mv, fs_hz).samples


def _levels(logits: np.ndarray) -> np.ndarray:
    """Which of LIMITS each of `logits` (steps,) reaches, (steps,) int8: 1 the first, 2 the second, 3 both."""
    return (logits >= LIMITS[0]).astype(np.int8) + np.int8(2) * (logits >= LIMITS[1])


def _settled(levels: Runs) -> Iterator[np.ndarray]:
    """The quality at each step, (steps,) int8 in parts: that of most `levels` within SETTLE_STEPS of it."""
    for start in range(0, len(levels), BLOCK):
        first, last = max(start - SETTLED_STEPS, 0), min(start + BLOCK + SETTLED_STEPS, len(levels))
        yield _settled_at(levels[first:last])[start - first : start - first + BLOCK]


def _settled_at(levels: np.ndarray) -> np.ndarray:
    noisy, unreadable = (running_mean(above, 2 * SETTLE_STEPS + 1) > 0.5 for above in (levels & 1, levels >> 1))
    for first, last in stretches(~unreadable):  # short ones within unreadable signal
        unreadable[first : last + 1] = first > 0 and last + 1 < len(levels) and last - first < 2 * SETTLE_STEPS
    return np.where(unreadable, np.int8(UNREADABLE), noisy.astype(np.int8))


def _by_sample(states: Runs, length: int, fs_hz: float, watch: SignalWatch) -> Iterator[np.ndarray]:
    """The states of `length` samples, int8 in parts, from those of steps, the first of which is the first sample's.

    What the `watch` over the signal has seen lost is LOST.
    """
    for start in range(0, length, BLOCK):
        samples = np.arange(start, min(start + BLOCK, length))
        if len(states) == 0:
            yield np.zeros(len(samples), np.int8)
            continue
        steps = np.minimum((samples * (STEP_HZ / fs_hz)).astype(np.int64), len(states) - 1)
        part = states[steps[0] : steps[-1] + 1][steps - steps[0]]
        for first, last in watch.lost_within(start, start + len(part) - 1):
            part[max(first - start, 0) : last + 1 - start] = LOST
        yield part


def _reading(samples: np.ndarray, states: Runs, watch: SignalWatch) -> Reading:
    """The reading of R-peaks whose `states` are known from both sides."""
    unreadable = states.values == UNREADABLE
    readable = states[samples] != UNREADABLE
    before = states.counted(unreadable, samples)
    after_gap, last = np.zeros(len(samples), bool), 0
    for number, (is_readable, count) in enumerate(zip(each(readable), each(before))):
        after_gap[number] = count > last
        last = count if is_readable else last
    return Reading(samples, readable, after_gap, states, watch)
