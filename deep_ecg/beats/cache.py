"""The cache of beats on disk."""

import hashlib
import json
import math
import shutil
import struct
import zipfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import numpy as np

from config import (
    CLASSES,
    Config,
)
from deep_ecg.beats.arrays import BLOCK_BEATS, Beats
from deep_ecg.beats.inputs import FEATURES
from deep_ecg.beats.templates import GROUPS
from deep_ecg.records import guard, physionet
from deep_ecg.records.database import Source
from deep_ecg.system.errors import DeepECGError
from deep_ecg.system.files import atomic_file, scratch_folder
from deep_ecg.system.workers import Run, worker_pool

CACHE_VERSION = 8  # raised when the meaning of cached beats changes
ALIGNED_BYTES = 64  # where arrays begin in a cache file, as NumPy and torch like it
LOCAL_HEADER_BYTES, ZIP64_BYTES = 30, 20  # before a member of a zip archive, without its name and extra fields
PADDING = 0xD935  # kind of the extra field by which members of zip archives are aligned
COPIED_BYTES = 2**20


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
