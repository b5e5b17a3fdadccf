"""R-peak detectors side by side on records of many recorders, and what of these is unreadable.

Rules of ANSI/AAMI EC57 as ec57.py has them: reference and detected beats are paired one to one within 150 ms, flutter
of the ventricles is left out, of the half-hour databases the first five minutes too, and scores are gross: over the
beats of all records together. DS1 has taught the detector; of the other databases, which `--sets` holds, the records
are those that are kept out of its training (`detector_data.held_out`). The stress test adds noise that was recorded at
home to 118 and 119. XQRS and GQRS come with wfdb; NeuroKit2 and sleepecg are compared where they are installed. Takes
an hour with them, most of it GQRS.
"""

import argparse
import importlib
import importlib.metadata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np
from wfdb.processing import gqrs_detect, xqrs_detect

from config import DS1, DS2, Config
from deep_ecg.beats.beat_network import RPeakNetwork
from deep_ecg.beats.signal_quality import UNREADABLE
from deep_ecg.beats.signal_watch import SignalWatch
from deep_ecg.beats.whole_record import read_whole
from deep_ecg.records.database import real_source
from deep_ecg.records.wfdb_files import Record, RecordFile, read_beats, read_record
from deep_ecg.scoring import ec57
from deep_ecg.system.text import markdown_table, number
from dsp_filters import resample
from experiments import noise
from experiments.detector_data import NOISE_TEST, cinc2017_classes, held_out, unreadable_tele

REPORT = "detectors.json"
ON_TIME_S = 0.15
CHUNK_S = 1.0
LEVELS_DB = (12, 6, 0)
CLASSES_2017 = {"N": "sinus rhythm", "A": "fibrillation", "O": "other", "~": "too noisy"}
PER_CLASS = 200  # recordings of each class of the 2017 Challenge
PACKAGES = ("numpy", "scipy", "wfdb", "neurokit2", "sleepecg")

Detect = Callable[[np.ndarray, float], np.ndarray]  # signal (n,) in mV, rate -> (beats, 2): R-peak, known at sample


@dataclass(frozen=True)
class Item:
    """A record, its reference, the second from which on it is scored, and which samples are not, (n,) or None."""

    record: Record
    reference: ec57.Marks
    start_s: float
    left_out: np.ndarray | None = None


@dataclass(frozen=True)
class Scored:
    """One detector on one record: counts, the offsets of R and the delays of its beats in seconds, and its time."""

    tp: int
    fn: int
    fp: int
    offsets_s: np.ndarray
    delays_s: np.ndarray
    record_s: float
    work_s: float


def add_options(parser: argparse.ArgumentParser):
    """The folder of the other databases, and which to score."""
    parser.add_argument("--sets", type=Path, default=Path("data"), help="folder of svdb, challenge2014, tele, cinc2017")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="only these of the tests, by name")


def run(options: argparse.Namespace) -> dict:
    """The report: each detector's scores on each set, and how much of the 2017 Challenge's recordings is unreadable.

    Raises DeepECGError where the real database is missing; another one that is missing is left out with a line.
    """
    source, detectors = real_source(Config()), available_detectors()
    report: dict = {"data_source": source.name, "chunk_s": CHUNK_S, "versions": versions(), "sets": {}}
    for name, items in tests_of(source.folder, options.sets).items():
        if options.only is None or name in options.only:
            report["sets"][name] = scores_of(items, detectors)
            rates = ", ".join(f"{who} {one['se']} {one['ppv']}" for who, one in report["sets"][name].items())
            print(f"{name}: {rates}", flush=True)
    if (options.sets / "cinc2017").is_dir():
        report["unreadable"] = unreadable_shares(options.sets / "cinc2017")
    return report


