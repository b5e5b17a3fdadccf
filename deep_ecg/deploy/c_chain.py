"""The whole causal chain for microcontrollers: `deep_ecg.h` and `deep_ecg.c`, samples in, labelled beats out.

The C99 sources in firmware/ follow the modules of deep_ecg/beats and stream.py function by function; what they include
beside is generated here for one sampling rate, so that a firmware author drops in two files.
Thresholds, lengths and coefficients are those of the Python modules, brought to whole samples where they are times.
"""

import ctypes
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from config import CLASSES, Config
from deep_ecg.beats import beat_network as net
from deep_ecg.beats import beat_picking as picking
from deep_ecg.beats import rhythm, shape, signal_unit, templates
from deep_ecg.beats.input_settings import InputSettings
from deep_ecg.beats.signal_quality import QUALITIES, SETTLE_STEPS
from deep_ecg.beats.signal_watch import FLAT_S, MISSING_S
from deep_ecg.deploy import c_network
from deep_ecg.deploy.c_network import compile_c, compiler, pointer
from deep_ecg.deploy.integer_network import IntegerNetwork
from deep_ecg.networks import fibrillation, prior
from deep_ecg.networks.decision_settings import DecisionSettings
from deep_ecg.networks.description import Description
from deep_ecg.networks.fibrillation import FibrillationNetwork
from deep_ecg.system.errors import DeepECGError
from deep_ecg.system.files import write_text
from dsp_filters import FLAT_MV, bandpass_sos

SOURCES = Path(__file__).resolve().parents[2] / "firmware"
FILES = ("deep_ecg.h", "deep_ecg.c")
EXAMPLE = "example.c"
NETWORK_FUNCTIONS = "deep_ecg_network_"  # so their names begin
LEAST_SIZE = 1e-30  # of a group of past beats: float would forget it altogether at 1e-45, after a day
FINEST_RATE_HZ = Fraction(1, 100)
GROUPS_OF_FEATURES = {"SHAPE": shape.SHAPE, "P_WAVE": shape.P_WAVE}  # that need code of their own
BLOCK_LAYERS = ("narrow", "depth", "wide")  # of the network of R-peaks
GAIN_PARTS = 100  # of the gain's logarithm, in whole numbers of which it is counted, make GAIN_RATE


@dataclass(frozen=True)
class LabelledBeats:
    """What the compiled chain says of a signal: one row a beat.

    samples, known (beats,) int64, late (beats,) bool, labels and qualities (beats,), logits (beats, 5) int8, windows
    (beats, channels, samples) and features (beats, count) float32 as they went to the network, 0 where none did.
    """

    samples: np.ndarray
    known: np.ndarray
    late: np.ndarray
    labels: np.ndarray
    qualities: np.ndarray
    logits: np.ndarray
    windows: np.ndarray
    features: np.ndarray
    quality: str


# Generated sources -----------------------------------------------------------------------------------------------


def generate(description: Description, network_h: str, network_c: str, fs_hz: float = Config.fs_hz) -> dict[str, str]:
    """The texts of FILES, by name, for samples that come at `fs_hz`.

    `description` is that of a causal network, network_h and network_c the int8 network in C (`c_network`).
    Raises DeepECGError for a network of the other mode, a rate that the detector does not take or that is no
    multiple of FINEST_RATE_HZ, or a feature that the C sources do not know.
    """
    _check_causal(description)
    r_peaks = net.pretrained()
    inputs, rate_hz = description.inputs, _rate(fs_hz)
    includes = {
        "deep_ecg_network.h": _macros_of_network(network_h),
        "deep_ecg_sizes.h": _macros(sizes(inputs, rate_hz, r_peaks) | _rhythm_size(description.decision)),
        "deep_ecg_network.c": _own_network(network_c),
        "deep_ecg_constants.h": _macros(constants(description, rate_hz, r_peaks))
        + tables(inputs, rate_hz)
        + rhythm_network(description.decision),
        "deep_ecg_beat_network.h": beat_network(r_peaks),
        "deep_ecg_features.h": feature_code(description.features),
    }
    return {name: _amalgamated((SOURCES / name).read_text(encoding="utf-8"), includes) for name in FILES}


