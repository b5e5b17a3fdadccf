"""Any record, of whatever format: the one door by which every command opens the files of its user.

The format is told by what a file holds, not by what it is called.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from deep_ecg.records import guard, kardia_files
from deep_ecg.records.any_record import AnyRecord
from deep_ecg.records.dicom_files import read_dicom
from deep_ecg.records.edf_files import read_edf
from deep_ecg.records.ishne_files import MAGIC, read_ishne
from deep_ecg.records.kardia_files import read_atc, read_json
from deep_ecg.records.signal_file import Contents, SignalFile
from deep_ecg.records.text_files import NoTable, is_table, read_text, tells_ecg
from deep_ecg.records.text_samples import utf_16_of
from deep_ecg.records.wfdb_files import RecordFile
from deep_ecg.system.errors import DeepECGError

TAKEN = "WFDB, EDF, EDF+, BDF, DICOM waveforms, ISHNE 1.0, ATC and JSON of Kardia, or text as CSV"
EDF_VERSION = b"0       "  # with which an EDF begins
HEAD_BYTES = 4096  # of a file that are looked at
TEXT = "text"
TEXT_ENDINGS = frozenset((".csv", ".tsv", ".txt", ".asc", ".ecg", ".log", ""))
LABELS_ENDING = "-labels.edf"  # of files of EDF+ annotations
RESULTS = b"sample,time_s,class,p_N,"  # how the tables begin that `predict` writes
READERS: dict[str, Callable[[Path], Contents]] = {
    "EDF": read_edf, "BDF": read_edf, "DICOM": read_dicom, "ISHNE": read_ishne, "ATC": read_atc, "JSON": read_json,
}  # fmt: skip


@dataclass(frozen=True)
class TextSettings:
    """The user's word on records that are text: `fs_hz`, and the `unit` of their values, one of UNITS."""

    fs_hz: float | None = None
    unit: str | None = None


def open_any(path: Path, text: TextSettings, told: bool = False) -> AnyRecord:
    """The record at `path`: that of a WFDB header `path`.hea, else the file itself, by what it holds.

    `text` is for a text; `told` of this very record, it is refused where the record states these itself. Raises
    DeepECGError where there is none, or none of a format that is taken, or it is broken.
    """
    is_wfdb = not is_alone(path)
    kind = RecordFile.kind if is_wfdb else kind_of(path)
    if kind is None:
        raise DeepECGError(f"record {path} is of no format that is taken: {TAKEN}")
    for name, value in (("--fs", text.fs_hz), ("--units", text.unit)):
        if told and value is not None and kind != TEXT:
            raise DeepECGError(f"{name} has no meaning for {path}, a record in {kind}, which states it: leave it out")
    if is_wfdb:
        return RecordFile.open(path)
    read = partial(read_text, fs_hz=text.fs_hz, unit=text.unit) if kind == TEXT else READERS[kind]
    try:
        return SignalFile.open(path, kind, read)
    except NoTable as error:
        raise DeepECGError(f"{error}; taken are {TAKEN}") from None


def is_alone(path: Path) -> bool:
    """Whether the record at `path` is that very file, not what a WFDB header describes."""
    return os.path.isfile(path) and not os.path.isfile(header_of(path))


def is_beside(path: Path, record: Path) -> bool:
    """Whether a file at `path`, if there is one, is of the WFDB `record`: named in its header, text, or annotations."""
    if not os.path.isfile(path) or path in (record, header_of(record)):
        return True
    try:
        if path.name.encode() in header_of(record).read_bytes():
            return True
        with open(path, "rb") as file:
            head = file.read(HEAD_BYTES)
            file.seek(max(path.stat().st_size - 2, 0))
            is_ended = file.read() == b"\0\0"  # as annotations are
    except OSError:
        return True  # the record is opened, and says what is wrong
    return _is_text(head) or (is_ended and not head.startswith(EDF_VERSION))


def is_record(path: Path) -> bool:
    """Whether the file at `path` is a record of its own: of a known format, or a table of numbers.

    Of a text with a WFDB header beside it, as notes on a record have, its first lines are looked at.
    """
    try:
        kind = kind_of(path) if is_alone(path) else None
        return kind is not None and (kind != TEXT or not header_of(path.with_suffix("")).is_file() or is_table(path))
    except (DeepECGError, OSError):
        return False


def is_ecg_file(path: Path, text: TextSettings) -> bool:
    """Whether the file at `path` is taken for a record where a whole folder is.

    That is one of a known format, or a text of a usual ending in whose header or columns an ECG and its rate can be
    told, or with `text` are.
    """
    try:
        guard.check_file(path, beside=path.with_name("beside"))  # a link to elsewhere is not followed unasked
        kind = kind_of(path)
        if kind != TEXT:
            return kind is not None and not path.name.endswith(LABELS_ENDING)
        return path.suffix.lower() in TEXT_ENDINGS and tells_ecg(path, text.fs_hz, text.unit)
    except (DeepECGError, OSError, ValueError):
        return False


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
    if head[:8] == EDF_VERSION and head[168:256].isascii() and min(head[8:256], default=0) >= 32:
        return "EDF"  # who was recorded may be written in letters of any alphabet
    known = {"DICOM": head[128:132] == b"DICM", "ISHNE": head[:8] == MAGIC, "ATC": head[:8] == kardia_files.MAGIC}
    kind = next((kind for kind, found in known.items() if found), None)
    encoding = utf_16_of(head)
    head = head.decode(encoding, "ignore").encode() if encoding else head
    first = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if kind or not first or not _is_text(head):
        return kind
    if first == b"{":
        return "JSON" if any(word in head for word in kardia_files.JSON_WORDS) else None
    return None if first == b"<" or head.startswith(RESULTS) else TEXT


def _is_text(head: bytes) -> bool:
    """Whether these first bytes of a text are letters, in UTF-8 or Latin-1, and ends of lines."""
    return not any((byte < 32 and byte not in b"\t\n\r\f\v") or byte == 127 for byte in head)


def header_of(path: Path) -> Path:
    """Where the WFDB header of a record at `path` would be."""
    return Path(f"{path}.hea")
