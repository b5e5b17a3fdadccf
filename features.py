"""What the network sees of a beat: its window of the ECG, and features of its rhythm and of its shape.

One definition serves training, prediction on a record, and the Transformer. Everything is relative to the patient's
own past beats: neither gain nor heart rate nor the width of a patient's normal QRS is seen as such, because 22 training
patients are too few to learn what is usual in others. Nothing looks further ahead than the mode allows: the causal
inputs of a beat do not change when anything after its window changes.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from dsp_filters import FLAT_MV, z_score

MEMORIES_BEATS = (100, 400)  # how far back the running RR statistics reach; a stream has to remember the longest
MEMORY_BEATS = max(MEMORIES_BEATS)
MAX_RR_S = 3.0  # a longer interval is a pause, taken for one of this length
RATIO_RANGE = (0.2, 3.0)
BLOCK_BEATS = 4096  # bounds the memory that long records need
BLOCK_SPANS = 256  # beats whose QRS is held at every shift

LOCAL_BEATS = (8, 32)  # how far back the irregularity of the rhythm is measured
MOST_OFF = 0.5  # of the interval that others are compared with: one far shorter is no further from a multiple of it

RUNNING = ("pre_ratio", "previous_ratio", "second_previous_ratio", "rr_step")
RHYTHM_CAUSAL = (
    *(f"{name}_{memory}" for memory in MEMORIES_BEATS for name in RUNNING),
    "pre_previous_ratio",
    "previous_second_ratio",
    *(f"{name}_{memory}" for memory in LOCAL_BEATS for name in ("rr_variation", "rr_step", "rr_off_multiple")),
    "pre_rank",
)
RHYTHM = {
    "causal": RHYTHM_CAUSAL,
    "diagnostic": (
        *RHYTHM_CAUSAL,
        *(f"post_ratio_{memory}" for memory in MEMORIES_BEATS),
        "pre_post_ratio",
    ),
}
SHAPE = (
    "log_amplitude_ratio",
    "peak_difference",
    "trough_difference",
    "qrs_residual",
    "log_spread_ratio",
    "log_width_ratio",
)
P_MEMORIES_BEATS = (8, 32)  # how far back P waves are remembered
P_WAVE = ("p_wave_correlation", *(f"p_wave_correlation_{memory}" for memory in P_MEMORIES_BEATS))
FEATURES = {mode: rhythm + SHAPE + P_WAVE for mode, rhythm in RHYTHM.items()}  # columns of the network's second input
CHANNELS = 2  # of the network's first input: the z-scored beat, and its difference from the running template
DIFFERENCE_LIMIT = 20.0  # standard deviations of the beat

QRS_S = (-0.085, 0.085)  # span around R
P_WAVE_S = (-0.24, -0.07)  # span of the P wave around R
P_SMOOTHED_S = 0.05  # over which a P wave is averaged: it is slower than muscle noise and mains
ALIKE = 0.85  # a beat whose QRS correlates more than this with a group's mean is taken for one of the group
ALIGN_S = 0.06  # how far a beat is shifted to agree with a template
ALIGN_STEP = 2  # samples
SHIFT_COST = 0.5  # correlation that a shift has to bring, per second: none without need
GROUPS = 4
FORGETTING = 0.998  # per beat: a group that no beat has joined for some minutes loses its rank
TEMPLATE_BEATS = 20  # how many of its latest beats a group's mean stands for


def beat_inputs(
    cleaned_mv: np.ndarray,
    peaks: np.ndarray,
    rr_s: np.ndarray,
    before: int,
    after: int,
    fs_hz: float,
    mode: str,
    kept: np.ndarray | slice = slice(None),
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Both inputs of the network and the group of every beat of one record, or those `kept`, in order of time.

    cleaned_mv (samples,) is the filtered signal at `fs_hz`, peaks (beats,) the R-peak samples, rr_s (beats,) from
    `rr_intervals`. The window is samples R - before ... R + after - 1. `kept` (beats,) says which beats are wanted: the
    others only go into what is known of the patient. Returns windows (kept beats, CHANNELS, before +
    after) and features (kept beats, len(FEATURES[mode])), both float32, and groups (kept beats,) int64
    (`RunningTemplate`).
    """
    beats_mv = cut_windows(cleaned_mv, peaks, before, after)
    qrs = qrs_span(before, after, fs_hz)
    aligned_mv, templates_mv, groups = running_templates(beats_mv, qrs, fs_hz)
    windows, shape = shape_inputs(beats_mv[kept], aligned_mv[kept], templates_mv[kept], qrs)
    rhythm = _rhythm_rows(rr_s, mode, np.arange(len(rr_s))[kept])
    p_wave = PWaveMemory(p_wave_span(before, after, fs_hz), fs_hz).steps(aligned_mv, templates_mv)[kept]
    return windows, np.concatenate([rhythm, shape, p_wave], axis=1), groups[kept]


