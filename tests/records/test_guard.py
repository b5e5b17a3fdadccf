"""Hostile files: what a header may name, sizes out of reason, notes that wfdb never returns from, code in archives."""

import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import wfdb

from config import Config
from deep_ecg.networks.description import FORMAT
from deep_ecg.networks.torch_network import load_checkpoint, read_torch_file
from deep_ecg.records import guard
from deep_ecg.records.wfdb_files import RecordFile, read_annotations, read_record
from deep_ecg.system.errors import DeepECGError
from model import HybridECGNet
from tests.support import fuzz
from tests.support.networks import described
from tests.support.records import refused

SIGNAL_LINE = "r.dat 16 200(0)/mV 16 0 0 0 0 MLII"


@pytest.fixture
def record(tmp_path) -> Path:
    """20 s of one lead in format 16 at 250 Hz, its folder beside one that is none of its business."""
    folder = tmp_path / "db"
    folder.mkdir()
    signal_mv = np.sin(np.arange(5000) / 20)[:, None]
    options = {"units": ["mV"], "sig_name": ["MLII"], "fmt": ["16"], "adc_gain": [200], "baseline": [0]}
    wfdb.wrsamp("r", 250, p_signal=signal_mv, write_dir=str(folder), **options)
    wfdb.wrann("r", "atr", np.arange(1, 15) * 200, ["N"] * 14, write_dir=str(folder))
    (tmp_path / "secret.dat").write_bytes((folder / "r.dat").read_bytes())
    return folder / "r"


def rewrite(record: Path, *signal_lines: str, first: str = "r 1 250 5000"):
    Path(f"{record}.hea").write_text("\n".join([first, *signal_lines]) + "\n")


# What a header may name ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["../secret.dat", "/etc/passwd", "..", ".", "sub/r.dat", "file::r.dat", "http://x/r.dat"]
)
def test_a_path_in_the_place_of_a_file_name_is_refused(record, name, opened_files):
    rewrite(record, SIGNAL_LINE.replace("r.dat", name))
    log = []
    with opened_files(log):
        refused(lambda: read_record(record, "MLII"), record)
    assert {Path(path).suffix for path in log if str(record.parent.parent) in path} <= {".hea"}
    assert not any("secret" in path or "passwd" in path for path in log)


def test_a_link_out_of_the_folder_is_refused_and_one_within_it_is_read(record):
    (record.parent / "link.dat").symlink_to(record.parent.parent / "secret.dat")
    (record.parent / "near.dat").symlink_to("r.dat")
    rewrite(record, SIGNAL_LINE.replace("r.dat", "link.dat"))
    refused(lambda: read_record(record, "MLII"), record, "link.dat", "leads out")
    rewrite(record, SIGNAL_LINE.replace("r.dat", "near.dat"))
    assert len(read_record(record, "MLII").signal_mv) == 5000


def test_links_out_of_the_folder_are_followed_where_the_user_says_so(record, monkeypatch):
    """As data sets under version control have them (git-annex): each file a link into another folder."""
    away = record.parent.parent / "objects"
    away.mkdir()
    Path(f"{record}.dat").rename(away / "ab12")
    Path(f"{record}.dat").symlink_to(away / "ab12")
    refused(lambda: read_record(record, "MLII"), record, "r.dat is a link", "DEEP_ECG_FOLLOW_LINKS=1")
    monkeypatch.setenv("DEEP_ECG_FOLLOW_LINKS", "1")
    assert len(read_record(record, "MLII").signal_mv) == 5000
    (away / "ab12").unlink()
    (away / "ab12").mkdir()
    refused(lambda: read_record(record, "MLII"), record, "no regular file")


@pytest.mark.parametrize("frames, message", [("400000000", "too few"), ("", "states no length")])
def test_a_compressed_file_takes_no_more_memory_than_an_ecg_of_its_size(record, frames, message):
    """400 million zeros fit into 1.3 MB of FLAC and take 6.8 GB while they are read."""
    Path(f"{record}.dat").write_bytes(bytes(1_300_000))
    rewrite(record, SIGNAL_LINE.replace(" 16 200", " 516 200"), first=f"r 1 250 {frames}")
    refused(lambda: read_record(record, "MLII"), record, message)


def test_a_folder_of_links_to_one_other_folder_is_read(record, tmp_path):
    linked = tmp_path / "linked"
    linked.mkdir()
    for ending in ("hea", "dat", "atr"):
        (linked / f"r.{ending}").symlink_to(f"{record}.{ending}")
    assert len(read_record(linked / "r", "MLII").signal_mv) == 5000
    assert len(read_annotations(linked / "r", "atr").sample) == 14


@pytest.mark.parametrize("kind", ["device", "pipe", "folder"])
@pytest.mark.parametrize("ending", ["hea", "dat", "atr"])
def test_what_is_no_regular_file_is_never_opened(record, kind, ending):
    """A pipe that nobody writes to would be waited for for ever."""
    path = Path(f"{record}.{ending}")
    path.unlink()
    {"device": lambda: path.symlink_to("/dev/zero"), "pipe": lambda: os.mkfifo(path), "folder": path.mkdir}[kind]()
    read = (lambda: read_annotations(record, "atr")) if ending == "atr" else (lambda: read_record(record, "MLII"))
    refused(read, record, "no regular file")


