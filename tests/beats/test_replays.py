"""Replays of records: what a cycle keeps when it is moved, which labels follow from it, and whose beats go where."""

import dataclasses
import shutil

import numpy as np
import pytest

import data_loader
from config import CLASSES, Config
from data_loader import FOLDS, load_replays
from deep_ecg.beats import replays
from deep_ecg.beats.arrays import concatenate
from deep_ecg.beats.inputs import CHANNELS, FEATURES
from deep_ecg.beats.replays import (
    N,
    Rhythms,
    S,
    condensed,
    donor_beats,
    new_intervals,
    replay,
    retime,
    scale_p_waves,
)
from deep_ecg.beats.strip import Strip, read_strip
from deep_ecg.records.database import Source
from deep_ecg.records.physionet import expected_files
from tests.support.records import assert_equal

VENTRICULAR, FUSION = replays.V, replays.F
FS_HZ = 360.0
QRS_MV, P_MV, V_MV = 1.0, 0.15, 2.0
EARLY = ("isolated", "patterned", "runs", "dense")  # rhythms with early beats
NOT_EARLY = tuple(name for name in replays.RHYTHMS.shares if name not in EARLY)


def drawn(rr_s, labels=None, leads=((1.0, 1.0), (0.5, -0.4)), unit_mv=1.0) -> Strip:
    """Beats at intervals `rr_s` (the first after the record's start), with triangles for waves, on a line at 0.

    N and S beats have a P wave of P_MV 180 to 80 ms before R and a QRS of QRS_MV and 72 ms, V beats a deflection of
    V_MV and 180 ms; `leads` are the heights of N and of V beats in each lead.
    """
    peaks = np.round(np.cumsum(rr_s) * FS_HZ).astype(np.int64)
    labels = np.zeros(len(peaks), np.int64) if labels is None else np.array(labels, np.int64)
    signals = np.zeros((int(peaks[-1] + 1.2 * FS_HZ), len(leads)))
    for peak, label in zip(peaks, labels):
        waves = [(0, 32, V_MV)] if label == VENTRICULAR else [(-47, 18, P_MV), (0, 13, QRS_MV)]
        for centre, half_width, height_mv in waves:
            span = np.arange(peak + centre - half_width, peak + centre + half_width + 1)
            triangle = height_mv * unit_mv * (1 - np.abs(span - peak - centre) / half_width)
            inside = (span >= 0) & (span < len(signals))
            gains = [lead[int(label == VENTRICULAR)] for lead in leads]
            signals[span[inside]] += triangle[inside, None] * gains
    return Strip(signals, FS_HZ, peaks, labels, np.zeros(len(peaks), bool))


def with_v(count: int = 80, every: int = 9, **options) -> Strip:
    """A regular rhythm in which every ninth beat is a V beat with a pause after it."""
    ventricular = np.arange(count) % every == every - 1
    rr_s = np.where(ventricular, 0.6, np.where(np.pad(ventricular, (1, 0))[:-1], 1.0, 0.8))
    return drawn(rr_s, np.where(ventricular, VENTRICULAR, N), **options)


def only(rhythm: str) -> Rhythms:
    """That rhythm alone, in one stretch."""
    return Rhythms({rhythm: 1.0}, usual_beats=(10_000, 10_001))


def no_coupling(count: int) -> np.ndarray:
    return np.full((count, 2), np.nan)


