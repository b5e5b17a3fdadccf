"""From a database to beats: published counts of the real records, wrong input, the cache, and who opens what."""

import hashlib
import os
import shutil
import weakref
from collections import Counter

import numpy as np
import pytest
import wfdb

import data_loader
from config import CLASSES, DATA_DIR_VARIABLE, DS1, DS2, MODES, VALIDATION, Config
from data_loader import FOLDS, SPLITS, load_beats, read_clean
from deep_ecg.beats import cache
from deep_ecg.beats.arrays import Beats, concatenate
from deep_ecg.beats.inputs import CHANNELS, FEATURES, network_inputs
from deep_ecg.beats.rhythm import rr_intervals
from deep_ecg.beats.strip import read_strip
from deep_ecg.records import physionet, wfdb_files
from deep_ecg.records.database import Source, ingest, real_source
from deep_ecg.records.physionet import expected_files
from deep_ecg.records.synthetic import MARKER_NAME
from deep_ecg.records.wfdb_files import AAMI, Annotation, Record, aami_labels, read_beats, read_record
from deep_ecg.system.errors import DeepECGError

PACED = {"102", "104", "107", "217"}


@pytest.fixture(autouse=True)
def no_data_dir_variable(request, monkeypatch):
    """Tests choose their folder themselves; the real database is found before the variable goes."""
    if "mitdb" in request.fixturenames:
        request.getfixturevalue("mitdb")
    monkeypatch.delenv(DATA_DIR_VARIABLE, raising=False)


@pytest.fixture
def few(synthetic_db, tmp_path):
    """A source with three synthetic records that a test may break."""
    folder = tmp_path / "few"
    folder.mkdir()
    for name in expected_files(("100", "208", "232")):
        shutil.copy2(synthetic_db / name, folder)
    return Source("synthetic", folder)


@pytest.fixture
def config(tmp_path):
    return Config(cache_dir=str(tmp_path / "cache"), threads=1)  # in this process, where it can be watched


@pytest.fixture
def offline(monkeypatch):
    def refuse(*arguments, **settings):
        raise DeepECGError("cannot download: no connection")

    monkeypatch.setattr(physionet, "download", refuse)


@pytest.fixture
def opened(monkeypatch):
    """The names of the records read from their files, as the test goes on."""
    names, read = [], wfdb_files.read_record
    monkeypatch.setattr(data_loader, "read_record", lambda path, leads: names.append(path.name) or read(path, leads))
    return names


def refused(call, *named):
    """The one-line message with which `call` is refused; it holds every text of `named`."""
    with pytest.raises(DeepECGError) as refusal:
        call()
    message = str(refusal.value)
    assert "\n" not in message
    assert all(str(text) in message for text in named), message
    return message


def assert_equal(beats: Beats, others: Beats):
    for name in Beats.__dataclass_fields__:
        mine, other = getattr(beats, name), getattr(others, name)
        assert mine.dtype == other.dtype and np.array_equal(mine, other), name


def write_record(folder, name, signal_mv, fmt="16", units="mV", lead="MLII", fs=360):
    wfdb.wrsamp(name, fs, [units], [lead], p_signal=np.asarray(signal_mv)[:, None], fmt=[fmt], write_dir=str(folder))
    return folder / name


def write_beats(folder, name, marks):
    samples, symbols = zip(*marks)
    wfdb.wrann(name, "atr", np.array(samples), list(symbols), write_dir=str(folder))
    return folder / name


# The division by patient ---------------------------------------------------------------------------------------------


def test_ds1_and_ds2_are_22_patients_each_and_share_none():
    assert len(set(DS1)) == len(set(DS2)) == 22
    assert not set(DS1) & set(DS2)
    assert not (set(DS1) | set(DS2)) & PACED


def test_validation_is_part_of_ds1_and_never_the_patient_that_ds2_holds_too():
    assert set(SPLITS["train"]) | set(SPLITS["validation"]) == set(DS1)
    assert not set(SPLITS["train"]) & set(SPLITS["validation"])
    assert set(SPLITS["test"]) == set(DS2)
    assert "201" not in VALIDATION  # 202 is the same subject


def test_each_patient_of_ds1_is_in_one_fold_and_none_of_ds2():
    assert sorted(name for fold in FOLDS for name in fold) == sorted(DS1)
    assert "202" not in {name for fold in FOLDS for name in fold}  # the same subject as 201
    assert not [fold for fold in FOLDS if {"201", "203"} <= set(fold)]  # one fibrillating patient a fold at most


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


