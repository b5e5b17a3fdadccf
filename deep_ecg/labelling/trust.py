"""How far the labels of a record can be trusted, in one grade with its reasons in words.

What is known without a reference is put together: how sure the network was (its probabilities are calibrated, so their
distance from 1 is the share of labels to be expected wrong), how much of the record showed beats, and whether it holds
what no network here has learned. `python -m experiments trust` shows that the expected share orders patients by the
share of their labels that are wrong.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from deep_ecg.system.text import count_of

SURE = 0.6  # a label with less is as likely as not among the wrong ones of a patient whom the network does not know
UNSURE_SHARE = 0.1  # of the beats: more than so many below SURE are named
FAIR, LOW = 0.04, 0.1  # expected share of wrong labels from which the grade is no longer high, and is low
SILENT_SHARE = (0.1, 0.3)  # of the record without beats: the same
FEW_BEATS = (25, 8)  # fewer: one wrong label alone is more than FAIR, and no heart rate is told over them
POOR_SHARE = (0.5, 0.8)  # of the beats in noise or beside lost signal: as FAIR and LOW
ALONE_SHARE = 0.3  # of the beats alike no beat before: no heart has so many shapes, noise has
SHORT_RR_MS = 200.0  # no ventricle beats twice within it: a QRS has two marks, or one of them is none
RATES_PER_MIN = (30.0, 200.0)  # a median heart rate beyond is a detector's error as likely as the patient's
FAST_PER_MIN = 120.0  # where most beats come so fast, early ones are the usual ones, and S is not told from N
RATE_BEATS = 8  # over which a heart rate is told
LONGEST_RR_MS = 5000.0  # a longer interval is a stretch without beats, and no RR
GRADES = ("high", "fair", "low")
PACED_WORDS = ("paced", "pacemaker", "pacing")
PACED = "paced rhythm, which no network here has learned"


@dataclass(frozen=True)
class Trust:
    """The `grade` of GRADES, the share of labels to be expected wrong, and why the grade is not higher."""

    grade: str
    expected_wrong: float
    reasons: tuple[str, ...]

    def as_json(self) -> dict:
        """As summaries hold it."""
        percent = round(100 * self.expected_wrong, 2)
        return {"grade": self.grade, "expected_wrong_percent": percent, "reasons": list(self.reasons)}


class Confidence(NamedTuple):
    """Of so many `beats` the shares of labels to be expected wrong, and below SURE; 1 without a beat."""

    beats: int
    wrong: float
    unsure: float

    @classmethod
    def of(cls, proba: np.ndarray) -> "Confidence":
        """That of calibrated probabilities (beats, classes)."""
        if not len(proba):
            return cls(0, 1.0, 1.0)
        return cls(len(proba), float((1 - proba.max(axis=1)).mean()), 1 - float(is_sure(proba).mean()))


def is_sure(proba: np.ndarray) -> np.ndarray:
    """Whether the label of each beat has a probability of SURE or more, (beats,) bool."""
    return proba.max(axis=1) >= SURE


def trust_of(
    labels: Confidence,
    rate_per_min: float | None,
    silent_share: float = 0.0,
    paced: bool = False,
    poor_share: float = 0.0,
    alone_share: float = 0.0,
) -> Trust:
    """What is to be thought of `labels`.

    `rate_per_min` is the median heart rate, None where there is none; `silent_share` the share of the record in which
    no beat was found for long; `paced` whether spikes, notes or annotations speak of a pacemaker; `poor_share` the
    share of the beats in noise or beside lost signal, `alone_share` of those whose shape is like none before.
    """
    told = [_of_beats(labels.beats)]
    if labels.beats:
        wrong = f"about {_percent(labels.wrong)} of the labels to be expected wrong"
        told += [_of_confidence(labels.unsure), (_level(labels.wrong, FAIR, LOW), wrong)]
    told += [
        (_level(poor_share, *POOR_SHARE), f"noise or lost signal at {_percent(poor_share)} of the beats"),
        (2 * (alone_share > ALONE_SHARE), f"{_percent(alone_share)} of the beats are like none before: is it an ECG?"),
        (_level(silent_share, *SILENT_SHARE), f"no beats in {_percent(silent_share)} of the record"),
        _of_rate(rate_per_min),
        (2 * paced, PACED),
    ]
    return Trust(GRADES[max(level for level, _ in told)], labels.wrong, tuple(why for level, why in told if level))


def _level(value: float, fair: float, low: float) -> int:
    """The place in GRADES of a share, or of a shortage, above these limits."""
    return int(value > fair) + int(value > low)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _of_beats(beats: int) -> tuple[int, str]:
    if not beats:
        return 2, "no beat was found"
    return _level(-beats, -FEW_BEATS[0], -FEW_BEATS[1]), f"only {count_of(beats, 'beat')}, too few to judge by"


def _of_confidence(unsure: float) -> tuple[int, str]:
    level = _level(unsure, UNSURE_SHARE, 0.5)
    return level, f"{'most beats' if level == 2 else f'{_percent(unsure)} of the beats'} below {_percent(SURE)} sure"


def _of_rate(rate_per_min: float | None) -> tuple[int, str]:
    if rate_per_min is None:
        return 0, ""
    if not RATES_PER_MIN[0] <= rate_per_min <= RATES_PER_MIN[1]:
        return 2, f"a heart rate of {rate_per_min:.0f}/min is hardly one"
    fast = rate_per_min > FAST_PER_MIN
    return int(fast), f"a heart rate of {rate_per_min:.0f}/min throughout, in which S is hardly told from N"


def rates_per_min(rr_ms: np.ndarray) -> np.ndarray:
    """Heart rate at each beat by the mean of its last RATE_BEATS known RR intervals, (beats,); NaN without one."""
    known = np.isfinite(rr_ms)
    counts = np.cumsum(known)
    sums_ms = np.concatenate([[0.0], np.cumsum(rr_ms[known])])
    firsts = np.maximum(counts - RATE_BEATS, 0)
    spans_ms = sums_ms[counts] - sums_ms[firsts]
    return np.divide(60_000.0 * (counts - firsts), spans_ms, out=np.full(len(rr_ms), np.nan), where=counts > 0)


def rr_ms(samples: np.ndarray, fs_hz: float) -> np.ndarray:
    """RR interval before each beat in ms, (beats,); NaN before the first and where none is known to be one."""
    intervals_ms = 1000 * np.diff(samples, prepend=np.nan) / fs_hz
    return np.where(intervals_ms <= LONGEST_RR_MS, intervals_ms, np.nan)


def short_rr(rr_ms: np.ndarray) -> int:
    """How many of the RR intervals `rr_ms` (beats,) are below SHORT_RR_MS."""
    return int((rr_ms < SHORT_RR_MS).sum())


def short_rr_line(count: int) -> str | None:
    """What has to be known of so many RR intervals below SHORT_RR_MS; None where there are none."""
    many = f"{count_of(count, 'RR interval')} below {SHORT_RR_MS:.0f} ms"
    return f"{many}, in which no heart beats twice: marks of one beat, or of none?" if count else None


def is_poor(signal: np.ndarray) -> np.ndarray:
    """Whether each beat is in noise or beside lost signal by the states `signal` (beats,) of STATES, (beats,) bool."""
    return np.isin(signal, ("noisy", "lost"))


def speaks_of_pacing(comments: list[str]) -> bool:
    """Whether the notes of a header speak of a pacemaker at work."""
    return any(word in comment.lower() for comment in comments for word in PACED_WORDS)
