"""From a database to beats: the records of a run, read, cut into beats and kept in the cache.

AAMI classes and the DS1/DS2 division by patient follow de Chazal et al. 2004 (IEEE TBME 51:1196-1206); another database
needs other settings of config.py and no code.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from joblib import delayed

from config import CLASSES, Config
from deep_ecg.beats import replays
from deep_ecg.beats.arrays import Beats, concatenate
from deep_ecg.beats.cache import cached_beats, entry_folder
from deep_ecg.beats.input_settings import InputSettings
from deep_ecg.beats.inputs import beats_of, beats_without_signal, no_beats
from deep_ecg.beats.strip import beats_of_strip, strip_of
from deep_ecg.beats.whole_record import read_whole
from deep_ecg.records import rhythms
from deep_ecg.records.database import Source, open_records
from deep_ecg.records.databases import BEATS, RECORDS, Database, classifying
from deep_ecg.records.wfdb_files import Annotation, Record, RecordFile, aami_labels, left_out_line
from deep_ecg.system.progress import counted
from deep_ecg.system.workers import Run

# DS1 by patient for cross-validation: S, V and F spread as evenly as the data allow, the fibrillating 201 and 203 apart
FOLDS = tuple(
    tuple(fold.split())
    for fold in (
        "209 114 106 122 205",
        "207 124 119 116 109 112",
        "118 220 203 215 101 108",
        "201 223 208 115 230",
    )
)
DETECTED = 2  # raised when another detector finds the beats of records that have one label
TIMED_N = 8  # of the N beats without a signal, of which there are more than enough, every so manieth is kept
REPLAYED = (0.2, 0.5, 0.5, 1.0, 0.0)  # share of the N S V F Q beats of a replay that is kept: enough, in less memory


def load_beats(
    source: Source, records: Sequence[str], config: Config, progress: bool = False, run: Run | None = None
) -> Beats:
    """Beats of `records`, from the cache where these records and settings have been parsed before.

    Only the files of `records` are opened, each checked against the published hashes where the folder lists them, by
    worker processes: those of `run`, or a pool of their own. The arrays lie in the files of the cache, mapped into
    memory.
    """
    opened, files = open_records(source.folder, records, config)
    entry = entry_folder("beats", source.folder, records, files, config)

    def make(run: Run) -> Iterable[Beats]:
        jobs = (delayed(_beats_of_record)(record, config) for record in opened)
        return counted(run(jobs), "beats", len(records), "records", progress)

    return cached_beats(entry, source.folder, records, files, make, config.threads, run)


def _beats_of_record(record: RecordFile, config: Config) -> Beats:
    lead = record.lead(config.leads)
    annotation = record.beats(config.annotation_extension, lead, config.aami)
    if annotation.left_out:
        print(f"      {left_out_line(record, config.annotation_extension, annotation)}", flush=True)
    labels = aami_labels(annotation.symbols, config.aami)
    return beats_of(lead, annotation, labels, InputSettings.of(config))


def load_replays(
    source: Source,
    records: Sequence[str],
    config: Config,
    progress: bool = False,
    run: Run | None = None,
    kept_shares: Sequence[float] = REPLAYED,
) -> Beats:
    """Beats of `config.replays` replays of each of the DS1 `records` (`beats.replays`), from the cache where possible.

    V beats of other patients come from those of the same fold in FOLDS, so that cross-validation stays by patient. Of
    the N S V F Q beats, `kept_shares` are kept. The same settings give the same replays. `run` is that of `load_beats`.
    """
    opened, files = open_records(source.folder, records, config)
    made_by = (config.replays, replays.VERSION, list(kept_shares))
    entry = entry_folder("replays", source.folder, records, files, config, *made_by)

    def make(run: Run) -> Iterable[Beats]:
        found = run(delayed(_donors_of)(record, config) for record in opened)
        donors = dict(zip(records, counted(found, "V beats to implant", len(records), "records", progress)))
        jobs = (delayed(_replays_of)(one, _donors_for(one.name, donors), config, kept_shares) for one in opened)
        return counted(run(jobs), "replays", len(records), "records", progress)

    return cached_beats(entry, source.folder, records, files, make, config.threads, run)


def load_training(source: Source, config: Config) -> tuple[Beats, Beats | None, list[Beats]]:
    """The beats that `config` trains on, their replays where it asks for any, and those of each of the other databases.

    By now, the cache holds them.
    """
    beats = load_beats(source, config.train_records, config)
    replays = load_replays(source, config.train_records, config) if config.replays else None
    others = classifying(config.databases[1:])
    return beats, replays, [load_database(other, other.train, config) for other in others]


def load_database(
    database: Database, records: Sequence[str], config: Config, progress: bool = False, run: Run | None = None
) -> Beats:
    """The beats of `records` of `database`, which lie in its local folder, as far as its labels say what they are.

    Of one label a record: the beats that the detector finds in records whose beats are all N. Without a signal: see
    `beats_without_signal`. From the cache where possible; `run` is that of `load_beats`.
    """
    folder = database.folder(config)
    if database.teaches == BEATS:
        return load_beats(Source("local", folder), records, database.config(config), progress, run)
    if database.teaches == RECORDS:
        labels = database.labels_of_records(folder)
        records = [name for name in records if labels.get(name) in database.all_n]
    files = database.local_files(folder, records)
    entry = entry_folder(database.name, folder, records, files, config, DETECTED)
    paths = [folder / database.path(folder, name) for name in records]
    of_one = _detected_beats if database.teaches == RECORDS else _timed_beats

    def make(run: Run) -> Iterable[Beats]:
        jobs = (delayed(of_one)(path, name, database, config) for path, name in zip(paths, records))
        return counted(run(jobs), f"{database.name} beats", len(records), "records", progress)

    return cached_beats(entry, folder, records, files, make, config.threads, run)


def _detected_beats(path: Path, name: str, database: Database, config: Config) -> Beats:
    """The beats found where the record at `path` can be read, all N; none where fewer than two are found."""
    lead = RecordFile.open(path, name).lead(database.leads)
    reading = read_whole(lead.signal_mv, lead.fs_hz)
    return n_beats(lead, reading.samples[reading.readable], config)


def n_beats(lead: Record, peaks: np.ndarray, config: Config) -> Beats:
    """Beats of `lead` with R-peaks `peaks` (beats,), all N; none where there are fewer than two."""
    if len(peaks) < 2:
        print(f"      {lead.name}: {len(peaks)} beats found, left out", flush=True)
        return no_beats(InputSettings.of(config))
    annotation = Annotation(peaks, np.full(len(peaks), "N"), np.zeros(len(peaks), bool))
    return beats_of(lead, annotation, np.zeros(len(peaks), np.int64), InputSettings.of(config))


def _timed_beats(path: Path, name: str, database: Database, config: Config) -> Beats:
    """N and S beats of a table of times, where the rhythm leaves no doubt which they are; of N, every TIMED_N-th."""
    record = rhythms.read_table(path.with_suffix(".csv"))
    kept = np.isin(record.symbols, ("N", "S")) & ~np.isin(record.rhythms, rhythms.DOUBTFUL)
    kept &= (record.symbols == "S") | (np.arange(len(kept)) % TIMED_N == 0)
    labels = np.where(record.symbols == "S", CLASSES.index("S"), CLASSES.index("N"))
    return beats_without_signal(name, record.times_s, labels, InputSettings.of(config), kept)


def _donors_of(record: RecordFile, config: Config) -> np.ndarray | None:
    return replays.donor_beats(strip_of(record, config))


def _donors_for(name: str, donors: dict[str, np.ndarray | None]) -> list[np.ndarray]:
    """The V beats that may be implanted in record `name`: of the patients of its fold, its own last."""
    fold = next((fold for fold in FOLDS if name in fold), (name,))
    ordered = (donors.get(other) for other in (*(other for other in fold if other != name), name))
    return [beats for beats in ordered if beats is not None]


def _replays_of(record: RecordFile, donors: list[np.ndarray], config: Config, kept_shares: Sequence[float]) -> Beats:
    strip, parts = strip_of(record, config), []
    for number in range(config.replays):
        rng = np.random.default_rng([*record.name.encode(), number])
        replay = replays.replay(strip, donors, rng)
        kept = rng.random(len(replay.labels)) < np.array(kept_shares)[replay.labels]
        parts.append(beats_of_strip(record.name, replay, config, kept))
    return concatenate(parts)
