"""The pictures of a run: cleaned signal, training dashboard, confidence, labelled strip."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from config import Config, name_of_test
from deep_ecg.beats.arrays import Beats
from deep_ecg.beats.strip import read_clean
from deep_ecg.records.database import Source
from deep_ecg.records.wfdb_files import RecordFile
from deep_ecg.scoring.figures import confidence_figure, dashboard_figure
from deep_ecg.scoring.strips import predictions_figure, signal_figure
from deep_ecg.training.experiment import Trained, network_proba

SIGNAL_STRIP = ("203", 40.0, 10.0)  # a training record with wander and muscle noise, start and length in seconds
PREDICTION_STRIP = ("233", 4.0, 16.0)  # a test record with V beats of several shapes and an S beat that networks miss


def draw_run(
    folder: Path, config: Config, source: Source, trained: Trained, report: dict, proba: np.ndarray, ds1: Beats,
    ds2: Beats,
) -> list[str]:  # fmt: skip
    """Draws the four pictures of a run into `folder`/images; returns their paths in `folder`.

    `report` and `proba` (beats, 5) are what the network `trained` makes of the beats of DS2.
    """
    record, start_s, length_s = strip_of(SIGNAL_STRIP, config.train_records)
    raw_mv, clean_mv = read_clean(source.folder, record, config, start_s, length_s)
    lead = " or ".join(config.leads)
    images = folder / "images"
    signal = signal_figure(
        images / "signal.png", raw_mv, clean_mv, config.fs_hz, start_s, record, lead, source.synthetic
    )
    dashboard = dashboard_figure(
        images / "dashboard.png",
        report["validation"],
        report["ds2"]["confusion"],
        (ds1.labels, network_proba(trained.model, trained.description.decision, ds1)),
        (ds2.labels, proba),
        f"{config.mode} mode, {config.preset} preset, seed {trained.seed}: test on "
        f"{name_of_test(config.test_records)}, n = {len(ds2):,}",
        source.synthetic,
    )
    print(f"      {signal}\n      {dashboard}", flush=True)
    own = [path.relative_to(folder).as_posix() for path in (signal, dashboard)]
    return own + draw_tested(folder, config, source, report, proba, ds2, source.synthetic)


def draw_tested(
    folder: Path, config: Config, source: Source, report: dict, proba: np.ndarray, beats: Beats, synthetic: bool
) -> list[str]:
    """Draws what a network makes of the `beats` that it is tested on: confidence, labelled strip; as `draw_run`."""
    network = f"{config.mode} mode, {config.preset} preset" + (f", seed {report['seed']}" if "seed" in report else "")
    confidence = confidence_figure(
        folder / "images" / "confidence.png",
        report["ds2"]["confidence"],
        f"Confidence on {name_of_test(config.test_records)}: {network}, n = {len(beats):,}",
        synthetic,
    )
    record, start_s, length_s = strip_of(PREDICTION_STRIP, config.test_records)
    _, clean_mv = read_clean(source.folder, record, config, start_s, length_s)
    shown, of_record = RecordFile.open(source.folder / record), beats.records == record
    strip = predictions_figure(
        folder / "images" / "predictions.png",
        clean_mv,
        config.fs_hz,
        start_s,
        beats.samples[of_record] / shown.fs_hz(shown.number_of(config.leads)),
        proba[of_record].argmax(axis=1),
        beats.labels[of_record],
        record,
        synthetic,
        mode=config.mode,
    )
    print(f"      {confidence}\n      {strip}", flush=True)
    return [path.relative_to(folder).as_posix() for path in (confidence, strip)]


def strip_of(preferred: tuple[str, float, float], records: Sequence[str]) -> tuple[str, float, float]:
    """Record, start and length in seconds of a strip: `preferred`, or the start of the first of other `records`."""
    return preferred if preferred[0] in records else (records[0], 0.0, preferred[2])
