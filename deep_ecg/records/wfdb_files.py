"""WFDB records and annotation files, read into millivolts and beats: the one door to the package wfdb for files.

Formats: header(5), signal(5) and annot(5) of the WFDB Applications Guide (Moody, https://physionet.org/physiotools/wag/).
Classes of beats: ANSI/AAMI EC57. What is wrong with a file is one DeepECGError that names it; guard.py looks at each
before wfdb does.
"""

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import wfdb
from wfdb.io._signal import _infer_sig_len, _rd_segment

from config import AAMI_SYMBOLS, CLASSES, classes_of_symbols
from deep_ecg.records import guard
from deep_ecg.system.errors import DeepECGError
from dsp_filters import FLAT_MV

AAMI = classes_of_symbols(AAMI_SYMBOLS)
GAP_SYMBOLS = frozenset("[]!")  # ventricular flutter: an RR interval across it is not one
MILLIVOLTS = {"mv": 1.0, "uv": 1e-3, "v": 1e3}  # in one unit of a signal
SEGMENT_FIELDS = ("file_name", "fmt", "n_sig", "sig_len", "byte_offset", "samps_per_frame", "skew", "init_value")
MAX_MV = 1e9  # beyond any uncalibrated signal, and still a number after filters of any order


@dataclass(frozen=True)
class Record:
    """One lead of one record. `signal_mv` (samples,) in millivolts at `fs_hz`, as recorded."""

    name: str
    lead: str
    fs_hz: float
    signal_mv: np.ndarray


@dataclass(frozen=True)
class Annotation:
    """Beats of one record: R-peak samples (beats,), symbols (beats,), and whether flutter lies just before each."""

    samples: np.ndarray
    symbols: np.ndarray
    after_gap: np.ndarray


@dataclass(frozen=True)
class RecordFile:
    """A WFDB record of one segment whose header has been read: its signals and files, without reading that again.

    `path` is without extension, `name` what results call the record; `header_stat` is the header file's size in bytes
    and time of change in ns, as they were just before it was read.
    """

    path: Path
    name: str
    header: wfdb.Record
    header_stat: tuple[int, int] | None

    @classmethod
    def open(cls, path: Path, name: str | None = None) -> "RecordFile":
        """Reads the header of the record at `path`; `name` is by default that of its files.

        Raises DeepECGError when it is missing or broken, or names no signals.
        """
        stat = _stat_of(_header_of(path))
        header = parse_header(path)
        if not all(getattr(header, "sig_name", None) or [None]):
            raise DeepECGError(f"record {path}: its header names no signals: a single-segment record is needed")
        try:
            guard.check_signals(header)
        except ValueError as error:
            why = f"its header cannot be used ({error})"
            raise DeepECGError(f"record {path}: {why}: mend it or fetch it again") from None
        return cls(path, name or path.name, header, stat)

    @property
    def leads(self) -> list[str]:
        """The names of its signals."""
        return self.header.sig_name

    @property
    def voltages(self) -> list[str]:
        """The names of those of its signals that are voltages."""
        units = zip(self.leads, self.header.units)
        return [name for name, unit in units if str(unit).lower() in MILLIVOLTS]

    @property
    def synthetic(self) -> bool:
        """Whether it says that it is SYNTHETIC."""
        return any("SYNTHETIC" in comment for comment in self.header.comments)

    def files(self, *annotations: str) -> list[str]:
        """Names of its files, all in one folder: header, signals, and annotations of these extensions."""
        base = self.path.name
        return [f"{base}.hea", *dict.fromkeys(self.header.file_name), *(f"{base}.{ending}" for ending in annotations)]

    def is_unchanged(self) -> bool:
        """Whether its header is still the one that was read."""
        return self.header_stat == _stat_of(_header_of(self.path))

    def lead(self, wanted: str | Sequence[str], gaps: bool = False) -> Record:
        """The lead named `wanted`, or the first of several names that it has.

        Raises DeepECGError naming the record when it is truncated, has no such lead, or its signal is flat or, unless
        `gaps` are allowed, holds samples that are not numbers.
        """
        names = [wanted] if isinstance(wanted, str) else wanted
        lead = next((name for name in names if name in self.leads), None)
        if lead is None:
            there = ", ".join(self.leads)
            raise DeepECGError(f"record {self.path} has no lead {' or '.join(map(repr, names))}: it has {there}")
        (signal_mv,) = self.signals_mv([lead])
        _check_signal(signal_mv, self.path, lead, gaps)
        return Record(self.name, lead, float(self.header.fs), signal_mv)

    def signals_mv(self, leads: Sequence[str]) -> list[np.ndarray]:
        """The signals (samples,) of `leads`, in millivolts. Raises DeepECGError when they cannot be read."""
        if not leads:
            return []
        path = self.path
        try:
            guard.check_signal_files(path, self.header)
            record = _read_signals(path.absolute().parent, self.header, [self.leads.index(lead) for lead in leads])
        except FileNotFoundError as error:
            raise DeepECGError(f"record {path}: signal file {error.filename} is missing: fetch it again") from None
        except MemoryError:
            raise
        except Exception as error:  # wfdb raises whatever its parser stumbles over
            why = f"its signal file is truncated or broken: {error}"
            raise DeepECGError(f"record {path} cannot be read, {why}") from None
        return [_in_millivolts(*signal, path) for signal in zip(record.p_signal.T, record.units)]


