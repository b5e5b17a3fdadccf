"""What a network's file says of its use: the same from torch and ONNX, whole or refused in one line."""

import copy
import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from config import CLASSES, TEMPERATURES, Config
from deep_ecg.beats.input_settings import InputSettings
from deep_ecg.beats.inputs import FEATURES
from deep_ecg.deploy.onnx_export import export_fp32
from deep_ecg.networks.classifier import load_classifier
from deep_ecg.networks.decision_settings import DecisionSettings
from deep_ecg.networks.description import FORMAT, MOST_VALUES, Description, decoded, is_plain
from deep_ecg.networks.onnx_network import METADATA
from deep_ecg.networks.torch_network import save_checkpoint, write_torch_file
from deep_ecg.system.errors import DeepECGError
from deep_ecg.training.experiment import hybrid_arguments
from model import HybridECGNet

CONFIG = Config(mode="causal", preset="edge")
# No value is that of config.py, so that none can have come from there.
SAID = Description(
    preset="edge",
    classes=CLASSES,
    features=FEATURES["causal"],
    leads=("II", "ECG1"),
    inputs=InputSettings("causal", 250.0, (1.0, 40.0), 3, 240, 120.0),
    decision=DecisionSettings(1.25, s_prior_weight=0.3, v_prior_weight=0.2, s_usual_share=0.1),
    data_source="physionet",
    seed=7,
    training={"replays": 2, "record_shares": [0.1, 1.0]},
)
STORED = SAID.as_json()
PATHS = [(name,) for name in STORED] + [(part, name) for part in ("inputs", "decision") for name in STORED[part]]
OTHER = {
    ("preset",): "full",
    ("classes",): ["N", "V"],
    ("features",): ["pre_ratio_100"],
    ("leads",): ["V1"],
    ("inputs",): STORED["inputs"] | {"filter_order": 1},
    ("decision",): STORED["decision"] | {"temperature": 2.5},
    ("data_source",): "synthetic",
    ("seed",): 3,
    ("training",): {"replays": 0},
    ("inputs", "mode"): "diagnostic",
    ("inputs", "fs_hz"): 500.0,
    ("inputs", "band_hz"): [0.5, 30.0],
    ("inputs", "filter_order"): 2,
    ("inputs", "window_samples"): 280,
    ("inputs", "look_ahead_ms"): 150.0,
    ("decision", "temperature"): 0.5,
    ("decision", "s_prior_weight"): 0.0,
    ("decision", "v_prior_weight"): 1,
    ("decision", "s_usual_share"): 0.3,
    ("decision", "rhythm_weight"): 1.0,
}
LATER = ("training", "rhythm_weight")  # what a file need not say
HERE = Path("network.pt")


def changed(path: tuple[str, ...], value: object = None) -> dict:
    """STORED with another `value` at `path`, or without what is there."""
    stored = copy.deepcopy(STORED)
    branch = stored if len(path) == 1 else stored[path[0]]
    del branch[path[-1]]
    return stored if value is None else stored | {path[0]: value if len(path) == 1 else branch | {path[1]: value}}


def refused(stored: object, message: str, version: object = FORMAT):
    with pytest.raises(DeepECGError, match=message) as caught:
        decoded(HERE, version, stored)
    line = str(caught.value)
    assert str(HERE) in line and line.isprintable() and len(line) < 1100


# The same from either file -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    """A network of random weights for the inputs of SAID in a file of either kind."""
    arguments = hybrid_arguments(CONFIG) | {"window_samples": SAID.inputs.window_samples}
    torch.manual_seed(1)
    model, folder = HybridECGNet(**arguments).eval(), tmp_path_factory.mktemp("files")
    save_checkpoint(folder / "network.pt", model, arguments, SAID)
    return {"pt": folder / "network.pt", "onnx": export_fp32(model, SAID, folder / "network.onnx")}


def loaded(path: Path, config: Config = CONFIG) -> Description:
    return load_classifier(config, path, "onnx" if path.suffix == ".onnx" else "torch").description


def test_a_file_of_torch_gives_back_the_whole_description(files):
    assert loaded(files["pt"]) == SAID


def test_a_file_of_onnx_gives_it_back_but_for_the_settings_of_its_training(files):
    assert loaded(files["onnx"]) == dataclasses.replace(SAID, training={})
    assert "training" not in json.loads(onnx.load(files["onnx"]).metadata_props[0].value)


