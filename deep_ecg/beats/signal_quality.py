"""Whether the ECG can be read, step by step, from what the network of R-peaks says of it."""

import numpy as np

QUALITIES = ("ok", "noisy", "unreadable")
STATES = (*QUALITIES, "lost")  # the last is told by `SignalWatch`
OK, NOISY, UNREADABLE, LOST = range(len(STATES))
SETTLE_STEPS = 25  # half a second: so many more steps must have spoken for a change than against it


class SettledQuality:
    """The quality of a signal from the logits of unreadable signal, any number of steps at a time.

    For each of `limits`, those of noisy and of unreadable signal, a count goes up with every logit that reaches it,
    down with every other, between 0 and SETTLE_STEPS: the signal has that quality from the end to the start on. What
    comes later changes nothing.
    """

    def __init__(self, limits: tuple[float, float]):
        self._limits, self._counts, self._is = limits, [0, 0], [False, False]

    def __call__(self, logits: np.ndarray) -> np.ndarray:
        """The qualities of the next steps as places in QUALITIES, (steps,) int8, of their `logits` (steps,)."""
        noisy, unreadable = (self._settled(number, logits >= self._limits[number]) for number in range(2))
        return np.where(unreadable, np.int8(UNREADABLE), noisy)

    @property
    def quality(self) -> str:
        """The latest, one of QUALITIES."""
        return QUALITIES[UNREADABLE if self._is[1] else int(self._is[0])]

    def _settled(self, number: int, above: np.ndarray) -> np.ndarray:
        """Whether limit `number` counts as reached at each step, (steps,) int8, of which those `above` do reach it."""
        count, now = self._counts[number], self._is[number]
        if count == SETTLE_STEPS * now and bool(above.all() if now else not above.any()):
            return np.full(len(above), now, np.int8)
        settled = []
        for up in above.tolist():
            count = min(count + 1, SETTLE_STEPS) if up else max(count - 1, 0)
            now = count == SETTLE_STEPS or (now and count > 0)
            settled.append(now)
        self._counts[number], self._is[number] = count, now
        return np.array(settled, np.int8)
