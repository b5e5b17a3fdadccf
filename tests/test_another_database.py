"""Another WFDB database by settings alone: other rate, leads, symbols and extension; small and SYNTHETIC."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import wfdb

import config as settings
import main
from config import CLASSES, DATA_DIR_VARIABLE, Config
from data_loader import load_beats, load_replays
from deep_ecg.beats.strip import read_strip
from deep_ecg.labelling.predict import label_record
from deep_ecg.networks import torch_network
from deep_ecg.networks.classifier import load_classifier
from deep_ecg.records import synthetic
from deep_ecg.records.database import Source, ingest, record_files
from deep_ecg.records.databases import DATABASES, Database
from deep_ecg.system.errors import DeepECGError
from deep_ecg.training.experiment import describe, hybrid_arguments
from model import HybridECGNet
from tests.support.records import refused

FS_HZ = 250
TRAIN, VALIDATION, TEST = ("p1/a", "p2/b", "p3/c"), ("p3/c",), ("p4/d", "p5/e")
RR_S = 0.8
CLASS_OF = {"N": "N", "^": "S", "B": "V"}  # ^ is no beat and B is N where the symbols are those of MIT-BIH


def symbols_of(count: int) -> list[str]:
    """Every fifth beat is V, every seventh S, after a first N; written as this database does."""
    return ["B" if k % 5 == 4 else "^" if k % 7 == 6 else "N" for k in range(count)]


def write_record(folder, name: str, length_s: float = 40.0, leads=("ECG2", "ECG1"), extension="qrs2"):
    """R-peaks every RR_S from 1 s on, in ECG1 alone; beside them a mark that is no beat."""
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    peaks_s = np.arange(1, length_s - 1, RR_S)
    t_s = np.arange(round(length_s * FS_HZ)) / FS_HZ
    widths_s = np.where(np.array(symbols_of(len(peaks_s))) == "B", 0.04, 0.012)
    beats_mv = np.exp(-0.5 * ((t_s[:, None] - peaks_s) / widths_s) ** 2).sum(axis=1)
    others_mv = {"ECG1": beats_mv, "ECG2": 0.3 * np.sin(2 * np.pi * t_s)}
    own = {"record_name": (folder / name).name, "write_dir": str((folder / name).parent)}
    signals = np.stack([others_mv.get(lead, beats_mv) for lead in leads], axis=1)
    wfdb.wrsamp(fs=FS_HZ, units=["mV"] * 2, sig_name=list(leads), p_signal=signals, fmt=["16", "16"],
                comments=["SYNTHETIC"], **own)  # fmt: skip
    marks = {round(second * FS_HZ): symbol for second, symbol in zip(peaks_s, symbols_of(len(peaks_s)))} | {20: "+"}
    samples = sorted(marks)
    wfdb.wrann(
        extension="written", sample=np.array(samples), symbol=[marks[sample] for sample in samples], **own
    )
    (folder / f"{name}.written").rename(folder / f"{name}.{extension}")  # wfdb writes no digits into an extension


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    folder = tmp_path_factory.mktemp("another")
    for name in TRAIN + TEST:
        write_record(folder, name)
    return folder


@pytest.fixture
def config(database, tmp_path, monkeypatch) -> Config:
    monkeypatch.delenv(DATA_DIR_VARIABLE, raising=False)
    return Config(
        preset="edge",
        data_source="local",
        data_dir=str(database),
        train_records=TRAIN,
        validation_records=VALIDATION,
        test_records=TEST,
        lead="II",
        other_leads=("ECG1", "ECG2"),
        annotation_extension="qrs2",
        annotation_classes=(("N", "N"), ("S", "^"), ("V", "B")),
        runs_dir=str(tmp_path / "runs"),
        cache_dir=str(tmp_path / "cache"),
        threads=1,
        replays=1,
        batch_size=16,
    )


def test_the_files_of_a_record_are_those_that_its_header_names(database, config):
    expected = [f"p4/d.{ending}" for ending in ("hea", "dat", "qrs2")]
    assert record_files(database, ("p4/d",), config) == expected
    assert record_files(database, ("p9/x",), config) == [f"p9/x.{ending}" for ending in ("hea", "dat", "qrs2")]


def test_beats_are_where_and_what_the_annotations_say(config):
    """R-peaks at 1.0, 1.8 ... 38.6 s of 40 s at 250 Hz: 48 beats, at samples 250, 450 ..."""
    beats = load_beats(ingest(config), ("p4/d",), config)
    assert beats.samples.tolist() == [250 + 200 * k for k in range(48)]
    assert [CLASSES[label] for label in beats.labels] == [CLASS_OF[symbol] for symbol in symbols_of(48)]
    assert set(beats.records.tolist()) == {"p4/d"}
    assert np.abs(beats.windows[:, 0].argmax(axis=1) - 140).max() <= 1  # of ECG1, whose R-peaks these are, at 360 Hz


def test_the_first_lead_of_the_list_that_a_record_has_is_taken(config, database, tmp_path):
    other = dataclasses.replace(config, lead="ECG2", other_leads=("ECG1",))
    assert not np.array_equal(
        load_beats(ingest(config), TEST, config).windows, load_beats(ingest(other), TEST, other).windows
    )
    none = dataclasses.replace(config, lead="V9", other_leads=("aVR",))
    with pytest.raises(DeepECGError, match="p4/d has no lead 'V9' or 'aVR': it has ECG2, ECG1"):
        load_beats(ingest(none), TEST, none)


def test_a_strip_has_the_settings_leads_and_symbols(config, database):
    strip = read_strip(database / "p4/d", config)
    assert strip.peaks[:2].tolist() == [360, 648]  # 1.0 and 1.8 s at 360 Hz
    assert strip.leads_mv.shape == (40 * 360, 2) and strip.leads_mv[360, 0] == pytest.approx(1.0, abs=0.02)
    assert strip.labels[:7].tolist() == [0, 0, 0, 0, 2, 0, 1]


def test_replays_have_labels_of_their_own_whatever_the_symbols(config):
    replays = load_replays(ingest(config), TRAIN, config)
    assert set(replays.labels.tolist()) <= {0, 1, 2, 3} and {0, 1} <= set(replays.labels.tolist())


@pytest.mark.parametrize(
    "change",
    [
        {"annotation_classes": (("N", "N ^"), ("V", "B"))},
        {"other_leads": ("ECG2",)},
        {"annotation_extension": "atr"},
    ],
)
def test_what_changes_the_beats_is_known_to_the_cache(config, tmp_path, change):
    folder = tmp_path / "data"
    write_record(folder, "a")
    write_record(folder, "a", extension="atr", length_s=30.0)
    write_record(folder, "a")
    source = Source("local", folder)
    before = load_beats(source, ("a",), config)
    after = load_beats(source, ("a",), dataclasses.replace(config, **change))
    same = np.array_equal(before.labels, after.labels) and np.array_equal(before.windows, after.windows)
    assert not same
    assert np.array_equal(load_beats(source, ("a",), config).windows, before.windows)


def test_a_database_that_is_not_there_is_not_replaced_by_a_synthetic_one(config, tmp_path):
    (tmp_path / "absent").mkdir()
    for wanted in ("auto", "local"):
        absent = dataclasses.replace(config, data_source=wanted, data_dir=str(tmp_path / "absent"))
        with pytest.raises(DeepECGError, match=r"15 files are missing, the first is p1/a\.hea"):
            ingest(absent)
    with pytest.raises(DeepECGError, match="no synthetic record 'p1/a'"):
        ingest(dataclasses.replace(config, data_source="synthetic"))


def test_it_is_trained_and_tested_on(config, monkeypatch):
    """The whole run, three epochs; the symbols of 2 x 48 test beats by hand: 9 V, 5 S a record (beat 34 is V)."""
    monkeypatch.setitem(settings.PRESETS, "edge", dataclasses.replace(settings.PRESETS["edge"], epochs=3))
    report = main.run(config, "trial")
    counts = {name: scores["n"] for name, scores in report["ds2"]["per_class"].items()}
    assert counts == {"N": 68, "S": 10, "V": 18, "F": 0, "Q": 0}
    assert list(report["ds2"]["per_record"]) == list(TEST)
    folder = Path(config.runs_dir) / "trial"
    text = (folder / "report.md").read_text()
    assert "DS2" not in text and "Results on the test records" in text
    assert (folder / "images" / "predictions.png").read_bytes().startswith(b"\x89PNG")

    again = main.evaluate(config, folder / "seed-0" / "checkpoint.pt", "again")
    assert again["ds2"] == report["ds2"]


@pytest.fixture
def svdb(monkeypatch, tmp_path) -> Database:
    """Two records in the place of the supraventricular database, one of them held out; S is written ^ here."""
    folder = tmp_path / "svdb"
    for name in ("801", "803"):
        write_record(folder, name, extension="atr")
    monkeypatch.setenv("DEEP_ECG_SVDB_DIR", str(folder))
    classes = (("N", "N"), ("S", "^"), ("V", "B"))
    small = dataclasses.replace(DATABASES["svdb"], train=("801",), held_out=("803",), annotation_classes=classes)
    monkeypatch.setitem(DATABASES, "svdb", small)
    return small


def test_by_the_open_protocol_other_databases_teach_and_their_held_out_patients_are_scored(config, svdb, monkeypatch):
    short = dataclasses.replace(settings.PRESETS["edge"], epochs=2, open_epochs=2)
    monkeypatch.setitem(settings.PRESETS, "edge", short)
    monkeypatch.setattr(synthetic, "is_synthetic", lambda *where: False)
    report = main.run(dataclasses.replace(config, databases=("mitdb", "svdb")))
    folder = Path(config.runs_dir) / "open-diagnostic-edge"
    counts = {name: scores["n"] for name, scores in report["held_out"]["svdb"]["per_class"].items()}
    assert counts == {"N": 34, "S": 5, "V": 9, "F": 0, "Q": 0}
    text = (folder / "report.md").read_text()
    assert "Held-out patients of other databases" in text and "| mitdb, svdb |" in text
    assert load_classifier(config, folder / "seed-0" / "checkpoint.pt").description.training["databases"] == [
        "mitdb", "svdb"
    ]  # fmt: skip


def test_real_patients_are_not_mixed_with_synthetic_ones(config, svdb):
    both = dataclasses.replace(config, databases=("mitdb", "svdb"))
    refused(lambda: main.run(both), "svdb is real and mitdb is synthetic here", DATA_DIR_VARIABLE)


def network(folder: Path, mode: str) -> Path:
    """The checkpoint of an untrained network with the settings of MIT-BIH: lead MLII, 360 Hz."""
    mitbih = Config(mode=mode, preset="edge")
    arguments = hybrid_arguments(mitbih)
    torch.manual_seed(1)
    path = folder / f"{mode}.pt"
    description = describe(mitbih, Source("local", folder), 0)
    torch_network.save_checkpoint(path, HybridECGNet(**arguments), arguments, description)
    return path


@pytest.mark.parametrize("mode", settings.MODES)
def test_a_checkpoint_of_another_database_is_scored_on_it(config, database, tmp_path, mode, monkeypatch, capsys):
    """As `predict` labels the same beats, and only the records to test on are asked for."""
    only = dataclasses.replace(config, mode=mode, train_records=("absent", "gone"), validation_records=("gone",))
    monkeypatch.setattr(main, "Config", lambda: only)
    checkpoint = network(tmp_path, mode)
    assert main.main(["evaluate", "p5/e", "--checkpoint", str(checkpoint)]) == 0
    folder = Path(config.runs_dir) / f"evaluate-{mode}-edge-SYNTHETIC"
    report = json.loads((folder / "report.json").read_text())
    classifier = load_classifier(only, checkpoint)
    labelled = label_record(database / "p5/e", classifier, only, "qrs2", "ECG1")
    confusion = np.zeros((5, 5), int)
    np.add.at(confusion, (labelled.reference, labelled.predicted), 1)
    assert report["ds2"]["confusion"] == confusion.tolist() and confusion.sum() == 48
    assert report["checkpoint"] == str(checkpoint)
    output = capsys.readouterr().out
    assert "SYNTHETIC DATA" in output and "SYNTHETIC: the test records" in output and "n = 48 beats" in output
    assert (folder / "report.md").read_text().startswith("# SYNTHETIC")


def test_a_record_that_the_network_was_trained_on_is_not_scored(config, monkeypatch, capsys):
    monkeypatch.setattr(main, "Config", lambda: config)
    assert main.main(["evaluate", "p1/a"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "'p1/a' is in train_records too" in error
