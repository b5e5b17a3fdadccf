"""Samples of one lead as lines of text, the way loggers, serial ports and spreadsheets give them, block by block.

A line is one value, or several of which one is the ECG's: `time,value` with or without a line of names before it. A
comma may be a decimal one. Where a line says that nothing was measured (LOST_WORDS, an empty line) the sample is lost.
"""

import re
from dataclasses import dataclass

import numpy as np

from deep_ecg.system.errors import DeepECGError

LOST_WORDS = frozenset(("", "!", "nan", "null", "none", "na", "n/a"))  # "!" is what sketches for the AD8232 print
LINE_BYTES = 400  # no line of a few numbers is longer
MOST_COLUMNS = 64
HELD_LINES = 4  # that are looked at before a column of times is known by its values
TIME_NAMES = re.compile(r"(elapsed[ _]?)?(t|time|times?tamp|date|datetime|sample|index|seconds|ms|s|#|nr?|no)\b.*")
ECG_NAMES = re.compile(r"(ecg|ekg)?[ _-]*(lead)?[ _-]*(ml)?(ii|2)\b.*|.*\b(ecg|ekg)\b.*|.*(ecg|ekg).*")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
PLAIN = re.compile(rb"[0-9+\-.eE\r\n]*")  # a block of which each line that is not empty is one number, or none at all
WHOLE_NUMBERS = re.compile(r"[+-]?\d+,\d+")  # a decimal comma, or a time and a value


@dataclass(frozen=True)
class Layout:
    """What a line holds: `columns` values with `delimiter` between them (None: white space), the ECG's at `column`."""

    delimiter: str | None
    columns: int
    column: int
    decimal_comma: bool = False


