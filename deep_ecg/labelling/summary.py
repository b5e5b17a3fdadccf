"""What a record amounts to: counts, burdens, rhythm and trust, as JSON and in words."""

from collections.abc import Mapping, Sequence

import numpy as np

from config import CLASSES
from deep_ecg.labelling.labelled import Labelled, class_counts, trust
from deep_ecg.labelling.signal_state import (
    Stretch,
    as_json,
    in_words,
    taken_over_in_words,
    unread_in_words,
)
from deep_ecg.labelling.trust import Trust, short_rr, short_rr_line
from deep_ecg.records.any_record import Record
from deep_ecg.report.measures import rhythm_of
from deep_ecg.scoring.ec57 import percentage
from deep_ecg.system.console import say
from deep_ecg.system.text import count_of, number

ECTOPIC = [CLASSES.index(name) for name in "SVF"]
NOBODY: Mapping[str, str] = {}


def summarise(labelled: Labelled) -> dict:
    """Beats in all and of each class, and the ectopic burden (share of S, V and F) and V burden in percent.

    Where a least confidence is asked for, "not_classified" counts the beats below it; classes and burdens, which are
    None where no beat is left, are of the others. "silent" are the long stretches without beats; "unit" is there where
    the unit was taken from the signal itself. "left_out" counts those of an annotation file outside the signal.
    "second_lead" is the lead that had a say, if there is one.
    "unreadable" counts beats of signal that could not be read, which are in no class, and "unread" are its stretches.
    "taken_over" are those in which another lead could, and is labelled; its name is their why. "short_rr" counts RR
    intervals that no heart has. "rhythm" has for each
    kind of rhythm that was found its episodes, their beats and seconds, and their share of what was read in percent; it
    is None where there are too few beats to judge the rhythm.
    """
    return summary_of(
        labelled.record,
        class_counts(labelled),
        trust(labelled),
        not_classified=int((labelled.readable & ~labelled.classified).sum()) if labelled.min_confidence else None,
        beats=len(labelled.samples),
        silent=labelled.silent,
        unit=labelled.unit,
        left_out=labelled.left_out,
        trained_on=labelled.trained_on,
        identity=labelled.identity,
        unreadable=int((~labelled.readable).sum()),
        unread=labelled.unread,
        taken_over=labelled.taken_over,
        second_lead=labelled.second,
        rhythm=rhythm_of(labelled.series),
        short_rr=short_rr(labelled.rr_ms),
    )


def summary_of(
    record: Record,
    counts: np.ndarray,
    trust: Trust,
    beats: int,
    not_classified: int | None = None,
    silent: Sequence[Stretch] = (),
    unit: str | None = None,
    left_out: int = 0,
    trained_on: str | None = None,
    identity: Mapping[str, str] = NOBODY,
    unreadable: int = 0,
    unread: Sequence[Stretch] = (),
    taken_over: Sequence[Stretch] = (),
    second_lead: str | None = None,
    rhythm: dict | None = None,
    short_rr: int = 0,
) -> dict:
    """`summarise` of so many `beats`, from the `counts` (5,) of the classified ones."""
    apart = {} if not_classified is None else {"not_classified": not_classified}
    outside = {"left_out": left_out} if left_out else {}
    return {
        "record": record.name,
        "lead": record.lead,
        **({"second_lead": second_lead} if second_lead else {}),
        "fs_hz": record.fs_hz,
        "beats": beats,
        "counts": {name: int(count) for name, count in zip(CLASSES, counts)},
        **apart,
        "unreadable": unreadable,
        **outside,
        "ectopic_percent": percentage(counts[ECTOPIC].sum(), counts.sum()),
        "v_percent": percentage(counts[CLASSES.index("V")], counts.sum()),
        "rhythm": rhythm,
        "silent": as_json(silent, record.fs_hz),
        "unread": as_json(unread, record.fs_hz),
        **({"taken_over": as_json(taken_over, record.fs_hz)} if taken_over else {}),
        **({"short_rr": short_rr} if short_rr else {}),
        **({"unit": unit} if unit else {}),
        **({"notes": list(record.notes)} if record.notes else {}),
        **({"identity": dict(identity)} if identity else {}),
        **({"trained_on": trained_on} if trained_on else {}),
        "trust": trust.as_json(),
    }


def print_summary(summary: dict, source: str, synthetic: bool):
    """Prints what `summarise` made of a record, the files written (`files`) and where its R-peaks come from."""
    stamp = "SYNTHETIC " if synthetic else ""
    counts = ", ".join(f"{name} {count:,}" for name, count in summary["counts"].items())
    counts += f", not classified {summary['not_classified']:,}" if "not_classified" in summary else ""
    counts += f", unreadable {summary['unreadable']:,}" if summary.get("unreadable") else ""
    ectopic, ventricular = (number(summary[name], ".2f") for name in ("ectopic_percent", "v_percent"))
    silent, unread, taken_over = (summary.get(name, ()) for name in ("silent", "unread", "taken_over"))
    told = [rhythm_in_words(summary["rhythm"]), in_words(silent), unread_in_words(unread)]
    told += [taken_over_in_words(taken_over), short_rr_line(summary.get("short_rr", 0)), summary.get("unit")]
    told += [*summary.get("notes", ()), trained_on_line(summary.get("trained_on"))]
    said = [line for line in told if line]
    second = summary.get("second_lead")
    leads = f"leads {summary['lead']} and {second}" if second else f"lead {summary['lead']}"
    said.append(trust_in_words(summary["trust"]))
    say(
        f"{stamp}{summary['record']}: {count_of(summary['beats'], 'beat')}, {leads}, {source}\n"
        f"    {counts}; ectopic burden (S, V, F) {ectopic} %, V {ventricular} %\n"
        + "".join(f"    {line}\n" for line in said)
        + f"    {', '.join(summary['files'])}"
    )


def rhythm_in_words(rhythm: dict | None) -> str | None:
    """One line on the rhythms found, as summaries hold them; None where there are none."""
    told = []
    for kind, found in (rhythm or {}).items():
        share = number(found["percent"], ".1f")
        told.append(f"{kind}: {count_of(found['count'], 'episode')}, {share} % of the time")
    return "; ".join(told) or None


def trust_in_words(trust: dict) -> str:
    """One line on the grade of trust, as summaries hold it, and its reasons."""
    return f"trust: {trust['grade']}" + f" ({'; '.join(trust['reasons'])})" * bool(trust["reasons"])


def trained_on_line(record: str | None) -> str | None:
    """What has to be known of labels of a `record` of the network's training."""
    if record is None:
        return None
    return f"the network was trained on this record ({record}), so its labels do not show how good it is on others"
