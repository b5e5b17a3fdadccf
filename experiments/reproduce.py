"""What is trained made anew from the data: results/networks and int8, pretrained/, images/, tables.

Each network is trained and assessed as `python main.py` does it; what is committed of that is copied to its place. What
is in results/measured/ stays: every file there has an experiment of its own. Takes hours.
"""

import argparse
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from config import Config
from deep_ecg.networks.classifier import load_network
from deep_ecg.networks.torch_network import save_checkpoint
from deep_ecg.records.database import real_source
from deep_ecg.scoring.report import elsewhere, render_markdown
from deep_ecg.system.files import atomic_file, write_text
from deep_ecg.system.json_files import read_json, write_json
from deep_ecg.training.experiment import hybrid_arguments
from experimental_transformer import benchmark
from experiments import ROOT
from experiments.programs import MAIN, run_python
from experiments.tables import SHOWN, VARIANTS, read_ablation, read_look_ahead, write_tables
from quantize import build

SEEDS = (0, 1, 2, 3, 4)
BASE = Path(Config.runs_dir) / "reproduce"


def run(options: argparse.Namespace):
    """Makes all of it anew."""
    reproduce(ROOT)


def train(mode: str, preset: str):
    """`main.py` on the real database with every seed; its results lie in BASE."""
    arguments = ["--mode", mode, "--preset", preset, "--seeds", *map(str, SEEDS), "--data-source", "local"]
    run_python("main.py", MAIN, *arguments, "--name", f"{BASE.name}/{mode}-{preset}")


def reproduce(root: Path, train: Callable[[str, str], None] = train):
    """Trains every variant with `train`, then copies what is committed to its place below `root`.

    Raises DeepECGError on a synthetic database, or where a cross-validation has to be made first, before any training.
    """
    read_ablation(root / "results")
    read_look_ahead(root / "results")
    real_source(Config())
    for mode, preset in VARIANTS:
        train(mode, preset)
        keep_network(mode, preset, root)
        keep_artefacts(mode, preset, root)
    for figure in ("signal.png", "dashboard.png", "predictions.png"):
        _copy(BASE / "-".join(SHOWN) / "images" / figure, root / "images" / figure)
    keep_transformer(root)
    write_tables(root)


def keep_network(mode: str, preset: str, root: Path):
    """The report of a network that is trained, and the weights of the seed that it shows, which hear the rhythm."""
    name = f"{mode}-{preset}"
    report = elsewhere(read_json(BASE / name / "report.json"))
    write_json(root / "results" / "networks" / f"{name}.json", report)
    write_text(root / "results" / "networks" / f"{name}.md", render_markdown(report))
    pretrained = root / "pretrained" / f"{name}.pt"
    _copy(BASE / name / f"seed-{report['seed']}" / "checkpoint.pt", pretrained)
    let_rhythm_speak(pretrained, _config(mode, preset))


def let_rhythm_speak(checkpoint: Path, config: Config):
    """Gives the rhythm its say in the labels of a `checkpoint` that ships.

    In a report of DS1 -> DS2 it has none, for its network learned from other databases.
    """
    model, description = load_network(config, checkpoint)
    decision = replace(description.decision, rhythm_weight=config.rhythm_weight)
    save_checkpoint(checkpoint, model, hybrid_arguments(config), replace(description, decision=decision))


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
