"""`python main.py predict`: the beats of anyone's WFDB record, labelled by a trained network.

For each record it writes the labels as a WFDB annotation file, as a table with probabilities, and as a picture.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import wfdb

from config import CLASSES, Config
from deep_ecg.beats.detector import causal_r_peaks
from deep_ecg.beats.input_settings import InputSettings
from deep_ecg.beats.inputs import cleaned, network_inputs
from deep_ecg.beats.signal_watch import SignalWatch
from deep_ecg.beats.whole_record import r_peaks
from deep_ecg.labelling.signal_state import Stretch, as_json, in_words, signal_at, silent_stretches
from deep_ecg.labelling.trust import Trust, rates_per_min, rr_ms, speaks_of_pacing, trust_of
from deep_ecg.labelling.trust import is_sure as is_trusted
from deep_ecg.networks.classifier import (
    SYNTHETIC_NETWORK,
    UNCLASSIFIABLE,
    Classifier,
    check_min_confidence,
    is_sure,
    load_classifier,
)
from deep_ecg.networks.description import RATES_HZ
from deep_ecg.records.wfdb_files import Annotation, Record, RecordFile, aami_labels, read_beats
from deep_ecg.system.errors import DeepECGError, NoBeats
from deep_ecg.system.files import atomic_file, check_whole, check_writable, scratch_folder, write_text
from deep_ecg.system.json_files import write_json
from deep_ecg.system.text import number
from dsp_filters import resample

LEAD_II = re.compile(r"(ecg)?(lead)?(ml)?ii")  # of a lead's name in small letters and digits alone
ECTOPIC = [CLASSES.index(name) for name in "SVF"]
NO_BEATS_MEND = "choose another lead with --lead, or give the R-peaks with --peaks"
PACED_SYMBOL = "/"  # of an annotated paced beat
NOTE = "not classified"  # beside the Q of a beat whose label is too uncertain
STRIP_S = 20.0  # length of the picture
STRIP_LEAD_IN_S = 1.0  # how much of it comes before its first ectopic beat


@dataclass(frozen=True)
class Labelled:
    """One record with its beats labelled: samples (beats,) at its own rate, proba (beats, 5).

    `reference` (beats,) holds the class indices of the annotation file, or None where it has none. Beats whose highest
    probability is below `min_confidence` are not classified. `silent` are the long stretches without beats, `unit` says
    so where the unit of the signal was taken from the signal itself, `signal` (beats,) is its state at each beat ("ok"
    where it is None), `paced` whether notes or annotations speak of a pacemaker.
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

    @property
    def classified(self) -> np.ndarray:
        """Whether the network is sure enough of each beat, (beats,) bool."""
        return is_sure(self.proba, self.min_confidence)

    @property
    def predicted(self) -> np.ndarray:
        """Index into CLASSES of each beat, (beats,): Q, which is AAMI's unclassifiable, where it is not classified."""
        return np.where(self.classified, self.proba.argmax(axis=1), UNCLASSIFIABLE)


def predict_records(
    records: Sequence[str],
    config: Config,
    out: Path,
    peaks: str | None = None,
    lead: str | None = None,
    checkpoint: Path | None = None,
    runtime: str = "torch",
    min_confidence: float = 0.0,
) -> list[dict]:
    """Labels the beats of WFDB `records` (paths, with or without .hea), prints and returns a summary of each.

    Writes NAME.pred (WFDB annotations), NAME.csv, NAME.png and NAME.json (the summary) into `out`; where the network or
    the record is SYNTHETIC, a note in the first and the names of the others say so. R-peaks come from the annotation file with
    extension `peaks`, else from a detector, in causal mode the causal one: the labels are then those of a live stream
    (`stream.BeatStream`). Beats whose highest probability is below `min_confidence` (0 to 1) are not classified:
    they are written as Q, with a note in the annotation file, and counted apart. `checkpoint` and `runtime` are those
    of `load_classifier`. What the network has been trained with is in its file; `config` says which one it is by
    default, and how annotation files are read. A record in which no beat is found gets an empty table and no annotation
    file. Raises DeepECGError at the first record that cannot be used; what was written for the records before it
    stays; NoBeats at the end where there were records without a beat.
    """
    check_min_confidence(min_confidence)
    paths = [_record_path(record) for record in records]
    _check_names(paths)
    classifier = load_classifier(config, checkpoint, runtime)
    check_writable(out)
    if classifier.synthetic:
        print(SYNTHETIC_NETWORK)
    summaries = [_predict_to_files(path, classifier, config, out, peaks, lead, min_confidence) for path in paths]
    without = [str(path) for path, summary in zip(paths, summaries) if not summary["beats"]]
    if without:
        raise NoBeats(f"no beat was found in {', '.join(without)}: {NO_BEATS_MEND}")
    return summaries