def regular(count: int = 120, rr_s: float = 0.8) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Arguments of `new_intervals`: a regular rhythm of N beats."""
    return np.r_[np.nan, np.full(count - 1, rr_s)], np.zeros(count, np.int64), no_coupling(count)


def generators(count: int = 12):
    return [np.random.default_rng(seed) for seed in range(count)]


# Moving cycles -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def noise() -> tuple[np.ndarray, np.ndarray]:
    """A signal whose every sample is its own, and R-peaks at irregular intervals of 0.3 to 1.4 s."""
    rng = np.random.default_rng(0)
    peaks = 200 + np.cumsum(np.r_[0, rng.integers(108, 500, 59)])
    return rng.normal(size=peaks[-1] + 600), peaks


def test_r_peaks_lie_at_the_intervals_asked_for_and_qrs_samples_are_kept(noise):
    signal_mv, peaks = noise
    new = np.r_[0, np.random.default_rng(1).integers(98, 900, len(peaks) - 1)]
    moved_mv, moved = retime(signal_mv, peaks, new, FS_HZ)
    assert moved[0] == peaks[0] and np.array_equal(np.diff(moved), new[1:])
    qrs = np.arange(-29, 30)  # 80 ms each side
    np.testing.assert_allclose(moved_mv[moved[:, None] + qrs], signal_mv[peaks[:, None] + qrs], atol=1e-9)
    assert np.isfinite(moved_mv).all() and len(moved_mv) > moved[-1] + 29


def test_unchanged_intervals_give_the_signal_back(noise):
    signal_mv, peaks = noise
    moved_mv, moved = retime(signal_mv, peaks, np.diff(peaks, prepend=peaks[0]), FS_HZ)
    assert np.array_equal(moved, peaks)
    end = peaks[-1] + 144  # 0.4 s after the last R
    np.testing.assert_allclose(moved_mv[:end], signal_mv[:end], atol=1e-9)


def test_where_there_is_room_p_qrs_and_t_are_moved_as_a_whole(noise):
    """Intervals of 0.9 s and more leave room for 0.24 s before R and 0.40 s after it."""
    peaks = 400 + 400 * np.arange(20)
    signal_mv = noise[0][: peaks[-1] + 600]
    new = np.r_[0, np.random.default_rng(2).integers(330, 700, 19)]
    moved_mv, moved = retime(signal_mv, peaks, new, FS_HZ)
    cycle = np.arange(-86, 144)
    np.testing.assert_allclose(moved_mv[moved[:, None] + cycle], signal_mv[peaks[:, None] + cycle], atol=1e-9)
    assert np.array_equal(moved_mv[: peaks[0] - 87], signal_mv[: peaks[0] - 87])  # what lies before the first beat


def test_no_wave_is_shown_twice_or_backwards():
    """Of a ramp, every sample is at least the one before it, whatever the intervals."""
    peaks = 200 + np.cumsum(np.r_[0, np.random.default_rng(3).integers(60, 500, 40)])
    new = np.r_[0, np.random.default_rng(4).integers(60, 900, 40)]
    moved_mv, _ = retime(np.arange(peaks[-1] + 600.0), peaks, new, FS_HZ)
    assert (np.diff(moved_mv) >= 0).all()


# P waves -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [0.0, 0.5, 1.0, 2.0, -1.0])
def test_a_drawn_p_wave_is_scaled_above_its_line(factor):
    """A triangle on a sloping line: what is left of it is the line and `factor` of the triangle."""
    strip = drawn([1.0, 0.9, 0.9])
    line_mv = 0.001 * np.arange(len(strip.leads_mv))
    p_only = strip.leads_mv[:, 0] * 0
    for peak in strip.peaks[1:2]:
        p_only[peak - 65 : peak - 28] = strip.leads_mv[peak - 65 : peak - 28, 0]
    scaled_mv = scale_p_waves(strip.leads_mv[:, 0] + line_mv, strip.peaks, np.array([1.0, factor, 1.0]), FS_HZ)
    expected_mv = strip.leads_mv[:, 0] + line_mv + (factor - 1) * p_only
    assert p_only.max() == pytest.approx(P_MV)
    np.testing.assert_allclose(scaled_mv, expected_mv, atol=1e-12)


def test_a_p_wave_before_the_record_is_left_alone():
    strip = drawn([0.2, 0.9])
    signal_mv = strip.leads_mv[:, 0]
    assert np.array_equal(scale_p_waves(signal_mv, strip.peaks, np.array([0.0, 1.0]), FS_HZ), signal_mv)


def away_from_qrs(strip: Strip) -> np.ndarray:
    """The signal of `strip` without 36 ms each side of R."""
    near = (np.abs(np.arange(len(strip.leads_mv))[:, None] - strip.peaks) <= 13).any(axis=1)
    return strip.leads_mv[~near, 0]


def test_fibrillating_beats_are_normal_without_p_waves(monkeypatch):
    """The fibrillatory waves left out, nothing but QRS complexes remains."""
    monkeypatch.setattr(replays, "_fibrillatory_waves", lambda *arguments: 0)
    strip = drawn([0.8] * 100, leads=((1.0, 1.0),))
    again = replays._retimed(strip, no_coupling(100), np.random.default_rng(0), only("fibrillation"))
    assert set(again.labels) == {N}
    assert np.abs(away_from_qrs(again)).max() < 1e-9
    again = replays._retimed(strip, no_coupling(100), np.random.default_rng(0), only("sinus"))
    assert np.abs(away_from_qrs(again)).max() == pytest.approx(P_MV, rel=0.01)


def test_fibrillatory_waves_are_of_4_to_9_hz_and_only_where_the_beats_fibrillate():
    peaks = 300 * np.arange(1, 101)
    fibrillating = np.arange(100) >= 50
    signal_mv = np.sin(np.arange(31_000) / 20)
    waves_mv = replays._fibrillatory_waves(peaks, fibrillating, signal_mv, FS_HZ, np.random.default_rng(0))
    assert not waves_mv[: peaks[49]].any() and not waves_mv[peaks[-1] + 1 :].any()
    power = np.abs(np.fft.rfft(waves_mv[peaks[49] : peaks[-1]])) ** 2
    hz = np.fft.rfftfreq(peaks[-1] - peaks[49], 1 / FS_HZ)
    assert power[(hz > 3) & (hz < 10.5)].sum() > 0.9 * power.sum()
    assert 0.005 * 2 < waves_mv[peaks[49] : peaks[-1]].std() < 0.07 * 2  # of the signal's 2 mV


def test_flutter_waves_are_as_many_as_said_between_two_beats_and_take_the_place_of_p_waves(monkeypatch):
    """Beats 300 samples apart: 3 waves of 100 samples each, 3.6 a second."""
    peaks = 300 * np.arange(1, 101)
    waves = np.where(np.arange(100) >= 50, 3, 0)
    signal_mv = np.sin(np.arange(31_000) / 20)
    waves_mv = replays._flutter_waves(peaks, waves, signal_mv, np.random.default_rng(0))
    assert not waves_mv[: peaks[49]].any() and not waves_mv[peaks[-1] + 1 :].any()
    inside_mv = waves_mv[peaks[49] + 1 : peaks[-1] + 1]
    np.testing.assert_allclose(inside_mv[100:], inside_mv[:-100], atol=1e-9)
    assert 0.005 * 2 < inside_mv.std() < 0.1 * 2  # of the signal's 2 mV
    monkeypatch.setattr(replays, "_flutter_waves", lambda *arguments: 0)
    strip = drawn([0.8] * 100, leads=((1.0, 1.0),))
    again = replays._retimed(strip, no_coupling(100), np.random.default_rng(0), only("flutter"))
    assert set(again.labels) == {N}
    assert np.abs(away_from_qrs(again)[again.peaks[1] :]).max() < 1e-9


# Rhythms and labels --------------------------------------------------------------------------------------------------


def test_the_rhythms_are_taken_with_certainty_in_all():
    assert sum(replays.RHYTHMS.shares.values()) == pytest.approx(1)


@pytest.mark.parametrize("rhythm", EARLY)
def test_what_is_called_s_comes_early(rhythm):
    for rng in generators():
        new_s, early, fibrillating, waves = new_intervals(*regular(), rng, only(rhythm))
        assert early.any() and not fibrillating.any() and not waves.any()
        usual_s = np.median(new_s[1:][~early[1:]])
        assert (new_s[early] < usual_s).all()
        assert new_s[early].max() < 0.95 * usual_s


@pytest.mark.parametrize("rhythm", NOT_EARLY)
def test_the_other_rhythms_make_no_s(rhythm):
    for rng in generators():
        new_s, early, fibrillating, waves = new_intervals(*regular(), rng, only(rhythm))
        assert not early.any()
        assert fibrillating.all() if rhythm == "fibrillation" else not fibrillating.any()
        assert waves[1:].all() if rhythm == "flutter" else not waves.any()


def test_patterned_is_bigeminy_trigeminy_or_quadrigeminy():
    periods = set()
    for rng in generators(20):
        _, early, *_ = new_intervals(*regular(), rng, only("patterned"))
        periods |= set(np.diff(np.flatnonzero(early)).tolist())
        assert len(set(np.diff(np.flatnonzero(early)))) == 1
    assert periods == {2, 3, 4}


def test_dense_holds_more_early_beats_than_others():
    assert np.mean([new_intervals(*regular(), rng, only("dense"))[1].mean() for rng in generators()]) > 0.5


@pytest.mark.parametrize(
    "rhythm, least, most", [("sinus", 0.005, 0.09), ("fibrillation", 0.1, 0.4), ("arrhythmia", 0.02, 0.2)]
)
def test_how_much_the_intervals_vary(rhythm, least, most):
    """Standard deviation over mean. A sine of 0.05 to 0.2 varies by 0.035 to 0.14, the breath by up to 0.06 more."""
    for rng in generators():
        intervals_s = new_intervals(*regular(400), rng, only(rhythm))[0][1:]
        assert least < intervals_s.std() / intervals_s.mean() < most


def test_pauses_are_single_and_long():
    for rng in generators():
        intervals_s = new_intervals(*regular(400), rng, only("pauses"))[0][1:]
        long = intervals_s > 1.3 * np.median(intervals_s)
        assert 0.01 < long.mean() < 0.15


def test_the_rhythm_as_recorded_is_the_recorded_one_at_another_rate():
    rr_s = np.r_[np.nan, np.tile([0.8, 0.8, 0.8, 0.8, 0.56, 1.0], 30), np.full(15, 0.8)]
    labels = np.where(rr_s == 0.56, S, N)
    for rng in generators():
        new_s, early, *_ = new_intervals(rr_s, labels, no_coupling(len(rr_s)), rng, only("own"))
        breath = 0.17  # of two neighbouring beats
        np.testing.assert_allclose(new_s[1:] / np.median(new_s[1:]), rr_s[1:] / 0.8, rtol=breath)
        assert not early.any()


def test_recorded_ectopic_beats_keep_their_own_prematurity():
    """A V beat at 0.7 of the usual interval with a pause of 1.35, in the middle of bigeminy of S beats."""
    rr_s, labels, coupling = regular()
    rr_s[60:62], labels[60] = [0.56, 1.08], VENTRICULAR
    for rng in generators():
        new_s, early, *_ = new_intervals(rr_s, labels, coupling, rng, only("patterned"))
        assert new_s[61] / new_s[60] == pytest.approx(1.35 / 0.7)
        assert not early[59:62].any()  # neither it nor its neighbours


def test_an_implanted_beat_has_the_coupling_drawn_for_it():
    rr_s, labels, coupling = regular()
    labels[60], coupling[60] = VENTRICULAR, (0.6, 1.3)
    new_s, *_ = new_intervals(rr_s, labels, coupling, np.random.default_rng(0), only("sinus"))
    assert new_s[61] / new_s[60] == pytest.approx(1.3 / 0.6)


def test_in_flutter_every_interval_holds_so_many_waves_of_one_length():
    """To within the spread of a sinus rhythm, and the breath of two neighbouring beats."""
    seen = set()
    for rng in generators(20):
        new_s, _, _, waves = new_intervals(*regular(), rng, only("flutter"))
        wave_s = new_s[1:] / waves[1:]
        np.testing.assert_allclose(wave_s, np.median(wave_s), rtol=0.2)
        seen |= set(waves[1:].tolist())
    assert seen == {2, 3, 4, 5}


def test_in_block_beats_are_dropped_and_the_others_keep_the_beat():
    """Intervals are one or two atrial ones; within Wenckebach cycles 1.12, 1.04 and so on, and 1.8 at their pause."""
    shares = []
    for rng in generators(20):
        intervals_s = new_intervals(*regular(400), rng, only("block"))[0][1:]
        atrial_s = np.percentile(intervals_s, 5)
        over = intervals_s / atrial_s
        assert not ((over > 1.45) & (over < 1.55)).any() and over.max() < 2.7
        shares.append((over > 1.5).mean())
    assert 0.2 < np.mean(shares) < 0.7 and np.ptp(shares) > 0.2


def test_wenckebach_intervals_shorten_up_to_a_pause_of_less_than_two():
    np.testing.assert_allclose(replays._wenckebach(4), [1.8, 1.12, 1 + 0.12 / np.e, 1 + 0.12 / np.e**2])


@pytest.mark.parametrize("rhythm", replays.RHYTHMS.shares)
def test_intervals_are_possible_and_gaps_stay_gaps(rhythm):
    """Flutter before beat 30: it keeps its place, and is not called early for it."""
    for rr_in_s in (0.2, 0.8, 2.9):
        rr_s, labels, coupling = regular(rr_s=rr_in_s)
        rr_s[30:50:2] = np.nan
        for rng in generators(6):
            new_s, early, *_ = new_intervals(rr_s, labels, coupling, rng, only(rhythm))
            assert np.array_equal(np.isnan(new_s), np.isnan(rr_s))
            assert (new_s[np.isfinite(new_s)] >= 0.27).all() and (new_s[np.isfinite(new_s)] <= 2.8).all()
            assert not early[np.isnan(rr_s)].any()


def test_early_beats_are_s_and_their_p_waves_differ():
    """The P waves of early beats are those of at most three other foci in the atria."""
    strip = drawn([0.9] * 120, leads=((1.0, 1.0),))
    again = replays._retimed(strip, no_coupling(120), np.random.default_rng(1), only("isolated"))
    early = again.labels == S
    assert set(again.labels) == {N, S} and 0.01 < early.mean() < 0.35
    p_mv = again.leads_mv[again.peaks - 47, 0]
    np.testing.assert_allclose(p_mv[~early], P_MV, rtol=0.1)
    assert 1 < len(set(p_mv[early].round(6))) <= 3
    assert p_mv[early].min() >= -P_MV and p_mv[early].max() <= 1.2 * P_MV
    intervals = np.diff(again.peaks, prepend=0)
    assert intervals[early].max() < np.median(intervals[~early])


# Ventricular and fusion beats of others ------------------------------------------------------------------------------


def test_donor_beats_are_in_units_of_their_patients_normal_qrs():
    """2 mV over 1 mV of two leads (1, 0.5 of it): 2 / sqrt(1.25) and -0.4 of that, whatever the recorder's gain."""
    for unit_mv in (1.0, 0.2, 3.0):
        beats = donor_beats(with_v(unit_mv=unit_mv))
        assert beats.shape[1:] == (202, 2)  # from 58 samples before R to 144 after it
        np.testing.assert_allclose(beats[:, :, 0].max(axis=1), 2 / np.sqrt(1.25), rtol=1e-6)
        np.testing.assert_allclose(beats[:, :, 1].min(axis=1), -0.8 / np.sqrt(1.25), rtol=1e-6)
        assert not beats[:, [0, -1]].any()


