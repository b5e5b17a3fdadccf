"""Figures of a run, as PNG files at README width.

Every function draws on its own `Figure` (no pyplot, no global state), writes the file whole or not at all, and returns
its path. Classes keep one colour (Okabe and Ito's palette, told apart by colour-blind readers) and one marker shape in
every figure. `synthetic=True` stamps SYNTHETIC across the figure and into its title.
"""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import auc, roc_curve

from config import CLASSES
from deep_ecg.system.files import atomic_file
from deep_ecg.system.text import UNDEFINED

DPI = 130
WIDTH_IN = 10.0
BLUE, GREEN, VERMILLION, PURPLE, ORANGE = "#0072B2", "#009E73", "#D55E00", "#CC79A7", "#E69F00"
SKY, RED, GREY, INK = "#56B4E9", "#C8201E", "#8A8A8A", "#222222"
CLASS_COLOURS = dict(zip(CLASSES, (BLUE, GREEN, VERMILLION, PURPLE, ORANGE)))
CLASS_MARKERS = dict(zip(CLASSES, ("o", "s", "^", "D", "P")))
CLASS_MARKER_SIZES = dict(zip(CLASSES, (7, 7, 9, 7, 9)))  # points; a triangle and a cross look smaller than a disc
ROC_LOWEST_RATE = 1e-4


def _figure(height_in: float, title: str, synthetic: bool) -> Figure:
    figure = Figure(figsize=(WIDTH_IN, height_in), dpi=DPI, layout="constrained", facecolor="white")
    title = f"SYNTHETIC data: {title}" if synthetic else title
    figure.suptitle(title, fontsize=12, color=INK, parse_math=False)  # a record's name may hold $ and backslashes
    return figure


def _save(figure: Figure, path: str | Path, synthetic: bool) -> Path:
    if synthetic:
        size = min(84, 18 * figure.get_figheight())
        figure.text(
            0.5, 0.5, "SYNTHETIC", fontsize=size, fontweight="bold", color=VERMILLION, alpha=0.28,
            rotation=20, ha="center", va="center", zorder=10, in_layout=False,
        )  # fmt: skip
    with atomic_file(Path(path)) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI)
    return Path(path)


def _tidy(axes: Axes, grid_axis: str = "both"):
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    if grid_axis:
        axes.grid(axis=grid_axis, color="#DDDDDD", linewidth=0.6)


