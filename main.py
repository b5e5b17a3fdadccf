"""Deep-ECG: from raw ECG to a trained, evaluated and quantized classifier of heartbeats.

python main.py               ingest, cut beats, train on DS1, evaluate on DS2, draw, quantize
python main.py evaluate      score a trained network on the annotated test records of the settings
python main.py predict 100   label the beats of a WFDB record with a trained network
python main.py predict DIR   of every record in a folder, going on where an earlier run was stopped
python main.py stream 100    label its beats as they come, as from a live feed
python main.py score 100 --test-ann pred   compare annotation files beat by beat, as ANSI/AAMI EC57 asks
python main.py serve         label, report, review and watch in a browser
torchrun --nproc-per-node 2 main.py   the same run, each training shared among processes
python -m experiments        cross-validation, everything that is committed made anew, and all measurements
"""

from deep_ecg import __version__  # isort: skip - first: it says in one line what is missing

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from config import (
    CLASSES,
    DATA_DIR_VARIABLE,
    DATA_SOURCES,
    DATABASES,
    DEVICES,
    MODES,
    PRESETS,
    Config,
    name_of_test,
    with_overrides,
)  # fmt: skip
from deep_ecg.beats.arrays import class_counts
from deep_ecg.labelling import commands
from deep_ecg.networks.classifier import SYNTHETIC_NETWORK, load_network, network_path
from deep_ecg.serving.command import add_serve
from deep_ecg.system import console
from deep_ecg.system.errors import DeepECGError
from deep_ecg.system.files import check_writable, locked, write_text
from deep_ecg.training import processes

if TYPE_CHECKING:
    from deep_ecg.beats.arrays import Beats
    from deep_ecg.records.database import Source
    from deep_ecg.records.databases import Database
    from deep_ecg.system.workers import Run

# What a network is trained or scored with is imported there: `predict` and `stream` start without torch, joblib, SciPy.


def run(config: Config, name: str | None = None, fresh: bool = False) -> dict:
    """The method: DS1 trains, DS2 is opened once, when all training has ended. Returns the report that it wrote.

    With another database, its records to train and to test on take the places of DS1 and DS2. Goes on from an
    interrupted training unless `fresh`. Of several processes (`deep_ecg/training/processes.py`) the first one does
    this, and the others help it train.
    """
    from data_loader import load_beats, load_training
    from deep_ecg.records.database import ingest
    from deep_ecg.records.databases import BEATS, RECORDS
    from deep_ecg.scoring.report import int8_line
    from deep_ecg.system.workers import worker_pool
    from deep_ecg.training.device import device_of
    from deep_ecg.training.pictures import draw_run
    from deep_ecg.training.runs import assess_all, finish, train_all
    from quantize import int8_report

    device = device_of(config.device)
    if not processes.is_first():
        return help_train(config)
    progress, stages = console.interactive(), console.Stages(6)
    with stages("ingest", f"Ingest ({config.data_source}): {config.data_folder}"):
        source = ingest(config, progress)
        announce(source)
        others = others_of(config, source, progress)
    protocol = "open-" * bool(others)
    folder = Path(config.runs_dir) / (
        name or f"{protocol}{config.mode}-{config.preset}{'-SYNTHETIC' * source.synthetic}"
    )
    check_writable(folder)
    with locked(folder):
        with worker_pool(config.threads) as workers:  # one for all of it: its processes take seconds to start
            with stages("beats", "Beats of the records to train on, and replays of these in other rhythms"):
                ds1, warnings = prepare(config, source, others, progress, workers)
                processes.wait()
            about = f"{config.preset} network, {config.mode} mode, seeds {list(config.seeds)}, on {device.type}"
            with stages("train", f"Train: {about}"):
                load = partial(load_training, source, config)
                validation, *trained = train_all(config, source, load, folder, fresh, workers)
            with stages("evaluate", f"Evaluate on {name_of_test(config.test_records)}, opened only now"):
                ds2 = load_beats(source, config.test_records, config, progress, workers)
                print(f"      {describe_beats(ds2)}")
                reports, proba, shown = assess_all(trained, validation, config, source, ds1, ds2)
                for other in others:
                    if other.teaches in (BEATS, RECORDS):
                        assess_held_out(trained, reports, other, config, progress, workers)
        with stages("figures", f"Figures of seed {trained[shown].seed}"):
            pictures = draw_run(folder, config, source, trained[shown], reports[shown], proba[shown], ds1, ds2)
            reports[shown] |= {"figures": pictures, "warnings": warnings}
        with stages("quantize", "Quantize to int8, reload, measure"):
            for network, report in zip(trained, reports):
                report["int8"] = int8_report(network, ds2, report)
                print(f"      seed {network.seed}: {int8_line(report['int8'])}", flush=True)
        report = finish(folder, [*trained, validation], reports, shown, stages.timings_s())
    print_next(config, source, trained[shown].folder / "checkpoint.pt")
    return report


