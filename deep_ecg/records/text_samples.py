"""Samples of one lead as lines of text, the way loggers, serial ports and spreadsheets give them, block by block.

A line is one value, or several of which one is the ECG's: `time,value` with or without lines of names before it. A
comma may be a decimal one. A line that says that nothing was measured (LOST_WORDS) is a lost sample.
"""

import codecs
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

import numpy as np

from deep_ecg.records.text_headings import ECG_NAMES, fact, names_and_units, time_places
from deep_ecg.records.text_numbers import (
    DECIMAL_COMMA,
    LOST_WORDS,
    MARKS,
    NUMBER,
    are_decimal_commas,
    are_numbers,
    are_thousands,
    delimiter_of,
    is_numeric,
    rises,
    split,
)
from deep_ecg.records.text_times import time_s
from deep_ecg.system.errors import DeepECGError

LINE_BYTES = 4000  # no line of a few numbers is longer
HEADING_LINES = 1000  # that may stand before the first values
HELD_LINES = 8  # that are looked at before a column of times is known by its values
LONE_RETURN = re.compile(rb"(?<=[^\r\n])\r(?=[^\r\n])")
PLAIN = re.compile(rb"[0-9+\-.eE \r\n]*")  # values, unless one is no number at all


@dataclass(frozen=True)
class Layout:
    """What a line holds: `columns` values with `delimiter` between them (None: white space).

    Those at `chosen` are read, of which those in `times` are times, also as clocks and dates. `comma` is what takes
    the place of a comma in a number: a point, or nothing where it stands between thousands; None where there is none.
    """

    delimiter: str | None
    columns: int
    chosen: tuple[int, ...]
    comma: str | None
    times: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Table:
    """What is known of a table before its layout is chosen: `texts` are its first lines of values, from `number` on.

    `names` and `units` of its columns are "" where they are not told.
    """

    number: int
    texts: list[str]
    delimiter: str | None
    names: list[str]
    units: list[str]

    def is_heading(self, line: str) -> bool:
        """Whether `line` is that of the names or units of its columns."""
        return split(line, self.delimiter) in (self.names, self.units)

    def fields(self) -> list[tuple[str, ...]]:
        """The fields of its first lines, column by column."""
        rows = (split(text, self.delimiter) for text in self.texts)
        return list(zip(*(row[: len(self.names)] for row in rows if len(row) >= len(self.names))))


def utf_16_of(head: bytes) -> str | None:
    """Which UTF-16 the text is in that begins with `head`, as spreadsheets write it; None where it is in none.

    By its mark, or by the empty bytes of its first letters where these are plain ones.
    """
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    first = head[:2]
    if len(first) < 2 or (first[0] == 0) == (first[1] == 0):
        return None
    return "utf-16-le" if first[1] == 0 else "utf-16-be"


