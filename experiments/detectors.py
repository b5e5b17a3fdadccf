"""R-peak detectors side by side on DS1 and DS2, lead MLII: sensitivity, +P, delay and place of R.

The rules are those of ANSI/AAMI EC57 as ec57.py has them: reference and detected beats are paired one to one within
150 ms, the first five minutes and ventricular flutter are left out, and scores are gross: over the beats of all records
together. sleepecg is compared where it is installed; the project does not need it. Takes a few minutes.
"""

import argparse
import importlib
import importlib.metadata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
from wfdb.processing import xqrs_detect

from config import DS1, DS2, Config
from deep_ecg.beats.detector import RPeakDetector
from deep_ecg.beats.whole_record import r_peaks
from deep_ecg.records.database import real_source
from deep_ecg.records.wfdb_files import read_record
from deep_ecg.scoring import ec57
from deep_ecg.system.text import markdown_table, number

REPORT = "detectors.json"
ON_TIME_S = 0.15
CHUNK_S = 1.0
SETS = {"DS1": DS1, "DS2": DS2, "all": DS1 + DS2}


@dataclass(frozen=True)
class Scored:
    """One detector on one record: counts, and in seconds the offsets of R and the delays of the beats that count."""

    tp: int
    fn: int
    fp: int
    offsets_s: np.ndarray
    delays_s: np.ndarray
    record_s: float
    work_s: float


def run(options: argparse.Namespace) -> dict:
    """The report: for every detector its scores on each set and record, its delays, and where it puts R.

    Raises DeepECGError where the real database is missing.
    """
    source = real_source(Config())
    detectors = available_detectors()
    scored: dict[str, dict[str, Scored]] = {name: {} for name in detectors}
    for record in DS1 + DS2:
        for name, detect in detectors.items():
            scored[name][record] = score_record(source.folder / record, detect)
        print(f"{record}: " + ", ".join(f"{name} {one[record].fn}+{one[record].fp}" for name, one in scored.items()))
    rules = f"pairs within {ec57.WINDOW_S:g} s, first {ec57.LEARNING_S:g} s and ventricular flutter left out, gross"
    return {
        "data_source": source.name,
        "lead": Config.lead,
        "rules": rules,
        "chunk_s": CHUNK_S,
        "versions": {name: importlib.metadata.version(name) for name in ("numpy", "scipy", "wfdb")}
        | ({"sleepecg": importlib.metadata.version("sleepecg")} if "sleepecg" in detectors else {}),
        "detectors": {name: summary(one, causal=name == "RPeakDetector") for name, one in scored.items()},
    }


def available_detectors() -> dict[str, Callable[[np.ndarray, float], np.ndarray]]:
    """Functions of signal (n,) in mV and rate that return (beats, 2): R-peak sample, sample at which it was known."""
    detectors = {
        "RPeakDetector": streamed,
        "r_peaks": whole_record(r_peaks),
        "XQRS": whole_record(lambda signal_mv, fs_hz: xqrs_detect(sig=signal_mv, fs=fs_hz, verbose=False)),
    }
    try:
        sleepecg = importlib.import_module("sleepecg")
    except ImportError:
        print("note: sleepecg is not installed and is left out; `pip install sleepecg` adds it to the comparison")
    else:
        detectors["sleepecg"] = whole_record(sleepecg.detect_heartbeats)
    return detectors


def streamed(signal_mv: np.ndarray, fs_hz: float) -> np.ndarray:
    """Beats of RPeakDetector, fed CHUNK_S at a time."""
    detector, step = RPeakDetector(fs_hz), round(CHUNK_S * fs_hz)
    chunks_mv = (signal_mv[start : start + step] for start in range(0, len(signal_mv), step))
    beats = [beat for chunk_mv in chunks_mv for beat in detector.push(chunk_mv)]
    return np.array(beats, np.int64).reshape(-1, 2)


def whole_record(detect: Callable[[np.ndarray, float], np.ndarray]) -> Callable[[np.ndarray, float], np.ndarray]:
    """A detector that knows its beats when the record has ended."""

    def detected(signal_mv: np.ndarray, fs_hz: float) -> np.ndarray:
        peaks = np.unique(np.asarray(detect(signal_mv, fs_hz), np.int64))
        return np.stack([peaks, np.full(len(peaks), len(signal_mv) - 1)], axis=1)

    return detected


