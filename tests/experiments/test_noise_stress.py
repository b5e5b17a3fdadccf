"""The noise stress test: its scores on cases worked by hand, its report on a short record, and wrong input."""

import json

import numpy as np
import pytest

from config import CLASSES, DATA_DIR_VARIABLE, Config
from deep_ecg.networks.classifier import load_classifier
from deep_ecg.scoring.ec57 import COLUMNS, ROWS
from experiments import noise_stress as benchmark
from experiments.__main__ import main

N, S, V, F, Q = range(5)


def test_scores_of_a_mode_by_hand():
    """Two records: S found 1 of 2 and called once more; V found 1 of 1; sure of all with 0.9, 3 of 5 right."""
    proba = 0.875 * np.eye(5) + 0.025
    beats = [(np.array([S, S, N]), proba[[S, N, S]]), (np.array([V, N]), proba[[V, N]])]
    found = benchmark.mode_scores(beats)
    assert found["n"] == 5 and found["accuracy"] == pytest.approx(0.6)
    assert found["S"] == {"n": 2, "se": 0.5, "ppv": 0.5, "f1": 0.5} and found["V"]["f1"] == 1.0
    assert found["ece"] == pytest.approx(0.3) and found["confidence"] == pytest.approx(0.9)


def test_scores_of_the_chain_by_hand():
    """90 N found, 8 V of which 6 are called V, 2 missed, 4 extra beats called V; no S anywhere."""
    matrix = np.zeros((7, 7), int)
    for row, column, count in (("N", "n", 90), ("V", "v", 6), ("V", "n", 2), ("V", "o", 2), ("O", "v", 4)):
        matrix[ROWS.index(row), COLUMNS.index(column)] = count
    found = benchmark.chain_scores(matrix)
    assert found["qrs"] == {"n": 100, "se": 0.98, "ppv": 98 / 102, "f1": pytest.approx(196 / 202)}
    assert found["veb"] == {"n": 10, "se": 0.6, "ppv": 0.6, "f1": pytest.approx(0.6)}
    assert found["sveb"] == {"n": 0, "se": None, "ppv": None, "f1": None}


def test_report_of_a_short_record(mitdb, monkeypatch, tmp_path, capsys):
    """Nine minutes of a record of DS1 at one level: beats by segment, labels that noise does not touch, files."""
    monkeypatch.setenv(DATA_DIR_VARIABLE, str(mitdb))
    options = "--records 106 --minutes 9 --levels-db 200 --preset edge --jobs 2"
    assert main(["noise-stress", *options.split(), "--out", str(tmp_path / "noise.json")]) == 0
    report = json.loads((tmp_path / "noise.json").read_text())
    assert (tmp_path / "noise.png").read_bytes().startswith(b"\x89PNG")
    assert list(report["kinds"]) == ["wander", "electrode", "muscle", "mains"]
    reference = benchmark.read_beats(mitdb / "106", "atr").samples / 360
    for levels in report["kinds"].values():
        for part, (start_s, end_s) in {"noisy": (300, 420), "between": (420, 540)}.items():
            clean, almost = levels["none"][part], levels["200"][part]
            count = ((reference >= start_s) & (reference < end_s)).sum()
            assert clean["diagnostic"]["n"] == clean["causal"]["n"] == count
            assert clean["chain"]["qrs"]["n"] == pytest.approx(count, abs=1)
            for mode in ("diagnostic", "causal"):  # noise of a ten-thousand-millionth of the signal
                assert almost[mode]["V"]["f1"] == pytest.approx(clean[mode]["V"]["f1"], abs=0.02)
            assert almost["chain"]["qrs"] == clean["chain"]["qrs"]
    header, _, *rows = benchmark.table(report)
    assert len(rows) == 1 + 4 and all(row.count("|") == header.count("|") for row in rows)
    assert rows[0].startswith("| none | - |") and rows[1].startswith("| wander | 200 |")
    assert rows[0] in capsys.readouterr().out


def test_noise_harms_what_it_lies_upon(mitdb):
    """Strong electrode motion costs the detector beats of a clean record in the noisy segment and not before it."""
    classifiers = {mode: load_classifier(Config(mode=mode, preset="edge")) for mode in ("diagnostic", "causal")}
    record, annotation, marks = benchmark._shortened(mitdb / "122", 9.0)
    scored = benchmark.Scored(record, annotation, marks, classifiers)
    power = benchmark.noise.qrs_power(record.signal_mv, annotation.samples, 360.0)
    added = benchmark.noise.generated("electrode", len(record.signal_mv), 360.0, (122,))
    gain = benchmark.noise.gain_for(-6.0, power, benchmark.noise.noise_power(added, 360.0))
    found = scored.counts(benchmark.noise.with_noise(record.signal_mv, added, gain, 360.0))
    noisy, between = (benchmark.chain_scores(found[part]["chain"])["qrs"] for part in ("noisy", "between"))
    assert noisy["se"] < 0.9 and noisy["ppv"] < 0.9
    assert between["se"] > 0.95
    labels, proba = found["noisy"]["causal"]
    assert proba.shape == (len(labels), len(CLASSES))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--records", "102"], "102 is in neither"),
        (["--minutes", "5"], "--minutes 5"),
        (["--minutes", "nan"], "--minutes nan"),
        (["--noise-dir", "nowhere"], "bw"),
    ],
)
def test_wrong_options_are_one_line(arguments, named, mitdb, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv(DATA_DIR_VARIABLE, str(mitdb))
    assert main(["noise-stress", *arguments, "--out", str(tmp_path / "noise.json")]) == 2
    errors = capsys.readouterr().err
    assert named in errors and errors.count("\n") == 1 and not list(tmp_path.iterdir())


def test_a_synthetic_database_is_refused(synthetic_db, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv(DATA_DIR_VARIABLE, str(synthetic_db))
    assert main(["noise-stress", "--out", str(tmp_path / "noise.json")]) == 2
    assert "synthetic" in capsys.readouterr().err and not list(tmp_path.iterdir())
