"""`python main.py predict`: the beats of anyone's WFDB record, labelled by a trained network.

For each record it writes the labels as a WFDB annotation file, as a table with probabilities, and as a picture.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import wfdb
from torch import nn

from config import CLASSES, Config, DeepECGError, with_overrides
from data_loader import AAMI, Annotation, Record, cleaned, network_inputs, read_beats, read_header, read_record
from detector import causal_r_peaks
from dsp_filters import SignalWatch, detect_r_peaks, resample
from engine import load_checkpoint, predict_proba
from features import FEATURES
from figures import predictions_figure
from files import atomic_file, check_writable, write_text
from model import HybridECGNet

PRETRAINED = Path(__file__).resolve().parent / "pretrained"
INPUT_SETTINGS = ("lead", "fs_hz", "band_hz", "filter_order", "window_samples", "look_ahead_ms")
RATES_HZ = (50.0, 5000.0)  # below, the QRS is lost; above, nothing is recorded from the skin
LEAD_II = re.compile(r"(ecg)?(lead)?(ml)?ii")  # of a lead's name in small letters and digits alone
ECTOPIC = [CLASSES.index(name) for name in "SVF"]
STRIP_S = 20.0  # length of the picture
STRIP_LEAD_IN_S = 1.0  # how much of it comes before its first ectopic beat


@dataclass(frozen=True)
class Classifier:
    """A trained network, the settings its inputs must be made with, and whether it learned from SYNTHETIC data."""

    model: nn.Module
    config: Config
    synthetic: bool


@dataclass(frozen=True)
class Labelled:
    """One record with its beats labelled: samples (beats,) at its own rate, proba (beats, 5).

    `reference` (beats,) holds the class indices of the annotation file, or None where it has none.
    """

    record: Record
    samples: np.ndarray
    proba: np.ndarray
    reference: np.ndarray | None
    synthetic: bool

    @property
    def predicted(self) -> np.ndarray:
        """Index into CLASSES of each beat, (beats,)."""
        return self.proba.argmax(axis=1)


def predict_records(
    records: Sequence[str],
    config: Config,
    out: Path,
    peaks: str | None = None,
    lead: str | None = None,
    checkpoint: Path | None = None,
) -> list[dict]:
    """Labels the beats of WFDB `records` (paths, with or without .hea), prints and returns a summary of each.

    Writes NAME.pred (WFDB annotations), NAME.csv and NAME.png into `out`; where the network or the record is
    SYNTHETIC, a note in the first and the names of the others say so. R-peaks come from the annotation file with
    extension `peaks`, else from a detector, in causal mode the causal one: the labels are then those of a live stream
    (`realtime.BeatStream`). The checkpoint is by default the pretrained one of the mode and preset of `config`; the
    settings of signal and features are those it was trained with. Raises DeepECGError at the first
    record that cannot be used; what was written for the records before it stays.
    """
    paths = [_record_path(record) for record in records]
    _check_names(paths)
    classifier = load_classifier(config, checkpoint)
    check_writable(out)
    if classifier.synthetic:
        print("SYNTHETIC: this network was trained on generated signals; its labels are a demonstration only")
    return [_predict_to_files(path, classifier, out, peaks, lead) for path in paths]


def load_classifier(config: Config, checkpoint: Path | None = None) -> Classifier:
    """The network of `checkpoint`, by default the pretrained one of the mode and preset of `config`.

    Raises DeepECGError when it is missing, broken, or made for another mode.
    """
    path = checkpoint or PRETRAINED / f"{config.mode}-{config.preset}.pt"
    features = list(FEATURES[config.mode])
    model, description = load_checkpoint(
        path, (HybridECGNet,), mode=config.mode, classes=list(CLASSES), features=features
    )
    try:
        stored = {name: description["config"][name] for name in INPUT_SETTINGS}
        stored["band_hz"] = tuple(stored["band_hz"])
        synthetic = description["data_source"] == "synthetic"
    except (KeyError, TypeError) as error:
        raise DeepECGError(f"checkpoint {path} does not say how its inputs were made ({error}): train again") from None
    return Classifier(model, with_overrides(config, **stored), synthetic)


def label_record(path: Path, classifier: Classifier, peaks: str | None = None, lead: str | None = None) -> Labelled:
    """Labels the beats of the WFDB record at `path` (no extension).

    `lead` is a lead's name, by default the one `choose_lead` takes. Raises DeepECGError when the record cannot be
    read or holds fewer than two beats.
    """
    record, synthetic = open_record(path, classifier, lead)
    annotation = _detected(record, path, classifier.config.mode) if peaks is None else _read_peaks(path, peaks)
    windows, features = network_inputs(record, annotation, classifier.config)
    proba = predict_proba(classifier.model, windows, features)
    return Labelled(record, annotation.samples, proba, _reference(annotation, peaks), synthetic)


def open_record(path: Path, classifier: Classifier, lead: str | None = None) -> tuple[Record, bool]:
    """The lead `lead`, or that of `choose_lead`, of the record at `path`, and whether it or the network is SYNTHETIC.

    In causal mode samples that are not numbers are lost signal. Raises DeepECGError when the record cannot be read or
    its rate is out of RATES_HZ.
    """
    header = read_header(path)
    if not RATES_HZ[0] <= header.fs <= RATES_HZ[1]:
        low, high = RATES_HZ
        raise DeepECGError(f"record {path} is sampled at {header.fs:g} Hz: {low:g} to {high:g} Hz are needed")
    lead = lead or choose_lead(header, path, classifier.config.lead)
    record = read_record(path, lead, gaps=classifier.config.mode == "causal")
    return record, classifier.synthetic or any("SYNTHETIC" in comment for comment in header.comments)


def choose_lead(header: wfdb.Record, path: Path, preferred: str) -> str:
    """The lead named `preferred`, else a lead II of another name, else the first signal in millivolts.

    Prints a line when it is not the preferred one. Raises DeepECGError when no signal is in millivolts.
    """
    if preferred in header.sig_name:
        return preferred
    in_mv = [name for name, units in zip(header.sig_name, header.units) if str(units).lower() == "mv"]
    if not in_mv:
        raise DeepECGError(f"record {path} has no signal in mV: name one of {', '.join(header.sig_name)} with --lead")
    second = [name for name in in_mv if LEAD_II.fullmatch(re.sub(r"[\W_]", "", name.lower()))]
    chosen = (second or in_mv)[0]
    print(f"{path.name}: no lead {preferred}, taking {chosen!r} of {', '.join(header.sig_name)} (--lead chooses)")
    return chosen


def _record_path(record: str) -> Path:
    return Path(record.removesuffix(".hea"))


def _check_names(paths: Sequence[Path]):
    seen = {}
    for path in paths:
        if path.name in seen:
            raise DeepECGError(f"records {seen[path.name]} and {path} share a name: give each its own --out folder")
        seen[path.name] = path


def _detected(record: Record, path: Path, mode: str) -> Annotation:
    try:
        samples = (causal_r_peaks if mode == "causal" else detect_r_peaks)(record.signal_mv, record.fs_hz)
    except DeepECGError as error:
        raise DeepECGError(f"record {path}: {error}: resample it, or give the R-peaks with --peaks") from None
    if len(samples) < 2:
        raise DeepECGError(
            f"record {path}, lead {record.lead}: {len(samples)} beats were found, at least two are needed: "
            "choose another lead with --lead, or give the R-peaks with --peaks"
        )
    return Annotation(samples, np.full(len(samples), ""), np.zeros(len(samples), bool))


def _read_peaks(path: Path, extension: str) -> Annotation:
    annotation = read_beats(path, extension)
    if (np.diff(annotation.samples) <= 0).any():
        raise DeepECGError(f"annotation file {path}.{extension}: its beats do not follow one another in time: mend it")
    return annotation


def _reference(annotation: Annotation, extension: str | None) -> np.ndarray | None:
    """AAMI classes of the annotated beats; None for a detector's file, which calls every beat N."""
    if extension is None or (extension != "atr" and set(annotation.symbols) == {"N"}):
        return None
    return np.array([CLASSES.index(AAMI[symbol]) for symbol in annotation.symbols])


