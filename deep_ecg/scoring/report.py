"""A run's report as Markdown and as text for the console.

A report is a dict, as the file report.json holds it. What it lacks is left out of its text. Of its keys, `data_folder`
and `figures` say where things lie on the machine of the run: a report that leaves its folder goes without them, see
`elsewhere`.
"""

from pathlib import PurePosixPath

from config import CLASSES, DS2, name_of_test
from deep_ecg.scoring.held_out import held_out_lines
from deep_ecg.scoring.measures import RATES
from deep_ecg.system.text import SYNTHETIC_LINE, UNDEFINED, markdown_table, mean_sd_text, number, percent

CLASS_NAMES = {  # of AAMI EC57
    "N": "normal and bundle branch block",
    "S": "supraventricular ectopic",
    "V": "ventricular ectopic",
    "F": "fusion of ventricular and normal",
    "Q": "unclassifiable or paced",
}
RATE_NAMES = "Se is sensitivity, +P positive predictivity, F1 their harmonic mean"
PER_RECORD = "SVF"  # classes whose scores are listed record by record
KEPT = {"ds1": "training", "ds2": "test"}
OF_ITS_FOLDER = ("data_folder", "figures")


def elsewhere(report: dict) -> dict:
    """The report without what holds only in the folder and on the machine of its run: for a copy put elsewhere."""
    return {name: part for name, part in report.items() if name not in OF_ITS_FOLDER}


def render_markdown(report: dict) -> str:
    """The report as Markdown. Sections that the report lacks are left out.

    On synthetic data the text opens with a SYNTHETIC line and so does every table's title.
    """
    stamp = "SYNTHETIC: " if _is_synthetic(report) else ""
    lines = [f"# {stamp}Deep-ECG report", ""]
    lines += [f"**{SYNTHETIC_LINE}**", ""] if stamp else []
    lines += [f"**Warning: {warning}.**\n" for warning in report.get("warnings", [])]
    lines += ["Research code, not a medical device. Rates are in percent; `-` is undefined (0/0).", ""]
    for title, section in SECTIONS:
        body = section(report)
        if body:
            lines += [f"## {stamp}{title.format(test=_tested_on(report))}", "", *body, ""]
    return "\n".join(lines)


def results_table(report: dict) -> str:
    """Plain-text table of the DS2 results for the console: class, n, Se, +P, F1 (in %) and AUC.

    On synthetic data the first line and the title say SYNTHETIC. Without DS2 results it says so.
    """
    stamp = "SYNTHETIC: " if _is_synthetic(report) else ""
    lines = [SYNTHETIC_LINE] if stamp else []
    ds2 = report.get("ds2")
    if not ds2:
        return "\n".join([*lines, f"{stamp}no DS2 results in this report"])
    run = ", ".join(f"{name} {report[name]}" for name in ("mode", "preset", "seed") if report.get(name) is not None)
    lines.append(
        f"{stamp}{_tested_on(report)}{f' ({run})' if run else ''}: n = {number(ds2.get('n'))} beats, "
        f"accuracy {percent(ds2.get('accuracy'), 2)} %, micro AUC {number(ds2.get('auc_micro'), '.4f')}"
    )
    auc = ds2.get("auc") or {}
    lines.append(f"{'class':<6}{'n':>8}{'Se %':>8}{'+P %':>8}{'F1 %':>8}{'AUC':>9}")
    for name, scores in (ds2.get("per_class") or {}).items():
        rates = "".join(f"{percent(scores.get(rate)):>8}" for rate in RATES)
        lines.append(f"{name:<6}{number(scores.get('n')):>8}{rates}{number(auc.get(name), '.4f'):>9}")
    return "\n".join(lines)


def seed_line(report: dict) -> str:
    """One line on the network of one seed: accuracy and F1 of S and V on the records that it is tested on."""
    scores = report["ds2"]
    f1 = (f"{name} F1 {percent(scores['per_class'][name]['f1'])} %" for name in "SV")
    return f"seed {report['seed']}: accuracy {percent(scores['accuracy'], 2)} %, {', '.join(f1)}"


