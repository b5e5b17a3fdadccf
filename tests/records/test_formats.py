"""Records of every format: written from the published descriptions, read back to the value, refused where broken."""

import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import edfio
import numpy as np
import pytest

from deep_ecg.records import formats, sampling
from deep_ecg.records.edf_files import annotations_file
from deep_ecg.records.formats import TAKEN, TextSettings, kind_of, open_any
from deep_ecg.records.leads import is_ecg, is_no_ecg
from tests.support import ROOT
from tests.support.recordings import (
    APPLE,
    write_atc,
    write_edf,
    write_ishne,
    write_kardia_json,
    write_text,
)
from tests.support.records import refused

RNG = np.random.default_rng(1)
COUNTS = RNG.integers(-3000, 3000, (1000, 2))
SAMPLES = ROOT.parent / "shared" / "formats"
WHEN = datetime(2011, 3, 2, 4, 5, 6)
NAN = float("nan")

needs_samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason=f"{SAMPLES} with files of public readers is not here")


def opened(path: Path, fs_hz: float | None = None, unit: str | None = None):
    return open_any(path, TextSettings(fs_hz, unit))


def signals(path: Path, **told) -> list[np.ndarray]:
    record = opened(path, **told)
    return record.signals_mv(list(range(len(record.leads))))


# EDF and BDF ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [16, 24])
def test_edf_and_bdf_give_their_counts_in_the_unit_of_the_header(tmp_path, bits):
    counts = COUNTS * (1 if bits == 16 else 1000)
    path = write_edf(tmp_path / "anything.bin", counts, 250, ["ECG II", "Resp"], bits=bits)
    record = opened(path)
    assert (record.kind, record.name) == ("EDF" if bits == 16 else "BDF", "anything")
    assert record.leads == ["ECG II", "Resp"] and record.units == ["uV", "uV"] and record.fs_hz(1) == 250
    assert record.started == WHEN
    for column, signal_mv in enumerate(record.signals_mv([0, 1])):
        np.testing.assert_allclose(signal_mv, counts[:, column] * 0.5e-3, rtol=1e-6, atol=1e-3 if bits == 24 else 1e-9)


def test_edf_is_what_its_package_reads(tmp_path):
    path = write_edf(tmp_path / "r.edf", COUNTS, 250, ["I", "II"])
    package = edfio.read_edf(path)
    np.testing.assert_allclose(signals(path)[1], package.signals[1].data / 1000, rtol=1e-12)


def test_a_discontinuous_edf_has_missing_samples_where_nothing_was_recorded(tmp_path):
    path = write_edf(tmp_path / "r.edf", COUNTS, 250, ["II", "V5"], onsets_s=[0.5, 1.5, 4.5, 5.5], plus="EDF+D")
    record = opened(path)
    (signal_mv,) = record.signals_mv(["II"])
    assert record.leads == ["II", "V5"] and len(signal_mv) == 6 * 250 and "not continuous" in record.notes[0]
    assert record.started == WHEN + timedelta(seconds=0.5)
    np.testing.assert_allclose(signal_mv[:500], COUNTS[:500, 0] * 0.5e-3, atol=1e-9)
    assert np.isnan(signal_mv[500:1000]).all()
    np.testing.assert_allclose(signal_mv[1000:], COUNTS[500:, 0] * 0.5e-3, atol=1e-9)


def test_an_edf_that_calls_itself_continuous_has_missing_samples_where_its_records_leave_gaps(tmp_path):
    """Half a millisecond is rounding, on either side; three seconds are a gap."""
    onsets_s = [0.5, 1.5005, 2.5, 5.5]
    for plus in ("", "EDF+C"):
        path = write_edf(tmp_path / "r.edf", COUNTS, 250, ["II", "V5"], onsets_s=onsets_s, plus=plus)
        record = opened(path)
        (signal_mv,) = record.signals_mv(["II"])
        assert len(signal_mv) == 6 * 250 and "not continuous" in record.notes[0]
        assert np.isnan(signal_mv[750:1250]).all()
        np.testing.assert_allclose(signal_mv[1250:], COUNTS[750:, 0] * 0.5e-3, atol=1e-9)
    whole = write_edf(tmp_path / "w.edf", COUNTS, 250, ["II", "V5"], onsets_s=[0, 1.0005, 2, 3], plus="EDF+C")
    assert opened(whole).notes == () and len(signals(whole)[0]) == 1000
    close = write_edf(tmp_path / "c.edf", COUNTS, 250, ["II", "V5"], onsets_s=[0, 0.999, 2, 3], plus="EDF+D")
    assert len(signals(close)[0]) == 1000


def test_an_edf_whose_parts_do_not_say_when_they_were_recorded_is_said_to_be_one(tmp_path):
    path = write_edf(tmp_path / "r.edf", COUNTS, 250, ["II", "V5"], plus="EDF+D")
    (note,) = opened(path).notes
    assert note.startswith("it does not say when its parts")


