"""The beats of a record as its leads show them: R-peaks, whether they can be read, and their probabilities.

R-peaks are those of one lead. What they are is told by that lead and, where it can be read, by a second one: the mean
of what the network makes of both. Where the first lead cannot be read and another one can, the other takes over for as
long. Of that so much is read and labelled, by itself, that it is known when it is needed.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import repeat

import numpy as np

from config import CLASSES
from deep_ecg.beats.arrays import NetworkInputs
from deep_ecg.beats.beat_network import APART_S
from deep_ecg.beats.inputs import InputBlocks
from deep_ecg.beats.signal_quality import LOST, NOISY, UNREADABLE
from deep_ecg.beats.signal_watch import Runs, SignalWatch, widened
from deep_ecg.beats.whole_record import Reading, read_causal, read_states, read_whole
from deep_ecg.labelling.signal_state import Stretch, lost_before, signal_at, unread_stretches
from deep_ecg.networks.classifier import NOWHERE, UNREAD, Answers, Classifier
from deep_ecg.records.long_signal import LongSignal
from deep_ecg.records.wfdb_files import Annotation, Record
from deep_ecg.system.progress import Pace
from deep_ecg.system.work import NOTHING_KEPT, Work

BEFORE_S, AFTER_S = 300.0, 10.0  # of another lead, read before and after what it is needed for
AROUND_S = 10.0  # of a second lead, read before and after a beat to tell whether it can be read there
FLANK_S = 0.5  # around what cannot be read beats are lost, too: in diagnostic mode another lead takes that over as well


@dataclass(frozen=True)
class LeadBeats:
    """Beats in order of time, arrays (beats,), and the stretches `unread` that cannot be read.

    samples are R-peaks, proba (beats, 5) that of Q alone where a beat cannot be read, groups and p_waves those of
    `NetworkInputs`, after_gap where there is no RR interval, signal the state of STATES. Where other leads took over
    for a while, `leads` are the names of those that the beats are labelled from, `taken_over` the stretches with beats,
    the lead as their why, and `others` those leads. `watch` has seen all of the first lead. `second` is the name of the
    lead that has a say, if one has.
    """

    samples: np.ndarray
    proba: np.ndarray
    groups: np.ndarray
    p_waves: np.ndarray
    after_gap: np.ndarray
    signal: np.ndarray
    watch: SignalWatch
    unread: list[Stretch] = field(default_factory=list)
    leads: np.ndarray | None = None
    taken_over: list[Stretch] = field(default_factory=list)
    second: str | None = None
    others: Sequence[Record] = ()


@dataclass(frozen=True)
class SecondLead:
    """A lead `record` that has a say in what the beats at the first lead's R-peaks are.

    `hears` tells of the numbers of some of these (n,), which rise, whether it can be read there, (n,) bool.
    """

    record: Record
    hears: Callable[[np.ndarray], np.ndarray]


def detected_beats(
    record: Record,
    classifier: Classifier,
    others: Iterable[Record] = (),
    second: Record | None = None,
    work: Work = NOTHING_KEPT,
) -> LeadBeats:
    """The beats that the detector finds in `record`: in causal mode those of a live stream, else looking both ways.

    `others` are further leads of the same rate and length, the preferred ones first; no more of them is read than
    it takes to take over. `second` is such a lead that has a say. `work` keeps what is done of a long record, and
    where it `tells`, standard error says how far it has come.
    """
    firsts, records, readings = [0], [record], [_read(record, classifier, work)]
    read = []  # of the others
    states = readings[0].states
    taken = Runs.combined(partial(np.zeros_like, dtype=np.int64), states)  # the reading that each sample is of
    flank = 0 if classifier.inputs.causal else round(FLANK_S * record.fs_hz)
    for other in others if (states.values >= UNREADABLE).any() else ():
        read.append(other)
        for first, part in _parts(other, states.stretches(states.values >= UNREADABLE)):
            reading = _read(part, classifier, work)
            found = reading.states.placed(first, len(states), LOST)
            covered = Runs.combined(lambda now, new: (now >= UNREADABLE) & (new < UNREADABLE), states, found)
            if covered.values.any():
                around = covered.near(covered.values, flank)
                covered = Runs.combined(lambda near, new: (near > 0) & (new < UNREADABLE), around, found)
                taken = Runs.combined(partial(_replaced, value=len(records)), taken, covered)
                states = Runs.combined(_replaced, states, covered, found)
                firsts.append(first)
                records.append(part)
                readings.append(reading)
        if not (states.values >= UNREADABLE).any():
            break
    beats = [_beats_of(record, readings[0], classifier, work, second)]
    beats += [_beats_of(*pair, classifier, work) for pair in zip(records[1:], readings[1:])]
    if len(beats) == 1:
        return beats[0]
    merged = _merged(firsts, records, beats, taken, unread_stretches(record, states))
    over = {one.why for one in merged.taken_over}
    return replace(merged, others=[other for other in read if other.lead in over])


def _parts(record: Record, needed: list[tuple[int, int]]) -> list[tuple[int, Record]]:
    """Parts of `record` that show the stretches `needed`, first and last sample of each; each with its first sample."""
    before, after = round(BEFORE_S * record.fs_hz), round(AFTER_S * record.fs_hz)
    spans = widened(needed, before, after, len(record.signal_mv))
    return [(first, _part(record, first, end)) for first, end in spans]


def _part(record: Record, first: int, end: int) -> Record:
    signal = LongSignal(end - first, lambda low, high: record.signal_mv[first + low : first + high])
    return replace(record, signal_mv=signal.as_array())


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


def _read(record: Record, classifier: Classifier, work: Work) -> Reading:
    followed = told(record, "R-peaks") if work.tells else record
    if classifier.inputs.causal:
        return read_causal(followed.signal_mv, record.fs_hz, work=work)
    return read_whole(followed.signal_mv, record.fs_hz, work)


def _beats_of(
    record: Record, reading: Reading, classifier: Classifier, work: Work, second: Record | None = None
) -> LeadBeats:
    """The beats of one lead, in which a `second` one may have a say; what cannot be read is shown to no network."""
    readable, count = reading.readable, len(reading.samples)
    found = np.zeros((0, len(CLASSES))), NOWHERE, np.zeros(0, np.float32)
    if readable.any():
        samples = reading.samples[readable]
        annotation = Annotation(samples, np.full(len(samples), ""), reading.after_gap[readable])
        other = None if second is None else SecondLead(second, partial(_heard, second, samples))
        noisy = NOWHERE if classifier.inputs.causal else reading.states[samples] == NOISY
        found = probabilities(record, annotation, classifier, reading.watch, other, noisy, work)
    proba, groups, p_waves = found
    if not readable.all():
        proba, groups = np.tile(UNREAD, (count, 1)), np.zeros(count, np.int64)
        p_waves = np.zeros(count, np.float32)
        proba[readable], groups[readable], p_waves[readable] = found
    signal = signal_at(reading.watch, reading.samples, record.fs_hz, reading.states)
    after_gap = reading.after_gap | lost_before(reading.watch, reading.samples)
    unread = unread_stretches(record, reading.states)
    name = None if second is None else second.lead
    return LeadBeats(reading.samples, proba, groups, p_waves, after_gap, signal, reading.watch, unread, second=name)


def _heard(record: Record, samples: np.ndarray, beats: np.ndarray) -> np.ndarray:
    """Whether the lead `record` can be read at those `beats` (n,), which rise, of the ones at `samples` (beats,).

    No more of it is looked at than AROUND_S to either side of them.
    """
    at, around, heard = samples[beats], round(AROUND_S * record.fs_hz), np.zeros(len(beats), bool)
    for first, end in widened([(one, one) for one in at.tolist()], around, around, len(record.signal_mv)):
        here = slice(*np.searchsorted(at, (first, end)))
        heard[here] = read_states(record.signal_mv[first:end], record.fs_hz)[at[here] - first] < UNREADABLE
    return heard


def probabilities(
    record: Record,
    annotation: Annotation,
    classifier: Classifier,
    watch: SignalWatch,
    second: SecondLead | None = None,
    noisy: np.ndarray = NOWHERE,
    work: Work = NOTHING_KEPT,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`Answers.all` to the beats of `record`, of which `watch` has seen all, at those of `annotation`.

    `second` is a lead that has a say, `noisy` (beats,) as in `Classifier.answer`.
    """
    followed = told(record, "labels") if work.tells else record
    records = [record] if second is None else [record, second.record]

    def begun() -> Labelling:
        blocks = [InputBlocks(one, annotation, classifier.inputs, watch) for one in records]
        return Labelling(classifier.answers(), *blocks)

    return work.result_of(begun, classifier, followed, second, noisy)


