"""The network of whole records: blocks and chunks change nothing, and no more of the signal is seen than is said."""

import numpy as np
import pytest

from deep_ecg.beats import record_network
from deep_ecg.beats.beat_network import BeatNetwork
from deep_ecg.beats.beat_network import pretrained as of_streams
from deep_ecg.beats.record_network import CONTEXT_SAMPLES, STEP, WHOLE_SAMPLES, BothNetworks, RecordNetwork
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


@pytest.mark.parametrize("length", [0, 1, 7, 4000, 40_001])
@pytest.mark.parametrize("size", [1001, 10**9])
def test_both_networks_have_their_say_at_the_same_place_of_the_signal(length, size):
    samples = np.random.default_rng(9).integers(-127, 128, length).astype(float)
    both = BothNetworks()
    parts = [both.push(samples[start : start + size]) for start in range(0, length, size)]
    found = np.concatenate([*parts, both.finish()])
    arrays = of_streams()
    of_stream = BeatNetwork(arrays).push(np.concatenate([samples, np.zeros(12)])) * arrays["logit_scales"]
    alone, of_stream = answers(samples), of_stream[5 : 5 + len(found)]
    assert len(found) == -(-length // STEP)
    np.testing.assert_allclose(found[:, 0], 0.5 * alone[:, 0] + 0.5 * of_stream[:, 0], atol=1e-4)
    np.testing.assert_allclose(found[:, 1], 0.75 * alone[:, 1] + 0.25 * of_stream[:, 1], atol=1e-4)
