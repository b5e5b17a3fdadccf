"""The chain in C against the stream in Python, sample by sample, and what a firmware author meets."""

import itertools
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import softmax

from config import CLASSES, Config
from deep_ecg.beats.arrays import Beats
from deep_ecg.beats.beat_network import STEP_HZ, BeatNetwork, pretrained
from deep_ecg.beats.inputs import CHANNELS, FEATURES
from deep_ecg.beats.shape import P_WAVE
from deep_ecg.beats.signal_quality import QUALITIES, UNREADABLE
from deep_ecg.deploy import c_chain
from deep_ecg.deploy.c_chain import HostChain, build, compile_chain, generate
from deep_ecg.deploy.c_network import compiler
from deep_ecg.deploy.integer_network import quantized
from deep_ecg.labelling.stream import BeatStream
from deep_ecg.networks.description import Description
from deep_ecg.networks.prior import RunningPrior
from deep_ecg.records.wfdb_files import read_record
from deep_ecg.system.errors import DeepECGError
from deep_ecg.training.experiment import hybrid_arguments
from model import HybridECGNet
from tests.support.networks import classifier_of, described

CONFIG = Config(mode="causal", preset="edge")
NAMES = list(FEATURES["causal"])
WINDOW_TOLERANCE = 2e-4  # float32 against float64: standard deviations
# As features are; the P waves of this ECG are noise of a hundredth of its QRS, and so are their correlations
FEATURE_TOLERANCES = np.where(np.isin(NAMES, P_WAVE), 1e-3, 1e-4)
DIFFERENCE_TOLERANCE = 1e-3  # the template can be many times as high as the beat in whose deviations it is told
SHIFTED_BEATS = 2  # of a record: two samples of an R-peak that are equal but for rounding, and the other one taken
SETTLED_S = 20  # of a signal of another gain, by which the running gain has found it
Q = CLASSES.index("Q")

needs_compiler = pytest.mark.skipif(compiler() is None, reason="there is no C compiler (cc) here")

LOGIT_SCALE = 0.03
NETWORK_H = f"""#ifndef DEEP_ECG_NETWORK_H
#define DEEP_ECG_NETWORK_H
#include <stdint.h>
#define DEEP_ECG_WINDOW_SAMPLES {CONFIG.window_samples}
#define DEEP_ECG_CHANNELS {CHANNELS}
#define DEEP_ECG_FEATURES {len(NAMES)}
#define DEEP_ECG_CLASSES {len(CLASSES)}
#define DEEP_ECG_LOGIT_SCALE {LOGIT_SCALE}f
void deep_ecg_network_quantize(const float *window, const float *features, int8_t *window_q, int8_t *features_q);
void deep_ecg_network_run(const int8_t *window_q, const int8_t *features_q, int8_t logits[DEEP_ECG_CLASSES]);
#endif
"""
# Stands for the network: its logits are 40 times the first five features, so that a label can be told from them.
NETWORK_C = """#include "deep_ecg_network.h"
void deep_ecg_network_quantize(const float *window, const float *features, int8_t *window_q, int8_t *features_q)
{
    window_q[0] = (int8_t)window[0];
    for (int i = 0; i < DEEP_ECG_FEATURES; i++)
        features_q[i] = (int8_t)(40.0f * features[i]);
}
void deep_ecg_network_run(const int8_t *window_q, const int8_t *features_q, int8_t logits[DEEP_ECG_CLASSES])
{
    (void)window_q;
    for (int i = 0; i < DEEP_ECG_CLASSES; i++)
        logits[i] = features_q[i];
}
"""


def description(**other) -> Description:
    return replace(described(CONFIG), **other)


def write(folder: Path, fs_hz: float = 360.0, rhythm_weight: float = 0.0) -> Path:
    decision = replace(description().decision, rhythm_weight=rhythm_weight)
    for name, text in generate(description(decision=decision), NETWORK_H, NETWORK_C, fs_hz).items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("firmware"))


@pytest.fixture(scope="module")
def chain(folder) -> HostChain:
    return HostChain(folder)