def int8_line(int8: dict) -> str:
    """One line on the int8 file of a network: by how much it is smaller, and what that costs in accuracy."""
    return (
        f"{int8['fp32_bytes']:,} -> {int8['int8_bytes']:,} bytes, {int8['ratio']:.2f} times smaller, "
        f"accuracy {100 * int8['accuracy_change']:+.3f} points"
    )


def per_record_table(per_record: dict[str, dict]) -> str:
    """Markdown table of the `record_scores` of each record: accuracy, and n, Se and +P of S, V and F."""
    rows = []
    for record, scores in per_record.items():
        row = [record, number(scores.get("n")), percent(scores.get("accuracy"), 2)]
        for name in PER_RECORD:
            part = (scores.get("per_class") or {}).get(name) or {}
            row += [number(part.get("n", 0)), percent(part.get("se")), percent(part.get("ppv"))]
        rows.append(row)
    header = ["record", "n", "accuracy %"] + [f"{c} {column}" for c in PER_RECORD for column in ("n", "Se %", "+P %")]
    return "\n".join(markdown_table(header, rows))


ABSTAINING_HEADER = ["only above", "beats kept %", "wrong of those %"]
ABSTAINING_HEADER += [f"{name} {column}" for name in "SV" for column in ("kept %", "Se %", "+P %")]


def abstaining_row(threshold: dict) -> list[str]:
    """Cells of one entry of `confidence.abstaining` under ABSTAINING_HEADER."""
    cells = [percent(threshold[name][column]) for name in "SV" for column in ("kept", "se", "ppv")]
    return [f"{threshold['min_confidence']:g}", percent(threshold["kept"]), percent(threshold["error"], 2), *cells]


def confidence_table(networks: dict[str, dict]) -> list[str]:
    """Markdown lines: calibration of each network by name, from what `confidence.confidence_report` says of it."""
    rows = []
    for name, found in networks.items():
        calibrated = [percent(found[part]["ece"], 2) for part in ("before", "after")]
        called = [percent(found["after"]["called"][c][key]) for c in "SV" for key in ("confidence", "accuracy")]
        area = number(1000 * found["risk_coverage"]["all"]["aurc"], ".2f")
        rows.append([name, f"{found['temperature']:.3f}", *calibrated, area, *called])
    header = ["network", "temperature", "ECE % before", "ECE % after", "area under risk-coverage, 10⁻³"]
    header += [f"called {c}: {column}" for c in "SV" for column in ("mean confidence %", "+P %")]
    return markdown_table(header, rows)


# The sections of the Markdown report, each a list of lines, empty where the report lacks it -------------------------


def _is_synthetic(report: dict) -> bool:
    return report.get("data_source") == "synthetic"


def _tested_on(report: dict) -> str:
    return name_of_test((report.get("config") or {}).get("test_records", DS2))


def _run_section(report: dict) -> list[str]:
    versions = report.get("versions") or {}
    kept = report.get("kept_beats") or {}
    facts = {
        "Data": report.get("data_source"),
        "Data folder": report.get("data_folder"),
        "Databases": ", ".join((report.get("config") or {}).get("databases") or []) or None,
        "Mode": report.get("mode"),
        "Preset": report.get("preset"),
        "Seed shown": report.get("seed"),
        "Seeds trained": ", ".join(map(str, report.get("seeds") or [])) or None,
        "Parameters": None if report.get("parameters") is None else number(report["parameters"]),
        "Kept beats": ", ".join(f"{KEPT[name]} {number(count)}" for name, count in kept.items()) or None,
        "Threads": report.get("threads"),
        "Device": report.get("device"),
        "Versions": ", ".join(f"{name} {version}" for name, version in versions.items()) or None,
    }
    rows = [[name, value] for name, value in facts.items() if value is not None]
    return markdown_table(["Run", ""], rows) if rows else []


