"""From a database to beats: where the records come from, how they are read, and what the network is fed.

AAMI classes and the DS1/DS2 division by patient follow de Chazal et al. 2004; another database needs other settings of
config.py and no code.
"""

import hashlib
import json
import math
import shutil
import struct
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import numpy as np
import wfdb
from joblib import delayed
from tqdm import tqdm

import augmentation
import guard
import physionet
import synthetic
from augmentation import Strip
from config import (
    AAMI_SYMBOLS,
    CLASSES,
    DATA_DIR_VARIABLE,
    DS1,
    DS2,
    VALIDATION,
    Config,
    DeepECGError,
    classes_of_symbols,
    with_overrides,
)
from dsp_filters import FLAT_MV, SignalWatch, bandpass_sos, clean, resample
from features import FEATURES, GROUPS, beat_inputs, rr_intervals
from files import atomic_file, locked, scratch_folder
from workers import Run, worker_pool

# DS1 by patient for cross-validation: S, V and F spread as evenly as the data allow, the fibrillating 201 and 203 apart
FOLDS = tuple(
    tuple(fold.split())
    for fold in (
        "209 114 106 122 205",
        "207 124 119 116 109 112",
        "118 220 203 215 101 108",
        "201 223 208 115 230",
    )
)
SPLITS = {"train": tuple(r for r in DS1 if r not in VALIDATION), "validation": VALIDATION, "test": DS2}

