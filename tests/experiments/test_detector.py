"""Training of the network of R-peaks: what it is shown, its whole numbers, and what is committed of it."""

import numpy as np
import pytest
import torch

from deep_ecg.beats.beat_network import FULL, STEP_HZ, BeatNetwork, pretrained
from experiments import detector, detector_data, detector_segments
from experiments.detector_data import Recording
from experiments.detector_segments import HZ, LENGTH, SHARES, Segments

SECONDS = 30


def recording(name="a", beats=True, noisy=False) -> Recording:
    """An ECG of a beat a second, a spike of 30 ms each, at 100 Hz; or noise in its place."""
    rng = np.random.default_rng(len(name))
    signal_mv = 0.01 * rng.normal(size=SECONDS * HZ)
    signal_mv[HZ // 2 :: HZ] += 1.0
    if noisy:
        signal_mv = rng.normal(size=SECONDS * HZ)
    known, none = np.full(SECONDS * HZ, beats), np.zeros(0)
    beats_s = np.arange(SECONDS) + 0.5 if beats else none
    unreadable = np.full(SECONDS * HZ, 0.9 * noisy, np.float32)
    return Recording(name, signal_mv.astype(np.float32), beats_s, known, unreadable, np.ones(SECONDS * HZ, bool))


@pytest.fixture(scope="module")
def segments() -> Segments:
    one = {name: [recording(name, name != "cinc2017", name == "noisy")] for name in SHARES}
    return Segments(one, [recording(noisy=True).signal_mv], seed=3)


def test_held_out_are_every_third_by_name_or_those_that_the_project_names(tmp_path):
    for name, records in (("tele", "c a f b e d g"), ("svdb", "803 804 805 808 820")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "RECORDS").write_text(records)
    assert detector_data.held_out(tmp_path / "tele") == ["c", "f"]
    assert detector_data.held_out(tmp_path / "svdb") == ["803", "808", "820"]


def test_a_batch_is_always_the_same_by_its_number(segments):
    first, other, again = segments.batch(7, 3, 5), segments.batch(8, 3, 5), segments.batch(7, 3, 5)
    assert all((a == b).all() for a, b in zip(first, again))
    assert not (first[0] == other[0]).all()
    assert first[0].shape == (3, LENGTH) and all(part.shape == (3, LENGTH // 2) for part in first[1:])


def test_the_answer_to_a_beat_comes_late_by_what_the_network_may_look_ahead():
    target = detector_segments.beat_target(np.array([4.01]), delay_steps=5)
    assert target.argmax() / STEP_HZ == pytest.approx(4.1) and target.max() == pytest.approx(1.0, abs=0.01)
    assert target[target > 0].size == 11


def test_noise_has_the_power_that_it_says():
    rng = np.random.default_rng(0)
    assert np.std(detector_segments.unit(5 * rng.normal(size=60 * HZ))) == pytest.approx(1.0, rel=0.1)


def test_it_costs_no_more_than_half_a_million_multiplications_a_second():
    """First layer 16 x 32, eight blocks of 32 x 16 + 3 x 16 + 16 x 32, head 32 x 2, fifty times a second."""
    assert detector.multiplications_per_s() == 50 * (16 * 32 + 8 * (32 * 16 + 3 * 16 + 16 * 32) + 32 * 2) <= 500_000


def test_whole_numbers_answer_as_floating_point_does(segments):
    torch.manual_seed(0)
    network = detector.FloatNetwork()
    inputs = segments.batch(1, 4, 0)[0]
    arrays = detector.integers(network, inputs, "causal", (0.1, 0.35), (0.35, 0.8))
    with torch.no_grad():
        expected = network(torch.from_numpy(inputs[:1]) / FULL)[0].numpy()
    found = BeatNetwork(arrays).push(inputs[0].astype(float)) * arrays["logit_scales"]
    assert np.abs(found - expected).max() < 0.1 * max(expected.std(), 0.5)


def test_recordings_without_r_peaks_are_marked_where_the_network_is_sure():
    """A network that answers with the signal itself, 5 steps late, sure of every beat but one."""
    one = recording("x", beats=False)

    class Echo:
        def __call__(self, inputs):
            late = torch.nn.functional.pad(inputs[:, ::2], (5, 0))[:, : inputs.shape[1] // 2]
            beat = torch.where(late > 0.6, 4.0, -4.0)
            beat[:, 5 + round(10.5 * STEP_HZ)] = 0.5  # doubtful
            return torch.stack([beat, torch.full_like(beat, -4.0)], dim=-1)

    (marked,) = detector.taught(Echo(), [one], "causal")
    assert np.abs(marked.beats_s[:, None] - (np.arange(SECONDS) + 0.5)).min(axis=1).max() <= 0.02
    assert len(marked.beats_s) == SECONDS - 1
    assert not marked.beats_known[round(10.5 * HZ)] and marked.beats_known[round(20.5 * HZ)]


@pytest.mark.parametrize("form, delay_s", [("causal", 0.1), ("whole", 2.4)])
def test_what_is_committed_is_of_this_network(form, delay_s):
    arrays = pretrained(form)
    assert arrays["delay_steps"] == round(delay_s * STEP_HZ) and tuple(arrays["dilations"]) == detector.DILATIONS
    parameters = sum(arrays[name].size for name in arrays if name.endswith(("_weights", "_biases")))
    assert parameters == sum(one.numel() for one in detector.FloatNetwork().parameters()) == 9698
    assert arrays["least"] < arrays["threshold"] and (np.diff(arrays["quality_limits"]) > 0).all()
