"""Tests of main.py: the real command line, whole runs on a SYNTHETIC database, interruption, and wrong input."""

import dataclasses
import functools
import io
import json
import math
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

import pytest

import config as settings
import main
from config import CLASSES, DATA_DIR_VARIABLE, Config
from deep_ecg.labelling import commands
from deep_ecg.records.formats import TextSettings
from deep_ecg.system.errors import DeepECGError
from deep_ecg.training import engine, pictures
from tests.support import ROOT

LIMIT_S = 120  # how long a started program may take before the test gives up on it
SETTINGS = {"preset": "edge", "epochs": 2, "threads": 1, "replays": 1}  # of whole runs


def start(folder: Path, data_folder: Path, cache: Path) -> subprocess.Popen:
    """The program in a process of its own, working in `folder`, with the settings of `runs`."""
    program = f"""import functools, sys; sys.path.insert(0, {str(ROOT)!r}); import main
main.Config = functools.partial(main.Config, cache_dir={str(cache)!r}, **{SETTINGS})
sys.exit(main.main(sys.argv[1:]))"""
    return subprocess.Popen(
        [sys.executable, "-c", program, "--data-source", "local"],
        cwd=folder,
        env=os.environ | {DATA_DIR_VARIABLE: str(data_folder), "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(path: Path, process: subprocess.Popen):
    """Until `path` exists; the process must still run then."""
    give_up = time.monotonic() + LIMIT_S
    while not path.exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < give_up, f"{path} did not appear"
        time.sleep(0.005)


@pytest.fixture
def undrawn(monkeypatch):
    """Runs without figures, which take longer than all else where training is short."""
    monkeypatch.setattr(pictures, "draw_run", lambda *arguments: [])


@pytest.fixture(scope="module")
def runs(synthetic_db, beats_cache) -> Callable[..., dict]:
    """`main.run` on the synthetic database, for two epochs, with its outputs under the folder given."""

    def run(folder: Path, name: str | None = None, **overrides) -> dict:
        folders = {"runs_dir": str(folder), "cache_dir": str(beats_cache)}
        config = Config(data_source="local", **SETTINGS, **folders)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(DATA_DIR_VARIABLE, str(synthetic_db))
            return main.run(dataclasses.replace(config, **overrides), name)

    return run


@pytest.fixture(scope="module")
def whole(runs, tmp_path_factory) -> tuple[dict, Path, str]:
    """Report, folder and output of a run that nothing disturbed: others are compared with it."""
    folder = tmp_path_factory.mktemp("whole")
    with redirect_stdout(io.StringIO()) as output:
        report = runs(folder)
    return report, folder / "diagnostic-edge-SYNTHETIC", output.getvalue()


# The command line --------------------------------------------------------------------------------------------------


def test_help_lists_commands_and_options(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main.main(["--help"])
    output, errors = capsys.readouterr()
    assert (stop.value.code, errors) == (0, "")
    commands = ("evaluate", "predict", "stream", "score", "python -m experiments")
    options = ("--mode", "--preset", "--data-source", "--seeds", "--epochs", "--replays")
    for word in (*commands, *options, DATA_DIR_VARIABLE):
        assert word in output
    for choice in (*settings.MODES, *settings.PRESETS, *settings.DATA_SOURCES):
        assert choice in output
    assert not list(tmp_path.iterdir())


def test_help_of_predict_lists_its_options(capsys):
    with pytest.raises(SystemExit) as stop:
        main.main(["predict", "--help"])
    assert stop.value.code == 0
    output = capsys.readouterr().out
    for word in ("RECORD", "--peaks", "--mode", "--preset", "--lead", "--out", "--runtime", "--min-confidence"):
        assert word in output


def test_an_empty_data_folder_is_one_line_and_status_2(tmp_path, monkeypatch, capsys):
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(DATA_DIR_VARIABLE, str(tmp_path / "data"))
    status = main.main(["--data-source", "local"])
    output, errors = capsys.readouterr()
    assert status == 2
    assert re.fullmatch(r"error: .*data.*missing.*\n", errors)
    assert "Traceback" not in output
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "arguments, named",
    [
        ("--mode fast", "'fast'"),
        ("--preset tiny", "'tiny'"),
        ("--data-source web", "'web'"),
        ("--seeds one", "'one'"),
        ("--seeds", "at least one"),
        ("--nonsense", "--nonsense"),
        ("classify 100", "'classify'"),
        ("predict 100 --runtime tflite", "'tflite'"),
    ],
)
def test_an_unknown_option_or_value_is_status_2(arguments, named, capsys):
    with pytest.raises(SystemExit) as stop:
        main.main(arguments.split())
    assert stop.value.code == 2
    assert named in capsys.readouterr().err


def test_predict_without_a_record_is_status_2(capsys):
    assert main.main(["predict"]) == 2
    assert re.fullmatch(r"error: [^\n]*RECORD[^\n]*\n", capsys.readouterr().err)


@pytest.mark.parametrize("seeds", [["-1"], ["1", "1"]])
def test_seeds_that_cannot_be_used_are_status_2(seeds, capsys):
    assert main.main(["--seeds", *seeds]) == 2
    assert re.fullmatch(r"error: setting seeds = .*\n", capsys.readouterr().err)


@pytest.mark.parametrize("error, status", [(DeepECGError("one line"), 2), (KeyboardInterrupt(), 130), (None, 0)])
def test_exit_status(monkeypatch, capsys, error, status):
    def stand_in(config, **options):
        if error is not None:
            raise error

    monkeypatch.setattr(main, "run", stand_in)
    assert main.main([]) == status
    assert len(capsys.readouterr().err.strip().splitlines()) == (status != 0)


def test_options_override_the_settings_for_one_run(monkeypatch):
    seen = {}
    monkeypatch.setattr(main, "run", lambda config, **options: seen.update(config=config, options=options))
    arguments = "--mode causal --preset edge --data-source synthetic --seeds 3 4 --epochs 2 --replays 0".split()
    assert main.main([*arguments, "--name", "trial", "--fresh"]) == 0
    expected = Config(mode="causal", preset="edge", data_source="synthetic", seeds=(3, 4), epochs=2, replays=0)
    assert seen == {"config": expected, "options": {"name": "trial", "fresh": True}}
    assert main.main([]) == 0
    assert seen == {"config": Config(), "options": {}}


@pytest.mark.parametrize("command", [[], ["evaluate"]])
@pytest.mark.parametrize("name", ["../..", "a/../../b", "/tmp/x", "", " "])
def test_a_name_that_leads_out_of_the_runs_is_refused(command, name, capsys):
    with pytest.raises(SystemExit) as stop:
        main.main([*command, "--name", name])
    assert stop.value.code == 2 and f"argument --name: {name!r} is no folder below runs/" in capsys.readouterr().err


def test_predict_passes_its_options_on(monkeypatch):
    seen = []
    monkeypatch.setattr(commands, "predict_records", lambda *args, **options: seen.append((args, options)))
    options = "--peaks atr --mode causal --lead V5 --out there --min-confidence 0.8"
    assert main.main(f"predict a/100 b/101 {options}".split()) == 0
    (arguments, options) = seen[0]
    assert list(arguments[0]) == ["a/100", "b/101"]
    assert arguments[1].mode == "causal" and arguments[1].preset == Config().preset
    assert arguments[2] == Path("there")
    assert options == {"peaks": "atr", "lead": "V5", "min_confidence": 0.8, "text": TextSettings()}
    assert main.main("predict a/100 --runtime onnx --checkpoint net.onnx".split()) == 0
    assert seen[1][1] == {"runtime": "onnx", "checkpoint": Path("net.onnx"), "text": TextSettings()}


# Whole runs --------------------------------------------------------------------------------------------------------


def test_a_run_leaves_a_complete_report_figures_and_networks(whole, synthetic_db):
    report, folder, output = whole
    assert json.loads((folder / "report.json").read_text()) == report
    assert report["data_source"] == "synthetic"
    assert (report["mode"], report["preset"], report["seed"]) == ("diagnostic", "edge", 0)
    assert {"python", "torch", "numpy"} <= set(report["versions"])
    assert_scores_complete(report["ds2"])
    int8 = report["int8"]
    assert int8["ratio"] == int8["fp32_bytes"] / int8["int8_bytes"] > 1
    assert int8["accuracy_change"] == int8["int8_accuracy"] - int8["fp32_accuracy"]
    assert int8["fp32_accuracy"] == report["ds2"]["accuracy"]
    stages = {"ingest", "beats", "train", "evaluate", "figures", "quantize"}
    assert set(report["timings_s"]) == stages | {"total"}
    assert sum(report["timings_s"][stage] for stage in stages) <= report["timings_s"]["total"]
    assert 50 < report["peak_rss_mb"] < 2048

    for figure in ("signal.png", "dashboard.png", "predictions.png", "confidence.png"):
        assert (folder / "images" / figure).read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in (folder / "seed-0").iterdir()} == {"checkpoint.pt", "model_fp32.pt", "model_int8.pt"}
    assert not list(folder.rglob("resume.pt"))
    assert [set(entry) for entry in report["training"]["history"]] == [{"epoch", "train_loss"}] * 2
    assert all({"epoch", "val_loss", "val_accuracy", "val_s_f1", "val_v_f1"} <= set(e) for e in report["validation"])
    assert len(report["validation"]) == 2
    assert "SYNTHETIC" in (folder / "report.md").read_text().splitlines()[0]
    assert "SYNTHETIC DATA" in output
    assert "SYNTHETIC" in output.partition("[6/6]")[2]  # beside the results as well
    assert all(f"[{stage}/6]" in output for stage in range(1, 7))
    assert "replayed" in output and "118, 124, 205, 223" in output
    assert str(folder / "report.md") in output
    assert_figures_linked(report, folder, output)
    assert report["data_folder"] == str(synthetic_db) and str(synthetic_db) in (folder / "report.md").read_text()
    assert re.search(r"without 118, .*: epoch  1  training loss [\d.]+, validation loss [\d.]+, accuracy ", output)
    assert re.search(r"seed 0: epoch  2  training loss [\d.]+\n", output)
    assert "seed 0: accuracy " in output and re.search(r"seed 0: [\d,]+ -> [\d,]+ bytes", output)


def assert_figures_linked(report: dict, folder: Path, output: str):
    """The report names and links each figure of the run, whose file the run has printed."""
    text = (folder / "report.md").read_text()
    assert report["figures"] == [f"images/{name}.png" for name in ("signal", "dashboard", "confidence", "predictions")]
    assert all(f"]({figure})" in text and str(folder / figure) in output for figure in report["figures"])


def assert_scores_complete(scores: dict):
    """Every score that is asked for, counted over the beats of all 22 records of DS2."""
    assert 0 <= scores["accuracy"] <= 1 and 0 <= scores["auc_micro"] <= 1
    assert list(scores["per_class"]) == list(CLASSES)
    assert all({"n", "se", "ppv", "f1"} <= set(rates) for rates in scores["per_class"].values())
    assert sum(rates["n"] for rates in scores["per_class"].values()) == scores["n"]
    assert len(scores["per_record"]) == 22
    assert sum(record["n"] for record in scores["per_record"].values()) == scores["n"]
    assert {"202", "232"} <= {name for group in scores["without"] for name in re.findall(r"\d+", group)}


def test_two_runs_give_the_same_results_to_the_bit_and_seeds_a_spread(whole, runs, undrawn, tmp_path):
    first, first_folder, _ = whole
    both = runs(tmp_path, seeds=(0, 1))
    folder = tmp_path / "diagnostic-edge-SYNTHETIC"
    assert both["validation"] == first["validation"]
    weights, again = ((place / "seed-0" / "model_fp32.pt").read_bytes() for place in (first_folder, folder))
    assert again == weights

    accuracy = both["over_seeds"]["accuracy"]
    assert both["over_seeds"]["seeds"] == [0, 1] and accuracy["n"] == 2
    # Two values lie at their mean -+ sd / sqrt(2), and the one of seed 0 is known.
    assert abs(first["ds2"]["accuracy"] - accuracy["mean"]) == pytest.approx(accuracy["sd"] / math.sqrt(2), abs=1e-12)
    assert both["seed"] in (0, 1)
    assert all((folder / f"seed-{seed}" / "checkpoint.pt").is_file() for seed in (0, 1))
    assert "±" in (folder / "report.md").read_text()


def test_the_results_do_not_depend_on_the_number_of_processes(whole, runs, undrawn, tmp_path):
    alone, side_by_side = whole[0], runs(tmp_path, threads=2)
    assert side_by_side["ds2"] == alone["ds2"] and side_by_side["validation"] == alone["validation"]
    assert side_by_side["training"]["history"] == alone["training"]["history"]


def test_a_run_without_replays(runs, undrawn, tmp_path, capsys):
    report = runs(tmp_path, replays=0)
    assert "replayed" not in capsys.readouterr().out
    assert report["config"]["replays"] == 0 and report["ds2"]["n"] == report["kept_beats"]["ds2"]


def test_a_causal_run_with_a_name(runs, undrawn, tmp_path):
    report = runs(tmp_path, "trial", mode="causal")
    assert report["mode"] == "causal"
    assert json.loads((tmp_path / "trial" / "report.json").read_text())["mode"] == "causal"


def test_what_one_process_has_to_do_is_refused_where_torchrun_has_started_two(monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    assert main.main(["predict", "100"]) == 2
    assert capsys.readouterr().err.startswith("error: torchrun is for training alone")


def test_an_unwritable_folder_is_a_clear_error(runs, tmp_path):
    """A path below a file cannot be made by anyone, root included."""
    (tmp_path / "file").touch()
    with pytest.raises(DeepECGError, match="file.*cannot be written") as caught:
        runs(tmp_path / "file" / "runs")
    assert "\n" not in str(caught.value)


def test_the_closing_lines_are_commands_that_can_be_pasted(whole):
    """Each begins with a Python and this main.py, and parses as its command line; the record named is there."""
    commands = [shlex.split(line) for line in whole[2].partition("to be pasted:\n")[2].splitlines()]
    assert len(commands) == 4
    for python, script, *arguments in commands:
        assert Path(shutil.which(python)).samefile(sys.executable) and Path(script).samefile(main.__file__)
        main.parser().parse_args(arguments)
    last = commands[-1]
    assert last[2] == "predict" and Path(f"{last[3]}.hea").is_file() and Path(last[-1]).is_file()


# Interruption ------------------------------------------------------------------------------------------------------


def test_ctrl_c_ends_with_one_line_and_status_130(synthetic_db, beats_cache, tmp_path, monkeypatch, capsys):
    """The signal comes when the state of the first epoch is on disk."""
    write, written = engine.write_torch_file, []

    def interrupted_write(path: Path, content: object):
        write(path, content)
        written.append(path.name)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(engine, "write_torch_file", interrupted_write)
    monkeypatch.setattr(main, "Config", functools.partial(Config, cache_dir=str(beats_cache), **SETTINGS))
    monkeypatch.setenv(DATA_DIR_VARIABLE, str(synthetic_db))
    monkeypatch.chdir(tmp_path)
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it is ignored
    try:
        status = main.main(["--data-source", "local"])
    finally:
        signal.signal(signal.SIGINT, handler)
    assert status == 130 and written == ["resume.pt"]
    errors = capsys.readouterr().err.strip().splitlines()
    assert errors == ["Interrupted: the same command goes on from the last whole epoch."]


@pytest.mark.parametrize("command", ["predict 100", "stream 100", "score 100 --test-ann pred", "evaluate"])
def test_ctrl_c_where_nothing_trains_says_nothing_of_epochs(command, monkeypatch, capsys):
    name = command.split()[0]

    def interrupted(options):
        raise KeyboardInterrupt

    monkeypatch.setattr(main if name in ("run", "evaluate") else commands, f"{name}_command", interrupted)
    assert main.main(command.split()) == 130
    assert capsys.readouterr().err.strip() == "Interrupted: files that are there are whole."


def test_a_killed_training_goes_on_to_the_results_of_an_undisturbed_one(
    whole, runs, synthetic_db, beats_cache, undrawn, tmp_path, capsys
):
    """SIGKILL after the first epoch or little later, then the same settings again."""
    process = start(tmp_path, synthetic_db, beats_cache)
    folder = tmp_path / "runs" / "diagnostic-edge-SYNTHETIC"
    wait_for(folder / "seed-0" / "resume.pt", process)
    process.kill()
    process.communicate(timeout=LIMIT_S)
    assert process.returncode == -signal.SIGKILL
    assert (folder / "seed-0" / "resume.pt").exists() and not (folder / "report.json").exists()

    capsys.readouterr()
    resumed = runs(tmp_path / "runs")
    assert not re.search(r"epoch +1 ", capsys.readouterr().out)  # the finished epoch is not trained again
    undisturbed, _, output = whole
    assert re.search(r"epoch +1 ", output)
    assert resumed["training"]["history"] == undisturbed["training"]["history"]
    assert resumed["ds2"] == undisturbed["ds2"]
    assert resumed["validation"] == undisturbed["validation"]
    assert not list(folder.rglob("resume.pt"))
