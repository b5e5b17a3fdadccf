"""Figures of a training and of what experiments measure, as PNG files at README width.

Every function returns the path of the file that it has written. No legend lies on a curve. `synthetic=True` stamps
SYNTHETIC across the figure and into its title. The strips of ECG are drawn by strips.py, without scikit-learn.
"""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import auc, roc_curve

from config import CLASSES
from deep_ecg.scoring.canvas import (
    BLUE,
    CLASS_COLOURS,
    CLASS_MARKERS,
    GREY,
    INK,
    LEGEND_POINTS,
    SKY,
    class_style,
    legend_below,
    new_figure,
    save,
    tidy,
)
from deep_ecg.system.text import UNDEFINED

ROC_LOWEST_RATE = 1e-4
MARGIN = 0.06  # of the range of the data, above and below it


def _fitted(values: np.ndarray, highest: float = 100.0) -> tuple[float, float]:
    """Limits of an axis in per cent that hold all finite `values` with a margin, but no more than `highest` needs."""
    values = values[np.isfinite(values)]
    if not len(values):
        return 0.0, highest
    margin = max(MARGIN * np.ptp(values), 1.0)
    return max(values.min() - margin, 0.0), min(values.max() + margin, highest + margin)


def _column(history: list[dict], name: str) -> np.ndarray:
    return np.array([np.nan if entry.get(name) is None else entry[name] for entry in history], dtype=float)


def _epoch_axis(axes: Axes, epochs: np.ndarray):
    if len(epochs):
        axes.set_xlim(epochs.min() - 0.5, epochs.max() + 0.5)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _draw_losses(axes: Axes, history: list[dict]):
    epochs, val_loss = _column(history, "epoch"), _column(history, "val_loss")
    axes.plot(epochs, _column(history, "train_loss"), "o-", color=SKY, markersize=4, label="training")
    axes.plot(epochs, val_loss, "s-", color=INK, markersize=4, label="validation")
    axes.set(title="Loss, validation patients held out", ylabel="focal loss")
    axes.margins(y=0.12)
    axes.set_ylim(bottom=0)
    _epoch_axis(axes, epochs)
    legend_below(axes, columns=2)
    tidy(axes)


def _draw_validation(axes: Axes, history: list[dict]):
    epochs = _column(history, "epoch")
    curves = (
        ("val_accuracy", "accuracy", INK, "o"),
        ("val_v_f1", "V F1", CLASS_COLOURS["V"], CLASS_MARKERS["V"]),
        ("val_s_f1", "S F1", CLASS_COLOURS["S"], CLASS_MARKERS["S"]),
    )
    for key, label, colour, marker in curves:
        values = 100 * _column(history, key)
        if np.isfinite(values).any():
            label += f", last {values[np.isfinite(values)][-1]:.1f} %"
            axes.plot(epochs, values, marker=marker, color=colour, markersize=4, label=label)
    drawn = np.concatenate([line.get_ydata() for line in axes.lines] or [np.empty(0)])
    axes.set(title="Scores of the validation patients", ylabel="%", ylim=_fitted(drawn))
    _epoch_axis(axes, epochs)
    if axes.lines:
        legend_below(axes, columns=3)
    tidy(axes)


def _draw_confusion(axes: Axes, matrix: np.ndarray):
    matrix = np.asarray(matrix)
    totals = matrix.sum(axis=1, keepdims=True)
    share = np.divide(matrix, totals, out=np.zeros(matrix.shape), where=totals > 0)
    image = axes.imshow(share, cmap="Blues", norm=Normalize(0, 1), aspect="auto")
    for (row, column), count in np.ndenumerate(matrix):
        percent = f"{100 * share[row, column]:.1f} %" if totals[row, 0] else UNDEFINED
        red, green, blue, _ = image.cmap(image.norm(share[row, column]))
        dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.55  # luma of ITU-R BT.601
        axes.text(
            column, row, f"{count:,}\n{percent}", ha="center", va="center", fontsize=8,
            color="white" if dark else INK, fontweight="bold" if row == column else "normal",
        )  # fmt: skip
    axes.set_xticks(range(len(CLASSES)), CLASSES)
    axes.set_yticks(range(len(CLASSES)), [f"{name}\n{n:,}" for name, n in zip(CLASSES, totals[:, 0])])
    axes.set(title="Test confusion, % of each reference class", xlabel="predicted", ylabel="reference, beats")
    axes.tick_params(length=0)