def test_donor_beats_stand_on_no_offset_and_no_slope():
    strip = with_v()
    tilted = dataclasses.replace(strip, leads_mv=strip.leads_mv + 5)
    np.testing.assert_allclose(donor_beats(tilted), donor_beats(strip), atol=1e-9)


@pytest.mark.parametrize(
    "strip",
    [
        drawn([0.8] * 40),
        drawn([0.8] * 40, [VENTRICULAR] * 40),
        drawn([0.5] + [0.8] * 40, [VENTRICULAR] + [N] * 40),
        drawn([0.8] * 20 + [0.35] + [0.8] * 20, [N] * 19 + [VENTRICULAR] + [N] * 21),
    ],
    ids=["no V", "no N", "V where the record starts", "V with a beat on its T wave"],
)
def test_what_gives_no_donor(strip):
    assert donor_beats(strip) is None


def test_a_donor_gives_a_limited_number_of_beats():
    assert len(donor_beats(with_v(900))) == replays.DONOR_BEATS


def test_implanted_beats_alone_change_and_are_labelled():
    strip, donors = with_v(200), [donor_beats(with_v())]
    fused = 0
    for rng in generators(20):
        changed, coupling = replays._implant(strip, donors, rng)
        implanted = np.flatnonzero(changed.labels != strip.labels)
        assert len(implanted) and set(changed.labels[implanted]) <= {VENTRICULAR, FUSION}
        assert np.array_equal(np.flatnonzero(np.isfinite(coupling).all(axis=1)), implanted)
        assert (np.diff(implanted) > 1).all()
        for beat in implanted:
            assert (strip.labels[beat - 1 : beat + 2] == N).all()
        at = np.arange(len(strip.leads_mv))[:, None] - strip.peaks[implanted]
        span = ((at >= round(-0.16 * FS_HZ)) & (at < round(0.40 * FS_HZ))).any(axis=1)
        assert np.array_equal(changed.leads_mv[~span], strip.leads_mv[~span])
        for beat in implanted:
            near = slice(strip.peaks[beat] - 20, strip.peaks[beat] + 20)
            assert np.abs(changed.leads_mv[near] - strip.leads_mv[near]).max() > 0.1
        fused += (changed.labels[implanted] == FUSION).sum()
        assert (coupling[changed.labels == FUSION, 0] >= 0.75).all()
    assert fused
    assert np.array_equal(strip.labels, with_v(200).labels)  # the record itself is left as it was


