"""A record whose signals all lie in one file: what the readers of every format but WFDB make of theirs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np

from deep_ecg.records import guard
from deep_ecg.records.any_record import Annotation, AnyRecord, Record, millivolts_in, stat_of
from deep_ecg.records.long_signal import HELD_SAMPLES, LongSignal
from deep_ecg.records.wfdb_files import beats_beside
from deep_ecg.system.errors import DeepECGError


@dataclass(frozen=True)
class Signal:
    """One signal of a file: `read` gives its samples (n,) in `unit`, NaN where nothing was recorded.

    `parts` gives them in parts, where the format allows that.
    """

    name: str
    unit: str
    fs_hz: float
    read: Callable[[], np.ndarray]
    parts: LongSignal | None = None


@dataclass(frozen=True)
class Contents:
    """What a reader finds in a file; `started`, `comments`, `identity` and `notes` as in `AnyRecord`."""

    signals: tuple[Signal, ...]
    started: datetime | None = None
    comments: tuple[str, ...] = ()
    identity: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class SignalFile(AnyRecord):
    """The record in the file at `path`, of the format that is called `kind`; `stat` as in `stat_of`."""

    path: Path
    name: str
    kind: str
    stat: tuple[int, int] | None
    contents: Contents

    @classmethod
    def open(cls, path: Path, kind: str, read: Callable[[Path], Contents]) -> "SignalFile":
        """The record that `read` finds in the file at `path`; ValueError of that is told as what is wrong with it.

        Raises DeepECGError where it cannot be read or holds no signal.
        """
        stat = stat_of(path)
        with telling(path, kind):
            contents = read(path)
            if not contents.signals:
                raise ValueError("it holds no signal")
            if len(contents.signals) > guard.MAX_SIGNALS:
                raise ValueError(f"{len(contents.signals):,} signals are more than {guard.MAX_SIGNALS:,}")
        return cls(path, path.stem, kind, stat, contents)

    @property
    def leads(self) -> list[str]:
        """The names of its signals."""
        return [signal.name for signal in self.contents.signals]

    @property
    def units(self) -> list[str]:
        """The units of its signals."""
        return [signal.unit for signal in self.contents.signals]

    @property
    def comments(self) -> list[str]:
        """What its header says in words."""
        return list(self.contents.comments)

    @property
    def started(self) -> datetime | None:
        """When its first sample was recorded."""
        return self.contents.started

    @property
    def notes(self) -> tuple[str, ...]:
        """What was done to the signals while they were read."""
        return self.contents.notes

    @property
    def identity(self) -> dict[str, str]:
        """Who was recorded, as far as the file says it."""
        return dict(self.contents.identity)

    @property
    def main_file(self) -> Path:
        """The file."""
        return self.path

    @property
    def base(self) -> Path:
        """Its path without extension."""
        return self.path.with_suffix("")

    def fs_hz(self, number: int) -> float:
        """The sampling rate of signal `number`."""
        return self.contents.signals[number].fs_hz

    def files(self, *annotations: str) -> list[str]:
        """The file, and annotation files beside it."""
        return [self.path.name, *(f"{self.base.name}.{ending}" for ending in annotations)]

    def is_unchanged(self) -> bool:
        """Whether the file is still the one that was opened."""
        return self.stat == stat_of(self.path)

    def signals_mv(self, wanted: Sequence[str | int]) -> list[np.ndarray]:
        """The signals (samples,) `wanted`, each at its own rate, in millivolts."""
        numbers = [number if isinstance(number, int) else self.number_of(number) for number in wanted]
        signals = [self.contents.signals[number] for number in numbers]
        scales = [millivolts_in(signal.unit, self.path) for signal in signals]
        with telling(self.path, self.kind):
            return [signal.read() * scale for signal, scale in zip(signals, scales)]

    def long_signal(self, number: int) -> LongSignal | None:
        """Signal `number` as one that is read in parts; None where it is short, or of a format without them."""
        signal = self.contents.signals[number]
        parts, scale = signal.parts, millivolts_in(signal.unit, self.path)
        if parts is None or len(parts) <= HELD_SAMPLES:
            return None

        def read(first: int, last: int) -> np.ndarray:
            with telling(self.path, self.kind):
                return parts[first:last] * scale

        return LongSignal(len(parts), read)

    def beats(self, extension: str, record: Record, aami: Mapping[str, str]) -> Annotation:
        """`beats_beside` the file; times without a rate of their own are in samples of `record`."""
        return beats_beside(self.base, extension, record, aami, record.fs_hz)


@contextmanager
def telling(path: Path, kind: str) -> Iterator[None]:
    """What goes wrong in here with the file at `path`, of the format `kind`, becomes one DeepECGError."""
    try:
        yield
    except (DeepECGError, MemoryError):
        raise
    except ValueError as error:
        why = str(error)
    except Exception as error:  # packages stumble over whatever they find; OSErrors of theirs have no strerror
        why = getattr(error, "strerror", None) or "it is truncated or broken"
    else:
        return
    raise DeepECGError(f"record {path} cannot be read as {kind}: {why}") from None
