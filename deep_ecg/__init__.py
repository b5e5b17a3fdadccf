"""Deep-ECG: from raw ECG to a trained, evaluated and quantized classifier of heartbeats.

Every entry point imports this package before all else: where Python is too old or a package is missing, that ends the
program with one line. So this file, and what is started, must be plain enough for an older Python to read.
"""

import sys
from importlib.util import find_spec

__version__ = "1.0.0"

OLDEST_PYTHON = (3, 11)
# What `main.py` imports whatever it is to do, or to read a record; requirements.py has what only some of it needs.
PACKAGES = "edfio filelock jinja2 joblib matplotlib numpy onnxruntime psutil requests scipy sklearn tqdm wfdb".split()
INSTALL = "install requirements.txt (`sh run.sh` does, or `pip install -r requirements.txt`)"


def require(packages):
    """Ends the program with one line and status 2 where one of `packages`, names to import, is not installed."""
    for name in packages:
        if not _is_installed(name):
            _end(f"package {name} is not installed: {INSTALL}")


def _is_installed(name):
    try:
        return find_spec(name) is not None
    except ImportError:
        return False


def _end(why):
    print(f"error: {why}", file=sys.stderr)
    sys.exit(2)


if sys.version_info < OLDEST_PYTHON:
    _end(f"Python {sys.version.split()[0]} is too old: {'.'.join(map(str, OLDEST_PYTHON))} or newer is needed")
require(PACKAGES)


def __getattr__(name):
    """`deep_ecg.label`, imported when it is first asked for: numpy and all else would slow every start."""
    if name == "label":
        from deep_ecg.labelling.signals import label

        return label
    raise AttributeError("module 'deep_ecg' has no attribute " + repr(name))
