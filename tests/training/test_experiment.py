"""DS2 stays shut until training has ended; nothing of validation or test leaks into a network."""

import dataclasses

import numpy as np
import pytest
import torch

import config as settings
import main
from config import DS1, DS2, VALIDATION, Config
from deep_ecg.beats import arrays
from deep_ecg.beats.arrays import Beats
from deep_ecg.beats.inputs import CHANNELS, FEATURES
from deep_ecg.beats.shape import P_WAVE, SHAPE
from deep_ecg.networks import torch_network
from deep_ecg.networks.classifier import load_classifier
from deep_ecg.records.database import Source
from deep_ecg.records.databases import DATABASES
from deep_ecg.system import machine
from deep_ecg.system.errors import DeepECGError
from deep_ecg.training import engine, experiment
from model import HybridECGNet

SOURCE = Source("local", None)
EDGE = Config(preset="edge", threads=1)  # one thread: a second one waits for a busy core


@pytest.fixture
def short(monkeypatch):
    """Presets that train for two epochs."""
    for name, preset in settings.PRESETS.items():
        monkeypatch.setitem(settings.PRESETS, name, dataclasses.replace(preset, epochs=2, open_epochs=2))


def beats_of(records: tuple[str, ...], each: int = 40, seed: int = 0, mode: str = "diagnostic") -> Beats:
    """Made-up inputs: `each` beats of every record, half of them N."""
    rng = np.random.default_rng(seed)
    count = each * len(records)
    return Beats(
        windows=rng.standard_normal((count, CHANNELS, Config().window_samples)).astype(np.float32),
        features=(1 + 0.1 * rng.standard_normal((count, len(FEATURES[mode])))).astype(np.float32),
        labels=np.tile(np.array([0, 0, 0, 0, 0, 1, 2, 3, 4, 2], np.int64), count // 10),
        records=np.repeat(np.array(records), each),
        samples=np.arange(count, dtype=np.int64),
        groups=np.zeros(count, np.int64),
        rr_s=np.full(count, 0.8),
    )


@pytest.fixture(scope="module")
def ds1() -> Beats:
    return beats_of(DS1)


@pytest.fixture(scope="module")
def replays() -> Beats:
    return beats_of(DS1, each=20, seed=1)


def train(config: Config, ds1: Beats, folder, replays: Beats | None = None, **options) -> experiment.Trained:
    quiet = {"say": lambda line: None}
    return experiment.train(config, SOURCE, ds1, replays, 0, folder, **(quiet | options))


@pytest.fixture
def trained_on(monkeypatch):
    """The training and the validation beats of each call of `engine.fit`."""
    seen, fit = [], engine.fit
    monkeypatch.setattr(engine, "fit", lambda *args, **options: seen.append(args[1:3]) or fit(*args, **options))
    return seen


# What is opened when -----------------------------------------------------------------------------------------------


def test_ds2_is_not_opened_before_training_has_ended(synthetic_db, tmp_path, monkeypatch, short, opened_files):
    """The whole run, with nothing in the cache: two seeds, so that the first must not open the way for the second."""
    log, fit = [], engine.fit

    def watched_fit(*arguments, **options):
        result = fit(*arguments, **options)
        log.append("training ended")
        return result

    monkeypatch.setattr(engine, "fit", watched_fit)
    monkeypatch.setenv(settings.DATA_DIR_VARIABLE, str(synthetic_db))
    directories = {"runs_dir": str(tmp_path / "runs"), "cache_dir": str(tmp_path / "cache")}
    with opened_files(log):
        main.run(Config(preset="edge", threads=1, replays=1, data_source="auto", seeds=(0, 1), **directories))

    names = [path.rpartition("/")[2] for path in log]
    ended = [place for place, name in enumerate(names) if name == "training ended"]
    assert len(ended) == 3  # the validation patients are held out of the first
    signals = {f"{record}.{ending}" for record in DS2 for ending in ("dat", "atr")}
    assert signals <= set(names[ended[-1] :])
    assert not signals & set(names[: ended[-1]])
    assert {f"{record}.dat" for record in DS1} <= set(names[: ended[0]])  # the watch does see what is opened


def test_without_a_watcher_nothing_is_recorded(tmp_path, opened_files):
    log = []
    with opened_files(log):
        (tmp_path / "seen").write_text("")
    (tmp_path / "unseen").write_text("")
    assert any(path.endswith("/seen") for path in log) and not any(path.endswith("unseen") for path in log)


# Training ----------------------------------------------------------------------------------------------------------


def test_the_splits_share_no_patient_of_training_and_test():
    """Records 201 (DS1) and 202 (DS2) are of one subject, so 201 is no judge of when to stop."""
    validation, test = set(VALIDATION), set(DS2)
    train_records = set(DS1) - validation
    assert not train_records & validation and not (train_records | validation) & test
    assert train_records | validation == set(DS1) and test == set(DS2)
    assert "201" not in validation


def test_normalisation_comes_from_the_training_patients_alone(ds1, replays, tmp_path, short):
    features = ds1.features.copy()
    features[np.isin(ds1.records, VALIDATION)] += 100
    replays = dataclasses.replace(replays, features=replays.features - 50)
    held_out = dataclasses.replace(ds1, features=features)
    trained = train(EDGE, held_out, tmp_path, replays, held_out=VALIDATION)
    of_training = ds1.features[~np.isin(ds1.records, VALIDATION)]
    np.testing.assert_allclose(trained.model.features.mean, of_training.mean(axis=0), rtol=1e-3)
    np.testing.assert_allclose(trained.model.features.scale, of_training.std(axis=0, ddof=1), rtol=1e-3)


def test_held_out_patients_are_in_training_neither_as_recorded_nor_replayed(ds1, replays, tmp_path, short, trained_on):
    config = dataclasses.replace(EDGE, record_shares=(1.0,) * 5, replay_shares=(1.0,) * 5)
    trained = train(config, ds1, tmp_path, replays, held_out=VALIDATION)
    [(training, validation)] = trained_on
    out = [np.isin(beats.records, VALIDATION) for beats in (ds1, replays)]
    windows = np.concatenate([ds1.windows[~out[0]], replays.windows[~out[1]]])
    assert np.array_equal(training.windows[torch.arange(len(training.windows))], windows)
    assert np.array_equal(training.features, np.concatenate([ds1.features[~out[0]], replays.features[~out[1]]]))
    assert np.array_equal(validation.windows, ds1.windows[out[0]])
    assert np.array_equal(validation.labels, ds1.labels[out[0]])
    assert [set(entry) >= {"val_loss", "val_s_f1"} for entry in trained.history.epochs] == [True, True]


def test_without_held_out_patients_all_of_ds1_is_trained_on(ds1, replays, tmp_path, short, trained_on):
    trained = train(EDGE, ds1, tmp_path, replays)
    [(training, validation)] = trained_on
    assert len(training.labels) == len(ds1) + len(replays) and validation is None
    assert all(set(entry) == {"epoch", "train_loss"} for entry in trained.history.epochs)


def test_recorded_and_replayed_beats_of_a_class_have_their_own_shares(ds1, replays, tmp_path, short, trained_on):
    """The made-up labels repeat N N N N N S V F Q V; strata 0 ... 4 are recorded and 5 ... 9 replayed N S V F Q."""
    train(EDGE, ds1, tmp_path, replays)
    [(training, _)] = trained_on
    assert np.bincount(training.strata).tolist() == [440, 88, 176, 88, 88, 220, 44, 88, 44, 44]
    assert np.array_equal(training.strata.numpy() % 5, training.labels)
    schedule = experiment.schedule_of(dataclasses.replace(EDGE, record_shares=(0.5,) * 5, replay_shares=(0.25,) * 5))
    assert schedule.shares == (0.5,) * 5 + (0.25,) * 5


def test_other_databases_are_trained_on_after_ds1_with_shares_of_their_own(ds1, replays, tmp_path, short, trained_on):
    others = [beats_of(("801",), 40, 2), beats_of(("A00001",), 20, 3)]
    trained = train(EDGE, ds1, tmp_path, replays, others=others)
    (first, _), (second, _) = trained_on
    assert len(first.labels) == len(ds1) + len(replays)
    assert np.bincount(second.strata[1320:]).tolist() == [0] * 10 + [20, 4, 8, 4, 4, 10, 2, 4, 2, 2]
    assert len(second.labels) == len(first.labels) + 60
    assert [entry["epoch"] for entry in trained.history.epochs] == [1, 2, 3, 4]
    config = dataclasses.replace(EDGE, databases=("mitdb", "afdb", "svdb", "cinc2017"))
    assert experiment.open_schedule_of(config).shares == (
        *EDGE.record_shares, *EDGE.open_replay_shares, *DATABASES["svdb"].shares, *DATABASES["cinc2017"].shares
    )  # fmt: skip


@pytest.mark.parametrize("weight", [0.0, 0.7, 1.0])
def test_weights_are_the_mean_of_those_before_and_after_the_other_databases(ds1, replays, tmp_path, short, weight):
    """Of the first training alone, of the second alone, and between: w = 0.7 w2 + 0.3 w1, to half precision."""

    def weights(name: str, open_weight: float, others=()) -> torch.Tensor:
        config = dataclasses.replace(EDGE, databases=("mitdb", "svdb"), open_weight=open_weight)
        model = train(config, ds1, tmp_path / name, replays, others=others).model
        return torch.cat([value.flatten() for value in model.state_dict().values() if value.is_floating_point()])

    others = [beats_of(("801",), 40, 2)]
    before, after = weights("first", 0.7), weights("second", 1.0, others)
    assert not torch.equal(before, after)
    mixed = weights("mixed", weight, others)
    torch.testing.assert_close(mixed, (1 - weight) * before + weight * after, rtol=2e-3, atol=1e-6)


def test_a_training_on_other_databases_goes_on_where_it_was_interrupted(ds1, replays, tmp_path, short):
    """Interrupted after the first epoch on all databases: DS1 is not trained on again, and the weights are the same."""
    config = dataclasses.replace(EDGE, databases=("mitdb", "svdb"))
    others, said = [beats_of(("801",), 40, 2)], []

    def stop(line: str):
        if line.startswith("all databases, epoch  1"):
            raise KeyboardInterrupt

    whole = train(config, ds1, tmp_path / "whole", replays, others=others).model.state_dict()
    with pytest.raises(KeyboardInterrupt):
        train(config, ds1, tmp_path / "cut", replays, others=others, say=stop)
    assert {path.name for path in (tmp_path / "cut").iterdir()} == set(experiment.STATES)
    again = train(config, ds1, tmp_path / "cut", replays, others=others, say=said.append).model.state_dict()
    assert all(torch.equal(again[name], value) for name, value in whole.items())
    [line] = [line for line in said if "training loss" in line]
    assert line.startswith("all databases, epoch  2")


def test_beats_without_a_signal_have_the_features_of_a_usual_normal_beat(ds1, tmp_path, short, trained_on):
    blind = beats_of(("7",), 10)
    blind.windows[:], blind.features[:] = 0, 0.25
    train(EDGE, ds1, tmp_path, others=[blind])
    _, (training, _) = trained_on
    of_signal = len(SHAPE + P_WAVE)
    found, normal = training.features[-10:].numpy(), ds1.features[ds1.labels == 0].mean(axis=0)
    assert (found[:, :-of_signal] == 0.25).all() and np.allclose(found[:, -of_signal:], normal[-of_signal:])


def test_nothing_but_strata_of_the_beats_to_train_on_is_held_in_memory(ds1, replays, tmp_path, short, trained_on):
    train(EDGE, ds1, tmp_path, replays, others=[beats_of(("801",), 40)], held_out=VALIDATION)
    for training, validation in trained_on:
        for beats in (training, validation):
            assert all(isinstance(part, engine.Rows) for part in (beats.windows, beats.features, beats.labels))
        assert training.strata.element_size() == 1


def test_many_beats_normalise_by_evenly_chosen_ones(ds1, tmp_path, short, monkeypatch):
    """Of all 880 beats every ninth where 100 are enough, mean by NumPy; where 880 are asked for all of them."""
    for most, step in ((100, 9), (880, 1)):
        monkeypatch.setattr(experiment, "NORMALISED_BY", most)
        mean = train(EDGE, ds1, tmp_path / str(most)).model.features.mean
        np.testing.assert_allclose(mean, ds1.features[::step].mean(axis=0), rtol=2e-3, atol=1e-3)


def test_held_out_patients_are_scored_by_what_their_labels_say(ds1, tmp_path, short):
    trained = train(EDGE, ds1, tmp_path)
    beats = beats_of(("A00001", "A00005"))
    scores = experiment.held_out_scores(trained, DATABASES["svdb"], beats, tmp_path)
    assert scores["n"] == 80 and scores["per_class"]["S"]["n"] == 8
    (tmp_path / "REFERENCE.csv").write_text("A00001,N\nA00005,A\n")
    scores = experiment.held_out_scores(trained, DATABASES["cinc2017"], beats, tmp_path)
    assert {label: one["n"] for label, one in scores.items()} == {"A": 40, "N": 40}


def test_training_without_replays(ds1, tmp_path, short, trained_on):
    train(EDGE, ds1, tmp_path)
    [(training, _)] = trained_on
    assert np.array_equal(training.strata, ds1.labels) and len(training.labels) == len(ds1)


def test_the_network_equals_its_checkpoint_to_the_bit(ds1, tmp_path, short):
    trained = train(EDGE, ds1, tmp_path)
    classes = ("N", "S", "V", "F", "Q")
    loaded, description = torch_network.load_checkpoint(
        tmp_path / "checkpoint.pt", [HybridECGNet], mode="diagnostic", classes=classes
    )
    for name, value in trained.model.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name]), name
    assert description.features == FEATURES["diagnostic"]
    assert description.seed == 0 and description.preset == "edge" and description.data_source == "local"
    assert description.inputs.band_hz == EDGE.band_hz
    assert description == trained.description


