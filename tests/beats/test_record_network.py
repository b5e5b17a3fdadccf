"""The network of whole records: blocks and chunks change nothing, and no more of the signal is seen than is said."""

import numpy as np
import pytest

from deep_ecg.beats import record_network
from deep_ecg.beats.record_network import CONTEXT_SAMPLES, STEP, WHOLE_SAMPLES, RecordNetwork
from deep_ecg.system.errors import DeepECGError


def answers(samples: np.ndarray, size: int = 10**9) -> np.ndarray:
    network = RecordNetwork()
    parts = [network.push(samples[start : start + size]) for start in range(0, len(samples), size)]
    return np.concatenate([*parts, network.finish()])


@pytest.mark.parametrize("size", [1, 333, 8000])
def test_chunks_and_blocks_change_nothing(monkeypatch, size):
    samples = np.random.default_rng(9).integers(-127, 128, 9001).astype(float)
    at_once = answers(samples)
    assert at_once.shape == (4501, 2)
    monkeypatch.setattr(record_network, "BLOCK_SAMPLES", 64 * WHOLE_SAMPLES)
    np.testing.assert_allclose(answers(samples, size), at_once, atol=1e-4)


def test_no_sample_beyond_the_context_has_a_say_and_those_within_have():
    samples = np.random.default_rng(1).integers(-127, 128, 6000).astype(float)
    changed = samples.copy()
    changed[3000:] = 0
    apart = np.abs(answers(samples) - answers(changed)).max(axis=1)
    assert apart[: (3000 - CONTEXT_SAMPLES) // STEP].max() < 1e-4 < apart[1490]


@pytest.mark.parametrize("length", [0, 1, 2, 15, 16, 17])
def test_every_step_of_a_short_signal_is_answered(length):
    assert answers(np.ones(length)).shape == (-(-length // STEP), 2)


def test_a_file_that_cannot_be_read_is_named(monkeypatch):
    monkeypatch.setattr(record_network, "FILE", "none.onnx")
    record_network.pretrained.cache_clear()
    with pytest.raises(DeepECGError, match=r"none\.onnx is no network of R-peaks"):
        record_network.pretrained()
    record_network.pretrained.cache_clear()