def prepare(
    config: Config, source: "Source", others: "list[Database]", progress: bool, workers: "Run"
) -> "tuple[Beats, list[str]]":
    """Puts all that is trained on into the cache. Returns the recorded beats, and what there is too little of."""
    from data_loader import load_beats, load_database, load_replays
    from deep_ecg.training.enough import check_enough

    ds1 = load_beats(source, config.train_records, config, progress, workers)
    print(f"      {describe_beats(ds1)}")
    replays = None
    if config.replays:
        replays = load_replays(source, config.train_records, config, progress, workers)
        print(f"      {describe_beats(replays)}, replayed")
    for other in others:
        beats = load_database(other, other.train, config, progress, workers)
        print(f"      {describe_beats(beats)}, of {other.name}")
    warnings = check_enough(ds1, replays, config)
    for warning in warnings:
        print(f"      warning: {warning}", flush=True)
    return ds1, warnings


def others_of(config: Config, source: "Source", progress: bool) -> "list[Database]":
    """The databases besides mitdb that beats are taught by, each in its local folder by now.

    Raises DeepECGError where one cannot be had, or mitdb is synthetic: real patients are not mixed with made-up ones.
    """
    from deep_ecg.records.databases import classifying, fetched

    others = classifying(config.databases[1:])
    if others and source.synthetic:
        raise DeepECGError(
            f"setting databases: {others[0].name} is real and mitdb is synthetic here ({source.reason}): put the "
            f"MIT-BIH Arrhythmia Database into a folder and set {DATA_DIR_VARIABLE} to it, or train on mitdb alone"
        )
    for other in others:
        print(f"      {other.name}: {fetched(other, config, progress=progress)}")
    return others


def assess_held_out(trained, reports: list[dict], database: "Database", config: Config, progress: bool, workers: "Run"):
    """Adds to the report of each network how it does on the held-out patients of `database`."""
    from data_loader import load_database
    from deep_ecg.training.experiment import held_out_scores

    beats = load_database(database, database.held_out, config, progress, workers)
    for network, report in zip(trained, reports):
        found = held_out_scores(network, database, beats, database.folder(config))
        report.setdefault("held_out", {})[database.name] = found


def help_train(config: Config) -> dict:
    """Trains with the first process, on the beats that it has prepared, and writes nothing. The report is empty."""
    from data_loader import load_training
    from deep_ecg.records.database import ingest
    from deep_ecg.training.runs import train_all

    processes.wait()
    source = ingest(config)
    train_all(config, source, partial(load_training, source, config), Path(config.runs_dir), fresh=False)
    return {}


def evaluate(config: Config, checkpoint: Path | None = None, name: str | None = None) -> dict:
    """Scores a trained network, by default the pretrained one, on the annotated test records of `config`.

    Where these are and what they are called (leads, extension, symbols) is as `config` says, all else of the network's
    inputs as its file does. Writes report.json, report.md and figures as a run does; returns the report.
    """
    from data_loader import load_beats
    from deep_ecg.records.database import ingest
    from deep_ecg.scoring.report import render_markdown, results_table
    from deep_ecg.system.json_files import write_json
    from deep_ecg.training.experiment import score_network
    from deep_ecg.training.pictures import draw_tested

    (model, description), progress = load_network(config, checkpoint), console.interactive()
    leads = {"lead": config.lead, "other_leads": config.other_leads}
    config = with_overrides(description.applied_to(config), **leads)
    source = ingest(config, progress, config.test_records)
    announce(source)
    synthetic = source.synthetic or description.synthetic
    if description.synthetic:
        print(SYNTHETIC_NETWORK)
    folder = Path(config.runs_dir) / (name or f"evaluate-{config.mode}-{config.preset}{'-SYNTHETIC' * synthetic}")
    check_writable(folder)
    with locked(folder):
        beats = load_beats(source, config.test_records, config, progress)
        print(f"      {describe_beats(beats)}")
        scored, proba = score_network(model, description, config, beats)
        report = {
            "data_source": "synthetic" if synthetic else source.name,
            "data_folder": str(source.folder),
            "checkpoint": str(network_path(config, checkpoint, "torch")),
            **scored,
        }
        report["figures"] = draw_tested(folder, config, source, report, proba, beats, synthetic)
        write_json(folder / "report.json", report)
        write_text(folder / "report.md", render_markdown(report))
    print(f"\n{results_table(report)}\n\nreport       {folder / 'report.md'}, {folder / 'report.json'}")
    return report


def announce(source: "Source"):
    """Says which database it is; a synthetic one cannot be missed."""
    if source.synthetic:
        console.banner(
            "SYNTHETIC DATA: generated signals, not patients. Every result below is a demonstration only.",
            f"Why: {source.reason or f'{source.folder} holds a synthetic database'}",
            f"For real results put the MIT-BIH Arrhythmia Database into a folder and set {DATA_DIR_VARIABLE} to it.",
        )
    print(f"      {source.name}: {source.folder}")


