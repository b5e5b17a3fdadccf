"""Cross-validation over DS1: who is trained on and who is predicted, DS2 stays shut, and scores worked by hand."""

import dataclasses
import functools
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from config import CLASSES, DATA_DIR_VARIABLE, DS1, DS2, Config
from data_loader import FOLDS, load_beats
from deep_ecg.beats.arrays import Beats
from deep_ecg.beats.inputs import CHANNELS, FEATURES
from deep_ecg.beats.shape import P_WAVE
from deep_ecg.beats.strip import Strip, read_strip
from deep_ecg.networks import torch_network
from deep_ecg.records.database import Source
from deep_ecg.records.wfdb_files import read_beats
from deep_ecg.system.errors import DeepECGError
from deep_ecg.training import engine
from experiments import crossvalidation
from experiments.__main__ import main
from experiments.crossvalidation import (
    ABLATION,
    COLUMNS,
    Idea,
    cross_validate,
    dense_beats,
    ideas_table,
    noisy_beats,
    records_table,
    second_lead_beats,
)
from experiments.noise import noise_power, qrs_power

LEAVE_ONE_OUT = tuple((name,) for name in DS1)
N, S, V, F = range(4)


@pytest.fixture
def config(tmp_path) -> Config:
    """One epoch and one thread: everything happens in this process, where it can be watched."""
    return Config(preset="edge", epochs=1, threads=1, replays=1, cache_dir=str(tmp_path / "cache"))


@pytest.fixture
def source(synthetic_db) -> Source:
    return Source("synthetic", synthetic_db)


def named_beats(each: int, offset: int) -> Beats:
    """Made-up beats of all of DS1; their first feature is the record's number plus `offset`."""
    records = np.repeat(np.array(DS1), each)
    rng = np.random.default_rng(offset)
    features = rng.normal(size=(len(records), len(FEATURES["diagnostic"]))).astype(np.float32)
    features[:, 0] = records.astype(int) + offset
    return Beats(
        windows=rng.normal(size=(len(records), CHANNELS, 280)).astype(np.float32),
        features=features,
        labels=np.resize(np.array([0, 0, 1, 2, 3], np.int64), len(records)),
        records=records,
        samples=np.arange(len(records)),
        groups=np.zeros(len(records), np.int64),
        rr_s=np.full(len(records), 0.8),
    )


@pytest.fixture
def watched(monkeypatch):
    """Made-up beats instead of a database, and no training: what `engine.fit` and `predict_proba` were given."""
    fitted, predicted = [], []
    monkeypatch.setattr(crossvalidation, "load_beats", lambda *arguments: named_beats(10, 0))
    monkeypatch.setattr(crossvalidation, "load_replays", lambda *arguments: named_beats(5, 1000))
    for made in ("dense_beats", "second_lead_beats", "noisy_beats"):
        monkeypatch.setattr(crossvalidation, made, lambda *arguments: None)
    monkeypatch.setattr(engine, "fit", lambda *arguments, device: fitted.append(arguments))
    predict = torch_network.predict_proba

    def watched_predict(model, windows, features):
        if len(windows):
            predicted.append(features[:, 0].astype(int))
        return predict(model, windows, features)

    monkeypatch.setattr(torch_network, "predict_proba", watched_predict)
    return fitted, predicted


def shown(training: engine.BeatTensors) -> tuple[set[str], set[str]]:
    """The records whose beats, and whose replays, a network was trained on."""
    numbers = {int(number) for number in np.asarray(training.features)[:, 0]}
    return {str(number) for number in numbers if number < 1000}, {str(n - 1000) for n in numbers if n >= 1000}


# Who is trained on, who is predicted ---------------------------------------------------------------------------------