def shape_inputs(
    beats_mv: np.ndarray, aligned_mv: np.ndarray, templates_mv: np.ndarray, qrs: slice
) -> tuple[np.ndarray, np.ndarray]:
    """The inputs that do not depend on the rhythm: windows (beats, CHANNELS, samples), features (beats, len(SHAPE)).

    beats_mv (beats, samples) are the windows of the filtered signal, the others what `RunningTemplate` made of them.
    """
    return _windows(beats_mv, aligned_mv - templates_mv), shape_features(aligned_mv, templates_mv, qrs)


def _windows(beats_mv: np.ndarray, differences_mv: np.ndarray) -> np.ndarray:
    """Both channels, (beats, CHANNELS, samples) float32, in standard deviations of the beat; 0 where that is flat."""
    deviation_mv = beats_mv.std(axis=1, keepdims=True)
    differences = differences_mv / np.maximum(deviation_mv, FLAT_MV)
    differences = np.where(deviation_mv > FLAT_MV, np.clip(differences, -DIFFERENCE_LIMIT, DIFFERENCE_LIMIT), 0)
    return np.stack([z_score(beats_mv), differences], axis=1).astype(np.float32)


def cut_windows(signal_mv: np.ndarray, peaks: np.ndarray, before: int, after: int) -> np.ndarray:
    """The window of each beat, (beats, before + after).

    Beyond the record's ends the first or last sample is repeated, so that no beat is left out.
    """
    return signal_mv.take(peaks[:, None] + np.arange(-before, after), mode="clip")


def qrs_span(before: int, after: int, fs_hz: float) -> slice:
    """Where the QRS lies in a window of samples R - before ... R + after - 1."""
    return _span(QRS_S, before, after, fs_hz)


def p_wave_span(before: int, after: int, fs_hz: float) -> slice:
    """Where the P wave lies in such a window, if it reaches so far back."""
    return _span(P_WAVE_S, before, after, fs_hz)


def p_smoothed_samples(fs_hz: float) -> int:
    """How many samples of a P wave are averaged before it is compared."""
    return max(round(P_SMOOTHED_S * fs_hz), 1)


def _span(span_s: tuple[float, float], before: int, after: int, fs_hz: float) -> slice:
    """`span_s`, seconds around R, in such a window; empty where that does not reach so far."""
    start, stop = (before + round(second * fs_hz) for second in span_s)
    return slice(max(start, 0), max(min(stop, before + after), 0))


# Shape against the patient's own beats ---------------------------------------------------------------------------


