"""Which peaks of the network's beat logit are beats: in a stream one by one, and of a whole record by its rhythm."""

from collections import deque
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from deep_ecg.beats.signal_watch import stretches

REFRACTORY_STEPS = 10
AROUND_STEPS = 2 * REFRACTORY_STEPS  # no step further away has a say in whether one is a peak
SHORTEST_STEPS = 6  # so soon after a P wave that was taken for a beat its QRS complex may follow

# A stream: a peak between the two thresholds was a beat if it lies in a pause
MEMORY = 8  # RR intervals
FEWEST = 3  # of them tell what a pause is
PAUSE_TENTHS = 14  # of the usual RR interval; whole numbers leave nothing to rounding
ASIDE_STEPS = 15  # and so far from the beats around it
LONGEST_STEPS = 100  # a longer RR interval is not usual: beats are missing there
BACK_STEPS = 125  # and so long ago at most

# A stream: where P waves are taken for beats, a low peak waits for a higher one soon after it
HELD_STEPS = 12
HELD_BEATS = 3  # so many beats after the last such P wave

# A whole record: where most beats are doubtful, they are weighed by their rhythm
AROUND = 17  # beats in which the rhythm is usual
DOUBT = (1.0, 2.0)  # median logits of beats below which they are doubtful, and above which they are not
RHYTHM = 0.7  # weight of a beat in time, as a logit
IRREGULAR = 0.3  # median of |ln(RR / usual RR)| above which there is no rhythm
WIDTH = 0.12  # of ln(RR / usual RR): what costs the weight of one beat in time
SKIPPED = 0.35  # cost of each beat that is missing between two, in the same
DEAREST = 3.0
REACH = 14  # peaks before a beat that can be the beat before it


class Peak(NamedTuple):
    """A local maximum of the logit of beats: its step, its logit, and the sample of the R-peak near it.

    `quality` is that of the signal then, `unread` how many steps up to it could not be read.
    """

    step: int
    logit: float
    r: int
    quality: str = "ok"
    unread: int = 0


