"""Programs in processes of their own: what they say comes back, and a failure is one line."""

import subprocess

import pytest

from deep_ecg.system.errors import DeepECGError
from experiments.programs import run_python


def test_what_a_program_says_comes_back():
    done = run_python("sum", "-c", "import sys; print(1 + int(sys.argv[1]))", "2", stdout=subprocess.PIPE, text=True)
    assert done.stdout == "3\n"


def test_a_program_that_fails_is_one_line():
    with pytest.raises(DeepECGError, match="^stage one ended with status 3: see the lines above$"):
        run_python("stage one", "-c", "raise SystemExit(3)")