# Results ---------------------------------------------------------------------------------------------------------


def _predict_to_files(path: Path, classifier: Classifier, out: Path, peaks: str | None, lead: str | None) -> dict:
    labelled = label_record(path, classifier, peaks, lead)
    stamp = "-SYNTHETIC" * labelled.synthetic
    files = [out / f"{path.name}{ending}" for ending in (".pred", f"{stamp}.csv", f"{stamp}.png")]
    write_annotations(files[0], labelled)
    write_table(files[1], labelled)
    draw_strip(files[2], labelled, classifier.config)
    summary = summarise(labelled) | {"files": [str(file) for file in files]}
    source = f"R-peaks of {path.name}.{peaks}" if peaks else "detected R-peaks"
    print_summary(summary, source, labelled.synthetic)
    return summary


def summarise(labelled: Labelled) -> dict:
    """Beats in all and of each class, and the ectopic burden (share of S, V and F) and V burden in percent."""
    counts = np.bincount(labelled.predicted, minlength=len(CLASSES))
    return {
        "record": labelled.record.name,
        "lead": labelled.record.lead,
        "fs_hz": labelled.record.fs_hz,
        "beats": len(labelled.samples),
        "counts": {name: int(count) for name, count in zip(CLASSES, counts)},
        "ectopic_percent": float(100 * counts[ECTOPIC].sum() / counts.sum()),
        "v_percent": float(100 * counts[CLASSES.index("V")] / counts.sum()),
    }


