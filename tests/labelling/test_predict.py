"""`predict`: any WFDB record in, labels at its own rate out."""

import csv
import dataclasses
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import wfdb
from scipy.signal import resample_poly

import config as settings
from config import CLASSES, Config, with_overrides
from deep_ecg.beats.signal_watch import Runs, SignalWatch
from deep_ecg.beats.whole_record import Reading
from deep_ecg.labelling import annotations, choice, lead_beats, picture, predict, results, table
from deep_ecg.labelling.labelled import Labelled
from deep_ecg.labelling.summary import print_summary, rhythm_in_words, summarise
from deep_ecg.networks.classifier import load_classifier
from deep_ecg.networks.fibrillation import P_USUAL
from deep_ecg.networks.torch_network import save_checkpoint
from deep_ecg.records import synthetic, wfdb_files
from deep_ecg.records.database import Source
from deep_ecg.scoring import ec57, strips
from deep_ecg.system.errors import DeepECGError, NoBeats, NoOutput, PartlyDone
from deep_ecg.training.experiment import describe, hybrid_arguments
from model import HybridECGNet
from tests.support import ROOT
from tests.support.records import beat_times_s, spikes_mv, written_beats


def write_checkpoint(path: Path, source: str = "local", **settings) -> Path:
    """A checkpoint of random weights: what it answers does not matter here."""
    config = with_overrides(Config(preset="edge"), **settings)
    arguments = hybrid_arguments(config)
    torch.manual_seed(1)
    save_checkpoint(path, HybridECGNet(**arguments), arguments, describe(config, Source(source, path.parent), 0))
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "random.pt")


def write_record(folder: Path, name: str, signals: np.ndarray, fs_hz: float, leads=("MLII",), units="mV") -> str:
    """A WFDB record of `signals` (samples, leads); returns its path."""
    wfdb.wrsamp(
        name, fs_hz, [units] * len(leads), list(leads), p_signal=signals, fmt=["16"] * len(leads), write_dir=str(folder)
    )
    return str(folder / name)


@pytest.fixture
def spike_record(tmp_path) -> str:
    """30 s at 250 Hz, lead MLII."""
    return write_record(tmp_path, "spikes", spikes_mv(beat_times_s(30), 30, 250)[:, None], 250)


def read_table(path: Path) -> list[dict]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


# Results ---------------------------------------------------------------------------------------------------------


def test_real_record_keeps_its_annotated_beats(mitdb, tmp_path, checkpoint):
    [summary] = predict.predict_records([f"{mitdb}/203.hea"], Config(), tmp_path, peaks="atr", checkpoint=checkpoint)
    written = written_beats(tmp_path / "203")
    reference = wfdb.rdann(str(mitdb / "203"), "atr")
    beats = np.isin(reference.symbol, list("NLRejAaJSVEF/fQ"))
    assert np.array_equal(written.sample, reference.sample[beats])
    assert written.fs == 360
    assert summary["beats"] == 2980 == sum(summary["counts"].values())  # the database's own count for record 203
    assert (tmp_path / "203.png").stat().st_size > 10_000
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "203-events.csv", "203.csv", "203.html", "203.json", "203.png", "203.pred"
    ]  # fmt: skip


def test_table_agrees_with_annotations(spike_record, tmp_path, checkpoint):
    [summary] = predict.predict_records([spike_record], Config(), tmp_path, checkpoint=checkpoint)
    rows = read_table(tmp_path / "spikes.csv")
    written = written_beats(tmp_path / "spikes")
    assert list(rows[0]) == ("sample time_s class p_N p_S p_V p_F p_Q rr_ms rate_per_min signal sure rhythm".split())
    assert [int(row["sample"]) for row in rows] == list(written.sample)
    assert [row["class"] for row in rows] == written.symbol
    proba = np.array([[float(row[f"p_{name}"]) for name in CLASSES] for row in rows])
    assert np.allclose(proba.sum(axis=1), 1, atol=5e-6)
    assert [CLASSES[i] for i in proba.argmax(axis=1)] == written.symbol
    assert np.allclose([float(row["time_s"]) for row in rows], written.sample / 250, atol=5e-5)
    assert {name: written.symbol.count(name) for name in CLASSES} == summary["counts"]


@pytest.mark.parametrize("fs_hz", [128, 250, 257.5, 1000])
@pytest.mark.parametrize("mode", ["diagnostic", "causal"])
def test_beats_stay_at_the_records_own_rate(tmp_path, fs_hz, mode):
    times_s = beat_times_s(30)
    samples = np.round(times_s * fs_hz).astype(int)
    record = write_record(tmp_path, "rate", spikes_mv(times_s, 30, fs_hz)[:, None], fs_hz)
    wfdb.wrann("rate", "atr", samples, ["N"] * len(samples), fs=fs_hz, write_dir=str(tmp_path))
    path = write_checkpoint(tmp_path / "random.pt", mode=mode)
    [summary] = predict.predict_records([record], Config(mode=mode), tmp_path / "out", peaks="atr", checkpoint=path)
    written = written_beats(tmp_path / "out" / "rate")
    assert np.array_equal(written.sample, samples)
    assert written.fs == fs_hz == summary["fs_hz"]


def test_resampled_record_has_nearly_the_same_probabilities(mitdb, tmp_path):
    classifier = load_classifier(Config(), write_checkpoint(tmp_path / "random.pt"))
    at_360 = predict.label_record(mitdb / "112", classifier, Config(), "atr")
    resampled = resample_poly(at_360.record.signal_mv, 25, 36, padtype="line")
    record = write_record(tmp_path, "112", resampled[:, None], 250)
    samples = np.round(at_360.samples * 250 / 360).astype(int)
    wfdb.wrann("112", "atr", samples, ["N"] * len(samples), fs=250, write_dir=str(tmp_path))
    at_250 = predict.label_record(Path(record), classifier, Config(), "atr")
    assert np.median(np.abs(at_250.proba - at_360.proba)) < 0.01