@pytest.mark.parametrize("patient", ["ID J\u00f6rg", "ID \u0416", "X X X X"])
def test_an_edf_is_known_whoever_was_recorded(tmp_path, patient):
    path = write_edf(tmp_path / "r.edf", COUNTS, 250, ["I", "II"])
    changed(path, 8, patient.encode().ljust(80))
    record = opened(path)
    assert record.kind == "EDF" and record.leads == ["I", "II"]
    np.testing.assert_allclose(record.signals_mv([1])[0], COUNTS[:, 1] * 0.5e-3, atol=1e-9)


@pytest.mark.parametrize(
    "place, field", [(104, b"        "), (104, b"-100,5  "), (112, b"0       "), (216, b"0       ")]
)
def test_an_odd_signal_that_is_not_read_does_not_matter(tmp_path, place, field):
    """The second of two signals has a range that is none, or no samples; the first is read as it is."""
    path = write_edf(tmp_path / "r.edf", COUNTS, 250, ["II", "Event"])
    if place == 216:  # no samples a record: its bytes are not there
        rows = np.frombuffer(path.read_bytes()[768:], "<i2").reshape(-1, 2, 250)
        path.write_bytes(path.read_bytes()[:768] + rows[:, 0].tobytes())
    changed(path, 256 + 2 * place + 8, field)
    if place == 112:
        changed(path, 256 + 2 * 104 + 8, field)
    record = opened(path)
    np.testing.assert_allclose(record.signals_mv(["II"])[0], COUNTS[:, 0] * 0.5e-3, atol=1e-9)
    if "Event" in record.leads:
        refused(lambda: record.signals_mv(["Event"]), path, "has no range")


def test_an_edf_whose_records_lie_years_apart_takes_no_years_of_memory(tmp_path):
    path = write_edf(tmp_path / "r.edf", COUNTS, 250, ["II", "V5"], onsets_s=[0, 1, 2, 3e8], plus="EDF+D")
    refused(lambda: signals(path), path, "most of its time was not recorded")


def changed(path: Path, place: int, field: bytes) -> Path:
    data = bytearray(path.read_bytes())
    data[place : place + len(field)] = field
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("place", "field", "reason"),
    [
        (252, b"9999", "9,999 signals cannot be"),
        (252, b"-1  ", "-1 signals cannot be"),
        (252, b"    ", "is no number of signals"),
        (184, b"99999999", "another size"),
        (236, b"99999999", "truncated: 4 data records are there"),
        (236, b"-7      ", "truncated"),
        (244, b"1e999   ", "data records of '1e999' s"),
        (244, b"-1      ", "data records of '-1' s"),
        (244, b"nan     ", "data records of 'nan' s"),
        (256 + 2 * 216, b"99999999", "truncated"),
        (256 + 2 * 216, b"-9999999", "hold no samples"),
        (256 + 2 * 120, b"3       3       ", "has no range"),
        (256 + 2 * 120, b"x       ", "cannot be read as EDF"),
    ],
)
def test_a_broken_edf_is_refused_in_a_line(tmp_path, place, field, reason):
    path = changed(write_edf(tmp_path / "r.edf", COUNTS, 250, ["I", "II"]), place, field)
    if b"3       3" in field:
        changed(path, 256 + 2 * 112, b"3       3       ")
        changed(path, 256 + 2 * 104, b"3       3       ")
    refused(lambda: opened(path), path, reason)


