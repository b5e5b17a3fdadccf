"""Faults in the middle of real records: what the whole chain tells meanwhile, how soon all is well again.

The network is the pretrained causal `full` one, the signals are a few stretches of each record of DS2 (`--records DS1`
for those of DS1, on which the detector's constants were chosen), lead MLII. Each is streamed once as it is and once
with each fault. Takes some minutes.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from config import DS1, DS2, Config
from deep_ecg.labelling.stream import Beat, BeatStream
from deep_ecg.networks.classifier import Classifier, load_classifier
from deep_ecg.records.database import real_source
from deep_ecg.records.wfdb_files import read_beats, read_record
from deep_ecg.scoring.ec57 import pair_beats, percentage, to_samples
from deep_ecg.system.machine import versions
from deep_ecg.system.text import markdown_table, number
from experiments.noise import generated

REPORT = "faults.json"
SETS = {"DS1": DS1, "DS2": DS2}
STRETCHES = 3  # of each record
BEFORE_S, FAULT_S, AFTER_S = 30.0, 10.0, 30.0
CHUNK_S = 0.25
GOAL_S = 3.0  # after the signal's return
EDGE_S = 0.2  # the jump at either end of a fault may look like a beat; it is counted apart
WINDOW_S = 0.15
IN_A_ROW = 5  # beats told right one after another: the stream is back
STEP_MV = 0.005  # of MIT-BIH's converter


def _constant(value_mv: float) -> Callable:
    return lambda part_mv, fs_hz, rng: np.full(len(part_mv), value_mv)


def _one_bit(part_mv: np.ndarray, fs_hz: float, rng: np.random.Generator) -> np.ndarray:
    """A flat line whose last bit flips, at each sample or now and then."""
    share = rng.choice((0.01, 0.1, 0.5))
    return part_mv[0] + STEP_MV * (rng.random(len(part_mv)) < share)


def _clipped(part_mv: np.ndarray, fs_hz: float, rng: np.random.Generator) -> np.ndarray:
    """Driven against the end of the range by an electrode's offset, of which some beats still come through."""
    return np.clip(part_mv + 5.0 + 0.5 * generated("wander", len(part_mv), fs_hz, _seed(rng)), -5.12, 5.115)


def _spikes(part_mv: np.ndarray, fs_hz: float, rng: np.random.Generator) -> np.ndarray:
    """Single samples of 3 to 10 mV, two a second on average."""
    spikes = rng.random(len(part_mv)) < 2 / fs_hz
    return part_mv + spikes * rng.uniform(3, 10, len(part_mv)) * rng.choice((-1, 1), len(part_mv))


def _mains(mains_hz: float) -> Callable:
    def hum(part_mv: np.ndarray, fs_hz: float, rng: np.random.Generator) -> np.ndarray:
        phase = rng.uniform(0, 2 * np.pi)
        return part_mv + 0.5 * np.sin(2 * np.pi * mains_hz * np.arange(len(part_mv)) / fs_hz + phase)

    return hum


def _noise(kind: str, rms_mv: float) -> Callable:
    def noisy(part_mv: np.ndarray, fs_hz: float, rng: np.random.Generator) -> np.ndarray:
        noise = generated(kind, len(part_mv), fs_hz, _seed(rng))
        return part_mv + rms_mv * noise / noise.std()

    return noisy


def _gain(factor: float) -> Callable:
    return lambda part_mv, fs_hz, rng: factor * part_mv


def _seed(rng: np.random.Generator) -> tuple[int]:
    return (int(rng.integers(2**31)),)


@dataclass(frozen=True)
class Fault:
    """What happens to a part of the signal (n,) in mV; `lost`: no beat is to be seen in it; `lasting`: for good."""

    apply: Callable[[np.ndarray, float, np.random.Generator], np.ndarray]
    lost: bool = False
    lasting: bool = False


