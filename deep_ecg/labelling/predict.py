"""`python main.py predict`: the beats of anyone's record, labelled by a trained network.

For each record it writes the labels as a WFDB annotation file, as a table with probabilities, as a picture, and as a
report for a reader; for one that came as EDF or BDF also as EDF+ annotations.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from config import CLASSES, Config
from deep_ecg.beats.beat_network import check_rate
from deep_ecg.labelling.choice import NO_SETTINGS, other_leads, read_lead, record_path
from deep_ecg.labelling.keeping import kept_work
from deep_ecg.labelling.labelled import UNREADABLE, Labelled
from deep_ecg.labelling.lead_beats import LeadBeats, SecondLead, detected_beats, probabilities
from deep_ecg.labelling.picture import draw_strip
from deep_ecg.labelling.reference import reference_beside
from deep_ecg.labelling.results import (
    check_apart,
    check_events_apart,
    in_words_of,
    recording_of,
    result_files,
    write_results,
)
from deep_ecg.labelling.signal_state import lost_before, signal_at, silent_stretches, watched
from deep_ecg.labelling.summary import print_summary, summarise
from deep_ecg.labelling.trust import speaks_of_pacing
from deep_ecg.networks.classifier import (
    SYNTHETIC_NETWORK,
    Classifier,
    check_min_confidence,
    load_classifier,
    network_path,
)
from deep_ecg.networks.fibrillation import episodes_of_record
from deep_ecg.networks.trained_on import found_in
from deep_ecg.records.any_record import Annotation, AnyRecord, Record
from deep_ecg.records.formats import TextSettings, is_alone, open_any
from deep_ecg.records.wfdb_files import aami_labels, left_out_line
from deep_ecg.report.beat_series import RhythmEpisode
from deep_ecg.report.report import Report
from deep_ecg.system.console import say
from deep_ecg.system.errors import DeepECGError, NoBeats, NoOutput, PartlyDone
from deep_ecg.system.files import check_there, check_writable
from deep_ecg.system.json_files import write_json
from deep_ecg.system.work import NOTHING_KEPT, Work

NO_BEATS_MEND = "choose another lead with --lead, name the unit of a text with --units, or give R-peaks with --peaks"
PACED_SYMBOL = "/"  # of an annotated paced beat
FIBRILLATION = "atrial fibrillation or flutter"  # the one kind of rhythm that is told: see `networks.fibrillation`
SECOND_LEADS = ("V1", "V5", "V2", "V4")  # in this order, where there are several: those of DS1


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
        say(SYNTHETIC_NETWORK)
    network = network_path(config, checkpoint, runtime)
    job = partial(_predict_to_files, classifier=classifier, network=network, config=config, out=out, peaks=peaks)
    job = partial(job, lead=lead, min_confidence=min_confidence, report=report, keep_identity=keep_identity)
    made_with, annotations = (config, runtime, peaks, lead, text), [peaks] if peaks else []
    summaries: dict[Path, dict] = {}
    for path in paths:
        try:
            file = open_any(path, text, told=True)
            with kept_work(file, out / file.base.name, network, made_with, annotations, tells=True) as work:
                summaries[path] = job(file, work)
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
    work: Work = NOTHING_KEPT,
) -> Labelled:
    """`label_record` of a record whose header has been read; `work` as in `detected_beats`."""
    record, synthetic = read_lead(file, classifier, lead)
    annotation = None if peaks is None else _read_peaks(file, record, peaks, config)
    is_averaged = config.second_lead and lead is None and not classifier.inputs.causal
    second = next(other_leads(file, record, SECOND_LEADS), None) if is_averaged else None
    if annotation is None:
        found = _detected(file, record, classifier, second, work)
    else:
        found = _given(record, annotation, classifier, second, work)
    work.let_go()
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
        others=beats.others,
        rhythm=fibrillation_in(beats, record.fs_hz),
        trained_on=found_in(classifier.trained_on, record.signal_mv),
    )


def _check_names(paths: Sequence[Path]):
    seen: dict[str, Path] = {}
    for path in paths:
        name = path.stem if is_alone(path) else path.name
        if name in seen:
            raise DeepECGError(f"records {seen[name]} and {path} share a name: give each its own --out folder")
        seen[name] = path
    check_events_apart(seen)


def _detected(file: AnyRecord, record: Record, classifier: Classifier, second: Record | None, work: Work) -> LeadBeats:
    if len(record.signal_mv) < record.fs_hz:
        raise DeepECGError(f"record {file.path} lasts less than a second: a longer one is needed")
    try:
        check_rate(record.fs_hz)
    except DeepECGError as error:
        raise DeepECGError(f"record {file.path}: {error}: resample it, or give the R-peaks with --peaks") from None
    others = other_leads(file, record, classifier.description.leads)
    return detected_beats(record, classifier, others, second, work)


def _given(
    record: Record,
    annotation: Annotation,
    classifier: Classifier,
    second: Record | None = None,
    work: Work = NOTHING_KEPT,
) -> LeadBeats:
    """The beats at R-peaks that were given: whoever gave them could read the signal."""
    samples, watch, other = annotation.samples, watched(record), None
    if second is not None:
        is_there = signal_at(watched(second), samples, second.fs_hz) == "ok"
        other = SecondLead(second, is_there.__getitem__)
    proba, groups, p_waves = np.zeros((0, len(CLASSES))), samples, np.zeros(0, np.float32)
    if len(samples):
        proba, groups, p_waves = probabilities(record, annotation, classifier, watch, other, work=work)
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
        say(left_out_line(file, extension, annotation))
    return annotation


def _reference(annotation: Annotation, extension: str | None, config: Config) -> np.ndarray | None:
    """AAMI classes of the annotated beats; None for a detector's file, which calls every beat N."""
    if extension != config.annotation_extension and set(annotation.symbols) == {"N"}:
        return None
    return aami_labels(annotation.symbols, config.aami)


def _predict_to_files(
    file: AnyRecord,
    work: Work,
    classifier: Classifier,
    network: Path,
    config: Config,
    out: Path,
    peaks: str | None,
    lead: str | None,
    min_confidence: float,
    report: bool,
    keep_identity: bool,
) -> dict:
    name, identity = file.base.name, file.identity if keep_identity else {}
    labelled = label_opened(file, classifier, config, peaks, lead, work)
    labelled = replace(labelled, min_confidence=min_confidence, identity=identity)
    reference = reference_beside(file, labelled.record, config) if report else None
    files, companion = result_files(name, out, labelled.synthetic), out / f"{name}.json"
    check_apart([*files, companion], file)
    made = Report.of(recording_of(labelled, reference, in_words_of(classifier, network.name), peaks))
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