def test_implanted_beats_have_the_height_that_fits_the_patient():
    """Donors of twice the normal QRS in a patient of 0.3 mV: 0.6 mV in the middle, half or double as extremes."""
    strip = drawn([0.8] * 200, leads=((1.0, 1.0),), unit_mv=0.3)
    donors = [donor_beats(with_v(leads=((1.0, 1.0),)))]
    heights_mv = []
    for rng in generators(40):
        changed, _ = replays._implant(strip, donors, rng)
        peaks = strip.peaks[changed.labels == VENTRICULAR]
        heights_mv += np.abs(changed.leads_mv[peaks, 0]).tolist()
    assert np.median(heights_mv) == pytest.approx(0.6, rel=0.15)
    assert min(heights_mv) > 0.2 and max(heights_mv) < 1.8


@pytest.mark.parametrize("own, others", [(1, 2), (2, 1), (1, 1), (2, 2), (3, 2)])
def test_patients_may_differ_in_their_number_of_leads(own, others):
    gains = ((1.0, 1.0), (0.5, -0.4), (0.7, 0.7))
    strip, donors = with_v(60, leads=gains[:own]), [donor_beats(with_v(leads=gains[:others]))]
    for rng in generators():
        changed, _ = replays._implant(strip, donors, rng)
        assert changed.leads_mv.shape == strip.leads_mv.shape and np.isfinite(changed.leads_mv).all()