def label_record(
    path: Path, classifier: Classifier, config: Config, peaks: str | None = None, lead: str | None = None
) -> Labelled:
    """Labels the beats of the WFDB record at `path` (no extension).

    R-peaks are those of the annotation file with the extension `peaks`, whose symbols `config` explains, else a
    detector's. `lead` is a lead's name, by default the one `choose_lead` takes. Raises DeepECGError when the record
    cannot be read. There may be no beat.
    """
    return label_opened(RecordFile.open(path), classifier, config, peaks, lead)


def label_opened(
    file: RecordFile, classifier: Classifier, config: Config, peaks: str | None = None, lead: str | None = None
) -> Labelled:
    """`label_record` of a record whose header has been read."""
    record, synthetic = read_lead(file, classifier, lead)
    if peaks is None:
        annotation = _detected(record, file.path, classifier.inputs)
    else:
        annotation = _read_peaks(file.path, peaks, config)
    samples = annotation.samples
    proba = probabilities(record, annotation, classifier) if len(samples) else np.empty((0, len(CLASSES)), np.float32)
    reference, silent = _reference(annotation, peaks, config), silent_stretches(record, samples)
    paced = speaks_of_pacing(file.header.comments) or PACED_SYMBOL in annotation.symbols
    state = signal_at(record, samples)
    return Labelled(record, samples, proba, reference, synthetic, silent=silent, signal=state, paced=paced)


def probabilities(record: Record, annotation: Annotation, classifier: Classifier) -> np.ndarray:
    """Calibrated class probabilities (beats, 5) of the beats of `record` at the R-peaks of `annotation`."""
    return classifier.probabilities(network_inputs(record, annotation, classifier.inputs))


def open_record(path: Path, classifier: Classifier, lead: str | None = None) -> tuple[Record, bool]:
    """`read_lead` of the record at `path`."""
    return read_lead(RecordFile.open(path), classifier, lead)


def read_lead(file: RecordFile, classifier: Classifier, lead: str | None = None) -> tuple[Record, bool]:
    """The lead `lead`, or that of `choose_lead`, of the record `file`, and whether it or the network is SYNTHETIC.

    In causal mode samples that are not numbers are lost signal. Raises DeepECGError when the record cannot be read or
    its rate is out of RATES_HZ.
    """
    low, high = RATES_HZ
    if not low <= file.header.fs <= high:
        raise DeepECGError(f"record {file.path} is sampled at {file.header.fs:g} Hz: {low:g} to {high:g} Hz are needed")
    lead = lead or choose_lead(file, classifier.description.leads)
    record = file.lead(lead, gaps=classifier.inputs.causal)
    return record, classifier.synthetic or file.synthetic


def choose_lead(file: RecordFile, preferred: Sequence[str]) -> str:
    """The first name of `preferred` that there is, else a lead II of another name, else the first signal in millivolts.

    Prints a line when it is not a preferred one. Raises DeepECGError when no signal is in millivolts.
    """
    for name in preferred:
        if name in file.leads:
            return name
    there = ", ".join(file.leads)
    in_mv = [name for name, units in zip(file.leads, file.header.units) if str(units).lower() == "mv"]
    if not in_mv:
        raise DeepECGError(f"record {file.path} has no signal in mV: name one of {there} with --lead")
    second = [name for name in in_mv if LEAD_II.fullmatch(re.sub(r"[\W_]", "", name.lower()))]
    chosen = (second or in_mv)[0]
    print(f"{file.path.name}: no lead {' or '.join(preferred)}, taking {chosen!r} of {there} (--lead chooses)")
    return chosen


