"""One record with its beats labelled, and what its measures take of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, time
from functools import cached_property

import numpy as np

from config import CLASSES
from deep_ecg.labelling.signal_state import Stretch, outside, unread_share
from deep_ecg.labelling.trust import Confidence, Trust, is_poor, rr_ms, trust_of
from deep_ecg.labelling.trust import is_sure as is_trusted
from deep_ecg.networks.classifier import UNCLASSIFIABLE, is_sure
from deep_ecg.networks.fibrillation import rhythm_annotations
from deep_ecg.records.any_record import Record
from deep_ecg.records.long_signal import LongSignal
from deep_ecg.records.wfdb_files import RecordFile
from deep_ecg.report.beat_series import BeatSeries, RhythmEpisode, Unread

NOTE = "not classified"  # beside the Q of a beat whose label is too uncertain
UNREADABLE = "unreadable"  # state of the signal at beats that no network was shown: they are Q, with this note
BLOCK_BEATS = 2**14  # that are written at once


@dataclass(frozen=True)
class Labelled:
    """One record with its beats labelled: samples (beats,) at its own rate, proba (beats, 5).

    `reference` (beats,) holds the class indices of the annotation file, or None where it has none. Beats whose highest
    probability is below `min_confidence` are not classified. `silent` are the long stretches without beats, `unit` says
    so where the unit of the signal was taken from the signal itself, `signal` (beats,) is its state at each beat ("ok"
    where it is None), `paced` whether notes or annotations speak of a pacemaker; `left_out` beats of the
    annotation file lie outside the signal. Beats of signal that could not be read are in `samples`, as Q; `unread` are
    the stretches of it. `after_gap` (beats,) tells before which beats there is no RR interval, `groups` (beats,) those
    of `NetworkInputs`. `leads`, `taken_over`, `second`, `others` are those of `LeadBeats`; `rhythm` is that of
    `fibrillation_in`; `started` and `kind` are as in `AnyRecord`; `identity` is empty unless it is to be kept;
    `trained_on` names the record of the network's training that this one is.
    """

    record: Record
    samples: np.ndarray
    proba: np.ndarray
    reference: np.ndarray | None
    synthetic: bool
    min_confidence: float = 0.0
    silent: list[Stretch] = field(default_factory=list)
    unit: str | None = None
    signal: np.ndarray | None = None
    paced: bool = False
    left_out: int = 0
    after_gap: np.ndarray | None = None
    groups: np.ndarray | None = None
    rhythm: list[RhythmEpisode] | None = None
    started: datetime | time | None = None
    trained_on: str | None = None
    kind: str = RecordFile.kind
    identity: dict[str, str] = field(default_factory=dict)
    unread: list[Stretch] = field(default_factory=list)
    leads: np.ndarray | None = None
    taken_over: list[Stretch] = field(default_factory=list)
    second: str | None = None
    others: Sequence[Record] = ()

    @cached_property
    def readable(self) -> np.ndarray:
        """Whether each beat was shown to the network, (beats,) bool."""
        return np.full(len(self.samples), True) if self.signal is None else self.signal != UNREADABLE

    @cached_property
    def classified(self) -> np.ndarray:
        """Whether the network is sure enough of each beat, (beats,) bool."""
        return self.readable & is_sure(self.proba, self.min_confidence)

    @cached_property
    def sure(self) -> np.ndarray:
        """Whether each label is likely enough to be relied on, (beats,) bool."""
        return self.readable & is_trusted(self.proba)

    @property
    def notes(self) -> list[str]:
        """Why each beat is a Q that the network did not say; empty where it is none."""
        return np.where(self.readable, np.where(self.classified, "", NOTE), UNREADABLE).tolist()

    @cached_property
    def shown_mv(self) -> np.ndarray:
        """The signal (samples,) that the beats were labelled from: where another lead took over, of that one."""
        signal_mv = self.record.signal_mv
        return _put_together(signal_mv, self.taken_over, self.others) if self.others else signal_mv

    @cached_property
    def rr_ms(self) -> np.ndarray:
        """RR interval before each beat, (beats,); NaN where there is none."""
        return intervals_after(self)

    @cached_property
    def predicted(self) -> np.ndarray:
        """Index into CLASSES of each beat, (beats,): Q, which is AAMI's unclassifiable, where it is not classified."""
        return np.where(self.classified, self.proba.argmax(axis=1), UNCLASSIFIABLE)

    @cached_property
    def series(self) -> BeatSeries:
        """The beats as measures take them."""
        return series_of(self)


