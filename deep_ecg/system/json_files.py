"""Reports as JSON files: whole or not at all, no NaN, the same bytes on every system."""

import json
from pathlib import Path

import numpy as np

from deep_ecg.system.errors import DeepECGError
from deep_ecg.system.files import write_text


def write_json(path: str | Path, report: dict) -> Path:
    """Writes a report as JSON, keys in their given order; a file that is there stays whole until it is replaced.

    NumPy scalars and arrays become plain values. Raises DeepECGError for NaN or infinity, which JSON does not know,
    and where the file cannot be written.
    """
    try:
        text = json.dumps(report, indent=2, allow_nan=False, default=_plain)
    except ValueError as error:
        raise DeepECGError(f"{path} was not written: the report holds NaN or infinity; use None instead") from error
    write_text(Path(path), text + "\n")
    return Path(path)


def read_json(path: str | Path) -> dict:
    """The report that `write_json` has written to `path`. Raises DeepECGError where it is missing or damaged."""
    try:
        report = json.loads(Path(path).read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except FileNotFoundError as error:
        raise DeepECGError(f"{path} is missing: run `python main.py` to write it") from error
    except OSError as error:
        raise DeepECGError(f"{path} cannot be read ({error.strerror or error}): mend its permissions") from error
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError are both ValueErrors
        raise DeepECGError(f"{path} is not a readable report: run `python main.py` to write it again") from error
    if not isinstance(report, dict):
        raise DeepECGError(f"{path} is not a readable report: run `python main.py` to write it again")
    return report


def _plain(value: object) -> object:
    """Plain Python value of a NumPy scalar or array, for `json`."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be stored in a report")


def _refuse_constant(name: str):
    raise ValueError(f"{name} is not JSON")
