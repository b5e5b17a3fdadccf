"""Episodes by hand: which count, which match, how long they last; and as `score` prints them."""

import numpy as np
import pytest
import wfdb

from deep_ecg.scoring import ec57
from deep_ecg.scoring.episodes import Compared, compare, compare_marks, episodes_of, within

FS_HZ = 100.0
START, END = 30_000, 100_000  # five minutes, and the end of a record of 1000 s
AF = ("AFIB",)


def marks(*changes: tuple[float, str]) -> list[tuple[int, str]]:
    """Rhythms by the second in which they begin."""
    return [(round(second * FS_HZ), name) for second, name in changes]


def compared(reference, test, kind: str = "AF") -> Compared:
    return compare_marks(reference, test, FS_HZ, START, END)[kind]


def test_an_episode_lasts_to_the_next_other_rhythm_or_to_the_end():
    assert episodes_of(marks((1, "N"), (4, "AFIB"), (6, "AFIB"), (9, "N")), AF, END) == [(400, 900)]
    assert episodes_of(marks((4, "AFIB"), (9, "AFL"), (990, "AFIB")), AF, END) == [(400, 900), (99_000, END)]
    assert episodes_of(marks((4, "AFIB"), (9, "AFL"), (12, "N")), ("AFIB", "AFL"), END) == [(400, 1200)]
    assert episodes_of([], AF, END) == []


def test_stretches_are_cut_at_the_edges_of_what_is_scored():
    assert within([(0, 10), (20, 30), (40, 60)], 25, 50) == [(25, 30), (40, 50)]
    assert within([(0, 25), (50, 60)], 25, 50) == []


def test_two_reference_episodes_of_which_the_test_finds_one_late_and_makes_one_up():
    """Reference 400-500 and 600-700 s; test 450-520 and 800-810 s: 50 of 200 s found, 50 of 80 s right."""
    reference = marks((0, "N"), (400, "AFIB"), (500, "N"), (600, "AFIB"), (700, "N"))
    test = marks((450, "AFIB"), (520, "N"), (800, "AFIB"), (810, "N"))
    found = compared(reference, test)
    assert found == Compared(2, 1, 2, 1, 200.0, 50.0, 80.0, 50.0)
    assert found.rates() == {"episode_se": 50.0, "episode_ppv": 50.0, "duration_se": 25.0, "duration_ppv": 62.5}


def test_one_test_episode_across_two_reference_episodes_finds_both():
    reference = marks((400, "AFIB"), (500, "N"), (600, "AFIB"), (700, "N"))
    assert compared(reference, marks((450, "AFIB"), (650, "N"))) == Compared(2, 2, 1, 1, 200.0, 100.0, 200.0, 100.0)


def test_what_lies_in_the_first_five_minutes_does_not_count():
    reference = marks((100, "AFIB"), (200, "N"), (290, "AFIB"), (310, "N"))
    assert compared(reference, marks((120, "AFIB"), (180, "N"))) == Compared(1, 0, 0, 0, 10.0, 0.0, 0.0, 0.0)


def test_an_episode_that_does_not_end_lasts_as_long_as_the_record():
    assert compared(marks((900, "AFIB")), marks((950, "AFIB"))) == Compared(1, 1, 1, 1, 100.0, 50.0, 50.0, 50.0)


def test_reference_flutter_is_not_held_against_what_is_called_fibrillation():
    """Reference: flutter 400-500, fibrillation 500-600 s. A test episode of 450-550 s is right for all its 50 s."""
    reference = marks((400, "AFL"), (500, "AFIB"), (600, "N"))
    test = marks((450, "AFIB"), (550, "N"))
    assert compared(reference, test) == Compared(1, 1, 1, 1, 100.0, 50.0, 50.0, 50.0)
    assert compared(reference, test, "AF or flutter") == Compared(1, 1, 1, 1, 200.0, 100.0, 100.0, 100.0)
    within_flutter = compared(reference, marks((410, "AFIB"), (490, "N")))
    assert (within_flutter.test, within_flutter.test_s) == (0, 0.0)
    assert within_flutter.rates()["episode_ppv"] is None


def test_episodes_that_only_touch_do_not_match():
    assert compare([(100, 200)], [(200, 300)], [], 1.0) == Compared(1, 0, 1, 0, 100.0, 0.0, 100.0, 0.0)


def test_counts_add_up():
    assert Compared(1, 1, 2, 1, 10.0, 5.0, 20.0, 5.0) + Compared(reference=1, reference_s=2.0) == Compared(
        2, 1, 2, 1, 12.0, 5.0, 20.0, 5.0
    )


@pytest.mark.parametrize(
    "annotations, expected",
    [
        ([(10, "+", "(N"), (20, "N", ""), (30, "+", "(AFIB\0")], [(10, "N"), (30, "AFIB")]),
        ([(5, "+", "(N"), (9, "[", ""), (10, "+", "(VFL"), (50, "]", ""), (60, "+", "(N")],
         [(5, "N"), (9, "VF"), (10, "VF"), (50, "VFL"), (60, "N")]),
        ([(5, "+", "MISSB"), (9, '"', "(AFIB")], [(5, "")]),
    ],
)  # fmt: skip
def test_rhythms_are_named_by_their_marks_and_flutter_by_its_brackets(annotations, expected):
    assert ec57.rhythm_marks(*zip(*annotations)) == expected


def write(folder, extension: str, changes: list[tuple[float, str]], name="a"):
    """Annotation file with a beat every second of 400 s at 100 Hz, and rhythms from the seconds given."""
    found = [(100 * second, "N", "") for second in range(1, 400)]
    found += [(round(100 * second) + 1, "+", f"({rhythm}") for second, rhythm in changes]
    samples, symbols, notes = zip(*sorted(found))
    wfdb.wrann(name, extension, np.array(samples), list(symbols), aux_note=list(notes), write_dir=str(folder))


def test_score_prints_and_reports_the_episodes_that_there_are(tmp_path, capsys):
    for name in ("a", "b"):
        (tmp_path / f"{name}.hea").write_text(f"{name} 0 100 40000\n")
        write(tmp_path, "atr", [(0, "N"), (320, "AFIB"), (360, "N")] if name == "a" else [(0, "N")], name)
        write(tmp_path, "pred", [(340, "AFIB"), (370, "N")] if name == "a" else [], name)
    report = ec57.score_records([str(tmp_path / "a"), str(tmp_path / "b")], "pred")
    assert list(report["episodes"]) == ["AF", "AF or flutter"] and list(report["episodes"]["AF"]["records"]) == ["a"]
    gross = report["episodes"]["AF"]["gross"]
    assert [gross[name] for name in ("reference", "found", "test", "right")] == [1, 1, 1, 1]
    assert (gross["duration_se"], gross["duration_ppv"]) == (50.0, pytest.approx(200 / 3))
    printed = capsys.readouterr().out
    assert "episodes of AF: how many, then how long" in printed and "episodes of VF" not in printed
    row = next(line for line in printed.splitlines()[::-1] if line.startswith("a "))
    assert row.split() == ["a", "1", "1", "100.00", "100.00", "40.0", "30.0", "50.00", "66.67"]


def test_a_real_file_against_itself_has_all_its_episodes(mitdb):
    report = ec57.score_records([str(mitdb / name) for name in ("201", "203", "207")], "atr")["episodes"]
    assert set(report["AF"]["records"]) == {"201", "203"} and set(report["VF"]["records"]) == {"207"}
    for kind in report.values():
        assert {kind["gross"][rate] for rate in ("episode_se", "episode_ppv", "duration_se", "duration_ppv")} == {100.0}
