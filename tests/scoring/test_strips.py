"""Strips of ECG: its paper, the beats on it with their RR intervals, and what they load."""

import subprocess
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure

from config import CLASSES
from deep_ecg.scoring import canvas, strips
from tests.support import ROOT
from tests.support.figures import FS_HZ, beat_strip, draw_predictions, draw_signal, overlapping

BOXED, RR = "boxed reference", "RR interval"


def kind_of(text) -> str:
    """What a text on the paper is: a class letter, a boxed reference, or an RR interval."""
    if text.get_text().isdigit():
        return RR
    return BOXED if text.get_color() == canvas.INK else "class"


def letters(axes) -> list[str]:
    """Class letters and boxed references as they were drawn, beat by beat."""
    return [text.get_text() for text in axes.texts if kind_of(text) != RR]


def lines_at(axes, vertical: bool) -> list[np.ndarray]:
    """Where the lines of the grid stand, in seconds or mV: those of 1 mm, then the stronger ones of 5 mm."""
    return [np.array([line[0][0 if vertical else 1] for line in grid.get_segments()]) for grid in axes.collections[
        0 if vertical else 1 :: 2
    ]]  # fmt: skip


@pytest.fixture(params=[draw_signal, draw_predictions])
def drawn(request, tmp_path, saved) -> Figure:
    request.param(tmp_path / "figure.png", False)
    return saved[0]


def test_the_paper_has_a_line_every_millimetre_and_a_stronger_one_every_five(drawn):
    """25 mm/s and 10 mm/mV: 1 mm is 0.04 s and 0.1 mV, 5 mm are 0.2 s and 0.5 mV."""
    for axes in drawn.axes:
        for vertical, steps in ((True, (0.04, 0.2)), (False, (0.1, 0.5))):
            for places, step in zip(lines_at(axes, vertical), steps):
                np.testing.assert_allclose(np.diff(places), step)
                np.testing.assert_allclose(places / step, np.round(places / step), atol=1e-6)
        pale, strong = (grid.get_color()[0] for grid in axes.collections[::2])
        assert strong[1] < pale[1]  # less green: a stronger red


def test_a_millimetre_is_as_long_along_time_as_along_voltage(drawn):
    for axes in drawn.axes:
        box = axes.get_window_extent()
        mm_s, mm_mv = (np.ptp(limits) for limits in (axes.get_xlim(), axes.get_ylim()))
        assert box.width / (25 * mm_s) == pytest.approx(box.height / (10 * mm_mv), rel=1e-3)
        assert box.width / (25 * mm_s) == pytest.approx(round(box.width / (25 * mm_s)), abs=1e-3)  # whole pixels


def test_the_scale_is_noted(drawn):
    assert "25 mm/s, 10 mm/mV" in drawn.axes[-1].get_xlabel()


def test_a_very_high_signal_is_drawn_at_a_lower_gain_that_is_noted(tmp_path, saved):
    """Of 20 mV 60 mm are filled at 2.5 mm/mV: at 5 they would be 100 mm."""
    signal_mv, peaks_s = beat_strip()
    labels = np.zeros(len(peaks_s), int)
    path = tmp_path / "figure.png"
    strips.predictions_figure(path, 20 * signal_mv, FS_HZ, 0.0, peaks_s, labels, None, "208", False)
    assert "25 mm/s, 2.5 mm/mV" in saved[0].axes[-1].get_xlabel()
    box = saved[0].axes[0].get_window_extent()
    assert box.width / (25 * 6) == pytest.approx(box.height / (2.5 * np.ptp(saved[0].axes[0].get_ylim())), rel=1e-3)


@pytest.mark.parametrize("seconds", [1.0, 4.0, 20.0, 120.0])
def test_strips_of_any_length_stay_within_the_picture(tmp_path, saved, seconds):
    signal_mv, peaks_s = beat_strip(seconds)
    labels = np.zeros(len(peaks_s), int)
    strips.predictions_figure(tmp_path / "figure.png", signal_mv, FS_HZ, 0.0, peaks_s, labels, None, "208", False)
    for axes in saved[0].axes:
        assert saved[0].bbox.x0 <= axes.get_window_extent().x0 and axes.get_window_extent().x1 <= saved[0].bbox.x1


def test_rr_intervals_stand_between_the_beats_in_ms(tmp_path, saved):
    """Peaks at 0.5, 1.25, 3.0 and 3.1 s: 750 and 1750 ms; 100 ms have no room. The second row begins at 6 s."""
    signal_mv, _ = beat_strip()
    peaks_s = np.array([0.5, 1.25, 3.0, 3.1, 7.0, 7.3])
    labels = np.zeros(len(peaks_s), int)
    strips.predictions_figure(tmp_path / "figure.png", signal_mv, FS_HZ, 0.0, peaks_s, labels, None, "208", False)
    rows = [[text for text in axes.texts if kind_of(text) == RR] for axes in saved[0].axes]
    assert [[text.get_text() for text in row] for row in rows] == [["750", "1750", "3900"], ["300"]]
    assert [text.get_position()[0] for text in rows[0]] == pytest.approx([0.875, 2.125, 5.05])
    assert "RR interval, ms" in saved[0].axes[-1].get_xlabel()


def test_an_rr_interval_that_is_none_is_not_told(tmp_path, saved):
    """Before the third peak signal was lost: of 750, 1750 and 3900 ms the second is left out."""
    signal_mv, _ = beat_strip()
    peaks_s, known = np.array([0.5, 1.25, 3.0, 6.9]), np.array([False, True, False, True])
    labels = np.zeros(len(peaks_s), int)
    path = tmp_path / "figure.png"
    strips.predictions_figure(path, signal_mv, FS_HZ, 0.0, peaks_s, labels, None, "208", False, known=known)
    told = [text.get_text() for axes in saved[0].axes for text in axes.texts if kind_of(text) == RR]
    assert told == ["750", "3900"]


