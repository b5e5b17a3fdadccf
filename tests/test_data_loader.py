"""From a database to beats: the division by patient, wrong input, hashes, and who opens what."""

import hashlib
import shutil

import numpy as np
import pytest
import wfdb

from config import CLASSES, DS1, DS2, MODES, VALIDATION, Config
from data_loader import FOLDS, load_beats, load_database
from deep_ecg.beats.arrays import concatenate
from deep_ecg.beats.input_settings import InputSettings
from deep_ecg.beats.inputs import CHANNELS, FEATURES, has_signal, network_inputs
from deep_ecg.beats.shape import P_WAVE, SHAPE
from deep_ecg.beats.strip import read_clean
from deep_ecg.records import physionet
from deep_ecg.records.database import Source
from deep_ecg.records.databases import DATABASES, classifying
from deep_ecg.records.physionet import expected_files
from deep_ecg.records.wfdb_files import AAMI, Annotation, read_beats, read_record
from tests.support.records import assert_equal, beat_times_s, refused, spikes_mv, write_beats, write_record

PACED = {"102", "104", "107", "217"}


@pytest.fixture
def config(tmp_path):
    return Config(cache_dir=str(tmp_path / "cache"), threads=1)  # in this process, where it can be watched


# The division by patient ---------------------------------------------------------------------------------------------


def test_ds1_and_ds2_are_22_patients_each_and_share_none():
    assert len(set(DS1)) == len(set(DS2)) == 22
    assert not set(DS1) & set(DS2)
    assert not (set(DS1) | set(DS2)) & PACED


def test_validation_is_part_of_ds1_and_never_the_patient_that_ds2_holds_too():
    assert set(VALIDATION) < set(DS1)
    assert Config().train_records == DS1 and Config().validation_records == VALIDATION
    assert Config().test_records == DS2
    assert "201" not in VALIDATION  # 202 is the same subject


def test_each_patient_of_ds1_is_in_one_fold_and_none_of_ds2():
    assert sorted(name for fold in FOLDS for name in fold) == sorted(DS1)
    assert "202" not in {name for fold in FOLDS for name in fold}  # the same subject as 201
    assert not [fold for fold in FOLDS if {"201", "203"} <= set(fold)]  # one fibrillating patient a fold at most


# Wrong input ---------------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("beyond", [21_600, 30_000])
def test_an_annotation_beyond_the_signal_is_left_out_and_said(few, config, beyond, capsys):
    record = read_record(few.folder / "100", "MLII")  # one minute: samples 0 to 21 599
    last = Annotation(np.array([400, 21_599]), np.array(["N", "N"]), np.zeros(2, bool))
    assert len(network_inputs(record, last, InputSettings.of(config))) == 2
    write_beats(few.folder, "100", [(400, "N"), (beyond, "N")])
    assert load_beats(few, ("100",), config).samples.tolist() == [400]
    assert "100.atr: 1 of 2 beats outside the signal, left out" in capsys.readouterr().out


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


def test_no_beat_of_a_real_record_is_lost(mitdb, config):
    """Record 100 has 2239 N, 33 A and 1 V in the database's own directory."""
    beats = load_beats(Source("local", mitdb), ("100",), config)
    assert np.bincount(beats.labels, minlength=5).tolist() == [2239, 33, 1, 0, 0]
    assert beats.windows.shape == (2273, CHANNELS, 280) and beats.features.shape[0] == 2273


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


def test_only_the_files_of_the_records_asked_for_are_needed(synthetic_db, tmp_path, config):
    folder = tmp_path / "ds1"
    folder.mkdir()
    for name in expected_files(DS1):
        shutil.copy2(synthetic_db / name, folder)
    beats = load_beats(Source("synthetic", folder), DS1, config)
    assert set(beats.records) == set(DS1)


def test_the_beats_do_not_depend_on_the_number_of_processes_and_are_those_of_each_record(few, config, tmp_path):
    names = ("232", "100", "208")
    alone = load_beats(few, names, config)
    assert_equal(load_beats(few, names, Config(cache_dir=str(tmp_path / "two"), threads=2)), alone)
    each = [load_beats(few, (name,), config) for name in names]
    assert_equal(concatenate(each), alone)


def test_a_strip_is_raw_and_cleaned(few, config):
    raw_mv, clean_mv = read_clean(few.folder, "100", config, 10.0, 5.0)
    signal_mv = wfdb.rdrecord(str(few.folder / "100"), channel_names=["MLII"]).p_signal[:, 0]
    assert np.array_equal(raw_mv, signal_mv[3600:5400])
    assert len(clean_mv) == 1800 and not np.array_equal(raw_mv, clean_mv)


