"""From a database to beats: where the records come from, how they are read, and what the network is fed.

AAMI classes and the DS1/DS2 division by patient follow de Chazal et al. 2004 (IEEE TBME 51:1196-1206).
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import wfdb
from tqdm import tqdm

import physionet
import synthetic
from config import CLASSES, DATA_DIR_VARIABLE, Config, DeepECGError
from dsp_filters import FLAT_MV, bandpass_sos, clean, resample
from features import FEATURES, beat_inputs, rr_intervals
from files import atomic_file

DS1 = tuple("101 106 108 109 112 114 115 116 118 119 122 124 201 203 205 207 208 209 215 220 223 230".split())
DS2 = tuple("100 103 105 111 113 117 121 123 200 202 210 212 213 214 219 221 222 228 231 232 233 234".split())
VALIDATION = ("118", "124", "205", "223")  # DS1 patients with S, V and F; never 201, whose subject is also DS2's 202
SPLITS = {"train": tuple(r for r in DS1 if r not in VALIDATION), "validation": VALIDATION, "test": DS2}

AAMI = {
    **dict.fromkeys("NLRBejn", "N"),  # e, j and n count as N in the literature; the EC57 scorer bxb counts them as S
    **dict.fromkeys("AaJS", "S"),
    **dict.fromkeys("VEr", "V"),
    "F": "F",
    **dict.fromkeys("/fQ?", "Q"),
}
GAP_SYMBOLS = frozenset("[]!")  # ventricular flutter: an RR interval across it is not one
CACHE_VERSION = 4  # raised when the meaning of cached beats changes


@dataclass(frozen=True)
class Source:
    """Where the records are: `name` is "local", "physionet" or "synthetic", `folder` holds the WFDB files."""

    name: str
    folder: Path
    reason: str = ""  # why the synthetic database was taken

    @property
    def synthetic(self) -> bool:
        return self.name == "synthetic"


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
class Beats:
    """What the network is fed, one row a beat.

    windows (beats, CHANNELS, window_samples) float32, features (beats, features) float32, labels (beats,) int64 into
    CLASSES, records (beats,) names, samples (beats,) R-peak samples at the record's own rate.
    """

    windows: np.ndarray
    features: np.ndarray
    labels: np.ndarray
    records: np.ndarray
    samples: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def of(self, records: Sequence[str]) -> "Beats":
        """The beats of the records named."""
        keep = np.isin(self.records, records)
        return Beats(*(getattr(self, name)[keep] for name in self.__dataclass_fields__))


# Ingestion -------------------------------------------------------------------------------------------------------


def ingest(config: Config, progress: bool = False) -> Source:
    """The database that `config.data_source` asks for, with every DS1 and DS2 file in a local folder.

    "auto" takes the local folder, else PhysioNet, else the synthetic database, and then says why in `Source.reason`.
    Raises DeepECGError when the database asked for cannot be had. Contents are checked when records are read.
    """
    folder = config.data_folder
    wanted = config.data_source
    missing = physionet.missing_files(folder, DS1 + DS2)
    if wanted != "synthetic" and not missing:
        return Source("synthetic" if synthetic.is_synthetic(folder) else "local", folder)
    if wanted == "local":
        raise DeepECGError(
            f"data folder {folder}: {len(missing)} files are missing, the first is {missing[0]}: point "
            f"{DATA_DIR_VARIABLE} at the MIT-BIH Arrhythmia Database, or set data_source to 'physionet' or 'synthetic'"
        )
    reason = "data_source is 'synthetic'"
    if wanted in ("auto", "physionet"):
        try:
            return _download(config, progress)
        except DeepECGError as error:
            if wanted == "physionet":
                raise
            reason = str(error)
    return _write_synthetic(config, reason, progress)


def _download(config: Config, progress: bool) -> Source:
    published = config.physionet_url == Config.physionet_url
    physionet.download(
        config.data_folder,
        config.physionet_url,
        DS1 + DS2,
        progress=progress,
        sums_sha256=physionet.MITDB_SHA256SUMS if published else None,
    )
    return Source("physionet", config.data_folder)


def _write_synthetic(config: Config, reason: str, progress: bool) -> Source:
    folder = Path(config.cache_dir) / f"synthetic-{config.synthetic_minutes:g}min"
    try:
        synthetic.write_database(folder, DS1 + DS2, config.synthetic_minutes, progress=progress)
    except OSError as error:
        raise DeepECGError(f"{folder} cannot be written ({error.strerror or error}): set another cache_dir") from None
    return Source("synthetic", folder, reason)


# Records ---------------------------------------------------------------------------------------------------------


def read_record(path: Path, lead: str) -> Record:
    """The lead named `lead` of the WFDB record at `path` (no extension).

    Raises DeepECGError naming the record when it is missing or truncated, has no such lead, or its signal is flat or
    holds samples that are not numbers.
    """
    header = read_header(path)
    if lead not in header.sig_name:
        raise DeepECGError(f"record {path} has no lead {lead!r}: it has {', '.join(header.sig_name)}")
    try:
        record = wfdb.rdrecord(str(path), channel_names=[lead])
    except FileNotFoundError as error:
        raise DeepECGError(f"record {path}: signal file {error.filename} is missing: fetch it again") from None
    except Exception as error:  # wfdb raises whatever its parser stumbles over
        raise DeepECGError(f"record {path} cannot be read, its signal file is truncated or broken: {error}") from None
    signal_mv = _in_millivolts(record.p_signal[:, 0], record.units[0], path)
    _check_signal(signal_mv, path, lead)
    return Record(path.name, lead, float(record.fs), signal_mv)


def read_header(path: Path) -> wfdb.Record:
    """The header of the WFDB record at `path` (no extension), which names its signals.

    Raises DeepECGError when it is missing or broken, or names none.
    """
    header = parse_header(path)
    if not all(getattr(header, "sig_name", None) or [None]):
        raise DeepECGError(f"record {path}: its header names no signals: a single-segment record is needed")
    return header


def parse_header(path: Path) -> wfdb.Record | wfdb.MultiRecord:
    """The header of the WFDB record at `path`, of any kind. Raises DeepECGError when it is missing or broken."""
    try:
        header = wfdb.rdheader(str(path))
    except FileNotFoundError:
        raise DeepECGError(f"record {path}: there is no {path}.hea: check the path and the record's name") from None
    except Exception as error:  # wfdb raises whatever its parser stumbles over
        raise DeepECGError(f"record {path}: its header cannot be read ({error}): fetch it again") from None
    if not header.fs:
        raise DeepECGError(f"record {path}: its header states no sampling rate: mend it")
    return header


def _in_millivolts(signal: np.ndarray, units: str, path: Path) -> np.ndarray:
    scale = {"mv": 1.0, "uv": 1e-3, "v": 1e3}.get(units.lower())
    if scale is None:
        raise DeepECGError(f"record {path}: its signal is in {units!r}: millivolts, microvolts or volts are needed")
    return signal * scale


def _check_signal(signal_mv: np.ndarray, path: Path, lead: str):
    bad = np.count_nonzero(~np.isfinite(signal_mv))
    if bad:
        raise DeepECGError(f"record {path}, lead {lead}: {bad} samples are not numbers: cut or fill them first")
    if len(signal_mv) == 0 or np.ptp(signal_mv) < FLAT_MV:
        raise DeepECGError(f"record {path}, lead {lead}: the signal is flat: choose another lead")


def read_beats(path: Path, extension: str) -> Annotation:
    """The beats of annotation file `path`.`extension`: non-beat marks are dropped before anything is differenced.

    Raises DeepECGError when the file is missing or broken, or holds fewer than two beats.
    """
    annotation = read_annotations(path, extension)
    symbols = np.array(annotation.symbol, dtype=str)  # an undefined code reads as "nan"
    beat = np.isin(symbols, list(AAMI))
    if beat.sum() < 2:
        raise DeepECGError(f"annotation file {path}.{extension} holds {beat.sum()} beats: at least two are needed")
    gaps = np.cumsum(np.isin(symbols, list(GAP_SYMBOLS)))[beat]
    return Annotation(annotation.sample[beat], symbols[beat], np.diff(gaps, prepend=0) > 0)


def read_annotations(path: Path, extension: str) -> wfdb.Annotation:
    """All of annotation file `path`.`extension`. Raises DeepECGError when the file is missing or broken."""
    try:
        annotation = wfdb.rdann(str(path), extension)
    except FileNotFoundError:
        raise DeepECGError(f"record {path}: there is no annotation file {path}.{extension}") from None
    except Exception as error:  # wfdb raises whatever its parser stumbles over
        raise DeepECGError(f"annotation file {path}.{extension} cannot be read: {error}") from None
    if not Path(f"{path}.{extension}").read_bytes().endswith(b"\0\0"):  # the format's end mark
        raise DeepECGError(f"annotation file {path}.{extension} is truncated: fetch it again")
    return annotation


# Beats -----------------------------------------------------------------------------------------------------------


def network_inputs(record: Record, annotation: Annotation, config: Config) -> tuple[np.ndarray, np.ndarray]:
    """Windows and features (see `features.beat_inputs`) of every beat of `record`, as the mode of `config` allows.

    Raises DeepECGError when an annotation lies outside the signal.
    """
    causal = config.mode == "causal"
    cleaned_mv = cleaned(resample(record.signal_mv, record.fs_hz, config.fs_hz, causal), config)
    peaks = np.round(annotation.samples * config.fs_hz / record.fs_hz).astype(np.int64)
    if peaks.min() < 0 or annotation.samples.max() >= len(record.signal_mv):
        raise DeepECGError(f"record {record.name}: an annotation lies outside the signal: they do not belong together")
    after = config.look_ahead_samples
    rr_s = rr_intervals(annotation.samples, record.fs_hz, annotation.after_gap)
    peaks = np.minimum(peaks, len(cleaned_mv) - 1)  # resampling can round the last sample away
    return beat_inputs(cleaned_mv, peaks, rr_s, config.window_samples - after, after, config.fs_hz, config.mode)


def cleaned(signal_mv: np.ndarray, config: Config) -> np.ndarray:
    """`signal_mv` (samples,) at `config.fs_hz`, band-passed as the mode asks."""
    return clean(signal_mv, bandpass_sos(config.band_hz, config.filter_order, config.fs_hz), config.mode == "causal")


def beats_of(record: Record, annotation: Annotation, config: Config) -> Beats:
    """Every annotated beat of `record`, with its AAMI label."""
    windows, features = network_inputs(record, annotation, config)
    return Beats(
        windows=windows,
        features=features,
        labels=np.array([CLASSES.index(AAMI[symbol]) for symbol in annotation.symbols], np.int64),
        records=np.full(len(windows), record.name),
        samples=annotation.samples.astype(np.int64),
    )


def read_clean(source: Source, name: str, config: Config, start_s: float, length_s: float) -> tuple:
    """A strip of record `name` at `config.fs_hz`, raw and cleaned as the mode cleans it, (samples,) each, in mV."""
    causal = config.mode == "causal"
    record = read_record(source.folder / name, config.lead)
    raw_mv = resample(record.signal_mv, record.fs_hz, config.fs_hz, causal)
    clean_mv = cleaned(raw_mv, config)
    strip = slice(round(start_s * config.fs_hz), round((start_s + length_s) * config.fs_hz))
    return raw_mv[strip], clean_mv[strip]


def load_beats(source: Source, records: Sequence[str], config: Config, progress: bool = False) -> Beats:
    """Beats of `records`, from the cache where these records and settings have been parsed before.

    Only the files of `records` are opened, each checked against the published hashes where the folder lists them.
    """
    missing = physionet.missing_files(source.folder, records)
    if missing:
        raise DeepECGError(f"data folder {source.folder}: {missing[0]} is missing or empty: fetch it again")
    cached = Path(config.cache_dir) / f"beats-{_cache_key(source, records, config)}.npz"
    beats = _read_cache(cached)
    if beats is None:
        physionet.verify_files(source.folder, physionet.expected_files(records))
        parts = [
            beats_of(read_record(source.folder / name, config.lead), read_beats(source.folder / name, "atr"), config)
            for name in tqdm(records, "beats", unit="record", disable=None if progress else True, leave=False)
        ]
        beats = Beats(*(np.concatenate([getattr(p, name) for p in parts]) for name in Beats.__dataclass_fields__))
        _write_cache(cached, beats)
    return beats


def _cache_key(source: Source, records: Sequence[str], config: Config) -> str:
    stats = [(source.folder / name).stat() for name in physionet.expected_files(records)]
    identity = {
        "version": CACHE_VERSION,
        "source": str(source.folder.resolve()),
        "files": [(s.st_size, s.st_mtime_ns) for s in stats],
        "records": list(records),
        "settings": [config.mode, config.lead, config.fs_hz, config.band_hz, config.filter_order]
        + [config.window_samples, config.look_ahead_samples],
        "features": FEATURES[config.mode],
    }
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:20]


def _read_cache(path: Path) -> Beats | None:
    """The cached beats, or None where there are none that can be read whole."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            if stored.zip.testzip():  # a broken array header can pass for a shorter array
                return None
            return Beats(**{name: stored[name] for name in Beats.__dataclass_fields__})
    except Exception:  # the parsers of a broken file raise whatever they stumble over
        return None


def _write_cache(path: Path, beats: Beats):
    with atomic_file(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **{name: getattr(beats, name) for name in Beats.__dataclass_fields__})
