"""What waiting after the R-peak buys: causal mode trained with look-aheads from none to half a window.

`python benchmarks/look_ahead.py` cross-validates each over the patients of DS1 (`edge` preset, SEEDS; DS2 stays shut,
because the default is chosen here), next to the diagnostic mode, prints a table, and writes results/look_ahead.json and
images/look_ahead.png.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from config import Config, with_overrides
from deep_ecg.records.database import real_source
from deep_ecg.scoring.figures import look_ahead_figure
from deep_ecg.system import console
from deep_ecg.system.json_files import write_json
from deep_ecg.system.machine import versions
from experiments import ROOT
from experiments.crossvalidation import cross_validate, scores_table

SEEDS = (0, 1, 2)
LOOK_AHEADS_MS = (0.0, 50.0, 100.0, 150.0, 200.0, 300.0, 388.0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the sweep; returns the exit status, see `console.exit_status`."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--out", type=Path, default=ROOT, help="folder of results/ and images/")
    out = options.parse_args(arguments).out
    return console.exit_status(lambda: sweep(out), console.NOTHING_WRITTEN)


def sweep(out: Path):
    """Cross-validates every look-ahead, writes report and figure into `out`, prints the table."""
    config = Config(preset="edge", data_source="local", seeds=SEEDS)
    source = real_source(config)
    report = {"preset": config.preset, "seeds": list(config.seeds), "versions": versions(), "causal": {}}
    for look_ahead_ms in LOOK_AHEADS_MS:
        causal = with_overrides(config, mode="causal", look_ahead_ms=look_ahead_ms)
        scores = report["causal"][f"{look_ahead_ms:g}"] = cross_validate(causal, source)[0]
        print(scores_table("", {f"causal, {look_ahead_ms:g} ms": scores}, len(SEEDS))[-1], flush=True)
    report["diagnostic"] = cross_validate(config, source)[0]
    write_json(out / "results" / "look_ahead.json", report)
    look_ahead_figure(out / "images" / "look_ahead.png", report)
    print("\n".join(table(report)))


def table(report: dict) -> list[str]:
    """Markdown lines: one row a look-ahead, and the diagnostic mode, mean and sd over seeds."""
    rows = {f"causal, {ms} ms": scores for ms, scores in report["causal"].items()}
    rows["diagnostic, next beat"] = report["diagnostic"]
    return scores_table("look-ahead", rows, len(report["seeds"]))


if __name__ == "__main__":
    sys.exit(main())
