"""What is started from the command line: one line where something is missing, on whatever terminal."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import deep_ecg
import main
from deep_ecg import requirements
from deep_ecg.records.synthetic import write_database
from deep_ecg.system import console, machine
from tests.support import ROOT

LIMIT_S = 120
STARTED = ["main.py", "quantize.py", "experimental_transformer.py", "experiments.growth"]
# What runs before the package has told the age of Python and what is missing.
READ_BY_OLD_PYTHONS = [*STARTED[:3], "experiments/__init__.py", "deep_ecg/__init__.py", "deep_ecg/requirements.py"]
START = """
import importlib.abc, runpy, sys
HIDDEN, STARTED, *sys.argv = sys.argv[1:]

class Hiding(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == HIDDEN:
            raise ModuleNotFoundError("No module named " + name, name=name)

sys.meta_path.insert(0, Hiding())
if HIDDEN == "old":
    sys.version_info, sys.version = (3, 10, 12, "final", 0), "3.10.12 (main)"
if STARTED.endswith(".py"):
    runpy.run_path(STARTED, run_name="__main__")
else:
    runpy.run_module(STARTED, run_name="__main__", alter_sys=True)
"""


def start(hidden: str, started: str) -> subprocess.CompletedProcess:
    """What happens where the package `hidden` is not installed, or where Python is "old"."""
    command = [sys.executable, "-c", START, hidden, started, started, "--help"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S)


@pytest.mark.parametrize("started", STARTED)
@pytest.mark.parametrize("package", ["numpy", "filelock", "wfdb"])
def test_a_missing_package_is_one_line_that_says_what_to_run(package, started):
    done = start(package, started)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(rf"error: package {package} is not installed: install [^\n]*\n", done.stderr), done.stderr
    assert "`sh run.sh`" in done.stderr and "`pip install -r requirements.txt`" in done.stderr


@pytest.mark.parametrize("started", STARTED[1:])
def test_what_trains_needs_torch_at_once(started):
    done = start("torch", started)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"error: package torch is not installed: install [^\n]*\n", done.stderr), done.stderr


@pytest.mark.parametrize("started", STARTED)
def test_an_old_python_is_one_line(started):
    done = start("old", started)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: Python 3.10.12 is too old: 3.11 or newer is needed\n"


@pytest.mark.parametrize("name", READ_BY_OLD_PYTHONS)
def test_an_old_python_can_read_what_tells_it(name):
    ast.parse((ROOT / name).read_text(encoding="utf-8"), feature_version=(3, 8))


def test_what_is_looked_for_is_what_the_requirements_install():
    texts = [(ROOT / name).read_text(encoding="utf-8") for name in ("requirements.txt", "requirements-pi.txt")]
    wanted = [line.partition("==")[0] for text in texts for line in text.split() if "==" in line]
    names = (*deep_ecg.PACKAGES, *requirements.PACKAGES)
    assert sorted({"sklearn": "scikit-learn"}.get(name, name) for name in names) == sorted(wanted)


# The version ---------------------------------------------------------------------------------------------------------


def test_the_version_is_told(capsys):
    with pytest.raises(SystemExit) as end:
        main.main(["--version"])
    assert end.value.code == 0 and capsys.readouterr().out == f"Deep-ECG {deep_ecg.__version__}\n"


def test_the_version_is_the_same_wherever_it_stands():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8")).get("project", {})
    citation = ROOT / "CITATION.cff"
    text = citation.read_text(encoding="utf-8") if citation.is_file() else ""
    stated = [project.get("version"), *re.findall(r"^version: (.*)$", text, re.MULTILINE)]
    assert {one.strip("\"'") for one in stated if one} <= {deep_ecg.__version__}
    assert re.fullmatch(r"\d+\.\d+\.\d+", deep_ecg.__version__)


# The terminal --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def record(tmp_path_factory) -> Path:
    """A SYNTHETIC record of one minute, in a folder that not every terminal can print."""
    folder = tmp_path_factory.mktemp("records") / "herzschläge"
    write_database(folder, ["100"], 1.0)
    return folder / "100"


def stream(record: Path, folder: Path, redirected: str = "", **variables: str) -> subprocess.CompletedProcess:
    """`main.py stream` of the record in `folder`, with the shell's redirections."""
    options = ["--speed", "0", "--preset", "edge", "--runtime", "onnx", "--out", str(folder / "übrig")]
    command = [sys.executable, str(ROOT / "main.py"), "stream", str(record), *options]
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {redirected}', "sh", *command], cwd=folder, env=os.environ | variables,
        capture_output=True, text=True, encoding="utf-8", timeout=LIMIT_S,
    )  # fmt: skip


@pytest.mark.skipif(machine.WINDOWS, reason="its shell cannot close streams")
@pytest.mark.parametrize("redirected", ["<&-", ">&- <&-", "<&- 2>&-"])
def test_closed_streams_are_no_fault(redirected, record, tmp_path):
    done = stream(record, tmp_path, redirected)
    assert (done.returncode, done.stderr) == (0, "")
    assert ("beats, lead MLII" in done.stdout) == (redirected != ">&- <&-")
    assert {path.name for path in (tmp_path / "übrig").iterdir()} == {"100.pred", "100-SYNTHETIC.csv"}


@pytest.mark.skipif(machine.WINDOWS, reason="it has no sh")
def test_what_the_terminal_cannot_print_is_escaped(record, tmp_path):
    done = stream(record, tmp_path, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert r"\xfcbrig/100.pred" in done.stdout


def test_streams_that_are_closed_lead_nowhere(monkeypatch):
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    console.prepare_streams()
    assert sys.stdin.read() == "" and not sys.stdin.isatty()
    print("nowhere")
    print("nowhere", file=sys.stderr, flush=True)