def test_an_rr_interval_into_the_next_row_stays_within_its_own(tmp_path, saved):
    signal_mv, _ = beat_strip()
    peaks_s, labels = np.array([5.6, 6.38]), np.zeros(2, int)  # their middle is 10 ms from the end of the first row
    strips.predictions_figure(tmp_path / "figure.png", signal_mv, FS_HZ, 0.0, peaks_s, labels, None, "208", False)
    text = next(text for text in saved[0].axes[0].texts if kind_of(text) == RR)
    assert text.get_text() == "780"
    assert text.get_window_extent().x1 <= saved[0].axes[0].get_window_extent().x1


def test_signal_panels_share_time_and_scale(tmp_path, saved):
    draw_signal(tmp_path / "figure.png", False)
    raw, clean = saved[0].axes
    assert np.ptp(raw.get_ylim()) == pytest.approx(np.ptp(clean.get_ylim()))
    assert raw.get_xlim() == clean.get_xlim() == pytest.approx((60.0, 72.0), abs=0.01)
    assert "208" in saved[0].get_suptitle() and "n = 4,320" in saved[0].get_suptitle()


def test_predictions_letters_rings_and_rows(tmp_path, saved):
    signal_mv, peaks_s = beat_strip()
    predicted, reference = np.zeros(len(peaks_s), int), np.zeros(len(peaks_s), int)
    predicted[2], reference[3], reference[-1] = 2, 1, -1
    outside = np.append(peaks_s, [-1.0, 12.0]) + 100.0
    predicted, reference = np.append(predicted, [4, 4]), np.append(reference, [0, 0])
    strips.predictions_figure(
        tmp_path / "figure.png", signal_mv, FS_HZ, 100.0, outside, predicted, reference, "208", False, mode="causal"
    )
    figure = saved[0]
    first, second = figure.axes
    assert letters(first) == ["N", "N", "V", "N", "N", "S", "N", "N", "N", "N"]  # 8 beats in 6 s, 2 boxed references
    assert [text.get_text() for text in first.texts if kind_of(text) == BOXED] == ["N", "S"]
    assert letters(second) == ["N"] * 8 + ["none"]
    rings = [line for axes in figure.axes for line in axes.lines if line.get_markersize() == strips.RING["markersize"]]
    assert [line.get_xdata()[0] for line in rings] == pytest.approx([102.0, 102.75, 111.75])
    assert figure.get_suptitle().endswith("n = 16 beats, 13 agree with the reference")
    assert "causal mode" in figure.get_suptitle()
    assert [text.get_text() for text in figure.legends[0].get_texts()[:2]] == ["N", "V"]
    for axes in figure.axes:
        assert overlapping(figure, list(axes.texts)) == []


@pytest.mark.parametrize("name", ["$", "a$b$", "$\\frac{$", "a_b^c%{}"])
def test_a_record_of_any_name_is_drawn_by_that_name(tmp_path, saved, name):
    """What stands between two $ would be a formula to matplotlib."""
    signal_mv, peaks_s = beat_strip()
    labels = np.zeros(len(peaks_s), int)
    strips.predictions_figure(
        tmp_path / "figure.png", signal_mv, FS_HZ, 0.0, peaks_s, labels, None, name, False, mode="causal"
    )
    strips.signal_figure(tmp_path / "signal.png", signal_mv, signal_mv, FS_HZ, 0.0, name, name, False)
    assert len(saved) == 2 and all(name in figure.get_suptitle() for figure in saved)
    assert not any(figure._suptitle.get_parse_math() for figure in saved)


def test_predictions_without_reference_or_beats(tmp_path, saved):
    signal_mv, peaks_s = beat_strip()
    path = tmp_path / "figure.png"
    strips.predictions_figure(path, signal_mv, FS_HZ, 0.0, peaks_s, np.zeros(16, int), None, "208", False)
    strips.predictions_figure(path, signal_mv, FS_HZ, 0.0, [], [], None, "208", False)
    assert saved[0].get_suptitle().endswith("n = 16 beats, no reference")
    assert saved[1].legends == []


def test_predictions_of_a_real_record(tmp_path, saved, mitdb):
    import wfdb

    classes = {"N": 0, "V": 2, "F": 3}
    record, marks = wfdb.rdrecord(str(mitdb / "208"), sampto=7200), wfdb.rdann(str(mitdb / "208"), "atr", sampto=7199)
    beats = [(s / FS_HZ, classes[symbol]) for s, symbol in zip(marks.sample, marks.symbol) if symbol in classes]
    peaks_s, labels = zip(*beats)
    signal_mv = record.p_signal[:, record.sig_name.index("MLII")]
    strips.predictions_figure(tmp_path / "208.png", signal_mv, FS_HZ, 0.0, peaks_s, labels, labels, "208", False)
    shown = [letter for axes in saved[0].axes for letter in letters(axes)]
    assert shown == [CLASSES[label] for label in labels] and {"N", "V"} <= set(shown)
    assert all(overlapping(saved[0], list(axes.texts)) == [] for axes in saved[0].axes)


LOADED = """
import sys
import deep_ecg.labelling.predict
import deep_ecg.scoring.strips
print(*{"sklearn", "torch", "matplotlib.pyplot"} & set(sys.modules))
"""


def test_labelling_records_and_drawing_them_loads_neither_sklearn_nor_torch_nor_pyplot():
    done = subprocess.run(
        [sys.executable, "-c", LOADED], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "\n", "")
