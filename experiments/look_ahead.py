"""What waiting after the R-peak buys: causal mode with look-aheads from none to half a window.

Each is cross-validated over the patients of DS1 (`edge` preset; DS2 stays shut, because the default is chosen here),
next to the diagnostic mode. Takes hours.
"""

import argparse

from config import Config, with_overrides
from deep_ecg.records.database import real_source
from deep_ecg.scoring.figures import look_ahead_figure
from deep_ecg.system.machine import versions
from experiments.crossvalidation import cross_validate, scores_table

REPORT = "look_ahead.json"
SEEDS = (0, 1, 2)
LOOK_AHEADS_MS = (0.0, 50.0, 100.0, 150.0, 200.0, 300.0, 388.0)


def add_options(parser: argparse.ArgumentParser):
    """The seeds."""
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, metavar="SEED", help="default 0 1 2")


def run(options: argparse.Namespace) -> dict:
    """The report: every look-ahead and the diagnostic mode, cross-validated."""
    config = Config(preset="edge", data_source="local", seeds=tuple(options.seeds))
    source = real_source(config)
    report: dict = {"preset": config.preset, "seeds": list(config.seeds), "versions": versions(), "causal": {}}
    for look_ahead_ms in LOOK_AHEADS_MS:
        causal = with_overrides(config, mode="causal", look_ahead_ms=look_ahead_ms)
        scores = report["causal"][f"{look_ahead_ms:g}"] = cross_validate(causal, source)[0]
        print(scores_table("", {f"causal, {look_ahead_ms:g} ms": scores}, len(config.seeds))[-1], flush=True)
    report["diagnostic"] = cross_validate(config, source)[0]
    return report


def table(report: dict) -> list[str]:
    """Markdown lines: one row a look-ahead, and the diagnostic mode, mean and sd over seeds."""
    rows = {f"causal, {ms} ms": scores for ms, scores in report["causal"].items()}
    rows["diagnostic, next beat"] = report["diagnostic"]
    return scores_table("look-ahead", rows, len(report["seeds"]))


draw = look_ahead_figure
