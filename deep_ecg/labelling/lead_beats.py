"""The beats of a record as its leads show them: R-peaks, whether they can be read, and their probabilities.

One lead is labelled. Where that cannot be read and another one can, the other takes over for as long; each is read and
labelled by itself, so that it is known when it is needed.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from config import CLASSES
from deep_ecg.beats.beat_network import APART_S
from deep_ecg.beats.inputs import input_blocks
from deep_ecg.beats.signal_quality import UNREADABLE
from deep_ecg.beats.signal_watch import Runs, SignalWatch
from deep_ecg.beats.whole_record import Reading, read_causal, read_whole
from deep_ecg.labelling.signal_state import Stretch, lost_before, signal_at, unread_stretches
from deep_ecg.networks.classifier import UNREAD, Classifier
from deep_ecg.records.long_signal import LongSignal
from deep_ecg.records.wfdb_files import Annotation, Record
from deep_ecg.system.progress import Pace


@dataclass(frozen=True)
class LeadBeats:
    """Beats in order of time, arrays (beats,), and the stretches `unread` that cannot be read.

    samples are R-peaks, proba (beats, 5) that of Q alone where a beat cannot be read, groups those of `NetworkInputs`,
    after_gap where there is no RR interval, signal the state of STATES. Where other leads took over for a while,
    `leads` are the names of those that the beats are labelled from, and `taken_over` the stretches with beats, the lead
    as their why. `watch` has seen all of the first lead.
    """

    samples: np.ndarray
    proba: np.ndarray
    groups: np.ndarray
    after_gap: np.ndarray
    signal: np.ndarray
    watch: SignalWatch
    unread: list[Stretch] = field(default_factory=list)
    leads: np.ndarray | None = None
    taken_over: list[Stretch] = field(default_factory=list)


def detected_beats(
    record: Record, classifier: Classifier, others: Iterable[Record] = (), tell: bool = False
) -> LeadBeats:
    """The beats that the detector finds in `record`: in causal mode those of a live stream, else looking both ways.

    `others` are further leads of the same rate and length, the preferred ones first; no more of them are read than
    it takes. With `tell`, standard error says how far a long one has come.
    """
    records, readings = [record], [_read(record, classifier, tell)]
    states = readings[0].states
    taken = Runs.combined(np.zeros_like, states)  # which of the leads each sample is read from
    for other in others if (states.values >= UNREADABLE).any() else ():
        reading = _read(other, classifier, tell)
        covered = Runs.combined(lambda now, new: (now >= UNREADABLE) & (new < UNREADABLE), states, reading.states)
        if covered.values.any():
            taken = Runs.combined(partial(_replaced, value=len(records)), taken, covered)
            states = Runs.combined(_replaced, states, covered, reading.states)
            records.append(other)
            readings.append(reading)
        if not (states.values >= UNREADABLE).any():
            break
    found = [_beats_of(*pair, classifier, tell) for pair in zip(records, readings)]
    if len(found) == 1:
        return found[0]
    return _merged(records, found, taken, unread_stretches(record, states))


def _replaced(old: np.ndarray, covered: np.ndarray, value: np.ndarray | int) -> np.ndarray:
    return np.where(covered, value, old).astype(old.dtype)


def told(record: Record, work: str) -> Record:
    """The `record`, of whose signal is said on standard error how much the `work` has taken, if it lasts."""
    samples_h = 3600 * record.fs_hz
    pace = Pace(f"{record.name}, lead {record.lead}: {work}", len(record.signal_mv) / samples_h, "h")

    def read(first: int, last: int) -> np.ndarray:
        pace(first / samples_h)
        return record.signal_mv[first:last]

    return replace(record, signal_mv=LongSignal(len(record.signal_mv), read).as_array())


def _read(record: Record, classifier: Classifier, tell: bool) -> Reading:
    read = read_causal if classifier.inputs.causal else read_whole
    return read((told(record, "R-peaks") if tell else record).signal_mv, record.fs_hz)


def _beats_of(record: Record, reading: Reading, classifier: Classifier, tell: bool) -> LeadBeats:
    """The beats of one lead; what cannot be read is shown to no network."""
    readable, count = reading.readable, len(reading.samples)
    proba, groups = np.tile(UNREAD, (count, 1)).reshape(-1, len(CLASSES)), np.zeros(count, np.int64)
    if readable.any():
        samples = reading.samples[readable]
        annotation = Annotation(samples, np.full(len(samples), ""), reading.after_gap[readable])
        followed = told(record, "labels") if tell else record
        blocks = input_blocks(followed, annotation, classifier.inputs, reading.watch)
        proba[readable], groups[readable] = classifier.probabilities(blocks)
    signal = signal_at(reading.watch, reading.samples, record.fs_hz, reading.states)
    after_gap = reading.after_gap | lost_before(reading.watch, reading.samples)
    unread = unread_stretches(record, reading.states)
    return LeadBeats(reading.samples, proba, groups, after_gap, signal, reading.watch, unread)


def _merged(records: list[Record], found: list[LeadBeats], taken: Runs, unread: list[Stretch]) -> LeadBeats:
    """The beats of each lead where it is `taken`; two of one QRS, on both sides of a change, are one."""
    numbers = np.concatenate([np.full(len(one.samples), number) for number, one in enumerate(found)])
    samples = np.concatenate([one.samples for one in found])
    order = np.argsort(samples, kind="stable")
    order = order[taken[samples[order]] == numbers[order]]
    apart = np.diff(samples[order], prepend=-len(taken)) >= APART_S * records[0].fs_hz
    order = order[apart]
    changed = np.diff(numbers[order], prepend=0) != 0
    columns = ("proba", "groups", "after_gap", "signal")
    proba, groups, after_gap, signal = (
        np.concatenate([getattr(one, name) for one in found])[order] for name in columns
    )
    names = np.array([record.lead for record in records])
    over = [
        Stretch(first, last, str(name))
        for number, name in enumerate(names[1:], 1)
        for first, last in taken.stretches(taken.values == number)
        if np.searchsorted(samples[order], first) < np.searchsorted(samples[order], last, side="right")
    ]
    over.sort(key=lambda one: one.first)
    gaps, leads = after_gap | changed, names[numbers[order]]
    return LeadBeats(samples[order], proba, groups, gaps, signal, found[0].watch, unread, leads, over)
