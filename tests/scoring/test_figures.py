"""Figures: valid PNG files of README width, stamped where synthetic, with labels that do not collide."""

import struct
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from config import CLASSES
from deep_ecg.scoring import figures
from deep_ecg.scoring.confidence import confidence_report
from deep_ecg.system.errors import DeepECGError

FS_HZ = 360.0
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


@pytest.fixture
def saved(monkeypatch) -> list[Figure]:
    """The figures that were written, in order."""
    kept, savefig = [], Figure.savefig

    def keep(figure, *args, **kwargs):
        kept.append(figure)
        savefig(figure, *args, **kwargs)
        FigureCanvasAgg(figure)  # measures text boxes

    monkeypatch.setattr(Figure, "savefig", keep)
    return kept


def beat_strip(seconds: float = 12.0) -> tuple[np.ndarray, np.ndarray]:
    """A spike of 1 mV every 0.75 s, and the times of the spikes in seconds of the strip."""
    signal_mv = np.zeros(int(seconds * FS_HZ))
    peaks_s = np.arange(0.5, seconds, 0.75)
    signal_mv[np.round(peaks_s * FS_HZ).astype(int)] = 1.0
    return signal_mv, peaks_s


def draw_signal(path: Path, synthetic: bool) -> Path:
    signal_mv, _ = beat_strip()
    return figures.signal_figure(path, signal_mv + 0.3, signal_mv, FS_HZ, 60.0, "208", "MLII", synthetic)


def draw_dashboard(path: Path, synthetic: bool) -> Path:
    return figures.dashboard_figure(path, HISTORY, CONFUSION, CURVE, CURVE, "causal mode, seed 0", synthetic)


def draw_predictions(path: Path, synthetic: bool) -> Path:
    signal_mv, peaks_s = beat_strip()
    labels = np.zeros(len(peaks_s), int)
    return figures.predictions_figure(path, signal_mv, FS_HZ, 0.0, peaks_s, labels, labels, "208", synthetic)


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


DRAWINGS = (draw_signal, draw_dashboard, draw_predictions, draw_benchmark, draw_confidence, draw_noise)


def texts(figure: Figure) -> list[str]:
    panels = [text.get_text() for axes in figure.axes for text in axes.texts]
    return panels + [text.get_text() for text in figure.texts] + [figure.get_suptitle()]


def overlapping(figure: Figure, artists: list) -> list[tuple[str, str]]:
    boxes = [(artist.get_text(), artist.get_window_extent(figure.canvas.get_renderer())) for artist in artists]
    return [(a, b) for (a, box_a), (b, box_b) in combinations(boxes, 2) if box_a.overlaps(box_b)]


@pytest.mark.parametrize("draw", DRAWINGS)
def test_file_is_a_png_of_readme_width(tmp_path, draw):
    path = draw(tmp_path / "new" / "figure.png", False)
    data = path.read_bytes()
    width, height = struct.unpack(">II", data[16:24])  # IHDR chunk of the PNG specification
    assert data[:8] == b"\x89PNG\r\n\x1a\n" and data[-8:-4] == b"IEND"
    assert width == 1300 and 400 <= height <= 1200
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


def test_signal_panels_share_time_and_scale(tmp_path, saved):
    draw_signal(tmp_path / "figure.png", False)
    raw, clean = saved[0].axes
    assert np.ptp(raw.get_ylim()) == pytest.approx(np.ptp(clean.get_ylim()))
    assert raw.get_xlim() == clean.get_xlim() == pytest.approx((60.0, 72.0), abs=0.01)
    assert "208" in saved[0].get_suptitle() and "n = 4,320" in saved[0].get_suptitle()


def test_confusion_cells_and_ticks(tmp_path, saved):
    draw_dashboard(tmp_path / "figure.png", False)
    axes = saved[0].axes[2]
    cells = [text.get_text() for text in axes.texts]
    assert len(cells) == 25
    assert cells[6] == "1,200\n65.3 %"  # 1200 of 1837 reference S beats
    assert cells[24] == "0\n-"  # no reference Q beat
    assert axes.texts[0].get_color() == "white" and axes.texts[1].get_color() == figures.INK
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


@pytest.mark.filterwarnings("error")
def test_dashboard_of_one_epoch_without_scores(tmp_path):
    history = [{"epoch": 1, "train_loss": 0.5, "val_loss": None}]
    figures.dashboard_figure(tmp_path / "figure.png", history, np.zeros((5, 5), int), None, None, "seed 0", False)
    assert (tmp_path / "figure.png").is_file()


