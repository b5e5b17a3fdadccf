"""The artefacts that put the `edge` network on a microcontroller: a .tflite file, C arrays, C99 code, a manifest.

`build` writes them all from a trained network and says what they lose. Everything is fully static int8, made by
`integer_network.quantized`; `model.tflite` and `deep_ecg_network.c` give the same logits to the bit.
"""

import hashlib
import io
import json
from pathlib import Path

import numpy as np
import torch
from torch import nn

from config import CLASSES
from deep_ecg.beats.arrays import Beats
from deep_ecg.beats.shape import DIFFERENCE_LIMIT, P_MEMORIES_BEATS
from deep_ecg.deploy import c_network
from deep_ecg.deploy.c_network import HostLibrary, array, compiler
from deep_ecg.deploy.integer_network import IntegerNetwork, Layer, Scaling, spread_by_class
from deep_ecg.deploy.tflite_file import OPERATORS, Interpreter, arena_bytes, model_bytes
from deep_ecg.networks.description import Description
from deep_ecg.networks.torch_network import predict_proba
from deep_ecg.scoring.measures import score_changes
from deep_ecg.system.files import atomic_file, write_text
from model import FEATURE_LIMIT, HybridECGNet

GOLDEN_OF_CLASS = 6  # beats of each class

# A feature's name without its memory: its definition. RR intervals in seconds, `memory` in beats.
DEFINITIONS = {
    "pre_ratio": "RR before the beat over the mean of the last `memory` RR before that one",
    "previous_ratio": "the RR before pre-RR over the mean of the last `memory` RR before pre-RR",
    "second_previous_ratio": "the second RR before pre-RR over the mean of the last `memory` RR before pre-RR",
    "rr_step": "median step between neighbouring RR of the last `memory`, over their mean",
    "rr_variation": "standard deviation of the last `memory` RR, over their mean",
    "rr_off_multiple": "mean distance, at most 0.5, of the last `memory` RR from multiples of pre-RR, over pre-RR",
    "pre_previous_ratio": "RR before the beat over the RR before it",
    "previous_second_ratio": "the RR before pre-RR over the one before it",
    "pre_rank": "share of the last 32 RR that are shorter than pre-RR",
    "post_ratio": "RR after the beat over the mean of the last `memory` RR before pre-RR",
    "pre_post_ratio": "RR before the beat over RR after it",
    "log_amplitude_ratio": "log of the QRS's height over that of the running template",
    "peak_difference": "highest point of the QRS less the template's, in heights of the template's QRS",
    "trough_difference": "lowest point of the QRS less the template's, in heights of the template's QRS",
    "qrs_residual": "root mean square of QRS less template, in heights of the template's QRS",
    "log_spread_ratio": "log of the spread in time of the QRS's squared slope, over the template's",
    "log_width_ratio": "log of the time in which the QRS is beyond half its height, over the template's",
    "p_wave_correlation": "correlation of the moving mean over 50 ms, from 240 to 70 ms before R, with the template's",
    **{f"p_wave_correlation_{n}": f"its mean over the last {n} beats before this one" for n in P_MEMORIES_BEATS},
}


def build(
    network: IntegerNetwork,
    model: HybridECGNet,
    description: Description,
    calibration: Beats,
    tested: Beats,
    out: Path,
) -> list[dict]:
    """Writes every artefact of `network`, the int8 form of `model`, into `out`; returns a row about each form of it.

    `description` is that of the network, `calibration` are beats of training patients, of which the golden ones
    are taken, `tested` those on which it is compared with `model` in fp32. A row holds artefact, file, bytes (of
    constants, for the C file), ratio (bytes of the fp32 weights over these), accuracy_change, s_f1_change and
    v_f1_change (int8 minus fp32, fractions), latency_us (None where it was not measured), needs and runs_on; changes
    are None where there is no C compiler to run the C file with.

    Raises DeepECGError where tflite-micro is missing, before anything is written.
    """
    title = _title(description)
    tflite = model_bytes(network, title)
    arena = arena_bytes(tflite)
    golden = _golden(network, calibration)
    files: dict[str, str | bytes] = {
        "model.tflite": tflite,
        "model_data.h": _data_header(tflite, arena, title),
        "model_data.c": _data_source(tflite, title),
        "deep_ecg_network.h": c_network.header(network, title),
        "deep_ecg_network.c": c_network.source(network, title),
        "golden.json": json.dumps({"title": title, **golden}, indent=None) + "\n",
        "golden.h": _golden_header(golden, title),
    }
    for name, content in files.items():
        _write(out / name, content)
    manifest = _manifest(network, description, arena) | {"files": {name: _sha256(out / name) for name in files}}
    write_text(out / "manifest.json", json.dumps(manifest, indent=2) + "\n")
    return _rows(model, network, tflite, tested, out)


