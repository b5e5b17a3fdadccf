"""Files are whole or absent, a folder that cannot be written is named, and what is in use is left alone.

On Windows other files are locked than elsewhere: what is said of locks is tried in both ways.
"""

import errno
import os
import subprocess
import sys

import pytest

from deep_ecg.system import files, machine
from deep_ecg.system.errors import DeepECGError
from deep_ecg.system.files import UNFINISHED, atomic_file, check_writable, locked, scratch_folder, write_text
from tests.support import ROOT


def test_text_is_written_into_folders_made_as_needed(tmp_path):
    write_text(tmp_path / "a" / "b" / "report.md", "Se, +P\n")
    assert (tmp_path / "a" / "b" / "report.md").read_text() == "Se, +P\n"
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["report.md"]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "report.json"
    target.write_text("old")
    with pytest.raises(RuntimeError), atomic_file(target) as temporary:
        temporary.write_text("half of the n")
        raise RuntimeError("interrupted")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_the_new_file_is_not_there_before_it_is_whole(tmp_path):
    target = tmp_path / "figure.png"
    with atomic_file(target) as temporary:
        temporary.write_bytes(b"first half")
        assert not target.exists()
        assert temporary.parent == tmp_path and temporary.suffix == ".png"  # same disk, and writers go by the ending
        temporary.write_bytes(b"first half, second half")
    assert target.read_bytes() == b"first half, second half"


def test_a_path_that_cannot_be_written_is_named_in_one_line(tmp_path):
    (tmp_path / "file").write_text("no folder")
    target = tmp_path / "file" / "report.md"
    with pytest.raises(DeepECGError) as refusal:
        write_text(target, "x")
    assert str(target) in str(refusal.value) and "\n" not in str(refusal.value)


def test_a_folder_in_the_place_of_the_file_is_named(tmp_path):
    (tmp_path / "report.md" / "inside").mkdir(parents=True)
    with pytest.raises(DeepECGError, match="report.md"):
        write_text(tmp_path / "report.md", "x")
    assert [path.name for path in tmp_path.iterdir()] == ["report.md"]


def test_a_folder_that_cannot_be_written_is_named_before_the_work_begins(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DeepECGError, match="file/below cannot be written"):
        check_writable(tmp_path / "file" / "below")
    check_writable(tmp_path / "new" / "folder")
    assert list((tmp_path / "new" / "folder").iterdir()) == []


# What killed runs leave ----------------------------------------------------------------------------------------------


@pytest.fixture(params=[False, True], ids=["elsewhere", "windows"])
def windows(request, monkeypatch) -> bool:
    """Whether the system is taken for Windows, here and in processes of `run_python`."""
    monkeypatch.setattr(machine, "WINDOWS", request.param)
    return request.param


