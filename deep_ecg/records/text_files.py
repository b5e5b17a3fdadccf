"""A file of text as a record: its leads, units, rate and start, from its header, its times, or what the user says.

The lines are read by `text_samples`, so that a file and a live stream of the same text give the same samples.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import numpy as np

from deep_ecg.records import guard, sampling
from deep_ecg.records.leads import candidates, in_millivolts, is_ecg, is_no_ecg, is_unknown_unit
from deep_ecg.records.signal_file import Contents, Signal
from deep_ecg.records.text_headings import FACT, fact, time_places
from deep_ecg.records.text_samples import Table, TextLines, table_has_times_first
from deep_ecg.records.text_times import EPOCH, moment
from deep_ecg.system.errors import DeepECGError

HEAD_BYTES, BLOCK_BYTES = 16_384, 1_000_000
LEAST_EMPTY_BYTES = 2  # at the end of a file that was cut off
HELD_LINES = 250  # that are looked at before a column without a name is taken for times
UNIT_IN_NAME = re.compile(r"(?P<name>.*?)[\s_]*[\[(]?\s*(?P<unit>[a-z\u00b5\u03bc\ufffd]+)\s*[\])]?", re.IGNORECASE)
UNIT_IN_BRACKETS = re.compile(
    r"(?P<name>.*?)[\s_]*[\[(]\s*(?P<unit>[\d.,]+\s*[a-z\u00b5\u03bc\ufffd]+)\s*[\])]", re.IGNORECASE
)
TIME_UNITS = re.compile(
    r"(^|.*[^a-z])((?P<ns>ns|nanos\w*)|(?P<us>us|\u00b5s|\u03bcs|micros\w*)|(?P<ms>ms|msec|millis\w*)"
    r"|(?P<s>s|secs?|seconds?)|(?P<min>min|mins|minutes?))([^a-z].*|$)"
)
IN_S = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
NAMED_S = IN_S | {"min": 60.0}  # which times must say that they are in
STEPS_S = (4e-4, 0.024)  # between samples of an ECG: tell the unit of times that name none; 0.05 is 20 Hz or 20 kHz
COUNTS = re.compile(r"'?(sample|samples|index|nr|no|number|#|sample number|sample #)?\.?'?")  # that may count samples
UNIX_S = (1e9, 4e9)  # times since 1970, 2001 to 2096: others are since some start
DAY_S = 86_400.0
DISAGREEMENT = 0.1  # between the rate that a header tells and that of the times: less is jitter, or a clock's error


@dataclass(frozen=True)
class Facts:
    """What the lines before a table say: rate, unit, lead, start of the record, and all else by its name.

    `rates_hz` are said to be that of sampling, one as a rule; `hertz` is the highest number of hertz of another name.
    """

    rates_hz: tuple[float, ...] = ()
    hertz: float | None = None
    unit: str = ""
    lead: str = ""
    start: datetime | None = None
    others: tuple[tuple[str, str], ...] = ()

    @property
    def fs_hz(self) -> float | None:
        """The rate by these lines alone; None where they do not tell it."""
        return (*self.rates_hz, self.hertz)[0]


@dataclass(frozen=True)
class Times:
    """When the samples were taken: `times_s` (n,) where they must be brought to the rate `fs_hz`, else None."""

    fs_hz: float
    times_s: np.ndarray | None = None
    start: datetime | None = None
    note: str = ""


@dataclass(frozen=True)
class _Text:
    """A file of which `end` bytes are text; the `note` says what follows, if anything does."""

    path: Path
    end: int
    note: str = ""


class NoTable(DeepECGError):
    """A text that does not begin as a table of numbers does."""


def read_text(path: Path, fs_hz: float | None = None, unit: str | None = None) -> Contents:
    """What the text at `path` holds; `fs_hz` and `unit` are the user's word, which goes before the file's.

    DeepECGError names the line that is none of a table, or says that the rate is not told.
    """
    guard.check_file(path)
    text = _written(path)
    table, lines = _head(text)
    facts = _facts([*lines.headings, *lines.remarks], table)
    times_at = _time_columns(table)
    rest = [place for place in range(len(table.names)) if place not in times_at]
    if not rest:
        raise ValueError("it holds times alone")
    times = Times(fs_hz) if fs_hz else _times(text, table, times_at, facts)
    guard.check_rate(times.fs_hz)
    names, units = _names_and_units(table, rest, facts, unit)
    signals = tuple(
        Signal(name, its_unit, times.fs_hz, partial(_column, text, place, times))
        for name, its_unit, place in zip(names, units, rest)
    )
    start = times.start or facts.start
    comments = (*lines.headings, *lines.remarks)
    return Contents(signals, start, comments, dict(facts.others), tuple(filter(None, (times.note, text.note))))


def is_table(path: Path) -> bool:
    """Whether the text at `path` begins as a table of numbers does."""
    try:
        return bool(_head(_written(path)))
    except (DeepECGError, OSError):
        return False


def tells_ecg(path: Path, fs_hz: float | None = None, unit: str | None = None) -> bool:
    """Whether the text at `path` is a table, not of a few lines, that tells its rate and has a column for an ECG."""
    try:
        table, lines = _head(_written(path))
    except (DeepECGError, OSError):
        return False
    facts, times_at = _facts([*lines.headings, *lines.remarks], table), _time_columns(table)
    rest = [place for place in range(len(table.names)) if place not in times_at]
    if not rest or len(table.texts) < HELD_LINES or not (fs_hz or facts.fs_hz or times_at):
        return False
    return bool(candidates(*_names_and_units(table, rest, facts, unit), ()))


def _head(text: _Text) -> tuple[Table, TextLines]:
    """What is known of the table before its columns are read, and its reader, which has the lines before it."""
    found: list[Table] = []

    def choose(table: Table) -> tuple[Sequence[int], Iterable[int]]:
        found.append(table)
        return (), ()

    lines = TextLines(f"record {text.path}", choose, HELD_LINES)
    try:
        next((block for block in _blocks(text, lines) if found), None)
    except DeepECGError as error:
        raise (error if found else NoTable(str(error))) from None
    if not found:
        raise NoTable(f"record {text.path} holds no samples")
    return found[0], lines


def _written(path: Path) -> _Text:
    """The file at `path` up to the empty bytes that fill it where a recorder lost its power."""
    size = end = path.stat().st_size
    tail = b""
    with open(path, "rb") as file:
        while end and not tail:
            first = max(end - HEAD_BYTES, 0)
            file.seek(first)
            tail = file.read(end - first).rstrip(b"\0")
            end = first + len(tail)
    if size - end < LEAST_EMPTY_BYTES:  # or the last letter of a text in UTF-16
        return _Text(path, size)
    return _Text(path, end, f"it ends with {size - end:,} empty bytes: cut off while it was written?")


def _blocks(text: _Text, lines: TextLines) -> Iterator[np.ndarray]:
    left, size = text.end, HEAD_BYTES  # lines that wait for the layout are read one by one
    with open(text.path, "rb") as file:
        while block := file.read(min(size, left)):
            left -= len(block)
            yield lines.push(block)
            size = BLOCK_BYTES
    yield lines.finish()


def _columns(text: _Text, chosen: Sequence[int], times: Iterable[int] = ()) -> np.ndarray:
    """The columns `chosen` of the table in `text`, (n, columns), of which `times` are times."""
    lines = TextLines(f"record {text.path}", lambda _: (chosen, times), HELD_LINES)
    return np.concatenate(list(_blocks(text, lines)))


def _column(text: _Text, place: int, times: Times) -> np.ndarray:
    values = _columns(text, [place])[:, 0]
    return values if times.times_s is None else sampling.evenly(values, times.times_s, times.fs_hz)


# What the lines before the table say --------------------------------------------------------------------------------


def _facts(lines: Sequence[str], table: Table) -> Facts:
    told: dict[str, list[str]] = {"rate": [], "unit": [], "lead": []}
    start, others, hertz = None, [], []
    for line in lines:
        found, one = FACT.fullmatch(line), fact(line)
        when = _moment(found["value"]) if found and ":" in found["value"] else None
        if one and one[0] == "hertz":  # of several the highest: filters end below half of it
            hertz.append(float(one[1]))
        elif one and one[0] != "no rate":
            told[one[0]].append(one[1])
        elif when is not None:
            start = start or when
        elif found and found["value"] and not table.is_heading(line):
            others.append((found["name"].strip(), found["value"]))
    rates_hz = sorted({float(rate) for rate in told["rate"]})
    unit, lead = ((*told[kind], "")[0] for kind in ("unit", "lead"))
    return Facts(tuple(rates_hz), max(hertz, default=None), unit, lead, start, tuple(others))


def _moment(text: str) -> datetime | None:
    with suppress(ValueError):
        return moment(text)
    return None


def _names_and_units(
    table: Table, places: Sequence[int], facts: Facts, unit: str | None
) -> tuple[list[str], list[str]]:
    """What the columns at `places` are called and in which units they are."""
    names, units = zip(*(_name_and_unit(table, place, facts, unit) for place in places))
    if len(places) == 1 and not is_no_ecg(names[0]) and in_millivolts(units[0]) is None and not is_ecg(names[0]):
        names = (f"ECG ({names[0]})" if table.names[places[0]] else "ECG",)  # what else would one column be
    return list(names), list(units)


def _name_and_unit(table: Table, place: int, facts: Facts, unit: str | None) -> tuple[str, str]:
    """What the column at `place` is called and in which unit it is; the user's `unit` goes before the text's."""
    said = table.names[place].strip("'\" ")
    found = UNIT_IN_BRACKETS.fullmatch(said) or UNIT_IN_NAME.fullmatch(said)
    name, told = said, table.units[place]
    if found and found["name"] and _is_unit(found["unit"], found["name"], said.endswith(("]", ")"))):
        name, told = found["name"].strip(), told or found["unit"]
    if len(table.names) == 1 or not name:
        name = name or facts.lead
    told = told or facts.unit
    return name or f"signal {place + 1}", unit or ("" if is_unknown_unit(told) else told)


def _is_unit(word: str, before: str, bracketed: bool) -> bool:
    """Whether the `word` that ends a column's name is its unit; "Lead V" and "lead (II)" name leads."""
    is_voltage = in_millivolts(word) is not None
    return not is_ecg(word) or (is_voltage and is_ecg(before)) if bracketed else is_voltage and len(word) > 1


