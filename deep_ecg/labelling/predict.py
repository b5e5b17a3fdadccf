"""`python main.py predict`: the beats of anyone's record, labelled by a trained network.

For each record it writes the labels as a WFDB annotation file, as a table with probabilities, as a picture, and as a
report for a reader; for one that came as EDF or BDF also as EDF+ annotations.
"""

import math
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, time
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import wfdb

from config import CLASSES, Config
from deep_ecg.beats.beat_network import check_rate
from deep_ecg.beats.input_settings import InputSettings
from deep_ecg.beats.inputs import cleaned
from deep_ecg.beats.signal_watch import SignalWatch
from deep_ecg.labelling.lead_beats import LeadBeats, SecondLead, detected_beats, probabilities
from deep_ecg.labelling.reference import labels_at, reference_beside
from deep_ecg.labelling.signal_state import (
    Stretch,
    as_json,
    in_words,
    lost_before,
    outside,
    signal_at,
    silent_stretches,
    taken_over_in_words,
    unread_in_words,
    unread_share,
    watched,
)
from deep_ecg.labelling.trust import (
    Confidence,
    Trust,
    is_poor,
    rates_per_min,
    rr_ms,
    short_rr,
    short_rr_line,
    speaks_of_pacing,
    trust_of,
)
from deep_ecg.labelling.trust import is_sure as is_trusted
from deep_ecg.networks.classifier import (
    SYNTHETIC_NETWORK,
    UNCLASSIFIABLE,
    Classifier,
    check_min_confidence,
    is_sure,
    load_classifier,
    network_path,
)
from deep_ecg.networks.description import RATES_HZ
from deep_ecg.networks.fibrillation import episodes_of_record, rhythm_annotations
from deep_ecg.networks.trained_on import found_in
from deep_ecg.records import leads
from deep_ecg.records.any_record import Annotation, AnyRecord, Record
from deep_ecg.records.edf_files import annotations_file
from deep_ecg.records.formats import LABELS_ENDING, TextSettings, is_alone, is_beside, is_record, open_any
from deep_ecg.records.wfdb_files import RecordFile, aami_labels, left_out_line
from deep_ecg.report.beat_series import BeatSeries, RhythmEpisode, Unread
from deep_ecg.report.measures import rhythm_of
from deep_ecg.report.recording import Recording, Reference
from deep_ecg.report.report import Report
from deep_ecg.scoring.ec57 import percentage
from deep_ecg.system.errors import DeepECGError, NoBeats, NoOutput, PartlyDone
from deep_ecg.system.files import atomic_file, check_there, check_whole, check_writable, scratch_folder, write_lines
from deep_ecg.system.json_files import write_json
from deep_ecg.system.text import number
from dsp_filters import SETTLE_CYCLES, rate_ratio, resample

ECTOPIC = [CLASSES.index(name) for name in "SVF"]
NO_BEATS_MEND = "choose another lead with --lead, name the unit of a text with --units, or give R-peaks with --peaks"
PACED_SYMBOL = "/"  # of an annotated paced beat
NOTE = "not classified"  # beside the Q of a beat whose label is too uncertain
UNREADABLE = "unreadable"  # state of the signal at beats that no network was shown: they are Q, with this note
FIBRILLATION = "atrial fibrillation or flutter"  # the one kind of rhythm that is told: see `networks.fibrillation`
EVENTS = "-events"  # ends the name of the table of episodes
WITH_EDF_LABELS = ("EDF", "BDF")  # formats of records whose labels are written as EDF+ annotations, too
NO_SETTINGS = TextSettings()
NOBODY: Mapping[str, str] = {}
SECOND_LEADS = ("V1", "V5", "V2", "V4")  # in this order, where there are several: those of DS1
STRIP_S = 20.0  # length of the picture
BLOCK_BEATS = 2**14  # that are written at once
END_MARK = b"\0\0"  # of an annotation file
STRIP_LEAD_IN_S = 1.0  # how much of it comes before its first ectopic beat


