"""Figures: valid PNG files of README width, stamped where synthetic, with labels that do not collide."""

import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from config import CLASSES
from deep_ecg.scoring import canvas, figures
from deep_ecg.scoring.confidence import confidence_report
from deep_ecg.system.errors import DeepECGError
from tests.support import ROOT
from tests.support.figures import draw_predictions, draw_signal, overlapping

HISTORY = [
    {"epoch": 1, "train_loss": 0.5, "val_loss": 0.4, "val_accuracy": 0.9, "val_s_f1": None, "val_v_f1": 0.7},
    {"epoch": 2, "train_loss": 0.3, "val_loss": 0.2, "val_accuracy": 0.95, "val_s_f1": 0.4, "val_v_f1": 0.8},
    {"epoch": 3, "train_loss": 0.2, "val_loss": 0.3, "val_accuracy": 0.94, "val_s_f1": 0.5, "val_v_f1": 0.8},
]
CONFUSION = np.array(
    [[44000, 150, 100, 9, 0], [600, 1200, 37, 0, 0], [200, 21, 3000, 0, 0], [300, 0, 80, 8, 0], [0, 0, 0, 0, 0]]
)
CURVE = (np.array([0, 1, 2, 0]), np.eye(5)[[0, 1, 2, 1]])
ROWS = [
    {"name": "HybridECGNet", "accuracy": 0.967, "v_se": 0.93, "s_f1": 0.75, "parameters": 1200000,
     "int8_bytes": 1300000, "train_s": 300.0, "latency_us": 240.0},
    {"name": "Transformer", "accuracy": 0.95, "v_se": 0.9, "s_f1": None, "parameters": 230000,
     "int8_bytes": 14800, "train_s": 90.4, "latency_us": 900.0},
]  # fmt: skip


def draw_dashboard(path: Path, synthetic: bool) -> Path:
    return figures.dashboard_figure(path, HISTORY, CONFUSION, CURVE, CURVE, "causal mode, seed 0", synthetic)


def draw_benchmark(path: Path, synthetic: bool) -> Path:
    return figures.benchmark_figure(path, ROWS, synthetic)


def confidence() -> dict:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 3000)
    proba = rng.dirichlet(np.full(5, 0.2), 3000)
    proba[np.arange(3000), labels] += 1
    return confidence_report(labels, proba / 2, np.full(3000, "100"), 0.7)


def draw_confidence(path: Path, synthetic: bool) -> Path:
    return figures.confidence_figure(path, confidence(), "causal mode, seed 0", synthetic)


def stress() -> dict:
    """Scores that fall by 0.1 a level in the first kind of noise; without V beats in the second."""

    def step(score: float, v_f1: float | None) -> dict:
        modes = {mode: {"S": {"f1": score}, "V": {"f1": v_f1}} for mode in ("diagnostic", "causal")}
        chain = {"qrs": {"se": score, "ppv": score}, "sveb": {"f1": score}, "veb": {"f1": v_f1}}
        return {"noisy": modes | {"chain": chain}}

    levels = ("none", "12", "0")
    kinds = {
        "wander": {level: step(0.9 - 0.1 * k, 0.8) for k, level in enumerate(levels)},
        "muscle": {level: step(0.5, None) for level in levels},
    }
    return {"preset": "edge", "records": ["106", "208"], "levels_db": [12.0, 0.0], "kinds": kinds}


def draw_noise(path: Path, synthetic: bool) -> Path:
    return figures.noise_figure(path, stress(), synthetic)


def sweep() -> dict:
    """Two look-aheads and the diagnostic mode, S F1 with a spread over three seeds, V F1 of one seed alone."""
    means = ((0.5, 0.75), (0.6, 0.8), (0.7, 0.9))
    at_0, at_150, diagnostic = (
        {"s_f1": {"mean": s, "sd": 0.02, "n": 3}, "v_f1": {"mean": v, "sd": None, "n": 1}} for s, v in means
    )
    return {"causal": {"0": at_0, "150": at_150}, "diagnostic": diagnostic}


def draw_look_ahead(path: Path, synthetic: bool) -> Path:
    return figures.look_ahead_figure(path, sweep(), synthetic)


STRIPS = (draw_signal, draw_predictions)
DRAWINGS = (*STRIPS, draw_dashboard, draw_benchmark, draw_confidence, draw_noise, draw_look_ahead)


