"""WFDB files: published counts of the real records, wrong headers and signals, marks that are no beats."""

from collections import Counter
from functools import partial

import numpy as np
import pytest
import wfdb

from config import CLASSES, DS1, DS2
from data_loader import FOLDS
from deep_ecg.beats.rhythm import rr_intervals
from deep_ecg.records.wfdb_files import AAMI, RecordFile, aami_labels, read_beats, read_record
from tests.support.records import refused, write_beats, write_record

# Classes -------------------------------------------------------------------------------------------------------------


def test_aami_classes_of_the_symbols():
    classes = {"N": "NLRej", "S": "AaJS", "V": "VE", "F": "F", "Q": "/fQ"}
    for name, symbols in classes.items():
        assert {AAMI[symbol] for symbol in symbols} == {name}
    assert set(AAMI) == set("NLRBAaJSVrFejnE/fQ?")  # the beat symbols of the WFDB annotation standard
    assert CLASSES == ("N", "S", "V", "F", "Q")


def test_labels_of_symbols_by_hand():
    labels = aami_labels(["N", "L", "A", "V", "F", "/", "e"])
    assert labels.tolist() == [0, 0, 1, 2, 3, 4, 0] and labels.dtype == np.int64
    assert aami_labels([]).shape == (0,)


# The real database ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def counted(mitdb):
    """Beats of each class in each record, as read."""
    return {name: Counter(AAMI[s] for s in read_beats(mitdb / name, "atr").symbols) for name in DS1 + DS2}


@pytest.mark.parametrize(
    "records, n, s, v, f, q, beats",
    [(DS1, 45_866, 944, 3_788, 415, 8, 51_021), (DS2, 44_259, 1_837, 3_221, 388, 7, 49_712)],
    ids=["DS1", "DS2"],
)
def test_published_beat_counts(counted, records, n, s, v, f, q, beats):
    total = sum((counted[name] for name in records), Counter())
    assert total == {"N": n, "S": s, "V": v, "F": f, "Q": q}
    assert total.total() == beats


def test_the_records_that_hold_most_of_a_class(counted):
    for record, name, of, percent in (("232", "S", DS2, 75), ("213", "F", DS2, 93), ("208", "F", DS1, 90)):
        share = counted[record][name] / sum(counted[other][name] for other in of)
        assert round(100 * share) == percent


def test_mlii_of_record_114_is_its_second_signal(mitdb):
    signal_mv = read_record(mitdb / "114", "MLII").signal_mv
    assert np.array_equal(signal_mv, wfdb.rdrecord(str(mitdb / "114"), channels=[1]).p_signal[:, 0])


def test_every_record_has_its_lead(mitdb):
    for name in DS1 + DS2:
        assert "MLII" in wfdb.rdheader(str(mitdb / name)).sig_name


@pytest.mark.parametrize("fold", FOLDS, ids=[fold[0] for fold in FOLDS])
def test_each_fold_holds_a_tenth_of_s_and_v_and_some_f(counted, fold):
    total = sum((counted[record] for record in fold), Counter())
    assert total["S"] >= 94 and total["V"] >= 378 and total["F"]  # of 944 and 3788


def test_the_flutter_of_record_207_lies_in_no_interval(mitdb):
    marks = wfdb.rdann(str(mitdb / "207"), "atr")
    flutter = [sample for sample, symbol in zip(marks.sample, marks.symbol) if symbol == "!"]
    beats = read_beats(mitdb / "207", "atr")
    rr_s = rr_intervals(beats.samples, 360.0, beats.after_gap)
    crossed = np.unique(np.searchsorted(beats.samples, flutter))
    assert len(flutter) == 472  # waves of ventricular flutter, by the database's own directory
    assert np.isnan(rr_s[crossed[crossed < len(rr_s)]]).all()
    assert np.isfinite(rr_s).sum() > 1800


# Records -------------------------------------------------------------------------------------------------------------


RARE_FORMATS = (61, 160, 310, 311)  # that wfdb reads and does not write
SAMPLES = np.random.default_rng(0).integers(-100, 100, (600, 3))


