"""EC57 beat by beat: the figures of the reference implementation, and cases worked out by hand from the rules.

The reference implementation is `bxb` and `sumstats` of the WFDB Software Package; rules: its manual page and
G. B. Moody, "Evaluating ECG Analyzers". Cases are at 360 Hz unless they say otherwise: the window is 54 samples and
scoring starts at sample 108000.
"""

import json
import math
import re
from pathlib import Path

import edfio
import numpy as np
import pytest
import wfdb

import main
from config import DS1
from deep_ecg.labelling.annotations import write_annotations
from deep_ecg.labelling.labelled import Labelled
from deep_ecg.records.wfdb_files import Record
from deep_ecg.scoring import ec57
from deep_ecg.system.errors import DeepECGError
from deep_ecg.system.text import SYNTHETIC_LINE

FS_HZ = 360
START = 108_000
LENGTH = 650_000
ROWS, COLUMNS = ec57.ROWS, ec57.COLUMNS


def marks(*annotations: tuple, fs_hz: float = FS_HZ) -> ec57.Marks:
    """Marks of annotations (sample, symbol) or (sample, symbol, subtype)."""
    filled = [(*annotation, 0)[:3] for annotation in annotations]
    return ec57.parse_marks(*(list(column) for column in zip(*filled)), window=ec57.to_samples(0.15, fs_hz))


def counts(reference: ec57.Marks, test: ec57.Marks, fs_hz: float = FS_HZ, length: int | None = LENGTH) -> dict:
    """The cells of the matrix that are not zero, named as in the standard: Nn, So, Xv ..."""
    matrix, _ = ec57.compare(reference, test, fs_hz, length)
    return {ROWS[row] + COLUMNS[column]: int(matrix[row, column]) for row, column in zip(*np.nonzero(matrix))}


def rr_errors(reference: ec57.Marks, test: ec57.Marks) -> list[int]:
    """Differences of the RR intervals compared, without sign, in samples."""
    return [abs(a - b) for a, b in ec57.compare(reference, test, FS_HZ, LENGTH)[1]]


# The reference implementation ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def golden_report(mitdb, ec57_golden) -> dict:
    """The report of the 22 DS1 records."""
    return ec57.score_records([str(mitdb / name) for name in DS1], "tst", test_folder=ec57_golden)