class TextLines:
    """Reads rows of values from blocks of bytes of any size; a line that ends in the next block waits for it.

    They are of UTF-8, Latin-1 or UTF-16.

    `source` is what messages call the text; `choose` says which columns are to be read, and which are times, once
    `wait` lines of values have come, or, where `soon`, as soon as one is enough to choose one column by. Raises
    DeepECGError, naming the line, at the first that is not of the text's layout; the rows before it then come from
    `rescued`.
    """

    def __init__(
        self,
        source: str,
        choose: Callable[[Table], tuple[Sequence[int], Iterable[int]]],
        wait: int,
        soon: bool = False,
    ):
        self._source, self._choose, self._wait, self._soon = source, choose, wait, soon
        self._rest, self._number = b"", 0
        self._first: bytes | None = b""  # bytes that do not tell yet whether it is UTF-16; None when that is known
        self._decoder: codecs.IncrementalDecoder | None = None
        self._layout: Layout | None = None
        self.headings: list[str] = []  # lines before the values, and remarks before and among them
        self.remarks: list[str] = []
        self._held: list[tuple[int, str]] = []  # lines that wait for the layout, by number
        self._rows: list[list[float] | None] = []
        self._points = False  # a decimal point has been seen

    def push(self, block: bytes) -> np.ndarray:
        """The rows (n, columns) that `block` completes, float64, NaN where a value is lost."""
        *lines, self._rest = _ends_in_line_feeds(self._rest + self._utf_8(block)).split(b"\n")
        plain = self._plain(lines)
        if plain is None:
            for line in lines:
                self._take(line)
        else:
            self._number += len(lines)
        if len(self._rest) > LINE_BYTES:
            self._refuse(self._number + 1, self._rest.decode(errors="replace"))
        return self.rescued() if plain is None else plain

    def finish(self) -> np.ndarray:
        """The rows of a last line without an end, and of lines that waited for their layout to be known."""
        last, self._rest, self._first = self._rest or self._first or b"", b"", None
        if last:
            self._take(last)
        self._settle()
        if self.headings and self._layout is None:
            self._refuse(self._number, self.headings[-1])
        return self.rescued()

    def rescued(self) -> np.ndarray:
        """What has been read and not been given yet, (n, columns)."""
        width = 1 if self._layout is None else len(self._layout.chosen)
        rows, self._rows = self._rows, []
        return np.array([[np.nan] * width if row is None else row for row in rows], float).reshape(len(rows), width)

    def _utf_8(self, block: bytes) -> bytes:
        """The next `block`; that of a text in UTF-16, which its first two bytes tell, in UTF-8."""
        if self._first is not None:
            block = self._first + block
            self._first = None if len(block) > 1 else block
            if self._first is not None:
                return b""
            encoding = utf_16_of(block)
            self._decoder = codecs.getincrementaldecoder(encoding)("replace") if encoding else None
        return block if self._decoder is None else self._decoder.decode(block).encode()

    def _plain(self, lines: list[bytes]) -> np.ndarray | None:
        """The rows of `lines`, read at once, where each is plainly of the layout; else None."""
        layout = self._layout
        if layout is None or not lines or any(b"#" in line or len(line) > LINE_BYTES for line in lines):
            return None
        numbers = _all_numbers(lines, layout)
        if numbers is not None:
            self._points = self._points or any(b"." in line for line in lines)
            return numbers
        parts = [[line] for line in lines]
        if layout.columns > 1:
            delimiter = layout.delimiter.encode() if layout.delimiter else None
            parts = [line.split(delimiter) for line in lines]
            if any(len(of_line) != layout.columns for of_line in parts):
                return None
        try:
            columns = [self._plain_column(layout, [of_line[place] for of_line in parts], place in layout.times)
                       for place in layout.chosen]  # fmt: skip
        except ValueError:
            return None
        return np.array(columns, float).reshape(len(layout.chosen), len(lines)).T

    def _plain_column(self, layout: Layout, fields: list[bytes], times: bool) -> np.ndarray:
        """The numbers of one column; ValueError where one is no plain number, nor, of `times`, a date or clock."""
        block = b"\n".join(fields)
        if layout.comma is not None:
            block = block.replace(b",", layout.comma.encode())
        if times and b":" in block:
            return np.array([time_s(field) for field in block.decode().split("\n")])
        if not PLAIN.fullmatch(block):
            raise ValueError("not plain")
        values = np.array([float(field or b"nan") for field in block.split(b"\n")])
        if np.isinf(values).any():
            raise ValueError("beyond the numbers")
        self._points = self._points or b"." in block
        return values

    def _take(self, line: bytes):
        self._number += 1
        text = _decoded(line).removeprefix("\ufeff").strip()
        if len(line) > LINE_BYTES:
            self._refuse(self._number, text)
        if text.startswith("#") or text in self.headings:  # a logger that started anew says them again
            self.remarks += [text] * (len(self.remarks) < HEADING_LINES)
        elif self._layout is not None:
            self._add(self._number, text)
        elif self._held or is_numeric(text) or (text and text.lower() in LOST_WORDS):
            self._held.append((self._number, text))
            self._learn(text)
        elif text:
            self._heading(text)

    def _heading(self, text: str):
        said = any(letter.isalpha() or letter == "\ufffd" for letter in text)
        if not said or len(self.headings) == HEADING_LINES:
            self._refuse(self._number, text)
        self.headings.append(text)

    def _learn(self, text: str):
        """Settles the layout as soon as the held lines, the last of which is `text`, tell it."""
        lost = text.lower() in LOST_WORDS
        if lost and not any(is_numeric(line) for _, line in self._held):
            self._rows.append(None)  # the lead was off from the start
            self._held.clear()
        elif len(self._held) >= self._wait or (self._soon and not lost and self._tells(text)):
            self._settle()

    def _tells(self, text: str) -> bool:
        """Whether the line of values `text` is enough to choose one column by."""
        return bool(self.headings) or not any(mark in text for mark in MARKS)

    def _settle(self):
        """Chooses the layout by what is held, and reads that."""
        texts = [text for _, text in self._held if text.lower() not in LOST_WORDS]
        if texts:
            held, self._held = self._held, []
            self._layout = self._chosen(held[0][0], texts)
            for number, text in held:
                self._add(number, text)

    def _chosen(self, number: int, texts: list[str]) -> Layout:
        delimiter = delimiter_of(texts[0])
        rows = [split(text, delimiter) for text in texts]
        columns = len(rows[0])
        last = [row[-2:] for row in rows if len(row) == columns > 1]
        closed = any(one for one, _ in last) and not any(one for _, one in last)  # by a mark behind the last value
        names, units = self._names_and_units(delimiter, columns)
        if closed and not names[-1]:
            names, units = self._names_and_units(delimiter, columns - 1)
        one = delimiter == "," and not any(names) and are_decimal_commas(texts)
        if one:
            delimiter, columns, names, units = None, 1, [""], [""]
        chosen, times = self._choose(Table(number, texts, delimiter, names, units))
        rows = [[text] for text in texts] if one else rows
        has_commas = one or any("," in field for row in rows for field in row)
        has_commas = has_commas and (columns > 1 or not any("." in text for text in texts))
        comma = None if not has_commas else "" if are_thousands(rows) else "."
        return Layout(delimiter, columns, tuple(chosen), comma, frozenset(times))

    def _names_and_units(self, delimiter: str | None, columns: int) -> tuple[list[str], list[str]]:
        """Those of the headings, else those that a remark tells, as `numpy.savetxt` writes them."""
        names, units = names_and_units(self.headings, delimiter, columns)
        if not any(names):
            told = [remark.lstrip("# \t") for remark in self.remarks]
            names, units = names_and_units([line for line in told if line and not fact(line)], delimiter, columns)
        return names, units

    def _add(self, number: int, text: str):
        """Takes a line of the layout. An empty one is a lost sample of one column, and between rows of several none."""
        assert self._layout is not None
        if text or self._layout.columns == 1:
            self._rows.append(self._row(number, text))

    def _row(self, number: int, text: str) -> list[float] | None:
        layout = self._layout
        assert layout is not None
        if text.lower() in LOST_WORDS:
            return None
        fields = [text] if layout.columns == 1 else split(text, layout.delimiter)
        if len(fields) != layout.columns:
            self._refuse(number, text)
        try:
            return [self._value(fields[place], place in layout.times) for place in layout.chosen]
        except ValueError:
            self._refuse(number, text)

    def _value(self, field: str, is_time: bool) -> float:
        """The number that `field` is; ValueError where it is none."""
        layout = self._layout
        assert layout is not None
        if field.lower() in LOST_WORDS:
            return np.nan
        if layout.columns == 1 and layout.comma is None and not self._points and DECIMAL_COMMA.fullmatch(field):
            self._layout = layout = replace(layout, comma=".")  # whole numbers came before it
        self._points = self._points or "." in field
        if layout.comma is not None:
            field = field.replace(",", layout.comma)
        if is_time and not NUMBER.fullmatch(field):
            return time_s(field)
        if not NUMBER.fullmatch(field) or np.isinf(float(field)):
            raise ValueError("no number")
        return float(field)

    def _refuse(self, number: int, text: str) -> NoReturn:
        said = repr(text if len(text) <= 30 else f"{text[:30]}...")
        columns = 1 if self._layout is None else self._layout.columns
        wrong = "is no number" if columns == 1 else f"is no line of {columns} values as those before it"
        raise DeepECGError(
            f"{self._source}, line {number}: {said} {wrong}: one value a line, or time and value; nan where it is lost"
        )


