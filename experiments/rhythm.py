"""Trains the network that tells fibrillation and flutter by RR intervals; tests it on held-out patients.

Taught by the RR intervals of afdb, vitaldb_arrdb, cinc2017 (R-peaks of the detector; one label a record) and DS1, whose
beats V are known in DS1 and vitaldb_arrdb. Tested on their held-out patients; DS2 stays shut. Writes the network to
pretrained/rhythm.json unless --weights names another file. Takes some minutes on one core.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from joblib import delayed
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from config import DS1, Config, with_overrides
from data_loader import FOLDS
from deep_ecg.beats.whole_record import r_peaks
from deep_ecg.networks.fibrillation import (
    INPUTS,
    PARTS,
    SURE,
    WEIGHTS,
    FibrillationNetwork,
    FibrillationWatch,
    find_episodes,
    known_intervals,
    rhythm_inputs,
)  # fmt: skip
from deep_ecg.records import rhythms
from deep_ecg.records.databases import DATABASES, Database, fetched
from deep_ecg.records.rhythms import RhythmRecord
from deep_ecg.records.wfdb_files import RecordFile
from deep_ecg.scoring import episodes
from deep_ecg.system.json_files import write_json
from deep_ecg.system.machine import versions
from deep_ecg.system.text import markdown_table, number, percent
from deep_ecg.system.workers import run_jobs
from deep_ecg.training import engine

REPORT = "rhythm.json"
TAUGHT_BY = ("mitdb", "afdb", "vitaldb_arrdb", "cinc2017")
A_BATCH = {"mitdb": 20, "afdb": 44, "vitaldb_arrdb": 32, "cinc2017": 32}  # stretches of each
HIDDEN, STEPS, STRETCH_BEATS, LEARNING_RATE = 16, 1400, 192, 1e-2
DECIMALS = 4  # of the weights
UNSURE = ("SVTA", "VT", "Noise", "Unclassifiable", "")  # rhythms that teach nothing about fibrillation
SKIPPED = "~"  # CinC 2017: too noisy
NEW_BEATS = 10  # at the start of a recording of CinC 2017, not yet counted for its score
V_SYMBOLS = ("V", "E", "r", "F")
THRESHOLDS = np.round(np.arange(0.2, 0.95, 0.05), 2)


@dataclass(frozen=True)
class Taught:
    """One patient's beats: RR intervals (beats,), which are V, whether they fibrillate, and whether that is known."""

    name: str
    times_s: np.ndarray
    is_v: np.ndarray
    fibrillates: np.ndarray
    known: np.ndarray

    @property
    def rr_s(self) -> np.ndarray:
        """The interval that ends at each beat; NaN for the first."""
        return np.diff(self.times_s, prepend=np.nan)


def add_options(parser: argparse.ArgumentParser):
    """Where the network goes, and by which random numbers it is trained."""
    parser.add_argument("--weights", type=Path, default=WEIGHTS, metavar="FILE", help="the network")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folds", action="store_true", help="test on DS1 too, by networks without half of its folds")


def run(options: argparse.Namespace) -> dict:
    """Trains and writes the network; the report, of DS1 by two networks without half of its folds each."""
    config = Config()
    taught = {name: patients_of(DATABASES[name], config) for name in TAUGHT_BY}
    network = train({name: _of(taught[name], DATABASES[name].train) for name in taught}, options.seed)
    write_json(options.weights, file_of(network, options.seed))
    tested = {name: _of(taught[name], DATABASES[name].held_out) for name in TAUGHT_BY[1:]}
    report = {"seed": options.seed, "versions": versions(), "parameters": sum(p.size for p in vars(network).values())}
    report["beats"] = {name: beat_scores(network, tested[name]) for name in ("afdb", "vitaldb_arrdb")}
    report["episodes"] = {"afdb": episode_scores(network, tested["afdb"])}
    report["recordings"] = recording_scores(network, tested["cinc2017"])
    if not options.folds:
        return report
    halves = [FOLDS[0] + FOLDS[2], FOLDS[1] + FOLDS[3]]  # 203 in one, 201 in the other
    of_half = []
    for half in halves:
        seen = {name: _of(taught[name], DATABASES[name].train) for name in TAUGHT_BY[1:]}
        seen["mitdb"] = [one for one in taught["mitdb"] if one.name not in half]
        of_half.append((train(seen, options.seed), _of(taught["mitdb"], half)))
    report["beats"]["DS1, held out by folds"] = _sum(beat_scores(*pair) for pair in of_half)
    report["episodes"]["DS1, held out by folds"] = _sum(episode_scores(*pair) for pair in of_half)
    return report