def _check_causal(description: Description):
    if not description.inputs.causal:
        raise DeepECGError(
            f"firmware is made from a causal checkpoint, not a {description.mode} one: its features of a beat "
            "would need the next beat; train with `python main.py --mode causal --preset edge`"
        )


def check_rate(fs_hz: float):
    """Raises DeepECGError for a rate at which the firmware cannot be made."""
    _rate(fs_hz)


def _rate(fs_hz: float) -> Fraction:
    net.RPeakNetwork(fs_hz)  # raises for a rate that it does not take
    rate_hz = Fraction(fs_hz).limit_denominator(FINEST_RATE_HZ.denominator)
    if float(rate_hz) != fs_hz:
        raise DeepECGError(f"firmware cannot be made for {fs_hz!r} Hz: use a multiple of {float(FINEST_RATE_HZ)} Hz")
    return rate_hz


def _macros_of_network(network_h: str) -> str:
    """The header of the network without its guard and functions: those of deep_ecg.c are its own."""
    lines = [line for line in network_h.splitlines(True) if line.split()[:1] == ["#define"] and len(line.split()) > 2]
    return "".join(lines)


def _own_network(network_c: str) -> str:
    """The network for deep_ecg.c alone: linked with deep_ecg_network.c, each keeps its functions."""
    text = "".join(line for line in network_c.splitlines(True) if line.split() != ["#include", '"deep_ecg_network.h"'])
    return re.sub(f"^void {NETWORK_FUNCTIONS}", f"static void {NETWORK_FUNCTIONS}", text, flags=re.MULTILINE)


def _amalgamated(text: str, includes: dict[str, str]) -> str:
    for name, included in includes.items():
        text = text.replace(f'#include "{name}"\n', included.rstrip("\n") + "\n")
    return text


def _macros(values: Mapping[str, int | float | str]) -> str:
    return "".join(f"#define {name} {_literal(value)}\n" for name, value in values.items())


def _literal(value: int | float | str) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, int):
        return f"{value}"
    text = repr(float(np.float32(value))) if math.isfinite(value) else "0.0"
    return f"{text}f"


def sizes(inputs: InputSettings, rate_hz: Fraction, r_peaks: Mapping[str, np.ndarray]) -> dict[str, int | float | str]:
    """Macros of deep_ecg.h: the lengths of the arrays in `struct deep_ecg`, rate and class names."""
    fs_hz = float(rate_hz)
    before, look_ahead_s = inputs.window_samples - inputs.look_ahead_samples, inputs.look_ahead_samples / inputs.fs_hz
    about_s = (int(r_peaks["delay_steps"]) + 1) / net.STEP_HZ  # so long after about where R is its peak is known
    waits_s = max(picking.BACK_STEPS / net.STEP_HZ + about_s + net.R_REACH_S, look_ahead_s)
    place = net.RPlace(fs_hz)
    taps, narrow = r_peaks["depth0_weights"].shape
    return {
        "DEEP_ECG_FS_HZ": fs_hz,
        "DEEP_ECG_CLASS_NAMES": "".join(CLASSES),
        "DEEP_ECG_UNIT_BLOCKS": signal_unit.BLOCKS,
        "DEEP_ECG_HISTORY": math.ceil(about_s * fs_hz) + max(place.baseline, place.reach + len(place.kernel)) + 2,
        "DEEP_ECG_BAND_SECTIONS": inputs.filter_order,
        "DEEP_ECG_BEAT_SECTIONS": net.BAND_ORDER,
        "DEEP_ECG_BEAT_INPUT": len(r_peaks["first_weights"]),
        "DEEP_ECG_BEAT_BLOCKS": len(r_peaks["dilations"]),
        "DEEP_ECG_BEAT_NARROW": narrow,
        "DEEP_ECG_BEAT_MEMORY": (taps - 1) * int(r_peaks["dilations"].sum()),
        "DEEP_ECG_BEAT_RR": picking.MEMORY,
        "DEEP_ECG_WAITING": math.ceil(look_ahead_s / net.APART_S) + 3,
        "DEEP_ECG_FILTERED": math.ceil((waits_s + 2 / fs_hz) * inputs.fs_hz) + before + 2,
        "DEEP_ECG_RR": rhythm.MEMORY_BEATS + 1,
        "DEEP_ECG_GROUPS": templates.GROUPS,
        "DEEP_ECG_P_MEMORIES": len(shape.P_MEMORIES_BEATS),
    }


