"""What is trained made anew from the data: results/networks, open and int8, pretrained/, images/, tables.

Each network is trained and assessed as `python main.py` does it; what is committed of that is copied to its place: the
reports of DS1 -> DS2 from mitdb alone, and, where the other databases are at hand, those of the open protocol, whose
networks are pretrained/. What is in results/measured/ stays: every file there has an experiment of its own. Takes
hours.
"""

import argparse
import shutil
from collections.abc import Callable
from pathlib import Path

from config import Config
from deep_ecg.records.database import real_source
from deep_ecg.records.databases import DATABASES, fetched
from deep_ecg.scoring.report import elsewhere, render_markdown
from deep_ecg.system.errors import DeepECGError
from deep_ecg.system.files import atomic_file, write_text
from deep_ecg.system.json_files import read_json, write_json
from experimental_transformer import benchmark
from experiments import ROOT
from experiments.programs import MAIN, run_python
from experiments.tables import SHOWN, VARIANTS, read_ablation, read_look_ahead, write_tables
from quantize import build

SEEDS = (0, 1, 2, 3, 4)
OPEN = ("mitdb", "svdb", "cinc2017")  # what the networks that ship are trained on
BASE = Path(Config.runs_dir) / "reproduce"


def run(options: argparse.Namespace):
    """Makes all of it anew."""
    reproduce(ROOT)


def train(mode: str, preset: str):
    """`main.py` on the real database with every seed; its results lie in BASE."""
    _main(mode, preset, f"{mode}-{preset}")


def train_open(mode: str, preset: str):
    """The same on the databases OPEN."""
    _main(mode, preset, f"open-{mode}-{preset}", "--databases", *OPEN)


def _main(mode: str, preset: str, name: str, *more: str):
    arguments = ["--mode", mode, "--preset", preset, "--seeds", *map(str, SEEDS), "--data-source", "local"]
    run_python("main.py", MAIN, *arguments, "--name", f"{BASE.name}/{name}", *more)


def reproduce(
    root: Path, train: Callable[[str, str], None] = train, train_open: Callable[[str, str], None] = train_open
):
    """Trains every variant with `train` and `train_open`, then copies what is committed to its place below `root`.

    Raises DeepECGError on a synthetic database, or where a cross-validation has to be made first, before any training.
    """
    read_ablation(root / "results")
    read_look_ahead(root / "results")
    real_source(Config())
    for mode, preset in VARIANTS:
        train(mode, preset)
        keep_report(mode, preset, root)
    for figure in ("signal.png", "dashboard.png", "predictions.png"):
        _copy(BASE / "-".join(SHOWN) / "images" / figure, root / "images" / figure)
    keep_transformer(root)
    if missing := missing_databases():
        print(f"results/open, results/int8 and pretrained/ are left as they are: {missing}", flush=True)
    else:
        for mode, preset in VARIANTS:
            train_open(mode, preset)
            keep_network(mode, preset, root)
            keep_artefacts(mode, preset, root)
    write_tables(root)


def missing_databases() -> str:
    """Which of OPEN is not at hand, and the mend; empty where all are."""
    try:
        for name in OPEN[1:]:
            fetched(DATABASES[name], _config(*SHOWN))
    except DeepECGError as error:
        return str(error)
    return ""


def keep_report(mode: str, preset: str, root: Path, folder: str = "networks", made: str = "") -> dict:
    """The report of the networks trained in BASE, in the `folder` of results/; returns it."""
    name = f"{mode}-{preset}"
    report = elsewhere(read_json(BASE / f"{made}{name}" / "report.json"))
    write_json(root / "results" / folder / f"{name}.json", report)
    write_text(root / "results" / folder / f"{name}.md", render_markdown(report))
    return report


def keep_network(mode: str, preset: str, root: Path):
    """The report of the open protocol, and the weights of the seed that it shows."""
    name, report = f"{mode}-{preset}", keep_report(mode, preset, root, "open", "open-")
    _copy(BASE / f"open-{name}" / f"seed-{report['seed']}" / "checkpoint.pt", root / "pretrained" / f"{name}.pt")


def keep_artefacts(mode: str, preset: str, root: Path):
    """What every form of a network is worth, and its ONNX files, for machines without torch."""
    name, folder = f"{mode}-{preset}", BASE / "artefacts" / f"{mode}-{preset}"
    build(_config(mode, preset), root / "pretrained" / f"{name}.pt", folder)
    _copy(folder / f"quantization-{name}.json", root / "results" / "int8" / f"quantization-{name}.json")
    _copy(folder / "model_fp32.onnx", root / "pretrained" / f"{name}-fp32.onnx")
    _copy(folder / "model_int8.onnx", root / "pretrained" / f"{name}.onnx")


def keep_transformer(root: Path):
    """The Transformer next to both presets."""
    benchmark(_config(*SHOWN), BASE / "transformer")
    _copy(BASE / "transformer" / "benchmark.json", root / "results" / "networks" / "transformer.json")
    _copy(BASE / "transformer" / "benchmark.png", root / "images" / "transformer.png")


def _config(mode: str, preset: str) -> Config:
    return Config(mode=mode, preset=preset, seeds=SEEDS, data_source="local")


def _copy(source: Path, target: Path):
    with atomic_file(target) as temporary:
        shutil.copyfile(source, temporary)
