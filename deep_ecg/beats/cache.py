"""Beats kept on disk, so that a database is read, filtered and cut into beats once.

An entry is a folder of `cache_dir` whose name tells all that decides its beats: NAME.npy for each field of `Beats`, and
index.json with the shape, type and CRC-32 of each. It is written record by record under another name, and gets its own
once it is whole; what is not as its index says is made anew. Its arrays are mapped into memory, not read.
"""

import hashlib
import json
import os
import zlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import astuple
from pathlib import Path
from typing import BinaryIO

import numpy as np

from config import CLASSES, Config
from deep_ecg.beats.arrays import BLOCK_BEATS, Beats
from deep_ecg.beats.input_settings import InputSettings
from deep_ecg.beats.inputs import FEATURES
from deep_ecg.beats.templates import GROUPS
from deep_ecg.records import guard, physionet
from deep_ecg.system.errors import DeepECGError
from deep_ecg.system.files import locked, scratch_folder
from deep_ecg.system.workers import Run, worker_pool

CACHE_VERSION = 13  # raised when the meaning of cached beats, or the form of an entry, changes
INDEX = "index.json"
MAX_INDEX_BYTES = 10_000
READ_BYTES = 2**20  # of a file at a time
KINDS = {"windows": (np.float32, 3), "features": (np.float32, 2), "labels": (np.int64, 1), "records": (np.str_, 1)}
KINDS |= {"samples": (np.int64, 1), "groups": (np.int64, 1), "rr_s": (np.float64, 1)}  # type and dimensions of each


def entry_folder(
    kind: str, data_folder: Path, records: Sequence[str], files: Sequence[str], config: Config, *more
) -> Path:
    """Where `kind` of the `records` in `data_folder`, whose files these are, is cached; `more` decides it too."""
    stats = [(data_folder / file).stat() for file in files]
    identity = {
        "version": CACHE_VERSION,
        "source": str(data_folder.resolve()),
        "files": [(s.st_size, s.st_mtime_ns) for s in stats],
        "records": list(records),
        "annotations": [config.annotation_extension, sorted(config.aami.items())],
        "leads": config.leads,
        "inputs": astuple(InputSettings.of(config)),
        "features": FEATURES[config.mode],
        "more": more,
    }
    key = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:20]
    return Path(config.cache_dir) / f"{kind}-{key}"


def cached_beats(
    entry: Path,
    data_folder: Path,
    records: Sequence[str],
    files: Sequence[str],
    make: Callable[[Run], Iterable[Beats]],
    threads: int,
    run: Run | None,
) -> Beats:
    """The beats of the folder `entry`, else those that `make` makes of the `files` of the records: they then lie there.

    The files are checked against their published hashes first. Raises DeepECGError where they differ, or the entry
    cannot be written.
    """
    beats = read_entry(entry)
    if beats is not None:
        return beats
    physionet.verify_files(data_folder, files)
    with ExitStack() as stack:
        write_entry(entry, make(run or stack.enter_context(worker_pool(threads))), records)
    beats = read_entry(entry)
    if beats is None:
        raise DeepECGError(f"{entry} cannot be read back: its disk is broken, set another cache_dir")
    return beats


# Reading -------------------------------------------------------------------------------------------------------------


def read_entry(entry: Path) -> Beats | None:
    """The beats of an entry, mapped into memory, or None where there are none that are whole.

    Writing to the arrays changes no file.
    """
    try:
        guard.check_file(entry / INDEX, MAX_INDEX_BYTES)
        index = json.loads((entry / INDEX).read_bytes())
        beats = Beats(**{name: _mapped(_array_file(entry, name), index[name]) for name in KINDS})
    except Exception:  # the parsers of a broken file raise whatever they stumble over
        return None
    return beats if _are_beats(beats) else None


