"""The picture of a record: the seconds that hold the most ectopic beats."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from deep_ecg.beats.input_settings import InputSettings
from deep_ecg.beats.inputs import cleaned
from deep_ecg.beats.signal_watch import SignalWatch
from deep_ecg.labelling.labelled import Labelled
from deep_ecg.labelling.reference import labels_at
from deep_ecg.labelling.summary import ECTOPIC
from deep_ecg.records.any_record import Record
from deep_ecg.report.beat_series import BeatSeries
from deep_ecg.report.recording import Reference
from dsp_filters import SETTLE_CYCLES, rate_ratio, resample

STRIP_S = 20.0  # length of the picture
STRIP_LEAD_IN_S = 1.0  # how much of it comes before its first ectopic beat


def draw_strip(path: Path, labelled: Labelled, inputs: InputSettings, reference: Reference | None = None):
    """Draws the STRIP_S seconds that hold the most ectopic beats, cleaned as the network sees them.

    Beside the labels stands the `reference`, where there is one and the R-peaks are not of an annotation file.
    """
    from deep_ecg.scoring.strips import predictions_figure

    record, labels = replace(labelled.record, signal_mv=labelled.shown_mv), labelled.reference
    peaks_s, length = labelled.samples / record.fs_hz, len(record.signal_mv)
    start_s = busiest_start_s(peaks_s[np.isin(labelled.predicted, ECTOPIC)], length / record.fs_hz)
    start_s, clean_mv = cleaned_strip(record, start_s, inputs)
    if labels is None and reference is not None:
        labels = labels_at(labelled.samples, reference, record.fs_hz)
    series = BeatSeries(labelled.samples, labelled.predicted, record.fs_hz, length, started=labelled.started)
    at = f" at {series.time_text(start_s)}" if labelled.started else ""
    predictions_figure(
        path,
        clean_mv,
        inputs.fs_hz,
        start_s,
        peaks_s,
        labelled.predicted,
        labels,
        record.name + at,
        labelled.synthetic,
        mode=inputs.mode,
        known=np.isfinite(labelled.rr_ms),
    )


def cleaned_strip(record: Record, start_s: float, inputs: InputSettings) -> tuple[float, np.ndarray]:
    """STRIP_S seconds of `record`, (n,) in mV at the rate of the `inputs`, filtered as those are, and their start in s.

    Of the signal before and after, the filter sees so much that more would change nothing.
    """
    step, settle_s = rate_ratio(record.fs_hz, inputs.fs_hz).denominator, SETTLE_CYCLES / inputs.band_hz[0]
    before = max(round((start_s - settle_s) * record.fs_hz), 0) // step * step  # a sample at both rates
    after = round((start_s + STRIP_S + settle_s) * record.fs_hz)
    filled_mv, _ = SignalWatch(record.fs_hz)(record.signal_mv[before:after])
    clean_mv = cleaned(resample(filled_mv, record.fs_hz, inputs.fs_hz, inputs.causal), inputs)
    length, zero = round(STRIP_S * inputs.fs_hz), round(before * inputs.fs_hz / record.fs_hz)
    first = min(round(start_s * inputs.fs_hz) - zero, max(len(clean_mv) - length, 0))
    return (zero + first) / inputs.fs_hz, clean_mv[first : first + length]


def busiest_start_s(events_s: np.ndarray, duration_s: float) -> float:
    """Start of the STRIP_S seconds that hold the most of `events_s` (rising, in seconds); 0 where there are none."""
    if len(events_s) == 0:
        return 0.0
    starts_s = np.clip(events_s - STRIP_LEAD_IN_S, 0, max(duration_s - STRIP_S, 0))
    held = np.searchsorted(events_s, starts_s + STRIP_S) - np.searchsorted(events_s, starts_s)
    return float(starts_s[held.argmax()])
