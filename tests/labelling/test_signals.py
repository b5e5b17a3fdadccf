"""`deep_ecg.label`: the labels of `predict` without a file, and what is refused."""

import re
import subprocess
import sys

import numpy as np
import pytest
import wfdb

import deep_ecg
from config import CLASSES, Config
from deep_ecg.labelling.predict import predict_records
from tests.serving.conftest import two_shapes
from tests.support import ROOT
from tests.support.records import refused, write_record, written_beats

EDGE = {"preset": "edge", "runtime": "onnx"}


@pytest.mark.parametrize("mode", ["diagnostic", "causal"])
def test_an_array_gets_the_labels_that_predict_writes(mode, tmp_path, monkeypatch):
    """The record holds the samples in steps of its converter, so these are what both get."""
    path = write_record(tmp_path, "77", two_shapes(), fs=250)
    monkeypatch.chdir(tmp_path)
    predict_records([str(path)], Config(mode=mode, preset="edge"), tmp_path / "out", runtime="onnx", report=False)
    before = sorted(tmp_path.rglob("*"))
    signal_mv = wfdb.rdrecord(str(path)).p_signal[:, 0]
    beats = deep_ecg.label(signal_mv, 250, mode=mode, **EDGE)
    written = written_beats(tmp_path / "out" / "77")
    assert beats.samples.tolist() == written.sample.tolist() and beats.classes.tolist() == written.symbol
    assert len(beats) >= 38 and beats.probabilities.shape == (len(beats), 5)
    assert beats.summary["counts"] == {name: written.symbol.count(name) for name in CLASSES}
    assert sorted(tmp_path.rglob("*")) == before


def test_beats_lie_where_they_were_put():
    beats = deep_ecg.label(two_shapes(), 250, **EDGE)
    expected = [1 + 0.8 * beat - 0.2 * (beat % 5 == 4) for beat in range(40)]
    assert np.abs(beats.samples / 250 - expected).max() < 0.02
    assert set(beats.signal) == {"ok"} and beats.sure.dtype == bool and not beats.synthetic
    np.testing.assert_allclose(beats.probabilities.sum(axis=1), 1, atol=1e-5)


def test_peaks_can_be_given_and_then_are_the_beats():
    peaks = [250, 450, 650]
    assert deep_ecg.label(two_shapes(), 250, peaks=peaks, **EDGE).samples.tolist() == peaks


def test_lost_signal_is_told_and_gives_no_beats():
    signal_mv = np.append(two_shapes(), np.random.default_rng(0).normal(0, 0.005, 500))
    signal_mv[2500:5000] = np.nan
    beats = deep_ecg.label(signal_mv, 250, **EDGE)
    assert not ((beats.samples > 2510) & (beats.samples < 5000)).any()
    assert [one["why"] for one in beats.summary["silent"]] == ["missing"]
    # After its last beat the signal is flat but for noise of 0.005 mV
    assert [(one["kind"], one["why"]) for one in beats.rhythm if one["why"]] == [
        ("no beats", "missing"), ("no beats", "lead off")
    ]  # fmt: skip


@pytest.mark.parametrize("signal_mv", [np.zeros(2500), np.full(2500, np.nan)], ids=["flat", "lost"])
@pytest.mark.filterwarnings("error")
def test_where_nothing_beats_there_are_no_beats(signal_mv):
    beats = deep_ecg.label(signal_mv, 250, **EDGE)
    assert len(beats) == 0 and beats.probabilities.shape == (0, 5) and beats.summary["trust"]["grade"] == "low"


TIMES_S = np.arange(60 * 250) / 250
NO_ECG = {
    "white noise": (np.random.default_rng(0).normal(0, 0.3, len(TIMES_S)), "like none before: is it an ECG?"),
    "a saw": (1 - 2 * (1.1 * TIMES_S % 1), "no beats in 100 % of the record"),
    "pulses": ((TIMES_S % 0.8 < 0.1).astype(float), "noise or lost signal at"),
    "hum": (np.sin(2 * np.pi * 50 * TIMES_S), "no beats in 100 % of the record"),
    "a sine": (np.sin(2 * np.pi * 1.2 * TIMES_S), "no beats in 100 % of the record"),
}


@pytest.mark.parametrize("name", NO_ECG)
def test_what_is_no_ecg_is_told_in_words(name):
    signal_mv, told = NO_ECG[name]
    trust = deep_ecg.label(signal_mv, 250, **EDGE).summary["trust"]
    assert trust["grade"] == "low" and told in "; ".join(trust["reasons"])


@pytest.mark.parametrize(
    "arguments, named",
    [
        (([], 250), "no samples"),
        ((np.zeros((2, 2)), 250), "one row"),
        ((["a"], 250), "numbers"),
        ((["0.1"] * 500, 250), "numbers"),
        ((np.ones(500, complex), 250), "numbers"),
        (([1e12], 250), "millivolts"),
        (([0.0], 0), "rate"),
        (([0.0], float("nan")), "rate"),
        (([0.0], "250"), "rate"),
        (([0.0] * 60, 60), "100 to 1000 Hz"),
        (([0.1] * 249, 250), "less than a second"),
    ],
)
def test_what_is_no_signal_is_refused_in_one_line(arguments, named):
    refused(lambda: deep_ecg.label(*arguments, **EDGE), named)


def test_masked_samples_are_lost_ones():
    signal_mv = two_shapes()
    lost = slice(1000, 1500)
    masked = np.ma.array(signal_mv, mask=False)
    masked[lost] = np.ma.masked
    signal_mv[lost] = np.nan
    found, expected = (deep_ecg.label(signal, 250, **EDGE) for signal in (masked, signal_mv))
    assert found.samples.tolist() == expected.samples.tolist() and found.summary == expected.summary


@pytest.mark.parametrize("peaks", [[5, 5], [9, 3], [-1, 3], [3, 10**6], [0.5], [[1]], np.array([9, 3], np.uint64)])
def test_wrong_peaks_are_refused(peaks):
    refused(lambda: deep_ecg.label(two_shapes(), 250, peaks=peaks, **EDGE), "R-peaks")


def test_a_wrong_choice_is_refused():
    for choice in ({"mode": "x"}, {"preset": "x"}, {"runtime": "x"}):
        refused(lambda choice=choice: deep_ecg.label(np.zeros(250), 250, **(EDGE | choice)), "x")


def test_the_package_is_light_until_it_is_asked():
    script = "import sys, deep_ecg; assert 'numpy' not in sys.modules; print(deep_ecg.label.__name__)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("label\n", "")
    with pytest.raises(AttributeError, match="no attribute 'labels'"):
        _ = deep_ecg.labels


def test_the_example_of_the_docs_runs(capsys, monkeypatch):
    page = (ROOT / "docs" / "serve.md").read_text(encoding="utf-8")
    [example] = re.findall(r"```python\n(.*?)```", page.partition("## From Python")[2].partition("\n## ")[0], re.DOTALL)
    names: dict = {"signal_mv": two_shapes(), "fs_hz": 250}
    exec(example, names)
    printed = capsys.readouterr().out
    assert len(names["beats"].samples) >= 38 and "beats" in printed
