"""Beats of unreadable signal, and leads that take over: in the table, the annotations, the summary and the words."""

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import wfdb

from config import Config
from deep_ecg.labelling import lead_beats, predict
from deep_ecg.labelling.results import recording_of
from deep_ecg.networks.classifier import load_classifier
from deep_ecg.networks.torch_network import save_checkpoint
from deep_ecg.records.database import Source
from deep_ecg.records.long_signal import LongSignal
from deep_ecg.records.wfdb_files import read_record
from deep_ecg.report.report import Report
from deep_ecg.report.shapes import REST
from deep_ecg.training.experiment import describe, hybrid_arguments
from model import HybridECGNet
from tests.support.records import motion_mv, written_beats

FS_HZ = 360
NOISE = slice(20 * FS_HZ, 30 * FS_HZ)  # of a minute of record 119
AFTER_S = 5.0  # the network sees as far back


@pytest.fixture(scope="module", params=["diagnostic", "causal"])
def mode(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, mode) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "random.pt"
    arguments, config = hybrid_arguments(Config(mode=mode)), Config(mode=mode)
    save_checkpoint(path, HybridECGNet(**arguments), arguments, describe(config, Source("local", path.parent), 0))
    return path


def written(mitdb: Path, folder: Path, leads: list[str], noisy: list[str]) -> str:
    """A record of a minute of 119 with `leads`, of which nothing can be read of those that are `noisy` for a while."""
    source = wfdb.rdrecord(str(mitdb / "119"), sampfrom=600 * FS_HZ, sampto=660 * FS_HZ, channel_names=leads)
    signals_mv = source.p_signal[:, [source.sig_name.index(name) for name in leads]]
    for name in noisy:
        number = leads.index(name)
        signals_mv[NOISE, number] += motion_mv(NOISE.stop - NOISE.start, FS_HZ, 3 + number)
    units, fmt = ["mV"] * len(leads), ["16"] * len(leads)
    wfdb.wrsamp("r", FS_HZ, units, leads, p_signal=signals_mv, fmt=fmt, write_dir=str(folder))
    return str(folder / "r")


def labelled(record: str, folder: Path, mode: str, checkpoint: Path, **options) -> tuple[dict, list[dict]]:
    """The summary and the rows of the table of `record`."""
    config = Config(mode=mode, second_lead=True)
    [summary] = predict.predict_records([record], config, folder, checkpoint=checkpoint, **options)
    with open(folder / "r.csv", newline="") as file:
        return summary, list(csv.DictReader(file))


def test_beats_of_unreadable_signal_are_q_and_counted_apart(mitdb, tmp_path, mode, checkpoint, capsys):
    summary, rows = labelled(written(mitdb, tmp_path, ["MLII"], ["MLII"]), tmp_path / "out", mode, checkpoint)
    unread = [row for row in rows if row["signal"] == "unreadable"]
    assert len(unread) == summary["unreadable"] > 1
    assert summary["beats"] == len(rows) == sum(summary["counts"].values()) + len(unread)
    assert all(NOISE.start - FS_HZ < int(row["sample"]) < NOISE.stop + AFTER_S * FS_HZ for row in unread)
    assert {(row["class"], row["p_Q"], row["rr_ms"], row["sure"]) for row in unread} == {("Q", "1.000000", "", "0")}
    after = next(row for row in rows if int(row["sample"]) > int(unread[-1]["sample"]))
    assert after["rr_ms"] == ""
    annotations = written_beats(tmp_path / "out" / "r")
    assert annotations.sample.tolist() == [int(row["sample"]) for row in rows]
    assert [note for note in annotations.aux_note if note] == ["unreadable"] * len(unread)
    [stretch] = summary["unread"]
    assert abs(stretch["first"] - NOISE.start) < FS_HZ and stretch["why"] == "motion"
    assert NOISE.stop - FS_HZ < stretch["last"] < NOISE.stop + AFTER_S * FS_HZ
    assert json.loads((tmp_path / "out" / "r.json").read_text())["summary"]["unread"] == summary["unread"]
    printed = capsys.readouterr().out
    assert f", unreadable {len(unread)};" in printed and "not readable for" in printed and "(motion)" in printed
    assert "no beats in" in " ".join(summary["trust"]["reasons"])


