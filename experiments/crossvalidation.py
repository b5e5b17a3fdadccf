"""Cross-validation over the patients of DS1, where the choices of this project are made; DS2 stays shut.

python -m experiments crossvalidation                   the settings of config.py -> runs/crossvalidation-*.json
python -m experiments crossvalidation --ablation        and each ingredient left out in turn
python -m experiments crossvalidation --leave-one-out   one patient a fold: which patients fail
python -m experiments crossvalidation --temperature     the temperature that calibrates the probabilities
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from joblib import delayed

from config import CLASSES, DS1, MODES, PRESETS, Config, with_overrides
from data_loader import FOLDS, load_beats, load_replays
from deep_ecg.beats.arrays import Beats, concatenate
from deep_ecg.beats.inputs import CHANNELS, FEATURES
from deep_ecg.beats.replays import condensed
from deep_ecg.beats.shape import P_WAVE, SHAPE
from deep_ecg.beats.strip import beats_of_strip, read_strip
from deep_ecg.networks.decision_settings import DecisionSettings
from deep_ecg.networks.temperature import tempered
from deep_ecg.records.database import Source, ingest
from deep_ecg.scoring.confidence import calibration, fit_temperature, negative_log_likelihood
from deep_ecg.scoring.measures import class_metrics, confusion, record_scores
from deep_ecg.scoring.report import per_record_table
from deep_ecg.scoring.seeds import mean_sd
from deep_ecg.system import machine
from deep_ecg.system.files import check_writable
from deep_ecg.system.json_files import write_json
from deep_ecg.system.text import markdown_table, mean_sd_text
from deep_ecg.system.workers import run_jobs
from deep_ecg.training import engine, experiment
from deep_ecg.training.device import device_of
from dsp_filters import resample
from experiments import noise
from loss import FocalLoss
from model import HybridECGNet

FIBRILLATING = ("201", "203")  # half of all normal beats taken for S are theirs
LOCAL = ("rr_variation_8", "rr_step_8", "rr_variation_32", "rr_step_32", "pre_rank")
MULTIPLES = ("rr_off_multiple_8", "rr_off_multiple_32")
COLUMNS = {
    "accuracy": "accuracy %",
    "v_f1": "V F1 %",
    "s_f1": "S F1 %",
    "s_f1_regular": "S F1 % without 201, 203",
    "s_f1_dense": "S F1 % where S is frequent",
    "f_f1": "F F1 %",
    "v_f1_other": "V F1 % second lead",
    "s_f1_other": "S F1 % second lead",
    "v_f1_noise": "V F1 % in noise",
    "s_f1_noise": "S F1 % in noise",
}
RECORDER_HZ = 128.0  # band limit of the recorder through which the second lead is seen
NOISE_DB = 12.0  # signal-to-noise ratio of the muscle noise in which patients are seen, too


@dataclass(frozen=True)
class Idea:
    """What is different from the settings of config.py."""

    settings: dict = field(default_factory=dict)  # of Config
    network: dict = field(default_factory=dict)  # arguments of HybridECGNet
    schedule: dict = field(default_factory=dict)  # of engine.Schedule
    without: tuple[str, ...] = ()  # features left out
    channels: int = CHANNELS  # of the window that are shown


def _replayed(**shares: float) -> dict:
    """Settings that show the share given of these classes' replayed beats an epoch, of the others the usual one."""
    usual = zip(CLASSES, Config.replay_shares)
    return {"replay_shares": tuple(shares.get(name, share) for name, share in usual)}


ABLATION = {
    "without replays, a fifth of the N beats an epoch": Idea(
        settings={"replay_shares": (0.0,) * len(CLASSES), "record_shares": (0.2, 1, 1, 1, 1)}
    ),
    "without replayed V and F": Idea(settings=_replayed(V=0.0, F=0.0)),
    "4 % of the replayed S an epoch": Idea(settings=_replayed(S=0.04)),
    "without the difference from the template": Idea(channels=1),
    "without irregularity features": Idea(without=LOCAL),
    "without distance from whole multiples": Idea(without=MULTIPLES),
    "without P wave features": Idea(without=P_WAVE),
    "without shape features": Idea(without=SHAPE),
    "without the running prior of S": Idea(settings={"s_prior_weight": 0.0}),
    "without the running prior of V": Idea(settings={"v_prior_weight": 0.0}),
    "without hiding the wave": Idea(network={"wave_dropout": 0.0}),
    "every N beat in every epoch": Idea(settings={"record_shares": (1.0,) * len(CLASSES)}),
}