def printed(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def golden_matrices(folder: Path) -> dict[str, dict]:
    """Of each record: the rows of its matrix, the lines of percentages as (percent, count, of), and the RR error."""
    parts = (folder / "bxb_matrices.txt").read_text().split("comparison results for record ")[1:]
    return {
        part.split()[0]: {
            "rows": {row: [int(n) for n in cells.split()] for row, cells in re.findall(r"^ (\w) \|(.*)$", part, re.M)},
            "measures": re.findall(r"(?:sensitivity|predictivity): +([\d.-]+)%? +\((\d+)/(\d+)\)", part),
            "rr_error": re.search(r"RR interval error: +([\d.]+) ms", part)[1],
        }
        for part in parts
    }


def test_matrices_of_the_reference_implementation(golden_report, ec57_golden):
    golden = golden_matrices(ec57_golden)
    assert sorted(golden) == sorted(DS1) == sorted(record["record"] for record in golden_report["records"])
    for record in golden_report["records"]:
        expected = golden[record["record"]]
        assert list(expected["rows"]) == golden_report["rows"]
        for row, cells in zip(record["matrix"], expected["rows"].values()):
            assert row == cells + [0] * (7 - len(cells)), record["record"]
        found = [(printed(m["percent"]), str(m["count"]), str(m["of"])) for m in record["measures"].values()]
        assert found == expected["measures"], record["record"]
        assert printed(record["rr_error_ms"]) == expected["rr_error"], record["record"]


def table_7(matrix: np.ndarray) -> list[int]:
    """The 19 counts of EC57's line format: f, q count with n, Q with F, X with O and x with o, where they add up."""
    n, s, v, f, q, o, x = range(7)
    like_n = matrix[:, n] + matrix[:, f] + matrix[:, q]
    missed = matrix[:, o] + matrix[:, x]
    merged = {N: [N] for N in (n, s, v)} | {"F": [f, q], "O": [o, x]}
    columns = [(like_n, merged.values()), (matrix[:, s], merged.values()), (matrix[:, v], merged.values())]
    columns.append((missed, list(merged.values())[:4]))
    return [int(sum(column[row] for row in rows)) for column, groups in columns for rows in groups]


def test_line_format_of_the_reference_implementation(golden_report, ec57_golden):
    lines = [line.split() for line in (ec57_golden / "bxb_table7.txt").read_text().splitlines()[1:]]
    assert len(lines) == 22
    for record, line in zip(golden_report["records"], lines):
        rates = [printed(measure["percent"]) for measure in record["measures"].values()]
        counted = [str(count) for count in table_7(np.array(record["matrix"]))]
        assert [record["record"], *counted, *rates, printed(record["rr_error_ms"])] == line


def test_shutdown_table_of_the_reference_implementation(golden_report, ec57_golden):
    lines = [line.split() for line in (ec57_golden / "bxb_table8.txt").read_text().splitlines()[2:]]
    assert len(lines) == 22
    for record, line in zip(golden_report["records"], lines):
        missed = [str(row[COLUMNS.index("x")]) for row in record["matrix"][:5]]
        rates = [printed(record["missed_in_shutdown"][name]["percent"]) for name in ("beats", "N", "S", "V", "F")]
        totals = [str(count) for count in record["beats"].values()]
        assert [record["record"], *missed, *rates, str(record["shutdown_s"]), "seconds", *totals] == line


def test_gross_and_average_of_the_reference_implementation(golden_report, ec57_golden):
    lines = [line.split() for line in (ec57_golden / "sumstats.txt").read_text().splitlines()]
    expected = {line[0]: line[1:] for line in lines if line and line[0] in ("Sum", "Gross", "Average", "Total")}
    gross, average = golden_report["gross"], golden_report["average"]
    assert [str(count) for count in table_7(np.array(gross["matrix"]))] == expected["Sum"]
    assert [printed(measure["percent"]) for measure in gross["measures"].values()] == expected["Gross"]
    assert [printed(value) for value in average.values()] == expected["Average"]
    totals = [gross["measures"][f"{kind}_se"]["of"] for kind in ("qrs", "veb", "sveb")]
    assert totals == [int(word) for word in expected["Total"] if word.isdigit()]


def test_a_file_against_itself_is_perfect_and_counts_every_beat(mitdb):
    [record] = ec57.score_records([str(mitdb / "207")], "atr")["records"]
    reference = wfdb.rdann(str(mitdb / "207"), "atr")
    beats = np.isin(reference.symbol, list("NLRAVE")) & (reference.sample >= START)
    assert np.count_nonzero(record["matrix"]) == np.count_nonzero(np.diag(record["matrix"])) == 3
    assert np.trace(record["matrix"]) == beats.sum() and record["rr_error_ms"] == 0


# Classes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, symbols", [("N", "NLRB"), ("S", "aAJSejn"), ("V", "VrE"), ("F", "F"), ("Q", "/fQ?")]
)  # escape beats are supraventricular here, unlike in the literature on DS1 and DS2
def test_classes_of_the_symbols(name, symbols):
    beats = marks(*((START + 500 * k, symbol) for k, symbol in enumerate(symbols)))
    assert beats.classes == [name] * len(symbols)
    assert counts(beats, beats) == {name + name.lower(): len(symbols)}


def test_marks_that_are_no_beats_are_passed_over():
    others = [(START + 500 + k, symbol) for k, symbol in enumerate('+|"xspt()~TD=^')]
    assert marks((START, "N"), *others, (START + 900, "V")) == marks((START, "N"), (START + 900, "V"))


# Pairing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shift", [-54, -1, 0, 54])
def test_beats_within_150_ms_are_the_same_beat(shift):
    assert counts(marks((200_000, "V")), marks((200_000 + shift, "N"))) == {"Vn": 1}


@pytest.mark.parametrize("shift", [-55, 55])
def test_beats_further_apart_are_a_missed_and_an_extra_one(shift):
    assert counts(marks((200_000, "V")), marks((200_000 + shift, "N"))) == {"Vo": 1, "On": 1}


@pytest.mark.parametrize("fs_hz, window", [(250, 38), (150, 23), (128, 19), (1000, 150)])
def test_the_window_is_rounded_half_up_at_other_rates(fs_hz, window):  # 37.5, 22.5, 19.2 and 150 samples
    reference = marks((400 * fs_hz, "N"))
    assert counts(reference, marks((400 * fs_hz + window, "N")), fs_hz, 500 * fs_hz) == {"Nn": 1}
    assert counts(reference, marks((400 * fs_hz + window + 1, "N")), fs_hz, 500 * fs_hz) == {"No": 1, "On": 1}


def test_of_two_test_beats_the_nearer_one_is_taken():
    reference = marks((200_000, "N"))
    assert counts(reference, marks((199_970, "V"), (200_010, "S"))) == {"Ns": 1, "Ov": 1}
    assert counts(reference, marks((199_990, "V"), (200_030, "S"))) == {"Nv": 1, "Os": 1}


def test_of_two_reference_beats_the_nearer_one_is_found():
    test = marks((200_000, "N"))
    assert counts(marks((199_970, "V"), (200_010, "S")), test) == {"Sn": 1, "Vo": 1}
    assert counts(marks((199_990, "V"), (200_030, "S")), test) == {"Vn": 1, "So": 1}