def test_ectopic_burden_by_hand():
    proba = np.eye(5)[[0, 0, 0, 0, 0, 1, 2, 2, 3, 4]]  # N N N N N S V V F Q
    record = wfdb_files.Record("hand", "MLII", 360.0, np.zeros(1))
    summary = summarise(Labelled(record, np.arange(10), proba, None, False))
    assert summary["counts"] == {"N": 5, "S": 1, "V": 2, "F": 1, "Q": 1}
    assert summary["ectopic_percent"] == pytest.approx(40)
    assert summary["v_percent"] == pytest.approx(20)


def labelled_beats(samples: np.ndarray, signal: np.ndarray | None = None) -> lead_beats.LeadBeats:
    """Beats at `samples`, all N."""
    count = len(samples)
    signal = np.full(count, "ok") if signal is None else signal
    nothing = np.zeros(count, np.int64)
    p_waves = np.full(count, P_USUAL)
    return lead_beats.LeadBeats(samples, np.eye(5)[nothing], nothing, p_waves, nothing > 0, signal, SignalWatch(250.0))


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([500, 1002], [498, 996, 1500], [(500, "I"), (996, "II"), (1500, "II")]),  # each on the other's side
        ([500, 996], [498, 1002, 1500], [(500, "I"), (996, "I"), (1500, "II")]),  # each on its own
        ([500, 1002], [498, 1500], [(500, "I"), (1500, "II")]),  # shown by the lead alone that is not taken there
        ([500, 1100], [498, 960, 1500], [(500, "I"), (1500, "II")]),  # two beats
    ],
)
def test_a_beat_at_the_change_of_leads_is_told_once(first, second, expected):
    """At sample 1000 the second lead takes over, at 250 Hz; two marks within 30 samples are of one QRS."""
    beats = [labelled_beats(np.array(samples)) for samples in (first, second)]
    records = [wfdb_files.Record("r", lead, 250.0, np.zeros(2000)) for lead in ("I", "II")]
    taken = Runs(np.array([0, 1000]), np.array([0, 1]), 2000)
    merged = lead_beats._merged([0, 0], records, beats, taken, [])
    assert list(zip(merged.samples.tolist(), merged.leads.tolist())) == expected


def test_the_picture_of_an_earlier_run_is_removed_with_what_else_it_left(tmp_path):
    """As it would stay beside the results of a folder, which have none."""
    samples = 250 * np.arange(1, 21)
    record = wfdb_files.Record("made", "MLII", 250.0, np.zeros(6000))
    labelled = Labelled(record, samples, labelled_beats(samples).proba, None, False)
    files = results.result_files("made", tmp_path, False)
    for file in files:
        file.write_bytes(b"of another signal")
    assert results.write_results(files, labelled, None) == [files.annotations, files.table]
    assert {path.name for path in tmp_path.iterdir()} == {"made.pred", "made.csv"}


def rhythm_column(folder: Path, labelled: Labelled) -> list[str]:
    table.write_table(folder / "made.csv", labelled)
    with open(folder / "made.csv", newline="") as file:
        return [row["rhythm"] for row in csv.DictReader(file)]


def test_an_episode_of_fibrillation_is_marked_and_counted(tmp_path):
    """Beats every 0.8 s, from beat 300 on without order; the mark is where that begins, and is read back."""
    rr_s = np.concatenate([np.full(300, 0.8), np.random.default_rng(3).gamma(12, 0.65 / 12, 300)])
    samples = np.round(250 * np.cumsum(rr_s)).astype(int)
    record = wfdb_files.Record("made", "MLII", 250.0, np.zeros(samples[-1] + 250))
    beats = labelled_beats(samples)
    (one,) = rhythm = predict.fibrillation_in(beats, 250.0)
    assert one.kind == "atrial fibrillation or flutter" and one.last == samples[-1]
    assert abs(np.searchsorted(samples, one.first) - 300) <= 30
    labelled = Labelled(record, samples, beats.proba, None, False, signal=beats.signal, rhythm=rhythm)
    summary = summarise(labelled)
    share = 100 * (samples[-1] - one.first) / len(record.signal_mv)
    assert summary["rhythm"][one.kind] == {
        "count": 1, "beats": int((samples >= one.first).sum()),
        "s": pytest.approx((samples[-1] - one.first) / 250), "percent": pytest.approx(share, abs=0.01),
    }  # fmt: skip
    words = rhythm_in_words(summary["rhythm"])
    assert words == f"atrial fibrillation or flutter: 1 episode, {share:.1f} % of the time"
    annotations.write_annotations(tmp_path / "made.pred", labelled)
    found = wfdb.rdann(str(tmp_path / "made"), "pred")
    marks = [(at, note) for at, name, note in zip(found.sample.tolist(), found.symbol, found.aux_note) if name == "+"]
    assert marks == [(samples[0], "(N"), (one.first, "(AFIB")]
    assert found.sample[np.array(found.symbol) == "N"].tolist() == samples.tolist()
    assert ec57.read_marks(tmp_path / "made", "pred", 250.0).rhythms == [(samples[0], "N"), (one.first, "AFIB")]
    assert rhythm_column(tmp_path, labelled) == np.where(samples < one.first, "N", "AFIB").tolist()
    within = [dataclasses.replace(one, first=int(samples[10]), last=int(samples[20]))]
    expected = ["N"] * 10 + ["AFIB"] * 10 + ["N"] * 580
    assert rhythm_column(tmp_path, dataclasses.replace(labelled, rhythm=within)) == expected


