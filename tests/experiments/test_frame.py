"""The frame of all experiments: what is listed, what is written, and what a user is told."""

import argparse
import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from deep_ecg.system import console
from deep_ecg.system.errors import DeepECGError
from experiments import IMAGES, MEASURED
from experiments.__main__ import EXPERIMENTS, first_line, main, module_name, parser_of, picture_of
from tests.support import ROOT

LISTED = """
import sys
from experiments.__main__ import main
assert main([]) == 0
assert "torch" not in sys.modules
assert {name for name in sys.modules if name.startswith("experiments.")} == {"experiments.__main__"}
"""


def module_of(name: str):
    return importlib.import_module(f"experiments.{module_name(name)}")


@pytest.fixture
def stand_in(monkeypatch):
    """An experiment in the place of `chain`, whose report is `{"beats": N}` of its option --beats."""

    def add_options(parser: argparse.ArgumentParser):
        parser.add_argument("--beats", type=int, default=1)

    module = SimpleNamespace(
        __doc__="A stand-in.", REPORT="chain.json", add_options=add_options,
        run=lambda options: {"beats": options.beats}, table=lambda report: ["| beats |", f"| {report['beats']} |"],
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "experiments.chain", module)
    return module


# What there is -------------------------------------------------------------------------------------------------------


def test_all_are_listed_without_importing_torch_or_any_of_them(tmp_path):
    done = subprocess.run([sys.executable, "-c", LISTED], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    for name in EXPERIMENTS:
        assert f"\n{name:16} {first_line(name)}\n" in done.stdout


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_the_command_lists_them(arguments):
    command = [sys.executable, "-m", "experiments", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("usage: python -m experiments")
    assert max(map(len, done.stdout.splitlines())) <= 120


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_each_is_a_module_with_what_the_frame_needs(name):
    module = module_of(name)
    assert callable(module.run)
    assert first_line(name) == module.__doc__.splitlines()[0] and first_line(name)[-1] in ".?"
    if hasattr(module, "REPORT"):
        assert callable(module.table) and (MEASURED / module.REPORT).is_file()
        assert not hasattr(module, "draw") or (IMAGES / module.REPORT).with_suffix(".png").is_file()


def test_every_module_is_registered():
    modules = {path.stem for path in (ROOT / "experiments").glob("*.py")}
    shared = {"__init__", "__main__", "programs", "noise", "detector_data", "detector_segments", "detector_whole"}
    assert modules - shared == {module_name(name) for name in EXPERIMENTS}


def test_every_measured_file_is_of_an_experiment():
    reports = {module_of(name).REPORT for name in EXPERIMENTS if hasattr(module_of(name), "REPORT")}
    assert {path.name for path in MEASURED.iterdir()} == reports | {"ablation-diagnostic-edge.json"}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("crossvalidation", "--mode --preset --seeds --ablation --leave-one-out --temperature --out"),
        ("look-ahead", "--seeds --out"),
        ("noise-stress", "--preset --records --minutes --levels-db --noise-dir --jobs --out"),
        ("growth", "--minutes --times --hours --records --out"),
        ("answers", "--out --against"),
        ("faults", "--records --out"),
        ("endurance", "--hours --out"),
        ("embedded", "--cache --out"),
    ],
)
def test_help_says_what_it_is_and_lists_its_options(name, options, capsys):
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    assert stop.value.code == 0
    output = capsys.readouterr().out
    assert f"python -m experiments {name}" in output and first_line(name) in output
    assert all(option in output for option in options.split())


@pytest.mark.parametrize(("arguments", "named"), [(["nope"], "'nope'"), (["chain", "--nonsense"], "--nonsense")])
def test_an_unknown_name_or_option_is_status_2(arguments, named, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert named in capsys.readouterr().err


# What it does --------------------------------------------------------------------------------------------------------


def test_a_report_is_written_and_its_table_printed(stand_in, tmp_path, capsys):
    assert main(["chain", "--beats", "7", "--out", str(tmp_path / "new" / "report.json")]) == 0
    assert json.loads((tmp_path / "new" / "report.json").read_text()) == {"beats": 7}
    assert capsys.readouterr().out == "| beats |\n| 7 |\n"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["report.json"]


def test_a_picture_lies_beside_the_report(stand_in, tmp_path):
    stand_in.draw = lambda path, report: path.write_text(str(report["beats"]))
    assert main(["chain", "--out", str(tmp_path / "report.json")]) == 0
    assert (tmp_path / "report.png").read_text() == "1"


def test_what_is_committed_has_its_places(stand_in):
    out = parser_of("chain", stand_in).parse_args([]).out
    assert out == ROOT / "results" / "measured" / "chain.json"
    assert picture_of(out) == picture_of(Path("results/measured/chain.json").resolve()) == ROOT / "images" / "chain.png"


def test_where_there_is_no_report_nothing_is_written(stand_in, tmp_path, capsys):
    stand_in.run = lambda options: None
    assert main(["chain", "--out", str(tmp_path / "report.json")]) == 0
    assert capsys.readouterr().out == "" and not list(tmp_path.iterdir())


def test_a_wrong_input_is_one_line_and_nothing_is_written(stand_in, tmp_path, capsys):
    def fails(options):
        raise DeepECGError("record 100 is missing: fetch it")

    stand_in.run = fails
    assert main(["chain", "--out", str(tmp_path / "report.json")]) == 2
    assert capsys.readouterr().err == "error: record 100 is missing: fetch it\n" and not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_told_before_the_work(stand_in, tmp_path, capsys):
    stand_in.run = lambda options: pytest.fail("hours for nothing")
    (tmp_path / "file").touch()
    assert main(["chain", "--out", str(tmp_path / "file" / "report.json")]) == 2
    assert "file cannot be written" in capsys.readouterr().err


def test_torchrun_is_refused(stand_in, monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    stand_in.run = lambda options: pytest.fail("it has begun")
    assert main(["chain"]) == 2
    assert "torchrun is for training alone" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "said"),
    [("tables", "files that are there are whole"), ("chain", "nothing was written"), ("reproduce", "goes on from")],
)
def test_ctrl_c_says_what_is_left(name, said, monkeypatch, capsys):
    def interrupted(options):
        raise KeyboardInterrupt

    monkeypatch.setattr(module_of(name), "run", interrupted)
    assert main([name]) == 130
    assert said in capsys.readouterr().err


def test_a_package_that_is_missing_is_one_line(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "experiments.chain", None)
    assert main(["chain"]) == 2
    assert capsys.readouterr().err.startswith("error: package experiments.chain is not installed")


def test_every_interruption_has_its_line():
    assert all(text.startswith("Interrupted: ") for text in EXPERIMENTS.values())
    assert EXPERIMENTS["torchrun"] == console.GOES_ON  # it trains in runs/