class SampleLines:
    """Reads samples from blocks of bytes of any size; a line that ends in the next block waits for it.

    `source` is what messages call the text; `column` is the name or the number, from 1, of the ECG's column where a
    line holds several values. Raises DeepECGError, naming the line, at the first that is not of the text's layout.
    """

    def __init__(self, source: str, column: str | None = None):
        self._source, self._wanted = source, column
        self._rest, self._number = b"", 0
        self._layout: Layout | None = None
        self._names: list[str] | None = None
        self._held: list[tuple[int, str]] = []
        self._values: list[float] = []

    def push(self, block: bytes) -> np.ndarray:
        """The samples (n,) that `block` completes, float64, NaN where one is lost.

        Those before a wrong line are kept and come from `rescued`.
        """
        *lines, self._rest = (self._rest + block).split(b"\n")
        for line in lines:
            self._take(line)
        if len(self._rest) > LINE_BYTES:
            self._refuse(self._number + 1, self._rest.decode(errors="replace"), "is too long for a line of samples")
        return self.rescued()

    def finish(self) -> np.ndarray:
        """The samples (n,) of a last line without an end, and of lines that waited for their layout to be known."""
        if self._rest:
            self._take(self._rest)
            self._rest = b""
        if self._held:
            self._settle()
        return self.rescued()

    def rescued(self) -> np.ndarray:
        """What has been read and not been given yet, (n,)."""
        values, self._values = np.array(self._values, float), []
        return values

    def _take(self, line: bytes):
        self._number += 1
        text = line.decode(errors="replace").strip().removeprefix("\ufeff")
        if len(line) > LINE_BYTES:
            self._refuse(self._number, text, "is too long for a line of samples")
        if text.lower() in LOST_WORDS:
            self._lose()
        elif self._layout is not None:
            self._values.append(self._value(self._number, text))
        elif not text.startswith("#"):
            self._held.append((self._number, text))
            self._learn()

    def _lose(self):
        """A line of nothing: a lost sample, but not before the first value, where it may be the text's own heading."""
        if self._layout is not None:
            self._values.append(np.nan)
        elif self._held or self._names:
            self._held.append((self._number, "nan"))
            self._learn()
        else:
            self._values.append(np.nan)

    def _learn(self):
        """Settles the layout as soon as the held lines tell it."""
        number, text = self._held[0]
        if self._names is None and len(self._held) == 1 and not _is_numeric(text):
            self._names = [name.strip().strip('"').lower() for name in _split(text, _delimiter(text))]
            self._held.clear()
            return
        if self._names is not None or len(self._held) >= HELD_LINES or not any(mark in text for mark in ",;\t "):
            self._settle()

    def _settle(self):
        """Chooses the layout by what is held, and reads that."""
        texts = [text for _, text in self._held if text.lower() not in LOST_WORDS]
        if texts:
            self._layout = self._chosen(self._held[0][0], texts)
            held, self._held = self._held, []
            self._values += [
                np.nan if text.lower() in LOST_WORDS else self._value(number, text) for number, text in held
            ]
        else:
            self._values += [np.nan] * len(self._held)
            self._held.clear()

    def _chosen(self, number: int, texts: list[str]) -> Layout:
        delimiter = _delimiter(texts[0])
        named = self._names is not None and len(self._names) > 1
        if delimiter == "," and not named and all(WHOLE_NUMBERS.fullmatch(text) for text in texts):
            first = [int(text.partition(",")[0]) for text in texts]
            if self._wanted is None and not _rises(first):
                return Layout(None, 1, 0, decimal_comma=True)
        columns = len(_split(texts[0], delimiter))
        if columns > MOST_COLUMNS:
            self._refuse(number, texts[0], "holds too many values")
        decimal_comma = delimiter != "," and "," in texts[0]
        return Layout(delimiter, columns, self._column(number, columns, texts, delimiter, decimal_comma), decimal_comma)

    def _column(self, number: int, columns: int, texts: list[str], delimiter: str | None, comma: bool) -> int:
        names = self._names if self._names and len(self._names) == columns else [""] * columns
        if self._wanted is not None:
            return self._wanted_column(number, columns, names)
        if columns == 1:
            return 0
        if any(names):
            likely = [k for k, name in enumerate(names) if ECG_NAMES.fullmatch(name)]
            others = [k for k, name in enumerate(names) if not TIME_NAMES.fullmatch(name)]
            if len(likely) == 1 or len(others) == 1:
                return (likely if len(likely) == 1 else others)[0]
        elif columns == 2 and len(texts) > 1:
            first = [_split(text, delimiter)[0].replace(",", "." if comma else ",") for text in texts]
            if all(NUMBER.fullmatch(one) for one in first) and _rises([float(one) for one in first]):
                return 1
        what = ", ".join(name for name in names if name) or f"{columns} values"
        self._refuse(number, texts[0], f"holds {what}: say which is the ECG with --column NUMBER or NAME")
        raise AssertionError

    def _wanted_column(self, number: int, columns: int, names: list[str]) -> int:
        wanted = str(self._wanted).strip().lower()
        if wanted in names:
            return names.index(wanted)
        if wanted.isdecimal() and 1 <= int(wanted) <= columns:
            return int(wanted) - 1
        there = ", ".join(name for name in names if name) or f"1 to {columns}"
        raise DeepECGError(f"{self._source}, line {number}: there is no column {self._wanted!r}: it has {there}")

    def _value(self, number: int, text: str) -> float:
        layout = self._layout
        if layout.columns == 1:
            if layout.delimiter is None and not layout.decimal_comma and WHOLE_NUMBERS.fullmatch(text):
                self._layout = layout = Layout(None, 1, 0, decimal_comma=True)  # whole numbers came first
            field = text
        else:
            fields = _split(text, layout.delimiter)
            if len(fields) != layout.columns:
                self._refuse(number, text, f"holds {len(fields)} values where the lines before it hold {layout.columns}")
            field = fields[layout.column].strip().strip('"')
        if field.lower() in LOST_WORDS:
            return np.nan
        if layout.decimal_comma:
            field = field.replace(",", ".")
        if not NUMBER.fullmatch(field) or np.isinf(float(field)):
            self._refuse(number, text, "is no number: one value a line is needed, or nan where the signal is lost")
        return float(field)

    def _refuse(self, number: int, text: str, why: str):
        said = repr(text if len(text) <= 30 else f"{text[:30]}...")
        raise DeepECGError(f"{self._source}, line {number}: {said} {why}")


def _delimiter(text: str) -> str | None:
    """What stands between the values of the line `text`; None for white space."""
    return next((mark for mark in (";", "\t", ",") if mark in text), None)


def _split(text: str, delimiter: str | None) -> list[str]:
    return text.split(delimiter) if delimiter else text.split()


def _is_numeric(text: str) -> bool:
    """Whether some field of `text` is a number: it is no line of names."""
    fields = [field.strip().strip('"') for field in _split(text, _delimiter(text))]
    return any(NUMBER.fullmatch(field) or WHOLE_NUMBERS.fullmatch(field) for field in fields)


def _rises(values: list[float]) -> bool:
    """Whether `values` are two or more and rise in steps of about the same length, as times do."""
    steps = np.diff(values)
    return len(steps) > 0 and bool((steps > 0).all()) and float(steps.max()) <= 3 * float(steps.min())