def test_truncated_files_are_refused_at_every_length(tmp_path):
    whole = {
        "r.edf": write_edf(tmp_path / "r.edf", COUNTS, 250, ["I", "II"]),
        "r.ecg": write_ishne(tmp_path / "r.ecg", COUNTS, leads=(5, 6)),
        "r.atc": write_atc(tmp_path / "r.atc", {"ecg ": COUNTS[:, 0]}),
    }
    for name, path in whole.items():
        data = path.read_bytes()
        for length in {300, 600, 1000, len(data) // 2, len(data) - 1}:
            part = tmp_path / f"{length}-{name}"
            part.write_bytes(data[:length])
            refused(lambda part=part: signals(part), part)


def test_labels_are_edf_annotations_that_its_package_reads(tmp_path):
    started = datetime(2011, 3, 2, 4, 5, 6, 250_000)
    path = tmp_path / "labels.edf"
    path.write_bytes(annotations_file([0.1, 1.5, 86_399.25], ["N", "V", "N"], started))
    file = edfio.read_edf(path)
    assert [(mark.onset, mark.duration, mark.text) for mark in file.annotations] == [
        (0.1, None, "N"), (1.5, None, "V"), (86_399.25, None, "N"),
    ]  # fmt: skip
    assert file.startdatetime == started and file.reserved == "EDF+C" and file.num_signals == 0
    assert file.local_patient_identification == "X X X X"
    refused(lambda: opened(path), path, "annotations alone")


# ISHNE, Kardia, DICOM ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("all_leads", [False, True])
def test_ishne_gives_its_counts_by_their_resolution(tmp_path, all_leads):
    told = {"samples": 2 * len(COUNTS)} if all_leads else {}
    path = write_ishne(tmp_path / "r", COUNTS, 180, (6, 15), 2500, b"notes", pacemaker=3, **told)
    record = opened(path)
    assert (record.kind, record.leads, record.fs_hz(0), record.started) == ("ISHNE", ["II", "V5"], 180, WHEN)
    assert record.identity == {"first name": "Jane", "last name": "Doe", "id": "ID77", "born": "1950-01-04"}
    assert "pacemaker" in record.comments
    np.testing.assert_allclose(np.transpose(record.signals_mv([0, 1])), COUNTS * 0.0025)


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({"crc": 1}, "checksum"),
        ({"samples": 10**9}, "truncated"),
        ({"samples": -5}, "another file"),
        ({"samples": 10}, "another file"),
        ({"count": 13}, "13 leads cannot be"),
        ({"count": -1}, "-1 leads cannot be"),
        ({"leads": (40, 6)}, "40 is no code of a lead"),
        ({"nanovolts": 0}, "resolution of 0 nV"),
        ({"fs_hz": 0}, "rate of 0 Hz"),
        ({"version": 7}, "version 7"),
        ({"pacemaker": 9}, "no code of a pacemaker"),
        ({"extra_": 0, "extra": -4}, "places its parts"),
    ],
)
def test_a_broken_ishne_header_is_refused_in_a_line(tmp_path, told, reason):
    told = {name: value for name, value in told.items() if name != "extra_"}
    length = told.pop("extra", None)
    path = write_ishne(tmp_path / "r.ecg", COUNTS, **({"leads": (5, 6)} | told))
    if length is not None:
        changed(path, 10, length.to_bytes(4, "little", signed=True))
    refused(lambda: opened(path), path, reason)


def test_a_header_without_checksum_is_said(tmp_path):
    assert opened(write_ishne(tmp_path / "r", COUNTS, leads=(5, 6), crc=0)).notes == ("its header has no checksum",)


def test_kardia_gives_its_counts_in_both_formats(tmp_path):
    row = COUNTS[:, 0]
    for path in (
        write_atc(tmp_path / "a", {"ecg ": row, "ecg2": 2 * row, "avg ": row[:9]}),
        write_kardia_json(tmp_path / "b", {"leadI": row.tolist(), "leadII": (2 * row).tolist()}),
    ):
        record = opened(path)
        assert (record.leads, record.fs_hz(0)) == (["I", "II"], 300)
        assert record.started.replace(microsecond=0) == WHEN.replace(tzinfo=UTC)
        np.testing.assert_allclose(np.transpose(record.signals_mv([0, 1])), np.stack([row, 2 * row], 1) * 0.0005)
    changed(tmp_path / "a", 400, b"\1")
    refused(lambda: opened(tmp_path / "a"), "a", "damaged")


def dicom_file(path: Path, counts: np.ndarray, **changed):
    pydicom = pytest.importorskip("pydicom", reason="pydicom (requirements-dicom.txt) is not installed")
    group, derived = pydicom.Dataset(), pydicom.Dataset()
    for one in (group, derived):
        one.WaveformOriginality = "ORIGINAL" if one is group else "DERIVED"
        one.NumberOfWaveformChannels, one.NumberOfWaveformSamples = counts.shape[1], len(counts)
        one.SamplingFrequency, one.WaveformBitsAllocated, one.WaveformSampleInterpretation = 500, 16, "SS"
        one.WaveformData, one.WaveformPaddingValue = counts.astype("<i2").tobytes(), b"\x00\x80"
        one.ChannelDefinitionSequence = []
        for name in ("Lead I (Einthoven)", "Lead II")[: counts.shape[1]]:
            channel, source, unit = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
            source.CodeMeaning, unit.CodeValue = name, "uV"
            channel.ChannelSourceSequence, channel.ChannelSensitivityUnitsSequence = [source], [unit]
            channel.ChannelSensitivity, channel.ChannelSensitivityCorrectionFactor, channel.ChannelBaseline = 2, 1.5, 7
            one.ChannelDefinitionSequence.append(channel)
    for name, value in changed.items():
        setattr(group, name, value)
    file = pydicom.Dataset()
    file.PatientName, file.AcquisitionDateTime, file.WaveformSequence = (
        "Doe^Jane",
        "20110302040506.25",
        [derived, group],
    )
    file.file_meta = pydicom.dataset.FileMetaDataset()
    file.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    file.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.9.1.1"
    file.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    file.save_as(path, enforce_file_format=True)
    return path


