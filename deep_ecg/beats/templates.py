"""The patient's running template: what the patient's usual beat looks like, learned from the beats so far.

How a beat differs from it tells a ventricular or fusion beat whatever the patient's own QRS is like, which 22 training
patients are too few to teach a network.
"""

import numpy as np

from dsp_filters import FLAT_MV

BLOCK_BEATS = 256  # whose QRS is held at every shift
ALIKE = 0.85  # a beat whose QRS correlates more than this with a group's mean is taken for one of the group
ALIGN_S = 0.06  # how far a beat is shifted to agree with a template
ALIGN_STEP = 2  # samples
SHIFT_COST = 0.5  # correlation that a shift has to bring, per second: none without need
GROUPS = 4
FORGETTING = 0.998  # per beat: a group that no beat has joined for some minutes loses its rank
TEMPLATE_BEATS = 20  # how many of its latest beats a group's mean stands for


class RunningTemplate:
    """The patient's running template: past beats grouped by shape, the largest group's mean.

    A beat joins the group whose QRS it correlates with most, if with more than ALIKE, else it starts a group in the
    place of the smallest: beats of two shapes in turn (bigeminy) are not blended. Beats are compared at the shift, up
    to ALIGN_S, at which they agree best (`shifts`, in samples, are those tried): R-peaks of annotators and detectors
    jump between the deflections of a QRS.
    """

    def __init__(self, samples: int, qrs: slice, fs_hz: float):
        self._qrs = qrs
        reach = min(round(ALIGN_S * fs_hz), qrs.start, samples - qrs.stop)
        self.shifts = np.arange(-(reach // ALIGN_STEP) * ALIGN_STEP, reach + 1, ALIGN_STEP)
        self._nearness = (1 - SHIFT_COST * np.abs(self.shifts) / fs_hz)[:, None]
        self._places = np.arange(qrs.start, qrs.stop) + self.shifts[:, None]
        self._groups_mv = np.zeros((GROUPS, samples))
        self._units = np.zeros((GROUPS, qrs.stop - qrs.start))
        self._sizes = np.zeros(GROUPS)

    def steps(self, beats_mv: np.ndarray, block_beats: int = BLOCK_BEATS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The next beats aligned with the template, that template as it was when each came, and each one's group.

        beats_mv (beats, samples), the first two results too; the groups (beats,) int64 are 0 to GROUPS - 1, and ~group
        where the beat has started it anew. The very first beat is its own template. Of `block_beats` the QRS is held
        at every shift, which takes less time than one by one.
        """
        aligned_mv, templates_mv = np.empty_like(beats_mv), np.empty_like(beats_mv)
        groups = np.empty(len(beats_mv), np.int64)
        for start in range(0, len(beats_mv), block_beats):
            for i, spans in enumerate(self._spans(beats_mv[start : start + block_beats]), start):
                aligned_mv[i], templates_mv[i], groups[i] = self._step(beats_mv[i], spans)
        return aligned_mv, templates_mv, groups

    def _spans(self, beats_mv: np.ndarray) -> np.ndarray:
        """The QRS of each of `beats_mv` (beats, samples) at every shift, centred, length 1, (beats, shifts, span)."""
        return centred_unit(beats_mv[:, self._places])

    def _step(self, beat_mv: np.ndarray, spans: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
        """`steps` of one beat (samples,), of which `spans` (shifts, span) are the QRS at every shift."""
        similarity = np.where(self._sizes > 0, spans @ self._units.T, -1) * self._nearness
        largest = self._sizes.argmax()
        if self._sizes[largest] == 0:
            aligned_mv = template_mv = beat_mv
        else:
            template_mv = self._groups_mv[largest].copy()
            aligned_mv = _shifted(beat_mv, self.shifts[similarity[:, largest].argmax()])
        return aligned_mv, template_mv, self._join(beat_mv, similarity)

    def _join(self, beat_mv: np.ndarray, similarity: np.ndarray) -> int:
        """Takes the beat into the group that `similarity` (shifts, GROUPS) shows, or into a new one; which that is."""
        shift, group = (int(place) for place in divmod(similarity.argmax(), GROUPS))
        self._sizes *= FORGETTING
        is_alike = similarity[shift, group] > ALIKE
        if is_alike:
            self._sizes[group] += 1
            beat_mv = _shifted(beat_mv, self.shifts[shift])
        else:
            group = int(self._sizes.argmin())
            self._sizes[group] = 1
        self._groups_mv[group] += (beat_mv - self._groups_mv[group]) / min(self._sizes[group], TEMPLATE_BEATS)
        self._units[group] = centred_unit(self._groups_mv[group, self._qrs])
        return group if is_alike else ~group


def _shifted(beat_mv: np.ndarray, shift: int) -> np.ndarray:
    """`beat_mv` (samples,) with sample `shift` moved to 0; what lies beyond its ends repeats the last sample there."""
    if shift == 0:
        return beat_mv
    shifted_mv = np.empty_like(beat_mv)
    if shift > 0:
        shifted_mv[:-shift], shifted_mv[-shift:] = beat_mv[shift:], beat_mv[-1]
    else:
        shifted_mv[-shift:], shifted_mv[:-shift] = beat_mv[:shift], beat_mv[0]
    return shifted_mv


def centred_unit(rows: np.ndarray) -> np.ndarray:
    """Each of `rows` (..., samples) brought to mean 0 and length 1; a flat one becomes zeros."""
    centred = rows - np.add.reduce(rows, axis=-1, keepdims=True) / max(rows.shape[-1], 1)
    norm = np.sqrt(np.add.reduce(centred * centred, axis=-1, keepdims=True))  # numpy.linalg.norm, without its checks
    return centred / np.maximum(norm, FLAT_MV)


class RunningMean:
    """A mean that begins as that of `count` values of `mean`; the latest `most` added count, older ones fade."""

    def __init__(self, mean: float, count: int, most: int):
        self.mean, self._count, self._most = mean, count, most

    def add(self, value: float):
        """Takes `value` into the mean."""
        self._count = min(self._count + 1, self._most)
        self.mean += (value - self.mean) / self._count
