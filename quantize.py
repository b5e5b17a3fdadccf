"""One checkpoint in every form it can be deployed in, each measured on the reloaded file.

`python quantize.py` writes the fp32 weights, the dynamic int8 ones and the ONNX files of a network, and a table of
what each takes and costs, to artefacts/MODE-PRESET/. The functions of dynamic int8 also serve `python main.py`.
"""

import argparse
import copy
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

import console
from config import CLASSES, MODES, PRESETS, Config, DeepECGError, with_overrides
from data_loader import Beats, ingest, load_beats
from engine import load_checkpoint, predict_proba, read_torch_file, write_torch_file
from evaluation import markdown_table, number, score_changes, write_json
from features import FEATURES
from files import check_writable
from model import HybridECGNet
from onnx_network import OnnxNetwork
from predict import PRETRAINED, input_settings

LATENCY_CALLS = 300
CALIBRATION_BEATS = 500


# Dynamic int8 ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class QuantizationReport:
    """Bytes of the two files of weights, accuracies as fractions, latency of one beat on one thread in microseconds."""

    fp32_bytes: int
    int8_bytes: int
    ratio: float
    fp32_accuracy: float
    int8_accuracy: float
    accuracy_change: float  # int8 minus fp32
    fp32_latency_us: float
    int8_latency_us: float


def quantize_dynamic(model: nn.Module) -> nn.Module:
    """A copy of `model` whose linear layers hold int8 weights; their inputs are quantized as they come.

    This is the one place that calls torch's eager quantization, which is deprecated but still what ships with torch
    alone; where this torch no longer has it, its successor torchao is taken. Convolutions stay in fp32. Raises
    DeepECGError where there is neither.
    """
    copied = copy.deepcopy(model).eval()
    with _known_complaints():
        try:
            from torch.ao.quantization import quantize_dynamic as eager
        except ImportError:
            return _with_torchao(copied)
        return eager(copied, {nn.Linear}, dtype=torch.qint8)


def _with_torchao(model: nn.Module) -> nn.Module:
    try:
        from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_
    except ImportError:
        raise DeepECGError(
            f"torch {torch.__version__} has no quantize_dynamic, and its successor torchao is not installed: install "
            "requirements.txt, or torchao"
        ) from None
    quantize_(model, Int8DynamicActivationInt8WeightConfig())
    return model


def _known_complaints() -> AbstractContextManager:
    """Silences what torch says of this interface each time it is used, and torchao of kernels that it cannot load."""
    subjects = ("torch.ao.quantization is", "TypedStorage is", "torch.quantize_per_tensor, .* are")
    return console.quiet(*(f".*{subject} deprecated" for subject in subjects))


def save_int8(path: Path, model: nn.Module) -> nn.Module:
    """Writes the int8 form of `model` to `path` and returns it as reloaded from there."""
    save_weights(path, quantize_dynamic(model))
    reloaded = quantize_dynamic(model)
    with _known_complaints():
        reloaded.load_state_dict(read_torch_file(path), assign=True)  # torchao's tensors cannot be copied into
    return reloaded.eval()


def save_weights(path: Path, model: nn.Module) -> int:
    """Writes the weights of `model` as they are in memory; returns the bytes of the file."""
    write_torch_file(path, model.state_dict())
    return path.stat().st_size


def measure(
    folder: Path, model: nn.Module, fp32_accuracy: float, tested: Beats, proba_of: Callable[[nn.Module], np.ndarray]
) -> dict:
    """Writes `model_fp32.pt` and `model_int8.pt` into `folder` and compares them; a QuantizationReport as a dict.

    `fp32_accuracy` is the share of the `tested` beats that `model` labels right. The int8 figures are those of the
    network reloaded from its file; `proba_of` gives the probabilities (beats, classes) by which that labels the beats.
    """
    int8_path = folder / "model_int8.pt"
    fp32_bytes = save_weights(folder / "model_fp32.pt", model)
    reloaded = save_int8(int8_path, model)
    int8_bytes = int8_path.stat().st_size
    int8_accuracy = float((proba_of(reloaded).argmax(axis=1) == tested.labels).mean())
    report = QuantizationReport(
        fp32_bytes=fp32_bytes,
        int8_bytes=int8_bytes,
        ratio=fp32_bytes / int8_bytes,
        fp32_accuracy=fp32_accuracy,
        int8_accuracy=int8_accuracy,
        accuracy_change=int8_accuracy - fp32_accuracy,
        fp32_latency_us=latency_us(model, tested.windows, tested.features),
        int8_latency_us=latency_us(reloaded, tested.windows, tested.features),
    )
    return asdict(report)


