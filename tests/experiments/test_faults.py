"""The measurement of faults: when a stream is back, by cases worked by hand; faults in real and synthetic signals."""

import numpy as np
import pytest

from config import Config
from deep_ecg.labelling.stream import BeatStream
from deep_ecg.networks.classifier import load_classifier
from deep_ecg.records.wfdb_files import read_record
from experiments import faults as benchmark

SILENT = [name for name, fault in benchmark.FAULTS.items() if fault.lost]


@pytest.fixture(scope="module")
def classifier():
    """The smallest network: R-peaks and quality do not depend on it."""
    return load_classifier(Config(mode="causal", preset="edge"))


@pytest.mark.parametrize("lacking, expected_s", [((), 0.0), ((1000,), 1.0), ((1000, 1200), 3.0), ((1000, 1600), 1.0)])
def test_back_by_hand(lacking, expected_s):
    """The last beat missed before five in a row are found; the fault ends at sample 900, 100 samples a second."""
    undisturbed = list(range(0, 3000, 100))
    told = [sample for sample in undisturbed if sample not in lacking]
    assert benchmark.back_s(undisturbed, told, 900, 2900, 100.0) == expected_s


def test_a_stream_that_never_comes_back():
    undisturbed = list(range(0, 3000, 100))
    assert benchmark.back_s(undisturbed, undisturbed[:9], 900, 2900, 100.0) == 20.0


def test_a_beat_too_many_is_an_error():
    undisturbed = list(range(0, 3000, 100))
    assert benchmark.back_s(undisturbed, sorted([*undisturbed, 1050]), 900, 2900, 100.0) == 1.5


def test_counts_by_hand():
    """Of the beats from sample 150 on: 200 is found 10 samples away, 300 is missed, 370 is false."""
    assert benchmark.counts([100, 200, 300, 400], [100, 210, 370, 400], 150, 500, 100.0).tolist() == [2, 1, 1]


def test_faults_begin_and_end_where_they_should():
    signal_mv = np.sin(np.arange(7000) / 10)
    stretch = benchmark.Stretch(signal_mv, 100.0, np.zeros(0, int), (1, 2))
    for name, fault in benchmark.FAULTS.items():
        changed = stretch.with_fault(fault) != signal_mv
        assert not changed[:3000].any() and changed[4000:].any() == fault.lasting, name
        assert changed[3000:4000].any() == (name != "none"), name
        np.testing.assert_array_equal(stretch.with_fault(fault), stretch.with_fault(fault))


@pytest.mark.parametrize("fault", SILENT)
def test_no_beat_in_a_lost_signal_and_back_in_three_seconds(mitdb, classifier, fault):
    for stretch in benchmark.stretches_of(mitdb / "101"):
        plain = benchmark.streamed(classifier, stretch.signal_mv, stretch.fs_hz)
        told = benchmark.streamed(classifier, stretch.with_fault(benchmark.FAULTS[fault]), stretch.fs_hz)
        found = benchmark.after_fault(stretch, plain, told, lasting=False)
        assert found["told_within"] == 0 and found["back_s"] <= 3.0
        shown, of = found["shown"]
        assert shown >= 0.7 * of  # of 40 quarter seconds: the state of the signal is not "ok"


@pytest.mark.parametrize("fault", ["gain x4", "gain /4", "gain x4 and back", "mains 50 Hz", "spikes", *SILENT])
def test_a_synthetic_patient_is_back_in_three_seconds(synthetic_db, classifier, fault):
    record = read_record(synthetic_db / "100", "MLII")
    signal_mv = record.signal_mv[: round(70 * record.fs_hz)]
    stretch = benchmark.Stretch(signal_mv, record.fs_hz, np.zeros(0, int), (1, 2))
    plain = benchmark.streamed(classifier, signal_mv, record.fs_hz)
    told = benchmark.streamed(classifier, stretch.with_fault(benchmark.FAULTS[fault]), record.fs_hz)
    found = benchmark.after_fault(stretch, plain, told, benchmark.FAULTS[fault].lasting)
    assert found["back_s"] <= 3.0 and (fault not in SILENT or found["told_within"] == 0)


def test_the_state_of_the_signal_can_be_asked_of_a_stream(synthetic_db, classifier):
    record = read_record(synthetic_db / "100", "MLII")
    stream, states = BeatStream(classifier, record.fs_hz), []
    signal_mv = record.signal_mv[: round(20 * record.fs_hz)]
    noise_mv = 3 * np.random.default_rng(0).normal(size=3600)
    for part_mv in (signal_mv, np.full(720, 0.3), signal_mv, np.full(720, 5.115), signal_mv, noise_mv):
        stream.push(part_mv)
        states.append(stream.quality)
    assert states == ["ok", "flat", "ok", "saturated", "ok", "noisy"]