AAMI = classes_of_symbols(AAMI_SYMBOLS)
GAP_SYMBOLS = frozenset("[]!")  # ventricular flutter: an RR interval across it is not one
CACHE_VERSION = 8  # raised when the meaning of cached beats changes
MILLIVOLTS = {"mv": 1.0, "uv": 1e-3, "v": 1e3}  # in one unit of a signal
MAX_MV = 1e9  # beyond any uncalibrated signal, and still a number after filters of any order
BLOCK_BEATS = 4096  # that are checked at once
ALIGNED_BYTES = 64  # where arrays begin in a cache file, as NumPy and torch like it
LOCAL_HEADER_BYTES, ZIP64_BYTES = 30, 20  # before a member of a zip archive, without its name and extra fields
PADDING = 0xD935  # kind of the extra field by which members of zip archives are aligned
COPIED_BYTES = 2**20
REPLAYED = (0.2, 0.5, 0.5, 1.0, 0.0)  # share of the N S V F Q beats of a replay that is kept: enough, in less memory


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
    CLASSES, records (beats,) names, samples (beats,) R-peak samples at the record's own rate, groups (beats,) int64 of
    beats of one shape (`features.RunningTemplate`).
    """

    windows: np.ndarray
    features: np.ndarray
    labels: np.ndarray
    records: np.ndarray
    samples: np.ndarray
    groups: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def of(self, records: Sequence[str]) -> "Beats":
        """The beats of the records named."""
        return self.where(np.isin(self.records, records))

    def where(self, keep: np.ndarray) -> "Beats":
        """The beats for which `keep` (beats,) is True."""
        return Beats(*(getattr(self, name)[keep] for name in self.__dataclass_fields__))


def concatenate(parts: Sequence[Beats]) -> Beats:
    """The beats of all `parts` in their order."""
    return Beats(*(np.concatenate([getattr(part, name) for part in parts]) for name in Beats.__dataclass_fields__))


# Ingestion -------------------------------------------------------------------------------------------------------


def ingest(config: Config, progress: bool = False, records: Sequence[str] = ()) -> Source:
    """The database that `config.data_source` asks for, with every file of `records` in a local folder.

    Without `records`, those to train and to test on. "auto" takes the local folder, else, for records of DS1 and DS2,
    PhysioNet, else the synthetic database, and then says why in `Source.reason`. Raises DeepECGError when the database
    asked for cannot be had. Contents are checked when records are read.
    """
    folder = config.data_folder
    wanted = config.data_source
    records = tuple(records) or config.train_records + config.test_records
    another = not set(records) <= {*DS1, *DS2}  # no download or synthetic record can stand in for these unasked
    missing = physionet.missing_files(folder, record_files(folder, records, config))
    if wanted != "synthetic" and not missing:
        return Source("synthetic" if synthetic.is_synthetic(folder, records) else "local", folder)
    if wanted == "local" or (wanted == "auto" and another):
        database = "the database of the settings" if another else "the MIT-BIH Arrhythmia Database"
        raise DeepECGError(
            f"data folder {folder}: {len(missing)} files are missing, the first is {missing[0]}: point "
            f"{DATA_DIR_VARIABLE} at {database}, or set data_source to 'physionet' or 'synthetic'"
        )
    reason = "data_source is 'synthetic'"
    if wanted in ("auto", "physionet"):
        try:
            return _download(config, records, progress)
        except DeepECGError as error:
            if wanted == "physionet":
                raise
            reason = str(error)
    return _write_synthetic(config, records, reason, progress)


def record_files(folder: Path, records: Sequence[str], config: Config) -> list[str]:
    """Header, signal files and reference annotations of each record, as paths in `folder`.

    The header says which the signal files are; where it cannot be read, the record's name stands for one.
    """
    files = []
    for name in records:
        try:
            signals = dict.fromkeys(read_header(folder / name).file_name)
        except DeepECGError:  # said when the record is read
            signals = [f"{Path(name).name}.dat"]
        beside = Path(name).parent
        files += [f"{name}.hea", *(str(beside / signal) for signal in signals), f"{name}.{config.annotation_extension}"]
    return files


def real_source(config: Config) -> Source:
    """The real database in the local folder, for measurements. Raises DeepECGError where it is missing or synthetic."""
    source = ingest(with_overrides(config, data_source="local"))
    if source.synthetic:
        raise DeepECGError(
            f"{source.folder} holds a synthetic database, whose results are SYNTHETIC: this is measured on the real "
            f"one alone, point {DATA_DIR_VARIABLE} at it"
        )
    return source


def _download(config: Config, records: Sequence[str], progress: bool) -> Source:
    published = config.physionet_url == Config.physionet_url
    physionet.download(
        config.data_folder,
        config.physionet_url,
        records,
        progress=progress,
        annotations=config.annotation_extension,
        sums_sha256=physionet.MITDB_SHA256SUMS if published else None,
    )
    return Source("physionet", config.data_folder)


def _write_synthetic(config: Config, records: Sequence[str], reason: str, progress: bool) -> Source:
    folder = Path(config.cache_dir) / f"synthetic-{config.synthetic_minutes:g}min"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder, lambda: print(f"waiting for another run that writes {folder}", flush=True)):
            synthetic.write_database(folder, records, config.synthetic_minutes, progress=progress)
    except OSError as error:
        raise DeepECGError(f"{folder} cannot be written ({error.strerror or error}): set another cache_dir") from None
    return Source("synthetic", folder, reason)


# Records ---------------------------------------------------------------------------------------------------------


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


def read_strip(path: Path, config: Config) -> Strip:
    """The record at `path` with all its usable leads, that of `config` first, and its beats, at `config.fs_hz`.

    Raises DeepECGError as `read_record` and `read_beats` do.
    """
    first = read_record(path, config.leads)
    header = read_header(path)
    voltages = [name for name, units in zip(header.sig_name, header.units) if str(units).lower() in MILLIVOLTS]
    others = [name for name in voltages if name != first.lead]
    _, signals = _read_signals(path, others) if others else (first.fs_hz, [])
    usable = [signal for signal in signals if np.isfinite(signal).all() and np.ptp(signal) > FLAT_MV]
    leads_mv = [resample(signal, first.fs_hz, config.fs_hz, causal=False) for signal in (first.signal_mv, *usable)]
    annotation = read_beats(path, config.annotation_extension, config.aami)
    peaks = np.round(annotation.samples * config.fs_hz / first.fs_hz).astype(np.int64)
    labels = aami_labels(annotation.symbols, config.aami)
    return Strip(np.stack(leads_mv, axis=1), config.fs_hz, peaks, labels, annotation.after_gap)


def _read_signals(path: Path, leads: Sequence[str]) -> tuple[float, list[np.ndarray]]:
    """Sampling rate and the signals (samples,) named `leads`, in millivolts."""
    header = read_header(path)
    try:
        guard.check_signal_files(path, header)
        record = wfdb.rdrecord(str(path.absolute()), channel_names=list(leads))
    except FileNotFoundError as error:
        raise DeepECGError(f"record {path}: signal file {error.filename} is missing: fetch it again") from None
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
    except Exception as error:  # wfdb raises whatever its parser stumbles over
        raise DeepECGError(f"annotation file {file} cannot be read: {error}") from None
    if not file.read_bytes().endswith(b"\0\0"):  # the format's end mark
        raise DeepECGError(f"annotation file {file} is truncated: fetch it again")
    return annotation


# Beats -----------------------------------------------------------------------------------------------------------


def network_inputs(
    record: Record, annotation: Annotation, config: Config, kept: np.ndarray | slice = slice(None)
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Windows, features and groups of every beat of `record`, or those `kept` (beats,), as the mode of `config` allows.

    See `features.beat_inputs`.

    Missing samples are filled, and an RR interval across lost signal is none, as in a live stream: see
    `dsp_filters.SignalWatch`. Raises DeepECGError when an annotation lies outside the signal, or that is shorter than
    a second.
    """
    if len(record.signal_mv) < record.fs_hz:
        raise DeepECGError(f"record {record.name} lasts less than a second: a longer one is needed")
    causal, watch = config.mode == "causal", SignalWatch(record.fs_hz)
    filled_mv, _ = watch(record.signal_mv)
    cleaned_mv = cleaned(resample(filled_mv, record.fs_hz, config.fs_hz, causal), config)
    peaks = np.round(annotation.samples * config.fs_hz / record.fs_hz).astype(np.int64)
    if peaks.min() < 0 or annotation.samples.max() >= len(record.signal_mv):
        raise DeepECGError(f"record {record.name}: an annotation lies outside the signal: they do not belong together")
    after = config.look_ahead_samples
    lost = [watch.lost_between(*pair) for pair in pairwise(annotation.samples.tolist())]
    rr_s = rr_intervals(annotation.samples, record.fs_hz, annotation.after_gap | np.array([False, *lost]))
    peaks = np.minimum(peaks, len(cleaned_mv) - 1)  # resampling can round the last sample away
    return beat_inputs(cleaned_mv, peaks, rr_s, config.window_samples - after, after, config.fs_hz, config.mode, kept)