def test_dicom_gives_recorded_channels_with_sensitivity_and_baseline(tmp_path):
    counts = COUNTS.copy()
    counts[5, 1] = -32768
    record = opened(dicom_file(tmp_path / "r", counts))
    assert (record.kind, record.leads, record.fs_hz(1), record.started) == ("DICOM", ["Lead I", "Lead II"], 500, WHEN)
    expected = (COUNTS * 3 + 7) / 1000
    expected[5, 1] = NAN
    np.testing.assert_allclose(np.transpose(record.signals_mv([0, 1])), expected)
    assert record.identity == {"PatientName": "Doe^Jane"}


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({"NumberOfWaveformSamples": 4_000_000_000}, "truncated"),
        ({"NumberOfWaveformChannels": 60_000}, "60,000 channels"),
        ({"SamplingFrequency": 0}, "rate of 0 Hz"),
        ({"WaveformSampleInterpretation": "MB"}, "MB are not known"),
    ],
)
def test_a_broken_dicom_file_is_refused_in_a_line(tmp_path, told, reason):
    path = dicom_file(tmp_path / "r.dcm", COUNTS, **told)
    refused(lambda: opened(path), path, reason)


def test_a_dicom_file_that_ends_within_its_channels_is_said_to_be_truncated(tmp_path):
    path = dicom_file(tmp_path / "r.dcm", COUNTS)
    content = path.read_bytes()
    path.write_bytes(content[: content.rindex(b"SQ")])
    refused(lambda: opened(path), path, "truncated or broken")


def test_without_pydicom_a_line_says_how_to_get_it(tmp_path, monkeypatch):
    path = dicom_file(tmp_path / "r.dcm", COUNTS)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    refused(lambda: opened(path), path, "requirements-dicom.txt")


# Text ----------------------------------------------------------------------------------------------------------------

VALUES = np.round(RNG.normal(0, 300, 1500), 1)


def lines(form: str) -> str:
    return "".join(form.format(i=i, v=v, s=i / 250, ms=4 * i) + "\n" for i, v in enumerate(VALUES))


def commas(text: str) -> str:
    return text.replace(".", ",")


