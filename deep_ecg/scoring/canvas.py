"""What every figure has in common: its width, the colours and shapes of the classes, the SYNTHETIC stamp.

Figures are drawn on a `Figure` of their own (no pyplot, no global state) and written whole or not at all. Classes keep
one colour (Okabe and Ito's palette, told apart by colour-blind readers) and one marker shape in every figure.
"""

from pathlib import Path
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from config import CLASSES
from deep_ecg.system.files import atomic_file

DPI = 130
WIDTH_IN = 10.0  # 1300 pixels: the width of a README
TITLE_POINTS, LEGEND_POINTS = 12, 8
BELOW_LABELS_POINTS = 32  # from an axis down to below its ticks' labels and its own
BLUE, GREEN, VERMILLION, PURPLE, ORANGE = "#0072B2", "#009E73", "#D55E00", "#CC79A7", "#E69F00"
SKY, RED, GREY, INK = "#56B4E9", "#C8201E", "#8A8A8A", "#222222"
CLASS_COLOURS = dict(zip(CLASSES, (BLUE, GREEN, VERMILLION, PURPLE, ORANGE)))
CLASS_MARKERS = dict(zip(CLASSES, ("o", "s", "^", "D", "P")))
CLASS_MARKER_SIZES = dict(zip(CLASSES, (7, 7, 9, 7, 9)))  # points; a triangle and a cross look smaller than a disc


def class_style(name: str) -> dict[str, Any]:
    """The marker of a class, as arguments of `Axes.plot`."""
    return {"marker": CLASS_MARKERS[name], "markersize": CLASS_MARKER_SIZES[name], "color": CLASS_COLOURS[name]}


def new_figure(
    height_in: float, title: str, synthetic: bool, layout: Literal["constrained"] | None = "constrained"
) -> Figure:
    """A white figure of README width with its title, which begins with SYNTHETIC where it has to.

    Without a `layout`, whoever draws places the panels and leaves room for the title.
    """
    figure = Figure(figsize=(WIDTH_IN, height_in), dpi=DPI, layout=layout, facecolor="white")
    title = f"SYNTHETIC data: {title}" if synthetic else title
    place: dict[str, Any] = {} if layout else {"y": 1 - TITLE_POINTS / 72 / height_in, "va": "center"}
    # A record's name, which is in some titles, may hold $ and backslashes: they are no formula.
    figure.suptitle(title, fontsize=TITLE_POINTS, color=INK, parse_math=False, **place)
    return figure


def save(figure: Figure, path: str | Path, synthetic: bool) -> Path:
    """Writes `figure` as PNG, a synthetic one stamped across; returns its path."""
    if synthetic:
        size = min(84, 18 * figure.get_figheight())
        figure.text(
            0.5, 0.5, "SYNTHETIC", fontsize=size, fontweight="bold", color=VERMILLION, alpha=0.28,
            rotation=20, ha="center", va="center", zorder=10, in_layout=False,
        )  # fmt: skip
    with atomic_file(Path(path)) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI)
    return Path(path)


def tidy(axes: Axes):
    """Leaves of the frame the two axes alone, and draws a pale grid behind the curves."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    axes.grid(color="#DDDDDD", linewidth=0.6)


def legend_below(axes: Axes, columns: int = 1):
    """A legend under the axis and its labels, where it covers no curve."""
    down = ScaledTranslation(0, -BELOW_LABELS_POINTS / 72, axes.figure.dpi_scale_trans)
    axes.legend(
        loc="upper center", bbox_to_anchor=(0.5, 0), bbox_transform=axes.transAxes + down, borderaxespad=0,
        ncols=columns, frameon=False, fontsize=LEGEND_POINTS,
    )  # fmt: skip