def _title(description: Description) -> str:
    synthetic = "SYNTHETIC training data, " * description.synthetic
    return f"Deep-ECG, {description.preset} network in int8, {description.mode} mode, {synthetic}5 AAMI classes"


def _write(path: Path, content: str | bytes):
    if isinstance(content, str):
        write_text(path, content)
        return
    with atomic_file(path) as temporary:
        temporary.write_bytes(content)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# What the files hold ---------------------------------------------------------------------------------------------


def _data_header(tflite: bytes, arena: int, title: str) -> str:
    return f"""/* {title}: model.tflite as a C array. Research code, not a medical device. */
#ifndef DEEP_ECG_MODEL_DATA_H
#define DEEP_ECG_MODEL_DATA_H

#define DEEP_ECG_MODEL_BYTES {len(tflite)}
#define DEEP_ECG_ARENA_BYTES {arena} /* with 64-bit pointers; 32-bit ones need less */

#ifdef __cplusplus
extern "C" {{
#endif
extern const unsigned char deep_ecg_model[DEEP_ECG_MODEL_BYTES]; /* aligned to 16 bytes */
#ifdef __cplusplus
}}
#endif

#endif
"""


def _data_source(tflite: bytes, title: str) -> str:
    """C99 has no word for alignment: GCC, Clang and the compilers that follow them take the attribute."""
    declaration = "__attribute__((aligned(16))) const unsigned char deep_ecg_model"
    values = array(declaration, np.frombuffer(tflite, np.uint8), "0x{:02x}")
    return f'/* {title}: model.tflite as a C array. */\n#include "model_data.h"\n\n{values}\n'


def _golden(network: IntegerNetwork, beats: Beats) -> dict:
    """Inputs and outputs of some beats of every class that is there, to compare another implementation with."""
    chosen = beats.where(spread_by_class(beats.labels, GOLDEN_OF_CLASS))
    window_q, features_q = network.quantize(chosen.windows, chosen.features)
    logits = network.run(window_q, features_q)
    first = {
        "window": [[float(f"{value:.9g}") for value in channel] for channel in chosen.windows[0]],
        "features": [float(f"{value:.9g}") for value in chosen.features[0]],
    }
    return {
        "layout": "window_q (beats, samples, channels), features_q (beats, features), logits (beats, classes); the "
        "float inputs of the first beat as [channel][sample] and raw features",
        "classes": list(CLASSES),
        "labels": chosen.labels.tolist(),
        "records": chosen.records.tolist(),
        "samples": chosen.samples.tolist(),
        "first_beat_float": first,
        "window_q": window_q.tolist(),
        "features_q": features_q.tolist(),
        "logits": logits.tolist(),
    }


def _golden_header(golden: dict, title: str) -> str:
    arrays = "\n".join(
        array(f"static const signed char golden_{name}", np.array(golden[name]).ravel())
        for name in ("window_q", "features_q", "logits")
    )
    count = len(golden["labels"])
    return f"""/* {title}: int8 inputs and logits of {count} beats, those of golden.json, one beat after the other. */
#ifndef DEEP_ECG_GOLDEN_H
#define DEEP_ECG_GOLDEN_H

#define GOLDEN_BEATS {count}

{arrays}

#endif
"""


def _manifest(network: IntegerNetwork, description: Description, arena: int) -> dict:
    source = "SYNTHETIC: generated signals, not patients"
    if not description.synthetic:
        source = f"training patients of {', '.join(description.training.get('databases', ('mitdb',)))}"
    window, features = network.convolutions[0], network.feature_layers[0]
    return {
        "name": _title(description),
        "warning": "Research code, not a medical device.",
        "mode": description.mode,
        "preset": description.preset,
        "training_data": source,
        "classes": list(CLASSES),
        "decision": "the class of the largest logit, the first of equal ones",
        "inputs": [
            {
                "name": "window",
                "shape": [1, 1, network.window_samples, window.weights.shape[2]],
                "layout": "batch, 1, sample, channel: the z-scored beat, then its difference from the running template",
                **_scaling(window.input),
            },
            {
                "name": "features",
                "shape": [1, network.mean.size],
                "layout": "(feature - mean) / scale, kept within +-limit, in the order of `features` below",
                **_scaling(features.input),
            },
        ],
        "output": {"name": "logits", "shape": [1, len(CLASSES)], **_scaling(network.head[-1].output)},
        "quantize": "q = round(value / scale) + zero_point, halves away from zero, clamped to -128 .. 127",
        "operators": list(OPERATORS),  # for MicroMutableOpResolver
        "arena_bytes": arena,
        "arena_measured_in": "TFLite Micro on the host, 64-bit pointers; a microcontroller needs less",
        "c_file": {"constants_bytes": c_network.table_bytes(network), "static_ram_bytes": c_network.ram_bytes(network)},
        "preprocessing": _preprocessing(description),
        "features": _features(network, description),
        "layers": [_layer(layer) for layer in network.layers],
    }


