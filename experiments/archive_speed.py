"""How many records a minute `python main.py predict` labels in an archive, by one worker and by two.

The half-hour records of DS1 and DS2, the pretrained diagnostic network of the preset `full`, the whole command from its
start, and the same once more, when nothing is left to do. Takes some minutes.
"""

import argparse
import os
import platform
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from config import DS1, DS2, Config
from deep_ecg.records.database import real_source
from deep_ecg.system.errors import DeepECGError
from deep_ecg.system.machine import Watch
from deep_ecg.system.text import markdown_table, number
from experiments.programs import MAIN

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
                first, again = (timed(archive, done, runtime, workers) for _ in range(2))
                report["runs"].append({"runtime": runtime, "workers": workers, "first": first, "again": again})
    return report


def timed(archive: Path, out: Path, runtime: str, workers: int) -> dict:
    """Seconds on the clock and of the processors, and the peak memory of one process, of one command."""
    options = ["--runtime", runtime, "--workers", str(workers), "--out", str(out), "--no-report"]
    started_s = perf_counter()
    process = subprocess.Popen([sys.executable, MAIN, "predict", str(archive), *options])
    with Watch(process.pid) as watch:
        status = process.wait()
    if status:
        raise DeepECGError(f"predict ended with status {status}: see the lines above")
    return {"wall_s": perf_counter() - started_s, "cpu_s": watch.cpu_s, "peak_rss_mb": watch.peak_rss_mb}


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