def signal_figure(
    path: str | Path,
    raw_mv: np.ndarray,
    clean_mv: np.ndarray,
    fs_hz: float,
    start_s: float,
    record: str,
    lead: str,
    synthetic: bool,
) -> Path:
    """A strip of ECG before (red) and after (blue) filtering; both panels span the same number of millivolts.

    raw_mv, clean_mv: (n,) the same strip in mV at `fs_hz`; its first sample lies `start_s` seconds into the record.
    """
    raw_mv, clean_mv = np.asarray(raw_mv), np.asarray(clean_mv)
    time_s = start_s + np.arange(len(raw_mv)) / fs_hz
    title = f"Record {record}, {lead}, {len(raw_mv) / fs_hz:.1f} s from {start_s:.1f} s (n = {len(raw_mv):,} samples)"
    figure = _figure(5.0, title, synthetic)
    panels = figure.subplots(2, 1, sharex=True)
    half_span_mv = 0.55 * max(np.ptp(raw_mv), np.ptp(clean_mv), 0.1)
    for axes, signal_mv, name, colour in zip(panels, (raw_mv, clean_mv), ("raw", "cleaned"), (RED, BLUE)):
        axes.plot(time_s, signal_mv, color=colour, linewidth=0.9)
        middle_mv = (signal_mv.min() + signal_mv.max()) / 2
        axes.set_ylim(middle_mv - half_span_mv, middle_mv + half_span_mv)
        axes.set_ylabel(f"{name}, mV", color=colour)
        _tidy(axes)
    panels[-1].set_xlim(time_s[0], time_s[-1])
    panels[-1].set_xlabel("time in the record, s")
    return _save(figure, path, synthetic)


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
    axes.set(title="Loss", ylabel="loss")
    axes.margins(y=0.12)
    axes.set_ylim(bottom=0)
    _epoch_axis(axes, epochs)
    axes.legend(fontsize=8, framealpha=0.9)
    _tidy(axes)


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
            last = values[np.isfinite(values)][-1]
            label += f", last {last:.1f} %"
            axes.plot(epochs, values, marker=marker, color=colour, markersize=4, label=label)
    axes.set(title="Validation (held-out training patients)", ylabel="%", ylim=(0, 102))
    _epoch_axis(axes, epochs)
    if axes.lines:
        axes.legend(fontsize=8, loc="lower right", framealpha=0.9)
    _tidy(axes)


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
    axes.legend(fontsize=8, loc="lower left", bbox_to_anchor=(0.03, 0.08), framealpha=0.9)
    _tidy(axes)


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

    history: one dict per epoch (epoch, train_loss, val_loss, val_accuracy, val_s_f1, val_v_f1; None allowed).
    confusion: (5, 5) counts, rows reference. train_curve, test_curve: (labels (n,), proba (n, 5)) or None.
    title: should name mode, preset and seed.
    """
    figure = _figure(8.2, title, synthetic)
    panels = figure.subplots(2, 2)
    _draw_losses(panels[0, 0], history)
    _draw_validation(panels[0, 1], history)
    _draw_confusion(panels[1, 0], confusion)
    curves = {"training": train_curve, "test": test_curve}
    _draw_roc(panels[1, 1], {name: curve for name, curve in curves.items() if curve is not None and len(curve[0])})
    return _save(figure, path, synthetic)


RING = {"marker": "o", "markersize": 16, "markerfacecolor": "none", "markeredgecolor": INK, "markeredgewidth": 1.6}


def _class_style(name: str) -> dict:
    return {"marker": CLASS_MARKERS[name], "markersize": CLASS_MARKER_SIZES[name], "color": CLASS_COLOURS[name]}


def _draw_beat(axes: Axes, peak_s: float, peak_mv: float, label: int, reference: int | None):
    """Marker on the R peak and class letter above the trace; a wrong one gets a ring and the boxed reference."""
    name = CLASSES[label]
    above = axes.get_xaxis_transform()  # x in seconds, y as a fraction of the axes
    centred = {"transform": above, "ha": "center", "va": "center"}
    axes.plot(peak_s, peak_mv, markeredgecolor="white", markeredgewidth=0.6, **_class_style(name))
    axes.text(peak_s, 0.955, name, color=CLASS_COLOURS[name], fontsize=11, fontweight="bold", **centred)
    if reference is not None and reference != label:
        axes.plot(peak_s, peak_mv, **RING)
        box = {"boxstyle": "round,pad=0.2", "facecolor": "white", "edgecolor": INK}
        letter = CLASSES[reference] if reference >= 0 else "none"
        axes.text(peak_s, 0.855, letter, color=INK, fontsize=9, bbox=box, **centred)


def _class_legend(figure: Figure, labels: np.ndarray, any_wrong: bool):
    present = [name for i, name in enumerate(CLASSES) if i in labels]
    handles = [Line2D([], [], linestyle="", label=name, **_class_style(name)) for name in present]
    if any_wrong:
        handles.append(Line2D([], [], linestyle="", label="differs from the reference (boxed letter)", **RING))
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9)


def _predictions_title(record: str, mode: str, start_s: float, end_s: float, beats: int, agree: int | None) -> str:
    run = f"Record {record}, {mode} mode" if mode else f"Record {record}"
    verdict = "no reference" if agree is None else f"{agree} agree with the reference"
    return f"{run}, {end_s - start_s:.1f} s from {start_s:.1f} s: n = {beats} beats, {verdict}"


def predictions_figure(
    path: str | Path,
    signal_mv: np.ndarray,
    fs_hz: float,
    start_s: float,
    peaks_s: np.ndarray,
    predicted: np.ndarray,
    reference: np.ndarray | None,
    record: str,
    synthetic: bool,
    mode: str = "",
) -> Path:
    """A strip of live beat labels in two rows: cleaned signal, R peaks by class, wrong labels ringed.

    signal_mv: (n,) in mV at `fs_hz`; its first sample lies `start_s` seconds into the record. peaks_s: (k,) R peaks in
    seconds of the record; those outside the strip are not drawn. predicted: (k,) class indices. reference: (k,) class
    indices, -1 where no reference beat belongs to the peak; None where the record has no reference.
    """
    signal_mv, peaks_s, predicted = np.asarray(signal_mv), np.asarray(peaks_s, float), np.asarray(predicted, int)
    reference = None if reference is None else np.asarray(reference, int)
    end_s = start_s + len(signal_mv) / fs_hz
    shown = np.flatnonzero((peaks_s >= start_s) & (peaks_s < end_s))
    agree = None if reference is None else int((predicted[shown] == reference[shown]).sum())
    figure = _figure(5.4, _predictions_title(record, mode, start_s, end_s, len(shown), agree), synthetic)
    panels = figure.subplots(2, 1, sharey=True)

    time_s = start_s + np.arange(len(signal_mv)) / fs_hz
    row_s, span_mv = (end_s - start_s) / 2, max(np.ptp(signal_mv), 0.1)
    for row, axes in enumerate(panels):
        in_row = (time_s - start_s) // row_s == row
        axes.plot(time_s[in_row], signal_mv[in_row], color=GREY, linewidth=0.9, zorder=1)
        first_s = start_s + row * row_s
        axes.set_xlim(first_s - 0.015 * row_s, first_s + 1.015 * row_s)  # room for letters at the ends
        axes.set_ylabel("cleaned, mV")
        _tidy(axes)
    panels[0].set_ylim(signal_mv.min() - 0.1 * span_mv, signal_mv.max() + 0.42 * span_mv)
    panels[1].set_xlabel("time in the record, s")
    for i in shown:
        axes = panels[int(peaks_s[i] >= start_s + row_s)]
        peak_mv = np.interp(peaks_s[i], time_s, signal_mv)
        _draw_beat(axes, peaks_s[i], peak_mv, predicted[i], None if reference is None else reference[i])
    _class_legend(figure, predicted[shown], agree is not None and agree < len(shown))
    return _save(figure, path, synthetic)


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
    figure = _figure(max(height_in, 3.6), title, synthetic)
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
    return _save(figure, path, synthetic)


LOOK_AHEAD_CURVES = (("v_f1", "V", CLASS_COLOURS["V"]), ("s_f1", "S", CLASS_COLOURS["S"]))


def look_ahead_figure(path: str | Path, report: dict, synthetic: bool = False) -> Path:
    """F1 of S and V against the look-ahead of the causal mode, the diagnostic mode as lines across.

    report: "causal" maps look-aheads in ms (text) to scores, "diagnostic" holds scores; the means of s_f1 and v_f1 are
    fractions.
    """
    figure = _figure(4.6, "Causal mode: what waiting after the R-peak buys (DS1, four folds by patient)", synthetic)
    axes = figure.subplots()
    look_aheads_ms = [float(ms) for ms in report["causal"]]
    for key, name, colour in LOOK_AHEAD_CURVES:
        values = [100 * scores[key]["mean"] for scores in report["causal"].values()]
        axes.plot(look_aheads_ms, values, marker=CLASS_MARKERS[name], color=colour, label=f"{name} F1, causal")
        level = 100 * report["diagnostic"][key]["mean"]
        axes.axhline(level, color=colour, linestyle="--", linewidth=1, label=f"{name} F1, diagnostic: {level:.1f} %")
    axes.set(xlabel="look-ahead after R, ms", ylabel="%", ylim=(0, 102))
    axes.legend(fontsize=8, loc="lower right", framealpha=0.9)
    _tidy(axes)
    return _save(figure, path, synthetic)


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
            axes.plot(*place, linestyle="", markeredgecolor="white", label=label, **_class_style(name))
    axes.plot([0, 100], [0, 100], ":", color=GREY, label="perfect")
    lowest = min([50.0, *(value for line in axes.lines[:-1] for value in line.get_data()[1])])
    axes.set(title="Reliability, bins of equal numbers of beats", xlim=(lowest, 101))
    axes.set_ylim(lowest - 30, 101)  # room for the legend below every point
    axes.set(xlabel="mean probability of the label, %", ylabel="labels that are right, %")
    axes.legend(fontsize=8, loc="lower right", framealpha=0.9)
    _tidy(axes)


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
    axes.legend(fontsize=8, loc="upper left", framealpha=0.9)
    _tidy(axes)


def confidence_figure(path: str | Path, confidence: dict, title: str, synthetic: bool) -> Path:
    """What the probabilities are worth: reliability curve before and after temperature scaling, risk-coverage curves.

    confidence: as `confidence.confidence_report` makes it. title: should name mode, preset and seed.
    """
    figure = _figure(4.6, title, synthetic)
    left, right = figure.subplots(1, 2)
    _draw_reliability(left, confidence)
    _draw_risk_coverage(right, confidence["risk_coverage"])
    return _save(figure, path, synthetic)


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
    figure = _figure(4.6, title, synthetic)
    panels = figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
    for axes, (kind, found) in zip(panels, kinds.items()):
        for name, (part, beats, rate), colour, line in NOISE_CURVES:
            steps = [found["none"], *(found[level] for level in levels)]
            values = [step["noisy"][part][beats][rate] for step in steps]
            shown = [np.nan if value is None else 100 * value for value in values]
            axes.plot(range(len(steps)), shown, line, color=colour, markersize=4, linewidth=1, label=name)
        axes.set_xticks(range(len(levels) + 1), ["none", *levels])
        axes.set(title=kind, xlabel="SNR, dB", ylim=(0, 102))
        _tidy(axes)
    panels[0].set_ylabel("%")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return _save(figure, path, synthetic)
