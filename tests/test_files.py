"""Files are whole or absent, and a folder that cannot be written is named."""

import pytest

from config import DeepECGError
from files import atomic_file, check_writable, write_text


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