def test_on_a_tie_the_later_beat_is_taken():
    assert counts(marks((200_000, "N")), marks((199_980, "V"), (200_020, "S"))) == {"Ns": 1, "Ov": 1}
    assert counts(marks((199_980, "V"), (200_020, "S")), marks((200_000, "N"))) == {"Sn": 1, "Vo": 1}


def test_a_rival_that_has_a_nearer_beat_of_its_own_does_not_count():
    """The example of bxb's description: a window of 37 samples, and the second reference beat 32 from the first test
    beat but 25 from the second, so that it is no rival of the first reference beat, also 32 away.
    """
    assert list(ec57.pair_beats([96, 160], [128, 185], 37, 0, 1000)) == [(0, 0, True, True), (1, 1, True, True)]
    assert list(ec57.pair_beats([128, 185], [96, 160], 37, 0, 1000)) == [(0, 0, True, True), (1, 1, True, True)]


def test_swapping_the_files_transposes_the_matrix():
    """Beats 200 samples apart and more, jitter below 20, one in eight left out: no ties and no rivals."""
    rng = np.random.default_rng(7)
    samples = START + 1000 + np.cumsum(rng.integers(200, 400, 400))
    draw = [
        marks(*((int(s + rng.integers(-19, 20)), rng.choice(list("NSVFQ"))) for s in samples if rng.random() < 0.875))
        for _ in range(2)
    ]
    there, _ = ec57.compare(*draw, FS_HZ, LENGTH)
    back, _ = ec57.compare(*draw[::-1], FS_HZ, LENGTH)
    assert there[:5, :5].sum() > 250 and there[5].sum() > 20 and there[:, 5].sum() > 20
    assert np.array_equal(there, back.T)


# Start and end ---------------------------------------------------------------------------------------------------


def test_the_first_five_minutes_are_not_scored():
    reference = marks((1000, "N"), (START - 500, "N"), (START, "V"), (START + 500, "N"))
    test = marks((3000, "S"), (START - 900, "V"), (START, "V"), (START + 500, "N"))
    assert counts(reference, test) == {"Vv": 1, "Nn": 1}


def test_a_test_beat_just_before_the_start_can_be_the_first_beat():
    reference = marks((START + 10, "V"), (START + 500, "N"))
    assert counts(reference, marks((START - 20, "V"), (START + 500, "N"))) == {"Vv": 1, "Nn": 1}
    assert counts(reference, marks((START - 20, "V"), (START + 12, "S"), (START + 500, "N"))) == {"Vs": 1, "Nn": 1}
    assert counts(reference, marks((START - 44, "V"), (START + 500, "N"))) == {"Vv": 1, "Nn": 1}
    assert counts(reference, marks((START - 45, "V"), (START + 500, "N"))) == {"Vo": 1, "Nn": 1}  # 55 samples away


def test_a_test_beat_just_after_the_start_can_belong_to_a_beat_before_it():
    reference = marks((START - 20, "N"), (START + 300, "N"))
    assert counts(reference, marks((START + 10, "V"), (START + 300, "N"))) == {"Nn": 1}
    assert counts(reference, marks((START + 54, "V"), (START + 300, "N"))) == {"Nn": 1}
    assert counts(reference, marks((START + 55, "V"), (START + 300, "N"))) == {"Nn": 1, "Ov": 1}


def test_beats_at_the_end_of_the_record():
    reference = marks((LENGTH - 800, "N"), (LENGTH - 5, "V"))
    assert counts(reference, marks((LENGTH - 800, "N"), (LENGTH + 10, "V"))) == {"Nn": 1, "Vv": 1}
    assert counts(reference, marks((LENGTH - 800, "N"))) == {"Nn": 1, "Vo": 1}
    after_it = marks((LENGTH - 800, "N"), (LENGTH - 5, "V"), (LENGTH, "S"))
    assert counts(reference, after_it) == {"Nn": 1, "Vv": 1, "Os": 1}


def test_beats_after_the_end_of_the_record_are_not_scored():
    reference = marks((LENGTH - 800, "N"), (LENGTH + 100, "V"))
    assert counts(reference, marks((LENGTH - 800, "N"), (LENGTH + 100, "V"))) == {"Nn": 1}


def test_where_the_length_is_unknown_the_last_reference_beat_is_the_end():
    reference, test = marks((200_000, "N")), marks((200_000, "N"), (200_500, "V"))
    assert counts(reference, test, length=None) == {"Nn": 1}
    assert counts(reference, test) == {"Nn": 1, "Ov": 1}


