"""Tests of synthetic.py against published facts of the real database, textbook rules of rhythm and signal theory."""

import os
from collections import Counter

import numpy as np
import pytest
import wfdb
from scipy.signal import butter, sosfiltfilt, welch

from deep_ecg.records.synthetic import write_database
from deep_ecg.system.errors import DeepECGError

DS1 = "101 106 108 109 112 114 115 116 118 119 122 124 201 203 205 207 208 209 215 220 223 230".split()
DS2 = "100 103 105 111 113 117 121 123 200 202 210 212 213 214 219 221 222 228 231 232 233 234".split()
AAMI = {"N": "NLRej", "S": "AaJS", "V": "VE", "F": "F", "Q": "Q"}
CLASS_OF = {symbol: name for name, symbols in AAMI.items() for symbol in symbols}
FIBRILLATING = {"201", "202", "203", "210", "219", "221", "222"}
MINUTES = 2


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synthetic")
    write_database(folder, DS1 + DS2, MINUTES)
    return folder


def beats_of(folder, record):
    """Samples and symbols of the beats, without the other marks."""
    annotation = wfdb.rdann(str(folder / record), "atr")
    pairs = [(s, x) for s, x in zip(annotation.sample, annotation.symbol) if x in CLASS_OF]
    return np.array([s for s, _ in pairs]), np.array([x for _, x in pairs])


def mlii_of(folder, record):
    """MLII in mV without wander and muscle noise, zero phase."""
    signals = wfdb.rdrecord(str(folder / record))
    mlii = signals.p_signal[:, signals.sig_name.index("MLII")]
    return sosfiltfilt(butter(2, (0.5, 40), "bandpass", fs=360, output="sos"), mlii)


def mean_beat(folder, record, symbol):
    """Mean of MLII from 300 ms before to 500 ms after R over the beats of one symbol."""
    samples, symbols = beats_of(folder, record)
    mlii = mlii_of(folder, record)
    chosen = [s for s, x in zip(samples, symbols) if x == symbol and 108 <= s < len(mlii) - 180]
    assert chosen
    return np.mean([mlii[s - 108 : s + 180] for s in chosen], axis=0)


def isolated(folder, record, wanted):
    """(pre-RR, post-RR) in units of the nearby normal-to-normal RR of ectopic beats that stand alone."""
    samples, symbols = beats_of(folder, record)
    names = np.array([CLASS_OF[x] for x in symbols])
    rr = np.diff(samples)
    normal = (names[:-1] == "N") & (names[1:] == "N")
    normal[1:] &= names[:-2] == "N"  # the pause after an ectopic beat is no normal interval
    found = []
    for i in range(2, len(names) - 2):
        if names[i] == wanted and symbols[i] != "E" and set(names[[i - 2, i - 1, i + 1, i + 2]]) == {"N"}:
            near = [k for k in range(max(0, i - 12), min(len(rr), i + 12)) if normal[k]]
            escaped = set("ej") & set(symbols[max(0, i - 2) : i + 3])
            if len(near) >= 3 and not escaped:
                found.append((rr[i - 1], rr[i]) / np.median(rr[near]))
    return found


@pytest.mark.parametrize("record, names", [("100", ["MLII", "V5"]), ("101", ["MLII", "V1"]), ("114", ["V5", "MLII"])])
def test_record_reads_back_like_the_real_one(database, record, names):
    signals = wfdb.rdrecord(str(database / record))
    assert signals.sig_name == names
    assert signals.fs == 360 and signals.units == ["mV", "mV"] and signals.fmt == ["212", "212"]
    assert signals.adc_gain == [200, 200] and signals.baseline == [1024, 1024] and signals.adc_res == [11, 11]
    assert signals.p_signal.shape == (MINUTES * 60 * 360, 2)
    assert signals.comments[0].startswith("SYNTHETIC")
    digital = wfdb.rdrecord(str(database / record), physical=False).d_signal
    assert digital.min() >= 0 and digital.max() <= 2047
    assert signals.checksum == wfdb.rdrecord(str(database / record), physical=False).calc_checksum()


def test_lead_names_and_normal_symbols_are_those_of_the_real_database(database, mitdb):
    for record in DS1 + DS2:
        real, made = (wfdb.rdheader(str(folder / record)) for folder in (mitdb, database))
        assert made.sig_name == real.sig_name
        real, made = (Counter(wfdb.rdann(str(folder / record), "atr").symbol) for folder in (mitdb, database))
        assert max("NLR", key=lambda symbol: made[symbol]) == max("NLR", key=lambda symbol: real[symbol])


@pytest.mark.parametrize(
    "records, published",
    [
        (DS1, {"N": 45866, "S": 944, "V": 3788, "F": 415, "Q": 8}),
        (DS2, {"N": 44259, "S": 1837, "V": 3221, "F": 388, "Q": 7}),
    ],
)
def test_every_class_is_there_in_about_its_published_share(database, records, published):
    counts = Counter(CLASS_OF[x] for record in records for x in beats_of(database, record)[1])
    total, total_published = sum(counts.values()), sum(published.values())
    assert set(counts) == set("NSVFQ")
    # The two minutes are 1/15 of the real half hour.
    assert total == pytest.approx(total_published / 15, rel=0.03)
    for name in "NSVFQ":
        assert counts[name] / total == pytest.approx(published[name] / total_published, abs=0.015)


