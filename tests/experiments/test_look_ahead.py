"""The sweep over look-aheads, with scores put in: what is trained, what the report and the table say."""

import argparse

import pytest

from deep_ecg.records.database import Source
from deep_ecg.system.json_files import read_json
from experiments import look_ahead
from experiments.__main__ import main
from experiments.crossvalidation import COLUMNS


@pytest.fixture
def asked(monkeypatch, tmp_path) -> list:
    """The settings that are cross-validated; S F1 is their look-ahead in seconds, everything else 0.5."""
    settings = []

    def scored(config, source):
        settings.append(config)
        seconds = config.look_ahead_ms / 1000
        scores = {name: {"mean": 0.5, "sd": 0.01, "n": 3} for name in COLUMNS}
        return scores | {"s_f1": {"mean": seconds, "sd": 0.02, "n": 3}}, None

    monkeypatch.setattr(look_ahead, "real_source", lambda config: Source("local", tmp_path))
    monkeypatch.setattr(look_ahead, "cross_validate", scored)
    return settings


def test_each_look_ahead_is_scored_over_the_same_seeds_and_the_diagnostic_mode_beside_it(asked, tmp_path, capsys):
    assert main(["look-ahead", "--out", str(tmp_path / "look_ahead.json")]) == 0
    *causal, diagnostic = asked
    assert [config.look_ahead_ms for config in causal] == [0, 50, 100, 150, 200, 300, 388]
    assert {config.mode for config in causal} == {"causal"} and diagnostic.mode == "diagnostic"
    assert {(config.preset, config.seeds) for config in asked} == {("edge", (0, 1, 2))}
    report = read_json(tmp_path / "look_ahead.json")
    assert report["seeds"] == [0, 1, 2] and report["causal"]["150"]["s_f1"] == {"mean": 0.15, "sd": 0.02, "n": 3}
    assert (tmp_path / "look_ahead.png").stat().st_size > 0
    assert "| causal, 200 ms | 50.0 ± 1.0 | 50.0 ± 1.0 | 20.0 ± 2.0 |" in capsys.readouterr().out


def test_the_table_has_a_row_a_look_ahead(asked):
    header, _, *rows = look_ahead.table(look_ahead.run(argparse.Namespace(seeds=[0, 1, 2])))
    assert header.startswith("| look-ahead | accuracy % | V F1 % | S F1 % |")
    assert [row.split(" | ")[0] for row in rows] == [
        *(f"| causal, {ms} ms" for ms in (0, 50, 100, 150, 200, 300, 388)),
        "| diagnostic, next beat",
    ]