def cross_validate(
    config: Config, source: Source, idea: Idea = Idea(), folds: Sequence[Sequence[str]] = FOLDS
) -> tuple[dict, np.ndarray]:
    """Scores of `idea` over the patients of DS1, each predicted by a network trained without it.

    Returns the scores of COLUMNS, each {"mean", "sd", "n"} over the seeds of `config`, and the confusion matrix of each
    record of DS1, (22, 5, 5), of the first seed.
    """
    results = _all_held_out(config, source, idea, folds)
    scores = []
    for start in range(0, len(results), len(folds)):
        recorded, *made, _ = (np.concatenate(parts) for parts in zip(*results[start : start + len(folds)]))
        scores.append(_scores(recorded, *made))
        if start == 0:
            matrices = _per_record(recorded)
    return {name: mean_sd([score[name] for score in scores]) for name in COLUMNS}, matrices


def _all_held_out(config: Config, source: Source, idea: Idea, folds: Sequence[Sequence[str]]) -> list[tuple]:
    """`_held_out` of each fold, seed after seed."""
    config = with_overrides(config, **idea.settings)
    _loaded(config, source)  # cached once, for all processes
    jobs = [(seed, fold) for seed in config.seeds for fold in folds]
    return list(run_jobs((delayed(_held_out)(config, source, idea, *job) for job in jobs), config.threads))


