"""A few SIGKILLs of `tests/kill.py`, which does hundreds."""

import kill


def test_a_run_that_is_killed_again_and_again_ends_as_an_undisturbed_one(capsys):
    assert kill.main(["--kills", "3", "--seed", "1"]) == 0
    assert "3 kills" in capsys.readouterr().out
