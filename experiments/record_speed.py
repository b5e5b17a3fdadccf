"""What labelling one record takes, by its length: processor time and memory of the whole command."""

import argparse
import os
import platform
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import wfdb

from config import DS1, Config
from deep_ecg.records.database import real_source
from deep_ecg.system.text import markdown_table
from experiments.programs import MAIN, timed

REPORT = "record.json"
LEADS, RATE_HZ = ("MLII", "V1"), 360  # of the records
LENGTHS_S = (30, 1800, 86400)
COMMANDS = {
    "predict": ("predict", "--no-report"),
    "predict, one lead": ("predict", "--no-report", "--lead", LEADS[0]),
    "predict, causal, full": ("predict", "--no-report", "--mode", "causal"),
    "predict, causal, edge": ("predict", "--no-report", "--mode", "causal", "--preset", "edge"),
    "stream, edge": ("stream", "--speed", "0", "--preset", "edge"),
}


def add_options(parser: argparse.ArgumentParser):
    """How long the records are."""
    about = "lengths of the records in seconds (default 30 1800 86400)"
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS_S, metavar="S", help=about)


def run(options: argparse.Namespace) -> dict:
    """The report: every command on a record of each length."""
    folder = real_source(Config()).folder
    report: dict = {"machine": f"{platform.machine()}, {os.cpu_count()} cores", "lengths": []}
    with TemporaryDirectory() as scratch:
        for length_s in options.lengths:
            record = Path(scratch) / f"record{length_s}"
            write_record(folder, record, length_s)
            found = {}
            for name, (command, *flags) in COMMANDS.items():
                arguments = (MAIN, command, str(record), *flags, "--out", f"{scratch}/out")
                found[name] = timed(command, *arguments)
            report["lengths"].append({"seconds": length_s, "commands": found})
    return report


def write_record(folder: Path, path: Path, length_s: int):
    """Writes the record `path` of `length_s`, made of those of DS1 in `folder` that have LEADS."""
    length = left = length_s * RATE_HZ
    with open(path.with_suffix(".dat"), "wb") as file:
        for counts in _counts(folder):
            file.write(counts[:left].astype("<i2").tobytes())
            if (left := left - len(counts)) <= 0:
                break
    lines = [f"{path.name} {len(LEADS)} {RATE_HZ} {length}"]
    lines += [f"{path.name}.dat 16 200(0)/mV 11 0 0 0 0 {lead}" for lead in LEADS]
    path.with_suffix(".hea").write_text("\n".join([*lines, ""]), encoding="utf-8")


def _counts(folder: Path) -> Iterator[np.ndarray]:
    """The leads of record after record, (n, 2) in 1 / 200 mV, over and over."""
    names = [name for name in DS1 if tuple(wfdb.rdheader(str(folder / name)).sig_name) == LEADS]
    for name in cycle(names):
        yield np.round(200 * wfdb.rdrecord(str(folder / name)).p_signal)


def table(report: dict) -> list[str]:
    """The report as lines of Markdown."""
    lengths = [_length(one["seconds"]) for one in report["lengths"]]
    rows = [[name, *(_cell(length["commands"][name]) for length in report["lengths"])] for name in COMMANDS]
    header = ["processor s, peak memory MB", *(f"{length} of signal" for length in lengths)]
    return [*markdown_table(header, rows), "", f"{report['machine']}."]


def _cell(found: dict[str, float]) -> str:
    return f"{found['cpu_s']:.1f}, {found['peak_rss_mb']:.0f}"


def _length(seconds: int) -> str:
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:g} {unit}"
    return f"{seconds} s"
