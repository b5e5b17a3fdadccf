"""What the network sees of a beat: its window of the ECG, and features of its rhythm and of its shape.

One definition serves training, prediction on a record, and the Transformer. Everything is relative to the patient's
own past beats: neither gain nor heart rate nor the width of a patient's normal QRS is seen as such, because 22 training
patients are too few to learn what is usual in others. Nothing looks further ahead than the mode allows: the causal
inputs of a beat do not change when anything after its window changes.
"""

from itertools import pairwise

import numpy as np

from config import Config
from deep_ecg.beats.arrays import Beats
from deep_ecg.beats.rhythm import RHYTHM, _rhythm_rows, rr_intervals
from deep_ecg.beats.shape import P_WAVE, SHAPE, PWaveMemory, cut_windows, p_wave_span, qrs_span, shape_inputs
from deep_ecg.beats.signal_watch import SignalWatch
from deep_ecg.beats.templates import running_templates
from deep_ecg.records.wfdb_files import Annotation, Record
from deep_ecg.system.errors import DeepECGError
from dsp_filters import bandpass_sos, clean, resample


def network_inputs(
    record: Record, annotation: Annotation, config: Config, kept: np.ndarray | slice = slice(None)
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Windows, features and groups of every beat of `record`, or those `kept` (beats,), as the mode of `config` allows.

    See `features.beat_inputs`.

    Missing samples are filled, and an RR interval across lost signal is none, as in a live stream: see
    `dsp_filters.SignalWatch`. Raises DeepECGError when an annotation lies outside the signal, or that is shorter than
    a second.
    """
    if len(record.signal_mv) < record.fs_hz:
        raise DeepECGError(f"record {record.name} lasts less than a second: a longer one is needed")
    causal, watch = config.mode == "causal", SignalWatch(record.fs_hz)
    filled_mv, _ = watch(record.signal_mv)
    cleaned_mv = cleaned(resample(filled_mv, record.fs_hz, config.fs_hz, causal), config)
    peaks = np.round(annotation.samples * config.fs_hz / record.fs_hz).astype(np.int64)
    if peaks.min() < 0 or annotation.samples.max() >= len(record.signal_mv):
        raise DeepECGError(f"record {record.name}: an annotation lies outside the signal: they do not belong together")
    after = config.look_ahead_samples
    lost = [watch.lost_between(*pair) for pair in pairwise(annotation.samples.tolist())]
    rr_s = rr_intervals(annotation.samples, record.fs_hz, annotation.after_gap | np.array([False, *lost]))
    peaks = np.minimum(peaks, len(cleaned_mv) - 1)  # resampling can round the last sample away
    return beat_inputs(cleaned_mv, peaks, rr_s, config.window_samples - after, after, config.fs_hz, config.mode, kept)


def cleaned(signal_mv: np.ndarray, config: Config) -> np.ndarray:
    """`signal_mv` (samples,) at `config.fs_hz`, band-passed as the mode asks."""
    return clean(signal_mv, bandpass_sos(config.band_hz, config.filter_order, config.fs_hz), config.mode == "causal")


def beats_of(
    record: Record, annotation: Annotation, labels: np.ndarray, config: Config, kept: np.ndarray | slice = slice(None)
) -> Beats:
    """Every annotated beat of `record`, or those `kept` (beats,), with its label of `labels` (beats,)."""
    windows, features, groups = network_inputs(record, annotation, config, kept)
    return Beats(
        windows=windows,
        features=features,
        labels=labels[kept],
        records=np.full(len(windows), record.name),
        samples=annotation.samples[kept].astype(np.int64),
        groups=groups,
    )


FEATURES = {mode: rhythm + SHAPE + P_WAVE for mode, rhythm in RHYTHM.items()}  # columns of the network's second input
CHANNELS = 2  # of the network's first input: the z-scored beat, and its difference from the running template


def beat_inputs(
    cleaned_mv: np.ndarray,
    peaks: np.ndarray,
    rr_s: np.ndarray,
    before: int,
    after: int,
    fs_hz: float,
    mode: str,
    kept: np.ndarray | slice = slice(None),
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Both inputs of the network and the group of every beat of one record, or those `kept`, in order of time.

    cleaned_mv (samples,) is the filtered signal at `fs_hz`, peaks (beats,) the R-peak samples, rr_s (beats,) from
    `rr_intervals`. The window is samples R - before ... R + after - 1. `kept` (beats,) says which beats are wanted: the
    others only go into what is known of the patient. Returns windows (kept beats, CHANNELS, before +
    after) and features (kept beats, len(FEATURES[mode])), both float32, and groups (kept beats,) int64
    (`RunningTemplate`).
    """
    beats_mv = cut_windows(cleaned_mv, peaks, before, after)
    qrs = qrs_span(before, after, fs_hz)
    aligned_mv, templates_mv, groups = running_templates(beats_mv, qrs, fs_hz)
    windows, shape = shape_inputs(beats_mv[kept], aligned_mv[kept], templates_mv[kept], qrs)
    rhythm = _rhythm_rows(rr_s, mode, np.arange(len(rr_s))[kept])
    p_wave = PWaveMemory(p_wave_span(before, after, fs_hz), fs_hz).steps(aligned_mv, templates_mv)[kept]
    return windows, np.concatenate([rhythm, shape, p_wave], axis=1), groups[kept]