# Lead, patient and noise ---------------------------------------------------------------------------------------------


def test_the_lead_is_a_mixture_of_the_patients_own():
    strip = with_v()
    for rng in generators():
        lead_mv = replays._projected(strip, rng).leads_mv
        assert lead_mv.shape == (len(strip.leads_mv), 1)
        mixture, residual, *_ = np.linalg.lstsq(strip.leads_mv, lead_mv[:, 0], rcond=None)
        assert residual == pytest.approx(0, abs=1e-9) and np.linalg.norm(mixture) == pytest.approx(1)
    one = with_v(leads=((1.0, 1.0),))
    leads = [replays._projected(one, rng).leads_mv for rng in generators(40)]
    assert all(np.array_equal(np.abs(lead), np.abs(one.leads_mv)) for lead in leads)
    assert len({float(lead.max()) for lead in leads}) == 2  # upright and inverted


@pytest.mark.parametrize("factor", [0.82, 1.0, 1.25])
def test_a_stretched_patient_is_slower_in_everything(factor):
    strip = drawn([0.8] * 20)
    slow = replays._stretch(strip, factor)
    np.testing.assert_allclose(np.diff(slow.peaks) / np.diff(strip.peaks), factor, rtol=0.005)
    for peak in slow.peaks:
        assert slow.leads_mv[peak - 10 : peak + 11, 0].argmax() in (9, 10, 11)
    width, slow_width = ((part.leads_mv[:, 0] > 0.3).sum() for part in (strip, slow))
    assert slow_width / width == pytest.approx(factor, rel=0.05)
    assert np.array_equal(slow.labels, strip.labels)