@pytest.mark.parametrize("folds", [FOLDS, LEAVE_ONE_OUT], ids=["folds", "leave one out"])
def test_every_patient_is_predicted_once_by_a_network_trained_without_it(watched, config, folds):
    fitted, predicted = watched
    config = dataclasses.replace(config, seeds=(0, 1))
    _, matrices = cross_validate(config, Source("local", Path()), folds=folds)
    assert len(fitted) == len(predicted) == 2 * len(folds)
    for fold, (_, training, validation, *_), numbers in zip(2 * folds, fitted, predicted):
        recorded, replayed = shown(training)
        assert recorded == set(DS1) - set(fold)
        assert {str(number) for number in numbers} == set(fold) and len(numbers) == 10 * len(fold)
        assert not replayed & set(fold)
        assert validation is None
    for seed in (0, 1):
        once = np.concatenate(predicted[seed * len(folds) : (seed + 1) * len(folds)])
        assert sorted(once.tolist()) == sorted(10 * [int(name) for name in DS1])
    assert matrices.shape == (22, 5, 5) and (matrices.sum(axis=(1, 2)) == 10).all()
    assert "202" not in DS1  # the same subject as 201


def test_replays_that_may_hold_v_beats_of_the_held_out_patient_are_left_out(watched, config):
    """V beats are implanted within a fold of FOLDS: one patient held out takes the replays of its whole fold along."""
    cross_validate(config, Source("local", Path()), folds=LEAVE_ONE_OUT)
    for name, (_, training, *_) in zip(DS1, watched[0]):
        [fold] = [fold for fold in FOLDS if name in fold]
        assert shown(training)[1] == set(DS1) - set(fold)


def test_folds_keep_the_replays_of_all_others(watched, config):
    cross_validate(config, Source("local", Path()))
    for fold, (_, training, *_) in zip(FOLDS, watched[0]):
        assert shown(training)[1] == set(DS1) - set(fold)


def test_normalisation_is_of_the_recorded_training_patients(watched, config):
    cross_validate(config, Source("local", Path()))
    beats = named_beats(10, 0)
    for fold, (model, *_) in zip(FOLDS, watched[0]):
        kept = beats.features[~np.isin(beats.records, fold)]
        np.testing.assert_allclose(model.features.mean, kept.mean(axis=0), rtol=1e-3, atol=1e-4)


def test_without_replays_the_records_alone_are_trained_on(watched, config):
    cross_validate(dataclasses.replace(config, replays=0), Source("local", Path()))
    assert len(watched[0]) == 4
    assert all(shown(training)[1] == set() for _, training, *_ in watched[0])


def test_ds2_is_never_opened(source, config, monkeypatch, tmp_path, opened_files):
    """The whole command, with nothing in the cache."""
    monkeypatch.setenv(DATA_DIR_VARIABLE, str(source.folder))
    log = []
    with opened_files(log):
        crossvalidation.score_ideas(config, {"all": Idea()}, FOLDS, tmp_path / "out" / "report.json")
    names = {path.rpartition("/")[2] for path in log}
    assert not {f"{record}.{ending}" for record in DS2 for ending in ("dat", "atr")} & names
    assert {f"{record}.{ending}" for record in DS1 for ending in ("dat", "atr")} <= names  # the watch does see


# Ideas ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ABLATION)
def test_each_ablation_changes_what_it_says(watched, config, name):
    idea = ABLATION[name]
    cross_validate(config, Source("local", Path()), idea, folds=(("101",),))
    [(model, training, _, loss, schedule, _)] = watched[0]
    features = [feature for feature in FEATURES["diagnostic"] if feature not in idea.without]
    windows = training.windows[torch.arange(3)]
    assert windows.shape[1] == idea.channels and training.features[:].shape[1] == len(features)
    assert model(windows, training.features[:3]).shape == (3, 5)
    assert schedule.shares == tuple(
        share
        for key in ("record_shares", "replay_shares")
        for share in idea.settings.get(key, getattr(Config(), key))
    )
    assert loss.gamma == idea.settings.get("focal_gamma", Config().focal_gamma)
    assert schedule.averaging == idea.schedule.get("averaging", engine.Schedule.averaging)


def test_features_that_are_left_out_are_those_named(watched, config):
    cross_validate(config, Source("local", Path()), ABLATION["without P wave features"], folds=(("101",),))
    [(_, training, *_)] = watched[0]
    beats = named_beats(10, 0)
    expected = beats.features[beats.records != "101"][:, : -len(P_WAVE)]  # those of P waves are the last
    assert np.array_equal(training.features[: len(expected)], torch.from_numpy(expected))


