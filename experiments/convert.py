"""Networks of an older Deep-ECG turned into files of today's, all by which they are used with them.

An older file says nothing of temperature and running priors: those that networks of its mode and preset were used with
are written into it. The file is replaced, unless --out names another.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import onnx

from config import TEMPERATURES
from deep_ecg.deploy.onnx_export import write_onnx
from deep_ecg.networks import onnx_guard
from deep_ecg.networks.description import FORMAT, OLD_FORMAT, Description, decoded
from deep_ecg.networks.onnx_network import METADATA
from deep_ecg.networks.torch_network import read_torch_file, write_torch_file
from deep_ecg.records import guard
from deep_ecg.system.errors import DeepECGError

PRIORS = {"s_prior_weight": 0.6, "v_prior_weight": 0.5, "s_usual_share": 0.08}  # of every network of OLD_FORMAT
INPUTS = ("fs_hz", "band_hz", "filter_order", "window_samples", "look_ahead_ms")


def add_options(parser: argparse.ArgumentParser):
    """The file, and where its new form goes."""
    parser.add_argument("file", type=Path, metavar="FILE", help="a network of an older Deep-ECG, .pt or .onnx")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the file to write (default: the old one is replaced)")


def run(options: argparse.Namespace):
    """Converts the file that the options name, and says where the new one is."""
    out = options.out or options.file
    convert(options.file, out)
    print(out)


def convert(path: Path, out: Path):
    """Writes the network at `path`, of the format OLD_FORMAT, to `out` in that of today; its weights stay as they are.

    Raises DeepECGError where it is no such network.
    """
    (_convert_onnx if path.suffix == ".onnx" else _convert_torch)(path, out)


def _convert_torch(path: Path, out: Path):
    checkpoint = read_torch_file(path)
    said = checkpoint if isinstance(checkpoint, dict) else {}
    description = _description(path, said.get("format"), said.get("description"))
    write_torch_file(out, {**checkpoint, "format": FORMAT, "description": description.as_json()})


def _convert_onnx(path: Path, out: Path):
    try:
        guard.check_file(path, onnx_guard.MAX_BYTES)
        content = path.read_bytes()
        onnx_guard.check_onnx(content)
        proto = onnx.load_model_from_string(content)
        said = json.loads({entry.key: entry.value for entry in proto.metadata_props}[METADATA])
        version = said.pop("format")
    except FileNotFoundError:
        raise DeepECGError(f"{path} is missing: name a network of an older Deep-ECG") from None
    except Exception as error:  # the parser of ONNX raises whatever it stumbles over
        raise DeepECGError(f"{path} is no network in ONNX that can be read ({type(error).__name__})") from None
    write_onnx(out, proto, _description(path, version, said))


def _description(path: Path, version: Any, old: Any) -> Description:
    """What the file at `path` says as its description in the format `version`, `old`, in the format of today."""
    if type(version) is int and version == FORMAT:
        raise DeepECGError(f"{path} is a network of today's Deep-ECG: there is nothing to convert")
    if type(version) is not int or version != OLD_FORMAT:
        raise DeepECGError(f"{path} is no network of an older Deep-ECG: train one with `python main.py`")
    try:
        settings = dict(old["config"])
        said = {name: old[name] for name in ("preset", "classes", "features", "data_source", "seed")}
        said["leads"] = [settings.pop("lead"), *settings.pop("other_leads", [])]
        said["inputs"] = {"mode": old["mode"]} | {name: settings.pop(name) for name in INPUTS}
        said["decision"] = PRIORS | {"temperature": TEMPERATURES[old["mode"], old["preset"]]}
    except (KeyError, TypeError, ValueError):
        raise DeepECGError(f"{path} does not say how its inputs are made: train it again") from None
    known = {"mode", "preset", *PRIORS}
    said["training"] = {name: value for name, value in settings.items() if name not in known}
    return decoded(path, FORMAT, said)