def test_who_gives_r_peaks_could_read_the_signal(mitdb, tmp_path, mode, checkpoint):
    record, samples = written(mitdb, tmp_path, ["MLII"], ["MLII"]), np.arange(400, 21_000, 300)
    wfdb.wrann("r", "qrs", samples, ["N"] * len(samples), write_dir=str(tmp_path))
    summary, rows = labelled(record, tmp_path / "out", mode, checkpoint, peaks="qrs")
    assert [int(row["sample"]) for row in rows] == samples.tolist()
    assert summary["unreadable"] == 0 and {row["signal"] for row in rows} == {"ok"}


@pytest.mark.parametrize("lead", [None, "MLII"])
def test_another_lead_takes_over_where_the_first_cannot_be_read(mitdb, tmp_path, mode, checkpoint, capsys, lead):
    record = written(mitdb, tmp_path, ["MLII", "V1"], ["MLII"])
    summary, rows = labelled(record, tmp_path / "out", mode, checkpoint, lead=lead)
    assert summary["lead"] == "MLII" and summary["unreadable"] == 0 and summary["unread"] == []
    over = [(one["first"], one["last"]) for one in summary["taken_over"]]
    assert {one["why"] for one in summary["taken_over"]} == {"V1"}
    inside = [any(first <= int(row["sample"]) <= last for first, last in over) for row in rows]
    assert [row["lead"] for row in rows] == ["V1" if one else "MLII" for one in inside]
    assert 8 < sum(inside) < 25
    reference = wfdb.rdann(str(mitdb / "119"), "atr", sampfrom=600 * FS_HZ, sampto=660 * FS_HZ, shift_samps=True)
    beats = reference.sample[np.isin(reference.symbol, ["N", "V"])]
    found = np.array([int(row["sample"]) for row in rows])
    assert abs(len(found) - len(beats)) <= 3 and np.abs(found[:, None] - beats).min(axis=0).max() < 0.15 * FS_HZ
    assert "labelled from another lead, where the first could not be read, for" in capsys.readouterr().out


def test_what_is_drawn_and_compared_is_of_the_lead_that_took_over(mitdb, tmp_path, mode, checkpoint):
    """V1 is made of MLII upside down, so that its beats are alike none of MLII's, and all of one shape."""
    path = Path(written(mitdb, tmp_path, ["MLII", "V1"], []))
    leads_mv = wfdb.rdrecord(str(path)).p_signal
    leads_mv[:, 1] = -leads_mv[:, 0]
    leads_mv[NOISE, 0] += motion_mv(NOISE.stop - NOISE.start, FS_HZ, 3)
    wfdb.wrsamp("r", FS_HZ, ["mV"] * 2, ["MLII", "V1"], p_signal=leads_mv, fmt=["16"] * 2, write_dir=str(tmp_path))
    leads_mv = wfdb.rdrecord(str(path)).p_signal
    found = predict.label_record(path, load_classifier(Config(mode=mode), checkpoint), Config(mode=mode))
    taken = np.zeros(len(leads_mv), bool)
    for over in found.taken_over:
        taken[over.first : over.last + 1] = True
    assert {over.why for over in found.taken_over} == {"V1"} and taken.sum() > 6 * FS_HZ
    np.testing.assert_allclose(found.shown_mv[:], np.where(taken, leads_mv[:, 1], leads_mv[:, 0]), atol=1e-9)
    report = Report.of(recording_of(found, None, "", None))
    shapes_of_v1 = set(report.shape_of_beat[found.leads == "V1"].tolist()) - {REST}
    assert shapes_of_v1 and not shapes_of_v1 & set(report.shape_of_beat[found.leads == "MLII"].tolist())
    assert re.search(r"from 0:00:2\d[^<]*, (MLII, )?V1", report.html())


def test_the_lead_that_takes_over_has_its_own_rr_intervals(mitdb, tmp_path, mode, checkpoint):
    """The first lead is off for ten seconds: that says nothing of the signal between the beats of the other."""
    source = wfdb.rdrecord(str(mitdb / "119"), sampfrom=600 * FS_HZ, sampto=660 * FS_HZ, channel_names=["MLII", "V1"])
    signals_mv = source.p_signal.copy()
    signals_mv[NOISE, source.sig_name.index("MLII")] = 0.5
    wfdb.wrsamp("r", FS_HZ, ["mV"] * 2, source.sig_name, p_signal=signals_mv, fmt=["16"] * 2, write_dir=str(tmp_path))
    _, rows = labelled(str(tmp_path / "r"), tmp_path / "out", mode, checkpoint)
    over = [row["rr_ms"] for row in rows if NOISE.start + FS_HZ < int(row["sample"]) < NOISE.stop - FS_HZ]
    assert {row["lead"] for row in rows} == {"MLII", "V1"} and len(over) >= 7 and "" not in over[1:]


