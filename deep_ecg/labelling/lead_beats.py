"""The beats of a record as its leads show them: R-peaks, whether they can be read, and their probabilities."""

from dataclasses import dataclass

import numpy as np

from config import CLASSES
from deep_ecg.beats.inputs import network_inputs
from deep_ecg.beats.signal_quality import LOST
from deep_ecg.beats.whole_record import Reading, read_causal, read_whole
from deep_ecg.labelling.signal_state import Stretch, signal_at, unread_stretches
from deep_ecg.networks.classifier import UNREAD, Classifier
from deep_ecg.records.wfdb_files import Annotation, Record


@dataclass(frozen=True)
class LeadBeats:
    """Beats in order of time, arrays (beats,), and the stretches `unread` that cannot be read.

    samples are R-peaks, proba (beats, 5) that of Q alone where a beat cannot be read, groups those of `NetworkInputs`,
    after_gap where there is no RR interval, signal the state of STATES.
    """

    samples: np.ndarray
    proba: np.ndarray
    groups: np.ndarray
    after_gap: np.ndarray
    signal: np.ndarray
    unread: list[Stretch]


def detected_beats(record: Record, classifier: Classifier) -> LeadBeats:
    """The beats that the detector finds in `record`: in causal mode those of a live stream, else looking both ways."""
    reading = (read_causal if classifier.inputs.causal else read_whole)(record.signal_mv, record.fs_hz)
    proba, groups = _labelled(record, reading, classifier)
    signal = signal_at(record, reading.samples, reading.states)
    signal = np.where(reading.readable, np.where(signal == "unreadable", "noisy", signal), "unreadable")
    lost = np.diff(np.cumsum(reading.states == LOST)[reading.samples], prepend=0) > 0
    unread = unread_stretches(record, reading.states)
    return LeadBeats(reading.samples, proba, groups, reading.after_gap | lost, signal, unread)


def _labelled(record: Record, reading: Reading, classifier: Classifier) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (beats, 5) and groups (beats,); what cannot be read is shown to no network."""
    readable, count = reading.readable, len(reading.samples)
    proba, groups = np.tile(UNREAD, (count, 1)), np.zeros(count, np.int64)
    if readable.any():
        samples = reading.samples[readable]
        annotation = Annotation(samples, np.full(len(samples), ""), reading.after_gap[readable])
        inputs = network_inputs(record, annotation, classifier.inputs)
        proba[readable], groups[readable] = classifier.probabilities(inputs), inputs.groups
    return proba.reshape(-1, len(CLASSES)), groups
