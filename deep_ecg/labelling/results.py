"""The files of a record's results: their names, what goes into them, and what an earlier run has left."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from deep_ecg.labelling.annotations import write_annotations, write_edf_labels
from deep_ecg.labelling.labelled import Labelled, trust
from deep_ecg.labelling.signal_state import as_json, taken_over_in_words
from deep_ecg.labelling.summary import trained_on_line
from deep_ecg.labelling.table import write_table
from deep_ecg.labelling.trust import short_rr, short_rr_line
from deep_ecg.networks.classifier import Classifier
from deep_ecg.records.any_record import AnyRecord
from deep_ecg.records.formats import LABELS_ENDING
from deep_ecg.report.recording import Recording, Reference
from deep_ecg.report.report import Report
from deep_ecg.system.errors import DeepECGError

EVENTS = "-events"  # ends the name of the table of episodes
WITH_EDF_LABELS = ("EDF", "BDF")  # formats of records whose labels are written as EDF+ annotations, too


class ResultFiles(NamedTuple):
    """The files of a record's results; NAME.json beside them tells which there are."""

    annotations: Path
    table: Path
    picture: Path
    page: Path
    events: Path
    edf: Path


def result_files(name: str, out: Path, synthetic: bool) -> ResultFiles:
    """The files of record `name` in the folder `out`."""
    stamp = "-SYNTHETIC" * synthetic
    endings = (
        ".pred",
        f"{stamp}.csv",
        f"{stamp}.png",
        f"{stamp}.html",
        f"{EVENTS}{stamp}.csv",
        f"{stamp}{LABELS_ENDING}",
    )
    return ResultFiles(*(out / f"{name}{ending}" for ending in endings))


def check_events_apart(names: Iterable[str]):
    """Raises DeepECGError where the events of one of the records `names` would be written over the beats of another."""
    known = set(names)
    for name in known:
        if f"{name}{EVENTS}" in known:
            raise DeepECGError(f"records {name} and {name}{EVENTS} would both write {name}{EVENTS}.csv: rename one")


def check_apart(results: Sequence[Path], file: AnyRecord):
    """DeepECGError where one of the `results` would be written over the record `file` itself."""
    mine = file.main_file.resolve()
    if any(path.resolve() == mine for path in results):
        raise DeepECGError(f"record {file.path}: results would be written over it: name another folder with --out")


def write_results(files: ResultFiles, labelled: Labelled, report: Report | None) -> list[Path]:
    """Writes annotations, table and, where there is one, report; returns the files.

    Without a beat there is no annotation file. What an earlier run has left of those that are not written is removed,
    and of the picture, which is drawn after them.
    """
    write_table(files.table, labelled)
    written, absent = [files.table], [files.picture, *([] if report else [files.page, files.events])]
    if len(labelled.samples):
        write_annotations(files.annotations, labelled)
        written.insert(0, files.annotations)
    else:
        absent.append(files.annotations)
    if len(labelled.samples) and labelled.kind in WITH_EDF_LABELS:
        write_edf_labels(files.edf, labelled)
        written.append(files.edf)
    else:
        absent.append(files.edf)
    for file in absent:
        file.unlink(missing_ok=True)  # it would tell of another signal
    return written + (report.write(files.page, files.events) if report else [])


def recording_of(labelled: Labelled, reference: Reference | None, network: str, peaks: str | None) -> Recording:
    """`labelled` as its report takes it: by which `network`, in words, and the R-peaks of which annotation file."""
    record = labelled.record
    taken_over = taken_over_in_words(as_json(labelled.taken_over, record.fs_hz))
    short = short_rr_line(short_rr(labelled.rr_ms))
    second = f"lead {labelled.second} had a say in what the beats are" if labelled.second else None
    lines = (labelled.unit, second, taken_over, short, *record.notes, trained_on_line(labelled.trained_on))
    notes = [f"{line[0].upper()}{line[1:]}{'.' * (line[-1] != '?')}" for line in lines if line]
    if labelled.left_out:
        notes.append(f"{labelled.left_out} annotated beats lie outside the signal and are left out.")
    return Recording(
        record.name,
        record.lead,
        labelled.series,
        record.signal_mv,
        trust(labelled).as_json(),
        network=network,
        peaks=f"of {record.name}.{peaks}" if peaks else "detected",
        groups=labelled.groups,
        labelled_mv=labelled.shown_mv if labelled.others else None,
        leads=labelled.leads if labelled.others else None,
        reference=reference,
        synthetic=labelled.synthetic,
        notes=notes,
    )


def in_words_of(classifier: Classifier, network: str) -> str:
    """What labels the beats: the file `network`, its mode and preset."""
    return f"{network} ({classifier.description.mode} mode, {classifier.description.preset} preset)"
