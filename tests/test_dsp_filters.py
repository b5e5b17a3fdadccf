"""Filters against the closed form of the Butterworth response, SciPy's, and what zero phase and one pass mean."""

import sys

import numpy as np
import pytest
from scipy import ndimage, signal
from scipy.signal import sosfreqz

import dsp_filters
from dsp_filters import (
    CausalResampler,
    OnePassFilter,
    bandpass_sos,
    clean,
    detrended,
    filter_zero_phase,
    lowpass_sos,
    periodogram,
    resample,
    running_mean,
    z_score,
)

FS_HZ = 360.0
BAND_HZ = (0.5, 50.0)
SOS = bandpass_sos(BAND_HZ, 2, FS_HZ)
FREQUENCIES_HZ = (0.1, 0.5, 1.0, 5.0, 17.0, 50.0, 60.0, 120.0)


def butterworth_gain(f_hz, order=2, band_hz=BAND_HZ, fs_hz=FS_HZ):
    """|H| of a Butterworth band-pass made by the bilinear transform: 1 / sqrt(1 + x^2n), x the low-pass frequency."""
    low, high, w = (np.tan(np.pi * f / fs_hz) for f in (*band_hz, f_hz))
    return 1 / np.sqrt(1 + ((w * w - low * high) / (w * (high - low))) ** (2 * order))


