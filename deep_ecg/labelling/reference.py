"""Reference annotations that lie beside a record, shown beside its labels."""

import os

import numpy as np

from config import Config
from deep_ecg.records.any_record import AnyRecord, Record
from deep_ecg.records.wfdb_files import aami_labels
from deep_ecg.report.recording import Reference
from deep_ecg.scoring.ec57 import WINDOW_S, pair_beats, to_samples
from deep_ecg.system.errors import DeepECGError


def reference_beside(file: AnyRecord, record: Record, config: Config) -> Reference | None:
    """The beats of the annotation file of `config` beside `file`, in samples of `record`; None where there is none.

    One that cannot be used is left out, with a line that says so: the labels do not depend on it.
    """
    extension = config.annotation_extension
    if not os.path.isfile(f"{file.base}.{extension}"):
        return None
    try:
        beats = file.beats(extension, record, config.aami)
    except DeepECGError as error:
        print(f"{file.path.name}: its reference is not shown: {error}", flush=True)
        return None
    return Reference(beats.samples, aami_labels(beats.symbols, config.aami), f"{file.base.name}.{extension}")


def labels_at(samples: np.ndarray, reference: Reference, fs_hz: float) -> np.ndarray:
    """The label of the reference beat at each of `samples` (beats,), which EC57's pairing finds, -1 for none."""
    labels = np.full(len(samples), -1)
    if len(samples):
        window = to_samples(WINDOW_S, fs_hz)
        for i, j, *both in pair_beats(reference.samples.tolist(), samples.tolist(), window, 0, int(samples[-1])):
            if all(both):
                labels[j] = reference.labels[i]
    return labels