def test_of_too_few_readable_beats_no_rhythm_is_said(tmp_path):
    """Of 40 beats 13 can be read, and all of 40: 12 intervals and 39; of 12, 11 are too few."""
    samples = 200 * np.arange(1, 41)
    signal = np.where(np.arange(40) < 13, "ok", "unreadable")
    assert predict.fibrillation_in(labelled_beats(samples), 250.0) == []
    assert predict.fibrillation_in(labelled_beats(samples, signal), 250.0) == []
    assert predict.fibrillation_in(labelled_beats(samples[:12]), 250.0) is None
    record = wfdb_files.Record("r", "MLII", 250.0, np.zeros(9000))
    silent = Labelled(record, samples, np.eye(5)[np.zeros(40, int)], None, False)
    assert summarise(silent)["rhythm"] is None and rhythm_in_words(None) is None
    assert rhythm_column(tmp_path, silent) == [""] * 40
    annotations.write_annotations(tmp_path / "r.pred", silent)
    assert set(wfdb.rdann(str(tmp_path / "r"), "pred").symbol) == {"N"}


def unsure() -> Labelled:
    """Five beats, of which the second and the fourth have less than 0.7; the fifth is Q and sure."""
    proba = np.array(
        [[0.9, 0.1, 0, 0, 0], [0.3, 0.6, 0.1, 0, 0], [0, 0, 0.7, 0.3, 0], [0.4, 0.2, 0.4, 0, 0], [0, 0, 0, 0, 1]]
    )
    record = wfdb_files.Record("r", "MLII", 100.0, np.zeros(1))
    return Labelled(record, np.arange(1, 6) * 80, proba, None, False)


def test_unsure_beats_are_not_classified(tmp_path, capsys):
    labelled = dataclasses.replace(unsure(), min_confidence=0.7)
    assert labelled.classified.tolist() == [True, False, True, False, True]
    annotations.write_annotations(tmp_path / "r.pred", labelled)
    written = written_beats(tmp_path / "r")
    assert written.symbol == ["N", "Q", "V", "Q", "Q"]
    assert [note.strip("\0") for note in written.aux_note] == ["", "not classified", "", "not classified", ""]
    table.write_table(tmp_path / "r.csv", labelled)
    rows = read_table(tmp_path / "r.csv")
    assert [(row["class"], row["classified"]) for row in rows] == [
        ("N", "1"), ("Q", "0"), ("V", "1"), ("Q", "0"), ("Q", "1")
    ]  # fmt: skip
    assert rows[1]["p_S"] == "0.600000"
    summary = summarise(labelled)
    assert summary["beats"] == 5 and summary["not_classified"] == 2
    assert summary["counts"] == {"N": 1, "S": 0, "V": 1, "F": 0, "Q": 1}
    assert summary["v_percent"] == pytest.approx(100 / 3)  # of those that are classified
    print_summary(summary | {"files": []}, "detected R-peaks", False)
    assert "Q 1, not classified 2; ectopic burden (S, V, F) 33.33 %" in capsys.readouterr().out


def test_every_beat_is_classified_unless_asked_for(tmp_path):
    annotations.write_annotations(tmp_path / "r.pred", unsure())
    assert written_beats(tmp_path / "r").symbol == ["N", "S", "V", "N", "Q"]
    table.write_table(tmp_path / "r.csv", unsure())
    assert "classified" not in read_table(tmp_path / "r.csv")[0]
    assert "not_classified" not in summarise(unsure())


def test_where_no_beat_is_classified_there_is_no_burden(tmp_path, capsys):
    labelled = dataclasses.replace(unsure(), proba=np.full((5, 5), 0.2), min_confidence=0.7)
    summary = summarise(labelled)
    assert summary["not_classified"] == 5 and summary["v_percent"] is None
    print_summary(summary | {"files": []}, "detected R-peaks", False)
    assert "ectopic burden (S, V, F) - %, V - %" in capsys.readouterr().out


def test_ec57_sees_an_unclassified_beat_as_found_and_neither_v_nor_s(tmp_path):
    """Its reference V is missed as a VEB, its reference N no false one; the QRS complexes are all found."""
    labelled = dataclasses.replace(unsure(), samples=unsure().samples + 31_000, min_confidence=0.7)
    wfdb.wrann("r", "atr", labelled.samples, list("NVVVN"), fs=100, write_dir=str(tmp_path))
    annotations.write_annotations(tmp_path / "r.pred", labelled)
    marks = [ec57.read_marks(tmp_path / "r", extension, 100.0) for extension in ("atr", "pred")]
    found = ec57.measures(ec57.compare(*marks, 100.0, 40_000)[0])
    assert found["qrs_se"] == found["qrs_ppv"] == (5, 5)
    assert found["veb_se"] == (1, 3) and found["veb_ppv"] == (1, 1)


@pytest.mark.parametrize("value", [-0.1, 1.01, float("nan"), float("inf")])
def test_a_least_confidence_that_is_no_probability_is_refused(spike_record, tmp_path, checkpoint, value):
    with pytest.raises(DeepECGError, match="--min-confidence .* 0 .* to 1"):
        predict.predict_records([spike_record], Config(), tmp_path / "out", checkpoint=checkpoint, min_confidence=value)
    assert not (tmp_path / "out").exists()


def test_probabilities_are_calibrated_and_labels_stay(spike_record, tmp_path, monkeypatch):
    """With half the logits the logarithms of all ratios of probabilities are halved."""
    found = []
    for temperature in (1.0, 2.0):
        monkeypatch.setitem(settings.TEMPERATURES, ("diagnostic", "edge"), temperature)
        classifier = load_classifier(Config(preset="edge"), write_checkpoint(tmp_path / f"{temperature}.pt"))
        found.append(predict.label_record(Path(spike_record), classifier, Config()))
    plain, milder = (np.log(labelled.proba[:, :1] / labelled.proba) for labelled in found)
    np.testing.assert_allclose(milder, plain / 2, atol=1e-5)
    assert np.array_equal(found[0].predicted, found[1].predicted)


