"""Whether a training that two processes share by patient comes to the same as one process alone.

It runs `torchrun --nproc-per-node 2 main.py --preset edge` with the seeds of results/networks/diagnostic-edge.json,
which `python -m experiments reproduce` trained alone. Takes some minutes.
"""

import argparse

from config import Config
from deep_ecg.system.json_files import read_json
from deep_ecg.system.machine import versions
from deep_ecg.system.text import markdown_table, mean_sd_text
from experiments import RESULTS, ROOT
from experiments.programs import MAIN, run_python

REPORT = "torchrun.json"
PROCESSES = 2
NAME = "torchrun"
ALONE = RESULTS / "networks" / "diagnostic-edge.json"


def run(options: argparse.Namespace) -> dict:
    """The report: both spreads over the seeds, of one process and of PROCESSES."""
    alone = read_json(ALONE)["over_seeds"]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(PROCESSES)]
    settings = ["--mode", "diagnostic", "--preset", "edge", "--data-source", "local", "--name", NAME]
    seeds = ["--seeds", *map(str, alone["seeds"])]
    run_python("torchrun", *launcher, MAIN, *settings, *seeds, cwd=ROOT)
    shared = read_json(ROOT / Config.runs_dir / NAME / "report.json")["over_seeds"]
    return {"versions": versions(), "spreads": {"1": alone, str(PROCESSES): shared}}


def table(report: dict) -> list[str]:
    """The report as lines of Markdown."""
    rows = []
    for processes, spread in report["spreads"].items():
        parts = [spread["accuracy"], *(spread["per_class"][name]["f1"] for name in "NSVF")]
        auc = mean_sd_text(spread["auc_micro"], spread["n"], scale=1, digits=4)
        rows.append([processes, *(mean_sd_text(part, spread["n"]) for part in parts), auc])
    header = ["processes a training", "accuracy %", *(f"{name} F1 %" for name in "NSVF"), "micro AUC"]
    return markdown_table(header, rows)
