"""The integer network as one C99 file without dependencies, and its run on this machine.

The C code holds the same integers as the TFLite file and rounds as TFLite Micro's reference kernels do, so that both
give the same int8 logits to the bit.
"""

import ctypes
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

from config import CLASSES
from deep_ecg.deploy.integer_network import INT8_MIN, IntegerNetwork, Layer
from deep_ecg.system.errors import DeepECGError
from model import FEATURE_LIMIT

FLAGS = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror")
COLUMNS = 112  # of the lines of numbers

HEADER = """/* {title}
 *
 * Research code, not a medical device. Generated: change the network, not this file.
 *
 * The classes, in order: {classes}. The network's own label of a beat is the class of its largest logit, the first of
 * equal ones.
 * Not re-entrant: {ram} bytes of static memory hold what the layers give.
 */
#ifndef DEEP_ECG_NETWORK_H
#define DEEP_ECG_NETWORK_H

#include <stdint.h>

#define DEEP_ECG_WINDOW_SAMPLES {samples}
#define DEEP_ECG_CHANNELS {channels}
#define DEEP_ECG_FEATURES {features}
#define DEEP_ECG_CLASSES {class_count}
#define DEEP_ECG_LOGIT_SCALE {logit_scale}f

/* Float inputs to int8. window is channel-first [CHANNELS][WINDOW_SAMPLES], features [FEATURES] are raw: they are
 * standardised here. window_q comes out as [WINDOW_SAMPLES][CHANNELS], as the network and model.tflite take it.
 * The same to the bit everywhere where float is computed in single precision. */
void deep_ecg_network_quantize(const float *window, const float *features, int8_t *window_q, int8_t *features_q);

/* logits[i] stands for DEEP_ECG_LOGIT_SCALE * (logits[i] - ({logit_zero})). */
void deep_ecg_network_run(const int8_t *window_q, const int8_t *features_q, int8_t logits[DEEP_ECG_CLASSES]);

#endif
"""

