"""EDF, EDF+ and BDF files, whose headers edfio reads, and files of EDF+ annotations.

Formats: Kemp et al. 1992, Kemp and Olivan 2003 (https://www.edfplus.info/specs/), BioSemi's BDF with 24 bits a sample.
"""

import datetime
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from io import BytesIO
from itertools import pairwise
from math import isfinite
from pathlib import Path
from typing import Any

import edfio
import numpy as np

from deep_ecg.records import guard, sampling
from deep_ecg.records.long_signal import LongSignal
from deep_ecg.records.signal_file import Contents, Signal

HEADER_BYTES = 256  # of the record, and again for each signal
SLIP, SLIP_S = 0.005, 0.002  # of a data record, or in s: by so much its start may be rounded
MARKS = (b"EDF Annotations", b"BDF Annotations")  # labels of what is no signal


class NoRange(ValueError):
    """A signal whose values cannot be brought to its unit."""


def read_edf(path: Path) -> Contents:
    """What the EDF, EDF+ or BDF file at `path` holds. ValueError with the reason where it is none or a broken one."""
    header, samples, records, notes = _checked(path)
    is_bdf = header[:1] == b"\xff"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a header without its data
        read = edfio.read_bdf if is_bdf else edfio.read_edf
        file: Any = read(BytesIO(header), header_encoding="latin-1")
        signals = file._signals  # with those of annotations, which `signals` leaves out
        duration_s = file.data_record_duration
    width = 3 if is_bdf else 2
    data = np.memmap(path, np.uint8, "r", len(header), (records, width * sum(samples)))
    places = np.cumsum([0, *samples]) * width
    parts = [data[:, first:last] for first, last in pairwise(places)]
    is_marks = [label.strip() in MARKS for label in _fields(header, len(signals), 0, 16)]
    onsets_s = _onsets_s(parts[is_marks.index(True)]) if any(is_marks) else None
    starts_s, is_broken = None, header[192:197] in (b"EDF+D", b"BDF+D")
    if onsets_s is None:
        notes += ("it does not say when its parts, between which time is lost, were recorded",) * is_broken
    elif is_broken or _leaves_gaps(onsets_s, duration_s):
        starts_s = _checked_starts(onsets_s, duration_s)
        notes += ("it is not continuous: what was not recorded is missing samples",)
    found: list[Signal] = []
    refusals: list[NoRange] = []
    for signal, part, count, is_mark in zip(signals, parts, samples, is_marks):
        if not is_mark and count:
            fs_hz = count / duration_s
            guard.check_rate(fs_hz)
            name = signal.label.strip()
            try:
                in_unit = partial(_in_unit, width, *_scale(signal))
            except NoRange as error:  # it matters where the signal is read
                refusals.append(error)
                in_unit = partial(_refused, error)
            found.append(
                Signal(
                    name or f"signal {len(found) + 1}",
                    signal.physical_dimension,
                    fs_hz,
                    partial(_physical, part, in_unit, starts_s, fs_hz),
                    LongSignal(records * count, partial(_some, part, in_unit, count)) if starts_s is None else None,
                )
            )
    if len(refusals) == len(found):
        raise refusals[0]
    identity = {"patient": file.local_patient_identification, "recording": file.local_recording_identification}
    start = _start(header, file, 0.0 if onsets_s is None else float(onsets_s[0]))
    comments = tuple(identity.values())
    return Contents(tuple(found), start, comments, {name: text for name, text in identity.items() if text}, notes)


def _checked(path: Path) -> tuple[bytes, list[int], int, tuple[str, ...]]:
    """The header, samples a data record of each signal, how many data records the file has, and what is odd in it.

    All that edfio would trust is looked at here.
    """
    size = guard.check_file(path)
    with open(path, "rb") as file:
        header = file.read(HEADER_BYTES)
        count = _whole(header[252:256], "number of signals")
        if not 1 <= count <= guard.MAX_SIGNALS:
            raise ValueError(f"{count:,} signals cannot be")
        header += file.read(HEADER_BYTES * count)
    if len(header) < HEADER_BYTES * (count + 1):
        raise ValueError(f"it is truncated: it ends within its header of {count} signals")
    if _whole(header[184:192], "size of the header") != len(header):
        raise ValueError(f"its header has another size than that of {count} signals")
    samples = [_whole(field, "number of samples") for field in _fields(header, count, 216, 8)]
    if min(samples) < 0 or not any(samples):
        raise ValueError("its data records hold no samples")
    if all(label.strip() in MARKS for label in _fields(header, count, 0, 16)):
        raise ValueError("it holds annotations alone, no signal")
    _check_duration(header[244:252].decode("latin-1").strip())
    record_bytes = (3 if header[:1] == b"\xff" else 2) * sum(samples)
    records, rest = divmod(size - len(header), record_bytes)
    if records * max(samples) > guard.MAX_SAMPLES:
        raise ValueError(f"{records * max(samples):,} samples of a signal are more than {guard.MAX_SAMPLES:,}")
    return header, samples, records, _length_told(_whole(header[236:244], "number of data records"), records, rest)


def _fields(header: bytes, count: int, offset: int, width: int) -> list[bytes]:
    """The fields of `width` bytes of the `count` signals, which begin after `offset` bytes a signal."""
    first = HEADER_BYTES + offset * count
    return [header[place : place + width] for place in range(first, first + width * count, width)]


def _check_duration(text: str):
    try:
        possible = 0 < float(text) < float("inf")
    except ValueError:
        possible = False
    if not possible:
        raise ValueError(f"data records of {text!r} s cannot be")


