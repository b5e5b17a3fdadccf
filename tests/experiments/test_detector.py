"""Training of the network of R-peaks: what it is shown, its whole numbers, and what is committed of it."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from deep_ecg.beats import record_network
from deep_ecg.beats.beat_network import FULL, STEP_HZ, BeatNetwork, pretrained
from deep_ecg.beats.record_network import CONTEXT_SAMPLES, STEP, RecordNetwork
from deep_ecg.system.onnx_session import session_of
from experiments import detector, detector_data, detector_segments, detector_whole
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
    arrays = detector.integers(network, inputs)
    with torch.no_grad():
        expected = network(torch.from_numpy(inputs[:1]) / FULL)[0].numpy()
    found = BeatNetwork(arrays).push(inputs[0].astype(float)) * arrays["logit_scales"]
    assert np.abs(found - expected).max() < 0.1 * max(expected.std(), 0.5)


def test_recordings_without_r_peaks_are_marked_where_the_network_is_sure():
    """A network that answers with the signal itself, 5 steps late, sure of every beat but one."""
    one = recording("x", beats=False)

    class Echo(torch.nn.Module):
        def forward(self, inputs):
            late = torch.nn.functional.pad(inputs[:, ::2], (5, 0))[:, : inputs.shape[1] // 2]
            beat = torch.where(late > 0.6, 4.0, -4.0)
            beat[:, 5 + round(10.5 * STEP_HZ)] = 0.5  # doubtful
            return torch.stack([beat, torch.full_like(beat, -4.0)], dim=-1)

    (marked,) = detector.taught(Echo(), [one], delay_steps=5)
    assert np.abs(marked.beats_s[:, None] - (np.arange(SECONDS) + 0.5)).min(axis=1).max() <= 0.02
    assert len(marked.beats_s) == SECONDS - 1
    assert not marked.beats_known[round(10.5 * HZ)] and marked.beats_known[round(20.5 * HZ)]


def test_what_is_committed_for_streams_is_of_this_network():
    arrays = pretrained()
    assert arrays["delay_steps"] == round(0.1 * STEP_HZ) and tuple(arrays["dilations"]) == detector.DILATIONS
    parameters = sum(arrays[name].size for name in arrays if name.endswith(("_weights", "_biases")))
    assert parameters == sum(one.numel() for one in detector.FloatNetwork().parameters()) == 9698
    assert arrays["least"] < arrays["threshold"] and (np.diff(arrays["quality_limits"]) > 0).all()


def test_what_is_committed_for_records_is_of_this_network():
    """Its convolutions by hand: taps x channels in x channels out at each rate, and how often a second."""
    graph = onnx.load(Path(record_network.__file__).with_name(record_network.FILE)).graph
    found = sorted(tuple(one.dims) for one in graph.initializer if len(one.dims) == 4)
    convolutions = [one for one in detector_whole.WholeNetwork().modules() if isinstance(one, torch.nn.Conv2d)]
    of_streams = [(32, 1, 1, 16), *8 * [(16, 32, 1, 1), (16, 1, 1, 3), (32, 16, 1, 1)], (2, 32, 1, 1)]
    assert found == sorted([*(tuple(one.weight.shape) for one in convolutions), *of_streams])
    at_50 = 16 * 24 + 4 * (5 + 1) * 24**2 + 2 * 24
    at_25 = 4 * 24 * 32 + 3 * (5 + 1) * 32**2 + 32 * 24
    at_12 = 4 * 32 * 48 + 3 * (5 + 1) * 48**2 + 48 * 32
    at_6 = 4 * 48 * 64 + 8 * (3 + 1) * 64**2 + 64 * 48
    assert detector_whole.multiplications_per_s() == 50 * at_50 + 25 * at_25 + 12.5 * at_12 + 6.25 * at_6


@pytest.mark.parametrize("length", [8000, 40_000])
@pytest.mark.parametrize("size", [1001, 10**9])
def test_an_exported_network_answers_as_the_one_that_was_trained_and_that_of_streams(tmp_path, length, size):
    """That of streams answers 5 steps late; in float32 one of its whole numbers differs by one now and then."""
    torch.manual_seed(0)
    network, path = detector_whole.WholeNetwork().eval(), tmp_path / "whole.onnx"
    detector_whole.export(network, pretrained(), path)
    samples = np.random.default_rng(0).integers(-127, 128, length).astype(np.float32)
    with torch.no_grad():
        alone = network(torch.from_numpy(samples)[None] / FULL)[0].numpy()
    late = BeatNetwork(pretrained()).push(np.append(samples, np.zeros(12))) * pretrained()["logit_scales"]
    found = RecordNetwork(session_of(path.read_bytes()))
    parts = [found.push(samples[start : start + size]) for start in range(0, length, size)]
    answers, inner = np.concatenate([*parts, found.finish()]), -CONTEXT_SAMPLES // STEP
    assert answers.shape == alone.shape
    apart = np.abs(answers - (0.5, 0.75) * alone - (0.5, 0.25) * late[5 : 5 + len(alone)])[:inner]
    assert apart.max() < 0.1 and (apart < 1e-4).mean() > 0.95


@pytest.mark.parametrize("name", detector.FORMS)
def test_a_training_that_was_broken_off_goes_on_to_the_same_weights(tmp_path, monkeypatch, name):
    monkeypatch.setattr(detector, "BATCH", 2)
    monkeypatch.setattr(detector, "SAVED_EVERY", 1)
    form, unmarked = detector.FORMS[name], [recording("cinc2017", beats=False)]
    one = {part: [recording(part, part != "cinc2017", part == "noisy")] for part in SHARES}

    def trained(saved, stops):
        for stop in stops:
            torch.manual_seed(0)
            network, segments = form.network(), Segments(one, [recording(noisy=True).signal_mv], seed=3)
            training = detector._Training
            with monkeypatch.context() as patched:
                patched.setattr(training, "run", broken_off(training.run, stop))
                detector.train(network, segments, unmarked, form, 6, saved)
        return network.state_dict()

    def broken_off(run, stop):
        return lambda self, end: run(self, min(end, stop))

    once, in_parts = trained(tmp_path / "a.pt", [6]), trained(tmp_path / "b.pt", [3, 6])
    assert all(torch.equal(once[key], in_parts[key]) for key in once)
