"""WFDB records and annotation files, read into millivolts and beats."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import wfdb

from config import AAMI_SYMBOLS, CLASSES, classes_of_symbols
from deep_ecg.records import guard
from deep_ecg.system.errors import DeepECGError
from dsp_filters import FLAT_MV

AAMI = classes_of_symbols(AAMI_SYMBOLS)
GAP_SYMBOLS = frozenset("[]!")  # ventricular flutter: an RR interval across it is not one
MILLIVOLTS = {"mv": 1.0, "uv": 1e-3, "v": 1e3}  # in one unit of a signal
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


def read_record(path: Path, lead: str | Sequence[str], gaps: bool = False) -> Record:
    """The lead named `lead`, or the first of several names that it has, of the WFDB record at `path` (no extension).

    Raises DeepECGError naming the record when it is missing or truncated, has no such lead, or its signal is flat or,
    unless `gaps` are allowed, holds samples that are not numbers.
    """
    names = read_header(path).sig_name
    wanted = [lead] if isinstance(lead, str) else lead
    lead = next((name for name in wanted if name in names), None)
    if lead is None:
        raise DeepECGError(f"record {path} has no lead {' or '.join(map(repr, wanted))}: it has {', '.join(names)}")
    fs_hz, (signal_mv,) = _read_signals(path, [lead])
    _check_signal(signal_mv, path, lead, gaps)
    return Record(path.name, lead, fs_hz, signal_mv)


def _read_signals(path: Path, leads: Sequence[str]) -> tuple[float, list[np.ndarray]]:
    """Sampling rate and the signals (samples,) named `leads`, in millivolts."""
    header = read_header(path)
    try:
        guard.check_signal_files(path, header)
        record = wfdb.rdrecord(str(path.absolute()), channel_names=list(leads))
    except FileNotFoundError as error:
        raise DeepECGError(f"record {path}: signal file {error.filename} is missing: fetch it again") from None
    except MemoryError:
        raise
    except Exception as error:  # wfdb raises whatever its parser stumbles over
        raise DeepECGError(f"record {path} cannot be read, its signal file is truncated or broken: {error}") from None
    by_name = {name: (signal, units) for name, signal, units in zip(record.sig_name, record.p_signal.T, record.units)}
    return float(record.fs), [_in_millivolts(*by_name[lead], path) for lead in leads]


def read_header(path: Path) -> wfdb.Record:
    """The header of the WFDB record at `path` (no extension), which names its signals.

    Raises DeepECGError when it is missing or broken, or names none.
    """
    header = parse_header(path)
    if not all(getattr(header, "sig_name", None) or [None]):
        raise DeepECGError(f"record {path}: its header names no signals: a single-segment record is needed")
    try:
        guard.check_signals(header)
    except ValueError as error:
        raise DeepECGError(f"record {path}: its header cannot be used ({error}): mend it or fetch it again") from None
    return header


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


def aami_labels(symbols: Sequence[str], aami: Mapping[str, str] = AAMI) -> np.ndarray:
    """Index into CLASSES of each annotation symbol, (beats,) int64."""
    return np.array([CLASSES.index(aami[symbol]) for symbol in symbols], np.int64)