def print_summary(summary: dict, source: str, synthetic: bool):
    """Prints what `summarise` made of a record, the files written (`files`) and where its R-peaks come from."""
    stamp = "SYNTHETIC " if synthetic else ""
    counts = ", ".join(f"{name} {count:,}" for name, count in summary["counts"].items())
    print(
        f"{stamp}{summary['record']}: {summary['beats']:,} beats, lead {summary['lead']}, {source}\n"
        f"    {counts}; ectopic burden (S, V, F) {summary['ectopic_percent']:.2f} %, V {summary['v_percent']:.2f} %\n"
        f"    {', '.join(summary['files'])}",
        flush=True,
    )


def write_annotations(path: Path, labelled: Labelled):
    """Writes the labels as WFDB annotations (N S V F Q) at the record's own rate; `path` ends in .pred.

    WFDB's tools find the file by the record's name, so a SYNTHETIC one says so in a comment annotation at its start.
    """
    samples, symbols = labelled.samples, [CLASSES[label] for label in labelled.predicted]
    notes = [""] * len(symbols)
    if labelled.synthetic:
        samples, symbols, notes = np.append(0, samples), ['"', *symbols], ["SYNTHETIC", *notes]
    with atomic_file(path) as temporary, TemporaryDirectory(dir=path.parent) as folder:
        # wfdb takes only plain names, so the file gets its own afterwards: the name is not part of its contents.
        wfdb.wrann(
            "beats", "pred", samples, symbols, aux_note=notes, fs=labelled.record.fs_hz, write_dir=folder
        )  # fmt: skip
        (Path(folder) / "beats.pred").replace(temporary)


def write_table(path: Path, labelled: Labelled):
    """Writes one line a beat: sample and time at the record's own rate, class, probability of each class."""
    times_s = labelled.samples / labelled.record.fs_hz
    rows = zip(labelled.samples.tolist(), times_s.tolist(), labelled.predicted.tolist(), labelled.proba.tolist())
    lines = ["sample,time_s,class," + ",".join(f"p_{name}" for name in CLASSES)]
    for sample, time_s, label, proba in rows:
        lines.append(f"{sample},{time_s:.4f},{CLASSES[label]}," + ",".join(f"{p:.6f}" for p in proba))
    write_text(path, "\n".join(lines) + "\n")


def draw_strip(path: Path, labelled: Labelled, config: Config):
    """Draws the STRIP_S seconds that hold the most ectopic beats, cleaned as the network sees them."""
    record = labelled.record
    filled_mv, _ = SignalWatch(record.fs_hz)(record.signal_mv)
    raw_mv = resample(filled_mv, record.fs_hz, config.fs_hz, config.mode == "causal")
    clean_mv = cleaned(raw_mv, config)
    peaks_s = labelled.samples / record.fs_hz
    start_s = busiest_start_s(peaks_s[np.isin(labelled.predicted, ECTOPIC)], len(clean_mv) / config.fs_hz)
    first = round(start_s * config.fs_hz)
    predictions_figure(
        path,
        clean_mv[first : first + round(STRIP_S * config.fs_hz)],
        config.fs_hz,
        first / config.fs_hz,
        peaks_s,
        labelled.predicted,
        labelled.reference,
        record.name,
        labelled.synthetic,
        mode=config.mode,
    )


def busiest_start_s(events_s: np.ndarray, duration_s: float) -> float:
    """Start of the STRIP_S seconds that hold the most of `events_s` (rising, in seconds); 0 where there are none."""
    if len(events_s) == 0:
        return 0.0
    starts_s = np.clip(events_s - STRIP_LEAD_IN_S, 0, max(duration_s - STRIP_S, 0))
    held = np.searchsorted(events_s, starts_s + STRIP_S) - np.searchsorted(events_s, starts_s)
    return float(starts_s[held.argmax()])