@torch.inference_mode()
def latency_us(model: nn.Module, windows: np.ndarray, features: np.ndarray) -> float:
    """Median time of one beat through `model`, one thread, in microseconds."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    beat = torch.from_numpy(windows[:1]), torch.from_numpy(features[:1])
    try:
        return median_us(lambda: model(*beat))
    finally:
        torch.set_num_threads(threads)


def median_us(call: Callable[[], object]) -> float:
    """Median time of `call` in microseconds, after some calls that are not counted."""
    times_s = []
    for _ in range(LATENCY_CALLS):
        start = time.perf_counter()
        call()
        times_s.append(time.perf_counter() - start)
    return float(np.median(times_s[LATENCY_CALLS // 10 :]) * 1e6)


# Every artefact ----------------------------------------------------------------------------------------------------

# (network, its checkpoint's description, beats of DS1 to calibrate with, beats of DS2, folder) -> a row an artefact
Builder = Callable[[nn.Module, dict, Beats, Beats, Path], list[dict]]


def torch_artefacts(model: nn.Module, description: dict, calibration: Beats, tested: Beats, out: Path) -> list[dict]:
    """fp32 weights, and dynamic int8, for servers that run torch. The first row is what others are compared with."""
    inputs = (tested.windows, tested.features)
    fp32, int8 = out / "model_fp32.pt", out / "model_int8.pt"
    save_weights(fp32, model)
    reloaded = save_int8(int8, model)
    called = [predict_proba(network, *inputs).argmax(axis=1) for network in (model, reloaded)]
    taken_us = [latency_us(network, *inputs) for network in (model, reloaded)]
    return [
        _row(title, path, score_changes(tested.labels, called[0], predicted), time_us, "torch", "servers")
        for title, path, predicted, time_us in zip(("torch fp32", "torch dynamic int8"), (fp32, int8), called, taken_us)
    ]


def onnx_artefacts(model: nn.Module, description: dict, calibration: Beats, tested: Beats, out: Path) -> list[dict]:
    """ONNX files in fp32 and static int8, for onnxruntime."""
    from onnx_export import export_fp32, export_int8  # here: training needs none of the packages behind it

    before = predict_proba(model, tested.windows, tested.features).argmax(axis=1)
    fp32 = export_fp32(model, description, out / "model_fp32.onnx")
    int8 = export_int8(fp32, description, calibration_beats(calibration), out / "model_int8.onnx")
    rows = []
    for title, path in (("ONNX fp32", fp32), ("ONNX static int8", int8)):
        network = OnnxNetwork(path)
        predicted = network.predict_proba(tested.windows, tested.features).argmax(axis=1)
        time_us = median_us(lambda: network.logits(tested.windows[:1], tested.features[:1]))
        changes = score_changes(tested.labels, before, predicted)
        rows.append(_row(title, path, changes, time_us, "onnxruntime", "Raspberry Pi, servers"))
    return rows


def microcontroller_artefacts(
    model: nn.Module, description: dict, calibration: Beats, tested: Beats, out: Path
) -> list[dict]:
    """Whole-number forms of an `edge` network, and in causal mode the chain around it; none of other presets."""
    import firmware  # here: training needs none of the packages behind them
    import microcontroller
    from integer_network import quantized

    if description["preset"] != "edge":
        return []
    network = quantized(model, calibration)
    rows = microcontroller.build(network, model, description, calibration, tested, out)
    if description["mode"] == "causal":
        rows += firmware.build(network, description, out)
    return rows


BUILDERS: tuple[Builder, ...] = (torch_artefacts, onnx_artefacts, microcontroller_artefacts)


def _row(artefact: str, path: Path, changes: dict, time_us: float | None, needs: str, runs_on: str) -> dict:
    size = {"bytes": path.stat().st_size, "ratio": None}
    return {
        "artefact": artefact, "file": path.name, **size, **changes, "latency_us": time_us, "needs": needs,
        "runs_on": runs_on,
    }  # fmt: skip


def build(config: Config, checkpoint: Path | None = None, out: Path | None = None) -> dict:
    """Builds every artefact of `checkpoint`, by default the pretrained one of the mode and preset of `config`.

    Calibrates on beats of DS1, measures on DS2. Writes the files and quantization-MODE-PRESET.json into `out` and
    returns the report. Where the network or the database is SYNTHETIC, folder and report say so.
    """
    path = checkpoint or PRETRAINED / f"{config.mode}-{config.preset}.pt"
    expected = {"mode": config.mode, "classes": list(CLASSES), "features": list(FEATURES[config.mode])}
    model, description = load_checkpoint(path, (HybridECGNet,), **expected)
    if description.get("preset") not in PRESETS:
        raise DeepECGError(f"checkpoint {path} is of no known preset: train it again with `python main.py`")
    config, progress = input_settings(path, description, config), console.interactive()
    source = ingest(config, progress)
    synthetic = source.synthetic or description["data_source"] == "synthetic"
    if synthetic:
        description["data_source"] = "synthetic"
    name = f"{config.mode}-{description['preset']}{'-SYNTHETIC' * synthetic}"
    out = out or Path("artefacts") / name
    check_writable(out)
    ds1, ds2 = (load_beats(source, names, config, progress) for names in (config.train_records, config.test_records))
    rows = [row for builder in BUILDERS for row in builder(model, description, ds1, ds2, out)]
    for row in rows:
        row["ratio"] = rows[0]["bytes"] / row["bytes"] if row["bytes"] else None
    report = _report(model, description, ds2) | {"rows": rows}
    write_json(out / f"quantization-{name}.json", report)
    return report


def calibration_beats(ds1: Beats) -> Beats:
    """CALIBRATION_BEATS of the beats of the training patients, drawn at random and always the same ones."""
    chosen = np.random.default_rng(0).permutation(len(ds1))[:CALIBRATION_BEATS]
    return ds1.where(np.isin(np.arange(len(ds1)), chosen))


def _report(model: nn.Module, description: dict, tested: Beats) -> dict:
    from pipeline import versions  # pipeline.py imports this module

    return {
        **{name: description.get(name) for name in ("data_source", "mode", "preset", "seed")},
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "tested_beats": len(tested),
        "versions": versions(),
    }


def artefacts_table(reports: Sequence[dict]) -> str:
    """The artefacts of all `reports` as a Markdown table, stamped where a network or its data are SYNTHETIC."""
    header = ["network", "artefact", "file", "bytes", "times smaller", "accuracy, points", "S F1, points"]
    header += ["V F1, points", "one beat, µs", "needs", "runs on"]
    rows = []
    for report in reports:
        stamp = "SYNTHETIC " * (report["data_source"] == "synthetic")
        for row in report["rows"]:
            rows.append([f"{stamp}{report['mode']}, {report['preset']}", row["artefact"], row["file"]])
            rows[-1] += [number(row["bytes"]), number(row["ratio"], ".2f")]
            rows[-1] += [_points(row[name]) for name in ("accuracy_change", "s_f1_change", "v_f1_change")]
            rows[-1] += [number(row["latency_us"], ".0f"), row["needs"], row["runs_on"]]
    return "\n".join(markdown_table(header, rows))


def _points(change: float | None) -> str:
    """A change of a fraction in percentage points with its sign."""
    return number(None if change is None else 100 * change, "+.3f")


# The command -------------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status, see `console.exit_status`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mode", choices=MODES, help=f"as in main.py (default {Config.mode})")
    parser.add_argument("--preset", choices=PRESETS, help=f"as in main.py (default {Config.preset})")
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="network (default pretrained/MODE-PRESET.pt)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for the files (default artefacts/MODE-PRESET)")
    options = parser.parse_args(arguments)

    def command():
        config = with_overrides(Config(), mode=options.mode, preset=options.preset)
        print(artefacts_table([build(config, options.checkpoint, options.out)]))

    return console.exit_status(command, console.FILES_WHOLE)


if __name__ == "__main__":
    sys.exit(main())
