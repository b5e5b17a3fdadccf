"""Recordings with R-peaks, signal quality or both, as the network of R-peaks learns from them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from config import DS1
from deep_ecg.beats.beat_network import NETWORK_HZ, network_signal
from deep_ecg.beats.signal_watch import stretches
from deep_ecg.records.databases import DATABASES
from deep_ecg.records.wfdb_files import Record, RecordFile, read_annotations, read_beats, read_record
from deep_ecg.system.errors import DeepECGError
from dsp_filters import bandpass_sos, filter_zero_phase

NOISE_TEST = ("118", "119")  # carry the noise of the stress test: no network may know them
CINC_LIMITS = {"N": 900, "A": 200, "O": 300, "~": 10_000}  # recordings of each class that are read
TOO_NOISY = 0.9  # how unreadable a sample of such a recording is taken for: parts of it can be read
EXTREMUM_BAND_HZ = (3.0, 30.0)
EXTREMUM_REACH_S = 0.05


@dataclass(frozen=True)
class Recording:
    """One lead at NETWORK_HZ, all arrays (n,) but `beats_s`.

    `beats_s` (beats,) are the R-peaks in seconds, which count where `beats_known`; `unreadable` is 0 to 1 and counts
    where `quality_known`.
    """

    name: str
    signal_mv: np.ndarray
    beats_s: np.ndarray
    beats_known: np.ndarray
    unreadable: np.ndarray
    quality_known: np.ndarray


def held_out(folder: Path) -> list[str]:
    """Records of the database in `folder` that are never trained on, by name: what is chosen is chosen on them.

    Of a database of `records/databases.py` they are those named there, else every third.
    """
    names, known = sorted(record_names(folder)), DATABASES.get(folder.name)
    return [name for name in names if name in known.held_out] if known else names[2::3]


def record_names(folder: Path) -> list[str]:
    """Names of the records in `folder`, from its RECORDS. Raises DeepECGError where that is missing."""
    try:
        return (folder / "RECORDS").read_text(encoding="utf-8").split()
    except OSError:
        raise DeepECGError(f"{folder} has no file RECORDS: give the folder that holds this database") from None


def _trained_on(folder: Path) -> list[str]:
    apart = set(held_out(folder))
    return [name for name in record_names(folder) if name not in apart]


def training_recordings(mitdb: Path, folder: Path) -> dict[str, list[Recording]]:
    """What a network is trained on, by database; `folder` holds svdb, challenge2014, tele and cinc2017."""
    kept = {name: _trained_on(folder / name) for name in ("svdb", "challenge2014", "tele", "cinc2017")}
    ds1 = [name for name in DS1 if name not in NOISE_TEST]
    readable, noisy = cinc2017(folder / "cinc2017", kept["cinc2017"])
    return {
        "ds1": [one for name in ds1 for one in annotated(mitdb / name)],
        "svdb": [one for name in kept["svdb"] for one in annotated(folder / "svdb" / name)],
        "challenge2014": [one for name in kept["challenge2014"] for one in annotated(folder / "challenge2014" / name)],
        "tele": tele(folder / "tele", kept["tele"]),
        "cinc2017": readable,
        "noisy": noisy,
    }


def annotated(path: Path) -> Iterator[Recording]:
    """Every lead of the record at `path`, whose beats are in its .atr; ventricular flutter teaches nothing."""
    file = RecordFile.open(path)
    for number in range(len(file.leads)):
        record = file.lead(number)
        signal_mv = network_signal(record.signal_mv, record.fs_hz)
        known = ~_flutter(path, record.fs_hz, len(signal_mv))
        unreadable = np.zeros(len(signal_mv), np.float32)
        yield Recording(path.name, _short(signal_mv), _beats_s(path, record), known, unreadable, known)


def tele(folder: Path, names: Sequence[str]) -> list[Recording]:
    """Home recordings: their R-peaks count where they are usable, the rest is unreadable, artefact is neither."""
    with np.load(folder / "masks.npz") as masks:
        return [_of_tele(folder / name, masks[f"{name}_artefact"], masks[f"{name}_unusable"]) for name in names]


def _of_tele(path: Path, artefact: np.ndarray, unusable: np.ndarray) -> Recording:
    record = RecordFile.open(path).lead(0)
    signal_mv = network_signal(record.signal_mv, record.fs_hz)
    at = np.minimum((np.arange(len(signal_mv)) * record.fs_hz / NETWORK_HZ).astype(int), len(unusable) - 1)
    unusable, artefact = unusable[at].astype(bool), artefact[at].astype(bool)
    beats_s = read_beats(path, "atr").samples / record.fs_hz
    unreadable = unusable.astype(np.float32)
    return Recording(path.name, _short(signal_mv), beats_s, ~unusable, unreadable, unusable | ~artefact)


def cinc2017(folder: Path, names: Sequence[str]) -> tuple[list[Recording], list[Recording]]:
    """Recordings of a handheld device without R-peaks: those that can be read, and those too noisy."""
    classes = cinc2017_classes(folder)
    readable: list[Recording] = []
    noisy: list[Recording] = []
    left = dict(CINC_LIMITS)
    for name in sorted(names):
        label = classes[name]
        left[label] -= 1
        if left[label] >= 0:
            (noisy if label == "~" else readable).append(_unannotated(folder / name, label == "~"))
    return readable, noisy


def cinc2017_classes(folder: Path) -> dict[str, str]:
    """The class of each recording that is in `folder`: N, A, O or ~."""
    labels = DATABASES["cinc2017"].labels_of_records(folder)
    return {name: labels[name] for name in record_names(folder)}


def _unannotated(path: Path, noisy: bool) -> Recording:
    record = RecordFile.open(path).lead(0)
    signal_mv = network_signal(record.signal_mv, record.fs_hz)
    unreadable = np.full(len(signal_mv), TOO_NOISY if noisy else 0.0, np.float32)
    none, all_of_it = np.zeros(len(signal_mv), bool), np.ones(len(signal_mv), bool)
    return Recording(path.name, _short(signal_mv), np.zeros(0), none, unreadable, all_of_it)


def _short(signal_mv: np.ndarray) -> np.ndarray:
    return signal_mv.astype(np.float32)


def _beats_s(path: Path, record: Record) -> np.ndarray:
    """R-peaks moved to the largest deflection nearby: databases mark different points of the QRS complex."""
    samples = read_beats(path, "atr").samples
    samples = samples[samples < len(record.signal_mv)]
    filled_mv = np.nan_to_num(record.signal_mv)
    deflection_mv = np.abs(filter_zero_phase(filled_mv, bandpass_sos(EXTREMUM_BAND_HZ, 2, record.fs_hz)))
    reach = round(EXTREMUM_REACH_S * record.fs_hz)
    starts = np.maximum(samples - reach, 0)
    moved = [low + deflection_mv[low : at + reach + 1].argmax() for low, at in zip(starts, samples)]
    return np.array(moved) / record.fs_hz


def _flutter(path: Path, fs_hz: float, length: int) -> np.ndarray:
    """Which of `length` samples at NETWORK_HZ lie between the marks [ and ] of `path`.atr, (length,) bool."""
    marks, inside = read_annotations(path, "atr"), np.zeros(length, bool)
    scale, start = NETWORK_HZ / fs_hz, None
    for sample, symbol in zip(marks.sample, marks.symbol):
        if symbol == "[":
            start = int(sample * scale)
        elif symbol == "]" and start is not None:
            inside[start : int(sample * scale) + 1] = True
            start = None
    return inside


def unreadable_stretches(recordings: Sequence[Recording], least_s: float = 3.0) -> list[np.ndarray]:
    """The signal of each unreadable stretch, in millivolts: noise as it is recorded."""
    spans = [(one, span) for one in recordings for span in stretches(one.unreadable > 0.5)]
    return [one.signal_mv[start : end + 1] for one, (start, end) in spans if end - start >= least_s * NETWORK_HZ]


def unreadable_tele(folder: Path, names: Sequence[str], least_s: float = 3.0) -> list[Record]:
    """The unusable stretches of home recordings, as recorded."""
    with np.load(folder / "masks.npz") as masks:
        return [
            Record(record.name, record.lead, record.fs_hz, record.signal_mv[start : end + 1])
            for name in names
            for record in (read_record(folder / name, "I"),)
            for start, end in stretches(masks[f"{name}_unusable"].astype(bool))
            if end - start >= least_s * record.fs_hz
        ]