def test_moved_marks_stay_near_r_and_in_order():
    peaks = np.cumsum(np.random.default_rng(0).integers(100, 400, 500))
    for rng in generators():
        moved = replays._jittered(peaks, peaks[-1] + 5, FS_HZ, rng)
        assert np.abs(moved - peaks).max() <= (0.05 + 5 * 0.006) * FS_HZ
        assert np.median(np.abs(moved - peaks)) <= 0.006 * FS_HZ
        assert (np.diff(moved) >= 0).all() and moved[-1] < peaks[-1] + 5


def test_mains_hum_lies_over_some_replays_at_up_to_a_third_of_the_height_of_the_signal():
    """A signal of 1 mV without any: what is found at 50 and 60 Hz over a whole number of their periods was added."""
    time_s = np.arange(7200) / FS_HZ
    signal_mv = np.sin(2 * np.pi * time_s)
    wave = {hz: np.exp(-2j * np.pi * hz * time_s) for hz in (50, 60)}
    noisy = [replays._noisy(signal_mv, FS_HZ, np.random.default_rng(seed)) for seed in range(300)]
    heights = {hz: np.array([2 * abs(np.mean(one * wave[hz])) for one in noisy]) for hz in wave}
    hummed = {hz: found > 0.0098 for hz, found in heights.items()}
    assert not (hummed[50] & hummed[60]).any()
    assert all(0.09 < found.mean() < 0.21 for found in hummed.values())
    found = np.maximum(*heights.values())[hummed[50] | hummed[60]]
    assert found.min() < 0.02 and 0.25 < found.max() < 0.33


# Whole replays -------------------------------------------------------------------------------------------------------


def same(one: Strip, other: Strip) -> bool:
    names = ("leads_mv", "peaks", "labels", "after_gap")
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)


def few_beats(count: int) -> Strip:
    return drawn([0.8] * count)


def with_gaps() -> Strip:
    """Flutter before beats 20 and 21, and pauses of 5 s before beat 40 and the last one."""
    rr_s = np.full(80, 0.8)
    rr_s[[40, 79]] = 5.0
    return dataclasses.replace(drawn(rr_s), after_gap=np.isin(np.arange(80), (20, 21)))


