"""Programs of this project, run as a user runs them: in a process of their own."""

import os
import subprocess
import sys
from time import perf_counter

from deep_ecg.system.errors import DeepECGError
from deep_ecg.system.machine import Watch
from experiments import ROOT

MAIN = str(ROOT / "main.py")


def run_python(name: str, *arguments: str, **options) -> subprocess.CompletedProcess:
    """Runs Python with `arguments`, and with the `options` of `subprocess.run`.

    Raises DeepECGError, which says that `name` has failed, where it ends with another status than 0.
    """
    done = subprocess.run([sys.executable, *arguments], **options)
    if done.returncode:
        raise DeepECGError(f"{name} ended with status {done.returncode}: see the lines above")
    return done


def timed(name: str, *arguments: str, **options) -> dict[str, float]:
    """Seconds by the clock and of the processors, and the peak memory of one process, of Python with `arguments`.

    The `options` are those of `subprocess.Popen`. Raises DeepECGError as `run_python` does.
    """
    before, started_s = os.times(), perf_counter()
    process = subprocess.Popen([sys.executable, *arguments], **options)
    with Watch(process.pid) as watch:
        status = process.wait()
    if status:
        raise DeepECGError(f"{name} ended with status {status}: see the lines above")
    wall_s, after = perf_counter() - started_s, os.times()
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    return {"wall_s": wall_s, "cpu_s": cpu_s, "peak_rss_mb": watch.peak_rss_mb}
