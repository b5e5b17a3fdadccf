"""A causal R-peak detector for a stream of one lead: every beat is said once, with the sample at which it was known.

It follows the line of Pan and Tompkins (IEEE Trans. Biomed. Eng. 32:230-236, 1985) and of Hamilton and Tompkins (33:
1157-1165, 1986): the energy of the QRS band, levels of beats and of all that is not a beat, a refractory period, a
rule for T waves and a search back when a beat is overdue. What differs is that it has to answer within 150 ms of the
R-peak, so it cannot wait for a bigger peak to come; where it turns out to have taken a P wave for a beat, that beat
stands and the levels are put right. Heights are compared with heights of the same stream alone: polarity and offset do
not matter, nor does gain as long as what counts lies above the last bit of a converter (LEAST_MV).
"""

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from deep_ecg.beats.signal_watch import SignalWatch
from deep_ecg.system.errors import DeepECGError
from dsp_filters import OnePassFilter, bandpass_sos

RATES_HZ = (100.0, 1000.0)
LEAST_MV = 0.004  # lower energy is the last bit of the converter (MIT-BIH: 0.005 mV); a QRS lies far above


# Summits of the energy
QRS_BAND_HZ = (8.0, 25.0)  # P and T waves lie mostly below, muscle noise above
ENERGY_S = 0.08  # about the length of a QRS: longer lets P waves in, shorter lets spikes in
BEFORE_S = 0.09  # a summit is the highest point of the energy from so long before it ...
HOLD_S = 0.03  # ... to so long after it, which is all the waiting there is
BACKGROUND_S = 0.3
BACKGROUND_SHARE = 0.5  # of the lowest energy before a summit is no part of its height: a QRS stands out
R_REACH_S = 0.12  # R lies at most so long before the summit: known at most R_REACH_S + HOLD_S later
ON_TIME_S = R_REACH_S + HOLD_S  # a beat that is detected later than this after its R-peak was found by looking back
R_SMOOTHING_S = 0.015
R_BASELINE_S = 0.15  # the deflection is measured from the mean of so long before the summit
MISSING_SHARE = 0.1  # of the samples before a summit; with more, the summit may be the edge of the gap
STUCK_S = 0.06  # a step from or to a level that stays so long without any change is the electrode's, not the heart's
STEP_SHARE = 0.5  # of the excursion: a QRS comes back, a step does not


# Levels and rules
REFRACTORY_S = 0.2
APART_S = 0.12  # summits whose R-peaks lie closer than this are of one QRS
LEVEL_BEATS = 8  # the levels are medians over as many beats
THRESHOLD = 0.35  # of the way from the level of non-beats to that of beats
MARGIN = 1.25  # on the level of non-beats
CEILING = 0.7  # of the level of beats: the level of non-beats counts for no more, else noise would close the detector
RISE = 2.0  # a beat counts for at most so many times the level, so that one artefact does not lift it out of reach
LEAP = 2.5  # LEAP_BEATS of the latest LEAP_OF beats higher than so many times the level: the gain has changed
LEAP_BEATS = 2
LEAP_OF = 4
DROP = 0.3  # the latest DROP_BEATS beats all lower than so much of the level: it has changed the other way
DROP_BEATS = 3
T_WAVE_S = 0.32  # so soon after a beat, a summit of less than T_WAVE_SHARE of that beat is its T wave
T_WAVE_SHARE = 0.65
P_WAVE_S = 0.28  # so soon after a beat, a summit of more than P_WAVE_RATIO of that beat shows it to be a P wave
P_WAVE_RATIO = 1.5
OVERDUE_RR = 1.5  # so many usual RR intervals and OVERDUE_S after the last beat, one is overdue: the highest summit
OVERDUE_S = 0.6  # since then was a beat if it reaches OVERDUE_SHARE of the threshold
OVERDUE_SHARE = 0.6
BACK_BEATS = 2  # beats in a row found by such a search, all lower than BACK_SHARE of the level of beats, make it
BACK_SHARE = 0.5  # theirs: the gain has fallen so far that some beats just reach the threshold and others do not
T_WAVE_END_S = 0.42  # a summit later after a beat than its T wave and earlier before the next than its P wave was
P_WAVE_START_S = 0.3  # a beat if it has BETWEEN_LEVEL of the level of beats and is BETWEEN_RATIO times as high as
BETWEEN_LEVEL = 0.25  # all else between the two
BETWEEN_RATIO = 2.0
RR_RANGE_S = (0.3, 2.0)  # of the usual RR interval
FIRST_RR_S = 0.8