STRIPS = {
    "one lead": with_v(leads=((1.0, 1.0),)),
    "two leads": with_v(),
    "no V": drawn([0.8] * 60),
    "only V": drawn([0.8] * 30, [VENTRICULAR] * 30),
    "two beats": few_beats(2),
    "three beats": few_beats(3),
    "seven beats": few_beats(7),
    "early first beat": drawn([0.05] + [0.8] * 30),
    "gaps": with_gaps(),
    "fast": drawn([0.25] * 60),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", STRIPS)
@pytest.mark.parametrize("donors", [[], [donor_beats(with_v()), donor_beats(with_v(leads=((1.0, 1.0),)))]])
def test_a_replay_has_every_beat_in_order_and_only_numbers(name, donors):
    strip = STRIPS[name]
    for rng in generators():
        again = replay(strip, donors, rng)
        assert again.leads_mv.shape[1] == 1 and np.isfinite(again.leads_mv).all() and again.fs_hz == FS_HZ
        assert len(again.peaks) == len(again.labels) == len(again.after_gap) == len(strip.peaks)
        assert again.peaks[0] >= 0 and again.peaks[-1] < len(again.leads_mv) and (np.diff(again.peaks) >= 0).all()
        assert again.peaks.dtype == again.labels.dtype == np.int64
        assert set(again.labels) <= {N, S, VENTRICULAR, FUSION}
        kept = strip.labels != N
        assert np.array_equal(again.labels[kept], strip.labels[kept])
        if not donors:
            assert np.array_equal(np.isin(again.labels, (VENTRICULAR, FUSION)), strip.labels == VENTRICULAR)
        assert again.after_gap[strip.after_gap].all()


def test_gaps_keep_their_length():
    strip = with_gaps()
    for rng in generators():
        again = replays._retimed(replays._projected(strip, rng), no_coupling(80), rng)
        for beat in (20, 21, 40, 79):
            assert again.peaks[beat] - again.peaks[beat - 1] == strip.peaks[beat] - strip.peaks[beat - 1]
            assert again.labels[beat] == N and again.after_gap[beat]
        assert again.after_gap.sum() == 5  # before the first beat there is no interval either


def test_the_same_seed_gives_the_same_replay():
    strip, donors = with_v(), [donor_beats(with_v(30))]
    first, again, other = (replay(strip, donors, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert same(first, again) and not same(first, other)
    assert same(strip, with_v())  # the record is left as it was


# Stretches around the beats of a class -------------------------------------------------------------------------------


def test_condensed_holds_the_wanted_beats_with_two_cycles_on_each_side():
    """S beats 10 and 12, and 30, 31 and 33 of 50: beats 8 ... 14 and 28 ... 35 are put together."""
    rng = np.random.default_rng(0)
    labels = np.zeros(50, np.int64)
    labels[[10, 12, 30, 31, 33]] = S
    strip = drawn(rng.uniform(0.6, 1.1, 50), labels)
    strip = dataclasses.replace(strip, leads_mv=rng.normal(size=strip.leads_mv.shape), after_gap=np.arange(50) == 28)
    some = condensed(strip, S)
    kept = np.r_[8:15, 28:36]
    assert np.array_equal(some.labels, labels[kept]) and np.array_equal(some.after_gap, kept == 28)
    assert np.array_equal(np.diff(some.peaks)[:6], np.diff(strip.peaks[8:15]))
    assert np.array_equal(np.diff(some.peaks)[7:], np.diff(strip.peaks[28:36]))
    cycle = np.arange(-86, 60)  # from 0.24 s before R
    assert np.array_equal(some.leads_mv[some.peaks[:, None] + cycle], strip.leads_mv[strip.peaks[kept, None] + cycle])
    # The beat before the seam is followed by its own cycle, which ends 86 samples before beat 15.
    assert some.peaks[7] - some.peaks[6] == strip.peaks[15] - strip.peaks[14]


def test_condensed_reaches_the_ends_of_the_record():
    labels = np.r_[S, S, S, np.zeros(20, np.int64), S, S]
    strip = drawn([0.1] + [0.8] * 24, labels)
    some = condensed(strip, S)
    assert np.array_equal(some.labels, [S, S, S, N, N, N, N, S, S])
    assert some.peaks[0] == strip.peaks[0] and some.peaks[-1] < len(some.leads_mv)


@pytest.mark.parametrize("count", [0, 4])
def test_condensed_of_too_few_is_empty(count):
    some = condensed(drawn([0.8] * 40, np.where(np.arange(40) < count, S, N)), S)
    assert len(some.peaks) == len(some.labels) == len(some.leads_mv) == 0


# Replays of a database -----------------------------------------------------------------------------------------------

TOGETHER, APART = ("201", "223", "208"), ("207", "119")  # three patients of one fold, all with V beats, two of another


@pytest.fixture
def source(synthetic_db, tmp_path) -> Source:
    folder = tmp_path / "few"
    folder.mkdir()
    for name in expected_files(TOGETHER + APART):
        shutil.copy2(synthetic_db / name, folder)
    return Source("synthetic", folder)


@pytest.fixture
def config(tmp_path) -> Config:
    return Config(replays=1, threads=1, cache_dir=str(tmp_path / "cache"))


def elsewhere(config: Config, folder: str, **changes) -> Config:
    return dataclasses.replace(config, cache_dir=f"{config.cache_dir}-{folder}", **changes)


def test_the_folds_of_these_tests():
    assert [fold for fold in FOLDS if set(TOGETHER) <= set(fold)]
    assert not [fold for fold in FOLDS if set(TOGETHER) & set(fold) and set(APART) & set(fold)]


@pytest.mark.parametrize("mode", ["diagnostic", "causal"])
def test_every_beat_is_replayed_and_a_share_of_each_class_kept(source, config, mode):
    records, config = TOGETHER[:2], dataclasses.replace(config, replays=2, mode=mode)
    beats = data_loader.load_beats(source, records, config)
    every = load_replays(source, records, config, kept_shares=(1.0,) * 5)
    assert every.windows.shape[1:] == (CHANNELS, 280) and every.features.shape[1] == len(FEATURES[mode])
    assert np.isfinite(every.windows).all() and np.isfinite(every.features).all()
    for name in records:
        assert len(every.of([name])) == 2 * len(beats.of([name]))
    ectopic = load_replays(source, records, config, kept_shares=(0.0, 1.0, 1.0, 1.0, 0.0))
    assert_equal(ectopic, every.where(np.isin(every.labels, (1, 2, 3))))
    assert len(ectopic)


def test_replays_are_cached(source, config, monkeypatch):
    first = load_replays(source, TOGETHER[:2], config)
    monkeypatch.setattr(replays, "replay", lambda *arguments: pytest.fail("replayed again"))
    assert_equal(load_replays(source, TOGETHER[:2], config), first)


@pytest.mark.parametrize("change", [{"replays": 2}, {"mode": "causal"}, {"band_hz": (0.5, 40.0)}, "version", "file"])
def test_other_settings_are_replayed_anew(source, config, monkeypatch, change):
    load_replays(source, TOGETHER[:1], config)
    calls, own = [], replays.replay
    monkeypatch.setattr(replays, "replay", lambda *arguments: calls.append(1) or own(*arguments))
    if change == "version":
        monkeypatch.setattr(replays, "VERSION", replays.VERSION + 1)
    elif change == "file":
        (source.folder / f"{TOGETHER[0]}.dat").touch()
    else:
        config = dataclasses.replace(config, **change)
    load_replays(source, TOGETHER[:1], config)
    assert calls


def test_the_number_of_processes_changes_nothing(source, config):
    one = load_replays(source, TOGETHER, config)
    assert_equal(load_replays(source, TOGETHER, elsewhere(config, "two", threads=2)), one)


def test_a_patients_replays_do_not_depend_on_the_other_folds(source, config):
    alone = load_replays(source, TOGETHER, config)
    beside = load_replays(source, APART + TOGETHER, elsewhere(config, "more"))
    assert_equal(beside.of(TOGETHER), alone)
    assert_equal(concatenate([beside.of([name]) for name in TOGETHER]), alone)


def test_donors_are_of_the_same_fold_the_patient_itself_last(source, config, monkeypatch):
    records = APART + TOGETHER
    strips = {name: read_strip(source.folder / name, config) for name in records}
    own = {name: donor_beats(strip) for name, strip in strips.items()}
    assert all(beats is not None for beats in own.values())
    calls, play = [], replays.replay
    monkeypatch.setattr(replays, "replay", lambda *arguments: calls.append(arguments) or play(*arguments))
    load_replays(source, records, config)
    assert len(calls) == len(records)
    for strip, donors, _ in calls:
        [name] = [name for name in records if same(strips[name], strip)]
        used = [next(other for other in records if np.array_equal(own[other], donor)) for donor in donors]
        assert used[-1] == name
        assert set(used) == set(TOGETHER if name in TOGETHER else APART) and len(used) == len(set(used))


def test_the_beats_of_a_held_out_patient_are_in_no_replay_of_another_fold(source, config, monkeypatch):
    """With other signals in record 208, only its own replays and those of its fold may change."""
    records = APART + TOGETHER
    before = load_replays(source, records, elsewhere(config, "before", replays=2))
    read = data_loader.strip_of

    def disturbed(record, config):
        strip = read(record, config)
        if record.name == "208":
            strip = dataclasses.replace(strip, leads_mv=np.random.default_rng(0).normal(size=strip.leads_mv.shape))
        return strip

    monkeypatch.setattr(data_loader, "strip_of", disturbed)
    after = load_replays(source, records, elsewhere(config, "after", replays=2))
    assert_equal(after.of(APART), before.of(APART))
    assert not np.array_equal(after.of(["208"]).windows, before.of(["208"]).windows)
    fold = [name for name in TOGETHER if name != "208"]
    assert not np.array_equal(after.of(fold).windows, before.of(fold).windows)  # the probe is not empty


def test_labels_of_replays_are_of_their_classes(source, config):
    replays = load_replays(source, TOGETHER, config)
    assert set(replays.labels) <= {CLASSES.index(name) for name in "NSVF"}  # REPLAYED keeps no Q
    assert set(replays.records) == set(TOGETHER)