def test_the_temperature_is_that_of_the_network_not_of_the_preset_asked_for(checkpoint):
    description = load_classifier(Config(preset="full"), checkpoint).description
    assert description.preset == "edge"
    assert description.decision.temperature == settings.TEMPERATURES["diagnostic", "edge"]


def test_todays_settings_have_no_say_in_the_labels_of_a_network(spike_record, checkpoint, monkeypatch):
    """Neither temperature nor priors nor anything of its inputs; see tests/networks/test_description.py."""
    before = predict.label_record(Path(spike_record), load_classifier(Config(), checkpoint), Config())
    monkeypatch.setitem(settings.TEMPERATURES, ("diagnostic", "edge"), 5.0)
    other = Config(s_prior_weight=0.0, v_prior_weight=0.0, fs_hz=250.0, band_hz=(1.0, 30.0), filter_order=1, lead="V1")
    after = predict.label_record(Path(spike_record), load_classifier(other, checkpoint), other)
    assert np.array_equal(before.proba, after.proba)


def test_annotation_files_are_read_as_the_settings_of_the_user_say(spike_record, checkpoint):
    """The symbols of another database: L is N to MIT-BIH; here it is V, and N is no beat."""
    wfdb.wrann("spikes", "atr", np.arange(1, 9) * 500, list("NLNLLNNL"), write_dir=str(Path(spike_record).parent))
    own = Config(annotation_classes=(("V", "L"),))
    classifier = load_classifier(Config(), checkpoint)
    labelled = predict.label_record(Path(spike_record), classifier, own, "atr")
    assert labelled.samples.tolist() == [1000, 2000, 2500, 4000] and labelled.reference.tolist() == [2] * 4
    assert len(predict.label_record(Path(spike_record), classifier, Config(), "atr").samples) == 8


@pytest.mark.parametrize(
    "events_s, duration_s, start_s",
    [
        ([], 100, 0),
        ([10, 50, 55, 60, 90], 100, 49),  # three within 49 ... 69 s; 1 s lead-in
        ([95], 100, 80),  # the strip ends with the record
        ([0.3], 100, 0),
        ([5], 12, 0),  # a record shorter than the strip
    ],
)
def test_strip_shows_the_most_ectopic_beats(events_s, duration_s, start_s):
    assert picture.busiest_start_s(np.array(events_s, float), duration_s) == start_s


@pytest.mark.parametrize(
    "extension, symbols, reference",
    [
        ("atr", "NLAV", [0, 0, 1, 2]),
        ("atr", "NNNN", [0, 0, 0, 0]),
        ("qrs", "NNNN", None),
        ("man", "NF/Q", [0, 3, 4, 4]),
    ],
)
def test_reference_is_the_annotators_not_a_detectors(tmp_path, checkpoint, extension, symbols, reference):
    record = write_record(tmp_path, "known", spikes_mv(np.arange(1, 5), 6, 360)[:, None], 360)
    wfdb.wrann("known", extension, np.arange(1, 5) * 360, list(symbols), write_dir=str(tmp_path))
    labelled = predict.label_record(Path(record), load_classifier(Config(), checkpoint), Config(), extension)
    assert (reference is None and labelled.reference is None) or list(labelled.reference) == reference


def test_name_that_wfdb_would_refuse(tmp_path, checkpoint, spike_record):
    for ending in (".hea", ".dat"):
        shutil.copy(spike_record + ending, tmp_path / f"a b.1{ending}")
    predict.predict_records([str(tmp_path / "a b.1")], Config(), tmp_path / "out", checkpoint=checkpoint)
    assert len(written_beats(tmp_path / "out" / "a b.1").sample) == len(beat_times_s(30))


# What is said ----------------------------------------------------------------------------------------------------


def test_summary_is_printed(spike_record, tmp_path, checkpoint, capsys):
    predict.predict_records([spike_record], Config(), tmp_path, checkpoint=checkpoint)
    printed = capsys.readouterr().out
    assert f"spikes: {len(beat_times_s(30))} beats, lead MLII, detected R-peaks" in printed
    assert re.search(r"N \d+, S \d+, V \d+, F \d+, Q \d+; ectopic burden \(S, V, F\) [\d.]+ %, V [\d.]+ %", printed)
    assert all(str(tmp_path / f"spikes{ending}") in printed for ending in (".pred", ".csv", ".png"))
    assert "SYNTHETIC" not in printed and "causal" not in printed


@pytest.mark.parametrize("synthetic_part", ["network", "record"])
def test_synthetic_is_stamped_everywhere(tmp_path, capsys, spike_record, synthetic_part, monkeypatch):
    drawn = {}

    def draw(path, *arguments, **unused):
        path.touch()
        drawn["stamp"] = arguments[7]

    monkeypatch.setattr(strips, "predictions_figure", draw)
    source = "synthetic" if synthetic_part == "network" else "local"
    path = write_checkpoint(tmp_path / "random.pt", source)
    if synthetic_part == "record":
        synthetic.write_database(tmp_path / "made", ["101"], 1.0)
        spike_record = str(tmp_path / "made" / "101")
    [summary] = predict.predict_records([spike_record], Config(), tmp_path / "out", checkpoint=path)
    name = Path(spike_record).name
    assert f"SYNTHETIC {name}: " in capsys.readouterr().out
    assert [Path(file).name for file in summary["files"]] == [
        f"{name}.pred",
        f"{name}-SYNTHETIC.csv",
        f"{name}-SYNTHETIC.html",
        f"{name}-events-SYNTHETIC.csv",
        f"{name}-SYNTHETIC.png",
        f"{name}.json",
    ]
    assert "SYNTHETIC" in (tmp_path / "out" / f"{name}.pred").read_text(errors="replace")
    assert '<p class="stamp">SYNTHETIC' in (tmp_path / "out" / f"{name}-SYNTHETIC.html").read_text(encoding="utf-8")
    assert drawn["stamp"] is True