def _draw_roc(axes: Axes, curves: dict[str, tuple[np.ndarray, np.ndarray]]):
    styles = {"training": (SKY, "--"), "test": (INK, "-")}
    for name, (labels, proba) in curves.items():
        is_class = np.asarray(labels)[:, None] == np.arange(len(CLASSES))
        false_rate, true_rate, _ = roc_curve(is_class.ravel(), np.asarray(proba).ravel())
        colour, line = styles[name]
        # A rate of 0 has no place on a logarithmic axis: it is drawn at the left edge.
        shown = np.maximum(false_rate, ROC_LOWEST_RATE)
        label = f"{name}: AUC {auc(false_rate, true_rate):.4f}, n = {len(labels):,}"
        axes.step(shown, true_rate, line, where="post", color=colour, label=label)
    chance = np.logspace(np.log10(ROC_LOWEST_RATE), 0, 100)
    axes.plot(chance, chance, ":", color=GREY, label="chance")
    axes.set_xscale("log")
    axes.set(title="ROC, micro-average of the five classes", xlim=(ROC_LOWEST_RATE, 1), ylim=(0, 1.02))
    axes.set(xlabel="false positive rate (logarithmic)", ylabel="true positive rate")
    legend_below(axes, columns=2)
    tidy(axes)


def dashboard_figure(
    path: str | Path,
    history: list[dict],
    confusion: np.ndarray,
    train_curve: tuple[np.ndarray, np.ndarray] | None,
    test_curve: tuple[np.ndarray, np.ndarray] | None,
    title: str,
    synthetic: bool,
) -> Path:
    """Training and test at a glance: losses, validation scores, test confusion matrix, micro-average ROC.

    history: one dict per epoch (epoch, train_loss, val_loss, val_accuracy, val_s_f1, val_v_f1; None allowed), of the
    training that the validation patients were held out of.
    confusion: (5, 5) counts, rows reference. train_curve, test_curve: (labels (n,), proba (n, 5)) or None.
    title: should name mode, preset and seed.
    """
    figure = new_figure(8.8, title, synthetic)
    panels = figure.subplots(2, 2)
    _draw_losses(panels[0, 0], history)
    _draw_validation(panels[0, 1], history)
    _draw_confusion(panels[1, 0], confusion)
    curves = {"training": train_curve, "test": test_curve}
    _draw_roc(panels[1, 1], {name: curve for name, curve in curves.items() if curve is not None and len(curve[0])})
    return save(figure, path, synthetic)


def _benchmark_text(key: str, value: float) -> str:
    if key in ("accuracy", "v_se", "s_f1"):
        return f"{100 * value:.1f}"
    if key == "parameters":
        return f"{value:,}"
    shown = value / 1000 if key == "int8_bytes" else value
    return f"{shown:,.1f}" if shown < 100 else f"{shown:,.0f}"


BENCHMARK_PANELS = (
    ("accuracy", "accuracy, %\n(higher is better)"),
    ("v_se", "V Se, %\n(higher is better)"),
    ("s_f1", "S F1, %\n(higher is better)"),
    ("parameters", "parameters\n(lower is better)"),
    ("int8_bytes", "int8 file, KB\n(lower is better)"),
    ("train_s", "training, s\n(lower is better)"),
    ("latency_us", "latency, µs per beat\n(lower is better)"),
)


