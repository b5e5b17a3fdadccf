"""A record's header is parsed once a command: by `predict` of a record or an archive, by `stream`, in training."""

import os
import shutil
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest
import wfdb

import main
from config import Config
from data_loader import load_beats
from deep_ecg.labelling import archive
from deep_ecg.labelling.live import record_feed
from deep_ecg.networks.classifier import load_classifier
from deep_ecg.records import headers
from deep_ecg.records.database import Source
from deep_ecg.records.physionet import expected_files

OPTIONS = ("--preset", "edge", "--runtime", "onnx")


@pytest.fixture
def parsed(monkeypatch) -> Counter:
    """How often the header of each record was parsed, here or by wfdb, whoever asked it."""
    counts: Counter[str] = Counter()

    def counting(parse):
        def counted(name, *arguments, **options):
            counts[Path(name).name] += 1
            return parse(name, *arguments, **options)

        return counted

    monkeypatch.setattr(headers, "read_header", counting(headers.read_header))
    monkeypatch.setattr(wfdb.io.record, "rdheader", counting(wfdb.io.record.rdheader))
    return counts


@contextmanager
def looked_at(opened_files):
    """How often each header file was opened in the block, after its end."""
    log, counts = [], Counter()
    with opened_files(log):
        yield counts
    counts.update(Path(path).name for path in log if path.endswith(".hea"))


@pytest.fixture
def records(synthetic_db, tmp_path) -> Path:
    folder = tmp_path / "records"
    folder.mkdir()
    for name in expected_files(("100", "208")):
        shutil.copy2(synthetic_db / name, folder)
    return folder


def test_predict_of_one_record(records, tmp_path, parsed, opened_files):
    (records / "100.atr").unlink()
    with looked_at(opened_files) as files:
        assert main.main(["predict", str(records / "100"), "--out", str(tmp_path / "out"), *OPTIONS]) == 0
    assert parsed == {"100": 1} and files == {"100.hea": 1}


def test_predict_with_given_peaks(records, tmp_path, parsed):
    """Wfdb's reader of annotations asks the header by itself: for the peaks, and for the reference that is shown."""
    arguments = ["predict", str(records / "100"), "--peaks", "atr", "--out", str(tmp_path / "out"), *OPTIONS]
    assert main.main(arguments) == 0
    assert parsed == {"100": 3}


def test_predict_of_an_archive_also_where_all_is_done(records, tmp_path, parsed, opened_files):
    """The file is opened twice: to see whether it names segments, and to be read."""
    arguments = ["predict", str(records), "--out", str(tmp_path / "out"), "--workers", "1", *OPTIONS, "--no-report"]
    for times in (1, 2):
        with looked_at(opened_files) as files:
            assert main.main(arguments) == 0
        assert parsed == {"100": times, "208": times} and files == {"100.hea": 2, "208.hea": 2}


def test_a_replayed_stream(records, parsed):
    record_feed(records / "100", load_classifier(Config(preset="edge"), runtime="onnx"), None, 0.0)
    assert parsed == {"100": 1}


def test_training_reads_beats_with_the_header_that_it_has(records, tmp_path, parsed):
    """And once more by wfdb for the annotations; nothing but the header is read where the beats are cached."""
    config = Config(cache_dir=str(tmp_path / "cache"), threads=1)
    for times in (2, 3):
        load_beats(Source("synthetic", records), ("100", "208"), config)
        assert parsed == {"100": times, "208": times}


@pytest.mark.parametrize("ending", ["hea", "dat"])
def test_a_record_that_changes_while_it_is_labelled_is_not_done(records, tmp_path, capsys, monkeypatch, ending):
    """Its labels are of a header and a signal that may not belong together; the next run does it."""
    label, later_ns = archive.label_opened, (records / f"100.{ending}").stat().st_mtime_ns + 10**9

    def disturbed(record, *arguments):
        labelled = label(record, *arguments)
        if record.name == "100":
            os.utime(records / f"100.{ending}", ns=(later_ns, later_ns))
        return labelled

    arguments = ["predict", str(records), "--out", str(tmp_path / "out"), "--workers", "1", *OPTIONS]
    monkeypatch.setattr(archive, "label_opened", disturbed)
    assert main.main(arguments) == 3
    assert "records/100: its files changed while they were read" in capsys.readouterr().err
    assert not (tmp_path / "out" / "100.json").exists() and (tmp_path / "out" / "208.json").exists()
    monkeypatch.undo()
    assert main.main(arguments) == 0
    assert (tmp_path / "out" / "100.json").exists()


def test_a_header_that_changes_before_its_files_are_looked_at_is_noticed(records, tmp_path, capsys, monkeypatch):
    identity = archive._identity

    def late(job, record):
        if record.name == "100" and record.is_unchanged():
            os.utime(records / "100.hea", ns=(0, 0))
        return identity(job, record)

    monkeypatch.setattr(archive, "_identity", late)
    arguments = ["predict", str(records), "--out", str(tmp_path / "out"), "--workers", "1", *OPTIONS]
    assert main.main(arguments) == 3
    assert "records/100: its files changed while they were read" in capsys.readouterr().err
