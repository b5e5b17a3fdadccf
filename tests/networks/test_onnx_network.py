"""predict and stream with an ONNX file: without torch, as with torch, and with files that are wrong."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

import main
from config import CLASSES, MODES, PRESETS, Config
from deep_ecg.beats.inputs import CHANNELS, FEATURES
from deep_ecg.deploy.onnx_export import export_fp32
from deep_ecg.networks import classifier
from deep_ecg.networks.classifier import load_classifier
from deep_ecg.networks.onnx_network import METADATA, OnnxNetwork, load_onnx
from deep_ecg.networks.torch_network import save_checkpoint
from deep_ecg.records.database import Source
from deep_ecg.system.errors import DeepECGError
from deep_ecg.training.experiment import describe, hybrid_arguments
from model import HybridECGNet
from tests.support import ROOT, TORCH

LIMIT_S = 120
UNNEEDED = (  # each takes longer to import than a short record to label
    "joblib", "matplotlib.pyplot", "scipy.interpolate", "scipy.ndimage", "scipy.signal", "scipy.special", "scipy.stats",
    "sklearn",
)  # fmt: skip
OF_REPORTS = ("jinja2", "matplotlib")
CONFIG = Config(mode="causal", preset="edge")
COUNT = len(FEATURES["causal"])
WITHOUT_TORCH = f"""
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {TORCH}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Refuse())
sys.path.insert(0, {str(ROOT)!r})
import main
status = main.main(sys.argv[1:])
unneeded = {(*TORCH, *UNNEEDED)} if "--no-report" not in sys.argv else {(*TORCH, *UNNEEDED, *OF_REPORTS)}
assert not set(sys.modules) & set(unneeded), set(sys.modules) & set(unneeded)
sys.exit(status)
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> tuple[Path, Path]:
    """A checkpoint of random weights and its ONNX file."""
    folder, arguments = tmp_path_factory.mktemp("files"), hybrid_arguments(CONFIG)
    torch.manual_seed(1)
    model, description = HybridECGNet(**arguments), describe(CONFIG, Source("local", folder), 0)
    save_checkpoint(folder / "network.pt", model, arguments, description)
    loaded = load_classifier(CONFIG, folder / "network.pt").model  # rounded as in the file
    return folder / "network.pt", export_fp32(loaded, description, folder / "network.onnx")


def without_torch(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *arguments], capture_output=True, text=True, timeout=LIMIT_S
    )


def rows_of(path: Path) -> list[list[str]]:
    with open(path, newline="") as file:
        return list(csv.reader(file))[1:]


