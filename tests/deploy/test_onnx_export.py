"""The ONNX files against torch and against the reference interpreter of the ONNX project."""

import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from config import Config
from deep_ecg.beats.arrays import Beats
from deep_ecg.beats.inputs import CHANNELS, FEATURES
from deep_ecg.deploy.onnx_export import export_fp32, export_int8
from deep_ecg.networks import torch_network
from deep_ecg.networks.onnx_network import OnnxNetwork
from deep_ecg.records.database import Source
from deep_ecg.training.experiment import describe, hybrid_arguments
from model import HybridECGNet
from tests.support import ROOT

VARIANTS = (("diagnostic", "edge"), ("causal", "full"))


def beats(mode: str, count: int, seed: int = 0) -> Beats:
    """Random inputs with features of very different ranges, as real ones have."""
    rng = np.random.default_rng(seed)
    windows = rng.standard_normal((count, CHANNELS, Config().window_samples)).astype(np.float32)
    features = rng.standard_normal((count, len(FEATURES[mode]))) * np.geomspace(0.01, 10, len(FEATURES[mode]))
    more = np.zeros((2, count), np.int64)
    return Beats(windows, features.astype(np.float32), np.zeros(count, np.int64), np.zeros(count), *more)


def network(mode: str, preset: str) -> HybridECGNet:
    """Random weights, with the normalisation and running statistics of a trained network."""
    torch.manual_seed(1)
    model = HybridECGNet(**hybrid_arguments(Config(mode=mode, preset=preset)))
    given = beats(mode, 500)
    model.features.set_normalisation(torch.from_numpy(given.features))
    with torch.no_grad():
        for _ in range(20):
            model(torch.from_numpy(given.windows[:64]), torch.from_numpy(given.features[:64]))
    return model.eval()


@pytest.fixture(scope="module", params=VARIANTS, ids="-".join)
def exported(request, tmp_path_factory) -> tuple[str, HybridECGNet, Path, Path]:
    """Mode, network, its fp32 and its int8 file."""
    mode, preset = request.param
    folder, model = tmp_path_factory.mktemp("exported"), network(mode, preset)
    description = describe(Config(mode=mode, preset=preset), Source("local", folder), 0)
    fp32 = export_fp32(model, description, folder / "fp32.onnx")
    return mode, model, fp32, export_int8(fp32, description, beats(mode, 200), folder / "int8.onnx")


def test_fp32_answers_as_torch_for_any_batch(exported):
    mode, model, fp32, _ = exported
    for count in (0, 1, 7, 300):
        given = beats(mode, count, seed=2)
        expected = torch_network.predict_proba(model, given.windows, given.features)
        found = OnnxNetwork(fp32).predict_proba(given.windows, given.features)
        assert found.shape == (count, 5) and found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_weights_of_half_precision_are_stored_so_and_run_the_same(tmp_path):
    """Two bytes each of the many that the layers after the convolutions have."""
    model = network("causal", "full")
    description = describe(Config(mode="causal", preset="full"), Source("local", tmp_path), 0)
    before = export_fp32(model, description, tmp_path / "before.onnx")
    torch_network.round_to_half(model)
    path = export_fp32(model, description, tmp_path / "rounded.onnx")
    kinds = {value.dtype for value in _initializers(onnx.load(path)).values() if value.ndim == 2}
    assert kinds == {np.dtype(np.float16)}
    assert path.stat().st_size < 0.55 * before.stat().st_size
    given = beats("causal", 50, seed=2)
    expected = torch_network.predict_proba(model, given.windows, given.features)
    np.testing.assert_allclose(OnnxNetwork(path).predict_proba(given.windows, given.features), expected, atol=1e-5)


def test_features_are_normalised_and_limited_inside_the_graph(exported):
    """Beyond two standard deviations of the training patients a feature says no more."""
    mode, model, fp32, int8 = exported
    given = beats(mode, 3, seed=2)
    limit = (model.features.mean + 2 * model.features.scale).numpy()
    for path in (fp32, int8):
        at_limit, far = (
            OnnxNetwork(path).predict_proba(given.windows, np.tile(row, (3, 1)).astype(np.float32))
            for row in (limit, 1000 * np.abs(limit) + 1000)
        )
        np.testing.assert_allclose(at_limit, far, atol=1e-5)


