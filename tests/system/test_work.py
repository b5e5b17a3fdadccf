"""Work in stages that is broken off: the next run goes on from what was kept, and from nothing else."""

import hashlib
import os
import pickle
import sys
from pathlib import Path

import pytest

from deep_ecg.system import work
from deep_ecg.system.errors import DeepECGError, NoOutput
from deep_ecg.system.work import KeptWork, Work


class Sums:
    """Sums of the first numbers, one a step; `seen` is what was read in this run."""

    def __init__(self):
        self.sums = [0]

    def steps(self, numbers, seen):
        for number in numbers[len(self.sums) - 1 :]:
            seen.append(number)
            self.sums.append(self.sums[-1] + number)
            yield

    def result(self):
        return self.sums[-1]


@pytest.fixture(autouse=True)
def kept_at_once(monkeypatch):
    monkeypatch.setattr(work, "EVERY_S", 0.0)
    monkeypatch.setattr(work, "PAUSE", 0)
    monkeypatch.setattr(work, "OWN", ("tests.",))


def both_stages(kept: Work, stop_at: int | None = None) -> tuple[int, int, list[int]]:
    """1 + 2 + 3 and 10 + 20 + 30, broken off before number `stop_at` is read; and what was read."""
    seen = Seen(stop_at)
    return kept.result_of(Sums, [1, 2, 3], seen), kept.result_of(Sums, [10, 20, 30], seen), seen


class Seen(list):
    """A list that is broken off before it takes `stop_at`."""

    def __init__(self, stop_at: int | None):
        super().__init__()
        self._stop_at = stop_at

    def append(self, number):
        if number == self._stop_at:
            raise KeyboardInterrupt
        super().append(number)


def broken_off(path: Path, stop_at: int, key: str = "key"):
    with pytest.raises(KeyboardInterrupt) as stop, KeptWork(path, lambda: key) as kept:
        both_stages(kept, stop_at)
    said = [f"Interrupted: the same command goes on with what is kept in {path}."] * path.exists()
    assert list(stop.value.args) == said


@pytest.mark.parametrize("stop_at, left", [(2, [2, 3, 10, 20, 30]), (3, [3, 10, 20, 30]), (20, [20, 30]), (30, [30])])
def test_a_run_goes_on_where_the_last_one_was_broken_off(tmp_path, capsys, stop_at, left):
    broken_off(tmp_path / "w", stop_at)
    with KeptWork(tmp_path / "w", lambda: "key", tells=True) as kept:
        assert both_stages(kept) == (6, 60, left)
    assert capsys.readouterr().err == f"going on with what an earlier run has kept in {tmp_path / 'w'}\n"
    assert not list(tmp_path.iterdir())


def test_what_was_kept_of_other_work_is_not_taken_up(tmp_path, capsys):
    broken_off(tmp_path / "w", 30)
    with KeptWork(tmp_path / "w", lambda: "another key", tells=True) as kept:
        assert both_stages(kept) == (6, 60, [1, 2, 3, 10, 20, 30])
    assert capsys.readouterr().err == "" and not list(tmp_path.iterdir())


def flipped(data: bytes) -> bytes:
    """A digit of a sum is another: 6 is pickled as the byte 6."""
    place = data.index(b"K\x06") + 1
    return data[:place] + b"\x07" + data[place + 1 :]


def cut(data: bytes) -> bytes:
    return data[:-3]


@pytest.mark.parametrize("damage", [cut, lambda data: data[:5], lambda data: b"", bytes.upper, flipped])
def test_a_file_that_is_not_whole_is_as_if_it_were_not_there(tmp_path, damage):
    broken_off(tmp_path / "w", 30)
    (tmp_path / "w").write_bytes(damage((tmp_path / "w").read_bytes()))
    with KeptWork(tmp_path / "w", lambda: "key") as kept:
        assert both_stages(kept) == (6, 60, [1, 2, 3, 10, 20, 30])


def write_kept(path: Path, stage: object):
    content = b"key\n" + pickle.dumps(([], stage))
    path.write_bytes(content + hashlib.sha256(content).digest())


def test_a_file_as_it_is_written_here_is_taken_up(tmp_path):
    """What the next tests write would be, if it were harmless."""
    begun = Sums()
    begun.sums = [0, 1, 3]
    write_kept(tmp_path / "w", begun)
    with KeptWork(tmp_path / "w", lambda: "key") as kept:
        assert both_stages(kept) == (6, 60, [3, 10, 20, 30])


@pytest.mark.parametrize("call, argument", [(os.mkdir, "made"), (exec, "import os; os.mkdir('made')"), (print, "made")])
def test_a_file_of_a_stranger_runs_nothing(tmp_path, monkeypatch, capsys, call, argument):
    class Hostile:
        def __reduce__(self):
            return call, (argument,)

    monkeypatch.chdir(tmp_path)
    write_kept(tmp_path / "w", Hostile())
    with KeptWork(tmp_path / "w", lambda: "key") as kept:
        assert both_stages(kept) == (6, 60, [1, 2, 3, 10, 20, 30])
    assert not (tmp_path / "made").exists() and capsys.readouterr().out == ""


def test_functions_of_the_project_are_not_called_either(tmp_path, monkeypatch):
    class Hostile:
        def __reduce__(self):
            return sys.modules["deep_ecg.system.files"].write_text, (tmp_path / "made", "")

    monkeypatch.setattr(work, "OWN", ("deep_ecg.",))
    write_kept(tmp_path / "w", Hostile())
    KeptWork(tmp_path / "w", lambda: "key")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("error, stays", [(DeepECGError("wrong"), False), (NoOutput("full"), True)])
def test_what_cannot_be_done_is_not_kept_but_for_want_of_room(tmp_path, error, stays):
    with pytest.raises(DeepECGError), KeptWork(tmp_path / "w", lambda: "key") as kept:
        kept.result_of(Sums, [1, 2], [])
        raise error
    assert (tmp_path / "w").exists() == stays


def test_short_work_and_such_without_a_key_keep_nothing(tmp_path, monkeypatch):
    broken_off(tmp_path / "w", 30, key="")
    monkeypatch.setattr(work, "EVERY_S", 60.0)
    with pytest.raises(KeyboardInterrupt), KeptWork(tmp_path / "w", lambda: pytest.fail("not needed")) as kept:
        both_stages(kept, 30)
    assert not list(tmp_path.iterdir())


def test_work_goes_on_where_nothing_can_be_kept(tmp_path, capsys):
    (tmp_path / "no folder").write_text("")
    with pytest.raises(KeyboardInterrupt), KeptWork(tmp_path / "no folder" / "w", lambda: "key", tells=True) as kept:
        both_stages(kept, 30)
    [line] = capsys.readouterr().err.splitlines()
    assert "cannot be written" in line and line.endswith("what is done is not kept meanwhile")