def texts(figure: Figure) -> list[str]:
    panels = [text.get_text() for axes in figure.axes for text in axes.texts]
    return panels + [text.get_text() for text in figure.texts] + [figure.get_suptitle()]


@pytest.mark.parametrize("draw", DRAWINGS)
def test_file_is_a_png_of_readme_width(tmp_path, draw):
    path = draw(tmp_path / "new" / "figure.png", False)
    data = path.read_bytes()
    width, height = struct.unpack(">II", data[16:24])  # IHDR chunk of the PNG specification
    assert data[:8] == b"\x89PNG\r\n\x1a\n" and data[-8:-4] == b"IEND"
    assert width == 1300 and 350 <= height <= 1200
    assert 5_000 < len(data) < 500_000
    assert [entry.name for entry in path.parent.iterdir()] == ["figure.png"]


@pytest.mark.parametrize("draw", DRAWINGS)
def test_only_synthetic_figures_are_stamped(tmp_path, saved, draw):
    draw(tmp_path / "real.png", False)
    draw(tmp_path / "made_up.png", True)
    assert not any("SYNTHETIC" in text for text in texts(saved[0]))
    stamp = next(text for text in saved[1].texts if text.get_text() == "SYNTHETIC")
    assert stamp.get_window_extent(saved[1].canvas.get_renderer()).width > 1300 / 3
    assert saved[1].get_suptitle().startswith("SYNTHETIC")


@pytest.mark.parametrize("draw", DRAWINGS)
def test_no_legend_lies_on_a_panel(tmp_path, saved, draw):
    draw(tmp_path / "figure.png", False)
    (figure,) = saved
    legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes if axes.get_legend())]
    assert bool(legends) == (draw not in (draw_signal, draw_benchmark))
    for box in (legend.get_window_extent(figure.canvas.get_renderer()) for legend in legends):
        assert not any(box.overlaps(axes.get_window_extent()) for axes in figure.axes if axes.get_visible())
        assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1


def test_confusion_cells_and_ticks(tmp_path, saved):
    draw_dashboard(tmp_path / "figure.png", False)
    axes = saved[0].axes[2]
    cells = [text.get_text() for text in axes.texts]
    assert len(cells) == 25
    assert cells[6] == "1,200\n65.3 %"  # 1200 of 1837 reference S beats
    assert cells[24] == "0\n-"  # no reference Q beat
    assert axes.texts[0].get_color() == "white" and axes.texts[1].get_color() == canvas.INK
    assert overlapping(saved[0], list(axes.texts)) == []
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert [label.get_text()[0] for label in labels] == list(CLASSES)
        assert overlapping(saved[0], labels) == []


def test_dashboard_draws_the_losses_and_prints_the_auc(tmp_path, saved):
    # Positives 1, 1, 1, 0; negatives 15 zeros and a 1: of 64 pairs 45 + 15 / 2 + 3 / 2 are won, ties as half.
    draw_dashboard(tmp_path / "both.png", False)
    figures.dashboard_figure(tmp_path / "test.png", HISTORY, CONFUSION, None, CURVE, "seed 0", False)
    losses = saved[0].axes[0]
    assert [text.get_text() for text in losses.get_legend().get_texts()] == ["training", "validation"]
    assert [list(line.get_ydata()) for line in losses.lines] == [[0.5, 0.3, 0.2], [0.4, 0.2, 0.3]]
    roc = [[text.get_text() for text in figure.axes[3].get_legend().get_texts()] for figure in saved]
    assert roc[0][:2] == [f"{name}: AUC {54 / 64:.4f}, n = 4" for name in ("training", "test")]
    assert roc[1][0].startswith("test")


def test_the_scores_of_the_validation_patients_fill_their_panel(tmp_path, saved):
    """From 40 to 95 %, with a margin of 6 % of that."""
    draw_dashboard(tmp_path / "figure.png", False)
    assert saved[0].axes[1].get_ylim() == pytest.approx((40 - 3.3, 95 + 3.3))


@pytest.mark.filterwarnings("error")
def test_dashboard_of_one_epoch_without_scores(tmp_path):
    history = [{"epoch": 1, "train_loss": 0.5, "val_loss": None}]
    figures.dashboard_figure(tmp_path / "figure.png", history, np.zeros((5, 5), int), None, None, "seed 0", False)
    assert (tmp_path / "figure.png").is_file()


