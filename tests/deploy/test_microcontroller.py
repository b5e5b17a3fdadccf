"""Tests of microcontroller.py, tflite_file.py and c_network.py: the files, and that all say the same to the bit.

What the .tflite says is taken from TFLite Micro's own interpreter. Tests skip visibly where that, a C compiler, or
the emulated Cortex-M3 is missing.
"""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.signal import butter

from config import CLASSES, MODES, Config
from data_loader import load_beats
from deep_ecg.beats.inputs import CHANNELS, FEATURES
from deep_ecg.deploy import c_network, microcontroller
from deep_ecg.deploy.c_network import HostLibrary, compiler
from deep_ecg.deploy.integer_network import quantized
from deep_ecg.deploy.tflite_file import ALIGNMENT, Interpreter, model_bytes
from deep_ecg.networks.classifier import PRETRAINED
from deep_ecg.networks.description import Description
from deep_ecg.networks.torch_network import load_checkpoint
from deep_ecg.records.database import Source
from deep_ecg.system.errors import DeepECGError
from model import HybridECGNet
from tests.support.networks import described, integer_network, made_up_beats, network

MAX_MODEL_BYTES = 15_360
MAX_ARENA_BYTES = 16_384
FLAGS = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror"]
ROWS = {"artefact", "file", "bytes", "ratio", "accuracy_change", "s_f1_change", "v_f1_change", "latency_us"}
ROWS |= {"needs", "runs_on"}
TESTS = Path(__file__).resolve().parent


@pytest.fixture(scope="module")
def tflite_micro():
    return pytest.importorskip("tflite_micro", reason="tflite-micro (requirements-dev.txt) is not installed")


@pytest.fixture(scope="module")
def c_compiler() -> str:
    if compiler() is None:
        pytest.skip("there is no C compiler: cc, gcc or clang")
    return compiler()


def description(mode="diagnostic", source="synthetic") -> Description:
    return described(Config(mode=mode, preset="edge"), source)


def build(folder: Path, mode="diagnostic", source="synthetic", tested=None) -> list[dict]:
    """Writes the artefacts of a random network, compared on five beats where `tested` are not given."""
    about, beats = description(mode, source), made_up_beats(mode, 5) if tested is None else tested
    whole, calibration = integer_network(mode), made_up_beats(mode)
    return microcontroller.build(whole, network(mode), about, calibration, beats, folder)


@pytest.fixture(scope="module")
def built(tmp_path_factory, tflite_micro) -> tuple[Path, list[dict]]:
    """The artefacts of a random network, and the rows about them."""
    folder = tmp_path_factory.mktemp("built")
    return folder, build(folder, tested=made_up_beats(count=40, seed=1))


@pytest.fixture(scope="module")
def causal_folder(tmp_path_factory, tflite_micro) -> Path:
    """The artefacts of a causal network."""
    folder = tmp_path_factory.mktemp("causal")
    build(folder, "causal")
    return folder


@pytest.fixture(scope="module")
def library(built, c_compiler) -> HostLibrary:
    """The C file of `built`, compiled."""
    return HostLibrary(built[0])


def random_inputs(count: int, mode="diagnostic") -> tuple[np.ndarray, np.ndarray]:
    """int8 inputs over their whole range; the first two are all lowest and all highest."""
    rng = np.random.default_rng(0)
    inputs = (
        rng.integers(-128, 128, (count, Config().window_samples, CHANNELS)).astype(np.int8),
        rng.integers(-128, 128, (count, len(FEATURES[mode]))).astype(np.int8),
    )
    for values in inputs:
        values[0], values[1] = -128, 127
    return inputs


# The same bits