SOURCE = """/* {title}
 *
 * Research code, not a medical device. Generated: change the network, not this file.
 */
#include "deep_ecg_network.h"

typedef struct {{
    const int8_t *weights;      /* [outputs][kernel][inputs] */
    const int32_t *bias;        /* [outputs] */
    const int32_t *multipliers; /* [outputs], or one for all */
    const uint8_t *shifts;      /* to the right, as many */
    int scales;                 /* how many multipliers */
    int kernel, inputs, outputs;
    int32_t input_zero, output_zero, lowest;
}} Layer;

{tables}

static const Layer CONVOLUTIONS[{convolution_count}] = {{
{convolutions}
}};
static const Layer FEATURE_LAYERS[{feature_layer_count}] = {{
{feature_layers}
}};
static const Layer HEAD[{head_count}] = {{
{head}
}};

static const float CHANNEL_SCALE = {window_scale};
static const float FEATURE_MEANS[DEEP_ECG_FEATURES] = {{
{means}
}};
static const float FEATURE_SCALES[DEEP_ECG_FEATURES] = {{
{scales}
}};
static const float FEATURE_LIMIT = {limit};
static const float FEATURE_STEP = {feature_scale};

static int8_t wave_a[{wave_a}], wave_b[{wave_b}];
static int8_t hidden[{hidden}], joined[{joined}];

static int8_t clamped(int32_t value, int32_t lowest)
{{
    return (int8_t)(value < lowest ? lowest : value > 127 ? 127 : value);
}}

/* sum * multiplier / 2^(31 + right), rounded twice as TFLite's kernels do: halves up, then halves away from zero. */
static int32_t scaled(int32_t sum, int32_t multiplier, int right)
{{
    const int64_t product = (int64_t)sum * multiplier + ((int64_t)1 << 30);
    const int64_t high = product >= 0 ? product >> 31 : -((-product + INT32_MAX) >> 31);
    const int64_t half = right > 0 ? (int64_t)1 << (right - 1) : 0;
    return (int32_t)(high >= 0 ? (high + half) >> right : -((-high + half) >> right));
}}

static int8_t output_of(const Layer *layer, int output, int32_t sum)
{{
    const int scale = layer->scales > 1 ? output : 0;
    return clamped(scaled(sum, layer->multipliers[scale], layer->shifts[scale]) + layer->output_zero, layer->lowest);
}}

static int32_t weighted(const int8_t *values, const int8_t *weights, int count, int32_t zero)
{{
    int32_t sum = 0;
    for (int i = 0; i < count; i++)
        sum += (values[i] - zero) * weights[i];
    return sum;
}}

/* Convolution over `width` samples, padded with zeros, then the largest of each `pool` neighbours in time. */
static void convolve(const Layer *layer, const int8_t *values, int width, int pool, int8_t *out)
{{
    const int reach = layer->kernel / 2;
    for (int at = 0; at < width; at++) {{
        const int first = at < reach ? reach - at : 0; /* of the kernel's taps that lie within the window */
        const int end = at + reach < width ? layer->kernel : width - at + reach;
        const int8_t *from = values + (at + first - reach) * layer->inputs;
        int8_t *to = out + at / pool * layer->outputs;
        for (int output = 0; output < layer->outputs; output++) {{
            const int8_t *weights = layer->weights + (output * layer->kernel + first) * layer->inputs;
            const int32_t sum = weighted(from, weights, (end - first) * layer->inputs, layer->input_zero);
            const int8_t value = output_of(layer, output, layer->bias[output] + sum);
            if (at % pool == 0 || value > to[output])
                to[output] = value;
        }}
    }}
}}

static void multiply(const Layer *layer, const int8_t *values, int8_t *out)
{{
    for (int output = 0; output < layer->outputs; output++) {{
        const int8_t *weights = layer->weights + output * layer->inputs;
        const int32_t sum = weighted(values, weights, layer->inputs, layer->input_zero);
        out[output] = output_of(layer, output, layer->bias[output] + sum);
    }}
}}

void deep_ecg_network_run(const int8_t *window_q, const int8_t *features_q, int8_t logits[DEEP_ECG_CLASSES])
{{
{run}
}}

/* The nearest int8 step, halves away from zero; NaN becomes the lowest. */
static int8_t nearest(float value, float scale, int32_t zero)
{{
    float steps = value / scale;
    if (!(steps > -256.0f))
        steps = -256.0f;
    if (steps > 256.0f)
        steps = 256.0f;
    return clamped((int32_t)(steps + (steps < 0.0f ? -0.5f : 0.5f)) + zero, -128);
}}

void deep_ecg_network_quantize(const float *window, const float *features, int8_t *window_q, int8_t *features_q)
{{
    for (int channel = 0; channel < DEEP_ECG_CHANNELS; channel++)
        for (int i = 0; i < DEEP_ECG_WINDOW_SAMPLES; i++)
            window_q[i * DEEP_ECG_CHANNELS + channel] =
                nearest(window[channel * DEEP_ECG_WINDOW_SAMPLES + i], CHANNEL_SCALE, {window_zero});
    for (int i = 0; i < DEEP_ECG_FEATURES; i++) {{
        float value = (features[i] - FEATURE_MEANS[i]) / FEATURE_SCALES[i];
        if (value > FEATURE_LIMIT)
            value = FEATURE_LIMIT;
        if (value < -FEATURE_LIMIT)
            value = -FEATURE_LIMIT;
        features_q[i] = nearest(value, FEATURE_STEP, {feature_zero});
    }}
}}
"""


def header(network: IntegerNetwork, title: str) -> str:
    """The text of deep_ecg_network.h; `title` is its first line."""
    logits = network.head[-1].output
    return HEADER.format(
        title=title,
        classes=" ".join(CLASSES),
        ram=ram_bytes(network),
        samples=network.window_samples,
        channels=network.convolutions[0].weights.shape[2],
        features=network.mean.size,
        class_count=len(CLASSES),
        logit_scale=f"{logits.scale:.9g}",
        logit_zero=logits.zero_point,
    )


