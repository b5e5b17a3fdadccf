"""R-peaks and signal quality of a whole record: a network that sees several seconds to either side of each step.

It reads the same signal as the network of a stream (`beat_network`), in blocks that overlap by all that it sees, so
that nothing depends on how the samples come. That of streams, which sees less and errs otherwise, has a say in its
answers: `experiments/detector_whole.py` makes the file, which holds both.
"""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deep_ecg.beats.beat_network import STEP
from deep_ecg.system.errors import DeepECGError
from deep_ecg.system.onnx_session import session_of

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

FILE = "r_peaks-whole.onnx"
INPUT, OUTPUT = "samples", "logits"  # (samples,) of -FULL to FULL at NETWORK_HZ; (samples / STEP, 2)
WHOLE_SAMPLES = 16  # the network reads a multiple of them
CONTEXT_SAMPLES = 48 * WHOLE_SAMPLES  # no sample further away has a say at a step
BEHIND_SAMPLES = 2 * WHOLE_SAMPLES  # read behind the end: just before it the network doubts what it sees
BLOCK_SAMPLES = 1024 * WHOLE_SAMPLES  # that are answered at once: 164 s

LAG_STEPS = (BLOCK_SAMPLES + CONTEXT_SAMPLES) // STEP  # by which answers come late at most


class RecordNetwork:
    """The network over one lead; `push` may be called with any number of samples at a time, then `finish`."""

    delay_steps = 0  # answers come late, but to the step that they are counted for

    def __init__(self, session: "InferenceSession | None" = None):
        self._session = pretrained() if session is None else session
        self._samples, self._answered = np.zeros(0, np.float32), 0  # the latter: samples of those that are answered

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_session": None}  # no pickle takes one

    def __setstate__(self, state: dict):
        self.__dict__ |= state | {"_session": pretrained()}

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Natural logits (steps, 2) of beat and of unreadable signal that `samples` (n,) of int8 make known."""
        self._samples = np.concatenate((self._samples, samples.astype(np.float32)))
        found = [np.zeros((0, 2))]
        while len(self._samples) >= self._answered + BLOCK_SAMPLES + CONTEXT_SAMPLES:
            found.append(self._logits(self._answered + BLOCK_SAMPLES, CONTEXT_SAMPLES))
        return np.concatenate(found)

    def finish(self) -> np.ndarray:
        """The logits that are owed when the signal has ended; behind it the network sees nothing for a while."""
        end, behind = -(-len(self._samples) // STEP) * STEP, BEHIND_SAMPLES - len(self._samples) % WHOLE_SAMPLES
        self._samples = np.pad(self._samples, (0, behind))
        return self._logits(end, 0) if end > self._answered else np.zeros((0, 2))

    def _logits(self, end: int, context: int) -> np.ndarray:
        """Answers up to sample `end` of those that are held, with `context` behind it, and lets go of what is done."""
        read = self._samples[: end + context] if context else self._samples
        logits = self._session.run([OUTPUT], {INPUT: read})[0][self._answered // STEP : end // STEP]
        let_go = max(end - CONTEXT_SAMPLES, 0)
        self._samples, self._answered = self._samples[let_go:], end - let_go
        return logits.astype(float)


@cache
def pretrained() -> "InferenceSession":
    """The network that comes with the project. Raises DeepECGError where it cannot be read."""
    path = Path(__file__).with_name(FILE)
    try:
        return session_of(path.read_bytes())
    except Exception as error:  # onnxruntime has no one class for what it raises
        raise DeepECGError(f"{path} is no network of R-peaks: {type(error).__name__}: fetch it again") from None
