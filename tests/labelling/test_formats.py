"""Records of other formats than WFDB's through `predict`: single ones, folders, streams, and what results tell."""

import json
import re
from pathlib import Path

import edfio
import numpy as np
import pytest

from config import Config
from deep_ecg.labelling import archive, archive_records, choice, predict
from deep_ecg.labelling.live import record_feed
from deep_ecg.networks.classifier import load_classifier
from deep_ecg.records.formats import TextSettings
from tests.support.recordings import APPLE, write_edf, write_ishne, write_kardia_json, write_text
from tests.support.records import beat_times_s, refused, spikes_mv, write_record, written_beats

NETWORK = {"runtime": "onnx"}
EDGE = Config(preset="edge")
DURATION_S, FS_HZ = 30, 250
SIGNAL_MV = spikes_mv(beat_times_s(DURATION_S), DURATION_S, FS_HZ)
COUNTS = np.round(SIGNAL_MV * 2000).astype(int)[:, None]  # of 0.5 uV each


def edf(path: Path, **told) -> Path:
    return write_edf(path, COUNTS, FS_HZ, ["ECG II"], patient="ID77 F 04-JAN-1950 Jane_Doe", **told)


def csv(path: Path) -> Path:
    rows = "".join(f"{4 * i},{v:.4f}\n" for i, v in enumerate(SIGNAL_MV))
    return write_text(path, "time_ms,ecg [mV]\n" + rows)


@pytest.fixture(scope="module")
def classifier():
    return load_classifier(EDGE, **NETWORK)


def test_a_record_has_the_same_beats_in_every_format(tmp_path, classifier):
    nanovolts = np.round(SIGNAL_MV * 400).astype(int)[:, None]
    paths = [
        write_record(tmp_path, "a", SIGNAL_MV, lead="II", fs=FS_HZ),
        edf(tmp_path / "b.edf"),
        write_edf(tmp_path / "c.bdf", COUNTS, FS_HZ, ["ECG II"], bits=24),
        write_ishne(tmp_path / "d.ecg", nanovolts, FS_HZ, (6,), 2500),
        csv(tmp_path / "e.csv"),
    ]
    beats = [predict.label_record(path, classifier, EDGE).samples.tolist() for path in paths]
    assert all(found == beats[0] for found in beats) and len(beats[0]) >= 30


def test_a_file_is_chosen_by_its_content_and_its_results_have_its_name(tmp_path):
    edf(tmp_path / "r.txt")
    out = tmp_path / "out"
    (summary,) = predict.predict_records([str(tmp_path / "r.txt")], EDGE, out, **NETWORK)
    assert summary["record"] == "r" and summary["lead"] == "ECG II"
    marks = edfio.read_edf(out / "r-labels.edf").annotations
    beats = written_beats(out / "r")
    np.testing.assert_allclose([mark.onset for mark in marks], beats.sample / FS_HZ, atol=1e-9)
    assert [mark.text for mark in marks] == beats.symbol
    assert edfio.read_edf(out / "r-labels.edf").starttime.isoformat() == "04:05:06"


def test_wfdb_records_go_before_their_own_files_and_files_before_records_of_that_name(tmp_path):
    write_record(tmp_path, "r", SIGNAL_MV)
    named = edf(tmp_path / "r.edf")
    for name in ("r", "r.hea", "r.dat", "r.atr"):
        assert choice.record_path(str(tmp_path / name), EDGE) == tmp_path / "r"
    assert choice.record_path(str(named), EDGE) == named
    spoiled = tmp_path / "s.edf"
    spoiled.write_bytes(b"1" + named.read_bytes()[1:])
    write_record(tmp_path, "s", SIGNAL_MV)
    assert choice.record_path(str(spoiled), EDGE) == spoiled  # refused as what it is, not s.dat in its place
    write_text(tmp_path / "r.txt", "notes on this record\n")
    assert choice.record_path(str(tmp_path / "r.txt"), EDGE) == tmp_path / "r"


