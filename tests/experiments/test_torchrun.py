"""The table of the comparison of one process with two; torchrun itself is run in tests/training."""

import subprocess

from experiments import torchrun
from experiments.__main__ import main


def spread(mean: float) -> dict:
    part = {"mean": mean, "sd": 0.01, "n": 2}
    classes = {name: {"f1": part} for name in "NSVFQ"}
    return {"n": 2, "seeds": [0, 1], "accuracy": part, "auc_micro": part, "per_class": classes}


def test_the_table_by_hand():
    lines = torchrun.table({"spreads": {"1": spread(0.5), "2": spread(0.25)}})
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    assert cells == [
        ["1", *["50.0 ± 1.0"] * 5, "0.5000 ± 0.0100"],
        ["2", *["25.0 ± 1.0"] * 5, "0.2500 ± 0.0100"],
    ]


def test_a_run_that_fails_is_no_measurement(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(subprocess, "run", lambda *arguments, **options: subprocess.CompletedProcess([], 2))
    assert main(["torchrun", "--out", str(tmp_path / "torchrun.json")]) == 2
    assert "torchrun ended with status 2" in capsys.readouterr().err and not list(tmp_path.iterdir())
