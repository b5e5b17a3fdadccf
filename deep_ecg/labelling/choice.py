"""Which record is meant by a name, and which of its leads is labelled."""

import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from config import Config
from deep_ecg.networks.classifier import Classifier
from deep_ecg.networks.description import RATES_HZ
from deep_ecg.records import leads
from deep_ecg.records.any_record import AnyRecord, Record
from deep_ecg.records.formats import TextSettings, is_beside, is_record, open_any
from deep_ecg.system.console import say
from deep_ecg.system.errors import DeepECGError

NO_SETTINGS = TextSettings()


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
                    say(f"{record}: record {name} of the data folder {folder}")
                return folder / name
    return Path(record.removesuffix(".hea"))


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
        say(f"{file.path.name}: {why}, taking {record.lead!r} of {there} (--lead chooses)")
    return number, record


def other_leads(file: AnyRecord, record: Record, preferred: Sequence[str]) -> Iterator[Record]:
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


def _check_rate(file: AnyRecord, number: int):
    low, high = RATES_HZ
    fs_hz = file.fs_hz(number)
    if not low <= fs_hz <= high:
        which = f"lead {leads.label(file.leads, number)} of record {file.path}"
        raise DeepECGError(f"{which} is sampled at {fs_hz:g} Hz: {low:g} to {high:g} Hz are needed")
