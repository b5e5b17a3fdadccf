"""A labelled record with its signal, as its page needs it; stretches of it as they are drawn."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from deep_ecg.report.beat_series import BeatSeries
from dsp_filters import bandpass_sos, filter_zero_phase, running_mean

BAND_HZ, ORDER = (0.5, 40.0), 2  # of what is drawn on paper, as monitors have it
SETTLE_S = 2.0  # of the signal around a stretch that the filter sees, too
DRAWN_HZ = 250.0  # a stretch is drawn with so many samples a second, or somewhat more
LEAST_BIN_S, MOST_BINS = 0.02, 350_000  # of the envelope of a whole record
BASELINE_S = 1.0  # whose mean is taken from the envelope
BLOCK_SAMPLES = 2_000_000
LARGEST, MISSING = 127, -128  # codes of the envelope


@dataclass(frozen=True)
class Reference:
    """Reference beats that lie beside a record: samples (beats,) of their R-peaks, labels (beats,) into CLASSES."""

    samples: np.ndarray
    labels: np.ndarray
    file: str


@dataclass(frozen=True)
class Recording:
    """A record called `name`: its labelled beats, one lead in millivolts (samples,), NaN where samples are missing.

    Where other leads took over for a while, `labelled_mv` (samples,) is the signal that the beats were labelled from,
    and `leads` (beats,) names the lead of each. `groups` (beats,) of `templates.RunningTemplate`, `trust` as summaries
    hold it, `network` and `peaks` say by what beats were labelled and found, `notes` what else a reader has to know,
    one line each.
    """

    name: str
    lead: str
    series: BeatSeries
    signal_mv: np.ndarray
    trust: dict
    network: str = ""
    peaks: str = "detected"
    groups: np.ndarray | None = None
    reference: Reference | None = None
    synthetic: bool = False
    notes: Sequence[str] = field(default_factory=list)
    labelled_mv: np.ndarray | None = None
    leads: np.ndarray | None = None

    @property
    def shown_mv(self) -> np.ndarray:
        """The signal (samples,) that the beats were labelled from, which is drawn."""
        return self.signal_mv if self.labelled_mv is None else self.labelled_mv

    def leads_of(self, start_s: float, length_s: float) -> str:
        """The leads that the beats of a stretch were labelled from, where one is not the record's; else ""."""
        if self.leads is None:
            return ""
        of_stretch = slice(*np.searchsorted(self.series.times_s, (start_s, start_s + length_s)))
        names = dict.fromkeys(self.leads[of_stretch].tolist())
        return ", ".join(names) if set(names) - {self.lead} else ""

    def drawn(self, start_s: float, length_s: float) -> tuple[np.ndarray, np.ndarray]:
        """Times (n,) in seconds and the filtered signal (n,) in mV of a stretch; NaN where samples are missing."""
        fs_hz, total = self.series.fs_hz, len(self.shown_mv)
        first, last = max(round(start_s * fs_hz), 0), min(round((start_s + length_s) * fs_hz), total)
        before = max(first - round(SETTLE_S * fs_hz), 0)
        raw_mv = self.shown_mv[before : min(last + round(SETTLE_S * fs_hz), total)]
        filled_mv, missing = filled(raw_mv)
        band_hz = (BAND_HZ[0], min(BAND_HZ[1], 0.45 * fs_hz))
        clean_mv = filter_zero_phase(filled_mv, bandpass_sos(band_hz, ORDER, fs_hz))
        clean_mv[missing] = np.nan
        step = max(int(fs_hz / DRAWN_HZ), 1)
        kept = slice(first - before, last - before, step)
        return np.arange(first, last, step) / fs_hz, clean_mv[kept]


@dataclass(frozen=True)
class Envelope:
    """Lowest and highest value of each `bin_s` of a record, (bins,) int8: codes times `step_mv`, MISSING for none."""

    bin_s: float
    step_mv: float
    low: np.ndarray
    high: np.ndarray


def filled(signal_mv: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`signal_mv` (n,) with the median in the place of missing samples, and which were missing."""
    missing = ~np.isfinite(signal_mv)
    if not missing.any():
        return signal_mv, missing
    return np.where(missing, 0.0 if missing.all() else np.median(signal_mv[~missing]), signal_mv), missing


def envelope_of(signal_mv: np.ndarray, fs_hz: float) -> Envelope:
    """The envelope of `signal_mv` (n,), n > 0, about its running mean."""
    size = max(round(LEAST_BIN_S * fs_hz), math.ceil(len(signal_mv) / MOST_BINS), 1)
    block = max(BLOCK_SAMPLES // size, 1) * size
    parts = [_envelope_of_block(signal_mv, start, block, size, fs_hz) for start in range(0, len(signal_mv), block)]
    low_mv, high_mv = (np.concatenate(part) for part in zip(*parts))
    known = np.isfinite(low_mv)
    reach_mv = np.maximum(-low_mv, high_mv)[known]
    step_mv = max(1.3 * float(np.percentile(reach_mv, 99.5)) if len(reach_mv) else 0.0, 1e-6) / LARGEST
    codes = [np.where(known, np.clip(np.round(mv / step_mv), -LARGEST, LARGEST), MISSING) for mv in (low_mv, high_mv)]
    return Envelope(size / fs_hz, step_mv, *(code.astype(np.int8) for code in codes))


def _envelope_of_block(signal_mv: np.ndarray, start: int, block: int, size: int, fs_hz: float) -> list[np.ndarray]:
    margin = round(BASELINE_S * fs_hz)
    before = max(start - margin, 0)
    filled_mv, missing = filled(signal_mv[before : start + block + margin])
    centred_mv = filled_mv - running_mean(filled_mv, max(margin, 1))
    centred_mv[missing] = np.nan
    centred_mv = centred_mv[start - before : start - before + block]
    padded_mv = np.pad(centred_mv, (0, -len(centred_mv) % size), constant_values=np.nan).reshape(-1, size)
    return [np.fmin.reduce(padded_mv, axis=1), np.fmax.reduce(padded_mv, axis=1)]
