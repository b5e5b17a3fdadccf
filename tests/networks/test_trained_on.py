"""A record that a network was trained on is known by its samples, whatever it is called."""

import dataclasses
import json

import numpy as np

from config import Config
from deep_ecg.networks.classifier import PRETRAINED, load_classifier
from deep_ecg.networks.trained_on import TRAINED_ON, KnownLead, digest, found_in, read_known
from deep_ecg.records.databases import DATABASES
from deep_ecg.records.wfdb_files import RecordFile
from experiments.reproduce import OPEN


def test_a_lead_is_known_by_all_of_its_samples():
    signal_mv = np.round(np.sin(np.arange(1000) / 7) / 0.005) * 0.005
    known = [KnownLead("mitdb 101", "MLII", 1000, digest(signal_mv))]
    assert found_in(known, signal_mv + 1e-9) == "mitdb 101"  # as another format's steps round it
    assert found_in(known, np.append(signal_mv, np.zeros(80))) == "mitdb 101"  # a block of EDF, filled
    assert found_in(known, np.round(signal_mv / 0.005) + 1024) == "mitdb 101"  # steps of the converter
    other = signal_mv.copy()
    other[500] += 0.005
    assert (
        found_in(known, other) is None and found_in(known, signal_mv[:-1]) is None and found_in([], signal_mv) is None
    )
    assert digest(np.where(np.arange(1000) == 3, np.nan, signal_mv)) != digest(signal_mv)


def test_the_list_of_the_pretrained_networks_has_every_lead_of_the_records_to_train_on():
    known = read_known(PRETRAINED)
    of = {name: [one for one in known if one.record.startswith(f"{name} ")] for name in OPEN}
    for name, leads in of.items():
        assert {one.record for one in leads} <= {f"{name} {record}" for record in DATABASES[name].train}
    assert {name: len(leads) for name, leads in of.items()} == {"mitdb": 44, "svdb": 70, "cinc2017": 1966}
    assert {one.samples for one in of["mitdb"]} == {650_000} and {one.samples for one in of["svdb"]} == {230_400}
    assert load_classifier(Config(preset="edge"), runtime="onnx").trained_on == known


def test_a_network_of_which_nothing_is_said_knows_no_record(tmp_path):
    assert read_known(tmp_path) == ()
    one = KnownLead("x", "II", 5, "ab")
    (tmp_path / TRAINED_ON).write_text(json.dumps({"leads": [dataclasses.asdict(one)]}))
    assert read_known(tmp_path) == (one,)


def test_records_of_the_database(mitdb):
    """208 is one to train on, also by its second lead; 100 is not."""
    known = read_known(PRETRAINED)
    leads = RecordFile.open(mitdb / "208").signals_mv([0, 1])
    assert [found_in(known, lead) for lead in leads] == ["mitdb 208"] * 2
    assert found_in(known, RecordFile.open(mitdb / "100").lead("MLII").signal_mv) is None
