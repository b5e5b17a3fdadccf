"""Calibrated noise: powers worked by hand, levels as asked for, segments, and the spectra of the generators."""

import numpy as np
import pytest
import wfdb
from scipy.signal import welch

from deep_ecg.system.errors import DeepECGError
from experiments import noise

FS_HZ = 360.0


def spikes(count: int, heights_mv: np.ndarray, every: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """A triangle of each height every `every` samples, and where their tops are."""
    peaks = every * np.arange(1, count + 1)
    signal_mv = np.zeros(peaks[-1] + every)
    for peak, height_mv in zip(peaks, heights_mv):
        signal_mv[peak - 10 : peak + 11] = height_mv * (1 - np.abs(np.arange(-10, 11)) / 10)
    return signal_mv, peaks


def spectrum_share(one: np.ndarray, low_hz: float, high_hz: float) -> float:
    frequency_hz, power = welch(one - one.mean(), FS_HZ, nperseg=36_000)
    return float(power[(frequency_hz >= low_hz) & (frequency_hz < high_hz)].sum() / power.sum())


# Powers and levels ---------------------------------------------------------------------------------------------------


def test_qrs_power_by_hand():
    """The square of 2 mV over 8; of 20 complexes the lowest and the highest do not count."""
    heights_mv = np.full(20, 2.0)
    heights_mv[3], heights_mv[11] = 0.1, 50.0
    assert noise.qrs_power(*spikes(20, heights_mv), FS_HZ) == pytest.approx(2.0**2 / 8)


def test_qrs_power_is_of_the_first_300_beats():
    heights_mv = np.where(np.arange(320) < 300, 1.0, 7.0)
    assert noise.qrs_power(*spikes(320, heights_mv), FS_HZ) == pytest.approx(1 / 8)
    with pytest.raises(DeepECGError, match="no normal beat"):
        noise.qrs_power(np.zeros(1000), np.array([], int), FS_HZ)


def test_noise_power_is_within_single_seconds():
    """A sine of whole periods a second has power 1/2 whatever the level of each second; a slow drift counts little."""
    time_s = np.arange(20 * 360) / FS_HZ
    sine = np.sin(2 * np.pi * 10 * time_s)
    assert noise.noise_power(sine + np.repeat(np.arange(20.0), 360), FS_HZ) == pytest.approx(0.5)
    assert noise.noise_power(np.sin(2 * np.pi * 0.05 * time_s), FS_HZ) < 0.01
    with pytest.raises(DeepECGError, match="at least 1 s"):
        noise.noise_power(np.zeros(100), FS_HZ)


@pytest.mark.parametrize("snr_db, gain", [(0.0, 2.0), (20.0, 0.2), (-6.0, 3.9905)])
def test_gain_by_hand(snr_db, gain):
    """Signal of power 8, noise of power 2: equal powers at gain 2, a hundredth of the power at 0.2, 10^0.6 as much."""
    assert noise.gain_for(snr_db, 8.0, 2.0) == pytest.approx(gain, rel=1e-4)


@pytest.mark.parametrize("kind", list(noise.KINDS))
@pytest.mark.parametrize("snr_db", [12.0, -6.0])
def test_a_mixture_has_the_ratio_asked_for(kind, snr_db):
    """Measured on the mixture itself, in its noisy segments: within 1.5 dB, as the noise is measured elsewhere."""
    signal_mv, peaks = spikes(2000, np.full(2000, 1.4))
    added = noise.generated(kind, len(signal_mv), FS_HZ, (100,))
    power = noise.qrs_power(signal_mv, peaks, FS_HZ)
    gain = noise.gain_for(snr_db, power, noise.noise_power(added, FS_HZ))
    difference_mv = noise.with_noise(signal_mv, added, gain, FS_HZ) - signal_mv
    noisy_mv = difference_mv[noise.noisy_samples(len(signal_mv), FS_HZ)]
    found_db = 10 * np.log10((1.4**2 / 8) / noise.noise_power(noisy_mv, FS_HZ))
    assert found_db == pytest.approx(snr_db, abs=1.5)


# Segments ------------------------------------------------------------------------------------------------------------


def test_noise_begins_after_five_minutes_and_takes_turns_of_two():
    noisy = noise.noisy_samples(round(10.5 * 60 * FS_HZ), FS_HZ)
    edges_min = np.flatnonzero(np.diff(noisy.astype(int))) + 1
    assert (edges_min / FS_HZ / 60).tolist() == [5, 7, 9]
    assert not noisy[0] and noisy[-1] and not noise.noisy_samples(100_000, FS_HZ).any()


def test_clean_segments_keep_their_shape_and_nothing_jumps():
    signal_mv, added = np.zeros(round(12 * 60 * FS_HZ)), np.cumsum(np.random.default_rng(0).normal(size=50_000))
    mixed_mv = noise.with_noise(signal_mv, added, 0.1, FS_HZ)
    noisy = noise.noisy_samples(len(signal_mv), FS_HZ)
    steps = np.diff(mixed_mv)
    assert (mixed_mv[: round(300 * FS_HZ)] == 0).all()
    assert np.abs(steps[~noisy[1:]]).max() < 1e-9  # flat, at the level that the noise left
    # Repeated noise: no step is higher than the noise's own, the leap from its end to its start included
    assert abs(added[-1] - added[0]) > 2 * np.abs(np.diff(added)).max()
    assert np.abs(steps).max() <= 0.1 * np.abs(np.diff(added)).max() + 1e-9
    inside = slice(round(310 * FS_HZ), round(310 * FS_HZ) + 1000)
    start = inside.start % len(added)
    np.testing.assert_allclose(np.diff(mixed_mv[inside]), 0.1 * np.diff(added[start : start + 1000]), atol=1e-9)


# Generators ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made() -> dict[str, np.ndarray]:
    """Half an hour of each kind."""
    return {kind: noise.generated(kind, 650_000, FS_HZ, (100,)) for kind in noise.KINDS}


def test_the_same_seed_makes_the_same_noise(made):
    for kind, one in made.items():
        assert len(one) == 650_000 and np.isfinite(one).all()
        assert np.array_equal(noise.generated(kind, 650_000, FS_HZ, (100,)), one)
        assert not np.array_equal(noise.generated(kind, 650_000, FS_HZ, (101,)), one)


def test_wander_lies_below_1_hz(made):
    assert spectrum_share(made["wander"], 0, 1) > 0.999
    assert spectrum_share(made["wander"], 0.1, 0.4) > 0.5  # the breath


def test_electrode_motion_lies_upon_the_qrs(made):
    """The band in which detectors look for the QRS, 5 to 25 Hz, holds part of it, and so does what is below 1 Hz."""
    assert spectrum_share(made["electrode"], 5, 25) > 0.1 > 100 * spectrum_share(made["wander"], 5, 25)
    assert 0.2 < spectrum_share(made["electrode"], 0, 1) < 0.8
    assert spectrum_share(made["electrode"], 40, 180) < 0.1


def test_muscle_noise_is_of_20_to_150_hz_and_comes_in_bursts(made):
    assert spectrum_share(made["muscle"], 20, 150) > 0.95
    seconds = made["muscle"][: 1800 * 360].reshape(1800, 360).std(axis=1)
    low, high = np.percentile(seconds, (10, 90))
    assert high > 3 * low


@pytest.mark.parametrize("seed", range(4))
def test_mains_is_a_line_whose_amplitude_drifts(seed):
    one = noise.generated("mains", 200_000, FS_HZ, (seed,))
    lines = [spectrum_share(one, base_hz - 0.5, base_hz + 0.5) for base_hz in (50, 60)]
    assert max(lines) > 0.95 and min(lines) < 0.01
    seconds = one[: 555 * 360].reshape(555, 360).std(axis=1)
    assert seconds.max() > 1.5 * seconds.min()
    assert np.abs(np.diff(seconds) / seconds[1:]).max() < 0.25  # slowly


@pytest.mark.parametrize("fs_hz", [100.0, 250.0, 1000.0])
def test_generators_run_at_other_rates(fs_hz):
    for kind in noise.KINDS:
        assert np.isfinite(noise.generated(kind, 5000, fs_hz, (1,))).all()


# Noise records -------------------------------------------------------------------------------------------------------


def test_noise_records_are_read_and_brought_to_the_rate(tmp_path):
    """A sine of 5 Hz at 250 Hz is one at 360 Hz; the first of the two signals is taken."""
    time_s = np.arange(2500) / 250
    signals = np.stack([np.sin(2 * np.pi * 5 * time_s), np.cos(2 * np.pi * time_s)], axis=1)
    wfdb.wrsamp(
        "em", 250, ["mV"] * 2, ["noise1", "noise2"], p_signal=signals, fmt=["16"] * 2, write_dir=str(tmp_path)
    )
    found = noise.read_noise(tmp_path, "electrode", FS_HZ)
    expected = np.sin(2 * np.pi * 5 * np.arange(3600) / 360)
    assert len(found) == 3600
    np.testing.assert_allclose(found[200:-200], expected[200:-200], atol=0.01)


def test_a_missing_noise_record_is_named(tmp_path):
    with pytest.raises(DeepECGError, match="bw"):
        noise.read_noise(tmp_path, "wander", FS_HZ)
