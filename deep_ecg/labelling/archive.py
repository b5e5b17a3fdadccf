"""`python main.py predict FOLDER` and `--list FILE`: thousands of records, labelled by worker processes.

For each record NAME the output folder gets, in the subfolder that NAME has in the archive, NAME.pred and NAME.csv as
from `predict` of one record, and NAME.json, which says from which files and with which network and settings they were
made. That one is written last: a run that goes on after a kill, or is repeated, does only the records whose NAME.json
is missing or tells of something else. At its end a run writes manifest.jsonl, one line of JSON for each record.
"""

import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from io import StringIO
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from config import Config
from deep_ecg.labelling.archive_records import Found, said_of
from deep_ecg.labelling.choice import NO_SETTINGS
from deep_ecg.labelling.keeping import inputs_of, kept_work
from deep_ecg.labelling.predict import label_opened
from deep_ecg.labelling.reference import reference_beside
from deep_ecg.labelling.results import (
    WITH_EDF_LABELS,
    check_apart,
    check_events_apart,
    in_words_of,
    recording_of,
    result_files,
    write_results,
)
from deep_ecg.labelling.summary import summarise
from deep_ecg.networks.classifier import (
    SYNTHETIC_NETWORK,
    Classifier,
    check_min_confidence,
    load_classifier,
    network_path,
    runtime_of,
)
from deep_ecg.networks.description import Description
from deep_ecg.records import guard
from deep_ecg.records.any_record import AnyRecord
from deep_ecg.records.formats import TextSettings, open_any
from deep_ecg.report.index import index_page, row_of
from deep_ecg.report.report import Report
from deep_ecg.system.console import describe_fault, say
from deep_ecg.system.errors import DeepECGError, NoBeats, NoOutput, PartlyDone
from deep_ecg.system.files import atomic_file, check_there, check_writable, locked, sha256_of, write_text
from deep_ecg.system.json_files import write_json
from deep_ecg.system.work import Work
from deep_ecg.system.workers import WorkerDied, run_jobs

VERSION = 10  # raised when the same record, network and settings give other labels or other files
MANIFEST = "manifest.jsonl"
INDEX, OF_RECORDS = "index.html", "-of-records"  # the page of all records; longer where a record is called so
MAX_STORED_BYTES = 64_000_000  # of a NAME.json
ROOM_BYTES = 65_536  # for results: a full disk still takes an empty file
ALONE = 4  # records a worker that are done one by one after a worker process has died
INTERRUPTED = "Interrupted: the same command does the records that are left."


@dataclass(frozen=True)
class Job:
    """What is the same for all records: where they are and where their labels go, the user's settings, the network."""

    root: Path
    out: Path
    config: Config
    description: Description
    checkpoint: Path
    sha256: str
    runtime: str
    peaks: str | None
    lead: str | None
    min_confidence: float
    report: bool
    keep_identity: bool = False
    text: TextSettings = NO_SETTINGS

    def made_with(self) -> dict:
        """What, beside the files of a record, decides its labels."""
        network = {"network": self.checkpoint.name, "sha256": self.sha256, "runtime": self.runtime}
        settings = {name: getattr(self.description, name) for name in ("mode", "preset")}
        priors = ("temperature", "s_prior_weight", "v_prior_weight", "rhythm_weight")
        settings |= {name: getattr(self.description.decision, name) for name in priors}
        chosen = {name: getattr(self, name) for name in ("peaks", "lead", "min_confidence", "report", "keep_identity")}
        chosen |= {"fs": self.text.fs_hz, "units": self.text.unit, "second_lead": self.config.second_lead}
        return {"version": VERSION, **network, **settings, **chosen}


@dataclass(frozen=True)
class Outcome:
    """What came of a record: its `line` of the manifest, its `row` of the index, and `why` it failed."""

    line: str
    row: dict
    why: str | None = None
    unchanged: bool = False
    no_beats: bool = False
    synthetic: bool = False
    other_lead: bool = False  # than the network's own, without being asked for


Outcomes = Callable[[Job, Sequence[Found]], Iterator[Outcome]]  # has records labelled; what came of each, in order


# All records -------------------------------------------------------------------------------------------------------


