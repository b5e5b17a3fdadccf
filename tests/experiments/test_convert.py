"""Files of the older format turned into those of today's: the same weights, and what the older ones did not say."""

import dataclasses
import json
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import pytest
import torch

from config import Config
from deep_ecg.beats.input_settings import InputSettings
from deep_ecg.beats.inputs import FEATURES
from deep_ecg.deploy.onnx_export import export_fp32
from deep_ecg.networks.classifier import load_classifier
from deep_ecg.networks.decision_settings import DecisionSettings
from deep_ecg.networks.description import OLD_FORMAT
from deep_ecg.networks.onnx_network import METADATA
from deep_ecg.networks.torch_network import save_checkpoint
from deep_ecg.system.errors import DeepECGError
from deep_ecg.training.experiment import hybrid_arguments
from experiments import convert
from experiments.__main__ import main
from model import HybridECGNet
from tests.support.networks import described, made_up_beats, network

# What networks were used with while their files did not say it
TEMPERATURES = {("diagnostic", "full"): 0.805, ("diagnostic", "edge"): 0.941, ("causal", "full"): 0.877}
TEMPERATURES |= {("causal", "edge"): 0.982}


def old_description(mode: str, preset: str) -> dict:
    """As files of the older format have it, written by hand, with settings that are not today's."""
    return {
        "mode": mode,
        "preset": preset,
        "classes": ["N", "S", "V", "F", "Q"],
        "features": list(FEATURES[mode]),
        "data_source": "physionet",
        "seed": 3,
        "config": {
            "lead": "II",
            "fs_hz": 360.0,
            "band_hz": [1.0, 40.0],
            "filter_order": 3,
            "window_samples": 280,
            "look_ahead_ms": 120.0,
        },
    }


