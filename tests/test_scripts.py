"""run.sh, test.sh and setup.sh with stand-ins for Python, pip, apt-get and sudo: nothing is installed here.

The PATH of a script holds the stand-ins and the few tools that the scripts may use, nothing of this machine's own.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import ROOT

SCRIPTS = ("run.sh", "setup.sh", "test.sh")
TOOLS = ("sh", "dirname", "cat", "cp", "mkdir")
SHELL = shutil.which("sh")
PYTHON = """#!/bin/sh
echo "python $*" >>"$LOG"
case "$*" in
    *version_info*) exit "${TOO_OLD:-0}" ;;
    "-c import ensurepip, venv") exit "${NO_VENV:-0}" ;;
    --version) echo "Python 3.9.2" ;;
    "-m venv --clear .venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
    "-m pip"*) echo "from pip"; exit "${PIP_STATUS:-0}" ;;
    "-m ruff"*) exit "${RUFF_STATUS:-0}" ;;
    "-m mypy"*) exit "${MYPY_STATUS:-0}" ;;
    "-m pytest"*) shift 2; printf '<%s>' "$@"; exit "${PYTEST_STATUS:-0}" ;;
    */main.py*) echo "in $PWD"; printf '<%s>' "$@"; cat; exit "${MAIN_STATUS:-0}" ;;