def test_the_report_shows_the_reference_and_the_time_of_day_and_nobody_s_name(spike_record, tmp_path, checkpoint):
    """The record starts at 23:59:50; the reference calls the beats N, but for the third, which is V."""
    header = Path(f"{spike_record}.hea")
    first, *others = header.read_text().splitlines()
    header.write_text("\n".join([f"{first} 23:59:50 01/03/2026", *others, "# Jane Doe, born 1950", ""]))
    samples = np.round(beat_times_s(30) * 250).astype(int)
    symbols = ["N", "N", "V", *["N"] * (len(samples) - 3)]
    wfdb.wrann("spikes", "atr", samples, symbols, fs=250, write_dir=str(tmp_path))
    predict.predict_records([spike_record], Config(), tmp_path / "out", checkpoint=checkpoint)
    html = (tmp_path / "out" / "spikes.html").read_text(encoding="utf-8")
    assert "2026-03-01 23:59:50" in html and "the reference of spikes.atr" in html
    assert 'class="ref">v</text>' in html and 'class="ref">n</text>' in html
    told = json.loads((tmp_path / "out" / "spikes.json").read_text())["measures"]
    hours = [hour["time"] for hour in told["hours"]]
    assert told["started"] == "2026-03-01T23:59:50" and hours == ["23:59:50", "00:00:00"]
    assert not [path for path in (tmp_path / "out").iterdir() if b"Doe" in path.read_bytes()]


def test_the_picture_shows_the_reference_beside_detected_beats(spike_record, tmp_path, checkpoint, monkeypatch):
    drawn = {}

    def draw(path, *arguments, **unused):
        path.touch()
        drawn["reference"], drawn["record"] = arguments[5], arguments[6]

    monkeypatch.setattr(strips, "predictions_figure", draw)
    samples = np.round(beat_times_s(30) * 250).astype(int)
    wfdb.wrann("spikes", "atr", samples[1:], ["V"] * (len(samples) - 1), fs=250, write_dir=str(tmp_path))
    predict.predict_records([spike_record], Config(), tmp_path / "out", checkpoint=checkpoint)
    assert drawn == {"reference": pytest.approx(np.array([-1, *[2] * (len(samples) - 1)])), "record": "spikes"}


def test_marks_that_no_heart_can_make_are_told(spike_record, tmp_path, checkpoint, capsys):
    """A second mark 160 ms after the third beat, and 200 ms after the fifth, which is no less than the least."""
    samples = np.round(beat_times_s(30) * 250).astype(int)
    marks = np.sort(np.append(samples, [samples[2] + 40, samples[4] + 50]))
    wfdb.wrann("spikes", "atr", marks, ["N"] * len(marks), fs=250, write_dir=str(tmp_path))
    [summary] = predict.predict_records([spike_record], Config(), tmp_path / "out", peaks="atr", checkpoint=checkpoint)
    told = "1 RR interval below 200 ms, in which no heart beats twice"
    assert summary["short_rr"] == 1 and told in capsys.readouterr().out
    assert told in (tmp_path / "out" / "spikes.html").read_text(encoding="utf-8")


def test_a_run_that_fails_leaves_no_summary_of_another(spike_record, tmp_path, checkpoint, monkeypatch):
    def full(*unused):
        raise NoOutput("no room")

    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "spikes.json").write_text("{}")
    monkeypatch.setattr(predict, "write_results", full)
    with pytest.raises(NoOutput):
        predict.predict_records([spike_record], Config(), tmp_path / "out", checkpoint=checkpoint)
    assert not list((tmp_path / "out").iterdir())