def _results_section(report: dict) -> list[str]:
    ds2 = report.get("ds2")
    if not ds2:
        return []
    intervals, auc = ds2.get("ci95") or {}, ds2.get("auc") or {}
    span = intervals.get("accuracy")
    accuracy = f"Accuracy {percent(ds2.get('accuracy'), 2)} %"
    accuracy += f" ({percent(span[0], 2)} to {percent(span[1], 2)})" if span else ""
    rows = []
    for name, scores in (ds2.get("per_class") or {}).items():
        rates = (_with_interval(scores, intervals, name, rate) for rate in RATES)
        rows.append([name, number(scores.get("n")), *rates, number(auc.get(name), ".4f")])
    classes = "; ".join(f"{name} {meaning}" for name, meaning in CLASS_NAMES.items())
    lines = [
        f"{accuracy}, micro-average AUC {number(ds2.get('auc_micro'), '.4f')}, n = {number(ds2.get('n'))} beats.",
        "",
        *markdown_table(["Class", "n", "Se %", "+P %", "F1 %", "AUC"], rows),
        "",
        f"Classes of AAMI EC57: {classes}. {RATE_NAMES}.",
    ]
    if intervals:
        lines += ["", "In brackets: 95 % interval, bootstrap over records (not beats)."]
    return lines


def _with_interval(scores: dict, intervals: dict, name: str, rate: str) -> str:
    interval = intervals.get(f"{name}_{rate}")
    shown = percent(scores.get(rate))
    return f"{shown} ({percent(interval[0])} to {percent(interval[1])})" if interval else shown


def _held_out_section(report: dict) -> list[str]:
    return held_out_lines(report.get("held_out") or {})


def _figures_section(report: dict) -> list[str]:
    links = [f"![{PurePosixPath(path).stem}]({path})" for path in report.get("figures") or []]
    return [line for link in links for line in (link, "")][:-1]


def _confusion_section(report: dict) -> list[str]:
    matrix = (report.get("ds2") or {}).get("confusion")
    if not matrix:
        return []
    rows = [[name, *map(number, row)] for name, row in zip(CLASSES, matrix)]
    return markdown_table(["Reference \\ predicted", *CLASSES], rows)


def _confidence_section(report: dict) -> list[str]:
    found = (report.get("ds2") or {}).get("confidence")
    if not found:
        return []
    before, after = found["before"], found["after"]
    whole = found["risk_coverage"]["all"]
    note = f"Temperature {found['temperature']:.3f}, fitted on DS1: expected calibration error "
    note += f"{percent(before['ece'], 2)} % before, {percent(after['ece'], 2)} % after; negative log-likelihood "
    note += f"{before['nll']:.4f} and {after['nll']:.4f}; distance between accuracy and mean confidence of a record, "
    note += f"mean over the records, {percent(before['record_gap'], 2)} % and {percent(after['record_gap'], 2)} %. "
    note += f"Area under the risk-coverage curve {whole['aurc']:.5f}."
    return [note, "", *markdown_table(ABSTAINING_HEADER, map(abstaining_row, found["abstaining"]))]


def _comparison_section(report: dict) -> list[str]:
    baselines = report.get("baselines") or {}
    candidates = {
        "Network": report.get("ds2"),
        "Majority class": baselines.get("majority"),
        "Prematurity rule": baselines.get("prematurity"),
    }
    rows = []
    for name, scores in candidates.items():
        if scores:
            rows.append(_comparison_row(name, scores))
            without = scores.get("without") or {}
            rows += [_comparison_row(f"{name}, without {group}", part) for group, part in without.items()]
    if not rows:
        return []
    header = ["Classifier", "n", "Accuracy %"] + [f"{name} {rate} %" for name in "SV" for rate in ("Se", "+P", "F1")]
    lines = markdown_table(header, rows)
    threshold = (baselines.get("prematurity") or {}).get("threshold")
    if threshold is not None:
        rule = f"S if the pre-RR is below {threshold:.2f} times the running mean RR, else N"
        lines += ["", f"Prematurity rule: {rule}; threshold chosen on the training records."]
    return lines


def _comparison_row(name: str, scores: dict) -> list[str]:
    per_class = scores.get("per_class") or {}
    cells = [percent((per_class.get(letter) or {}).get(rate)) for letter in "SV" for rate in RATES]
    return [name, number(scores.get("n")), percent(scores.get("accuracy"), 2), *cells]