def _record_path(record: str) -> Path:
    return Path(record.removesuffix(".hea"))


def _check_names(paths: Sequence[Path]):
    seen: dict[str, Path] = {}
    for path in paths:
        if path.name in seen:
            raise DeepECGError(f"records {seen[path.name]} and {path} share a name: give each its own --out folder")
        seen[path.name] = path


def _detected(record: Record, path: Path, inputs: InputSettings) -> Annotation:
    if len(record.signal_mv) < record.fs_hz:
        raise DeepECGError(f"record {path} lasts less than a second: a longer one is needed")
    try:
        samples = (causal_r_peaks if inputs.causal else r_peaks)(record.signal_mv, record.fs_hz)
    except DeepECGError as error:
        raise DeepECGError(f"record {path}: {error}: resample it, or give the R-peaks with --peaks") from None
    return Annotation(samples, np.full(len(samples), ""), np.zeros(len(samples), bool))


def _read_peaks(path: Path, extension: str, config: Config) -> Annotation:
    annotation = read_beats(path, extension, config.aami)
    if (np.diff(annotation.samples) <= 0).any():
        raise DeepECGError(f"annotation file {path}.{extension}: its beats do not follow one another in time: mend it")
    return annotation


def _reference(annotation: Annotation, extension: str | None, config: Config) -> np.ndarray | None:
    """AAMI classes of the annotated beats; None for a detector's file, which calls every beat N."""
    if extension is None or (extension != config.annotation_extension and set(annotation.symbols) == {"N"}):
        return None
    return aami_labels(annotation.symbols, config.aami)


def _predict_to_files(
    path: Path,
    classifier: Classifier,
    config: Config,
    out: Path,
    peaks: str | None,
    lead: str | None,
    min_confidence: float,
) -> dict:
    labelled = replace(label_record(path, classifier, config, peaks, lead), min_confidence=min_confidence)
    files = result_files(path.name, out, labelled.synthetic)
    written = [*write_results(*files[:2], labelled), files[2]]
    draw_strip(files[2], labelled, classifier.inputs)
    summary = summarise(labelled) | {"files": [str(file) for file in written]}
    names = {file.name: file.stat().st_size for file in written}
    told = {"synthetic": labelled.synthetic, "files": names, "summary": summarise(labelled)}
    write_json(out / f"{path.name}.json", told)  # as archives do, which also keep from what it was made
    summary["files"].append(str(out / f"{path.name}.json"))
    source = f"R-peaks of {path.name}.{peaks}" if peaks else "detected R-peaks"
    print_summary(summary, source, labelled.synthetic)
    return summary


def write_results(annotations: Path, table: Path, labelled: Labelled) -> list[Path]:
    """`write_annotations` and `write_table`; returns the files. Without a beat there is no annotation file."""
    write_table(table, labelled)
    if len(labelled.samples) == 0:
        annotations.unlink(missing_ok=True)  # it would tell of another signal
        return [table]
    write_annotations(annotations, labelled)
    return [annotations, table]


def result_files(name: str, out: Path, synthetic: bool) -> list[Path]:
    """The annotation file, the table and the picture of record `name` in the folder `out`."""
    stamp = "-SYNTHETIC" * synthetic
    return [out / f"{name}{ending}" for ending in (".pred", f"{stamp}.csv", f"{stamp}.png")]