@pytest.mark.parametrize("fmt", ["80", "212", "16", "24", "32"])
def test_signals_are_those_that_wfdb_reads_whatever_their_format(tmp_path, fmt):
    """Of three signals of different gain and baseline, in two files, asked for in another order."""
    gains, baselines = [200.0, 100.0, 50.0], [0, 7, -3]
    files, names = ["one.dat", "one.dat", "two.dat"], ["I", "II", "V1"]
    wfdb.Record(
        record_name="r", n_sig=3, fs=250, sig_len=600, file_name=files, fmt=[fmt] * 3, adc_gain=gains, sig_name=names,
        baseline=baselines, units=["mV", "uV", "V"], d_signal=SAMPLES, adc_res=[12] * 3, adc_zero=[0] * 3,
        init_value=SAMPLES[0].tolist(), checksum=[0] * 3, block_size=[0] * 3,
    ).wrsamp(write_dir=str(tmp_path))  # fmt: skip
    found = RecordFile.open(tmp_path / "r").signals_mv(["V1", "I", "II"])
    expected = (SAMPLES - baselines) / gains * [1, 1e-3, 1e3]
    for signal_mv, column in zip(found, (2, 0, 1)):
        np.testing.assert_allclose(signal_mv, expected[:, column], rtol=1e-12)
    physical = wfdb.rdrecord(str(tmp_path / "r")).p_signal
    assert np.array_equal(found[1], physical[:, 0]) and np.array_equal(found[2], physical[:, 1] * 1e-3)


@pytest.mark.parametrize(
    "first, lines",
    [
        ("r 2 250", ["r.dat 16 200(0)/mV 16 0 0 0 0 I", "r.dat 16 100(5)/mV 16 0 0 0 0 II"]),
        ("r 2 250 100", ["r.dat 16+24 200(0)/mV 16 0 0 0 0 I", "r.dat 16+24 100(5)/mV 16 0 0 0 0 II"]),
        ("r 2 250", ["r.dat 16x2:3 200(0)/mV 16 0 0 0 0 I", "r.dat 16x1 100(5)/mV 16 0 0 0 0 II"]),
        ("r 2 250 150", ["r.dat 8 200/mV 16 0 50 0 0 I", "r.dat 8 200/mV 16 0 -9 0 0 II"]),
        *(("r 2 250 150", [f"r.dat {fmt} 200/mV 12 0 0 0 0 {name}" for name in ("I", "II")]) for fmt in RARE_FORMATS),
    ],
    ids=["length of the file", "offset", "frames and skew", "differences", *map(str, RARE_FORMATS)],
)
def test_signals_are_those_that_wfdb_reads_whatever_the_header_says(tmp_path, first, lines):
    (tmp_path / "r.hea").write_text("\n".join([first, *lines]) + "\n")
    (tmp_path / "r.dat").write_bytes(SAMPLES[:300, 0].astype("<i2").tobytes())
    expected = wfdb.rdrecord(str(tmp_path / "r"), smooth_frames=False).e_p_signal
    found = RecordFile.open(tmp_path / "r").signals_mv(["I", "II"])
    for signal_mv, as_wfdb in zip(found, expected, strict=True):
        assert np.array_equal(signal_mv, as_wfdb, equal_nan=True) and np.nanmax(as_wfdb) > np.nanmin(as_wfdb)


@pytest.mark.parametrize("fmt", ["508", "516", "524"])
def test_skew_of_compressed_signals_moves_them_as_that_of_others(tmp_path, fmt):
    """Signal II lags 7 samples behind: its first ones are left out, and its last ones unknown."""
    values = np.clip(SAMPLES[:600, :2].astype(int), -100, 100)
    wfdb.wrsamp(
        "r", 250, ["mV"] * 2, ["I", "II"], d_signal=values, fmt=[fmt] * 2, adc_gain=[200.0] * 2, baseline=[0, 5],
        write_dir=str(tmp_path),
    )  # fmt: skip
    header = (tmp_path / "r.hea").read_text().split("\n")
    header[2] = header[2].replace(f" {fmt} ", f" {fmt}:7 ")
    (tmp_path / "r.hea").write_text("\n".join(header))
    first, second = RecordFile.open(tmp_path / "r").signals_mv(["I", "II"])
    np.testing.assert_allclose(first, values[:, 0] / 200)
    np.testing.assert_allclose(second, np.append((values[7:, 1] - 5) / 200, np.full(7, np.nan)))


def test_segments_without_a_layout_are_read_by_the_names_of_their_signals(tmp_path):
    """The second segment lists the leads the other way round; with other names they go by their place."""
    values = SAMPLES[:600, :2].astype("<i2")
    (tmp_path / "r.hea").write_text("r/2 2 250 600\na 300\nb 300\n")
    for name, leads, part in (("a", "I II", values[:300]), ("b", "II I", values[300:, ::-1])):
        lines = [f"{name}.dat 16 200/mV 16 0 0 0 0 {lead}" for lead in leads.split()]
        (tmp_path / f"{name}.hea").write_text("\n".join([f"{name} 2 250 300", *lines]) + "\n")
        (tmp_path / f"{name}.dat").write_bytes(np.ascontiguousarray(part).tobytes())
    for signal_mv, column in zip(RecordFile.open(tmp_path / "r").signals_mv(["I", "II"]), (0, 1)):
        np.testing.assert_allclose(signal_mv, values[:, column] / 200)
    other = (tmp_path / "b.hea").read_text().replace(" II\n", " V1\n")
    (tmp_path / "b.hea").write_text(other)
    np.testing.assert_allclose(RecordFile.open(tmp_path / "r").signals_mv(["I"])[0][300:], values[300:, 1] / 200)