@pytest.mark.parametrize("ending", ["pt", "onnx"])
def test_nothing_of_it_comes_from_todays_settings(files, ending):
    path = files[ending]
    others = dataclasses.replace(
        CONFIG, preset="full", lead="V1", other_leads=("V2",), fs_hz=128.0, band_hz=(2.0, 20.0), filter_order=1,
        window_samples=64, look_ahead_ms=0.0, s_prior_weight=0.0, v_prior_weight=0.0,
    )  # fmt: skip
    assert loaded(path, others) == loaded(path)


@pytest.mark.parametrize("ending", ["pt", "onnx"])
@pytest.mark.parametrize("path", [path for path in PATHS if path[-1] not in LATER], ids=".".join)
def test_either_file_without_an_entry_is_refused(files, tmp_path, path, ending):
    file = with_stored(Path(shutil.copy(files[ending], tmp_path)), changed(path))
    with pytest.raises(DeepECGError, match=rf"{file}: it does not say how it is used \({path[-1]}\)"):
        loaded(file)


def with_stored(file: Path, stored: dict) -> Path:
    """The `file`, with `stored` as its description."""
    if file.suffix == ".pt":
        write_torch_file(file, torch.load(file, weights_only=True) | {"description": stored})
        return file
    proto = onnx.load(file)
    onnx.helper.set_model_props(proto, {METADATA: json.dumps({"format": FORMAT, **stored})})
    onnx.save(proto, file)
    return file


# What the decoder takes ----------------------------------------------------------------------------------------------


def test_json_is_read_back_as_it_was():
    assert decoded(HERE, FORMAT, json.loads(json.dumps(STORED))) == SAID
    assert decoded(HERE, FORMAT, changed(("training",))).training == {}


def test_descriptions_are_keys():
    assert len({SAID, decoded(HERE, FORMAT, STORED)}) == 1


@pytest.mark.parametrize("path", PATHS, ids=".".join)
def test_every_entry_is_read(path):
    """Another value changes the description there and nowhere else."""
    found = decoded(HERE, FORMAT, changed(path, OTHER[path]))
    assert found.as_json() == changed(path, OTHER[path]) != STORED


def test_what_a_network_is_trained_with_is_applied_to_the_settings_of_another_run():
    config = SAID.applied_to(dataclasses.replace(CONFIG, mode="diagnostic", runs_dir="elsewhere", seeds=(5,)))
    assert InputSettings.of(config) == SAID.inputs
    assert (config.leads, config.preset) == (("II", "ECG1"), "edge")
    assert (config.s_prior_weight, config.v_prior_weight) == (0.3, 0.2)
    assert (config.runs_dir, config.seeds) == ("elsewhere", (5,))


def test_what_it_was_made_for_is_compared():
    expected = {"mode": "causal", "classes": CLASSES, "features": FEATURES["causal"]}
    SAID.check_made_for(HERE, **expected)
    for name, value in {"mode": "diagnostic", "classes": CLASSES[::-1], "features": (), "preset": "full"}.items():
        with pytest.raises(DeepECGError, match=f"network.pt was made for {name} .*, not .*: choose the one"):
            SAID.check_made_for(HERE, **expected | {name: value})


def test_a_synthetic_network_says_so():
    assert not SAID.synthetic and dataclasses.replace(SAID, data_source="synthetic").synthetic


def test_the_settings_of_a_decision_are_those_of_mode_and_preset():
    found = DecisionSettings.of(Config(mode="causal", preset="full", s_prior_weight=0.1, v_prior_weight=0.9))
    assert found == DecisionSettings(TEMPERATURES["causal", "full"], 0.1, 0.9, 0.08, rhythm_weight=0.0)


def test_the_rhythm_has_a_say_in_the_open_protocol_alone():
    """Its network learned from other databases, which have no part in DS1 -> DS2."""
    config = Config(rhythm_weight=0.7)
    assert DecisionSettings.of(config).rhythm_weight == 0.0
    assert DecisionSettings.of(dataclasses.replace(config, databases=("mitdb", "svdb"))).rhythm_weight == 0.7


def test_a_file_that_says_nothing_of_the_rhythm_leaves_it_out():
    assert decoded(HERE, FORMAT, changed(("decision", "rhythm_weight"))).decision.rhythm_weight == 0.0


# What it refuses -----------------------------------------------------------------------------------------------------


def test_an_older_file_is_refused_with_the_command_that_turns_it_into_a_new_one():
    refused(STORED, "older Deep-ECG: `python -m experiments convert network.pt`", version=1)