def summarise(labelled: Labelled) -> dict:
    """Beats in all and of each class, and the ectopic burden (share of S, V and F) and V burden in percent.

    Where a least confidence is asked for, "not_classified" counts the beats below it; classes and burdens, which are
    None where no beat is left, are of the others. "silent" are the long stretches without beats; "unit" is there where
    the unit was taken from the signal itself.
    """
    counts = np.bincount(labelled.predicted[labelled.classified], minlength=len(CLASSES))
    apart = {"not_classified": int((~labelled.classified).sum())} if labelled.min_confidence else {}
    return {
        "record": labelled.record.name,
        "lead": labelled.record.lead,
        "fs_hz": labelled.record.fs_hz,
        "beats": len(labelled.samples),
        "counts": {name: int(count) for name, count in zip(CLASSES, counts)},
        **apart,
        "ectopic_percent": _percent(counts[ECTOPIC].sum(), counts.sum()),
        "v_percent": _percent(counts[CLASSES.index("V")], counts.sum()),
        "silent": as_json(labelled.silent, labelled.record.fs_hz),
        **({"unit": labelled.unit} if labelled.unit else {}),
        "trust": trust(labelled).as_json(),
    }


def trust(labelled: Labelled) -> Trust:
    """What is to be thought of the labels of a record."""
    fs_hz, samples = labelled.record.fs_hz, labelled.samples
    rr = rr_ms(samples, fs_hz)
    rate = 60_000 / float(np.nanmedian(rr)) if np.isfinite(rr).any() else None
    silent = sum(one.last - one.first for one in labelled.silent)
    length = len(labelled.record.signal_mv) or int(samples[-1] if len(samples) else 0) + 1
    return trust_of(labelled.proba, rate, silent / length, labelled.paced)


def _percent(count: int, of: int) -> float | None:
    return float(100 * count / of) if of else None


def print_summary(summary: dict, source: str, synthetic: bool):
    """Prints what `summarise` made of a record, the files written (`files`) and where its R-peaks come from."""
    stamp = "SYNTHETIC " if synthetic else ""
    counts = ", ".join(f"{name} {count:,}" for name, count in summary["counts"].items())
    counts += f", not classified {summary['not_classified']:,}" if "not_classified" in summary else ""
    ectopic, ventricular = (number(summary[name], ".2f") for name in ("ectopic_percent", "v_percent"))
    said = [line for line in (in_words(summary.get("silent", ())), summary.get("unit")) if line]
    said.append(trust_in_words(summary["trust"]))
    print(
        f"{stamp}{summary['record']}: {summary['beats']:,} beats, lead {summary['lead']}, {source}\n"
        f"    {counts}; ectopic burden (S, V, F) {ectopic} %, V {ventricular} %\n"
        + "".join(f"    {line}\n" for line in said)
        + f"    {', '.join(summary['files'])}",
        flush=True,
    )


def trust_in_words(trust: dict) -> str:
    """One line on the grade of trust, as summaries hold it, and its reasons."""
    return f"trust: {trust['grade']}" + f" ({'; '.join(trust['reasons'])})" * bool(trust["reasons"])


def write_annotations(path: Path, labelled: Labelled):
    """Writes the labels as WFDB annotations (N S V F Q) at the record's own rate; `path` ends in .pred.

    A beat that is not classified is a Q, the code of an unclassifiable beat, which EC57 counts neither as a detection
    of V or S nor as a false one; its note tells it from a beat that the network takes for Q.
    WFDB's tools find the file by the record's name, so a SYNTHETIC one says so in a comment annotation at its start.
    """
    samples, symbols = labelled.samples, [CLASSES[label] for label in labelled.predicted]
    notes = ["" if sure else NOTE for sure in labelled.classified]
    if labelled.synthetic:
        samples, symbols, notes = np.append(0, samples), ['"', *symbols], ["SYNTHETIC", *notes]
    with atomic_file(path) as temporary, scratch_folder(path.parent) as folder:
        # wfdb takes only plain names, so the file gets its own afterwards: the name is not part of its contents.
        wfdb.wrann(
            "beats", "pred", samples, symbols, aux_note=notes, fs=labelled.record.fs_hz, write_dir=str(folder)
        )  # fmt: skip
        _check_written(folder / "beats.pred", samples[-1])
        temporary.write_bytes((folder / "beats.pred").read_bytes())