def constants(description: Description, rate_hz: Fraction, r_peaks: Mapping[str, np.ndarray]) -> dict[str, int | float]:
    """Macros of deep_ecg.c; times are in samples, and say by their comments in the Python modules what they are."""
    return (
        _signal_constants(float(rate_hz))
        | _r_peak_constants(rate_hz, r_peaks)
        | _input_constants(description.inputs, rate_hz)
        | _prior_constants(description.decision)
        | _rhythm_constants(description.decision, rate_hz)
        | {
            f"{name}_FEATURES": int(any(feature in group for feature in description.features))
            for name, group in GROUPS_OF_FEATURES.items()
        }
    )


def _signal_constants(fs_hz: float) -> dict[str, int | float]:
    return {
        "LIMIT_MV": signal_unit.LIMIT_MV,
        "LIMIT": signal_unit.LIMIT,
        "UNIT_BLOCK": round(signal_unit.BLOCK_S * fs_hz),
        "UNIT_RANK": signal_unit.RANK,
        "WIDEST_MV": signal_unit.WIDEST_MV,
        "GROWTH": signal_unit.GROWTH,
        "BEYOND": round(signal_unit.BEYOND_S * fs_hz),
        "MISSING_LIMIT": math.floor(MISSING_S * fs_hz),
        "FLAT": math.ceil(FLAT_S * fs_hz),
    }


def _r_peak_constants(rate_hz: Fraction, r_peaks: Mapping[str, np.ndarray]) -> dict[str, int | float]:
    fs_hz, ratio, place = float(rate_hz), rate_hz / Fraction(net.NETWORK_HZ), net.RPlace(float(rate_hz))
    return {
        "BEAT_RATE_IN": ratio.numerator,
        "BEAT_RATE_OUT": ratio.denominator,
        "GAIN_BLOCK": net.GAIN_BLOCK,
        "GAIN_UP": GAIN_PARTS // net.GAIN_BLOCK,
        "GAIN_DOWN": round(GAIN_PARTS * net.GAIN_SHARE),
        "GAIN_STEP": net.GAIN_RATE / GAIN_PARTS,
        "GAIN_HASTE": net.GAIN_HASTE,
        "GAIN_LEAP": float(net.GAIN_LEAP),
        "GAIN_START_MV": net.GAIN_START_MV,
        "GAIN_LEAST_MV": net.GAIN_LEAST_MV,
        "KNEE": net.KNEE,
        "FULL": net.FULL,
        "RESIDUAL_LIMIT": net.RESIDUAL_LIMIT,
        "STEP": net.STEP,
        "BEAT_DELAY": int(r_peaks["delay_steps"]),
        "BEAT_THRESHOLD": int(r_peaks["threshold"]),
        "BEAT_LEAST": int(r_peaks["least"]),
        "CLEARLY": int(r_peaks["clearly"]),
        "NOISY": int(r_peaks["quality_limits"][0]),
        "UNREADABLE": int(r_peaks["quality_limits"][1]),
        "SETTLE_STEPS": SETTLE_STEPS,
        "REFRACTORY": picking.REFRACTORY_STEPS,
        "SHORTEST": picking.SHORTEST_STEPS,
        "ASIDE": picking.ASIDE_STEPS,
        "BACK": picking.BACK_STEPS,
        "HELD_STEPS": picking.HELD_STEPS,
        "HELD_BEATS": picking.HELD_BEATS,
        "LONGEST": picking.LONGEST_STEPS,
        "PAUSE_FEWEST": picking.FEWEST,
        "PAUSE_TENTHS": float(picking.PAUSE_TENTHS),
        "APART": math.ceil(net.APART_S * fs_hz),
        "REACH": place.reach,
        "BASELINE": place.baseline,
        "LEAST_MV": net.LEAST_MV,
        "MISSING_PARTS": round(1 / net.MISSING_SHARE),
        "ON_TIME": math.floor(net.ON_TIME_S * fs_hz),
    }