POLAR = "Phone timestamp;sensor timestamp [ns];timestamp [ms];ecg [uV] \n" + "".join(
    f"2011-03-02T04:05:{6 + i // 130:02}.{i % 130 * 1000 // 130:03};{599616050941733632 + i * 10**9 // 130};"
    f"{i * 1000 / 130:.3f};{v}\n"
    for i, v in enumerate(VALUES)
)
ATM = "'Elapsed time','MLII','V5'\n'hh:mm:ss.mmm','mV','mV'\n" + "".join(
    f"'{i // 21600}:{i / 360 % 60:06.3f}',{v / 1000:.4f},{-v}\n" for i, v in enumerate(VALUES)
)
UTC_1 = timezone(timedelta(hours=1))
TEXTS = {  # form: text, leads, first unit, rate, start
    "Apple Watch": (APPLE + lines("{v}"), ["I"], "\u00b5V", 512, WHEN.replace(tzinfo=UTC_1)),
    "Apple Watch, in German": (
        APPLE.replace("512 hertz", '"511,5 Hertz"').replace("Lead", "Ableitung") + commas(lines("{v}")),
        ["I"], "\u00b5V", 511.5, WHEN.replace(tzinfo=UTC_1),
    ),
    "Polar H10": (POLAR, ["ecg"], "uV", 130, WHEN.replace(tzinfo=UTC)),
    "PhysioNet": (ATM, ["MLII", "V5"], "mV", 360, None),
    "times in s": (lines("{s:.3f},{v}"), ["ECG"], "", 250, None),
    "semicolons, decimal commas": (commas(lines("{s:.3f};{v}")), ["ECG"], "", 250, None),
    "times in ms": ("time_ms\tecg_uV\tresp\n" + lines("{ms}\t{v}\t0"), ["ecg", "resp"], "uV", 250, None),
    "times in ns": ("t|II (uV)\n" + lines("{ms}000000|{v}"), ["II"], "uV", 250, None),
    "Unix times": ("ms,ecg\n" + "".join(f"{1_299_038_706_000 + 4 * i},{v}\n" for i, v in enumerate(VALUES)),
                   ["ecg"], "", 250, WHEN.replace(tzinfo=UTC)),
    "days first": ("time;ECG [uV]\n" + "".join(
        f"02.03.2011 04:05:{6 + i // 250:02},{i % 250 * 4:03};{v}\n" for i, v in enumerate(VALUES)),
        ["ECG"], "uV", 250, WHEN.replace(tzinfo=UTC)),
    "quoted decimal commas": ('"Time [min]","EKG [uV]"\n' + "".join(
        f'"{commas(f"{i / 15000:.8f}")}","{commas(str(v))}"\n' for i, v in enumerate(VALUES)),
        ["EKG"], "uV", 250, None),
    "marks behind the last value": ("t [ms];II [uV];V1 [uV]\n" + lines("{ms};{v};1;"), ["II", "V1"], "uV", 250, None),
    "columns that are empty at first": (lines("{s:.3f},{v},,"), ["signal 2", "signal 3", "signal 4"], "", 250, None),
    "the same, names with one": ("t [ms],II [uV],\n" + lines("{ms},{v},"), ["II"], "uV", 250, None),
    "empty lines between the rows": ("time,II [uV]\n" + lines("{s:.3f},{v}\n"), ["II"], "uV", 250, None),
    "words of another language": ("\u0412\u0440\u0435\u043c\u044f;\u042d\u041a\u0413\n" + lines("{s:.3f};{v}"),
                                  ["ECG (\u042d\u041a\u0413)"], "", 250, None),
    "volts in brackets": ("Tiempo (s)\tECG (V)\n" + lines("{s:.3f}\t{v}"), ["ECG"], "V", 250, None),
    "years first, between strokes": ("Zeit,II [uV]\n" + "".join(
        f"2011/3/02 04:05:{6 + i // 250:02}.{i % 250 * 4:03},{v}\n" for i, v in enumerate(VALUES)),
        ["II"], "uV", 250, WHEN.replace(tzinfo=UTC)),
    "clocks with colons alone": ("%time,II [uV]\n" + "".join(
        f"04:05:{6 + i // 250:02}:{i % 250 * 4:03},{v}\n" for i, v in enumerate(VALUES)), ["II"], "uV", 250, None),
    "filters before the rate": ("Low pass,40 Hz\n# Notch: 50 Hz\nSample Rate,250 hertz\nII [uV]\n" + lines("{v}"),
                                ["II"], "uV", 250, None),
    "filters in another language": ("Tiefpass: 150 Hz\nAbtastrate: 500 Hz\nII [uV]\n" + lines("{v}"),
                                    ["II"], "uV", 500, None),
    "a rate with a mark between thousands": ("Sampling rate: 1,000 Hz\nlead II [uV]\n" + lines("{v}"),
                                             ["lead II"], "uV", 1000, None),
    "spaces in names, wide ones between": ("time (s)  lead II (uV)\n" + lines("{s:.3f} {v}"),
                                           ["lead II"], "uV", 250, None),
    "spaces before units": ("t [ms] II [uV] V1 [uV]\n" + lines("{ms} {v} 1"), ["II", "V1"], "uV", 250, None),
    "names in a remark": ("# time [ms],II [uV],V1\n" + lines("{ms},{v},1"), ["II", "V1"], "uV", 250, None),
    "LabChart": ("Interval=\t0.004 s\nTimeFormat=\tStartOfBlock\n"
                 "ChannelTitle=\tII\tResp\nRange=\t500.000 uV\t10.000 V\n" + lines("{s:.3f}\t{v}\t0"),
                 ["II", "Resp"], "uV", 250, None),
    "a last lead that is lost at first": ("time,II [uV],V1\n" + lines("{s:.3f},{v},"), ["II", "V1"], "uV", 250, None),
    "dates and clocks apart": ("Datum;Zeit;EKG [uV]\n" + "".join(
        f"02.03.2011;4:05:{6 + i // 250:02},{i % 250 * 4:03};{commas(str(v))}\n" for i, v in enumerate(VALUES)),
        ["EKG"], "uV", 250, WHEN.replace(tzinfo=UTC)),
    "months first, in the morning": ("time,II [uV]\n" + "".join(
        f"03/02/2011 4:05:{6 + i // 250:02}.{i % 250 * 4:03} AM,{v}\n" for i, v in enumerate(VALUES)),
        ["II"], "uV", 250, WHEN.replace(tzinfo=UTC)),
    "twelve hours": ("time,II [uV]\n" + "".join(
        f"{12 if i < 500 else 1}:{59 if i < 500 else 0:02}:{(58 + i // 250) % 60:02}.{i % 250 * 4:03} p.m.,{v}\n"
        for i, v in enumerate(VALUES)), ["II"], "uV", 250, None),
    "samples that are values": ("time,sample\n" + lines("{s:.3f},{v}"), ["ECG (sample)"], "", 250, None),
    "a time's letter in a lead's name": ("time,S_ECG [uV]\n" + lines("{s:.3f},{v}"), ["S_ECG"], "uV", 250, None),
    "a rate in a remark": ("# Sampling rate: 360 Hz\n# unit = uV\nII V1\n" + lines("{v} 3"), ["II", "V1"], "uV", 360,
                           None),
}  # fmt: skip


@pytest.mark.parametrize("form", TEXTS)
def test_every_form_of_text_gives_leads_units_rate_start_and_samples(tmp_path, form):
    text, leads, unit, fs_hz, started = TEXTS[form]
    record = opened(write_text(tmp_path / "r.csv", text))
    assert (record.kind, record.leads, record.units[0], record.fs_hz(0)) == ("text", leads, unit, fs_hz)
    assert record.started == started and record.notes == ()
    scale = {"": 1.0, "mV": 1e-3, "V": 1e3}.get(unit, 1e-3)
    np.testing.assert_allclose(record.signals_mv([0])[0], VALUES * scale, atol=1e-9)


