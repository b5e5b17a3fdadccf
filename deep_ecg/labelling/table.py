"""Labels as a table: one line a beat."""

from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from config import CLASSES
from deep_ecg.labelling.labelled import BLOCK_BEATS, Labelled, rhythm_marks
from deep_ecg.labelling.trust import rates_per_min
from deep_ecg.system.files import write_lines


def write_table(path: Path, labelled: Labelled):
    """Writes one line a beat, after a line with the names of the columns (`table_lines`)."""
    header = table_header(labelled.min_confidence, labelled.leads is not None)
    write_lines(path, chain([header], table_lines(labelled)))


def table_header(min_confidence: float, several_leads: bool = False) -> str:
    """The names of the columns of the table of beats."""
    names = ["sample", "time_s", "class", *(f"p_{name}" for name in CLASSES)]
    names += ["rr_ms", "rate_per_min", "signal", "sure", "rhythm"]
    return ",".join([*names, *["classified"] * (min_confidence > 0), *["lead"] * several_leads])


def table_lines(
    labelled: Labelled, intervals_ms: np.ndarray | None = None, earlier_ms: Sequence[float] = ()
) -> Iterable[str]:
    """The cells of each beat, one line each.

    `intervals_ms` (beats,) are their RR intervals where other beats came before, `earlier_ms` the known ones of those.

    Sample and time at the record's own rate, class, probability of each class, RR before it, heart rate over the last
    beats, state of the signal, whether its label is sure (1) or not (0), and the rhythm: AFIB for fibrillation or
    flutter, else N. RR, rate and rhythm are empty where there are none. Where a least confidence is asked for, a column
    says whether the beat is classified (1) or not (0); where more than one lead was read, the last one names each
    beat's.
    """
    samples, fs_hz = labelled.samples, labelled.record.fs_hz
    intervals_ms = labelled.rr_ms if intervals_ms is None else intervals_ms
    rates = rates_per_min(np.concatenate([earlier_ms, intervals_ms]))[len(earlier_ms) :]
    state = np.full(len(samples), "ok") if labelled.signal is None else labelled.signal
    columns = [samples, samples / fs_hz, labelled.predicted, labelled.proba, intervals_ms, rates]
    columns += [state, labelled.sure.astype(int), rhythm_at_beats(labelled), labelled.classified.astype(int)]
    columns.append(state if labelled.leads is None else np.char.replace(labelled.leads, ",", ";"))
    apart, several = labelled.min_confidence > 0, labelled.leads is not None

    def line(sample, time_s, label, proba, rr, rate, signal, sure, rhythm, classified, lead) -> str:
        cells = [f"{sample}", f"{time_s:.4f}", CLASSES[label], *(f"{p:.6f}" for p in proba)]
        cells += ["" if np.isnan(rr) else f"{rr:.0f}", "" if np.isnan(rate) else f"{rate:.0f}"]
        cells += [signal, f"{sure}", rhythm]
        return ",".join(cells + [f"{classified}"] * apart + [lead] * several)

    blocks = (slice(start, start + BLOCK_BEATS) for start in range(0, len(samples), BLOCK_BEATS))
    return chain.from_iterable(map(line, *(one[block].tolist() for one in columns)) for block in blocks)


def rhythm_at_beats(labelled: Labelled) -> np.ndarray:
    """The rhythm at each beat, (beats,) text, by the last mark before it: AFIB or N; "" where it was not judged."""
    marks = rhythm_marks(labelled)
    names = np.array(["", *(note.removeprefix("(") for _, note in marks)])
    return names[np.searchsorted([sample for sample, _ in marks], labelled.samples, side="right")]