def label_archive(
    root: Path,
    found: Sequence[Found],
    config: Config,
    out: Path,
    workers: int = 0,
    progress: bool = False,
    others: Sequence[str] = (),
    peaks: str | None = None,
    lead: str | None = None,
    checkpoint: Path | None = None,
    runtime: str | None = None,
    min_confidence: float = 0.0,
    report: bool = True,
    keep_identity: bool = False,
    text: TextSettings = NO_SETTINGS,
    outcomes: Outcomes | None = None,
):
    """Labels the records `found` in `root` with `workers` processes (0: one a core) and writes the manifest.

    `others` are files that were left out, which is said. `outcomes` has the records labelled where that is not to be
    done by processes of this machine. The other settings are those of `predict_records`. A record that cannot be used
    is reported and left out; PartlyDone is raised at the end where there were any, else NoBeats where one holds no
    beat. DeepECGError where nothing can be done: a wrong setting or network, an output folder in use or without room.
    """
    check_min_confidence(min_confidence)
    if workers < 0:
        raise DeepECGError(f"--workers {workers} cannot be used: it must be 0 (one a core) or more")
    runtime = runtime_of(checkpoint, runtime)
    checkpoint = network_path(config, checkpoint, runtime)
    classifier = load_classifier(config, checkpoint, runtime)
    network = (classifier.description, checkpoint, sha256_of(checkpoint), runtime)
    check_events_apart(one.results for one in found)
    job = Job(root, out, config, *network, peaks, lead, min_confidence, report, keep_identity, text)
    check_writable(out)
    if classifier.synthetic:
        say(SYNTHETIC_NETWORK)
    with locked(out):
        try:
            by_processes = partial(_by_processes, workers=min(workers or os.cpu_count() or 1, len(found)))
            counts = _label_all(job, found, outcomes or by_processes, progress)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(INTERRUPTED) from None
    _report(counts, [out / MANIFEST, *[_index(job, found)] * report], others)


def _index(job: Job, found: Sequence[Found]) -> Path:
    """The page that lists the records `found`."""
    page, taken = Path(INDEX), {one.results.casefold() for one in found}
    while page.stem in taken:
        page = page.with_stem(page.stem + OF_RECORDS)
    return job.out / page


def _label_all(job: Job, found: Sequence[Found], outcomes: Outcomes, progress: bool) -> Counter:
    """Labels the records and writes the manifest; how many records there were of each kind."""
    counts: Counter[str] = Counter()
    rows = []
    with atomic_file(job.out / MANIFEST) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as manifest:
        manifest.write(json.dumps({"made_with": job.made_with()}) + "\n")
        for one in tqdm(outcomes(job, found), "records", len(found), unit="record", disable=None if progress else True):
            check_there(temporary)
            manifest.write(one.line + "\n")
            rows.append(one.row)
            counts.update(name for name in ("unchanged", "no_beats", "synthetic", "other_lead") if getattr(one, name))
            counts["failed" if one.why else "done"] += 1
            if one.why:
                tqdm.write(f"failed: {one.why}", file=sys.stderr)
    if job.report:
        write_text(_index(job, found), index_page(rows))
    else:
        _index(job, found).unlink(missing_ok=True)  # it would lead to reports that are gone
    return counts


def _by_processes(job: Job, found: Sequence[Found], workers: int) -> Iterator[Outcome]:
    """What comes of each record, in order. After a worker died, the next records are done each in its own process."""
    from joblib import delayed  # single records start without it

    place = 0
    while place < len(found):
        try:
            for outcome in run_jobs((delayed(label_one)(job, one) for one in found[place:]), workers):
                place += 1
                yield outcome
        except WorkerDied:
            for one in found[place : place + ALONE * workers]:
                place += 1
                yield alone(job, one)


def alone(job: Job, one: Found) -> Outcome:
    """What comes of a record, done in a process of its own, for one has died over it."""
    from joblib import delayed

    try:
        return next(run_jobs([delayed(label_one)(job, one)], 2))
    except WorkerDied as error:
        return _failed(one.name, str(DeepECGError(f"record {job.root / one.name}: {error}")))


def _report(counts: Counter, files: Sequence[Path], others: Sequence[str]):
    total = counts["done"] + counts["failed"]
    stamp = "SYNTHETIC: " if counts["synthetic"] else ""
    said = [f"{counts['done']:,} labelled"]
    said += [f"{counts['unchanged']:,} of them before"] * bool(counts["unchanged"])
    said += [f"{counts['no_beats']:,} without a beat"] * bool(counts["no_beats"])
    said += [f"{counts['failed']:,} failed"] * bool(counts["failed"])
    said += [f"{counts['synthetic']:,} SYNTHETIC"] * bool(counts["synthetic"])
    said += [f"{counts['other_lead']:,} by another lead than the network's"] * bool(counts["other_lead"])
    say(f"{stamp}{total:,} records: {', '.join(said)}{said_of(others)}\n    {', '.join(map(str, files))}")
    manifest = files[0]
    if counts["failed"]:
        raise PartlyDone(f"{counts['failed']:,} of {total:,} records failed: the lines above and {manifest} say why")
    if counts["no_beats"]:
        raise NoBeats(f"no beat was found in {counts['no_beats']:,} of {total:,} records: {manifest} says in which")


# One record --------------------------------------------------------------------------------------------------------