def test_c_and_tflite_micro_say_the_same_on_random_inputs(built, library):
    folder, _ = built
    inputs = random_inputs(200)
    expected = Interpreter((folder / "model.tflite").read_bytes()).run(*inputs)
    assert np.array_equal(library.run(*inputs), expected)
    assert len(np.unique(expected)) > 20


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("seed", [1, 2])
def test_the_calibrating_arithmetic_says_what_tflite_micro_says(tflite_micro, mode, seed):
    """So what is chosen on training patients is chosen by the bits that a microcontroller gives."""
    whole = integer_network(mode, seed)
    inputs = random_inputs(50, mode)
    assert np.array_equal(Interpreter(model_bytes(whole, "test")).run(*inputs), whole.run(*inputs))


def test_c_quantizes_float_inputs_as_python_does(library):
    """Steps of half a quantum, where rounding shows, and values beyond every range."""
    whole = integer_network()
    beats = made_up_beats(count=30, seed=2)
    scale = whole.convolutions[0].input.scale
    windows = np.float32(scale) * np.rint(4 * beats.windows / scale) / 2
    features = whole.mean + whole.scale * np.linspace(-3, 3, 30, dtype=np.float32)[:, None]
    windows[0], windows[1], features[0] = 1e30, -1e30, np.inf
    for ours, theirs in zip(whole.quantize(windows, features), library.quantize(windows, features)):
        assert np.array_equal(ours, theirs)


def test_on_recorded_beats_c_and_tflite_micro_say_the_same(mitdb, tflite_micro, c_compiler, tmp_path):
    """The reference network on every other beat of a DS1 record with N, S and V beats."""
    model, about = load_checkpoint(PRETRAINED / "causal-edge.pt", [HybridECGNet])
    if about.features != FEATURES["causal"]:
        pytest.skip("pretrained/causal-edge.pt is of other features than inputs.py")
    config = Config(mode="causal", preset="edge", cache_dir=str(tmp_path / "cache"))
    beats = load_beats(Source("local", mitdb), ("209",), config)
    some = beats.where(np.arange(len(beats)) % 8 == 0)
    microcontroller.build(quantized(model, some), model, about, some, some, tmp_path / "out")
    library = HostLibrary(tmp_path / "out")
    inputs = library.quantize(beats.windows[::2], beats.features[::2])
    expected = Interpreter((tmp_path / "out" / "model.tflite").read_bytes()).run(*inputs)
    assert np.array_equal(library.run(*inputs), expected)


# Limits


@pytest.mark.parametrize("mode", MODES)
def test_model_and_arena_keep_to_their_limits(mode, built, causal_folder):
    """Neither depends on the values of the weights. The arena stated is enough, and what is less is not."""
    folder = built[0] if mode == "diagnostic" else causal_folder
    model = (folder / "model.tflite").read_bytes()
    arena = json.loads((folder / "manifest.json").read_text())["arena_bytes"]
    assert len(model) <= MAX_MODEL_BYTES
    assert arena <= MAX_ARENA_BYTES
    Interpreter(model, arena).run(*random_inputs(2, mode))
    with pytest.raises(DeepECGError, match="TFLite Micro"):
        Interpreter(model, arena - 64)


def test_constants_lie_at_multiples_of_16_bytes(built):
    from tflite_micro.tensorflow.lite.micro.python import schema_py_generated as schema

    content = (built[0] / "model.tflite").read_bytes()
    assert content[4:8] == b"TFL3"
    model = schema.Model.GetRootAs(content)
    constants = [model.Buffers(i).DataAsNumpy() for i in range(1, model.BuffersLength())]
    start = np.frombuffer(content, np.uint8).__array_interface__["data"][0]
    assert len(constants) == 2 * 7 + 1  # weights and bias of every layer, and the shape of a row
    assert all((data.__array_interface__["data"][0] - start) % ALIGNMENT == 0 for data in constants)


# C


