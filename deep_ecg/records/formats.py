"""Any record, of whatever format: the one door by which every command opens the files of its user.

The format is told by what a file holds, not by what it is called.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from deep_ecg.records import guard, kardia_files
from deep_ecg.records.dicom_files import read_dicom
from deep_ecg.records.edf_files import read_edf
from deep_ecg.records.ishne_files import MAGIC, read_ishne
from deep_ecg.records.kardia_files import read_atc, read_json
from deep_ecg.records.any_record import AnyRecord
from deep_ecg.records.signal_file import Contents, SignalFile
from deep_ecg.records.text_files import NoTable, read_text
from deep_ecg.records.wfdb_files import RecordFile
from deep_ecg.system.errors import DeepECGError

TAKEN = "WFDB, EDF, EDF+, BDF, DICOM waveforms, ISHNE 1.0, ATC and JSON of Kardia, or text as CSV"
HEAD_BYTES = 4096  # of a file that are looked at
TEXT = "text"
READERS: dict[str, Callable[[Path], Contents]] = {
    "EDF": read_edf, "BDF": read_edf, "DICOM": read_dicom, "ISHNE": read_ishne, "ATC": read_atc, "JSON": read_json,
}  # fmt: skip
UNITS = ("mV", "uV", "V")  # that a user can name


def open_any(path: Path, fs_hz: float | None = None, units: str | None = None) -> AnyRecord:
    """The record at `path`: that of a WFDB header `path`.hea, else the file itself, by what it holds.

    `fs_hz` and `units` are the user's word on a text. Raises DeepECGError where there is none, or none of a format
    that is taken, or it is broken.
    """
    if header_of(path).is_file() or not path.is_file():
        return RecordFile.open(path)
    kind = kind_of(path)
    if kind is None:
        raise DeepECGError(f"record {path} is of no format that is taken: {TAKEN}")
    read = partial(read_text, fs_hz=fs_hz, unit=units) if kind == TEXT else READERS[kind]
    try:
        return SignalFile.open(path, kind, read)
    except NoTable as error:
        raise DeepECGError(f"{error}; taken are {TAKEN}") from None


def check_settings(record: AnyRecord, fs_hz: float | None, units: str | None):
    """DeepECGError where rate or units were named for a `record` that states its own."""
    kind = record.kind if isinstance(record, SignalFile) else "WFDB"
    for name, value in (("--fs", fs_hz), ("--units", units)):
        if value is not None and kind != TEXT:
            raise DeepECGError(
                f"{name} has no meaning for {record.path}, a {kind} record, which states it: leave it out"
            )


def kind_of(path: Path) -> str | None:
    """The format of the file at `path`, a key of READERS or TEXT; None where it is none of these, or empty.

    Raises DeepECGError where it cannot be read.
    """
    try:
        guard.check_file(path)
        with open(path, "rb") as file:
            head = file.read(HEAD_BYTES)
    except (OSError, ValueError) as error:
        raise DeepECGError(f"record {path} cannot be read ({getattr(error, 'strerror', None) or error})") from None
    if head[1:8] == b"BIOSEMI" and head[:1] == b"\xff":
        return "BDF"
    if head[:8] == b"0       " and head[8:256].isascii() and b"\n" not in head[:256]:
        return "EDF"
    known = {"DICOM": head[128:132] == b"DICM", "ISHNE": head[:8] == MAGIC, "ATC": head[:8] == kardia_files.MAGIC}
    kind = next((kind for kind, found in known.items() if found), None)
    if kind or not head.strip() or not _is_text(head):
        return kind
    return "JSON" if head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{" else TEXT


def _is_text(head: bytes) -> bool:
    """Whether these first bytes of a file are letters, in UTF-8 or Latin-1, and ends of lines."""
    return not any((byte < 32 and byte not in b"\t\n\r\f\v") or byte == 127 for byte in head)


def header_of(path: Path) -> Path:
    """Where the WFDB header of a record at `path` would be."""
    return Path(f"{path}.hea")