def describe_beats(beats: "Beats") -> str:
    """One line: beats in all and of each class."""
    counts = class_counts(beats)
    return f"{counts['all']:,} beats: " + ", ".join(f"{name} {counts[name]:,}" for name in CLASSES)


def print_next(config: Config, source: "Source", checkpoint: Path):
    """What may come next, each a command line that can be pasted where the user stands."""
    other_mode = next(name for name in MODES if name != config.mode)
    other_preset = next(name for name in PRESETS if name != config.preset)
    same = ("--mode", config.mode, "--preset", config.preset)
    print("\nWhat may come next, to be pasted:")
    for arguments in (
        ("--mode", other_mode, "--preset", config.preset),
        ("--mode", config.mode, "--preset", other_preset),
        (*same, "--seeds", 0, 1, 2),
        ("predict", source.folder / config.test_records[0], *same, "--checkpoint", checkpoint),
    ):
        print(f"    {console.command_line(Path(__file__), *arguments)}")


# The command line ----------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status, see `console.exit_status`."""
    options = vars(parser().parse_args(arguments))
    command = options.pop("command", run_command)

    def work():
        if command is not run_command:
            processes.refuse()
        command(options)

    return console.exit_status(work, console.GOES_ON if command is run_command else console.FILES_WHOLE)


def parser() -> argparse.ArgumentParser:
    """The command line. An option that is not given is absent, so that config.py decides."""
    top = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, argument_default=argparse.SUPPRESS,
        epilog="Settings live in config.py; options override them for one run. Research code, not a medical device.",
    )  # fmt: skip
    top.add_argument("--version", action="version", version=f"Deep-ECG {__version__}")
    commands.add_model_options(top)
    top.add_argument("--data-source", choices=DATA_SOURCES, help=f"where the data come from ({DATA_DIR_VARIABLE})")
    about = "what to train on, mitdb first; with others, by the open protocol"
    about += f": {', '.join(DATABASES)}"
    top.add_argument("--databases", nargs="+", choices=DATABASES, metavar="NAME", help=about)
    top.add_argument("--seeds", type=int, nargs="+", metavar="SEED", help="train once a seed and report mean and sd")
    top.add_argument("--epochs", type=int, metavar="N", help="passes over the beats (default: as the preset has)")
    top.add_argument("--replays", type=int, metavar="N", help="of each training record (0: train on the records alone)")
    top.add_argument("--device", choices=DEVICES, help="what trains (auto: a GPU where there is one)")
    top.add_argument("--name", type=run_name, help="folder of the run under runs/ (default MODE-PRESET)")
    top.add_argument("--fresh", action="store_true", help="do not go on from an interrupted training")
    group = top.add_subparsers(title="commands", metavar="COMMAND")
    add_evaluate(group)
    commands.add_predict(group)
    commands.add_stream(group)
    commands.add_score(group)
    add_serve(group)
    return top


def run_name(text: str) -> str:
    """The name of a folder below runs/, as the command line gives it."""
    path = Path(text)
    if not text.strip() or path.is_absolute() or ".." in path.parts:
        raise argparse.ArgumentTypeError(f"{text!r} is no folder below runs/: give a name")
    return text


def add_evaluate(group: argparse._SubParsersAction):
    """The command `evaluate`."""
    target = group.add_parser(
        "evaluate", help="score a checkpoint on annotated records", argument_default=argparse.SUPPRESS
    )
    about = "record of the data folder, with reference annotations (default: test_records of config.py)"
    target.add_argument("records", nargs="*", default=[], metavar="RECORD", help=about)
    commands.add_model_options(target)
    about = "checkpoint of a training (default pretrained/MODE-PRESET.pt)"
    target.add_argument("--checkpoint", type=Path, metavar="FILE", help=about)
    target.add_argument("--name", type=run_name, help="folder of the report under runs/ (default evaluate-MODE-PRESET)")
    target.set_defaults(command=evaluate_command)


def run_command(options: dict):
    """`python main.py`: the whole pipeline with the settings of config.py and the command line."""
    run_options = {name: options.pop(name) for name in ("name", "fresh") if name in options}
    for name in ("seeds", "databases"):
        if name in options:
            options[name] = tuple(options[name])
    with processes.group():
        run(with_overrides(Config(), **options), **run_options)


def evaluate_command(options: dict):
    """`python main.py evaluate`: the report of an existing checkpoint on the test records."""
    overrides = {name: options[name] for name in ("mode", "preset") if name in options}
    config = with_overrides(Config(), test_records=tuple(options["records"]) or None, **overrides)
    evaluate(config, options.get("checkpoint"), options.get("name"))


if __name__ == "__main__":
    sys.exit(main())