def test_records_are_labelled_though_nobody_reads_what_is_said(spike_record, tmp_path):
    """As by `predict a b | head -1`: the reader has gone before the second record is told of."""
    for name in ("a", "b"):
        write_record(tmp_path, name, spikes_mv(beat_times_s(30), 30, 250)[:, None], 250)
    command = [sys.executable, str(ROOT / "main.py"), "predict", "spikes", "a", "b", "--out", "out", "--no-report"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline().startswith("spikes: ")
    process.stdout.close()
    assert process.stderr.read() == "" and process.wait() == 0
    assert {path.name for path in (tmp_path / "out").glob("*.csv")} == {"spikes.csv", "a.csv", "b.csv"}


def test_without_a_report_the_figures_stay(spike_record, tmp_path, checkpoint):
    predict.predict_records([spike_record], Config(), tmp_path / "out", checkpoint=checkpoint)
    predict.predict_records([spike_record], Config(), tmp_path / "out", checkpoint=checkpoint, report=False)
    assert sorted(path.suffix for path in (tmp_path / "out").iterdir()) == [".csv", ".json", ".pred"]
    told = json.loads((tmp_path / "out" / "spikes.json").read_text())
    assert told["measures"]["beats"]["classes"] == told["summary"]["counts"]


@pytest.mark.parametrize("record, said", [("208", True), ("100", False)])
def test_a_record_of_the_training_is_known_by_its_samples(mitdb, tmp_path, capsys, record, said):
    for ending in ("hea", "dat"):
        content = (mitdb / f"{record}.{ending}").read_bytes()
        (tmp_path / f"x.{ending}").write_bytes(content.replace(record.encode(), b"x") if ending == "hea" else content)
    config = Config(preset="edge")
    [summary] = predict.predict_records([str(tmp_path / "x")], config, tmp_path / "out", runtime="onnx", report=False)
    assert summary.get("trained_on") == ("mitdb 208" if said else None)
    assert ("the network was trained on this record (mitdb 208)" in capsys.readouterr().out) == said


def test_causal_mode_finds_its_r_peaks_causally(spike_record, tmp_path):
    """No R-peak changes when the signal after it does; test_stream.py compares the labels with those of a stream."""
    classifier = load_classifier(Config(mode="causal"), write_checkpoint(tmp_path / "random.pt", mode="causal"))
    found = predict.label_record(Path(spike_record), classifier, Config()).samples
    times_s = beat_times_s(30)
    assert np.abs(found[:, None] / 250 - times_s).min(axis=0).max() < 0.05 and len(found) == len(times_s)
    signal_mv = spikes_mv(times_s, 30, 250)
    signal_mv[5000:] *= -5
    changed = write_record(tmp_path, "changed", signal_mv[:, None], 250)
    other = predict.label_record(Path(changed), classifier, Config()).samples
    assert np.array_equal(other[other < 4900], found[found < 4900])


def test_causal_detector_names_the_record_that_it_cannot_take(tmp_path):
    record = write_record(tmp_path, "fast", spikes_mv(beat_times_s(5), 5, 2000)[:, None], 2000)
    classifier = load_classifier(Config(mode="causal"), write_checkpoint(tmp_path / "random.pt", mode="causal"))
    with pytest.raises(DeepECGError, match=r"fast: .* 100 to 1000 Hz .*--peaks"):
        predict.label_record(Path(record), classifier, Config())


@pytest.mark.parametrize(
    "leads, chosen, said",
    [
        (("V5", "MLII"), "MLII", False),
        (("V5", "ECG lead II"), "ECG lead II", True),
        (("I", "II", "III"), "II", True),
        (("ECG1", "ECG2"), "ECG1", True),
    ],
)
def test_lead_is_taken_by_name_and_a_fallback_is_said(tmp_path, checkpoint, capsys, leads, chosen, said):
    signals = np.column_stack([spikes_mv(beat_times_s(20), 20, 250)] * len(leads))
    record = write_record(tmp_path, "leads", signals, 250, leads)
    [summary] = predict.predict_records([record], Config(), tmp_path / "out", checkpoint=checkpoint)
    assert summary["lead"] == chosen
    assert (f"no lead MLII, taking '{chosen}'" in capsys.readouterr().out) == said


@pytest.mark.parametrize("leads, units", [(("RESP", "ECG"), "mV"), (("PLETH", "V"), "mV"), (("DI", "DII"), "\u00b5V")])
def test_what_is_no_ecg_is_not_taken_unasked(tmp_path, checkpoint, leads, units):
    """The other signal has the larger swings."""
    ecg = spikes_mv(beat_times_s(20), 20, 250) * (1 if units == "mV" else 1000)
    record = write_record(tmp_path, "r", np.column_stack([np.cumsum(ecg), ecg]), 250, leads, "uV")
    header = Path(f"{record}.hea")
    header.write_text(header.read_text().replace("uV", units), encoding="utf-8")
    labelled = predict.label_record(Path(record), load_classifier(Config(), checkpoint), Config())
    assert labelled.record.lead == leads[1] and len(labelled.samples) == len(beat_times_s(20))


def test_the_first_signal_that_is_not_flat_is_taken_and_twins_are_told_apart(tmp_path, checkpoint, capsys):
    signals = np.column_stack([np.zeros(5000), spikes_mv(beat_times_s(20), 20, 250)])
    record = write_record(tmp_path, "dup", signals, 250, ("ECG", "ECG0"))
    Path(f"{record}.hea").write_text(Path(f"{record}.hea").read_text().replace("ECG0", "ECG"))  # wfdb writes no twins
    for lead in (None, "2"):
        [summary] = predict.predict_records([record], Config(), tmp_path / "out", lead=lead, checkpoint=checkpoint)
        assert summary["lead"] == "ECG (signal 2)" and summary["beats"] == len(beat_times_s(20))
        said = "lead ECG (signal 1) is flat, taking 'ECG (signal 2)'" in capsys.readouterr().out
        assert said == (lead is None)
    with pytest.raises(DeepECGError, match=r"lead ECG \(signal 1\): the signal is flat"):
        predict.predict_records([record], Config(), tmp_path / "out", lead="1", checkpoint=checkpoint)


def test_a_lead_is_named_in_any_letters(tmp_path, checkpoint):
    signals = np.column_stack([spikes_mv(beat_times_s(20), 20, 250)] * 2)
    record = write_record(tmp_path, "two", signals, 250, ("MLII", "V1"))
    [summary] = predict.predict_records([record], Config(), tmp_path / "out", lead="v1", checkpoint=checkpoint)
    assert summary["lead"] == "V1"


@pytest.mark.parametrize("mode", ["diagnostic", "causal"])
def test_a_short_gap_is_bridged_and_a_long_one_is_lost_signal(tmp_path, mode):
    """All beats are found but those in the gap; the interval across it is none: the beat after it has no past one."""
    classifier = load_classifier(Config(mode=mode), write_checkpoint(tmp_path / "random.pt", mode=mode))
    times_s, found = beat_times_s(40), {}
    for name, missing in (("whole", 0), ("short", 1), ("long", 1000)):
        signal_mv = spikes_mv(times_s, 40, 250)
        between = int(250 * (times_s[20] + times_s[21]) / 2)
        signal_mv[between : between + missing] = np.nan
        record = write_record(tmp_path, name, signal_mv[:, None], 250)
        found[name] = predict.label_record(Path(record), classifier, Config(mode=mode))
    assert len(found["whole"].samples) == len(found["short"].samples) == len(times_s)
    np.testing.assert_allclose(found["short"].samples, found["whole"].samples, atol=1)
    inside = (times_s * 250 > between) & (times_s * 250 < between + 1000)
    seen = np.abs(found["long"].samples[:, None] / 250 - times_s[~inside]).min(axis=0) < 0.05
    assert inside.sum() > 3 and seen.all()


@pytest.mark.parametrize("file_hz", [250, 257.5])
def test_peaks_at_another_resolution_are_at_the_same_times(tmp_path, checkpoint, file_hz):
    """Of a file that states it: the labels are those of the same beats at the record's own rate."""
    times_s = beat_times_s(30)
    record = write_record(tmp_path, "r", spikes_mv(times_s, 30, 360)[:, None], 360)
    for extension, fs_hz in (("atr", 360), ("qrs", file_hz)):
        samples = np.round(times_s * fs_hz).astype(int)
        wfdb.wrann("r", extension, samples, ["N"] * len(samples), fs=fs_hz, write_dir=str(tmp_path))
    classifier = load_classifier(Config(), checkpoint)
    own, other = (predict.label_record(Path(record), classifier, Config(), name) for name in ("atr", "qrs"))
    assert np.abs(own.samples - other.samples).max() <= 1
    assert np.array_equal(own.predicted, other.predicted)


def test_a_beat_after_the_end_is_left_out_and_said(spike_record, tmp_path, checkpoint, capsys):
    samples = [*np.round(beat_times_s(30) * 250).astype(int), 7500]
    wfdb.wrann("spikes", "atr", np.array(samples), ["N"] * len(samples), fs=250, write_dir=str(tmp_path))
    [summary] = predict.predict_records([spike_record], Config(), tmp_path, peaks="atr", checkpoint=checkpoint)
    assert summary["beats"] == len(samples) - 1 and summary["left_out"] == 1
    assert f"spikes.atr: 1 of {len(samples)} beats outside the signal, left out" in capsys.readouterr().out


def test_lead_asked_for_goes_before_mlii(tmp_path, checkpoint):
    signals = np.column_stack([spikes_mv(beat_times_s(20), 20, 250)] * 2)
    record = write_record(tmp_path, "two", signals, 250, ("MLII", "V1"))
    [summary] = predict.predict_records([record], Config(), tmp_path / "out", lead="V1", checkpoint=checkpoint)
    assert summary["lead"] == "V1"


# Checkpoints -----------------------------------------------------------------------------------------------------


def test_inputs_are_made_as_the_checkpoint_was_trained(tmp_path):
    path = write_checkpoint(tmp_path / "random.pt", band_hz=(1.0, 40.0), filter_order=3, window_samples=240)
    used = load_classifier(Config(), path).inputs
    assert (used.band_hz, used.filter_order, used.window_samples) == ((1.0, 40.0), 3, 240)


def test_checkpoint_of_the_other_mode_is_refused(spike_record, tmp_path, checkpoint):
    with pytest.raises(DeepECGError, match="made for mode 'diagnostic', not 'causal'"):
        predict.predict_records([spike_record], Config(mode="causal"), tmp_path, checkpoint=checkpoint)


def test_missing_checkpoint_is_named(spike_record, tmp_path):
    with pytest.raises(DeepECGError, match="absent.pt is missing"):
        predict.predict_records([spike_record], Config(), tmp_path, checkpoint=tmp_path / "absent.pt")


# Wrong records ---------------------------------------------------------------------------------------------------


def wrong_flat(folder: Path) -> str:
    return write_record(folder, "wrong", np.full((5000, 1), 0.5), 250)


def wrong_truncated(folder: Path) -> str:
    record = write_record(folder, "wrong", spikes_mv(beat_times_s(20), 20, 250)[:, None], 250)
    data = (folder / "wrong.dat").read_bytes()
    (folder / "wrong.dat").write_bytes(data[: len(data) // 2])
    return record


def wrong_without_signal_file(folder: Path) -> str:
    record = write_record(folder, "wrong", spikes_mv(beat_times_s(20), 20, 250)[:, None], 250)
    (folder / "wrong.dat").unlink()
    return record


def wrong_missing(folder: Path) -> str:
    return str(folder / "wrong")


def wrong_header(folder: Path) -> str:
    (folder / "wrong.hea").write_text("not a header\n")
    return str(folder / "wrong")


def wrong_units(folder: Path) -> str:
    return write_record(folder, "wrong", np.random.default_rng(0).normal(0, 1, (5000, 1)), 250, ("RESP",), "Ohm")


def wrong_too_slow(folder: Path) -> str:
    return write_record(folder, "wrong", spikes_mv(beat_times_s(20), 20, 25)[:, None], 25)


def wrong_shorter_than_a_beat(folder: Path) -> str:
    return write_record(folder, "wrong", spikes_mv(np.array([0.1]), 0.2, 250)[:, None], 250)


@pytest.mark.parametrize(
    "make, message",
    [
        (wrong_flat, "flat"),
        (wrong_truncated, "truncated"),
        (wrong_without_signal_file, "missing"),
        (wrong_missing, "there is no"),
        (wrong_header, "header"),
        (wrong_units, r"no signal that is an ECG by name and unit: .*--lead: RESP \(Ohm\)"),
        (wrong_too_slow, "sampled at 25 Hz"),
        (wrong_shorter_than_a_beat, "less than a second"),
    ],
)
def test_a_wrong_record_is_one_line_that_names_it_and_the_others_are_done(
    tmp_path, spike_record, checkpoint, capsys, make, message
):
    (tmp_path / "bad").mkdir()
    record = make(tmp_path / "bad")
    with pytest.raises(DeepECGError, match=message):
        predict.predict_records([record], Config(), tmp_path / "alone", checkpoint=checkpoint)
    with pytest.raises(PartlyDone, match="1 of 2 records failed"):
        predict.predict_records([record, spike_record], Config(), tmp_path / "out", checkpoint=checkpoint)
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("failed: ") and "wrong" in line and re.search(message, line)
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "spikes-events.csv", *(f"spikes.{ending}" for ending in ("csv", "html", "json", "png", "pred"))
    }  # fmt: skip


def test_a_record_without_beats_gets_an_empty_table_and_its_own_status(tmp_path, spike_record, checkpoint, capsys):
    (tmp_path / "off").mkdir()
    noise_mv = np.round(np.random.default_rng(1).normal(0, 0.002, (30 * 250, 1)), 3)
    record = write_record(tmp_path / "off", "off", noise_mv, 250)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "off.pred").write_text("of another signal")
    with pytest.raises(NoBeats, match="no beat was found in .*off") as error:
        predict.predict_records([record, spike_record], Config(), tmp_path / "out", checkpoint=checkpoint)
    assert error.value.status == 4
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"spikes.pred"} | {
        f"{name}{ending}" for name in ("off", "spikes") for ending in ("-events.csv", ".csv", ".html", ".json", ".png")
    }
    assert (tmp_path / "out" / "off.csv").read_text() == (
        "sample,time_s,class,p_N,p_S,p_V,p_F,p_Q,rr_ms,rate_per_min,signal,sure,rhythm\n"
    )
    assert "no beats for 30 s: 0:00:00-0:00:29 (signal too small: lead off?)" in capsys.readouterr().out


