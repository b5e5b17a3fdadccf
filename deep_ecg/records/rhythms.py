"""Beats and the rhythm at each of them, as databases say it that have no signal, or none that is needed here.

Rhythms are WFDB's, without the bracket: AFIB, AFL, N, SVTA ... The VitalDB Arrhythmia Database writes a CSV file a
patient: time_second, beat_type, rhythm_label and two columns that are not read here.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deep_ecg.records import guard
from deep_ecg.records.wfdb_files import AAMI, parse_header, read_annotations
from deep_ecg.system.errors import DeepECGError

FIBRILLATION = ("AFIB", "AFL", "AFIB/AFL")
DOUBTFUL = ("SVTA", "SND", "AVB", "VT", "Noise", "Unclassifiable", "")  # VitalDB: what is S in these is not sure
COLUMNS = ("time_second", "beat_type", "rhythm_label")
BEAT_TYPES = ("N", "S", "V", "U")  # of VitalDB; the others (P, Start, End, none) are no beats
MAX_BYTES = 20_000_000  # of a table: a day of beats has a tenth


@dataclass(frozen=True)
class RhythmRecord:
    """Beats of one patient: times_s (beats,) rising, symbols (beats,) of beats, rhythms (beats,) "" where unknown."""

    name: str
    times_s: np.ndarray
    symbols: np.ndarray
    rhythms: np.ndarray

    @property
    def fibrillates(self) -> np.ndarray:
        """Whether each beat is in atrial fibrillation or flutter, (beats,) bool."""
        return np.isin(self.rhythms, FIBRILLATION)


def read_wfdb(path: Path, beats: str, rhythm: str = "atr") -> RhythmRecord:
    """Beats from `path`.`beats`, and the rhythm at each from the + marks of `path`.`rhythm`.

    Raises DeepECGError where a file is missing or broken.
    """
    fs_hz = float(parse_header(path).fs)
    found = read_annotations(path, beats)
    marked = found if rhythm == beats else read_annotations(path, rhythm)
    at_beat = np.isin(np.array(found.symbol, str), list(AAMI))
    times_s = found.sample[at_beat] / (found.fs or fs_hz)
    changes = [(sample, note) for sample, symbol, note in zip(marked.sample, marked.symbol, marked.aux_note)
               if symbol == "+" and note.startswith("(")]  # fmt: skip
    starts_s = np.array([sample for sample, _ in changes]) / (marked.fs or fs_hz)
    names = np.array(["", *(note.rstrip("\0").removeprefix("(") for _, note in changes)])
    latest = np.searchsorted(starts_s, times_s, side="right")
    return RhythmRecord(path.name, times_s, np.array(found.symbol, str)[at_beat], names[latest])


def read_table(path: Path) -> RhythmRecord:
    """Beats of a table of the VitalDB Arrhythmia Database, conducted beats of fibrillation as N: it writes them S.

    Raises DeepECGError where it cannot be read as such a table.
    """
    try:
        guard.check_file(path, MAX_BYTES)
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [[row[column] for column in COLUMNS] for row in csv.DictReader(file)]
        beats = [(float(time_s), kind, rhythm) for time_s, kind, rhythm in rows if kind in BEAT_TYPES]
    except KeyError as error:
        raise DeepECGError(f"{path} is no table of beats: it has no column {error}") from None
    except (OSError, ValueError, csv.Error) as error:
        raise DeepECGError(f"{path} cannot be read as a table of beats ({error}): fetch it again") from None
    times_s = np.array([time_s for time_s, _, _ in beats], float)
    if not np.isfinite(times_s).all() or (np.diff(times_s) < 0).any():
        raise DeepECGError(f"{path} cannot be read as a table of beats (its times do not rise): fetch it again")
    symbols, rhythms = (np.array([beat[column] for beat in beats], str) for column in (1, 2))
    symbols[(symbols == "S") & np.isin(rhythms, FIBRILLATION)] = "N"
    return RhythmRecord(path.stem.removeprefix("Annotation_file_"), times_s, symbols, rhythms)