def test_the_c_files_compile_without_a_warning_and_with_stdint_alone(built, c_compiler, tmp_path):
    folder, _ = built
    for name in ("deep_ecg_network", "model_data"):
        done = subprocess.run([c_compiler, *FLAGS, "-c", folder / f"{name}.c", "-o", tmp_path / f"{name}.o"])
        assert done.returncode == 0
    text = (folder / "deep_ecg_network.c").read_text() + (folder / "deep_ecg_network.h").read_text()
    included = {line.split()[1] for line in text.splitlines() if line.startswith("#include")}
    assert included == {"<stdint.h>", '"deep_ecg_network.h"'}


def test_the_interface_is_the_one_agreed(built):
    header = (built[0] / "deep_ecg_network.h").read_text()
    for line in (
        "#define DEEP_ECG_WINDOW_SAMPLES 280",
        "#define DEEP_ECG_CHANNELS 2",
        f"#define DEEP_ECG_FEATURES {len(FEATURES['diagnostic'])}",
        "#define DEEP_ECG_CLASSES 5",
        "void deep_ecg_network_quantize(const float *window, const float *features, int8_t *window_q, "
        "int8_t *features_q);",
        "void deep_ecg_network_run(const int8_t *window_q, const int8_t *features_q, "
        "int8_t logits[DEEP_ECG_CLASSES]);",
    ):
        assert f"{line}\n" in header


HARNESS = """
#include <stdio.h>
#include "deep_ecg_network.h"
#include "golden.h"
int main(void)
{
    static float window[DEEP_ECG_CHANNELS * DEEP_ECG_WINDOW_SAMPLES], features[DEEP_ECG_FEATURES];
    static int8_t window_q[sizeof window / sizeof *window], features_q[DEEP_ECG_FEATURES], logits[DEEP_ECG_CLASSES];
    const float extremes[] = {0.0f, -3e38f, 3e38f, 1.0f / 3.0f};
    int wrong = 0;
    for (int i = 0; i < GOLDEN_BEATS; i++) {
        deep_ecg_network_run((const int8_t *)golden_window_q + i * (int)sizeof window_q,
                             (const int8_t *)golden_features_q + i * DEEP_ECG_FEATURES, logits);
        for (int c = 0; c < DEEP_ECG_CLASSES; c++)
            wrong += logits[c] != golden_logits[i * DEEP_ECG_CLASSES + c];
    }
    for (int e = 0; e < 4; e++) {
        for (unsigned i = 0; i < sizeof window / sizeof *window; i++)
            window[i] = extremes[e];
        for (int i = 0; i < DEEP_ECG_FEATURES; i++)
            features[i] = extremes[e];
        deep_ecg_network_quantize(window, features, window_q, features_q);
        deep_ecg_network_run(window_q, features_q, logits);
    }
    printf("%d beats, %d wrong\\n", GOLDEN_BEATS, wrong);
    return wrong != 0;
}
"""