FAULTS = {
    "none": Fault(_gain(1.0)),
    "electrode off": Fault(_constant(0.3), lost=True),
    "electrode off, one bit of noise": Fault(_one_bit, lost=True),
    "saturation": Fault(_constant(5.115), lost=True),
    "no numbers": Fault(_constant(np.nan), lost=True),
    "clipping": Fault(_clipped),
    "spikes": Fault(_spikes),
    "mains 50 Hz": Fault(_mains(50.0)),
    "mains 60 Hz": Fault(_mains(60.0)),
    "gain x4": Fault(_gain(4.0), lasting=True),
    "gain /4": Fault(_gain(0.25), lasting=True),
    "gain x4 and back": Fault(_gain(4.0)),
    "muscle noise": Fault(_noise("muscle", 1.0)),
    "electrode motion": Fault(_noise("electrode", 1.0)),
}


@dataclass(frozen=True)
class Stretch:
    """Part of a record: signal (n,) in mV, its annotated R-peaks (beats,), and a seed of its own."""

    signal_mv: np.ndarray
    fs_hz: float
    reference: np.ndarray
    seed: tuple[int, ...]

    def with_fault(self, fault: Fault) -> np.ndarray:
        """The signal with `fault` from BEFORE_S on for FAULT_S, or to its end where it lasts, (n,)."""
        start, end = (round(at_s * self.fs_hz) for at_s in (BEFORE_S, BEFORE_S + FAULT_S))
        part = slice(start, None if fault.lasting else end)
        faulty_mv = self.signal_mv.copy()
        faulty_mv[part] = fault.apply(self.signal_mv[part], self.fs_hz, np.random.default_rng(self.seed))
        return faulty_mv


@dataclass(frozen=True)
class Told:
    """What a stream told of a stretch: its beats, and the quality that it showed every CHUNK_S."""

    beats: list[Beat]
    qualities: list[str]


def add_options(parser: argparse.ArgumentParser):
    """The records."""
    parser.add_argument("--records", choices=SETS, default="DS2", help="whose stretches are taken (default DS2)")


def run(options: argparse.Namespace) -> dict:
    """The report on the set of records that the user names."""
    torch.set_num_threads(1)
    source = real_source(Config())
    classifier = load_classifier(Config(mode="causal", preset="full"))
    stretches = [one for name in SETS[options.records] for one in stretches_of(source.folder / name)]
    return {"records": options.records, **measure(classifier, stretches)}


def stretches_of(path: Path) -> Iterator[Stretch]:
    """STRETCHES of the record at `path` (no extension), at places that are always the same."""
    record, reference = read_record(path, Config.lead), read_beats(path, "atr").samples
    length = round((BEFORE_S + FAULT_S + AFTER_S) * record.fs_hz)
    starts = np.random.default_rng(int(record.name)).integers(0, len(record.signal_mv) - length, STRETCHES)
    for start in starts.tolist():
        inside = reference[(reference >= start) & (reference < start + length)] - start
        yield Stretch(record.signal_mv[start : start + length], record.fs_hz, inside, (int(record.name), start))


def measure(classifier: Classifier, stretches: Sequence[Stretch]) -> dict:
    """The report: for each of FAULTS, the first of which is none, what happened on all `stretches` together."""
    plain = [streamed(classifier, one.signal_mv, one.fs_hz) for one in stretches]
    rows = {}
    for name, fault in FAULTS.items():
        told = (streamed(classifier, one.with_fault(fault), one.fs_hz) for one in stretches)
        rows[name] = summary([after_fault(*three, fault.lasting) for three in zip(stretches, plain, told)])
        rows[name]["lost"] = fault.lost
        print(f"{name}: {rows[name]}", flush=True)
    return {
        "stretches": len(stretches),
        "seconds": {"before": BEFORE_S, "fault": FAULT_S, "after": AFTER_S, "goal": GOAL_S, "edge": EDGE_S},
        "faults": rows,
        "versions": versions(),
    }


def streamed(classifier: Classifier, signal_mv: np.ndarray, fs_hz: float) -> Told:
    """Everything that a fresh stream tells of `signal_mv` (n,)."""
    stream, step = BeatStream(classifier, fs_hz), round(CHUNK_S * fs_hz)
    beats, qualities = [], []
    for start in range(0, len(signal_mv), step):
        beats += stream.push(signal_mv[start : start + step])
        qualities.append(stream.quality)
    return Told(beats + stream.finish(), qualities)


