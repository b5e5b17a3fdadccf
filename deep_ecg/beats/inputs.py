"""What the network sees of a beat: its window of the ECG, and features of its rhythm, of its shape and of its P wave.

One recipe serves training, whole records and live streams. Everything is relative to the patient's own past beats:
neither gain nor heart rate nor the width of a patient's normal QRS is seen as such, because 22 training patients are
too few to learn what is usual in others. Nothing looks further ahead than the mode allows: the causal inputs of a beat
do not change when anything after its window changes.
"""

from collections.abc import Iterable, Iterator

import numpy as np

from deep_ecg.beats.arrays import Beats, NetworkInputs
from deep_ecg.beats.input_settings import InputSettings
from deep_ecg.beats.rhythm import RHYTHM, RhythmMemory, rhythm_features, rr_intervals
from deep_ecg.beats.shape import P_WAVE, SHAPE, PWaveMemory, cut_windows, p_wave_span, qrs_span, shape_inputs
from deep_ecg.beats.signal_watch import SignalWatch
from deep_ecg.beats.templates import RunningTemplate
from deep_ecg.records.long_signal import pieces
from deep_ecg.records.wfdb_files import Annotation, Record
from deep_ecg.system.errors import DeepECGError
from dsp_filters import CausalCleaner, ZeroPhaseCleaner, clean, places_of

FEATURES = {mode: rhythm + SHAPE + P_WAVE for mode, rhythm in RHYTHM.items()}  # columns of the network's second input
RR_RANGE_S = (0.15, 3.0)  # of an interval between beats whose signal is not at hand; others are slips of the pen
BLOCK_BEATS = 512  # whose windows are held at once
PIECE_SAMPLES = 2**18  # of a signal, worked on at once
CHANNELS = 2  # of the network's first input: the z-scored beat, and its difference from the running template


class BeatRecipe:
    """Makes the network's inputs of one patient's beats, in order of time, any number of them at a time.

    It carries what is known of the patient: running template, P waves and RR intervals. However the beats are
    divided among the calls, each gets the same inputs to the bit.
    """

    def __init__(self, settings: InputSettings):
        after = settings.look_ahead_samples
        before = settings.window_samples - after
        self._qrs = qrs_span(before, after, settings.fs_hz)
        self._template = RunningTemplate(settings.window_samples, self._qrs, settings.fs_hz)
        self._p_waves = PWaveMemory(p_wave_span(before, after, settings.fs_hz), settings.fs_hz)
        self._rhythm = RhythmMemory(settings.mode)

    def __call__(
        self,
        beats_mv: np.ndarray,
        rr_s: np.ndarray,
        next_rr_s: float = np.nan,
        kept: np.ndarray | slice = slice(None),
    ) -> NetworkInputs:
        """Inputs of the next beats, or of those `kept` (beats,): the others only go into what is known of the patient.

        beats_mv (beats, window_samples) are their windows of the filtered signal (`cut_windows`), rr_s (beats,) from
        `rr_intervals`; `next_rr_s` is the interval after the last of them, NaN where it is not known, which the
        diagnostic mode alone looks at.
        """
        aligned_mv, templates_mv, groups = self._template.steps(beats_mv)
        windows, shape = shape_inputs(beats_mv[kept], aligned_mv[kept], templates_mv[kept], self._qrs)
        p_wave = self._p_waves.steps(aligned_mv, templates_mv)[kept]
        rhythm = self._rhythm.steps(rr_s, next_rr_s, kept)
        return NetworkInputs(windows, np.concatenate([rhythm, shape, p_wave], axis=1), groups[kept], rr_s[kept])


