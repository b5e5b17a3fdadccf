"""What the probabilities of the pretrained networks are worth on DS2: calibration and abstaining.

The picture is of the network whose other figures are in images/. The temperatures were fitted on DS1 by
`python -m experiments crossvalidation --temperature`.
"""

import argparse
from pathlib import Path

from config import DS2, MODES, PRESETS, Config
from data_loader import load_beats
from deep_ecg.networks.classifier import load_network
from deep_ecg.records.database import Source, real_source
from deep_ecg.scoring.confidence import confidence_report
from deep_ecg.scoring.figures import confidence_figure
from deep_ecg.scoring.report import confidence_table
from deep_ecg.system.machine import versions
from deep_ecg.training.experiment import network_proba

REPORT = "confidence.json"
SHOWN = f"{Config.mode}, {Config.preset}"


def run(options: argparse.Namespace) -> dict:
    """The report: the confidence of all networks."""
    source = real_source(Config())
    networks = {f"{mode}, {preset}": measured(mode, preset, source) for mode in MODES for preset in PRESETS}
    return {"versions": versions(), "networks": networks}


def measured(mode: str, preset: str, source: Source) -> dict:
    """The confidence report of the pretrained network of `mode` and `preset`."""
    config = Config(mode=mode, preset=preset)
    model, description = load_network(config)
    beats = load_beats(source, DS2, description.applied_to(config))
    proba = network_proba(model, description.decision, beats)
    return confidence_report(beats.labels, proba, beats.records, description.decision.temperature)


def table(report: dict) -> list[str]:
    """Markdown lines: one row a network."""
    return confidence_table(report["networks"])


def draw(path: Path, report: dict):
    """The picture of the network SHOWN."""
    title = f"Confidence on DS2: {Config.mode} mode, {Config.preset} preset"
    confidence_figure(path, report["networks"][SHOWN], title, synthetic=False)
