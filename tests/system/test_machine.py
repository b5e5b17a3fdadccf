"""The machine: which system it is, asked in one place, and what its processes hold."""

import ast
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from deep_ecg.system import machine
from tests.support import ROOT

PRODUCT = [*ROOT.glob("*.py"), *(ROOT / "deep_ecg").rglob("*.py"), *(ROOT / "experiments").rglob("*.py")]
ASKED = ("os.name", "sys.platform", "platform.system", "sys.getwindowsversion", "os.uname")
UNIX_MODULES = ("fcntl", "grp", "pwd", "resource", "select", "termios", "tty")


def test_only_one_file_asks_which_system_it_is():
    for path in PRODUCT:
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        asked = {ast.unparse(node) for node in nodes if isinstance(node, ast.Attribute)} & set(ASKED)
        imported = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        imported |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
        if path != ROOT / "deep_ecg" / "system" / "machine.py":
            assert not asked and not imported & set(UNIX_MODULES), path


def test_every_text_file_is_opened_with_its_encoding():
    for path in PRODUCT:
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and opens_text(call):
                assert "encoding" in {keyword.arg for keyword in call.keywords}, f"{path}, line {call.lineno}"


def opens_text(call: ast.Call) -> bool:
    """Whether it is a path's `read_text` or `write_text`, or an `open` for text."""
    name = getattr(call.func, "attr", None)
    if name in ("read_text", "write_text"):
        return True
    if name not in (None, "open") or ast.unparse(call.func).rpartition(".")[2] != "open":
        return False
    modes = call.args[:1] if name else [*call.args[1:2], *(ast.Constant("r") for _ in range(len(call.args), 2))]
    return any(re.fullmatch("[rwax]t?[+]?", str(mode.value)) for mode in modes if isinstance(mode, ast.Constant))


def test_a_machine_is_of_one_system():
    assert sys.platform.startswith("win") == machine.WINDOWS and (sys.platform == "darwin") == machine.MACOS


@pytest.mark.parametrize("of_unix", [True, False])
def test_memory_is_told_with_and_without_the_figures_of_unix(of_unix, monkeypatch):
    if not of_unix:
        monkeypatch.setattr(machine, "resource", None)
    held = np.ones(64 * 2**20 // 8)
    assert machine.rss_mb() > held.nbytes / 2**20
    assert machine.rss_mb() - 1 <= machine.peak_rss_mb() < 16_384


BUSY = """
import subprocess, sys, time
held = bytearray({mb} * 2**20)
for place in range(0, len(held), 4096):
    held[place] = 1
child = {child}
end_s = time.process_time() + 0.5
while time.process_time() < end_s:
    pass
print("ready", flush=True)
sys.stdin.read()
"""
CHILD = f"subprocess.Popen([sys.executable, '-c', {BUSY.format(mb=40, child=None)!r}], stdin=sys.stdin)"


def test_a_process_and_its_children_are_watched():
    """One of 80 MB that starts one of 40 MB, each busy for half a second."""
    command = [sys.executable, "-c", BUSY.format(mb=80, child=CHILD)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with machine.Watch(process.pid) as watch:
        assert [process.stdout.readline(), process.stdout.readline()] == ["ready\n"] * 2
    process.communicate("")
    assert 1.0 <= watch.cpu_s < 10
    assert 80 < watch.peak_rss_mb < 120 < watch.peak_private_mb < 200


def test_what_has_ended_is_no_fault():
    process = subprocess.Popen([sys.executable, "-c", ""])
    with machine.Watch(process.pid) as watch:
        process.wait()
    assert watch.peak_rss_mb >= 0
    with machine.Watch(os.getpid()) as own:
        pass
    assert own.peak_rss_mb > 10