def test_no_beats_at_all():
    empty = ec57.Marks()
    assert counts(empty, empty) == {}
    assert counts(marks((200_000, "N"), (201_000, "V")), empty) == {"No": 1, "Vo": 1}
    assert counts(empty, marks((200_000, "N"), (201_000, "V"))) == {"On": 1, "Ov": 1}


def test_only_beats_in_the_stretches_that_count_are_counted():
    """By the place of the reference beat where there is one: the pair across the border counts, its extra beat not."""
    reference = marks((200_000, "N"), (201_000, "V"), (202_000, "S"), (203_000, "N"))
    test = marks((200_000, "N"), (201_020, "V"), (201_400, "N"), (203_000, "V"))
    matrix, intervals = ec57.compare(reference, test, FS_HZ, LENGTH, [(201_000, 201_000), (202_000, 203_000)])
    assert {ROWS[i] + COLUMNS[j]: int(matrix[i, j]) for i, j in zip(*np.nonzero(matrix))} == {"Vv": 1, "So": 1, "Nv": 1}
    assert intervals == ec57.compare(reference, test, FS_HZ, LENGTH)[1]


# Flutter and unreadable signal -----------------------------------------------------------------------------------


def test_test_beats_in_flutter_of_the_reference_are_not_counted():
    reference = marks(
        (200_000, "N"), (201_000, "["), (201_100, "!"), (201_200, "V"), (201_300, "!"), (202_000, "]"), (202_500, "N")
    )
    test = marks(*((sample, "V") for sample in (200_000, 201_000, 201_210, 202_000, 202_200, 202_500)))
    assert reference.samples == [200_000, 202_500]
    assert counts(reference, test) == {"Nv": 2, "Ov": 1}  # the one at 202200 lies outside


def test_beats_in_flutter_of_the_test_file_are_not_there():
    test = marks((200_000, "N"), (201_000, "["), (201_500, "N"), (202_000, "]"), (202_500, "N"))
    assert counts(marks(*((s, "N") for s in (200_000, 201_500, 202_500))), test) == {"Nn": 2, "No": 1}


def test_flutter_without_an_end_lasts_to_the_end():
    reference = marks((200_000, "N"), (201_000, "["), (202_000, "V"))
    assert counts(reference, marks((200_000, "N"), (202_000, "V"), (640_000, "V"))) == {"Nn": 1}


def test_a_flutter_wave_outside_of_flutter_is_no_beat():
    assert counts(marks((200_000, "!")), marks((200_010, "V"))) == {"Ov": 1}
    assert counts(marks((200_000, "V")), marks((200_010, "!"))) == {"Vo": 1}
    assert counts(marks((200_000, "!")), marks((210_000, "!"))) == {}
    near_a_beat = marks((200_000, "!"), (200_060, "V"))  # but the beat at 200010 is paired with it
    assert counts(near_a_beat, marks((200_010, "V"))) == {"Ov": 1, "Vo": 1}


def test_beats_missed_while_the_test_file_was_shut_down():
    reference = marks(*((sample, "NVN"[k]) for k, sample in enumerate((200_000, 201_000, 202_000))))
    test = marks((200_000, "N"), (200_500, "~", -1), (201_500, "~", 0), (203_000, "N"))
    assert counts(reference, test) == {"Nn": 1, "Vx": 1, "No": 1, "On": 1}
    matrix, _ = ec57.compare(reference, test, FS_HZ, LENGTH)
    missed = ec57.missed_in_shutdown(matrix)
    assert missed == {"beats": (1, 3), "N": (0, 2), "S": (0, 0), "V": (1, 1), "F": (0, 0)}
    assert ec57.measures(matrix)["qrs_se"] == (1, 3)  # missed is missed
    assert ec57.measures(matrix)["veb_se"] == (0, 1)


def test_a_beat_found_in_spite_of_a_shutdown_is_found():
    test = marks((199_500, "~", -1), (200_010, "V"), (200_500, "~", 0))
    assert counts(marks((200_000, "V")), test) == {"Vv": 1}


def test_test_beats_where_the_reference_is_unreadable_are_extra_all_the_same():
    reference = marks((200_000, "N"), (200_500, "~", -1), (201_500, "~", 1), (202_000, "N"))
    test = marks((200_000, "N"), (201_000, "V"), (201_600, "S"), (202_000, "N"))
    assert counts(reference, test) == {"Nn": 2, "Xv": 1, "Os": 1}
    rates = ec57.measures(ec57.compare(reference, test, FS_HZ, LENGTH)[0])
    assert rates["qrs_ppv"] == (2, 4) and rates["veb_ppv"] == (0, 1) and rates["sveb_ppv"] == (0, 1)