# Patients with many S beats ------------------------------------------------------------------------------------------


def test_dense_beats_are_the_s_beats_and_their_neighbours(source, config):
    """All S beats of both patients, fewer others than there are, and inputs of the usual shape."""
    records = ("209", "118")
    dense = dense_beats(source, records, config)
    assert set(dense.records) <= set(records)
    for name in set(dense.records):
        symbols = read_beats(source.folder / name, "atr").symbols
        part = dense.of([name])
        assert (part.labels == S).sum() == np.isin(symbols, list("AaJS")).sum() >= 5
        assert (part.labels == S).mean() > np.isin(symbols, list("AaJS")).mean()
        assert (part.labels != S).sum() <= 4 * (part.labels == S).sum()  # two before and two after each
    assert dense.windows.shape[1:] == (CHANNELS, 280) and dense.features.shape[1] == len(FEATURES["diagnostic"])
    assert np.isfinite(dense.windows).all() and np.isfinite(dense.features).all()


def test_the_second_lead_is_that_of_a_band_limited_recorder(source, config):
    """The same beats, seen otherwise, and nothing above half of 128 Hz is left of them."""
    names = ("209", "118")
    first, second = load_beats(source, names, config), second_lead_beats(source, names, config)
    for name in ("labels", "records", "samples"):
        assert np.array_equal(getattr(first, name), getattr(second, name))
    assert not np.allclose(first.windows, second.windows)
    spectra = [np.abs(np.fft.rfft(beats.windows[:, 0] * np.hanning(280))) ** 2 for beats in (first, second)]
    above = np.fft.rfftfreq(280, 1 / 360) > 75
    shares = [spectrum[:, above].sum() / spectrum.sum() for spectrum in spectra]
    assert shares[1] < 1e-3 and shares[1] < shares[0]


def test_a_record_of_one_lead_has_no_second(config, monkeypatch):
    strip = Strip(np.zeros((720, 1)), 360.0, np.array([100, 400]), np.zeros(2, int), np.zeros(2, bool))
    monkeypatch.setattr(crossvalidation, "read_strip", lambda *arguments: strip)
    assert second_lead_beats(Source("local", Path()), ("115",), config) is None


def test_noisy_beats_are_the_same_beats_with_muscle_noise_of_the_level_said(source, config, monkeypatch):
    strips, made = [], crossvalidation.beats_of_strip

    def kept(name, strip, *more):
        strips.append(strip)
        return made(name, strip, *more)

    monkeypatch.setattr(crossvalidation, "beats_of_strip", kept)
    clean, noisy = load_beats(source, ("209", "118"), config), noisy_beats(source, ("209", "118"), config)
    for name in ("labels", "records", "samples"):
        assert np.array_equal(getattr(clean, name), getattr(noisy, name))
    for name, strip in zip(("209", "118"), strips):
        clean_strip = read_strip(source.folder / name, config)
        added_mv = strip.leads_mv[:, 0] - clean_strip.leads_mv[:, 0]
        normal = clean_strip.peaks[clean_strip.labels == N]
        ratio = qrs_power(clean_strip.leads_mv[:, 0], normal, 360.0) / noise_power(added_mv, 360.0)
        assert 10 * np.log10(ratio) == pytest.approx(12, abs=1e-6)
        spectrum = np.abs(np.fft.rfft(added_mv)) ** 2
        within = np.fft.rfftfreq(len(added_mv), 1 / 360)
        assert spectrum[(within > 15) & (within < 155)].sum() > 0.99 * spectrum.sum()


def test_there_are_none_where_no_patient_has_enough_s_beats(source, config):
    assert dense_beats(source, ("115", "122"), config) is None


def test_a_patient_without_s_beats_can_be_left_out_alone(source, config):
    scores, matrices = cross_validate(config, source, folds=(("115",),))
    assert scores["s_f1_dense"]["mean"] == 0 and 0 <= scores["accuracy"]["mean"] <= 1
    assert np.flatnonzero(matrices.sum(axis=(1, 2))).tolist() == [DS1.index("115")]


