"""The whole chain, R-peak detector in the loop, on DS2, scored beat by beat by the rules of ANSI/AAMI EC57.

`python benchmarks/chain.py` labels the records with the networks in pretrained/, as `python main.py predict` does, and
writes results/chain.json. EC57 counts e, j and n as S, which this project's classes count as N.
"""

import argparse
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

from config import DS2, MODES, PRESETS, Config
from deep_ecg.labelling.predict import label_record, write_annotations
from deep_ecg.networks.classifier import load_classifier
from deep_ecg.records.database import real_source
from deep_ecg.scoring.ec57 import score_records
from deep_ecg.system import console
from deep_ecg.system.json_files import write_json
from experiments import ROOT


def chain(mode: str, preset: str, folder: Path) -> dict:
    """The EC57 report of the pretrained network of `mode` and `preset` on the records of DS2 in `folder`."""
    config = Config(mode=mode, preset=preset)
    classifier = load_classifier(config)
    with TemporaryDirectory() as labels:
        for record in DS2:
            write_annotations(Path(labels) / f"{record}.pred", label_record(folder / record, classifier, config))
        with redirect_stdout(StringIO()):
            return score_records([str(folder / record) for record in DS2], "pred", test_folder=Path(labels))


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark; returns the exit status, see `console.exit_status`."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--out", type=Path, default=ROOT / "results" / "chain.json", help="the file to write")
    out = options.parse_args(arguments).out
    return console.exit_status(lambda: benchmark(out), console.NOTHING_WRITTEN)


def benchmark(out: Path):
    """Writes the report of all networks to `out`."""
    source, report = real_source(Config()), {}
    for mode in MODES:
        for preset in PRESETS:
            report[f"{mode}, {preset}"] = chain(mode, preset, source.folder)
            print(f"{mode}, {preset}: {report[f'{mode}, {preset}']['gross']}", flush=True)
    write_json(out, report)


if __name__ == "__main__":
    sys.exit(main())
