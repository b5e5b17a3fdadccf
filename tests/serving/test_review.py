"""Review: shapes and beats get other labels; counts, episodes and files follow, by hand; nothing saved is lost."""

import json

import numpy as np
import pytest

from deep_ecg.labelling.labelled import Labelled
from deep_ecg.labelling.signal_state import Stretch
from deep_ecg.labelling.summary import summarise
from deep_ecg.records.any_record import Record
from deep_ecg.serving import review as reviewing
from deep_ecg.serving.review import in_force
from deep_ecg.serving.stored import Stored, store
from tests.serving.conftest import client_of, files_of, labelled, two_shapes
from tests.support.records import write_record, written_beats

CLASSES = "NSVFQ"


@pytest.fixture
def number(client, record) -> str:
    return labelled(client, files_of(record))


def change(client, number, **asked):
    version = client.get(f"/records/{number}/review").json()["version"]
    return client.post(f"/records/{number}/review", json={"version": version, "by": "A. Reader"} | asked)


def annotations(client, number, tmp_path, kind="rev"):
    answer = client.get(f"/records/{number}/files/{kind}")
    assert answer.status_code == 200 and answer.headers["content-disposition"] == f'attachment; filename="77.{kind}"'
    (tmp_path / f"77.{kind}").write_bytes(answer.content)
    return written_beats(tmp_path / "77", kind)


def test_the_two_shapes_of_the_record_are_told_apart(client, number):
    """40 beats, every fifth of another shape."""
    told = client.get(f"/records/{number}/review").json()
    assert [one["beats"] for one in told["shapes"]] == [32, 8, 0]
    beats = client.get(f"/records/{number}/beats").json()
    assert [place for place, shape in enumerate(beats["shapes"]) if shape == 1] == list(range(4, 40, 5))


def test_a_shape_that_is_changed_changes_counts_episodes_and_files(client, number, tmp_path):
    assert client.get(f"/records/{number}/files/rev").status_code == 404
    all_n = change(client, number, shape=0, to="N")
    assert all_n.status_code == 200, all_n.text
    told = change(client, number, shape=1, to="V").json()
    assert told["summary"]["counts"] == {"N": 32, "S": 0, "V": 8, "F": 0, "Q": 0}
    assert told["summary"]["v_percent"] == 20 and told["changed"] == 40 and told["version"] == 2
    assert not [one for one in told["episodes"] if one["kind"].startswith("V")]  # single ones, four N between
    told = change(client, number, shape=0, to="V").json()
    assert [(one["kind"], one["beats"]) for one in told["episodes"] if one["kind"].startswith("V")] == [("V run", 40)]
    assert annotations(client, number, tmp_path).symbol == ["V"] * 40
    assert len(annotations(client, number, tmp_path, "pred").symbol) == 40
    table = client.get(f"/records/{number}/files/csv").text.splitlines()
    assert [line.split(",")[2] for line in table[1:]] == ["V"] * 40
    report = client.get(f"/records/{number}/files/json").json()
    assert report["summary"]["counts"]["V"] == 40 and report["changes"] == 3
    assert {beat["class"] for beat in report["beats"]} == {"V"}
    assert "V run" in client.get(f"/records/{number}/files/events").text
    assert "V run" in client.get(f"/records/{number}/report").text


def test_a_single_beat_and_the_way_back(client, number, tmp_path):
    change(client, number, shape=0, to="N")
    change(client, number, shape=1, to="V")
    samples = client.get(f"/records/{number}/beats").json()["samples"]
    change(client, number, sample=samples[7], to="S")
    symbols = annotations(client, number, tmp_path).symbol
    assert "".join(symbols) == "NNNNVNNSNV" + 6 * "NNNNV"
    assert annotations(client, number, tmp_path).sample.tolist() == samples
    assert change(client, number, undo=True).json()["summary"]["counts"]["S"] == 0
    log = client.get(f"/records/{number}/files/log").text.splitlines()
    entries = [json.loads(line) for line in log]
    assert [entry["by"] for entry in entries] == ["A. Reader"] * 4
    assert entries[2]["from"] == {"N": 1} and entries[2]["to"] == "S" and entries[3]["undo"] == 2
    for _ in range(2):
        change(client, number, undo=True)
    assert client.get(f"/records/{number}/files/rev").status_code == 404
    assert change(client, number, undo=True).status_code == 422
    beats = client.get(f"/records/{number}/beats").json()
    assert beats["classes"] == beats["before"]


def test_of_two_tabs_the_one_behind_changes_nothing(client, number):
    first = {"version": 0, "by": "one", "shape": 1, "to": "V"}
    assert client.post(f"/records/{number}/review", json=first).status_code == 200
    answer = client.post(f"/records/{number}/review", json=first | {"by": "two", "to": "S"})
    assert answer.status_code == 409 and "changed this record" in answer.json()["error"]
    assert client.get(f"/records/{number}/review").json()["version"] == 1