def test_a_file_that_is_longer_than_its_header_says_is_named(tmp_path):
    (tmp_path / "r.dat").write_bytes(SAMPLES[:600, 0].astype("<i2").tobytes())
    for length, notes in ((600, ()), (400, ()), (300, ("its header announces 300 samples, 600 are there",))):
        (tmp_path / "r.hea").write_text(f"r 1 250 {length}\nr.dat 16 200/mV 16 0 0 0 0 I\n")
        assert RecordFile.open(tmp_path / "r").lead("I").notes == notes


def test_signal_files_of_different_lengths_and_no_length_are_refused(tmp_path):
    (tmp_path / "r.hea").write_text("r 2 250\na.dat 16 200/mV 16 0 0 0 0 I\nb.dat 16 200/mV 16 0 0 0 0 II\n")
    for name, count in (("a", 600), ("b", 500)):
        (tmp_path / f"{name}.dat").write_bytes(SAMPLES[:count, 0].astype("<i2").tobytes())
    for number in (0, 1):
        read = partial(RecordFile.open(tmp_path / "r").signals_mv, [number])
        refused(read, tmp_path / "r", "a.dat has 600, b.dat has 500")


def test_a_unit_that_stands_apart_from_its_gain_is_no_name(tmp_path):
    (tmp_path / "r.hea").write_text("r 1 250 600\nr.dat 16 0.2 /uV 12 0 0 0 0 I\n")
    refused(lambda: RecordFile.open(tmp_path / "r"), tmp_path / "r", "is not of the format")


def test_a_record_file_says_what_it_holds(tmp_path):
    signals = np.stack([np.sin(np.arange(300) / 20)] * 3, axis=1)
    wfdb.wrsamp("r", 360, ["mV", "mmHg", "uV"], ["MLII", "ABP", "V5"], p_signal=signals, fmt=["16"] * 3,
                comments=["SYNTHETIC: a sine"], write_dir=str(tmp_path))  # fmt: skip
    record = RecordFile.open(tmp_path / "r")
    assert record.files("atr", "qrs") == ["r.hea", "r.dat", "r.atr", "r.qrs"]
    assert (record.leads, record.voltages) == (["MLII", "ABP", "V5"], ["MLII", "V5"])
    assert record.synthetic and record.name == "r" and record.signals_mv([]) == []
    assert RecordFile.open(tmp_path / "r", "ward/r").lead("MLII").name == "ward/r"
    assert record.is_unchanged()
    (tmp_path / "r.hea").write_text("r 1 360 300\nr.dat 16\n")
    assert not record.is_unchanged()
    (tmp_path / "r.hea").unlink()
    assert not record.is_unchanged()


# Records that cannot be used -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        "",
        "\n",
        "not a header\nat all\n",
        "100 0 360 21600\n",
        "100 2 0 21600\n100.dat 212 200/mV 11 1024 0 0 0 MLII\n100.dat 212 200/mV 11 1024 0 0 0 V5\n",
        "100 2 360 21600\n100.dat 212 200(1024)/mV\n",
        "100 2 360 21600\n100.dat 999 200/mV 11 1024 0 0 0 MLII\n100.dat 999 200/mV 11 1024 0 0 0 V5\n",
        "100/2 2 360 43200\n100_1 21600\n100_2 21600\n",
    ],
    ids=["empty", "blank", "text", "no signals", "no rate", "cut short", "unknown format", "several segments"],
)
def test_a_broken_header_is_refused(few, header):
    (few.folder / "100.hea").write_text(header)
    refused(lambda: read_record(few.folder / "100", "MLII"), "record", few.folder / "100")


def test_an_unknown_lead_is_refused_with_those_there_are(few):
    refused(lambda: read_record(few.folder / "100", "aVR"), few.folder / "100", "'aVR'", "MLII", "V5")


def test_missing_samples_are_no_numbers(tmp_path):
    signal_mv = np.sin(np.arange(3600) / 20)
    signal_mv[100:107] = np.nan
    found = read_record(write_record(tmp_path, "gaps", signal_mv), "MLII").signal_mv
    assert np.isnan(found).nonzero()[0].tolist() == list(range(100, 107))


