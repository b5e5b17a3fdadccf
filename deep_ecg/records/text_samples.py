"""Samples of one lead as lines of text, the way loggers, serial ports and spreadsheets give them, block by block.

A line is one value, or several of which one is the ECG's: `time,value` with or without lines of names before it. A
comma may be a decimal one. A line that says that nothing was measured (LOST_WORDS) is a lost sample.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NoReturn

import numpy as np

from deep_ecg.system.errors import DeepECGError

LOST_WORDS = frozenset(("", "!", "nan", "null", "none", "na", "n/a"))  # "!" is what sketches for the AD8232 print
LINE_BYTES = 400  # no line of a few numbers is longer
HEADING_LINES = 20  # that may stand before the first values
HELD_LINES = 8  # that are looked at before a column of times is known by its values
TIME_NAMES = re.compile(
    r"((elapsed|sample)?[ _]?(time|timestamp|date|datetime|interval|number|samples?|index|seconds?|sec|millis|micros"
    r"|t|s|ms|us|nr?|no)(?![a-z]).*)?"
)
ECG_NAMES = re.compile(r".*(ecg|ekg).*|(lead )?(ml)?(ii|2)")
DIGITS_AND_MARKS = re.compile(r"[-+0-9.,eE\s]*")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE | re.ASCII)
DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+", re.ASCII)  # or a whole time and a whole value
PLAIN = re.compile(rb"[0-9+\-.eE \r\n]*")  # values, unless one is no number at all


@dataclass(frozen=True)
class Layout:
    """What a line holds: `columns` values with `delimiter` between them (None: white space), the ECG's at `column`."""

    delimiter: str | None
    columns: int
    column: int
    decimal_comma: bool


class SampleLines:
    """Reads samples from blocks of bytes of any size; a line that ends in the next block waits for it.

    `source` is what messages call the text; `column` is the name or the number, from 1, of the ECG's column where a
    line holds several values. Raises DeepECGError, naming the line, at the first that is not of the text's layout; the
    samples before it then come from `rescued`.
    """

    def __init__(self, source: str, column: str | None = None):
        self._source, self._wanted = source, column
        self._rest, self._number = b"", 0
        self._layout: Layout | None = None
        self._headings: list[str] = []
        self._held: list[tuple[int, str]] = []  # lines that wait for the layout, by number
        self._values: list[float] = []
        self._points = False  # a decimal point has been seen

    def push(self, block: bytes) -> np.ndarray:
        """The samples (n,) that `block` completes, float64, NaN where one is lost."""
        *lines, self._rest = (self._rest + block).split(b"\n")
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
        """The samples (n,) of a last line without an end, and of lines that waited for their layout to be known."""
        if self._rest:
            self._take(self._rest)
            self._rest = b""
        self._settle()
        if self._headings and self._layout is None:
            self._refuse(self._number, self._headings[-1])
        return self.rescued()

    def rescued(self) -> np.ndarray:
        """What has been read and not been given yet, (n,)."""
        values, self._values = np.array(self._values, float), []
        return values

    def _plain(self, lines: list[bytes]) -> np.ndarray | None:
        """The samples of `lines`, read at once, where each is plainly of the layout; else None."""
        layout, block = self._layout, b"\n".join(lines)
        if layout is None or b"#" in block or max(map(len, lines), default=0) > LINE_BYTES:
            return None
        fields = lines
        if layout.columns > 1:
            delimiter = layout.delimiter.encode() if layout.delimiter else None
            parts = [line.split(delimiter) for line in lines]
            if any(len(of_line) != layout.columns for of_line in parts):
                return None
            fields = [of_line[layout.column] for of_line in parts]
        block = b"\n".join(fields)
        if layout.decimal_comma:
            block = block.replace(b",", b".")
        if not PLAIN.fullmatch(block):
            return None
        try:
            values = np.array([float(field) for field in block.split(b"\n")])
        except ValueError:
            return None
        if not np.isfinite(values).all():
            return None
        self._points = self._points or b"." in block
        return values

    def _take(self, line: bytes):
        self._number += 1
        text = line.decode(errors="replace").removeprefix("\ufeff").strip()
        if len(line) > LINE_BYTES:
            self._refuse(self._number, text)
        if text.startswith("#") or text in self._headings:  # a logger that started anew says them again
            return
        if self._layout is not None:
            self._values.append(self._value(self._number, text))
        elif self._held or _is_numeric(text) or (text and text.lower() in LOST_WORDS):
            self._held.append((self._number, text))
            self._learn(text)
        elif text:
            self._heading(text)

    def _heading(self, text: str):
        said = any(letter.isalpha() or letter == "\ufffd" for letter in text)
        if not said or len(self._headings) == HEADING_LINES:
            self._refuse(self._number, text)
        self._headings.append(text)

    def _learn(self, text: str):
        """Settles the layout as soon as the held lines, the last of which is `text`, tell it."""
        lost = text.lower() in LOST_WORDS
        told = bool(self._headings) or self._wanted is not None or not any(mark in text for mark in ",;\t ")
        if lost and not any(_is_numeric(line) for _, line in self._held):
            self._values.append(np.nan)  # the lead was off from the start
            self._held.clear()
        elif len(self._held) >= HELD_LINES or (told and not lost):
            self._settle()

    def _settle(self):
        """Chooses the layout by what is held, and reads that."""
        texts = [text for _, text in self._held if text.lower() not in LOST_WORDS]
        if texts:
            held, self._held = self._held, []
            self._layout = self._chosen(held[0][0], texts)
            for number, text in held:
                self._values.append(self._value(number, text))

    def _chosen(self, number: int, texts: list[str]) -> Layout:
        delimiter = _delimiter(texts[0])
        columns = len(_split(texts[0], delimiter))
        headings = [[name.lower() for name in _split(heading, delimiter)] for heading in self._headings]
        names = next((fields for fields in headings if len(fields) == columns), [""] * columns)
        if delimiter == "," and not any(names) and self._wanted is None and _are_decimal_commas(texts):
            return Layout(None, 1, 0, decimal_comma=True)
        decimal_comma = delimiter != "," and any("," in text for text in texts)
        return Layout(delimiter, columns, self._column(number, names, texts, delimiter), decimal_comma)

    def _column(self, number: int, names: list[str], texts: list[str], delimiter: str | None) -> int:
        """Which column is the ECG's: the wanted one, that of its name, or the one that is no time."""
        columns = len(names)
        if self._wanted is not None:
            return self._wanted_column(number, names)
        if columns == 1:
            return 0
        if any(names):
            likely = [place for place, name in enumerate(names) if ECG_NAMES.fullmatch(name)]
            others = [place for place, name in enumerate(names) if not TIME_NAMES.fullmatch(name)]
        else:
            likely, others = [], []
            first, *rest = zip(*(_split(text, delimiter) for text in texts))
            if columns == 2 and rest and (_rises(first) or not _are_numbers(first)):
                others = [1]
        for found in (likely, others):
            if len(found) == 1:
                return found[0]
        what = ", ".join(filter(None, names)) or f"{columns} values"
        raise DeepECGError(
            f"{self._source}, line {number}: it holds {what}: say which is the ECG with --column NUMBER or NAME"
        )

    def _wanted_column(self, number: int, names: list[str]) -> int:
        wanted, columns = str(self._wanted).strip().lower(), len(names)
        if wanted in names:
            return names.index(wanted)
        if wanted.isdecimal() and 1 <= int(wanted) <= columns:
            return int(wanted) - 1
        there = ", ".join(filter(None, names)) or f"columns 1 to {columns}"
        raise DeepECGError(f"{self._source}, line {number}: there is no column {self._wanted!r}: it has {there}")

    def _value(self, number: int, text: str) -> float:
        layout = self._layout
        assert layout is not None
        if text.lower() in LOST_WORDS:
            return np.nan
        field = text
        if layout.columns > 1:
            fields = _split(text, layout.delimiter)
            if len(fields) != layout.columns:
                self._refuse(number, text)
            field = fields[layout.column]
        if field.lower() in LOST_WORDS:
            return np.nan
        if layout.columns == 1 and not self._points and DECIMAL_COMMA.fullmatch(field):
            self._layout = layout = replace(layout, decimal_comma=True)  # whole numbers came before it
        self._points = self._points or "." in field
        if layout.decimal_comma:
            field = field.replace(",", ".")
        if not NUMBER.fullmatch(field) or np.isinf(float(field)):
            self._refuse(number, text)
        return float(field)

    def _refuse(self, number: int, text: str) -> NoReturn:
        said = repr(text if len(text) <= 30 else f"{text[:30]}...")
        columns = 1 if self._layout is None else self._layout.columns
        wrong = "is no number" if columns == 1 else f"is no line of {columns} values as those before it"
        raise DeepECGError(
            f"{self._source}, line {number}: {said} {wrong}: one value a line, or time and value; nan where it is lost"
        )


