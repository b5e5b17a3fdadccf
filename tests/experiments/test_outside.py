"""The networks that ship on other databases: what the rhythm changes, by hand, and the table."""

from types import SimpleNamespace

import numpy as np
import pytest

from config import Config
from deep_ecg.beats.arrays import Beats
from deep_ecg.networks.classifier import load_classifier
from deep_ecg.system.json_files import read_json
from experiments import MEASURED, outside


def beats(rr_s: np.ndarray) -> Beats:
    n = len(rr_s)
    columns = (np.zeros((n, 2, 4), np.float32), np.zeros((n, 3), np.float32), np.zeros(n, np.int64), np.full(n, "a"))
    return Beats(*columns, np.arange(n), np.zeros(n, np.int64), rr_s)


def test_the_rhythm_takes_s_away_where_intervals_have_no_order_alone():
    """Of beats that a network calls S with 55 %: some stay S in a regular rhythm, next to none without order."""
    classifier = load_classifier(Config(mode="causal", preset="edge"))
    rng, proba = np.random.default_rng(3), np.tile([0.43, 0.55, 0.01, 0.005, 0.005], (300, 1))
    left = {}
    for name, rr_s in (("regular", np.full(300, 0.8)), ("without order", rng.gamma(12, 0.65 / 12, 300))):
        found = [outside.decided(beats(rr_s), proba, classifier, weight).argmax(axis=1) for weight in (0.0, 1.0)]
        left[name] = [int((labels[50:] == 1).sum()) for labels in found]
    assert left["regular"][0] == left["regular"][1] > 0
    assert left["without order"][1] < 0.1 * left["without order"][0]


def test_each_network_has_a_row_with_and_one_without_the_rhythm():
    scores = {"n": 1, "accuracy": 0.9, "f1": {"S": 0.5, "V": 0.75, "F": None}}
    cinc = {label: {"V": 0.01, "S": 0.002} for label in "NA"}
    told = {"DS2": scores, "svdb": scores, "cinc2017": cinc}
    *_, without, with_it = outside.table({"networks": {"causal, edge": {"without": told, "with": told}}})
    assert without.startswith("| causal, edge, without the rhythm | 90.00 | 50.0 | 75.0 | - | 90.00 | 50.0 ")
    assert with_it.startswith("| causal, edge, with the rhythm |")


def test_recordings_are_told_to_fibrillate_by_the_time_in_their_episodes(monkeypatch):
    """Beats from second 10 to 50: 20 s in episodes are half of that, 19 are not; no episode and no verdict are none."""
    episodes = {"half": [(10, 20), (40, 50)], "less": [(10, 29)], "none": [], "unknown": None}

    def label_lead(record, classifier):
        rhythm = episodes[record]
        told = None if rhythm is None else [SimpleNamespace(first=first, last=last) for first, last in rhythm]
        return SimpleNamespace(samples=np.array([10, 30, 50]), rhythm=told)

    monkeypatch.setattr(outside, "label_lead", label_lead)
    monkeypatch.setattr(outside.RecordFile, "open", lambda path: SimpleNamespace(lead=lambda number: path))
    told = {name: outside._fibrillates(name, Config.mode) for name in episodes}
    assert told == {"half": True, "less": False, "none": False, "unknown": False}


def test_the_table_of_recordings_leaves_noisy_ones_out_of_f1():
    """3 of 4 found and 1 of 15 others called so: +P 3 of 4, F1 6 of 8."""
    counts = {"A": (4, 3), "N": (10, 1), "O": (5, 0), "~": (2, 1)}
    of_label = {label: {"records": records, "told": told} for label, (records, told) in counts.items()}
    header, _, row = outside.recordings_table({"fibrillating": {"causal": of_label}}).splitlines()
    assert "sinus (10), %" in header
    assert row == "| causal, full | 75.0 | 10.0 | 0.0 | 50.0 | 75.0 | 75.0 |"


@pytest.mark.parametrize("name", ["svdb", "cinc2017"])
def test_the_committed_table_is_of_all_held_out_patients(name):
    report = read_json(MEASURED / outside.REPORT)
    assert len(report["networks"]) == 4
    for told in report["networks"].values():
        found = told["with"][name]
        assert found["n"] == 40291 if name == "svdb" else {"N", "A"} <= found.keys()
    for told in report["fibrillating"].values():
        assert {label: counts["records"] for label, counts in told.items()} == {"A": 128, "N": 845, "O": 401, "~": 47}