# Learning the levels
LEARN_S = 2.0  # of summits are needed
CLEAR = 0.2  # of the highest summit: where the median background lies above it, these are noise and teach nothing
LEARNED_BEATS = 0.7  # of the highest summit: where the level of beats starts
LEARNED_OTHERS = 0.1  # of the level of beats: where the level of non-beats starts
SILENT_S = 2.5  # so long without a beat, and the levels are learned anew on one of two signs:
USUAL = 0.2  # summits of so much of the median height of the LONG_BEATS last beats; artefacts had lifted the levels
LONG_BEATS = 60
FALLEN = 0.2  # the background is down to so much of what it was, and so is the gain; in a pause with P waves it is not
TAIL_S = 0.5  # a beat is told when it is known what comes after: so long, the end of a signal is taken to go on
FORGET_S = 10.0  # so long without a beat, and the levels are learned as at the start
PENDING = 64  # refused summits that are remembered: more than there can be in 2 * LEARN_S
REMEMBERED_S = 10.0  # and for so long: a beat is known at most so long, R_REACH_S and HOLD_S after its R-peak


# Quality
NOISY = 0.35  # median background over the level of beats


@dataclass(frozen=True)
class Summit:
    """A local maximum of the energy: its sample, its height over the background, the R-peak, and when it was known."""

    at: int
    height_mv: float
    background_mv: float
    r: int
    known: int