def test_no_lead_takes_over_that_cannot_be_read_either(mitdb, tmp_path, mode, checkpoint):
    record = written(mitdb, tmp_path, ["MLII", "V1"], ["MLII", "V1"])
    summary, _ = labelled(record, tmp_path / "out", mode, checkpoint)
    assert summary["unreadable"] > 1
    length = sum(one["last"] - one["first"] for one in summary["unread"])
    assert length > 7 * FS_HZ


def test_a_lead_that_is_asked_for_and_can_be_read_is_labelled_alone(mitdb, tmp_path, mode, checkpoint):
    one, two = (tmp_path / name for name in ("one", "two"))
    for folder, leads in ((one, ["MLII"]), (two, ["MLII", "V1"])):
        folder.mkdir()
        labelled(written(mitdb, folder, leads, []), folder / "out", mode, checkpoint, lead="MLII")
    assert (one / "out" / "r.csv").read_text() == (two / "out" / "r.csv").read_text()


def test_of_another_lead_no_more_is_read_than_it_takes(mitdb, mode, checkpoint):
    record = read_record(mitdb / "119", "MLII")
    noise = slice(600 * FS_HZ, 610 * FS_HZ)
    record.signal_mv[noise] = motion_mv(noise.stop - noise.start, FS_HZ, 1)
    other_mv, asked = read_record(mitdb / "119", "V1").signal_mv, []

    def read(first: int, last: int) -> np.ndarray:
        asked.extend((first, last))
        return other_mv[first:last]

    other = replace(record, lead="V1", signal_mv=LongSignal(len(other_mv), read).as_array())
    beats = lead_beats.detected_beats(record, load_classifier(Config(mode=mode), checkpoint), [other])
    assert 250 * FS_HZ < min(asked) < noise.start - 60 * FS_HZ and noise.stop < max(asked) < noise.stop + 30 * FS_HZ
    over = beats.samples[beats.leads == "V1"]
    reference = wfdb.rdann(str(mitdb / "119"), "atr", sampfrom=noise.start, sampto=noise.stop)
    inside = reference.sample[np.isin(reference.symbol, ["N", "V"])]
    inside = inside[(inside > noise.start + FS_HZ) & (inside < noise.stop - FS_HZ)]
    assert len(inside) >= 7 and np.abs(inside[:, None] - over).min(axis=1).max() < 0.15 * FS_HZ


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    """A network whose answers are the probabilities: neither calibrated nor changed by what came before."""
    path, config = tmp_path_factory.mktemp("checkpoint") / "plain.pt", Config()
    arguments, said = hybrid_arguments(config), describe(config, Source("local", path.parent), 0)
    decision = replace(said.decision, temperature=1.0, s_prior_weight=0.0, v_prior_weight=0.0, rhythm_weight=0.0)
    save_checkpoint(path, HybridECGNet(**arguments), arguments, replace(said, decision=decision))
    return path


def in_rows(rows: list[dict]) -> np.ndarray:
    return np.array([[float(row[f"p_{name}"]) for name in "NSVFQ"] for row in rows])


def test_the_labels_of_two_leads_are_the_mean_of_those_of_each(mitdb, tmp_path, plain):
    record, samples = written(mitdb, tmp_path, ["MLII", "V1"], []), np.arange(400, 21_000, 300)
    wfdb.wrann("r", "qrs", samples, ["N"] * len(samples), write_dir=str(tmp_path))
    summary, both = labelled(record, tmp_path / "both", "diagnostic", plain, peaks="qrs")
    apart = [labelled(record, tmp_path / lead, "diagnostic", plain, peaks="qrs", lead=lead)[1] for lead in ("1", "2")]
    one, other = map(in_rows, apart)
    np.testing.assert_allclose(in_rows(both), (one + other) / 2, atol=2e-6)
    assert summary["lead"] == "MLII" and summary["second_lead"] == "V1" and np.abs(one - other).max() > 1e-4


