"""Which records a network was trained on, known by what is in them: names like 100 are in several databases.

A file beside the networks (TRAINED_ON) lists the leads of these records; `python -m experiments trained-on` writes it.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deep_ecg.records.long_signal import READ_SAMPLES, pieces
from deep_ecg.system.json_files import read_json

PRETRAINED = Path(__file__).resolve().parents[2] / "pretrained"  # the networks that ship
TRAINED_ON = "trained_on.json"
STEP_MV = 0.005  # to which samples are rounded: those of MIT-BIH are multiples of it
ZERO = 1024  # of MIT-BIH's converter, in its steps


@dataclass(frozen=True)
class KnownLead:
    """A lead of a record of a database: how many samples it has, and the digest of these."""

    record: str
    lead: str
    samples: int
    sha256: str


def digest(signal_mv: np.ndarray) -> str:
    """What tells the samples (n,) of a lead from those of others, whatever file they lie in."""
    found = hashlib.sha256()
    for piece_mv in pieces(signal_mv, READ_SAMPLES):
        steps = np.round(np.nan_to_num(piece_mv) / STEP_MV)
        found.update(np.clip(steps, -(2**31), 2**31 - 1).astype("<i4").tobytes())
    return found.hexdigest()


def read_known(folder: Path) -> tuple[KnownLead, ...]:
    """The leads that the networks in `folder` were trained on; none where no file says so.

    Raises DeepECGError where that is damaged.
    """
    path = folder / TRAINED_ON
    return tuple(KnownLead(**one) for one in read_json(path)["leads"]) if path.is_file() else ()


def found_in(known: Sequence[KnownLead], signal_mv: np.ndarray) -> str | None:
    """The record of `known` of which `signal_mv` (n,) is a lead, None where it is none.

    More samples may follow: EDF fills its last block. Samples may be steps of the converter, as exports have them.
    """
    lengths = {one.samples for one in known if one.samples <= len(signal_mv)}
    parts = [part for length in lengths for part in (signal_mv[:length], (signal_mv[:length] - ZERO) * STEP_MV)]
    digests = {digest(part) for part in parts}
    return next((one.record for one in known if one.sha256 in digests), None)