# Data ----------------------------------------------------------------------------------------------------------------


def _of(patients: Sequence[Taught], names: Sequence[str]) -> list[Taught]:
    return [patient for patient in patients if patient.name in set(names)]


def patients_of(database: Database, config: Config) -> list[Taught]:
    """The patients of `database`, without those of DS2, fetched where they are not there."""
    records = DS1 if database.name == "mitdb" else database.train + database.held_out
    folder = fetched(database, with_overrides(config, data_source="physionet"), records)
    if database.name == "cinc2017":
        labels = database.labels_of_records(folder)
        names = [name for name in records if labels[name] != SKIPPED]
        found = run_jobs((delayed(peaks_of)(folder / database.path(folder, name)) for name in names), config.threads)
        return [of_recording(name, times_s, labels[name]) for name, times_s in zip(names, found)]
    paths = [folder / database.path(folder, name) for name in records]
    if database.name == "vitaldb_arrdb":
        return [of_rhythms(rhythms.read_table(path.with_suffix(".csv"))) for path in paths]
    return [of_rhythms(rhythms.read_wfdb(path, database.beats)) for path in paths]


def peaks_of(path: Path) -> np.ndarray:
    """Times (beats,) in s of the R-peaks that the detector finds in the record at `path`."""
    lead = RecordFile.open(path).lead(0)
    return r_peaks(lead.signal_mv, lead.fs_hz) / lead.fs_hz


def of_recording(name: str, times_s: np.ndarray, label: str) -> Taught:
    """A recording of CinC 2017 whose beats are all of its label; which of them are V is not known."""
    yes = np.ones(len(times_s), bool)
    return Taught(name, times_s, ~yes, yes & (label == "A"), yes)


def of_rhythms(record: RhythmRecord) -> Taught:
    """A patient with a rhythm at every beat."""
    is_v, known = np.isin(record.symbols, V_SYMBOLS), ~np.isin(record.rhythms, UNSURE)
    return Taught(record.name, record.times_s, is_v, record.fibrillates, known)


# Training ------------------------------------------------------------------------------------------------------------