def _seeds_section(report: dict) -> list[str]:
    spread = report.get("over_seeds")
    if not spread:
        return []
    seeds = spread["n"]
    rows = []
    without = {f"Without {name}": part for name, part in (spread.get("without") or {}).items()}
    groups = {f"All of {_tested_on(report)}": spread} | without
    for group, part in groups.items():
        for name, rates in (part.get("per_class") or {}).items():
            rows.append([group, name, *(mean_sd_text(rates.get(rate), seeds) for rate in RATES)])
    accuracy = "; ".join(
        f"{group} {mean_sd_text(part.get('accuracy'), seeds, digits=2)} %" for group, part in groups.items()
    )
    auc = mean_sd_text(spread.get("auc_micro"), seeds, scale=1.0, digits=4)
    head = f"Mean ± sd over seeds {', '.join(map(str, spread.get('seeds') or []))} (n = {seeds})."
    return [
        f"{head} Accuracy: {accuracy}. Micro-average AUC {auc}.",
        "",
        *markdown_table(["Beats", "Class", "Se %", "+P %", "F1 %"], rows),
    ]


def _record_section(report: dict) -> list[str]:
    per_record = (report.get("ds2") or {}).get("per_record")
    return [per_record_table(per_record)] if per_record else []


def _training_section(report: dict) -> list[str]:
    """Losses and scores of one network: the one trained once more, without the validation patients."""
    epochs, config = report.get("validation"), report.get("config") or {}
    if not epochs:
        return []
    rows = [
        [
            number(entry.get("epoch")),
            *(number(entry.get(f"{part}_loss"), ".4f") for part in ("train", "val")),
            percent(entry.get("val_accuracy"), 2),
            *(percent(entry.get(f"val_{name}_f1")) for name in "sv"),
        ]
        for entry in epochs
    ]
    header = ["Epoch", "Training loss", "Validation loss", "Validation accuracy %", "S F1 %", "V F1 %"]
    seed = f" of seed {config['seeds'][0]}" if config.get("seeds") else ""
    records = f" ({', '.join(config['validation_records'])})" if config.get("validation_records") else ""
    note = (
        f"One more network{seed}, trained without the validation patients{records}, which are scored after each epoch; "
        "nothing is chosen by them. Focal loss; that of training is over beats in which the rare classes are frequent, "
        "replayed in other rhythms, and with dropout, that of validation over beats as recorded."
    )
    return [note, "", *markdown_table(header, rows)]


def _int8_section(report: dict) -> list[str]:
    int8 = report.get("int8")
    if not int8:
        return []
    rows = [
        ["Bytes", *(number(int8.get(f"{kind}_bytes")) for kind in ("fp32", "int8"))],
        ["Accuracy %", *(percent(int8.get(f"{kind}_accuracy"), 2) for kind in ("fp32", "int8"))],
        ["Latency, µs per beat", *(number(int8.get(f"{kind}_latency_us"), ",.0f") for kind in ("fp32", "int8"))],
    ]
    change = int8.get("accuracy_change")
    points = UNDEFINED if change is None else f"{100 * change:+.3f}"
    size = f"{number(int8.get('ratio'), '.2f')} times smaller, accuracy change {points} points."
    return [*markdown_table(["", "fp32", "int8"], rows), "", size]


def _cost_section(report: dict) -> list[str]:
    rows = [[f"{name}, s", number(value, ",.1f")] for name, value in (report.get("timings_s") or {}).items()]
    if report.get("peak_rss_mb") is not None:
        rows.append(["peak memory, MB", number(report["peak_rss_mb"], ",.0f")])
    return markdown_table(["Stage", ""], rows) if rows else []


def _config_section(report: dict) -> list[str]:
    rows = [[f"`{name}`", f"`{value}`"] for name, value in (report.get("config") or {}).items()]
    return markdown_table(["Setting", "Value"], rows) if rows else []


SECTIONS = (
    ("Run", _run_section),
    ("Results on {test}", _results_section),
    ("Held-out patients of other databases", _held_out_section),
    ("Figures", _figures_section),
    ("Confusion matrix on {test}", _confusion_section),
    ("Confidence on {test}", _confidence_section),
    ("Baselines, and {test} without single records", _comparison_section),
    ("Over seeds", _seeds_section),
    ("Per record", _record_section),
    ("Training and validation", _training_section),
    ("int8", _int8_section),
    ("Time and memory", _cost_section),
    ("Settings", _config_section),
)