def _length_told(announced: int, records: int, rest: int) -> tuple[str, ...]:
    """What is odd about `announced` data records where so many are there, and `rest` bytes more; -1 is unknown."""
    if announced < -1 or records < max(announced, 1):
        raise ValueError(f"it is truncated: {records:,} data records are there, {announced:,} announced")
    odd = []
    if announced not in (-1, records):
        odd.append(f"its header announces {announced:,} data records, {records:,} are there")
    if rest:
        odd.append("its last data record is not whole and was left out")
    return tuple(odd)


def _whole(field: bytes, what: str) -> int:
    text = field.decode("latin-1").strip()
    if not re.fullmatch(r"[+-]?\d{1,8}", text, re.ASCII):
        raise ValueError(f"{text!r} is no {what}")
    return int(text)


def _scale(signal) -> tuple[float, float]:
    """What a digital value of `signal` is multiplied with, and what is then added, to be in its unit."""
    digital, physical = signal.digital_max - signal.digital_min, 0.0
    with suppress(ValueError):  # empty, or with a decimal comma
        physical = signal.physical_max - signal.physical_min
    if digital == 0 or physical == 0 or not isfinite(physical):
        raise NoRange(f"its signal {signal.label.strip()!r} has no range: its values cannot be scaled")
    gain = physical / digital
    return gain, signal.physical_min - gain * signal.digital_min


def _refused(error: NoRange, part: np.ndarray) -> np.ndarray:
    raise error


def _in_unit(width: int, gain: float, offset: float, part: np.ndarray) -> np.ndarray:
    """Samples (n,) in their unit, from their bytes `part` (records, bytes), so many a sample."""
    raw = np.ascontiguousarray(part)
    if width == 2:
        digital = raw.view("<i2").ravel()
    else:
        low = raw.reshape(-1, 3)
        digital = low[:, 0] | low[:, 1].astype(np.int32) << 8 | low[:, 2].view(np.int8).astype(np.int32) << 16
    return digital * gain + offset


def _some(
    part: np.ndarray, in_unit: Callable[[np.ndarray], np.ndarray], each: int, first: int, last: int
) -> np.ndarray:
    """Those of the samples from `first` to before `last`, (n,), of which a record of `part` holds `each`."""
    return in_unit(part[first // each : -(-last // each)])[first % each :][: last - first]


def _physical(
    part: np.ndarray, in_unit: Callable[[np.ndarray], np.ndarray], starts_s: np.ndarray | None, fs_hz: float
) -> np.ndarray:
    """All samples (n,) of a signal whose bytes are `part` (records, bytes); gaps between records are NaN."""
    values = in_unit(part)
    if starts_s is None:
        return values
    rows = values.reshape(len(part), -1)
    first = np.round((starts_s - starts_s[0]) * fs_hz).astype(np.int64)
    length = int(first[-1]) + rows.shape[1]
    if length > sampling.MOST_MISSING * len(values) + sampling.MISSING_AT_LEAST:
        raise ValueError("most of its time was not recorded: cut it into its parts")
    whole = np.full(length, np.nan)
    for place, row in zip(first, rows):
        whole[place : place + len(row)] = row
    return whole


def _onsets_s(part: np.ndarray) -> np.ndarray:
    """When each data record starts, (records,) s after the file: the first time in its annotations."""
    firsts = (row.tobytes().partition(b"\x14")[0] for row in part)
    try:
        onsets_s = np.array([float(first) for first in firsts])
    except ValueError:
        raise ValueError("a data record does not say when it starts, as EDF+ asks") from None
    if not np.isfinite(onsets_s).all():
        raise ValueError("a data record starts at a time that cannot be")
    return onsets_s


def _leaves_gaps(onsets_s: np.ndarray, duration_s: float) -> bool:
    """Whether time is lost between data records of a file that calls itself continuous."""
    return bool((np.diff(onsets_s) > duration_s + max(SLIP * duration_s, SLIP_S)).any())


def _checked_starts(onsets_s: np.ndarray, duration_s: float) -> np.ndarray:
    if (np.diff(onsets_s) < duration_s - max(SLIP * duration_s, SLIP_S)).any():
        raise ValueError("its data records overlap in time: export it anew")
    return onsets_s


def _start(header: bytes, file, onset_s: float) -> datetime.datetime | None:
    """Start of the record; the years of EDF's own field are 1985 to 2084."""
    with suppress(ValueError, OverflowError):
        day, month, year = (int(part) for part in re.split(rb"\D+", header[168:176].strip()))
        hour, minute, second = (int(part) for part in re.split(rb"\D+", header[176:184].strip()))
        date = datetime.date(year + (1900 if year >= 85 else 2000), month, day)
        with suppress(Exception):  # EDF+ says it in full, unless it is hidden
            date = file.recording.startdate
        at = datetime.datetime.combine(date, datetime.time(hour, minute, second))
        return at + datetime.timedelta(seconds=onset_s)
    return None


def annotations_file(
    times_s: Iterable[float], labels: Sequence[str], start: datetime.datetime | None, patient: str | None = None
) -> bytes:
    """A file of EDF+ annotations alone: `labels` at `times_s` (rising, s) of a record that began at `start`.

    It starts with the record, so that EDFbrowser imports them at their places. `patient` is who was recorded, as the
    record's own field has it.
    """
    at = start or datetime.datetime(1985, 1, 1)
    marks = [edfio.EdfAnnotation(float(time_s), None, label) for time_s, label in zip(times_s, labels)]
    recording = edfio.Recording(startdate=at.date(), equipment_code="Deep-ECG")
    file = edfio.Edf([], recording=recording, starttime=at.time(), annotations=marks)
    if patient:
        file.local_patient_identification = patient.encode("ascii", "replace").decode()[:80]
    return file.to_bytes()