@pytest.mark.parametrize("name", ["100", "114"])
def test_a_strip_holds_both_leads_mlii_first(mitdb, config, name):
    """Record 114 has them the other way round. Beats and labels are those of the annotation file."""
    strip = read_strip(mitdb / name, config)
    record = wfdb.rdrecord(str(mitdb / name))
    order = [record.sig_name.index("MLII"), 1 - record.sig_name.index("MLII")]
    assert np.array_equal(strip.leads_mv, record.p_signal[:, order]) and strip.fs_hz == 360
    beats = read_beats(mitdb / name, "atr")
    assert np.array_equal(strip.peaks, beats.samples) and np.array_equal(strip.after_gap, beats.after_gap)
    assert [CLASSES[label] for label in strip.labels] == [AAMI[symbol] for symbol in beats.symbols]


@pytest.mark.parametrize("fold", FOLDS, ids=[fold[0] for fold in FOLDS])
def test_each_fold_holds_a_tenth_of_s_and_v_and_some_f(counted, fold):
    total = sum((counted[record] for record in fold), Counter())
    assert total["S"] >= 94 and total["V"] >= 378 and total["F"]  # of 944 and 3788


def test_every_record_has_its_lead(mitdb):
    for name in DS1 + DS2:
        assert "MLII" in wfdb.rdheader(str(mitdb / name)).sig_name


def test_no_beat_of_a_real_record_is_lost(mitdb, config):
    """Record 100 has 2239 N, 33 A and 1 V in the database's own directory."""
    beats = load_beats(Source("local", mitdb), ("100",), config)
    assert np.bincount(beats.labels, minlength=5).tolist() == [2239, 33, 1, 0, 0]
    assert beats.windows.shape == (2273, CHANNELS, 280) and beats.features.shape[0] == 2273


def test_the_flutter_of_record_207_lies_in_no_interval(mitdb):
    marks = wfdb.rdann(str(mitdb / "207"), "atr")
    flutter = [sample for sample, symbol in zip(marks.sample, marks.symbol) if symbol == "!"]
    beats = read_beats(mitdb / "207", "atr")
    rr_s = rr_intervals(beats.samples, 360.0, beats.after_gap)
    crossed = np.unique(np.searchsorted(beats.samples, flutter))
    assert len(flutter) == 472  # waves of ventricular flutter, by the database's own directory
    assert np.isnan(rr_s[crossed[crossed < len(rr_s)]]).all()
    assert np.isfinite(rr_s).sum() > 1800


def test_the_real_folder_is_local(mitdb):
    for wanted in ("auto", "local", "physionet"):
        assert ingest(Config(data_dir=str(mitdb), data_source=wanted)) == Source("local", mitdb)


# Ingestion -----------------------------------------------------------------------------------------------------------


def test_local_names_the_first_file_that_is_missing(tmp_path):
    config = Config(data_source="local", data_dir=str(tmp_path / "nowhere"))
    refused(lambda: ingest(config), "nowhere", "132 files", f"{DS1[0]}.hea", DATA_DIR_VARIABLE)


@pytest.mark.parametrize("name", ["232.dat", "100.atr"])
@pytest.mark.parametrize("emptied", [True, False])
def test_a_folder_that_is_nearly_whole_does_not_count(synthetic_db, tmp_path, name, emptied):
    folder = shutil.copytree(synthetic_db, tmp_path / "db")
    (folder / name).unlink()
    if emptied:
        (folder / name).touch()
    refused(lambda: ingest(Config(data_source="local", data_dir=str(folder))), "1 files are missing", name)


@pytest.mark.parametrize("half_filled", [True, False])
def test_auto_without_data_or_network_is_synthetic_and_says_why(offline, synthetic_db, tmp_path, half_filled):
    data = tmp_path / "data"
    if half_filled:
        data.mkdir()
        (data / "101.hea").write_text("101 2 360 650000\n")
    shutil.copytree(synthetic_db, tmp_path / "cache" / "synthetic-1min")  # already written: nothing to wait for
    config = Config(data_dir=str(data), cache_dir=str(tmp_path / "cache"), synthetic_minutes=1)
    source = ingest(config)
    assert source.synthetic and source.name == "synthetic"
    assert source.folder == tmp_path / "cache" / "synthetic-1min"
    assert "no connection" in source.reason
    assert not physionet.missing_files(source.folder, expected_files(DS1 + DS2))