def _scaling(scaling: Scaling) -> dict:
    return {"type": "int8", "scale": float(scaling.scale), "zero_point": scaling.zero_point}


def _layer(layer: Layer) -> dict:
    return {
        "operator": "CONV_2D" if layer.convolution else "FULLY_CONNECTED",
        "weights": list(layer.weights.shape),
        "relu": layer.relu,
        "output": _scaling(layer.output),
    }


def _preprocessing(description: Description) -> dict:
    """How samples become the window."""
    inputs = description.inputs
    return {
        "lead": description.leads[0],
        "sampling_rate_hz": inputs.fs_hz,
        "filter": f"Butterworth band-pass of order {inputs.filter_order}",
        "filter_band_hz": list(inputs.band_hz),
        "filter_sos": inputs.sos().tolist(),
        "filter_runs": "one pass from the first sample" if inputs.causal else "zero phase, both ways",
        "window_samples_before_r": inputs.window_samples - inputs.look_ahead_samples,
        "window_samples_from_r": inputs.look_ahead_samples,
        "look_ahead_ms": 1000 * inputs.look_ahead_samples / inputs.fs_hz,
        "future_beats": 0 if inputs.causal else 1,
        "channel_0": "the window less its mean, over its standard deviation",
        "channel_1": "aligned window less running template, over the window's standard deviation, kept within "
        f"+-{DIFFERENCE_LIMIT:g}",
    }


def _features(network: IntegerNetwork, description: Description) -> list[dict]:
    return [
        {"name": name, "mean": float(mean), "scale": float(scale), "limit": FEATURE_LIMIT, "definition": _defined(name)}
        for name, mean, scale in zip(description.features, network.mean, network.scale, strict=True)
    ]


def _defined(name: str) -> str:
    """The definition of feature `name`, which may end in the number of beats that it remembers."""
    base, _, memory = name.rpartition("_")
    if name not in DEFINITIONS and memory.isdigit():
        return DEFINITIONS[base].replace("`memory`", memory)
    return DEFINITIONS[name]


# What they lose --------------------------------------------------------------------------------------------------


def _rows(model: HybridECGNet, network: IntegerNetwork, tflite: bytes, tested: Beats, out: Path) -> list[dict]:
    before = predict_proba(model, tested.windows, tested.features).argmax(axis=1)
    inputs = network.quantize(tested.windows, tested.features)
    fp32_bytes = _weights_bytes(model)

    def row(artefact: str, file: str, count: int, logits: np.ndarray | None, **others) -> dict:
        changes = score_changes(tested.labels, before, before if logits is None else logits.argmax(axis=1))
        changes = dict.fromkeys(changes) if logits is None else changes
        return {"artefact": artefact, "file": file, "bytes": count, "ratio": fp32_bytes / count, **changes, **others}

    compiled = compiler() is not None
    logits, latency_us = HostLibrary(out).timed(*inputs) if compiled else (None, None)
    return [
        row(
            "TFLite Micro, static int8",
            "model.tflite",
            len(tflite),
            Interpreter(tflite).run(*inputs),
            latency_us=None,
            needs="TFLite Micro, C++17",
            runs_on="TFLite Micro on the host",
        ),
        row(
            "C99, static int8",
            "deep_ecg_network.c",
            c_network.table_bytes(network),
            logits,
            latency_us=latency_us,
            needs="a C99 compiler",
            runs_on="compiled for the host" if compiled else "not run: there is no C compiler",
        ),
    ]


def _weights_bytes(model: nn.Module) -> int:
    """Size of the file that torch makes of the fp32 weights."""
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    return file.tell()