def measured_response(apply, f_hz, fs_hz=FS_HZ, seconds=120.0):
    """Complex gain of `apply` on a long sine, by least squares on its settled middle third."""
    t_s = np.arange(round(seconds * fs_hz)) / fs_hz
    middle = slice(len(t_s) // 3, 2 * len(t_s) // 3)
    phase = 2 * np.pi * f_hz * t_s
    basis = np.stack([np.sin(phase), np.cos(phase)], axis=1)
    (in_phase, quadrature), *_ = np.linalg.lstsq(basis[middle], apply(np.sin(phase))[middle])
    return in_phase + 1j * quadrature


def pulse(n, centre, width):
    return np.exp(-0.5 * ((np.arange(n) - centre) / width) ** 2)


# The response --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [1, 2, 4])
def test_the_design_has_the_closed_form_response(order):
    sos = bandpass_sos(BAND_HZ, order, FS_HZ)
    assert sos.shape == (order, 6)
    _, response = sosfreqz(sos, worN=FREQUENCIES_HZ, fs=FS_HZ)
    np.testing.assert_allclose(np.abs(response), butterworth_gain(np.array(FREQUENCIES_HZ), order), atol=1e-6)


@pytest.mark.parametrize("f_hz", FREQUENCIES_HZ)
def test_one_pass_has_the_gain_and_phase_of_the_design(f_hz):
    response = measured_response(OnePassFilter(SOS), f_hz)
    assert abs(response) == pytest.approx(butterworth_gain(f_hz), abs=1e-3)
    assert response == pytest.approx(sosfreqz(SOS, worN=[f_hz], fs=FS_HZ)[1][0], abs=1e-3)


@pytest.mark.parametrize("f_hz", FREQUENCIES_HZ)
def test_zero_phase_has_the_gain_squared_and_no_phase(f_hz):
    response = measured_response(lambda signal: filter_zero_phase(signal, SOS), f_hz)
    assert response.real == pytest.approx(butterworth_gain(f_hz) ** 2, abs=1e-3)
    assert response.imag == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("edge_hz", BAND_HZ)
def test_the_band_edges_lie_at_minus_3_db_in_one_pass(edge_hz):
    gain_db = 20 * np.log10(abs(measured_response(OnePassFilter(SOS), edge_hz)))
    assert gain_db == pytest.approx(10 * np.log10(0.5), abs=0.01)


# Time ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width_samples", [4, 12])
def test_zero_phase_leaves_a_symmetric_pulse_where_it_was(width_samples):
    filtered = filter_zero_phase(pulse(7201, 3600, width_samples), SOS)
    assert filtered.argmax() == 3600
    np.testing.assert_allclose(filtered, filtered[::-1], atol=1e-6)


def test_one_pass_never_answers_before_its_input():
    signal = np.zeros(1000)
    signal[500] = 1.0
    filtered = OnePassFilter(SOS)(signal)
    assert not filtered[:500].any() and filtered[500] > 0


def test_one_pass_of_a_constant_record_is_zero_from_its_first_sample():
    assert np.abs(OnePassFilter(SOS)(np.full(3600, 4.7))).max() < 1e-9


@pytest.mark.parametrize("causal", [True, False])
def test_an_offset_changes_nothing_from_the_first_sample_on(causal):
    signal = np.random.default_rng(0).normal(size=7200)
    np.testing.assert_allclose(clean(signal + 5, SOS, causal), clean(signal, SOS, causal), atol=1e-8)


def test_clean_is_one_pass_when_causal_and_zero_phase_when_not():
    signal = np.random.default_rng(1).normal(size=3600)
    changed = signal.copy()
    changed[1800:] = 0
    assert np.array_equal(clean(changed, SOS, True)[:1800], clean(signal, SOS, True)[:1800])
    assert not np.allclose(clean(changed, SOS, False)[1700:1800], clean(signal, SOS, False)[1700:1800], atol=1e-3)


@pytest.mark.parametrize("chunk_samples", [1, 7, 360])
def test_chunks_of_any_size_give_the_same_bits(chunk_samples):
    signal = np.random.default_rng(2).normal(size=3000) + 2
    whole = OnePassFilter(SOS)(signal)
    stream = OnePassFilter(SOS)
    parts = [stream(signal[start : start + chunk_samples]) for start in range(0, len(signal), chunk_samples)]
    assert np.array_equal(np.concatenate(parts), whole)


def test_empty_chunks_do_not_disturb_the_stream():
    signal = np.random.default_rng(3).normal(size=500) + 1
    stream = OnePassFilter(SOS)
    parts = [stream(part) for part in (signal[:0], signal[:200], signal[:0], signal[200:])]
    assert [len(part) for part in parts] == [0, 200, 0, 300]
    assert np.array_equal(np.concatenate(parts), OnePassFilter(SOS)(signal))


# Resampling ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fs_hz", [128.0, 250.0, 500.0, 1000.0])
@pytest.mark.parametrize("f_hz", [1.0, 5.0])
def test_resampling_keeps_a_sine_in_place_and_size(fs_hz, f_hz):
    signal = np.sin(2 * np.pi * f_hz * np.arange(round(20 * fs_hz)) / fs_hz)
    # A straight line between samples departs from a sine by (2 pi f / fs)^2 / 8 at most.
    for causal, tolerance in ((True, (2 * np.pi * f_hz / fs_hz) ** 2 / 8), (False, 0.005)):
        resampled = resample(signal, fs_hz, FS_HZ, causal)
        assert len(resampled) == pytest.approx(20 * FS_HZ, abs=3)
        expected = np.sin(2 * np.pi * f_hz * np.arange(len(resampled)) / FS_HZ)
        inner = slice(360, -360)
        np.testing.assert_allclose(resampled[inner], expected[inner], atol=tolerance + 1e-9)


def test_resampling_to_the_same_rate_changes_nothing():
    signal = np.random.default_rng(4).normal(size=100)
    assert np.array_equal(resample(signal, 360.0, 360.0, True), signal)
    assert np.array_equal(resample(signal, 360.0, 360.0, False), signal)


def test_polyphase_resampling_lets_no_alias_through():
    signal = np.sin(2 * np.pi * 250 * np.arange(20_000) / 1000)  # would appear at 110 Hz
    assert np.abs(resample(signal, 1000.0, FS_HZ, causal=False)[360:-360]).max() < 0.01


@pytest.mark.parametrize("fs_hz", [128.0, 250.0, 1000.0])
def test_causal_resampling_looks_ahead_by_less_than_one_input_sample(fs_hz):
    signal = np.random.default_rng(5).normal(size=2000)
    for changed_from in (700, 701, 1303):
        changed = signal.copy()
        changed[changed_from:] += 1
        before, after = (resample(x, fs_hz, FS_HZ, causal=True) for x in (signal, changed))
        same = np.arange(len(before)) / FS_HZ <= (changed_from - 1) / fs_hz
        assert np.array_equal(before[same], after[same])
        assert not np.isclose(before[~same], after[~same]).all()


@pytest.mark.parametrize("fs_hz", [50.0, 100.0, 128.0, 250.0, 257.5, 360.0, 500.0, 1000.0])
@pytest.mark.parametrize("chunk", [1, 7, 100, 1001])
def test_resampling_in_chunks_equals_that_of_the_whole(fs_hz, chunk):
    for length in range(995, 1002):
        signal = np.random.default_rng(length).normal(size=length)
        resampler = CausalResampler(fs_hz, FS_HZ)
        parts = [resampler(signal[start : start + chunk]) for start in range(0, length, chunk)]
        parts += [resampler(np.empty(0)), resampler.finish()]
        assert np.array_equal(np.concatenate(parts), resample(signal, fs_hz, FS_HZ, causal=True))
        assert len(parts[-1]) <= 1


@pytest.mark.parametrize("fs_hz", [50.0, 128.0, 257.5, 360.0, 1000.0])
def test_the_sample_needed_is_the_one_that_makes_it_known(fs_hz):
    resampler = CausalResampler(fs_hz, FS_HZ)
    known = np.cumsum([len(resampler(np.zeros(1))) for _ in range(2000)])
    for sample in range(known[-1]):
        assert resampler.needed(sample) == np.flatnonzero(known > sample)[0]


def test_resampling_nothing_gives_nothing():
    resampler = CausalResampler(250.0, FS_HZ)
    assert len(resampler(np.empty(0))) == len(resampler.finish()) == 0


# As SciPy has it, to the bit -----------------------------------------------------------------------------------------

DESIGNS = [(order, fs_hz) for order in (1, 2, 3, 4, 7, 10) for fs_hz in (100.0, 128.0, 250.0, 257.5, 360.0, 5000.0)]


def noise(count, seed=7):
    return np.random.default_rng(seed).normal(size=count).cumsum()


@pytest.mark.parametrize(("order", "fs_hz"), DESIGNS)
@pytest.mark.parametrize("band_hz", [(0.5, 40.0), (8.0, 25.0), (0.05, 49.0)])  # of the wide ones poles can be real
def test_the_band_pass_is_scipys(order, fs_hz, band_hz):
    expected = signal.butter(order, band_hz, btype="bandpass", fs=fs_hz, output="sos")
    np.testing.assert_array_equal(bandpass_sos(band_hz, order, fs_hz), expected)


@pytest.mark.parametrize(("order", "fs_hz"), DESIGNS)
def test_the_low_pass_is_scipys(order, fs_hz):
    np.testing.assert_array_equal(lowpass_sos(41.5, order, fs_hz), signal.butter(order, 41.5, fs=fs_hz, output="sos"))


@pytest.mark.parametrize("band_hz", [(0.0, 40.0), (40.0, 0.5), (0.5, 50.0), (0.5, 0.5)])
def test_a_band_beyond_the_rate_is_refused(band_hz):
    with pytest.raises(ValueError, match="between 0 and half of 100 Hz"):
        bandpass_sos(band_hz, 2, 100.0)


@pytest.mark.parametrize("sos", [SOS, lowpass_sos(40.0, 3, FS_HZ)], ids=["band", "odd"])
def test_filtering_is_scipys(sos):
    raw = noise(1000)
    np.testing.assert_array_equal(filter_zero_phase(raw, sos), signal.sosfiltfilt(sos, raw))
    expected, _ = signal.sosfilt(sos, raw, zi=signal.sosfilt_zi(sos) * raw[0])
    np.testing.assert_array_equal(OnePassFilter(sos)(raw), expected)


def test_a_signal_too_short_for_zero_phase_is_refused():
    with pytest.raises(ValueError, match="15 samples are too few"):
        filter_zero_phase(noise(15), SOS)


@pytest.mark.parametrize(("fs_hz", "up", "down"), [(300, 6, 5), (128, 45, 16), (250, 36, 25), (1000, 9, 25)])
@pytest.mark.parametrize("count", [2, 30, 4999])
def test_resampling_is_scipys(fs_hz, up, down, count):
    raw = noise(count)
    expected = signal.resample_poly(raw, up, down, padtype="line")
    np.testing.assert_array_equal(resample(raw, fs_hz, FS_HZ, causal=False), expected)


@pytest.mark.parametrize("size", [1, 2, 29, 80])
@pytest.mark.parametrize(("mode", "scipys"), [("edge", "nearest"), ("symmetric", "reflect")])
@pytest.mark.parametrize("count", [5, 3000])
def test_the_running_mean_is_scipys(size, mode, scipys, count):
    expected = ndimage.uniform_filter1d(noise(count), size, mode=scipys)
    np.testing.assert_array_equal(running_mean(noise(count), size, mode), expected)


@pytest.mark.parametrize("count", [1, 2, 999, 1000])
def test_trend_and_periodogram_are_scipys(count):
    raw = noise(count)
    np.testing.assert_allclose(detrended(raw), signal.detrend(raw), atol=1e-12)
    frequencies_hz, power = periodogram(raw, FS_HZ)
    expected_hz, density = signal.periodogram(raw, FS_HZ, detrend="linear")
    np.testing.assert_array_equal(frequencies_hz, expected_hz)
    np.testing.assert_allclose(power / (count * FS_HZ), density, rtol=1e-9, atol=1e-12)


def test_a_scipy_without_the_compiled_code_is_named(monkeypatch):
    monkeypatch.delitem(sys.modules, "scipy.signal._gone", raising=False)
    with pytest.raises(ImportError, match="has no scipy.signal._gone: install requirements.txt"):
        dsp_filters._compiled("scipy.signal._gone")


# z-score -------------------------------------------------------------------------------------------------------------


def test_z_score_brings_each_row_to_mean_0_and_deviation_1():
    scored = z_score(np.random.default_rng(6).normal(3, 0.2, (5, 280)) * [[1], [2], [0.01], [50], [1]])
    np.testing.assert_allclose(scored.mean(axis=1), 0, atol=1e-10)
    np.testing.assert_allclose(scored.std(axis=1), 1, rtol=1e-10)


def test_z_score_by_hand():
    np.testing.assert_allclose(z_score(np.array([[1.0, 3.0, 1.0, 3.0]])), [[-1, 1, -1, 1]])


def test_z_score_of_a_flat_row_is_zeros():
    scored = z_score(np.stack([np.full(280, 1.3), np.zeros(280), np.linspace(0, 1, 280)]))
    assert not scored[:2].any() and scored[2].any()