@pytest.mark.parametrize("subtype, unreadable", [(-1, True), (0x30, True), (0x33, True), (0x13, False), (1, False)])
def test_unreadable_means_both_signals(subtype, unreadable):
    reference = marks((200_000, "N"), (200_500, "~", subtype), (201_500, "~", 0), (202_000, "N"))
    test = marks((200_000, "N"), (201_000, "V"), (202_000, "N"))
    assert counts(reference, test) == {"Nn": 2, "Xv" if unreadable else "Ov": 1}


def test_a_lone_mark_of_unreadable_signal_lasts_from_beat_to_beat_less_a_window_each():
    reference = marks((200_000, "N"), (201_000, "~", -1), (202_000, "N"))
    assert reference.shutdowns == [(200_054, 201_946)]
    after_flutter = marks((200_000, "N"), (200_300, "["), (200_400, "]"), (201_000, "~", -1), (202_000, "N"))
    assert after_flutter.shutdowns == [(200_454, 201_946)]
    assert marks((200_000, "N"), (200_010, "~", -1), (200_030, "N")).shutdowns == []  # no room for it


def test_stretches_are_put_together():
    """By hand; (9, 7) holds no sample, and ends count as within."""
    stretches = [(20, 30), (1, 5), (9, 7), (5, 6), (2, 3), (40, 40)]
    assert ec57.disjoint(stretches) == [(1, 6), (20, 30), (40, 40)]
    inside = [sample for sample in range(45) if ec57.within(sample, ec57.disjoint(stretches))]
    assert inside == [*range(1, 7), *range(20, 31), 40]


def test_seconds_of_shutdown():
    test = marks((1000, "~", -1), (1900, "~", 0), (200_000, "~", -1), (200_756, "~", 0))
    assert ec57.shutdown_s(test, FS_HZ, LENGTH) == 5  # 2.5 s and 2.1 s
    unended = marks((LENGTH - 720, "~", -1))
    assert (ec57.shutdown_s(unended, FS_HZ, LENGTH), ec57.shutdown_s(unended, FS_HZ, None)) == (2, 0)
    assert counts(marks((LENGTH - 360, "N")), unended) == {"Nx": 1}


# RR intervals ----------------------------------------------------------------------------------------------------


def regular(*left_out: int, count: int = 5) -> list[tuple]:
    """Beats one second apart, the first one second after the start."""
    return [(START + 360 * (k + 1), "N") for k in range(count) if k not in left_out]


def test_rr_intervals_of_the_same_beats():
    shifted = [(sample + 6 * (-1) ** k, "N") for k, (sample, _) in enumerate(regular())]
    assert rr_errors(marks(*regular()), marks(*shifted)) == [12, 12, 12, 12]  # none ends at the first beat
    assert ec57.rms_error_ms([(360, 348), (360, 372)], FS_HZ) == pytest.approx(1000 * 12 / 360)


def test_a_missed_and_an_extra_beat_count_twice_in_the_rr_error():
    assert rr_errors(marks(*regular()), marks(*regular(2))) == [0, 360, 360, 0]
    with_extra = sorted([*regular(), (START + 720 + 180, "N")])
    assert rr_errors(marks(*regular()), marks(*with_extra)) == [0, 180, 180, 0, 0]
    compared = ec57.compare(marks(*regular()), marks(*regular(2)), FS_HZ, LENGTH)[1]
    assert ec57.rms_error_ms(compared, FS_HZ) == pytest.approx(1000 * math.sqrt(2 / 4))


def test_the_interval_before_the_first_scored_beat_counts_where_both_files_have_one():
    before = (START - 300, "N")
    assert rr_errors(marks(before, *regular()), marks((START - 310, "N"), *regular())) == [10, 0, 0, 0, 0]


@pytest.mark.parametrize("delay", [0, 100])
@pytest.mark.parametrize("begin, subtype, end", [("~", -1, "~"), ("[", 0, "]")])
def test_no_interval_across_unreadable_signal_or_flutter(begin, subtype, end, delay):
    third, fourth = START + 3 * 360, START + 4 * 360
    stretch = [(third + delay, begin, subtype), (third + 200, end, 0)]
    broken = sorted([*((*beat, 0) for beat in regular()), *stretch], key=lambda annotation: annotation[0])
    shifted = marks(*((sample + 20 * (sample >= fourth), "N") for sample, _ in regular()))
    assert rr_errors(marks(*regular()), shifted) == [0, 0, 20, 0]
    assert rr_errors(marks(*broken), shifted) == rr_errors(shifted, marks(*broken)) == [0, 0, 0]


def test_no_interval_after_the_end_of_either_file():
    assert rr_errors(marks(*regular()), marks(*regular(3, 4))) == [0, 0]
    assert rr_errors(marks(*regular(3, 4)), marks(*regular())) == [0, 0]


# Measures --------------------------------------------------------------------------------------------------------


