"""What the probabilities of the pretrained networks are worth on DS2: calibration and abstaining.

`python benchmarks/confidence.py` writes results/confidence.json and images/confidence.png, the latter of the network
whose other figures are in images/. The temperatures are those of config.py, fitted on DS1 by
`python crossvalidation.py --temperature`.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from config import DS2, MODES, PRESETS, Config
from data_loader import load_beats
from deep_ecg.networks.classifier import load_network
from deep_ecg.records.database import Source, real_source
from deep_ecg.scoring.confidence import confidence_report
from deep_ecg.scoring.figures import confidence_figure
from deep_ecg.scoring.report import confidence_table
from deep_ecg.system import console
from deep_ecg.system.json_files import write_json
from deep_ecg.system.machine import versions
from deep_ecg.training.experiment import network_proba
from experiments import ROOT

SHOWN = f"{Config.mode}, {Config.preset}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark; returns the exit status, see `console.exit_status`."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--out", type=Path, default=ROOT, help="folder of results/ and images/")
    out = options.parse_args(arguments).out
    return console.exit_status(lambda: benchmark(out), console.NOTHING_WRITTEN)


def benchmark(out: Path):
    """Measures all networks, writes report and figure into `out`, prints the table."""
    source = real_source(Config())
    networks = {f"{mode}, {preset}": measured(mode, preset, source) for mode in MODES for preset in PRESETS}
    write_json(out / "results" / "confidence.json", {"versions": versions(), "networks": networks})
    title = f"Confidence on DS2: {Config.mode} mode, {Config.preset} preset"
    confidence_figure(out / "images" / "confidence.png", networks[SHOWN], title, synthetic=False)
    print("\n".join(confidence_table(networks)))


def measured(mode: str, preset: str, source: Source) -> dict:
    """The confidence report of the pretrained network of `mode` and `preset`."""
    config = Config(mode=mode, preset=preset)
    model, description = load_network(config)
    beats = load_beats(source, DS2, description.applied_to(config))
    proba = network_proba(model, description.decision, beats)
    return confidence_report(beats.labels, proba, beats.records, description.decision.temperature)


if __name__ == "__main__":
    sys.exit(main())
