"""Deep-ECG: from raw ECG to a trained, evaluated and quantized classifier of heartbeats.

python main.py               ingest, cut beats, train on DS1, evaluate on DS2, draw, quantize
python main.py evaluate      score a reference checkpoint on the annotated test records of the settings
python main.py predict 100   classify the beats of a WFDB record with a reference checkpoint
python main.py predict DIR   of every record in a folder, going on where an earlier run was stopped
python main.py stream 100    label its beats as they come, as from a live feed
python main.py score 100 --test-ann pred   compare annotation files beat by beat, as ANSI/AAMI EC57 asks
python main.py reproduce     rebuild results/, pretrained/ and images/ from the data
torchrun --nproc-per-node 2 main.py   the same run, each training shared among processes
python main.py tables        fill the tables of README.md anew from results/
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from joblib import delayed

from config import CLASSES, DATA_DIR_VARIABLE, DATA_SOURCES, MODES, PRESETS, Config, name_of_test, with_overrides
from data_loader import load_beats, load_replays, read_clean
from deep_ecg.beats.arrays import Beats
from deep_ecg.labelling.archive import is_folder, label_archive, records_below, records_listed
from deep_ecg.labelling.live import follow, line_feed, record_feed
from deep_ecg.labelling.predict import predict_records
from deep_ecg.networks.classifier import RUNTIMES, SYNTHETIC_NETWORK, load_classifier, network_path
from deep_ecg.records.database import Source, ingest
from deep_ecg.records.wfdb_files import read_header
from deep_ecg.scoring.ec57 import score_records
from deep_ecg.system import console
from deep_ecg.system.errors import DeepECGError
from deep_ecg.system.files import check_writable, locked, write_text
from deep_ecg.system.workers import Run, worker_pool
from deep_ecg.training import processes

# What trains is imported by the functions that train: `predict` and `stream` run where torch is not installed. What
# draws is imported by the functions that draw: a training's process has no use for it, and it takes half a second.
if TYPE_CHECKING:
    from deep_ecg.training.experiment import Trained

SIGNAL_STRIP = ("203", 40.0, 10.0)  # a training record with wander and muscle noise, start and length in seconds
PREDICTION_STRIP = ("233", 4.0, 16.0)  # a test record with V beats of several shapes and an S beat that networks miss


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status, see `console.exit_status`."""
    options = vars(parser().parse_args(arguments))
    command = options.pop("command", run_command)

    def work():
        if command is not run_command:
            processes.refuse()
        command(options)

    trains = command in (run_command, reproduce_command)
    return console.exit_status(work, console.GOES_ON if trains else console.FILES_WHOLE)


def run(config: Config, name: str | None = None, fresh: bool = False) -> dict:
    """The method: DS1 trains, DS2 is opened once, at the end. Returns the report that it wrote.

    With another database, its records to train and to test on take the places of DS1 and DS2. Of several processes
    (processes.py) the first one does this, and the others help it train.
    """
    with processes.group():
        return _run(config, name, fresh) if processes.is_first() else help_train(config)


def help_train(config: Config) -> dict:
    """Trains with the first process, on the beats that it has prepared, and writes nothing. The report is empty."""
    processes.wait()
    train_all(config, ingest(config), Path(config.runs_dir), fresh=False)
    return {}


def _run(config: Config, name: str | None, fresh: bool) -> dict:
    progress, stages = console.interactive(), console.Stages(6)
    with stages("ingest", f"Ingest ({config.data_source}): {config.data_folder}"):
        source = ingest(config, progress)
        announce(source)
    folder = Path(config.runs_dir) / (name or f"{config.mode}-{config.preset}{'-SYNTHETIC' * source.synthetic}")
    check_writable(folder)
    with locked(folder):
        return experiment(config, source, folder, fresh, progress, stages)


