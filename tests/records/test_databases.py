"""The table of databases: who is never trained on, and how each is fetched from a server on loopback."""

import dataclasses
import os
import threading
from pathlib import Path

import pytest

from config import DATA_DIR_VARIABLE, DS1, DS2, Config
from config import DATABASES as NAMES
from deep_ecg.records import databases, physionet
from deep_ecg.records.databases import BEATS, DATABASES, RHYTHM, classifying, fetched, known
from deep_ecg.records.physionet import Patience, hashes_digest
from tests.support.physionet_server import Server, hash_list
from tests.support.records import refused

OF_CINC = ("A00001", "A00003")


def test_the_table_has_every_database_that_settings_may_name_in_their_order():
    assert tuple(DATABASES) == NAMES and [database.name for database in DATABASES.values()] == list(NAMES)
    assert (known("mitdb").train, known("mitdb").held_out) == (DS1, DS2)
    refused(lambda: known("ptbdb"), "'ptbdb' is unknown", "svdb")


@pytest.mark.parametrize("name, count", [("svdb", 52), ("cinc2017", 4264), ("afdb", 20), ("vitaldb_arrdb", 322)])
def test_every_third_record_by_sorted_name_is_held_out(name, count):
    database = DATABASES[name]
    both = sorted(database.train + database.held_out)
    assert len(both) == len(set(both)) == count
    assert tuple(both[2::3]) == database.held_out


def test_records_that_are_held_out_for_good():
    assert DATABASES["svdb"].held_out[:3] == ("803", "808", "820")
    assert DATABASES["afdb"].held_out == ("04043", "04746", "05121", "06995", "07910", "08378")
    assert DATABASES["cinc2017"].held_out[:2] == ("A00005", "A00011") and DATABASES["cinc2017"].train[0] == "A00001"


def test_a_classifier_is_taught_by_all_but_rhythm_alone():
    assert [one.name for one in classifying(NAMES)] == ["mitdb", "svdb", "cinc2017", "vitaldb_arrdb"]


def test_the_folder_is_a_setting_that_the_environment_goes_before(monkeypatch):
    assert DATABASES["mitdb"].variable == DATA_DIR_VARIABLE and DATABASES["svdb"].variable == "DEEP_ECG_SVDB_DIR"
    monkeypatch.delenv("DEEP_ECG_SVDB_DIR", raising=False)
    assert DATABASES["svdb"].folder(Config(svdb_dir="here")) == Path("here")
    monkeypatch.setenv("DEEP_ECG_SVDB_DIR", "there")
    assert DATABASES["svdb"].folder(Config(svdb_dir="here")) == Path("there")


def test_settings_of_a_database_are_its_leads_and_extension_and_nothing_else():
    config = Config(preset="edge")
    assert DATABASES["mitdb"].config(config) == config
    of_svdb = DATABASES["svdb"].config(config)
    assert of_svdb.leads == ("ECG1", "ECG2")
    assert dataclasses.replace(of_svdb, lead="MLII", other_leads=()) == config


def test_files_are_found_as_published_or_beside_one_another(tmp_path):
    cinc = DATABASES["cinc2017"]
    assert cinc.files(("A00001",)) == ["REFERENCE-v3.csv", "training/A00/A00001.hea", "training/A00/A00001.mat"]
    for name in ("A00001.hea", "A00001.mat", "REFERENCE.csv"):
        (tmp_path / name).write_text("x")
    assert cinc.local_files(tmp_path, ("A00001",)) == ["REFERENCE.csv", "A00001.hea", "A00001.mat"]
    assert cinc.path(tmp_path, "A00001") == "A00001"
    (tmp_path / "training/A00").mkdir(parents=True)
    (tmp_path / "training/A00/A00003.hea").write_text("x")
    assert cinc.path(tmp_path, "A00003") == "training/A00/A00003"


def test_labels_of_records_are_read_from_either_name_of_their_file(tmp_path):
    cinc = DATABASES["cinc2017"]
    (tmp_path / "REFERENCE.csv").write_text("A00001,N\nA00005,A\n")
    assert cinc.labels_of_records(tmp_path) == {"A00001": "N", "A00005": "A"}
    (tmp_path / "REFERENCE-v3.csv").write_text("A00001;N\n")
    refused(lambda: cinc.labels_of_records(tmp_path), "REFERENCE-v3.csv", "RECORD,LABEL")


# From a server -------------------------------------------------------------------------------------------------------


