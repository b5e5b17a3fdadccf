"""Waveforms in DICOM files, by pydicom, which is installed where they are to be read (requirements-dicom.txt).

Format: DICOM PS3.3, C.10.9 "Waveform Module".
"""

import re
import warnings
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path

import numpy as np

from deep_ecg.records import guard
from deep_ecg.records.signal_file import Contents, Signal
from deep_ecg.system.errors import DeepECGError

MAX_BYTES = 500_000_000
DEFLATED = "1.2.840.10008.1.2.1.99"
KINDS = {(8, "SB"): "i1", (8, "UB"): "u1", (16, "SS"): "<i2", (16, "US"): "<u2", (32, "SL"): "<i4", (32, "UL"): "<u4"}
IDENTITY = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex")
START = ("AcquisitionDateTime", "ContentDate", "ContentTime")


def read_dicom(path: Path) -> Contents:
    """What the DICOM file at `path` holds of recorded waveforms; derived ones, as mean beats, are left out.

    ValueError with the reason where it is broken or holds none, DeepECGError where pydicom is not installed.
    """
    try:
        import pydicom
        from pydicom.filereader import read_file_meta_info
    except ImportError:
        mend = "install requirements-dicom.txt (`pip install -r requirements-dicom.txt`)"
        raise DeepECGError(f"record {path} is a DICOM file, which package pydicom reads: {mend}") from None
    guard.check_file(path, MAX_BYTES)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if read_file_meta_info(path).get("TransferSyntaxUID") == DEFLATED:
            raise ValueError("it is compressed as a whole: save it in another transfer syntax")
        file = pydicom.dcmread(path, specific_tags=["WaveformSequence", *IDENTITY, *START])
        groups = file.get("WaveformSequence") or []
        if not groups:
            raise ValueError("it holds no waveform")
        signals = [one for group in groups if group.get("WaveformOriginality") != "DERIVED" for one in _signals(group)]
        identity = {name: str(file[name].value) for name in IDENTITY if file.get(name)}
        return Contents(tuple(signals), _start(file), identity=identity)


def _signals(group) -> list[Signal]:
    """The channels of a multiplex group."""
    count, frames = int(group.NumberOfWaveformChannels), int(group.NumberOfWaveformSamples)
    fs_hz = float(group.SamplingFrequency)
    guard.check_rate(fs_hz)
    kind = KINDS.get((group.WaveformBitsAllocated, group.WaveformSampleInterpretation))
    if kind is None:
        raise ValueError(f"samples of the kind {group.WaveformSampleInterpretation} are not known")
    content, channels = group.WaveformData, group.ChannelDefinitionSequence
    if count != len(channels) or not 1 <= count <= guard.MAX_SIGNALS:
        raise ValueError(f"{count:,} channels are announced and {len(channels):,} described")
    if len(content) < count * frames * np.dtype(kind).itemsize:
        raise ValueError(f"it is truncated: {frames:,} samples of {count} channels are announced")
    digital = np.frombuffer(content, kind, count * frames).reshape(frames, count)
    padding = group.get("WaveformPaddingValue")
    lost = np.frombuffer(padding, kind, 1)[0] if isinstance(padding, bytes) else padding
    return [_signal(channel, place, digital[:, place], fs_hz, lost) for place, channel in enumerate(channels)]


def _signal(channel, place: int, digital: np.ndarray, fs_hz: float, lost) -> Signal:
    source, units = channel.get("ChannelSourceSequence"), channel.get("ChannelSensitivityUnitsSequence")
    said = str(source[0].get("CodeMeaning") or "") if source else str(channel.get("ChannelLabel") or "")
    name = re.sub(r"\(.*?\)", "", said).strip() or f"signal {place + 1}"  # "Lead I (Einthoven)"
    unit = str(units[0].get("CodeValue") or "") if units else ""
    gain = float(channel.get("ChannelSensitivity", 1)) * float(channel.get("ChannelSensitivityCorrectionFactor", 1))
    offset = float(channel.get("ChannelBaseline", 0))
    return Signal(name, unit, fs_hz, partial(_physical, digital, gain, offset, lost))


def _physical(digital: np.ndarray, gain: float, offset: float, lost) -> np.ndarray:
    values = digital * gain + offset
    if lost is not None:
        values[digital == lost] = np.nan
    return values


def _start(file) -> datetime | None:
    text = str(file.get("AcquisitionDateTime") or f"{file.get('ContentDate', '')}{file.get('ContentTime', '')}")
    with suppress(ValueError):
        return datetime.strptime(re.split(r"[.+&-]", text)[0][:14], "%Y%m%d%H%M%S")
    return None