def experiment(
    config: Config, source: Source, folder: Path, fresh: bool, progress: bool, stages: console.Stages
) -> dict:
    """`run`, from the beats to the report in `folder`, which no other run uses meanwhile."""
    from deep_ecg.scoring.report import int8_line, seed_line
    from deep_ecg.scoring.seeds import median_seed
    from deep_ecg.training.experiment import assess
    from quantize import int8_report

    with worker_pool(config.threads) as workers:  # for all of it: its processes take seconds to start
        with stages("beats", "Beats of the records to train on, and replays of these in other rhythms"):
            ds1 = load_beats(source, config.train_records, config, progress, workers)
            print(f"      {describe_beats(ds1)}")
            if config.replays:
                replays = load_replays(source, config.train_records, config, progress, workers)
                print(f"      {describe_beats(replays)}, replayed")
            processes.wait()
        with stages("train", f"Train: {config.preset} network, {config.mode} mode, seeds {list(config.seeds)}"):
            validation, *trained = train_all(config, source, folder, fresh, workers)
        with stages("evaluate", f"Evaluate on {name_of_test(config.test_records)}, opened only now"):
            ds2 = load_beats(source, config.test_records, config, progress, workers)
            print(f"      {describe_beats(ds2)}")
            assessed = []
            for network in trained:
                assessed.append(assess(network, config, source, ds1, ds2))
                print(f"      {seed_line(assessed[-1][0])}", flush=True)
    reports = [report | {"validation": validation.history.epochs} for report, _ in assessed]
    shown = median_seed(reports)
    with stages("figures", f"Figures of seed {trained[shown].seed}"):
        draw(folder / "images", config, source, trained[shown], (reports[shown], assessed[shown][1]), ds1, ds2)
    with stages("quantize", "Quantize to int8, reload, measure"):
        for network, report in zip(trained, reports):
            report["int8"] = int8_report(network, config, ds2, report)
            print(f"      seed {network.seed}: {int8_line(report['int8'])}", flush=True)
    report = finish(folder, [*trained, validation], reports, shown, stages.timings_s())
    print_next(config, source, trained[shown].folder / "checkpoint.pt")
    return report


def announce(source: Source):
    """Says which database it is; a synthetic one cannot be missed."""
    if source.synthetic:
        console.banner(
            "SYNTHETIC DATA: generated signals, not patients. Every result below is a demonstration only.",
            f"Why: {source.reason or f'{source.folder} holds a synthetic database'}",
            f"For real results put the MIT-BIH Arrhythmia Database into a folder and set {DATA_DIR_VARIABLE} to it.",
        )
    print(f"      {source.name}: {source.folder}")


def describe_beats(beats: Beats) -> str:
    """One line: beats in all and of each class."""
    from deep_ecg.beats.arrays import class_counts

    counts = class_counts(beats)
    return f"{counts['all']:,} beats: " + ", ".join(f"{name} {counts[name]:,}" for name in CLASSES)


def train_all(
    config: Config, source: Source, folder: Path, fresh: bool, workers: Run | None = None
) -> "list[Trained]":
    """Trains every seed, and the first once more without the validation patients, to see it generalise.

    Side by side by `workers`, one thread each, in folders of their own, or one after the other where processes share
    each of them; goes on from an interrupted training unless the user wants it afresh. The first result is that of the
    validation.
    """
    first, unseen = config.seeds[0], config.validation_records
    jobs = [(first, folder / "validation" / f"seed-{first}", f"without {', '.join(unseen)}", unseen)]
    jobs += [(seed, folder / f"seed-{seed}", f"seed {seed}", ()) for seed in config.seeds]
    for _, own, title, _ in jobs:
        state = own / "resume.pt"
        if processes.is_first() and state.exists() and not _goes_on(state, fresh):
            state.unlink()
        print(f"      {title} -> {own}", flush=True)
    if processes.size() > 1:
        return [train_one(config, source, *job) for job in jobs]
    return list(workers(delayed(train_one)(config, source, *job) for job in jobs))


def _goes_on(state: Path, fresh: bool) -> bool:
    """Whether to go on from the interrupted training in `state`."""
    return not fresh and (not console.interactive() or console.ask(f"Go on from {state}?"))


def train_one(
    config: Config, source: Source, seed: int, folder: Path, title: str, held_out: Sequence[str]
) -> "Trained":
    """One training, in a process of its own, on the beats that the cache holds; its lines begin with `title`."""
    from deep_ecg.training.experiment import train

    ds1 = load_beats(source, config.train_records, config)
    replays = load_replays(source, config.train_records, config) if config.replays else None

    def say(line: str):
        print(f"      {title}: {line}", flush=True)

    return train(config, source, ds1, replays, seed, folder, say=say, held_out=held_out)