def test_synthetic_is_taken_when_asked_for_even_beside_a_whole_folder(offline, synthetic_db, tmp_path):
    shutil.copytree(synthetic_db, tmp_path / "cache" / "synthetic-1min")
    config = Config(
        data_source="synthetic", data_dir=str(synthetic_db), cache_dir=str(tmp_path / "cache"), synthetic_minutes=1
    )
    assert ingest(config).folder == tmp_path / "cache" / "synthetic-1min"


def test_physionet_without_network_is_an_error(offline, tmp_path):
    refused(lambda: ingest(Config(data_source="physionet", data_dir=str(tmp_path / "data"))), "no connection")


@pytest.mark.parametrize("wanted", ["auto", "physionet"])
def test_a_download_is_checked_against_the_published_hashes(monkeypatch, tmp_path, wanted):
    calls = []
    monkeypatch.setattr(physionet, "download", lambda *arguments, **settings: calls.append((arguments, settings)))
    config = Config(data_source=wanted, data_dir=str(tmp_path))
    assert ingest(config) == Source("physionet", tmp_path)
    ((folder, url, records), settings) = calls[0]
    assert (folder, url, records) == (tmp_path, config.physionet_url, DS1 + DS2)
    assert settings["sums_sha256"] == physionet.MITDB_SHA256SUMS


@pytest.mark.parametrize("wanted", ["auto", "local"])
def test_a_synthetic_folder_is_never_called_local(synthetic_db, wanted):
    assert (synthetic_db / MARKER_NAME).is_file()
    source = ingest(Config(data_source=wanted, data_dir=str(synthetic_db)))
    assert source.name == "synthetic" and source.synthetic


def test_the_environment_variable_says_where_the_data_are(monkeypatch, synthetic_db, tmp_path):
    monkeypatch.setenv(DATA_DIR_VARIABLE, str(synthetic_db))
    assert ingest(Config(data_source="local", data_dir=str(tmp_path))).folder == synthetic_db


def test_a_cache_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("no folder")
    refused(lambda: ingest(Config(data_source="synthetic", cache_dir=str(tmp_path / "file"))), tmp_path / "file")


def test_measurements_take_the_real_database_alone(synthetic_db, monkeypatch, tmp_path):
    monkeypatch.setenv(DATA_DIR_VARIABLE, str(synthetic_db))
    with pytest.raises(DeepECGError, match="SYNTHETIC.* real one"):
        real_source(Config())
    monkeypatch.setenv(DATA_DIR_VARIABLE, str(tmp_path))
    with pytest.raises(DeepECGError, match="files are missing"):
        real_source(Config(data_source="synthetic"))


def test_the_real_database_is_taken(mitdb, monkeypatch):
    monkeypatch.setenv(DATA_DIR_VARIABLE, str(mitdb))
    assert real_source(Config(data_source="synthetic")).name == "local"


# Records that cannot be used -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [0, 3, 1000, 0.5, -1])
def test_a_truncated_signal_file_is_refused(few, config, kept):
    signal = few.folder / "100.dat"
    whole = signal.read_bytes()
    signal.write_bytes(whole[: round(kept * len(whole)) if isinstance(kept, float) else kept])
    refused(lambda: read_record(few.folder / "100", "MLII"), "record", few.folder / "100")
    refused(lambda: load_beats(few, ("208", "100"), config), "100")


@pytest.mark.parametrize("name", ["100.hea", "100.dat", "100.atr"])
def test_a_missing_file_is_refused(few, config, name):
    (few.folder / name).unlink()
    refused(lambda: load_beats(few, ("208", "100"), config), name)
    if name.endswith("atr"):
        refused(lambda: read_beats(few.folder / "100", "atr"), few.folder / "100")
    else:
        refused(lambda: read_record(few.folder / "100", "MLII"), few.folder / "100")


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


def test_samples_that_are_not_numbers_are_refused(tmp_path):
    signal_mv = np.sin(np.arange(3600) / 20)
    signal_mv[100:107] = np.nan
    path = write_record(tmp_path, "gaps", signal_mv)
    refused(lambda: read_record(path, "MLII"), path, "7 samples")


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