def _delimiter(text: str) -> str | None:
    """What stands between the values of the line `text`; None for white space."""
    mark = next((mark for mark in (";", "\t", ",") if mark in text), None)
    decimal = mark == "," and DIGITS_AND_MARKS.fullmatch(text) and any(" " in part.strip() for part in text.split(","))
    return None if decimal else mark


def _split(text: str, delimiter: str | None) -> list[str]:
    return [field.strip().strip("\"'").strip() for field in text.split(delimiter)]


def _is_numeric(text: str) -> bool:
    """Whether `text` is a line of values: some field is a number, and none is a word."""
    fields = [field for field in _split(text, _delimiter(text)) if field.lower() not in LOST_WORDS]
    words = any(field[0].isalpha() for field in fields)
    return not words and any(NUMBER.fullmatch(field) or DECIMAL_COMMA.fullmatch(field) for field in fields)


def _are_decimal_commas(texts: list[str]) -> bool:
    """Whether each line is one number, some with a decimal comma, and not a time and a value, both whole."""
    pairs = [text.split(",")[0] for text in texts if DECIMAL_COMMA.fullmatch(text)]
    whole = [text for text in texts if NUMBER.fullmatch(text) and "." not in text]
    return bool(pairs) and len(pairs) + len(whole) == len(texts) and (bool(whole) or not _rises(pairs))


def _are_numbers(fields: tuple[str, ...]) -> bool:
    return all(NUMBER.fullmatch(field.replace(",", ".")) or field.lower() in LOST_WORDS for field in fields)


def _rises(fields: Sequence[str]) -> bool:
    """Whether the numbers are two or more and rise in steps of about the same length, as times do."""
    if not all(NUMBER.fullmatch(field.replace(",", ".")) for field in fields):
        return False
    values = [float(field.replace(",", ".")) for field in fields]
    steps = [after - before for before, after in pairwise(values)]
    return bool(steps) and min(steps) > 0 and max(steps) <= 3 * min(steps)