# Scores --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def worked(monkeypatch):
    """Two folds and two seeds, the second without an error: rows of record, reference and prediction."""
    rows = {
        0: [(201, N, S), (201, N, S), (201, S, S), (101, N, N), (101, S, S), (101, V, V), (101, V, N)],
        1: [(208, F, F), (208, S, N)],
    }
    dense = {0: np.empty((0, 3), int), 1: np.array([(208, S, S), (208, S, N), (208, N, S)])}
    other = {0: np.array([(101, V, V), (101, N, V)]), 1: np.array([(208, V, N), (208, S, S)])}
    noisy = {0: np.array([(101, V, V), (101, S, N)]), 1: np.array([(208, S, S), (208, S, N)])}

    def held_out(config, source, idea, seed, fold):
        at = ("208" in fold) * 1
        predicted = np.array(rows[at]), dense[at].copy(), other[at].copy(), noisy[at].copy()
        if seed:
            for part in predicted:
                part[:, 2] = part[:, 1]
        return *predicted, np.eye(5)[predicted[0][:, 2]]

    monkeypatch.setattr(crossvalidation, "_held_out", held_out)
    monkeypatch.setattr(crossvalidation, "_loaded", lambda *arguments: None)
    return (("201", "101"), ("208",))


def test_scores_by_hand(worked, config):
    """Seed 0: 5 of 9 right. S: 2 found of 3, 4 called: 4/7; without 201 1 of 2, 1 called: 2/3. Seed 1: all right.

    Second lead: 1 V found of 2, 2 called: 1/2. In noise 1 S found of 3, 1 called: 1/2.
    """
    scores, matrices = cross_validate(
        dataclasses.replace(config, seeds=(0, 7)), Source("local", Path()), folds=worked
    )
    of_first = {"accuracy": 5 / 9, "v_f1": 2 / 3, "s_f1": 4 / 7, "s_f1_regular": 2 / 3, "s_f1_dense": 0.5, "f_f1": 1.0}
    of_first |= {"v_f1_other": 0.5, "s_f1_other": 1.0, "v_f1_noise": 1.0, "s_f1_noise": 0.5}
    assert list(scores) == list(COLUMNS) == list(of_first)
    for name, value in of_first.items():
        expected = {"mean": (value + 1) / 2, "sd": (1 - value) / np.sqrt(2), "n": 2}
        assert scores[name] == pytest.approx(expected), name
    expected = np.zeros((22, 5, 5), int)
    expected[DS1.index("201"), N, S], expected[DS1.index("201"), S, S] = 2, 1
    for reference, predicted in ((N, N), (S, S), (V, V), (V, N)):
        expected[DS1.index("101"), reference, predicted] = 1
    expected[DS1.index("208"), F, F] = expected[DS1.index("208"), S, N] = 1
    assert np.array_equal(matrices, expected)


def test_one_seed_has_no_spread(worked, config):
    scores, _ = cross_validate(config, Source("local", Path()), folds=worked)
    assert scores["accuracy"] == {"mean": pytest.approx(5 / 9), "sd": None, "n": 1}


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_tables_by_hand(worked, config, monkeypatch, tmp_path):
    monkeypatch.setattr(crossvalidation, "ingest", lambda config: Source("local", tmp_path))
    config = dataclasses.replace(config, seeds=(0, 7))
    report = crossvalidation.score_ideas(config, {"all": Idea()}, worked, tmp_path / "report.json")
    row = cells(ideas_table(report).splitlines()[-1])
    recorded = ["77.8 ± 31.4", "83.3 ± 23.6", "78.6 ± 30.3", "83.3 ± 23.6", "75.0 ± 35.4", "100.0 ± 0.0"]
    assert row == ["all", *recorded, "75.0 ± 35.4", "100.0 ± 0.0", "100.0 ± 0.0", "75.0 ± 35.4"]
    rows = {row[0]: row[1:] for row in map(cells, records_table(report).splitlines()[2:])}
    assert list(rows) == list(DS1)
    assert rows["101"] == ["4", "75.00", "1", "100.0", "100.0", "2", "50.0", "100.0", "0", "-", "-"]
    assert rows["201"] == ["3", "33.33", "1", "100.0", "33.3", "0", "-", "-", "0", "-", "-"]
    assert rows["106"] == ["0", "0.00", "0", "-", "-", "0", "-", "-", "0", "-", "-"]