def _input_constants(inputs: InputSettings, rate_hz: Fraction) -> dict[str, int | float]:
    before = inputs.window_samples - inputs.look_ahead_samples
    ratio = rate_hz / Fraction(inputs.fs_hz)
    qrs = shape.qrs_span(before, inputs.look_ahead_samples, inputs.fs_hz)
    p_wave = shape.p_wave_span(before, inputs.look_ahead_samples, inputs.fs_hz)
    p_smoothed = shape.p_smoothed_samples(inputs.fs_hz)
    shifts = shifts_of(inputs)
    return {
        "RATE_IN": ratio.numerator,
        "RATE_OUT": ratio.denominator,
        "BEFORE_R": before,
        "LOOK_AHEAD": inputs.look_ahead_samples,
        "MAX_RR": round(rhythm.MAX_RR_S * rate_hz),
        "RATIO_LOW": rhythm.RATIO_RANGE[0],
        "RATIO_HIGH": rhythm.RATIO_RANGE[1],
        "RANK_MEMORY": max(rhythm.LOCAL_BEATS),
        "MOST_OFF": rhythm.MOST_OFF,
        "QRS_START": qrs.start,
        "QRS_SAMPLES": qrs.stop - qrs.start,
        "P_START": p_wave.start,
        "P_MEANS": max(p_wave.stop - p_wave.start - p_smoothed + 1, 0),
        "P_SMOOTHED": p_smoothed,
        "SHIFTS": len(shifts),
        "FIRST_SHIFT": int(shifts[0]),
        "ALIGN_STEP": templates.ALIGN_STEP,
        "ALIKE": templates.ALIKE,
        "FORGETTING": templates.FORGETTING,
        "LEAST_SIZE": LEAST_SIZE,
        "TEMPLATE_BEATS": float(templates.TEMPLATE_BEATS),
        "FLAT_MV": FLAT_MV,
        "DIFFERENCE_LIMIT": shape.DIFFERENCE_LIMIT,
        "ROOT_OF_WINDOW": math.sqrt(inputs.window_samples),
    }


def _prior_constants(decision: DecisionSettings) -> dict[str, int | float]:
    return {
        "S_CLASS": prior.S,
        "S_MEMORY_BEATS": float(prior.MEMORY_BEATS),
        "S_USUAL_SHARE": decision.s_usual_share,
        "S_LEAST_SHARE": prior.SHARE_RANGE[0],
        "S_MOST_SHARE": prior.SHARE_RANGE[1],
        "S_WEIGHT": decision.s_prior_weight,
        "Q_CLASS": CLASSES.index("Q"),
        "V_CLASS": prior.V,
        "V_GROUP_BEATS": float(prior.GROUP_BEATS),
        "V_START_BEATS": float(prior.START_BEATS),
        "ODDS_LOW": prior.ODDS_RANGE[0],
        "ODDS_HIGH": prior.ODDS_RANGE[1],
        "V_WEIGHT": decision.v_prior_weight,
    }


def _rhythm_size(decision: DecisionSettings) -> dict[str, int]:
    """The memory of the network of the rhythm, 0 where it has no say."""
    hidden = len(FibrillationNetwork.load().output) if decision.rhythm_weight else 0
    return {"DEEP_ECG_RHYTHM": hidden}


def _rhythm_constants(decision: DecisionSettings, rate_hz: Fraction) -> dict[str, int | float]:
    if not decision.rhythm_weight:
        return {}
    return {
        "F_CLASS": prior.F,
        "INPUT_HZ": float(rate_hz),
        "RHYTHM_SHORTEST": math.ceil(Fraction(str(fibrillation.RR_RANGE_S[0])) * rate_hz),
        "RHYTHM_RR_S": fibrillation.USUAL_RR_S,
        "RHYTHM_SPREAD": fibrillation.SPREAD,
        "RHYTHM_STEP": fibrillation.STEP_SCALE,
        "RHYTHM_DOUBTED": prior.DOUBTED,
        "RHYTHM_WEIGHT": decision.rhythm_weight,
        "RHYTHM_OUTPUT_BIAS": float(FibrillationNetwork.load().output_bias),
    }