WRONG = [
    {}, {"to": "V"}, {"shape": 0}, {"shape": 0, "to": "X"}, {"shape": 0, "to": ["V"]}, {"shape": 99, "to": "V"},
    {"shape": True, "to": "V"}, {"shape": "0", "to": "V"}, {"sample": 1, "to": "V"},
    {"shape": 0, "sample": 1, "to": "V"},
    {"undo": False}, {"undo": True},
]  # fmt: skip


@pytest.mark.parametrize("asked", WRONG)
def test_what_is_no_change_is_refused(client, number, asked):
    answer = change(client, number, **asked)
    assert answer.status_code == 422 and answer.json()["error"].isprintable()
    assert client.post(f"/records/{number}/review", content=b"[]").status_code == 400
    assert client.get(f"/records/{number}/review").json()["version"] == 0


def test_a_name_stands_in_the_log_as_one_short_line(client, number):
    change(client, number, by="a\n{}\u2028" + "b" * 200, shape=1, to="V")
    [line] = client.get(f"/records/{number}/files/log").text.splitlines()
    assert json.loads(line)["by"] == "a{}" + "b" * 77


def test_changes_in_force_by_hand():
    entries = [{"to": "V"}, {"to": "S"}, {"undo": 1}, {"to": "F"}, {"undo": 3}, {"undo": 0}]
    assert [one["number"] for one in in_force(entries[:1])] == [0]
    assert [one["number"] for one in in_force(entries[:4])] == [0, 3]
    assert in_force(entries) == []


def test_a_server_that_was_stopped_in_the_middle_of_a_change_has_it_whole_or_not(tmp_path, record, monkeypatch):
    """The log is replaced at once; what follows from it is made anew by the next server."""
    with client_of(tmp_path) as client:
        client.get("/")
        number, cookies = labelled(client, files_of(record)), dict(client.cookies)
        change(client, number, shape=1, to="V")
        monkeypatch.setattr(reviewing.Review, "write", lambda self: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            change(client, number, shape=0, to="S")
    monkeypatch.undo()
    with client_of(tmp_path) as client:
        client.cookies.update(cookies)
        assert client.get(f"/records/{number}/review").json()["summary"]["counts"]["S"] == 32
        assert annotations(client, number, tmp_path).symbol.count("S") == 32


def test_a_record_without_beats_can_be_looked_at(client, tmp_path):
    signal_mv = 0.002 * two_shapes()
    path = write_record(tmp_path, "quiet", signal_mv[:1500], fs=250)
    number = labelled(client, files_of(path))
    told = client.get(f"/records/{number}/review").json()
    assert told["summary"]["beats"] == 0 and told["episodes"][0]["kind"] == "no beats"
    assert client.get(f"/records/{number}/report").status_code == 200
    assert client.get(f"/records/{number}/files/pred").status_code == 404


def kept(folder):
    """Three beats of ten seconds, of which the second could not be read and the third is of another lead."""
    folder.mkdir()
    labels = Labelled(
        Record("9", "II", 250.0, two_shapes(10)),
        np.array([250, 450, 650]),
        np.eye(5, dtype=np.float32)[[0, 4, 0]],
        None,
        False,
        signal=np.array(["ok", "unreadable", "ok"]),
        after_gap=np.array([False, True, True]),
        groups=np.zeros(3, int),
        unread=[Stretch(400, 500, "motion")],
        leads=np.array(["II", "II", "V1"]),
        taken_over=[Stretch(600, 700, "V1")],
    )
    store(folder, labels, "a network")
    return Stored.load(folder)


def test_what_could_not_be_read_and_which_lead_took_over_is_kept(tmp_path):
    stored = kept(tmp_path / "kept").labelled
    assert stored.unread == [Stretch(400, 500, "motion")] and stored.taken_over == [Stretch(600, 700, "V1")]
    assert stored.leads.tolist() == ["II", "II", "V1"]
    assert summarise(stored)["unreadable"] == 1 and summarise(stored)["counts"]["N"] == 2


def test_a_beat_that_no_network_could_read_is_what_its_reader_says(tmp_path):
    review = reviewing.Review(kept(tmp_path / "kept"))
    review.change({"version": 0, "sample": 450, "to": "V"})
    assert [CLASSES[label] for label in review.labelled.predicted] == ["N", "V", "N"]
    told = review.told()["summary"]
    assert told["unreadable"] == 0 and told["counts"] == {"N": 2, "S": 0, "V": 1, "F": 0, "Q": 0}