# Temperature ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def sure(monkeypatch):
    """Two folds whose networks call every beat N with probability 0.6: 8 of 10 beats of the first are, 6 of 10 of the
    second.
    """

    def held_out(config, source, idea, seed, fold):
        right = {"201": 8, "101": 6}[fold[0]]
        rows = np.array([(int(fold[0]), N, N)] * right + [(int(fold[0]), V, N)] * (10 - right))
        return rows, *[np.empty((0, 3), int)] * 3, np.tile([0.6, 0.0, 0.4, 0.0, 0.0], (10, 1))

    monkeypatch.setattr(crossvalidation, "_held_out", held_out)
    monkeypatch.setattr(crossvalidation, "_loaded", lambda *arguments: None)
    return (("201",), ("101",))


def test_each_fold_is_judged_by_the_temperature_of_the_others(sure, config):
    """With two classes the best temperature gives the share that is right: (log 0.6/0.4) / T = log p/(1 - p).

    p is 0.7 over all beats, and for each fold that of the other: 0.6, at which nothing changes, and 0.8.
    """
    fitted = crossvalidation.calibrate(dataclasses.replace(config, seeds=(0, 4)), Source("local", Path()), sure)
    logit = np.log(0.6 / 0.4)
    assert fitted["temperature"] == pytest.approx(logit / np.log(7 / 3), rel=1e-3)
    assert fitted["temperatures"] == [pytest.approx(1, rel=1e-3), pytest.approx(logit / np.log(4), rel=1e-3)]
    assert fitted["before"]["ece"] == pytest.approx(0.1) and fitted["before"]["accuracy"] == 0.7
    assert fitted["after"]["ece"] == pytest.approx(0.2, abs=1e-3)  # 0.6 for 0.8 and 0.8 for 0.6
    entropy = -(0.7 * np.log(0.7) + 0.3 * np.log(0.3))
    assert fitted["fitted_nll"] == pytest.approx(entropy, rel=1e-4)


# The command ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def command(synthetic_db, config, monkeypatch):
    """The command line, with the small settings of these tests."""
    monkeypatch.setenv(DATA_DIR_VARIABLE, str(synthetic_db))
    small = {"epochs": 1, "threads": 1, "replays": 1, "cache_dir": config.cache_dir, "data_source": "local"}
    monkeypatch.setattr(crossvalidation, "Config", functools.partial(Config, **small))
    return lambda arguments: main(["crossvalidation", *arguments])


def test_the_command_writes_a_report_that_says_whose_data_it_is(command, tmp_path, capsys):
    out = tmp_path / "out"
    assert command(["--preset", "edge", "--mode", "causal", "--seeds", "3", "--out", str(out)]) == 0
    assert [path.name for path in out.iterdir()] == ["crossvalidation-causal-edge.json"]
    report = json.loads((out / "crossvalidation-causal-edge.json").read_text())
    assert report["data_source"] == "synthetic"
    assert (report["mode"], report["preset"], report["seeds"]) == ("causal", "edge", [3])
    assert report["folds"] == [list(fold) for fold in FOLDS]
    assert {"python", "torch", "numpy"} <= set(report["versions"])
    [row] = report["rows"]
    assert row["name"] == "all" and list(row["scores"]) == list(COLUMNS)
    assert all(0 <= score["mean"] <= 1 for score in row["scores"].values())
    matrices = np.array(list(row["records"].values()))
    assert list(row["records"]) == list(DS1) and matrices.shape == (22, 5, 5)
    assert np.trace(matrices.sum(axis=0)) / matrices.sum() == pytest.approx(row["scores"]["accuracy"]["mean"])
    output = capsys.readouterr().out
    assert "SYNTHETIC all:" in output and ideas_table(report) in output and records_table(report) in output


