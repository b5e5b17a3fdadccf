"""Times as text: clocks, dates of many forms, and both."""

import re
from datetime import UTC, datetime

import numpy as np

HALF = r"(?:\s*([apAP])\.?[mM]\.?)?"  # of a day
CLOCK = re.compile(r"(?:(\d{1,3}):)?(\d{1,3}):(\d{2}(?:[.,]\d+|:\d{3})?)" + HALF, re.ASCII)
DATED = re.compile(r"(.*?)" + HALF, re.DOTALL)
AFTER_DATE = r"(?:[ T,]+(?P<clock>\d.*))?"
DAY_FIRST = re.compile(r"(?P<day>\d{1,2})[./](?P<month>\d{1,2})[./](?P<year>\d{4})" + AFTER_DATE, re.ASCII)
YEAR_FIRST = re.compile(r"(?P<year>\d{4})[./](?P<month>\d{1,2})[./](?P<day>\d{1,2})" + AFTER_DATE, re.ASCII)
DATE_LAST = re.compile(r"(?P<clock>\d+:\S+) (?P<day>\d{1,2})[./](?P<month>\d{1,2})[./](?P<year>\d{4})", re.ASCII)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def time_s(text: str) -> float:
    """The time that `text` tells, in s: a clock since midnight or the start, a date and time since 1970.

    A date without zone is taken as if it were in UTC. ValueError where it is no time.
    """
    text = text.strip(" \t\r[]\"'")
    if not text:
        return np.nan
    clock = CLOCK.fullmatch(text)
    if clock:
        hours, minutes, seconds, half = clock.groups()
        hour = _hour(int(hours or 0), half)
        return 3600 * hour + 60 * int(minutes) + float(re.sub("[,:]", ".", seconds))
    return (moment(text) - EPOCH).total_seconds()


def _hour(hour: int, half: str | None) -> int:
    """The `hour` of the day; of its `half`, "a" or "p", where one is told."""
    return hour % 12 + 12 * (half in "pP") if half else hour


def moment(text: str) -> datetime:
    """The date and time that `text` tells, in UTC where it names no zone. ValueError where it tells none.

    ISO 8601, with any sign between the two and strokes or points in the date, or the day first; the month is first
    where the day would be a thirteenth month, or a.m. or p.m. is told. A date alone is its midnight.
    """
    dated = DATED.fullmatch(text.strip(" \t\r[]\"'"))
    assert dated is not None  # whatever it is
    text, half = dated.groups()
    found = DATE_LAST.fullmatch(text) or DAY_FIRST.fullmatch(text) or YEAR_FIRST.fullmatch(text)
    if found:
        day, month = int(found["day"]), int(found["month"])
        if found.re is not YEAR_FIRST and day <= 12 and (month > 12 or half):
            day, month = month, day
        text = f"{found['year']}-{month:02}-{day:02} {_padded(found['clock'] or '00:00')}"
    when = datetime.fromisoformat(text.replace(" +", "+").replace(" -", "-").replace(",", "."))
    when = when.replace(hour=_hour(when.hour, half))
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def _padded(clock: str) -> str:
    """`clock` with two digits for its hour, as ISO 8601 has it."""
    return f"0{clock}" if clock[1:2] == ":" else clock