def test_a_header_beside_an_annotation_file_is_not_waited_for_either(record):
    Path(f"{record}.hea").unlink()
    os.mkfifo(f"{record}.hea")
    refused(lambda: read_annotations(record, "atr"), record)


# What a header may state ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line, first",
    [
        (SIGNAL_LINE, "r 1 250 1000000000000"),
        (SIGNAL_LINE, "r 1 250 5001"),
        (SIGNAL_LINE, "r 1 1e9 5000"),
        (SIGNAL_LINE, "r 1 inf 5000"),
        (SIGNAL_LINE, "r 1 0 5000"),
        (SIGNAL_LINE, "r 1 99999999999 5000"),
        (SIGNAL_LINE, "r 2 250 5000"),
        (SIGNAL_LINE.replace(" 16 200", " 16x0 200"), "r 1 250 5000"),
        (SIGNAL_LINE.replace(" 16 200", " 16x1000000000 200"), "r 1 250 5000"),
        (SIGNAL_LINE.replace(" 16 200", " 16:1000000000000 200"), "r 1 250 5000"),
        (SIGNAL_LINE.replace(" 16 200", " 16+1000000000000 200"), "r 1 250 5000"),
        (SIGNAL_LINE.replace(" 16 200", " 999 200"), "r 1 250 5000"),
        (SIGNAL_LINE.replace(" 16 200", " 0 200"), "r 1 250 5000"),
        (SIGNAL_LINE.replace("200(0)/mV", "inf/mV"), "r 1 250 5000"),
        (SIGNAL_LINE.replace("200(0)/mV", "nan/mV"), "r 1 250 5000"),
        (SIGNAL_LINE.replace("200(0)/mV", "1e999/mV"), "r 1 250 5000"),
        (SIGNAL_LINE.replace("200(0)/mV", "1e-300/mV"), "r 1 250 5000"),
        (SIGNAL_LINE.replace("200(0)/mV", "200(99999999999999999999)/mV"), "r 1 250 5000"),
        (SIGNAL_LINE.replace("MLII", "\x1b[2J"), "r 1 250 5000"),
        ("r" * 5000 + " 16", "r 1 250 5000"),
        (SIGNAL_LINE, "1" * 200_000),
        ("\n".join([SIGNAL_LINE] * 5000), "r 5000 250 5000"),
    ],
)
def test_a_value_that_cannot_be_is_refused(record, line, first):
    rewrite(record, line, first=first)
    refused(lambda: read_record(record, RecordFile.open(record).leads[0]), record)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_a_header_in_another_encoding_is_refused(record, encoding):
    path = Path(f"{record}.hea")
    path.write_text(path.read_text(), encoding=encoding)
    refused(lambda: RecordFile.open(record), record)


def test_signals_of_a_file_that_are_listed_apart_are_refused(record):
    """Wfdb would count the place of the third signal in its file from the first one's in the header."""
    (record.parent / "s.dat").write_bytes(Path(f"{record}.dat").read_bytes())
    other = SIGNAL_LINE.replace("r.dat", "s.dat").replace("MLII", "V5")
    rewrite(record, SIGNAL_LINE, other, SIGNAL_LINE.replace("MLII", "V1"), first="r 3 250 2500")
    refused(lambda: read_record(record, "MLII"), record, "together")


@pytest.mark.parametrize(
    "text",
    [
        "e0103 1 250 1800000 12:00:00 1/05/1990\ne0103.dat 212 200 12 0 8 -28369 0 V4",
        "s 1 1000 38400\ns.dat 16 2000 16 0 -489 -8337 0 i",
        "p 1 100 1000\np.dat 16 1000.0(0)/mV 16 0 -119 1508 0 I",
        "c 1 500 7500 05-Feb-2020 11:39:16\nc.mat 16x1+24 1000/mV 16 0 28 -1716 0 I",
        "3000003/3 4 125/60.5(2) 100 17:52:05.123\n3000003_layout 0\n~ 55\n3000003_0001 45",
        "r 1 250\nr.dat 80x4:2+10 -1.2e+02(-12)/uV 12 0 MLII",
        "r 1\nr.dat 212\n# a comment \u00b5",
    ],
    ids=["EDB", "PTB", "PTB-XL", "CPSC", "segments", "every field", "no field"],
)
def test_headers_as_the_databases_have_them_pass(tmp_path, text):
    (tmp_path / "r.hea").write_text(text)
    guard.check_header_text(tmp_path / "r.hea")


def test_every_header_of_the_database_passes(mitdb):
    for path in mitdb.glob("*.hea"):
        guard.check_header_text(path)
        guard.check_signal_files(path.with_suffix(""), RecordFile.open(path.with_suffix("")).signals)