def rhythm_network(decision: DecisionSettings) -> str:
    """Constant arrays of deep_ecg.c: the network that tells fibrillation, where it has a say."""
    if not decision.rhythm_weight:
        return ""
    network = FibrillationNetwork.load()
    return "".join(
        f"static const float RHYTHM_{name.upper()}[]{_columns(weights)} = {_rows(weights)};\n"
        for name, weights in vars(network).items()
        if weights.ndim
    )


def _columns(weights: np.ndarray) -> str:
    return f"[{weights.shape[1]}]" if weights.ndim == 2 else ""


def _rows(weights: np.ndarray) -> str:
    return "{" + ",\n    ".join(map(_row, weights)) + "}" if weights.ndim == 2 else _row(weights)


def shifts_of(inputs: InputSettings) -> np.ndarray:
    """The shifts, in samples, at which a beat is compared with the templates, as `RunningTemplate` chooses them."""
    before = inputs.window_samples - inputs.look_ahead_samples
    qrs = shape.qrs_span(before, inputs.look_ahead_samples, inputs.fs_hz)
    return templates.RunningTemplate(inputs.window_samples, qrs, inputs.fs_hz).shifts


def tables(inputs: InputSettings, rate_hz: Fraction) -> str:
    """Constant arrays of deep_ecg.c: filters, the kernel of the R-peak, what a shift costs."""
    kernel = net.RPlace(float(rate_hz)).kernel
    nearness = 1 - templates.SHIFT_COST * np.abs(shifts_of(inputs)) / inputs.fs_hz
    return (
        _sections("BEAT_BAND", bandpass_sos(net.BAND_HZ, net.BAND_ORDER, float(rate_hz)))
        + _sections("BAND", inputs.sos())
        + f"static const float R_KERNEL[] = {_row(kernel[len(kernel) // 2 :])}; /* from its middle on */\n"
        + f"static const float NEARNESS[] = {_row(nearness)};\n"
        + f"#if P_WAVE_FEATURES\nstatic const float P_MEMORIES[] = {_row(shape.P_MEMORIES_BEATS)};\n#endif\n"
    )


def _sections(name: str, sos: np.ndarray) -> str:
    """Second-order sections (count, 6), whose a0 is 1, written as polynomials in z - 1 instead of z."""
    rows = [
        (b0, 2 * b0 + b1, b0 + b1 + b2, 2 + a1, 1 + a1 + a2)
        for b0, b1, b2, _, a1, a2 in sos.tolist()
    ]  # fmt: skip
    return f"static const float {name}[][5] = {{" + ", ".join(map(_row, rows)) + "};\n"


def _row(values) -> str:
    return "{" + ", ".join(_literal(float(value)) for value in values) + "}"


def beat_network(r_peaks: Mapping[str, np.ndarray]) -> str:
    """Sizes and constant arrays of deep_ecg.c: the layers of the network of R-peaks, as `struct beat_layer`."""
    taps, channels = len(r_peaks["depth0_weights"]), len(r_peaks["head_weights"])
    blocks = {kind: [f"{kind}{index}" for index in range(len(r_peaks["dilations"]))] for kind in BLOCK_LAYERS}
    arrays = [_beat_arrays(name, r_peaks) for name in ("first", "head", *chain(*blocks.values()))]
    layers = [f"static const struct beat_layer BEAT_FIRST = {_beat_layer('first', r_peaks)};"]
    for kind, names in blocks.items():
        rows = ",\n".join(f"    {_beat_layer(name, r_peaks)}" for name in names)
        layers.append(f"static const struct beat_layer BEAT_{kind.upper()}[DEEP_ECG_BEAT_BLOCKS] = {{\n{rows}\n}};")
    return (
        _macros({"BEAT_TAPS": taps, "BEAT_CHANNELS": channels})
        + "\n".join([c_network.array("static const uint16_t BEAT_DILATIONS", r_peaks["dilations"]), *arrays, *layers])
        + "\n"
    )