def draw(folder: Path, config: Config, source: Source, trained: "Trained", assessed: tuple, ds1: Beats, ds2: Beats):
    """Draws the four figures of a run: cleaned signal, dashboard, confidence, labelled strip; names them in the report.

    assessed: the report of the network `trained`, and its probabilities (beats, 5) of the beats `ds2`.
    """
    from deep_ecg.scoring.figures import dashboard_figure
    from deep_ecg.scoring.strips import signal_figure
    from deep_ecg.training.experiment import network_proba

    report, proba = assessed
    tested = name_of_test(config.test_records)
    record, start_s, length_s = strip_of(SIGNAL_STRIP, config.train_records)
    raw_mv, clean_mv = read_clean(source, record, config, start_s, length_s)
    lead = " or ".join(config.leads)
    signal = signal_figure(
        folder / "signal.png", raw_mv, clean_mv, config.fs_hz, start_s, record, lead, source.synthetic
    )
    dashboard = dashboard_figure(
        folder / "dashboard.png",
        report["validation"],
        report["ds2"]["confusion"],
        (ds1.labels, network_proba(trained.model, config, ds1)),
        (ds2.labels, proba),
        f"{config.mode} mode, {config.preset} preset, seed {trained.seed}: test on {tested}, n = {len(ds2):,}",
        source.synthetic,
    )
    note_figures(report, signal, dashboard)
    draw_tested(folder, config, source, report, proba, ds2, source.synthetic)


def draw_tested(
    folder: Path, config: Config, source: Source, report: dict, proba: np.ndarray, beats: Beats, synthetic: bool
):
    """Draws what a network makes of the `beats` it is tested on: confidence, labelled strip; names them in `report`."""
    from deep_ecg.scoring.figures import confidence_figure
    from deep_ecg.scoring.strips import predictions_figure

    network = f"{config.mode} mode, {config.preset} preset" + (f", seed {report['seed']}" if "seed" in report else "")
    confidence = confidence_figure(
        folder / "confidence.png",
        report["ds2"]["confidence"],
        f"Confidence on {name_of_test(config.test_records)}: {network}, n = {len(beats):,}",
        synthetic,
    )
    record, start_s, length_s = strip_of(PREDICTION_STRIP, config.test_records)
    _, clean_mv = read_clean(source, record, config, start_s, length_s)
    of_record = beats.records == record
    strip = predictions_figure(
        folder / "predictions.png",
        clean_mv,
        config.fs_hz,
        start_s,
        beats.samples[of_record] / read_header(source.folder / record).fs,
        proba[of_record].argmax(axis=1),
        beats.labels[of_record],
        record,
        synthetic,
        mode=config.mode,
    )
    note_figures(report, confidence, strip)


def note_figures(report: dict, *paths: Path):
    """Names the figures at `paths` in `report`, relative to the folder of the run, and prints them."""
    report["figures"] = report.get("figures", []) + [f"{path.parent.name}/{path.name}" for path in paths]
    print(*(f"      {path}" for path in paths), sep="\n", flush=True)


def strip_of(preferred: tuple[str, float, float], records: Sequence[str]) -> tuple[str, float, float]:
    """Record, start and length in seconds of a strip: `preferred`, or the start of the first of other `records`."""
    return preferred if preferred[0] in records else (records[0], 0.0, preferred[2])