def a_matrix() -> np.ndarray:
    """Every cell another power of two, so that each sum tells which cells it took."""
    matrix = np.zeros((7, 7), object)
    cells = [(row, column) for row in range(7) for column in range(7) if min(row, column) < 5]
    for k, cell in enumerate(cells):
        matrix[cell] = 2**k
    return matrix


def cells(*names: str) -> int:
    matrix = a_matrix()
    return sum(matrix[ROWS.index(name[0]), COLUMNS.index(name[1])] for name in names)


def test_measures_take_the_cells_of_the_standard():
    rates = ec57.measures(a_matrix())
    found = [row + column for row in "NSVFQ" for column in "nsvfq"]
    missed = [row + column for row in "NSVFQ" for column in "ox"]
    extra = [row + column for row in "OX" for column in "nsvfq"]
    assert rates["qrs_se"] == (cells(*found), cells(*found, *missed))
    assert rates["qrs_ppv"] == (cells(*found), cells(*found, *extra))
    assert rates["veb_se"] == (cells("Vv"), cells("Vn", "Vs", "Vv", "Vf", "Vq", "Vo", "Vx"))
    assert rates["veb_ppv"] == (cells("Vv"), cells("Vv", "Nv", "Sv", "Ov", "Xv"))  # not Fv, Qv
    assert rates["sveb_se"] == (cells("Ss"), cells("Sn", "Ss", "Sv", "Sf", "Sq", "So", "Sx"))
    assert rates["sveb_ppv"] == (cells("Ss"), cells("Ss", "Ns", "Vs", "Fs", "Os", "Xs"))  # not Qs


def test_figures_over_records_leave_out_fusion_beats_called_s():
    over_records = ec57.measures(a_matrix(), aggregate=True)
    assert over_records["sveb_ppv"] == (cells("Ss"), cells("Ss", "Ns", "Vs", "Os", "Xs"))
    assert {**over_records, "sveb_ppv": None} == {**ec57.measures(a_matrix()), "sveb_ppv": None}


def score(name: str, rr_error_ms: float | None = None, synthetic: bool = False, **cells: int) -> ec57.Score:
    matrix = np.zeros((7, 7), int)
    for cell, count in cells.items():
        matrix[ROWS.index(cell[0]), COLUMNS.index(cell[1])] = count
    return ec57.Score(name, 360.0, matrix, rr_error_ms, 10, 0, synthetic)


def test_gross_adds_beats_and_average_takes_the_mean_over_records_where_it_is_defined():
    a, b, c = score("a", 100.0, Nn=90, No=10, Vv=1, Vn=1), score("b", 300.0, Nn=100), score("c", Nn=200, Ov=2)
    report = ec57.build_report([a, b, c], "pred", "atr")
    gross, average = report["gross"]["measures"], report["average"]
    assert gross["qrs_se"] == {"count": 392, "of": 402, "percent": pytest.approx(100 * 392 / 402)}
    assert average["qrs_se"] == pytest.approx((100 * 92 / 102 + 100 + 100) / 3)
    assert gross["veb_se"]["percent"] == average["veb_se"] == 50  # b and c have no VEB
    assert average["veb_ppv"] == pytest.approx((100 + 0) / 2)  # in b no beat was called one
    assert average["rr_error_ms"] == pytest.approx(200)
    assert gross["sveb_se"] == {"count": 0, "of": 0, "percent": None} and average["sveb_se"] is None
    text = ec57.render(report, matrices=True)
    assert "nan" not in text.lower() and "None" not in text
    assert re.search(r"^b +100 +100.00 +100.00 +0 +- +- +0 +- +- +300.00$", text, re.M)
    assert text.count("rows reference") == 4 and SYNTHETIC_LINE not in text


def test_a_synthetic_record_is_said_to_be_one():
    report = ec57.build_report([score("a", Nn=1), score("b", synthetic=True, Nn=1)], "pred", "atr")
    assert report["synthetic"] and ec57.render(report).startswith(SYNTHETIC_LINE)


# The command -----------------------------------------------------------------------------------------------------


def write_files(folder: Path, name: str, fs_hz: float, length: int, **files: list[tuple]) -> str:
    """A record without its signal, and annotation files of (sample, symbol); returns its path."""
    (folder / f"{name}.hea").write_text(f"{name} 1 {fs_hz} {length}\n{name}.dat 16 200 16 0 0 0 0 MLII\n")
    for extension, annotations in files.items():
        samples, symbols = zip(*annotations)
        wfdb.wrann(name, extension, np.array(samples), list(symbols), write_dir=str(folder))
    return str(folder / name)


def at(fs_hz: float, *beats: tuple[float, str]) -> list[tuple[int, str]]:
    return [(round(time_s * fs_hz), symbol) for time_s, symbol in beats]


