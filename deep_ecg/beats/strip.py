"""A stretch of ECG with all its leads and its beats: what replays are made of, and what they are."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from config import CLASSES, Config
from deep_ecg.beats.arrays import Beats
from deep_ecg.beats.input_settings import InputSettings
from deep_ecg.beats.inputs import beats_of, cleaned
from deep_ecg.beats.signal_watch import SignalWatch
from deep_ecg.records.wfdb_files import Annotation, Record, RecordFile, aami_labels, read_record
from dsp_filters import FLAT_MV, places_of, resample


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
    """`strip_of` the record at `path` (no extension)."""
    return strip_of(RecordFile.open(path), config)


def strip_of(record: RecordFile, config: Config) -> Strip:
    """All usable leads of `record`, that of `config` first, and its beats, at `config.fs_hz`.

    Raises DeepECGError as `RecordFile.lead` and `read_beats` do.
    """
    number = record.number_of(config.leads)
    first = record.lead(number)
    others = [other for other in record.voltage_numbers if other != number]
    usable = [
        (signal_mv, record.fs_hz(other))
        for other, signal_mv in zip(others, record.signals_mv(others))
        if np.isfinite(signal_mv).all() and np.ptp(signal_mv) > FLAT_MV
    ]
    watch = SignalWatch(first.fs_hz)
    filled_mv, missing = watch(first.signal_mv)
    signals = [(filled_mv, first.fs_hz), *usable]
    leads_mv = [resample(signal_mv, fs_hz, config.fs_hz, causal=False) for signal_mv, fs_hz in signals]
    length = min(map(len, leads_mv))  # a rate of their own can round them differently
    annotation = record.beats(config.annotation_extension, first, config.aami)
    peaks = places_of(annotation.samples, first.fs_hz, config.fs_hz, causal=False)
    labels = aami_labels(annotation.symbols, config.aami)
    after_gap = annotation.after_gap
    if missing.any():  # filled, they cannot be told from signal any more
        after_gap = after_gap | [False, *(watch.lost_between(*pair) for pair in pairwise(annotation.samples.tolist()))]
    stacked_mv = np.stack([signal_mv[:length] for signal_mv in leads_mv], axis=1)
    return Strip(stacked_mv, config.fs_hz, np.minimum(peaks, length - 1), labels, after_gap)


def beats_of_strip(name: str, strip: Strip, config: Config, kept: np.ndarray | slice = slice(None)) -> Beats:
    """Beats of the first lead of `strip`, which is at `config.fs_hz`, as those of record `name`, or those `kept`."""
    record = Record(name, config.lead, config.fs_hz, strip.leads_mv[:, 0])
    annotation = Annotation(strip.peaks, np.array(CLASSES)[strip.labels], strip.after_gap)
    return beats_of(record, annotation, strip.labels, InputSettings.of(config), kept)


def read_clean(folder: Path, name: str, config: Config, start_s: float, length_s: float) -> tuple:
    """A strip of record `name` in `folder` at `config.fs_hz`, raw and cleaned as the mode does, (samples,) in mV."""
    settings = InputSettings.of(config)
    record = read_record(folder / name, config.leads)
    filled_mv, _ = SignalWatch(record.fs_hz)(record.signal_mv)
    raw_mv = resample(filled_mv, record.fs_hz, settings.fs_hz, settings.causal)
    clean_mv = cleaned(raw_mv, settings)
    strip = slice(round(start_s * settings.fs_hz), round((start_s + length_s) * settings.fs_hz))
    return raw_mv[strip], clean_mv[strip]