def evaluate(config: Config, checkpoint: Path | None = None, name: str | None = None) -> dict:
    """Scores a trained network, by default the pretrained one, on the annotated test records of `config`.

    Where these are and what they are called (leads, extension, symbols) is as `config` says, all else of the network's
    inputs as its checkpoint does. Writes report.json, report.md and figures as a run does; returns the report.
    """
    from deep_ecg.scoring.report import render_markdown, results_table
    from deep_ecg.system.json_files import write_json
    from deep_ecg.training.experiment import score_network

    classifier, progress = load_classifier(config, checkpoint), console.interactive()
    config = with_overrides(classifier.config, lead=config.lead)
    source = ingest(config, progress, config.test_records)
    announce(source)
    synthetic = source.synthetic or classifier.synthetic
    if classifier.synthetic:
        print(SYNTHETIC_NETWORK)
    folder = Path(config.runs_dir) / (name or f"evaluate-{config.mode}-{config.preset}{'-SYNTHETIC' * synthetic}")
    check_writable(folder)
    with locked(folder):
        beats = load_beats(source, config.test_records, config, progress)
        print(f"      {describe_beats(beats)}")
        scored, proba = score_network(classifier.model, config, beats)
        checkpoint = network_path(config, checkpoint, "torch")
        report = {
            "data_source": "synthetic" if synthetic else source.name,
            "data_folder": str(source.folder),
            "checkpoint": str(checkpoint),
            **scored,
        }
        draw_tested(folder / "images", config, source, report, proba, beats, synthetic)
        write_json(folder / "report.json", report)
        write_text(folder / "report.md", render_markdown(report))
    print(f"\n{results_table(report)}\n\nreport       {folder / 'report.md'}, {folder / 'report.json'}")
    return report


def finish(folder: Path, trained: "list[Trained]", reports: list[dict], shown: int, timings_s: dict) -> dict:
    """Writes report.json and report.md of the seed shown with the spread over all seeds, and prints the summary."""
    from deep_ecg.scoring.report import int8_line, render_markdown, results_table
    from deep_ecg.scoring.seeds import over_seeds
    from deep_ecg.system.json_files import write_json
    from deep_ecg.system.machine import peak_rss_mb

    report = reports[shown]
    report |= {
        "seeds": [one["seed"] for one in reports],
        "over_seeds": over_seeds(reports),
        "timings_s": timings_s,
        "peak_rss_mb": peak_rss_mb(),
    }
    write_json(folder / "report.json", report)
    write_text(folder / "report.md", render_markdown(report))
    for network in trained:
        (network.folder / "resume.pt").unlink(missing_ok=True)
    print(f"\n{results_table(report)}\n")
    print(f"int8: {int8_line(report['int8'])}")
    print(f"{timings_s['total']:.0f} s in all, {report['peak_rss_mb']:.0f} MB at the most\n")
    print(f"report       {folder / 'report.md'}, {folder / 'report.json'}")
    print(f"figures      {folder / 'images'}")
    print(f"checkpoint   {trained[shown].folder / 'checkpoint.pt'} and model_int8.pt beside it")
    return report


def print_next(config: Config, source: Source, checkpoint: Path):
    """What may come next, each a command line that can be pasted where the user stands."""
    other_mode = next(name for name in MODES if name != config.mode)
    other_preset = next(name for name in PRESETS if name != config.preset)
    same = ("--mode", config.mode, "--preset", config.preset)
    commands = (
        ("--mode", other_mode, "--preset", config.preset),
        ("--mode", config.mode, "--preset", other_preset),
        (*same, "--seeds", 0, 1, 2),
        ("predict", source.folder / config.test_records[0], *same, "--checkpoint", checkpoint),
    )
    print("\nWhat may come next, to be pasted:")
    for arguments in commands:
        print(f"    {console.command_line(Path(__file__), *arguments)}")


def parser() -> argparse.ArgumentParser:
    """The command line. An option that is not given is absent, so that config.py decides."""
    top = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, argument_default=argparse.SUPPRESS,
        epilog="Settings live in config.py; options override them for one run. Research code, not a medical device.",
    )  # fmt: skip
    add_model_options(top)
    top.add_argument("--data-source", choices=DATA_SOURCES, help=f"where the data come from ({DATA_DIR_VARIABLE})")
    top.add_argument("--seeds", type=int, nargs="+", metavar="SEED", help="train once a seed and report mean and sd")
    top.add_argument("--name", help="folder of the run under runs/ (default MODE-PRESET)")
    top.add_argument("--fresh", action="store_true", help="do not go on from an interrupted training")
    commands = top.add_subparsers(title="commands", metavar="COMMAND")
    add_evaluate(commands)
    add_predict(commands)
    add_stream(commands)
    add_score(commands)
    again = commands.add_parser("reproduce", help="rebuild results/, pretrained/ and images/ from the data")
    again.set_defaults(command=reproduce_command)
    tables = commands.add_parser("tables", help="fill the tables of README.md anew from results/")
    tables.set_defaults(command=tables_command)
    return top


