"""What is done in the labelling processes, each a function of plain values."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from config import CLASSES, Config, with_overrides
from deep_ecg.labelling.annotations import write_annotations
from deep_ecg.labelling.labelled import Labelled
from deep_ecg.labelling.live import UNITS
from deep_ecg.labelling.predict import label_lead, label_record
from deep_ecg.labelling.results import in_words_of
from deep_ecg.labelling.signals import LabelledSignal, as_arrays, classifier_of
from deep_ecg.labelling.table import write_table
from deep_ecg.networks.classifier import network_path
from deep_ecg.records.any_record import MAX_MV, Record
from deep_ecg.records.formats import TextSettings
from deep_ecg.records.synthetic import write_database
from deep_ecg.report.report import Report
from deep_ecg.serving.limits import Refused
from deep_ecg.serving.review import Review
from deep_ecg.serving.stored import MADE_OF, Stored, store
from deep_ecg.serving.uploads import Upload, sorted_into_records
from deep_ecg.system.errors import DeepECGError
from deep_ecg.system.json_files import write_json

TABLE, ANNOTATIONS, SUMMARY, EVENTS = "beats.csv", "beats.pred", "beats.json", "events.csv"
PAGE = "report.html"
EXAMPLES = {"N": "103", "S": "209", "V": "200", "F": "208", "Q": "105"}  # a synthetic patient who shows each class
EXAMPLE_MINUTES = 1.0
RANGE = 1e9  # of a sample in a request


@dataclass(frozen=True)
class Fields:
    """What is said beside files: the lead, and of texts that do not tell, the rate and the unit."""

    lead: str | None = None
    fs_hz: float | None = None
    unit: str | None = None

    @classmethod
    def of(cls, given: Mapping[str, str]) -> "Fields":
        """The fields of a form, or of an address. Refused where one cannot be used."""
        told = {name: given[name].strip() for name in ("lead", "fs", "units") if given.get(name, "").strip()}
        if told.get("units", "mV") not in tuple(UNITS):
            raise Refused(400, f"the field units has to be one of {', '.join(UNITS)}")
        try:
            fs_hz = float(told["fs"]) if "fs" in told else None
        except ValueError:
            fs_hz = math.nan
        if fs_hz is not None and not 0 < fs_hz < math.inf:
            raise Refused(400, "the field fs has to be the sampling rate in Hz")
        return cls(told.get("lead"), fs_hz, told.get("units"))


@dataclass(frozen=True)
class Network:
    """Which network labels."""

    mode: str = Config.mode
    preset: str = Config.preset
    runtime: str | None = None
    checkpoint: Path | None = None

    @property
    def config(self) -> Config:
        """The settings that it is used with."""
        return with_overrides(Config(), mode=self.mode, preset=self.preset)

    @property
    def name(self) -> str:
        """The name of its file."""
        return network_path(self.config, self.checkpoint, self.runtime).name

    def loaded(self):
        """The classifier, read once in a process."""
        return classifier_of(self.mode, self.preset, self.runtime, self.checkpoint)


def label_upload(folder: Path, upload: Upload, asked: Fields, network: Network):
    """Labels an uploaded record and writes its results into `folder`. DeepECGError in the user's own names."""
    labelled = _labelled(upload, asked, network)
    labelled = replace(labelled, record=replace(labelled.record, name=upload.title))
    if len(labelled.samples):
        write_annotations(folder / ANNOTATIONS, labelled)
    store(folder, labelled, in_words_of(network.loaded(), network.name))
    write_results(folder)


def _labelled(upload: Upload, asked: Fields, network: Network) -> Labelled:
    try:
        text = TextSettings(asked.fs_hz, asked.unit)
        return label_record(upload.main, network.loaded(), network.config, lead=asked.lead, text=text)
    except DeepECGError as error:
        raise DeepECGError(upload.in_words(str(error))) from None