def test_a_second_lead_has_no_say_where_it_cannot_be_read(mitdb, tmp_path, plain, capsys):
    record = written(mitdb, tmp_path, ["MLII", "V1"], ["V1"])
    _, both = labelled(record, tmp_path / "both", "diagnostic", plain)
    assert "beats, leads MLII and V1, detected" in capsys.readouterr().out
    _, alone = labelled(record, tmp_path / "alone", "diagnostic", plain, lead="MLII")
    assert [row["sample"] for row in both] == [row["sample"] for row in alone]
    same, samples = (in_rows(both) == in_rows(alone)).all(axis=1), np.array([int(row["sample"]) for row in both])
    assert same[(samples > NOISE.start + FS_HZ) & (samples < NOISE.stop - FS_HZ)].all()
    assert not same[samples < NOISE.start - FS_HZ].any() and not same[samples > NOISE.stop + 2 * AFTER_S * FS_HZ].any()


def test_a_setting_has_one_lead_labelled(mitdb, tmp_path, plain):
    record = written(mitdb, tmp_path, ["MLII", "V1"], [])
    [summary] = predict.predict_records([record], Config(second_lead=False), tmp_path / "one", checkpoint=plain)
    labelled(record, tmp_path / "asked", "diagnostic", plain, lead="MLII")
    assert "second_lead" not in summary
    assert (tmp_path / "one" / "r.csv").read_text() == (tmp_path / "asked" / "r.csv").read_text()


def test_in_causal_mode_one_lead_is_labelled_as_in_a_stream(mitdb, tmp_path):
    record = written(mitdb, tmp_path, ["MLII", "V1"], [])
    config = Config(mode="causal", preset="edge", second_lead=True)
    [one] = predict.predict_records([record], config, tmp_path / "one")
    [asked] = predict.predict_records([record], config, tmp_path / "asked", lead="MLII")
    assert "second_lead" not in one
    assert (tmp_path / "one" / "r.csv").read_text() == (tmp_path / "asked" / "r.csv").read_text()


def test_v_is_less_likely_in_noise_that_no_other_lead_clears_up(mitdb, tmp_path, plain):
    source = wfdb.rdrecord(str(mitdb / "119"), sampfrom=600 * FS_HZ, sampto=660 * FS_HZ, channel_names=["MLII", "V1"])
    signals_mv = source.p_signal.copy()
    signals_mv[NOISE, 0] += 0.1 * motion_mv(NOISE.stop - NOISE.start, FS_HZ, 0)
    for name, leads in (("one", slice(0, 1)), ("two", slice(0, 2))):
        units, names = ["mV"] * 2, ["MLII", "V1"]
        wfdb.wrsamp("r", FS_HZ, units[leads], names[leads], p_signal=signals_mv[:, leads].copy(),
                    fmt=["16"] * len(names[leads]), write_dir=str(tmp_path))  # fmt: skip
        _, found = labelled(str(tmp_path / "r"), tmp_path / name, "diagnostic", plain)
        samples = np.array([int(row["sample"]) for row in found])
        wfdb.wrann("r", "qrs", samples, ["N"] * len(samples), write_dir=str(tmp_path))
        _, given = labelled(str(tmp_path / "r"), tmp_path / f"{name}-given", "diagnostic", plain, peaks="qrs")
        noisy = np.array([row["signal"] == "noisy" for row in found])
        odds = [proba[:, 2] / proba[:, 0] for proba in map(in_rows, (found, given))]
        assert 5 < noisy.sum() < 20
        np.testing.assert_allclose(odds[0][noisy], (0.3 if name == "one" else 1) * odds[1][noisy], rtol=1e-4)
        np.testing.assert_allclose(odds[0][~noisy], odds[1][~noisy], rtol=1e-4)


def test_of_several_other_leads_that_of_the_chest_is_the_second(mitdb, tmp_path, plain):
    source = wfdb.rdrecord(str(mitdb / "119"), sampto=30 * FS_HZ, channel_names=["MLII", "V1"])
    signals_mv = source.p_signal[:, [1, 0, 1]]
    wfdb.wrsamp("r", FS_HZ, ["mV"] * 3, ["I", "II", "V1"], p_signal=signals_mv, fmt=["16"] * 3, write_dir=str(tmp_path))
    summary, _ = labelled(str(tmp_path / "r"), tmp_path / "out", "diagnostic", plain)
    assert (summary["lead"], summary["second_lead"]) == ("II", "V1")