@dataclass(frozen=True)
class Labelled:
    """One record with its beats labelled: samples (beats,) at its own rate, proba (beats, 5).

    `reference` (beats,) holds the class indices of the annotation file, or None where it has none. Beats whose highest
    probability is below `min_confidence` are not classified. `silent` are the long stretches without beats, `unit` says
    so where the unit of the signal was taken from the signal itself, `signal` (beats,) is its state at each beat ("ok"
    where it is None), `paced` whether notes or annotations speak of a pacemaker; `left_out` beats of the
    annotation file lie outside the signal. Beats of signal that could not be read are in `samples`, as Q; `unread` are
    the stretches of it. `after_gap` (beats,) tells before which beats there is no RR interval, `groups` (beats,) those
    of `NetworkInputs`. `leads`, `taken_over`, `second` are those of `LeadBeats`; `rhythm` is that of `fibrillation_in`;
    `started` and `kind` are as in `AnyRecord`; `identity` is empty unless it is to be kept; `trained_on` names the
    record of the network's training that this one is.
    """

    record: Record
    samples: np.ndarray
    proba: np.ndarray
    reference: np.ndarray | None
    synthetic: bool
    min_confidence: float = 0.0
    silent: list[Stretch] = field(default_factory=list)
    unit: str | None = None
    signal: np.ndarray | None = None
    paced: bool = False
    left_out: int = 0
    after_gap: np.ndarray | None = None
    groups: np.ndarray | None = None
    rhythm: list[RhythmEpisode] | None = None
    started: datetime | time | None = None
    trained_on: str | None = None
    kind: str = RecordFile.kind
    identity: dict[str, str] = field(default_factory=dict)
    unread: list[Stretch] = field(default_factory=list)
    leads: np.ndarray | None = None
    taken_over: list[Stretch] = field(default_factory=list)
    second: str | None = None

    @cached_property
    def readable(self) -> np.ndarray:
        """Whether each beat was shown to the network, (beats,) bool."""
        return np.full(len(self.samples), True) if self.signal is None else self.signal != UNREADABLE

    @cached_property
    def classified(self) -> np.ndarray:
        """Whether the network is sure enough of each beat, (beats,) bool."""
        return self.readable & is_sure(self.proba, self.min_confidence)

    @cached_property
    def sure(self) -> np.ndarray:
        """Whether each label is likely enough to be relied on, (beats,) bool."""
        return self.readable & is_trusted(self.proba)

    @property
    def notes(self) -> list[str]:
        """Why each beat is a Q that the network did not say; empty where it is none."""
        return np.where(self.readable, np.where(self.classified, "", NOTE), UNREADABLE).tolist()

    @cached_property
    def rr_ms(self) -> np.ndarray:
        """RR interval before each beat, (beats,); NaN where there is none."""
        return intervals_after(self)

    @cached_property
    def predicted(self) -> np.ndarray:
        """Index into CLASSES of each beat, (beats,): Q, which is AAMI's unclassifiable, where it is not classified."""
        return np.where(self.classified, self.proba.argmax(axis=1), UNCLASSIFIABLE)

    @cached_property
    def series(self) -> BeatSeries:
        """The beats as measures take them."""
        return series_of(self)


