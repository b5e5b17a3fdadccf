"""The shapes of a record's beats: the groups of the running template, those that look alike put together.

While a record is labelled, beats are grouped as they come, and a shape that has not been seen for a while loses its
place (`templates.RunningTemplate`). Here the groups of all the record are compared by their mean waveforms.
"""

from dataclasses import dataclass

import numpy as np

from config import CLASSES
from deep_ecg.beats.templates import GROUPS, centred_unit
from deep_ecg.records.long_signal import around
from deep_ecg.report.beat_series import BeatSeries
from deep_ecg.report.recording import filled

BEFORE_S, AFTER_S = 0.25, 0.45  # of a mean waveform, around R
QRS_S = 0.12  # to either side of R: what is compared
ALIGN_S = 0.06  # how far means are shifted against one another
ALIKE = 0.9  # correlation of two means from which they are one shape
MEAN_BEATS = 100  # that a mean is made of at most, evenly from all of the record
COMPARED_BEATS = 20  # of these, while groups are compared
MOST_SHAPES, LEAST_BEATS = 12, 2
REST = -1  # the shape of beats that are in none of the larger ones


@dataclass(frozen=True)
class Shape:
    """A shape: so many `beats`, their `mean_mv` (samples,) from BEFORE_S before R on, its label and who agrees.

    `counts` of its beats by class; `label` is the class of most, `agreement_percent` their share.
    """

    beats: int
    label: str
    agreement_percent: float
    counts: dict[str, int]
    mean_mv: np.ndarray


def shapes_of(
    series: BeatSeries, signal_mv: np.ndarray, groups: np.ndarray, leads: np.ndarray | None = None
) -> tuple[list[Shape], np.ndarray]:
    """The shapes of the beats in `signal_mv` (samples,), the most frequent first, and the shape of each, (beats,).

    `groups` (beats,) are those of `RunningTemplate`, of the beats of each lead where `leads` (beats,) names several.
    REST for a beat of a shape beyond MOST_SHAPES, or of too few.
    """
    runs, sizes = np.unique(_unique_groups(groups, leads), return_inverse=True, return_counts=True)[1:]
    cut = _Cut(series, signal_mv)
    found = np.full(len(sizes), REST)
    units = np.empty((0, 2 * cut.qrs))
    members = np.split(np.argsort(runs, kind="stable"), np.cumsum(sizes)[:-1])
    for run in np.argsort(-sizes, kind="stable").tolist():
        spans = cut.spans(cut.mean_mv(members[run], COMPARED_BEATS))
        similarity = (spans @ units.T).max(axis=0, initial=-1.0)
        if len(units) and similarity.max() > ALIKE:
            found[run] = similarity.argmax()
        elif len(units) < MOST_SHAPES and sizes[run] >= LEAST_BEATS:
            found[run] = len(units)
            units = np.vstack([units, spans[len(spans) // 2]])
    shape_of_beat = found[runs]
    order = np.argsort(-np.bincount(shape_of_beat[shape_of_beat >= 0], minlength=len(units)), kind="stable")
    shape_of_beat = np.append(np.argsort(order), REST)[shape_of_beat]  # REST is the last
    return [_shape(series, cut, np.flatnonzero(shape_of_beat == number)) for number in range(len(units))], shape_of_beat


def _unique_groups(groups: np.ndarray, leads: np.ndarray | None) -> np.ndarray:
    """A number for each of `groups` (beats,) that no other has; started anew, or of another lead, it is another."""
    started, slots = groups < 0, np.where(groups < 0, ~groups, groups)
    of_lead = np.zeros(len(groups), np.int64) if leads is None else np.unique(leads, return_inverse=True)[1]
    slots = slots + GROUPS * of_lead
    many, numbers = slots.max(initial=0) + 1, np.empty(len(groups), np.int64)
    for slot in np.unique(slots).tolist():
        mine = slots == slot
        numbers[mine] = slot + many * np.cumsum(started[mine])
    return numbers


class _Cut:
    """Cuts beats out of a signal, and their means."""

    def __init__(self, series: BeatSeries, signal_mv: np.ndarray):
        fs_hz = series.fs_hz
        self._samples, self._signal_mv = series.samples, signal_mv
        self._reach = round(BEFORE_S * fs_hz), round(AFTER_S * fs_hz)
        self.qrs = round(QRS_S * fs_hz)
        reach = min(round(ALIGN_S * fs_hz), round(BEFORE_S * fs_hz) - self.qrs)
        step = max(reach // 8, 1)
        middle = round(BEFORE_S * fs_hz) + step * np.arange(-(reach // step), reach // step + 1)
        self._places = middle[:, None] + np.arange(-self.qrs, self.qrs)

    def mean_mv(self, beats: np.ndarray, most: int) -> np.ndarray:
        """The mean of at most so many of the `beats`, (samples,), each about its own mean."""
        chosen = beats[np.linspace(0, len(beats) - 1, min(len(beats), most)).astype(int)]
        cut_mv = np.stack([around(self._signal_mv, sample, *self._reach) for sample in self._samples[chosen].tolist()])
        cut_mv = filled(cut_mv)[0]
        return (cut_mv - cut_mv.mean(axis=1, keepdims=True)).mean(axis=0)

    def spans(self, mean_mv: np.ndarray) -> np.ndarray:
        """The QRS of `mean_mv` (samples,) at every shift, the middle one 0, centred, of length 1: (shifts, span)."""
        return centred_unit(mean_mv[self._places])


def _shape(series: BeatSeries, cut: _Cut, beats: np.ndarray) -> Shape:
    counts = np.bincount(series.labels[beats], minlength=len(CLASSES))
    label = int(counts.argmax())
    agreement = float(100 * counts[label] / len(beats))
    told = {name: int(count) for name, count in zip(CLASSES, counts) if count}
    return Shape(len(beats), CLASSES[label], agreement, told, cut.mean_mv(beats, MEAN_BEATS))


def as_json(shapes: list[Shape]) -> list[dict]:
    """The shapes for NAME.json, without their waveforms."""
    return [
        {
            "beats": one.beats,
            "label": one.label,
            "agreement_percent": round(one.agreement_percent, 1),
            "counts": one.counts,
        }
        for one in shapes
    ]