class SampleLines:
    """The samples of one lead: `column` is the name or the number, from 1, of its column where there are several."""

    def __init__(self, source: str, column: str | None = None):
        wait = HELD_LINES if column is None else 1
        self._source, self._wanted = source, column
        self._lines = TextLines(source, lambda table: ([self._column(table)], ()), wait, soon=True)

    def push(self, block: bytes) -> np.ndarray:
        """The samples (n,) that `block` completes, float64, NaN where one is lost."""
        return self._lines.push(block)[:, 0]

    def finish(self) -> np.ndarray:
        """The samples (n,) that are left at the end of the text."""
        return self._lines.finish()[:, 0]

    def rescued(self) -> np.ndarray:
        """What has been read and not been given yet, (n,)."""
        return self._lines.rescued()[:, 0]

    def _column(self, table: Table) -> int:
        """Which column is the ECG's: the wanted one, that of its name, or the one that is no time."""
        names = [name.lower() for name in table.names]
        columns = len(names)
        if self._wanted is not None:
            return self._wanted_column(table.number, names)
        if columns == 1:
            return 0
        if any(names):
            likely = [place for place, name in enumerate(names) if ECG_NAMES.fullmatch(name)]
            times = time_places(names)
            others = [place for place, name in enumerate(names) if name and place not in times]
        else:
            likely, others = [], [1] if columns == 2 and table_has_times_first(table) else []
        for found in (likely, others):
            if len(found) == 1:
                return found[0]
        what = ", ".join(filter(None, names)) or f"{columns} values"
        raise DeepECGError(
            f"{self._source}, line {table.number}: it holds {what}: say which is the ECG with --column NUMBER or NAME"
        )

    def _wanted_column(self, number: int, names: list[str]) -> int:
        wanted, columns = str(self._wanted).strip().lower(), len(names)
        if wanted in names:
            return names.index(wanted)
        if wanted.isdecimal() and 1 <= int(wanted) <= columns:
            return int(wanted) - 1
        there = ", ".join(filter(None, names)) or f"columns 1 to {columns}"
        raise DeepECGError(f"{self._source}, line {number}: there is no column {self._wanted!r}: it has {there}")