def predict_records(
    records: Sequence[str],
    config: Config,
    out: Path,
    peaks: str | None = None,
    lead: str | None = None,
    checkpoint: Path | None = None,
    runtime: str | None = None,
    min_confidence: float = 0.0,
    report: bool = True,
    keep_identity: bool = False,
    text: TextSettings = NO_SETTINGS,
) -> list[dict]:
    """Labels the beats of `records` (as `record_path` takes them), prints and returns a summary of each.

    Writes NAME.pred (WFDB annotations), NAME.csv, NAME.json (the summary and all figures of the report) and, with
    `report`, NAME.html, NAME-events.csv and NAME.png into `out`; where the network or the record is SYNTHETIC, a note
    in the first and the names of the others say so. R-peaks come from the annotation
    file with extension `peaks`, else from a detector, in causal mode the causal one: labels are then those of a live
    stream (`BeatStream`). Beats whose highest probability is below `min_confidence` (0 to 1) are not classified:
    they are written as Q, with a note in the annotation file, and counted apart. `checkpoint` and `runtime` are those
    of `load_classifier`. What the network has been trained with is in its file; `config` says which one it is by
    default, and how annotation files are read. What a file says of who was recorded is in no result unless
    `keep_identity`; `text` is the user's word on records that are text. A record in which no beat is found gets an
    empty table and no annotation file.
    A record that cannot be used raises DeepECGError where it is the only one; of several it is told in one line and
    left out, and PartlyDone is raised at the end, else NoBeats where there were records without a beat. NoOutput is
    raised at once where no more can be written.
    """
    check_min_confidence(min_confidence)
    paths = [record_path(record, config) for record in records]
    _check_names(paths)
    classifier = load_classifier(config, checkpoint, runtime)
    check_writable(out)
    if classifier.synthetic:
        print(SYNTHETIC_NETWORK)
    network = network_path(config, checkpoint, runtime).name
    job = partial(_predict_to_files, classifier=classifier, network=network, config=config, out=out, peaks=peaks)
    job = partial(job, lead=lead, min_confidence=min_confidence, report=report, keep_identity=keep_identity)
    summaries: dict[Path, dict] = {}
    for path in paths:
        try:
            summaries[path] = job(open_any(path, text, told=True))
        except NoOutput:
            raise
        except DeepECGError as error:
            if len(paths) == 1:
                raise
            check_writable(out)
            print(f"failed: {error}", file=sys.stderr, flush=True)
    if len(summaries) < len(paths):
        raise PartlyDone(f"{len(paths) - len(summaries)} of {len(paths)} records failed: the lines above say why")
    without = [str(path) for path, summary in summaries.items() if not summary["beats"]]
    if without:
        raise NoBeats(f"no beat was found in {', '.join(without)}: {NO_BEATS_MEND}")
    return list(summaries.values())


def label_record(
    path: Path,
    classifier: Classifier,
    config: Config,
    peaks: str | None = None,
    lead: str | None = None,
    text: TextSettings = NO_SETTINGS,
) -> Labelled:
    """Labels the beats of the record at `path`, as `open_any` takes it.

    R-peaks are those of the annotation file with the extension `peaks`, whose symbols `config` explains, else a
    detector's. `lead` is a lead's name, by default the one `choose_lead` takes. Raises DeepECGError when the record
    cannot be read. There may be no beat.
    """
    return label_opened(open_any(path, text, told=True), classifier, config, peaks, lead)


def label_opened(
    file: AnyRecord,
    classifier: Classifier,
    config: Config,
    peaks: str | None = None,
    lead: str | None = None,
    tell: bool = False,
) -> Labelled:
    """`label_record` of a record whose header has been read; `tell` as in `detected_beats`."""
    record, synthetic = read_lead(file, classifier, lead)
    annotation = None if peaks is None else _read_peaks(file, record, peaks, config)
    is_averaged = config.second_lead and lead is None and not classifier.inputs.causal
    second = next(_other_leads(file, record, SECOND_LEADS), None) if is_averaged else None
    if annotation is None:
        found = _detected(file, record, classifier, second, tell)
    else:
        found = _given(record, annotation, classifier, second, tell)
    labelled = _labelled(record, found, classifier)
    symbols = () if annotation is None else annotation.symbols
    return replace(
        labelled,
        reference=None if annotation is None else _reference(annotation, peaks, config),
        synthetic=synthetic,
        paced=speaks_of_pacing(file.comments) or PACED_SYMBOL in symbols,
        left_out=0 if annotation is None else annotation.left_out,
        started=file.started,
        kind=file.kind,
    )


def label_lead(record: Record, classifier: Classifier, annotation: Annotation | None = None) -> Labelled:
    """Labels the beats of `record`, at the R-peaks of `annotation` or else at those that a detector finds.

    DeepECGError where the detector cannot run at that rate.
    """
    found = detected_beats(record, classifier) if annotation is None else _given(record, annotation, classifier)
    return _labelled(record, found, classifier)


def fibrillation_in(beats: LeadBeats, fs_hz: float) -> list[RhythmEpisode] | None:
    """Episodes of fibrillation or flutter, by the beats that could be read; None where these are too few."""
    read = beats.signal != UNREADABLE
    labels = beats.proba[read].argmax(axis=1)
    found = episodes_of_record(beats.samples[read], fs_hz, labels, beats.after_gap[read], beats.p_waves[read])
    return None if found is None else [RhythmEpisode(one.start, one.end, FIBRILLATION) for one in found]