class StreamPicker:
    """Tells beats from other peaks as they come. Those found by looking back into a pause come before the one after it.

    `threshold` is the least logit of a beat, `least` that of a peak which a pause can show to have been one. A peak
    that is higher by `clearly` than the beat just before it shows that one to have been a P wave, and is a beat itself;
    for the next beats a peak that is lower than the beat before by half as much is held for a while.
    """

    def __init__(self, threshold: float, least: float, clearly: float):
        self.least, self._threshold, self._clearly = least, threshold, clearly
        self._rr_steps: deque[int] = deque(maxlen=MEMORY)
        self._last, self._last_logit = -BACK_STEPS, 0.0
        self._refused: Peak | None = None  # the highest since the last beat
        self._held: Peak | None = None
        self._wary = 0  # beats for which low peaks are still held

    @property
    def held_until(self) -> int | None:
        """The step after which the peak that is held, if one is, is a beat: `let_go` tells it."""
        return None if self._held is None else self._held.step + HELD_STEPS

    def let_go(self) -> list[Peak]:
        """The beats that the peak that was held makes known, after which none is."""
        held, self._held = self._held, None
        return [] if held is None else self._accepted(held)

    def __call__(self, peak: Peak) -> list[Peak]:
        """The beats that `peak` makes known, oldest first; a peak that is held until before it was let go."""
        if (held := self._held) is None:
            return self._judged(peak)
        if self._is_higher(peak.logit, held.logit):
            self._held, self._wary = None, HELD_BEATS
            return self._judged(peak)
        return [] if peak.step - held.step < REFRACTORY_STEPS else [*self.let_go(), *self._judged(peak)]

    def _judged(self, peak: Peak) -> list[Peak]:
        since = peak.step - self._last
        if since < REFRACTORY_STEPS:
            if since < SHORTEST_STEPS or peak.logit < self._last_logit + self._clearly:
                return []
            return self._took([peak])
        if peak.logit < self._threshold:
            if since >= ASIDE_STEPS and (self._refused is None or peak.logit > self._refused.logit):
                self._refused = peak
            return []
        if self._wary and self._is_higher(self._last_logit, peak.logit):
            self._held = peak
            return []
        return self._accepted(peak)

    def _accepted(self, peak: Peak) -> list[Peak]:
        since = peak.step - self._last
        found = [peak] if not self._is_pause(since) else [*self._looked_back(peak), peak]
        if (rr_steps := peak.step - (found[0].step if len(found) > 1 else self._last)) < LONGEST_STEPS:
            self._rr_steps.append(rr_steps)
        return self._took(found)

    def _took(self, found: list[Peak]) -> list[Peak]:
        is_soon = found[0].step - self._last <= HELD_STEPS
        is_second = is_soon and self._is_higher(found[0].logit, self._last_logit)
        self._wary = HELD_BEATS if is_second else max(self._wary - 1, 0)
        self._last, self._last_logit, self._refused = found[-1].step, found[-1].logit, None
        return found

    def _is_higher(self, logit: float, other: float) -> bool:
        return logit - other > self._clearly / 2

    def _is_pause(self, steps: int) -> bool:
        usual = sorted(self._rr_steps)
        return len(usual) >= FEWEST and 10 * steps > PAUSE_TENTHS * usual[len(usual) // 2]

    def _looked_back(self, peak: Peak) -> list[Peak]:
        refused = self._refused
        return [refused] if refused is not None and ASIDE_STEPS <= peak.step - refused.step <= BACK_STEPS else []


def peaks_of(row: np.ndarray, threshold: float) -> np.ndarray:
    """The places, less one, at which `row` (n,) is at a local maximum of at least `threshold`, rising."""
    middle = row[1:-1]
    return np.flatnonzero((middle >= threshold) & (middle > row[:-2]) & (middle >= row[2:]))


class StrongestPeaks:
    """`strongest` of logits that come any number at a time, of which a few are held."""

    def __init__(self, least: float):
        self._least, self._row = least, np.zeros(0)
        self._first, self._done = 0, 0  # steps: of the row's first, and up to which the peaks are told

    def __call__(self, logits: np.ndarray, ended: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """The steps (n,) of the peaks that the next `logits` (steps,) make known, rising, and their logits (n,)."""
        self._row = np.concatenate((self._row, logits))
        end = self._first + len(self._row) - (0 if ended else AROUND_STEPS)
        steps = strongest(self._row, self._least) + self._first
        steps = steps[(steps >= self._done) & (steps < end)]
        found = self._row[steps - self._first]
        self._row, kept = self._row[-2 * AROUND_STEPS :], min(len(self._row), 2 * AROUND_STEPS)
        self._first, self._done = end - kept + (0 if ended else AROUND_STEPS), max(end, self._done)
        return steps, found


def record_beats(peaks: np.ndarray, logits: np.ndarray, threshold: float) -> np.ndarray:
    """Which of the `peaks` (n,) of a whole record (`strongest`), of these natural `logits` (n,), are beats, (n,) bool.

    Of two peaks within REFRACTORY_STEPS the higher one counts. Beats are those of at least `threshold`; where most
    are doubtful, peaks of at least `least` are taken or left as they fit into the usual RR interval.
    """
    gains = logits - threshold
    beats = gains >= 0
    weights, usual_steps = _rhythm(peaks, logits)
    for first, last in stretches(weights > 0):
        before = np.flatnonzero(beats[:first])[-1:]
        span = np.concatenate([before, np.arange(first, last + 1)])
        gains[before] = 0.0
        beats[span] = _chain(peaks[span], gains[span], weights[span], usual_steps[span])
        beats[before] = True
    return beats


def strongest(logits: np.ndarray, least: float) -> np.ndarray:
    """The steps at which `logits` (steps,) are at least `least` and the highest within a refractory period, rising."""
    padded = np.pad(logits, (REFRACTORY_STEPS - 1, REFRACTORY_STEPS), constant_values=-np.inf)
    highest = sliding_window_view(padded, 2 * REFRACTORY_STEPS - 1).max(axis=1)[: len(logits)]
    peaks = np.flatnonzero((logits == highest) & (logits >= least))
    return peaks[np.diff(peaks, prepend=-REFRACTORY_STEPS) >= REFRACTORY_STEPS]  # of equals the first


def _rhythm(peaks: np.ndarray, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each of `peaks` (n,) the weight of the rhythm there, (n,), and the usual RR interval in steps, (n,)."""
    likely = np.flatnonzero(logits > 0)
    if len(likely) <= MEMORY:
        return np.zeros(len(peaks)), np.ones(len(peaks))
    rr_steps = np.diff(peaks[likely]).astype(float)
    whole = rr_steps < LONGEST_STEPS  # between two of which no beat was unlikely
    if whole.sum() <= MEMORY:
        return np.zeros(len(peaks)), np.ones(len(peaks))
    usual_steps = _running_median(rr_steps[whole])
    irregular = _running_median(np.abs(np.log(rr_steps[whole] / usual_steps)))
    doubtful = _running_median(logits[likely])[1:][whole]
    doubt = np.clip((DOUBT[1] - doubtful) / (DOUBT[1] - DOUBT[0]), 0, 1)
    weights = RHYTHM * doubt * np.maximum(1 - irregular / IRREGULAR, 0)
    at = np.clip(np.searchsorted(peaks[likely[1:]][whole], peaks), 0, len(usual_steps) - 1)
    return weights[at], usual_steps[at]


def _running_median(values: np.ndarray) -> np.ndarray:
    """The median of the AROUND values around each of `values` (n,), n > 0, which go on as their ends beyond these."""
    return np.median(sliding_window_view(np.pad(values, AROUND // 2, mode="symmetric"), AROUND), axis=1)


def _chain(peaks: np.ndarray, gains: np.ndarray, weights: np.ndarray, usual_steps: np.ndarray) -> np.ndarray:
    """Which of `peaks` (n,) are beats, (n,) bool: those whose gains and intervals together are best."""
    best, before = gains.copy(), np.full(len(peaks), -1)
    for here in range(1, len(peaks)):
        earlier = slice(max(here - REACH, 0), here)
        ratio = (peaks[here] - peaks[earlier]) / usual_steps[here]
        beats = np.maximum(np.round(ratio), 1)
        cost = np.minimum(np.abs(np.log(ratio / beats)) / WIDTH + SKIPPED * (beats - 1), DEAREST)
        sums = best[earlier] + gains[here] + weights[here] * (1 - cost)
        at = int(sums.argmax())
        if sums[at] > best[here]:
            best[here], before[here] = sums[at], earlier.start + at
    chosen, here = np.zeros(len(peaks), bool), int(best.argmax())
    while here >= 0:
        chosen[here] = True
        here = int(before[here])
    return chosen
