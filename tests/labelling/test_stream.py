"""Live streams against the whole record: the same inputs at the same R-peaks, in time, in order, whatever comes."""

import pickle
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import wfdb
from scipy.signal import butter, resample_poly, sosfiltfilt

from config import CLASSES, Config, with_overrides
from deep_ecg.beats.arrays import NetworkInputs
from deep_ecg.beats.input_settings import InputSettings
from deep_ecg.beats.inputs import FEATURES, network_inputs
from deep_ecg.beats.rhythm import RHYTHM, rhythm_features, rr_intervals
from deep_ecg.beats.whole_record import causal_r_peaks
from deep_ecg.labelling import predict, stream
from deep_ecg.labelling.lead_beats import detected_beats
from deep_ecg.labelling.stream import BeatStream, GivenPeaks, push_many
from deep_ecg.networks.classifier import Classifier, load_classifier
from deep_ecg.networks.torch_network import predict_proba, save_checkpoint
from deep_ecg.records.database import Source
from deep_ecg.records.wfdb_files import Annotation, Record, read_beats, read_record
from deep_ecg.system.errors import DeepECGError
from deep_ecg.training.experiment import describe, hybrid_arguments
from model import HybridECGNet
from tests.support.networks import classifier_of
from tests.support.records import motion_mv, written_beats

FS_HZ = 360.0
CAUSAL, DIAGNOSTIC = Config(mode="causal", preset="edge"), Config(mode="diagnostic", preset="edge")
PROBA_TOLERANCE = 1e-5  # a network's answer to one beat depends on the batch it is in by rounding


def network(config: Config) -> Classifier:
    """Random weights, normalised to features of about -2 to 2: it need not be right, but has to depend on them."""
    torch.manual_seed(1)
    return classifier_of(HybridECGNet(**hybrid_arguments(config)).eval(), config)


@pytest.fixture(scope="module")
def causal() -> Classifier:
    return network(CAUSAL)


@pytest.fixture(scope="module")
def diagnostic() -> Classifier:
    return network(DIAGNOSTIC)


def ecg(beats=40, rr_s=0.8, fs_hz=FS_HZ, heights=None) -> np.ndarray:
    """A hand-made ECG (n,): Gaussian beats of 12 ms at 1 s and every `rr_s` from there, a T wave each, some noise."""
    peaks_s = 1.0 + rr_s * np.arange(beats)
    t_s = np.arange(round((peaks_s[-1] + 1) * fs_hz)) / fs_hz
    signal_mv = 0.005 * np.random.default_rng(0).normal(size=len(t_s))
    for peak_s, height in zip(peaks_s, np.ones(beats) if heights is None else heights):
        signal_mv += height * np.exp(-0.5 * ((t_s - peak_s) / 0.012) ** 2)
        signal_mv += 0.2 * height * np.exp(-0.5 * ((t_s - peak_s - 0.27) / 0.04) ** 2)
    return signal_mv


def excerpt(folder: Path, name: str, start_s: float, length_s: float) -> tuple[np.ndarray, np.ndarray]:
    """Signal (n,) of part of a record at 360 Hz, and its annotated R-peaks (beats,)."""
    signal_mv, peaks = read_record(folder / name, "MLII").signal_mv, read_beats(folder / name, "atr").samples
    start, end = round(start_s * FS_HZ), round((start_s + length_s) * FS_HZ)
    return signal_mv[start:end], peaks[(peaks >= start) & (peaks < end)] - start


def inputs_of(stream: BeatStream, signal_mv: np.ndarray, chunk: int) -> list:
    """The prepared beats of a whole stream, fed `chunk` samples at a time."""
    chunks_mv = (signal_mv[start : start + chunk] for start in range(0, len(signal_mv), chunk))
    return [beat for chunk_mv in chunks_mv for beat in stream.prepare(chunk_mv)] + stream.prepare_rest()


def beats_of(stream: BeatStream, signal_mv: np.ndarray, chunk: int) -> list:
    """The labelled beats of a whole stream."""
    chunks_mv = (signal_mv[start : start + chunk] for start in range(0, len(signal_mv), chunk))
    return [beat for chunk_mv in chunks_mv for beat in stream.push(chunk_mv)] + stream.finish()


