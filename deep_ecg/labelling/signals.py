"""`deep_ecg.label`: an array of samples in, labelled beats out, without a file."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from numbers import Real
from pathlib import Path

import numpy as np

from config import CLASSES, Config, with_overrides
from deep_ecg.beats.beat_network import one_row
from deep_ecg.labelling.labelled import Labelled
from deep_ecg.labelling.predict import label_lead
from deep_ecg.labelling.results import recording_of
from deep_ecg.labelling.summary import summarise
from deep_ecg.networks.classifier import RUNTIMES, Classifier, load_classifier
from deep_ecg.networks.description import RATES_HZ
from deep_ecg.records.any_record import MAX_MV, Record
from deep_ecg.records.wfdb_files import Annotation
from deep_ecg.report.episodes import as_json, episodes_of
from deep_ecg.system.errors import DeepECGError


@dataclass(frozen=True)
class LabelledSignal:
    """The beats of one lead, in order of time, and what they amount to.

    `samples` (beats,) int64 are the R-peaks, `classes` (beats,) "N", "S", "V", "F" or "Q" (AAMI EC57), `probabilities`
    (beats, 5) the calibrated ones of these classes, `signal` (beats,) its state around each ("ok", "noisy",
    "unreadable" or "lost"), `sure` (beats,) whether the label is likely enough to be relied on. `rhythm` lists the
    episodes with kind, samples, beats and rate (`report/episodes.py`). `summary` is as NAME.json of `predict` holds it:
    beats, counts, burden in percent, stretches without beats ("silent") and why, the grade of trust with its reasons.
    `synthetic` says that the network learned from SYNTHETIC data, so that its labels are a demonstration only.
    """

    samples: np.ndarray
    classes: np.ndarray
    probabilities: np.ndarray
    signal: np.ndarray
    sure: np.ndarray
    rhythm: list[dict]
    summary: dict
    synthetic: bool

    def __len__(self) -> int:
        return len(self.samples)


def label(
    signal_mv: Sequence[float] | np.ndarray,
    fs_hz: float,
    *,
    peaks: Sequence[int] | np.ndarray | None = None,
    mode: str = Config.mode,
    preset: str = Config.preset,
    runtime: str | None = None,
    checkpoint: str | Path | None = None,
) -> LabelledSignal:
    """Labels the beats of one lead, as `main.py predict` does; nothing is written.

    `signal_mv` (samples,) is the ECG in millivolts, NaN where it was lost, at `fs_hz`: 100 to 1000 Hz, or 50 to 5000 Hz
    with `peaks` (beats,), the rising samples of the R-peaks, which a detector finds where none are given. `mode`
    "diagnostic" looks one beat ahead, "causal" at nothing after a beat's window; `preset` is "full" or "edge", the
    network for small machines; `runtime` is "fp32", "int8" or "torch", the only one that needs torch. `checkpoint` is
    the file of the network, by default the pretrained one of these; it is read once in a process.

    A flat signal has no beats. Raises DeepECGError where the signal, the rate or the peaks cannot be used, the signal
    lasts less than a second, or there is no such network.
    """
    record = Record("signal", "unnamed", _rate(fs_hz), checked(signal_mv))
    if len(record.signal_mv) < record.fs_hz:
        raise DeepECGError("the signal lasts less than a second: a longer one is needed")
    classifier = classifier_of(mode, preset, runtime, None if checkpoint is None else Path(checkpoint))
    annotation = None if peaks is None else _given(peaks, len(record.signal_mv))
    return as_arrays(label_lead(record, classifier, annotation))


def as_arrays(labelled: Labelled) -> LabelledSignal:
    """What `label` gives, of a record that has been labelled."""
    series = recording_of(labelled, None, "", None).series
    return LabelledSignal(
        samples=labelled.samples,
        classes=np.array(CLASSES)[labelled.predicted],
        probabilities=labelled.proba,
        signal=np.full(len(labelled.samples), "ok") if labelled.signal is None else labelled.signal,
        sure=labelled.sure,
        rhythm=as_json(episodes_of(series), series),
        summary=summarise(labelled),
        synthetic=labelled.synthetic,
    )


def checked(signal_mv: Sequence[float] | np.ndarray) -> np.ndarray:
    """`signal_mv` as (samples,) float64. DeepECGError where it is none, or no ECG."""
    row_mv = one_row(signal_mv)  # type: ignore[arg-type]  # whatever it is, that says so
    if len(row_mv) == 0:
        raise DeepECGError("the signal has no samples: give at least one")
    if np.abs(row_mv[np.isfinite(row_mv)]).max(initial=0) > MAX_MV:
        raise DeepECGError(f"no ECG is beyond {MAX_MV:g} mV: give the signal in millivolts")
    return np.where(np.isfinite(row_mv), row_mv, np.nan)


def _rate(fs_hz: float) -> float:
    low, high = RATES_HZ
    if not isinstance(fs_hz, Real) or not low <= fs_hz <= high:
        raise DeepECGError(f"a sampling rate of {fs_hz} Hz cannot be used: {low:g} to {high:g} Hz are needed")
    return float(fs_hz)


def _given(peaks: Sequence[int] | np.ndarray, length: int) -> Annotation:
    samples = np.asarray(peaks)
    if samples.ndim != 1 or (len(samples) and not np.issubdtype(samples.dtype, np.integer)):
        raise DeepECGError("the R-peaks are no row of sample numbers: give integers, from 0 on")
    samples = samples.astype(np.int64)
    if (np.diff(samples) <= 0).any() or (len(samples) and not 0 <= samples[0] <= samples[-1] < length):
        raise DeepECGError(f"the R-peaks do not rise within the {length:,} samples of the signal: mend them")
    return Annotation(samples, np.full(len(samples), ""), np.zeros(len(samples), bool))


@lru_cache(maxsize=8)
def classifier_of(mode: str, preset: str, runtime: str | None, checkpoint: Path | None) -> Classifier:
    """The network of `load_classifier`, read once in a process."""
    if runtime is not None and runtime not in RUNTIMES:
        raise DeepECGError(f"runtime {runtime!r} is none: choose {' or '.join(RUNTIMES)}")
    return load_classifier(with_overrides(Config(), mode=mode, preset=preset), checkpoint, runtime)