@pytest.mark.parametrize("beyond", [21_600, 30_000])
def test_an_annotation_beyond_the_signal_is_refused(few, config, beyond):
    record = read_record(few.folder / "100", "MLII")  # one minute: samples 0 to 21 599
    last = Annotation(np.array([400, 21_599]), np.array(["N", "N"]), np.zeros(2, bool))
    assert len(network_inputs(record, last, config)[0]) == 2
    write_beats(few.folder, "100", [(400, "N"), (beyond, "N")])
    refused(lambda: load_beats(few, ("100",), config), "record 100", "outside")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fs_hz", [128.0, 250.0, 360.0, 1000.0])
def test_r_lies_in_its_place_at_any_sampling_rate(mode, fs_hz):
    beats = np.round(np.arange(1.0, 19.0, 0.8) * fs_hz).astype(int)
    t_s = np.arange(int(20 * fs_hz)) / fs_hz
    signal_mv = np.exp(-0.5 * ((t_s[:, None] - beats / fs_hz) / 0.012) ** 2).sum(axis=1)
    annotation = Annotation(beats, np.full(len(beats), "N"), np.zeros(len(beats), bool))
    config = Config(mode=mode)
    windows, features, _ = network_inputs(Record("x", "MLII", fs_hz, signal_mv), annotation, config)
    r_at = 280 - config.look_ahead_samples
    assert np.abs(windows[:, 0].argmax(axis=1) - r_at).max() <= (2 if mode == "causal" else 1)  # one pass lags a little
    np.testing.assert_allclose(features[2:, FEATURES[mode].index("pre_previous_ratio")], 1, atol=0.02)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fs_hz", [128.0, 250.0, 1000.0])
def test_a_beat_on_the_last_sample_survives_resampling(mode, fs_hz):
    signal_mv = np.sin(np.arange(int(10 * fs_hz)) / 20)
    annotation = Annotation(np.array([100, len(signal_mv) - 1]), np.array(["N", "N"]), np.zeros(2, bool))
    windows, *_ = network_inputs(Record("x", "MLII", fs_hz, signal_mv), annotation, Config(mode=mode))
    assert windows.shape == (2, CHANNELS, 280)


# Hashes --------------------------------------------------------------------------------------------------------------


def write_hashes(folder, wrong=""):
    names = sorted(path.name for path in folder.iterdir())
    sums = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    sums |= {name: "0" * 64 for name in sums if name == wrong}
    (folder / physionet.HASH_LIST).write_text("".join(f"{value}  {name}\n" for name, value in sums.items()))


def test_a_file_that_differs_from_its_published_hash_is_refused_by_name(few, config):
    write_hashes(few.folder, wrong="208.dat")
    refused(lambda: load_beats(few, ("100", "208"), config), "208.dat")
    assert len(load_beats(few, ("100",), config))  # only the files of the records asked for are checked


def test_files_with_their_published_hashes_are_read(few, config):
    write_hashes(few.folder)
    assert set(load_beats(few, ("100", "208"), config).records) == {"100", "208"}


# Beats ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_beats_carry_what_the_annotations_say(few, config, mode):
    config = Config(mode=mode, cache_dir=config.cache_dir, threads=1)
    beats = load_beats(few, ("208", "232"), config)
    assert beats.windows.shape == (len(beats), CHANNELS, 280) and beats.windows.dtype == np.float32
    assert beats.features.shape == (len(beats), len(FEATURES[mode])) and beats.features.dtype == np.float32
    for name in ("208", "232"):
        marks = wfdb.rdann(str(few.folder / name), "atr")
        expected = [(sample, AAMI[symbol]) for sample, symbol in zip(marks.sample, marks.symbol) if symbol in AAMI]
        part = beats.of([name])
        assert list(zip(part.samples.tolist(), (CLASSES[label] for label in part.labels))) == expected
    assert len(beats.of(["208"])) + len(beats.of(("232",))) == len(beats)
    assert len(beats.of([])) == 0


def test_beats_are_put_together_and_chosen(few, config):
    beats = load_beats(few, ("208", "232"), config)
    parts = [beats.of([name]) for name in ("208", "232")]
    assert_equal(concatenate(parts), beats)
    chosen = beats.where(beats.labels == CLASSES.index("V"))
    assert len(chosen) and set(chosen.labels.tolist()) == {2}
    assert np.array_equal(chosen.samples, beats.samples[beats.labels == 2])