def run_python(code: str, *arguments: object) -> subprocess.Popen:
    """A process that runs `code` with this project's modules at hand."""
    start = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
    start += f"from deep_ecg.system import machine; machine.WINDOWS = {machine.WINDOWS}\n"
    command = [sys.executable, "-c", start + code, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


WRITING = """
from pathlib import Path
from deep_ecg.system.files import atomic_file, scratch_folder
folder = Path(sys.argv[1])
with atomic_file(folder / "report.json") as temporary, scratch_folder(folder) as scratch:
    temporary.write_text("half")
    (scratch / "part").write_text("half")
    print("ready", flush=True)
    sys.stdin.read()
    temporary.write_text("whole")
"""


def test_what_a_killed_process_was_writing_is_removed_by_the_next(tmp_path, windows):
    process = run_python(WRITING, tmp_path)
    assert process.stdout.readline() == "ready\n"
    process.kill()
    process.wait()
    left = [path for path in tmp_path.iterdir() if UNFINISHED.fullmatch(path.name)]
    assert len(left) == len(list(tmp_path.iterdir())) == (4 if windows else 2)
    write_text(tmp_path / "other.md", "x")
    assert [path.name for path in tmp_path.iterdir()] == ["other.md"]


def test_what_another_process_is_writing_stays(tmp_path, windows):
    process = run_python(WRITING, tmp_path)
    assert process.stdout.readline() == "ready\n"
    write_text(tmp_path / "report.json", "mine")
    process.communicate("")
    assert process.returncode == 0
    assert (tmp_path / "report.json").read_text() == "whole"
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def test_files_of_others_are_no_leftovers(tmp_path):
    names = [".hidden", ".report.unfinished-short.json", "report.unfinished-0123456789abcdef.json", ".report.123.json"]
    for name in names:
        (tmp_path / name).write_text("mine")
    write_text(tmp_path / "new", "x")
    assert {path.name for path in tmp_path.iterdir()} == {*names, "new"}


def test_a_name_that_another_process_is_sweeping_is_given_up(tmp_path, windows, monkeypatch):
    """Between the making of a file and its lock, another process may take it for one of a killed run."""
    takes, take = [], files._Lock.take

    def swept_at_first(lock, wait=False):
        takes.append(take(lock, wait))
        return len(takes) > 1

    monkeypatch.setattr(files._Lock, "take", swept_at_first)
    with scratch_folder(tmp_path) as folder:
        (swept,) = [path for path in tmp_path.iterdir() if path != folder and path.suffix != ".lock"]
    assert swept.is_dir() and len(takes) == 2


def test_links_are_no_leftovers(tmp_path):
    (tmp_path / "precious").mkdir()
    link = tmp_path / ".report.unfinished-0123456789abcdef"
    link.symlink_to(tmp_path / "precious")
    write_text(tmp_path / "new", "x")
    assert {path.name for path in tmp_path.iterdir()} == {"precious", link.name, "new"}


def test_where_there_are_no_locks_files_are_written_and_nothing_is_swept(tmp_path, windows, monkeypatch):
    def no_locks(*unused, **also_unused):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(files, "lock_descriptor", no_locks)
    left = tmp_path / ".report.unfinished-0123456789abcdef.json"
    left.write_text("perhaps being written")
    with locked(tmp_path), locked(tmp_path):
        write_text(tmp_path / "new", "x")
    assert {path.name for path in tmp_path.iterdir()} == {"new", left.name}


def test_lines_end_the_same_on_every_system(tmp_path):
    write_text(tmp_path / "table.csv", "a,b\n1,2\n")
    assert (tmp_path / "table.csv").read_bytes() == b"a,b\n1,2\n"


def test_text_is_written_in_utf_8_whatever_the_locale(tmp_path, monkeypatch):
    monkeypatch.setattr("locale.getpreferredencoding", lambda *unused: "ascii")
    write_text(tmp_path / "report.md", "±")
    assert (tmp_path / "report.md").read_bytes() == b"\xc2\xb1"


# One run at a time ---------------------------------------------------------------------------------------------------


def test_a_folder_in_use_is_refused_in_one_line_and_free_again_after(tmp_path, windows):
    with locked(tmp_path):
        with pytest.raises(DeepECGError, match="in use by another run") as refusal, locked(tmp_path):
            pass
        assert str(tmp_path) in str(refusal.value)
    with locked(tmp_path):
        assert windows or not list(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())


HOLDING = """
from pathlib import Path
from deep_ecg.system.files import locked
with locked(Path(sys.argv[1])):
    print("ready", flush=True)
    sys.stdin.read()
"""


def test_the_lock_of_a_killed_process_is_gone(tmp_path, windows):
    process = run_python(HOLDING, tmp_path)
    assert process.stdout.readline() == "ready\n"
    with pytest.raises(DeepECGError), locked(tmp_path):
        pass
    process.kill()
    process.wait()
    with locked(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def test_who_waits_is_told_and_comes_next(tmp_path, windows):
    process, told = run_python(HOLDING, tmp_path), []
    assert process.stdout.readline() == "ready\n"
    with locked(tmp_path, lambda: told.append("waiting") or process.stdin.close()):
        assert told == ["waiting"]
    process.wait()