# Without torch -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("preset", PRESETS)
def test_the_pretrained_fp32_file_answers_as_torch(mode, preset):
    config, rng = Config(mode=mode, preset=preset), np.random.default_rng(0)
    by_torch, fp32 = (load_classifier(config, runtime=runtime) for runtime in ("torch", None))
    shape = 300, CHANNELS, by_torch.inputs.window_samples
    given = rng.standard_normal(shape).astype("f"), rng.standard_normal((300, len(FEATURES[mode]))).astype("f")
    assert isinstance(fp32.model, OnnxNetwork) and fp32.inputs == by_torch.inputs
    assert fp32.description.decision == by_torch.description.decision
    found, expected = (classifier.predict_proba(one.model, *given) for one in (fp32, by_torch))
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    "command", [["predict", "--no-report"], ["stream", "--speed", "0"]], ids=["predict", "stream"]
)
def test_nothing_is_imported_that_is_not_needed(command, synthetic_db, tmp_path):
    done = without_torch(*command, str(synthetic_db / "101"), "--preset", "edge", "--out", str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("command", [["predict"], ["stream", "--speed", "0"]], ids=["predict", "stream"])
def test_commands_run_where_torch_is_not_installed(command, files, synthetic_db, tmp_path):
    """And give the labels and probabilities that torch gives."""
    checkpoint, onnx_file = files
    options = [*command, str(synthetic_db / "101"), "--mode", "causal", "--preset", "edge"]
    done = without_torch(*options, "--runtime", "onnx", "--checkpoint", str(onnx_file), "--out", str(tmp_path / "onnx"))
    assert (done.returncode, done.stderr) == (0, "")
    assert main.main([*options, "--checkpoint", str(checkpoint), "--out", str(tmp_path / "torch")]) == 0
    found, expected = (rows_of(tmp_path / runtime / "101-SYNTHETIC.csv") for runtime in ("onnx", "torch"))
    assert len(found) > 30 and [row[:3] for row in found] == [row[:3] for row in expected]
    proba = [np.array([row[3:8] for row in rows], float) for rows in (found, expected)]
    np.testing.assert_allclose(*proba, atol=2e-5)


def test_a_command_that_needs_torch_says_so_where_it_is_not_installed(synthetic_db):
    done = without_torch("predict", str(synthetic_db / "101"), "--runtime", "torch")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "package torch is not installed" in done.stderr and "no --runtime torch" in done.stderr


def test_what_a_pi_installs_is_part_of_what_everybody_installs():
    of_pi = (ROOT / "requirements-pi.txt").read_text().split()
    assert (ROOT / "requirements.txt").read_text().startswith("-r requirements-pi.txt\n")
    assert all(requirement.partition("==")[2] for requirement in of_pi)
    assert not {requirement.partition("==")[0] for requirement in of_pi} & set(TORCH)


# Which file --------------------------------------------------------------------------------------------------------


def test_the_pretrained_file_of_mode_and_preset_is_the_default(files, tmp_path, monkeypatch):
    monkeypatch.setattr(classifier, "PRETRAINED", tmp_path)
    with pytest.raises(DeepECGError, match="causal-edge.onnx is missing: .*python quantize.py.*--checkpoint"):
        load_classifier(CONFIG, runtime="onnx")
    (tmp_path / "causal-edge.onnx").write_bytes(files[1].read_bytes())
    assert isinstance(load_classifier(CONFIG, runtime="onnx").model, OnnxNetwork)
    with pytest.raises(DeepECGError, match="causal-edge-fp32.onnx is missing"):
        load_classifier(CONFIG)


def test_the_file_decides_what_runs_it(files):
    by_torch, by_onnx = (load_classifier(CONFIG, path).model for path in files)
    assert isinstance(by_torch, HybridECGNet) and isinstance(by_onnx, OnnxNetwork)


def test_an_onnx_file_is_not_run_by_torch(files):
    with pytest.raises(DeepECGError, match="network.onnx is an ONNX file, which torch does not run: name a .pt"):
        load_classifier(CONFIG, files[1], "torch")


def test_a_file_of_the_other_mode_is_refused(files):
    with pytest.raises(DeepECGError, match="made for mode 'causal', not 'diagnostic'"):
        load_classifier(Config(), files[1], "onnx")


def test_inputs_are_made_as_the_file_says(files, tmp_path):
    path = changed(files[1], tmp_path, lambda said: said["inputs"].update(band_hz=[1.0, 40.0], filter_order=3))
    used = load_classifier(CONFIG, path, "onnx").inputs
    assert (used.band_hz, used.filter_order) == ((1.0, 40.0), 3)


def test_a_network_that_learned_from_synthetic_data_says_so(files, tmp_path):
    path = changed(files[1], tmp_path, lambda said: said.update(data_source="synthetic"))
    assert load_classifier(CONFIG, path, "onnx").synthetic


# Files that are not what they should be ----------------------------------------------------------------------------


def changed(path: Path, folder: Path, change) -> Path:
    """A copy whose description went through `change`."""
    proto = onnx.load(path)
    said = json.loads(proto.metadata_props[0].value)
    change(said)
    return stored(folder, proto, json.dumps(said))


def stored(folder: Path, proto: onnx.ModelProto, text: str | None) -> Path:
    """`proto` as a file, with `text` as its description."""
    del proto.metadata_props[:]
    if text is not None:
        helper.set_model_props(proto, {METADATA: text})
    onnx.save(proto, folder / "wrong.onnx")
    return folder / "wrong.onnx"


def refused(path: Path, message: str):
    with pytest.raises(DeepECGError, match=message) as caught:
        load_classifier(CONFIG, path, "onnx")
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\x80\x02not an ONNX file", b"PK\x03\x04", b"\0" * 1000])
def test_a_broken_file_is_refused(content, tmp_path, capfd):
    (tmp_path / "wrong.onnx").write_bytes(content)
    refused(tmp_path / "wrong.onnx", "no network of this version")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
def test_a_truncated_file_is_refused(share, files, tmp_path, capfd):
    content = files[1].read_bytes()
    (tmp_path / "wrong.onnx").write_bytes(content[: int(share * len(content))])
    refused(tmp_path / "wrong.onnx", "no network of this version")
    assert capfd.readouterr() == ("", "")


def test_a_checkpoint_of_torch_and_a_folder_are_refused(files, tmp_path):
    refused(files[0], "no network of this version")
    refused(tmp_path, "is missing")


@pytest.mark.parametrize(
    "text", [None, "", "{", "[]", "null", "7", '"text"', "{}", "[" * 100_000]
)
def test_a_file_without_a_description_is_refused(text, files, tmp_path):
    refused(stored(tmp_path, onnx.load(files[1]), text), "does not say how its inputs are made")


@pytest.mark.parametrize("version", ["99", "0", "2.0", "true", "null", '"2"', "[2]", "1e999", "NaN"])
def test_a_file_of_another_format_is_refused(version, files, tmp_path):
    refused(stored(tmp_path, onnx.load(files[1]), f'{{"format": {version}}}'), "no network of this version")


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda said: said.pop("inputs"), r"\(inputs\)"),
        (lambda said: said.update(inputs=7), r"\(mode\)"),
        (lambda said: said["inputs"].update(window_samples="many"), "window_samples = 'many'"),
        (lambda said: said["inputs"].update(window_samples=400), r"windows \[2, 280\].* instead of windows \[2, 400\]"),
        (lambda said: said.update(features=None), "features = None"),
        (lambda said: said.update(features=said["features"][::-1]), "made for features"),
        (lambda said: said.update(features=said["features"][1:]), "a beat in it is"),
        (lambda said: said.update(classes=["N", "V"]), "made for classes"),
        (lambda said: said["inputs"].pop("mode"), r"\(mode\)"),
        (lambda said: said.pop("data_source"), r"\(data_source\)"),
        (lambda said: said.update(leads=[None]), "leads = "),
        (lambda said: said["inputs"].pop("band_hz"), r"\(band_hz\)"),
        (lambda said: said["inputs"].update(band_hz=3), "band_hz = 3"),
        (lambda said: said["inputs"].update(fs_hz=-1.0), "fs_hz = -1.0"),
        (lambda said: said.update(leads=[["MLII"]]), "leads = "),
    ],
)
def test_wrong_metadata_are_refused(change, message, files, tmp_path):
    refused(changed(files[1], tmp_path, change), message)