def _labelled(record: Record, beats: LeadBeats, classifier: Classifier) -> Labelled:
    return Labelled(
        record,
        beats.samples,
        beats.proba,
        None,
        classifier.synthetic,
        silent=silent_stretches(record, beats.samples),
        signal=beats.signal,
        unit=beats.watch.unit,
        after_gap=beats.after_gap,
        groups=beats.groups,
        unread=beats.unread,
        leads=beats.leads,
        taken_over=beats.taken_over,
        second=beats.second,
        rhythm=fibrillation_in(beats, record.fs_hz),
        trained_on=found_in(classifier.trained_on, record.signal_mv),
    )


def open_record(
    path: Path, classifier: Classifier, lead: str | None = None, text: TextSettings = NO_SETTINGS
) -> tuple[Record, bool]:
    """`read_lead` of the record at `path`."""
    return read_lead(open_any(path, text, told=True), classifier, lead)


def read_lead(file: AnyRecord, classifier: Classifier, lead: str | None = None) -> tuple[Record, bool]:
    """The lead `lead`, or that of `choose_lead`, of the record `file`, and whether it or the network is SYNTHETIC.

    Missing samples are NaN. Raises DeepECGError when the record cannot be read or the lead's rate is out of RATES_HZ.
    """
    if lead is None:
        number, record = choose_lead(file, classifier.description.leads)
    else:
        number = file.number_of(lead)
        _check_rate(file, number)
        record = file.lead(number, in_parts=True)
    return record, classifier.synthetic or file.synthetic


def choose_lead(file: AnyRecord, preferred: Sequence[str]) -> tuple[int, Record]:
    """The first usable of the signals that can be an ECG (`leads.candidates`), and its index.

    Prints a line when it is not of a `preferred` name. Raises DeepECGError when there is none.
    """
    numbers = leads.candidates(file.leads, file.units, preferred)
    if not numbers:
        there = ", ".join(f"{name} ({unit})" for name, unit in zip(file.leads, file.units))
        why = "has no signal that is an ECG by name and unit: name one with --lead"
        raise DeepECGError(f"record {file.path} {why}: {there}")
    number, record = file.first_usable(numbers, partial(_check_rate, file), in_parts=True)
    name = file.leads[number]
    if name not in preferred or number != numbers[0]:
        there = ", ".join(file.leads)
        flat = f"lead {leads.label(file.leads, numbers[0])} is flat"
        why = f"no lead {' or '.join(preferred)}" if number == numbers[0] else flat
        print(f"{file.path.name}: {why}, taking {record.lead!r} of {there} (--lead chooses)", flush=True)
    return number, record


def _check_rate(file: AnyRecord, number: int):
    low, high = RATES_HZ
    fs_hz = file.fs_hz(number)
    if not low <= fs_hz <= high:
        which = f"lead {leads.label(file.leads, number)} of record {file.path}"
        raise DeepECGError(f"{which} is sampled at {fs_hz:g} Hz: {low:g} to {high:g} Hz are needed")


def record_path(record: str, config: Config) -> Path:
    """The path of the record that the command line calls `record`, as `open_any` takes it.

    That is a file that is a record, or the path of a WFDB one, also of one of its files (NAME.hea, NAME.dat, NAME.atr),
    or else a record of the data folder, as `evaluate` has them, which is then said. DeepECGError for an empty name.
    """
    if not record.strip():
        raise DeepECGError("a record has an empty name: give the path of a record, or a folder")
    if not record.endswith(".hea") and is_record(Path(record)):
        return Path(record)
    names = dict.fromkeys([record.removesuffix(".hea"), record, os.path.splitext(record)[0]])
    for folder in (Path(), config.data_folder):
        for name in names:
            if os.path.isfile(folder / f"{name}.hea") and Path(name).name and is_beside(folder / record, folder / name):
                if folder != Path() and not Path(name).is_absolute():
                    print(f"{record}: record {name} of the data folder {folder}", flush=True)
                return folder / name
    return Path(record.removesuffix(".hea"))


def check_events_apart(names: Iterable[str]):
    """Raises DeepECGError where the events of one of the records `names` would be written over the beats of another."""
    known = set(names)
    for name in known:
        if f"{name}{EVENTS}" in known:
            raise DeepECGError(f"records {name} and {name}{EVENTS} would both write {name}{EVENTS}.csv: rename one")