def _read_signals(folder: Path, header: wfdb.Record, channels: list[int]) -> wfdb.Record:
    """What wfdb.rdrecord gives of these `channels`, by the steps that it takes once it has read the header (4.3.1)."""
    record = copy(header)
    if record.sig_len is None:
        first = record.file_name[0]
        of_first = (count for count, file in zip(record.samps_per_frame, record.file_name) if file == first)
        record.sig_len = _infer_sig_len(first, record.fmt[0], sum(of_first), record.byte_offset[0], str(folder))
    record.check_read_inputs(0, record.sig_len, channels, True, True, 64)
    record.e_d_signal = _rd_segment(
        **{name: getattr(record, name) for name in SEGMENT_FIELDS},
        dir_name=str(folder),
        pn_dir=None,
        sampfrom=0,
        sampto=record.sig_len,
        channels=channels,
        ignore_skew=False,
    )
    record._arrange_fields(channels, sampfrom=0, smooth_frames=True)
    record.dac(inplace=True)
    return record


def read_record(path: Path, lead: str | Sequence[str], gaps: bool = False) -> Record:
    """`RecordFile.lead` of the WFDB record at `path` (no extension)."""
    return RecordFile.open(path).lead(lead, gaps)


def read_header(path: Path) -> wfdb.Record:
    """The header of the WFDB record at `path` (no extension), which names its signals; errors as `RecordFile.open`."""
    return RecordFile.open(path).header


def parse_header(path: Path) -> wfdb.Record | wfdb.MultiRecord:
    """The header of the WFDB record at `path`, of any kind. Raises DeepECGError when it is missing or broken."""
    try:
        guard.check_header_text(_header_of(path))
        header = wfdb.rdheader(str(path.absolute()))
        guard.check_header(header)
    except FileNotFoundError:
        raise DeepECGError(f"record {path}: there is no {path}.hea: check the path and the record's name") from None
    except MemoryError:
        raise
    except Exception as error:  # wfdb raises whatever its parser stumbles over
        raise DeepECGError(f"record {path}: its header cannot be read ({error}): fetch it again") from None
    return header


def _header_of(path: Path) -> Path:
    return Path(f"{path}.hea")


def _stat_of(file: Path) -> tuple[int, int] | None:
    """Size in bytes and time of change in ns of `file`; None where it is not there, or its name cannot be one."""
    try:
        stat = file.stat()
    except (OSError, ValueError):
        return None
    return stat.st_size, stat.st_mtime_ns


def _in_millivolts(signal: np.ndarray, units: str, path: Path) -> np.ndarray:
    scale = MILLIVOLTS.get(units.lower())
    if scale is None:
        raise DeepECGError(f"record {path}: its signal is in {units!r}: millivolts, microvolts or volts are needed")
    return signal * scale


def _check_signal(signal_mv: np.ndarray, path: Path, lead: str, gaps: bool):
    known_mv = signal_mv[np.isfinite(signal_mv)]
    bad = len(signal_mv) - len(known_mv)
    if bad and not gaps:
        raise DeepECGError(
            f"record {path}, lead {lead}: {bad} samples are not numbers: cut or fill them first, or label the record "
            "in causal mode, which takes them for lost signal"
        )
    if np.abs(known_mv).max(initial=0) > MAX_MV:
        raise DeepECGError(f"record {path}, lead {lead}: no ECG is beyond {MAX_MV:g} mV: mend its gain or units")
    if len(known_mv) == 0 or np.ptp(known_mv) < FLAT_MV:
        raise DeepECGError(f"record {path}, lead {lead}: the signal is flat: choose another lead")


def read_beats(path: Path, extension: str, aami: Mapping[str, str] = AAMI) -> Annotation:
    """The beats of annotation file `path`.`extension`: non-beat marks are dropped before anything is differenced.

    Beats are the symbols that `aami` gives a class. Raises DeepECGError when the file is missing or broken, or holds
    fewer than two beats.
    """
    annotation = read_annotations(path, extension)
    symbols = np.array(annotation.symbol, dtype=str)  # an undefined code reads as "nan"
    beat = np.isin(symbols, list(aami))
    if beat.sum() < 2:
        raise DeepECGError(f"annotation file {path}.{extension} holds {beat.sum()} beats: at least two are needed")
    gaps = np.cumsum(np.isin(symbols, list(GAP_SYMBOLS)))[beat]
    return Annotation(annotation.sample[beat], symbols[beat], np.diff(gaps, prepend=0) > 0)


def read_annotations(path: Path, extension: str) -> wfdb.Annotation:
    """All of annotation file `path`.`extension`. Raises DeepECGError when the file is missing or broken."""
    file = Path(f"{path}.{extension}")
    try:
        guard.check_annotations(file, beside=_header_of(path))
        if _header_of(path).exists():  # wfdb asks it for the rate
            guard.check_header_text(_header_of(path))
        annotation = wfdb.rdann(str(path.absolute()), extension)
        if annotation.fs is not None:
            guard.check_rate(annotation.fs)
    except FileNotFoundError:
        raise DeepECGError(f"record {path}: there is no annotation file {file}") from None
    except MemoryError:
        raise
    except Exception as error:  # wfdb raises whatever its parser stumbles over
        raise DeepECGError(f"annotation file {file} cannot be read: {error}") from None
    if not file.read_bytes().endswith(b"\0\0"):  # the format's end mark
        raise DeepECGError(f"annotation file {file} is truncated: fetch it again")
    return annotation


def aami_labels(symbols: Iterable[str], aami: Mapping[str, str] = AAMI) -> np.ndarray:
    """Index into CLASSES of each annotation symbol, (beats,) int64."""
    return np.array([CLASSES.index(aami[symbol]) for symbol in symbols], np.int64)
