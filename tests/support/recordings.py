"""Files of recorders other than WFDB's, written from the published descriptions of their formats, for tests."""

import json
import struct
import zlib
from binascii import crc_hqx
from collections.abc import Sequence
from pathlib import Path

import numpy as np


def write_edf(
    path: Path,
    counts: np.ndarray,
    fs_hz: int,
    labels: Sequence[str],
    unit: str = "uV",
    onsets_s: Sequence[float] | None = None,
    plus: str = "",
    bits: int = 16,
    announced: int | None = None,
    patient: str = "X X X X",
) -> Path:
    """EDF, or BDF with 24 `bits`: `counts` (seconds * fs_hz, signals) in records of a second, 0.5 `unit` a count.

    With `onsets_s` an annotation signal says when each record starts, and `plus` is "EDF+C", "EDF+D" or BDF's.
    """
    records = len(counts) // fs_hz
    width, names = bits // 8, [*labels, *[f"{'BDF' if bits == 24 else 'EDF'} Annotations"] * (onsets_s is not None)]
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    samples = [fs_hz] * len(labels) + [30] * (onsets_s is not None)
    first = b"\xffBIOSEMI" if bits == 24 else b"0       "
    parts = [patient.ljust(80), "Startdate 02-MAR-2011 X X X".ljust(80), "02.03.11", "04.05.06"]
    parts += [str(256 * (len(names) + 1)).ljust(8), plus.ljust(44), str(announced or records).ljust(8), "1".ljust(8)]
    parts += [str(len(names)).ljust(4), *(name.ljust(16) for name in names), " " * 80 * len(names)]
    parts += [(unit if place < len(labels) else "").ljust(8) for place in range(len(names))]
    for value in (low / 2, high / 2, low, high):
        parts += [f"{value:.10g}"[:8].ljust(8) for _ in names]
    parts += [" " * 80 * len(names), *(str(count).ljust(8) for count in samples), " " * 32 * len(names)]
    data = first + "".join(parts).encode("latin-1")
    for record in range(records):
        for column in range(len(labels)):
            values = counts[record * fs_hz : (record + 1) * fs_hz, column].astype("<i4")
            data += values.view(np.uint8).reshape(-1, 4)[:, :width].tobytes()
        if onsets_s is not None:
            data += f"+{onsets_s[record]:g}\x14\x14\0".encode().ljust(30 * width, b"\0")
    path.write_bytes(data)
    return path


def write_ishne(
    path: Path,
    counts: np.ndarray,
    fs_hz: int = 200,
    leads: Sequence[int] = (6,),
    nanovolts: int = 5000,
    extra: bytes = b"",
    pacemaker: int = 0,
    **changed: int,
) -> Path:
    """ISHNE 1.0: `counts` (samples, leads) of `nanovolts` each; `changed` are fields that say something else."""
    told = {"samples": len(counts), "version": 1, "count": len(leads), "fs_hz": fs_hz, "extra": len(extra)} | changed
    fixed = struct.pack("<iiiih", told["extra"], told["samples"], 522, 522 + len(extra), told["version"])
    fixed += b"Jane".ljust(40, b"\0") + b"Doe".ljust(40, b"\0") + b"ID77".ljust(20, b"\0")
    fixed += struct.pack("<hh12h", 2, 1, 4, 1, 1950, 2, 3, 2011, 5, 3, 2011, 4, 5, 6)
    rows = [(list(row) + [-9] * 12)[:12] for row in (leads, [1] * len(leads), [nanovolts] * len(leads))]
    fixed += struct.pack("<h36h", told["count"], *rows[0], *rows[1], *rows[2])
    fixed += struct.pack("<h40sh80s80s88s", pacemaker, b"digital", told["fs_hz"], b"", b"", b"") + extra
    crc = told.get("crc", crc_hqx(fixed, 0xFFFF))
    path.write_bytes(b"ISHNE1.0" + struct.pack("<H", crc) + fixed + counts.astype("<i2").tobytes())
    return path


def write_atc(path: Path, counts: dict[str, np.ndarray], fs_hz: int = 300, nanovolts: int = 500) -> Path:
    """ATC of Kardia: `counts` (n,) by block, as "ecg " for lead I."""
    info = b"2011-03-02T04:05:06.250+00:00".ljust(32, b"\0") + bytes(232)
    blocks = {b"info": info, b"fmt ": struct.pack("<BHHBH", 1, fs_hz, nanovolts, 0, 0)}
    blocks |= {name.encode(): row.astype("<i2").tobytes() for name, row in counts.items()}
    data = b"ALIVE\0\0\0" + struct.pack("<I", 5)
    for name, content in blocks.items():
        block = name + struct.pack("<I", len(content)) + content
        data += block + struct.pack("<I", zlib.crc32(block))
    path.write_bytes(data)
    return path


def write_kardia_json(path: Path, counts: dict[str, list[int]]) -> Path:
    """The JSON of Kardia's interface, 300 Hz, 500 nV a count."""
    block = {"frequency": 300, "mainsFrequency": 50, "samples": counts, "amplitudeResolution": 500}
    told = {"id": "x", "patientID": "Jane", "recordedAt": "2011-03-02T04:05:06+00:00", "data": {"raw": block}}
    path.write_text(json.dumps(told), encoding="utf-8")
    return path


APPLE = (
    'Name,Jane Doe\nDate of Birth,"4 Jan 1950"\nRecorded Date,2011-03-02 04:05:06 +0100\n'
    "Classification,Sinus Rhythm\nSymptoms,\nSoftware Version,1.90\nDevice,\"Watch7,11\"\nSample Rate,512 hertz\n\n\n"
    "Lead,Lead I\nUnit,\u00b5V\n\n"
)  # fmt: skip


def write_text(path: Path, text: str, encoding: str = "utf-8") -> Path:
    """A text file as it is given."""
    path.write_bytes(text.encode(encoding))
    return path