def test_a_strip_is_brought_to_the_rate_of_the_settings(tmp_path, config):
    t_s = np.arange(2500) / 250
    path = write_record(tmp_path, "slow", np.sin(2 * np.pi * t_s), fs=250)
    write_beats(tmp_path, "slow", [(250, "N"), (500, "V"), (1000, "A")])
    strip = read_strip(path, config)
    assert strip.leads_mv.shape == (3600, 1) and strip.fs_hz == 360
    assert strip.peaks.tolist() == [360, 720, 1440] and strip.labels.tolist() == [0, 2, 1]
    middle = slice(360, 3240)  # the ends feel the anti-aliasing filter
    np.testing.assert_allclose(strip.leads_mv[middle, 0], np.sin(2 * np.pi * np.arange(3600) / 360)[middle], atol=0.01)


@pytest.mark.parametrize("second", [np.full(3600, 0.5), np.where(np.arange(3600) == 7, np.nan, np.arange(3600) / 1000)])
def test_a_second_lead_that_cannot_be_used_is_left_out_of_a_strip(tmp_path, config, second):
    signals = np.stack([second, np.sin(np.arange(3600) / 20)], axis=1)
    leads = {"units": ["mV"] * 2, "sig_name": ["V1", "MLII"], "fmt": ["16"] * 2, "write_dir": str(tmp_path)}
    wfdb.wrsamp("two", 360, p_signal=signals, **leads)
    write_beats(tmp_path, "two", [(360, "N"), (720, "N")])
    strip = read_strip(tmp_path / "two", config)
    assert strip.leads_mv.shape == (3600, 1)
    np.testing.assert_allclose(strip.leads_mv[:, 0], signals[:, 1], atol=1e-3)


def test_a_strip_of_a_wrong_record_is_refused_by_name(few, config, tmp_path):
    refused(lambda: read_strip(few.folder / "101", config), few.folder / "101")
    refused(lambda: read_strip(few.folder / "100", Config(lead="aVR")), few.folder / "100", "'aVR'")
    flat = write_record(tmp_path, "flat", np.full(3600, 0.25))
    refused(lambda: read_strip(flat, config), flat, "flat")


def test_only_the_files_of_the_records_asked_for_are_needed(synthetic_db, tmp_path, config):
    folder = tmp_path / "ds1"
    folder.mkdir()
    for name in expected_files(DS1):
        shutil.copy2(synthetic_db / name, folder)
    beats = load_beats(Source("synthetic", folder), DS1, config)
    assert set(beats.records) == set(DS1)


def test_a_strip_is_raw_and_cleaned(few, config):
    raw_mv, clean_mv = read_clean(few, "100", config, 10.0, 5.0)
    signal_mv = wfdb.rdrecord(str(few.folder / "100"), channel_names=["MLII"]).p_signal[:, 0]
    assert np.array_equal(raw_mv, signal_mv[3600:5400])
    assert len(clean_mv) == 1800 and not np.array_equal(raw_mv, clean_mv)


# The cache -----------------------------------------------------------------------------------------------------------


def test_the_second_load_opens_no_record_and_gives_equal_beats(few, config, opened):
    first = load_beats(few, ("100", "208"), config)
    assert opened == ["100", "208"]
    assert_equal(load_beats(few, ("100", "208"), config), first)
    assert opened == ["100", "208"]


def test_other_settings_or_records_are_parsed_anew(few, config, opened):
    changes = ({}, {"mode": "causal"}, {"mode": "causal", "look_ahead_ms": 100.0}, {"band_hz": (0.5, 40.0)})
    changes += ({"filter_order": 3}, {"window_samples": 240}, {"fs_hz": 250.0}, {"lead": "V5"})
    for done, change in enumerate(changes):
        load_beats(few, ("100",), Config(cache_dir=config.cache_dir, threads=1, **change))
        assert len(opened) == done + 1, change
    load_beats(few, ("208",), config)
    assert opened[-1] == "208"
    same = Config(cache_dir=config.cache_dir, preset="edge", seeds=(5,), threads=1)  # these say nothing of beats
    load_beats(few, ("100",), same)
    assert len(opened) == len(changes) + 1


@pytest.mark.parametrize("extension", ["hea", "dat", "atr"])
def test_a_record_file_that_changes_is_parsed_anew(few, config, opened, extension):
    load_beats(few, ("100",), config)
    path = few.folder / f"100.{extension}"
    later = path.stat().st_mtime_ns + 1_000_000_000
    os.utime(path, ns=(later, later))
    load_beats(few, ("100",), config)
    assert opened == ["100", "100"]


