"""Rebuilds everything that is committed from the data: results/, pretrained/, images/ and the tables of README.md."""

import re
import shutil
from collections.abc import Callable
from functools import reduce
from operator import getitem
from pathlib import Path

from config import MODES, PRESETS, Config
from deep_ecg.scoring.ec57 import MEASURES
from deep_ecg.scoring.report import confidence_table, per_record_table
from deep_ecg.system.errors import DeepECGError
from deep_ecg.system.files import atomic_file, write_text
from deep_ecg.system.json_files import read_json
from deep_ecg.system.text import markdown_table, mean_sd_text, number, percent
from experimental_transformer import benchmark, benchmark_table
from experiments import (
    ROOT,
    archive_speed,
    endurance,
    faults,
    growth,
    look_ahead,
    noise_stress,
    speed,
    streaming,
    torchrun,
)
from experiments.crossvalidation import COLUMNS, ideas_table, records_table
from quantize import artefacts_table, build

RESULTS, PRETRAINED, IMAGES, README = ROOT / "results", ROOT / "pretrained", ROOT / "images", ROOT / "README.md"
SEEDS = (0, 1, 2, 3, 4)
VARIANTS = tuple((mode, preset) for mode in MODES for preset in PRESETS)
SHOWN = ("diagnostic", "full")  # the variant whose figures are in images/
# Cross-validation on DS1
ABLATION, LOOK_AHEAD = RESULTS / "ablation-diagnostic-edge.json", RESULTS / "look_ahead.json"
# DS1 to DS2, nothing learned from test patients: accuracy %, F1 % of S and V (from Se and +P where those are stated)
PUBLISHED = (
    ("de Chazal et al. 2004", "86", "51.1", "79.7", "two leads"),
    ("Huang et al. 2014", "-", "57.7", "92.4", "SVM and a threshold on an RR ratio"),
    ("Mondéjar-Guerra et al. 2019", "94.5", "60.7", "94.3", "ensemble of SVMs, future beats"),
    ("Niu et al. 2020", "96.4", "76.6", "89.7", "multi-perspective CNN"),
    ("Saenz-Cogollo and Agelli 2020", "96.1", "73.1", "90.9", "random forest on six features, future beats"),
    ("Xu et al. 2022", "98.5", "82.8", "91.7", "RA-CNN, not reproduced by others"),
    ("Farag 2023", "98.2", "82.1", "95.3", "three classes, class mean, future beats"),
)
# Aims on DS2 for `full` in diagnostic mode, a point less for the others, and where "over_seeds" of a report has each
AIMS = (
    ("accuracy %", 0.98, ("accuracy",)),
    ("micro AUC %", 0.995, ("auc_micro",)),
    ("S F1 %", 0.85, ("per_class", "S", "f1")),
    ("V F1 %", 0.965, ("per_class", "V", "f1")),
    ("F F1 %", 0.4, ("per_class", "F", "f1")),
    ("S F1 % without 232", 0.6, ("without", "232", "per_class", "S", "f1")),
)
BLOCK = re.compile(r"(<!-- (\w+): rebuilt by `python main\.py tables` -->\n).*?(<!-- end of \w+ -->)", re.DOTALL)


def reproduce(run: Callable[..., dict]):
    """Trains and assesses every variant with `run` (of main.py), then copies what is committed to its place.

    Raises DeepECGError on synthetic data, or where a cross-validation has to be made first, before anything committed
    is touched.
    """
    _ablation()
    _look_ahead()
    base = Path(Config.runs_dir) / "reproduce"
    for mode, preset in VARIANTS:
        folder = base / f"{mode}-{preset}"
        report = run(_config(mode, preset), f"reproduce/{mode}-{preset}")
        _refuse_synthetic(report)
        _copy(folder / "report.json", RESULTS / f"{mode}-{preset}.json")
        _copy(folder / "report.md", RESULTS / f"{mode}-{preset}.md")
        _copy(folder / f"seed-{report['seed']}" / "checkpoint.pt", PRETRAINED / f"{mode}-{preset}.pt")
        _artefacts(mode, preset, base / "artefacts" / f"{mode}-{preset}")
    for figure in ("signal.png", "dashboard.png", "predictions.png"):
        _copy(base / "-".join(SHOWN) / "images" / figure, IMAGES / figure)
    benchmark(_config(*SHOWN), base / "transformer")
    _copy(base / "transformer" / "benchmark.json", RESULTS / "transformer.json")
    _copy(base / "transformer" / "benchmark.png", IMAGES / "transformer.png")
    write_tables()


def write_tables():
    """Fills the tables of README.md anew from the files in results/."""
    write_text(README, render_readme(README.read_text()))


