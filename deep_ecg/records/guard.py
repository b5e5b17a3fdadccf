"""What is asked of a file from outside before a package parses it.

wfdb and torch trust what a file says of itself: sizes, counts, names of further files. These checks come first,
so that no file makes them read elsewhere, wait for ever, or take more memory than the file's own size warrants. Each
raises ValueError with the reason in a few words; the caller names the record or file and the mend.
"""

import math
import os
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path

import wfdb
from wfdb.io._signal import BYTES_PER_SAMPLE

FOLLOW_LINKS_VARIABLE = "DEEP_ECG_FOLLOW_LINKS"  # data sets under version control keep their files elsewhere
MAX_HEADER_BYTES = 1_000_000
MAX_HEADER_LINES = 20_000  # a record of many segments has a line for each
MAX_LINE_BYTES = 1_000  # wfdb's patterns take the square of it in time
MAX_ANNOTATION_BYTES = 16_000_000  # weeks of beats
MAX_SIGNALS = 512
MAX_SAMPLES = 2**30  # in one signal file: two weeks of three leads at 250 Hz
MAX_FRAMES = 2**40
MAX_SAMPLES_PER_BYTE = 1000  # of a compressed signal file of up to MAX_UNPACKED samples, which a flat lead can be
MAX_UNPACKED = 2**26  # a day of three leads at 250 Hz: 1 GB while it is read
ECG_SAMPLES_PER_BYTE = 20  # of a longer one, far above any ECG
RATES_HZ = (1e-4, 1e5)  # of frames, which can hold many samples of a signal, and of annotations
GAINS = (1e-9, 1e12)  # steps of the converter a unit
MAX_OFFSET = 2**40  # of a baseline or a first value, in steps of the converter

# Of a header, header(5) of the WFDB Applications Guide, and what published ones have in its place: the record line, a
# signal's line, a segment's line. After the length comes what it likes: only time and date are looked for there.
RECORD_LINE = re.compile(
    r"(?P<name>[^\s/]+)(/(?P<segments>\d+))?\s+(?P<signals>\d+)"
    r"(\s+(?P<fs>\d+\.?\d*|\.\d+)(/-?\d*\.?\d*(\(-?\d*\.?\d*\))?)?"
    r"(\s+(?P<length>\d+)(?P<start>\s.*)?|(?P<clock>\s+\d{1,2}:\d.*))?)?",
    re.ASCII,
)
_WHOLE = r"[-+]?\d+(\.0*)?"
_NUMBERS = rf"(\s+{_WHOLE}(?!\S))"
SIGNAL_LINE = re.compile(
    r"(?P<file>\S+)\s+(?P<format>\d+)(x(?P<per_frame>\d+))?(:(?P<skew>\d+))?(\+(?P<offset>\d+))?"
    rf"(\s+(?P<gain>[-+]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?)(\((?P<baseline>{_WHOLE})\))?(/(?P<units>\S*))?(?!\S)"
    rf"(?P<numbers>{_NUMBERS}{{5}}|{_NUMBERS}{{0,4}}(?=\s+[^-\d\s]|$))(?P<name>\s+(?!/)\S.*)?)?",
    re.ASCII,
)
SEGMENT_LINE = re.compile(r"([-\w]+|~)\s+\d+", re.ASCII)

# A note on the file and not on the signal: its length, the code of a note (six bits), and its first words.
_FILE_NOTE = re.compile(rb"(.)[\xfc-\xff](?=## )", re.DOTALL)
_NOTES_IN_ORDER = re.compile("t?(de)*|(de)*t(de)*")


def check_file(path: Path, at_most: int | None = None, beside: Path | None = None) -> int:
    """Bytes of the regular file at `path`, no more than `at_most`.

    With `beside`, the file must lie in the folder of that path, links followed, its own included: a folder of links
    into one other folder is as good as that one, a link to anywhere else is not, unless the environment variable
    FOLLOW_LINKS_VARIABLE allows it. FileNotFoundError where it is missing.
    """
    _check_name(path)
    if not path.exists():
        raise FileNotFoundError(2, "No such file or directory", str(path))
    if not path.is_file():
        raise ValueError(f"{path.name} is no regular file")
    if beside is not None and os.environ.get(FOLLOW_LINKS_VARIABLE, "0") in ("", "0"):
        homes = {beside.parent.resolve(), beside.resolve().parent}
        if not any(path.resolve().is_relative_to(home) for home in homes):
            raise ValueError(
                f"{path.name} is a link that leads out of the record's folder: set {FOLLOW_LINKS_VARIABLE}=1 where "
                "what it leads to is to be trusted"
            )
    size = path.stat().st_size
    if at_most is not None and size > at_most:
        raise ValueError(f"{path.name} has {size:,} bytes, more than {at_most:,}")
    return size