class Labelling:
    """Beats as the network judges them by the `first` lead and a `second` one, if there is one: a stage of `Work`."""

    def __init__(self, answers: Answers, first: InputBlocks, second: InputBlocks | None = None):
        self._answers, self._first, self._second = answers, first, second

    def steps(
        self, classifier: Classifier, record: Record, second: SecondLead | None, noisy: np.ndarray
    ) -> Iterator[None]:
        """Judges the beats that are left, a block at a step."""
        other: Iterable[NetworkInputs | None] = repeat(None)
        hears = None
        if self._second is not None and second is not None:
            other, hears = self._second.blocks(second.record), second.hears
        for inputs, shown in zip(self._first.blocks(record), other):
            classifier.answer(self._answers, inputs, shown, hears, noisy)
            yield

    def result(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As `Answers.all`."""
        return self._answers.all()


def _merged(
    firsts: list[int], records: list[Record], found: list[LeadBeats], taken: Runs, unread: list[Stretch]
) -> LeadBeats:
    """The beats of each reading, from its first sample on, where it is `taken`; at a change two of one QRS are one.

    That is so where the leads' marks of it lie on the wrong sides of the change, too.
    """
    numbers = np.concatenate([np.full(len(one.samples), number) for number, one in enumerate(found)])
    samples = np.concatenate([one.samples + first for first, one in zip(firsts, found)])
    order = np.argsort(samples, kind="stable")
    reach = round(APART_S * records[0].fs_hz)
    kept = taken[samples[order]] == numbers[order]
    order = order[kept | _marked_across(samples[order], numbers[order], kept, taken, reach)]
    apart = np.diff(samples[order], prepend=-len(taken)) >= APART_S * records[0].fs_hz
    order = order[apart]
    leads = np.array([record.lead for record in records])[numbers[order]]
    changed = np.diff(numbers[order], prepend=0) != 0
    columns = ("proba", "groups", "p_waves", "after_gap", "signal")
    proba, groups, p_waves, after_gap, signal = (
        np.concatenate([getattr(one, name) for one in found])[order] for name in columns
    )
    over = [
        Stretch(first, last, record.lead)
        for number, record in enumerate(records[1:], 1)
        for first, last in taken.stretches(taken.values == number)
        if np.searchsorted(samples[order], first) < np.searchsorted(samples[order], last, side="right")
    ]
    over.sort(key=lambda one: one.first)
    gaps = after_gap | changed
    at, first = samples[order], found[0]
    return LeadBeats(at, proba, groups, p_waves, gaps, signal, first.watch, unread, leads, over, first.second)


def _marked_across(
    samples: np.ndarray, numbers: np.ndarray, kept: np.ndarray, taken: Runs, reach: int
) -> np.ndarray:
    """Which beats (beats,), rising, of readings `numbers` are not `kept`, but the first of two marks of one QRS.

    Each of both lies within `reach` of where its own reading is `taken`, and neither there.
    """
    last = len(taken) - 1
    near = [taken[np.clip(samples + shift, 0, last)] == numbers for shift in (-reach, reach)]
    missed = ~kept & (near[0] | near[1])
    pairs = missed[:-1] & missed[1:] & (numbers[:-1] != numbers[1:]) & (np.diff(samples) < reach)
    return np.append(pairs, np.zeros(min(len(samples), 1), bool))