def test_another_folder_with_the_same_names_is_another_source(few, config, opened):
    load_beats(few, ("100",), config)
    other = Source("local", few.folder.with_name("other"))
    shutil.copytree(few.folder, other.folder)
    load_beats(other, ("100",), config)
    assert opened == ["100", "100"]


def test_the_beats_do_not_depend_on_the_number_of_processes_and_are_those_of_each_record(few, config, tmp_path):
    names = ("232", "100", "208")
    alone = load_beats(few, names, config)
    assert_equal(load_beats(few, names, Config(cache_dir=str(tmp_path / "two"), threads=2)), alone)
    each = [load_beats(few, (name,), config) for name in names]
    assert_equal(concatenate(each), alone)


def test_beats_lie_in_the_file_of_the_cache_and_not_in_memory(few, config):
    """So that memory does not grow with the database; what is written into them stays with this process."""
    beats = load_beats(few, ("100", "208"), config)
    (cached,) = (few.folder.parent / "cache").iterdir()
    for name in ("windows", "features", "labels", "samples"):
        array = getattr(beats, name)
        assert isinstance(array.base, np.memmap) and array.ctypes.data % 64 == 0, name
    before = cached.read_bytes()
    beats.windows[:] = 0
    assert cached.read_bytes() == before
    with np.load(cached) as stored:  # it is what numpy.savez would write
        assert stored["windows"].any() and np.array_equal(stored["labels"], beats.labels)


def test_no_more_than_one_record_is_held_while_beats_are_stored(few, config, tmp_path, monkeypatch):
    """Beats are written as they come: those of a record can be gone before the next ones are made."""
    made = []

    def parts():
        for name in ("100", "208"):
            beats = load_beats(few, (name,), config)
            made.append(weakref.ref(copy := beats.where(np.ones(len(beats), bool))))
            yield copy
            del copy
            assert len(made) == 1 or made[0]() is None

    cache._write_cache(tmp_path / "all.npz", parts(), ("100", "208"))
    assert_equal(cache._read_cache(tmp_path / "all.npz"), load_beats(few, ("100", "208"), config))


def replace_file(path, content):
    """As every writer does: in a file that is cut short in place, mapped arrays would lose their ground."""
    path.unlink()
    path.write_bytes(content)


def broken_copies(whole):
    """A cache file cut short, replaced and with single bits turned over, in its headers, values and directory."""
    yield from (b"", b"PK", whole[: len(whole) // 2], whole[:-1], b"no archive at all")
    for position in (*range(0, 160, 7), len(whole) // 3, len(whole) // 2, *range(len(whole) - 400, len(whole), 23)):
        yield whole[:position] + bytes([whole[position] ^ 16]) + whole[position + 1 :]


@pytest.mark.filterwarnings("ignore")
def test_a_broken_cache_is_parsed_anew_and_never_trusted(few, config):
    beats = load_beats(few, ("100",), config)
    (cached,) = (few.folder.parent / "cache").iterdir()
    whole = cached.read_bytes()
    for broken in broken_copies(whole):
        replace_file(cached, broken)
        assert_equal(load_beats(few, ("100",), config), beats)


def test_a_cache_whose_header_promises_fewer_beats_is_not_trusted(few, config):
    beats = load_beats(few, ("100",), config)
    (cached,) = (few.folder.parent / "cache").iterdir()
    whole = cached.read_bytes()
    shorter = whole.replace(b"'shape': (%d," % len(beats), b"'shape': (%d," % (len(beats) - 1), 1)
    assert len(shorter) == len(whole) and shorter != whole
    replace_file(cached, shorter)
    assert_equal(load_beats(few, ("100",), config), beats)


def test_a_broken_cache_is_replaced_by_a_whole_one(few, config, opened):
    load_beats(few, ("100",), config)
    (cached,) = (few.folder.parent / "cache").iterdir()
    replace_file(cached, cached.read_bytes()[:5000])
    load_beats(few, ("100",), config)
    load_beats(few, ("100",), config)
    assert opened == ["100", "100"]


def test_a_cache_that_cannot_be_written_is_refused_by_name(few, tmp_path):
    (tmp_path / "file").write_text("no folder")
    refused(lambda: load_beats(few, ("100",), Config(cache_dir=str(tmp_path / "file"))), tmp_path / "file")
