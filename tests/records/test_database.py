"""The database of a run: local folder, PhysioNet or synthetic, and what is said where it cannot be had."""

import hashlib
import shutil

import pytest

from config import DATA_DIR_VARIABLE, DS1, DS2, Config
from deep_ecg.records import physionet
from deep_ecg.records.database import Source, ingest, open_records, real_source
from deep_ecg.records.physionet import expected_files
from deep_ecg.records.synthetic import MARKER_NAME
from deep_ecg.system.errors import DeepECGError
from tests.support.records import refused


@pytest.fixture(autouse=True)
def no_data_dir_variable(request, monkeypatch):
    """Tests choose their folder themselves; the real database is found before the variable goes."""
    if "mitdb" in request.fixturenames:
        request.getfixturevalue("mitdb")
    monkeypatch.delenv(DATA_DIR_VARIABLE, raising=False)


@pytest.fixture
def offline(monkeypatch):
    def refuse(*arguments, **settings):
        raise DeepECGError("cannot download: no connection")

    monkeypatch.setattr(physionet, "download", refuse)


def test_records_are_opened_with_all_their_files(few):
    opened, files = open_records(few.folder, ("208", "100"), Config())
    assert [record.name for record in opened] == ["208", "100"] and opened[0].leads == ["MLII", "V1"]
    assert files == [f"{name}.{ending}" for name in ("208", "100") for ending in ("hea", "dat", "atr")]


def test_a_record_in_a_subfolder_is_called_by_its_path_in_the_data_folder(few, tmp_path):
    few.folder.rename(tmp_path / "ward")
    (opened,), files = open_records(tmp_path, ("ward/100",), Config())
    assert opened.name == opened.lead("MLII").name == "ward/100"
    assert files == ["ward/100.hea", "ward/100.dat", "ward/100.atr"]


@pytest.mark.parametrize("name", ["100.hea", "100.dat", "100.atr"])
@pytest.mark.parametrize("emptied", [True, False])
def test_records_of_which_a_file_is_missing_are_not_opened(few, name, emptied):
    (few.folder / name).unlink()
    if emptied:
        (few.folder / name).touch()
    refused(lambda: open_records(few.folder, ("208", "100"), Config()), few.folder, name, "missing or empty")


def test_of_a_broken_header_the_published_hash_is_said_where_it_is_known(few):
    digest = hashlib.sha256((few.folder / "100.hea").read_bytes()).hexdigest()
    (few.folder / "100.hea").write_text("no header\n")
    refused(lambda: open_records(few.folder, ("100",), Config()), few.folder / "100", "its header cannot be read")
    (few.folder / physionet.HASH_LIST).write_text(f"{digest}  100.hea\n")
    refused(lambda: open_records(few.folder, ("100",), Config()), "100.hea differs from its published SHA-256")


def test_the_real_folder_is_local(mitdb):
    for wanted in ("auto", "local", "physionet"):
        assert ingest(Config(data_dir=str(mitdb), data_source=wanted)) == Source("local", mitdb)


def test_local_names_the_first_file_that_is_missing(tmp_path):
    config = Config(data_source="local", data_dir=str(tmp_path / "nowhere"))
    refused(lambda: ingest(config), "nowhere", "132 files", f"{DS1[0]}.hea", DATA_DIR_VARIABLE)


@pytest.mark.parametrize("name", ["232.dat", "100.atr"])
@pytest.mark.parametrize("emptied", [True, False])
def test_a_folder_that_is_nearly_whole_does_not_count(synthetic_db, tmp_path, name, emptied):
    folder = shutil.copytree(synthetic_db, tmp_path / "db")
    (folder / name).unlink()
    if emptied:
        (folder / name).touch()
    refused(lambda: ingest(Config(data_source="local", data_dir=str(folder))), "1 files are missing", name)


@pytest.mark.parametrize("half_filled", [True, False])
def test_auto_without_data_or_network_is_synthetic_and_says_why(offline, synthetic_db, tmp_path, half_filled):
    data = tmp_path / "data"
    data.mkdir()
    if half_filled:
        (data / "101.hea").write_text("101 2 360 650000\n")
    shutil.copytree(synthetic_db, tmp_path / "cache" / "synthetic-1min")  # already written: nothing to wait for
    config = Config(data_dir=str(data), cache_dir=str(tmp_path / "cache"), synthetic_minutes=1)
    source = ingest(config)
    assert source.synthetic and source.name == "synthetic"
    assert source.folder == tmp_path / "cache" / "synthetic-1min"
    assert "no connection" in source.reason
    assert not physionet.missing_files(source.folder, expected_files(DS1 + DS2))