def test_benchmark_prints_the_values_and_dashes(tmp_path, saved):
    draw_benchmark(tmp_path / "figure.png", False)
    printed = [[text.get_text() for text in axes.texts] for axes in saved[0].axes]
    assert printed[:7] == [
        ["96.7", "95.0"],
        ["93.0", "90.0"],
        ["75.0", "-"],
        ["1,200,000", "230,000"],
        ["1,300", "14.8"],
        ["300", "90.4"],
        ["240", "900"],
    ]


def test_each_class_has_its_own_colour_and_shape():
    assert len(set(canvas.CLASS_COLOURS.values())) == len(set(canvas.CLASS_MARKERS.values())) == len(CLASSES)


def test_a_figure_that_cannot_be_written_names_the_path(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DeepECGError, match="figure.png"):
        draw_benchmark(tmp_path / "file" / "figure.png", False)


def test_no_pyplot():
    code = "import deep_ecg.scoring.figures, sys; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_the_look_ahead_figure_shows_each_curve_and_the_diagnostic_levels(tmp_path, saved):
    draw_look_ahead(tmp_path / "look_ahead.png", False)
    (axes,) = saved[0].axes
    curves = {line.get_label(): list(line.get_ydata()) for line in axes.lines}
    assert curves["S F1, causal"] == [50, 60] and curves["V F1, causal"] == [75, 80]
    assert {"S F1, diagnostic: 70.0 %", "V F1, diagnostic: 90.0 %"} <= set(curves)
    assert "mean ± sd of 3 seeds" in saved[0].get_suptitle()


def test_the_look_ahead_figure_shows_the_spread_and_fits_its_axis_to_it(tmp_path, saved):
    """S F1 of 50 ± 2 % is the lowest, V F1 of 90 % the highest: 48 to 90 %, and a margin of 6 % of that."""
    draw_look_ahead(tmp_path / "look_ahead.png", False)
    (axes,) = saved[0].axes
    bars = {
        tuple(np.round(segment[:, 1], 6))
        for container in axes.containers
        for segment in container.lines[2][0].get_segments()
    }
    assert bars == {(48, 52), (58, 62), (75, 75), (80, 80)}
    bands = {(round(band.get_y(), 6), round(band.get_y() + band.get_height(), 6)) for band in axes.patches}
    assert bands == {(68, 72), (90, 90)}  # of the diagnostic mode
    assert axes.get_ylim() == pytest.approx((48 - 2.52, 90 + 2.52))


def test_the_confidence_figure_shows_bins_and_curves(tmp_path, saved):
    draw_confidence(tmp_path / "figure.png", False)
    left, right = saved[0].axes
    report = confidence()
    curves = {line.get_label().partition(":")[0]: line for line in left.lines}
    for name, part in (("as trained", "before"), ("calibrated", "after")):
        np.testing.assert_allclose(curves[name].get_xdata(), [100 * b["confidence"] for b in report[part]["bins"]])
        np.testing.assert_allclose(curves[name].get_ydata(), [100 * b["accuracy"] for b in report[part]["bins"]])
    shown = {line.get_label().partition(":")[0]: line.get_ydata()[-1] for line in right.lines}
    assert set(shown) == {"all beats", "S beats", "V beats"}
    assert shown["all beats"] == pytest.approx(100 * report["risk_coverage"]["all"]["error"])


def test_the_noise_figure_has_a_panel_a_kind_and_gaps_where_nothing_is_defined(tmp_path, saved):
    draw_noise(tmp_path / "figure.png", False)
    wander, muscle = saved[0].axes
    assert (wander.get_title(), muscle.get_title()) == ("wander", "muscle")
    assert [text.get_text() for text in wander.get_xticklabels()] == ["none", "12", "0"]
    curves = {line.get_label(): line.get_ydata() for line in wander.lines}
    np.testing.assert_allclose(curves["QRS Se"], [90, 80, 70])
    np.testing.assert_allclose(curves["S F1"], [90, 80, 70])
    assert np.isnan(next(line for line in muscle.lines if line.get_label() == "V F1").get_ydata()).all()