def cleaned(signal_mv: np.ndarray, config: Config) -> np.ndarray:
    """`signal_mv` (samples,) at `config.fs_hz`, band-passed as the mode asks."""
    return clean(signal_mv, bandpass_sos(config.band_hz, config.filter_order, config.fs_hz), config.mode == "causal")


def beats_of(
    record: Record, annotation: Annotation, labels: np.ndarray, config: Config, kept: np.ndarray | slice = slice(None)
) -> Beats:
    """Every annotated beat of `record`, or those `kept` (beats,), with its label of `labels` (beats,)."""
    windows, features, groups = network_inputs(record, annotation, config, kept)
    return Beats(
        windows=windows,
        features=features,
        labels=labels[kept],
        records=np.full(len(windows), record.name),
        samples=annotation.samples[kept].astype(np.int64),
        groups=groups,
    )


def beats_of_strip(name: str, strip: Strip, config: Config, kept: np.ndarray | slice = slice(None)) -> Beats:
    """Beats of the first lead of `strip`, which is at `config.fs_hz`, as those of record `name`; `kept` as above."""
    record = Record(name, config.lead, config.fs_hz, strip.leads_mv[:, 0])
    annotation = Annotation(strip.peaks, np.array(CLASSES)[strip.labels], strip.after_gap)
    return beats_of(record, annotation, strip.labels, config, kept)


def aami_labels(symbols: Sequence[str], aami: Mapping[str, str] = AAMI) -> np.ndarray:
    """Index into CLASSES of each annotation symbol, (beats,) int64."""
    return np.array([CLASSES.index(aami[symbol]) for symbol in symbols], np.int64)


def read_clean(source: Source, name: str, config: Config, start_s: float, length_s: float) -> tuple:
    """A strip of record `name` at `config.fs_hz`, raw and cleaned as the mode cleans it, (samples,) each, in mV."""
    causal = config.mode == "causal"
    record = read_record(source.folder / name, config.leads)
    raw_mv = resample(record.signal_mv, record.fs_hz, config.fs_hz, causal)
    clean_mv = cleaned(raw_mv, config)
    strip = slice(round(start_s * config.fs_hz), round((start_s + length_s) * config.fs_hz))
    return raw_mv[strip], clean_mv[strip]


def load_beats(
    source: Source, records: Sequence[str], config: Config, progress: bool = False, run: Run | None = None
) -> Beats:
    """Beats of `records`, from the cache where these records and settings have been parsed before.

    Only the files of `records` are opened, each checked against the published hashes where the folder lists them, by
    worker processes: those of `run`, or a pool of their own. The arrays lie in the cache's file, mapped into memory.
    """
    files = record_files(source.folder, records, config)
    path = _cache_path("beats", source, records, files, config)

    def build(run: Run) -> Iterable[Beats]:
        jobs = [delayed(_beats_of_record)(source.folder, name, config) for name in records]
        return _counted(run(jobs), "beats", records, progress)

    return _cached(path, source, records, files, build, config, run)