def _check_name(path: Path):
    if "::" in str(path.absolute()) or not path.name.isprintable():  # wfdb's fsspec takes :: for a chain of hosts
        raise ValueError("its path holds '::' or characters that cannot be printed: rename it")


def check_header_text(path: Path) -> tuple[list[str], list[str]]:
    """The lines of the header file at `path`, each of the format, and its comments without their marks.

    What would be passed over is refused: "inf" for a gain must not read as the default gain, nor as part of a name.
    UTF-8, with or without a mark at its start, and Latin-1 are read; any of the ends of lines that systems have.
    """
    check_file(path, MAX_HEADER_BYTES)
    lines = [line.strip(" \t\f\v") for line in re.split(r"\r\n|\r|\n", _text(path.read_bytes()))]
    if len(lines) > MAX_HEADER_LINES or any(len(line.encode()) > MAX_LINE_BYTES for line in lines):
        raise ValueError(f"it has more than {MAX_HEADER_LINES:,} lines, or one of more than {MAX_LINE_BYTES:,} bytes")
    fields = [line for line in lines if line and not line.startswith("#")]
    pattern = RECORD_LINE
    for line in fields:
        found = pattern.fullmatch(line)
        if not found:
            raise ValueError(f"the line {line[:60]!r} is not of the format")
        if pattern is RECORD_LINE:
            pattern = SIGNAL_LINE if found["segments"] is None else SEGMENT_LINE
    return fields, [line.strip(" \t#") for line in lines if line.startswith("#")]


