"""What is kept of a record while it is labelled, so that a run that was killed in the midst of it is gone on from."""

import sys
from collections.abc import Sequence
from functools import cache, partial
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

from deep_ecg.records import guard
from deep_ecg.records.any_record import AnyRecord
from deep_ecg.system.files import sha256_of
from deep_ecg.system.work import KeptWork

ENDING = ".unfinished"  # of the file that is kept beside the results
ROOT = Path(__file__).parents[2]
CODE = ("dsp_filters.py", "deep_ecg/**/*.py", "deep_ecg/**/*.npz", "deep_ecg/**/*.onnx", "pretrained/*.json")
PACKAGES = ("numpy", "scipy", "onnxruntime")


def kept_work(
    file: AnyRecord,
    target: Path,
    network: Path,
    made_with: object,
    annotations: Sequence[str] = (),
    tells: bool = False,
) -> KeptWork:
    """The work on the record `file`, whose results are `target` with their endings, by the file `network`.

    What is kept is of the same files, with annotation files of these extensions, of the same network, code and
    `made_with`, which is known by its repr.
    """
    key = partial(_key, file, network, repr(made_with), tuple(annotations))
    return KeptWork(target.with_name(target.name + ENDING), key, tells)


def inputs_of(file: AnyRecord, annotations: Sequence[str] = ()) -> dict[str, list[int]] | None:
    """The files of a record, each known by its size and its time of change; None where one cannot be used."""
    inputs = {}
    try:
        for name in file.files(*annotations):
            path = file.path.parent / name
            guard.check_file(path, beside=file.main_file)
            stat = path.stat()
            inputs[name] = [stat.st_size, stat.st_mtime_ns]
    except (OSError, ValueError):  # whoever reads them says what is wrong
        return None
    return inputs


def _key(file: AnyRecord, network: Path, made_with: str, annotations: tuple[str, ...]) -> str:
    inputs = inputs_of(file, annotations)
    known = (str(file.path.resolve()), inputs, sha256_of(network), made_with, _code())
    return "" if inputs is None else sha256(repr(known).encode()).hexdigest()


@cache
def _code() -> str:
    """The code of this project and the packages that its answers depend on."""
    files = sorted(path for pattern in CODE for path in ROOT.glob(pattern))
    of_files = [(path.relative_to(ROOT).as_posix(), sha256_of(path)) for path in files]
    return repr((sys.version, *map(version, PACKAGES), of_files))
