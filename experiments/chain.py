"""The whole chain, R-peak detector in the loop, on DS2, scored beat by beat by ANSI/AAMI EC57.

The records are labelled with the networks in pretrained/, as `python main.py predict` does. EC57 counts e, j and n as
S, which this project's classes count as N.
"""

import argparse
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

from config import DS2, MODES, PRESETS, Config
from deep_ecg.labelling.annotations import write_annotations
from deep_ecg.labelling.predict import label_record
from deep_ecg.networks.classifier import load_classifier
from deep_ecg.records.database import real_source
from deep_ecg.scoring.ec57 import MEASURES, score_records
from deep_ecg.system.text import markdown_table, number

REPORT = "chain.json"


def run(options: argparse.Namespace) -> dict:
    """The report: EC57's of each network."""
    source, report = real_source(Config()), {}
    for mode in MODES:
        for preset in PRESETS:
            report[f"{mode}, {preset}"] = chain(mode, preset, source.folder)
            print(f"{mode}, {preset}: {report[f'{mode}, {preset}']['gross']}", flush=True)
    return report


def chain(mode: str, preset: str, folder: Path) -> dict:
    """The EC57 report of the pretrained network of `mode` and `preset` on the records of DS2 in `folder`."""
    config = Config(mode=mode, preset=preset)
    classifier = load_classifier(config)
    with TemporaryDirectory() as labels:
        for record in DS2:
            write_annotations(Path(labels) / f"{record}.pred", label_record(folder / record, classifier, config))
        with redirect_stdout(StringIO()):
            return score_records([str(folder / record) for record in DS2], "pred", test_folder=Path(labels))


def table(report: dict) -> list[str]:
    """Markdown lines: of each network the gross and the average scores."""
    rows = []
    for name, scores in report.items():
        for kind in ("gross", "average"):
            part = scores[kind]
            rates = [part["measures"][key]["percent"] if kind == "gross" else part[key] for key in MEASURES]
            rows.append([name, kind, *(number(rate, ".2f") for rate in rates)])
    header = ["network", "DS2", *(f"{beats} {rate} %" for beats in ("QRS", "VEB", "SVEB") for rate in ("Se", "+P"))]
    return markdown_table(header, rows)
