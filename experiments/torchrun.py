"""Whether a training that processes share by patient (`distributed.py`) comes to the same as one process alone.

`python benchmarks/torchrun.py` takes some minutes: it runs `torchrun --nproc-per-node 2 main.py --preset edge` with the
seeds of results/diagnostic-edge.json, which `main.py reproduce` trained alone, and writes results/torchrun.json.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from config import Config
from deep_ecg.system import console
from deep_ecg.system.errors import DeepECGError
from deep_ecg.system.json_files import read_json, write_json
from deep_ecg.system.machine import versions
from deep_ecg.system.text import markdown_table, mean_sd_text
from experiments import ROOT

PROCESSES = 2
NAME = "torchrun"
ALONE = ROOT / "results" / "diagnostic-edge.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the comparison; returns the exit status, see `console.exit_status`."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--out", type=Path, default=ROOT / "results" / "torchrun.json", help="the file to write")
    out = options.parse_args(arguments).out
    return console.exit_status(lambda: compare(out), console.GOES_ON)


def compare(out: Path):
    """Trains by PROCESSES processes, writes both spreads over the seeds to `out` and prints the table."""
    alone = read_json(ALONE)["over_seeds"]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(PROCESSES)]
    options = ["--mode", "diagnostic", "--preset", "edge", "--data-source", "local", "--name", NAME]
    seeds = ["--seeds", *map(str, alone["seeds"])]
    done = subprocess.run([sys.executable, *launcher, str(ROOT / "main.py"), *options, *seeds], cwd=ROOT)
    if done.returncode:
        raise DeepECGError(f"torchrun ended with status {done.returncode}: see the lines above")
    shared = read_json(ROOT / Config.runs_dir / NAME / "report.json")["over_seeds"]
    report = {"versions": versions(), "spreads": {"1": alone, str(PROCESSES): shared}}
    write_json(out, report)
    print("\n".join(table(report)))


def table(report: dict) -> list[str]:
    """The report as lines of Markdown."""
    rows = []
    for processes, spread in report["spreads"].items():
        parts = [spread["accuracy"], *(spread["per_class"][name]["f1"] for name in "NSVF")]
        auc = mean_sd_text(spread["auc_micro"], spread["n"], scale=1, digits=4)
        rows.append([processes, *(mean_sd_text(part, spread["n"]) for part in parts), auc])
    header = ["processes a training", "accuracy %", *(f"{name} F1 %" for name in "NSVF"), "micro AUC"]
    return markdown_table(header, rows)


if __name__ == "__main__":
    sys.exit(main())