def after_fault(stretch: Stretch, plain: Told, told: Told, lasting: bool) -> dict:
    """What one fault did: counts of one stretch, `plain` being told of the same without it."""
    fs_hz = stretch.fs_hz
    start, end = round(BEFORE_S * fs_hz), round((BEFORE_S + FAULT_S) * fs_hz)
    back = start if lasting else end
    samples, undisturbed = ([beat.sample for beat in one.beats] for one in (told, plain))
    edge, goal, last = round(EDGE_S * fs_hz), back + round(GOAL_S * fs_hz), len(stretch.signal_mv) - round(fs_hz)
    labels = {beat.sample: beat.label for beat in plain.beats}
    same = [labels[beat.sample] == beat.label for beat in told.beats if goal <= beat.sample and beat.sample in labels]
    shown = told.qualities[round(start / fs_hz / CHUNK_S) : round(end / fs_hz / CHUNK_S)]
    return {
        "told_within": sum(start + edge <= sample < end - edge for sample in samples),
        "told_at_edges": sum(min(abs(sample - start), abs(sample - end)) < edge for sample in samples),
        "back_s": back_s(undisturbed, samples, back, last, fs_hz),
        "counts": counts(stretch.reference.tolist(), samples, goal, last, fs_hz),
        "labels_kept": (sum(same), len(same)),
        "shown": (sum(quality != "ok" for quality in shown), len(shown)),
    }


def back_s(undisturbed: Sequence[int], samples: Sequence[int], back: int, last: int, fs_hz: float) -> float:
    """Seconds from sample `back` to the last error before IN_A_ROW beats are right, 0 where there is none.

    An error is a beat of `undisturbed`, what the stream tells without the fault, that `samples` lack, or one that
    these have beyond it, up to sample `last`; the time to `last` where the stream is never back.
    """
    latest, right = back, 0
    for i, j, expected, told in pair_beats(undisturbed, samples, to_samples(WINDOW_S, fs_hz), back, last):
        right = right + 1 if expected and told else 0
        if right == IN_A_ROW:
            return (latest - back) / fs_hz
        if not right:
            latest = undisturbed[i] if expected else samples[j]
    return (last - back) / fs_hz


def counts(reference: Sequence[int], samples: Sequence[int], first: int, last: int, fs_hz: float) -> np.ndarray:
    """Beats found, missed and false from sample `first` to `last`, (3,)."""
    steps = list(pair_beats(reference, samples, to_samples(WINDOW_S, fs_hz), first, last))
    kinds = [(True, True), (True, False), (False, True)]
    return np.array([sum(step[2:] == kind for step in steps) for kind in kinds])


def summary(stretches: Sequence[dict]) -> dict:
    """All stretches together; shares in percent, None where they are of nothing."""
    back = np.array([one["back_s"] for one in stretches])
    found, missed, false = sum(one["counts"] for one in stretches).tolist()
    kept, shown = (np.sum([one[name] for one in stretches], axis=0).tolist() for name in ("labels_kept", "shown"))
    return {
        "told_within": sum(one["told_within"] for one in stretches),
        "told_at_edges": sum(one["told_at_edges"] for one in stretches),
        "back_s": {"median": round(float(np.median(back)), 2), "max": round(float(back.max()), 2)},
        "back_in_time": int((back <= GOAL_S).sum()),
        "se": percentage(found, found + missed),
        "ppv": percentage(found, found + false),
        "labels_kept": percentage(*kept),
        "shown": percentage(*shown),
    }


def table(report: dict) -> list[str]:
    """Markdown lines: one row a fault."""
    header = ["fault", "beats told in it", "back after s: median, longest", f"back within {GOAL_S:g} s"]
    header += ["then Se %", "then +P %", "same labels %", "time shown as not ok %"]
    return markdown_table(header, [_row(name, one, report["stretches"]) for name, one in report["faults"].items()])


def _row(name: str, one: dict, stretches: int) -> list[str]:
    back = one["back_s"]
    rates = [number(one[rate], ".2f") for rate in ("se", "ppv", "labels_kept")]
    within = f"{one['told_within']} and {one['told_at_edges']} at its edges" if one["lost"] else "-"
    shown = number(one["shown"], ".0f")
    return [
        name, within, f"{back['median']:.1f}, {back['max']:.1f}", f"{one['back_in_time']} of {stretches}", *rates, shown
    ]  # fmt: skip