# Annotation files ----------------------------------------------------------------------------------------------------


def note(text: bytes, length: int | None = None) -> bytes:
    """An annotation of the kind NOTE (22) at the first sample with `text`, in MIT format, said to have `length`."""
    stated = len(text) if length is None else length
    return struct.pack("<H", 22 << 10) + struct.pack("<H", (63 << 10) + stated) + text + bytes(len(text) % 2)


@pytest.mark.parametrize(
    "notes",
    [
        [b"## anything else"],
        [b"## time resolution: 250", b"## time resolution: 250"],
        [b"## end of definitions"],
        [b"## time resolution: x"],
        [b"## annotation type definitions", b"## time resolution: 250", b"## end of definitions"],
    ],
)
def test_notes_from_which_wfdb_never_returns_are_refused(record, notes):
    path = Path(f"{record}.atr")
    path.write_bytes(b"".join(map(note, notes)) + path.read_bytes())
    refused(lambda: read_annotations(record, "atr"), path, "notes on itself")


def test_a_note_that_is_shorter_than_its_bytes_is_taken_as_long_as_it_says(record):
    path = Path(f"{record}.atr")
    path.write_bytes(note(b"## time resolution: 250", 13) + path.read_bytes())
    refused(lambda: read_annotations(record, "atr"), path, "notes on itself")


@pytest.mark.parametrize("value", [b"0", b"0.0000001", b"9" * 200])
def test_a_time_resolution_that_cannot_be_is_refused(record, value):
    path = Path(f"{record}.atr")
    path.write_bytes(note(b"## time resolution: " + value) + path.read_bytes())
    refused(lambda: read_annotations(record, "atr"), path)


def test_notes_of_the_format_are_read(record):
    path = Path(f"{record}.atr")
    definitions = (b"## annotation type definitions", b"42 x a new mark", b"## end of definitions")
    notes = b"".join(map(note, (b"## time resolution: 500", *definitions)))
    path.write_bytes(notes + path.read_bytes())
    annotation = read_annotations(record, "atr")
    assert annotation.fs == 500 and len(annotation.sample) == 14


def test_a_huge_annotation_file_is_refused_before_it_is_read(record):
    path = Path(f"{record}.atr")
    with path.open("ab") as file:
        file.truncate(10**12)  # a file of holes
    refused(lambda: read_annotations(record, "atr"), path, "more than")


def test_a_huge_signal_file_is_refused_before_it_is_read(record):
    with Path(f"{record}.dat").open("ab") as file:
        file.truncate(10**13)
    rewrite(record, SIGNAL_LINE, first="r 1 250")  # its length is that of the file
    refused(lambda: read_record(record, "MLII"), record, "more than")


# Archives ------------------------------------------------------------------------------------------------------------


def test_an_archive_that_grows_is_refused(tmp_path):
    """A thousandfold: of 64 MB of zeros, compressed, there are 64 KB."""
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(2**26))
    refused(lambda: read_torch_file(path), path)


@pytest.mark.parametrize("change", ["huge", "expanded", "nan", "sparse", "no dict"])
def test_a_checkpoint_whose_weights_are_no_weights_is_refused(tmp_path, change):
    """`huge`: constructor arguments for 10^18 weights; `expanded`: one stored number that stands for many."""
    path, size = tmp_path / "checkpoint.pt", 10**9 if change == "huge" else 8
    arguments = {"feature_count": 3, "channels": [4, 4, 4], "flatten": False, "hidden": size, "feature_hidden": size}
    arguments |= {"kernels": [7, 5, 5], "window_samples": 280, "input_channels": 1}
    arguments |= dict.fromkeys(("dropout", "flatten_dropout", "wave_dropout"), 0.5)
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in HybridECGNet(**arguments).state_dict().items()}
    one = torch.full((), torch.nan if change == "nan" else 0.5)
    weights = {name: one.expand(shape) for name, shape in shapes.items()}
    if change not in ("huge", "expanded"):
        weights = {name: value.clone() for name, value in weights.items()}
    if change == "sparse":
        weights["head.1.weight"] = weights["head.1.weight"].to_sparse()
    if change == "no dict":
        weights = list(weights)
    said = {"format": FORMAT, "description": described(Config()).as_json()}
    torch.save({**said, "network": "HybridECGNet", "arguments": arguments, "weights": weights}, path)
    refused(lambda: load_checkpoint(path, [HybridECGNet]), path, "does not fit")


def test_a_message_is_one_printable_line_of_some_length():
    assert str(DeepECGError("a\nb\x1b[2J\ud800")) == "a b [2J "
    assert len(str(DeepECGError("x" * 10**6))) < 1100


# At random -----------------------------------------------------------------------------------------------------------


def test_some_hundred_spoiled_inputs(tmp_path):
    """The first of `tests/fuzz.py`; the process that runs them holds the limits on memory and time."""
    assert fuzz.main(["--count", "300", "--seed", "7", "--out", str(tmp_path)]) == 0