# Times --------------------------------------------------------------------------------------------------------------


def _time_columns(table: Table) -> list[int]:
    """Which columns hold times, or count samples."""
    names = [name.lower().strip("'\"% ") for name in table.names]
    named = time_places(names)
    if any(names) and named:
        return named
    likely = len(names) > 1 and not is_ecg(names[0]) and not is_no_ecg(names[0])
    if not likely or not table_has_times_first(table):  # their word for it is of another language
        return []
    return [0, 1] if len(names) > 2 and _is_day(_first(table, 0)) and ":" in _first(table, 1) else [0]


def _times(text: _Text, table: Table, places: Sequence[int], facts: Facts) -> Times:
    """The rate, by the most even of the columns of times at `places`, else by the header.

    DeepECGError where neither tells it.
    """
    usable, refusals = [], []
    read = dict(zip(places, _columns(text, places, places).T)) if places else {}
    firsts = {place: _first(table, place) for place in places}
    day_s = next((read.pop(place) for place, first in firsts.items() if _is_day(first)), None)
    for place, values in read.items():
        first = firsts[place]
        try:
            usable.append(_as_times(table, place, first, values, None if _is_dated(first) else day_s))
        except ValueError as error:
            refusals.append(str(error))
    known = [one for one in usable if one is not None]
    start = next((one.start for one in known if one.start), None)
    rated = _rated(min(known, key=_unevenness).times_s, start) if known else None
    _check_agreed(text.path, facts, rated)
    if rated:
        return rated
    if facts.fs_hz:
        note = f"its times were not used: {refusals[0]}" if refusals else ""
        return Times(facts.fs_hz, start=start, note=note)
    why = f" ({refusals[0]})" if refusals else ""
    raise DeepECGError(f"record {text.path}: neither header nor times{why} tell its sampling rate: add --fs HZ")