def network_inputs(
    record: Record, annotation: Annotation, settings: InputSettings, kept: np.ndarray | slice = slice(None)
) -> NetworkInputs:
    """The network's inputs of every beat of `record`, or those `kept` (beats,), all at once.

    Missing samples are filled, and an RR interval across lost signal is none, as in a live stream: see `SignalWatch`.
    Raises DeepECGError when an annotation lies outside the signal, or that is shorter than a second.
    """
    watch = SignalWatch(record.fs_hz)
    filled_mv, _ = watch(record.signal_mv[:])
    blocks = list(input_blocks(record, annotation, settings, watch, [filled_mv], kept))
    return NetworkInputs(*(np.concatenate([getattr(one, name) for one in blocks]) for name in vars(blocks[0])))


def input_blocks(
    record: Record,
    annotation: Annotation,
    settings: InputSettings,
    watch: SignalWatch,
    filled: Iterable[np.ndarray] | None = None,
    kept: np.ndarray | slice = slice(None),
) -> Iterator[NetworkInputs]:
    """`network_inputs` some hundred beats at a time, in memory that does not grow with the record.

    `watch` has seen all of the signal; `filled` is what it made of that, where that is at hand, in pieces of any size.
    """
    return InputBlocks(record, annotation, settings, watch, kept).blocks(record, filled)


class InputBlocks:
    """Makes the blocks of `input_blocks`, and can be kept between two of them: see `Work`."""

    def __init__(
        self,
        record: Record,
        annotation: Annotation,
        settings: InputSettings,
        watch: SignalWatch,
        kept: np.ndarray | slice = slice(None),
    ):
        _check_inside(record, annotation)
        rr_s = rr_intervals(annotation.samples, record.fs_hz, annotation.after_gap, watch)
        self._rr_s = np.append(rr_s, np.nan)
        self._peaks = places_of(annotation.samples, record.fs_hz, settings.fs_hz, settings.causal)
        self._is_kept = np.zeros(len(self._peaks), bool)
        self._is_kept[kept] = True
        self._recipe, self._cleaner = BeatRecipe(settings), _cleaner(record.fs_hz, settings)
        self._window, self._after = settings.window_samples, settings.look_ahead_samples
        self._watch, self._taken = SignalWatch(record.fs_hz), 0
        self._held_mv, self._first = np.zeros(0), 0  # cleaned samples, and the number of the first one
        self._done, self._ready, self._ended = 0, 0, False  # beats that are done, and that can be

    def blocks(self, record: Record, filled: Iterable[np.ndarray] | None = None) -> Iterator[NetworkInputs]:
        """The blocks that are left; `record` and `filled` as in `input_blocks`."""
        coming = iter(self._filled(record) if filled is None else filled)
        while True:
            yield from self._made()
            if self._ended:
                return
            self._take(next(coming, None))

    def _filled(self, record: Record) -> Iterator[np.ndarray]:
        """What is left of the signal, piece by piece, with what is missing filled."""
        return (self._watch(piece_mv)[0] for piece_mv in pieces(record.signal_mv, PIECE_SAMPLES, self._taken))

    def _take(self, filled_mv: np.ndarray | None):
        """Takes the next piece of the signal; None where it has ended."""
        self._ended = filled_mv is None
        clean_mv = self._cleaner.finish() if filled_mv is None else self._cleaner(filled_mv)
        self._taken += 0 if filled_mv is None else len(filled_mv)
        kept = max(self._first + len(self._held_mv) - self._window, 0)
        self._held_mv, self._first = np.concatenate((self._held_mv[kept - self._first :], clean_mv)), kept
        end = kept + len(self._held_mv)
        ready = np.searchsorted(self._peaks, end - self._after, side="right")
        self._ready = len(self._peaks) if self._ended else int(ready)

    def _made(self) -> Iterator[NetworkInputs]:
        """The blocks of the beats that can be made."""
        last = self._first + len(self._held_mv) - 1  # resampling can round the last sample away
        while self._done < self._ready:
            part = slice(self._done, min(self._done + BLOCK_BEATS, self._ready))
            places = np.minimum(self._peaks[part], last) - self._first
            beats_mv = cut_windows(self._held_mv, places, self._window - self._after, self._after)
            self._done = part.stop
            yield self._recipe(beats_mv, self._rr_s[part], self._rr_s[part.stop], self._is_kept[part])