def _mapped(path: Path, said: dict) -> np.ndarray:
    """The array of the .npy file at `path`, on its own pages; ValueError where it is not what the index `said`."""
    guard.check_file(path)
    if _crc32(path) != said["crc32"]:
        raise ValueError("the bytes are not those that were written")
    array = np.asarray(np.lib.format.open_memmap(path, mode="c"))
    if [list(array.shape), array.dtype.str] != [said["shape"], said["dtype"]] or not array.flags.c_contiguous:
        raise ValueError("the array is not the one that was written")
    return array


def _are_beats(beats: Beats) -> bool:
    """Whether the arrays are of the kinds, shapes and lengths that `Beats` promises, and hold numbers and classes."""
    for name, (kind, dimensions) in KINDS.items():
        array = getattr(beats, name)
        if array.dtype.type is not kind or array.ndim != dimensions or len(array) != len(beats):
            return False
    finite = all(
        np.isfinite(array[start : start + BLOCK_BEATS]).all()
        for array in (beats.windows, beats.features)
        for start in range(0, len(beats), BLOCK_BEATS)
    )
    classes, groups = np.isin(beats.labels, range(len(CLASSES))), np.isin(beats.groups, range(-GROUPS, GROUPS))
    return bool(finite and classes.all() and groups.all())


def _array_file(entry: Path, name: str) -> Path:
    return entry / f"{name}.npy"


def _crc32(path: Path) -> int:
    """CRC-32 of all bytes of the file at `path`."""
    crc = 0
    with open(path, "rb") as file:
        while block := file.read(READ_BYTES):
            crc = zlib.crc32(block, crc)
    return crc


# Writing -------------------------------------------------------------------------------------------------------------


def write_entry(entry: Path, parts: Iterable[Beats], records: Sequence[str]):
    """Stores the beats of `parts`, of `records`, one part after another, as the folder `entry`: whole, or not at all.

    Raises DeepECGError where it cannot be written.
    """
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        with scratch_folder(entry.parent) as scratch:
            made = scratch / "made"
            made.mkdir()
            _write_arrays(made, parts, np.array(records).dtype)
            _publish(made, entry, scratch / "replaced")
    except OSError as error:
        raise DeepECGError(f"{entry} cannot be written ({error.strerror or error}): set another cache_dir") from None


def _write_arrays(folder: Path, parts: Iterable[Beats], names: np.dtype):
    """Writes NAME.npy of each field of the beats of `parts`, of records with names of type `names`, and the index."""
    with ExitStack() as stack:
        arrays = {
            name: _GrowingArray(stack.enter_context(open(_array_file(folder, name), "wb")))
            for name in KINDS
        }
        for part in parts:
            for name, array in arrays.items():
                array.append(getattr(part, name) if name != "records" else part.records.astype(names))
    index = {name: array.header | {"crc32": _crc32(_array_file(folder, name))} for name, array in arrays.items()}
    (folder / INDEX).write_text(json.dumps(index), encoding="utf-8")


class _GrowingArray:
    """A .npy file to which rows are added: NumPy's header leaves room for the number of rows, which is written last."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self.header: dict = {}

    def append(self, rows: np.ndarray):
        """Adds `rows` (n, ...), all of one type and of one shape but for their number."""
        so_far = self.header["shape"][0] if self.header else 0
        self.header = {"shape": (so_far + len(rows), *rows.shape[1:]), "dtype": rows.dtype.str}
        self._file.seek(0)
        np.lib.format.write_array_header_1_0(
            self._file, {"descr": rows.dtype.str, "fortran_order": False, "shape": self.header["shape"]}
        )
        self._file.seek(0, os.SEEK_END)
        self._file.write(rows.tobytes())


def _publish(made: Path, entry: Path, replaced: Path):
    """Gives the whole entry `made` its name `entry`, unless another run was first; a broken one there makes room."""
    with locked(entry.parent, busy=lambda: None):  # else one run could take away what the other has just put there
        if read_entry(entry) is not None:
            return
        if os.path.lexists(entry):
            entry.rename(replaced)
        made.rename(entry)