@pytest.mark.parametrize("version", [None, 0, 3, 10**400, "2", 2.0, True, [2], torch.tensor([2, 2]), np.array(2)])
def test_a_file_of_no_known_format_is_refused(version):
    refused(STORED, "no network of this version of Deep-ECG: train one with `python main.py`", version)


@pytest.mark.parametrize("stored", [None, [], "text", 7, {}, [["preset"]], {"preset": "edge"}, {1: 2}])
def test_what_is_no_description_is_refused(stored):
    refused(stored, r"\((preset|classes)\)")


@pytest.mark.parametrize("path", PATHS, ids=".".join)
@pytest.mark.parametrize("value", ["x\x1b[2J", True, float("nan"), float("inf"), -1, 10**400, [None], [[1]], {1: 2}])
def test_a_value_of_another_kind_is_refused(path, value):
    if path == ("training",) and isinstance(value, dict):
        assert decoded(HERE, FORMAT, changed(path, value)).training == value
        return
    refused(changed(path, value), "cannot be used|does not say how|is no name|is unknown")


@pytest.mark.parametrize(
    "path, value, message",
    [
        (("preset",), "../edge", "preset = '../edge' is unknown"),
        (("inputs", "mode"), "live", "mode = 'live' is unknown"),
        (("inputs", "fs_hz"), 60.0, "band_hz"),
        (("inputs", "band_hz"), [40.0, 1.0], "band_hz"),
        (("inputs", "band_hz"), [1.0, 40.0, 50.0], "band_hz"),
        (("inputs", "band_hz"), [1.0, 125.0], "band_hz"),
        (("inputs", "filter_order"), 0, "filter_order = 0"),
        (("inputs", "filter_order"), 11, "filter_order = 11"),
        (("inputs", "window_samples"), 63, "window_samples = 63"),
        (("inputs", "window_samples"), 2504, "window_samples = 2504"),
        (("inputs", "look_ahead_ms"), 481.0, "look_ahead_ms = 481.0"),
        (("decision", "temperature"), 0.0, "temperature = 0.0"),
        (("decision", "temperature"), 20.1, "temperature = 20.1"),
        (("decision", "s_prior_weight"), 1.1, "s_prior_weight = 1.1"),
        (("decision", "v_prior_weight"), -0.1, "v_prior_weight = -0.1"),
        (("decision", "s_usual_share"), 0.0, "s_usual_share = 0.0"),
        (("decision", "s_usual_share"), 0.31, "s_usual_share = 0.31"),
        (("data_source",), "auto", "data_source = 'auto'"),
        (("seed",), -1, "seed = -1"),
        (("classes",), [], "names no class"),
        (("features",), [], "names no class, no feature"),
        (("leads",), [], "no lead"),
        (("leads",), [""], "is no name"),
        (("leads",), ["MLII", "a\nb"], "is no name"),
        (("features",), ["x" * 101], "is no name"),
        (("more",), 1, "it says 'more', which is unknown"),
        (("inputs", "lead"), "MLII", "it says 'lead', which is unknown"),
    ],
)
def test_a_value_beyond_reason_is_refused(path, value, message):
    stored = copy.deepcopy(STORED)
    (stored if len(path) == 1 else stored[path[0]])[path[-1]] = value
    refused(stored, message)


@pytest.mark.parametrize("fs_hz, holds", [(49.9, False), (50.0, True), (5000, True), (5001.0, False)])
def test_rates_at_which_no_ecg_is_recorded_are_refused(fs_hz, holds):
    stored = STORED | {"inputs": dataclasses.asdict(InputSettings("causal", fs_hz, (1.0, 20.0), 2, 64, 0.0))}
    if holds:
        assert decoded(HERE, FORMAT, stored).inputs.fs_hz == fs_hz
    else:
        refused(stored, f"fs_hz = {fs_hz}")


def ring() -> list:
    ring: list = []
    ring.append(ring)
    return ring


def shared(depth: int) -> list:
    """2 to the power of `depth` values in a few lists."""
    return [shared(depth - 1)] * 2 if depth else []


@pytest.mark.parametrize("value", [ring(), shared(100), list(range(MOST_VALUES)), {"a": torch.zeros(3)}, b"x", {1, 2}])
def test_what_cannot_be_compared_or_printed_is_refused(value):
    assert not is_plain(value)
    for path in PATHS:
        refused(changed(path, value), "no network of this version")
    refused(value, "no network of this version")
