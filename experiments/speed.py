"""How long `python main.py` takes: a whole run, once more from its cache, and the shortest useful one.

Each run is the whole command, in a process of its own, three times, without a cache or with that of the run before. The
shortest one trains the preset `edge` for three epochs and without replays, which cross-validation on DS1 found good
enough (accuracy 96 %), and stops the clock when DS2 is scored. Takes a quarter of an hour.
"""

import argparse
import os
import platform
import statistics
import subprocess
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
import torch

from config import DATA_DIR_VARIABLE, Config
from data_loader import load_beats, load_replays
from deep_ecg.records.database import real_source
from deep_ecg.system.json_files import read_json
from deep_ecg.system.text import markdown_table, percent
from deep_ecg.training import engine
from deep_ecg.training.experiment import hybrid_arguments, schedule_of, training_tensors
from experiments.programs import MAIN, run_python
from loss import FocalLoss
from model import HybridECGNet

REPORT = "speed.json"
REPEATS = 3
QUICK = ("--preset", "edge", "--replays", "0", "--epochs", "3")
AFTER_SCORING = ("figures", "quantize")  # stages of a run that come when the quality is known


def run(options: argparse.Namespace) -> dict:
    """The report: every kind of run, timed."""
    real_source(Config())
    report: dict = {"machine": f"{platform.machine()}, {os.cpu_count()} cores", "quick": [], "cold": [], "cached": []}
    for _ in range(REPEATS):
        with TemporaryDirectory() as folder:
            report["quick"].append(timed(Path(folder), *QUICK))
        with TemporaryDirectory() as folder:
            for kind in ("cold", "cached"):
                report[kind].append(timed(Path(folder)))
    report["loading_share"] = [loading_share(preset) for preset in ("full", "edge")]
    return report


def timed(folder: Path, *options: str) -> dict:
    """Seconds of one run in `folder` from its start, those of its stages, and what its network is worth on DS2.

    `options` are those of main.py that make it another run than the usual one.
    """
    environment = os.environ | {DATA_DIR_VARIABLE: str(Config().data_folder.resolve())}
    started_s = perf_counter()
    arguments = (MAIN, *options, "--data-source", "local", "--name", "timed")
    run_python("main.py", *arguments, cwd=folder, env=environment, stdin=subprocess.DEVNULL)
    wall_s = perf_counter() - started_s
    report = read_json(folder / "runs" / "timed" / "report.json")
    stages = report["timings_s"]
    scores = report["ds2"]
    return {
        "wall_s": wall_s,
        "scored_s": wall_s - sum(stages[name] for name in AFTER_SCORING),
        "stages_s": stages,
        "peak_rss_mb": report["peak_rss_mb"],
        "accuracy": scores["accuracy"],
        "v_se": scores["per_class"]["V"]["se"],
    }


def loading_share(preset: str) -> dict:
    """The part of an epoch's time that goes into fetching its batches, by the clock, one thread."""
    config = Config(preset=preset, data_source="local", epochs=1)
    source = real_source(config)
    ds1, replays = (load(source, config.train_records, config) for load in (load_beats, load_replays))
    beats = training_tensors(ds1, replays, config.train_records)
    engine.seed_everything(0)
    model, schedule = HybridECGNet(**hybrid_arguments(config)), schedule_of(config)
    started_s = perf_counter()
    engine.fit(model, beats, None, FocalLoss(config.focal_gamma), schedule, seed=0)
    epoch_s = perf_counter() - started_s
    shown = np.concatenate([np.flatnonzero(beats.strata == i)[: round(share * (beats.strata == i).sum().item())]
                            for i, share in enumerate(schedule.shares)])  # fmt: skip
    batches = torch.from_numpy(np.random.default_rng(0).permutation(shown)).split(schedule.batch_size)
    started_s = perf_counter()
    for index in batches:
        beats.windows[index], beats.features[index], beats.labels[index]
    return {"preset": preset, "epoch_s": epoch_s, "loading_s": perf_counter() - started_s}


def table(report: dict) -> list[str]:
    """The report as lines of Markdown."""
    titles = {"quick": ("to a scored `edge` network", "scored_s"), "cold": ("whole run, no cache", "wall_s")}
    titles |= {"cached": ("whole run, cached beats", "wall_s")}
    rows = []
    for kind, (title, clock) in titles.items():
        runs = report[kind]
        stages = [_spread([run["stages_s"][name] for run in runs]) for name in ("beats", "train", "evaluate")]
        worth = [percent(min(run[name] for run in runs)) for name in ("accuracy", "v_se")]
        memory = f"{max(run['peak_rss_mb'] for run in runs):.0f} MB"
        rows.append([title, _spread([run[clock] for run in runs]), *stages, *worth, memory])
    header = ["run", "s", "of these beats", "train", "evaluate", "least accuracy %", "least PVC Se %", "peak memory"]
    shares = (f"{one['preset']}: {100 * one['loading_s'] / one['epoch_s']:.1f} %" for one in report["loading_share"])
    note = f"Mean ± sd of {len(report['cold'])} runs, {report['machine']}. Fetching batches, of an epoch's time: "
    return [*markdown_table(header, rows), "", f"{note}{', '.join(shares)}."]


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f}"
