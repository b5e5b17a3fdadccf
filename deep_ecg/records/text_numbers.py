"""Numbers in lines of text: what stands between them, what a comma is, and which words say that one is lost."""

import csv
import re
from collections.abc import Sequence
from itertools import pairwise, zip_longest

LOST_WORDS = frozenset(("", "!", "-", "?", "nan", "null", "none", "na", "n/a", "#n/a"))  # "!" is of AD8232 sketches
MARKS = ";\t|, "  # that stand between values
DIGITS_AND_MARKS = re.compile(r"[-+0-9.,eE\s]*")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE | re.ASCII)
DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+", re.ASCII)  # or a whole time and a whole value
THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+", re.ASCII)
LARGE = 100.0  # whole numbers from here on do not stand beside decimals below 1,000 of the same kind


def delimiter_of(text: str) -> str | None:
    """What stands between the values of the line `text`; None for white space."""
    mark = next((mark for mark in MARKS[:-1] if mark in text), None)
    decimal = mark == "," and DIGITS_AND_MARKS.fullmatch(text) and any(" " in part.strip() for part in text.split(","))
    return None if decimal else mark


def split(text: str, delimiter: str | None) -> list[str]:
    """The fields of the line `text`, without quotes and white space around them."""
    if delimiter is not None and '"' in text:
        fields = next(csv.reader([text], delimiter=delimiter))  # a mark between quotes is none
    else:
        fields = text.split(delimiter)
    return [field.strip().strip("\"'").strip() for field in fields]


def is_numeric(text: str) -> bool:
    """Whether `text` is a line of values: some field is a number, and none is a word."""
    fields = [field for field in split(text, delimiter_of(text)) if field.lower() not in LOST_WORDS]
    words = any(field[0].isalpha() for field in fields)
    return not words and any(NUMBER.fullmatch(field) or DECIMAL_COMMA.fullmatch(field) for field in fields)


def are_decimal_commas(texts: list[str]) -> bool:
    """Whether each line is one number, some with a decimal comma, and not a time and a value, both whole."""
    pairs = [text.split(",")[0] for text in texts if DECIMAL_COMMA.fullmatch(text)]
    whole = [text for text in texts if NUMBER.fullmatch(text) and "." not in text]
    return bool(pairs) and len(pairs) + len(whole) == len(texts) and (bool(whole) or not rises(pairs))


def are_thousands(rows: Sequence[Sequence[str]]) -> bool:
    """Whether commas of numbers in `rows` stand between thousands: all can, and a column has "1,024" beside "998"."""
    mixed = False
    for column in zip_longest(*rows, fillvalue=""):
        with_comma = [field for field in column if "," in field and DIGITS_AND_MARKS.fullmatch(field)]
        if not all(THOUSANDS.fullmatch(field) for field in with_comma):
            return False
        whole = [float(field) for field in column if NUMBER.fullmatch(field) and "." not in field]
        mixed = mixed or (bool(with_comma) and any(abs(value) >= LARGE for value in whole))
    return mixed


def are_numbers(fields: Sequence[str]) -> bool:
    """Whether each of `fields` is a number, or says that one is lost."""
    return all(NUMBER.fullmatch(field.replace(",", ".")) or field.lower() in LOST_WORDS for field in fields)


def rises(fields: Sequence[str]) -> bool:
    """Whether the numbers are two or more and rise in steps of about the same length, as times do."""
    if not all(NUMBER.fullmatch(field.replace(",", ".")) for field in fields):
        return False
    values = [float(field.replace(",", ".")) for field in fields]
    steps = [after - before for before, after in pairwise(values)]
    return bool(steps) and min(steps) > 0 and max(steps) <= 3 * min(steps)
