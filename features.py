"""What the network sees of a beat: its window of the ECG and its rhythm features.

One definition serves training, prediction on a record, and the Transformer. Nothing here looks further ahead than the
mode allows: the causal features of a beat do not change when anything after it changes.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from dsp_filters import z_score

MEMORY_BEATS = 400  # the longest running mean: what a stream has to remember of the past
SHORT_BEATS = 32
MAX_RR_S = 3.0  # a longer interval is a gap in the annotations (flutter, lead off), not an RR interval
RATIO_RANGE = (0.2, 3.0)
BLOCK_BEATS = 4096  # bounds the memory that long records need

RHYTHM_CAUSAL = (
    "pre_rr_s",
    "pre_ratio_short",
    "pre_ratio_long",
    "pre_previous_ratio",
    "previous_ratio_short",
    "second_previous_ratio_short",
    "rr_variation",
)
RHYTHM = {
    "causal": RHYTHM_CAUSAL,
    "diagnostic": RHYTHM_CAUSAL + ("post_rr_s", "post_ratio_short", "post_ratio_long", "pre_post_ratio"),
}
SHAPE = (
    "window_correlation",
    "qrs_correlation",
    "p_wave_correlation",
    "log_amplitude_ratio",
    "log_width_ratio",
    "qrs_width_s",
)
FEATURES = {mode: rhythm + SHAPE for mode, rhythm in RHYTHM.items()}  # columns of the network's second input
CHANNELS = 2  # of the network's first input: the beat, and the beat less the patient's running template

QRS_S = (-0.085, 0.085)  # spans around R, in seconds
P_WAVE_S = (-0.25, -0.055)
ALIKE = 0.8  # a beat whose QRS correlates more than this with the template is taken for one of its kind
RATE_ALIKE, RATE_OTHER = 0.08, 0.02  # shares of a beat that enter the template


def beat_inputs(
    cleaned_mv: np.ndarray, peaks: np.ndarray, rr_s: np.ndarray, before: int, after: int, fs_hz: float, mode: str
) -> tuple[np.ndarray, np.ndarray]:
    """Both inputs of the network for every beat of one record, in order of time.

    cleaned_mv (samples,) is the filtered signal at `fs_hz`, peaks (beats,) the R-peak samples, rr_s (beats,) from
    `rr_intervals`. The window is samples R - before ... R + after - 1. Returns windows (beats, CHANNELS, before +
    after) and features (beats, len(FEATURES[mode])), both float32.
    """
    windows_mv = cut_windows(cleaned_mv, peaks, before, after)
    beats = z_score(windows_mv)
    qrs = _span(QRS_S, before, before + after, fs_hz)
    templates = running_templates(beats, qrs)
    shape = shape_features(windows_mv, beats, templates, qrs, _span(P_WAVE_S, before, before + after, fs_hz), fs_hz)
    windows = np.stack([beats, beats - templates], axis=1).astype(np.float32)
    return windows, np.concatenate([rhythm_features(rr_s, mode), shape], axis=1)


def cut_windows(signal_mv: np.ndarray, peaks: np.ndarray, before: int, after: int) -> np.ndarray:
    """The window of each beat, (beats, before + after).

    Beyond the record's ends the first or last sample is repeated, so that no beat is left out.
    """
    padded = np.pad(signal_mv, (before, after), mode="edge")
    return sliding_window_view(padded, before + after)[peaks]


def _span(span_s: tuple[float, float], before: int, length: int, fs_hz: float) -> slice:
    start, stop = (before + round(second * fs_hz) for second in span_s)
    return slice(max(start, 0), min(stop, length))


# Shape against the patient's own beats ---------------------------------------------------------------------------


def running_templates(beats: np.ndarray, qrs: slice) -> np.ndarray:
    """The patient's running template as it was when each beat came, (beats, samples); `beats` are z-scored.

    An exponential mean of the beats before, which beats of another shape hardly enter. The first beat is its own.
    """
    templates = np.empty_like(beats)
    deviations = _centred_unit(beats[:, qrs])
    template = beats[0] if len(beats) else None
    for i, beat in enumerate(beats):
        templates[i] = template
        alike = deviations[i] @ _centred_unit(template[qrs]) > ALIKE
        rate = max(RATE_ALIKE if alike else RATE_OTHER, 1 / (i + 2))  # a plain mean until there are beats enough
        template = template + rate * (beat - template)
    return templates


def shape_features(
    windows_mv: np.ndarray, beats: np.ndarray, templates: np.ndarray, qrs: slice, p_wave: slice, fs_hz: float
) -> np.ndarray:
    """How each beat differs from its running template, (beats, len(SHAPE)) float32."""
    amplitude_mv = np.ptp(windows_mv[:, qrs], axis=1)
    width_s = _qrs_width_s(windows_mv[:, qrs], fs_hz)
    values = (
        _correlation(beats, templates),
        _correlation(beats[:, qrs], templates[:, qrs]),
        _correlation(beats[:, p_wave], templates[:, p_wave]),
        _log_ratio_to_running(amplitude_mv + 0.01),
        _log_ratio_to_running(width_s + 1 / fs_hz),
        width_s,
    )
    return np.stack(values, axis=1).astype(np.float32)


def _qrs_width_s(qrs_mv: np.ndarray, fs_hz: float) -> np.ndarray:
    """Time in which the middle 80 % of the QRS's up and down movement happens, (beats,)."""
    movement = np.cumsum(np.abs(np.diff(qrs_mv, axis=1)), axis=1)
    share = movement / np.maximum(movement[:, -1:], 1e-9)
    return ((share < 0.9).sum(axis=1) - (share < 0.1).sum(axis=1)) / fs_hz


