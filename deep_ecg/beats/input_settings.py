"""How the inputs of a network are made of a signal."""

from dataclasses import dataclass, fields

import numpy as np

from dsp_filters import bandpass_sos


@dataclass(frozen=True)
class InputSettings:
    """Rate, filter and window by which a network's inputs are made, as the settings of the same names in config.py."""

    mode: str
    fs_hz: float
    band_hz: tuple[float, float]
    filter_order: int
    window_samples: int
    look_ahead_ms: float

    @classmethod
    def of(cls, config) -> "InputSettings":
        """Those of the settings `config` of a run."""
        return cls(**{field.name: getattr(config, field.name) for field in fields(cls)})

    @property
    def causal(self) -> bool:
        """Whether nothing from after the look-ahead is used."""
        return self.mode == "causal"

    @property
    def look_ahead_samples(self) -> int:
        """Samples of the window after R: half the window in diagnostic mode, the look-ahead in causal mode."""
        if not self.causal:
            return self.window_samples // 2
        return round(self.look_ahead_ms * self.fs_hz / 1000)

    def sos(self) -> np.ndarray:
        """The band-pass, in second-order sections."""
        return bandpass_sos(self.band_hz, self.filter_order, self.fs_hz)