def graph_of(nodes, inputs, outputs, constants=()) -> onnx.ModelProto:
    ends = [[helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in part]
            for part in (inputs, outputs)]  # fmt: skip
    values = [numpy_helper.from_array(value, name) for name, value in constants]
    graph = helper.make_graph(nodes, "wrong", *ends, values)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


FLOAT = TensorProto.FLOAT
WINDOWS, FEATURES_IN, LOGITS = (
    ("windows", FLOAT, ["batch", CHANNELS, 280]), ("features", FLOAT, ["batch", COUNT]), ("logits", FLOAT, ["batch", 5])
)  # fmt: skip


def wrong_names():
    nodes = [helper.make_node("Gemm", ["image", "weight"], ["logits"])]
    return graph_of(nodes, [("image", FLOAT, ["batch", COUNT])], [LOGITS], [("weight", np.ones((COUNT, 5), "f"))])


def wrong_kind():
    nodes = [helper.make_node("ReduceMax", ["windows", "axes"], ["f"], keepdims=0)]
    nodes += [helper.make_node("Gemm", ["f", "w"], ["logits"])]
    inputs = [WINDOWS, ("features", TensorProto.DOUBLE, ["batch", COUNT])]
    constants = [("w", np.ones((CHANNELS, 5), "f")), ("axes", np.array([2]))]
    return graph_of(nodes, inputs, [LOGITS], constants)


def wrong_output():
    nodes = [helper.make_node("Gemm", ["features", "w"], ["logits"])]
    constants = [("w", np.ones((COUNT, 3), "f"))]
    return graph_of(nodes, [WINDOWS, FEATURES_IN], [("logits", FLOAT, ["batch", 3])], constants)


def wrong_batch():
    nodes = [helper.make_node("Reshape", ["features", "s"], ["f"]), helper.make_node("Gemm", ["f", "w"], ["logits"])]
    constants = [("w", np.ones((1, 5), "f")), ("s", np.array([-1, 1]))]
    return graph_of(nodes, [WINDOWS, FEATURES_IN], [LOGITS], constants)


def wrong_numbers():
    nodes = [helper.make_node("Gemm", ["features", "w"], ["logits"])]
    return graph_of(nodes, [WINDOWS, FEATURES_IN], [LOGITS], [("w", np.full((COUNT, 5), np.nan, "f"))])


def wrong_when_run():
    nodes = [helper.make_node("Reshape", ["features", "s"], ["logits"])]
    return graph_of(nodes, [WINDOWS, FEATURES_IN], [LOGITS], [("s", np.array([1009, 5]))])


def wrong_operator():
    return graph_of([helper.make_node("Nonsense", ["features"], ["logits"])], [WINDOWS, FEATURES_IN], [LOGITS])


@pytest.mark.parametrize(
    "make, message",
    [
        (wrong_names, r"a beat in it is image \["),
        (wrong_kind, "a beat in it is"),
        (wrong_output, r"logits \[3\] instead of"),
        (wrong_batch, "one finite logit a class"),
        (wrong_numbers, "one finite logit a class"),
        (wrong_when_run, "it cannot be (run|read)"),
        (wrong_operator, "it cannot be read"),
    ],
)
def test_a_graph_of_another_kind_is_refused(make, message, files, tmp_path, capfd):
    description = onnx.load(files[1]).metadata_props[0].value
    refused(stored(tmp_path, make(), description), message)
    assert capfd.readouterr() == ("", "")


def test_a_wrong_file_ends_the_command_with_one_line_and_status_2(synthetic_db, tmp_path, capsys):
    (tmp_path / "wrong.onnx").write_bytes(b"wrong")
    options = ["--runtime", "onnx", "--checkpoint", str(tmp_path / "wrong.onnx"), "--out", str(tmp_path / "out")]
    for command in ("predict", "stream"):
        assert main.main([command, str(synthetic_db / "101"), *options]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_probabilities_are_the_softmax_of_the_logits(files):
    network, description = load_onnx(files[1], mode="causal")
    rng = np.random.default_rng(0)
    given = rng.standard_normal((3, CHANNELS, 280)).astype("f"), rng.standard_normal((3, COUNT)).astype("f")
    powers = np.exp(network.logits(*given).astype(float))
    np.testing.assert_allclose(network.predict_proba(*given), powers / powers.sum(axis=1, keepdims=True), atol=1e-6)
    assert description.classes == CLASSES
