"""How many records a minute `python main.py predict` labels in an archive, by one worker and by two.

The half-hour records of DS1 and DS2, the pretrained diagnostic network of the preset `full`, the whole command from its
start, and the same once more, when nothing is left to do. Takes some minutes.
"""

import argparse
import os
import platform
from pathlib import Path
from tempfile import TemporaryDirectory

from config import DS1, DS2, Config
from deep_ecg.records.database import real_source
from deep_ecg.system.text import markdown_table, number
from experiments.programs import MAIN, timed

REPORT = "archive.json"
WORKERS = (1, 2)
RUNTIMES = ("fp32", "int8", "torch")


def run(options: argparse.Namespace) -> dict:
    """The report: each runtime with each number of workers."""
    folder, records = real_source(Config()).folder, DS1 + DS2
    report: dict = {"records": len(records), "machine": f"{platform.machine()}, {os.cpu_count()} cores", "runs": []}
    with TemporaryDirectory() as scratch:
        archive = Path(scratch) / "archive"
        archive.mkdir()
        for name in records:
            for ending in ("hea", "dat"):
                (archive / f"{name}.{ending}").symlink_to((folder / f"{name}.{ending}").resolve())
        for runtime in RUNTIMES:
            for workers in WORKERS:
                done = Path(scratch) / f"{runtime}-{workers}"
                first, again = (labelled(archive, done, runtime, workers) for _ in range(2))
                report["runs"].append({"runtime": runtime, "workers": workers, "first": first, "again": again})
    return report


def labelled(archive: Path, out: Path, runtime: str, workers: int) -> dict[str, float]:
    """What one command takes: see `programs.timed`."""
    options = ["--runtime", runtime, "--workers", str(workers), "--out", str(out), "--no-report"]
    return timed("predict", MAIN, "predict", str(archive), *options)


def table(report: dict) -> list[str]:
    """The report as lines of Markdown."""
    header = ["runtime", "workers", "records a minute", "processor s a record", "peak memory of a process, MB"]
    rows = [
        [
            run["runtime"],
            number(run["workers"]),
            f"{60 * report['records'] / run['first']['wall_s']:.0f}",
            f"{run['first']['cpu_s'] / report['records']:.2f}",
            f"{run['first']['peak_rss_mb']:.0f}",
            f"{run['again']['wall_s']:.1f}",
        ]
        for run in report["runs"]
    ]
    return markdown_table([*header, "once more, nothing to do, s"], rows)