def test_one_minute_holds_normal_supraventricular_and_ventricular_beats(tmp_path):
    write_database(tmp_path, ["208", "209", "232", "200"], 1)
    for pair in (("208", "209"), ("232", "200")):
        names = {CLASS_OF[x] for record in pair for x in beats_of(tmp_path, record)[1]}
        assert {"N", "S", "V"} <= names


def test_non_beat_marks_are_there_and_annotations_are_in_order(database):
    marks, notes = Counter(), Counter()
    for record in DS1 + DS2:
        annotation = wfdb.rdann(str(database / record), "atr")
        assert np.all(np.diff(annotation.sample) > 0)
        assert annotation.sample[0] >= 0 and annotation.sample[-1] < MINUTES * 60 * 360
        assert annotation.symbol[0] == "+"
        marks.update(annotation.symbol)
        notes.update(note.rstrip("\x00") for note in annotation.aux_note if note)
    assert marks["+"] > 44 and marks["~"] > 0
    assert {"(N", "(AFIB", "(B", "(VT", "(SVTA", "(SBR"} <= set(notes)


def test_ventricular_beats_are_premature_with_a_full_compensatory_pause(database):
    found = [pair for record in DS1 + DS2 if record not in FIBRILLATING for pair in isolated(database, record, "V")]
    pre, post = np.array(found).T
    assert len(found) > 60
    assert np.all(pre < 0.85) and np.all(post > 1.1)
    assert np.median(pre + post) == pytest.approx(2, abs=0.03)
    assert np.all(np.abs(pre + post - 2) < 0.3)  # heart-rate variability


def test_supraventricular_beats_are_premature_and_reset_the_sinus_node(database):
    found = [pair for record in DS1 + DS2 if record not in FIBRILLATING for pair in isolated(database, record, "S")]
    pre, post = np.array(found).T
    assert len(found) > 15
    assert np.all(pre < 0.9)
    assert np.all((post > 0.85) & (post < 1.25))
    assert np.median(pre + post) < 1.85


@pytest.mark.parametrize("record, irregular", [("203", True), ("221", True), ("115", False), ("122", False)])
def test_fibrillation_is_irregular_and_has_no_p_wave(database, record, irregular):
    samples, symbols = beats_of(database, record)
    rr = np.diff(samples)[(symbols[:-1] == "N") & (symbols[1:] == "N")]
    beat = mean_beat(database, record, "N")
    p_mv = beat[108 - 72 : 108 - 29].max() - beat[108 - 29 : 108 - 22].mean()  # 200 to 80 ms before R
    if irregular:
        assert rr.std() / rr.mean() > 0.15 and p_mv < 0.05
    else:
        assert rr.std() / rr.mean() < 0.08 and p_mv > 0.05


def test_heart_rate_and_r_amplitude_breathe_together(database):
    """Respiration moves both the sinus rate and the heart's axis; without it the two would be unrelated."""
    breathing = butter(2, (0.18, 0.36), "bandpass", fs=4, output="sos")
    even_s = np.arange(2, MINUTES * 60 - 3, 0.25)
    correlations = []
    for record in ("103", "112", "115", "117", "122", "123", "212"):  # hardly any ectopic beats
        samples, _ = beats_of(database, record)
        amplitude_mv, rr_s = mlii_of(database, record)[samples[1:]], np.diff(samples) / 360
        pair = [np.interp(even_s, samples[1:] / 360, x - x.mean()) for x in (amplitude_mv, rr_s)]
        correlations.append(np.corrcoef(sosfiltfilt(breathing, pair))[0, 1])
    assert np.mean(correlations) > 0.6


@pytest.mark.parametrize("record", ["106", "119", "200", "213", "228", "233"])
def test_ventricular_beats_are_wide_with_an_opposite_t_wave(database, record):
    width = {}
    for symbol in "NV":
        beat = mean_beat(database, record, symbol)
        qrs = np.abs(beat[108 - 36 : 108 + 37])
        width[symbol] = np.count_nonzero(qrs > qrs.max() / 2)
    ventricular = mean_beat(database, record, "V")
    t_mv = ventricular[108 + 86 : 108 + 112].mean()  # 240 to 310 ms after R
    assert width["V"] > 1.8 * width["N"]
    assert np.sign(t_mv) == -np.sign(ventricular[108])


def test_fusion_beats_lie_between_normal_and_ventricular_ones(database):
    normal, fusion, ventricular = (mean_beat(database, "213", symbol) for symbol in "NFV")
    after_qrs = slice(108 + 72, 108 + 100)  # 200 to 280 ms: upright T of N, inverted T of V
    assert ventricular[after_qrs].mean() < fusion[after_qrs].mean() < normal[after_qrs].mean()
    samples, symbols = beats_of(database, "213")
    rr = np.diff(samples)
    before = rr[np.flatnonzero(symbols == "F") - 1]
    assert np.all(before > 0.85 * np.median(rr)) and np.all(before < 1.15 * np.median(rr))


