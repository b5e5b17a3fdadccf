"""Which records a network was trained on, known by what is in them: names like 100 are in several databases.

A file beside the networks (TRAINED_ON) lists the leads of these records; `python -m experiments trained-on` writes it.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

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
    return _digests(signal_mv, [len(signal_mv)])[0]


def _digests(signal_mv: np.ndarray, lengths: Sequence[int]) -> list[str]:
    """`digest` of the first so many samples of `signal_mv` (n,), of each of the rising `lengths`, in one pass."""
    running, found = hashlib.sha256(), []
    for first, length in pairwise([0, *lengths]):
        steps = np.round(np.nan_to_num(signal_mv[first:length]) / STEP_MV)
        running.update(np.clip(steps, -(2**31), 2**31 - 1).astype("<i4").tobytes())
        found.append(running.hexdigest())
    return found


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
    lengths = sorted({one.samples for one in known if one.samples <= len(signal_mv)})
    if not lengths:
        return None
    longest_mv = signal_mv[: lengths[-1]]
    mine = {*_digests(longest_mv, lengths), *_digests((longest_mv - ZERO) * STEP_MV, lengths)}
    return next((one.record for one in known if one.sha256 in mine), None)