class RunningTemplate:
    """The patient's running template: past beats grouped by shape, the largest group's mean.

    A beat joins the group whose QRS it correlates with most, if with more than ALIKE, else it starts a group in the
    place of the smallest: beats of two shapes in turn (bigeminy) are not blended. Beats are compared at the shift, up
    to ALIGN_S, at which they agree best (`shifts`, in samples, are those tried): R-peaks of annotators and detectors
    jump between the deflections of a QRS. `group` is that of the latest beat, from 0 to GROUPS - 1; ~group where the
    beat has started it anew.
    """

    def __init__(self, samples: int, qrs: slice, fs_hz: float):
        self._qrs = qrs
        reach = min(round(ALIGN_S * fs_hz), qrs.start, samples - qrs.stop)
        self.shifts = np.arange(-(reach // ALIGN_STEP) * ALIGN_STEP, reach + 1, ALIGN_STEP)
        self._nearness = (1 - SHIFT_COST * np.abs(self.shifts) / fs_hz)[:, None]
        self._places = np.arange(qrs.start, qrs.stop) + self.shifts[:, None]
        self._groups_mv = np.zeros((GROUPS, samples))
        self._units = np.zeros((GROUPS, qrs.stop - qrs.start))
        self._sizes = np.zeros(GROUPS)
        self.group = 0

    def spans(self, beats_mv: np.ndarray) -> np.ndarray:
        """The QRS of each of `beats_mv` (beats, samples) at every shift, centred, length 1, (beats, shifts, span)."""
        return _centred_unit(beats_mv[:, self._places])

    def step(self, beat_mv: np.ndarray, spans: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """`beat_mv` (samples,) aligned with the template, and the template as it was before this beat.

        The first beat is its own template. Where many beats are known, their `spans` take less time all at once.
        """
        spans = self.spans(beat_mv[None])[0] if spans is None else spans
        similarity = np.where(self._sizes > 0, spans @ self._units.T, -1) * self._nearness
        largest = self._sizes.argmax()
        if self._sizes[largest] == 0:
            aligned_mv = template_mv = beat_mv
        else:
            template_mv = self._groups_mv[largest].copy()
            aligned_mv = _shifted(beat_mv, self.shifts[similarity[:, largest].argmax()])
        self._join(beat_mv, similarity)
        return aligned_mv, template_mv

    def _join(self, beat_mv: np.ndarray, similarity: np.ndarray):
        shift, group = divmod(similarity.argmax(), GROUPS)
        self._sizes *= FORGETTING
        if similarity[shift, group] > ALIKE:
            self._sizes[group] += 1
            self.group = int(group)
            beat_mv = _shifted(beat_mv, self.shifts[shift])
        else:
            group = self._sizes.argmin()
            self._sizes[group] = 1
            self.group = ~int(group)
        self._groups_mv[group] += (beat_mv - self._groups_mv[group]) / min(self._sizes[group], TEMPLATE_BEATS)
        self._units[group] = _centred_unit(self._groups_mv[group, self._qrs])


def running_templates(beats_mv: np.ndarray, qrs: slice, fs_hz: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each beat aligned with the patient's running template, that template as it was when the beat came, its group.

    beats_mv (beats, samples), the first two results too, the groups (beats,) int64; see `RunningTemplate`.
    """
    template = RunningTemplate(beats_mv.shape[1], qrs, fs_hz)
    aligned_mv, templates_mv = np.empty_like(beats_mv), np.empty_like(beats_mv)
    groups = np.empty(len(beats_mv), np.int64)
    for start in range(0, len(beats_mv), BLOCK_SPANS):
        block = slice(start, start + BLOCK_SPANS)
        for i, spans in enumerate(template.spans(beats_mv[block]), start):
            aligned_mv[i], templates_mv[i] = template.step(beats_mv[i], spans)
            groups[i] = template.group
    return aligned_mv, templates_mv, groups


def _shifted(beat_mv: np.ndarray, shift: int) -> np.ndarray:
    """`beat_mv` (samples,) with sample `shift` moved to 0; what lies beyond its ends repeats the last sample there."""
    if shift == 0:
        return beat_mv
    shifted_mv = np.empty_like(beat_mv)
    if shift > 0:
        shifted_mv[:-shift], shifted_mv[-shift:] = beat_mv[shift:], beat_mv[-1]
    else:
        shifted_mv[-shift:], shifted_mv[:-shift] = beat_mv[:shift], beat_mv[0]
    return shifted_mv


def shape_features(beats_mv: np.ndarray, templates_mv: np.ndarray, qrs: slice) -> np.ndarray:
    """How each beat differs from its running template, (beats, len(SHAPE)) float32.

    beats_mv and templates_mv are (beats, samples); `qrs` is the span of the QRS in them. No feature depends on the
    gain.
    """
    both_mv = np.stack([beats_mv[:, qrs], templates_mv[:, qrs]])
    highest_mv, lowest_mv = both_mv.max(axis=-1), both_mv.min(axis=-1)
    own_mv, template_mv = highest_mv - lowest_mv
    amplitude_mv = np.maximum(template_mv, FLAT_MV)
    residual_mv = np.sqrt(((both_mv[0] - both_mv[1]) ** 2).mean(axis=1))
    values = {
        "log_amplitude_ratio": _log_ratio(own_mv, amplitude_mv),
        "peak_difference": _limited((highest_mv[0] - highest_mv[1]) / amplitude_mv),
        "trough_difference": _limited((lowest_mv[0] - lowest_mv[1]) / amplitude_mv),
        "qrs_residual": _limited(residual_mv / amplitude_mv),
        "log_spread_ratio": _log_ratio(*_spread(both_mv)),
        "log_width_ratio": _log_ratio(*_half_width(both_mv)),
    }
    return np.array([values[name] for name in SHAPE]).T.astype(np.float32, order="C")


def _spread(qrs_mv: np.ndarray) -> np.ndarray:
    """Standard deviation, in samples, of the time at which each QRS's slope has its energy, plus one.

    qrs_mv (..., samples); the result (...).
    """
    energy = (qrs_mv[..., 1:] - qrs_mv[..., :-1]) ** 2
    share = energy / np.maximum(energy.sum(axis=-1, keepdims=True), FLAT_MV**2)
    at = np.arange(energy.shape[-1])
    centre = (share * at).sum(axis=-1, keepdims=True)
    return 1 + np.sqrt((share * (at - centre) ** 2).sum(axis=-1))


def _half_width(qrs_mv: np.ndarray) -> np.ndarray:
    """Samples in which each QRS (..., samples) is more than half its largest deflection from its median, plus one."""
    ordered_mv, samples = np.sort(qrs_mv, axis=-1), qrs_mv.shape[-1]  # numpy.median takes several times as long
    median_mv = (ordered_mv[..., (samples - 1) // 2] + ordered_mv[..., samples // 2]) / 2
    deflection = np.abs(qrs_mv - median_mv[..., None])
    return 1.0 + (deflection > deflection.max(axis=-1, keepdims=True) / 2).sum(axis=-1)


def _log_ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.log(np.clip(numerator / denominator, 0.1, 10))


def _limited(difference: np.ndarray) -> np.ndarray:
    return np.clip(difference, -3, 3)


def _centred_unit(rows: np.ndarray) -> np.ndarray:
    centred = rows - np.add.reduce(rows, axis=-1, keepdims=True) / max(rows.shape[-1], 1)
    norm = np.sqrt(np.add.reduce(centred * centred, axis=-1, keepdims=True))  # numpy.linalg.norm, without its checks
    return centred / np.maximum(norm, FLAT_MV)


def _moving_mean(rows: np.ndarray, width: int) -> np.ndarray:
    """The mean of each `width` neighbours in rows (n, samples), (n, samples - width + 1), or (n, 0) with too few."""
    sums = np.cumsum(np.pad(rows, ((0, 0), (1, 0))), axis=1)
    return (sums[:, width:] - sums[:, :-width]) / width


class RunningMean:
    """A mean that begins as that of `count` values of `mean`; the latest `most` added count, older ones fade."""

    def __init__(self, mean: float, count: int, most: int):
        self.mean, self._count, self._most = mean, count, most

    def add(self, value: float):
        self._count = min(self._count + 1, self._most)
        self.mean += (value - self.mean) / self._count


class PWaveMemory:
    """How like the patient's usual P wave each beat's is, and those of late have been.

    In atrial fibrillation they are not alike, in a regular rhythm with ectopic beats most are. They are compared
    smoothed, for noise makes all waves as small as these unlike. A mean is over as many earlier beats as
    P_MEMORIES_BEATS says, older ones fading; it is 0 before the first. `p_wave` is the span of the P wave in a window
    (`p_wave_span`).
    """

    def __init__(self, p_wave: slice, fs_hz: float):
        self._span, self._width = p_wave, p_smoothed_samples(fs_hz)
        self._means = [RunningMean(0.0, 0, memory) for memory in P_MEMORIES_BEATS]

    def steps(self, aligned_mv: np.ndarray, templates_mv: np.ndarray) -> np.ndarray:
        """The features P_WAVE of the next beats, (beats, len(P_WAVE)) float32.

        aligned_mv and templates_mv (beats, samples) are what `RunningTemplate` made of them.
        """
        own, usual = (self._unit(beats_mv) for beats_mv in (aligned_mv, templates_mv))
        correlations = np.add.reduce(own * usual, axis=-1).tolist()
        return np.array([self._step(one) for one in correlations], np.float32).reshape(-1, len(P_WAVE))

    def _unit(self, beats_mv: np.ndarray) -> np.ndarray:
        """The P waves of `beats_mv` (beats, samples) smoothed, centred, of length 1, (beats, span - width + 1)."""
        return _centred_unit(_moving_mean(beats_mv[:, self._span], self._width))

    def _step(self, correlation: float) -> list[float]:
        row = [correlation, *(running.mean for running in self._means)]
        for running in self._means:
            running.add(correlation)
        return row


# Rhythm ----------------------------------------------------------------------------------------------------------


def rr_intervals(peaks: np.ndarray, fs_hz: float, after_gap: np.ndarray | None = None) -> np.ndarray:
    """RR interval that ends at each beat, in seconds, (beats,); NaN where there is none.

    There is none before the first beat and where `after_gap` (beats,) is True (ventricular flutter lies between the
    beats: record 207). A pause of more than MAX_RR_S counts as MAX_RR_S.
    """
    rr_s = np.diff(peaks, prepend=np.nan) / fs_hz
    rr_s = np.minimum(rr_s, MAX_RR_S)  # NaN stays NaN
    if after_gap is not None:
        rr_s[after_gap] = np.nan
    return rr_s


def rhythm_features(rr_s: np.ndarray, mode: str, first: int = 0) -> np.ndarray:
    """Rhythm features of each beat from the RR intervals of `rr_intervals`, (beats, len(RHYTHM[mode])) float32.

    With `first`, the rows of the beats from that one on.

    Running statistics are of the patient's last MEMORIES_BEATS intervals before the beat's own, as many as there are.
    The causal features of beat i use intervals up to i; the diagnostic ones also interval i + 1. A ratio that cannot
    be formed is 1. Ratios are to the mean and not to the median: where most beats are early, as in some patients with
    S beats, the median interval is that of the early beats, while the mean still holds their pauses.
    """
    return _rhythm_rows(rr_s, mode, np.arange(first, len(rr_s)))


def _rhythm_rows(rr_s: np.ndarray, mode: str, beats: np.ndarray) -> np.ndarray:
    """The rows of `rhythm_features` of the beats with the numbers `beats`."""
    blocks = [_block_features(rr_s, beats[i : i + BLOCK_BEATS], mode) for i in range(0, len(beats), BLOCK_BEATS)]
    return np.concatenate(blocks) if blocks else np.empty((0, len(RHYTHM[mode])), np.float32)


def _block_features(rr_s: np.ndarray, beats: np.ndarray, mode: str) -> np.ndarray:
    rr_s = np.concatenate((np.full(MEMORY_BEATS, np.nan), rr_s, [np.nan]))
    history = sliding_window_view(rr_s, MEMORY_BEATS)[beats]  # intervals before the beat's own, oldest first
    at = beats + MEMORY_BEATS
    pre, previous, second, post = rr_s[at], rr_s[at - 1], rr_s[at - 2], rr_s[at + 1]
    known, steps = np.isfinite(history), np.abs(history[:, 1:] - history[:, :-1])
    filled = np.where(known, history, 0)
    ratios = {"pre_previous_ratio": (pre, previous), "previous_second_ratio": (previous, second)}
    ratios["pre_post_ratio"] = (pre, post)
    values, shares = {}, {}
    for memory in LOCAL_BEATS + MEMORIES_BEATS:
        recent, count = filled[:, -memory:], known[:, -memory:].sum(axis=1)
        mean = _mean(recent, count)
        shares[f"rr_step_{memory}"] = (_median(steps[:, 1 - memory :]), mean)
        if memory in LOCAL_BEATS:
            variance = np.maximum(_mean(recent**2, count) - mean**2, 0)
            shares[f"rr_variation_{memory}"] = (np.sqrt(variance), mean)
            values[f"rr_off_multiple_{memory}"] = _off_multiple(pre, history[:, -memory:], count)
        if memory == max(LOCAL_BEATS):
            values["pre_rank"] = _rank(pre, history[:, -memory:], count)
        if memory in MEMORIES_BEATS:
            intervals = {"pre": pre, "previous": previous, "second_previous": second, "post": post}
            ratios |= {f"{name}_ratio_{memory}": (interval, mean) for name, interval in intervals.items()}
    values |= zip(ratios, _ratio(*np.array(list(ratios.values())).swapaxes(0, 1)))
    values |= zip(shares, _share(*np.array(list(shares.values())).swapaxes(0, 1)))
    return np.array([values[name] for name in RHYTHM[mode]]).T.astype(np.float32, order="C")


def _median(steps: np.ndarray) -> np.ndarray:
    """Median of the known `steps` (beats, memory - 1) between intervals, NaN where there are none.

    It is high in atrial fibrillation, whose early beats are normal; the standard deviation would be as high where a
    regular rhythm is broken by pauses.
    """
    row, ordered, count = np.arange(len(steps)), np.sort(steps, axis=1), np.isfinite(steps).sum(axis=1)  # NaN: last
    return ordered[row, np.array([(count - 1) // 2, count // 2])].mean(axis=0)


def _off_multiple(pre: np.ndarray, history: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Mean distance of the `count` intervals in `history` (beats, memory) from whole multiples of `pre` (beats,).

    In units of `pre`, 0 where unknown. It is low where beats are dropped, as in atrioventricular block, and the next
    one in time looks early; high where a beat is premature.
    """
    multiple = history / np.where(pre > 0, pre, np.nan)[:, None]
    off = np.minimum(np.abs(multiple - np.maximum(np.round(multiple), 1)), MOST_OFF)
    return np.where(np.isfinite(off), off, 0).sum(axis=1) / np.maximum(count, 1)


def _rank(pre: np.ndarray, history: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Share of the `count` intervals in `history` (beats, memory) shorter than `pre` (beats,); 0.5 where unknown."""
    shorter = (history < pre[:, None]).sum(axis=1) + 0.5 * (history == pre[:, None]).sum(axis=1)
    return np.where((count > 0) & np.isfinite(pre), shorter / np.maximum(count, 1), 0.5)


def _mean(rows: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Mean of the `count` known values of each row, where the others are 0; NaN where there are none."""
    return rows.sum(axis=1) / np.where(count > 0, count, np.nan)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    ratio = numerator / denominator
    return np.where(np.isfinite(ratio), np.clip(ratio, *RATIO_RANGE), 1.0)


def _share(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    share = numerator / denominator
    return np.where(np.isnan(share), 0.0, np.clip(share, 0, 1))
