"""The networks that ship on other databases: what the rhythm changes, by hand, and the table."""

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


@pytest.mark.parametrize("name", ["svdb", "cinc2017"])
def test_the_committed_table_is_of_all_held_out_patients(name):
    report = read_json(MEASURED / outside.REPORT)
    assert len(report["networks"]) == 4
    for told in report["networks"].values():
        found = told["with"][name]
        assert found["n"] == 40291 if name == "svdb" else {"N", "A"} <= found.keys()
