"""The marked tables of README.md and docs/*.md, filled anew from results/."""

import argparse
import re
from functools import reduce
from operator import getitem
from pathlib import Path

from config import DS2, MODES, PRESETS
from deep_ecg.scoring.report import per_record_table
from deep_ecg.system.errors import DeepECGError
from deep_ecg.system.files import write_text
from deep_ecg.system.json_files import read_json
from deep_ecg.system.text import markdown_table, mean_sd_text, number, percent
from experimental_transformer import benchmark_table
from experiments import (
    ROOT,
    archive_speed,
    calibration,
    chain,
    detectors,
    embedded,
    endurance,
    faults,
    growth,
    look_ahead,
    noise_stress,
    outside,
    record_speed,
    rhythm,
    speed,
    streaming,
    torchrun,
    trust,
)
from experiments.crossvalidation import COLUMNS, ideas_table, records_table
from quantize import artefacts_table

VARIANTS = tuple((mode, preset) for mode in MODES for preset in PRESETS)
SHOWN = ("diagnostic", "full")  # the variant whose figures are in images/
ABLATION = "ablation-diagnostic-edge.json"
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
MEASUREMENTS = {  # the tables that an experiment makes of its own report
    "speed": speed,
    "detectors": detectors,
    "chain": chain,
    "streaming": streaming,
    "faults": faults,
    "endurance": endurance,
    "noise": noise_stress,
    "confidence": calibration,
    "trust": trust,
    "embedded": embedded,
    "archive": archive_speed,
    "record": record_speed,
    "torchrun": torchrun,
    "growth": growth,
    "rhythm": rhythm,
    "outside": outside,
}
MARK = re.compile(r"<!-- (\w+): rebuilt by `python -m experiments tables` -->")
BLOCK = re.compile(rf"({MARK.pattern}\n).*?(<!-- end of \2 -->)", re.DOTALL)


def run(options: argparse.Namespace):
    """Fills every marked table."""
    write_tables(ROOT)


def write_tables(root: Path):
    """Fills the marked tables of README.md and docs/*.md below `root` anew from the files in its results/."""
    tables = all_tables(root / "results")
    texts = {page: filled(page.read_text(encoding="utf-8"), tables, page) for page in pages(root)}
    for page, text in texts.items():
        write_text(page, text)


def pages(root: Path) -> list[Path]:
    """README.md and docs/*.md below `root`."""
    return [root / "README.md", *sorted((root / "docs").glob("*.md"))]


def filled(text: str, tables: dict[str, str], page: Path) -> str:
    """`text`, that of `page`, with every marked block filled anew.

    Raises DeepECGError for a block without an end, and for one of whose name there is no table.
    """
    marked, ended = (pattern.findall(text) for pattern in (MARK, BLOCK))
    if open_ended := set(marked) - {name for _, name, _ in ended}:
        raise DeepECGError(f"{page}: block {min(open_ended)} has no end: add <!-- end of {min(open_ended)} -->")
    if unknown := set(marked) - set(tables):
        raise DeepECGError(f"{page}: there is no table {min(unknown)}: mark one of {', '.join(tables)}")
    return BLOCK.sub(lambda match: f"{match[1]}{tables[match[2]]}\n{match[3]}", text)


def all_tables(results: Path) -> dict[str, str]:
    """Every table by the name of its block, as Markdown, from the files in the folder `results`."""
    reports = {variant: read_json(results / "networks" / f"{'-'.join(variant)}.json") for variant in VARIANTS}
    of_open = {variant: read_json(results / "open" / f"{'-'.join(variant)}.json") for variant in VARIANTS}
    int8 = [read_json(results / "int8" / f"quantization-{'-'.join(variant)}.json") for variant in VARIANTS]
    of_shipped = read_json(results / "measured" / outside.REPORT)
    ablation, swept = read_ablation(results), read_look_ahead(results)
    return {
        "summary": summary_table(reports),
        "results": results_table(reports),
        "aims": aims_table(reports),
        "published": published_table(reports),
        "classes": classes_table(reports[SHOWN]),
        "records": per_record_table(reports[SHOWN]["ds2"]["per_record"]),
        "open": open_table(of_open),
        "shipped": shipped_table(of_open, of_shipped),
        "groups": outside.groups_table(of_shipped),
        "recordings": outside.recordings_table(of_shipped),
        "transformer": benchmark_table(read_json(results / "networks" / "transformer.json")),
        "artefacts": artefacts_table(int8),
        "ablation": ideas_table(ablation),
        "patients": records_table(ablation),
        "look_ahead": "\n".join(look_ahead.table(swept)),
    } | {
        name: "\n".join(module.table(read_json(results / "measured" / module.REPORT)))
        for name, module in MEASUREMENTS.items()
    }


# Cross-validations on DS1: made before, by hand, for they take hours -------------------------------------------------


def read_ablation(results: Path) -> dict:
    """The report of the ablation. Raises DeepECGError where it is of an older make."""
    path = results / "measured" / ABLATION
    report = read_json(path)
    command = "crossvalidation --preset edge --seeds 0 1 2 --ablation --out results/measured"
    _check_columns(path, [row["scores"] for row in report["rows"]], command)
    return report