def test_marks_between_thousands_are_told_from_decimal_commas(tmp_path):
    """By a whole number above 99 in the same column; values of one column, and behind times."""
    counts = [1024 + 7 * (i % 90) - 400 for i in range(1500)]
    for text in ("".join(f"{count:,}\n" for count in counts),
                 "time_ms,ECG\n" + "".join(f'{4 * i},"{count:,}"\n' for i, count in enumerate(counts)),
                 "time_ms;ECG\n" + "".join(f"{4 * i};{count:,}\n" for i, count in enumerate(counts))):  # fmt: skip
        assert signals(write_text(tmp_path / "r.csv", text), fs_hz=250.0)[0].tolist() == counts
    rows = (f"{4 * i};{count // 1000},{count % 1000:03}\n" for i, count in enumerate(counts))
    decimals = write_text(tmp_path / "r.csv", "time_ms;ECG\n" + "".join(rows))
    np.testing.assert_allclose(signals(decimals)[0], np.array(counts) / 1000)


@pytest.mark.parametrize("name", ["ABP [mmHg]", "EEG C3 [uV]", "PPG (a.u.)", "RESP signal", "# ABP"])
def test_a_single_column_whose_name_says_that_it_is_no_ecg_is_none(tmp_path, name):
    record = opened(write_text(tmp_path / "r.csv", f"{name}\n" + lines("{v}")), fs_hz=250.0)
    assert record.leads == [name.strip("# ").split(" [")[0]] and not is_ecg(record.leads[0])
    assert is_no_ecg(record.leads[0])


def test_latin_letters_of_a_unit_are_read(tmp_path):
    record = opened(write_text(tmp_path / "r.csv", APPLE + lines("{v}"), "latin-1"))
    np.testing.assert_allclose(record.signals_mv([0])[0], VALUES / 1000)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_a_table_in_utf_16_is_read_as_it_is_in_utf_8(tmp_path, encoding):
    text = "Zeit [ms];EKG [\u00b5V]\r\n" + commas(lines("{ms};{v}")).replace("\n", "\r\n")
    record = opened(write_text(tmp_path / "r.csv", text.replace("Zeit", "time"), encoding))
    assert (record.leads, record.fs_hz(0)) == (["EKG"], 250)
    np.testing.assert_allclose(record.signals_mv([0])[0], VALUES / 1000)


@pytest.mark.parametrize("fs_hz", [20, 25, 50, 100, 125, 250, 360, 500, 1000])
@pytest.mark.parametrize("unit, scale, digits", [("s", 1, 6), ("ms", 1e3, 3), ("us", 1e6, 0), ("ns", 1e9, 0)])
def test_times_without_a_unit_are_those_of_an_ecg_or_not_taken(tmp_path, fs_hz, unit, scale, digits):
    """0.05 is 20 Hz in s and 20 kHz in ms; 1, 2, 3 are samples or ms. Told, any rate is read."""

    def written(name: str, start: float = 0.0) -> Path:
        rows = (f"{i / fs_hz * scale + start:.{digits}f},{v}\n" for i, v in enumerate(VALUES[:500]))
        return write_text(tmp_path / "r.csv", f"{name},ecg\n" + "".join(rows))

    if fs_hz <= 25 or (fs_hz, unit) == (1000, "ms"):
        refused(lambda: opened(written("time")), "--fs HZ", *["in a unit that is not told"] * (fs_hz <= 25))
    else:
        assert opened(written("time")).fs_hz(0) == pytest.approx(fs_hz, rel=1e-4)
    assert opened(written(f"time [{unit}]")).fs_hz(0) == pytest.approx(fs_hz, rel=1e-4)
    assert opened(written("time", 1_299_038_706 * scale)).fs_hz(0) == pytest.approx(fs_hz, rel=1e-4)  # since 1970


def test_a_sketch_for_the_ad8232_marks_leads_off(tmp_path):
    text = "".join("!\n" if 100 <= i < 110 else f"{512 + i % 50}\n" for i in range(1000))
    (signal,) = signals(write_text(tmp_path / "r.txt", text), fs_hz=200)
    assert len(signal) == 1000 and np.isnan(signal[100:110]).all() and np.isfinite(signal).sum() == 990
    assert signal[:3].tolist() == [512, 513, 514]


def test_the_users_word_on_rate_and_unit_is_taken(tmp_path):
    path = write_text(tmp_path / "r.csv", "a,b\n" + lines("{v},{i}"))
    refused(lambda: opened(path), path, "--fs HZ")
    record = opened(path, 800, "uV")
    assert record.fs_hz(1) == 800 and record.units == ["uV", "uV"]
    np.testing.assert_allclose(record.lead("2").signal_mv, np.arange(1500) / 1000)


def test_uneven_sampling_is_brought_to_its_rate_and_said(tmp_path):
    times_s = np.cumsum(RNG.uniform(0.5, 1.5, 2000)) / 250
    wave = np.sin(2 * np.pi * times_s)
    text = "time [s],ecg [mV]\n" + "".join(f"{t:.5f},{v:.5f}\n" for t, v in zip(times_s, wave))
    record = opened(write_text(tmp_path / "r.csv", text))
    (signal,) = record.signals_mv([0])
    at_s = times_s[0] + np.arange(len(signal)) / record.fs_hz(0)
    assert "sampled unevenly" in record.notes[0]
    np.testing.assert_allclose(signal, np.sin(2 * np.pi * at_s), atol=1e-3)