def benchmark_figure(
    path: str | Path,
    rows: list[dict],
    synthetic: bool,
    title: str = "Networks trained on DS1 by the same engine, scores on DS2",
) -> Path:
    """The networks side by side, one small panel of bars per score; a missing score is shown as "-".

    rows: dicts with name, accuracy, v_se, s_f1 (fractions), parameters, int8_bytes, train_s, latency_us.
    """
    height_in = 1.9 + 0.8 * len(rows)
    figure = new_figure(max(height_in, 3.6), title, synthetic)
    panels = figure.subplots(2, 4, sharey=True).ravel()
    for axes, (key, label) in zip(panels, BENCHMARK_PANELS):
        values = [row.get(key) for row in rows]
        widths = [0.0 if value is None else value for value in values]
        axes.barh(range(len(rows)), widths, color=SKY, height=0.62)
        largest = max(widths, default=0) or 1
        for i, value in enumerate(values):
            text = UNDEFINED if value is None else _benchmark_text(key, value)
            axes.text(widths[i] + 0.04 * largest, i, text, va="center", ha="left", fontsize=9, color=INK)
        axes.set_xlim(0, 1.6 * largest)
        axes.set_xticks([])
        axes.set_yticks(range(len(rows)), [row["name"] for row in rows])
        axes.set_title(label, fontsize=9)
        axes.tick_params(axis="y", length=0)
        axes.spines[["top", "right", "bottom"]].set_visible(False)
    panels[0].invert_yaxis()
    panels[-1].set_visible(False)
    return save(figure, path, synthetic)


LOOK_AHEAD_CURVES = (("v_f1", "V"), ("s_f1", "S"))


def look_ahead_figure(path: str | Path, report: dict, synthetic: bool = False) -> Path:
    """F1 of S and V against the look-ahead of the causal mode, mean and sd over seeds; the diagnostic mode across.

    report: "causal" maps look-aheads in ms (text) to scores, "diagnostic" holds scores; of s_f1 and v_f1 "mean" and
    "sd" are fractions, sd None where there is one seed.
    """
    seeds = report["diagnostic"]["s_f1"]["n"]
    title = f"Causal mode: what waiting after R buys (DS1, four folds by patient, mean ± sd of {seeds} seeds)"
    figure = new_figure(4.8, title, synthetic)
    axes = figure.subplots()
    look_aheads_ms, ends = [float(ms) for ms in report["causal"]], []
    for key, name in LOOK_AHEAD_CURVES:
        means, sds = _in_percent([scores[key] for scores in report["causal"].values()])
        ((level,), (level_sd,)) = _in_percent([report["diagnostic"][key]])
        colour = CLASS_COLOURS[name]
        axes.plot(look_aheads_ms, means, color=colour, marker=CLASS_MARKERS[name], label=f"{name} F1, causal")
        axes.errorbar(look_aheads_ms, means, sds, color=colour, fmt="none", capsize=4)
        axes.axhline(level, color=colour, linestyle="--", linewidth=1, label=f"{name} F1, diagnostic: {level:.1f} %")
        axes.axhspan(level - level_sd, level + level_sd, color=colour, alpha=0.12, linewidth=0)
        ends += [*(means - sds), *(means + sds), level - level_sd, level + level_sd]
    axes.set(xlabel="look-ahead after R, ms", ylabel="F1, %", ylim=_fitted(np.array(ends)))
    axes.set_xticks(look_aheads_ms)
    legend_below(axes, columns=4)
    tidy(axes)
    return save(figure, path, synthetic)


def _in_percent(spreads: list[dict]) -> tuple[np.ndarray, np.ndarray]:
    """Means and sd, each (n,), of spreads over seeds; the sd of a single seed is 0."""
    means, sds = ([100 * (spread[part] or 0.0) for spread in spreads] for part in ("mean", "sd"))
    return np.array(means), np.array(sds)


def _draw_reliability(axes: Axes, confidence: dict):
    for key, name, colour, line in (("before", "as trained", GREY, "s--"), ("after", "calibrated", INK, "o-")):
        found = confidence[key]
        bins = [[part[column] for part in found["bins"]] for column in ("confidence", "accuracy")]
        label = f"{name}: expected calibration error {100 * found['ece']:.2f} %"
        axes.plot(*(100 * np.array(values) for values in bins), line, color=colour, markersize=4, label=label)
    for name in ("S", "V"):
        called = confidence["after"]["called"][name]
        if called["n"]:
            place = (100 * called["confidence"], 100 * called["accuracy"])
            label = f"beats called {name}, calibrated, n = {called['n']:,}"
            axes.plot(*place, linestyle="", markeredgecolor="white", label=label, **class_style(name))
    lowest = min(50.0, np.concatenate([np.asarray(line.get_ydata()) for line in axes.lines]).min())
    axes.plot([0, 100], [0, 100], ":", color=GREY, label="perfect")
    axes.set(title="Reliability, bins of equal numbers of beats", xlim=(lowest, 101), ylim=(lowest, 101))
    axes.set(xlabel="mean probability of the label, %", ylabel="labels that are right, %")
    legend_below(axes)
    tidy(axes)