esac
"""
LOGGED = """#!/bin/sh
echo "{name} $*" >>"$LOG"
"""

pytestmark = pytest.mark.skipif(SHELL is None, reason="there is no POSIX shell (sh) here")


class Machine:
    """A machine with a copy of the scripts, in a folder with a space in its name, and with nothing installed."""

    def __init__(self, folder: Path):
        self.project, self.bin, self.log = folder / "a project", folder / "bin", folder / "log"
        self.project.mkdir()
        self.bin.mkdir()
        for file in (*ROOT.glob("*.sh"), *ROOT.glob("requirements*.txt")):
            shutil.copy(file, self.project)
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool))
        self.has("python3", PYTHON)

    def has(self, name: str, text: str = LOGGED):
        """Puts the program `name` on the PATH."""
        (self.bin / name).write_text(text.replace("{name}", name))
        (self.bin / name).chmod(0o755)

    def run(self, script: str, *arguments: str, cwd: Path | None = None, given: str = "", **environment):
        """Runs a script; `log` then holds what it called."""
        self.log.write_text("")
        return subprocess.run(
            [SHELL, str(self.project / script), *arguments],
            env={"PATH": str(self.bin), "LOG": str(self.log), **environment},
            cwd=cwd or self.project, input=given, capture_output=True, text=True, timeout=60,
        )  # fmt: skip

    def called(self, part: str) -> list[str]:
        """The calls of the last run that have `part` in them."""
        return [line for line in self.log.read_text().splitlines() if part in line]


@pytest.fixture
def machine(tmp_path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_is_one_that_a_shell_can_read(script):
    subprocess.run([SHELL, "-n", ROOT / script], check=True)


def test_run_installs_and_hands_arguments_input_and_folder_to_main(machine, tmp_path):
    done = machine.run("run.sh", "predict", "a record", "", "*", cwd=tmp_path, given="0.1\n0.2\n")
    assert done.returncode == 0
    main = machine.project / "main.py"
    assert done.stdout == f"in {tmp_path}\n<{main}><predict><a record><><*>0.1\n0.2\n"
    assert "from pip" in done.stderr  # what is printed on the way is no output of main.py's
    assert machine.called("-m pip") == ["python -m pip install -r requirements.txt"]


def test_a_second_start_installs_nothing(machine):
    machine.run("run.sh")
    assert machine.run("run.sh").returncode == 0
    assert not machine.called("venv --clear") and not machine.called("-m pip")


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-pi.txt"])  # the first refers to the second
def test_changed_requirements_are_installed_once(machine, name):
    machine.run("run.sh")
    with open(machine.project / name, "a", encoding="utf-8") as file:
        file.write("another==1.0\n")
    machine.run("run.sh")
    assert machine.called("-m pip") == ["python -m pip install -r requirements.txt"]
    assert not machine.called("venv --clear")
    machine.run("run.sh")
    assert not machine.called("-m pip")


def test_run_and_test_each_install_their_own_requirements(machine):
    for script, requirements in (("run.sh", "requirements.txt"), ("test.sh", "requirements-dev.txt")):
        machine.run(script)
        assert machine.called("-m pip") == [f"python -m pip install -r {requirements}"]
    for script in ("run.sh", "test.sh"):
        machine.run(script)
        assert not machine.called("-m pip")


def test_a_failed_installation_ends_the_start_and_is_tried_again(machine):
    done = machine.run("run.sh", PIP_STATUS="3")
    assert done.returncode == 3
    assert done.stdout == ""
    assert machine.run("run.sh").returncode == 0
    assert machine.called("-m pip")


def test_the_exit_status_is_that_of_main(machine):
    assert machine.run("run.sh", MAIN_STATUS="130").returncode == 130


def test_test_checks_style_and_types_then_hands_its_arguments_to_pytest(machine, tmp_path):
    done = machine.run("test.sh", "-k", "a or b", cwd=tmp_path)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "<-k><a or b>")
    tools = [line for line in machine.called("python -m") if "pip" not in line and "venv" not in line]
    assert tools == ["python -m ruff check .", "python -m mypy", "python -m pytest -k a or b"]


@pytest.mark.parametrize("tool", ["RUFF", "MYPY", "PYTEST"])
def test_the_exit_status_of_test_is_that_of_the_first_tool_to_fail(machine, tool):
    assert machine.run("test.sh", **{f"{tool}_STATUS": "4"}).returncode == 4
    assert len(machine.called("-m pytest")) == (tool == "PYTEST")


@pytest.mark.parametrize("script", SCRIPTS)
def test_an_old_python_is_refused_in_one_line(machine, script):
    done = machine.run(script, TOO_OLD="1")
    assert (done.returncode, done.stdout) == (2, "")
    why = "Python 3.11 or newer is needed, but python3 is Python 3.9.2: install a newer one"
    assert done.stderr == f"error: {why}\n"
    assert not machine.called("-m")


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_missing_python_is_said_in_one_line(machine, script):
    (machine.bin / "python3").unlink()
    done = machine.run(script)
    why = "Python 3.11 or newer is needed, but there is no python3: install it"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"error: {why}\n")


def test_a_newer_python_beside_an_old_one_is_taken(machine):
    machine.has("python3.12", PYTHON)
    machine.has("python3", PYTHON.replace("${TOO_OLD:-0}", "1"))
    assert machine.run("run.sh").returncode == 0


def test_an_environment_whose_python_has_gone_is_made_anew(machine):
    machine.run("run.sh")
    (machine.project / ".venv" / "bin" / "python").unlink()
    assert machine.run("run.sh").returncode == 0
    assert machine.called("venv --clear")


@pytest.mark.parametrize(("user", "by_sudo"), [("0", False), ("1000", True)])
def test_debians_package_for_environments_is_installed_where_it_is_missing(machine, user, by_sudo):
    machine.has("id", f"#!/bin/sh\necho {user}\n")
    machine.has("apt-get")
    machine.has("sudo", LOGGED + '"$@"\n')
    assert machine.run("run.sh", NO_VENV="1").returncode == 0
    calls = ["apt-get update", "apt-get install -y python3-venv"]
    assert [call for call in machine.called("apt-get") if call.startswith("apt-get")] == calls
    assert machine.called("sudo") == [f"sudo {call}" for call in calls] * by_sudo
    machine.run("run.sh", NO_VENV="1")
    assert not machine.called("apt-get")


@pytest.mark.parametrize("missing", ["apt-get", "sudo"])
def test_the_missing_package_is_named_where_it_cannot_be_installed(machine, missing):
    machine.has("id", "#!/bin/sh\necho 1000\n")
    for tool in {"apt-get", "sudo"} - {missing}:
        machine.has(tool)
    done = machine.run("run.sh", NO_VENV="1")
    why = f"python3 has no module venv and there is no {missing}: install python3-venv"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"error: {why}\n")


def test_ci_runs_the_test_command_of_the_readme():
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    assert "sh test.sh" in (ROOT / ".ci" / "run").read_text()
    assert "sh test.sh" in (ROOT / "README.md").read_text()