def _beat_arrays(name: str, r_peaks: Mapping[str, np.ndarray]) -> str:
    """The arrays of layer `name`, weights output by output."""
    kinds = {"weights": "int8_t", "biases": "int32_t", "multipliers": "int32_t"}
    return "\n".join(
        c_network.array(f"static const {kind} beat_{name}_{part}", r_peaks[f"{name}_{part}"].T.ravel())
        for part, kind in kinds.items()
        if f"{name}_{part}" in r_peaks
    )


def _beat_layer(name: str, r_peaks: Mapping[str, np.ndarray]) -> str:
    pointers = ", ".join(f"beat_{name}_{part}" for part in ("weights", "biases", "multipliers"))
    return f"{{{pointers}, {int(r_peaks[f'{name}_shift'])}}}"


def feature_code(names: Sequence[str]) -> str:
    """The C functions that fill the network's features, in the order of `names`.

    Raises DeepECGError for a name that the C sources do not know.
    """
    place = {name: f"    features[{i}] =" for i, name in enumerate(names)}
    of_shape = [f"{place[name]} shape.{name};" for name in names if name in shape.SHAPE]
    of_p_wave = [f"{place[name]} {_p_wave(name)};" for name in names if name in shape.P_WAVE]
    others = [name for name in names if name not in shape.SHAPE + shape.P_WAVE]
    of_rhythm = [f"{place[name]} {_rhythm(name)};" for name in others]
    memories = sorted({_memory(name) for name in others} - {0})
    lines = [
        "static void rhythm_features(const struct deep_ecg *ecg, float *scratch, float *features)",
        "{",
        "    const float pre = (float)rr_back(ecg, 0), previous = (float)rr_back(ecg, 1);",
        "    const float second = (float)rr_back(ecg, 2);",
        "    const struct rhythm rhythm = rhythm_of(ecg, pre, previous, second);",
        *(f"    const struct rr_statistics of_{n} = rr_statistics(ecg, {n}, scratch);" for n in memories),
        *of_rhythm,
        "}",
    ]
    if of_shape:
        lines += [
            "",
            "static void shape_features(const float *qrs_mv, const float *template_mv, float *features)",
            "{",
            "    const struct shape shape = shape_of(qrs_mv, template_mv);",
            *of_shape,
            "}",
        ]
    if of_p_wave:
        lines += [
            "",
            "static void p_wave_features(const struct deep_ecg *ecg, float correlation, float *features)",
            "{",
            *of_p_wave,
            "}",
        ]
    return "\n".join(lines) + "\n"


def _memory(name: str) -> int:
    """How many intervals a running statistic reaches back, by the end of its name; 0 for other features."""
    _, _, memory = name.rpartition("_")
    return int(memory) if memory.isdigit() else 0


def _p_wave(name: str) -> str:
    memory = _memory(name)
    return f"ecg->p_means[{shape.P_MEMORIES_BEATS.index(memory)}]" if memory else "correlation"


def _rhythm(name: str) -> str:
    statistic, memory = name.removesuffix(f"_{_memory(name)}"), _memory(name)
    running = {
        "pre_ratio": f"ratio(pre, of_{memory}.mean)",
        "previous_ratio": f"ratio(previous, of_{memory}.mean)",
        "second_previous_ratio": f"ratio(second, of_{memory}.mean)",
        "rr_step": f"of_{memory}.step",
        "rr_variation": f"of_{memory}.variation",
        "rr_off_multiple": f"of_{memory}.off_multiple",
    }
    alone = ("pre_previous_ratio", "previous_second_ratio", "pre_rank")
    if memory and statistic in running and memory <= rhythm.MEMORY_BEATS:
        return running[statistic]
    if name in alone:
        return f"rhythm.{name}"
    raise DeepECGError(f"firmware has no feature {name!r}: use a checkpoint of the causal features of inputs.py")