def test_two_files_of_one_name_are_refused_alone_and_told_apart_in_a_folder(tmp_path):
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    edf(data / "r.edf"), csv(data / "r.csv"), csv(data / "s.csv")
    refused(lambda: predict.predict_records([str(data / "r.edf"), str(data / "r.csv")], EDGE, out), "share a name")
    found = archive_records.records_below(data)
    assert [(one.name, one.results) for one in found] == [("r.csv", "r.csv"), ("r.edf", "r.edf"), ("s.csv", "s")]
    archive.label_archive(data, found, EDGE, out, 1, **NETWORK)
    assert {path.name for path in out.glob("*.pred")} == {"r.csv.pred", "r.edf.pred", "s.pred"}
    archive.label_archive(data, found, EDGE, out, 1, **NETWORK)
    lines = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()[1:]]
    assert [line["record"] for line in lines] == ["r.csv", "r.edf", "s.csv"]
    assert "r.edf-labels.edf" in lines[1]["files"]


def test_a_folder_holds_records_of_all_formats_and_what_is_none_is_left_out(tmp_path):
    write_record(tmp_path, "a", SIGNAL_MV)
    csv(tmp_path / "a.csv")
    edf(tmp_path / "b.edf")
    write_text(tmp_path / "c.csv", APPLE + "".join(f"{v}\n" for v in COUNTS[:, 0]))
    write_kardia_json(tmp_path / "d.json", {"leadI": COUNTS[:, 0].tolist()})
    write_text(tmp_path / "RECORDS", "a\nb\n")
    write_text(tmp_path / "README.txt", "Notes.\n")
    write_text(tmp_path / "patients.csv", "id,age\n1,60\n2,61\n")
    write_text(tmp_path / "e.csv", "".join(f"{v}\n" for v in COUNTS[:, 0]))
    predict.predict_records([str(tmp_path / "b.edf")], EDGE, tmp_path / "predictions", **NETWORK)
    found = archive_records.records_below(tmp_path)
    assert [one.name for one in found] == ["a", "a.csv", "b.edf", "c.csv", "d.json"]
    assert [one.results for one in found] == ["a", "a.csv", "b", "c", "d"]
    assert archive_records.other_recordings(tmp_path, found) == ["e.csv", "patients.csv"]
    with_rate = archive_records.records_below(tmp_path, TextSettings(360, "uV"))
    assert [one.name for one in with_rate][-2:] == ["d.json", "e.csv"]


def test_who_was_recorded_is_in_no_result_unless_asked_for(tmp_path):
    sources = [edf(tmp_path / "a.edf"), write_ishne(tmp_path / "b.ecg", COUNTS, FS_HZ, (6,), 500)]
    sources.append(write_text(tmp_path / "c.csv", APPLE + "".join(f"{v}\n" for v in COUNTS[:, 0])))
    for kept, out in ((False, tmp_path / "out"), (True, tmp_path / "kept")):
        predict.predict_records([str(path) for path in sources], EDGE, out, keep_identity=kept, **NETWORK)
        told = re.compile(rb"Jane|(?<!\d)1950(?!\d)")  # not within a longer number: a probability can hold the digits
        holding = [path.name for path in out.iterdir() if told.search(path.read_bytes())]
        assert sorted(holding) == (["a-labels.edf", "a.json", "b.json", "c.json"] if kept else [])


def test_results_are_not_written_over_the_record(tmp_path):
    path = csv(tmp_path / "r.csv")
    before = path.read_bytes()
    refused(lambda: predict.predict_records([str(path)], EDGE, tmp_path, **NETWORK), path, "--out")
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_a_stream_of_a_file_and_the_choice_of_its_lead(tmp_path, classifier):
    path = write_text(tmp_path / "r.csv", "resp,V5,II\n" + "".join(f"1,{v},{2 * v}\n" for v in COUNTS[:, 0]))
    text = TextSettings(FS_HZ, "uV")
    feed = record_feed(path, classifier, speed=0, text=text)
    assert (feed.name, feed.lead, feed.fs_hz) == ("r", "II", FS_HZ)
    np.testing.assert_allclose(np.concatenate(list(feed.chunks_mv)), COUNTS[:, 0] / 500)
    assert record_feed(path, classifier, "2", 0, text).lead == "V5"
    only = write_text(tmp_path / "s.csv", "resp,spo2\n" + "".join(f"{v},1\n" for v in COUNTS[:, 0]))
    refused(lambda: record_feed(only, classifier, None, 0, text), only, "--lead")
