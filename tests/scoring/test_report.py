"""Reports as Markdown and as text: the worked results, what is stamped, what is left out."""

import re
from itertools import pairwise

import numpy as np

from deep_ecg.scoring import measures, seeds
from deep_ecg.scoring.report import (
    confidence_table,
    elsewhere,
    int8_line,
    per_record_table,
    render_markdown,
    results_table,
    seed_line,
)
from tests.support.scores import WORKED, beats_of


def full_report(data_source: str = "local") -> dict:
    labels, proba = beats_of(WORKED)
    ds2 = measures.evaluate_beats(labels, proba, np.where(np.arange(120) % 2, "100", "232"), bootstrap=20)
    history = {"epoch": 1, "train_loss": 0.5, "val_loss": 0.4, "val_accuracy": 0.9, "val_s_f1": None, "val_v_f1": 0.8}
    report = {
        "data_source": data_source,
        "data_folder": "../ecg/mitdb",
        "mode": "causal",
        "preset": "edge",
        "seed": 3,
        "seeds": [3],
        "versions": {"python": "3.11", "numpy": "2.4"},
        "threads": 2,
        "config": {"mode": "causal", "band_hz": [0.5, 50.0], "seeds": [3, 4], "validation_records": ["118", "124"]},
        "parameters": 8123,
        "kept_beats": {"ds1": 51021, "ds2": 49712},
        "training": {"seconds": 12.0, "history": [{"epoch": 1, "train_loss": 0.25}]},
        "validation": [history],
        "ds2": ds2,
        "figures": ["images/signal.png", "images/dashboard.png"],
        "baselines": {
            "majority": measures.majority_baseline(labels, labels, np.full(120, "100")),
            "prematurity": measures.prematurity_baseline(
                np.ones(120), labels, np.ones(120), labels, np.full(120, "100")
            ),
        },
        "int8": {"fp32_bytes": 40000, "int8_bytes": 14000, "ratio": 2.857, "accuracy_change": -0.001},
        "timings_s": {"ingest": 1.5, "total": 30.0},
        "peak_rss_mb": 800.0,
    }
    report["over_seeds"] = seeds.over_seeds([report])
    return report


def test_markdown_shows_the_worked_results_and_dashes():
    text = render_markdown(full_report())
    assert "SYNTHETIC" not in text
    assert "Accuracy 86.67 %" in text  # 104 of 120
    assert "| V | 10 | 80.0 (" in text
    assert "| Q | 0 | - | - | - | - |" in text
    assert "| S | 4 | 6 | 0 | 0 | 0 |" in text
    assert "51,021" in text
    lines = text.splitlines()
    for header, rule in pairwise(lines):
        if rule.startswith("| ---"):
            assert header.replace("\\|", "").count("|") == rule.count("|")


def test_both_losses_are_those_of_the_network_that_the_validation_patients_were_held_out_of():
    """Those of the network shown, which has no validation loss, stand in report.json alone."""
    report = full_report()
    text = render_markdown(report)
    assert "| Epoch | Training loss | Validation loss | Validation accuracy % | S F1 % | V F1 % |" in text
    assert "| 1 | 0.5000 | 0.4000 | 90.00 | - | 80.0 |" in text and "0.2500" not in text
    assert "One more network of seed 3, trained without the validation patients (118, 124)" in text
    report["validation"].append({"epoch": 2, "train_loss": 0.125})
    assert "| 2 | 0.1250 | - | - | - | - |" in render_markdown(report)
    del report["validation"]
    assert "Validation loss" not in render_markdown(report)


def test_the_report_says_where_its_data_come_from_and_what_its_classes_are():
    text = render_markdown(full_report())
    assert "| Data folder | ../ecg/mitdb |" in text
    classes = ("N normal and bundle branch block", "S supraventricular", "V ventricular", "F fusion", "Q unclass")
    for meaning in ("AAMI EC57", *classes, "Se is sensitivity, +P positive predictivity"):
        assert meaning in text


