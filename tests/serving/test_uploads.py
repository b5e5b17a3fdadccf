"""Uploads: no name from outside becomes a path, what is too much is refused, and every kind of record is taken."""

import os
from pathlib import Path

import numpy as np
import pytest

import deep_ecg
from deep_ecg.serving.limits import Limits, Refused
from deep_ecg.serving.uploads import Given, sorted_into_records, unpacked
from deep_ecg.serving.visits import Visits
from tests.serving.conftest import client_of, files_of, labelled, two_shapes, until_labelled
from tests.serving.test_predict import zipped
from tests.support import ROOT
from tests.support.records import refused, write_record

FORMATS = ROOT.parent / "shared" / "formats"
EDGE = {"preset": "edge", "runtime": "onnx"}


def given(folder: Path, files: dict[str, bytes]) -> list[Given]:
    """Files as they lie where they have arrived."""
    for place, data in enumerate(files.values()):
        (folder / f"{place:016x}").write_bytes(data)
    return [Given(name, folder / f"{place:016x}") for place, name in enumerate(files)]


def contents(path: Path, name: str = "") -> dict[str, bytes]:
    """The files of a WFDB record under another `name`, which the header goes on to call by its own."""
    return {f"{name or path.name}{one}": Path(f"{path}{one}").read_bytes() for one in (".hea", ".dat")}


HOSTILE = ["../../x", "/etc/x", "..\\..\\x", "C:\\x", "a/../../x", ".", "..", "", "\0x", "x" * 300, "~", "-rf", "é\n"]


@pytest.mark.parametrize("name", HOSTILE)
def test_files_lie_where_we_say_whatever_they_are_called(name, tmp_path):
    folder = tmp_path / "in" / "here"
    folder.mkdir(parents=True)
    try:
        sorted_into_records(
            given(folder, {f"{name}.hea": b"x 1 250 10\nx.dat 16\n", f"{name}.dat": b"\0" * 20, name: b""})
        )
    except ValueError as error:
        assert str(error).isprintable()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == list(folder.iterdir())
    assert {path.suffix for path in folder.iterdir()} <= {"", ".hea", ".dat"}


@pytest.mark.parametrize("file", ["/etc/passwd", "../other.dat", "other.dat", "77.dat/x", "77.d/d", "..", "a::b"])
def test_a_header_leads_to_no_other_file(file, tmp_path, record):
    header = f"77 1 250 1000\n{file} 16 200 16 0 0 0 0 MLII\n".encode()
    message = refused(lambda: sorted_into_records(given(tmp_path, {"77.hea": header, "77.dat": b"\0" * 2000})))
    assert str(tmp_path) not in message


def test_a_record_that_was_renamed_is_read(client, record):
    """Its header calls it 77 and names 77.dat, which has another name now: that is said."""
    packed = zipped(contents(record) | {"notes.md": b"none of it"})
    number = labelled(client, [("files", ("all.zip", packed))])
    assert client.get(f"/records/{number}").json()["title"] == "77"
    answer = client.post(
        "/records", files=[("files", (f"x{one}", Path(f"{record}{one}").read_bytes())) for one in (".hea", ".dat")]
    )
    assert answer.status_code == 422 and "77.dat" in answer.json()["error"]


def test_records_of_one_upload_are_records_of_their_own(client, record, tmp_path):
    other = write_record(tmp_path, "78", two_shapes(15), fs=250)
    packed = zipped(
        {f"a/{name}": data for name, data in contents(record).items()}
        | {f"b/{name}": data for name, data in contents(record).items()}
        | contents(other)
    )
    answer = client.post("/records", files=[("files", ("all.zip", packed))])
    numbers = [until_labelled(client, number) for number in answer.json()["records"]]
    told = [client.get(f"/records/{number}").json() for number in numbers]
    assert [one["title"] for one in told] == ["77", "77", "78"] and {one["state"] for one in told} == {"labelled"}
    assert [client.get(f"/records/{number}/review").json()["summary"]["beats"] for number in numbers] == [40, 40, 15]


def test_the_segments_of_a_record_are_no_records(client, tmp_path):
    signal_mv = two_shapes()
    halves = [write_record(tmp_path, f"s{place}", part, fs=250) for place, part in enumerate(np.split(signal_mv, 2))]
    lines = "\n".join(f"{half.name} {len(signal_mv) // 2}" for half in halves)
    (tmp_path / "whole.hea").write_text(f"whole/2 1 250 {len(signal_mv)}\n{lines}\n")
    files = {"whole.hea": (tmp_path / "whole.hea").read_bytes()} | contents(halves[0]) | contents(halves[1])
    number = labelled(client, [("files", file) for file in files.items()])
    about = client.get(f"/records/{number}").json()
    assert about["title"] == "whole" and about["length"] == len(signal_mv)


def test_an_archive_that_is_too_large_unpacked_is_refused(tmp_path):
    packed = zipped({"zeros": b"\0" * 10**6})
    assert len(packed) < 2000
    with pytest.raises(Refused, match="too large") as refusal:
        unpacked(given(tmp_path, {"a.zip": packed}), tmp_path, Limits(unpacked_bytes=10**5))
    assert refusal.value.status == 413 and sum(path.stat().st_size for path in tmp_path.iterdir()) < 10**6
    with pytest.raises(Refused, match="3 files"):
        unpacked(given(tmp_path, {"a.zip": zipped(dict.fromkeys("abc", b""))}), tmp_path, Limits(files=2))