class RPeakDetector:
    """R-peaks of one lead from chunks of any size as they come; the borders of the chunks change nothing, to the bit.

    A beat is the sample of its R-peak (the largest deflection of the QRS, where MIT-BIH's annotators put it) and the
    sample at which it was known, both counted from the first sample ever pushed. What comes later than the second
    cannot change the beat, and a beat once said stands. Memory and work per sample stay the same for ever.

    `fs_hz` is the sampling rate, from 100 to 1000 Hz; DeepECGError outside it.
    """

    def __init__(self, fs_hz: float):
        low, high = RATES_HZ
        if not low <= fs_hz <= high:
            raise DeepECGError(f"the R-peak detector cannot run at {fs_hz!r} Hz: {low:g} to {high:g} Hz are needed")
        self._fs_hz = float(fs_hz)
        self._band_pass = OnePassFilter(bandpass_sos(QRS_BAND_HZ, 1, fs_hz))
        self._moving_sum = _MovingSum(self._samples(ENERGY_S))
        self._before, self._hold, self._stuck = self._samples(BEFORE_S), int(HOLD_S * fs_hz), self._samples(STUCK_S)
        self._reach, self._background = int(R_REACH_S * fs_hz), self._samples(BACKGROUND_S)
        self.kernel = np.hanning(2 * self._samples(R_SMOOTHING_S / 2) + 3)[1:-1]
        self.kernel /= self.kernel.sum()
        self._history = self._background + self._hold + len(self.kernel)
        self._signal_mv, self._energy_mv = np.zeros(self._history), np.zeros(self._history)
        self._missing = np.zeros(self._history, bool)
        self._watch, self._pushed = SignalWatch(fs_hz), 0
        self._judge = _Judge(self._fs_hz)

    def push(self, chunk_mv: np.ndarray) -> list[tuple[int, int]]:
        """Feeds the next samples (n,), any n >= 0, in millivolts; returns the beats decided in them, oldest first.

        A beat is (R-peak sample, sample at which it was known). Samples that are not numbers are taken for a lost
        signal. DeepECGError where `chunk_mv` is not one row of numbers.
        """
        chunk_mv = one_row(chunk_mv)
        if len(chunk_mv) == 0:
            return []
        watched = self._watch(chunk_mv)
        self._watch.forget(self._pushed)
        return self.push_watched(*watched)

    def push_watched(self, filled_mv: np.ndarray, missing: np.ndarray) -> list[tuple[int, int]]:
        """`push` for a caller whose own `SignalWatch` has seen the samples (n,), n > 0, and has given these."""
        self._remember(filled_mv, missing)
        beats = [beat for at in self._summits(len(filled_mv)) for beat in self._judged(at)]
        self._forget()
        return beats

    @property
    def quality(self) -> str:
        """What the detector knows of the signal just now.

        "ok"; "missing", "flat" or "saturated" as in `SignalWatch.fault`; "noisy": no clear beats over the background;
        "learning": no levels yet, or no beat for SILENT_S.
        """
        return self._watch.fault or self._judge.quality(self._pushed)

    def _samples(self, seconds: float) -> int:
        return round(seconds * self._fs_hz)

    def _remember(self, filled_mv: np.ndarray, missing: np.ndarray):
        """Appends a chunk, its gaps filled with the sample before them, and its energy to what is remembered."""
        if self._pushed == 0:
            self._signal_mv[:] = filled_mv[0]
        energy_mv = self._moving_sum(np.abs(self._band_pass(filled_mv))) / self._moving_sum.samples
        self._signal_mv = np.concatenate((self._signal_mv, filled_mv))
        self._energy_mv = np.concatenate((self._energy_mv, energy_mv))
        self._missing = np.concatenate((self._missing, missing))
        self._pushed += len(filled_mv)

    def _forget(self):
        self._signal_mv = self._signal_mv[-self._history :].copy()
        self._energy_mv = self._energy_mv[-self._history :].copy()
        self._missing = self._missing[-self._history :].copy()

    def _summits(self, count: int) -> list[int]:
        """Summits that the last `count` samples have made known, as places in the remembered energy."""
        energy_mv = self._energy_mv
        first, end = len(energy_mv) - count - self._hold, len(energy_mv) - self._hold
        here = energy_mv[first:end]
        rising, not_rising = here > energy_mv[first - 1 : end - 1], here >= energy_mv[first + 1 : end + 1]
        peaks = first + np.flatnonzero(rising & not_rising & (here >= LEAST_MV))
        spans = ((at, energy_mv[at - self._before : at + self._hold + 1]) for at in peaks.tolist())
        return [at for at, span_mv in spans if energy_mv[at] >= span_mv.max()]

    def _judged(self, at: int) -> list[tuple[int, int]]:
        """The beats that the summit at place `at` makes known."""
        start, known = at - self._background, at + self._hold
        if self._missing[start : known + 1].sum() > MISSING_SHARE * (known + 1 - start) or self._is_step(at):
            return []
        background_mv = float(self._energy_mv[start : at + 1].min())
        height_mv = float(self._energy_mv[at]) - BACKGROUND_SHARE * background_mv
        zero = self._pushed - len(self._energy_mv)
        r = max(zero + self._r_peak(at), 0)
        return self._judge(Summit(zero + at, height_mv, background_mv, r, zero + known))

    def _is_step(self, at: int) -> bool:
        """Whether the signal goes to another level near the summit and is stuck at one of the two."""
        signal_mv = self._signal_mv[at - self._reach - self._stuck : at + self._hold + 1]
        before_mv, after_mv = signal_mv[: self._stuck], signal_mv[-self._stuck :]
        if before_mv[0] != before_mv[-1] and after_mv[0] != after_mv[-1]:
            return False
        stuck = before_mv.min() == before_mv.max() or after_mv.min() == after_mv.max()
        return bool(stuck and abs(after_mv[-1] - before_mv[0]) > STEP_SHARE * (signal_mv.max() - signal_mv.min()))

    def _r_peak(self, at: int) -> int:
        """The place of the largest deflection of the smoothed signal shortly before the summit."""
        margin = len(self.kernel) // 2
        start = at - self._reach
        baseline_mv = self._signal_mv[at - self._samples(R_BASELINE_S) : at + self._hold + 1].mean()
        smooth_mv = np.convolve(self._signal_mv[start - margin : at + margin + 1], self.kernel, "valid")
        return start + int(np.abs(smooth_mv - baseline_mv).argmax())


