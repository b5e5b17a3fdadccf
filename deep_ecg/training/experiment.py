"""The steps that every experiment shares: train a network on DS1, assess it on DS2, write the report.

`main.py` runs them for the hybrid network, `experimental_transformer.py` for the Transformer.
"""

import copy
import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import nn

from config import CLASSES, Config
from deep_ecg.beats.arrays import Beats, rows_of
from deep_ecg.beats.input_settings import InputSettings
from deep_ecg.beats.inputs import CHANNELS, FEATURES, has_signal
from deep_ecg.beats.rhythm import MEMORIES_BEATS
from deep_ecg.beats.shape import P_WAVE, SHAPE
from deep_ecg.networks import torch_network
from deep_ecg.networks.decision_settings import DecisionSettings
from deep_ecg.networks.description import Description
from deep_ecg.networks.prior import with_running_prior
from deep_ecg.records.database import Source
from deep_ecg.records.databases import BEATS, Database, classifying
from deep_ecg.scoring.held_out import beat_scores, called_by_record_label
from deep_ecg.scoring.measures import evaluate_beats, majority_baseline, prematurity_baseline
from deep_ecg.system.machine import versions
from deep_ecg.training import engine, processes
from deep_ecg.training.device import device_of
from loss import FocalLoss
from model import FeatureMLP, HybridECGNet

DIGEST_ROWS = 512  # read at a time
NORMALISED_BY = 2**18  # beats of DS1 at most by whose features a network's are normalised
STATES = ("resume.pt", "resume-open.pt")  # of a training that is not done: on DS1, then on all databases


@dataclass(frozen=True)
class Trained:
    """A trained network and its description, equal to its checkpoint to the bit, and how it got there."""

    model: nn.Module
    description: Description
    folder: Path
    history: engine.History
    seconds: float

    @property
    def seed(self) -> int:
        """The seed of its training."""
        return self.description.seed


def hybrid_arguments(config: Config) -> dict:
    """Constructor arguments of `HybridECGNet` for the preset and mode of `config`."""
    preset = config.model
    return {
        "feature_count": len(FEATURES[config.mode]),
        "channels": list(preset.channels),
        "kernels": list(preset.kernels),
        "flatten": preset.flatten,
        "feature_hidden": preset.feature_hidden,
        "hidden": preset.hidden,
        "dropout": config.dropout,
        "flatten_dropout": preset.flatten_dropout,
        "wave_dropout": preset.wave_dropout,
        "window_samples": config.window_samples,
        "input_channels": CHANNELS,
    }


def train(
    config: Config,
    source: Source,
    ds1: Beats,
    replays: Beats | None,
    seed: int,
    folder: Path,
    network: type[nn.Module] = HybridECGNet,
    arguments: dict | None = None,
    say: Callable[[str], None] = print,
    held_out: Sequence[str] = (),
    others: Sequence[Beats] = (),
    share: float = 1.0,
) -> Trained:
    """Trains one network on the patients of DS1 and their `replays`, for the fixed number of epochs of the preset.

    `others` are beats of other databases, those of `config.databases`. With these the network is then trained on
    everything, at a lower rate, and its weights become the mean of those before and after, `config.open_weight` of the
    latter: so it does not forget what DS1 alone shows (Wortsman et al., CVPR 2022: robust fine-tuning). The features
    are normalised by DS1 all the same. An epoch shows a `share` of the beats that `config` says. The patients
    `held_out` are left out of it, replays too, and scored after each epoch; nothing is chosen by that. Where processes
    train together (processes.py), this one has its share of the patients, and the first one writes. Writes
    `folder`/checkpoint.pt, and one of STATES after every epoch: a training that was interrupted goes on from there when
    nothing that it depends on has changed. `say` gets a line after each epoch, and every few seconds.
    """
    start, first, device = time.perf_counter(), processes.is_first(), device_of(config.device)
    engine.seed_everything(seed, device)
    arguments = arguments or hybrid_arguments(config)
    model = network(**arguments)
    patients = processes.share_of(ds1.records, held_out)
    features = ds1.features[_some_rows(ds1, patients)]
    normalised = cast(FeatureMLP, model.features)
    normalised.set_normalisation(torch.from_numpy(features))
    processes.pool_normalisation(normalised, len(features))
    validation = None
    if held_out and first:
        rows = rows_of(ds1.records, held_out)
        windows, known, labels = (engine.Rows((part, rows)) for part in (ds1.windows, ds1.features, ds1.labels))
        validation = engine.BeatTensors(windows, known, labels)
    identity = [repr(schedule_of(config)), config.focal_gamma, seed, network.__name__, arguments, versions()]
    identity += [device.type, share]

    def learn(train_on: engine.BeatTensors, schedule: engine.Schedule, state: str, about: str) -> list[dict]:
        return engine.fit(
            model,
            train_on,
            validation,
            FocalLoss(config.focal_gamma),
            replace(schedule, shares=tuple(share * one for one in schedule.shares)),
            seed,
            state_path=folder / state,
            fingerprint=_fingerprint(train_on, [*identity, repr(schedule)]),
            tell=lambda line: say(about + line),
            on_epoch=lambda entry: say(about + epoch_line(entry)),
            device=device,
        ).epochs

    epochs = learn(training_tensors(ds1, replays, patients), schedule_of(config), STATES[0], "")
    if others:
        before = copy.deepcopy(model.state_dict())
        train_on = training_tensors(ds1, replays, patients, others)
        more = learn(train_on, open_schedule_of(config), STATES[1], "all databases, ")
        epochs += [entry | {"epoch": number} for number, entry in enumerate(more, len(epochs) + 1)]
        _mix(model, before, config.open_weight)
    torch_network.round_to_half(model)
    description = describe(config, source, seed, network)
    if first:
        torch_network.save_checkpoint(folder / "checkpoint.pt", model, arguments, description)
    return Trained(model, description, folder, engine.History(epochs), time.perf_counter() - start)