@pytest.mark.parametrize("damage", ["cut", "encrypted", "method"])
def test_a_broken_archive_is_one_line(damage, tmp_path):
    packed = bytearray(zipped({"a": b"a" * 1000}))
    if damage == "cut":
        packed[40:50] = b"\xff" * 10
    else:
        place = packed.index(b"PK\1\2")
        packed[place + 8 if damage == "encrypted" else place + 10] = 1 if damage == "encrypted" else 97
        packed[6 if damage == "encrypted" else 8] = 1 if damage == "encrypted" else 97
    with pytest.raises(Refused, match=r"a\.zip is no readable archive") as refusal:
        unpacked(given(tmp_path, {"a.zip": bytes(packed)}), tmp_path, Limits())
    assert refusal.value.status == 422


def test_a_text_gets_its_rate_and_unit_from_the_form(client):
    signal_mv = two_shapes()
    text = "\n".join(f"{1000 * value:.0f}" for value in signal_mv).encode()
    number = labelled(client, [("files", ("values.txt", text))], fs="250", units="uV")
    about = client.get(f"/records/{number}").json()
    assert (about["state"], about["fs_hz"], about["title"]) == ("labelled", 250, "values")
    beats = deep_ecg.label(np.round(signal_mv, 3), 250, **EDGE)
    assert client.get(f"/records/{number}/beats").json()["samples"] == beats.samples.tolist()
    failed = labelled(client, [("files", ("values.txt", text))])
    error = client.get(f"/records/{failed}").json()["error"]
    assert "values.txt" in error and "--" not in error
    for wrong in ({"fs": "x"}, {"fs": "-1"}, {"fs": "nan"}, {"units": "kV"}):
        assert client.post("/records", files=[("files", ("values.txt", text))], data=wrong).status_code == 400


@pytest.mark.parametrize("name", ["ECG_P28.01.ecg", "contec.edf", "waveform_ecg.dcm"])
def test_files_of_other_recorders_are_taken(client, name):
    if not (FORMATS / name).is_file():
        pytest.skip(f"{FORMATS} has no {name}")
    number = labelled(client, [("files", ("any.bin", (FORMATS / name).read_bytes()))])
    about = client.get(f"/records/{number}").json()
    assert about["state"] == "labelled", about
    assert client.get(f"/records/{number}/report").status_code == 200


def test_of_an_upload_only_the_results_stay(tmp_path, record):
    with client_of(tmp_path) as client:
        client.get("/")
        number = labelled(client, files_of(record))
        failed = labelled(
            client, [("files", ("77.hea", record.with_suffix(".hea").read_bytes())), ("files", ("77.dat", b"0"))]
        )
        assert "77" in client.get(f"/records/{failed}").json()["error"]
        [visitor] = tmp_path.iterdir()
        assert visitor.stat().st_mode & 0o77 == 0
        assert {path.name for path in visitor.iterdir()} == {number, failed}
        names = {path.name for path in (visitor / number).iterdir()}
        assert not {"upload", "r0.dat", "r0.hea"} & names and "signal.npy" in names
        assert {path.name for path in (visitor / failed).iterdir()} == {"title.txt", "error.json"}
        for one in (number, failed):
            assert client.delete(f"/records/{one}").status_code == 204
        assert list(visitor.iterdir()) == []


def test_old_folders_and_unfinished_uploads_are_removed(tmp_path):
    visits = Visits(tmp_path, Limits(keep_s=100))
    old, new = visits.folder("old"), visits.folder("new")
    for folder in (old, new):
        visits.new_arrival("old" if folder == old else "new")
    os.utime(old, (0, 0))
    visits.forget_old()
    assert [path.name for path in tmp_path.iterdir()] == [new.name]
    visits.new_record("new", "title")
    visits.prepare()
    assert list(new.iterdir()) == []


def test_a_visitor_has_room_for_so_many_records(tmp_path, record):
    with client_of(tmp_path, records=1) as client:
        client.get("/")
        labelled(client, files_of(record))
        answer = client.post("/records", files=files_of(record))
        assert answer.status_code == 409 and "remove some" in answer.json()["error"]


@pytest.mark.parametrize("name", "NSVFQ")
def test_there_is_a_synthetic_record_of_each_class(client, name):
    number = until_labelled(client, client.post(f"/examples/{name}").json()["records"][0])
    about = client.get(f"/records/{number}").json()
    assert about["state"] == "labelled" and about["synthetic"] and about["title"] == f"SYNTHETIC-{name}"
    assert client.get(f"/records/{number}/review").json()["summary"]["beats"] > 15
    assert "SYNTHETIC" in client.get(f"/records/{number}/report").text
    assert b"SYNTHETIC" in client.get(f"/records/{number}/files/pred").content


def test_there_is_no_example_of_another_letter(client):
    assert client.post("/examples/X").status_code == 404
