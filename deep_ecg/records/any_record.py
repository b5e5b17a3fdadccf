"""What every record offers, whatever format its files are of: its signals by name and number, in millivolts."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time
from functools import cached_property
from pathlib import Path

import numpy as np

from deep_ecg.records import leads
from deep_ecg.records.long_signal import READ_SAMPLES, LongSignal, pieces
from deep_ecg.system.errors import DeepECGError
from dsp_filters import FLAT_MV

MAX_MV = 1e9  # beyond any uncalibrated signal, and still a number after filters of any order


@dataclass(frozen=True)
class Record:
    """One lead of one record. `signal_mv` (samples,) in millivolts at `fs_hz`, as recorded.

    `notes` are lines that tell of what was done to the signal while it was read. A `LongSignal` is read when it is
    used, so that its files have to stay.
    """

    name: str
    lead: str
    fs_hz: float
    signal_mv: np.ndarray
    notes: tuple[str, ...] = ()

    @cached_property
    def span_mv(self) -> tuple[float, float]:
        """The lowest and the highest sample that is a number; inf and -inf where none is."""
        low_mv, high_mv = np.inf, -np.inf
        for piece_mv in pieces(self.signal_mv, READ_SAMPLES):
            known_mv = piece_mv[np.isfinite(piece_mv)]
            low_mv, high_mv = known_mv.min(initial=low_mv), known_mv.max(initial=high_mv)
        return float(low_mv), float(high_mv)


@dataclass(frozen=True)
class Annotation:
    """Beats of one record: R-peak samples (beats,), symbols (beats,), and whether flutter lies just before each.

    `left_out` says how many more there were, outside the signal.
    """

    samples: np.ndarray
    symbols: np.ndarray
    after_gap: np.ndarray
    left_out: int = 0


class FlatSignal(DeepECGError):
    """A signal that never changes, or of which no sample is known."""


class AnyRecord(ABC):
    """A record whose headers have been read: its signals and files, without reading those again.

    `path` is what messages call it, `name` what results do.
    """

    path: Path
    name: str
    kind: str  # its format

    @property
    @abstractmethod
    def leads(self) -> list[str]:
        """The names of its signals."""

    @property
    @abstractmethod
    def units(self) -> list[str]:
        """The units of its signals."""

    @property
    @abstractmethod
    def comments(self) -> list[str]:
        """What its header says in words."""

    @property
    @abstractmethod
    def main_file(self) -> Path:
        """The file that the record is opened by; its other ones lie beside it."""

    @property
    @abstractmethod
    def base(self) -> Path:
        """Its path without extension: annotation files are `base`.EXTENSION."""

    @abstractmethod
    def fs_hz(self, number: int) -> float:
        """The sampling rate of signal `number`."""

    @abstractmethod
    def files(self, *annotations: str) -> list[str]:
        """Names of its files, all in one folder, with annotation files of these extensions."""

    @abstractmethod
    def is_unchanged(self) -> bool:
        """Whether the file that it was opened by is still the one that was read."""

    @abstractmethod
    def signals_mv(self, wanted: Sequence[str | int]) -> list[np.ndarray]:
        """The signals (samples,) `wanted`, each at its own rate, in millivolts; NaN where nothing was recorded.

        Raises DeepECGError when they cannot be read.
        """

    def long_signal(self, number: int) -> LongSignal | None:
        """Signal `number` as one that is read in parts; None where it is to be held, or can only be read at once."""
        return None

    @abstractmethod
    def beats(self, extension: str, record: Record, aami: Mapping[str, str]) -> Annotation:
        """The beats of its annotation file `extension`, in samples of `record`, one of its leads.

        What lies outside the signal is left out. Raises DeepECGError where most beats do, or the file cannot be read.
        """

    @property
    def started(self) -> datetime | time | None:
        """When its first sample was recorded, as far as the header says: a time of day alone without a date."""
        return None

    @property
    def notes(self) -> tuple[str, ...]:
        """What was done to the signals while they were read, a line each."""
        return ()

    @property
    def identity(self) -> dict[str, str]:
        """Who was recorded, as far as the file says it: never shown unasked."""
        return {}

    @property
    def voltages(self) -> list[str]:
        """The names of those of its signals that are voltages."""
        return [self.leads[number] for number in self.voltage_numbers]

    @property
    def voltage_numbers(self) -> list[int]:
        """Which of its signals are voltages."""
        return [number for number, unit in enumerate(self.units) if leads.in_millivolts(unit) is not None]

    @property
    def synthetic(self) -> bool:
        """Whether it says that it is SYNTHETIC."""
        return any("SYNTHETIC" in comment for comment in self.comments)

    def number_of(self, wanted: str | Sequence[str]) -> int:
        """The signal called `wanted`, or the first of several names that it has; `leads.find` says what a name can be.

        Raises DeepECGError naming the record where it has none.
        """
        names = [wanted] if isinstance(wanted, str) else wanted
        found = (leads.find(self.leads, name) for name in names)
        number = next((number for number in found if number is not None), None)
        if number is None:
            there = ", ".join(self.leads)
            raise DeepECGError(f"record {self.path} has no lead {' or '.join(map(repr, names))}: it has {there}")
        return number

    def lead(self, wanted: str | int | Sequence[str], in_parts: bool = False) -> Record:
        """The lead `wanted`, as in `number_of`, or the signal of that index. Missing samples are NaN.

        With `in_parts` a long one comes as a `LongSignal` where its format allows that. Raises DeepECGError naming the
        record when it is truncated, has no such lead, or its signal is flat.
        """
        number = wanted if isinstance(wanted, int) else self.number_of(wanted)
        long = self.long_signal(number) if in_parts else None
        signal_mv = self.signals_mv([number])[0] if long is None else long.as_array()
        record = Record(self.name, leads.label(self.leads, number), self.fs_hz(number), signal_mv, self.notes)
        _check_signal(record, self.path)
        return record

    def first_usable(
        self, numbers: Sequence[int], check: Callable[[int], None], in_parts: bool = False
    ) -> tuple[int, Record]:
        """The first of the signals `numbers` that is not flat, and its index; `check` may refuse each before.

        `in_parts` is that of `lead`. Raises DeepECGError for the first of them where there is none.
        """
        refusal: DeepECGError | None = None
        for number in numbers:
            try:
                check(number)
                return number, self.lead(number, in_parts)
            except FlatSignal as error:
                refusal = refusal or error
        raise refusal or ValueError("no signals to choose from")


def millivolts_in(unit: str, path: Path) -> float:
    """Millivolts in one `unit` of a signal of the record at `path`; 1 where it says nothing of what was measured.

    Raises DeepECGError where it is one of something else.
    """
    scale = leads.in_millivolts(unit)
    if scale is None and not leads.is_unknown_unit(unit):
        raise DeepECGError(f"record {path}: its signal is in {unit!r}: millivolts, microvolts or volts are needed")
    return 1.0 if scale is None else scale


def stat_of(file: Path) -> tuple[int, int] | None:
    """Size in bytes and time of change in ns of `file`; None where it is not there, or its name cannot be one."""
    try:
        stat = file.stat()
    except (OSError, ValueError):
        return None
    return stat.st_size, stat.st_mtime_ns


def _check_signal(record: Record, path: Path):
    low_mv, high_mv = record.span_mv
    if max(-low_mv, high_mv) > MAX_MV:
        raise DeepECGError(f"record {path}, lead {record.lead}: no ECG is beyond {MAX_MV:g} mV: mend its gain or units")
    if low_mv > high_mv:
        raise FlatSignal(f"record {path}, lead {record.lead}: none of its samples is a number: choose another lead")
    if high_mv - low_mv < FLAT_MV:
        raise FlatSignal(f"record {path}, lead {record.lead}: the signal is flat: choose another lead")