def _text(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def check_rate(rate_hz: float):
    """A rate of frames or a time resolution that a recorder of ECG may have."""
    low, high = RATES_HZ
    if not low <= rate_hz <= high:
        raise ValueError(f"a rate of {rate_hz:g} Hz is not within {low:g} to {high:g} Hz")


def check_header(header: wfdb.Record | wfdb.MultiRecord):
    """What every header must hold: rate and length."""
    check_rate(header.fs)
    if header.sig_len is not None and header.sig_len > MAX_FRAMES:
        raise ValueError(f"a length of {header.sig_len} samples cannot be")


def check_signals(header: wfdb.Record, layout: bool = False):
    """The lines of a header of one segment, which describe its signals, agree and lie within reason.

    A `layout` describes the signals of other segments and has no files.
    """
    count = len(header.sig_name)
    if count != header.n_sig or not 1 <= count <= MAX_SIGNALS:
        raise ValueError(f"it announces {header.n_sig} signals and describes {count}: 1 to {MAX_SIGNALS} can be")
    for name in header.sig_name:
        if not name.isprintable():
            raise ValueError(f"the signal name {name!r} cannot be printed")
    for gain, per_frame in zip(header.adc_gain, header.samps_per_frame):
        if not GAINS[0] <= abs(gain) <= GAINS[1]:
            raise ValueError(f"a gain of {gain:g} cannot be")
        if per_frame is not None and not 1 <= per_frame <= RATES_HZ[1] / header.fs:
            raise ValueError(f"a signal with {per_frame} samples in a frame cannot be")
    if not layout:
        _check_files_named(header)
    for name in ("baseline", "adc_zero", "init_value"):
        if any(abs(value or 0) > MAX_OFFSET for value in getattr(header, name)):
            raise ValueError(f"a value of its {name} cannot be")


def _check_files_named(header: wfdb.Record):
    """The signal files of `header` lie in its folder, in formats that are known."""
    for file, fmt in zip(header.file_name, header.fmt):
        if Path(file).name != file or file in ("..", ".") or file.startswith("~") or re.search(r"[\\:]", file):
            raise ValueError(f"{file!r} is no name of a file in its folder")
        if fmt not in BYTES_PER_SAMPLE:
            raise ValueError(f"the signal format {fmt} is unknown")


def check_signal_files(path: Path, header: wfdb.Record, frames: int | None = None):
    """The signal files of `header`, of the record at `path`, are there and as long as it says, or hold `frames`.

    FileNotFoundError names one that is missing.
    """
    frames = header.sig_len if frames is None else frames
    held = {}
    for name, rows in _rows_by_file(header).items():
        if rows != list(range(rows[0], rows[-1] + 1)):
            raise ValueError(f"its header does not list the signals of {name} together")
        size = check_file(path.parent / name, beside=Path(f"{path}.hea"))
        held[name] = _check_length(name, header, rows, size, frames)
    if len(set(held.values())) > 1:
        told = ", ".join(f"{name} has {count:,}" for name, count in held.items())
        raise ValueError(f"it states no length, and of its frames {told}: give the length in its header")


def spare_frames(path: Path, header: wfdb.Record) -> int:
    """How many more frames than its `header` says each signal file of the record at `path` holds, at least."""
    spare = []
    for name, rows in _rows_by_file(header).items():
        held = _samples_held(header, rows[0], (path.parent / name).stat().st_size)
        of_frame = sum(header.samps_per_frame[row] or 1 for row in rows)
        spare.append(0 if held is None else int(held / of_frame) - header.sig_len)
    return max(min(spare), 0)


def _rows_by_file(header: wfdb.Record) -> dict[str, list[int]]:
    """The signals of each file that `header` names, by their numbers."""
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(header.file_name):
        rows.setdefault(name, []).append(row)
    return rows


def _samples_held(header: wfdb.Record, row: int, size: int) -> float | None:
    """How many samples the file of signal `row`, of `size` bytes, holds; None where it is compressed."""
    each, offset = BYTES_PER_SAMPLE[header.fmt[row]], header.byte_offset[row] or 0
    return max(size - offset, 0) / each if each else None


def _check_length(name: str, header: wfdb.Record, rows: Sequence[int], size: int, frames: int | None) -> int:
    """Signals `rows` of `header`, of so many `frames`, fit the file `name` of `size` bytes; how many it is to hold."""
    if len({(header.fmt[row], header.byte_offset[row]) for row in rows}) > 1:
        raise ValueError(f"its header gives {name} more than one format or offset")
    per_frame = [1 if header.samps_per_frame[row] is None else header.samps_per_frame[row] for row in rows]
    if min(per_frame) < 1:
        raise ValueError(f"its header gives a signal of {name} no sample in a frame")
    held = _samples_held(header, rows[0], size)
    if frames is None and held is None:
        raise ValueError(f"its header states no length, which {name}, a compressed file, needs")
    if held is None:
        held = max(min(size * MAX_SAMPLES_PER_BYTE, MAX_UNPACKED), size * ECG_SAMPLES_PER_BYTE)
    frames = int(held / sum(per_frame)) if frames is None else frames
    if frames * sum(per_frame) > MAX_SAMPLES:
        raise ValueError(f"{frames * sum(per_frame):,} samples of {name} are more than {MAX_SAMPLES:,}")
    if math.floor(frames * sum(per_frame)) > math.ceil(held):
        raise ValueError(f"{name} has {size:,} bytes, too few for {frames:,} samples of each signal")
    if any((header.skew[row] or 0) >= max(frames, 1) for row in rows):
        raise ValueError(f"its header shifts a signal of {name} by more than its length")
    return frames


def check_annotations(path: Path, beside: Path):
    """The annotation file at `path` is one that wfdb can parse in little time; `beside` as in `check_file`.

    As of wfdb 4.3.1 its reader never returns from a note about the file ("## ...") that it does not know, from a second
    statement of the time resolution, and from an end of definitions without their beginning.
    """
    check_file(path, MAX_ANNOTATION_BYTES, beside)
    content = path.read_bytes()
    notes = [content[found.end() :][: found[1][0]] for found in _FILE_NOTE.finditer(content)]
    if not _NOTES_IN_ORDER.fullmatch("".join(_kind_of(note) for note in notes if note.startswith(b"## "))):
        raise ValueError("its notes on itself (## ...) are not those of the format")


def _kind_of(note: bytes) -> str:
    if re.match(rb"## time resolution: \d", note):
        return "t"
    return {b"## annotation type definitions": "d", b"## end of definitions": "e"}.get(note, "?")


def check_stored(path: Path):
    """The zip archive at `path` holds plain, uncompressed members that fit into it.

    So it is what torch.save writes, and reading it takes no more memory than its size.
    """
    size = check_file(path)
    if not zipfile.is_zipfile(path):
        raise ValueError("it is no zip archive")
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    if any(member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1 for member in members):
        raise ValueError("it holds compressed members")
    if sum(max(member.file_size, member.compress_size) for member in members) > size:
        raise ValueError("its members are larger than it")
