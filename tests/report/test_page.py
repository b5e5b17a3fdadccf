"""The page: what it says, that it is one file, and that a browser has nothing to complain of."""

import base64
import json
import re
import subprocess
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from deep_ecg.report.beat_series import BeatSeries, RhythmEpisode, Unread
from deep_ecg.report.page import burden_trend, duration, rate_trend
from deep_ecg.report.recording import Recording, Reference
from deep_ecg.report.report import Report
from tests.support.chromium import PROGRAM, Chromium
from tests.support.records import spikes_mv

IN_CHROMIUM = pytest.mark.skipif(PROGRAM is None, reason="no Chromium here: Debian's package chromium has it")
FS_HZ = 250.0
TRUST = {"grade": "fair", "expected_wrong_percent": 4.0, "reasons": ["about 4 % of the labels to be expected wrong"]}


@pytest.fixture(scope="module")
def recording() -> Recording:
    """Ten minutes: 75/min, every tenth beat V, and early."""
    intervals_s = np.tile([0.8] * 8 + [0.5, 1.1], 73)[:728]
    times_s = 1 + np.concatenate([[0], np.cumsum(intervals_s)])
    labels = np.where(np.arange(729) % 10 == 9, 2, 0)
    samples = np.round(times_s * FS_HZ).astype(int)
    signal_mv = spikes_mv(times_s, 600, FS_HZ)
    series = BeatSeries(samples, labels, FS_HZ, len(signal_mv), probability=np.full(729, 0.9))
    groups = np.where(np.arange(729) == 0, ~0, 0)
    return Recording("r", "II", series, signal_mv, TRUST, "a network", groups=groups)


def page(recording: Recording) -> str:
    return Report.of(recording).html()


def text(html: str) -> str:
    """What a reader sees."""
    html = re.sub(r"<(script|style|svg).*?</\1>", "", html, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def data(html: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)[1])


def test_what_a_reader_sees(recording):
    """729 beats, of which 72 V (9, 19, ... 719): 9.88 %. Pauses: none. Every V is single."""
    seen = text(page(recording))
    assert "729 beats" in seen and "9.88 % V burden" in seen
    assert "Trust: fair , some labels are to be looked at (about 4 % of the labels to be expected wrong)." in seen
    assert "Duration 10 min" in seen and "not stated: times are from the start of the record" in seen
    assert "Single 72 0" in seen and "Couplets 0 0" in seen
    assert "Rhythm is not judged: whether there is atrial fibrillation or flutter is not said here." in seen
    assert seen.count("medical device") == 1 and "SYNTHETIC" not in seen
    assert "HRV Task Force of ESC and NASPE 1996" in seen


def test_head_and_rhythm_where_more_is_known(recording):
    series = replace(
        recording.series,
        started=datetime(2026, 3, 1, 22, 15),
        unread=[Unread(0, 15_000, "flat")],
        rhythm=[RhythmEpisode(30_000, 60_000, "atrial fibrillation")],
    )
    reference = Reference(series.samples[:20], series.labels[:20], "r.atr")
    seen = text(page(replace(recording, series=series, reference=reference, synthetic=True, notes=["A note."])))
    assert "Start 2026-03-01 22:15:00" in seen and "Read 90.0 % of it; flat 22:15:00 for 1 min" in seen
    assert "atrial fibrillation 1 2 min 22.22" in seen  # 120 s of the 540 s that were read
    assert "the reference of r.atr" in seen and "A note." in seen
    assert seen.startswith("SYNTHETIC r: ECG report SYNTHETIC: made of generated signals")


def test_it_is_one_file_that_asks_for_nothing(recording):
    html = page(recording)
    for tag in re.findall(r"<(?:script|link|img|iframe|source|a)\b[^>]*>", html):
        assert not re.search(r"(src|href)=", tag) or 'href="data:,"' in tag, tag
    assert "default-src 'none'" in html and "@import" not in html and "url(http" not in html


@pytest.mark.parametrize("name", ["</script><b>x", '"><img src=x onerror=alert(1)>', "{{ 7 * 7 }}"])
def test_names_from_outside_are_text(recording, name):
    html = page(replace(recording, name=name, lead=name, notes=[name], trust=TRUST | {"reasons": [name]}))
    assert name not in html.replace("{{ 7 * 7 }}", name if "{" not in name else "-")
    assert html.count("</script>") == 3 and "<img" not in html


def test_a_name_of_any_bytes(recording):
    assert "a\ufffdb" in page(replace(recording, name="a\udcffb"))


def test_the_same_record_gives_the_same_bytes(recording):
    assert page(recording) == page(replace(recording))


def test_held_strips_are_in_the_data(recording):
    held = data(page(recording))
    assert held["duration_s"] == 600 and held["start_of_day_s"] is None
    assert len(held["strips"]) >= 4 and all(strip["step_s"] == 0.004 for strip in held["strips"])


def test_missing_samples_of_a_held_strip_are_none(recording):
    """In the first strip half a second before its end is lost: 125 samples stand for none, and no other."""
    start_s = data(page(recording))["strips"][0]["start_s"]
    signal_mv = recording.signal_mv[:].copy()
    first = round((start_s + 5) * FS_HZ)
    signal_mv[first : first + 125] = np.nan
    strip = data(page(replace(recording, signal_mv=signal_mv)))["strips"][0]
    values = np.frombuffer(base64.b64decode(strip["mv"]), "<i2")
    assert strip["start_s"] == start_s
    assert np.flatnonzero(values == -32768).tolist() == list(range(1250, 1375))