def _check_written(path: Path, last: int):
    """OSError unless the annotation file at `path` is whole and ends with the beat at sample `last`."""
    try:
        whole = wfdb.rdann(str(path.with_suffix("")), path.suffix[1:]).sample[-1] == last
    except Exception:  # its end is missing, and the parser stumbles over that somehow
        whole = False
    check_whole(whole and path.read_bytes().endswith(b"\0\0"))


def write_table(path: Path, labelled: Labelled):
    """Writes one line a beat, after a line with the names of the columns (`table_lines`)."""
    write_text(path, "\n".join([table_header(labelled.min_confidence), *table_lines(labelled)]) + "\n")


def table_header(min_confidence: float) -> str:
    """The names of the columns of the table of beats."""
    names = ["sample", "time_s", "class", *(f"p_{name}" for name in CLASSES), "rr_ms", "rate_per_min", "signal", "sure"]
    return ",".join([*names, *["classified"] * (min_confidence > 0)])


def table_lines(labelled: Labelled) -> list[str]:
    """The cells of each beat, one line each.

    Sample and time at the record's own rate, class, probability of each class, RR before it, heart rate over the last
    beats, state of the signal, and whether its label is sure (1) or not (0). RR and rate are empty where there are
    none. Where a least confidence is asked for, a last column says whether the beat is classified (1) or not (0).
    """
    samples, fs_hz = labelled.samples, labelled.record.fs_hz
    intervals_ms = rr_ms(samples, fs_hz)
    state = np.full(len(samples), "ok") if labelled.signal is None else labelled.signal
    columns = (samples, samples / fs_hz, labelled.predicted, labelled.proba, intervals_ms, rates_per_min(intervals_ms))
    columns += (state, is_trusted(labelled.proba).astype(int), labelled.classified.astype(int))
    apart, lines = labelled.min_confidence > 0, []
    for sample, time_s, label, proba, rr, rate, signal, sure, classified in zip(*(one.tolist() for one in columns)):
        cells = [f"{sample}", f"{time_s:.4f}", CLASSES[label], *(f"{p:.6f}" for p in proba)]
        cells += ["" if np.isnan(rr) else f"{rr:.0f}", "" if np.isnan(rate) else f"{rate:.0f}", signal, f"{sure}"]
        lines.append(",".join(cells + [f"{classified}"] * apart))
    return lines


def draw_strip(path: Path, labelled: Labelled, inputs: InputSettings):
    """Draws the STRIP_S seconds that hold the most ectopic beats, cleaned as the network sees them."""
    from deep_ecg.scoring.strips import predictions_figure

    record = labelled.record
    filled_mv, _ = SignalWatch(record.fs_hz)(record.signal_mv)
    raw_mv = resample(filled_mv, record.fs_hz, inputs.fs_hz, inputs.causal)
    clean_mv = cleaned(raw_mv, inputs)
    peaks_s = labelled.samples / record.fs_hz
    start_s = busiest_start_s(peaks_s[np.isin(labelled.predicted, ECTOPIC)], len(clean_mv) / inputs.fs_hz)
    first = round(start_s * inputs.fs_hz)
    predictions_figure(
        path,
        clean_mv[first : first + round(STRIP_S * inputs.fs_hz)],
        inputs.fs_hz,
        first / inputs.fs_hz,
        peaks_s,
        labelled.predicted,
        labelled.reference,
        record.name,
        labelled.synthetic,
        mode=inputs.mode,
    )


def busiest_start_s(events_s: np.ndarray, duration_s: float) -> float:
    """Start of the STRIP_S seconds that hold the most of `events_s` (rising, in seconds); 0 where there are none."""
    if len(events_s) == 0:
        return 0.0
    starts_s = np.clip(events_s - STRIP_LEAD_IN_S, 0, max(duration_s - STRIP_S, 0))
    held = np.searchsorted(events_s, starts_s + STRIP_S) - np.searchsorted(events_s, starts_s)
    return float(starts_s[held.argmax()])