def score_record(path: Path, detect: Callable[[np.ndarray, float], np.ndarray]) -> Scored:
    """One detector on the record at `path` (no extension)."""
    record = read_record(path, Config.lead)
    reference = ec57.read_marks(path, "atr", record.fs_hz)
    started_s = perf_counter()
    beats = detect(record.signal_mv, record.fs_hz)
    work_s = perf_counter() - started_s
    rate_hz, length, peaks = record.fs_hz, len(record.signal_mv), beats[:, 0].tolist()
    window, start = (ec57.to_samples(time_s, rate_hz) for time_s in (ec57.WINDOW_S, ec57.LEARNING_S))
    matrix, _ = ec57.compare(reference, ec57.Marks(peaks, ["N"] * len(peaks)), rate_hz, length)
    (tp, annotated), (_, told) = (ec57.measures(matrix)[name] for name in ("qrs_se", "qrs_ppv"))
    steps = ec57.pair_beats(reference.samples, peaks, window, start, length)
    offsets = [peaks[j] - reference.samples[i] for i, j, *both in steps if all(both)]
    counted = [peak >= start and not ec57.within(peak, reference.flutters) for peak in peaks]
    return Scored(
        tp=tp,
        fn=annotated - tp,
        fp=told - tp,
        offsets_s=np.array(offsets) / rate_hz,
        delays_s=np.diff(beats[counted], axis=1)[:, 0] / rate_hz,
        record_s=length / rate_hz,
        work_s=work_s,
    )


def summary(scored: dict[str, Scored], causal: bool) -> dict:
    """What is told of one detector: `scored` by record. Delays only of one that decides before the record ends."""
    records = list(scored.values())
    offsets_ms = 1000 * np.concatenate([one.offsets_s for one in records])
    delays_ms = 1000 * np.concatenate([one.delays_s for one in records])
    on_time_ms = delays_ms[delays_ms <= 1000 * ON_TIME_S]
    return {
        "causal": causal,
        **{name: scores([scored[record] for record in members]) for name, members in SETS.items()},
        "delay_ms": percentiles(delays_ms, {"median": 50, "p99": 99, "max": 100}) if causal else None,
        "delay_without_late_ms": percentiles(on_time_ms, {"median": 50, "p99": 99, "max": 100}) if causal else None,
        "late_beats": len(delays_ms) - len(on_time_ms) if causal else None,
        "offset_ms": percentiles(offsets_ms, {f"p{at}": at for at in (1, 5, 25, 75, 95, 99)} | {"median": 50}),
        "times_real_time": round(sum(one.record_s for one in records) / sum(one.work_s for one in records)),
        "records": {record: {"tp": one.tp, "fn": one.fn, "fp": one.fp} for record, one in scored.items()},
    }


def scores(records: Sequence[Scored]) -> dict:
    """Gross counts over `records`, Se and +P in percent."""
    tp, fn, fp = (sum(getattr(one, count) for one in records) for count in ("tp", "fn", "fp"))
    return {"tp": tp, "fn": fn, "fp": fp, "se": round(100 * tp / (tp + fn), 3), "ppv": round(100 * tp / (tp + fp), 3)}


def percentiles(values: np.ndarray, wanted: dict[str, int]) -> dict[str, float]:
    """The percentiles `wanted`, by name."""
    return {name: round(float(np.percentile(values, at)), 1) for name, at in wanted.items()}


def table(report: dict) -> list[str]:
    """Markdown lines: one row a detector."""
    rows = []
    for name, found in report["detectors"].items():
        rates = [f"{found[part][rate]:.2f}" for part in SETS for rate in ("se", "ppv")]
        delay = found["delay_ms"] if found["causal"] else None
        known = f"{delay['median']:.0f}, {delay['p99']:.0f}, {delay['max']:.0f}" if delay else "whole record"
        rows.append([name, *rates, known, number(found["times_real_time"])])
    header = ["detector", *(f"{part} {rate} %" for part in SETS for rate in ("Se", "+P"))]
    return markdown_table([*header, "known after R, ms: median, 99 %, longest", "times real time"], rows)