def _draw_risk_coverage(axes: Axes, curves: dict[str, dict | None]):
    styles = {"all": ("all beats", INK)} | {name: (f"{name} beats", CLASS_COLOURS[name]) for name in "SV"}
    for name, curve in curves.items():
        if curve is not None:
            title, colour = styles[name]
            label = f"{title}: area {curve['aurc']:.4f}, n = {curve['n']:,}"
            axes.plot(100 * np.array(curve["coverage"]), 100 * np.array(curve["risk"]), color=colour, label=label)
    axes.set(title="Abstaining: the least sure beats left out", xlim=(0, 101))
    axes.set(xlabel="share of these beats that is kept, %", ylabel="wrong among those kept, %")
    axes.set_ylim(bottom=0)
    legend_below(axes)
    tidy(axes)


def confidence_figure(path: str | Path, confidence: dict, title: str, synthetic: bool) -> Path:
    """What the probabilities are worth: reliability curve before and after temperature scaling, risk-coverage curves.

    confidence: as `confidence.confidence_report` makes it. title: should name mode, preset and seed.
    """
    figure = new_figure(5.4, title, synthetic)
    left, right = figure.subplots(1, 2)
    _draw_reliability(left, confidence)
    _draw_risk_coverage(right, confidence["risk_coverage"])
    return save(figure, path, synthetic)


NOISE_CURVES = (
    ("S F1", ("diagnostic", "S", "f1"), CLASS_COLOURS["S"], "s-"),
    ("S F1, causal", ("causal", "S", "f1"), CLASS_COLOURS["S"], "s--"),
    ("V F1", ("diagnostic", "V", "f1"), CLASS_COLOURS["V"], "^-"),
    ("V F1, causal", ("causal", "V", "f1"), CLASS_COLOURS["V"], "^--"),
    ("SVEB F1, causal, R-peaks detected", ("chain", "sveb", "f1"), CLASS_COLOURS["S"], "s:"),
    ("VEB F1, causal, R-peaks detected", ("chain", "veb", "f1"), CLASS_COLOURS["V"], "^:"),
    ("QRS Se", ("chain", "qrs", "se"), BLUE, "o-"),
    ("QRS +P", ("chain", "qrs", "ppv"), INK, "o--"),
)


def noise_figure(path: str | Path, report: dict, synthetic: bool = False) -> Path:
    """Scores in noise against the signal-to-noise ratio, a panel a kind of noise; without noise at the left.

    report: as `python -m experiments noise-stress` writes it.
    """
    kinds, levels = report["kinds"], [f"{level:g}" for level in report["levels_db"]]
    title = f"Noise stress test, {report['preset']} preset, noisy stretches of {len(report['records'])} records"
    figure = new_figure(4.6, title, synthetic)
    panels = figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
    for axes, (kind, found) in zip(panels, kinds.items()):
        for name, (part, beats, rate), colour, line in NOISE_CURVES:
            steps = [found["none"], *(found[level] for level in levels)]
            values = [step["noisy"][part][beats][rate] for step in steps]
            shown = [np.nan if value is None else 100 * value for value in values]
            axes.plot(range(len(steps)), shown, line, color=colour, markersize=4, linewidth=1, label=name)
        axes.set_xticks(range(len(levels) + 1), ["none", *levels])
        axes.set(title=kind, xlabel="SNR, dB", ylim=(0, 102))
        tidy(axes)
    panels[0].set_ylabel("%")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4, frameon=False, fontsize=LEGEND_POINTS)
    return save(figure, path, synthetic)
