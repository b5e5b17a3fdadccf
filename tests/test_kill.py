"""A few SIGKILLs of `tests/kill.py`, which does hundreds."""

from tests.support import kill


def test_a_run_that_is_killed_again_and_again_ends_as_an_undisturbed_one(capsys):
    assert kill.main("--kills 2 --seed 1 --stages ingest train --threads 1 --undrawn".split()) == 0
    assert "2 kills" in capsys.readouterr().out


def test_killed_runs_of_an_archive_go_on_to_the_same_bytes(capsys):
    assert kill.main(["--archive", "--kills", "2", "--seed", "5"]) == 0
    assert "2 kills" in capsys.readouterr().out
