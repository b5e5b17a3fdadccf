"""Labels as WFDB annotations, and as EDF+ annotations."""

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import wfdb

from config import CLASSES
from deep_ecg.labelling.labelled import BLOCK_BEATS, Labelled, rhythm_marks
from deep_ecg.records.edf_files import annotations_file
from deep_ecg.system.files import atomic_file, check_whole, scratch_folder

END_MARK = b"\0\0"  # of an annotation file


def write_annotations(path: Path, labelled: Labelled):
    """Writes the labels as WFDB annotations (N S V F Q) at the record's own rate; `path` ends in .pred.

    Where the rhythm was judged, marks (+) say (AFIB at the beat at which an episode begins, and (N at that of its end.

    A beat that is not classified is a Q, the code of an unclassifiable beat, which EC57 counts neither as a detection
    of V or S nor as a false one; its note tells it from a beat that the network takes for Q.
    WFDB's tools find the file by the record's name, so a SYNTHETIC one says so in a comment annotation at its start.
    """
    with atomic_file(path) as temporary:
        temporary.write_bytes(encoded_annotations(labelled, path.parent))


def encoded_annotations(labelled: Labelled, parent: Path, after: int | None = None) -> bytes:
    """The annotation file of `labelled`, made in the folder `parent`.

    With `after`, what is to follow the annotations of a file whose last beat is at that sample.
    """
    marks, parts = rhythm_marks(labelled), []
    for start in range(0, len(labelled.samples), BLOCK_BEATS):
        rows = _annotations(labelled, slice(start, start + BLOCK_BEATS), marks)
        if labelled.synthetic and after is None:
            rows.insert(0, (0, '"', "SYNTHETIC"))
        parts.append(_encoded(rows, parent, after or 0, labelled.record.fs_hz if after is None else None))
        after = rows[-1][0]
    return b"".join(part.removesuffix(END_MARK) for part in parts) + END_MARK


def _annotations(labelled: Labelled, block: slice, marks: Sequence[tuple[int, str]]) -> list[tuple[int, str, str]]:
    """Sample, symbol and note of the beats of `block`, and of those of the `marks` that lie among them."""
    signal = None if labelled.signal is None else labelled.signal[block]
    beats = replace(labelled, samples=labelled.samples[block], proba=labelled.proba[block], signal=signal)
    first = beats.samples[0] if block.start else 0
    following = labelled.samples[block.stop] if block.stop < len(labelled.samples) else math.inf
    rows = [(sample, "+", note) for sample, note in marks if first <= sample < following]
    rows += zip(beats.samples.tolist(), (CLASSES[label] for label in beats.predicted), beats.notes)
    return sorted(rows, key=lambda row: row[0])  # a mark stands before its beat


def _encoded(rows: Sequence[tuple[int, str, str]], parent: Path, zero: int, fs_hz: float | None) -> bytes:
    """The annotation file of `rows` of sample, symbol and note, which count from sample `zero` on."""
    samples = np.array([sample for sample, *_ in rows]) - zero
    symbols, notes = [symbol for _, symbol, _ in rows], [note for *_, note in rows]
    with scratch_folder(parent) as folder:
        # wfdb takes only plain names, so the file gets its own afterwards: the name is not part of its contents.
        wfdb.wrann("beats", "pred", samples, symbols, aux_note=notes, fs=fs_hz, write_dir=str(folder))
        _check_written(folder / "beats.pred", samples[-1])
        return (folder / "beats.pred").read_bytes()


def _check_written(path: Path, last: int):
    """OSError unless the annotation file at `path` is whole and ends with the beat at sample `last`."""
    try:
        whole = wfdb.rdann(str(path.with_suffix("")), path.suffix[1:]).sample[-1] == last
    except Exception:  # its end is missing, and the parser stumbles over that somehow
        whole = False
    check_whole(whole and path.read_bytes().endswith(END_MARK))


def write_edf_labels(path: Path, labelled: Labelled):
    """Writes the labels as EDF+ annotations, at times from the start of the record, with which the file begins too."""
    labels = [note or CLASSES[label] for label, note in zip(labelled.predicted, labelled.notes)]
    times_s = labelled.samples / labelled.record.fs_hz
    if labelled.synthetic:
        times_s, labels = np.append(0, times_s), ["SYNTHETIC", *labels]
    start = labelled.started if isinstance(labelled.started, datetime) else None
    with atomic_file(path) as temporary:
        temporary.write_bytes(annotations_file(times_s, labels, start, labelled.identity.get("patient")))