def _config(mode: str, preset: str, **other) -> Config:
    return Config(mode=mode, preset=preset, seeds=other.pop("seeds", SEEDS), data_source="local", **other)


def _artefacts(mode: str, preset: str, folder: Path):
    """Every form of a pretrained network; its ONNX int8 file is committed, for machines without torch."""
    build(_config(mode, preset), out=folder)
    _copy(folder / f"quantization-{mode}-{preset}.json", RESULTS / f"quantization-{mode}-{preset}.json")
    _copy(folder / "model_int8.onnx", PRETRAINED / f"{mode}-{preset}.onnx")


def _refuse_synthetic(report: dict):
    if report["data_source"] == "synthetic":
        raise DeepECGError("reproduce needs the real database: synthetic results never replace real ones")


def _copy(source: Path, target: Path):
    with atomic_file(target) as temporary:
        shutil.copyfile(source, temporary)


# The tables of the README ------------------------------------------------------------------------------------------


def render_readme(text: str) -> str:
    """`text` with every marked block filled anew from the files in results/."""
    blocks = readme_blocks()
    return BLOCK.sub(lambda match: f"{match[1]}{blocks[match[2]]}\n{match[3]}", text)


def readme_blocks() -> dict[str, str]:
    """The marked blocks of the README by name, as Markdown."""
    reports = {variant: read_json(RESULTS / f"{'-'.join(variant)}.json") for variant in VARIANTS}
    ablation = _ablation()
    comparison = read_json(RESULTS / "transformer.json")
    shown = reports[SHOWN]
    return {
        "results": _results(reports),
        "classes": _classes(shown),
        "records": per_record_table(shown["ds2"]["per_record"]),
        "transformer": benchmark_table(comparison),
        "speed": "\n".join(speed.table(read_json(RESULTS / "speed.json"))),
        "aims": aims_table(reports),
        "published": _published(reports),
        "ablation": ideas_table(ablation),
        "patients": records_table(ablation),
        "detectors": _detectors(read_json(RESULTS / "detectors.json")),
        "streaming": "\n".join(streaming.table(read_json(RESULTS / "streaming.json"))),
        "faults": "\n".join(faults.table(read_json(RESULTS / "faults.json"))),
        "endurance": "\n".join(endurance.table(read_json(RESULTS / "endurance.json"))),
        "archive": "\n".join(archive_speed.table(read_json(RESULTS / "archive.json"))),
        "torchrun": "\n".join(torchrun.table(read_json(RESULTS / "torchrun.json"))),
        "growth": "\n".join(growth.table(read_json(RESULTS / "growth.json"))),
        "look_ahead": "\n".join(look_ahead.table(_look_ahead())),
        "noise": "\n".join(noise_stress.table(read_json(RESULTS / "noise.json"))),
        "confidence": "\n".join(confidence_table(read_json(RESULTS / "confidence.json")["networks"])),
        "artefacts": artefacts_table([read_json(RESULTS / f"quantization-{m}-{p}.json") for m, p in VARIANTS]),
        "embedded": _embedded(read_json(RESULTS / "embedded.json")),
        "chain": _chain(read_json(RESULTS / "chain.json")),
    }


def _ablation() -> dict:
    report = read_json(ABLATION)
    command = "python crossvalidation.py --preset edge --seeds 0 1 2 --ablation --out results"
    _check_columns(ABLATION, [row["scores"] for row in report["rows"]], command)
    return report


def _look_ahead() -> dict:
    report = read_json(LOOK_AHEAD)
    _check_columns(LOOK_AHEAD, [*report["causal"].values(), report["diagnostic"]], "python benchmarks/look_ahead.py")
    return report


def _check_columns(path: Path, rows: list[dict], command: str):
    """Raises DeepECGError where the `rows` of scores of the report at `path` have other columns than today's."""
    if any(scores.keys() != COLUMNS.keys() for scores in rows):
        raise DeepECGError(f"{path} has other columns than crossvalidation.py: make it anew with `{command}`")


