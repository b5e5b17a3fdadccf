"""Whole runs that are short."""

from dataclasses import replace

from config import Config, ModelPreset


class Short(Config):
    """Settings that train for two epochs, in worker processes as well: the class goes there with its objects."""

    @property
    def model(self) -> ModelPreset:
        """The preset, for two epochs."""
        return replace(super().model, epochs=2)
