"""What a live stream costs: time from R-peak to label, and how much of one core that takes.

The networks are the pretrained causal ones, in fp32 and in int8 by ONNX Runtime, the signals the 22 records of
DS2, lead MLII, one thread. The delay from R-peak to label is counted in samples of the signal, so it is the same on
every machine; the times are of this one. Takes a few minutes.
"""

import argparse
import importlib.metadata
import os
import platform
from collections.abc import Sequence
from time import perf_counter

import numpy as np
import torch

from config import DS2, PRESETS, Config
from deep_ecg.labelling.stream import Beat, BeatStream, push_many
from deep_ecg.networks.classifier import Classifier, load_classifier
from deep_ecg.records.database import real_source
from deep_ecg.records.wfdb_files import Record, read_record
from deep_ecg.system.machine import versions
from deep_ecg.system.text import markdown_table

REPORT = "streaming.json"
RUNTIMES = ("fp32", "int8")
GOAL = 500  # times real time, of one stream
LIVE_CHUNK_S = 0.1  # a push as of a monitor, whose work is timed beat by beat
CHUNK_S = 1.0
PATIENTS = 100
PATIENTS_S = 60.0
PERCENTILES = {"median": 50, "p99": 99, "max": 100}


def run(options: argparse.Namespace) -> dict:
    """The report on the records of DS2."""
    source = real_source(Config())
    classifiers = {
        f"{preset}, {runtime}": load_classifier(Config(mode="causal", preset=preset), runtime=runtime)
        for preset in PRESETS
        for runtime in RUNTIMES
    }
    return measure(classifiers, [read_record(source.folder / name, Config.lead) for name in DS2])


def measure(
    classifiers: dict[str, Classifier],
    records: Sequence[Record],
    patients: int = PATIENTS,
    patients_s: float = PATIENTS_S,
) -> dict:
    """The report: delays from R-peak to label, and for each of `classifiers` its times on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        networks = {name: times(classifier, records, patients, patients_s) for name, classifier in classifiers.items()}
    finally:
        torch.set_num_threads(threads)
    delays = [one.pop("delays") for one in networks.values()]
    return {
        "records": [record.name for record in records],
        "signal_s": round(sum(len(record.signal_mv) / record.fs_hz for record in records)),
        "delay": delays[0],  # depends on detector and window alone
        "networks": networks,
        "patients": patients,
        "chunk_s": {"live": LIVE_CHUNK_S, "throughput": CHUNK_S},
        "threads": 1,
        "versions": versions() | {"onnxruntime": importlib.metadata.version("onnxruntime")},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }


def times(classifier: Classifier, records: Sequence[Record], patients: int, patients_s: float) -> dict:
    """Delays, work per beat and throughput of one network; first beats that warm everything up are not counted."""
    streamed(classifier, records[0], CHUNK_S, limit_s=10)
    beats, work_s, signal_s, started_s = [], [], 0.0, perf_counter()
    for record in records:
        beats += [(record, beat) for beat in streamed(classifier, record, CHUNK_S)[0]]
        signal_s += len(record.signal_mv) / record.fs_hz
    wall_s = perf_counter() - started_s
    for record in records:
        work_s += streamed(classifier, record, LIVE_CHUNK_S, limit_s=300)[1]
    return {
        "delays": delays(beats),
        "work_per_beat_ms": percentiles(1000 * np.array(work_s)),
        "times_real_time": round(signal_s / wall_s),
        **many(classifier, records, patients, patients_s),
    }


def streamed(
    classifier: Classifier, record: Record, chunk_s: float, limit_s: float = np.inf
) -> tuple[list[Beat], list[float]]:
    """The beats of `record`, and for each push that told some the seconds that it took, a beat."""
    stream, step = BeatStream(classifier, record.fs_hz), round(chunk_s * record.fs_hz)
    beats, work_s = [], []
    for start in range(0, int(min(len(record.signal_mv), limit_s * record.fs_hz)), step):
        chunk_mv, started_s = record.signal_mv[start : start + step], perf_counter()
        told = stream.push(chunk_mv)
        if told:
            work_s.append((perf_counter() - started_s) / len(told))
        beats += told
    return beats, work_s


def many(classifier: Classifier, records: Sequence[Record], patients: int, patients_s: float) -> dict:
    """How many times faster than real time `patients` streams run at once, with one network call for all and alone."""
    speeds = {}
    for name, width in (("patients_times_real_time", patients), ("patients_one_by_one_times_real_time", 1)):
        streams = [BeatStream(classifier, records[0].fs_hz) for _ in range(patients)]
        step, started_s = round(CHUNK_S * records[0].fs_hz), perf_counter()
        for second in range(round(patients_s / CHUNK_S)):
            # Patients who share a record are at different places of it, so that their beats do not come together.
            chunks_mv = [
                records[i % len(records)].signal_mv[(second + 7 * i) * step : (second + 7 * i + 1) * step]
                for i in range(patients)
            ]
            for first in range(0, patients, width):
                push_many(streams[first : first + width], chunks_mv[first : first + width])
        speeds[name] = round(patients_s / (perf_counter() - started_s), 1)
    return speeds


def delays(beats: Sequence[tuple[Record, Beat]]) -> dict:
    """Milliseconds from R-peak to label, of all beats and without those found by looking back."""
    late = np.array([beat.late for _, beat in beats])
    delay_ms = np.array([1000 * (beat.known - beat.sample) / record.fs_hz for record, beat in beats])
    return {
        "beats": len(beats),
        "late_beats": int(late.sum()),
        "all_ms": percentiles(delay_ms),
        "without_late_ms": percentiles(delay_ms[~late]),
    }


def percentiles(values: np.ndarray) -> dict[str, float]:
    """Median, 99th percentile and maximum."""
    return {name: round(float(np.percentile(values, at)), 3) for name, at in PERCENTILES.items()}


def table(report: dict) -> list[str]:
    """Markdown lines: one row a network, and which of them reach GOAL."""
    delay = report["delay"]
    header = ["network", "R to label ms: median, p99, max", "late beats", "work per beat ms: median, p99"]
    header += ["x real time", f"{report['patients']} patients, x real time", "the same one by one"]
    delay_text = ", ".join(f"{delay['all_ms'][name]:.0f}" for name in PERCENTILES)
    rows = [
        [
            f"causal, {name}",
            delay_text,
            f"{delay['late_beats']:,} of {delay['beats']:,}",
            f"{one['work_per_beat_ms']['median']:.2f}, {one['work_per_beat_ms']['p99']:.2f}",
            f"{one['times_real_time']:,}",
            f"{one['patients_times_real_time']:.1f}",
            f"{one['patients_one_by_one_times_real_time']:.1f}",
        ]
        for name, one in report["networks"].items()
    ]
    fast = [name for name, one in report["networks"].items() if one["times_real_time"] >= GOAL]
    return [*markdown_table(header, rows), "", f"{GOAL} times real time and more: {'; '.join(fast) or 'none'}."]