def build(network: IntegerNetwork, description: Description, out: Path, fs_hz: float = Config.fs_hz) -> list[dict]:
    """Writes FILES and the example into `out` and returns their row of the table of edge artefacts.

    Labels differ from those of `network` by the rounding of the inputs alone, so the row has no scores. Raises
    DeepECGError as `generate` does, before anything is written.
    """
    title = "Deep-ECG: the int8 network of deep_ecg.c"
    files = generate(description, c_network.header(network, title), c_network.source(network, title), fs_hz)
    for name, text in (files | {EXAMPLE: (SOURCES / EXAMPLE).read_text(encoding="utf-8")}).items():
        write_text(out / name, text)
    unknown = ("bytes", "ratio", "accuracy_change", "s_f1_change", "v_f1_change", "latency_us")
    ram = f", {HostChain(out).state_bytes / 1024:.0f} KB of RAM for its state" if compiler() else ""
    return [
        {
            "artefact": f"whole causal chain in C99, {fs_hz:g} Hz",
            "file": " ".join(FILES),
            **dict.fromkeys(unknown),
            "needs": f"a C99 compiler{ram}",
            "runs_on": "32-bit microcontrollers",
        }
    ]


# On the host -----------------------------------------------------------------------------------------------------

BEAT_NUMBERS = 5  # beside its logits: sample, known, late, label, quality
SIGNALS = (*QUALITIES, "missing", "flat", "saturated")  # as `enum deep_ecg_quality` counts them


class HostChain:
    """The generated chain, compiled for this machine, to be fed signals: what a microcontroller would answer.

    `folder` holds FILES. `state_bytes` is the size of `struct deep_ecg`, all the RAM the chain needs beside the stack
    and what the network takes; 32-bit machines differ by padding at most. Raises DeepECGError where there is no C
    compiler.
    """

    def __init__(self, folder: Path):
        with TemporaryDirectory() as build:
            library = Path(build) / "host.so"
            compile_chain([SOURCES / "host.c"], library, folder, "-O2", "-shared", "-fPIC")
            self._library = ctypes.CDLL(str(library))
        self._library.host_push.restype = ctypes.c_long
        numbers = (ctypes.c_int * 5)()
        self._library.host_sizes(numbers)
        self.state_bytes, *self._window, self._features, self._apart = numbers

    def label(self, signal_mv: np.ndarray) -> LabelledBeats:
        """Everything the chain says of `signal_mv` (n,), which is a stream of its own."""
        signal_mv = np.ascontiguousarray(signal_mv, np.float32)
        room = math.ceil(len(signal_mv) / self._apart) + 1
        beats = np.zeros((room, BEAT_NUMBERS + len(CLASSES)), np.int64)
        windows = np.zeros((room, *self._window), np.float32)
        features = np.zeros((room, self._features), np.float32)
        self._library.host_start()
        pointers = (pointer(array) for array in (beats, windows, features))
        count = self._library.host_push(pointer(signal_mv), ctypes.c_long(len(signal_mv)), *pointers)
        beats = beats[:count]
        return LabelledBeats(
            samples=beats[:, 0],
            known=beats[:, 1],
            late=beats[:, 2].astype(bool),
            labels=beats[:, 3],
            qualities=beats[:, 4],
            logits=beats[:, BEAT_NUMBERS:].astype(np.int8),
            windows=windows[:count],
            features=features[:count],
            quality=SIGNALS[self._library.host_quality()],
        )

    def beat_logits(self, samples: np.ndarray) -> np.ndarray:
        """Logits (steps, 2) of the network of R-peaks, of beat and of unreadable signal, for `samples` (n,) of int8."""
        samples = np.ascontiguousarray(samples, np.int8)
        logits = np.zeros((len(samples) // net.STEP, 2), np.int32)
        self._library.host_beat_logits(pointer(samples), ctypes.c_long(len(samples)), pointer(logits))
        return logits


def compile_chain(sources: list[Path], out: Path, include: Path, *options: str):
    """Compiles C `sources`, which include files of the folder `include`, into `out`, every warning an error.

    Raises DeepECGError where there is no C compiler, or with its first complaint.
    """
    if compiler() is None:
        raise DeepECGError("there is no C compiler (cc, gcc or clang): install one to run the firmware on this machine")
    compile_c([*sources, Path("-lm")], out, f"-I{include}", *options)  # a library comes after what needs it