BEATS = ((299.0, "N"), (301.0, "N"), (302.0, "e"), (303.0, "V"), (304.0, "F"), (305.0, "/"))


def test_score_of_a_record_at_another_rate_with_test_annotations_elsewhere(tmp_path, capsys):
    record = write_files(tmp_path, "r", 250, 310 * 250, atr=at(250, *BEATS))
    (tmp_path / "other").mkdir()
    found = [(time_s + 0.1, {"e": "S", "/": "Q"}.get(symbol, symbol)) for time_s, symbol in BEATS]
    samples, symbols = zip(*at(1000, *found))  # in milliseconds, which the file states
    wfdb.wrann("r", "pred", np.array(samples), list(symbols), fs=1000, write_dir=str(tmp_path / "other"))
    arguments = f"--test-ann pred --test-dir {tmp_path / 'other'} --json {tmp_path / 'new' / 'r.json'}".split()
    for file in (record, f"{record}.atr", f"{record}.hea"):
        assert main.main(["score", str(file), *arguments]) == 0
        printed_text, errors = capsys.readouterr()
    assert "100.00" in printed_text and errors == ""
    report = json.loads((tmp_path / "new" / "r.json").read_text())
    assert report["records"][0]["matrix"] == np.diag([1, 1, 1, 1, 1, 0, 0]).tolist()
    assert report["records"][0]["rr_error_ms"] == pytest.approx(0)
    assert (report["reference"], report["test"], report["not_scored"]) == ("atr", "pred", [])
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["r.json"]


def test_score_of_segments_with_frames_is_that_of_one_segment(tmp_path):
    """Frames of a second that hold 250 samples of the lead: annotations of 250 Hz, in two segments of 155 frames."""
    lines = "{0} 1 1 155\n{0}.dat 16x250 200 16 0 0 0 0 MLII\n"
    found = [(time_s, "N" if symbol == "V" else symbol) for time_s, symbol in BEATS]
    record = Path(write_files(tmp_path, "r", 250, 310 * 250))
    for extension, beats in (("atr", BEATS), ("pred", found)):
        samples, symbols = zip(*at(250, *beats))
        wfdb.wrann("r", extension, np.array(samples), list(symbols), fs=250, write_dir=str(tmp_path))
    expected = ec57.score_record(record, "pred").matrix
    for name in "ab":
        (tmp_path / f"{name}.hea").write_text(lines.format(name))
    record.with_suffix(".hea").write_text("r/2 1 1 310\na 155\nb 155\n")
    scored = ec57.score_record(record, "pred")
    assert scored.fs_hz == 250 and scored.matrix.tolist() == expected.tolist() and expected.sum() == 5


@pytest.mark.parametrize("ending", ["edf", "csv"])
def test_score_of_a_record_of_another_format_is_that_of_the_same_beats(ending, tmp_path):
    """The first beat lies in the learning period; of the five scored ones the V is called N: VEB 0 of 1, F none."""
    found = [(time_s, "N" if symbol == "V" else symbol) for time_s, symbol in BEATS]
    record = Path(write_files(tmp_path, "r", 250, 310 * 250, atr=at(250, *BEATS), pred=at(250, *found)))
    Path(f"{record}.hea").unlink()
    file = record.with_suffix(f".{ending}")
    if ending == "edf":
        breath = edfio.EdfSignal(np.arange(3100) % 7, 10, label="Resp")
        edfio.Edf([breath, edfio.EdfSignal(np.arange(310 * 250) % 9, 250, label="ECG")]).write(file)
    else:
        file.write_text("time,ECG\n" + "".join(f"{i / 250},{i % 9}\n" for i in range(310 * 250)))
    scored = ec57.score_record(file, "pred")
    assert (scored.record, scored.fs_hz, scored.shutdown_s) == ("r", 250, 0)
    expected = np.diag([1, 1, 0, 1, 1, 0, 0])
    expected[2, 0] = 1
    assert scored.matrix.tolist() == expected.tolist()


def test_labels_written_by_predict_are_scored_class_by_class(tmp_path):
    record = write_files(tmp_path, "r", 360, 310 * 360, atr=at(360, *BEATS))
    samples = np.array([sample for sample, _ in at(360, *BEATS)])
    labelled = Labelled(Record("r", "MLII", 360.0, np.zeros(1)), samples, np.eye(5)[[0, 0, 1, 2, 3, 4]], None, True)
    write_annotations(tmp_path / "r.pred", labelled)
    report = ec57.score_records([record], ".pred")
    assert report["records"][0]["matrix"] == np.diag([1, 1, 1, 1, 1, 0, 0]).tolist()
    assert report["synthetic"]  # as the file says


