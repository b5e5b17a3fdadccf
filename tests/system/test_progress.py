"""Progress where no person is at a terminal: lines while the work goes on, none after it."""

import threading

import pytest

from deep_ecg.system import progress

LIMIT_S = 60  # how long a test waits for what must come


def test_the_number_done_is_told_while_an_item_takes_its_time():
    told, heard = [], threading.Event()

    def tell(done):
        told.append(done)
        heard.set()

    for item in progress.telling("abc", tell, every_s=0.001):
        heard.clear()
        assert heard.wait(LIMIT_S), item
    assert sorted(told) == told and set(told) == {0, 1, 2}  # the third is done only when the loop ends


def test_every_item_comes_once_and_in_order_and_short_work_tells_nothing():
    told = []
    assert list(progress.telling(range(5), told.append, every_s=LIMIT_S)) == [0, 1, 2, 3, 4]
    assert told == []


def test_nothing_is_told_after_the_end_or_an_error():
    before = threading.active_count()
    with pytest.raises(RuntimeError, match="broken"), progress.repeated(lambda: None, every_s=LIMIT_S):
        assert threading.active_count() == before + 1
        raise RuntimeError("broken")
    assert threading.active_count() == before


def test_lines_name_the_work_and_how_much_there_is(capsys, monkeypatch):
    monkeypatch.setattr(progress, "telling", lambda items, tell: tell(3) or iter(items))
    assert list(progress.counted("ab", "beats", 22, "records", bar=False)) == ["a", "b"]
    assert capsys.readouterr().out == "      beats: 3 of 22 records\n"


def test_a_bar_prints_no_lines(capsys):
    assert list(progress.counted("ab", "beats", 2, "records", bar=True)) == ["a", "b"]
    written = capsys.readouterr()
    assert written.out == "" and "beats" in written.err


def test_a_pace_says_what_is_left_every_few_seconds(capsys, monkeypatch):
    now_s = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now_s[0])
    pace = progress.Pace("r: labels", 24.0, "h")
    for now_s[0], done in ((100.0, 0.0), (107.9, 5.0), (120.0, 6.0), (121.0, 6.5), (140.0, 16.0), (150.0, 24.0)):
        pace(done)
    assert capsys.readouterr().err.splitlines() == [
        "      r: labels: 6.0 of 24.0 h, 0:01:00 left",
        "      r: labels: 16.0 of 24.0 h, 0:00:20 left",
        "      r: labels: 24.0 of 24.0 h, 0:00:00 left",
    ]