def _check_names(paths: Sequence[Path]):
    seen: dict[str, Path] = {}
    for path in paths:
        name = path.stem if is_alone(path) else path.name
        if name in seen:
            raise DeepECGError(f"records {seen[name]} and {path} share a name: give each its own --out folder")
        seen[name] = path
    check_events_apart(seen)


def _detected(file: AnyRecord, record: Record, classifier: Classifier, second: Record | None, tell: bool) -> LeadBeats:
    if len(record.signal_mv) < record.fs_hz:
        raise DeepECGError(f"record {file.path} lasts less than a second: a longer one is needed")
    try:
        check_rate(record.fs_hz)
    except DeepECGError as error:
        raise DeepECGError(f"record {file.path}: {error}: resample it, or give the R-peaks with --peaks") from None
    others = _other_leads(file, record, classifier.description.leads)
    return detected_beats(record, classifier, others, second, tell)


def _other_leads(file: AnyRecord, record: Record, preferred: Sequence[str]) -> Iterator[Record]:
    """The leads of `file` beside `record` that can be read in its place: voltages of its rate and length."""
    for candidate in leads.candidates(file.leads, file.units, preferred):
        is_other = leads.label(file.leads, candidate) != record.lead and file.fs_hz(candidate) == record.fs_hz
        if is_other and leads.in_millivolts(file.units[candidate]):
            try:
                other = file.lead(candidate, in_parts=True)
            except DeepECGError:  # flat, or not to be read: no help
                continue
            if len(other.signal_mv) == len(record.signal_mv):
                yield other


def _given(
    record: Record, annotation: Annotation, classifier: Classifier, second: Record | None = None, tell: bool = False
) -> LeadBeats:
    """The beats at R-peaks that were given: whoever gave them could read the signal."""
    samples, watch, other = annotation.samples, watched(record), None
    if second is not None:
        is_there = signal_at(watched(second), samples, second.fs_hz) == "ok"
        other = SecondLead(second, is_there.__getitem__)
    proba, groups, p_waves = np.zeros((0, len(CLASSES))), samples, np.zeros(0, np.float32)
    if len(samples):
        proba, groups, p_waves = probabilities(record, annotation, classifier, watch, other, tell=tell)
    signal, after_gap = signal_at(watch, samples, record.fs_hz), annotation.after_gap | lost_before(watch, samples)
    name = None if second is None else second.lead
    return LeadBeats(samples, proba, groups, p_waves, after_gap, signal, watch, second=name)


def _read_peaks(file: AnyRecord, record: Record, extension: str, config: Config) -> Annotation:
    annotation = file.beats(extension, record, config.aami)
    if (np.diff(annotation.samples) <= 0).any():
        raise DeepECGError(
            f"annotation file {file.base}.{extension}: its beats do not follow one another in time: mend it"
        )
    if annotation.left_out:
        print(left_out_line(file, extension, annotation), flush=True)
    return annotation


def _reference(annotation: Annotation, extension: str | None, config: Config) -> np.ndarray | None:
    """AAMI classes of the annotated beats; None for a detector's file, which calls every beat N."""
    if extension != config.annotation_extension and set(annotation.symbols) == {"N"}:
        return None
    return aami_labels(annotation.symbols, config.aami)


def _predict_to_files(
    file: AnyRecord,
    classifier: Classifier,
    network: str,
    config: Config,
    out: Path,
    peaks: str | None,
    lead: str | None,
    min_confidence: float,
    report: bool,
    keep_identity: bool,
) -> dict:
    name, identity = file.base.name, file.identity if keep_identity else {}
    labelled = label_opened(file, classifier, config, peaks, lead, tell=True)
    labelled = replace(labelled, min_confidence=min_confidence, identity=identity)
    reference = reference_beside(file, labelled.record, config) if report else None
    files, companion = result_files(name, out, labelled.synthetic), out / f"{name}.json"
    check_apart([*files, companion], file)
    made = Report.of(recording_of(labelled, reference, in_words_of(classifier, network), peaks))
    check_there(out)
    companion.unlink(missing_ok=True)  # it told of other results
    written = write_results(files, labelled, made if report else None)
    if report:
        draw_strip(files.picture, labelled, classifier.inputs, reference)
        written.append(files.picture)
    summary = summarise(labelled)
    names = {file.name: file.stat().st_size for file in written}
    told = {"synthetic": labelled.synthetic, "files": names, "summary": summary, "measures": made.measures}
    write_json(companion, told)  # as archives do, which also keep from what it was made
    summary |= {"files": [str(file) for file in (*written, companion)]}
    source = f"R-peaks of {name}.{peaks}" if peaks else "detected R-peaks"
    print_summary(summary, source, labelled.synthetic)
    return summary


