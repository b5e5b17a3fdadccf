"""Headings, times and banners as the user sees them."""

import re
import shlex
import sys
from pathlib import Path

import pytest
import torch

from deep_ecg.system import console
from deep_ecg.system.errors import DeepECGError, NoBeats, PartlyDone


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands until it is set."""
    now = [100.0]
    monkeypatch.setattr(console.time, "perf_counter", lambda: now[0])
    return now


def test_stages_keep_their_seconds_and_the_total(clock, capsys):
    stages = console.Stages(2)
    clock[0] += 1
    with stages("ingest", "Ingest"):
        clock[0] += 2.5
    with stages("train", "Train"):
        clock[0] += 4
    clock[0] += 8
    assert stages.timings_s() == {"ingest": 2.5, "train": 4.0, "total": 15.5}
    lines = [line.strip() for line in capsys.readouterr().out.splitlines() if line]
    assert lines == ["[1/2] Ingest", "2.5 s", "[2/2] Train", "4.0 s"]


def test_a_stage_that_fails_is_not_counted_and_its_error_goes_on(clock):
    stages = console.Stages(1)
    with pytest.raises(RuntimeError, match="broken"), stages("train", "Train"):
        raise RuntimeError("broken")
    assert set(stages.timings_s()) == {"total"}


def raising(error: BaseException | None):
    def work():
        if error is not None:
            raise error

    return work


@pytest.mark.parametrize(
    "error, status, said",
    [
        (None, 0, ""),
        (DeepECGError("record 7 is missing: fetch it"), 2, "error: record 7 is missing: fetch it"),
        (PartlyDone("3 of 7 records failed"), 3, "error: 3 of 7 records failed"),
        (NoBeats("no beat was found in 7"), 4, "error: no beat was found in 7"),
        (KeyboardInterrupt(), 130, "Interrupted: so."),
        (KeyboardInterrupt("Interrupted after 3 s."), 130, "Interrupted after 3 s."),
        (MemoryError(), 2, "error: there is not enough memory for this: "),
        (PermissionError(13, "Permission denied", "x.json"), 2, "error: x.json cannot be used (Permission denied)"),
        (ModuleNotFoundError("no", name="torch"), 2, "error: package torch is not installed: install"),
    ],
)
def test_exit_status_and_its_one_line(error, status, said, capsys):
    assert console.exit_status(raising(error), "Interrupted: so.") == status
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines == [] if not said else len(lines) == 1 and lines[0].startswith(said)


def test_no_memory_for_torch_is_one_line(capsys):
    assert console.exit_status(lambda: torch.empty(10**15), "Interrupted: so.") == 2
    assert re.fullmatch(r"error: there is not enough memory[^\n]*\n", capsys.readouterr().err)


def test_other_errors_are_not_hidden():
    with pytest.raises(RuntimeError, match="broken"):
        console.exit_status(raising(RuntimeError("broken")), "Interrupted: so.")
    with pytest.raises(ZeroDivisionError):
        console.exit_status(raising(ZeroDivisionError()), "Interrupted: so.")


def test_the_banner_frames_every_line(capsys):
    console.banner("SYNTHETIC DATA", "generated signals")
    top, *body, bottom = capsys.readouterr().out.splitlines()
    assert set(top) == set(bottom) == {"!"} and len(top) >= 60
    assert [line.strip("! ") for line in body] == ["SYNTHETIC DATA", "generated signals"]


def test_what_is_printed_is_plain(clock, capsys):
    console.banner("text")
    with console.Stages(1)("name", "Title"):
        pass
    assert re.fullmatch(r"[ -~\n]*", capsys.readouterr().out)  # no colours, no cursor movement


@pytest.mark.parametrize(
    "answer, agreed", [("", True), ("y", True), ("Yes", True), (" Y ", True), ("n", False), ("no", False), ("q", False)]
)
def test_enter_means_yes(monkeypatch, answer, agreed):
    monkeypatch.setattr("builtins.input", lambda prompt: answer)
    assert console.ask("Go on?") is agreed


@pytest.mark.parametrize(
    "here, python, script",
    [
        ("project", ".venv/bin/python", "main.py"),
        (".", "project/.venv/bin/python", "project/main.py"),
        ("else where", "{0}/project/.venv/bin/python", "{0}/project/main.py"),
    ],
)
def test_a_command_line_can_be_pasted_where_the_user_stands(tmp_path, monkeypatch, here, python, script):
    """With the Python that runs, below the working folder relative to it; words with spaces are quoted."""
    project = tmp_path / "project"
    for folder in (project, tmp_path / "else where"):
        folder.mkdir()
    monkeypatch.chdir(tmp_path / here)
    monkeypatch.setattr(sys, "executable", str(project / ".venv" / "bin" / "python"))
    line = console.command_line(project / "main.py", "predict", Path("my data") / "100", "--seeds", 0)
    expected = [python.format(tmp_path), script.format(tmp_path), "predict", "my data/100", "--seeds", "0"]
    assert shlex.split(line) == expected and "'my data/100'" in line


def test_a_command_line_is_quoted_as_windows_takes_it(tmp_path, monkeypatch):
    """CommandLineToArgvW: double quotes around words with spaces; single quotes quote nothing."""
    monkeypatch.setattr(console.machine, "WINDOWS", True)
    monkeypatch.chdir(tmp_path)
    line = console.command_line(tmp_path / "main.py", "predict", r"C:\my data\100")
    assert line.endswith(r'main.py predict "C:\my data\100"')


def test_an_activated_python_is_called_by_its_name(tmp_path, monkeypatch):
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text("#!/bin/sh\n")
    python.chmod(0o755)
    monkeypatch.setenv("PATH", str(python.parent))
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.chdir(tmp_path)
    assert console.command_line(tmp_path / "main.py", "--mode", "causal") == "python main.py --mode causal"


@pytest.mark.parametrize("stdin, stderr, expected", [(True, True, True), (False, True, False), (True, False, False)])
def test_interactive_needs_a_terminal_on_both_ends(monkeypatch, stdin, stderr, expected):
    monkeypatch.setattr(console.sys.stdin, "isatty", lambda: stdin, raising=False)
    monkeypatch.setattr(console.sys.stderr, "isatty", lambda: stderr, raising=False)
    assert console.interactive() is expected