def test_figures_are_linked_by_paths_relative_to_the_report():
    assert re.findall(r"!\[(.*)\]\((.*)\)", render_markdown(full_report())) == [
        ("signal", "images/signal.png"),
        ("dashboard", "images/dashboard.png"),
    ]


def test_a_copy_elsewhere_names_no_folder_and_links_no_figure():
    report = full_report()
    copy = elsewhere(report)
    assert report.keys() - copy.keys() == {"data_folder", "figures"}
    assert "mitdb" not in render_markdown(copy) and "](" not in render_markdown(copy)
    assert report == full_report()


def test_records_are_listed_alike_in_the_report_and_on_their_own():
    """The 120 beats of the worked matrix lie in either record in turn."""
    per_record = full_report()["ds2"]["per_record"]
    table = per_record_table(per_record)
    assert table in render_markdown(full_report())
    assert table.splitlines()[0].startswith("| record | n | accuracy % | S n | S Se % | S +P % | V n |")
    assert [line.split(" | ")[:2] for line in table.splitlines()[2:]] == [["| 100", "60"], ["| 232", "60"]]


def test_one_line_on_a_seed_and_on_its_int8_file():
    report = full_report()
    assert seed_line(report) == "seed 3: accuracy 86.67 %, S F1 54.5 %, V F1 76.2 %"  # F1 12/22 and 16/21
    expected = "40,000 -> 14,000 bytes, 2.86 times smaller, accuracy -0.100 points"
    assert int8_line(report["int8"]) == expected


def test_markdown_and_table_are_stamped_on_synthetic_data():
    report = full_report("synthetic")
    text = render_markdown(report)
    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert len(headings) == 13 and all("SYNTHETIC" in line for line in headings)
    assert "SYNTHETIC data:" in text.splitlines()[2]
    table = results_table(report).splitlines()
    assert table[0].startswith("SYNTHETIC data:") and table[1].startswith("SYNTHETIC: DS2")


def test_missing_sections_are_left_out():
    report = full_report("synthetic")
    for name in list(report):
        part = {key: value for key, value in report.items() if key != name}
        assert "Deep-ECG report" in render_markdown(part)
        assert results_table(part)
    bare = render_markdown({})
    assert "##" not in bare and "None" not in bare
    for name in report["ds2"]:
        ds2 = {key: value for key, value in report["ds2"].items() if key != name}
        part = {**report, "ds2": ds2}
        assert "None" not in render_markdown(part) + results_table(part)


def test_results_table_is_aligned():
    lines = results_table(full_report()).splitlines()
    assert lines[0].startswith("DS2 (mode causal, preset edge, seed 3): n = 120 beats, accuracy 86.67 %")
    assert lines[1].split() == ["class", "n", "Se", "%", "+P", "%", "F1", "%", "AUC"]
    assert [line.split()[:4] for line in lines[2:5]] == [
        ["N", "100", "90.0", "94.7"],
        ["S", "10", "60.0", "50.0"],
        ["V", "10", "80.0", "72.7"],
    ]
    assert len({len(line) for line in lines[1:]}) == 1


def test_confidence_in_the_report_and_as_a_table():
    report = full_report()
    text = render_markdown(report)
    assert "## Confidence on DS2" in text
    # 104 of 120 beats of WORKED are right and the network is sure of all: off by 16/120 before and after
    assert "calibration error 13.33 % before, 13.33 % after" in text
    assert "| 0.99 | 100.0 | 13.33 | 100.0 | 60.0 | 50.0 | 100.0 | 80.0 | 72.7 |" in text
    header, _, row = confidence_table({"causal, edge": report["ds2"]["confidence"]})
    assert row.startswith("| causal, edge | 1.000 | 13.33 | 13.33 |")
    assert row.endswith("| 100.0 | 50.0 | 100.0 | 72.7 |")
    assert header.count("|") == row.count("|")