def series_of(labelled: Labelled) -> BeatSeries:
    """The beats of `labelled` as measures take them."""
    record, samples = labelled.record, labelled.samples
    series = BeatSeries(
        samples,
        labelled.predicted,
        record.fs_hz,
        len(record.signal_mv),
        probability=labelled.proba.max(axis=1, initial=0.0),
        counted=labelled.readable,
        classified=labelled.classified,
        after_gap=labelled.after_gap,
        rhythm=labelled.rhythm,
        started=labelled.started,
    )
    pauses = samples[np.isfinite(series.rr_s)]  # what else is silent cannot be told from them
    silent = [one for one in labelled.silent if one.last not in pauses]
    stretches = sorted([*silent, *outside(labelled.unread, silent)], key=lambda one: one.first)
    return replace(series, unread=[Unread(one.first, one.last, one.why) for one in stretches])


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
        reference=reference,
        synthetic=labelled.synthetic,
        notes=notes,
    )


def in_words_of(classifier: Classifier, network: str) -> str:
    """What labels the beats: the file `network`, its mode and preset."""
    return f"{network} ({classifier.description.mode} mode, {classifier.description.preset} preset)"


def trained_on_line(record: str | None) -> str | None:
    """What has to be known of labels of a `record` of the network's training."""
    if record is None:
        return None
    return f"the network was trained on this record ({record}), so its labels do not show how good it is on others"


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


def class_counts(labelled: Labelled) -> np.ndarray:
    """Classified beats of each class, (5,)."""
    return np.bincount(labelled.predicted[labelled.classified], minlength=len(CLASSES))


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


def trust(labelled: Labelled) -> Trust:
    """What is to be thought of the labels of a record."""
    samples, rr = labelled.samples, labelled.rr_ms
    rate = 60_000 / float(np.nanmedian(rr)) if np.isfinite(rr).any() else None
    length = len(labelled.record.signal_mv) or int(samples[-1] if len(samples) else 0) + 1
    silent = unread_share(labelled.unread, labelled.silent, length)
    read = labelled.readable
    count = max(int(read.sum()), 1)
    poor = 0 if labelled.signal is None else is_poor(labelled.signal[read]).sum()
    alone = 0 if labelled.groups is None else (labelled.groups[read] < 0).sum()
    return trust_of(Confidence.of(labelled.proba[read]), rate, silent, labelled.paced, poor / count, alone / count)


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
    print(
        f"{stamp}{summary['record']}: {summary['beats']:,} beats, {leads}, {source}\n"
        f"    {counts}; ectopic burden (S, V, F) {ectopic} %, V {ventricular} %\n"
        + "".join(f"    {line}\n" for line in said)
        + f"    {', '.join(summary['files'])}",
        flush=True,
    )


def rhythm_in_words(rhythm: dict | None) -> str | None:
    """One line on the rhythms found, as summaries hold them; None where there are none."""
    told = []
    for kind, found in (rhythm or {}).items():
        count, share = found["count"], number(found["percent"], ".1f")
        told.append(f"{kind}: {count:,} episode{'s' * (count != 1)}, {share} % of the time")
    return "; ".join(told) or None


def trust_in_words(trust: dict) -> str:
    """One line on the grade of trust, as summaries hold it, and its reasons."""
    return f"trust: {trust['grade']}" + f" ({'; '.join(trust['reasons'])})" * bool(trust["reasons"])


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


def rhythm_marks(labelled: Labelled) -> list[tuple[int, str]]:
    """The marks (sample, note) of the rhythm that annotation files have; none where it was not judged."""
    spans = [(one.first, one.last) for one in labelled.rhythm or ()]
    return [] if labelled.rhythm is None else rhythm_annotations(labelled.samples, spans)