def versions() -> dict[str, str]:
    """Of the packages that take part."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            print(f"note: {name} is not installed and is left out; `pip install {name}` adds it to the comparison")
    return found


# Detectors -----------------------------------------------------------------------------------------------------------


def available_detectors() -> dict[str, Detect]:
    """Those of this project and the others that are installed, by name."""
    detectors: dict[str, Detect] = {
        "stream": streamed,
        "record": at_the_end(of_record),
        "XQRS": at_the_end(lambda signal_mv, fs_hz: xqrs_detect(filled(signal_mv), fs_hz, verbose=False)),
        "GQRS": at_the_end(lambda signal_mv, fs_hz: gqrs_detect(filled(signal_mv), fs_hz)),
    }
    if (neurokit := installed("neurokit2")) is not None:
        detectors["NeuroKit2"] = at_the_end(lambda signal_mv, fs_hz: of_neurokit(neurokit, signal_mv, fs_hz))
    if (sleepecg := installed("sleepecg")) is not None:
        detectors["sleepecg"] = at_the_end(lambda mv, fs_hz: sleepecg.detect_heartbeats(filled(mv), fs_hz))
    return detectors


def installed(name: str):
    """The module `name`, or None where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def of_neurokit(neurokit, signal_mv: np.ndarray, fs_hz: float) -> np.ndarray:
    """R-peaks of NeuroKit2's own cleaning and detection."""
    rate_hz = round(fs_hz)
    return neurokit.ecg_peaks(neurokit.ecg_clean(filled(signal_mv), rate_hz), rate_hz)[1]["ECG_R_Peaks"]


def filled(signal_mv: np.ndarray) -> np.ndarray:
    """`signal_mv` (n,) with 0 for what is missing: the others take numbers only."""
    return np.nan_to_num(signal_mv)


def streamed(signal_mv: np.ndarray, fs_hz: float) -> np.ndarray:
    """Beats of the stream's detector, fed CHUNK_S at a time; those that it tells in unreadable signal do not count."""
    detector, watch, step = RPeakNetwork(fs_hz), SignalWatch(fs_hz), round(CHUNK_S * fs_hz)
    chunks_mv = (signal_mv[start : start + step] for start in range(0, len(signal_mv), step))
    beats = [beat for chunk_mv in chunks_mv for beat in detector.push_watched(*watch(chunk_mv))]
    beats += detector.finish()
    return np.array([(beat.sample, beat.known) for beat in beats if beat.readable], np.int64).reshape(-1, 2)


def of_record(signal_mv: np.ndarray, fs_hz: float) -> np.ndarray:
    """Beats of the whole record's detector; those that it tells in unreadable signal do not count."""
    reading = read_whole(signal_mv, fs_hz)
    return reading.samples[reading.readable]


def at_the_end(detect: Callable[[np.ndarray, float], np.ndarray]) -> Detect:
    """A detector that knows its beats when the record has ended."""

    def detected(signal_mv: np.ndarray, fs_hz: float) -> np.ndarray:
        peaks = np.unique(np.asarray(detect(signal_mv, fs_hz), np.int64))
        return np.stack([peaks, np.full(len(peaks), len(signal_mv) - 1)], axis=1)

    return detected


# Sets ----------------------------------------------------------------------------------------------------------------


def tests_of(mitdb: Path, folder: Path) -> dict[str, Callable[[], Iterator[Item]]]:
    """The tests by name; those of databases that are not in `folder` are left out with a line."""
    tests: dict[str, Callable[[], Iterator[Item]]] = {
        "DS1": lambda: of_records(mitdb, DS1, Config.lead),
        "DS2": lambda: of_records(mitdb, DS2, Config.lead),
        "SVDB": lambda: of_records(folder / "svdb", held_out(folder / "svdb"), "ECG1"),
        "Challenge 2014": lambda: of_records(folder / "challenge2014", held_out(folder / "challenge2014"), "ECG", 0.0),
        "TELE": lambda: of_tele(folder / "tele"),
        **{f"noise, {db} dB": partial(of_noise, mitdb, folder, db) for db in LEVELS_DB},
    }
    needed = {"SVDB": "svdb", "Challenge 2014": "challenge2014", "TELE": "tele"} | {
        name: "tele" for name in tests if name.startswith("noise")
    }
    missing = [name for name, of in needed.items() if not (folder / of).is_dir()]
    if missing:
        print(f"note: left out for want of their databases in {folder} (--sets): {', '.join(missing)}")
    return {name: items for name, items in tests.items() if name not in missing}


def of_records(folder: Path, names: Sequence[str], lead: str, start_s: float = ec57.LEARNING_S) -> Iterator[Item]:
    """The records `names` of `folder`."""
    for name in names:
        record = read_record(folder / name, lead)
        yield Item(record, ec57.read_marks(folder / name, "atr", record.fs_hz), start_s)


