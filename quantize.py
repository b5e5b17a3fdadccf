"""One checkpoint in every form it can be deployed in, each measured on the reloaded file.

`python quantize.py` writes the fp32 weights, the dynamic int8 ones and the ONNX files of a network, and a table of
what each takes and costs, to artefacts/MODE-PRESET/. The functions of dynamic int8 also serve `python main.py`.
"""

import deep_ecg.requirements  # noqa: F401  # isort: skip - first: it says in one line what is missing

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from torch import nn

from config import MODES, PRESETS, Config, with_overrides
from data_loader import load_beats
from deep_ecg.beats.arrays import Beats
from deep_ecg.deploy.dynamic_int8 import latency_us, measure, median_us, save_int8, save_weights
from deep_ecg.networks.classifier import load_network
from deep_ecg.networks.description import Description
from deep_ecg.networks.onnx_network import OnnxNetwork
from deep_ecg.networks.torch_network import predict_proba
from deep_ecg.records.database import ingest
from deep_ecg.scoring.measures import score_changes
from deep_ecg.system import console
from deep_ecg.system.errors import DeepECGError
from deep_ecg.system.files import check_writable
from deep_ecg.system.json_files import write_json
from deep_ecg.system.machine import versions
from deep_ecg.system.text import markdown_table, number
from deep_ecg.training.experiment import Trained, network_proba
from model import HybridECGNet

CALIBRATION_BEATS = 500


def int8_report(trained: Trained, tested: Beats, report: dict) -> dict:
    """The int8 section of the `report` of a training: the dynamic int8 file beside its checkpoint, reloaded, on DS2."""
    accuracy, decision = report["ds2"]["accuracy"], trained.description.decision
    return measure(
        trained.folder, trained.model, accuracy, tested, lambda model: network_proba(model, decision, tested)
    )


# (network, its description, beats of DS1 to calibrate with, beats of DS2, folder) -> a row an artefact
Builder = Callable[[HybridECGNet, Description, Beats, Beats, Path], list[dict]]


def torch_artefacts(
    model: HybridECGNet, description: Description, calibration: Beats, tested: Beats, out: Path
) -> list[dict]:
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


def onnx_artefacts(
    model: HybridECGNet, description: Description, calibration: Beats, tested: Beats, out: Path
) -> list[dict]:
    """ONNX files in fp32 and static int8, for onnxruntime."""
    from deep_ecg.deploy.onnx_export import export_fp32, export_int8

    before = predict_proba(model, tested.windows, tested.features).argmax(axis=1)
    fp32 = export_fp32(model, description, out / "model_fp32.onnx")
    int8 = export_int8(fp32, description, calibration_beats(calibration), out / "model_int8.onnx")
    rows = []
    for title, path in (("ONNX fp32", fp32), ("ONNX static int8", int8)):
        network = OnnxNetwork(path)
        predicted = network.predict_proba(tested.windows, tested.features).argmax(axis=1)
        time_us = median_us(partial(network.logits, tested.windows[:1], tested.features[:1]))
        changes = score_changes(tested.labels, before, predicted)
        rows.append(_row(title, path, changes, time_us, "onnxruntime", "Raspberry Pi, servers"))
    return rows


def microcontroller_artefacts(
    model: HybridECGNet,
    description: Description,
    calibration: Beats,
    tested: Beats,
    out: Path,
    fs_hz: float = Config.fs_hz,
) -> list[dict]:
    """Whole-number forms of an `edge` network, and in causal mode the chain for `fs_hz` around it; else none."""
    from deep_ecg.deploy import c_chain, microcontroller
    from deep_ecg.deploy.integer_network import quantized

    if description.preset != "edge":
        return []
    network = quantized(model, calibration)
    rows = microcontroller.build(network, model, description, calibration, tested, out)
    if description.inputs.causal:
        rows += c_chain.build(network, description, out, fs_hz)
    return rows


def builders(fs_hz: float) -> tuple[Builder, ...]:
    """The builders of every artefact, of firmware for samples that come at `fs_hz`."""
    return torch_artefacts, onnx_artefacts, partial(microcontroller_artefacts, fs_hz=fs_hz)


def _row(artefact: str, path: Path, changes: dict, time_us: float | None, needs: str, runs_on: str) -> dict:
    size = {"bytes": path.stat().st_size, "ratio": None}
    return {
        "artefact": artefact, "file": path.name, **size, **changes, "latency_us": time_us, "needs": needs,
        "runs_on": runs_on,
    }  # fmt: skip


def build(
    config: Config, checkpoint: Path | None = None, out: Path | None = None, fs_hz: float | None = None
) -> dict:
    """Builds every artefact of `checkpoint`, by default the pretrained one of the mode and preset of `config`.

    Calibrates on beats of DS1, measures on DS2. Writes the files and quantization-MODE-PRESET.json into `out` and
    returns the report. Where the network or the database is SYNTHETIC, folder and report say so. `fs_hz` is the rate of
    the firmware's samples, by default that of the network; DeepECGError where there is no firmware, or none at it.
    """
    (model, description), progress = load_network(config, checkpoint), console.interactive()
    config = description.applied_to(config)
    if fs_hz is not None:
        _check_firmware_rate(fs_hz, description)
    source = ingest(config, progress)
    if source.synthetic:
        description = replace(description, data_source=source.name)
    name = f"{config.mode}-{config.preset}{'-SYNTHETIC' * description.synthetic}"
    out = out or Path("artefacts") / name
    check_writable(out)
    ds1, ds2 = (load_beats(source, names, config, progress) for names in (config.train_records, config.test_records))
    rows = [row for builder in builders(fs_hz or Config.fs_hz) for row in builder(model, description, ds1, ds2, out)]
    for row in rows:
        row["ratio"] = rows[0]["bytes"] / row["bytes"] if row["bytes"] else None
    report = _report(model, description, ds2) | {"rows": rows}
    write_json(out / f"quantization-{name}.json", report)
    return report


def _check_firmware_rate(fs_hz: float, description: Description):
    from deep_ecg.deploy.c_chain import check_rate

    if not description.inputs.causal or description.preset != "edge":
        raise DeepECGError("--fs is the rate of the firmware's samples: add --mode causal --preset edge")
    check_rate(fs_hz)


def calibration_beats(ds1: Beats) -> Beats:
    """CALIBRATION_BEATS of the beats of the training patients, drawn at random and always the same ones."""
    chosen = np.random.default_rng(0).permutation(len(ds1))[:CALIBRATION_BEATS]
    return ds1.where(np.isin(np.arange(len(ds1)), chosen))


def _report(model: nn.Module, description: Description, tested: Beats) -> dict:
    return {
        **{name: getattr(description, name) for name in ("data_source", "mode", "preset", "seed")},
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status, see `console.exit_status`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mode", choices=MODES, help=f"as in main.py (default {Config.mode})")
    parser.add_argument("--preset", choices=PRESETS, help=f"as in main.py (default {Config.preset})")
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="network (default pretrained/MODE-PRESET.pt)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for the files (default artefacts/MODE-PRESET)")
    rate = f"rate of the firmware's samples (default {Config.fs_hz:g})"
    parser.add_argument("--fs", type=float, metavar="HZ", help=rate)
    options = parser.parse_args(arguments)

    def command():
        config = with_overrides(Config(), mode=options.mode, preset=options.preset)
        print(artefacts_table([build(config, options.checkpoint, options.out, options.fs)]))

    return console.exit_status(command, console.FILES_WHOLE)


if __name__ == "__main__":
    sys.exit(main())