def ecg(beats=60, fs_hz=360.0, seed=0, early_share=0.15, factors=None, jitter_s=0.02) -> np.ndarray:
    """A hand-made ECG (n,): beats at 1 s and about every 0.8 s, some early, every seventh wide and inverted.

    The heights of the beats are multiplied by `factors` (beats,); `jitter_s` is the deviation of their intervals.
    """
    rng = np.random.default_rng(seed)
    rr_s = np.maximum(0.8 + jitter_s * rng.normal(size=beats) - 0.3 * (rng.random(beats) < early_share), 0.3)
    peaks_s = 1.0 + np.cumsum(rr_s)
    t_s = np.arange(round((peaks_s[-1] + 1) * fs_hz)) / fs_hz
    signal_mv = 1.3 + 0.3 * np.sin(t_s) + 0.01 * rng.normal(size=len(t_s))
    for i, (peak_s, factor) in enumerate(zip(peaks_s, np.ones(beats) if factors is None else factors)):
        height, width_s = (-1.4, 0.03) if i % 7 == 6 else (1.0, 0.012)
        signal_mv += factor * height * np.exp(-0.5 * ((t_s - peak_s) / width_s) ** 2)
        signal_mv += factor * 0.25 * np.exp(-0.5 * ((t_s - peak_s - 0.27) / 0.04) ** 2)
    return signal_mv.astype(np.float32)


def with_pauses() -> np.ndarray:
    """An ECG in which every sixth beat is low, ever lower: one that a detector has doubts of, and a pause for it."""
    factors = np.ones(150)
    factors[8::6] = np.linspace(0.45, 0.1, len(factors[8::6]))
    return ecg(150, early_share=0.0, factors=factors)


def streamed(signal_mv: np.ndarray, fs_hz: float = 360.0) -> list:
    model = HybridECGNet(**hybrid_arguments(CONFIG)).eval()
    return BeatStream(classifier_of(model, CONFIG), fs_hz).prepare(signal_mv.astype(float))


def readable(beats: list) -> list:
    """Those of `streamed` that are shown to the network."""
    return [beat for beat in beats if beat.readable]


def with_prior(proba: np.ndarray, beats: list, rhythm_weight: float = 0.0) -> np.ndarray:
    groups, rr_s = (np.array([getattr(beat, name) for beat in beats]) for name in ("group", "rr_s"))
    return RunningPrior(replace(description().decision, rhythm_weight=rhythm_weight))(proba, groups, rr_s)


def assert_same(found: c_chain.LabelledBeats, expected: list):
    assert found.samples.tolist() == [beat.sample for beat in expected]
    assert found.known.tolist() == [beat.known for beat in expected]
    assert found.late.tolist() == [beat.late for beat in expected]
    assert [QUALITIES[quality] for quality in found.qualities] == [beat.quality for beat in expected]
    windows, features = (np.stack([getattr(beat, name) for beat in expected]) for name in ("window", "features"))
    np.testing.assert_allclose(found.windows[:, 0], windows[:, 0], rtol=0, atol=WINDOW_TOLERANCE)
    np.testing.assert_allclose(found.windows[:, 1], windows[:, 1], rtol=0, atol=DIFFERENCE_TOLERANCE)
    assert_close(found.features, features, FEATURE_TOLERANCES)


def assert_close(found: np.ndarray, expected: np.ndarray, tolerances: np.ndarray):
    """Of features (beats, count), within the `tolerances` (count,) of each."""
    assert found.shape == expected.shape
    np.testing.assert_array_less((np.abs(found - expected) / tolerances).max(axis=0), 1)


def with_gaps() -> np.ndarray:
    """Signal that is lost in every way: not numbers for a moment and for long, out of range, stuck, a spike."""
    signal_mv = ecg(90)
    signal_mv[4000:4003] = np.nan
    signal_mv[6000:6400] = [np.nan, np.inf] * 200
    signal_mv[9000:10500] = signal_mv[9000]
    signal_mv[12000] = 40.0
    signal_mv[14000:14100] = -3e4
    signal_mv[17000:21000] = np.nan
    return signal_mv


# The same as the stream in Python --------------------------------------------------------------------------------


@needs_compiler
@pytest.mark.parametrize("fs_hz", [100.0, 128.0, 250.0, 333.33, 360.0, 1000.0])
def test_beats_and_inputs_are_those_of_the_stream_in_python(fs_hz, tmp_path):
    signal_mv = ecg(fs_hz=fs_hz)
    expected = streamed(signal_mv, fs_hz)
    assert len(expected) > 50
    assert_same(HostChain(write(tmp_path, fs_hz)).label(signal_mv), expected)


@needs_compiler
def test_lost_signal_is_treated_alike(chain):
    assert_same(chain.label(with_gaps()), streamed(with_gaps()))