def _log_ratio_to_running(values: np.ndarray) -> np.ndarray:
    """Log of each value over the exponential mean of the values before it, within log(10)."""
    out, mean = np.zeros(len(values)), None
    for i, value in enumerate(values):
        mean = value if mean is None else mean
        out[i] = np.log(value / mean)
        mean += max(RATE_ALIKE / 2, 1 / (i + 2)) * (value - mean)
    return np.clip(out, -np.log(10), np.log(10))


def _centred_unit(rows: np.ndarray) -> np.ndarray:
    centred = rows - rows.mean(axis=-1, keepdims=True)
    return centred / np.maximum(np.linalg.norm(centred, axis=-1, keepdims=True), 1e-9)


def _correlation(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    return np.einsum("ij,ij->i", _centred_unit(rows), _centred_unit(others))


# Rhythm ----------------------------------------------------------------------------------------------------------


def rr_intervals(peaks: np.ndarray, fs_hz: float, after_gap: np.ndarray | None = None) -> np.ndarray:
    """RR interval that ends at each beat, in seconds, (beats,); NaN where there is none.

    There is none before the first beat, across a gap longer than MAX_RR_S, and where `after_gap` (beats,) is True
    (ventricular flutter lies between the beats: record 207).
    """
    rr_s = np.diff(peaks, prepend=np.nan) / fs_hz
    rr_s[~(rr_s <= MAX_RR_S)] = np.nan
    if after_gap is not None:
        rr_s[after_gap] = np.nan
    return rr_s


def rhythm_features(rr_s: np.ndarray, mode: str) -> np.ndarray:
    """Rhythm features of each beat from the RR intervals of `rr_intervals`, (beats, len(RHYTHM[mode])) float32.

    Running means are over the patient's last SHORT_BEATS and MEMORY_BEATS intervals before the beat's own, as many
    as there are. The causal features of beat i use intervals up to i; the diagnostic ones also interval i + 1. A
    ratio that cannot be formed is 1, an interval that is missing is the running mean.
    """
    blocks = [_block_features(rr_s, start, mode) for start in range(0, len(rr_s), BLOCK_BEATS)]
    return np.concatenate(blocks) if blocks else np.empty((0, len(RHYTHM[mode])), np.float32)


def _block_features(rr_s: np.ndarray, start: int, mode: str) -> np.ndarray:
    stop = min(start + BLOCK_BEATS, len(rr_s))
    rr_s = np.concatenate((np.full(MEMORY_BEATS, np.nan), rr_s, [np.nan]))
    history = sliding_window_view(rr_s, MEMORY_BEATS)[start:stop]  # intervals before the beat's own, oldest first
    at = np.arange(start, stop) + MEMORY_BEATS
    pre, previous, second = rr_s[at], rr_s[at - 1], rr_s[at - 2]
    short, long = _mean(history[:, -SHORT_BEATS:]), _mean(history)
    values = {
        "pre_rr_s": _filled(pre, short),
        "pre_ratio_short": _ratio(pre, short),
        "pre_ratio_long": _ratio(pre, long),
        "pre_previous_ratio": _ratio(pre, previous),
        "previous_ratio_short": _ratio(previous, short),
        "second_previous_ratio_short": _ratio(second, short),
        "rr_variation": _variation(history[:, -SHORT_BEATS:], short),
    }
    if mode == "diagnostic":
        post = rr_s[at + 1]
        values["post_rr_s"] = _filled(post, short)
        values["post_ratio_short"] = _ratio(post, short)
        values["post_ratio_long"] = _ratio(post, long)
        values["pre_post_ratio"] = _ratio(pre, post)
    return np.stack([values[name] for name in RHYTHM[mode]], axis=1).astype(np.float32)


def _mean(history: np.ndarray) -> np.ndarray:
    known = np.isfinite(history)
    return np.where(known, history, 0).sum(axis=1) / np.where(known.any(axis=1), known.sum(axis=1), np.nan)


def _variation(history: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Median absolute step between neighbouring intervals over their mean: high in atrial fibrillation."""
    steps = np.abs(np.diff(history, axis=1))
    known = np.isfinite(steps)
    middle = np.nanmedian(np.where(known.any(axis=1, keepdims=True), steps, 0), axis=1)
    return np.clip(np.nan_to_num(middle / mean), 0, 1)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    ratio = numerator / denominator
    return np.where(np.isfinite(ratio), np.clip(ratio, *RATIO_RANGE), 1.0)


def _filled(interval: np.ndarray, mean: np.ndarray) -> np.ndarray:
    nominal_s = 0.8  # 75 beats a minute, where nothing at all is known
    return np.where(np.isfinite(interval), interval, np.where(np.isfinite(mean), mean, nominal_s))
