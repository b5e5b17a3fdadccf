"""Programs of this project, run as a user runs them: in a process of their own."""

import subprocess
import sys

from deep_ecg.system.errors import DeepECGError
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