def stacked(beats: list) -> tuple[np.ndarray, ...]:
    """Windows, features and groups."""
    return tuple(np.stack([getattr(beat, name) for beat in beats]) for name in ("window", "features", "group"))


def of_whole_record(signal_mv: np.ndarray, fs_hz: float, peaks: np.ndarray, config: Config) -> tuple:
    """Windows, features and groups as in training."""
    annotation = Annotation(peaks, np.full(len(peaks), "N"), np.zeros(len(peaks), bool))
    inputs = network_inputs(Record("whole", "MLII", fs_hz, signal_mv), annotation, InputSettings.of(config))
    return inputs.windows, inputs.features, inputs.groups


def assert_same_beats(beats: list, others: list):
    """The same R-peaks, labels and times, and probabilities up to rounding."""
    for name in ("sample", "label", "known", "late", "complete"):
        assert [getattr(beat, name) for beat in beats] == [getattr(beat, name) for beat in others], name
    for beat, other in zip(beats, others):
        np.testing.assert_allclose(beat.proba, other.proba, atol=PROBA_TOLERANCE)


# The same inputs and labels as for the whole record ------------------------------------------------------------------


@pytest.mark.parametrize("name, fs_hz", [("208", 360), ("232", 360), ("119", 250), ("208", 1000)])
def test_causal_inputs_equal_those_of_training_to_the_bit(mitdb, causal, name, fs_hz):
    signal_mv, peaks = excerpt(mitdb, name, 60, 120)
    if fs_hz != 360:
        signal_mv = resample_poly(signal_mv, fs_hz // 10, 36, padtype="line")
        peaks = np.round(peaks * fs_hz / 360).astype(np.int64)
    beats = inputs_of(BeatStream(causal, fs_hz, peaks=peaks), signal_mv, 77)
    windows, features, groups = of_whole_record(signal_mv, fs_hz, peaks, CAUSAL)
    assert [beat.sample for beat in beats] == peaks.tolist()
    assert np.array_equal(stacked(beats)[0], windows)
    assert np.array_equal(stacked(beats)[1], features)
    assert np.array_equal(stacked(beats)[2], groups)


def test_more_beats_than_are_remembered_change_nothing(causal):
    """700 beats of an irregular rhythm; the longest memory of the features is 400."""
    peaks = np.cumsum(np.random.default_rng(5).integers(120, 300, 700))
    signal_mv = np.random.default_rng(6).normal(size=peaks[-1] + 300)
    beats = inputs_of(BeatStream(causal, FS_HZ, peaks=peaks), signal_mv, 3600)
    windows, features, groups = of_whole_record(signal_mv, FS_HZ, peaks, CAUSAL)
    assert np.array_equal(stacked(beats)[0], windows) and np.array_equal(stacked(beats)[1], features)


def test_beats_at_both_ends_equal_those_of_the_whole_record(causal):
    peaks = np.array([0, 200, 500, 899])
    signal_mv = np.random.default_rng(0).normal(size=900)
    beats = inputs_of(BeatStream(causal, FS_HZ, peaks=peaks), signal_mv, 50)
    assert np.array_equal(stacked(beats)[0], of_whole_record(signal_mv, FS_HZ, peaks, CAUSAL)[0])
    assert [beat.complete for beat in beats] == [True, True, True, False]
    assert beats[-1].known == 899


@pytest.mark.parametrize("fs_hz", [250.0, 360.0])
def test_predict_in_causal_mode_gives_the_labels_of_the_stream(synthetic_db, tmp_path, fs_hz):
    config = with_overrides(CAUSAL, fs_hz=fs_hz)  # records of 360 Hz
    arguments = hybrid_arguments(config)
    torch.manual_seed(2)
    description = describe(config, Source("local", tmp_path), 0)
    save_checkpoint(tmp_path / "random.pt", HybridECGNet(**arguments), arguments, description)
    classifier = load_classifier(CAUSAL, tmp_path / "random.pt")
    labelled = predict.label_record(synthetic_db / "208", classifier, CAUSAL)
    beats = beats_of(BeatStream(classifier, FS_HZ), labelled.record.signal_mv, 100)
    assert len(beats) > 40
    assert [beat.sample for beat in beats] == labelled.samples.tolist()
    assert [beat.label for beat in beats] == labelled.predicted.tolist()
    np.testing.assert_allclose([beat.proba for beat in beats], labelled.proba, atol=PROBA_TOLERANCE)


LOSSES = {500: (4, np.nan), 4000: (20, np.nan), 9000: (900, np.nan), 15000: (200, 0.2), 20000: (400, 5.115)}


def with_losses(signal_mv: np.ndarray) -> np.ndarray:
    """A copy with the stretches of LOSSES, start: (samples, value); all but the first are lost signal at 360 Hz."""
    lossy_mv = signal_mv.copy()
    for start, (count, value) in LOSSES.items():
        lossy_mv[start : start + count] = value
    return lossy_mv


@pytest.mark.parametrize("config, fs_hz", [(CAUSAL, 360.0), (CAUSAL, 250.0), (DIAGNOSTIC, 360.0)])
@pytest.mark.parametrize("chunk", [1, 77, 100_000])
def test_inputs_across_lost_signal_equal_those_of_the_whole_record(mitdb, config, fs_hz, chunk):
    """R-peaks lie within the losses too; an interval is none exactly where the hand-made list says so."""
    signal_mv, peaks = excerpt(mitdb, "208", 60, 70)
    signal_mv = with_losses(signal_mv)
    beats = inputs_of(BeatStream(network(config), fs_hz, peaks=peaks), signal_mv, chunk)
    windows, features, groups = of_whole_record(signal_mv, fs_hz, peaks, config)
    rhythm = len(RHYTHM[config.mode])
    assert np.array_equal(stacked(beats)[1][:, :rhythm], features[:, :rhythm])
    assert config is DIAGNOSTIC or np.array_equal(stacked(beats)[0], windows)
    assert config is DIAGNOSTIC or np.array_equal(stacked(beats)[1], features)
    lost = np.zeros(len(signal_mv), bool)
    for start, (count, value) in list(LOSSES.items())[1:]:
        until_known = int(0.03 * fs_hz) if np.isnan(value) else int(0.5 * fs_hz)
        lost[start + until_known : start + count] = True
    broken = [True] + [bool(lost[a + 1 : b + 1].any()) for a, b in pairwise(peaks)]
    assert 4 <= sum(broken) - 1 <= 12
    expected = rhythm_features(rr_intervals(peaks, fs_hz, np.array(broken)), config.mode)
    assert np.array_equal(features[:, :rhythm], expected)


def test_predict_of_a_record_with_gaps_gives_the_labels_of_the_stream(mitdb, tmp_path):
    """NaN stretches, through a WFDB file; diagnostic mode refuses the record, see test_predict.py."""
    signal_mv = with_losses(excerpt(mitdb, "119", 60, 70)[0])
    wfdb.wrsamp("gaps", 360, ["mV"], ["MLII"], p_signal=signal_mv[:, None], fmt=["16"], write_dir=str(tmp_path))
    arguments = hybrid_arguments(CAUSAL)
    torch.manual_seed(2)
    description = describe(CAUSAL, Source("local", tmp_path), 0)
    save_checkpoint(tmp_path / "random.pt", HybridECGNet(**arguments), arguments, description)
    predict.predict_records([str(tmp_path / "gaps")], CAUSAL, tmp_path / "out", checkpoint=tmp_path / "random.pt")
    written = written_beats(tmp_path / "out" / "gaps")
    classifier = load_classifier(CAUSAL, tmp_path / "random.pt")
    record = read_record(tmp_path / "gaps", "MLII")
    assert np.isnan(record.signal_mv).sum() == 924
    beats = beats_of(BeatStream(classifier, FS_HZ), record.signal_mv, 360)
    assert len(beats) > 50
    assert [beat.sample for beat in beats] == written.sample.tolist()
    assert [CLASSES[beat.label] for beat in beats] == written.symbol


def test_diagnostic_rhythm_equals_that_of_training_and_windows_nearly(mitdb, diagnostic):
    signal_mv, peaks = excerpt(mitdb, "208", 60, 90)
    beats = inputs_of(BeatStream(diagnostic, FS_HZ, peaks=peaks), signal_mv, 360)
    windows, features, groups = of_whole_record(signal_mv, FS_HZ, peaks, DIAGNOSTIC)
    rhythm = len(RHYTHM["diagnostic"])
    assert np.array_equal(stacked(beats)[1][:, :rhythm], features[:, :rhythm])
    inner = (peaks > 8 * FS_HZ) & (peaks < len(signal_mv) - 8 * FS_HZ)
    np.testing.assert_allclose(stacked(beats)[0][inner, 0], windows[inner, 0], atol=2e-3)
    np.testing.assert_allclose(stacked(beats)[1][inner, rhythm:], features[inner, rhythm:], atol=5e-3)


def test_diagnostic_filter_equals_scipys_over_the_whole_record(mitdb, diagnostic):
    """To 1e-4 of the signal's range, 5 s and more from its ends."""
    signal_mv, peaks = excerpt(mitdb, "203", 40, 60)  # much wander
    stream = BeatStream(diagnostic, FS_HZ, peaks=peaks)
    cut, window = {}, stream._window
    stream._window = lambda place: cut.setdefault(place, window(place))
    inputs_of(stream, signal_mv, 360)
    expected_mv = sosfiltfilt(butter(2, (0.5, 50), "bandpass", fs=FS_HZ, output="sos"), signal_mv)
    inner = [place for place in peaks.tolist() if 6 * FS_HZ < place < len(signal_mv) - 6 * FS_HZ]
    assert len(inner) > 50
    for place in inner:
        assert np.abs(cut[place] - expected_mv[place - 140 : place + 140]).max() < 1e-4 * np.ptp(signal_mv)


# In time and in order ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [1, 7, 360])
def test_labels_do_not_depend_on_the_chunks(mitdb, causal, chunk):
    signal_mv = excerpt(mitdb, "208", 300, 30)[0].copy()
    signal_mv[4000:4400] = np.nan
    whole = beats_of(BeatStream(causal, FS_HZ), signal_mv, len(signal_mv))
    assert len(whole) > 25
    assert_same_beats(beats_of(BeatStream(causal, FS_HZ), signal_mv, chunk), whole)
    parts, one = (inputs_of(BeatStream(causal, FS_HZ), signal_mv, n) for n in (chunk, len(signal_mv)))
    assert all(np.array_equal(a, b) for a, b in zip(stacked(parts), stacked(one)))


@pytest.mark.parametrize("config, chunk", [(DIAGNOSTIC, 7), (with_overrides(CAUSAL, fs_hz=250.0), 7)])
def test_labels_of_other_modes_and_rates_do_not_depend_on_the_chunks(config, chunk):
    signal_mv, model = ecg(25), network(config)
    whole = beats_of(BeatStream(model, FS_HZ), signal_mv, len(signal_mv))
    assert len(whole) == 25
    assert_same_beats(beats_of(BeatStream(model, FS_HZ), signal_mv, chunk), whole)


@pytest.mark.parametrize("mode, fs_hz", [("causal", 360.0), ("causal", 250.0), ("diagnostic", 360.0)])
def test_a_beat_is_told_with_the_sample_that_makes_it_known_and_stands(mitdb, mode, fs_hz):
    """It comes with that sample and not before it, and no other future changes it, or any beat before it."""
    config = with_overrides(CAUSAL, mode=mode)
    model, signal_mv = network(config), excerpt(mitdb, "119", 100, 20)[0]
    if fs_hz != FS_HZ:
        signal_mv = resample_poly(signal_mv, 25, 36)
    expected = inputs_of(BeatStream(model, fs_hz), signal_mv, 90)
    for count in range(1, sum(beat.complete for beat in expected), 4):
        known = expected[count - 1].known
        stream = BeatStream(model, fs_hz)
        early = stream.prepare(signal_mv[:known])
        told = early + stream.prepare(signal_mv[known : known + 1])
        assert len(early) < count <= len(told)
        told += stream.prepare(10 * np.random.default_rng(count).normal(size=1000))
        for beat, other in zip(told[:count], expected):
            assert (beat.sample, beat.known, beat.late) == (other.sample, other.known, other.late)
            assert np.array_equal(beat.window, other.window) and np.array_equal(beat.features, other.features)


def test_causal_labels_come_within_the_look_ahead(mitdb, causal):
    """150 ms after R at 360 Hz is 54 samples; beats that are detected later say that they are late."""
    beats = beats_of(BeatStream(causal, FS_HZ), excerpt(mitdb, "119", 300, 60)[0], 1)
    delays = np.array([beat.known - beat.sample for beat in beats if beat.complete and not beat.late])
    assert len(delays) > 50 and delays.max() <= 54 and delays.min() >= 53  # the window's last sample is R + 53


def test_diagnostic_labels_wait_for_the_filter_and_the_next_beat(diagnostic):
    beats = beats_of(BeatStream(diagnostic, FS_HZ), ecg(20, rr_s=0.8), 36)
    delays = [beat.known - beat.sample for beat in beats if beat.complete]
    assert len(delays) > 10 and set(delays) == {139 + 5 * 360}  # half a window and 5 s; the next beat is there by then
    slow = beats_of(BeatStream(diagnostic, FS_HZ, peaks=[400, 400 + 7 * 360]), np.zeros(16 * 360), 36)
    assert slow[0].known == slow[1].sample  # the next beat came later than all else


def test_the_last_beats_of_a_diagnostic_stream_say_what_they_lacked(diagnostic):
    beats = inputs_of(BeatStream(diagnostic, FS_HZ), ecg(20), 36)
    assert not beats[-1].complete and beats[0].complete and len(beats) == 20
    post = [FEATURES["diagnostic"].index(name) for name in ("post_ratio_100", "post_ratio_400", "pre_post_ratio")]
    assert beats[-1].features[post].tolist() == [1, 1, 1]  # no ratio can be formed


def test_beats_come_in_order_and_late_ones_say_so(mitdb, causal):
    """Record 203 has many kinds of beats, some of which only the pause after them shows to have been beats."""
    signal_mv = excerpt(mitdb, "203", 100, 60)[0]
    beats = inputs_of(BeatStream(causal, FS_HZ), signal_mv, 10)
    assert len(beats) > 80
    for name in ("sample", "known"):
        values = [getattr(beat, name) for beat in beats]
        assert values == sorted(values)
    assert not [beat for beat in beats if not beat.late and beat.known - beat.sample > 54]
    kept, inputs = as_whole_record(beats, signal_mv, CAUSAL)
    assert len(kept) > 0.9 * len(beats)
    assert np.array_equal(stacked(kept)[0], inputs.windows) and np.array_equal(stacked(kept)[1], inputs.features)


def as_whole_record(beats: list, signal_mv: np.ndarray, config: Config) -> tuple[list, NetworkInputs]:
    """Those of the prepared `beats` that can be read, and their inputs as of a record whose R-peaks are known."""
    kept = [beat for beat in beats if beat.readable]
    peaks, gaps = np.array([beat.sample for beat in kept]), np.array([beat.after_gap for beat in kept])
    annotation = Annotation(peaks, np.full(len(peaks), "N"), gaps)
    return kept, network_inputs(Record("whole", "MLII", FS_HZ, signal_mv), annotation, InputSettings.of(config))


def noisy_excerpt(mitdb: Path) -> np.ndarray:
    """A minute of record 119 with ten seconds in which nothing can be read, from second 20 on."""
    signal_mv = excerpt(mitdb, "119", 600, 60)[0].copy()
    signal_mv[7200:10_800] += motion_mv(3600, FS_HZ)
    return signal_mv


@pytest.mark.parametrize("config", [CAUSAL, DIAGNOSTIC])
def test_beats_of_unreadable_signal_are_q_and_teach_nothing(mitdb, config):
    """The others are labelled as if there had been no beats in between, and no RR interval."""
    signal_mv, model = noisy_excerpt(mitdb), network(config)
    beats = inputs_of(BeatStream(model, FS_HZ), signal_mv, 100)
    unread = [beat for beat in beats if not beat.readable]
    assert len(unread) > 1 and all(7200 < beat.sample < 10_800 + 5 * FS_HZ for beat in unread)
    labelled = beats_of(BeatStream(model, FS_HZ), signal_mv, 100)
    assert {CLASSES[beat.label] for beat in labelled if beat.quality == "unreadable"} == {"Q"}
    assert all(beat.proba.argmax() == beat.label for beat in labelled)
    kept, inputs = as_whole_record(beats, signal_mv, config)
    assert kept[0].after_gap and 1 <= sum(beat.after_gap for beat in kept[1:]) <= 3
    rhythm = len(RHYTHM["causal"])
    assert np.array_equal(stacked(kept)[1][:, :rhythm], inputs.features[:, :rhythm])
    if config is CAUSAL:
        assert np.array_equal(stacked(kept)[0], inputs.windows)


def test_predict_in_causal_mode_finds_the_same_beats_unreadable(mitdb, causal):
    signal_mv = noisy_excerpt(mitdb)
    found = detected_beats(Record("whole", "MLII", FS_HZ, signal_mv), causal)
    beats = beats_of(BeatStream(causal, FS_HZ), signal_mv, 360)
    assert [beat.sample for beat in beats] == found.samples.tolist()
    assert [beat.quality == "unreadable" for beat in beats] == (found.signal == "unreadable").tolist()
    assert [beat.label for beat in beats] == found.proba.argmax(axis=1).tolist()
    assert [beat.after_gap for beat in beats][1:] == found.after_gap[1:].tolist()
    assert found.unread[0].first > 7200 and found.unread[-1].last < 10_800 + 5 * FS_HZ


def test_memory_stays_the_same(causal):
    """Bytes of the state after 500 and after 5,000 beats at 150 a minute."""
    period_mv = ecg(4, rr_s=0.4, fs_hz=100.0)[60:220]  # four beats, 1.6 s
    stream = BeatStream(causal, 100.0)
    sizes, found = [], 0
    for repeats in (125, 1125):
        for _ in range(repeats):
            found += len(stream.prepare(period_mv))
        state = {name: value for name, value in vars(stream).items() if name != "classifier"}
        sizes.append(len(pickle.dumps(state)))
    assert found > 4900
    assert sizes[1] == pytest.approx(sizes[0], rel=0.02)
    assert sizes[1] < 400_000


# Whatever comes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level_mv", [0.0, 0.7, 5.115, np.nan, np.inf])
@pytest.mark.parametrize("config", [CAUSAL, DIAGNOSTIC])
def test_no_beat_comes_out_of_a_flat_line(config, level_mv):
    assert beats_of(BeatStream(network(config), FS_HZ), np.full(7200, level_mv), 360) == []


@pytest.mark.parametrize("fault", [0.7, 5.115, np.nan, 1e9, -np.inf])
def test_a_stream_recovers_from_a_fault(causal, fault):
    """20 s of it: no beat within, and 5 s later inputs that are numbers at the right places."""
    signal_mv = ecg(80)
    signal_mv[7200:14400] = fault
    stream = BeatStream(causal, FS_HZ)
    beats = inputs_of(stream, signal_mv, 100)
    assert not [beat for beat in beats if 7200 <= beat.sample < 14400]
    after = [beat.sample for beat in beats if beat.sample > 14400 + 5 * FS_HZ]
    expected = [peak for peak in np.round((1 + 0.8 * np.arange(80)) * FS_HZ) if peak > 14400 + 5 * FS_HZ]
    assert len(after) == len(expected) and np.abs(np.subtract(after, expected)).max() <= 2
    windows, features, _ = stacked(beats)
    assert np.isfinite(windows).all() and np.isfinite(features).all()


def test_quality_is_the_detectors(causal):
    stream = BeatStream(causal, FS_HZ)
    stream.push(ecg(20))
    assert stream.quality == "ok"
    stream.push(np.full(360, np.nan))
    assert stream.quality == "missing"


@pytest.mark.parametrize("fs_hz, chunk", [(360.0, 7), (360.0, 100_000), (250.0, 7), (250.0, 901)])
def test_changes_of_quality_are_those_seen_sample_by_sample(causal, fs_hz, chunk):
    signal_mv = ecg(40, fs_hz=fs_hz)
    for start_s, length_s, level_mv in ((5, 1.3, np.nan), (9, 0.02, np.nan), (12, 2.1, 0.4), (17, 1.0, 9.0)):
        signal_mv[round(start_s * fs_hz) : round((start_s + length_s) * fs_hz)] = level_mv
    signal_mv[round(20 * fs_hz) :] += np.random.default_rng(0).normal(0, 2, len(signal_mv) - round(20 * fs_hz))
    expected, stream, quality = [], BeatStream(causal, fs_hz), "ok"
    for sample, value_mv in enumerate(signal_mv):
        stream.prepare([value_mv])
        if stream.quality != quality:
            quality = stream.quality
            expected.append((sample, quality, stream.why))
    stream, changes = BeatStream(causal, fs_hz), []
    for start in range(0, len(signal_mv), chunk):
        stream.prepare(signal_mv[start : start + chunk])
        changes += [(change.sample, change.quality, change.why) for change in stream.changes]
    assert changes == expected
    assert {"missing", "flat", "saturated", "unreadable"} <= {quality for _, quality, _ in changes}


def test_a_chunk_may_be_used_again(causal):
    signal_mv, room = ecg(20), np.zeros(3)
    expected = beats_of(BeatStream(causal, FS_HZ), signal_mv, 3)
    stream, beats = BeatStream(causal, FS_HZ), []
    for start in range(0, len(signal_mv), 3):
        chunk_mv = room[: len(signal_mv[start : start + 3])]
        chunk_mv[:] = signal_mv[start : start + 3]
        beats += stream.push(chunk_mv)
    assert_same_beats(beats + stream.finish(), expected)


def test_a_stream_without_samples_has_no_beats(causal):
    assert BeatStream(causal, FS_HZ).finish() == []
    assert BeatStream(causal, FS_HZ).push(np.empty(0)) == []


def test_wrong_uses_are_refused_with_one_line(causal):
    stream = BeatStream(causal, FS_HZ)
    for chunk in (np.zeros((2, 2)), ["a"]):
        with pytest.raises(DeepECGError, match="chunk"):
            stream.push(chunk)
    stream.finish()
    with pytest.raises(DeepECGError, match="finished"):
        stream.push(np.zeros(1))
    with pytest.raises(DeepECGError, match="100 to 1000 Hz"):
        BeatStream(causal, 50.0)
    with pytest.raises(DeepECGError, match="give them in order"):
        GivenPeaks([5, 5]).push_watched(np.zeros(10), np.zeros(10, bool))


# Many streams --------------------------------------------------------------------------------------------------------


def test_many_streams_say_what_each_says_alone(causal):
    signals = [ecg(20, rr_s=rr_s) for rr_s in (0.6, 0.8, 1.1)]
    streams = [BeatStream(causal, FS_HZ) for _ in signals]
    together = [[] for _ in signals]
    for start in range(0, max(map(len, signals)), 360):
        beats = push_many(streams, [signal_mv[start : start + 360] for signal_mv in signals])
        together = [so_far + new for so_far, new in zip(together, beats)]
    for signal_mv, beats in zip(signals, together):
        assert len(beats) == 20
        assert_same_beats(beats, beats_of(BeatStream(causal, FS_HZ), signal_mv, 360))


def test_many_streams_run_the_network_once(causal, monkeypatch):
    sizes = []

    def counted(*inputs):
        sizes.append(len(inputs[-1]))
        return predict_proba(*inputs)

    monkeypatch.setattr(stream, "predict_proba", counted)
    streams = [BeatStream(causal, FS_HZ) for _ in range(100)]
    beats = push_many(streams, [ecg(6)] * 100)
    assert sizes == [600] == [sum(map(len, beats))]


def test_many_streams_need_one_network_and_a_chunk_each(causal):
    streams = [BeatStream(model, FS_HZ) for model in (causal, network(CAUSAL))]
    with pytest.raises(DeepECGError, match="different networks"):
        push_many(streams, [np.zeros(1)] * 2)
    with pytest.raises(DeepECGError, match="2 streams were given 1 chunks"):
        push_many(streams, [np.zeros(1)])
    assert push_many([], []) == []


@pytest.mark.parametrize("after_s", [0.07, 0.2, 0.5])
def test_a_beat_near_the_end_is_told(causal, after_s):
    """The record ends so long after its last R-peak, which is found as `predict` finds it."""
    signal_mv = ecg(20)[: round((1 + 19 * 0.8 + after_s) * FS_HZ)]
    stream = BeatStream(causal, FS_HZ)
    told = [beat.sample for beat in [*stream.push(signal_mv), *stream.finish()]]
    assert len(told) == 20 and abs(told[-1] - (1 + 19 * 0.8) * FS_HZ) <= 0.02 * FS_HZ
    assert told == causal_r_peaks(signal_mv, FS_HZ).tolist()