def _all_numbers(lines: list[bytes], layout: Layout) -> np.ndarray | None:
    """The chosen columns of `lines`, (n, columns), where every field of each is plainly a number; else None."""
    if layout.columns > 1 and layout.delimiter is None:
        return None
    mark = (layout.delimiter or ";").encode()
    if any(line.count(mark) != layout.columns - 1 for line in lines):
        return None
    block = mark.join(lines)
    if layout.comma is not None and mark != b",":
        block = block.replace(b",", layout.comma.encode())
    if not PLAIN.fullmatch(block.replace(mark, b"")):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)  # of what is no number
        try:
            values = np.fromstring(block, sep=mark.decode())
        except (DeprecationWarning, ValueError):
            return None
    if len(values) != len(lines) * layout.columns or not np.isfinite(values).all():
        return None
    return values.reshape(len(lines), layout.columns)[:, list(layout.chosen)]


def table_has_times_first(table: Table) -> bool:
    """Whether the first of several columns holds times by its values: dates, or numbers that rise evenly."""
    first = table.fields()[0]
    return len(first) > 1 and (rises(first) or not are_numbers(first))


def _ends_in_line_feeds(text: bytes) -> bytes:
    """`text` with a line feed for each carriage return that ends a line alone, as old spreadsheets write it."""
    return LONE_RETURN.sub(b"\n", text) if b"\r" in text else text


def _decoded(line: bytes) -> str:
    """`line` in UTF-8, else in Latin-1."""
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line.decode("latin-1")
