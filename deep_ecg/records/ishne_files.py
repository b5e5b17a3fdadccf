"""ISHNE 1.0 files of Holter recorders: Badilini, "The ISHNE Holter Standard Output File Format", A.N.E. 1998;3:263."""

import struct
from binascii import crc_hqx
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path

import numpy as np

from deep_ecg.records import guard
from deep_ecg.records.long_signal import LongSignal
from deep_ecg.records.signal_file import Contents, Signal

MAGIC = b"ISHNE1.0"
HEADER = struct.Struct("<8sHiiiih40s40s20shh3h3h3h3hh12h12h12hh40sh80s80s88s")
CHECKED_FROM = 10  # the checksum is of all that follows it, up to the samples
LEADS = "bipolar X Y Z I II III aVR aVL aVF V1 V2 V3 V4 V5 V6 ES AS AI".split()  # codes from 1 on; 0 is unknown
UNKNOWN = -9  # in any field
PACEMAKERS = range(1, 6)


def read_ishne(path: Path) -> Contents:
    """What the ISHNE file at `path` holds. ValueError with the reason where it is broken."""
    size = guard.check_file(path)
    with open(path, "rb") as file:
        content = file.read(HEADER.size)
        if len(content) < HEADER.size:
            raise ValueError("it is truncated: it ends within its header")
        _, crc, extra, samples, extra_at, data_at, version, *rest = HEADER.unpack(content)
        who, born, day, clock = rest[:3], rest[5:8], rest[8:11], rest[14:17]
        count, specs, qualities, nanovolts = rest[17], rest[18:30], rest[30:42], rest[42:54]
        pacemaker, recorder, fs_hz = rest[54:57]
        if extra < 0 or extra_at < HEADER.size or data_at < extra_at + extra or data_at > size:
            raise ValueError("its header places its parts where they cannot be")
        content += file.read(min(data_at - HEADER.size, guard.MAX_HEADER_BYTES))
    if len(content) < data_at:
        raise ValueError(f"its header is longer than {guard.MAX_HEADER_BYTES:,} bytes")
    if crc and crc != crc_hqx(content[CHECKED_FROM:], 0xFFFF):
        raise ValueError("its header was damaged: the checksum is another")
    if version not in (1, 0, UNKNOWN):
        raise ValueError(f"version {version} of the format is unknown")
    if not 1 <= count <= len(specs):
        raise ValueError(f"{count} leads cannot be")
    _check_codes("lead", specs[:count], range(len(LEADS) + 1))
    _check_codes("quality", qualities[:count], range(6))
    _check_codes("pacemaker", [pacemaker], range(6))
    if min(nanovolts[:count]) < 1:
        raise ValueError(f"a resolution of {min(nanovolts[:count])} nV cannot be")
    if fs_hz < 1:
        raise ValueError(f"a sampling rate of {fs_hz} Hz cannot be")
    data = np.memmap(path, "<i2", "r", data_at, (_frames(samples, count, size - data_at), count))
    names = [LEADS[spec - 1] if spec > 0 else f"signal {place + 1}" for place, spec in enumerate(specs[:count])]
    signals = tuple(_signal(name, float(fs_hz), data[:, place], nanovolts[place]) for place, name in enumerate(names))
    comments = ("pacemaker",) * (pacemaker in PACEMAKERS) + (_text(recorder),)
    notes = () if crc else ("its header has no checksum",)
    identity = dict(zip(("first name", "last name", "id"), map(_text, who)))
    with suppress(ValueError):
        identity["born"] = _date(born).date().isoformat()
    return Contents(signals, _start(day, clock), comments, {key: text for key, text in identity.items() if text}, notes)


def _check_codes(what: str, codes, known: range):
    for code in codes:
        if code not in known and code != UNKNOWN:
            raise ValueError(f"{code} is no code of a {what}")


def _frames(samples: int, leads: int, data_bytes: int) -> int:
    """Samples of each lead, where the header announces so many `samples`: of each, or, in some files, of all leads."""
    for frames in (samples, samples // leads):
        if 0 < frames <= guard.MAX_SAMPLES and 2 * leads * frames == data_bytes:
            return frames
    what = "it is truncated" if data_bytes < 2 * leads * samples else "its header is of another file"
    raise ValueError(f"{what}: {samples:,} samples of {leads} leads are announced, {data_bytes:,} bytes are there")


def _signal(name: str, fs_hz: float, digital: np.ndarray, nanovolts: int) -> Signal:
    some = partial(_scaled, digital, nanovolts)
    return Signal(name, "nV", fs_hz, some, LongSignal(len(digital), some))


def _scaled(digital: np.ndarray, nanovolts: int, first: int = 0, last: int | None = None) -> np.ndarray:
    return digital[first:last] * float(nanovolts)


def _date(day) -> datetime:
    return datetime(day[2], day[1], day[0])


def _start(day, clock) -> datetime | None:
    with suppress(ValueError):
        return _date(day).replace(hour=clock[0], minute=clock[1], second=clock[2])
    return None


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("latin-1").strip()