def test_one_beat_is_labelled(tmp_path, checkpoint, monkeypatch):
    record = write_record(tmp_path, "one", spikes_mv(np.array([2.0]), 4, 250)[:, None], 250)
    no, states = np.zeros(1, bool), Runs.of([np.zeros(1000, np.int8)])
    reading = Reading(np.array([500]), ~no, no, states, SignalWatch(250))
    monkeypatch.setattr(lead_beats, "read_whole", lambda *_: reading)
    [summary] = predict.predict_records([record], Config(), tmp_path / "out", checkpoint=checkpoint)
    assert summary["beats"] == 1 == sum(summary["counts"].values())
    assert written_beats(tmp_path / "out" / "one").sample.tolist() == [500]


def test_unknown_lead_is_refused(spike_record, tmp_path, checkpoint):
    with pytest.raises(DeepECGError, match="no lead 'V9': it has MLII"):
        predict.predict_records([spike_record], Config(), tmp_path, lead="V9", checkpoint=checkpoint)


@pytest.mark.parametrize(
    "samples, message",
    [([250], "holds 1 beats"), ([250, 250, 500], "follow one another"), ([250, 9000, 9300], "outside")],
)
def test_wrong_annotations_are_refused(spike_record, tmp_path, checkpoint, samples, message):
    wfdb.wrann("spikes", "qrs", np.array(samples), ["N"] * len(samples), write_dir=str(tmp_path))
    with pytest.raises(DeepECGError, match=message):
        predict.predict_records([spike_record], Config(), tmp_path, peaks="qrs", checkpoint=checkpoint)


