"""Recordings of AliveCor's Kardia: its ATC files, and the JSON of its interface for programs.

Formats: "ATC File Format Specification 1.7" (https://github.com/alivecor/ATCpy) and "Single ECG" of the Kardia API.
"""

import json
import struct
import zlib
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path

import numpy as np

from deep_ecg.records import guard
from deep_ecg.records.signal_file import Contents, Signal

MAGIC = b"ALIVE\0\0\0"
BLOCKS = dict(zip("ecg ,ecg2,ecg3,ecg4,ecg5,ecg6,ecg7,ecg8,ecg9,ecga,ecgb,ecgc".split(","),
                  "I II III aVR aVL aVF V1 V2 V3 V4 V5 V6".split()))  # fmt: skip
JSON_LEADS = {"leadI": "I", "leadII": "II", "leadIII": "III", "AVR": "aVR", "AVL": "aVL", "AVF": "aVF"}
JSON_WORDS = (b'"recordedAt"', b'"patientID"', b'"amplitudeResolution"')  # of which one comes early
MAX_BYTES = 64_000_000  # a recording lasts minutes


def read_atc(path: Path) -> Contents:
    """What the ATC file at `path` holds. ValueError with the reason where it is broken."""
    guard.check_file(path, MAX_BYTES)
    content, place, found = path.read_bytes(), len(MAGIC) + 4, {}
    while place < len(content):
        name, length = struct.unpack_from("<4sI", content, place)
        end = place + 8 + length
        if end + 4 > len(content):
            raise ValueError("it is truncated: it ends within a block")
        block, (crc,) = content[place:end], struct.unpack_from("<I", content, end)
        if crc not in (zlib.crc32(block), sum(block) & 0xFFFFFFFF):
            raise ValueError(f"its block {name.decode('latin-1').strip()!r} was damaged: the checksum is another")
        found[name.decode("latin-1")] = block[8:]
        place = end + 4
    if "fmt " not in found:
        raise ValueError("it does not say its rate")
    form, fs_hz, nanovolts = struct.unpack_from("<BHH", found["fmt "])
    if form != 1 or not nanovolts:
        raise ValueError("its samples are of an unknown kind")
    signals = [_signal(lead, np.frombuffer(found[name], "<i2"), fs_hz, nanovolts)
               for name, lead in BLOCKS.items() if name in found]  # fmt: skip
    date = found.get("info", b"")[:32].partition(b"\0")[0].decode("latin-1")
    return Contents(tuple(signals), _time(date))


def read_json(path: Path) -> Contents:
    """What the JSON file at `path` holds, its raw and not its enhanced signals. ValueError where it is another file."""
    guard.check_file(path, MAX_BYTES)
    try:
        told = json.loads(path.read_bytes())
        raw = told["data"]["raw"]
        fs_hz, nanovolts, samples = float(raw["frequency"]), float(raw["amplitudeResolution"]), raw["samples"]
        signals = [_signal(JSON_LEADS.get(name, name), np.array(row, float), fs_hz, nanovolts)
                   for name, row in samples.items()]  # fmt: skip
    except (KeyError, TypeError, AttributeError, RecursionError):
        raise ValueError("it is no recording with raw samples, their frequency and resolution") from None
    identity = {"patient": str(told["patientID"])} if told.get("patientID") else {}
    return Contents(tuple(signals), _time(str(told.get("recordedAt", ""))), identity=identity)


def _signal(lead: str, digital: np.ndarray, fs_hz: float, nanovolts: float) -> Signal:
    guard.check_rate(fs_hz)
    if digital.ndim != 1 or not np.isfinite(digital).all() or not 0 < nanovolts < 1e9:
        raise ValueError(f"its lead {lead!r} is no row of numbers")
    return Signal(lead, "nV", fs_hz, partial(np.multiply, digital, float(nanovolts)))


def _time(text: str) -> datetime | None:
    with suppress(ValueError):
        return datetime.fromisoformat(text)
    return None
