"""What Windows lacks is taken away here: a run, `predict` and `stream --stdin` must do without.

In a process of its own the project's modules, and they alone, get neither the modules of Unix nor what `os` and
`signal` have on Unix alone, and take the system for Windows.
"""

import json
import os
import subprocess
import sys
from pathlib import Path, PureWindowsPath

import pytest

from config import Config
from deep_ecg.records import database
from deep_ecg.records.synthetic import write_database
from deep_ecg.records.wfdb_files import read_record
from deep_ecg.system.files import UNFINISHED
from tests.support import ROOT

LIMIT_S = 300
UNIX_MODULES = ("fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty", "_posixsubprocess")
OF_UNIX = {  # the Python library reference, "Availability: Unix"
    "os": "O_CLOEXEC O_DIRECTORY O_NOFOLLOW O_NONBLOCK O_SYNC WNOHANG chown chroot confstr fchdir fchmod fchown fork "
    "forkpty fpathconf getegid geteuid getgid getgroups getloadavg getpgid getpgrp getpriority getresuid getsid getuid "
    "initgroups kill killpg lchown lockf makedev mkfifo mknod nice pathconf pidfd_open pipe2 posix_fadvise "
    "posix_fallocate posix_spawn pread preadv pwrite pwritev sched_getaffinity sched_setaffinity sendfile setpgid "
    "setpriority setsid setuid statvfs sync sysconf tcgetpgrp ttyname uname wait wait3 wait4 waitid getppid",
    "signal": "SIGALRM SIGBUS SIGCHLD SIGCONT SIGHUP SIGKILL SIGPIPE SIGQUIT SIGSTOP SIGTSTP SIGUSR1 SIGUSR2 SIGWINCH "
    "SIGXCPU SIGXFSZ alarm getitimer pause pthread_kill pthread_sigmask setitimer siginterrupt sigpending sigwait",
    "select": "epoll kqueue poll",
    "time": "clock_getres clock_gettime clock_settime pthread_getcpuclockid tzset",
}
WITHOUT_UNIX = f"""
import builtins, functools, dataclasses, sys, types
ROOT, COMMANDS = sys.argv[1], eval(sys.argv[2])
sys.path.insert(0, ROOT)
OURS = "__main__ config data_loader deep_ecg dsp_filters experiments loss main model quantize".split()
import_all = builtins.__import__

def without(module, names):
    kept = types.ModuleType(module.__name__)
    vars(kept).update((name, value) for name, value in vars(module).items() if name not in names.split())
    return kept

CUT = {{name: without(import_all(name), names) for name, names in {OF_UNIX!r}.items()}}

def import_of_windows(name, globals=None, *others, **named):
    if (globals or {{}}).get("__name__", "").partition(".")[0] in OURS:
        if name.partition(".")[0] in {UNIX_MODULES!r}:
            raise ModuleNotFoundError("No module named " + name, name=name)
        if name in CUT:
            return CUT[name]
    return import_all(name, globals, *others, **named)

builtins.__import__ = import_of_windows
from deep_ecg.system import machine
machine.WINDOWS = True
assert machine.resource is None and not hasattr(machine.os, "fork")
import config, main
assert not hasattr(sys.modules["deep_ecg.system.files"].os, "getppid")
config.PRESETS["edge"] = dataclasses.replace(config.PRESETS["edge"], epochs=1)
main.Config = functools.partial(main.Config, preset="edge", threads=1, replays=1, batch_size=32,
    train_records=("106", "124", "208"), validation_records=("124",), test_records=("202", "221"))
for command in COMMANDS:
    status = main.main(command)
    assert status == 0, (command, status)
"""


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "DEEP_ECG_DATA_DIR"}


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Path:
    """The folder in which all three commands have run."""
    folder = tmp_path_factory.mktemp("windows")
    write_database(folder / "mitdb", ["106", "124", "208", "202", "221"], 1.0)
    signal_mv = read_record(folder / "mitdb" / "106", "MLII").signal_mv
    commands = [
        ["--data-source", "local"],
        ["predict", "mitdb/106", "--preset", "edge"],
        ["predict", "mitdb", "--preset", "edge", "--workers", "1", "--out", "archive", "--runtime", "onnx"],
        ["stream", "--stdin", "--fs", "360", "--preset", "edge"],
    ]
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT_UNIX, str(ROOT), repr(commands)], cwd=folder, env=environment(),
        input="\n".join(map(str, signal_mv)), capture_output=True, text=True, timeout=LIMIT_S,
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stderr
    return folder


def test_a_run_writes_its_report(done):
    run = done / "runs" / "diagnostic-edge-SYNTHETIC"
    report = json.loads((run / "report.json").read_text(encoding="utf-8"))
    assert report["data_source"] == "synthetic" and report["peak_rss_mb"] > 50
    assert {path.name for path in run.iterdir()} >= {"report.json", "report.md", "images", "seed-0", "validation"}


def test_records_and_a_stream_are_labelled(done):
    predicted, archive, streamed = (set(os.listdir(done / name)) for name in ("predictions", "archive", "streamed"))
    assert predicted >= {"106.pred", "106-SYNTHETIC.csv", "106-SYNTHETIC.png"}
    assert archive >= {"221.pred", "221-SYNTHETIC.csv", "221.json", "manifest.jsonl"}
    assert streamed >= {"stdin.pred", "stdin.csv"}


def test_lines_end_as_on_every_system(done):
    texts = [path for path in done.rglob("*") if path.suffix in (".csv", ".json", ".jsonl", ".md")]
    assert len(texts) > 9
    assert not [path for path in texts if b"\r" in path.read_bytes()]


def test_nothing_unfinished_and_no_lock_is_left(done):
    paths = list(done.rglob("*"))
    assert not [path for path in paths if UNFINISHED.fullmatch(path.name) or path.suffix == ".lock"]
    assert not [path for path in paths if path.name == ".lock"]


def test_names_of_records_are_joined_by_slashes(done, monkeypatch):
    monkeypatch.setattr(database, "Path", PureWindowsPath)
    named = database.record_files(done, ["ward/100"], Config())
    assert named == ["ward/100.hea", "ward/100.dat", "ward/100.atr"]
