"""Header files of WFDB records, read as header(5) of the WFDB Applications Guide has them, and as they are published.

wfdb's own reader (4.3.1) stumbles over a date that is a year or "2014-05-08", and loses all letters beyond ASCII:
a signal in "µV" would be one in volts. So the text is read here, into wfdb's own objects.
"""

import datetime
import re
from contextlib import suppress
from pathlib import Path

import wfdb

from deep_ecg.records import guard

DEFAULT_GAIN = 200.0  # steps of the converter a unit, where a header states none or 0
DEFAULT_HZ = 250.0
GAP = "~"  # a segment of this name is none: nothing was recorded
_CLOCK = re.compile(r"(?<!\S)(\d{1,2}):(\d{1,2})(?::(\d{1,2})(?:\.(\d{1,6})\d*)?)?(?!\S)", re.ASCII)
_DATES = (("%d/%m/%Y", r"\d{1,2}/\d{1,2}/\d{4}"), ("%Y-%m-%d", r"\d{4}-\d{1,2}-\d{1,2}"))


def read_header(path: Path) -> wfdb.Record | wfdb.MultiRecord:
    """The header of the record at `path` (no extension). FileNotFoundError, or ValueError with the reason."""
    lines, comments = guard.check_header_text(Path(f"{path}.hea"))
    if not lines:
        raise ValueError("it is empty")
    record = _matched(guard.RECORD_LINE, lines[0])
    fields = {"record_name": record["name"], "n_sig": int(record["signals"]), "fs": _rate(record["fs"])}
    fields |= {"sig_len": int(record["length"] or 0) or None, "comments": comments}  # 0: the length of the file
    fields |= _start(record["start"] or record["clock"] or "")
    if record["segments"] is None:
        return wfdb.Record(**fields, **_signals(lines[1:]))
    return _many_segments(fields, int(record["segments"]), lines[1:])


def segments_named(path: Path) -> set[str]:
    """Names of the records that the header file `path` takes for its segments; none where it cannot be read."""
    try:
        lines, _ = guard.check_header_text(path)
    except (OSError, ValueError):
        return set()
    if not lines or _matched(guard.RECORD_LINE, lines[0])["segments"] is None:
        return set()
    return {line.split()[0] for line in lines[1:]} - {GAP, path.name.removesuffix(".hea")}


def _matched(pattern: re.Pattern, line: str) -> re.Match:
    """The parts of a `line` that `guard.check_header_text` has found to be of the `pattern`."""
    found = pattern.fullmatch(line)
    if found is None:
        raise ValueError(f"the line {line[:60]!r} is not of the format")
    return found


def _rate(text: str | None) -> float:
    rate_hz = float(text) if text else DEFAULT_HZ
    return int(rate_hz) if rate_hz.is_integer() else rate_hz


def _start(text: str) -> dict:
    """Time and date of the first sample, as far as `text` states them in a form that is known."""
    found: dict = {}
    clock = _CLOCK.search(text)
    if clock:
        hour, minute, second, fraction = (part or "0" for part in clock.groups())
        with suppress(ValueError):
            found["base_time"] = datetime.time(int(hour), int(minute), int(second), int(fraction.ljust(6, "0")))
    for form, pattern in _DATES:
        date = re.search(rf"(?<!\S){pattern}(?!\S)", text, re.ASCII)
        if date:
            with suppress(ValueError):
                found["base_date"] = datetime.datetime.strptime(date[0], form).date()
    return found


def _signals(lines: list[str]) -> dict:
    """The fields of wfdb.Record that describe signals, one entry for each of `lines`."""
    found = [_matched(guard.SIGNAL_LINE, line) for line in lines]
    fields = [_signal(one, number) for number, one in enumerate(found, 1)]
    return {name: [one[name] for one in fields] for name in fields[0]} if fields else {"sig_name": []}


def _signal(line: re.Match, number: int) -> dict:
    numbers = [_whole(text) for text in (line["numbers"] or "").split()]
    resolution, zero, first, checksum, block = numbers + [None] * (5 - len(numbers))
    return {
        "file_name": line["file"],
        "fmt": line["format"],
        "samps_per_frame": _whole(line["per_frame"]),
        "skew": _whole(line["skew"]),
        "byte_offset": _whole(line["offset"]),
        "adc_gain": float(line["gain"] or 0) or DEFAULT_GAIN,
        "baseline": (zero or 0) if line["baseline"] is None else _whole(line["baseline"]),
        "units": line["units"] or "mV",
        "adc_res": resolution,
        "adc_zero": zero,
        "init_value": first,
        "checksum": checksum,
        "block_size": block,
        "sig_name": (line["name"] or "").strip() or f"signal {number}",
    }


def _whole(text: str | None) -> int | None:
    return None if text is None else int(text.partition(".")[0])


def _many_segments(fields: dict, count: int, lines: list[str]) -> wfdb.MultiRecord:
    if count != len(lines) or not count:
        raise ValueError(f"it announces {count} segments and names {len(lines)}")
    names, lengths = zip(*(line.split()[:2] for line in lines))
    header = wfdb.MultiRecord(**fields, seg_name=list(names), seg_len=[int(one) for one in lengths])
    header.n_seg = count
    header.layout = "variable" if header.seg_len[0] == 0 and names[0] != GAP else "fixed"
    return header