@needs_compiler
def test_a_gain_that_changes_is_followed_alike(chain):
    signal_mv = ecg(300)
    place = np.arange(len(signal_mv))
    weak = np.interp(place, *np.array([[0, 9000, 9100, 12000, 12100], [1, 1, 0.1, 0.1, 1]]))
    gain = np.where(place > 60000, 0.002, np.where(place > 40000, 9, np.where(place > 25000, 0.08, 1)))
    signal_mv = (signal_mv * weak * gain).astype(np.float32)
    expected = streamed(signal_mv)
    assert len(expected) > 200
    assert_same(chain.label(signal_mv), expected)


@needs_compiler
def test_beats_found_by_looking_back_are_the_same(chain):
    expected = streamed(with_pauses())
    assert sum(beat.late for beat in expected) > 1
    assert_same(chain.label(with_pauses()), expected)


@needs_compiler
@pytest.mark.parametrize("start", [np.nan, np.inf, 0.0, 1e30])
def test_a_stream_may_begin_with_lost_signal(chain, start):
    signal_mv = np.concatenate((np.full(700, start, np.float32), ecg(20)))
    assert_same(chain.label(signal_mv), streamed(signal_mv))


@needs_compiler
@pytest.mark.parametrize("per_mv, offset", [(4000, 279_300), (22_000, 0), (1000, 0), (22_000, 9000), (1, 30_000)])
def test_counts_of_a_converter_give_the_beats_of_the_stream_in_python(chain, per_mv, offset):
    counts = np.clip(np.round(ecg() * per_mv + offset), -8_388_608, 8_388_607)
    counts[3000:3400], counts[5000:5010] = 8_388_607, np.nan
    expected = streamed(counts)
    assert len(expected) > 40
    found = chain.label(counts)
    assert np.mean([beat.sample in found.samples for beat in expected]) > 0.97
    assert len(found.samples) == pytest.approx(len(expected), abs=1)


@needs_compiler
def test_the_memory_of_intervals_is_as_long(chain):
    signal_mv = ecg(450)
    assert_same(chain.label(signal_mv), streamed(signal_mv))


SEEN = (1, 300, 2000, 6005, 6300, 9400, 12050, 14090, 15000, 18000, 21050)  # samples, of with_gaps


@pytest.fixture(scope="module")
def qualities() -> dict[int, str]:
    """The state of the signal that the stream in Python tells after as many samples."""
    stream = BeatStream(classifier_of(HybridECGNet(**hybrid_arguments(CONFIG)).eval(), CONFIG), 360.0)
    told = {}
    for start, end in zip((0, *SEEN), SEEN):
        stream.prepare(with_gaps()[start:end].astype(float))
        told[end] = stream.quality
    return told


@needs_compiler
@pytest.mark.parametrize("until", SEEN)
def test_quality_is_that_of_the_stream_in_python(chain, qualities, until):
    assert chain.label(with_gaps()[:until]).quality == qualities[until]


@needs_compiler
@pytest.mark.parametrize("name", ["108", "114", "116", "203", "207"])
def test_real_records_give_the_same_beats(chain, mitdb, name):
    signal_mv = read_record(mitdb / name, "MLII").signal_mv[: 360 * 300].astype(np.float32)
    expected, found = streamed(signal_mv), chain.label(signal_mv)
    samples = np.array([beat.sample for beat in expected])
    moved = found.samples != samples
    assert moved.sum() <= SHIFTED_BEATS and np.abs(found.samples - samples).max() <= 1
    assert (found.known - np.array([beat.known for beat in expected]))[~moved].tolist() == [0] * (~moved).sum()
    qualities = np.array([QUALITIES.index(beat.quality) for beat in expected])
    assert (found.qualities != qualities).sum() <= SHIFTED_BEATS
    windows = np.stack([beat.window[0] for beat in expected])
    np.testing.assert_allclose(found.windows[~moved, 0], windows[~moved], rtol=0, atol=WINDOW_TOLERANCE)


@needs_compiler
@pytest.mark.parametrize("height", [3, 40, 127])
def test_the_network_of_r_peaks_is_that_of_python_integer_for_integer(chain, height):
    noise = np.random.default_rng(height).normal(size=20_001) * height
    samples = np.clip(np.round(noise), -127, 127).astype(np.int8)
    expected = BeatNetwork(pretrained()).push(samples.astype(float))
    assert len(expected) == 10_000 and (chain.beat_logits(samples) == expected).all()


def test_the_network_of_r_peaks_costs_half_a_million_multiplications_a_second_at_most():
    weights = sum(array.size for name, array in pretrained().items() if name.endswith("_weights"))
    assert STEP_HZ * weights <= 500_000


