"""Files are whole or absent, and a folder that cannot be written is named."""

import subprocess
import sys

import pytest

from deep_ecg.system.errors import DeepECGError
from deep_ecg.system.files import UNFINISHED, atomic_file, check_writable, locked, write_text
from tests.support import ROOT


def test_text_is_written_into_folders_made_as_needed(tmp_path):
    write_text(tmp_path / "a" / "b" / "report.md", "Se, +P\n")
    assert (tmp_path / "a" / "b" / "report.md").read_text() == "Se, +P\n"
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["report.md"]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "report.json"
    target.write_text("old")
    with pytest.raises(RuntimeError):
        with atomic_file(target) as temporary:
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


def run_python(code: str, *arguments: object) -> subprocess.Popen:
    """A process that runs `code` with this project's modules at hand."""
    start = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
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


def test_what_a_killed_process_was_writing_is_removed_by_the_next(tmp_path):
    process = run_python(WRITING, tmp_path)
    assert process.stdout.readline() == "ready\n"
    process.kill()
    process.wait()
    left = [path for path in tmp_path.iterdir() if UNFINISHED.fullmatch(path.name)]
    assert len(left) == len(list(tmp_path.iterdir())) == 2
    write_text(tmp_path / "other.md", "x")
    assert [path.name for path in tmp_path.iterdir()] == ["other.md"]


def test_what_another_process_is_writing_stays(tmp_path):
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


def test_text_is_written_in_utf_8_whatever_the_locale(tmp_path, monkeypatch):
    monkeypatch.setattr("locale.getpreferredencoding", lambda *unused: "ascii")
    write_text(tmp_path / "report.md", "±")
    assert (tmp_path / "report.md").read_bytes() == b"\xc2\xb1"


# One run at a time ---------------------------------------------------------------------------------------------------


def test_a_folder_in_use_is_refused_in_one_line_and_free_again_after(tmp_path):
    with locked(tmp_path):
        with pytest.raises(DeepECGError, match="in use by another run") as refusal, locked(tmp_path):
            pass
        assert str(tmp_path) in str(refusal.value)
    with locked(tmp_path):
        assert not list(tmp_path.iterdir())


HOLDING = """
from pathlib import Path
from deep_ecg.system.files import locked
with locked(Path(sys.argv[1])):
    print("ready", flush=True)
    sys.stdin.read()
"""


def test_the_lock_of_a_killed_process_is_gone(tmp_path):
    process = run_python(HOLDING, tmp_path)
    assert process.stdout.readline() == "ready\n"
    with pytest.raises(DeepECGError), locked(tmp_path):
        pass
    process.kill()
    process.wait()
    with locked(tmp_path):
        pass


def test_who_waits_is_told_and_comes_next(tmp_path):
    process, told = run_python(HOLDING, tmp_path), []
    assert process.stdout.readline() == "ready\n"
    with locked(tmp_path, lambda: told.append("waiting") or process.stdin.close()):
        assert told == ["waiting"]
    process.wait()