def held_out_probabilities(config: Config, source: Source) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Record and label (beats,) of every beat of DS1, and its probabilities (beats, classes) by a network without it.

    With the priors, before the temperature; of all seeds of `config`, one after another.
    """
    results = _all_held_out(config, source, Idea(), FOLDS)
    rows, proba = np.concatenate([rows for rows, *_ in results]), np.concatenate([proba for *_, proba in results])
    return rows[:, 0], rows[:, 1], proba


def calibrate(config: Config, source: Source, folds: Sequence[Sequence[str]] = FOLDS) -> dict:
    """The temperature for networks with the settings of `config`, from the held-out beats of DS1 as recorded.

    "temperature" is fitted to all of them, over all seeds. "before" and "after" are the `confidence.calibration` of
    these beats, where the temperature of each fold was fitted to the other folds, so that no beat is judged by a
    temperature that it helped to choose; "temperatures" lists those. "fitted_nll" is the mean negative log-likelihood
    at "temperature", of the beats that it was fitted to.
    """
    results = _all_held_out(config, source, Idea(), folds)
    labels, proba = [rows[:, 1] for rows, *_ in results], [proba for *_, proba in results]
    fold = np.arange(len(results)) % len(folds)
    temperatures = [fit_temperature(*_joined(labels, proba, fold != one)) for one in range(len(folds))]
    after = [tempered(one, temperatures[k]) for k, one in zip(fold, proba)]
    every = np.ones(len(results), bool)
    held_labels, held_proba = _joined(labels, proba, every)
    temperature = fit_temperature(held_labels, held_proba)
    return {
        "temperature": temperature,
        "temperatures": temperatures,
        "fitted_nll": negative_log_likelihood(held_labels, tempered(held_proba, temperature)),
        "before": calibration(held_labels, held_proba),
        "after": calibration(*_joined(labels, after, every)),
    }


def _joined(labels: list[np.ndarray], proba: list[np.ndarray], chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rows = np.flatnonzero(chosen)
    return np.concatenate([labels[i] for i in rows]), np.concatenate([proba[i] for i in rows])


def _loaded(config: Config, source: Source) -> tuple[Beats, Beats | None]:
    """The beats of DS1 and of its replays, if the settings ask for any."""
    return load_beats(source, DS1, config), load_replays(source, DS1, config) if config.replays else None


def _held_out(config: Config, source: Source, idea: Idea, seed: int, fold: Sequence[str]) -> tuple:
    """Record, label and prediction (beats, 3) of the patients of `fold`: as recorded, S frequent, second lead, noise.

    Then the probabilities (beats, classes) of the first.

    Replays of the patients that share a fold of FOLDS with one of `fold` may hold its V beats: they are left out, too.
    """
    device = device_of(config.device)
    engine.seed_everything(seed, device)
    columns = [i for i, name in enumerate(FEATURES[config.mode]) if name not in idea.without]
    arguments = experiment.hybrid_arguments(config)
    arguments |= {"feature_count": len(columns), "input_channels": idea.channels} | idea.network
    model = HybridECGNet(**arguments)
    ds1, replays = _loaded(config, source)
    ds1 = _shown(ds1, columns, idea.channels)
    recorded = ds1.where(~np.isin(ds1.records, fold))
    model.features.set_normalisation(torch.from_numpy(recorded.features))
    mates = [name for group in FOLDS if set(group) & set(fold) for name in group]
    if replays is not None:
        replays = _shown(replays.where(~np.isin(replays.records, mates)), columns, idea.channels)
    train_on = experiment.training_tensors(recorded, replays, np.unique(recorded.records).tolist())
    schedule = replace(experiment.schedule_of(config), **idea.schedule)
    engine.fit(model, train_on, None, FocalLoss(config.focal_gamma), schedule, seed, device=device)
    made = [make(source, fold, config) for make in (dense_beats, second_lead_beats, noisy_beats)]
    tested = (ds1.of(fold), *(_shown(beats, columns, idea.channels) if beats else ds1.of(()) for beats in made))
    proba = [experiment.network_proba(model, DecisionSettings.of(config), beats) for beats in tested]
    return *(_predicted(*pair) for pair in zip(tested, proba)), proba[0]


def _shown(beats: Beats, columns: list[int], channels: int) -> Beats:
    return replace(beats, windows=beats.windows[:, :channels].copy(), features=beats.features[:, columns].copy())


def _predicted(beats: Beats, proba: np.ndarray) -> np.ndarray:
    return np.stack([beats.records.astype(int), beats.labels, proba.argmax(axis=1)], axis=1)


def dense_beats(source: Source, records: Sequence[str], config: Config) -> Beats | None:
    """The stretches around the S beats of `records`, put together: patients whose S beats are most of their beats.

    None where no record has enough of them.
    """
    parts = []
    for name in records:
        strip = condensed(read_strip(source.folder / name, config), CLASSES.index("S"))
        if len(strip.peaks):
            parts.append(beats_of_strip(name, strip, config))
    return concatenate(parts) if parts else None


def second_lead_beats(source: Source, records: Sequence[str], config: Config) -> Beats | None:
    """`records` seen by their second lead (V1 in most) through a recorder of RECORDER_HZ: what training did not show.

    None where no record has one.
    """
    parts = []
    for name in records:
        strip = read_strip(source.folder / name, config)
        if strip.leads_mv.shape[1] > 1:
            coarse_mv = resample(strip.leads_mv[:, 1], strip.fs_hz, RECORDER_HZ, causal=False)
            lead_mv = resample(coarse_mv, RECORDER_HZ, strip.fs_hz, causal=False)[: len(strip.leads_mv)]
            parts.append(beats_of_strip(name, replace(strip, leads_mv=lead_mv[:, None]), config))
    return concatenate(parts) if parts else None


def noisy_beats(source: Source, records: Sequence[str], config: Config) -> Beats:
    """`records` with muscle noise from beginning to end, NOISE_DB below their QRS (noise.py)."""
    parts = []
    for name in records:
        strip = read_strip(source.folder / name, config)
        lead_mv = strip.leads_mv[:, 0]
        added = noise.generated("muscle", len(lead_mv), strip.fs_hz, (int(name),))
        power = noise.qrs_power(lead_mv, strip.peaks[strip.labels == CLASSES.index("N")], strip.fs_hz)
        gain = noise.gain_for(NOISE_DB, power, noise.noise_power(added, strip.fs_hz))
        noisy = replace(strip, leads_mv=(lead_mv + gain * added)[:, None])
        parts.append(beats_of_strip(name, noisy, config))
    return concatenate(parts)


def _scores(recorded: np.ndarray, dense: np.ndarray, other: np.ndarray, noisy: np.ndarray) -> dict:
    regular = recorded[~np.isin(recorded[:, 0], [int(name) for name in FIBRILLATING])]
    f1, f1_other, f1_noise = _f1(recorded), _f1(other), _f1(noisy)
    return {
        "accuracy": float((recorded[:, 1] == recorded[:, 2]).mean()),
        "v_f1": f1["V"],
        "s_f1": f1["S"],
        "s_f1_regular": _f1(regular)["S"],
        "s_f1_dense": _f1(dense)["S"],
        "f_f1": f1["F"],
        "v_f1_other": f1_other["V"],
        "s_f1_other": f1_other["S"],
        "v_f1_noise": f1_noise["V"],
        "s_f1_noise": f1_noise["S"],
    }


def _f1(predicted: np.ndarray) -> dict[str, float]:
    """F1 of each class from `_predicted` rows; 0 where a class was neither there nor predicted."""
    metrics = class_metrics(confusion(predicted[:, 1], predicted[:, 2]))
    return {name: rates["f1"] or 0.0 for name, rates in metrics.items()}


def _per_record(recorded: np.ndarray) -> np.ndarray:
    matrices = np.zeros((len(DS1), len(CLASSES), len(CLASSES)), np.int64)
    at = np.array([DS1.index(str(record)) for record in recorded[:, 0]])
    np.add.at(matrices, (at, recorded[:, 1], recorded[:, 2]), 1)
    return matrices


# Reports -------------------------------------------------------------------------------------------------------------


def ideas_table(report: dict) -> str:
    """One row an idea, mean and sd over seeds, as Markdown."""
    scores = {row["name"]: row["scores"] for row in report["rows"]}
    return "\n".join(scores_table("settings", scores, len(report["seeds"])))


def scores_table(title: str, scores: dict[str, dict], seeds: int) -> list[str]:
    """Markdown lines: one row a name of `scores` (of `cross_validate`), mean and sd over `seeds` seeds."""
    rows = [[name, *(mean_sd_text(found[key], seeds) for key in COLUMNS)] for name, found in scores.items()]
    return markdown_table([title, *COLUMNS.values()], rows)


def records_table(report: dict) -> str:
    """One row a record of DS1, of the first idea and seed, as Markdown: which patients fail, and how."""
    scores = {name: record_scores(np.array(matrix)) for name, matrix in report["rows"][0]["records"].items()}
    return per_record_table({name: one | {"accuracy": one["accuracy"] or 0.0} for name, one in scores.items()})


def run_temperature(config: Config, path: Path) -> dict:
    """Fits the temperature of the mode and preset of `config`; `path` holds the report, which is also returned."""
    check_writable(path.parent)
    source = ingest(config)
    fitted = calibrate(config, source)
    report = {
        "data_source": source.name, "mode": config.mode, "preset": config.preset, "seeds": list(config.seeds),
        "folds": [list(fold) for fold in FOLDS], "versions": machine.versions(), **fitted,
    }  # fmt: skip
    write_json(path, report)
    before, after = (fitted[name] for name in ("before", "after"))
    print(
        f"{'SYNTHETIC ' * source.synthetic}{config.mode}, {config.preset}: temperature {fitted['temperature']:.3f} "
        f"(by fold {', '.join(f'{one:.3f}' for one in fitted['temperatures'])}); "
        f"ECE {100 * before['ece']:.2f} % before, {100 * after['ece']:.2f} % after; negative log-likelihood "
        f"{before['nll']:.4f} before, {after['nll']:.4f} after, each fold by the temperature of the others, "
        f"{fitted['fitted_nll']:.4f} by the one fitted to all; "
        "it belongs into TEMPERATURES of config.py",
        flush=True,
    )
    return report


def score_ideas(config: Config, ideas: dict[str, Idea], folds: Sequence[Sequence[str]], path: Path) -> dict:
    """Cross-validates `ideas` one after another; `path` holds what is done after each. Returns what it holds."""
    check_writable(path.parent)
    source = ingest(config)
    report: dict = {
        "data_source": source.name, "mode": config.mode, "preset": config.preset, "seeds": list(config.seeds),
        "folds": [list(fold) for fold in folds], "versions": machine.versions(), "rows": [],
    }  # fmt: skip
    for name, idea in ideas.items():
        start = time.perf_counter()
        scores, matrices = cross_validate(config, source, idea, folds)
        records = {record: matrix.tolist() for record, matrix in zip(DS1, matrices)}
        report["rows"].append({"name": name, "scores": scores, "records": records})
        write_json(path, report)
        text = ", ".join(f"{title} {mean_sd_text(scores[key], len(config.seeds))}" for key, title in COLUMNS.items())
        print(f"{'SYNTHETIC ' * source.synthetic}{name}: {text}  ({time.perf_counter() - start:.0f} s)", flush=True)
    return report


def add_options(parser: argparse.ArgumentParser):
    """The network, and what is asked of it."""
    parser.add_argument("--mode", choices=MODES, help="as in main.py")
    parser.add_argument("--preset", choices=PRESETS, help="as in main.py")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], metavar="SEED", help="default 0 1")
    parser.add_argument("--ablation", action="store_true", help="also leave each ingredient out in turn")
    parser.add_argument("--leave-one-out", action="store_true", help="one patient a fold")
    parser.add_argument("--temperature", action="store_true", help="fit what calibrates the probabilities, no scores")
    about = "folder of the report (default runs)"
    parser.add_argument("--out", type=Path, default=Path("runs"), metavar="DIR", help=about)


def run(options: argparse.Namespace):
    """What the command line asks for: the temperature, or the scores of one or more ideas."""
    config = with_overrides(Config(), mode=options.mode, preset=options.preset, seeds=tuple(options.seeds))
    if options.temperature:
        run_temperature(config, options.out / f"temperature-{config.mode}-{config.preset}.json")
        return
    kind = "leave-one-out" if options.leave_one_out else "ablation" if options.ablation else "crossvalidation"
    folds = tuple((name,) for name in DS1) if options.leave_one_out else FOLDS
    ideas = {"all": Idea()} | (ABLATION if options.ablation else {})
    report = score_ideas(config, ideas, folds, options.out / f"{kind}-{config.mode}-{config.preset}.json")
    print(f"\n{ideas_table(report)}\n\n{records_table(report)}")
