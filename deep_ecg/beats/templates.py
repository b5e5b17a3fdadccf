"""The patient's running template: what the patient's usual beat looks like, learned from the beats so far.

How a beat differs from it tells a ventricular or fusion beat whatever the patient's own QRS is like, which 22 training
patients are too few to teach a network.
"""

import math

import numpy as np

from dsp_filters import FLAT_MV

BLOCK_BEATS = 8  # whose QRS at every shift stays in the processor's cache
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
        self._samples = samples
        self._reach = min(round(ALIGN_S * fs_hz), qrs.start, samples - qrs.stop) // ALIGN_STEP
        self.shifts = np.arange(-self._reach, self._reach + 1) * ALIGN_STEP
        self._drawn_out = np.clip(np.arange(self.shifts[0], samples + self.shifts[-1]), 0, samples - 1)
        self._places = np.arange(qrs.start, qrs.stop) + self.shifts[:, None]
        self._nearness = 1 - SHIFT_COST * np.abs(self.shifts) / fs_hz
        self._groups_mv, self._qrs = np.zeros((GROUPS, samples)), qrs
        self._weights = np.zeros((len(self.shifts), GROUPS))  # nearness over the length of each group's centred QRS
        self._sizes = [0.0] * GROUPS

    def steps(self, beats_mv: np.ndarray, block_beats: int = BLOCK_BEATS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The next beats aligned with the template, that template as it was when each came, and each one's group.

        beats_mv (beats, samples), the first two results too; the groups (beats,) int64 are 0 to GROUPS - 1, and ~group
        where the beat has started it anew. The very first beat is its own template. Of `block_beats` the QRS is held
        at every shift, which takes less time than one by one.
        """
        aligned_mv, templates_mv = np.empty_like(beats_mv), np.empty_like(beats_mv)
        groups = np.empty(len(beats_mv), np.int64)
        for start in range(0, len(beats_mv), block_beats):
            block_mv = beats_mv[start : start + block_beats]
            spans = centred_unit(block_mv.take(self._places, axis=1))
            drawn_out_mv = block_mv.take(self._drawn_out, axis=1)
            for i in range(len(block_mv)):
                at = start + i
                groups[at] = self._step(drawn_out_mv[i], spans[i], aligned_mv[at], templates_mv[at])
        return aligned_mv, templates_mv, groups

    def _step(
        self, drawn_out_mv: np.ndarray, spans: np.ndarray, aligned_mv: np.ndarray, template_mv: np.ndarray
    ) -> int:
        """`steps` of one beat, which goes into `aligned_mv` and `template_mv` (samples,); its group is returned.

        Of the beat, `drawn_out_mv` has its ends repeated as far as it can be shifted; `spans` (shifts, span) are its
        QRS at every shift, centred, of length 1: so the groups' QRS need not be centred.
        """
        groups_mv = self._groups_mv[:, self._qrs]
        similarity = spans @ groups_mv.T * self._weights  # (shifts, GROUPS), to a group that is not there 0
        place, group = divmod(int(similarity.argmax()), GROUPS)
        largest = self._sizes.index(max(self._sizes))
        if self._sizes[largest]:
            template_mv[:] = self._groups_mv[largest]
            agreeing = place if group == largest else int(similarity[:, largest].argmax())
            aligned_mv[:] = self._shifted(drawn_out_mv, agreeing)
        else:
            aligned_mv[:] = template_mv[:] = self._shifted(drawn_out_mv, self._reach)
        return self._join(drawn_out_mv, place, group, similarity[place, group] > ALIKE)

    def _shifted(self, drawn_out_mv: np.ndarray, place: int) -> np.ndarray:
        """The beat (samples,) as it is at `shifts[place]`: what lies beyond its ends repeats its last sample there."""
        return drawn_out_mv[place * ALIGN_STEP : place * ALIGN_STEP + self._samples]

    def _join(self, drawn_out_mv: np.ndarray, place: int, group: int, is_alike: bool) -> int:
        """Takes the beat at `place` into `group` if it `is_alike`, else unshifted into a new one; that is returned."""
        self._sizes = [size * FORGETTING for size in self._sizes]
        if is_alike:
            self._sizes[group] += 1
        else:
            place, group = self._reach, self._sizes.index(min(self._sizes))
            self._sizes[group] = 1.0
        mean_mv = self._groups_mv[group]
        mean_mv += (self._shifted(drawn_out_mv, place) - mean_mv) / min(self._sizes[group], TEMPLATE_BEATS)
        qrs_mv = mean_mv[self._qrs]
        centred_mv = qrs_mv - np.add.reduce(qrs_mv) / max(len(qrs_mv), 1)
        self._weights[:, group] = self._nearness / max(math.sqrt(centred_mv @ centred_mv), FLAT_MV)
        return group if is_alike else ~group


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
