"""The commands of `main.py` that label records or compare labels: `predict`, `stream` and `score`."""

import argparse
import sys
from functools import partial
from io import BufferedReader
from pathlib import Path
from typing import cast

from config import MODES, PRESETS, Config, with_overrides
from deep_ecg.labelling.archive import label_archive
from deep_ecg.labelling.archive_records import is_folder, other_recordings, records_below, records_listed
from deep_ecg.labelling.choice import record_path
from deep_ecg.labelling.live import UNITS, follow, line_feed, record_feed
from deep_ecg.labelling.predict import predict_records
from deep_ecg.networks.classifier import RUNTIMES, load_classifier
from deep_ecg.records.formats import TextSettings
from deep_ecg.scoring.ec57 import score_records
from deep_ecg.system import console
from deep_ecg.system.errors import DeepECGError

WAITS = "waiting for samples from the terminal, one value a line; Ctrl-C ends: SOURCE | main.py stream --stdin is meant"

LEAD = "lead by name or number, labelled alone (default MLII, else another, which is then said)"


def add_model_options(target: argparse.ArgumentParser, mode: str = Config.mode):
    """The options that choose the network: mode and preset. `mode` is the one that is taken where none is given."""
    about = f"diagnostic: one beat of lag; causal: nothing from the future (default {mode})"
    target.add_argument("--mode", choices=MODES, help=about)
    target.add_argument("--preset", choices=PRESETS, help="full: 1.2 M parameters; edge: weights within 15 KB in int8")


def add_network_options(target: argparse.ArgumentParser):
    """The options that choose the file of the network, what runs it, and when it abstains."""
    add_file_options(target)
    about = "beats whose highest probability is below P are not classified: Q (0 to 1, default 0: all are)"
    target.add_argument("--min-confidence", type=float, metavar="P", help=about)


def add_file_options(target: argparse.ArgumentParser):
    """The options that choose the file of the network and what runs it."""
    about = "fp32 or int8: by onnxruntime, without torch (default fp32; onnx is int8, or the .onnx of --checkpoint)"
    target.add_argument("--runtime", choices=RUNTIMES, help=about)
    about = "file of a network, .pt or .onnx (default: the pretrained one of mode, preset and runtime)"
    target.add_argument("--checkpoint", type=Path, metavar="FILE", help=about)


def _add_text_options(target: argparse.ArgumentParser, whose: str):
    target.add_argument("--fs", type=float, metavar="HZ", help=f"sampling rate {whose}")
    target.add_argument("--units", choices=UNITS, help=f"unit of the values {whose}")


def _text_settings(options: dict) -> TextSettings:
    fs_hz = options.get("fs")
    if fs_hz is not None and not 0 < fs_hz < float("inf"):
        raise DeepECGError(f"--fs {fs_hz:g} cannot be used: a sampling rate in Hz is needed")
    return TextSettings(fs_hz, options.get("units"))


def add_predict(group: argparse._SubParsersAction):
    """The command `predict`."""
    target = group.add_parser("predict", help="classify the beats of records", argument_default=argparse.SUPPRESS)
    about = "record of any format, or WFDB record of the data folder, or one folder: every record in it"
    target.add_argument("records", nargs="*", default=[], metavar="RECORD", help=about)
    about = "every record that FILE names, one a line, relative to its folder (as RECORDS of PhysioNet)"
    target.add_argument("--list", type=Path, metavar="FILE", help=about)
    about = "processes for a folder or a list (default 0: one a core); what is done is not done again"
    target.add_argument("--workers", type=int, metavar="N", help=about)
    about = "scheduler of a dask cluster, tcp://HOST:PORT, whose workers label a folder or a list (docs/archives.md)"
    target.add_argument("--cluster", metavar="ADDRESS", help=about)
    about = "write no NAME.html, NAME-events.csv and NAME.png, and of a folder no index.html"
    target.add_argument("--no-report", dest="report", action="store_false", help=about)
    target.add_argument("--peaks", metavar="EXT", help="take R-peaks from RECORD.EXT, e.g. atr (default: detect)")
    target.add_argument("--lead", metavar="NAME", help=LEAD)
    _add_text_options(target, "of a text whose header and times do not tell it")
    about = "keep name, birth date and ids of a record's header in NAME.json (default: they are in no result)"
    target.add_argument("--keep-identity", action="store_true", help=about)
    target.add_argument("--out", type=Path, metavar="DIR", help="folder for the results (default predictions)")
    add_model_options(target)
    add_network_options(target)
    target.set_defaults(command=predict_command)