def test_missing_annotation_file_is_named(spike_record, tmp_path, checkpoint):
    with pytest.raises(DeepECGError, match="spikes.atr"):
        predict.predict_records([spike_record], Config(), tmp_path, peaks="atr", checkpoint=checkpoint)


@pytest.mark.parametrize(
    "extension, message", [("hea", "is a header"), ("dat", "is truncated, or another kind of file")]
)
def test_a_file_without_annotations_is_told_in_plain_words(spike_record, tmp_path, checkpoint, extension, message):
    with pytest.raises(DeepECGError, match=rf"spikes\.{extension} {message}") as refusal:
        predict.predict_records([spike_record], Config(), tmp_path, peaks=extension, checkpoint=checkpoint)
    assert not re.search(r"index|byte|object|codec", str(refusal.value).replace(str(tmp_path), ""))


def test_a_record_is_named_by_any_of_its_files(spike_record):
    (Path(spike_record).parent / "spikes.atr").write_bytes(bytes(2))
    for name in ("spikes", "spikes.hea", "spikes.dat", "spikes.atr"):
        assert choice.record_path(str(Path(spike_record).parent / name), Config()) == Path(spike_record)
    assert choice.record_path("no/such.dat", Config()) == Path("no/such.dat")
    assert choice.record_path("x" * 5000, Config()) == Path("x" * 5000)


def test_a_record_of_the_data_folder_is_found_there_and_that_is_said(spike_record, tmp_path, monkeypatch, capsys):
    away = tmp_path / "herzschl\u00e4ge \u00df"
    away.mkdir()
    monkeypatch.chdir(away)
    monkeypatch.setenv(settings.DATA_DIR_VARIABLE, str(Path(spike_record).parent))
    assert choice.record_path("spikes", Config()) == Path(spike_record)
    assert f"spikes: record spikes of the data folder {Path(spike_record).parent}" in capsys.readouterr().out
    for ending in (".hea", ".dat"):
        shutil.copy(spike_record + ending, away / f"\u00df{ending}")
    assert choice.record_path("\u00df", Config()) == Path("\u00df") and not capsys.readouterr().out


@pytest.mark.parametrize("name", ["", " "])
def test_an_empty_name_is_refused(tmp_path, checkpoint, name):
    with pytest.raises(DeepECGError, match="empty name"):
        predict.predict_records([name], Config(), tmp_path, checkpoint=checkpoint)


def test_a_record_named_as_the_events_of_another_is_refused(spike_record, tmp_path, checkpoint):
    folder = Path(spike_record).parent
    for ending in (".hea", ".dat"):
        shutil.copy(spike_record + ending, folder / f"spikes-events{ending}")
    with pytest.raises(DeepECGError, match="both write spikes-events.csv: rename one"):
        predict.predict_records([spike_record, f"{spike_record}-events"], Config(), tmp_path, checkpoint=checkpoint)


def test_two_records_of_one_name_are_refused(spike_record, tmp_path, checkpoint):
    with pytest.raises(DeepECGError, match="share a name"):
        predict.predict_records([spike_record, spike_record + ".hea"], Config(), tmp_path, checkpoint=checkpoint)


def test_out_that_is_a_file_is_refused(spike_record, tmp_path, checkpoint):
    (tmp_path / "taken").write_text("")
    with pytest.raises(DeepECGError, match="cannot be written"):
        predict.predict_records([spike_record], Config(), tmp_path / "taken", checkpoint=checkpoint)