def test_a_signal_of_which_no_sample_is_known_is_refused(tmp_path):
    (tmp_path / "r.hea").write_text("r 1 360 300\nr.dat 16 200/mV 16 0 0 0 0 MLII\n")
    (tmp_path / "r.dat").write_bytes(np.full(300, -32768, "<i2").tobytes())
    refused(lambda: read_record(tmp_path / "r", "MLII"), tmp_path / "r", "none of its samples is a number")


def test_a_flat_signal_is_refused(tmp_path):
    path = write_record(tmp_path, "flat", np.full(3600, 0.25))
    refused(lambda: read_record(path, "MLII"), path, "flat")


@pytest.mark.parametrize("units, scale", [("mV", 1.0), ("uV", 1000.0), ("V", 0.001)])
def test_signals_are_brought_to_millivolts(tmp_path, units, scale):
    signal_mv = np.sin(np.arange(3600) / 20)
    path = write_record(tmp_path, "scaled", signal_mv * scale, units=units)
    np.testing.assert_allclose(read_record(path, "MLII").signal_mv, signal_mv, atol=1e-3)


def test_a_signal_that_is_no_voltage_is_refused(tmp_path):
    path = write_record(tmp_path, "pressure", np.sin(np.arange(3600) / 20), units="mmHg")
    refused(lambda: read_record(path, "MLII"), path, "mmHg")


# Annotations ---------------------------------------------------------------------------------------------------------


def test_marks_that_are_no_beats_are_dropped_before_intervals_are_formed(tmp_path):
    marks = [(18, "+"), (100, "N"), (300, "~"), (460, "A"), (500, "|"), (820, "N"), (900, '"'), (910, "x"), (1180, "V")]
    beats = read_beats(write_beats(tmp_path, "marks", marks), "atr")
    assert beats.samples.tolist() == [100, 460, 820, 1180]
    assert beats.symbols.tolist() == ["N", "A", "N", "V"]
    assert not beats.after_gap.any()
    np.testing.assert_array_equal(rr_intervals(beats.samples, 360.0, beats.after_gap), [np.nan, 1.0, 1.0, 1.0])


def test_a_beat_that_is_marked_on_several_channels_is_one(tmp_path):
    """At 360 Hz 18 samples are 50 ms. On one channel marks as near as 4 samples are beats, as a file says so."""
    samples, channels = np.array([100, 104, 460, 460, 478, 820, 839, 1180]), np.array([0, 1, 0, 1, 2, 0, 1, 0])
    symbols = list("NVAANNNV")
    wfdb.wrann("r", "two", samples, symbols, chan=channels, fs=360, write_dir=str(tmp_path))
    wfdb.wrann("r", "one", samples[:2], symbols[:2], fs=360, write_dir=str(tmp_path))
    beats = read_beats(tmp_path / "r", "two")
    assert beats.samples.tolist() == [100, 460, 820, 839, 1180] and "".join(beats.symbols) == "NANNV"
    assert read_beats(tmp_path / "r", "one").samples.tolist() == [100, 104]


def test_a_code_that_the_standard_does_not_define_is_no_beat(tmp_path):
    words = [(1, 100), (45, 50), (1, 310), (0, 0)]  # (code, samples since the last mark); 1 is N
    (tmp_path / "odd.atr").write_bytes(b"".join((code << 10 | step).to_bytes(2, "little") for code, step in words))
    assert read_beats(tmp_path / "odd", "atr").samples.tolist() == [100, 460]


def test_flutter_is_remembered_as_a_gap_before_the_next_beat(tmp_path):
    marks = [(100, "N"), (460, "N"), (500, "["), (600, "!"), (700, "!"), (720, "]"), (820, "N"), (1180, "N")]
    beats = read_beats(write_beats(tmp_path, "flutter", marks), "atr")
    assert beats.after_gap.tolist() == [False, False, True, False]


@pytest.mark.parametrize("marks", [[(18, "+")], [(18, "+"), (400, "N")]])
def test_fewer_than_two_beats_are_refused(tmp_path, marks):
    path = write_beats(tmp_path, "few", marks)
    refused(lambda: read_beats(path, "atr"), path, "two")


def test_a_truncated_annotation_file_is_refused(few):
    path = few.folder / "100.atr"
    whole = path.read_bytes()
    for kept in (0, 1, len(whole) // 4 * 2, len(whole) - 2, len(whole) - 1):
        path.write_bytes(whole[:kept])
        refused(lambda: read_beats(few.folder / "100", "atr"), few.folder / "100.atr")


def test_bytes_that_are_no_annotations_are_refused(few):
    (few.folder / "100.atr").write_bytes(np.random.default_rng(0).bytes(501))
    refused(lambda: read_beats(few.folder / "100", "atr"), few.folder / "100.atr")