class Recurrent(nn.Module):
    """The network in torch: a GRU and, after each beat, the logit of its fibrillating."""

    def __init__(self):
        super().__init__()
        self.memory = nn.GRU(INPUTS, HIDDEN, batch_first=True)
        self.output = nn.Linear(HIDDEN, 1)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Inputs (batch, beats, INPUTS) -> logits (batch, beats)."""
        return self.output(self.memory(inputs)[0])[..., 0]

    def network(self) -> FibrillationNetwork:
        """Its weights, rounded to DECIMALS."""
        memory = self.memory
        names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        parts = [*(getattr(memory, name) for name in names), self.output.weight[0], self.output.bias[0]]
        return FibrillationNetwork(*(part.detach().numpy().astype(float).round(DECIMALS) for part in parts))


def train(patients: dict[str, list[Taught]], seed: int) -> FibrillationNetwork:
    """A network taught by the `patients` of each database, of which every batch has its share."""
    engine.seed_everything(seed)
    rng = np.random.default_rng(seed)
    sets = {name: stretches(patients[name]) for name in A_BATCH}
    model = Recurrent()
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=STEPS)
    for step in range(STEPS):
        drawn = [one[rng.integers(len(one), size=A_BATCH[name])] for name, one in sets.items()]
        batch = torch.from_numpy(np.concatenate(drawn))
        inputs, fibrillates, known = batch[..., :INPUTS], batch[..., INPUTS], batch[..., INPUTS + 1]
        losses = binary_cross_entropy_with_logits(model(inputs), fibrillates, reduction="none")
        loss = (losses * known).sum() / known.sum()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 49:
            print(f"      step {step + 1} of {STEPS}, loss {float(loss.detach()):.3f}", flush=True)
    return model.network()


def stretches(patients: Sequence[Taught]) -> np.ndarray:
    """Beats with an interval, (stretches, STRETCH_BEATS, INPUTS + 2): inputs, fibrillating, and whether it is known.

    What fills up the last stretch of a patient is not known.
    """
    parts = []
    for one in patients:
        intervals_s = known_intervals(one.rr_s, one.is_v)
        there = np.isfinite(intervals_s)
        columns = [rhythm_inputs(intervals_s[there]), one.fibrillates[there], one.known[there]]
        rows = np.column_stack(columns).astype(np.float32)
        padded = np.zeros((-(-len(rows) // STRETCH_BEATS) * STRETCH_BEATS, INPUTS + 2), np.float32)
        padded[: len(rows)] = rows
        parts.append(padded.reshape(-1, STRETCH_BEATS, INPUTS + 2))
    return np.concatenate(parts)


def file_of(network: FibrillationNetwork, seed: int) -> dict:
    """What the file of a network holds."""
    weights = {name: getattr(network, name).tolist() for name in PARTS}
    return {"trained_on": {name: len(DATABASES[name].train) for name in TAUGHT_BY}, "seed": seed, "weights": weights}


# Scores --------------------------------------------------------------------------------------------------------------


def _probabilities(network: FibrillationNetwork, patient: Taught) -> np.ndarray:
    return FibrillationWatch(network).steps(patient.rr_s, patient.is_v)


def beat_scores(network: FibrillationNetwork, patients: Sequence[Taught]) -> dict[str, int]:
    """Beats by what they are and what they are told to be."""
    told = np.concatenate([_probabilities(network, patient) for patient in patients]) >= SURE
    truth = np.concatenate([patient.fibrillates for patient in patients])
    known = np.concatenate([patient.known for patient in patients])
    pairs = {"found": truth & told, "missed": truth & ~told, "false": ~truth & told, "quiet": ~truth & ~told}
    return {name: int((rows & known).sum()) for name, rows in pairs.items()}


def episode_scores(network: FibrillationNetwork, patients: Sequence[Taught]) -> dict[str, float]:
    """Episodes and their time as EC57 counts them, from the end of its learning period on, of whole records."""
    total = episodes.Compared()
    for patient in patients:
        samples = np.round(1000 * patient.times_s).astype(np.int64)
        start, end = 300_000, int(samples[-1])
        test = [(one.start, one.end) for one in find_episodes(samples, _probabilities(network, patient))]
        marks = [(int(sample), "AFIB" if inside else "N") for sample, inside in zip(samples, patient.fibrillates)]
        reference = episodes.episodes_of(marks, ("AFIB",), end)
        real, told = (episodes.within(one, start, end) for one in (reference, test))
        total += episodes.compare(real, told, [], 1000.0)
    return vars(total)


def recording_scores(network: FibrillationNetwork, recordings: Sequence[Taught]) -> dict:
    """Recordings of class A against the rest: F1 at SURE and at each threshold of their mean probability."""
    means = [_probabilities(network, one)[NEW_BEATS:] for one in recordings]
    score = np.array([part.mean() if len(part) else 0.0 for part in means])
    truth = np.array([one.fibrillates.any() for one in recordings])
    f1 = {f"{at:g}": _f1(truth, score >= at) for at in (*THRESHOLDS,)}
    return {"n": len(truth), "a": int(truth.sum()), "f1": f1}


def _f1(truth: np.ndarray, told: np.ndarray) -> float:
    return float(2 * (truth & told).sum() / max(truth.sum() + told.sum(), 1))


def _sum(parts) -> dict:
    """Counts of the same form added up."""
    first, *others = parts
    return {name: count + sum(other[name] for other in others) for name, count in first.items()}


def table(report: dict) -> list[str]:
    """Markdown lines: beats, episodes, recordings."""
    rows = []
    for name, n in report["beats"].items():
        fibrillating, other = n["found"] + n["missed"], n["false"] + n["quiet"]
        rates = [n["found"] / fibrillating, n["quiet"] / other, n["found"] / max(n["found"] + n["false"], 1)]
        rows.append([name, number(fibrillating), number(other), *(percent(rate, 1) for rate in rates)])
    header = ["held out", "beats in fibrillation", "others", "Se %", "Sp %", "+P %"]
    lines = markdown_table(header, rows)
    rows = []
    for name, counts in report["episodes"].items():
        compared = episodes.Compared(**counts)
        rates = [number(rate, ".1f") for rate in compared.rates().values()]
        rows.append([name, number(compared.reference), *rates])
    header = ["held out", "episodes", "found %", "right %", "time found %", "time right %"]
    lines += ["", *markdown_table(header, rows)]
    recordings = report["recordings"]
    at, best = max(recordings["f1"].items(), key=lambda pair: pair[1])
    row = [number(recordings["n"]), number(recordings["a"]), percent(recordings["f1"]["0.5"], 1), percent(best, 1), at]
    header = ["CinC 2017, held out: recordings", "of class A", "F1 %, A against the rest", "at best", "threshold"]
    return [*lines, "", *markdown_table(header, [row])]