def of_tele(folder: Path) -> Iterator[Item]:
    """Home recordings, of which what is unusable is not scored."""
    with np.load(folder / "masks.npz") as masks:
        for item in of_records(folder, held_out(folder), "I", 0.0):
            yield Item(item.record, item.reference, 0.0, masks[f"{item.record.name}_unusable"].astype(bool))


def of_noise(mitdb: Path, folder: Path, snr_db: float) -> Iterator[Item]:
    """118 and 119 with noise recorded at home, as `noise.with_noise` has it; the noisy segments are scored."""
    for item in of_records(mitdb, NOISE_TEST, Config.lead):
        record = item.record
        added = home_noise(folder, record.fs_hz, int(record.name))
        beats = read_beats(mitdb / record.name, "atr")
        normal = beats.samples[np.isin(beats.symbols, ("N", "R"))]
        power = noise.qrs_power(record.signal_mv, normal, record.fs_hz)
        gain = noise.gain_for(snr_db, power, noise.noise_power(added, record.fs_hz))
        noisy_mv = noise.with_noise(record.signal_mv, added, gain, record.fs_hz)
        left_out = ~noise.noisy_samples(len(noisy_mv), record.fs_hz)
        yield Item(Record(record.name, record.lead, record.fs_hz, noisy_mv), item.reference, item.start_s, left_out)


def home_noise(folder: Path, fs_hz: float, seed: int) -> np.ndarray:
    """Held-out unreadable stretches of TELE and too noisy recordings of the 2017 Challenge, each of power 1, (n,)."""
    parts = unreadable_tele(folder / "tele", held_out(folder / "tele"))
    parts += [RecordFile.open(folder / "cinc2017" / name).lead(0) for name in of_class(folder / "cinc2017", "~")]
    order = np.random.default_rng(seed).permutation(len(parts))
    return np.concatenate([_of_power_1(parts[at], fs_hz) for at in order])


def of_class(folder: Path, label: str) -> list[str]:
    """Held-out recordings of class `label` of the 2017 Challenge in `folder`."""
    classes = cinc2017_classes(folder)
    return [name for name in held_out(folder) if classes[name] == label]


def _of_power_1(record: Record, fs_hz: float) -> np.ndarray:
    samples = resample(np.nan_to_num(record.signal_mv), record.fs_hz, fs_hz, causal=False)
    samples = samples / max(np.sqrt(noise.noise_power(samples, fs_hz)), noise.TINY)
    return np.clip(samples - samples[0], -30, 30)


# Scores --------------------------------------------------------------------------------------------------------------


def scores_of(items: Callable[[], Iterator[Item]], detectors: Mapping[str, Detect]) -> dict:
    """What is told of each detector on the records of one set."""
    scored: dict[str, dict[str, Scored]] = {name: {} for name in detectors}
    for item in items():
        for name, detect in detectors.items():
            scored[name][item.record.name] = score_item(item, detect)
    return {name: summary(one, causal=name == "stream") for name, one in scored.items()}


def score_item(item: Item, detect: Detect) -> Scored:
    """One detector on one record."""
    record, reference = item.record, item.reference
    started_s = perf_counter()
    beats = detect(record.signal_mv, record.fs_hz)
    work_s = perf_counter() - started_s
    beats = beats[np.argsort(beats[:, 0], kind="stable")]
    fs_hz, length, peaks = record.fs_hz, len(record.signal_mv), beats[:, 0].tolist()
    window, start = ec57.to_samples(ec57.WINDOW_S, fs_hz), ec57.to_samples(item.start_s, fs_hz)
    flutters, tally, offsets = ec57.disjoint(reference.flutters), np.zeros(3, int), []
    for i, j, has_reference, has_test in ec57.pair_beats(reference.samples, peaks, window, start, length):
        at = reference.samples[i] if has_reference else peaks[j]
        if _skipped(item, at) or (not has_reference and ec57.within(at, flutters)):
            continue
        tally += (has_reference and has_test, has_reference and not has_test, has_test and not has_reference)
        if has_reference and has_test:
            offsets.append(peaks[j] - reference.samples[i])
    counted = [at >= start and not _skipped(item, at) and not ec57.within(at, flutters) for at in peaks]
    tp, fn, fp = tally.tolist()
    delays_s = np.diff(beats[counted], axis=1)[:, 0] / fs_hz
    return Scored(tp, fn, fp, np.array(offsets) / fs_hz, delays_s, length / fs_hz, work_s)