def source(network: IntegerNetwork, title: str) -> str:
    """The text of deep_ecg_network.c; `title` is its first line."""
    sizes = _buffers(network)
    groups = {
        "convolutions": network.convolutions,
        "feature_layers": network.feature_layers,
        "head": network.head,
    }
    named = {group: [(f"{group}_{number}", layer) for number, layer in enumerate(groups[group])] for group in groups}
    return SOURCE.format(
        title=title,
        tables="\n\n".join(_tables(name, layer) for layers in named.values() for name, layer in layers),
        **{group: ",\n".join(_initializer(name, layer) for name, layer in named[group]) for group in groups},
        convolution_count=len(network.convolutions),
        feature_layer_count=len(network.feature_layers),
        head_count=len(network.head),
        window_scale=_float(network.convolutions[0].input.scale),
        window_zero=network.convolutions[0].input.zero_point,
        means=rows([_float(value) for value in network.mean]),
        scales=rows([_float(value) for value in network.scale]),
        limit=_float(FEATURE_LIMIT),
        feature_scale=_float(network.feature_layers[0].input.scale),
        feature_zero=network.feature_layers[0].input.zero_point,
        run=_run(network),
        **sizes,
    )


def ram_bytes(network: IntegerNetwork) -> int:
    """Static memory of the C file in bytes; its inputs and logits lie with the caller."""
    sizes = _buffers(network)
    return sizes["wave_a"] + sizes["wave_b"] + sizes["hidden"] + sizes["joined"]


def table_bytes(network: IntegerNetwork) -> int:
    """Constants of the C file in bytes: weights, biases, multipliers and shifts, the features' mean and scale."""
    of_layers = sum(
        layer.weights.size + 4 * layer.bias.size + 5 * layer.weight_scales.size for layer in network.layers
    )
    return of_layers + 8 * network.mean.size


def _buffers(network: IntegerNetwork) -> dict[str, int]:
    """Sizes of the static arrays: feature maps in turn in two of them, the hidden layers, what joins in the head."""
    maps = [
        network.window_samples // 2 ** (number + 1) * len(layer.weights)
        for number, layer in enumerate(network.convolutions[:-1])
    ]
    joined = len(network.convolutions[-1].weights) + len(network.feature_layers[-1].weights)
    hidden = [len(layer.weights) for layer in (*network.feature_layers[:-1], *network.head[:-1])]
    return {
        "wave_a": max(maps[0::2]),
        "wave_b": max(maps[1::2]),
        "hidden": max(hidden),
        "joined": joined,
    }


def _run(network: IntegerNetwork) -> str:
    """The body of deep_ecg_network_run: one call a layer; both dense groups of the network are of two layers."""
    lines, values, width = [], "window_q", network.window_samples
    last = len(network.convolutions) - 1
    for number in range(last):
        out = "wave_a" if number % 2 == 0 else "wave_b"
        lines.append(f"convolve(&CONVOLUTIONS[{number}], {values}, {width}, 2, {out});")
        values, width = out, width // 2
    lines.append(f"convolve(&CONVOLUTIONS[{last}], {values}, {width}, {width}, joined);")
    offset = len(network.convolutions[-1].weights)
    for group, values, out in (("FEATURE_LAYERS", "features_q", f"joined + {offset}"), ("HEAD", "joined", "logits")):
        lines += [f"multiply(&{group}[0], {values}, hidden);", f"multiply(&{group}[1], hidden, {out});"]
    return "\n".join(f"    {line}" for line in lines)


def _tables(name: str, layer: Layer) -> str:
    scales = len(layer.weight_scales)
    columns = (
        ("int8_t", "weights", layer.weights.ravel()),
        ("int32_t", "bias", layer.bias),
        ("int32_t", "multipliers", layer.multipliers[:scales]),
        ("uint8_t", "shifts", -layer.shifts[:scales]),
    )
    return "\n".join(array(f"static const {kind} {name}_{column}", values) for kind, column, values in columns)