def write_results(folder: Path):
    """Writes what is told of the record as it is reviewed now: table, figures, episodes, and the page of the report."""
    review = Review(Stored.load(folder))
    labelled = review.labelled
    report = Report.of(review.stored.recording(labelled))
    write_table(folder / TABLE, labelled)
    told = {"changes": review.version, "measures": report.measures}
    write_json(folder / SUMMARY, as_json(as_arrays(labelled), labelled.record.fs_hz) | told)
    report.write(folder / PAGE, folder / EVENTS)
    write_json(folder / MADE_OF, {"version": review.version})


def label_file(files: list, asked: Fields, network: Network) -> bytes:
    """The answer to a request with one record in `files` (`uploads.Given`)."""
    uploads = sorted_into_records(files)
    if len(uploads) != 1:
        raise DeepECGError(f"there are {len(uploads)} records in the request: send one at a time")
    labelled = _labelled(uploads[0], asked, network)
    return encoded(as_json(as_arrays(labelled), labelled.record.fs_hz))


def label_json(body: bytes, network: Network) -> bytes:
    """The answer to a request with samples, as the OpenAPI description has them."""
    asked = _asked(body)
    signal_mv = np.array(asked["signal"], float) * UNITS[asked.get("unit", "mV")]
    record = Record("signal", "unnamed", asked["fs"], np.where(np.abs(signal_mv) <= MAX_MV, signal_mv, np.nan))
    return encoded(as_json(as_arrays(label_lead(record, network.loaded())), record.fs_hz))


def _asked(body: bytes) -> dict[str, Any]:
    """A request for labels. Refused where it is another than described."""
    try:
        asked = parsed(body)
    except ValueError:
        raise Refused(400, "the body is no JSON: NaN and Infinity are none either, null is a lost sample") from None
    if not isinstance(asked, dict) or not {"signal", "fs"} <= set(asked) <= {"signal", "fs", "unit"}:
        raise Refused(400, 'the body has to be {"signal": [...], "fs": 360, "unit": "mV"}, the last one as you like')
    signal, fs_hz = asked["signal"], asked["fs"]
    if not isinstance(signal, list) or not signal or not all(value is None or is_number(value) for value in signal):
        raise Refused(400, f'"signal" has to be a list of numbers within {RANGE:g}, null where a sample is lost')
    if not is_number(fs_hz) or not 100 <= fs_hz <= 1000:
        raise Refused(400, '"fs" has to be the sampling rate, from 100 to 1000 Hz')
    if asked.get("unit", "mV") not in tuple(UNITS):
        raise Refused(400, f'"unit" has to be one of {", ".join(UNITS)}')
    return asked


def parsed(body: bytes) -> Any:
    """JSON of a request. ValueError where it is none, or holds what JSON does not know."""
    try:
        return json.loads(body, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("nested too deep") from None


def _no_constant(name: str):
    raise ValueError(f"{name} is not JSON")


def is_number(value: Any) -> bool:
    """Whether `value` of a request can be a sample."""
    return type(value) in (int, float) and abs(value) <= RANGE  # neither bool nor infinity


def as_json(labelled: LabelledSignal, fs_hz: float) -> dict:
    """Labelled beats as programs get them."""
    columns = (labelled.samples, labelled.classes, labelled.probabilities, labelled.signal, labelled.sure)
    beats = [
        {
            "sample": sample,
            "time_s": round(sample / fs_hz, 4),
            "class": name,
            "probabilities": {one: round(p, 6) for one, p in zip(CLASSES, proba)},
            "signal": signal,
            "sure": sure,
        }
        for sample, name, proba, signal, sure in zip(*(column.tolist() for column in columns))
    ]
    told = {"fs": fs_hz, "synthetic": labelled.synthetic, "summary": labelled.summary}
    return told | {"beats": beats, "rhythm": labelled.rhythm}


def encoded(told: dict) -> bytes:
    """An answer in JSON."""
    return json.dumps(told, allow_nan=False).encode()


def make_example(folder: Path, name: str) -> Upload:
    """A SYNTHETIC record in `folder` that shows beats of the class `name`."""
    record = EXAMPLES[name]
    write_database(folder, [record], EXAMPLE_MINUTES)
    return Upload(f"SYNTHETIC-{name}", folder / record, {record: f"SYNTHETIC-{name}"})