def test_predictions_letters_rings_and_rows(tmp_path, saved):
    signal_mv, peaks_s = beat_strip()
    predicted, reference = np.zeros(len(peaks_s), int), np.zeros(len(peaks_s), int)
    predicted[2], reference[3], reference[-1] = 2, 1, -1
    outside = np.append(peaks_s, [-1.0, 12.0]) + 100.0
    predicted, reference = np.append(predicted, [4, 4]), np.append(reference, [0, 0])
    figures.predictions_figure(
        tmp_path / "figure.png", signal_mv, FS_HZ, 100.0, outside, predicted, reference, "208", False, mode="causal"
    )
    figure = saved[0]
    letters = [[text.get_text() for text in axes.texts] for axes in figure.axes]
    assert letters[0] == ["N", "N", "V", "N", "N", "S", "N", "N", "N", "N"]  # 8 beats in 6 s, 2 boxed references
    assert letters[1] == ["N"] * 8 + ["none"]
    rings = [line for axes in figure.axes for line in axes.lines if line.get_markersize() == 16]
    assert [line.get_xdata()[0] for line in rings] == pytest.approx([102.0, 102.75, 111.75])
    assert figure.get_suptitle().endswith("n = 16 beats, 13 agree with the reference")
    assert "causal mode" in figure.get_suptitle()
    assert [text.get_text() for text in figure.legends[0].get_texts()[:2]] == ["N", "V"]
    for axes in figure.axes:
        assert overlapping(figure, list(axes.texts)) == []


@pytest.mark.parametrize("name", ["$", "a$b$", "$\\frac{$", "a_b^c%{}"])
def test_a_record_of_any_name_is_drawn_by_that_name(tmp_path, saved, name):
    """matplotlib would take what stands between two $ for a formula."""
    signal_mv, peaks_s = beat_strip()
    labels = np.zeros(len(peaks_s), int)
    figures.predictions_figure(
        tmp_path / "figure.png", signal_mv, FS_HZ, 0.0, peaks_s, labels, None, name, False, mode="causal"
    )
    figures.signal_figure(tmp_path / "signal.png", signal_mv, signal_mv, FS_HZ, 0.0, name, name, False)
    assert len(saved) == 2 and all(name in figure.get_suptitle() for figure in saved)
    assert not any(figure._suptitle.get_parse_math() for figure in saved)


def test_predictions_without_reference_or_beats(tmp_path, saved):
    signal_mv, peaks_s = beat_strip()
    path = tmp_path / "figure.png"
    figures.predictions_figure(path, signal_mv, FS_HZ, 0.0, peaks_s, np.zeros(16, int), None, "208", False)
    figures.predictions_figure(path, signal_mv, FS_HZ, 0.0, [], [], None, "208", False)
    assert saved[0].get_suptitle().endswith("n = 16 beats, no reference")
    assert saved[1].legends == []


def test_predictions_of_a_real_record(tmp_path, saved, mitdb):
    import wfdb

    classes = {"N": 0, "V": 2, "F": 3}
    record, marks = wfdb.rdrecord(str(mitdb / "208"), sampto=7200), wfdb.rdann(str(mitdb / "208"), "atr", sampto=7199)
    beats = [(s / FS_HZ, classes[symbol]) for s, symbol in zip(marks.sample, marks.symbol) if symbol in classes]
    peaks_s, labels = zip(*beats)
    signal_mv = record.p_signal[:, record.sig_name.index("MLII")]
    figures.predictions_figure(tmp_path / "208.png", signal_mv, FS_HZ, 0.0, peaks_s, labels, labels, "208", False)
    letters = [text.get_text() for axes in saved[0].axes for text in axes.texts]
    assert letters == [CLASSES[label] for label in labels] and {"N", "V"} <= set(letters)
    assert all(overlapping(saved[0], list(axes.texts)) == [] for axes in saved[0].axes)


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
    assert len(set(figures.CLASS_COLOURS.values())) == len(set(figures.CLASS_MARKERS.values())) == len(CLASSES)


def test_a_figure_that_cannot_be_written_names_the_path(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DeepECGError, match="figure.png"):
        draw_benchmark(tmp_path / "file" / "figure.png", False)


def test_no_pyplot():
    root = Path(figures.__file__).parent
    code = "import figures, sys; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


def test_the_look_ahead_figure_shows_each_curve_and_the_diagnostic_levels(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(figures, "_save", lambda figure, path, synthetic: drawn.append(figure.axes[0]) or path)
    means = ((0.5, 0.75), (0.6, 0.8), (0.7, 0.9))
    at_0, at_150, diagnostic = ({"s_f1": {"mean": s}, "v_f1": {"mean": v}} for s, v in means)
    report = {"causal": {"0": at_0, "150": at_150}, "diagnostic": diagnostic}
    figures.look_ahead_figure(tmp_path / "look_ahead.png", report)
    curves = {line.get_label(): list(line.get_ydata()) for line in drawn[0].lines}
    assert curves["S F1, causal"] == [50, 60] and curves["V F1, causal"] == [75, 80]
    assert {"S F1, diagnostic: 70.0 %", "V F1, diagnostic: 90.0 %"} <= set(curves)


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