class _MovingSum:
    """Sum over the last `samples` samples, chunk by chunk, added in the same order whatever the chunks.

    A running total would gather rounding errors for ever, and a convolution's order of additions depends on the
    length of the chunk. Here spans of 1, 2, 4 ... samples are added as `samples` is written in binary.
    """

    def __init__(self, samples: int):
        self.samples = samples
        self._tail = np.zeros(samples - 1)

    def __call__(self, chunk: np.ndarray) -> np.ndarray:
        span, width, offset = np.concatenate((self._tail, chunk)), 1, 0
        self._tail = span[len(chunk) :].copy()
        total = np.zeros(len(chunk))
        while offset < self.samples:
            if self.samples & width:
                end = len(span) - offset
                total += span[end - len(chunk) : end]
                offset += width
            span, width = span[width:] + span[:-width], 2 * width
        return total


class _Judge:
    """Tells beats from other summits, one by one as they come; carries levels, rhythm and the summits refused."""

    def __init__(self, fs_hz: float):
        self._fs_hz = fs_hz
        self._beats_mv: deque[float] = deque(maxlen=LEVEL_BEATS)
        self._others_mv: deque[float] = deque(maxlen=LEVEL_BEATS)  # the highest non-beat of each RR interval
        self._background_mv: deque[float] = deque(maxlen=LEVEL_BEATS)
        self._rr_s = deque([FIRST_RR_S], maxlen=LEVEL_BEATS)
        self._last: Summit | None = None
        self._refused: deque[Summit] = deque(maxlen=PENDING)  # since the last beat
        self._heights_mv: deque[float] = deque(maxlen=LONG_BEATS)
        self._latest_mv: deque[float] = deque(maxlen=LEAP_OF)
        self._outgrown_mv = deque([0.0] * LEAP_OF, maxlen=LEAP_OF)  # what followed the latest beats, 0: nothing higher
        self._found_back = 0  # how many of the latest beats in a row were found by looking back
        self._calm_mv = 0.0

    def __call__(self, summit: Summit) -> list[tuple[int, int]]:
        """The beats that `summit` makes known, oldest first."""
        self._background_mv.append(summit.background_mv)
        while self._refused and self._seconds(self._refused[0], summit) > REMEMBERED_S:
            self._refused.popleft()
        beats = self._weigh(summit, summit.known) if self._beats_mv else self._refuse(summit)
        if not beats and self._is_silent(summit.known):
            beats = self._learn(summit)
        return beats

    def quality(self, now: int) -> str:
        """"learning", "noisy" or "ok" at sample `now`."""
        if not self._beats_mv or self._is_silent(now):
            return "learning"
        return "noisy" if _median(self._background_mv) > NOISY * _median(self._beats_mv) else "ok"

    def _is_silent(self, now: int) -> bool:
        return self._last is None or now - self._last.at > SILENT_S * self._fs_hz

    def _seconds(self, earlier: Summit | None, later: Summit) -> float:
        return math.inf if earlier is None else (later.at - earlier.at) / self._fs_hz

    def _usual_rr_s(self) -> float:
        return min(max(_median(self._rr_s), RR_RANGE_S[0]), RR_RANGE_S[1])

    def _threshold_mv(self) -> float:
        level_mv = _median(self._beats_mv)
        others_mv = MARGIN * min(_median(self._others_mv), CEILING * level_mv)
        return others_mv + THRESHOLD * (level_mv - others_mv)

    # Rules -------------------------------------------------------------------------------------------------------

    def _weigh(self, summit: Summit, known: int) -> list[tuple[int, int]]:
        """The beats known once `summit` is held against the levels; `known` is the sample at which that happens."""
        last, since_s = self._last, self._seconds(self._last, summit)
        if last is not None and summit.r - last.r < APART_S * self._fs_hz:
            if summit.height_mv > P_WAVE_RATIO * last.height_mv:
                self._outgrow(summit)
            return []
        last_mv = 0.0 if last is None else last.height_mv  # without one, `since_s` is infinite
        if since_s < REFRACTORY_S and summit.height_mv <= P_WAVE_RATIO * last_mv:
            return []
        is_t_wave = since_s < T_WAVE_S and summit.height_mv <= T_WAVE_SHARE * last_mv
        if summit.height_mv > self._threshold_mv() and not is_t_wave:
            return self._accept(summit, known)
        self._refuse(summit)
        return self._search_back(summit, known)

    def _outgrow(self, summit: Summit):
        """The last beat was told by the start of its QRS or by its P wave: `summit`, far higher, follows closely.

        Where that is so of LEAP_BEATS of the latest LEAP_OF beats, the levels are set by what follows.
        """
        self._outgrown_mv[-1] = summit.height_mv
        self._leaps(self._outgrown_mv, _median(self._beats_mv))

    def _refuse(self, summit: Summit) -> list[tuple[int, int]]:
        self._refused.append(summit)
        return []

    def _accept(self, summit: Summit, known: int) -> list[tuple[int, int]]:
        """`summit` is a beat; before it may come one that only it has shown to be a beat."""
        last, since_s, between = self._last, self._seconds(self._last, summit), []
        self._found_back = 0
        if last is not None and since_s < P_WAVE_S and summit.height_mv > P_WAVE_RATIO * last.height_mv:
            self._others_mv.append(self._beats_mv.pop())
            self._rr_s[-1] += since_s
        elif last is not None:
            between = self._beat_between(summit, known)
            self._others_mv.append(max((other.height_mv for other in self._refused), default=0.0))
        self._count(summit)
        return [*between, (summit.r, known)]

    def _beat_between(self, summit: Summit, known: int) -> list[tuple[int, int]]:
        """A refused summit between the last beat and this one that can have been neither a T nor a P wave."""
        least_mv = BETWEEN_LEVEL * _median(self._beats_mv)
        middle = [
            other for other in self._refused
            if self._seconds(self._last, other) > T_WAVE_END_S and self._seconds(other, summit) > P_WAVE_START_S
            and other.height_mv > least_mv
        ]  # fmt: skip
        if not middle:
            return []
        highest = max(middle, key=lambda other: other.height_mv)
        rest = [other for other in self._refused if other.at != highest.at]
        if highest.height_mv <= BETWEEN_RATIO * max((other.height_mv for other in rest), default=0.0):
            return []
        self._count(highest)
        self._refused.extend(rest)
        return [(highest.r, known)]

    def _search_back(self, summit: Summit, known: int) -> list[tuple[int, int]]:
        """The highest summit since the last beat where a beat is overdue."""
        if not max(OVERDUE_S, OVERDUE_RR * self._usual_rr_s()) < self._seconds(self._last, summit) < math.inf:
            return []
        highest = max(self._refused, key=lambda other: other.height_mv)
        if highest.height_mv <= OVERDUE_SHARE * self._threshold_mv() or self._seconds(self._last, highest) < T_WAVE_S:
            return []
        later = [other for other in self._refused if self._seconds(highest, other) > REFRACTORY_S]
        level_mv = _median(self._beats_mv)
        self._count(highest)
        self._refused.extend(later)
        self._found_back += 1
        self._follow_fall(level_mv)
        return [(highest.r, known)]

    def _count(self, beat: Summit):
        """Takes `beat` into the levels and the rhythm; nothing is refused since it yet."""
        since_s, level_mv = self._seconds(self._last, beat), _median(self._beats_mv)
        if since_s < SILENT_S:
            self._rr_s.append(since_s)
        self._beats_mv.append(min(beat.height_mv, RISE * level_mv))
        self._heights_mv.append(beat.height_mv)
        self._latest_mv.append(beat.height_mv)
        self._outgrown_mv.append(0.0)
        self._follow_gain(level_mv)
        self._last = beat
        self._calm_mv = _median(self._background_mv)
        self._refused.clear()

    def _follow_gain(self, level_mv: float):
        """Sets the levels anew where the latest beats are far above them or far below."""
        if self._leaps(self._latest_mv, level_mv):
            return
        latest_mv = list(self._latest_mv)[-DROP_BEATS:]
        if len(latest_mv) == DROP_BEATS and max(latest_mv) < DROP * level_mv:
            self._set_levels(max(latest_mv))

    def _leaps(self, heights_mv: Iterable[float], level_mv: float) -> bool:
        """Whether LEAP_BEATS of `heights_mv` are far above the level; it is then set by the lowest of these."""
        high_mv = sorted(heights_mv)[-LEAP_BEATS:]
        leaps = len(high_mv) == LEAP_BEATS and high_mv[0] > LEAP * level_mv
        if leaps:
            self._set_levels(high_mv[0])
        return leaps

    def _follow_fall(self, level_mv: float):
        """Lowers both levels where the latest beats were all found by looking back."""
        fallen_mv = max(list(self._heights_mv)[-BACK_BEATS:])
        if self._found_back >= BACK_BEATS and fallen_mv < BACK_SHARE * level_mv:
            self._beats_mv.extend([fallen_mv] * LEVEL_BEATS)
            self._others_mv.extend([other_mv * fallen_mv / level_mv for other_mv in self._others_mv])

    # Learning ----------------------------------------------------------------------------------------------------

    def _learn(self, summit: Summit) -> list[tuple[int, int]]:
        """Sets the levels by the summits refused of late, if they look like beats; returns those that were beats."""
        span = 2 * LEARN_S * self._fs_hz
        recent = [other for other in self._refused if summit.at - other.at <= span]
        span_s = self._seconds(recent[0], summit) if recent else 0.0
        if span_s < LEARN_S:
            return []
        highest_mv = max(other.height_mv for other in recent)
        background_mv = _median(other.background_mv for other in recent)
        if background_mv > CLEAR * highest_mv:
            return []
        is_start = not self._beats_mv or self._seconds(self._last, summit) > FORGET_S
        has_fallen = background_mv <= FALLEN * self._calm_mv
        if not (is_start or has_fallen or highest_mv > USUAL * _median(self._heights_mv)):
            return []
        self._set_levels(LEARNED_BEATS * highest_mv)
        self._refused.clear()
        return [beat for other in recent for beat in self._weigh(other, summit.known)]

    def _set_levels(self, level_mv: float):
        self._beats_mv.extend([level_mv] * LEVEL_BEATS)
        self._others_mv.extend([LEARNED_OTHERS * level_mv] * LEVEL_BEATS)
        self._latest_mv.clear()


