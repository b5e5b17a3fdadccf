"""What the lines before a table of text say: names and units of its columns, rate, unit and lead."""

import re
from collections.abc import Sequence

from deep_ecg.records.leads import in_millivolts, is_ecg, is_no_ecg
from deep_ecg.records.text_numbers import split

TIME_NAMES = re.compile(
    r"((elapsed|sample|phone|sensor|system|device|local|host|unix|utc)?[ _]?"
    r"((time|timestamp|date|datetime|interval|number|samples?|index|seconds?|sec|millis|micros)(?![a-z]).*"
    r"|(t|s|ms|us|nr?|no)(?![a-z])[^a-z]*([(\[].*)?))?"
)
SAMPLES = re.compile(r"(adc|sensor|raw)?[ _]?samples?[ _]?(values?)?")
VOLTAGE_LAST = re.compile(r"[\s_(\[](n|u|m|\u00b5|\u03bc)?v[\])]?$")
ECG_NAMES = re.compile(r".*(ecg|ekg).*|(lead )?(ml)?(ii|2)")
RATE = re.compile(r"(\d+(?:[.,]\d+)?)\s*(?:hz|hertz|herz|герц|赫兹|ヘルツ|sps|samples/s)", re.ASCII)
RATE_NAMES = re.compile(r"sampl\w*[ _]?(rate|freq)|^(fs|freq\w*)$")
NO_RATE_NAMES = re.compile(r"pass|filt|notch|mains|cut|band|line|power|heart|pulse|adc|screen|display")
LEAST_RATE_HZ = 20.0  # a lower one, as 1,000, is written with a mark between its thousands
FACT = re.compile(r"#*\s*(?P<name>[^,;\t:=|]+)[,;\t:=|]\s*\"?(?P<value>.*?)\"?\s*")
KEY, TITLE_KEY, UNIT_KEY = re.compile(r"\w+ *="), re.compile("title|name"), re.compile("unit|range")  # of LabChart
NAME_WORDS = 3  # of a name of a single column at most
WIDE_MARKS = re.compile(r"\s*[\t;,|]\s*|\s{2,}")  # between names that may hold single spaces
NAME_AND_UNIT = re.compile(r"[^\s(\[]+(?:\s*[(\[][^)\]]*[)\]])?")
UNIT_CELL = re.compile(r"-|none|nd|adu|[\d.,]*\s*(s|sec|secs|seconds?|ms|us|\u00b5s|\u03bcs|ns)|[hms:.]{4,}")


def names_and_units(headings: list[str], delimiter: str | None, columns: int) -> tuple[list[str], list[str]]:
    """Names and units of so many `columns`, "" where the `headings`, lines before them, do not tell.

    Lines such as "Sample Rate,512 hertz", and what stands before them, are no names of two columns.
    """
    last = max((place for place, heading in enumerate(headings) if fact(heading)), default=-1)
    rows = [_heading_fields(heading, delimiter, columns) for heading in headings[last + 1 :]]
    rows = [row[:columns] for row in rows if len(row) == columns or not any(row[columns:] or ["short"])]
    nothing = [""] * columns
    if any(KEY.fullmatch(row[0]) for row in rows):
        keyed = {row[0].lower(): ["", *row[1:]] for row in rows}
        names = next((row for key, row in keyed.items() if TITLE_KEY.search(key)), nothing)
        ranges = next((row for key, row in keyed.items() if UNIT_KEY.search(key)), nothing)
        return names, [cell.lstrip("0123456789.,-+ ") for cell in ranges]
    units = rows.pop() if len(rows) > 1 and _are_units(rows[-1]) else nothing
    return (rows[-1] if rows else nothing), units


def _heading_fields(heading: str, delimiter: str | None, columns: int) -> list[str]:
    """The fields of a line before so many `columns`: names may hold white space where that stands between values."""
    fields = split(heading, delimiter)
    if delimiter is not None or len(fields) == columns:
        return fields
    whole = [heading.strip()] if len(fields) <= NAME_WORDS and _tells_a_signal(heading) else []
    marked, grouped = WIDE_MARKS.split(heading.strip()), NAME_AND_UNIT.findall(heading)
    return next((found for found in (whole, marked, grouped) if len(found) == columns), fields)


def _tells_a_signal(heading: str) -> bool:
    """Whether `heading`, that of a single column, is a name and no title: it is that of a signal, or has a unit."""
    return is_ecg(heading) or is_no_ecg(heading) or heading.strip().endswith((")", "]"))


def _are_units(row: list[str]) -> bool:
    return any(row) and all(in_millivolts(field) or UNIT_CELL.fullmatch(field.lower()) for field in row if field)


def fact(line: str) -> tuple[str, str] | None:
    """What a line before a table tells, and its value: ("rate", "512"), ("unit", "uV") or ("lead", "I"); else None.

    By its value, not by its word for it, which is of any language: "Sample Rate,512 hertz", "Einheit,uV", and
    "Lead,Lead I", where the value repeats the word. A rate in hertz whose word is not known is "hertz", that of a
    filter or of the mains "no rate".
    """
    found = FACT.fullmatch(line)
    if not found or not found["value"]:
        return None
    name, value = found["name"].strip(" \"'").lower(), found["value"].strip()
    is_named = bool(RATE_NAMES.search(name)) and not NO_RATE_NAMES.search(name)
    rate = RATE.fullmatch(value.lower()) or (is_named and RATE.fullmatch(f"{value} hz"))
    if rate:
        kind = "rate" if is_named else "no rate" if NO_RATE_NAMES.search(name) else "hertz"
        return kind, f"{_hertz(rate[1]):g}"
    if TIME_NAMES.fullmatch(name) or in_millivolts(name) or is_ecg(name):
        return None
    if in_millivolts(value) is not None:
        return "unit", value
    if value.lower().startswith(f"{name} ") and is_ecg(value.split()[-1]):
        return "lead", value.split()[-1]
    return None


def _hertz(text: str) -> float:
    """The rate that `text` says; its comma or point is a decimal one unless the rate were then below any of an ECG."""
    rate_hz = float(text.replace(",", "."))
    grouped = re.fullmatch(r"\d{1,3}[.,]\d{3}", text, re.ASCII)
    return 1000 * rate_hz if grouped and rate_hz < LEAST_RATE_HZ else rate_hz


def time_places(names: Sequence[str]) -> list[int]:
    """Which of the columns called `names`, in small letters, hold times or count samples.

    A name with a unit of voltage is that of a signal, whatever it begins with, and so are "samples" that come last
    where nothing else is no time.
    """
    timed = [
        place
        for place, name in enumerate(names)
        if TIME_NAMES.fullmatch(name) and (name or place == 0)
        and not VOLTAGE_LAST.search(name) and not ECG_NAMES.fullmatch(name)
    ]  # fmt: skip
    return timed[:-1] if len(timed) == len(names) and SAMPLES.fullmatch(names[-1]) else timed