def _put_together(signal_mv: np.ndarray, taken_over: Sequence[Stretch], others: Sequence[Record]) -> np.ndarray:
    """`signal_mv` (samples,) but for the stretches that are `taken_over` by leads of `others`."""
    of_lead = {other.lead: other.signal_mv for other in others}

    def read(first: int, last: int) -> np.ndarray:
        part_mv = np.array(signal_mv[first:last])
        for one in taken_over:
            begin, end = max(one.first, first), min(one.last + 1, last)
            if begin < end:
                part_mv[begin - first : end - first] = of_lead[one.why][begin:end]
        return part_mv

    return LongSignal(len(signal_mv), read).as_array()


def series_of(labelled: Labelled) -> BeatSeries:
    """The beats of `labelled` as measures take them."""
    record, samples = labelled.record, labelled.samples
    series = BeatSeries(
        samples,
        labelled.predicted,
        record.fs_hz,
        len(record.signal_mv),
        probability=labelled.proba.max(axis=1, initial=0.0),
        counted=labelled.readable,
        classified=labelled.classified,
        after_gap=labelled.after_gap,
        rhythm=labelled.rhythm,
        started=labelled.started,
    )
    pauses = samples[np.isfinite(series.rr_s)]  # what else is silent cannot be told from them
    silent = [one for one in labelled.silent if one.last not in pauses]
    stretches = sorted([*silent, *outside(labelled.unread, silent)], key=lambda one: one.first)
    return replace(series, unread=[Unread(one.first, one.last, one.why) for one in stretches])


def class_counts(labelled: Labelled) -> np.ndarray:
    """Classified beats of each class, (5,)."""
    return np.bincount(labelled.predicted[labelled.classified], minlength=len(CLASSES))


def trust(labelled: Labelled) -> Trust:
    """What is to be thought of the labels of a record."""
    samples, rr = labelled.samples, labelled.rr_ms
    rate = 60_000 / float(np.nanmedian(rr)) if np.isfinite(rr).any() else None
    length = len(labelled.record.signal_mv) or int(samples[-1] if len(samples) else 0) + 1
    silent = unread_share(labelled.unread, labelled.silent, length)
    read = labelled.readable
    count = max(int(read.sum()), 1)
    poor = 0 if labelled.signal is None else is_poor(labelled.signal[read]).sum()
    alone = 0 if labelled.groups is None else (labelled.groups[read] < 0).sum()
    return trust_of(Confidence.of(labelled.proba[read]), rate, silent, labelled.paced, poor / count, alone / count)


def intervals_after(labelled: Labelled, last: int | None = None) -> np.ndarray:
    """RR interval in ms before each beat, (beats,); NaN where there is none. `last` is the R-peak before the first."""
    before = np.nan if last is None else float(last)
    intervals_ms = rr_ms(np.concatenate([[before], labelled.samples]), labelled.record.fs_hz)[1:]
    return intervals_ms if labelled.after_gap is None else np.where(labelled.after_gap, np.nan, intervals_ms)


def rhythm_marks(labelled: Labelled) -> list[tuple[int, str]]:
    """The marks (sample, note) of the rhythm that annotation files have; none where it was not judged."""
    spans = [(one.first, one.last) for one in labelled.rhythm or ()]
    return [] if labelled.rhythm is None else rhythm_annotations(labelled.samples, spans)