def test_the_licence_of_what_is_inlined_lies_beside_it():
    folder = Path(__file__).parents[2] / "deep_ecg" / "report" / "templates" / "uplot"
    assert "MIT License" in (folder / "LICENSE").read_text()
    assert (folder / "uPlot.iife.min.js").read_text().startswith("/*! https://github.com/leeoniya/uPlot (v1.6.32) */")


def test_trends_by_hand(beats):
    """Beats a second apart for 60 s, then 0.5 s: bins of 10 s; 60/min in the first, 120/min in the last.

    In the bin from 60 s on, beats at 60 and 61 (1 s each) and from 61.5 on 0.5 s: the 8-interval rate rises from 60.
    """
    series = beats("N" * 60 + "V" * 60, [1000] * 60 + [500] * 59)
    trend = rate_trend(series)
    assert trend["bin_s"] == 10 and len(trend["mean"]) == 10  # the last beat is at 90.5 s, the end at 91.5 s
    assert trend["low"][1:6] == [60.0] * 5 == trend["high"][1:6] == trend["mean"][1:6]
    assert trend["low"][8] == trend["high"][8] == 120.0
    burden = burden_trend(series)
    assert burden["bin_s"] == 60  # beats 0-58 at 1-59 s are N, that at 60 s too, then V
    assert burden["percent"]["V"] == [0.0, round(100 * 60 / 61, 2)]


@pytest.mark.parametrize(
    "seconds, words",
    [(None, "-"), (4.0, "4 s"), (12.34, "12.3 s"), (65, "1 min 5 s"), (3725, "1 h 2 min"), (90_000, "1 d 1 h")],
)
def test_durations_in_words(seconds, words):
    assert duration(seconds) == words


def test_the_page_of_a_day_is_small():
    """120,000 beats at random, so that there are more episodes, shapes and cells than in any patient."""
    rng = np.random.default_rng(1)
    samples = np.cumsum(rng.integers(20, 52, 120_000))
    labels = rng.choice(5, 120_000, p=[0.6, 0.15, 0.15, 0.05, 0.05])
    series = BeatSeries(samples, labels, 50.0, 86_400 * 50, probability=rng.random(120_000))
    signal_mv = rng.normal(0, 0.5, 86_400 * 50)
    groups = rng.choice([0, 1, 2, 3, ~0, ~1], 120_000)
    assert len(page(Recording("day", "II", series, signal_mv, TRUST, groups=groups)).encode()) < 4_000_000


def test_without_a_beat_there_is_still_a_page():
    empty = np.array([], int)
    series = BeatSeries(empty, empty, FS_HZ, 5000, unread=[Unread(0, 4999, "flat")])
    html = page(Recording("r", "II", series, np.full(5000, np.nan), TRUST, groups=empty))
    assert "No beat was found." in text(html)
    assert data(html)["strips"] == []


@IN_CHROMIUM
def test_a_browser_has_nothing_to_complain_of(recording, tmp_path):
    file = tmp_path / "r.html"
    file.write_text(page(recording), encoding="utf-8")
    done = subprocess.run(
        [PROGRAM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom",
         f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=5000", file.as_uri()],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert "CONSOLE" not in done.stderr, done.stderr
    assert done.stdout.count("<canvas") == 3 and "0:00:00 to 0:10:00" in done.stdout


@IN_CHROMIUM
def test_what_is_folded_on_the_screen_is_printed(recording, tmp_path):
    series = replace(recording.series, rhythm=[RhythmEpisode(30_000, 60_000, "atrial fibrillation")])
    file = tmp_path / "r.html"
    file.write_text(page(replace(recording, series=series)), encoding="utf-8")
    with Chromium(tmp_path / "profile") as browser:
        tab = browser.tab(file.as_uri())
        for event, is_open in (("beforeprint", True), ("afterprint", False)):
            tab.run(f"dispatchEvent(new Event('{event}'))")
            assert tab.run("document.querySelector('details').open") == is_open
        assert tab.text("summary") == "1 episode one by one (all are in the file of events)" and not tab.errors


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("fs_hz", [50.0, 257.5, 5000.0])
@pytest.mark.parametrize("height_mv", [1e-6, 1.0, 1e9])
@pytest.mark.parametrize("beats", [0, 1, 3])
def test_whatever_can_be_labelled_has_a_report(fs_hz, height_mv, beats):
    """A second or so of signal, half of it missing, with beats at both ends, one of them not counted."""
    length = int(1.2 * fs_hz)
    signal_mv = height_mv * np.sin(np.arange(length))
    signal_mv[length // 2 :] = np.nan
    samples = np.array([0, length // 2, length - 1][:beats], int)
    series = BeatSeries(
        samples, np.arange(beats), fs_hz, length, probability=np.full(beats, 0.4), counted=np.arange(beats) != 1
    )
    report = Report.of(Recording("r", "II", series, signal_mv, TRUST, groups=np.zeros(beats, int)))
    assert f"{beats} beats" in text(report.html())
    json.dumps(report.measures, allow_nan=False)