def _results(reports: dict) -> str:
    rows = []
    for (mode, preset), report in reports.items():
        spread, seeds = report["over_seeds"], report["over_seeds"]["n"]
        for title, part in (("all of DS2", spread), *((f"without {k}", v) for k, v in spread["without"].items())):
            auc = mean_sd_text(part.get("auc_micro"), seeds, scale=1, digits=4)
            f1 = [mean_sd_text(part["per_class"][c]["f1"], seeds) for c in "NSVF"]
            rows.append([f"{mode}, {preset}", title, mean_sd_text(part["accuracy"], seeds, digits=2), auc, *f1])
    shown = reports[SHOWN]
    for title, name in (("always N", "majority"), ("S if premature, else N", "prematurity")):
        scores = shown["baselines"][name]
        f1 = [percent(scores["per_class"][c]["f1"]) for c in "NSVF"]
        rows.append([f"baseline: {title}", "all of DS2", percent(scores["accuracy"], 2), "-", *f1])
    header = ["network", "beats", "accuracy %", "micro AUC", "N F1 %", "S F1 %", "V F1 %", "F F1 %"]
    versions = ", ".join(f"{k} {v}" for k, v in shown["versions"].items())
    seeds = ", ".join(map(str, shown["over_seeds"]["seeds"]))
    beats = number(shown["ds2"]["n"])
    note = f"Mean ± sd over seeds {seeds}; n = {beats} beats; {shown['threads']} thread a training; {versions}."
    return "\n".join([*markdown_table(header, rows), "", note])


def aims_table(reports: dict) -> str:
    """AIMS, the means over the seeds of SHOWN, and by how many points those of the other variants differ from them."""
    others = [variant for variant in reports if variant != SHOWN]
    rows = []
    for name, aim, place in AIMS:
        mean = {variant: reduce(getitem, place, report["over_seeds"])["mean"] for variant, report in reports.items()}
        points = [round(100 * (mean[variant] - mean[SHOWN]), 1) + 0.0 for variant in others]  # + 0.0: no -0.0
        rows.append([name, percent(aim), percent(mean[SHOWN]), *(f"{more:+.1f}" for more in points)])
    header = ["DS2", "aim", ", ".join(SHOWN), *(f"{mode}, {preset}: points more or less" for mode, preset in others)]
    return "\n".join(markdown_table(header, rows))


def _published(reports: dict) -> str:
    rows = []
    for (mode, preset), report in reports.items():
        spread = report["over_seeds"]
        f1 = [mean_sd_text(spread["per_class"][c]["f1"], spread["n"]) for c in "SV"]
        note = "nothing after the look-ahead" if mode == "causal" else "one future beat"
        rows.append([f"Deep-ECG {mode}, {preset}", mean_sd_text(spread["accuracy"], spread["n"]), *f1, note])
    header = ["work", "accuracy %", "S F1 %", "V F1 %", "note"]
    return "\n".join(markdown_table(header, [*rows, *map(list, PUBLISHED)]))


def _classes(report: dict) -> str:
    spread, intervals = report["over_seeds"], report["ds2"]["ci95"]
    rows = []
    for name, rates in spread["per_class"].items():
        interval = intervals.get(f"{name}_f1")
        shown = f"{percent(interval[0])} to {percent(interval[1])}" if interval else "-"
        n = number(report["ds2"]["per_class"][name]["n"])
        rows.append([name, n, *(mean_sd_text(rates[rate], spread["n"]) for rate in ("se", "ppv", "f1")), shown])
    header = ["class", "n", "Se %", "+P %", "F1 %", f"95 % interval of F1 (seed {report['seed']}, by record)"]
    return "\n".join(markdown_table(header, rows))


def _detectors(report: dict) -> str:
    rows = []
    for name, found in report["detectors"].items():
        rates = [f"{found[part][rate]:.2f}" for part in ("DS1", "DS2", "all") for rate in ("se", "ppv")]
        delay = found["delay_ms"] if found["causal"] else None
        known = f"{delay['median']:.0f}, {delay['p99']:.0f}, {delay['max']:.0f}" if delay else "whole record"
        rows.append([name, *rates, known, number(found["times_real_time"])])
    header = ["detector", *(f"{part} {rate} %" for part in ("DS1", "DS2", "all") for rate in ("Se", "+P"))]
    header += ["known after R, ms: median, 99 %, longest", "times real time"]
    return "\n".join(markdown_table(header, rows))


def _chain(report: dict) -> str:
    rows = []
    for name, scores in report.items():
        for kind in ("gross", "average"):
            part = scores[kind]
            rates = [part["measures"][key]["percent"] if kind == "gross" else part[key] for key in MEASURES]
            rows.append([name, kind, *(number(rate, ".2f") for rate in rates)])
    header = ["network", "DS2", *(f"{beats} {rate} %" for beats in ("QRS", "VEB", "SVEB") for rate in ("Se", "+P"))]
    return "\n".join(markdown_table(header, rows))


def _embedded(report: dict) -> str:
    found = report["all"]
    header = ["records", "beats", "R-peaks on another sample", "labels that differ", "largest difference of a window"]
    row = [number(len(report["records"])), *(number(found[name]) for name in ("beats", "r_peaks_moved"))]
    row += [number(found["label_differs"]), f"{found['window_difference']:.0e}"]
    return "\n".join(markdown_table([*header, "bytes of its state"], [[*row, number(report["state_bytes"])]]))