# Other databases -----------------------------------------------------------------------------------------------------


def test_svdb_is_loaded_by_its_own_leads_and_beats(tmp_path, config, monkeypatch):
    """A record of 128 Hz with ECG1 and S beats, one of whose annotations lies past the end, as of record 860."""
    database, fs_hz = DATABASES["svdb"], 128
    peaks = np.arange(100, 3800, 100)
    own = {"record_name": "801", "write_dir": str(tmp_path)}
    signal_mv = spikes_mv(peaks / fs_hz, 30.0, fs_hz)
    wfdb.wrsamp(fs=fs_hz, units=["mV"], sig_name=["ECG1"], p_signal=signal_mv[:, None], fmt=["16"], **own)
    wfdb.wrann(extension="atr", sample=np.append(peaks, 3840), symbol=["N", "S"] * 18 + ["V", "N"], **own)
    monkeypatch.setenv(database.variable, str(tmp_path))
    beats = load_database(database, ("801",), config)
    assert np.bincount(beats.labels).tolist() == [18, 18, 1] and beats.samples.tolist() == peaks.tolist()
    assert beats.records.tolist() == ["801"] * 37


def test_recordings_with_one_label_teach_the_beats_that_are_found_in_those_that_have_n_alone(
    tmp_path, config, monkeypatch
):
    database, fs_hz = DATABASES["cinc2017"], 300
    times_s = beat_times_s(30.0)
    for name in ("A00001", "A00003", "A00007"):
        write_record(tmp_path, name, spikes_mv(times_s, 30.0, fs_hz), lead="ECG", fs=fs_hz)
        (tmp_path / f"{name}.dat").rename(tmp_path / f"{name}.mat")
        header = tmp_path / f"{name}.hea"
        header.write_text(header.read_text().replace(".dat", ".mat"))
    (tmp_path / "REFERENCE.csv").write_text("A00001,N\nA00003,A\nA00007,O\n")
    monkeypatch.setenv(database.variable, str(tmp_path))
    beats = load_database(database, ("A00001", "A00003", "A00007"), config)
    assert set(beats.records.tolist()) == {"A00001", "A00003"} and not beats.labels.any()
    of_one = beats.of(["A00001"]).samples / fs_hz
    assert len(of_one) >= len(times_s) - 3 and np.abs(of_one[:, None] - times_s).min(axis=1).max() < 0.03


def test_a_table_of_times_teaches_n_and_s_where_the_rhythm_leaves_no_doubt(tmp_path, config, monkeypatch):
    database = DATABASES["vitaldb_arrdb"]
    rows = [(0.8 * k, "S" if k in (5, 25, 45) else "V" if k == 8 else "N", "N") for k in range(64)]
    rows = [(time_s, kind, "SVTA" if k == 25 else "AFIB/AFL" if k >= 40 else rhythm)
            for k, (time_s, kind, rhythm) in enumerate(rows)]  # fmt: skip
    text = "\n".join(f"{time_s},{kind},{rhythm},False," for time_s, kind, rhythm in rows)
    (tmp_path / "Annotation_file_7.csv").write_text(
        f"time_second,beat_type,rhythm_label,bad_signal_quality,bad_signal_quality_label\n{text}\n"
    )
    monkeypatch.setenv(database.variable, str(tmp_path))
    beats = load_database(database, ("7",), config)
    # every eighth beat where it is N, and the one S outside of fibrillation and doubt
    assert (beats.samples / 800).tolist() == [0, 5, 16, 24, 32, 40, 48, 56]
    assert beats.labels.tolist() == [0, 1, *[0] * 6]
    assert not has_signal(beats.windows).any() and set(beats.records.tolist()) == {"7"}
    rhythm = len(FEATURES[config.mode]) - len(SHAPE + P_WAVE)
    assert not beats.features[:, rhythm:].any() and np.allclose(beats.features[2:, 0], 1.0)
    assert_equal(load_database(database, ("7",), config), beats)  # from the cache


def test_the_networks_of_both_protocols_are_told_apart():
    assert Config().protocol == "DS1 -> DS2" and Config(databases=("mitdb", "svdb")).protocol == "open"
    assert not {"mitdb"} & {one.name for one in classifying(Config(databases=("mitdb", "svdb")).databases[1:])}


@pytest.mark.parametrize("databases", [(), ("svdb",), ("svdb", "mitdb"), ("mitdb", "ptbdb"), ("mitdb", "mitdb")])
def test_mitdb_is_always_trained_on_and_others_must_be_known(databases):
    refused(lambda: Config(databases=databases), "setting databases", "list mitdb and then any of svdb")