def test_annotations_lie_on_the_r_peak(database):
    off = {"narrow": [], "wide": []}
    for record in DS1 + DS2:
        mlii = mlii_of(database, record)
        for sample, symbol in zip(*beats_of(database, record)):
            near = np.abs(mlii[sample - 21 : sample + 22])
            off["narrow" if symbol in "NRAJ" else "wide"].append(abs(int(np.argmax(near)) - 21))
    assert np.mean(np.array(off["narrow"]) <= 2) > 0.99
    assert np.mean(np.array(off["wide"]) <= 4) > 0.95


@pytest.mark.parametrize("record", DS1 + DS2)
def test_mains_hum_stands_out_of_the_spectrum(database, record):
    signals = wfdb.rdrecord(str(database / record)).p_signal
    f_hz, power = welch(signals, fs=360, nperseg=3600, axis=0)
    at_mains = power[np.argmin(np.abs(f_hz - 60))]
    around = np.median(power[(np.abs(f_hz - 60) > 1) & (np.abs(f_hz - 60) < 8)], axis=0)
    assert np.all(at_mains > 10 * around)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_bytes_depend_on_record_and_seed_only(tmp_path):
    write_database(tmp_path / "a", ["100", "114"], 1, seed=3)
    write_database(tmp_path / "b", ["114"], 1, seed=3)
    write_database(tmp_path / "c", ["114"], 1, seed=4)
    a, b, c = (contents(tmp_path / name) for name in "abc")
    for name in ("114.dat", "114.atr", "114.hea"):
        assert a[name] == b[name] != c[name]
    assert a["100.dat"] != a["114.dat"]


def test_folder_holds_records_list_and_marker_and_nothing_else(tmp_path, capsys):
    write_database(tmp_path / "new" / "folder", ["114", "100"], 1, progress=True)
    files = contents(tmp_path / "new" / "folder")
    records = {f"{record}.{ending}" for record in ("100", "114") for ending in ("hea", "dat", "atr")}
    assert set(files) == records | {"RECORDS", "SYNTHETIC.txt"}
    assert files["RECORDS"] == b"100\n114\n"
    text = files["SYNTHETIC.txt"].decode()
    assert "generated" in text and "patients" in text and text.count("\n") == 1
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err == ""  # the progress bar is for terminals


@pytest.mark.parametrize("missing", ["hea", "dat", "atr"])
def test_half_written_record_is_written_again_and_a_whole_one_is_left(tmp_path, missing):
    write_database(tmp_path, ["100", "101"], 1)
    before, kept = contents(tmp_path), os.stat(tmp_path / "101.dat")
    (tmp_path / f"100.{missing}").unlink()
    (tmp_path / "100.dat").write_bytes(b"half")
    write_database(tmp_path, ["100", "101"], 1)
    assert contents(tmp_path) == before
    assert os.stat(tmp_path / "101.dat").st_ino == kept.st_ino
    assert os.stat(tmp_path / "101.dat").st_mtime_ns == kept.st_mtime_ns


def test_cut_signal_and_other_length_or_seed_are_written_again(tmp_path):
    write_database(tmp_path, ["100"], 1)
    before = contents(tmp_path)
    (tmp_path / "100.dat").write_bytes(before["100.dat"][:-3])
    write_database(tmp_path, ["100"], 1)
    assert contents(tmp_path) == before
    write_database(tmp_path, ["100"], 1.5)
    assert wfdb.rdheader(str(tmp_path / "100")).sig_len == 32400  # 90 s at 360 Hz
    write_database(tmp_path, ["100"], 1.5, seed=1)
    assert contents(tmp_path)["100.dat"] != before["100.dat"]


@pytest.mark.parametrize("ending", ["dat", "atr", "hea"])
def test_interrupted_writing_leaves_no_header_and_no_temporary_file(tmp_path, monkeypatch, ending):
    write_database(tmp_path, ["100"], 1)
    replace = os.replace

    def stop(source, target):
        if str(target).endswith(ending):
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        write_database(tmp_path, ["100"], 2)
    names = set(contents(tmp_path))
    assert "100.hea" not in names and not any(name.startswith(".") for name in names)


def test_wrong_arguments_are_named(tmp_path):
    for records, minutes, seed, word in ((["102"], 1, 0, "102"), (["100"], 0.1, 0, "0.1"), (["100"], 1, -1, "-1")):
        with pytest.raises(DeepECGError, match=word):
            write_database(tmp_path / "none", records, minutes, seed)
    with pytest.raises(DeepECGError, match="nan"):
        write_database(tmp_path / "none", ["100"], float("nan"))
    assert not (tmp_path / "none").exists()


def test_folder_with_real_records_is_refused_untouched(tmp_path):
    (tmp_path / "200.hea").write_text("200 2 360 650000\n")
    with pytest.raises(DeepECGError, match="200.hea"):
        write_database(tmp_path, ["100"], 1)
    assert set(contents(tmp_path)) == {"200.hea"}
