"""The patient's running templates."""

import numpy as np

from dsp_filters import FLAT_MV

BLOCK_SPANS = 256  # beats whose QRS is held at every shift
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
    jump between the deflections of a QRS. `group` is that of the latest beat, from 0 to GROUPS - 1; ~group where the
    beat has started it anew.
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
        self.group = 0

    def spans(self, beats_mv: np.ndarray) -> np.ndarray:
        """The QRS of each of `beats_mv` (beats, samples) at every shift, centred, length 1, (beats, shifts, span)."""
        return _centred_unit(beats_mv[:, self._places])

    def step(self, beat_mv: np.ndarray, spans: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """`beat_mv` (samples,) aligned with the template, and the template as it was before this beat.

        The first beat is its own template. Where many beats are known, their `spans` take less time all at once.
        """
        spans = self.spans(beat_mv[None])[0] if spans is None else spans
        similarity = np.where(self._sizes > 0, spans @ self._units.T, -1) * self._nearness
        largest = self._sizes.argmax()
        if self._sizes[largest] == 0:
            aligned_mv = template_mv = beat_mv
        else:
            template_mv = self._groups_mv[largest].copy()
            aligned_mv = _shifted(beat_mv, self.shifts[similarity[:, largest].argmax()])
        self._join(beat_mv, similarity)
        return aligned_mv, template_mv

    def _join(self, beat_mv: np.ndarray, similarity: np.ndarray):
        shift, group = divmod(similarity.argmax(), GROUPS)
        self._sizes *= FORGETTING
        if similarity[shift, group] > ALIKE:
            self._sizes[group] += 1
            self.group = int(group)
            beat_mv = _shifted(beat_mv, self.shifts[shift])
        else:
            group = self._sizes.argmin()
            self._sizes[group] = 1
            self.group = ~int(group)
        self._groups_mv[group] += (beat_mv - self._groups_mv[group]) / min(self._sizes[group], TEMPLATE_BEATS)
        self._units[group] = _centred_unit(self._groups_mv[group, self._qrs])


def running_templates(beats_mv: np.ndarray, qrs: slice, fs_hz: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each beat aligned with the patient's running template, that template as it was when the beat came, its group.

    beats_mv (beats, samples), the first two results too, the groups (beats,) int64; see `RunningTemplate`.
    """
    template = RunningTemplate(beats_mv.shape[1], qrs, fs_hz)
    aligned_mv, templates_mv = np.empty_like(beats_mv), np.empty_like(beats_mv)
    groups = np.empty(len(beats_mv), np.int64)
    for start in range(0, len(beats_mv), BLOCK_SPANS):
        block = slice(start, start + BLOCK_SPANS)
        for i, spans in enumerate(template.spans(beats_mv[block]), start):
            aligned_mv[i], templates_mv[i] = template.step(beats_mv[i], spans)
            groups[i] = template.group
    return aligned_mv, templates_mv, groups


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


def _centred_unit(rows: np.ndarray) -> np.ndarray:
    centred = rows - np.add.reduce(rows, axis=-1, keepdims=True) / max(rows.shape[-1], 1)
    norm = np.sqrt(np.add.reduce(centred * centred, axis=-1, keepdims=True))  # numpy.linalg.norm, without its checks
    return centred / np.maximum(norm, FLAT_MV)


class RunningMean:
    """A mean that begins as that of `count` values of `mean`; the latest `most` added count, older ones fade."""

    def __init__(self, mean: float, count: int, most: int):
        self.mean, self._count, self._most = mean, count, most

    def add(self, value: float):
        self._count = min(self._count + 1, self._most)
        self.mean += (value - self.mean) / self._count