@pytest.mark.filterwarnings("error")
def test_times_that_are_lost_in_a_row_lie_between_their_neighbours():
    assert sampling.spread(np.array([0, np.nan, np.nan, 3, 3, 5])).tolist() == [0, 1, 2, 3, 4, 5]


def test_carriage_returns_alone_end_lines_as_old_spreadsheets_have_it(tmp_path):
    text = "time_ms,ecg [mV]\n" + lines("{ms},{v}")
    (expected,) = signals(write_text(tmp_path / "r.csv", text))
    (tmp_path / "cr.csv").write_bytes(text.replace("\n", "\r").encode())
    (found,) = signals(tmp_path / "cr.csv")
    assert found.tolist() == expected.tolist() and len(found) == len(VALUES)


@pytest.mark.parametrize("name", ["ecg [10 uV]", "ecg (10uV)", "ecg,10 uV"])
def test_a_unit_may_be_a_number_of_units(tmp_path, name):
    head = "time_ms,ecg\nms,10 uV\n" if "," in name else f"time_ms,{name}\n"
    (found,) = signals(write_text(tmp_path / "r.csv", head + lines("{ms},{v}")))
    np.testing.assert_allclose(found, np.array(VALUES, float) / 100)


@pytest.mark.parametrize(
    ("head", "told"),
    [("Sampling rate: 500 Hz\n", "500 Hz, 250 Hz by its times"), ("fs=100\nSample rate,250\n", "100 Hz, 250 Hz")],
)
def test_a_text_that_tells_two_rates_asks_for_one(tmp_path, head, told):
    path = write_text(tmp_path / "r.csv", head + "time_ms,ecg [mV]\n" + lines("{ms},{v}"))
    refused(lambda: opened(path), path, told, "--fs")
    assert opened(path, fs_hz=250).fs_hz(0) == 250


def test_a_rate_beside_that_of_the_times_is_none_of_its_own(tmp_path):
    path = write_text(tmp_path / "r.csv", "Sampling rate: 256 Hz\ntime_ms,ecg [mV]\n" + lines("{ms},{v}"))
    assert opened(path).fs_hz(0) == 250


@pytest.mark.parametrize("empty", [2, 500, 50_000])
def test_empty_bytes_at_the_end_are_no_line_and_are_told(tmp_path, empty):
    path = write_text(tmp_path / "r.csv", "time_ms,ecg [mV]\n" + lines("{ms},{v}"))
    path.write_bytes(path.read_bytes() + bytes(empty))
    record = opened(path)
    assert record.notes == (f"it ends with {empty:,} empty bytes: cut off while it was written?",)
    assert record.signals_mv([0])[0].tolist() == list(VALUES)


def test_hundreds_of_lines_may_stand_before_the_table_and_names_and_units_in_quotes(tmp_path):
    head = "".join(f"setting {i}: off\n" for i in range(700)) + '"time","ecg II"\n"ms","uV"\n'
    record = opened(write_text(tmp_path / "r.csv", head + lines('"{ms}","{v}"')))
    assert (record.leads, record.units, record.fs_hz(0)) == (["ecg II"], ["uV"], 250)


def test_gaps_between_times_are_missing_samples(tmp_path):
    places = [*range(500), *range(1500, 2000)]
    text = "time_ms,ecg [mV]\n" + "".join(f"{4 * i},{i % 100}\n" for i in places)
    record = opened(write_text(tmp_path / "r.csv", text))
    (signal,) = record.signals_mv([0])
    assert record.fs_hz(0) == 250 and "1 gaps" in record.notes[0] and len(signal) == 2000
    assert signal[[0, 7, 499, 1500, 1999]].tolist() == [0, 7, 99, 0, 99] and np.isnan(signal[505:1495]).all()


def test_a_year_between_two_samples_is_no_year_of_memory(tmp_path):
    text = "time,ecg\n" + "".join(f"{i * 0.004 + 3.15e7 * (i > 500)},1\n" for i in range(1000))
    path = write_text(tmp_path / "r.csv", text)
    refused(lambda: opened(path), path, "cut it at the gaps")


