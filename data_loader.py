"""From a database to beats: where the records come from, how they are read, and what the network is fed.

AAMI classes and the DS1/DS2 division by patient follow de Chazal et al. 2004; another database needs other settings of
config.py and no code.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from joblib import delayed

from config import DS1, DS2, VALIDATION, Config
from deep_ecg.beats import replays
from deep_ecg.beats.arrays import Beats, concatenate
from deep_ecg.beats.cache import _cache_path, _cached
from deep_ecg.beats.inputs import beats_of, cleaned
from deep_ecg.beats.strip import beats_of_strip, read_strip
from deep_ecg.records.database import Source, record_files
from deep_ecg.records.wfdb_files import aami_labels, read_beats, read_record
from deep_ecg.system.progress import counted
from deep_ecg.system.workers import Run
from dsp_filters import resample

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
SPLITS = {"train": tuple(r for r in DS1 if r not in VALIDATION), "validation": VALIDATION, "test": DS2}
REPLAYED = (0.2, 0.5, 0.5, 1.0, 0.0)  # share of the N S V F Q beats of a replay that is kept: enough, in less memory


def read_clean(source: Source, name: str, config: Config, start_s: float, length_s: float) -> tuple:
    """A strip of record `name` at `config.fs_hz`, raw and cleaned as the mode cleans it, (samples,) each, in mV."""
    causal = config.mode == "causal"
    record = read_record(source.folder / name, config.leads)
    raw_mv = resample(record.signal_mv, record.fs_hz, config.fs_hz, causal)
    clean_mv = cleaned(raw_mv, config)
    strip = slice(round(start_s * config.fs_hz), round((start_s + length_s) * config.fs_hz))
    return raw_mv[strip], clean_mv[strip]


def load_beats(
    source: Source, records: Sequence[str], config: Config, progress: bool = False, run: Run | None = None
) -> Beats:
    """Beats of `records`, from the cache where these records and settings have been parsed before.

    Only the files of `records` are opened, each checked against the published hashes where the folder lists them, by
    worker processes: those of `run`, or a pool of their own. The arrays lie in the cache's file, mapped into memory.
    """
    files = record_files(source.folder, records, config)
    path = _cache_path("beats", source, records, files, config)

    def build(run: Run) -> Iterable[Beats]:
        jobs = [delayed(_beats_of_record)(source.folder, name, config) for name in records]
        return counted(run(jobs), "beats", len(records), "records", progress)

    return _cached(path, source, records, files, build, config, run)


def _beats_of_record(folder: Path, name: str, config: Config) -> Beats:
    record = replace(read_record(folder / name, config.leads), name=name)
    annotation = read_beats(folder / name, config.annotation_extension, config.aami)
    return beats_of(record, annotation, aami_labels(annotation.symbols, config.aami), config)


def load_replays(
    source: Source, records: Sequence[str], config: Config, progress: bool = False, run: Run | None = None
) -> Beats:
    """Beats of `config.replays` replays of each of the DS1 `records` (augmentation.py), from the cache where possible.

    V beats of other patients come from those of the same fold in FOLDS, so that cross-validation stays by patient.
    Of each class, the share REPLAYED is kept. The same settings give the same replays. `run` is that of `load_beats`.
    """
    files = record_files(source.folder, records, config)
    path = _cache_path("replays", source, records, files, config, config.replays, replays.VERSION)

    def build(run: Run) -> Iterable[Beats]:
        found = run(delayed(_donors_of)(source.folder / name, config) for name in records)
        donors = dict(zip(records, counted(found, "V beats to implant", len(records), "records", progress)))
        jobs = [delayed(_replays_of)(source.folder, name, _donors_for(name, donors), config) for name in records]
        return counted(run(jobs), "replays", len(records), "records", progress)

    return _cached(path, source, records, files, build, config, run)


def _donors_of(path: Path, config: Config) -> np.ndarray | None:
    return replays.donor_beats(read_strip(path, config))


def _donors_for(name: str, donors: dict[str, np.ndarray | None]) -> list[np.ndarray]:
    """The V beats that may be implanted in record `name`: of the patients of its fold, its own last."""
    fold = next((fold for fold in FOLDS if name in fold), (name,))
    ordered = [other for other in fold if other != name] + [name]
    return [donors[other] for other in ordered if donors.get(other) is not None]


def _replays_of(folder: Path, name: str, donors: list[np.ndarray], config: Config) -> Beats:
    strip, parts = read_strip(folder / name, config), []
    for number in range(config.replays):
        rng = np.random.default_rng([*name.encode(), number])
        replay = replays.replay(strip, donors, rng)
        kept = rng.random(len(replay.labels)) < np.array(REPLAYED)[replay.labels]
        parts.append(beats_of_strip(name, replay, config, kept))
    return concatenate(parts)