def test_the_sanitizers_find_nothing_and_the_golden_vectors_come_out(built, c_compiler, tmp_path):
    folder, _ = built
    (tmp_path / "main.c").write_text(HARNESS)
    sanitize = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    (tmp_path / "empty.c").write_text("int main(void) { return 0; }\n")
    if subprocess.run([c_compiler, *sanitize, tmp_path / "empty.c", "-o", tmp_path / "empty"]).returncode:
        pytest.skip("this compiler has no sanitizers")
    sources = [tmp_path / "main.c", folder / "deep_ecg_network.c"]
    subprocess.run(
        [c_compiler, *FLAGS, "-g", *sanitize, f"-I{folder}", *sources, "-o", tmp_path / "run"], check=True
    )
    done = subprocess.run([tmp_path / "run"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "30 beats, 0 wrong\n"


def test_a_cortex_m3_under_emulation_gives_the_golden_vectors(built, tmp_path):
    gcc, qemu = shutil.which("arm-none-eabi-gcc"), shutil.which("qemu-system-arm")
    if not gcc or not qemu:
        pytest.skip("arm-none-eabi-gcc and qemu-system-arm are not installed: no Cortex-M3 under emulation")
    folder, program = built[0], tmp_path / "cortex_m3.elf"
    bare = ["-mcpu=cortex-m3", "-mthumb", "-O2", "-ffreestanding", "-nostdlib", f"-I{folder}"]
    sources = [TESTS / "cortex_m3.c", folder / "deep_ecg_network.c"]
    subprocess.run([gcc, *FLAGS, *bare, "-T", TESTS / "cortex_m3.ld", *sources, "-o", program, "-lgcc"], check=True)
    machine = ["-M", "mps2-an385", "-display", "none", "-semihosting-config", "enable=on,target=native"]
    done = subprocess.run(
        [qemu, *machine, "-icount", "shift=0", "-kernel", program],
        capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120,
    )  # fmt: skip
    said = dict(line.split() for line in (done.stdout + done.stderr).splitlines())
    assert (said["beats"], said["wrong"]) == ("30", "0")
    assert 1e6 < int(said["instructions"]) < 1e7  # of a beat: 310,000 products and what goes with each


# Files


def test_the_manifest_names_every_other_file_with_its_hash(built):
    folder, _ = built
    manifest = json.loads((folder / "manifest.json").read_text())
    assert set(manifest["files"]) == {path.name for path in folder.iterdir()} - {"manifest.json"}
    for name, sha256 in manifest["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == sha256


def test_the_manifest_says_how_to_feed_the_network(built):
    manifest = json.loads((built[0] / "manifest.json").read_text())
    assert manifest["classes"] == list(CLASSES)
    assert [feature["name"] for feature in manifest["features"]] == list(FEATURES["diagnostic"])
    assert [one["shape"] for one in manifest["inputs"]] == [[1, 1, 280, 2], [1, len(FEATURES["diagnostic"])]]
    preprocessing = manifest["preprocessing"]
    assert np.allclose(preprocessing["filter_sos"], butter(2, (0.5, 50), "bandpass", fs=360, output="sos"))
    assert (preprocessing["window_samples_before_r"], preprocessing["window_samples_from_r"]) == (140, 140)


def test_the_manifest_tells_what_the_interpreter_tells(built):
    folder, _ = built
    manifest = json.loads((folder / "manifest.json").read_text())
    interpreter = Interpreter((folder / "model.tflite").read_bytes())._interpreter
    details = [interpreter.get_input_details(0), interpreter.get_input_details(1), interpreter.get_output_details(0)]
    for said, real in zip([*manifest["inputs"], manifest["output"]], details):
        assert said["shape"] == real["shape"].tolist()
        assert np.float32(said["scale"]) == real["quantization_parameters"]["scales"][0]
        assert said["zero_point"] == real["quantization_parameters"]["zero_points"][0]
        assert real["dtype"] == np.int8


def test_a_causal_manifest_states_its_look_ahead(causal_folder):
    preprocessing = json.loads((causal_folder / "manifest.json").read_text())["preprocessing"]
    assert preprocessing["window_samples_from_r"] == 54  # 150 ms at 360 Hz
    assert (preprocessing["look_ahead_ms"], preprocessing["future_beats"]) == (150, 0)


@pytest.mark.parametrize("mode", MODES)
def test_every_feature_has_a_definition(mode):
    for name in FEATURES[mode]:
        assert microcontroller._defined(name) != "as features.py defines it", name
        assert "`" not in microcontroller._defined(name)


def test_golden_vectors_hold_every_class_and_what_tflite_micro_gives(built):
    folder, _ = built
    golden = json.loads((folder / "golden.json").read_text())
    assert [golden["labels"].count(label) for label in range(5)] == [6] * 5
    inputs = [np.array(golden[name], np.int8) for name in ("window_q", "features_q")]
    logits = Interpreter((folder / "model.tflite").read_bytes()).run(*inputs)
    assert logits.tolist() == golden["logits"]


def test_the_c_array_is_the_model_at_a_multiple_of_16(built, c_compiler, tmp_path):
    folder, _ = built
    (tmp_path / "main.c").write_text(
        '#include <stdint.h>\n#include <stdio.h>\n#include "model_data.h"\n'
        "int main(void) { fwrite(deep_ecg_model, 1, DEEP_ECG_MODEL_BYTES, stdout); "
        "return (uintptr_t)deep_ecg_model % 16 != 0; }\n"
    )
    sources = [tmp_path / "main.c", folder / "model_data.c"]
    subprocess.run([c_compiler, *FLAGS, f"-I{folder}", *sources, "-o", tmp_path / "run"], check=True)
    done = subprocess.run([tmp_path / "run"], capture_output=True)
    assert done.returncode == 0
    assert done.stdout == (folder / "model.tflite").read_bytes()


@pytest.mark.parametrize("source, stamped", [("synthetic", True), ("local", False)])
def test_synthetic_training_data_are_stamped_on_every_file(source, stamped, built, tmp_path):
    folder = built[0] if stamped else tmp_path
    if not stamped:
        build(folder, source=source)
    assert len(list(folder.iterdir())) == 8
    for path in folder.iterdir():
        assert (b"SYNTHETIC" in path.read_bytes()) == stamped, path.name
    told = json.loads((folder / "manifest.json").read_text())["training_data"]
    assert stamped or told == "training patients of mitdb"


def test_two_builds_give_the_same_bytes(built, tmp_path):
    build(tmp_path)
    for path in built[0].iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


# Rows


def test_rows_say_what_lies_in_the_folder(built):
    folder, (tflite, c_file) = built
    assert set(tflite) == set(c_file) == ROWS
    assert tflite["bytes"] == (folder / "model.tflite").stat().st_size
    fp32_bytes = 4 * sum(value.numel() for value in network().state_dict().values())
    for row in (tflite, c_file):
        assert fp32_bytes < row["ratio"] * row["bytes"] < fp32_bytes + 15_000  # torch adds some of its own


def test_changes_are_int8_minus_fp32(monkeypatch, tmp_path, tflite_micro):
    """fp32 finds every beat; int8 says N for all of them, so it loses 4 beats of 5 and all of S and V."""
    tested = made_up_beats(count=20)
    monkeypatch.setattr(microcontroller, "predict_proba", lambda *_: np.eye(5)[tested.labels])
    monkeypatch.setattr(Interpreter, "run", lambda self, window_q, _: np.eye(5)[np.zeros(len(window_q), int)])
    tflite, _ = build(tmp_path, tested=tested)
    assert tflite["accuracy_change"] == pytest.approx(-0.8)
    assert (tflite["s_f1_change"], tflite["v_f1_change"]) == (-1, -1)


def test_without_a_c_compiler_the_c_file_is_written_and_its_row_says_that_it_was_not_run(
    monkeypatch, tmp_path, tflite_micro
):
    monkeypatch.setattr(c_network.shutil, "which", lambda _: None)
    _, row = build(tmp_path)
    assert (tmp_path / "deep_ecg_network.c").is_file()
    assert row["accuracy_change"] is None and row["latency_us"] is None
    assert "not run" in row["runs_on"]
    with pytest.raises(DeepECGError, match="C compiler"):
        HostLibrary(tmp_path)


# Errors


def test_a_missing_tflite_micro_is_a_clear_error_and_nothing_is_written(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tflite_micro", None)
    for name in [name for name in sys.modules if name.startswith("tflite_micro.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(DeepECGError, match="requirements-dev.txt") as caught:
        build(tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_an_unwritable_folder_is_a_clear_error(tmp_path, tflite_micro):
    (tmp_path / "file").touch()
    with pytest.raises(DeepECGError, match="cannot be written"):
        build(tmp_path / "file")


def test_c_that_does_not_compile_is_named(tmp_path, c_compiler):
    (tmp_path / "deep_ecg_network.c").write_text("int f(void) { int unused; return 1 }\n")
    with pytest.raises(DeepECGError, match="deep_ecg_network.c does not compile"):
        HostLibrary(tmp_path)