def _beats_of_record(folder: Path, name: str, config: Config) -> Beats:
    record = replace(read_record(folder / name, config.leads), name=name)
    annotation = read_beats(folder / name, config.annotation_extension, config.aami)
    return beats_of(record, annotation, aami_labels(annotation.symbols, config.aami), config)


def _counted(done: Iterable, title: str, records: Sequence[str], progress: bool) -> Iterable:
    return tqdm(done, title, len(records), unit="record", disable=None if progress else True, leave=False)


def load_replays(
    source: Source, records: Sequence[str], config: Config, progress: bool = False, run: Run | None = None
) -> Beats:
    """Beats of `config.replays` replays of each of the DS1 `records` (augmentation.py), from the cache where possible.

    V beats of other patients come from those of the same fold in FOLDS, so that cross-validation stays by patient.
    Of each class, the share REPLAYED is kept. The same settings give the same replays. `run` is that of `load_beats`.
    """
    files = record_files(source.folder, records, config)
    path = _cache_path("replays", source, records, files, config, config.replays, augmentation.VERSION)

    def build(run: Run) -> Iterable[Beats]:
        found = run(delayed(_donors_of)(source.folder / name, config) for name in records)
        donors = dict(zip(records, found))
        jobs = [delayed(_replays_of)(source.folder, name, _donors_for(name, donors), config) for name in records]
        return _counted(run(jobs), "replays", records, progress)

    return _cached(path, source, records, files, build, config, run)


def _donors_of(path: Path, config: Config) -> np.ndarray | None:
    return augmentation.donor_beats(read_strip(path, config))


def _donors_for(name: str, donors: dict[str, np.ndarray | None]) -> list[np.ndarray]:
    """The V beats that may be implanted in record `name`: of the patients of its fold, its own last."""
    fold = next((fold for fold in FOLDS if name in fold), (name,))
    ordered = [other for other in fold if other != name] + [name]
    return [donors[other] for other in ordered if donors.get(other) is not None]


def _replays_of(folder: Path, name: str, donors: list[np.ndarray], config: Config) -> Beats:
    strip, parts = read_strip(folder / name, config), []
    for number in range(config.replays):
        rng = np.random.default_rng([*name.encode(), number])
        replay = augmentation.replay(strip, donors, rng)
        kept = rng.random(len(replay.labels)) < np.array(REPLAYED)[replay.labels]
        parts.append(beats_of_strip(name, replay, config, kept))
    return concatenate(parts)


def _cached(
    path: Path,
    source: Source,
    records: Sequence[str],
    files: Sequence[str],
    build: Callable[[Run], Iterable[Beats]],
    config: Config,
    run: Run | None,
) -> Beats:
    """The beats stored at `path`, else those that `build` makes from the `files` of the records, which are then stored.

    They are stored record by record, so that no more than a few records are in memory.
    """
    beats = _read_cache(path)
    if beats is not None:
        return beats
    physionet.verify_files(source.folder, files)
    with ExitStack() as stack:
        _write_cache(path, build(run or stack.enter_context(worker_pool(config.threads))), records)
    beats = _read_cache(path)
    if beats is None:
        raise DeepECGError(f"{path} cannot be read back: its disk is broken, set another cache_dir")
    return beats


def _cache_path(
    kind: str, source: Source, records: Sequence[str], files: Sequence[str], config: Config, *more
) -> Path:
    """Where `kind` of these records and settings is cached. Raises DeepECGError when a record file is missing."""
    missing = physionet.missing_files(source.folder, files)
    if missing:
        raise DeepECGError(f"data folder {source.folder}: {missing[0]} is missing or empty: fetch it again")
    stats = [(source.folder / file).stat() for file in files]
    identity = {
        "version": CACHE_VERSION,
        "source": str(source.folder.resolve()),
        "files": [(s.st_size, s.st_mtime_ns) for s in stats],
        "records": list(records),
        "annotations": [config.annotation_extension, sorted(config.aami.items())],
        "settings": [config.mode, config.leads, config.fs_hz, config.band_hz, config.filter_order]
        + [config.window_samples, config.look_ahead_samples],
        "features": FEATURES[config.mode],
        "more": more,
    }
    key = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:20]
    return Path(config.cache_dir) / f"{kind}-{key}.npz"


