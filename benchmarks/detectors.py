"""R-peak detectors side by side on the 44 records of DS1 and DS2, lead MLII: sensitivity, +P, delay and place of R.

`python benchmarks/detectors.py` takes a few minutes, prints a table and writes results/detectors.json. The rules are
those of ANSI/AAMI EC57: reference and detected beats are paired one to one within 150 ms, the first five minutes and
ventricular flutter are left out, and scores are gross: over the beats of all records together. sleepecg is compared
where it is installed; the project does not need it.
"""

import argparse
import importlib
import importlib.metadata
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
import wfdb
from wfdb.processing import xqrs_detect

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import console  # noqa: E402
from config import Config  # noqa: E402
from data_loader import DS1, DS2, read_beats, read_record, real_source  # noqa: E402
from detector import RPeakDetector  # noqa: E402
from dsp_filters import detect_r_peaks  # noqa: E402
from evaluation import markdown_table, write_json  # noqa: E402

WINDOW_S = 0.15
SKIPPED_S = 300.0
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the comparison; returns the exit status, see `console.exit_status`."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--out", type=Path, default=ROOT / "results" / "detectors.json", help="the file to write")
    out = options.parse_args(arguments).out
    return console.exit_status(lambda: benchmark(out), console.NOTHING_WRITTEN)


def benchmark(out: Path):
    """Compares the detectors, writes the report to `out` and prints the table."""
    report = compare()
    write_json(out, report)
    print("\n".join(table(report)))


def compare() -> dict:
    """The report: for every detector its scores on each set and record, its delays, and where it puts R.

    Raises DeepECGError where the real database is missing.
    """
    source = real_source(Config())
    detectors = available_detectors()
    scored = {name: {} for name in detectors}
    for record in DS1 + DS2:
        for name, detect in detectors.items():
            scored[name][record] = score_record(source.folder / record, detect)
        print(f"{record}: " + ", ".join(f"{name} {one[record].fn}+{one[record].fp}" for name, one in scored.items()))
    return {
        "data_source": source.name,
        "lead": Config.lead,
        "rules": f"pairs within {WINDOW_S:g} s, first {SKIPPED_S:g} s and ventricular flutter left out, gross",
        "chunk_s": CHUNK_S,
        "versions": {name: importlib.metadata.version(name) for name in ("numpy", "scipy", "wfdb")}
        | ({"sleepecg": importlib.metadata.version("sleepecg")} if "sleepecg" in detectors else {}),
        "detectors": {name: summary(one, causal=name == "RPeakDetector") for name, one in scored.items()},
    }


def available_detectors() -> dict[str, Callable[[np.ndarray, float], np.ndarray]]:
    """Functions of signal (n,) in mV and rate that return (beats, 2): R-peak sample, sample at which it was known."""
    detectors = {
        "RPeakDetector": streamed,
        "detect_r_peaks": whole_record(detect_r_peaks),
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
    reference = read_beats(path, "atr").samples
    started_s = perf_counter()
    beats = detect(record.signal_mv, record.fs_hz)
    work_s = perf_counter() - started_s
    flutter, first = flutter_spans(path), SKIPPED_S * record.fs_hz
    counted_reference, counted = (counts(samples, first, flutter) for samples in (reference, beats[:, 0]))
    partner = pairs(reference, beats[:, 0], round(WINDOW_S * record.fs_hz))
    found = partner >= 0
    unpaired = np.ones(len(beats), bool)
    unpaired[partner[found]] = False
    true = counted_reference & found
    offsets = beats[partner[true], 0] - reference[true]
    delays = np.diff(beats[counted], axis=1)[:, 0]
    return Scored(
        tp=int(true.sum()),
        fn=int((counted_reference & ~found).sum()),
        fp=int((counted & unpaired).sum()),
        offsets_s=offsets / record.fs_hz,
        delays_s=delays / record.fs_hz,
        record_s=len(record.signal_mv) / record.fs_hz,
        work_s=work_s,
    )


def flutter_spans(path: Path) -> list[tuple[int, int]]:
    """Ventricular flutter of the record at `path`: first and last sample of each episode, from its [ and ] marks."""
    annotation = wfdb.rdann(str(path), "atr")
    marks = list(zip(annotation.sample.tolist(), annotation.symbol))
    starts, ends = ([sample for sample, symbol in marks if symbol == mark] for mark in "[]")
    return list(zip(starts, ends))


def counts(samples: np.ndarray, first: float, flutter: Sequence[tuple[int, int]]) -> np.ndarray:
    """Which of `samples` (beats,) are scored: not before `first`, not in an episode of `flutter`."""
    scored = samples >= first
    for start, end in flutter:
        scored &= (samples < start) | (samples > end)
    return scored


def pairs(reference: np.ndarray, detected: np.ndarray, window: int) -> np.ndarray:
    """For each of `reference` (beats,) the index of its partner in `detected` (beats,), or -1, (beats,).

    Both rise. A beat has one partner at most, no further away than `window` samples; the nearest are paired first.
    """
    first = np.searchsorted(detected, reference - window)
    last = np.searchsorted(detected, reference + window, side="right")
    near = [(i, j) for i in range(len(reference)) for j in range(first[i], last[i])]
    partner, free = np.full(len(reference), -1), np.ones(len(detected), bool)
    for i, j in sorted(near, key=lambda pair: abs(detected[pair[1]] - reference[pair[0]])):
        if partner[i] < 0 and free[j]:
            partner[i], free[j] = j, False
    return partner


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
    header = ["detector", *(f"{name} {score}" for name in SETS for score in ("Se %", "+P %"))]
    header += ["delay ms: median, p99, max", "later than 150 ms", "R offset ms: median (p5 to p95)", "x real time"]
    return markdown_table(header, [row(name, one) for name, one in report["detectors"].items()])


def row(name: str, one: dict) -> list[str]:
    """The cells of one detector."""
    delay, offset = one["delay_ms"], one["offset_ms"]
    return [
        name,
        *(f"{one[part][score]:.2f}" for part in SETS for score in ("se", "ppv")),
        f"{delay['median']}, {delay['p99']}, {delay['max']}" if delay else "whole record",
        str(one["late_beats"]) if one["causal"] else "all",
        f"{offset['median']} ({offset['p5']} to {offset['p95']})",
        str(one["times_real_time"]),
    ]


if __name__ == "__main__":
    sys.exit(main())