def _check_agreed(path: Path, facts: Facts, rated: Times | None):
    """DeepECGError where the lines before the table tell several rates, or another than the times."""
    rates = [f"{rate:g} Hz" for rate in facts.rates_hz]
    if rated and any(abs(rate / rated.fs_hz - 1) > DISAGREEMENT for rate in facts.rates_hz):
        rates.append(f"{rated.fs_hz:g} Hz by its times")
    if len(rates) > 1:
        raise DeepECGError(f"record {path} tells more than one sampling rate, {', '.join(rates)}: add --fs HZ")


@dataclass(frozen=True)
class _Clock:
    times_s: np.ndarray
    start: datetime | None


def _first(table: Table, place: int) -> str:
    """The first field of the column at `place` that holds something, "" where none does."""
    return next(filter(None, table.fields()[place]), "")


def _is_day(text: str) -> bool:
    """Whether `text` is a date without a clock."""
    return ":" not in text and not text.isdigit() and _moment(text) is not None


def _is_dated(text: str) -> bool:
    """Whether `text` is a date and a clock."""
    return ":" in text and _moment(text) is not None


def _as_times(table: Table, place: int, first: str, values: np.ndarray, day_s: np.ndarray | None) -> _Clock | None:
    """A column of times in s, rising, of which `first` is the first; None where it only counts.

    Clocks are of the days `day_s` (n,) where another column tells these. ValueError where it can be no times.
    """
    if np.isfinite(values).sum() < 2:
        return None
    is_clock = ":" in first
    values = values + day_s if is_clock and day_s is not None else values
    with_day = is_clock and (day_s is not None or _is_dated(first))
    times_s = _unwrapped(values) if is_clock and not with_day else values
    times_s = sampling.spread(times_s)
    steps = np.diff(times_s)
    if (steps <= 0).any():
        raise ValueError(f"they go back after sample {int((steps <= 0).argmax()) + 1:,}")
    scale = 1.0 if is_clock else _scale(table, place, float(times_s[0]), steps)
    if scale is None:
        return None
    start = None
    if with_day or UNIX_S[0] <= times_s[0] * scale <= UNIX_S[1]:
        start = EPOCH + timedelta(seconds=float(times_s[0] * scale))
        zoned = _moment(first) if _is_dated(first) else None
        start = start.astimezone(zoned.tzinfo) if zoned and zoned.tzinfo else start
    return _Clock((times_s - times_s[0]) * scale, start)