def read_look_ahead(results: Path) -> dict:
    """The report of the sweep over look-aheads. Raises DeepECGError where it is of an older make."""
    path = results / "measured" / look_ahead.REPORT
    report = read_json(path)
    _check_columns(path, [*report["causal"].values(), report["diagnostic"]], "look-ahead")
    return report


def _check_columns(path: Path, rows: list[dict], command: str):
    """Raises DeepECGError where the `rows` of scores of the report at `path` have other columns than today's."""
    if any(scores.keys() != COLUMNS.keys() for scores in rows):
        command = f"python -m experiments {command}"
        raise DeepECGError(f"{path} has other columns than today's: make it anew with `{command}`")


# Tables of the networks on DS2 ---------------------------------------------------------------------------------------


def summary_table(reports: dict) -> str:
    """Every network in a line, next to the two published ones with the best S F1."""
    best = sorted(PUBLISHED, key=lambda work: float(work[2]))[-2:]
    rows = [row[:4] for row in [*network_rows(reports), *map(list, best)]]
    header = ["DS2", "accuracy %", "S F1 %", "V F1 %"]
    seeds, beats = reports[SHOWN]["over_seeds"]["n"], number(reports[SHOWN]["ds2"]["n"])
    note = f"Mean ± sd of {seeds} trainings on the {beats} beats of {len(DS2)} patients; the last two as published."
    return "\n".join([*markdown_table(header, rows), "", note])


def results_table(reports: dict) -> str:
    """Every network on all of DS2 and without its hardest records, and baselines that learn next to nothing."""
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


def published_table(reports: dict) -> str:
    """Every network next to PUBLISHED."""
    header = ["work", "accuracy %", "S F1 %", "V F1 %", "note"]
    return "\n".join(markdown_table(header, [*network_rows(reports), *map(list, PUBLISHED)]))


def network_rows(reports: dict) -> list[list[str]]:
    """Of each network a row as in PUBLISHED."""
    rows = []
    for (mode, preset), report in reports.items():
        spread = report["over_seeds"]
        f1 = [mean_sd_text(spread["per_class"][c]["f1"], spread["n"]) for c in "SV"]
        note = "nothing after the look-ahead" if mode == "causal" else "one future beat"
        rows.append([f"Deep-ECG {mode}, {preset}", mean_sd_text(spread["accuracy"], spread["n"]), *f1, note])
    return rows


def classes_table(report: dict) -> str:
    """Scores of each class, with an interval."""
    spread, intervals = report["over_seeds"], report["ds2"]["ci95"]
    rows = []
    for name, rates in spread["per_class"].items():
        interval = intervals.get(f"{name}_f1")
        shown = f"{percent(interval[0])} to {percent(interval[1])}" if interval else "-"
        n = number(report["ds2"]["per_class"][name]["n"])
        rows.append([name, n, *(mean_sd_text(rates[rate], spread["n"]) for rate in ("se", "ppv", "f1")), shown])
    header = ["class", "n", "Se %", "+P %", "F1 %", f"95 % interval of F1 (seed {report['seed']}, by record)"]
    return "\n".join(markdown_table(header, rows))


# Tables of the open protocol, apart from those of DS1 -> DS2 ---------------------------------------------------------


def open_table(reports: dict) -> str:
    """Every network of the open protocol on DS2, and without the patients who hold most of its S beats or errors."""
    rows = []
    for variant, report in reports.items():
        spread, seeds = report["over_seeds"], report["over_seeds"]["n"]
        without = [mean_sd_text(spread["without"][k]["per_class"]["S"]["f1"], seeds) for k in ("232", "202+232")]
        rows.append([", ".join(variant), *_open_scores(spread, "SVF"), *without])
    header = ["open protocol, DS2", "accuracy %", "S F1 %", "V F1 %", "F F1 %", "S F1 % without 232"]
    return _open_lines([*header, "S F1 % without 202 and 232"], rows, reports)


def shipped_table(reports: dict, of_shipped: dict) -> str:
    """The same, short; with the report of `outside`, of SHOWN what it scores when it sees two leads."""
    rows = [[", ".join(variant), *_open_scores(report["over_seeds"], "SV")] for variant, report in reports.items()]
    name = ", ".join(SHOWN)
    two = of_shipped["networks"][name]["two"]["DS2"]
    scores = [two["accuracy"], *(two["f1"][letter] for letter in "SV")]
    rows.insert(0, [f"{name}, two leads, one seed", *map(percent, scores)])
    return _open_lines(["open, DS2", "accuracy %", "S F1 %", "V F1 %"], rows, reports)


def _open_scores(spread: dict, classes: str) -> list[str]:
    f1 = [mean_sd_text(spread["per_class"][name]["f1"], spread["n"]) for name in classes]
    return [mean_sd_text(spread["accuracy"], spread["n"]), *f1]


def _open_lines(header: list[str], rows: list[list[str]], reports: dict) -> str:
    shown = reports[SHOWN]
    databases = ", ".join(shown["config"]["databases"])
    seeds = shown["over_seeds"]["n"]
    note = f"Trained on {databases}, without DS2 and held-out patients; mean ± sd of {seeds} trainings."
    return "\n".join([*markdown_table(header, rows), "", note])
