"""Writing files so that none is ever half there, and folders that one run has for itself.

What is being written carries a name of its own (UNFINISHED) and a lock, which ends with the process, however that ends.
So what a killed run has left is told from what another run is writing now: the next process that writes into the
folder removes it.
"""

import errno
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile

from filelock import lock_descriptor

from deep_ecg.system import machine
from deep_ecg.system.errors import DeepECGError, NoOutput

UNFINISHED = re.compile(r"(\..*\.unfinished-[0-9a-f]{16})(\.[^.]*)?")
NO_ROOM = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))  # Windows has no quota of this name
LOCK_ENDING = ".lock"  # of the files that are locked on Windows, see _Lock


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, with its ending; put in the place of `path` when the block ends well.

    Folders are made as needed. Raises DeepECGError naming the path when it cannot be written, NoOutput where the disk
    is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path.parent.resolve())
        with _claimed(path, _make_file) as temporary:
            yield temporary
            os.replace(temporary, path)
    except OSError as error:
        raise _not_written(path, error) from None


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """An empty folder in `parent`, for files that get their names once they are whole; gone when the block ends.

    Raises OSError when it cannot be made.
    """
    _sweep(parent.resolve())
    with _claimed(parent / "folder", os.mkdir) as temporary:
        yield temporary


@contextmanager
def locked(folder: Path, busy: Callable[[], None] | None = None) -> Iterator[None]:
    """Keeps other runs out of `folder` while the block lasts; the lock ends with the process, however that ends.

    Where another run has it: with `busy`, calls that and waits, else raises DeepECGError. On a file system without
    locks nothing is kept out.
    """
    lock = _Lock(folder, folder / LOCK_ENDING)
    try:
        if lock.take() is False:
            if busy is None:
                raise DeepECGError(f"{folder} is in use by another run: wait for its end, or choose another")
            busy()
            lock.take(wait=True)
        yield
    finally:
        lock.release()


class _Lock:
    """The lock of the file or folder `path`, which ends with the process at the latest.

    Locked is `path` itself; on Windows, where folders have no locks and a file in use keeps its name, the file
    `instead`, which is there as long as the lock is.
    """

    def __init__(self, path: Path, instead: Path):
        self._instead = instead if machine.WINDOWS else None
        self._descriptor = os.open(instead, os.O_RDWR | os.O_CREAT) if self._instead else os.open(path, os.O_RDONLY)

    def take(self, wait: bool = False) -> bool | None:
        """Whether it was had; None on a file system without locks."""
        try:
            return lock_descriptor(self._descriptor, blocking=wait)
        except OSError:
            return None

    def release(self):
        """Gives the lock back, had or not."""
        os.close(self._descriptor)
        if self._instead:
            with suppress(OSError):  # another process waits for it: that one removes it
                self._instead.unlink()


def _lock_of_unfinished(path: Path) -> _Lock:
    return _Lock(path, path.with_name(UNFINISHED.sub(rf"\1{LOCK_ENDING}", path.name)))


@contextmanager
def _claimed(path: Path, make: Callable[[Path], None]) -> Iterator[Path]:
    """What `make` makes beside `path`, under a name that nobody else has, locked; removed at the end if still there."""
    while True:
        temporary = path.with_name(f".{path.stem[:100]}.unfinished-{secrets.token_hex(8)}{path.suffix}")
        make(temporary)
        with suppress(FileNotFoundError):  # another process may sweep it before it is locked
            lock = _lock_of_unfinished(temporary)
            if lock.take() is not False and temporary.exists():
                break
            lock.release()
    try:
        yield temporary
    finally:
        _remove(temporary)
        lock.release()


def _make_file(path: Path):
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))


def _remove(path: Path):
    with suppress(OSError):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


@cache
def _sweep(folder: Path):
    """Removes what killed runs were writing in `folder`, once a process."""
    for name in os.listdir(folder):
        path = folder / name
        if UNFINISHED.fullmatch(name) and not path.is_symlink():
            with suppress(OSError):
                lock = _lock_of_unfinished(path)
                if lock.take():
                    _remove(path)
                lock.release()


class GrowingFile:
    """The file `path`, made anew, that is there under its name while it grows: at any time some whole pieces of text.

    Raises DeepECGError naming the path when it cannot be written, or when another process has it so.
    """

    def __init__(self, path: Path):
        self._path, self._size = path, 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(path, "ab", buffering=0)  # noqa: SIM115 - until it is closed
            if not machine.WINDOWS and not _locks(self._file.fileno()):
                self._file.close()
                raise DeepECGError(f"{path} is being written by another run: choose another folder")
            self._file.truncate(0)
        except OSError as error:
            raise _not_written(path, error) from None

    def append(self, text: str):
        """Adds `text`, whole or not at all. Raises NoOutput where the file was deleted meanwhile."""
        data = text.encode()
        if os.fstat(self._file.fileno()).st_nlink == 0:
            raise _gone(self._path)
        try:
            check_whole(self._file.write(data) == len(data))
        except OSError as error:
            with suppress(OSError):
                self._file.truncate(self._size)
            raise _not_written(self._path, error) from None
        self._size += len(data)

    def close(self):
        """Ends the writing."""
        self._file.close()


def _locks(descriptor: int) -> bool:
    """Whether the open file is locked now; also where the file system has no locks."""
    try:
        return lock_descriptor(descriptor, blocking=False)
    except OSError:
        return True


def _not_written(path: Path, error: OSError) -> DeepECGError:
    why = f"{path} cannot be written ({error.strerror or error})"
    if error.errno in NO_ROOM:
        return NoOutput(f"{why}: make room, or choose another folder")
    return DeepECGError(f"{why}: choose another folder")


def _gone(path: Path) -> NoOutput:
    return NoOutput(f"{path} was deleted while results were being written: run the command again")


def check_there(path: Path):
    """Raises NoOutput unless `path`, a folder or file that was made for results, is there: it would be made anew."""
    if not path.exists():
        raise _gone(path)


def check_whole(whole: bool):
    """OSError, as of a full disk, unless a file is `whole`: NumPy, which writes WFDB's files, says nothing of one."""
    if not whole:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def check_writable(folder: Path, room_bytes: int = 0):
    """Makes `folder` where needed and tries to write `room_bytes` into it, before hours of work depend on that.

    Raises DeepECGError naming the folder when it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder) as file:
            file.write(bytes(room_bytes))
    except OSError as error:
        raise _not_written(folder, error) from None


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, as `sha256sum` writes it. OSError where it cannot be read."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_text(path: Path, text: str):
    r"""Writes `text` to `path`, whole or not at all: UTF-8 and "\n" on every system."""
    with atomic_file(path) as temporary:
        temporary.write_bytes(text.encode())


def write_lines(path: Path, lines: Iterable[str]):
    """`write_text` of `lines`, of which one after another is made."""
    with atomic_file(path) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{line}\n" for line in lines)