@cache
def exported(mode: str, preset: str) -> onnx.ModelProto:
    """A network of random weights in ONNX."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        return onnx.load(export_fp32(network(mode, preset), described(Config(mode=mode, preset=preset)), path))


def old_file(path: Path, mode="causal", preset="edge", change=lambda said: None) -> Path:
    """A network of random weights in the older format, its description gone through `change`."""
    said = old_description(mode, preset)
    if path.suffix == ".onnx":
        change(said)
        proto = exported(mode, preset)
        onnx.helper.set_model_props(proto, {METADATA: json.dumps({"format": OLD_FORMAT, **said})})
        onnx.save(proto, path)
        return path
    more = {"mode": mode, "preset": preset, "seeds": [3], "other_leads": ["ECG1"], "replays": 6, "dropout": 0.3}
    said["config"] |= more | {"s_prior_weight": 0.6, "v_prior_weight": 0.5}
    change(said)
    arguments = hybrid_arguments(Config(mode=mode, preset=preset))
    save_checkpoint(path, network(mode, preset), arguments, described(Config(mode=mode, preset=preset)))
    stored = torch.load(path, weights_only=True)
    torch.save(stored | {"format": OLD_FORMAT, "description": said}, path)
    return path


def load(path: Path, mode: str = "causal", preset: str = "edge"):
    return load_classifier(Config(mode=mode, preset=preset), path, "onnx" if path.suffix == ".onnx" else "torch")


@pytest.mark.parametrize("ending", ["pt", "onnx"])
def test_an_older_file_is_refused_with_the_command_that_makes_it_one_that_is_taken(tmp_path, ending, capsys):
    path = old_file(tmp_path / f"network.{ending}")
    with pytest.raises(DeepECGError, match="`python -m experiments convert (.*)`") as caught:
        load(path)
    command = str(caught.value).partition("convert ")[2].partition("`")[0]
    assert main(["convert", command]) == 0
    assert capsys.readouterr().out == f"{path}\n"
    load(path)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_weights_and_arguments_of_torch_stay_the_same_to_the_bit(tmp_path):
    path = old_file(tmp_path / "old.pt")
    convert.convert(path, tmp_path / "new.pt")
    before, after = (torch.load(tmp_path / name, weights_only=True) for name in ("old.pt", "new.pt"))
    assert (after["network"], after["arguments"]) == (before["network"], before["arguments"])
    assert list(after["weights"]) == list(before["weights"])
    for name, value in before["weights"].items():
        assert after["weights"][name].dtype == value.dtype
        assert after["weights"][name].numpy().tobytes() == value.numpy().tobytes()


def test_the_graph_of_onnx_stays_the_same_to_the_bit(tmp_path):
    path = old_file(tmp_path / "old.onnx")
    convert.convert(path, tmp_path / "new.onnx")
    before, after = (onnx.load(tmp_path / name) for name in ("old.onnx", "new.onnx"))
    assert after.graph.SerializeToString(deterministic=True) == before.graph.SerializeToString(deterministic=True)
    beats = made_up_beats("causal")
    exact = network("causal", "edge")
    with torch.inference_mode():
        expected = exact(torch.from_numpy(beats.windows), torch.from_numpy(beats.features)).softmax(1).numpy()
    found = load(tmp_path / "new.onnx").model.predict_proba(beats.windows, beats.features)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("ending", ["pt", "onnx"])
@pytest.mark.parametrize("mode, preset", TEMPERATURES)
def test_it_says_how_the_network_was_used(tmp_path, ending, mode, preset):
    path = old_file(tmp_path / f"network.{ending}", mode, preset)
    convert.convert(path, path)
    found = load(path, mode, preset).description
    assert (found.mode, found.preset, found.data_source, found.seed) == (mode, preset, "physionet", 3)
    assert found.features == FEATURES[mode] and found.classes == tuple("NSVFQ")
    assert found.inputs == InputSettings(mode, 360.0, (1.0, 40.0), 3, 280, 120.0)
    assert found.decision == DecisionSettings(TEMPERATURES[mode, preset], 0.6, 0.5, 0.08)
    assert found.leads == (("II", "ECG1") if ending == "pt" else ("II",))
    assert found.training == ({"seeds": [3], "replays": 6, "dropout": 0.3} if ending == "pt" else {})


@pytest.mark.parametrize("ending", ["pt", "onnx"])
@pytest.mark.parametrize(
    "change, message",
    [
        (lambda said: said.pop("config"), "does not say how its inputs are made"),
        (lambda said: said.update(config=[7]), "does not say how its inputs are made"),
        (lambda said: said["config"].pop("fs_hz"), "does not say how its inputs are made"),
        (lambda said: said.update(preset="../edge"), "does not say how its inputs are made"),
        (lambda said: said.update(mode=["causal"]), "does not say how its inputs are made"),
        (lambda said: said["config"].update(band_hz=[40.0, 1.0]), "band_hz"),
        (lambda said: said.update(seed="x\ny"), "seed = 'x"),
    ],
)
def test_an_older_file_that_lacks_something_is_left_as_it_is(tmp_path, ending, change, message, capsys):
    path = old_file(tmp_path / f"network.{ending}", change=change)
    before = path.read_bytes()
    assert main(["convert", str(path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and str(path) in error and message in error
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def of_today(path: Path):
    convert.convert(old_file(path), path)


@pytest.mark.parametrize(
    "name, write, message",
    [
        ("absent.pt", lambda path: None, "is missing"),
        ("absent.onnx", lambda path: None, "is missing"),
        ("broken.pt", lambda path: path.write_bytes(b"no network"), "cannot be read|can be read"),
        ("broken.onnx", lambda path: path.write_bytes(b"no network"), "can be read"),
        ("folder.onnx", Path.mkdir, "can be read"),
        ("today.pt", of_today, "nothing to convert"),
        ("today.onnx", of_today, "nothing to convert"),
        ("list.pt", lambda path: torch.save([1], path), "is no network of an older Deep-ECG"),
        ("tensor.pt", lambda path: torch.save({"format": torch.ones(2)}, path), "is no network of an older Deep-ECG"),
        ("empty.pt", lambda path: torch.save({"format": OLD_FORMAT}, path), "does not say how its inputs are made"),
    ],
)
def test_what_is_no_older_network_is_refused_in_one_line(tmp_path, name, write, message):
    write(tmp_path / name)
    with pytest.raises(DeepECGError, match=message) as caught:
        convert.convert(tmp_path / name, tmp_path / "out" / name)
    assert str(tmp_path / name) in str(caught.value) and str(caught.value).isprintable()
    assert not (tmp_path / "out").exists()


def test_a_converted_network_is_a_whole_one(tmp_path):
    """It can be saved anew as it is, and is then the same file."""
    path = old_file(tmp_path / "network.pt")
    convert.convert(path, path)
    classifier = load(path)
    assert isinstance(classifier.model, HybridECGNet)
    arguments = torch.load(path, weights_only=True)["arguments"]
    save_checkpoint(tmp_path / "again.pt", classifier.model, arguments, classifier.description)
    assert dataclasses.asdict(load(tmp_path / "again.pt").description) == dataclasses.asdict(classifier.description)
