"""How labels and probabilities are made of what a network says of a beat."""

from dataclasses import dataclass

from config import Config


@dataclass(frozen=True)
class DecisionSettings:
    """Temperature and running priors that belong to one trained network: see `temperature.tempered` and prior.py."""

    temperature: float  # what calibrates its probabilities; 1 leaves them as they are
    s_prior_weight: float  # how far the share of S among a patient's latest labels counts for the next
    v_prior_weight: float  # how far V of the same shape make the next V likelier
    s_usual_share: float = 0.08  # of S among the latest labels: at it, and at the start, S stays as likely as it says
    rhythm_weight: float = 0.0  # how far a rhythm that fibrillates makes S less likely

    @classmethod
    def of(cls, config: Config) -> "DecisionSettings":
        """Those of the settings `config`, for a network of their mode and preset.

        The network of the rhythm learned from other databases, so that it has a say in the open protocol alone.
        """
        return cls(
            temperature=config.temperature,
            s_prior_weight=config.s_prior_weight,
            v_prior_weight=config.v_prior_weight,
            rhythm_weight=config.rhythm_weight if config.protocol == "open" else 0.0,
        )