def add_model_options(target: argparse.ArgumentParser, mode: str = Config.mode):
    """The options that choose the network: mode and preset. `mode` is the one that is taken where none is given."""
    about = f"diagnostic: one beat of lag; causal: nothing from the future (default {mode})"
    target.add_argument("--mode", choices=MODES, help=about)
    target.add_argument("--preset", choices=PRESETS, help="full: 1.2 M parameters; edge: weights within 15 KB in int8")


def add_network_options(target: argparse.ArgumentParser):
    """The options that choose the file of the network, what runs it, and when it abstains."""
    target.add_argument("--runtime", choices=RUNTIMES, help="onnx: a .onnx file, without torch (default torch)")
    about = "file of the network (default pretrained/MODE-PRESET.pt, or .onnx)"
    target.add_argument("--checkpoint", type=Path, metavar="FILE", help=about)
    about = "beats whose highest probability is below P are not classified: Q (0 to 1, default 0: all are)"
    target.add_argument("--min-confidence", type=float, metavar="P", help=about)


def add_evaluate(commands: argparse._SubParsersAction):
    """The command `evaluate`."""
    target = commands.add_parser(
        "evaluate", help="score a checkpoint on annotated records", argument_default=argparse.SUPPRESS
    )
    about = "record of the data folder, with reference annotations (default: test_records of config.py)"
    target.add_argument("records", nargs="*", default=[], metavar="RECORD", help=about)
    add_model_options(target)
    about = "checkpoint of a training (default pretrained/MODE-PRESET.pt)"
    target.add_argument("--checkpoint", type=Path, metavar="FILE", help=about)
    target.add_argument("--name", help="folder of the report under runs/ (default evaluate-MODE-PRESET)")
    target.set_defaults(command=evaluate_command)


def add_predict(commands: argparse._SubParsersAction):
    """The command `predict`."""
    target = commands.add_parser(
        "predict", help="classify the beats of WFDB records", argument_default=argparse.SUPPRESS
    )
    about = "path of a WFDB record, at any sampling rate, or one folder: every record in it, without pictures"
    target.add_argument("records", nargs="*", default=[], metavar="RECORD", help=about)
    about = "every record that FILE names, one a line, relative to its folder (as RECORDS of PhysioNet)"
    target.add_argument("--list", type=Path, metavar="FILE", help=about)
    about = "processes for a folder or a list (default 0: one a core); what is done is not done again"
    target.add_argument("--workers", type=int, metavar="N", help=about)
    target.add_argument("--peaks", metavar="EXT", help="take R-peaks from RECORD.EXT, e.g. atr (default: detect)")
    target.add_argument("--lead", metavar="NAME", help="lead to use (default MLII, else the first, which is then said)")
    target.add_argument("--out", type=Path, metavar="DIR", help="folder for the results (default predictions)")
    add_model_options(target)
    add_network_options(target)
    target.set_defaults(command=predict_command)


def add_stream(commands: argparse._SubParsersAction):
    """The command `stream`."""
    target = commands.add_parser(
        "stream", help="label beats as they come, from a record or standard input", argument_default=argparse.SUPPRESS
    )
    target.add_argument("record", nargs="?", metavar="RECORD", help="path of a WFDB record, replayed as a live feed")
    target.add_argument("--speed", type=float, metavar="X", help="times real time (default 1; 0: as fast as possible)")
    target.add_argument("--lead", metavar="NAME", help="lead to use (default MLII, else the first, which is then said)")
    target.add_argument("--stdin", action="store_true", help="one value a line in mV, nan where the signal is lost")
    target.add_argument("--fs", type=float, metavar="HZ", help="sampling rate of --stdin, 100 to 1000 Hz")
    target.add_argument("--out", type=Path, metavar="DIR", help="folder for the results (default streamed)")
    add_model_options(target, mode="causal")
    add_network_options(target)
    target.set_defaults(command=stream_command)