def label_one(job: Job, one: Found) -> Outcome:
    """Labels a record and writes its files, unless that was done before from the same files in the same way.

    DeepECGError where no record can be labelled any more: the network is gone; NoOutput where there is no room for
    results, or their folder is gone.
    """
    try:
        if one.problem:
            raise DeepECGError(one.problem)
        record = open_any(job.root / one.name, job.text)
        identity = _identity(job, record)
        entry = identity and _stored(job.out / one.results, identity, record.kind)
        unchanged = entry is not None
        entry = entry or _label(job, one.results, record, identity)
        summary, line = entry["summary"], {"record": one.name, "status": "done"}
        line |= {name: entry[name] for name in ("inputs", "synthetic", "files", "summary")}
        lead = str(summary.get("lead")).partition(" (signal ")[0]
        other_lead = job.lead is None and lead not in job.description.leads
        row = row_of(one.name, _page_of(job, one.results, entry), entry)
        return Outcome(json.dumps(line), row, None, unchanged, not summary["beats"], entry["synthetic"], other_lead)
    except NoOutput:
        raise
    except DeepECGError as error:
        why = str(error)
    except (OSError, MemoryError) as error:
        why = describe_fault(error)
    except RecursionError:
        why = f"record {job.root / one.name}: its folder lies too deep: shorten its path"
    _classifier(job)
    check_writable(job.out, ROOM_BYTES)
    return _failed(one.name, why)


def _failed(name: str, why: str) -> Outcome:
    return Outcome(json.dumps({"record": name, "status": "failed", "why": why}), row_of(name, why=why), why)


def _page_of(job: Job, name: str, entry: dict) -> str | None:
    """The path of a record's report from the output folder."""
    page = result_files(PurePosixPath(name).name, Path(), entry["synthetic"]).page.name
    return str(PurePosixPath(name).with_name(page)) if job.report else None


@lru_cache(maxsize=1)
def _classifier(job: Job) -> Classifier:
    """The network, once a process, on one thread: the work is shared out by records."""
    if job.runtime == "torch":
        import torch

        torch.set_num_threads(1)
    classifier = load_classifier(job.config, job.checkpoint, job.runtime)
    if sha256_of(job.checkpoint) != job.sha256:
        raise DeepECGError(f"{job.checkpoint} was changed while it was in use: start again")
    return classifier


def _identity(job: Job, record: AnyRecord) -> dict | None:
    """From what and with what the labels of a record are made; None where one of its files cannot be used."""
    annotations, beside = [job.peaks] if job.peaks else [], job.config.annotation_extension
    if job.report and beside not in annotations and os.path.isfile(f"{record.base}.{beside}"):
        annotations.append(beside)  # the report shows it
    inputs = inputs_of(record, annotations)
    if inputs is None:
        return None
    synthetic = job.description.synthetic or record.synthetic
    return {"made_with": job.made_with(), "inputs": inputs, "synthetic": synthetic}


def _stored(target: Path, identity: dict, kind: str) -> dict | None:
    """What `target`.json says, where that is of `identity` and the results of a record in `kind` are there."""
    path = _beside(target, ".json")
    try:
        guard.check_file(path, MAX_STORED_BYTES)
        entry = json.loads(path.read_bytes())
        same = entry.keys() == {*identity, "files", "summary", "measures"} and isinstance(entry["summary"], dict)
        if not same or any(entry[name] != value for name, value in identity.items()):
            return None
        files = result_files(target.name, target.parent, identity["synthetic"])
        written = [*[files.annotations] * bool(entry["summary"]["beats"]), files.table]
        written += [files.page, files.events] * identity["made_with"]["report"]
        written += [files.edf] * (bool(entry["summary"]["beats"]) and kind in WITH_EDF_LABELS)
        row_of(target.name, None, entry)  # the measures are those that the index shows
        return entry if entry["files"] == {file.name: file.stat().st_size for file in written} else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _label(job: Job, name: str, record: AnyRecord, identity: dict | None) -> dict:
    """Labels a record and writes its results, NAME.json last; what that says."""
    annotations = [job.peaks] if job.peaks else []
    with kept_work(record, job.out / name, job.checkpoint, (job.made_with(), job.config), annotations) as work:
        return _label_by(work, job, name, record, identity)


def _label_by(work: Work, job: Job, name: str, record: AnyRecord, identity: dict | None) -> dict:
    target = job.out / name
    with redirect_stdout(StringIO()):  # which lead was taken is in the summary
        labelled = label_opened(record, _classifier(job), job.config, job.peaks, job.lead, work)
        reference = reference_beside(record, labelled.record, job.config) if job.report else None
    identified = record.identity if job.keep_identity else {}
    labelled = replace(labelled, min_confidence=job.min_confidence, identity=identified)
    if identity is None or not record.is_unchanged() or _identity(job, record) != identity:
        raise DeepECGError(f"record {record.path}: its files changed while they were read: run the command again")
    files = result_files(target.name, target.parent, labelled.synthetic)
    check_apart([*files, _beside(target, ".json")], record)
    made = Report.of(recording_of(labelled, reference, in_words_of(_classifier(job), job.checkpoint.name), job.peaks))
    check_there(job.out)
    _beside(target, ".json").unlink(missing_ok=True)  # it told of other results
    written = write_results(files, labelled, made if job.report else None)
    sizes = {file.name: file.stat().st_size for file in written}
    entry = identity | {"files": sizes, "summary": summarise(labelled), "measures": made.measures}
    write_json(_beside(target, ".json"), entry)
    return entry


def _beside(target: Path, ending: str) -> Path:
    return target.with_name(target.name + ending)