def test_a_checkpoint_of_one_mode_is_refused_in_the_other(ds1, tmp_path, short):
    train(EDGE, ds1, tmp_path)
    with pytest.raises(DeepECGError, match="made for mode 'diagnostic', not 'causal'"):
        torch_network.load_checkpoint(tmp_path / "checkpoint.pt", [HybridECGNet], mode="causal")


def changed(ds1: Beats, name: str) -> Beats:
    """`ds1` with one value of the array `name` changed."""
    array = getattr(ds1, name).copy()
    array.flat[0] = {"windows": 1.5, "features": 1.5, "labels": 1, "records": DS1[1]}[name]
    return dataclasses.replace(ds1, **{name: array})


@pytest.mark.parametrize(
    "what",
    "nothing windows features labels records replayed focal_gamma replay_shares record_shares held_out".split(),
)
def test_a_training_is_gone_on_from_only_where_nothing_has_changed(ds1, replays, tmp_path, short, what):
    config, held_out, lines = EDGE, ("106",), []

    def stop(line):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        experiment.train(config, SOURCE, ds1, replays, 0, tmp_path, say=stop, held_out=held_out)
    if what in Beats.__dataclass_fields__:
        ds1 = changed(ds1, what)
    elif what == "replayed":
        replays = changed(replays, "windows")
    elif what == "held_out":
        held_out = ("108",)
    elif what == "focal_gamma":
        config = dataclasses.replace(config, focal_gamma=2.0)
    elif what != "nothing":
        config = dataclasses.replace(config, **{what: (0.4,) * 5})
    experiment.train(config, SOURCE, ds1, replays, 0, tmp_path, say=lines.append, held_out=held_out)
    assert len(lines) == (1 if what == "nothing" else 2)