def add_stream(group: argparse._SubParsersAction):
    """The command `stream`."""
    target = group.add_parser(
        "stream", help="label beats as they come, from a record or standard input", argument_default=argparse.SUPPRESS
    )
    target.add_argument("record", nargs="?", metavar="RECORD", help="path of a record of any format, replayed")
    target.add_argument("--speed", type=float, metavar="X", help="times real time (default 1; 0: as fast as possible)")
    target.add_argument("--lead", metavar="NAME", help=LEAD)
    about = "samples from standard input: one value a line, or time and value; nan, ! or nothing where it is lost"
    target.add_argument("--stdin", action="store_true", help=about)
    _add_text_options(target, "of --stdin or a text")
    about = "of --stdin, where a line holds several values: name or number, from 1, of the ECG's"
    target.add_argument("--column", metavar="NAME", help=about)
    target.add_argument("--out", type=Path, metavar="DIR", help="folder for the results (default streamed)")
    add_model_options(target, mode="causal")
    add_network_options(target)
    target.set_defaults(command=stream_command)


def add_score(group: argparse._SubParsersAction):
    """The command `score`."""
    target = group.add_parser(
        "score", help="compare annotation files beat by beat (ANSI/AAMI EC57)", argument_default=argparse.SUPPRESS
    )
    target.add_argument("records", nargs="+", metavar="RECORD", help="path of a record of any format and rate")
    target.add_argument("--test-ann", required=True, metavar="EXT", help="annotations to score: RECORD.EXT, e.g. pred")
    target.add_argument("--ref-ann", metavar="EXT", help="reference annotations: RECORD.EXT (default atr)")
    target.add_argument("--test-dir", type=Path, metavar="DIR", help="folder of the test annotations, if another")
    target.add_argument("--json", type=Path, metavar="FILE", help="write every count and figure to FILE")
    target.add_argument("--matrices", action="store_true", help="print the confusion matrix of each record too")
    target.set_defaults(command=score_command)


def predict_command(options: dict):
    """`python main.py predict`: labels for anyone's records from the reference checkpoint of the mode and preset."""
    config = with_overrides(Config(), **{name: options[name] for name in ("mode", "preset") if name in options})
    out = options.get("out", Path("predictions"))
    names = ("peaks", "lead", "checkpoint", "runtime", "min_confidence", "report", "keep_identity")
    chosen = {name: options[name] for name in names if name in options} | {"text": _text_settings(options)}
    records, folders = options["records"], [record for record in options["records"] if is_folder(record)]
    if len(folders) + ("list" in options) + bool(len(records) > len(folders)) != 1:
        raise DeepECGError("name one source: `main.py predict RECORD...`, `predict FOLDER`, or `predict --list FILE`")
    if {"workers", "cluster"} <= options.keys():
        raise DeepECGError("--workers has no meaning with --cluster: a worker is a process there")
    if folders or "list" in options:
        root = Path(folders[0]) if folders else options["list"].parent
        found = records_below(root, chosen["text"]) if folders else records_listed(options["list"])
        others = other_recordings(root, found) if folders else []
        if "cluster" in options:
            from deep_ecg.labelling.cluster import outcomes_of_cluster  # with joblib, which single records do without

            chosen["outcomes"] = partial(outcomes_of_cluster, address=options["cluster"])
        label_archive(root, found, config, out, options.get("workers", 0), console.interactive(), others, **chosen)
        return
    if of_many := {"workers", "cluster"} & options.keys():
        raise DeepECGError(f"--{of_many.pop()} has no meaning for single records: name a folder or --list FILE")
    predict_records(records, config, out, **chosen)


def stream_command(options: dict):
    """`python main.py stream`: a record or standard input as a live feed, labelled beat by beat."""
    from_record = "record" in options
    if from_record == ("stdin" in options):
        raise DeepECGError("name one source: `main.py stream RECORD`, or `main.py stream --stdin --fs HZ`")
    unused = {"column"} & set(options) if from_record else {"speed", "lead"} & set(options)
    if unused:
        raise DeepECGError(f"--{min(unused)} has no meaning for {'a record' if from_record else 'standard input'}")
    if not from_record and "fs" not in options:
        raise DeepECGError("--stdin needs the sampling rate: add --fs HZ")
    config = with_overrides(Config(), mode=options.get("mode", "causal"), preset=options.get("preset"))
    classifier = load_classifier(config, options.get("checkpoint"), options.get("runtime"))
    if from_record:
        path = record_path(options["record"], config)
        feed = record_feed(path, classifier, options.get("lead"), options.get("speed", 1.0), _text_settings(options))
    else:
        stdin = cast(BufferedReader, sys.stdin.buffer)
        if sys.stdin.isatty():
            print(WAITS, file=sys.stderr, flush=True)
        chosen = {name: options[name] for name in ("column", "units") if name in options}
        feed = line_feed(stdin, options["fs"], classifier.synthetic, **chosen)
    out = options.get("out", Path("streamed"))
    follow(feed, classifier, out, min_confidence=options.get("min_confidence", 0.0))


def score_command(options: dict):
    """`python main.py score`: the EC57 report of test annotation files against the reference ones."""
    names = {"ref_ann": "reference_extension", "test_dir": "test_folder", "json": "json_path", "matrices": "matrices"}
    given = {names[name]: value for name, value in options.items() if name in names}
    records = [str(record_path(record, Config())) for record in options["records"]]
    score_records(records, options["test_ann"], **given)
