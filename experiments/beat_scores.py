"""R-peak detectors on recordings that no network was trained on: sensitivity, +P, delay, and what of it is unreadable.

`python -m experiments.beat_scores --sets FOLDER --causal FILE.npz --whole FILE.npz` scores networks, and detectors of
rules, on the held-out third of SVDB, the 2014 Challenge and TELE (its usable part), on 118 and 119 with recorded noise,
and the quality of 2017 Challenge recordings; `--ds2` opens DS2 instead. EC57's rules: pairs within 150 ms, one to one,
gross; of MIT-BIH and SVDB from the fifth minute on.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from config import DS2, Config
from experiments import noise
from deep_ecg.beats.beat_network import QUALITIES, RPeakNetwork, load_network, whole_record
from deep_ecg.beats.detector import RPeakDetector
from deep_ecg.beats.whole_record import r_peaks
from deep_ecg.records.database import real_source
from deep_ecg.records.wfdb_files import Record, RecordFile, read_beats, read_record
from deep_ecg.scoring import ec57
from deep_ecg.system import console
from deep_ecg.system.text import markdown_table
from dsp_filters import resample
from experiments.beat_data import NOISE_TEST, cinc2017_classes, held_out, record_names, unreadable_tele

ON_TIME_S = 0.15
LEVELS_DB = (12.0, 6.0, 0.0)
READABLE_LIMIT = 200  # recordings of class N
UNREADABLE = QUALITIES.index("unreadable")

Detector = Callable[[np.ndarray, float], np.ndarray]  # signal (n,), rate -> (beats, 2): R-peak, sample it was known at


@dataclass(frozen=True)
class Item:
    """A record, its reference, the seconds from which on it is scored, and its samples that are not, (n,) or None."""

    record: Record
    reference: ec57.Marks
    start_s: float
    left_out: np.ndarray | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Scores; returns the exit status, see `console.exit_status`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", type=Path, default=Path("data"), help="folder of svdb, challenge2014, tele, cinc2017")
    parser.add_argument("--causal", type=Path, help="network file of the causal form")
    parser.add_argument("--whole", type=Path, help="network file of the whole-record form")
    parser.add_argument("--rules", action="store_true", help="the detectors of rules, too")
    parser.add_argument("--only", nargs="+", help="sets by name")
    parser.add_argument("--ds2", action="store_true", help="DS2 alone: once, when nothing is left to choose")
    options = parser.parse_args(arguments)
    return console.exit_status(lambda: run(options), console.NOTHING_WRITTEN)


def run(options: argparse.Namespace):
    """Prints the tables."""
    mitdb = real_source(Config()).folder
    sets = {"DS2": lambda: of_records(mitdb, DS2, Config.lead)} if options.ds2 else held_out_sets(mitdb, options.sets)
    found = detectors(options)
    rows = []
    for name, items in sets.items():
        if options.only is None or name in options.only:
            rows += [[name, *row] for row in scores(found, items())]
            print(" ".join(map(str, rows[-1])), flush=True)
    print("\n".join(markdown_table(["set", "detector", "Se %", "+P %", "delay ms: median, p99", "late %"], rows)))
    if options.whole is not None and not options.ds2:
        print("\n".join(quality_table(options.sets / "cinc2017", load_network(options.whole))))


def detectors(options: argparse.Namespace) -> dict[str, Detector]:
    """Those that `options` ask for, by name."""
    found: dict[str, Detector] = {}
    if options.rules:
        found["rules, causal"] = lambda mv, fs_hz: np.array(RPeakDetector(fs_hz).push(mv), np.int64).reshape(-1, 2)
        found["rules, record"] = lambda mv, fs_hz: at_the_end(r_peaks(mv, fs_hz), mv)
    if options.causal is not None:
        causal = load_network(options.causal)
        found["network, causal"] = lambda mv, fs_hz: streamed(mv, fs_hz, causal)
    if options.whole is not None:
        whole = load_network(options.whole)
        found["network, record"] = lambda mv, fs_hz: at_the_end(whole_record(mv, fs_hz, whole)[0], mv)
    return found


def streamed(signal_mv: np.ndarray, fs_hz: float, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """Beats of the causal form, (beats, 2)."""
    return np.array(RPeakNetwork(fs_hz, arrays).push(signal_mv), np.int64).reshape(-1, 2)


def at_the_end(peaks: np.ndarray, signal_mv: np.ndarray) -> np.ndarray:
    """Beats that are known when the record has ended, (beats, 2)."""
    return np.stack([peaks, np.full(len(peaks), len(signal_mv) - 1)], axis=1)


# Sets ----------------------------------------------------------------------------------------------------------------


def held_out_sets(mitdb: Path, folder: Path) -> dict[str, Callable[[], Iterator[Item]]]:
    """What is chosen on, by name."""
    thirds = {name: sorted(held_out(record_names(folder / name))) for name in ("svdb", "challenge2014", "tele")}
    return {
        "TELE": lambda: of_tele(folder / "tele", thirds["tele"]),
        "Challenge 2014": lambda: of_records(folder / "challenge2014", thirds["challenge2014"], "ECG", 0.0),
        "SVDB": lambda: of_records(folder / "svdb", thirds["svdb"], "ECG1"),
        **{f"noise, {db:g} dB": lambda db=db: of_noise(mitdb, folder, db) for db in LEVELS_DB},
    }


def of_records(
    folder: Path, names: Sequence[str], lead: str, start_s: float = ec57.LEARNING_S
) -> Iterator[Item]:
    """The records `names` of `folder`."""
    for name in names:
        record = read_record(folder / name, lead)
        yield Item(record, ec57.read_marks(folder / name, "atr", record.fs_hz), start_s)


def of_tele(folder: Path, names: Sequence[str]) -> Iterator[Item]:
    """Home recordings, of which what is unusable is not scored."""
    with np.load(folder / "masks.npz") as masks:
        for item in of_records(folder, names, "I", 0.0):
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
    tele = unreadable_tele(folder / "tele", sorted(held_out(record_names(folder / "tele"))))
    classes = cinc2017_classes(folder / "cinc2017")
    noisy = [name for name in sorted(held_out(list(classes))) if classes[name] == "~"]
    paths = [folder / "cinc2017" / name for name in noisy]
    parts = tele + [RecordFile.open(path).lead(0) for path in paths]
    order = np.random.default_rng(seed).permutation(len(parts))
    return np.concatenate([_of_power_1(parts[at], fs_hz) for at in order])


def _of_power_1(record: Record, fs_hz: float) -> np.ndarray:
    samples = resample(np.nan_to_num(record.signal_mv), record.fs_hz, fs_hz, causal=False)
    samples = samples / max(np.sqrt(noise.noise_power(samples, fs_hz)), noise.TINY)
    return np.clip(samples - samples[0], -30, 30)


# Scores --------------------------------------------------------------------------------------------------------------


def scores(found: Mapping[str, Detector], items: Iterator[Item]) -> list[list[str]]:
    """Cells of one row a detector."""
    counts, delays_s = {name: np.zeros(3, int) for name in found}, {name: [np.zeros(0)] for name in found}
    for item in items:
        for name, detect in found.items():
            beats = detect(item.record.signal_mv, item.record.fs_hz)
            beats = beats[np.argsort(beats[:, 0], kind="stable")]
            counts[name] += counted(item, beats[:, 0].tolist())
            delays_s[name].append(np.diff(beats, axis=1)[:, 0] / item.record.fs_hz)
    return [_row(name, counts[name], np.concatenate(delays_s[name])) for name in found]


def counted(item: Item, peaks: list[int]) -> np.ndarray:
    """Found, missed and extra beats, (3,)."""
    fs_hz, flutters = item.record.fs_hz, ec57.disjoint(item.reference.flutters)
    window, start = ec57.to_samples(ec57.WINDOW_S, fs_hz), ec57.to_samples(item.start_s, fs_hz)
    length, tally = len(item.record.signal_mv), np.zeros(3, int)
    for i, j, has_reference, has_test in ec57.pair_beats(item.reference.samples, peaks, window, start, length):
        at = item.reference.samples[i] if has_reference else peaks[j]
        skipped = item.left_out is not None and item.left_out[min(at, length - 1)]
        if not skipped and (has_reference or not ec57.within(at, flutters)):
            tally += (has_reference and has_test, has_reference and not has_test, has_test and not has_reference)
    return tally


def _row(name: str, counts: np.ndarray, delays_s: np.ndarray) -> list[str]:
    tp, fn, fp = counts
    cells = [name, f"{100 * tp / (tp + fn):.2f}", f"{100 * tp / max(tp + fp, 1):.2f}"]
    if not name.endswith("causal"):
        return [*cells, "whole record", "-"]
    median, p99 = 1000 * np.percentile(delays_s, (50, 99))
    return [*cells, f"{median:.0f}, {p99:.0f}", f"{100 * np.mean(delays_s > ON_TIME_S):.2f}"]


def quality_table(folder: Path, arrays: Mapping[str, np.ndarray]) -> list[str]:
    """Markdown lines: how many recordings of each class are unreadable for more than half of their time."""
    classes, rows = cinc2017_classes(folder), []
    for label in ("~", "N", "A", "O"):
        names = [name for name in sorted(held_out(list(classes))) if classes[name] == label][:READABLE_LIMIT]
        records = (RecordFile.open(folder / name).lead(0) for name in names)
        shares = [(whole_record(one.signal_mv, one.fs_hz, arrays)[1] == UNREADABLE).mean() for one in records]
        rows.append([label, str(len(names)), f"{100 * np.mean(np.array(shares) > 0.5):.1f}"])
    return markdown_table(["class", "recordings", "unreadable for over half, %"], rows)


if __name__ == "__main__":
    sys.exit(main())