def test_an_epochs_line_names_its_losses_and_whose_scores_follow():
    scores = {"val_accuracy": 0.9758, "val_s_f1": 0.7, "val_v_f1": 1.0}
    assert experiment.epoch_line({"epoch": 3, "train_loss": 0.01234, "val_loss": 0.0456} | scores) == (
        "epoch  3  training loss 0.0123, validation loss 0.0456, accuracy 97.58 %, S F1 70.0 %, V F1 100.0 %"
    )
    assert experiment.epoch_line({"epoch": 12, "train_loss": 0.5}) == "epoch 12  training loss 0.5000"


def test_a_network_takes_the_temperature_and_priors_of_its_training_into_its_file(ds1, tmp_path, short, monkeypatch):
    config = dataclasses.replace(EDGE, s_prior_weight=0.2, v_prior_weight=0.1)
    monkeypatch.setitem(settings.TEMPERATURES, ("diagnostic", "edge"), 1.5)
    train(config, ds1, tmp_path)
    monkeypatch.setitem(settings.TEMPERATURES, ("diagnostic", "edge"), 3.0)
    decision = load_classifier(EDGE, tmp_path / "checkpoint.pt").description.decision
    assert (decision.temperature, decision.s_prior_weight, decision.v_prior_weight) == (1.5, 0.2, 0.1)
    assert decision.s_usual_share == 0.08