def _unwrapped(clock_s: np.ndarray) -> np.ndarray:
    """Times of the day that go on after midnight."""
    back = np.diff(clock_s, prepend=clock_s[:1]) < -DAY_S / 2
    return clock_s + DAY_S * np.cumsum(back)


def _scale(table: Table, place: int, first: float, steps: np.ndarray) -> float | None:
    """Seconds in one unit of a column of times from `first` on, of such `steps`; None where it only counts.

    ValueError where neither its name nor its numbers tell.
    """
    name = table.names[place].lower().strip("'\" ")
    for said in (table.units[place].lower(), name):
        found = TIME_UNITS.fullmatch(said)
        if found:
            count = re.match(r"[\d.]+", said)
            return float(count[0] if count else 1) * next(NAMED_S[unit] for unit in NAMED_S if found[unit])
    since_1970 = [scale for scale in IN_S.values() if UNIX_S[0] <= first * scale <= UNIX_S[1]]
    if since_1970:
        return since_1970[0]
    if (steps == 1).all() or (COUNTS.fullmatch(name) and name):
        return None
    step = float(np.median(steps))
    likely = [scale for scale in IN_S.values() if STEPS_S[0] <= step * scale <= STEPS_S[1]]
    if not likely:
        raise ValueError(f"steps of {step:g} in a unit that is not told")
    return likely[0]


def _unevenness(clock: _Clock) -> float:
    steps_s = np.diff(clock.times_s)
    return float(np.abs(steps_s - steps_s.mean()).mean() / steps_s.mean())


def _rated(times_s: np.ndarray, start: datetime | None) -> Times:
    fs_hz = sampling.even_rate_hz(times_s)
    if sampling.is_even(times_s, fs_hz):
        return Times(fs_hz, start=start)
    sampling.grid_length(times_s, fs_hz)
    gaps = int((np.diff(times_s) > sampling.GAP / fs_hz).sum())
    note = f"sampled unevenly: brought to {fs_hz:g} Hz" + f", {gaps:,} gaps are missing samples" * bool(gaps)
    return Times(fs_hz, times_s, start, note)