def test_clocks_go_on_after_midnight(tmp_path):
    text = "time,ecg [mV]\n" + "".join(
        f"{(86399 * 250 + i) // 250 // 3600 % 24:02}:{(86399 * 250 + i) // 250 // 60 % 60:02}:"
        f"{(86399 * 250 + i) / 250 % 60:06.3f},{i}\n"
        for i in range(600)
    )
    record = opened(write_text(tmp_path / "r.csv", text))
    assert record.fs_hz(0) == 250 and record.signals_mv([0])[0].tolist() == list(range(600)) and record.notes == ()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("time,ecg\n" + "".join(f"{i % 50},1\n" for i in range(500)), "go back"),
        ("Dear reader,\nthis is a letter.\n", TAKEN),
        ("<xml>\n<a/>\n</xml>\n", TAKEN),
        ("x" * 100_000, TAKEN),
        ("time\n" + "".join(f"{i * 4}\n" for i in range(500)), "times alone"),
        ("time_ms,ecg\n" + lines("{ms},{v}") + "half a line\n", "line 1502"),
    ],
)
def test_text_that_is_no_record_is_refused_in_a_line(tmp_path, text, reason):
    path = write_text(tmp_path / "r.csv", text)
    refused(lambda: signals(path), path, reason)


# Which format --------------------------------------------------------------------------------------------------------


def test_a_file_of_no_format_is_refused_with_those_that_are_taken(tmp_path):
    aecg = b'<?xml version="1.0"?>\n<AnnotatedECG xmlns="urn:hl7-org:v3">\n<digits>1 2 3</digits>\n</AnnotatedECG>\n'
    scp = b"\x12\x34\x88\x13\0\0" + bytes(10) + b"SCPECG" + bytes(100)
    for content in (b"", b"\0\1\2", b"PK\3\4\0", b"{}", b"ANN  1.0\0", aecg, scp):
        path = tmp_path / "r.edf"
        path.write_bytes(content)
        assert kind_of(path) is None
        refused(lambda path=path: opened(path), path, TAKEN)


def test_results_of_predict_are_no_records(tmp_path):
    path = write_text(tmp_path / "r.csv", "sample,time_s,class,p_N,p_S\n1,0.1,N,1,0\n")
    assert kind_of(path) is None


@pytest.mark.parametrize("told", [{"fs_hz": 100.0}, {"unit": "mV"}])
def test_a_setting_for_text_has_no_meaning_for_others(tmp_path, told):
    path = write_edf(tmp_path / "r.edf", COUNTS, 250, ["I", "II"])
    refused(lambda: open_any(path, TextSettings(**told), told=True), path, "has no meaning", "EDF")
    assert open_any(path, TextSettings(**told)).fs_hz(0) == 250


def test_spoiled_files_end_in_a_line_or_a_record(tmp_path):
    rng = np.random.default_rng(5)
    makers = [
        lambda path: write_edf(path, COUNTS, 250, ["I", "II"], onsets_s=range(4), plus="EDF+D"),
        lambda path: write_ishne(path, COUNTS, leads=(5, 6), crc=0),
        lambda path: write_atc(path, {"ecg ": COUNTS[:, 0]}),
        lambda path: write_text(path, POLAR),
    ]
    for number in range(120):
        path = makers[number % len(makers)](tmp_path / "r.bin")
        data = bytearray(path.read_bytes())
        for place in rng.integers(0, min(len(data), 1500), 3):
            data[place] = rng.integers(0, 256)
        path.write_bytes(data)
        try:
            signals(path)
        except formats.DeepECGError as error:
            assert str(error).isprintable()


# Files of public readers ---------------------------------------------------------------------------------------------


@needs_samples
def test_a_recorders_edf_and_its_csv_are_the_same_signal():
    table, file = (opened(SAMPLES / "contec.csv", 800, "mV"), opened(SAMPLES / "contec.edf"))
    assert file.fs_hz(0) == 800 and file.leads[:6] == "I II III aVR aVL aVF".split()
    assert file.started == datetime(2020, 11, 16, 21, 44, 39)
    in_steps = [(signal_mv + 1000) / 2000 * 65535 - 32768 for signal_mv in file.signals_mv(file.leads[:6])]
    np.testing.assert_allclose(np.stack(in_steps), np.stack(table.signals_mv(range(6))), atol=1e-6)


@needs_samples
def test_the_leads_of_a_holter_file_keep_einthovens_law():
    record = opened(SAMPLES / "ECG_P28.01.ecg")
    assert (record.leads[:6], record.fs_hz(0)) == ("I II III aVR aVL aVF".split(), 1000)
    lead_i, lead_ii, lead_iii, avr = record.signals_mv([0, 1, 2, 3])
    assert len(lead_i) == 95_573
    assert np.abs(lead_i + lead_iii - lead_ii).max() <= 0.03 and np.abs(avr + (lead_i + lead_ii) / 2).max() <= 0.03


@needs_samples
def test_a_dicom_waveform_is_what_its_package_gives():
    pydicom = pytest.importorskip("pydicom", reason="pydicom (requirements-dicom.txt) is not installed")
    record = opened(SAMPLES / "waveform_ecg.dcm")
    expected_uv = pydicom.dcmread(SAMPLES / "waveform_ecg.dcm").waveform_array(0)
    np.testing.assert_allclose(np.transpose(record.signals_mv(range(12))), expected_uv / 1000)
    assert record.started == datetime(2013, 1, 25, 10, 59, 19)