def rhythm_at_beats(labelled: Labelled) -> np.ndarray:
    """The rhythm at each beat, (beats,) text, by the last mark before it: AFIB or N; "" where it was not judged."""
    marks = rhythm_marks(labelled)
    names = np.array(["", *(note.removeprefix("(") for _, note in marks)])
    return names[np.searchsorted([sample for sample, _ in marks], labelled.samples, side="right")]


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


def check_apart(results: Sequence[Path], file: AnyRecord):
    """DeepECGError where one of the `results` would be written over the record `file` itself."""
    mine = file.main_file.resolve()
    if any(path.resolve() == mine for path in results):
        raise DeepECGError(f"record {file.path}: results would be written over it: name another folder with --out")


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


def intervals_after(labelled: Labelled, last: int | None = None) -> np.ndarray:
    """RR interval in ms before each beat, (beats,); NaN where there is none. `last` is the R-peak before the first."""
    before = np.nan if last is None else float(last)
    intervals_ms = rr_ms(np.concatenate([[before], labelled.samples]), labelled.record.fs_hz)[1:]
    return intervals_ms if labelled.after_gap is None else np.where(labelled.after_gap, np.nan, intervals_ms)


def draw_strip(path: Path, labelled: Labelled, inputs: InputSettings, reference: Reference | None = None):
    """Draws the STRIP_S seconds that hold the most ectopic beats, cleaned as the network sees them.

    Beside the labels stands the `reference`, where there is one and the R-peaks are not of an annotation file.
    """
    from deep_ecg.scoring.strips import predictions_figure

    record, labels = labelled.record, labelled.reference
    peaks_s, length = labelled.samples / record.fs_hz, len(record.signal_mv)
    start_s = busiest_start_s(peaks_s[np.isin(labelled.predicted, ECTOPIC)], length / record.fs_hz)
    start_s, clean_mv = cleaned_strip(record, start_s, inputs)
    if labels is None and reference is not None:
        labels = labels_at(labelled.samples, reference, record.fs_hz)
    series = BeatSeries(labelled.samples, labelled.predicted, record.fs_hz, length, started=labelled.started)
    at = f" at {series.time_text(start_s)}" if labelled.started else ""
    predictions_figure(
        path,
        clean_mv,
        inputs.fs_hz,
        start_s,
        peaks_s,
        labelled.predicted,
        labels,
        record.name + at,
        labelled.synthetic,
        mode=inputs.mode,
        known=np.isfinite(labelled.rr_ms),
    )


def cleaned_strip(record: Record, start_s: float, inputs: InputSettings) -> tuple[float, np.ndarray]:
    """STRIP_S seconds of `record`, (n,) in mV at the rate of the `inputs`, filtered as those are, and their start in s.

    Of the signal before and after, the filter sees so much that more would change nothing.
    """
    step, settle_s = rate_ratio(record.fs_hz, inputs.fs_hz).denominator, SETTLE_CYCLES / inputs.band_hz[0]
    before = max(round((start_s - settle_s) * record.fs_hz), 0) // step * step  # a sample at both rates
    after = round((start_s + STRIP_S + settle_s) * record.fs_hz)
    filled_mv, _ = SignalWatch(record.fs_hz)(record.signal_mv[before:after])
    clean_mv = cleaned(resample(filled_mv, record.fs_hz, inputs.fs_hz, inputs.causal), inputs)
    length, zero = round(STRIP_S * inputs.fs_hz), round(before * inputs.fs_hz / record.fs_hz)
    first = min(round(start_s * inputs.fs_hz) - zero, max(len(clean_mv) - length, 0))
    return (zero + first) / inputs.fs_hz, clean_mv[first : first + length]


def busiest_start_s(events_s: np.ndarray, duration_s: float) -> float:
    """Start of the STRIP_S seconds that hold the most of `events_s` (rising, in seconds); 0 where there are none."""
    if len(events_s) == 0:
        return 0.0
    starts_s = np.clip(events_s - STRIP_LEAD_IN_S, 0, max(duration_s - STRIP_S, 0))
    held = np.searchsorted(events_s, starts_s + STRIP_S) - np.searchsorted(events_s, starts_s)
    return float(starts_s[held.argmax()])
