"""Temperature scaling."""

import numpy as np

LIMITS = (0.05, 20.0)  # what a temperature may be; the lowest is fitted where every beat is right
LEAST = 1e-40  # a probability that single precision has rounded to 0 still has a logarithm


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities (n, classes) of `logits` (n, classes), in their precision."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def tempered(proba: np.ndarray, temperature: float) -> np.ndarray:
    """`proba` (n, classes) as they would be with logits divided by `temperature`; the most probable class stays.

    Temperature scaling (Guo et al., ICML 2017). Above 1 makes a network less sure of itself, below 1 more. Logits are
    logarithms of probabilities but for a constant, which the softmax takes away, so they are not needed. In double
    precision, in which no two probabilities of single precision fall together.
    """
    if temperature == 1:
        return proba
    return softmax(np.log(np.maximum(proba.astype(float), LEAST)) / temperature)
