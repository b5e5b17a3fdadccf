"""A stretch of ECG with all its leads and its beats."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from config import (
    CLASSES,
    Config,
)
from deep_ecg.beats.arrays import Beats
from deep_ecg.beats.inputs import beats_of
from deep_ecg.records.wfdb_files import (
    MILLIVOLTS,
    Annotation,
    Record,
    _read_signals,
    aami_labels,
    read_beats,
    read_header,
    read_record,
)
from dsp_filters import FLAT_MV, resample


@dataclass(frozen=True)
class Strip:
    """A stretch of ECG with its beats.

    leads_mv (samples, leads), peaks (beats,) R-peak samples, labels (beats,) into CLASSES, after_gap (beats,): whether
    the interval before a beat is no RR interval.
    """

    leads_mv: np.ndarray
    fs_hz: float
    peaks: np.ndarray
    labels: np.ndarray
    after_gap: np.ndarray


def read_strip(path: Path, config: Config) -> Strip:
    """The record at `path` with all its usable leads, that of `config` first, and its beats, at `config.fs_hz`.

    Raises DeepECGError as `read_record` and `read_beats` do.
    """
    first = read_record(path, config.leads)
    header = read_header(path)
    voltages = [name for name, units in zip(header.sig_name, header.units) if str(units).lower() in MILLIVOLTS]
    others = [name for name in voltages if name != first.lead]
    _, signals = _read_signals(path, others) if others else (first.fs_hz, [])
    usable = [signal for signal in signals if np.isfinite(signal).all() and np.ptp(signal) > FLAT_MV]
    leads_mv = [resample(signal, first.fs_hz, config.fs_hz, causal=False) for signal in (first.signal_mv, *usable)]
    annotation = read_beats(path, config.annotation_extension, config.aami)
    peaks = np.round(annotation.samples * config.fs_hz / first.fs_hz).astype(np.int64)
    labels = aami_labels(annotation.symbols, config.aami)
    return Strip(np.stack(leads_mv, axis=1), config.fs_hz, peaks, labels, annotation.after_gap)


def beats_of_strip(name: str, strip: Strip, config: Config, kept: np.ndarray | slice = slice(None)) -> Beats:
    """Beats of the first lead of `strip`, which is at `config.fs_hz`, as those of record `name`; `kept` as above."""
    record = Record(name, config.lead, config.fs_hz, strip.leads_mv[:, 0])
    annotation = Annotation(strip.peaks, np.array(CLASSES)[strip.labels], strip.after_gap)
    return beats_of(record, annotation, strip.labels, config, kept)