def _skipped(item: Item, sample: int) -> bool:
    return item.left_out is not None and bool(item.left_out[min(sample, len(item.left_out) - 1)])


def summary(scored: Mapping[str, Scored], causal: bool) -> dict:
    """What is told of one detector: `scored` by record. Delays only of one that decides before the record ends."""
    records = list(scored.values())
    offsets_ms = 1000 * np.concatenate([one.offsets_s for one in records])
    delays_ms = 1000 * np.concatenate([one.delays_s for one in records])
    return {
        **scores(records),
        "delay_ms": percentiles(delays_ms, {"median": 50, "p99": 99, "max": 100}) if causal else None,
        "late_beats": int((delays_ms > 1000 * ON_TIME_S).sum()) if causal else None,
        "offset_ms": percentiles(offsets_ms, {f"p{at}": at for at in (1, 5, 25, 75, 95, 99)} | {"median": 50}),
        "times_real_time": round(sum(one.record_s for one in records) / sum(one.work_s for one in records)),
        "records": {record: {"tp": one.tp, "fn": one.fn, "fp": one.fp} for record, one in scored.items()},
    }


def scores(records: Sequence[Scored]) -> dict:
    """Gross counts over `records`, Se and +P in percent."""
    tp, fn, fp = (sum(getattr(one, count) for one in records) for count in ("tp", "fn", "fp"))
    se, ppv = (round(100 * tp / max(tp + other, 1), 3) for other in (fn, fp))
    return {"tp": tp, "fn": fn, "fp": fp, "se": se, "ppv": ppv}


def percentiles(values: np.ndarray, wanted: Mapping[str, int]) -> dict[str, float]:
    """The percentiles `wanted`, by name."""
    return {name: round(float(np.percentile(values, at)), 1) for name, at in wanted.items()}


def unreadable_shares(folder: Path) -> dict:
    """Of held-out recordings of each class of the 2017 Challenge, how many are unreadable for over half of them."""
    found = {}
    for label in CLASSES_2017:
        names = of_class(folder, label)[:PER_CLASS]
        records = (RecordFile.open(folder / name).lead(0) for name in names)
        shares = np.array([(read_whole(one.signal_mv, one.fs_hz).states[:] == UNREADABLE).mean() for one in records])
        over_half = round(100 * float((shares > 0.5).mean()), 1)
        found[label] = {"recordings": len(names), "over_half": over_half, "mean": round(100 * float(shares.mean()), 1)}
    return found


def table(report: dict) -> list[str]:
    """Markdown lines: Se and +P of each detector on each set, its delay and speed on DS2, and what is unreadable."""
    names = list(next(iter(report["sets"].values())))
    rows = [
        [part, *(f"{one['se']:.2f} / {one['ppv']:.2f}" for one in found.values())]
        for part, found in report["sets"].items()
    ]
    lines = markdown_table(["Se / +P, %", *names], rows)
    if "DS2" in report["sets"]:
        lines += ["", *_delays(report["sets"]["DS2"])]
    if "unreadable" in report:
        rows = [
            [f"{label}: {CLASSES_2017[label]}", str(one["recordings"]), f"{one['over_half']:.1f}", f"{one['mean']:.1f}"]
            for label, one in report["unreadable"].items()
        ]
        header = ["2017 Challenge", "recordings", "unreadable for over half, %", "unreadable on average, %"]
        lines += ["", *markdown_table(header, rows)]
    return lines


def _delays(found: Mapping[str, dict]) -> list[str]:
    rows = []
    for name, one in found.items():
        delay = one["delay_ms"]
        known = f"{delay['median']:.0f}, {delay['p99']:.0f}, {delay['max']:.0f}" if delay else "whole record"
        beats = one["tp"] + one["fp"]
        late = f"{100 * one['late_beats'] / beats:.2f}" if delay else "-"
        rows.append([name, known, late, number(one["times_real_time"])])
    return markdown_table(["DS2", "known after R, ms: median, 99 %, longest", "late, %", "times real time"], rows)
