"""Episodes one by one, in the file of events."""

import csv
from dataclasses import replace
from datetime import datetime

from deep_ecg.report.beat_series import RhythmEpisode, Unread
from deep_ecg.report.episodes import episodes_of, write_episodes


def test_the_file_of_events(beats, tmp_path):
    """Beats at 1, 1.8, 2.6, 3.0, 3.5, 4.3, 6.8 s: a run from 2.6 to 3.5 s of intervals 0.4 and 0.5 s: 133.3/min."""
    series = beats("NNVVVNN", [800, 800, 400, 500, 800, 2500])
    series = replace(
        series,
        started=datetime(2026, 3, 1, 23, 59, 58),
        unread=[Unread(0, 1000, "flat, perhaps")],
        rhythm=[RhythmEpisode(1500, 2000, "atrial fibrillation")],
    )
    write_episodes(tmp_path / "events.csv", episodes_of(series), series)
    with open(tmp_path / "events.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    told = [tuple(row.values()) for row in rows]
    assert list(rows[0]) == "kind start_sample end_sample start_s end_s start_time beats rate_per_min why".split()
    assert told == [
        ("no beats", "0", "1000", "0.0", "1.0", "23:59:58", "", "", "flat; perhaps"),
        ("atrial fibrillation", "1500", "2000", "1.5", "2.0", "23:59:59", "1", "", ""),
        ("V run", "2600", "3500", "2.6", "3.5", "00:00:00", "3", "133.3", ""),
        ("pause", "4300", "6800", "4.3", "6.8", "00:00:02", "", "", ""),
    ]


def test_a_record_of_more_than_a_day_counts_the_days(beats):
    series = beats("NN", started=datetime(2026, 3, 1, 9, 0))
    assert series.time_text(86_400.0) == "09:00:00"  # the record itself is shorter
    longer = replace(series, length=90_000_000)
    assert (longer.time_text(10.0), longer.time_text(86_410.0)) == ("09:00:10", "+1 d 09:00:10")
    assert replace(longer, started=None).time_text(86_410.0) == "24:00:10"
