"""R-peaks and signal quality of a whole record, in both forms: as a live stream has them, and looking both ways.

A record is read a piece at a time, so that memory and time grow with its length and no faster.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import uniform_filter1d

from deep_ecg.beats.beat_network import (
    APART_S,
    STEP_HZ,
    LogitStream,
    RPeakNetwork,
    RPlace,
    pretrained,
    primed_gain,
    r_about,
)
from deep_ecg.beats.beat_picking import record_beats
from deep_ecg.beats.signal_quality import LOST, NOISY, SETTLE_STEPS, UNREADABLE
from deep_ecg.beats.signal_watch import SignalWatch, stretches

PIECE_S = 20.0  # small enough for a processor's cache


@dataclass(frozen=True)
class Reading:
    """What a lead shows: R-peaks `samples` (beats,) int64, rising, and for every sample its state, (n,) int8 in STATES.

    `readable` (beats,): whether the signal could be read at each; `after_gap` (beats,): whether it could not since the
    last readable beat before it. `watch` has seen all of the signal.
    """

    samples: np.ndarray
    readable: np.ndarray
    after_gap: np.ndarray
    states: np.ndarray
    watch: SignalWatch


def read_causal(signal_mv: np.ndarray, fs_hz: float, arrays: Mapping[str, np.ndarray] | None = None) -> Reading:
    """The lead `signal_mv` (n,) as a live stream reads it. DeepECGError where the detector cannot run at that rate."""
    arrays = pretrained("causal") if arrays is None else arrays
    detector, watch = RPeakNetwork(fs_hz, arrays), SignalWatch(fs_hz)
    beats, states = [], [np.zeros(0, np.int8)]
    for piece_mv in _pieces(signal_mv, fs_hz):
        beats += detector.push_watched(*watch(piece_mv))
        states.append(detector.states)
    if len(signal_mv):
        beats += detector.finish()
        states.append(detector.states)
    columns = zip(*((beat.sample, beat.readable, beat.after_gap) for beat in beats)) if beats else ((), (), ())
    samples, readable, after_gap = (np.array(column, kind) for column, kind in zip(columns, (np.int64, bool, bool)))
    known = np.concatenate(states)[int(arrays["delay_steps"]) :]
    by_sample = _by_sample(known, len(signal_mv), fs_hz, watch)
    reach = round(APART_S * fs_hz)
    for sample, is_readable in zip(samples.tolist(), readable.tolist()):  # a beat is judged when it is told
        around = by_sample[max(sample - reach, 0) : sample + reach + 1]
        around[(around == UNREADABLE) == is_readable] = NOISY if is_readable else UNREADABLE
    return Reading(samples, readable, after_gap, by_sample, watch)


def read_whole(signal_mv: np.ndarray, fs_hz: float, arrays: Mapping[str, np.ndarray] | None = None) -> Reading:
    """The lead `signal_mv` (n,) by the network that looks both ways. DeepECGError as `read_causal`."""
    arrays = pretrained("whole") if arrays is None else arrays
    watch, place = SignalWatch(fs_hz), RPlace(fs_hz)
    if len(signal_mv) == 0:
        return _reading(np.zeros(0, np.int64), np.zeros(0, np.int8), watch)
    stream = LogitStream(fs_hz, arrays, primed_gain(signal_mv, fs_hz))
    watched = [watch(piece_mv) for piece_mv in _pieces(signal_mv, fs_hz)]
    logits = np.concatenate([*(stream.push(filled_mv) for filled_mv, _ in watched), stream.finish()])
    filled_mv, missing = (np.concatenate(parts) for parts in zip(*watched))
    samples, last = [], -round(10.0 * fs_hz)
    natural, limits = arrays["logit_scales"][0], (float(arrays["threshold"]), float(arrays["least"]))
    for step in record_beats(logits[:, 0] * natural, *(limit * natural for limit in limits)).tolist():
        about = r_about(step, stream.delay_steps, fs_hz)
        r = None if about < 0 else place(filled_mv, missing, about)
        if r is not None and r - last >= APART_S * fs_hz:
            samples.append(r)
            last = r
    states = _settled(logits[stream.delay_steps :, 1], arrays["quality_limits"])
    return _reading(np.array(samples, np.int64), _by_sample(states, len(signal_mv), fs_hz, watch), watch)


def r_peaks(signal_mv: np.ndarray, fs_hz: float) -> np.ndarray:
    """R-peak samples of `signal_mv` (n,) at `fs_hz`, (beats,) int64, rising; empty where no beat is found.

    Samples that are not numbers are lost signal. DeepECGError where the detector cannot run at that rate.
    """
    return read_whole(signal_mv, fs_hz).samples


def causal_r_peaks(signal_mv: np.ndarray, fs_hz: float) -> np.ndarray:
    """`r_peaks` as `RPeakNetwork` tells them in a stream."""
    return read_causal(signal_mv, fs_hz).samples


def _pieces(signal_mv: np.ndarray, fs_hz: float) -> Iterator[np.ndarray]:
    step = round(PIECE_S * fs_hz)
    return (signal_mv[start : start + step] for start in range(0, len(signal_mv), step))


def _settled(logits: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """The quality at each step, (steps,) int8: that of most `logits` (steps,) within SETTLE_STEPS of it."""
    above = (logits[None] >= np.asarray(limits)[:, None]).astype(np.float32)
    noisy, unreadable = uniform_filter1d(above, 2 * SETTLE_STEPS + 1, mode="nearest") > 0.5
    for first, last in stretches(~unreadable):  # short ones within unreadable signal
        unreadable[first : last + 1] = first > 0 and last + 1 < len(logits) and last - first < 2 * SETTLE_STEPS
    return np.where(unreadable, np.int8(UNREADABLE), noisy.astype(np.int8))


def _by_sample(states: np.ndarray, length: int, fs_hz: float, watch: SignalWatch) -> np.ndarray:
    """The states of `length` samples, (n,) int8, from those of steps, the first of which is that of the first sample.

    What the `watch` over the signal has seen lost is LOST.
    """
    if len(states) == 0:
        return np.zeros(length, np.int8)
    steps = (np.arange(length) * (STEP_HZ / fs_hz)).astype(np.int32)
    by_sample = states[np.minimum(steps, len(states) - 1)]
    for first, last in watch.lost:
        by_sample[first : last + 1] = LOST
    return by_sample


def _reading(samples: np.ndarray, states: np.ndarray, watch: SignalWatch) -> Reading:
    """The reading of R-peaks whose `states` (n,) are known from both sides."""
    unreadable = states == UNREADABLE
    readable = ~unreadable[samples]
    before = np.cumsum(unreadable)[samples]
    after_gap, last = np.zeros(len(samples), bool), 0
    for number, (is_readable, count) in enumerate(zip(readable.tolist(), before.tolist())):
        after_gap[number] = count > last
        last = count if is_readable else last
    return Reading(samples, readable, after_gap, states, watch)