def test_int8_means_the_same_to_the_reference_interpreter(exported):
    """Onnxruntime fuses the graph into integer kernels; the reference interpreter computes it step by step."""
    mode, _, _, int8 = exported
    given = beats(mode, 8, seed=3)
    [expected] = ReferenceEvaluator(onnx.load(int8)).run(None, {"windows": given.windows, "features": given.features})
    found = OnnxNetwork(int8).logits(given.windows, given.features)
    assert np.abs(found - expected).max() < 0.05 * np.ptp(expected)  # a value may round to the next of 256 levels
    assert np.array_equal(found.argmax(axis=1), expected.argmax(axis=1))


def test_int8_is_near_fp32(exported):
    mode, _, fp32, int8 = exported
    given = beats(mode, 300, seed=4)
    exact, rounded = (OnnxNetwork(path).logits(given.windows, given.features) for path in (fp32, int8))
    assert 0 < np.abs(exact - rounded).max() < 0.15 * np.ptp(exact)


def test_weights_are_int8_by_channel_convolutions_too(exported):
    """Each weight lies within half a step of the fp32 one; a step is the channel's largest weight over 64: the
    sum of two products with a byte, 2 * 64 * 255, fits 16 bits, and so no processor saturates.
    """
    _, _, fp32, int8 = exported
    graph, exact = onnx.load(int8).graph, _initializers(onnx.load(fp32))
    values, nodes = _initializers(onnx.load(int8)), {node.output[0]: node for node in graph.node}
    layers = [node for node in graph.node if node.op_type in ("Conv", "Gemm")]
    quantized = [node for node in layers if node.input[1] in nodes]
    assert [node.op_type for node in quantized].count("Conv") == 3 and len(layers) - len(quantized) == 1
    for node in quantized:
        source, scale, *_ = (values[name] for name in nodes[node.input[1]].input)
        name = nodes[node.input[1]].input[0].removesuffix("_quantized")
        assert source.dtype == np.int8 and scale.shape == source.shape[:1]
        steps = scale.reshape(-1, *[1] * (source.ndim - 1))
        np.testing.assert_allclose(scale, np.abs(exact[name]).reshape(len(scale), -1).max(axis=1) / 64, rtol=0.01)
        assert np.abs(source.astype(int)).max() == 64
        assert (np.abs(source * steps - exact[name]) <= 0.51 * steps + 1e-7).all()


def _initializers(proto: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {value.name: numpy_helper.to_array(value) for value in proto.graph.initializer}


def test_inputs_and_output_have_stable_names_and_any_batch(exported):
    mode, _, *paths = exported
    for path in paths:
        graph = onnx.load(path).graph
        shapes = {end.name: [dim.dim_param or dim.dim_value for dim in end.type.tensor_type.shape.dim]
                  for end in (*graph.input, *graph.output)}  # fmt: skip
        assert shapes == {
            "windows": ["batch", CHANNELS, 280], "features": ["batch", len(FEATURES[mode])], "logits": ["batch", 5],
        }  # fmt: skip


def test_the_file_alone_says_what_it_is_and_nothing_of_this_machine(exported):
    mode, _, *paths = exported
    for path in paths:
        description = OnnxNetwork(path).description
        assert description.mode == mode and description.features == FEATURES[mode]
        assert description.classes == tuple("NSVFQ") and description.data_source == "local"
        assert description.training == {}
        content = path.read_bytes()
        assert not any(str(place).encode() in content for place in (ROOT, Path(sys.prefix), Path.home()))
        assert not list(path.parent.glob("*.data"))  # no weights beside it


def test_int8_of_full_is_3_8_times_smaller(exported):
    """The sizes do not depend on what the weights are; of the small network much is graph and metadata."""
    _, model, fp32, int8 = exported
    assert fp32.stat().st_size / int8.stat().st_size > (3.8 if model.flatten else 1.2)


def test_export_leaves_the_network_as_it_was_and_says_nothing(tmp_path, capfd):
    model = network("causal", "edge").train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        description = describe(Config(mode="causal", preset="edge"), Source("local", tmp_path), 0)
        export_fp32(model, description, tmp_path / "network.onnx")
    assert model.training and all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert capfd.readouterr() == ("", "")