def _initializer(name: str, layer: Layer) -> str:
    kernel = layer.weights.shape[1] if layer.convolution else 1
    lowest = max(layer.output.zero_point, INT8_MIN) if layer.relu else INT8_MIN
    numbers = [len(layer.weight_scales), kernel, layer.weights.shape[-1], len(layer.weights)]
    numbers += (layer.input.zero_point, layer.output.zero_point, lowest)
    pointers = ", ".join(f"{name}_{column}" for column in ("weights", "bias", "multipliers", "shifts"))
    return f"    {{{pointers},\n     {', '.join(str(number) for number in numbers)}}}"


def array(declaration: str, values: np.ndarray, item: str = "{}") -> str:
    """A C array of whole numbers, written over as many lines as it needs."""
    return f"{declaration}[{len(values)}] = {{\n{rows([item.format(int(value)) for value in values])}\n}};"


def rows(items: list[str]) -> str:
    """`items` with commas between them, in lines of at most COLUMNS characters."""
    lines, line = [], ""
    for item in items:
        if line and len(line) + len(item) + 2 > COLUMNS:
            lines.append(line)
            line = ""
        line += f"{' ' if line else '    '}{item},"
    return "\n".join([*lines, line]).rstrip(",")


def _float(value: float | np.floating) -> str:
    """A float32 as a C constant that reads back to the same bits."""
    text = f"{np.float32(value):.9g}"
    return f"{text}f" if "." in text or "e" in text else f"{text}.0f"


# On this machine -------------------------------------------------------------------------------------------------


def compiler() -> str | None:
    """The C compiler of this machine, None where there is none."""
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


class HostLibrary:
    """deep_ecg_network.c of `folder` compiled for this machine.

    Raises DeepECGError where there is no C compiler or the file does not compile without a warning.
    """

    def __init__(self, folder: Path):
        if compiler() is None:
            raise DeepECGError("there is no C compiler (cc, gcc or clang): install one to run the C network")
        with tempfile.TemporaryDirectory() as built:
            library = Path(built) / "network.so"
            compile_c([folder / "deep_ecg_network.c"], library, "-O2", "-shared", "-fPIC")
            self._library = ctypes.CDLL(str(library))

    def quantize(self, windows: np.ndarray, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `IntegerNetwork.quantize`."""
        windows, features = (np.ascontiguousarray(values, np.float32) for values in (windows, features))
        window_q = np.empty((len(windows), windows.shape[2], windows.shape[1]), np.int8)
        features_q = np.empty(features.shape, np.int8)
        for rows_of_beat in zip(windows, features, window_q, features_q):
            self._library.deep_ecg_network_quantize(*(pointer(row) for row in rows_of_beat))
        return window_q, features_q

    def run(self, window_q: np.ndarray, features_q: np.ndarray) -> np.ndarray:
        """As `IntegerNetwork.run`."""
        return self.timed(window_q, features_q)[0]

    def timed(self, window_q: np.ndarray, features_q: np.ndarray) -> tuple[np.ndarray, float | None]:
        """int8 logits (n, classes) and the median time of a beat in microseconds, None without a beat."""
        logits, times_s = np.empty((len(window_q), len(CLASSES)), np.int8), []
        for rows_of_beat in zip(window_q, features_q, logits):
            pointers = [pointer(row) for row in rows_of_beat]
            start = time.perf_counter()
            self._library.deep_ecg_network_run(*pointers)
            times_s.append(time.perf_counter() - start)
        return logits, float(np.median(times_s) * 1e6) if times_s else None


def compile_c(sources: list[Path], out: Path, *options: str, command: str | None = None):
    """Compiles C99 `sources` into `out`, warnings being errors. Raises DeepECGError with the compiler's first error."""
    line = [command or compiler() or "cc", *FLAGS, *options, *map(str, sources), "-o", str(out)]
    done = subprocess.run(line, capture_output=True, text=True)
    if done.returncode:
        first = next((line for line in done.stderr.splitlines() if "error" in line), "no message")
        raise DeepECGError(f"{sources[0]} does not compile: {first}")


def pointer(values: np.ndarray) -> ctypes.c_void_p:
    """Where C finds the `values`."""
    return ctypes.c_void_p(values.ctypes.data)