@torch.no_grad()
def _mix(model: nn.Module, before: Mapping[str, torch.Tensor], weight: float):
    """Gives `model` the mean of its weights, `weight` of them, and those `before`; BatchNorm's statistics too."""
    for now, old in zip(model.state_dict().values(), before.values()):
        if now.is_floating_point():
            now.lerp_(old, 1 - weight)


def schedule_of(config: Config) -> engine.Schedule:
    """The training schedule of the preset of `config`, on DS1."""
    preset = config.model
    return engine.Schedule(
        epochs=preset.epochs,
        learning_rate=preset.learning_rate,
        batch_size=config.batch_size,
        weight_decay=config.weight_decay,
        shares=config.record_shares + config.replay_shares,
    )


def open_schedule_of(config: Config) -> engine.Schedule:
    """That of the second training of the open protocol, on all databases of `config`."""
    usual, shares = schedule_of(config), [other.shares for other in classifying(config.databases[1:])]
    return replace(
        usual,
        epochs=config.model.open_epochs,
        learning_rate=usual.learning_rate * config.open_rate,
        shares=sum(shares, config.record_shares + config.open_replay_shares),
    )


def training_tensors(
    recorded: Beats, replays: Beats | None, patients: Sequence[str], others: Sequence[Beats] = ()
) -> engine.BeatTensors:
    """The beats of `patients` to train on, and this process's share of `others`; each has strata of its own.

    All but the strata is read batch by batch from where it is. Features that say nothing, because a beat has no signal,
    are those of a usual normal beat.
    """
    some = _some_rows(recorded, patients)
    usual = recorded.features[some][recorded.labels[some] == CLASSES.index("N")].mean(axis=0)
    parts = [_Part(0, recorded, patients, recorded.features)]
    parts += [] if replays is None else [_Part(1, replays, patients, replays.features)]
    for number, other in enumerate(others, 2):
        parts.append(_Part(number, other, processes.share_of(other.records), _FilledFeatures(other, usual)))
    return engine.BeatTensors(
        engine.Rows(*((part.beats.windows, part.rows) for part in parts)),
        engine.Rows(*((part.features, part.rows) for part in parts)),
        engine.Rows(*((part.beats.labels, part.rows) for part in parts)),
        np.concatenate([part.strata for part in parts]),
    )


@dataclass(frozen=True)
class _Part:
    """The beats of `patients` among `beats`, with the `features` that are shown of these."""

    number: int
    beats: Beats
    patients: Sequence[str]
    features: engine.RowsOnDisk

    @cached_property
    def rows(self) -> np.ndarray:
        """Their rows, (n,)."""
        return rows_of(self.beats.records, self.patients)

    @property
    def strata(self) -> np.ndarray:
        """Strata (n,) that no part of another `number` has."""
        return (self.beats.labels[self.rows] + len(CLASSES) * self.number).astype(np.uint8)


