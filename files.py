"""Writing files so that none is ever half there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile

from config import DeepECGError


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, with its ending; put in the place of `path` when the block ends well.

    Folders are made as needed. Raises DeepECGError naming the path when it cannot be written.
    """
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise DeepECGError(f"{path} cannot be written ({error.strerror or error}): choose another folder") from None
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def check_writable(folder: Path):
    """Makes `folder` where needed and tries to write into it, before hours of work depend on that.

    Raises DeepECGError naming the folder when it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise DeepECGError(f"{folder} cannot be written ({error.strerror or error}): choose another folder") from None


def write_text(path: Path, text: str):
    """Writes `text` to `path`, whole or not at all."""
    with atomic_file(path) as temporary:
        temporary.write_text(text)