@needs_compiler
def test_beats_of_unreadable_signal_are_q_and_the_same(chain):
    signal_mv, rng = ecg(120), np.random.default_rng(0)
    wild = slice(12_000, 18_000)
    signal_mv[wild] = np.cumsum(rng.normal(size=6000)).astype(np.float32) * 0.2
    expected, found = streamed(signal_mv), chain.label(signal_mv)
    assert_same(found, expected)
    unreadable = found.qualities == UNREADABLE
    within = (found.samples > wild.start + 720) & (found.samples < wild.stop)
    assert within.sum() > 3 and unreadable[within].mean() > 0.5 and (found.labels[unreadable] == Q).all()
    assert not found.logits[unreadable].any() and not found.windows[unreadable].any()


# What a stream promises ------------------------------------------------------------------------------------------


@needs_compiler
def test_the_future_changes_no_beat_that_is_known(chain):
    whole, part = chain.label(ecg()), chain.label(ecg()[:8000])
    past = whole.known < 8000
    assert part.samples.tolist() == whole.samples[past].tolist()
    assert (part.windows == whole.windows[past]).all() and (part.features == whole.features[past]).all()


@needs_compiler
def test_gain_and_offset_do_not_matter_once_the_gain_is_found(chain):
    plain, other = chain.label(ecg(200)), chain.label(8 * ecg(200) - 40)
    from_here = [found.samples > SETTLED_S * 360 for found in (plain, other)]
    samples = [found.samples[late].tolist() for found, late in zip((plain, other), from_here)]
    assert samples[0] == samples[1] and len(samples[0]) > 150
    windows = [found.windows[late, 0] for found, late in zip((plain, other), from_here)]
    np.testing.assert_allclose(windows[0], windows[1], atol=1e-3)


@needs_compiler
@pytest.mark.parametrize(("beats", "early_share", "least_s_share"), [(60, 0.15, 0.0), (300, 0.5, 0.08)])
def test_the_label_is_that_of_the_logits_with_the_running_prior(chain, beats, early_share, least_s_share):
    signal_mv = ecg(beats, early_share=early_share)
    found = chain.label(signal_mv)
    shown = found.qualities != UNREADABLE
    labels, logits = found.labels[shown], (np.float32(40) * found.features[shown, : len(CLASSES)]).astype(np.int8)
    assert (found.logits[shown] == logits).all() and len(set(labels.tolist())) > 1
    proba = softmax(LOGIT_SCALE * logits.astype(float), axis=1)
    expected = with_prior(proba, readable(streamed(signal_mv))).argmax(axis=1)
    assert (labels == expected).all() and (labels != logits.argmax(axis=1)).any()
    assert (labels == CLASSES.index("S")).mean() >= least_s_share


@needs_compiler
def test_s_is_doubted_where_the_rhythm_fibrillates_as_in_python(chain, tmp_path):
    """Intervals without order, the first half; the rhythm takes S labels away that the logits alone would give."""
    signal_mv = np.concatenate([ecg(300, jitter_s=0.15), ecg(100, seed=1, early_share=0.0)])
    found, plain = HostChain(write(tmp_path, rhythm_weight=1.0)).label(signal_mv), chain.label(signal_mv)
    shown = found.qualities != UNREADABLE
    proba = softmax(LOGIT_SCALE * found.logits[shown].astype(float), axis=1)
    expected = with_prior(proba, readable(streamed(signal_mv)), rhythm_weight=1.0).argmax(axis=1)
    assert (found.labels[shown] == expected).mean() > 0.995
    s_beats = [(one.labels[shown] == CLASSES.index("S")).sum() for one in (found, plain)]
    assert s_beats[0] < 0.5 * s_beats[1]


@needs_compiler
def test_beats_that_nobody_fetches_come_with_the_next_samples(folder, tmp_path, chain):
    """Two that one sample makes known: one found by looking back, and the one after it where its R-peak comes early."""
    program = tmp_path / "lazy.c"
    program.write_text(
        '#include <stdio.h>\n#include "deep_ecg.h"\nint main(void)\n{\n    static struct deep_ecg ecg;\n'
        "    struct deep_ecg_beat beat;\n    float mv;\n    deep_ecg_init(&ecg);\n"
        '    while (scanf("%f", &mv) == 1)\n        if (deep_ecg_push(&ecg, mv, &beat))\n'
        '            printf("%d %d\\n", (int)beat.sample, (int)beat.known);\n    return 0;\n}\n'
    )
    compile_chain([program, folder / "deep_ecg.c"], tmp_path / "lazy", folder)
    signal_mv, found = two_at_once(chain)
    lines = run(tmp_path / "lazy", signal_mv).splitlines()
    assert [tuple(map(int, line.split())) for line in lines] == list(zip(found.samples.tolist(), found.known.tolist()))


