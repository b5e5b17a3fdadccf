"""The database of a run: where its records are (a local folder, PhysioNet, or the synthetic one), and their files."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from config import DATA_DIR_VARIABLE, DS1, DS2, Config, with_overrides
from deep_ecg.records import physionet, synthetic
from deep_ecg.records.wfdb_files import RecordFile
from deep_ecg.system.errors import DeepECGError
from deep_ecg.system.files import locked


@dataclass(frozen=True)
class Source:
    """Where the records are: `name` is "local", "physionet" or "synthetic", `folder` holds the WFDB files."""

    name: str
    folder: Path
    reason: str = ""  # why the synthetic database was taken

    @property
    def synthetic(self) -> bool:
        """Whether its records are generated ones."""
        return self.name == "synthetic"


def ingest(config: Config, progress: bool = False, records: Sequence[str] = ()) -> Source:
    """The database that `config.data_source` asks for, with every file of `records` in a local folder.

    Without `records`, those to train and to test on. "auto" takes the local folder, else, for records of DS1 and DS2,
    PhysioNet, else the synthetic database, and then says why in `Source.reason`; a folder that the user names must be
    there. Raises DeepECGError when the database asked for cannot be had. Contents are checked when records are read.
    """
    folder, wanted = config.data_folder, config.data_source
    if wanted == "auto":
        _check_named(config)
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


def _check_named(config: Config):
    """Raises DeepECGError where the data folder is one that the user names and is none: a mistyped name, mostly."""
    folder, by_variable = config.data_folder, bool(os.environ.get(DATA_DIR_VARIABLE))
    if folder.is_dir() or not (by_variable or config.data_dir != Config.data_dir):
        return
    there = "is no folder" if os.path.lexists(folder) else "is not there"
    raise DeepECGError(
        f"data folder {folder}, named by {DATA_DIR_VARIABLE if by_variable else 'data_dir'}, {there}: mend the name, "
        "make the folder, or set data_source to 'physionet' or 'synthetic'"
    )


def record_files(folder: Path, records: Sequence[str], config: Config) -> list[str]:
    """Header, signal files and reference annotations of each record, as paths in `folder`.

    The header says which the signal files are; where it cannot be read, the record's name stands for one.
    """
    return [file for name in records for file in _files_of(folder, name, config.annotation_extension)]


def _files_of(folder: Path, name: str, annotations: str) -> list[str]:
    try:
        return _beside(name, RecordFile.open(folder / name).files(annotations))
    except DeepECGError:  # said when the record is read
        return [f"{name}.{ending}" for ending in ("hea", "dat", annotations)]


def _beside(name: str, files: Sequence[str]) -> list[str]:
    """`files` of record `name`, which may lie in a subfolder of the data folder, as paths in that."""
    return [str(PurePosixPath(name).parent / file) for file in files]  # as lists of hashes and addresses have them


def open_records(folder: Path, records: Sequence[str], config: Config) -> tuple[list[RecordFile], list[str]]:
    """The `records` in `folder` with their headers read, and all their files as paths in it.

    Raises DeepECGError when a file is missing or empty, or a header cannot be read.
    """
    _check_there(folder, [f"{name}.hea" for name in records])
    opened = [_opened(folder, name) for name in records]
    files = [file for record in opened for file in _beside(record.name, record.files(config.annotation_extension))]
    _check_there(folder, files)
    return opened, files


def _opened(folder: Path, name: str) -> RecordFile:
    try:
        return RecordFile.open(folder / name, name)
    except DeepECGError:
        physionet.verify_files(folder, [f"{name}.hea"])  # which says more where its published hash is known
        raise


def _check_there(folder: Path, files: Sequence[str]):
    missing = physionet.missing_files(folder, files)
    if missing:
        raise DeepECGError(f"data folder {folder}: {missing[0]} is missing or empty: copy the whole record")


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