def add_score(commands: argparse._SubParsersAction):
    """The command `score`."""
    target = commands.add_parser(
        "score", help="compare annotation files beat by beat (ANSI/AAMI EC57)", argument_default=argparse.SUPPRESS
    )
    target.add_argument("records", nargs="+", metavar="RECORD", help="path of a WFDB record, at any sampling rate")
    target.add_argument("--test-ann", required=True, metavar="EXT", help="annotations to score: RECORD.EXT, e.g. pred")
    target.add_argument("--ref-ann", metavar="EXT", help="reference annotations: RECORD.EXT (default atr)")
    target.add_argument("--test-dir", type=Path, metavar="DIR", help="folder of the test annotations, if another")
    target.add_argument("--json", type=Path, metavar="FILE", help="write every count and figure to FILE")
    target.add_argument("--matrices", action="store_true", help="print the confusion matrix of each record too")
    target.set_defaults(command=score_command)


def run_command(options: dict):
    """`python main.py`: the whole pipeline with the settings of config.py and the command line."""
    run_options = {name: options.pop(name) for name in ("name", "fresh") if name in options}
    if "seeds" in options:
        options["seeds"] = tuple(options["seeds"])
    run(with_overrides(Config(), **options), **run_options)


def evaluate_command(options: dict):
    """`python main.py evaluate`: the report of an existing checkpoint on the test records."""
    overrides = {name: options[name] for name in ("mode", "preset") if name in options}
    config = with_overrides(Config(), test_records=tuple(options["records"]) or None, **overrides)
    evaluate(config, options.get("checkpoint"), options.get("name"))


def predict_command(options: dict):
    """`python main.py predict`: labels for anyone's records from the reference checkpoint of the mode and preset."""
    config = with_overrides(Config(), **{name: options[name] for name in ("mode", "preset") if name in options})
    out = options.get("out", Path("predictions"))
    names = ("peaks", "lead", "checkpoint", "runtime", "min_confidence")
    chosen = {name: options[name] for name in names if name in options}
    records, folders = options["records"], [record for record in options["records"] if is_folder(record)]
    if len(folders) + ("list" in options) + bool(len(records) > len(folders)) != 1:
        raise DeepECGError("name one source: `main.py predict RECORD...`, `predict FOLDER`, or `predict --list FILE`")
    if folders or "list" in options:
        root = Path(folders[0]) if folders else options["list"].parent
        found = records_below(root) if folders else records_listed(options["list"])
        label_archive(root, found, config, out, options.get("workers", 0), console.interactive(), **chosen)
        return
    if "workers" in options:
        raise DeepECGError("--workers has no meaning for single records: name a folder or --list FILE")
    predict_records(records, config, out, **chosen)


def stream_command(options: dict):
    """`python main.py stream`: a record or standard input as a live feed, labelled beat by beat."""
    from_record = "record" in options
    if from_record == ("stdin" in options):
        raise DeepECGError("name one source: `main.py stream RECORD`, or `main.py stream --stdin --fs HZ`")
    unused = {"fs"} & set(options) if from_record else {"speed", "lead"} & set(options)
    if unused:
        raise DeepECGError(f"--{min(unused)} has no meaning for {'a record' if from_record else 'standard input'}")
    if not from_record and "fs" not in options:
        raise DeepECGError("--stdin needs the sampling rate: add --fs HZ")
    config = with_overrides(Config(), mode=options.get("mode", "causal"), preset=options.get("preset"))
    classifier = load_classifier(config, options.get("checkpoint"), options.get("runtime", "torch"))
    if from_record:
        path = Path(options["record"].removesuffix(".hea"))
        feed = record_feed(path, classifier, options.get("lead"), options.get("speed", 1.0))
    else:
        feed = line_feed(sys.stdin.buffer, options["fs"], classifier.synthetic)
    out = options.get("out", Path("streamed"))
    follow(feed, classifier, out, min_confidence=options.get("min_confidence", 0.0))


def reproduce_command(options: dict):
    """`python main.py reproduce`: everything that is committed, from the data."""
    from experiments.reproduce import reproduce

    reproduce(run)


def tables_command(options: dict):
    """`python main.py tables`: the tables of README.md, from results/."""
    from experiments.reproduce import write_tables

    write_tables()


def score_command(options: dict):
    """`python main.py score`: the EC57 report of test annotation files against the reference ones."""
    names = {"ref_ann": "reference_extension", "test_dir": "test_folder", "json": "json_path", "matrices": "matrices"}
    given = {names[name]: value for name, value in options.items() if name in names}
    score_records(options["records"], options["test_ann"], **given)


if __name__ == "__main__":
    sys.exit(main())
