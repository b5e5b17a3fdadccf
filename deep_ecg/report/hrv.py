"""Variability of the heart rate over intervals between normal beats alone (HRV Task Force 1996)."""

import numpy as np

from deep_ecg.report.beat_series import BeatSeries, N
from deep_ecg.report.rules import Rules
from dsp_filters import detrended

STEPS = 2  # of the periodogram for each 1 / segment length
TOO_FEW, TOO_ECTOPIC = "too few intervals between normal beats", "too many of its beats are not normal ones"


def hrv_of(series: BeatSeries) -> dict:
    """SDNN, SDANN, RMSSD in ms, pNN50 in percent, LF and HF in ms2, LF/HF, and the number of NN intervals.

    A figure is None where there is not enough for it; where that holds for all, "none" says why.
    """
    rules, nn = series.rules, nn_intervals(series)
    count, intervals = int(nn.sum()), int(np.isfinite(series.rr_s).sum())
    told: dict = {"nn": count, "none": None}
    if count < rules.least_nn:
        return told | {"none": TOO_FEW}
    if 100 * count < rules.least_nn_percent * intervals:
        return told | {"none": TOO_ECTOPIC}
    nn_ms = np.round(1000 * series.rr_s, 6)  # 50 ms are 50 ms at any sampling rate
    steps_ms = np.round(np.diff(nn_ms), 6)[nn[1:] & nn[:-1]]
    segments = _segments(series, nn)
    told["sdnn_ms"] = float(nn_ms[nn].std(ddof=1))
    told["sdann_ms"] = None
    if len(segments) >= rules.least_segments:
        told["sdann_ms"] = float(np.std([nn_ms[one].mean() for one in segments], ddof=1))
    told["rmssd_ms"] = float(np.sqrt((steps_ms**2).mean())) if len(steps_ms) else None
    told["pnn_percent"] = float(100 * (np.abs(steps_ms) > rules.pnn_ms).mean()) if len(steps_ms) else None
    powers = np.array([band_powers_ms2(series.times_s[one], nn_ms[one], rules) for one in segments]).reshape(-1, 2)
    low, high = powers.mean(axis=0).tolist() if len(powers) else (None, None)
    return told | {"lf_ms2": low, "hf_ms2": high, "lf_hf": low / high if low is not None and high else None}


def nn_intervals(series: BeatSeries) -> np.ndarray:
    """Whether the RR interval that ends at each beat is one between normal beats, (beats,) bool."""
    normal = series.in_class & (series.labels == N)
    low_s, high_s = series.rules.nn_range_s
    rr_s = np.nan_to_num(series.rr_s)
    return normal & np.roll(normal, 1) & (rr_s >= low_s) & (rr_s <= high_s)


def _segments(series: BeatSeries, nn: np.ndarray) -> list[np.ndarray]:
    """Indices of the beats that end an NN interval, of each segment that these fill well enough."""
    rules, places = series.rules, np.flatnonzero(nn)
    numbers = (series.times_s[places] // rules.segment_s).astype(int)
    parts = np.split(places, np.flatnonzero(np.diff(numbers)) + 1)
    least_s = rules.least_segment_percent / 100 * rules.segment_s
    return [part for part in parts if series.rr_s[part].sum() >= least_s]


def band_powers_ms2(times_s: np.ndarray, nn_ms: np.ndarray, rules: Rules) -> tuple[float, float]:
    """Power of the NN intervals `nn_ms` (n,), which end at `times_s` (n,), in the bands LF and HF.

    A sine of amplitude a has the power a**2 / 2: Lomb's periodogram of it is n a**2 / 4 at its frequency, over a width
    of 1 / segment length.
    """
    step_hz = 1 / (STEPS * rules.segment_s)
    frequencies_hz = np.arange(rules.lf_hz[0], rules.hf_hz[1], step_hz)
    density = lomb(times_s, detrended(nn_ms), frequencies_hz) * 2 * rules.segment_s / len(nn_ms)
    in_lf = frequencies_hz < rules.lf_hz[1]
    in_hf = frequencies_hz >= rules.hf_hz[0]
    return float(density[in_lf].sum() * step_hz), float(density[in_hf].sum() * step_hz)


def lomb(times_s: np.ndarray, values: np.ndarray, frequencies_hz: np.ndarray) -> np.ndarray:
    """Lomb's periodogram (frequencies,) of `values` (n,) about 0 at `times_s` (n,): `scipy.signal.lombscargle`.

    At each frequency the power of the sine that fits the values best (Lomb 1976; Scargle 1982).
    """
    phase = np.outer(times_s, 2 * np.pi * frequencies_hz)
    share = np.full(len(values), 1 / len(values))
    cosine = np.cos(phase)
    squares = share @ (cosine * cosine)
    # Sine and cosine are shifted to where they are orthogonal over these times: there each is fitted by itself.
    shift = 0.5 * np.arctan2(2 * (share @ (cosine * np.sin(phase))), squares - (1 - squares))
    cosine, sine = np.cos(phase - shift), np.sin(phase - shift)
    of_cosine, of_sine, squares = (share * values) @ cosine, (share * values) @ sine, share @ (cosine * cosine)
    left = np.maximum(1 - squares, np.finfo(float).epsneg)  # 0 where all times lie on zeros of the sine
    fitted = of_cosine / squares * of_cosine + of_sine / left * of_sine
    return len(values) / 4 * (2 * fitted)
