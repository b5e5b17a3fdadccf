"""A short form of the measurement of endurance: some twenty minutes of signal through one stream, in rounds."""

from dataclasses import replace

import numpy as np
import pytest

from config import Config
from deep_ecg.networks.classifier import load_classifier
from deep_ecg.records.wfdb_files import read_record
from experiments import endurance as benchmark
from tests.support.networks import network


@pytest.fixture(scope="module")
def report(synthetic_db):
    classifier = replace(load_classifier(Config(mode="causal", preset="edge")), model=network("causal"))
    records = [read_record(synthetic_db / name, "MLII") for name in ("100", "103")]
    return benchmark.measure(classifier, records, 20 / 60)


def test_labels_do_not_drift(report):
    """Some 145 beats a round: after three, the last 400 RR intervals are those of any later round."""
    later = report["rounds"][4:]
    assert len(later) >= 4 and report["rounds"][0]["beats"] > 100
    assert all(one["labels_differ"] == one["r_peaks_differ"] == 0 for one in later)
    assert all(one["counts"] == later[0]["counts"] and one["beats"] == later[0]["beats"] for one in later)


def test_memory_stays_flat(report):
    used_mb = [one["memory_mb"] for one in report["rounds"][1:]]
    if None in used_mb:
        pytest.skip("this system does not tell the memory in use")
    assert max(used_mb) - used_mb[0] < 20


def test_table_has_a_row_a_round(report):
    assert len(benchmark.table(report)) == 2 + len(report["rounds"])


def test_rounds_are_compared_by_hand():
    """In the last round the beat at 20 has another label and the one at 30 is not there."""
    told = ((10, 0), (20, 2), (30, 0)), ((10, 0), (20, 0))
    first, last = (np.array([[at, *np.eye(5)[label]] for at, label in of_round]) for of_round in told)
    found = benchmark._summary(first, last)
    assert (found["beats"], found["r_peaks_differ"], found["labels_differ"]) == (3, 1, 1)
    assert found["counts"] == {"N": 2, "S": 0, "V": 1, "F": 0, "Q": 0} and found["largest_difference"] == 1.0