def test_the_settings_of_a_training_are_kept_but_for_the_lists_of_records():
    """Each once: those that the network is used by are not among the others."""
    said = experiment.describe(dataclasses.replace(EDGE, replays=2, other_leads=("V1",)), SOURCE, 0)
    assert said.leads == ("MLII", "V1") and said.training["replays"] == 2 and said.training["seeds"] == [0]
    names = {field.name for field in dataclasses.fields(Config) if not field.name.endswith("_records")}
    used = {"preset", "lead", "other_leads", "second_lead", "s_prior_weight", "v_prior_weight", "rhythm_weight"}
    used |= {field.name for field in dataclasses.fields(said.inputs)}
    assert set(said.training) == names - used


# Reports -----------------------------------------------------------------------------------------------------------


def test_counts_of_each_class():
    assert arrays.class_counts(beats_of(("100",), each=20)) == {"N": 10, "S": 2, "V": 4, "F": 2, "Q": 2, "all": 20}


def test_the_report_of_a_network_that_calls_everything_n(ds1, tmp_path):
    """Half the made-up beats are N: accuracy 0.5, Se of N 1 and of the others 0, as for the majority class."""

    class AlwaysN(torch.nn.Module):
        def forward(self, windows, features):
            return torch.tensor([[9.0, 0.0, 0.0, 0.0, 0.0]]).repeat(len(windows), 1)

    ds2 = beats_of(DS2, each=10)
    trained = experiment.Trained(AlwaysN(), experiment.describe(EDGE, SOURCE, 7), tmp_path, engine.History(), 1.0)
    report, proba = experiment.assess(trained, EDGE, SOURCE, ds1, ds2)
    assert proba.shape == (220, 5)
    assert report["ds2"]["accuracy"] == report["baselines"]["majority"]["accuracy"] == 0.5
    assert [report["ds2"]["per_class"][name]["se"] for name in "NSVFQ"] == [1, 0, 0, 0, 0]
    assert [report["ds2"]["per_class"][name]["n"] for name in "NSVFQ"] == [110, 22, 44, 22, 22]
    assert report["kept_beats"] == {"ds1": 880, "ds2": 220}
    assert (report["seed"], report["mode"], report["preset"]) == (7, "diagnostic", "edge")
    assert {"python", "torch", "numpy", "scipy", "wfdb"} <= set(report["versions"])


def test_only_the_network_for_which_they_were_fitted_has_the_temperatures(ds1, tmp_path):
    """Another one is as sure as it says: its calibration is the same before and after."""
    ds2, arguments = beats_of(DS2, each=10), experiment.hybrid_arguments(EDGE)

    class Other(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = HybridECGNet(**arguments)

        def forward(self, windows, features):
            return self.inner(windows, features)

    fitted = settings.TEMPERATURES["diagnostic", "edge"]
    for model, temperature in ((HybridECGNet(**arguments), fitted), (Other(), 1.0)):
        description = experiment.describe(EDGE, SOURCE, 0, type(model))
        trained = experiment.Trained(model, description, tmp_path, engine.History(), 1.0)
        report, _ = experiment.assess(trained, EDGE, SOURCE, ds1, ds2)
        confidence = report["ds2"]["confidence"]
        assert confidence["temperature"] == temperature
        assert (confidence["before"] == confidence["after"]) == (temperature == 1)


def test_peak_memory_is_at_least_what_is_held():
    held = np.ones(16 * 2**20 // 8)
    assert machine.peak_rss_mb() > held.nbytes / 2**20