def two_at_once(chain: HostChain) -> tuple[np.ndarray, c_chain.LabelledBeats]:
    """A signal, and what the chain says of it, with two beats that one sample makes known."""
    signal_mv = with_pauses()
    told, place = chain.label(signal_mv), np.arange(len(signal_mv))
    after_pause = told.samples[1:][told.late[:-1]]
    for before, height in itertools.product(range(12, 22, 2), (-1.5, 1.5)):
        spikes_mv = sum(height * np.exp(-0.5 * ((place - r + before) / 3) ** 2) for r in after_pause)
        found = chain.label(signal_mv + spikes_mv)
        if (np.diff(found.known) == 0).any():
            return signal_mv + spikes_mv, found
    raise AssertionError("no two beats became known at once")


def run(program: Path, signal_mv: np.ndarray) -> str:
    lines = "\n".join(f"{mv:.9g}" for mv in signal_mv) + "\n"
    done = subprocess.run([program], input=lines, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stderr == ""
    return done.stdout


# What a firmware author meets ------------------------------------------------------------------------------------


@needs_compiler
def test_the_example_labels_standard_input(folder, tmp_path):
    t_s = np.arange(360 * 12) / 360
    signal_mv = sum(np.exp(-0.5 * ((t_s - peak_s) / 0.012) ** 2) for peak_s in range(1, 12))
    example = c_chain.SOURCES / c_chain.EXAMPLE
    (tmp_path / "example.c").write_text(example.read_text())
    compile_chain([tmp_path / "example.c", folder / "deep_ecg.c"], tmp_path / "example", folder)
    times_s = [line.split()[0] for line in run(tmp_path / "example", signal_mv).splitlines()]
    assert times_s == [f"{second}.000" for second in range(1, 12)]


@needs_compiler
@pytest.mark.parametrize("line", ["0,123", "0.004,0.12", "time,value", "1.0 2.0", "0.1x", 70 * "1"])
def test_the_example_refuses_what_is_not_one_number_a_line(folder, tmp_path, line):
    (tmp_path / "example.c").write_text((c_chain.SOURCES / c_chain.EXAMPLE).read_text())
    compile_chain([tmp_path / "example.c", folder / "deep_ecg.c"], tmp_path / "example", folder)
    text = f"0.1\nnan\n\n -2e-3 \r\n{line}\n0.1\n"
    done = subprocess.run([tmp_path / "example"], input=text, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == f'error: line 5, "{line[:63]}": one number a line is needed, such as 0.12\n'


@needs_compiler
def test_all_c_files_of_the_folder_link_together(tmp_path):
    (tmp_path / "deep_ecg_network.h").write_text(NETWORK_H)
    (tmp_path / "deep_ecg_network.c").write_text(NETWORK_C)
    write(tmp_path)
    both = '#include "deep_ecg_network.h"\n#include "deep_ecg.h"\n#include "deep_ecg_network.h"\n'
    (tmp_path / "both.c").write_text(both + "int both(void);\nint both(void) { return DEEP_ECG_CLASSES; }\n")
    (tmp_path / "example.c").write_text((c_chain.SOURCES / c_chain.EXAMPLE).read_text())
    compile_chain(sorted(tmp_path.glob("*.c")), tmp_path / "example", tmp_path, "-Wpedantic")


@needs_compiler
def test_hostile_input_breaks_no_rule_of_c(folder, tmp_path):
    example = tmp_path / "example.c"
    example.write_text((c_chain.SOURCES / c_chain.EXAMPLE).read_text())
    sanitizers = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    try:
        compile_chain([example, folder / "deep_ecg.c"], tmp_path / "example", folder, *sanitizers)
    except DeepECGError as error:
        pytest.skip(f"this compiler has no sanitizers: {error}")
    rng = np.random.default_rng(0)
    wild = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 1e4, -1e4, 0, 1e-40], np.float32)
    spikes = np.where(rng.random(20000) < 0.02, rng.choice(wild, 20000), rng.normal(size=20000))
    parts = (rng.choice(wild, 5000), ecg(40), np.zeros(5000), spikes, rng.choice([-1e4, 1e4], 5000), with_gaps())
    run(tmp_path / "example", np.concatenate(parts))
    run(tmp_path / "example", wild)