def _cleaner(fs_hz: float, settings: InputSettings) -> CausalCleaner | ZeroPhaseCleaner:
    """What brings a signal to `settings.fs_hz` and band-passes it, as the mode asks."""
    sos, rates_hz = settings.sos(), (fs_hz, settings.fs_hz)
    if settings.causal:
        return CausalCleaner(*rates_hz, sos)
    return ZeroPhaseCleaner(*rates_hz, sos, settings.band_hz[0])


def _check_inside(record: Record, annotation: Annotation):
    length = len(record.signal_mv)
    if length < record.fs_hz:
        raise DeepECGError(f"record {record.name} lasts less than a second: a longer one is needed")
    if annotation.samples.min() < 0 or annotation.samples.max() >= length:
        raise DeepECGError(f"record {record.name}: an annotation lies outside the signal: they do not belong together")


def cleaned(signal_mv: np.ndarray, settings: InputSettings) -> np.ndarray:
    """`signal_mv` (samples,) at `settings.fs_hz`, band-passed as the mode asks."""
    return clean(signal_mv, settings.sos(), settings.causal)


def beats_of(
    record: Record,
    annotation: Annotation,
    labels: np.ndarray,
    settings: InputSettings,
    kept: np.ndarray | slice = slice(None),
) -> Beats:
    """Every annotated beat of `record`, or those `kept` (beats,), with its label of `labels` (beats,)."""
    inputs = network_inputs(record, annotation, settings, kept)
    return Beats(
        windows=inputs.windows,
        features=inputs.features,
        labels=labels[kept],
        records=np.full(len(inputs), record.name),
        samples=annotation.samples[kept].astype(np.int64),
        groups=inputs.groups,
        rr_s=inputs.rr_s,
    )


def beats_without_signal(
    name: str, times_s: np.ndarray, labels: np.ndarray, settings: InputSettings, kept: np.ndarray | slice = slice(None)
) -> Beats:
    """Beats of record `name` of which only `times_s` (beats,) and `labels` (beats,) are known, or those `kept`.

    Their windows, and the features of shape and P wave, are 0: `has_signal` tells them from others. An interval
    outside RR_RANGE_S is none. Samples are milliseconds.
    """
    samples = np.round(1000 * times_s).astype(np.int64)
    steps_s = np.diff(times_s, prepend=-np.inf)
    rr_s = rr_intervals(samples, 1000.0, (steps_s < RR_RANGE_S[0]) | (steps_s > RR_RANGE_S[1]))
    rhythm = rhythm_features(rr_s, settings.mode)[kept]
    features = np.zeros((len(rhythm), len(FEATURES[settings.mode])), np.float32)
    features[:, : rhythm.shape[1]] = rhythm
    windows = np.zeros((len(rhythm), CHANNELS, settings.window_samples), np.float32)
    return Beats(
        windows=windows,
        features=features,
        labels=labels[kept].astype(np.int64),
        records=np.full(len(rhythm), name),
        samples=samples[kept],
        groups=np.full(len(rhythm), -1, np.int64),
        rr_s=rr_s[kept],
    )


def no_beats(settings: InputSettings) -> Beats:
    """No beats at all, in arrays of the right kinds."""
    return beats_without_signal("", np.empty(0), np.empty(0, np.int64), settings)


def has_signal(windows: np.ndarray) -> np.ndarray:
    """Whether each beat of `windows` (beats, CHANNELS, window_samples), which may lie on disk, is of a signal: bool."""
    blocks = [windows[start : start + BLOCK_BEATS, 0] for start in range(0, len(windows), BLOCK_BEATS)]
    return np.concatenate([np.zeros(0, bool), *((block != 0).any(axis=1) for block in blocks)])