@pytest.fixture
def serve(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(physionet, "PATIENCE", Patience(backoff_s=0.0))
    servers = []

    def started(name: str, files: dict[str, bytes], **changes) -> tuple[Server, databases.Database]:
        servers.append(server := Server(files))
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        monkeypatch.delenv(DATABASES[name].variable, raising=False)
        return server, dataclasses.replace(DATABASES[name], url=server.url, **changes)

    yield started
    for server in servers:
        server.shutdown()
        server.server_close()


def published(database: databases.Database, records) -> dict[str, bytes]:
    files = {name: f"content of {name}".encode() for name in database.files(records)}
    return files | {"SHA256SUMS.txt": hash_list(files)} if database.hashed else files


@pytest.mark.parametrize(
    "name, records",
    [("svdb", ("801", "803")), ("cinc2017", OF_CINC), ("afdb", ("00735",)), ("vitaldb_arrdb", ("1001", "1023"))],
)
def test_every_database_is_fetched_whole_into_its_folder(name, records, serve, tmp_path):
    files = published(DATABASES[name], records)
    server, database = serve(name, files, train=records, held_out=(), entries_sha256=None)
    config = Config(**{f"{name}_dir": str(tmp_path / "data")})
    assert fetched(database, config) == tmp_path / "data"
    assert {str(p.relative_to(tmp_path / "data")): p.read_bytes() for p in (tmp_path / "data").rglob("*.*")} == files
    asked = len(server.requests)
    fetched(database, config)
    assert len(server.requests) == asked  # it is all there


def test_a_file_that_differs_from_its_published_hash_is_refused(serve, tmp_path):
    server, database = serve("afdb", published(DATABASES["afdb"], ("00735",)))
    server.faults["00735.qrs"] = ["wrong", "wrong"]
    told = refused(lambda: fetched(database, Config(afdb_dir=str(tmp_path)), ("00735",)), "00735.qrs came twice")
    assert "DEEP_ECG_AFDB_DIR" in told and not (tmp_path / "00735.qrs").exists()


def test_a_list_of_hashes_other_than_the_pinned_one_is_refused(serve, tmp_path):
    files = published(DATABASES["svdb"], ("801",))
    sums = dict(reversed(line.split()) for line in files["SHA256SUMS.txt"].decode().splitlines())
    pinned = hashes_digest(sums, DATABASES["svdb"].files(("801",)))
    config = Config(svdb_dir=str(tmp_path))
    _, database = serve("svdb", dict(files), train=("801",), held_out=(), entries_sha256=pinned)
    fetched(database, config)
    (tmp_path / "801.dat").unlink()
    _, database = serve("svdb", dict(files), train=("801",), held_out=(), entries_sha256="0" * 64)
    refused(lambda: fetched(database, config), "SHA256SUMS.txt came twice")


def test_what_a_stopped_transfer_without_hashes_has_left_is_begun_anew(serve, tmp_path):
    files = published(DATABASES["vitaldb_arrdb"], ("1001",))
    _, database = serve("vitaldb_arrdb", files)
    (tmp_path / "Annotation_file_1001.csv.part").write_bytes(b"cont")
    fetched(database, Config(vitaldb_arrdb_dir=str(tmp_path)), ("1001",))
    assert (tmp_path / "Annotation_file_1001.csv").read_bytes() == files["Annotation_file_1001.csv"]


@pytest.mark.parametrize("data_source", ["local", "synthetic"])
def test_nothing_is_fetched_or_made_up_unasked(data_source, tmp_path, monkeypatch):
    monkeypatch.delenv("DEEP_ECG_SVDB_DIR", raising=False)
    config = Config(svdb_dir=str(tmp_path / "none"), data_source=data_source)
    refused(lambda: fetched(DATABASES["svdb"], config), "156 files are missing", "801.hea", "DEEP_ECG_SVDB_DIR")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", NAMES)
def test_the_real_folders_hold_what_the_table_lists(name):
    database = DATABASES[name]
    folder = Path(os.environ.get(DATA_DIR_VARIABLE) or "mitdb").parent / name
    if not folder.is_dir():
        pytest.skip(f"{database.title} is not in {folder}")
    records = database.train + database.held_out
    assert not physionet.missing_files(folder, database.local_files(folder, records))
    if database.entries_sha256:
        assert hashes_digest(physionet.read_hashes(folder), database.files(records)) == database.entries_sha256
    if database.teaches in (BEATS, RHYTHM):
        assert len(list(folder.glob("*.atr"))) >= len(records)