def test_synthetic_is_taken_when_asked_for_even_beside_a_whole_folder(offline, synthetic_db, tmp_path):
    shutil.copytree(synthetic_db, tmp_path / "cache" / "synthetic-1min")
    config = Config(
        data_source="synthetic", data_dir=str(synthetic_db), cache_dir=str(tmp_path / "cache"), synthetic_minutes=1
    )
    assert ingest(config).folder == tmp_path / "cache" / "synthetic-1min"


def test_a_folder_that_the_user_names_and_that_is_not_there_is_an_error(offline, tmp_path, monkeypatch):
    """Whatever names it: nothing is made, downloaded or made up in its place."""
    typo = tmp_path / "mitbd"
    made = {"data_source": "auto", "cache_dir": str(tmp_path / "cache")}
    refused(lambda: ingest(Config(data_dir=str(typo), **made)), f"{typo}, named by data_dir, is not there", "mend")
    monkeypatch.setenv(DATA_DIR_VARIABLE, str(typo))
    refused(lambda: ingest(Config(**made)), f"{typo}, named by {DATA_DIR_VARIABLE}, is not there")
    assert list(tmp_path.iterdir()) == []
    typo.write_text("a file")
    refused(lambda: ingest(Config(**made)), f"{typo}, named by {DATA_DIR_VARIABLE}, is no folder")


def test_an_empty_folder_that_the_user_names_may_become_the_synthetic_database(offline, tmp_path):
    (tmp_path / "data").mkdir()
    settings = {"cache_dir": str(tmp_path / "cache"), "synthetic_minutes": 1}
    assert ingest(Config(data_source="auto", data_dir=str(tmp_path / "data"), **settings)).synthetic


def test_physionet_without_network_is_an_error(offline, tmp_path):
    refused(lambda: ingest(Config(data_source="physionet", data_dir=str(tmp_path / "data"))), "no connection")


@pytest.mark.parametrize("wanted", ["auto", "physionet"])
def test_a_download_is_checked_against_the_published_hashes(monkeypatch, tmp_path, wanted):
    calls = []
    monkeypatch.setattr(physionet, "download", lambda *arguments, **settings: calls.append((arguments, settings)))
    config = Config(data_source=wanted, data_dir=str(tmp_path))
    assert ingest(config) == Source("physionet", tmp_path)
    ((folder, url, records), settings) = calls[0]
    assert (folder, url, records) == (tmp_path, config.physionet_url, DS1 + DS2)
    assert settings["sums_sha256"] == physionet.MITDB_SHA256SUMS


@pytest.mark.parametrize("wanted", ["auto", "local"])
def test_a_synthetic_folder_is_never_called_local(synthetic_db, wanted):
    assert (synthetic_db / MARKER_NAME).is_file()
    source = ingest(Config(data_source=wanted, data_dir=str(synthetic_db)))
    assert source.name == "synthetic" and source.synthetic


def test_the_environment_variable_says_where_the_data_are(monkeypatch, synthetic_db, tmp_path):
    monkeypatch.setenv(DATA_DIR_VARIABLE, str(synthetic_db))
    assert ingest(Config(data_source="local", data_dir=str(tmp_path))).folder == synthetic_db


def test_a_cache_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("no folder")
    refused(lambda: ingest(Config(data_source="synthetic", cache_dir=str(tmp_path / "file"))), tmp_path / "file")


def test_measurements_take_the_real_database_alone(synthetic_db, monkeypatch, tmp_path):
    monkeypatch.setenv(DATA_DIR_VARIABLE, str(synthetic_db))
    with pytest.raises(DeepECGError, match="SYNTHETIC.* real one"):
        real_source(Config())
    monkeypatch.setenv(DATA_DIR_VARIABLE, str(tmp_path))
    with pytest.raises(DeepECGError, match="files are missing"):
        real_source(Config(data_source="synthetic"))


def test_the_real_database_is_taken(mitdb, monkeypatch):
    monkeypatch.setenv(DATA_DIR_VARIABLE, str(mitdb))
    assert real_source(Config(data_source="synthetic")).name == "local"