def _read_cache(path: Path) -> Beats | None:
    """The cached beats, mapped into memory, or None where there are none that can be read whole."""
    try:
        guard.check_stored(path)
        with zipfile.ZipFile(path) as archive:
            if archive.testzip():  # a broken array header can pass for a shorter array
                return None
            beats = Beats(**{name: _mapped(path, archive, name) for name in Beats.__dataclass_fields__})
    except Exception:  # the parsers of a broken file raise whatever they stumble over
        return None
    return beats if _are_beats(beats) else None


def _mapped(path: Path, archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """The array `name` of an uncompressed .npz file, on the file's own pages; writing to it changes no file."""
    member = archive.getinfo(f"{name}.npy")
    with archive.open(member) as file:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError("not as it was written here")
        shape, fortran, kind = np.lib.format.read_array_header_1_0(file)
        start = file.tell()
    if kind.hasobject or fortran or start + kind.itemsize * math.prod(shape) != member.file_size:
        raise ValueError("not as it was written here")
    if 0 in shape:
        return np.empty(shape, kind)
    with open(path, "rb") as file:
        file.seek(member.header_offset + LOCAL_HEADER_BYTES - 4)
        start += member.header_offset + LOCAL_HEADER_BYTES + sum(struct.unpack("<HH", file.read(4)))
    array = np.asarray(np.memmap(path, kind, "c", start, shape))
    return array if array.flags.aligned else array.copy()


def _are_beats(beats: Beats) -> bool:
    """Whether the arrays are of the kinds, shapes and lengths that `Beats` promises, and hold numbers and classes."""
    kinds = {"windows": (np.float32, 3), "features": (np.float32, 2), "labels": (np.int64, 1), "records": (np.str_, 1)}
    for name, (kind, dimensions) in (kinds | {"samples": (np.int64, 1), "groups": (np.int64, 1)}).items():
        array = getattr(beats, name)
        if not isinstance(array, np.ndarray) or array.dtype.type is not kind or array.ndim != dimensions:
            return False
        if len(array) != len(beats):
            return False
    blocks = range(0, len(beats), BLOCK_BEATS)
    finite = all(
        np.isfinite(array[start : start + BLOCK_BEATS]).all()
        for array in (beats.windows, beats.features)
        for start in blocks
    )
    classes, groups = np.isin(beats.labels, range(len(CLASSES))), np.isin(beats.groups, range(-GROUPS, GROUPS))
    return bool(finite and classes.all() and groups.all())


def _write_cache(path: Path, parts: Iterable[Beats], records: Sequence[str]):
    """Stores the beats of `parts`, of `records`, one after another: an uncompressed .npz file that can be mapped."""
    width, count = np.array(records).dtype, 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with scratch_folder(path.parent) as scratch, ExitStack() as stack:
            files = {n: stack.enter_context(open(scratch / n, "w+b")) for n in Beats.__dataclass_fields__}
            for part in parts:
                arrays = vars(part) | {"records": part.records.astype(width)}
                count += len(part)
                for name, file in files.items():
                    file.write(arrays[name].tobytes())
            with atomic_file(path) as temporary, open(temporary, "wb") as file, zipfile.ZipFile(file, "w") as archive:
                for name in files:
                    _store(archive, file, name, arrays[name], count, files[name])
    except OSError as error:
        raise DeepECGError(f"{path} cannot be written ({error.strerror or error}): set another cache_dir") from None


def _store(archive: zipfile.ZipFile, file: BinaryIO, name: str, like: np.ndarray, count: int, values: BinaryIO):
    """Adds the array `name` of `count` rows such as those of `like`, whose bytes are in `values`, to the `archive`."""
    member = zipfile.ZipInfo(f"{name}.npy")
    before = file.tell() + LOCAL_HEADER_BYTES + len(member.filename) + ZIP64_BYTES + 4
    padding = -before % ALIGNED_BYTES
    member.extra = struct.pack("<HH", PADDING, padding) + bytes(padding)
    header = {"descr": like.dtype.str, "fortran_order": False, "shape": (count, *like.shape[1:])}
    values.seek(0)
    with archive.open(member, "w", force_zip64=True) as target:
        np.lib.format.write_array_header_1_0(target, header)
        shutil.copyfileobj(values, target, COPIED_BYTES)