@needs_compiler
def test_arithmetic_is_float_and_nothing_is_on_the_heap(folder, tmp_path):
    out = tmp_path / "deep_ecg.o"
    compile_chain([folder / "deep_ecg.c"], out, folder, "-c", "-Wdouble-promotion", "-Wconversion", "-Wshadow", "-Wvla")
    text = (folder / "deep_ecg.c").read_text()
    included = {line.split()[1] for line in text.splitlines() if line.startswith("#include")}
    assert included <= {'"deep_ecg.h"', "<math.h>", "<string.h>", "<stdint.h>", "<stdbool.h>"}
    assert not any(word in text for word in ("double ", "(double)", "malloc", "calloc", "free("))


@needs_compiler
def test_the_state_is_small(chain):
    assert chain.state_bytes <= 28 * 1024


def test_what_build_writes_labels_as_the_integer_network_does(tmp_path):
    torch.manual_seed(1)
    model = HybridECGNet(**hybrid_arguments(CONFIG)).eval()
    signal_mv = ecg(100)
    prepared = readable(streamed(signal_mv))
    windows, features = (np.stack([getattr(beat, name) for beat in prepared]) for name in ("window", "features"))
    labels = np.zeros(len(prepared), np.int64)
    beats = Beats(windows, features, labels, np.full(len(labels), "a"), *np.zeros((3, len(labels)), np.int64))
    reference = quantized(model, beats)
    (row,) = build(reference, description(), tmp_path / "edge")
    assert {path.name for path in (tmp_path / "edge").iterdir()} == {"deep_ecg.h", "deep_ecg.c", "example.c"}
    assert row["file"] == "deep_ecg.h deep_ecg.c" and row["accuracy_change"] is None
    found = HostChain(tmp_path / "edge").label(signal_mv)
    shown = found.qualities != UNREADABLE
    logits = reference.run(*reference.quantize(found.windows[shown], found.features[shown]))
    assert (found.logits[shown] == logits).all()
    proba = with_prior(reference.proba(windows, features), prepared)
    assert (found.labels[shown] == proba.argmax(axis=1)).mean() > 0.98


def test_the_rate_is_in_the_header():
    header = generate(description(), NETWORK_H, NETWORK_C, 250.0)["deep_ecg.h"]
    assert "#define DEEP_ECG_FS_HZ 250.0f" in header


def test_a_diagnostic_checkpoint_is_refused():
    with pytest.raises(DeepECGError, match="causal checkpoint, not a diagnostic"):
        generate(described(Config(preset="edge")), NETWORK_H, NETWORK_C)


@pytest.mark.parametrize("fs_hz", [50.0, 2000.0, 100.001])
def test_a_rate_that_cannot_be_is_refused(fs_hz):
    with pytest.raises(DeepECGError, match=f"{fs_hz}"):
        generate(description(), NETWORK_H, NETWORK_C, fs_hz)


@pytest.mark.parametrize("name", ["post_ratio_100", "loudness", "pre_ratio_4000"])
def test_a_feature_that_c_does_not_know_is_refused(name):
    with pytest.raises(DeepECGError, match=name):
        generate(description(features=(*NAMES, name)), NETWORK_H, NETWORK_C)


@needs_compiler
@pytest.mark.parametrize(
    "names",
    [NAMES[::-1], NAMES[:15]]
    + [["pre_ratio_100", "pre_rank", *more] for more in (["qrs_residual"], [*reversed(P_WAVE[::2])])],
)
def test_features_come_in_the_order_of_the_checkpoint(names, tmp_path):
    header = NETWORK_H.replace(f"DEEP_ECG_FEATURES {len(NAMES)}", f"DEEP_ECG_FEATURES {max(len(names), 5)}")
    for name, text in generate(description(features=tuple(names)), header, NETWORK_C).items():
        (tmp_path / name).write_text(text)
    found = HostChain(tmp_path).label(ecg(30)).features[:, : len(names)]
    columns = [NAMES.index(name) for name in names]
    expected = np.stack([beat.features for beat in streamed(ecg(30))])[:, columns]
    assert_close(found, expected, FEATURE_TOLERANCES[columns])


def test_without_a_compiler_it_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(c_chain, "compiler", lambda: None)
    with pytest.raises(DeepECGError, match="no C compiler"):
        compile_chain([tmp_path / "a.c"], tmp_path / "a", tmp_path)
