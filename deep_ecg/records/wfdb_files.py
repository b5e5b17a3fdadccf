"""WFDB records and annotation files, read into millivolts and beats: the one door to the package wfdb for files.

Formats: header(5), signal(5) and annot(5) of the WFDB Applications Guide (Moody, https://physionet.org/physiotools/wag/).
Classes of beats: ANSI/AAMI EC57. What is wrong with a file is one DeepECGError that names it; guard.py looks at each
before wfdb does.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, time
from functools import partial
from pathlib import Path

import numpy as np
import wfdb
from wfdb.io._signal import _digi_nan, _infer_sig_len, _rd_segment

from config import AAMI_SYMBOLS, CLASSES, classes_of_symbols
from deep_ecg.records import guard, headers, leads
from deep_ecg.records.any_record import Annotation, AnyRecord, Record, millivolts_in, stat_of
from deep_ecg.records.long_signal import HELD_SAMPLES, LongSignal
from deep_ecg.system.errors import DeepECGError

AAMI = classes_of_symbols(AAMI_SYMBOLS)
MARKS_S = 0.05  # marks of a beat on several channels are no further from its first one
GAP_SYMBOLS = frozenset("[]!")  # ventricular flutter: an RR interval across it is not one
IN_PARTS = frozenset("16 24 32 61 80 160 212 310 311".split())  # formats of which every sample can be read by itself
FLAC = frozenset("508 516 524".split())
SEGMENT_FIELDS = ("file_name", "fmt", "n_sig", "byte_offset", "samps_per_frame", "skew", "init_value")


@dataclass(frozen=True)
class Segment:
    """A stretch of a record with files of its own: `frames` of them, as `header` at `path` describes; a gap has none.

    `frames` is None where the only segment of a record is as long as its file.
    """

    path: Path
    header: wfdb.Record | None
    frames: int | None


@dataclass(frozen=True)
class RecordFile(AnyRecord):
    """A WFDB record whose headers have been read: its signals and files, without reading those again.

    `path` is without extension, `name` what results call the record; `header_stat` is the header file's size in bytes
    and time of change in ns, as they were just before it was read. `signals` describes its signals: it is the header
    of a record of one segment, the layout of one of several, or the first of these where it has no layout.
    """

    path: Path
    name: str
    header: wfdb.Record | wfdb.MultiRecord
    header_stat: tuple[int, int] | None
    signals: wfdb.Record
    segments: tuple[Segment, ...]
    kind: str = "WFDB"

    @classmethod
    def open(cls, path: Path, name: str | None = None) -> "RecordFile":
        """Reads the header of the record at `path`, and those of its segments; `name` is by default that of its files.

        Raises DeepECGError when one is missing or broken, or names no signals.
        """
        stat = stat_of(_header_of(path))
        header = parse_header(path)
        try:
            signals, segments = _segments_of(path, header)
        except ValueError as error:
            if isinstance(error, DeepECGError):
                raise
            raise DeepECGError(f"record {path}: its header cannot be used ({error})") from None
        return cls(path, name or path.name, header, stat, signals, segments)

    @property
    def leads(self) -> list[str]:
        """The names of its signals."""
        return self.signals.sig_name

    @property
    def units(self) -> list[str]:
        """The units of its signals."""
        return self.signals.units

    @property
    def comments(self) -> list[str]:
        """What its header says in words."""
        return self.header.comments

    @property
    def main_file(self) -> Path:
        """Its header."""
        return _header_of(self.path)

    @property
    def base(self) -> Path:
        """Its path, which has no extension."""
        return self.path

    @property
    def started(self) -> datetime | time | None:
        """When its first sample was recorded, as far as the header says: a time of day alone without a date."""
        day, clock = self.header.base_date, self.header.base_time
        return clock if day is None or clock is None else datetime.combine(day, clock)

    @property
    def notes(self) -> tuple[str, ...]:
        """What is odd about its files."""
        header = self.header
        if not isinstance(header, wfdb.Record) or not header.sig_len:
            return ()
        with suppress(OSError):  # said where they are read
            spare = guard.spare_frames(self.path, header)
            if spare > header.fs:
                return (f"its header announces {header.sig_len:,} samples, {header.sig_len + spare:,} are there",)
        return ()

    def fs_hz(self, number: int) -> float:
        """The sampling rate of signal `number`: a frame can hold several samples of it."""
        return float(self.header.fs) * (self.signals.samps_per_frame[number] or 1)

    def files(self, *annotations: str) -> list[str]:
        """Names of its files, all in one folder: header, signals, and annotations of these extensions."""
        base, own = self.path.name, []
        if self.header is not self.signals:
            names = self.header.seg_name
            own = [f"{name}.hea" for name in names if name != headers.GAP]
        own += [file for segment in self.segments if segment.header for file in segment.header.file_name]
        return [f"{base}.hea", *dict.fromkeys(own), *(f"{base}.{ending}" for ending in annotations)]

    def is_unchanged(self) -> bool:
        """Whether its header is still the one that was read."""
        return self.header_stat == stat_of(_header_of(self.path))

    def beats(self, extension: str, record: Record, aami: Mapping[str, str]) -> Annotation:
        """`beats_beside` it."""
        return beats_beside(self.path, extension, record, aami, float(self.header.fs))

    def signals_mv(self, wanted: Sequence[str | int]) -> list[np.ndarray]:
        """The signals (samples,) `wanted`, each at its own rate, in millivolts; NaN where nothing was recorded.

        Raises DeepECGError when they cannot be read.
        """
        if not wanted:
            return []
        numbers = [number if isinstance(number, int) else self.number_of(number) for number in wanted]
        parts = [self._of_segment(segment, numbers) for segment in self.segments]
        return [one[0] if len(one) == 1 else np.concatenate(one) for one in zip(*parts)]

    def long_signal(self, number: int) -> LongSignal | None:
        """Signal `number` as one that is read in parts; None where it is short, or its samples hang on one another."""
        each = self.signals.samps_per_frame[number] or 1
        length = each * sum(segment.frames or 0 for segment in self.segments)
        described = [segment.header for segment in self.segments if segment.header]
        in_parts = all(IN_PARTS.issuperset(header.fmt) and not any(header.skew) for header in described)
        return LongSignal(length, partial(self._part_mv, number)) if in_parts and length > HELD_SAMPLES else None

    def _part_mv(self, number: int, first: int, last: int) -> np.ndarray:
        """The samples of signal `number` from `first` to before `last`, (n,) in millivolts."""
        each, start, parts_mv = self.signals.samps_per_frame[number] or 1, 0, []
        frames = first // each, -(-last // each)
        for segment in self.segments:
            length = segment.frames or 0
            span = max(frames[0] - start, 0), min(frames[1] - start, length)
            if span[0] < span[1]:
                parts_mv += self._of_segment(segment, [number], span)
            start += length
        part_mv = parts_mv[0] if len(parts_mv) == 1 else np.concatenate(parts_mv)
        return part_mv[first - frames[0] * each :][: last - first]

    def _of_segment(
        self, segment: Segment, numbers: Sequence[int], span: tuple[int, int] | None = None
    ) -> list[np.ndarray]:
        """What `segment`, or of it the `span` of frames, holds of the signals `numbers`, in millivolts."""
        header = segment.header
        places = [None if header is None else self._place(header, number) for number in numbers]
        held = sorted({place for place in places if place is not None})
        read = dict(zip(held, _read_mv(segment.path, header, segment.frames, held, span))) if header and held else {}
        empty = (segment.frames or 0) if span is None else span[1] - span[0]
        per_frame = [self.signals.samps_per_frame[number] or 1 for number in numbers]
        return [
            np.full(empty * each, np.nan) if place is None else read[place] for place, each in zip(places, per_frame)
        ]

    def _place(self, header: wfdb.Record, number: int) -> int | None:
        """Where a segment with `header` has signal `number`; None where it does not have it."""
        is_fixed = getattr(self.header, "layout", None) == "fixed"
        if header is self.signals or (is_fixed and sorted(header.sig_name) != sorted(self.leads)):
            return number
        name = self.leads[number]
        which = self.leads[:number].count(name)  # of signals of one name
        there = [place for place, other in enumerate(header.sig_name) if other == name]
        return there[which] if which < len(there) else None


def _segments_of(path: Path, header: wfdb.Record | wfdb.MultiRecord) -> tuple[wfdb.Record, tuple[Segment, ...]]:
    """What describes the signals of the record, and its segments. ValueError where these do not fit together."""
    if isinstance(header, wfdb.Record):
        guard.check_signals(header)
        return header, (Segment(path, header, header.sig_len),)
    layout = header.layout == "variable"
    first = header.seg_name[0] if layout else None
    known = {name: _segment_header(path, name, header, name == first) for name in header.seg_name}
    listed = list(zip(header.seg_name, header.seg_len))
    signals = next((known[name] for name, _ in listed if known[name] is not None), None)
    if signals is None:
        raise ValueError("it has gaps alone")
    segments = tuple(_segment(path, name, frames, known[name], signals) for name, frames in listed[layout:])
    total = sum(header.seg_len)
    if header.sig_len not in (None, total):
        raise ValueError(f"it announces {header.sig_len:,} samples and its segments have {total:,}")
    samples = total * max(each or 1 for each in signals.samps_per_frame)
    if samples > guard.MAX_SAMPLES:
        raise ValueError(f"{samples:,} samples of a signal are more than {guard.MAX_SAMPLES:,}")
    if not layout and any(segment.header and segment.header.n_sig != signals.n_sig for segment in segments):
        raise ValueError("its segments have different numbers of signals and no layout")
    return signals, segments


def _segment_header(path: Path, name: str, whole: wfdb.MultiRecord, layout: bool) -> wfdb.Record | None:
    if name == headers.GAP:
        return None
    own = path.with_name(name)
    if _header_of(own).exists():
        guard.check_file(_header_of(own), beside=_header_of(path))
    header = parse_header(own)
    if not isinstance(header, wfdb.Record):
        raise ValueError(f"its segment {name} has segments itself")
    guard.check_signals(header, layout)
    if header.fs != whole.fs:
        raise ValueError(f"its segment {name} has {header.fs:g} frames a second, not {whole.fs:g}")
    return header


def _segment(path: Path, name: str, frames: int, header: wfdb.Record | None, signals: wfdb.Record) -> Segment:
    if header is None:
        return Segment(path, None, frames)
    if header.sig_len not in (None, frames):
        raise ValueError(f"its segment {name} has {header.sig_len:,} samples, not {frames:,}")
    rates = dict(zip(signals.sig_name, signals.samps_per_frame))
    for signal, per_frame in zip(header.sig_name, header.samps_per_frame):
        if (rates.get(signal, per_frame) or 1) != (per_frame or 1):
            raise ValueError(f"its segment {name} has another rate of {signal} than the others")
    return Segment(path.with_name(name), header, frames)


def _read_mv(
    path: Path, header: wfdb.Record, frames: int | None, places: list[int], span: tuple[int, int] | None
) -> list[np.ndarray]:
    """The signals at `places` of the `header` of the record at `path`, which has so many frames, in millivolts.

    `span` is the first frame and the one before which it ends; None is all.
    """
    for place in places:
        millivolts_in(header.units[place], path)
    try:
        if span is None or span[0] == 0:  # a file that changes later is too short for wfdb, or its samples are others
            guard.check_signal_files(path, header, frames)
    except FileNotFoundError as error:
        raise DeepECGError(f"record {path}: signal file {error.filename} is missing beside its header") from None
    except (OSError, ValueError) as error:
        why = f"its signal file is truncated or another than its header says: {_reason(error)}"
        raise DeepECGError(f"record {path} cannot be read, {why}") from None
    try:
        digital = _read_digital(path.absolute().parent, header, frames, places, span)
        return [_physical_mv(values, header, place) for values, place in zip(digital, places)]
    except MemoryError:
        raise
    except PermissionError as error:
        raise DeepECGError(f"record {path} cannot be read: {error.filename}: {_reason(error)}") from None
    except Exception:  # wfdb raises whatever its parser stumbles over
        files = ", ".join(dict.fromkeys(header.file_name))
        raise DeepECGError(f"record {path} cannot be read: {files} is truncated or broken") from None


def _read_digital(
    folder: Path, header: wfdb.Record, frames: int | None, places: list[int], span: tuple[int, int] | None
) -> list[np.ndarray]:
    """What wfdb.rdrecord gives of these signals, as numbers of the converter, by the steps that it takes (4.3.1)."""
    if frames is None:
        first = header.file_name[0]
        of_first = (count or 1 for count, file in zip(header.samps_per_frame, header.file_name) if file == first)
        frames = _infer_sig_len(first, header.fmt[0], sum(of_first), header.byte_offset[0], str(folder))
    first_frame, end_frame = span or (0, frames)
    is_flac = not FLAC.isdisjoint(header.fmt)
    digital = _rd_segment(
        **{name: getattr(header, name) for name in SEGMENT_FIELDS},
        sig_len=frames,
        dir_name=str(folder),
        pn_dir=None,
        sampfrom=first_frame,
        sampto=end_frame,
        channels=places,
        ignore_skew=is_flac,  # of which wfdb reads beyond the end
    )
    return [_without_skew(one, header, place) for one, place in zip(digital, places)] if is_flac else digital


def _without_skew(digital: np.ndarray, header: wfdb.Record, place: int) -> np.ndarray:
    """The samples (n,) of a signal, of which so many frames as its skew come too late; the last ones are unknown."""
    late = (header.skew[place] or 0) * (header.samps_per_frame[place] or 1)
    return np.append(digital[late:], np.full(min(late, len(digital)), _digi_nan([header.fmt[place]])[0], digital.dtype))


def _physical_mv(digital: np.ndarray, header: wfdb.Record, place: int) -> np.ndarray:
    """`digital` (n,) in millivolts; NaN where the value is the one that stands for none in its format."""
    signal = digital.astype(np.float64)
    signal -= header.baseline[place]
    signal /= header.adc_gain[place]
    signal[digital == _digi_nan([header.fmt[place]])[0]] = np.nan
    return signal * (leads.in_millivolts(header.units[place]) or 1.0)


def read_record(path: Path, lead: str | Sequence[str]) -> Record:
    """`RecordFile.lead` of the WFDB record at `path` (no extension)."""
    return RecordFile.open(path).lead(lead)


def parse_header(path: Path) -> wfdb.Record | wfdb.MultiRecord:
    """The header of the WFDB record at `path` (no extension), of any kind.

    Raises DeepECGError when it is missing or broken.
    """
    try:
        header = headers.read_header(path)
        guard.check_header(header)
    except FileNotFoundError:
        raise DeepECGError(f"record {path}: there is no {path}.hea: check the path and the record's name") from None
    except OSError as error:
        raise DeepECGError(f"record {path}: {path}.hea cannot be read ({_reason(error)})") from None
    except ValueError as error:
        raise DeepECGError(f"record {path}: its header cannot be read ({error})") from None
    return header


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _header_of(path: Path) -> Path:
    return Path(f"{path}.hea")


def read_beats(
    path: Path,
    extension: str,
    aami: Mapping[str, str] = AAMI,
    frames_hz: float | None = None,
    fs_hz: float | None = None,
) -> Annotation:
    """The beats of annotation file `path`.`extension`: non-beat marks are dropped before anything is differenced.

    Beats are the symbols that `aami` gives a class; one that is marked on several channels is one. With `fs_hz` their
    times are brought to that rate, each to the nearest sample: they are in the time resolution that the file states,
    else in the record's frames of `frames_hz`.
    Raises DeepECGError when the file is missing or broken, or holds fewer than two beats.
    """
    annotation = read_annotations(path, extension)
    symbols = np.array(annotation.symbol, dtype=str)  # an undefined code reads as "nan"
    beat = np.isin(symbols, list(aami))
    if beat.sum() < 2:
        raise DeepECGError(f"annotation file {path}.{extension} holds {beat.sum()} beats: at least two are needed")
    file_hz = annotation.fs or frames_hz
    beat[beat] = _first_marks(annotation.sample[beat], annotation.chan[beat], MARKS_S * (file_hz or 0))
    gaps = np.cumsum(np.isin(symbols, list(GAP_SYMBOLS)))[beat]
    samples = annotation.sample[beat]
    if fs_hz is not None and file_hz is not None and file_hz != fs_hz:
        samples = to_rate(samples, file_hz, fs_hz)
    return Annotation(samples, symbols[beat], np.diff(gaps, prepend=0) > 0)


def _first_marks(samples: np.ndarray, channels: np.ndarray, apart: float) -> np.ndarray:
    """Which marks (n,) of beats are the first of theirs, (n,) bool: others, on other channels, are not `apart`."""
    first, last, seen = np.ones(len(samples), bool), -math.inf, set[int]()
    for place, (sample, channel) in enumerate(zip(samples.tolist(), channels.tolist())):
        first[place] = sample - last > apart or channel in seen
        if first[place]:
            last, seen = sample, set()
        seen.add(channel)
    return first


def beats_beside(path: Path, extension: str, record: Record, aami: Mapping[str, str], frames_hz: float) -> Annotation:
    """`read_beats` of the record at `path` in samples of `record`, one of its leads, without what lies outside that.

    Raises DeepECGError as that does, and where most beats lie outside.
    """
    found = read_beats(path, extension, aami, frames_hz, record.fs_hz)
    inside = (found.samples >= 0) & (found.samples < len(record.signal_mv))
    if 2 * inside.sum() < len(inside):
        raise DeepECGError(
            f"record {record.name}: {(~inside).sum()} of {len(inside)} annotations of {path}.{extension} lie "
            "outside the signal: they do not belong together"
        )
    kept = (found.samples[inside], found.symbols[inside], found.after_gap[inside])
    return Annotation(*kept, left_out=int((~inside).sum()))


def left_out_line(record: AnyRecord, extension: str, annotation: Annotation) -> str:
    """Says which beats of `record`.`extension` are not in `annotation`."""
    total = len(annotation.samples) + annotation.left_out
    return f"{record.base.name}.{extension}: {annotation.left_out} of {total:,} beats outside the signal, left out"


def to_rate(samples: np.ndarray, from_hz: float, to_hz: float) -> np.ndarray:
    """Times (n,) in samples at `from_hz`, at `to_hz`: the nearest samples, half up as in the WFDB library."""
    return np.floor(samples * (to_hz / from_hz) + 0.5).astype(np.int64)


def read_annotations(path: Path, extension: str) -> wfdb.Annotation:
    """All of annotation file `path`.`extension`. Raises DeepECGError when the file is missing or broken."""
    file = Path(f"{path}.{extension}")
    if extension == "hea":
        raise DeepECGError(f"{file} is a header: name the extension of an annotation file, such as atr")
    try:
        guard.check_annotations(file, beside=_header_of(path))
        if _header_of(path).exists():  # wfdb asks it for the rate
            guard.check_header_text(_header_of(path))
    except FileNotFoundError:
        raise DeepECGError(f"record {path}: there is no annotation file {file}") from None
    except (OSError, ValueError) as error:
        raise DeepECGError(f"annotation file {file} cannot be read: {_reason(error)}") from None
    try:
        annotation = wfdb.rdann(str(path.absolute()), extension)
    except MemoryError:
        raise
    except Exception:  # wfdb raises whatever its parser stumbles over
        raise DeepECGError(f"{file} is no annotation file in the format of WFDB, or a broken one") from None
    if annotation.fs is not None:
        try:
            guard.check_rate(annotation.fs)
        except ValueError as error:
            raise DeepECGError(f"annotation file {file} cannot be read: {error}") from None
    if not file.read_bytes().endswith(b"\0\0"):  # the format's end mark
        raise DeepECGError(f"annotation file {file} is truncated, or another kind of file: it lacks the format's end")
    return annotation


def aami_labels(symbols: Iterable[str], aami: Mapping[str, str] = AAMI) -> np.ndarray:
    """Index into CLASSES of each annotation symbol, (beats,) int64."""
    return np.array([CLASSES.index(aami[symbol]) for symbol in symbols], np.int64)