def test_a_test_file_without_beats_has_missed_them_all(tmp_path, capsys):
    record = write_files(tmp_path, "r", 360, 310 * 360, atr=at(360, *BEATS))
    (tmp_path / "r.pred").write_bytes(b"\0\0")
    [scored] = ec57.score_records([record], "pred")["records"]
    assert scored["measures"]["qrs_se"]["percent"] == 0
    assert scored["measures"]["qrs_ppv"]["percent"] is scored["rr_error_ms"] is None
    assert "nan" not in capsys.readouterr().out.lower()


def test_a_record_that_ends_in_the_first_five_minutes_is_said_to_be_left_out(tmp_path, capsys):
    long = write_files(tmp_path, "long", 360, 310 * 360, atr=at(360, *BEATS))
    short = write_files(tmp_path, "short", 360, 300 * 360, atr=at(360, (1.0, "N"), (2.0, "N")))
    assert main.main(["score", long, short, "--test-ann", "atr"]) == 0
    assert "short: not scored, it ends within the first 5 minutes" in capsys.readouterr().out
    report = ec57.score_records([short, long], "atr")
    assert report["not_scored"] == ["short"] and [record["record"] for record in report["records"]] == ["long"]
    capsys.readouterr()
    assert main.main(["score", short, "--test-ann", "atr"]) == 2
    assert re.fullmatch(r"error: no record lasts longer than the 5 minutes.*\n", capsys.readouterr().err)


def garble(folder: Path):
    (folder / "r.tst").write_bytes(bytes(range(255)))


def cut(folder: Path):
    (folder / "r.tst").write_bytes((folder / "r.atr").read_bytes()[:-2])


def reverse(folder: Path):
    wfdb.wrann("r", "tst", np.array([500, 900]), ["N", "V"], write_dir=str(folder))
    raw = bytearray((folder / "r.tst").read_bytes())
    skip_back = bytes([0, 59 << 2, 0xFF, 0xFF, (-200) & 0xFF, 0xFF])  # the format's jump, by -200 samples
    (folder / "r.tst").write_bytes(bytes(raw[:2]) + skip_back + bytes([0, 1 << 2, 0, 0]))


def other_rate(folder: Path):
    wfdb.wrann("r", "tst", np.array([1000, 321_000]), ["N", "V"], write_dir=str(folder))


def no_resolution(folder: Path):
    wfdb.wrann("r", "tst", np.array([1000]), ["N"], fs=1000, write_dir=str(folder))
    path = folder / "r.tst"
    path.write_bytes(path.read_bytes().replace(b"resolution: 1000", b"resolution: 0000"))


@pytest.mark.parametrize(
    "spoil, named",
    [
        (lambda folder: None, r"there is no annotation file .*r\.tst"),
        (garble, r"r\.tst is no annotation file"),
        (cut, r"r\.tst is truncated"),
        (reverse, r"r\.tst: its beats are not in the order of time"),
        (other_rate, r"r\.tst: its last beat, at 891\.7 s, lies outside the record, which lasts 310\.0 s"),
        (no_resolution, r"r\.tst .* a rate of 0 Hz"),
        (lambda folder: (folder / "r.hea").unlink(), r"there is no .*r\.hea"),
        (lambda folder: (folder / "r.hea").write_text("r one\n"), r"header cannot be read"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line_and_status_2(tmp_path, capsys, spoil, named):
    record = write_files(tmp_path, "r", 360, 310 * 360, atr=at(360, *BEATS))
    spoil(tmp_path)
    assert main.main(["score", record, "--test-ann", "tst"]) == 2
    out, errors = capsys.readouterr()
    assert out == "" and re.fullmatch(r"error: .*\n", errors) and re.search(named, errors)


def test_a_record_given_twice_is_refused(tmp_path):
    record = write_files(tmp_path, "r", 360, 310 * 360, atr=at(360, *BEATS))
    with pytest.raises(DeepECGError, match="record r is given 2 times"):
        ec57.score_records([record, f"{record}.hea"], "atr")


def test_a_report_that_cannot_be_written_is_one_line_and_status_2(tmp_path, capsys):
    record = write_files(tmp_path, "r", 360, 310 * 360, atr=at(360, *BEATS))
    assert main.main(["score", record, "--test-ann", "atr", "--json", f"{record}.hea/report.json"]) == 2
    assert re.fullmatch(r"error: .*report\.json cannot be written.*\n", capsys.readouterr().err)


def test_help_and_missing_options(capsys):
    with pytest.raises(SystemExit) as done:
        main.main(["score", "--help"])
    assert done.value.code == 0
    text = capsys.readouterr().out
    for word in ("RECORD", "--test-ann", "--ref-ann", "--test-dir", "--json", "--matrices"):
        assert word in text
    with pytest.raises(SystemExit) as done:
        main.main(["score", "100"])
    assert done.value.code == 2 and "--test-ann" in capsys.readouterr().err