def _median(values: Iterable[float]) -> float:
    """The upper median, one of the values themselves."""
    ordered = sorted(values)
    return ordered[len(ordered) // 2]


def one_row(chunk_mv: np.ndarray) -> np.ndarray:
    """`chunk_mv` as a row of numbers, (n,) float64. Raises DeepECGError where it is none."""
    try:
        row = np.asarray(chunk_mv, float)
    except (TypeError, ValueError):
        raise DeepECGError("a chunk of the signal holds more than numbers: push millivolts") from None
    if row.ndim != 1:
        raise DeepECGError(f"a chunk of the signal has shape {row.shape}: push one row of samples, (n,)")
    return row


def causal_r_peaks(signal_mv: np.ndarray, fs_hz: float) -> np.ndarray:
    """R-peak samples of the whole of `signal_mv` (n,) as `BeatStream` tells them, (beats,) int64."""
    detector = RPeakDetector(fs_hz)
    found = detector.push(signal_mv)
    found += detector.push(tail(signal_mv[-1:], fs_hz))
    return np.array([r for r, _ in found if r < len(signal_mv)], np.int64)


def tail(last: np.ndarray, fs_hz: float) -> np.ndarray:
    """What is taken to follow the end of a signal: `last`, its last value (1,) or, of an empty one, (0,), repeated."""
    return np.repeat(last, round(TAIL_S * fs_hz))