def _some_rows(beats: Beats, records: Sequence[str]) -> np.ndarray:
    """The rows of `records`, or evenly chosen ones of these where there are more than NORMALISED_BY."""
    rows = rows_of(beats.records, records)
    return rows[:: max(-(-len(rows) // NORMALISED_BY), 1)]


class _FilledFeatures:
    """The features of `beats`, (beats, count), those `usual` (count,) in place of what has no signal to come from."""

    def __init__(self, beats: Beats, usual: np.ndarray):
        self._features, self._known, self._usual = beats.features, has_signal(beats.windows), usual
        self._of_signal = np.arange(len(usual)) >= len(usual) - len(SHAPE + P_WAVE)
        self.shape, self.dtype = beats.features.shape, beats.features.dtype

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        return np.where(self._known[rows, None] | ~self._of_signal, self._features[rows], self._usual)


def describe(config: Config, source: Source, seed: int, network: type[nn.Module] = HybridECGNet) -> Description:
    """How a network that is trained with `config` on the database `source` will be used.

    The temperatures were fitted for `HybridECGNet`: another `network` stays as sure as it says. Of the settings by
    which it is trained, the lists of records are left out: they may be long.
    """
    inputs, decision = InputSettings.of(config), DecisionSettings.of(config)
    used = {"preset", "lead", "other_leads", "second_lead", *asdict(inputs), *asdict(decision)}
    training = {k: v for k, v in asdict(config).items() if k not in used and not k.endswith("_records")}
    return Description(
        preset=config.preset,
        classes=CLASSES,
        features=FEATURES[config.mode],
        leads=config.leads,
        inputs=inputs,
        decision=decision if network is HybridECGNet else replace(decision, temperature=1.0),
        data_source=source.name,
        seed=seed,
        training=json.loads(json.dumps(training)),
    )


def assess(trained: Trained, config: Config, source: Source, ds1: Beats, ds2: Beats) -> tuple[dict, np.ndarray]:
    """The report of one trained network on DS2, without timings, and its DS2 probabilities (beats, 5)."""
    scored, proba = score_network(trained.model, trained.description, config, ds2)
    ratio = FEATURES[config.mode].index(f"pre_ratio_{min(MEMORIES_BEATS)}")
    report = {
        "data_source": source.name,
        "data_folder": str(source.folder),
        "seed": trained.seed,
        "threads": engine.TRAINING_THREADS,
        "device": device_of(config.device).type,
        **scored,
        "kept_beats": {"ds1": len(ds1), "ds2": len(ds2)},
        "training": {
            "seconds": trained.seconds,
            "history": trained.history.epochs,
        },
        "baselines": {
            "majority": majority_baseline(ds1.labels, ds2.labels, ds2.records),
            "prematurity": prematurity_baseline(
                ds1.features[:, ratio], ds1.labels, ds2.features[:, ratio], ds2.labels, ds2.records
            ),
        },
    }
    return report, proba


def score_network(
    model: nn.Module, description: Description, config: Config, beats: Beats
) -> tuple[dict, np.ndarray]:
    """The part of a report that a network and the `beats` it is tested on make, and its probabilities (beats, 5).

    `config` are the settings by which these beats were read.
    """
    proba = network_proba(model, description.decision, beats)
    report = {
        "mode": description.mode,
        "preset": description.preset,
        "versions": versions(),
        "config": json.loads(json.dumps(asdict(config))),
        "parameters": sum(p.numel() for p in model.parameters()),
        "ds2": evaluate_beats(beats.labels, proba, beats.records, temperature=description.decision.temperature),
    }
    return report, proba


def held_out_scores(trained: Trained, database: Database, beats: Beats, folder: Path) -> dict:
    """How a network does on `beats` of the held-out patients of `database`, which is in `folder`: see held_out.py."""
    proba = network_proba(trained.model, trained.description.decision, beats)
    if database.teaches == BEATS:
        return beat_scores(beats.labels, proba)
    return called_by_record_label(beats.records, proba, database.labels_of_records(folder))


def network_proba(model: nn.Module, decision: DecisionSettings, beats: Beats) -> np.ndarray:
    """The probabilities (beats, 5) by which `beats` are labelled: those of the network, with each patient's priors."""
    proba = torch_network.predict_proba(model, beats.windows, beats.features)
    return with_running_prior(proba, beats.groups, beats.rr_s, beats.records, decision)


def _fingerprint(data: engine.BeatTensors, settings: list) -> str:
    hashes = [_digest(part) for part in (data.windows, data.features, data.labels, data.strata)]
    return hashlib.sha256(json.dumps([processes.gathered(hashes), settings]).encode()).hexdigest()


def _digest(rows: engine.Rows | torch.Tensor) -> str:
    digest = hashlib.sha256()
    for start in range(0, len(rows), DIGEST_ROWS):
        digest.update(rows[start : start + DIGEST_ROWS].numpy().tobytes())
    return digest.hexdigest()


def epoch_line(entry: dict) -> str:
    """One line on an epoch: its losses, and the scores of the validation patients where they were held out."""
    line = f"epoch {entry['epoch']:2d}  training loss {entry['train_loss']:.4f}"
    if "val_loss" not in entry:
        return line
    return (
        f"{line}, validation loss {entry['val_loss']:.4f}, accuracy {100 * entry['val_accuracy']:.2f} %, "
        f"S F1 {100 * entry['val_s_f1']:.1f} %, V F1 {100 * entry['val_v_f1']:.1f} %"
    )