def test_the_command_fits_a_temperature(command, tmp_path, capsys):
    out = tmp_path / "out"
    assert command(["--preset", "edge", "--seeds", "3", "--temperature", "--out", str(out)]) == 0
    assert [path.name for path in out.iterdir()] == ["temperature-diagnostic-edge.json"]
    report = json.loads((out / "temperature-diagnostic-edge.json").read_text())
    assert report["data_source"] == "synthetic" and report["seeds"] == [3] and len(report["temperatures"]) == 4
    assert f"SYNTHETIC diagnostic, edge: temperature {report['temperature']:.3f}" in capsys.readouterr().out


def test_every_beat_of_ds1_is_in_the_matrices(source, config):
    _, matrices = cross_validate(config, source)
    for name, matrix in zip(DS1, matrices):
        assert matrix.sum() == len(read_beats(source.folder / name, "atr").samples)


def test_a_fold_does_not_depend_on_the_folds_before_it(source, config):
    _, matrices = cross_validate(config, source, folds=FOLDS[:2])
    _, others = cross_validate(config, source, folds=FOLDS[1::-1])
    assert np.array_equal(matrices, others) and matrices.any()


@pytest.mark.parametrize(
    "options, kind, folds, ideas",
    [
        ([], "crossvalidation", FOLDS, ["all"]),
        (["--ablation"], "ablation", FOLDS, ["all", *ABLATION]),
        (["--leave-one-out"], "leave-one-out", LEAVE_ONE_OUT, ["all"]),
    ],
)
def test_options_choose_folds_ideas_and_the_file(monkeypatch, tmp_path, options, kind, folds, ideas):
    seen = []

    def stand_in(config, *arguments):
        seen.append((config, *arguments))
        raise DeepECGError("seen")

    monkeypatch.setattr(crossvalidation, "score_ideas", stand_in)
    assert main(["crossvalidation", *options, "--out", str(tmp_path)]) == 2
    [(config, tried, tried_folds, path)] = seen
    assert config == Config(seeds=(0, 1))
    assert list(tried) == ideas and tried_folds == folds and path == tmp_path / f"{kind}-diagnostic-full.json"


@pytest.mark.parametrize(
    "arguments, named", [("--mode fast", "'fast'"), ("--seeds x", "'x'"), ("--nonsense", "--nonsense")]
)
def test_an_unknown_option_or_value_is_status_2(arguments, named, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["crossvalidation", *arguments.split()])
    assert stop.value.code == 2
    assert named in capsys.readouterr().err


def test_wrong_settings_and_folders_are_one_line_and_status_2(command, tmp_path, capsys, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(crossvalidation, "cross_validate", lambda *arguments: pytest.fail("hours for nothing"))
    for arguments, named in ((["--seeds", "1", "1"], "seeds"), (["--out", str(tmp_path / "file" / "x")], "file")):
        assert command(arguments) == 2
        errors = capsys.readouterr().err
        assert errors.startswith("error: ") and named in errors and len(errors.splitlines()) == 1
    monkeypatch.setenv(DATA_DIR_VARIABLE, str(tmp_path / "absent"))
    assert command(["--out", str(tmp_path / "out")]) == 2
    assert "absent" in capsys.readouterr().err


def test_what_was_done_before_an_interruption_is_in_the_report(command, tmp_path, monkeypatch, capsys):
    calls = []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        scores = {name: {"mean": 0.5, "sd": None, "n": 1} for name in COLUMNS}
        return scores, np.zeros((22, len(CLASSES), len(CLASSES)), int)

    monkeypatch.setattr(crossvalidation, "cross_validate", interrupted)
    assert command(["--ablation", "--seeds", "0", "--out", str(tmp_path)]) == 130
    report = json.loads((tmp_path / "ablation-diagnostic-full.json").read_text())
    assert [row["name"] for row in report["rows"]] == ["all", next(iter(ABLATION))]
    assert "Interrupted" in capsys.readouterr().err
