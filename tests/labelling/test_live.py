"""The command `stream`: what is shown of a feed, what is written at its end, alarms worked by hand, and wrong input."""

import io
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import wfdb

import main
from config import CLASSES, Config
from deep_ecg.deploy.onnx_export import export_fp32
from deep_ecg.labelling import beat_files, commands, live, predict
from deep_ecg.labelling.live import Event, Feed, Lines, Monitor, Screen, follow, line_feed, record_feed, trace
from deep_ecg.labelling.stream import Beat
from deep_ecg.networks import classifier as networks
from deep_ecg.networks.classifier import load_classifier
from deep_ecg.networks.torch_network import save_checkpoint
from deep_ecg.records.database import Source
from deep_ecg.system import machine
from deep_ecg.system.errors import DeepECGError, NoBeats, NoOutput
from deep_ecg.system.files import GrowingFile
from deep_ecg.training.experiment import describe, hybrid_arguments
from model import HybridECGNet
from tests.support import ROOT

LIMIT_S = 120
FS_HZ = 250.0


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory) -> Path:
    """A folder of networks of random weights, .pt and .onnx: what they answer does not matter here."""
    folder = tmp_path_factory.mktemp("pretrained")
    for mode in ("causal", "diagnostic"):
        config = Config(mode=mode, preset="edge")
        arguments = hybrid_arguments(config)
        torch.manual_seed(1)
        model = HybridECGNet(**arguments)
        description = describe(config, Source("local", folder), 0)
        save_checkpoint(folder / f"{mode}-edge.pt", model, arguments, description)
        export_fp32(model, description, folder / f"{mode}-edge-fp32.onnx")
    return folder


@pytest.fixture
def classifier(pretrained):
    return load_classifier(Config(mode="causal", preset="edge"), pretrained / "causal-edge.pt")


def ecg(beats=20, fs_hz=FS_HZ) -> np.ndarray:
    """Gaussian beats (n,) at 1 s and every 0.8 s from there, some noise."""
    t_s = np.arange(round((2 + 0.8 * (beats - 1)) * fs_hz)) / fs_hz
    signal_mv = 0.005 * np.random.default_rng(0).normal(size=len(t_s))
    return signal_mv + sum(np.exp(-0.5 * ((t_s - 1 - 0.8 * beat) / 0.012) ** 2) for beat in range(beats))


def text_of(signal_mv: np.ndarray) -> bytes:
    return "".join(f"{value:.5f}\n" for value in signal_mv).encode()


@pytest.fixture
def record(tmp_path) -> Path:
    wfdb.wrsamp("ecg", FS_HZ, ["mV"], ["MLII"], p_signal=ecg()[:, None], fmt=["16"], write_dir=str(tmp_path))
    return tmp_path / "ecg"


# What is written and said --------------------------------------------------------------------------------------------


def test_a_replayed_record_gets_the_files_of_predict(record, classifier, pretrained, tmp_path, capsys):
    follow(record_feed(record, classifier, speed=0), classifier, tmp_path / "live")
    printed = capsys.readouterr().out
    predict.predict_records(
        [str(record)], Config(mode="causal"), tmp_path / "whole", checkpoint=pretrained / "causal-edge.pt"
    )
    assert sorted(path.name for path in (tmp_path / "live").iterdir()) == ["ecg.csv", "ecg.pred"]
    live_beats, whole = (wfdb.rdann(str(tmp_path / folder / "ecg"), "pred") for folder in ("live", "whole"))
    assert np.array_equal(live_beats.sample, whole.sample) and live_beats.symbol == whole.symbol
    assert live_beats.fs == FS_HZ and len(live_beats.sample) == 20
    lines = printed.splitlines()
    told = [line.split()[2] for line in lines if "label after" in line]
    assert told == live_beats.symbol
    assert "\x1b" not in printed and "ecg: 20 beats, lead MLII, detected R-peaks" in printed
    last = next(line for line in lines[::-1] if "label after" in line)
    assert float(last.split()[0]) == pytest.approx(1 + 19 * 0.8, abs=0.01)


def test_a_replay_keeps_real_time(record, classifier, monkeypatch):
    """Each chunk is due when its last sample has been recorded; time passes only in sleep here."""
    now_s = [100.0]
    monkeypatch.setattr(live.time, "monotonic", lambda: now_s[0])
    monkeypatch.setattr(live.time, "sleep", lambda wait_s: now_s.__setitem__(0, now_s[0] + wait_s))
    for speed in (1, 4):
        now_s[0], seen = 100.0, 0
        for chunk_mv in record_feed(record, classifier, speed=speed).chunks_mv:
            seen += len(chunk_mv)
            assert now_s[0] - 100 == pytest.approx(seen / FS_HZ / speed)
        assert seen == len(ecg())


def test_a_stream_of_noise_is_told_as_no_ecg(classifier, tmp_path, capsys):
    noise_mv = np.random.default_rng(0).normal(0, 0.3, round(60 * FS_HZ))
    follow(Feed("noise", "MLII", FS_HZ, np.array_split(noise_mv, 9)), classifier, tmp_path)
    [told] = [line for line in capsys.readouterr().out.splitlines() if "trust: low" in line]
    assert "of the beats are like none before: is it an ECG?" in told and "noise or lost signal at" in told


def test_long_silence_lowers_the_trust_of_a_stream_and_is_told(classifier, tmp_path, capsys):
    """20 beats of 17.2 s, the last at 16.2 s, and 20 s of a lead that is off: 21 of 37.2 s without beats, 56 %."""
    signal_mv = np.concatenate([ecg(), np.zeros(round(20 * FS_HZ))])
    follow(Feed("off", "MLII", FS_HZ, np.array_split(signal_mv, 9)), classifier, tmp_path)
    out = capsys.readouterr().out
    assert "no beats for 21 s: 0:00:16-0:00:37 (no beats found)" in out
    assert "trust: low" in out and "no beats in 56 % of the record" in out


def test_a_fast_rate_lowers_the_trust_of_a_stream(classifier, tmp_path, capsys):
    """75/min, played 1.7 times as fast: an interval of 471 ms is one of 127/min."""
    follow(Feed("fast", "MLII", 1.7 * FS_HZ, np.array_split(ecg(60), 9)), classifier, tmp_path)
    assert "a heart rate of 127/min throughout" in capsys.readouterr().out


@pytest.mark.parametrize("speed", [-1.0, float("nan"), float("inf")])
def test_a_speed_below_zero_is_refused(record, classifier, speed):
    with pytest.raises(DeepECGError, match="--speed"):
        record_feed(record, classifier, speed=speed)


def test_a_stream_that_is_broken_off_at_once_leaves_nothing_of_the_one_before(classifier, tmp_path):
    follow(Feed("x", "MLII", FS_HZ, [ecg()]), classifier, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"x.csv", "x.pred"}

    def chunks_mv():
        yield np.zeros(10)
        raise DeepECGError("line 1 is no number")

    with pytest.raises(DeepECGError, match="line 1"):
        follow(Feed("x", "MLII", FS_HZ, chunks_mv()), classifier, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_stream_whose_table_is_deleted_ends_at_the_next_beat(classifier, tmp_path):
    def chunks_mv():
        yield ecg()[: round(8 * FS_HZ)]
        (tmp_path / "x.csv").unlink()
        yield ecg()[round(8 * FS_HZ) :]

    with pytest.raises(NoOutput, match=r"x\.csv was deleted while results were being written"):
        follow(Feed("x", "MLII", FS_HZ, chunks_mv()), classifier, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["x.pred"]


def test_synthetic_is_said_and_stamped(classifier, tmp_path, capsys):
    follow(Feed("made", "MLII", FS_HZ, [ecg()], synthetic=True), classifier, tmp_path)
    assert capsys.readouterr().out.count("SYNTHETIC made") == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made-SYNTHETIC.csv", "made.pred"]
    assert b"SYNTHETIC" in (tmp_path / "made.pred").read_bytes()


def test_where_nothing_beats_that_is_told_and_the_table_is_empty(classifier, tmp_path):
    """What an earlier stream of that name has left would tell of another signal."""
    follow(Feed("flat", "MLII", FS_HZ, [ecg()]), classifier, tmp_path)
    with pytest.raises(NoBeats, match=r"flat: no beat was found in 20.0 s of signal"):
        follow(Feed("flat", "MLII", FS_HZ, [np.zeros(5000)]), classifier, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["flat.csv"]
    names = "sample,time_s,class,p_N,p_S,p_V,p_F,p_Q,rr_ms,rate_per_min,signal,sure,rhythm\n"
    assert (tmp_path / "flat.csv").read_text() == names


def test_the_annotation_file_keeps_up_while_no_beats_come(classifier, tmp_path, monkeypatch):
    """Written at the first beat and every 10 s from there, whether beats come or not."""
    now_s = [0.0]
    monkeypatch.setattr(beat_files.time, "monotonic", lambda: now_s[0])

    def chunks():
        yield ecg()[:2500]
        yield ecg()[2500:]
        now_s[0] = 11.0
        yield np.zeros(25)
        symbols.extend(wfdb.rdann(str(tmp_path / "slow"), "pred").symbol)

    symbols: list[str] = []
    follow(Feed("slow", "MLII", FS_HZ, chunks()), classifier, tmp_path)
    assert len(symbols) == 20


def test_an_interruption_saves_what_was_seen(classifier, tmp_path):
    def chunks():
        yield ecg()[:3000]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="Interrupted after 12.0 s"):
        follow(Feed("cut", "MLII", FS_HZ, chunks()), classifier, tmp_path)
    expected = [beat for beat in range(20) if 1 + 0.8 * beat + 0.15 <= 12]
    assert len(wfdb.rdann(str(tmp_path / "cut"), "pred").sample) == len(expected)


def test_unsure_beats_are_shown_and_written_as_not_classified(classifier, tmp_path, capsys):
    """The network of random weights is never sure of five classes."""
    beats = follow(Feed("unsure", "MLII", FS_HZ, [ecg()]), classifier, tmp_path, min_confidence=0.999).beats
    assert {CLASSES[beat.label] for beat in beats} == {"Q"} and max(beat.proba.max() for beat in beats) < 0.999
    printed = capsys.readouterr().out
    assert printed.count(", not classified") == 21 and "not classified 20;" in printed
    assert wfdb.rdann(str(tmp_path / "unsure"), "pred").symbol == ["Q"] * 20
    with pytest.raises(DeepECGError, match="--min-confidence 2"):
        follow(Feed("unsure", "MLII", FS_HZ, [ecg()]), classifier, tmp_path, min_confidence=2.0)


def test_a_run_of_v_needs_sure_beats(classifier):
    """An unsure V beat, which becomes a Q, ends a run."""
    sure = [Beat(200 * k, 2, np.array([0.1, 0, p, 0, 0.9 - p]), 200 * k, False) for k, p in enumerate((0.8, 0.6, 0.8))]
    assert [CLASSES[beat.label] for beat in live._sure(sure, 0.7)] == ["V", "Q", "V"]
    assert live._sure(sure, 0.0) == sure


# Standard input ------------------------------------------------------------------------------------------------------


class Trickle(io.RawIOBase):
    """Gives its bytes a few at a time, as a pipe does."""

    def __init__(self, data: bytes, count: int):
        self._parts = [data[start : start + count] for start in range(0, len(data), count)]

    def read1(self, size: int) -> bytes:
        return self._parts.pop(0) if self._parts else b""


@pytest.mark.parametrize("count", [1, 5, 100_000])
@pytest.mark.parametrize("end", [b"\n", b""])
def test_lines_are_read_however_they_come(count, end):
    data = b"0.25\n-1e-1\r\n nan \nNaN\n3" + end
    chunks_mv = list(line_feed(Trickle(data, count), FS_HZ).chunks_mv)
    np.testing.assert_array_equal(np.concatenate(chunks_mv), [0.25, -0.1, np.nan, np.nan, 3])


@pytest.mark.parametrize("bad", [b"abc", b"1_000", b"1,2", b"inf", b"1 2", b"\xff\xfe", b"9" * 5000])
@pytest.mark.parametrize("count", [1, 100_000])
def test_a_bad_line_is_named_by_its_number_after_the_good_ones(bad, count):
    seen = []
    with pytest.raises(DeepECGError, match=r"standard input, line 3: '.*' is no number") as error:
        for chunk_mv in line_feed(Trickle(b"0.1\n0.2\n" + bad + b"\n0.4\n", count), FS_HZ).chunks_mv:
            seen += chunk_mv.tolist()
    assert seen == [0.1, 0.2]
    assert "\n" not in str(error.value) and len(str(error.value)) < 200


def test_a_bad_line_does_not_lose_the_beats_before_it(classifier, tmp_path):
    with pytest.raises(DeepECGError, match="line 4301"):
        follow(line_feed(io.BytesIO(text_of(ecg()) + b"stop\n"), FS_HZ), classifier, tmp_path)
    assert len(wfdb.rdann(str(tmp_path / "stdin"), "pred").sample) == 20


CLEAN = 0.001 * np.round(1000 * ecg())
FORMS = {
    "CRLF": [f"{value:.3f}\r\n" for value in CLEAN],
    "names, time and value": ["time,ecg\n", *(f"{4 * place},{value:.3f}\n" for place, value in enumerate(CLEAN))],
    "decimal commas": [f"{value:.3f}\n".replace(".", ",") for value in CLEAN],
    "semicolons": [f"{place};{value:.3f}\n".replace(".", ",") for place, value in enumerate(CLEAN)],
    "tabs": ["t\tII\n", *(f"{place}\t{value:.3f}\n" for place, value in enumerate(CLEAN))],
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_lines_gives_the_same_beats(form, classifier, tmp_path):
    """As the same samples give that no text has held."""
    lines = "".join(FORMS[form])
    for name, feed in (
        ("clean", Feed("clean", "unnamed", FS_HZ, [CLEAN])),
        ("stdin", line_feed(Trickle(lines.encode(), 999), FS_HZ)),
    ):
        follow(feed, classifier, tmp_path)
    clean, told = (wfdb.rdann(str(tmp_path / name), "pred") for name in ("clean", "stdin"))
    assert np.array_equal(clean.sample, told.sample) and clean.symbol == told.symbol and len(told.sample) == 20


@pytest.mark.parametrize("lost", ["!", "", "nan"])
def test_a_stream_goes_on_over_lost_samples(lost, classifier, tmp_path):
    """Leads off for 4 s from the 10th second, as lines of `lost`: the beats are those of the same samples as NaN."""
    signal_mv = ecg()
    signal_mv[2500:3500] = np.nan
    lines = "".join(f"{lost}\n" if np.isnan(value) else f"{value:.5f}\n" for value in signal_mv)
    follow(line_feed(Trickle(lines.encode(), 999), FS_HZ), classifier, tmp_path)
    follow(Feed("clean", "unnamed", FS_HZ, [np.round(signal_mv, 5)]), classifier, tmp_path)
    clean, told = (wfdb.rdann(str(tmp_path / name), "pred") for name in ("clean", "stdin"))
    assert np.array_equal(clean.sample, told.sample) and clean.symbol == told.symbol
    assert 13 <= (~((told.sample > 2500) & (told.sample < 3500))).sum() <= 16  # 11 before and 4 after, 2 at the edges


def test_columns_and_units_can_be_chosen():
    text = b"time,a,b\n0,1,2000\n4,3,4000\n"
    (chunk, _) = line_feed(io.BufferedReader(io.BytesIO(text)), FS_HZ, column="b", units="uV").chunks_mv
    assert chunk.tolist() == [2, 4]
    (chunk, _) = line_feed(io.BufferedReader(io.BytesIO(b"0.002\n")), FS_HZ, units="V").chunks_mv
    assert chunk.tolist() == [2]


def faulty(fs_hz: float = FS_HZ) -> np.ndarray:
    """ECG with its lead off, at one value, and at a rail, and noise for a while."""
    signal_mv = np.round(ecg(60, fs_hz), 5)
    noisy = slice(round(30 * fs_hz), round(36 * fs_hz))
    signal_mv[noisy] += np.random.default_rng(0).normal(0, 2, len(signal_mv[noisy])).round(5)
    for start_s, length_s, level_mv in ((5, 0.2, np.nan), (9, 1.3, np.nan), (15, 2.1, 0.4), (21, 3, 5.0)):
        signal_mv[round(start_s * fs_hz) : round((start_s + length_s) * fs_hz)] = level_mv
    return signal_mv


def told_of(capsys, out: Path, classifier, signal_mv: np.ndarray, chunk_s: float) -> tuple[list[str], bytes, bytes]:
    """The lines that `follow` prints of `signal_mv` in chunks, and its files."""
    step = round(chunk_s * FS_HZ)
    follow(
        Feed("one", "MLII", FS_HZ, [signal_mv[i : i + step] for i in range(0, len(signal_mv), step)]), classifier, out
    )
    return capsys.readouterr().out.splitlines(), *((out / name).read_bytes() for name in ("one.csv", "one.pred"))


def test_what_is_told_and_written_does_not_depend_on_the_chunks(tmp_path, capsys):
    """As fast as possible a replay is pushed in larger ones; a network in floats would round with the batch."""
    classifier = load_classifier(Config(mode="causal", preset="edge"), runtime="onnx")
    lines, *files = told_of(capsys, tmp_path, classifier, faulty(), live.FAST_CHUNK_S)
    short_lines, *short_files = told_of(capsys, tmp_path, classifier, faulty(), live.CHUNK_S)
    assert files == short_files
    assert sorted(lines) == sorted(short_lines)
    told = [line.partition("! ")[2] for line in lines]
    assert [told.count(f"signal {fault}") for fault in ("missing", "flat", "saturated")] == [2, 1, 1]
    assert any("not readable" in line for line in lines)


def test_a_loss_within_one_block_of_lines_is_told(classifier, tmp_path, capsys):
    text = text_of(ecg()[:2500]) + 250 * b"!\n" + text_of(ecg()[2500:])
    follow(line_feed(io.BufferedReader(io.BytesIO(text)), FS_HZ), classifier, tmp_path)
    told = [line.split(maxsplit=2) for line in capsys.readouterr().out.splitlines() if " ! " in line]
    assert told == [
        ["10.032", "s", "! signal missing"],
        ["11.004", "s", "! signal is back"],
    ]  # after 30 ms, and at once


@pytest.mark.skipif(machine.WINDOWS, reason="its pipes cannot be waited for")
def test_a_source_at_rest_gives_nothing_now_and_then(monkeypatch):
    monkeypatch.setattr(live, "SAVE_S", 0.01)
    reading, writing = os.pipe()
    with open(reading, "rb") as stream, open(writing, "wb", buffering=0) as source:
        chunks_mv = line_feed(stream, FS_HZ).chunks_mv
        source.write(b"1\n2\n")
        assert [len(next(chunks_mv)) for _ in range(3)] == [2, 0, 0]
        source.write(b"3\n")
        source.close()
        assert [value for chunk_mv in chunks_mv for value in chunk_mv] == [3.0]


# Alarms and figures, by hand -----------------------------------------------------------------------------------------


def beat(time_s: float, name: str = "N", delay_s: float = 0.15) -> Beat:
    proba = np.eye(5)[CLASSES.index(name)]
    return Beat(round(100 * time_s), CLASSES.index(name), proba, round(100 * (time_s + delay_s)), False)


def events_of(monitor: Monitor, beats: list[Beat], until_s: float, lost=()) -> list[tuple[float, str]]:
    """Events by time, in seconds at 100 Hz, of a stream pushed in tenths of a second; `lost` are spans in seconds."""
    events = []
    for now in range(10, round(100 * until_s) + 1, 10):
        quality = "missing" if any(start < now / 100 <= end for start, end in lost) else "ok"
        told = [one for one in beats if now - 10 <= one.known < now]
        events += [one for one in monitor.update(10, told, quality) if isinstance(one, Event)]
    return [(event.sample / 100, event.text) for event in events]


@pytest.mark.parametrize(
    "names, times_s",
    [
        ("NVVN", []),
        ("NVVVN", [5]),
        ("VVVVVVN", [4]),
        ("VVNVV", []),
        ("VVVNVVVV", [4, 8]),
    ],
)
def test_three_v_in_a_row_are_a_run_told_once(names, times_s):
    beats = [beat(2 + place, name) for place, name in enumerate(names)]
    events = events_of(Monitor(100, "causal"), beats, 2 + len(names))
    assert events == [(time_s, "ventricular run: 3 V in a row") for time_s in times_s]


def test_a_pause_is_told_when_three_seconds_have_passed_and_once():
    beats = [beat(1), beat(2), beat(4.9), beat(9), beat(10)]
    monitor = Monitor(100, "causal")
    assert events_of(monitor, beats, 7) == []  # 2.9 s, and 2.1 s so far
    assert [text for _, text in events_of(monitor, [], 1.3)] == ["pause: no beat for 3 s"]  # at 7.9 s, told by 8.2 s
    assert monitor.alarms[-1].sample == 790
    assert events_of(monitor, [], 2) == []


def test_a_pause_is_told_in_one_large_chunk_too():
    news = Monitor(100, "causal").update(2000, [beat(1), beat(4.5), beat(5), beat(19)], "ok")
    assert [one.sample for one in news if isinstance(one, Event)] == [400, 800]
    assert [type(one) for one in news] == [Beat, Event, Beat, Beat, Event, Beat]


def test_a_lost_signal_is_no_pause():
    events = events_of(Monitor(100, "causal"), [beat(1), beat(2), beat(9), beat(9.8)], 11, lost=[(3, 8)])
    assert [text for _, text in events] == ["signal missing", "signal is back"]


def test_diagnostic_labels_come_late_and_are_no_pause():
    beats = [beat(1 + 0.8 * place, delay_s=5.4) for place in range(30)]
    assert events_of(Monitor(100, "diagnostic"), beats, 22) == []


def test_heart_rate_is_that_of_the_latest_intervals():
    monitor = Monitor(100, "causal")
    assert monitor.heart_rate_per_min is None
    monitor.update(100, [beat(0.2)], "ok")
    assert monitor.heart_rate_per_min is None
    monitor.update(500, [beat(1.0 + 0.5 * place) for place in range(9)], "ok")
    assert monitor.heart_rate_per_min == pytest.approx(120)
    assert monitor.delay_ms(monitor.beats[-1]) == pytest.approx(150)
    monitor.update(320, [], "ok")
    assert monitor.heart_rate_per_min is None


# The view ------------------------------------------------------------------------------------------------------------


def test_trace_by_hand():
    assert trace(np.array([0, 0, 1, 0, np.nan, 0.5]), 6, 3) == ["  -   ", "     -", "-- -  "]
    assert trace(np.array([0.0, 1.0, 0.0, 0.0]), 2, 3) == ["| ", "| ", "|-"]
    assert trace(np.full(4, np.nan), 2, 2) == ["  ", "  "]


def test_view_names_what_there_is_in_as_many_lines_at_all_times():
    monitor, screen = Monitor(100, "causal"), Screen(Feed("101", "MLII", 100.0, []), "causal")
    empty = screen.lines(monitor, 60)
    monitor.update(500, [beat(1 + 0.5 * place, "V") for place in range(8)], "ok")
    full = screen.lines(monitor, 60)
    assert len(empty) == len(full)
    text = "\n".join(full)
    for part in ("101  MLII  causal mode  0:00:05  signal: ok", "heart rate 120/min", "V V V V V V V V", "150 ms",
                 "beats 8: N 0, S 0, V 8, F 0, Q 0", "0:00:02  ! ventricular run"):  # fmt: skip
        assert part in text
    assert full[1].count("V") == 8  # 0.5 s are 5 of the 60 columns for 6 s; the strip ends now, at 5 s
    assert full[1][10 + 10] == full[1][10 + 15] == "V"


def test_view_is_drawn_in_place(capsys):
    monitor, screen = Monitor(100, "causal"), Screen(Feed("101", "MLII", 100.0, []), "causal")
    for _ in range(2):
        screen.show(np.empty(0), monitor, [])
    printed = capsys.readouterr().out
    height = len(screen.lines(monitor, 60))
    assert printed.count(f"\x1b[{height}F") == 1 and printed.count("\n") == 2 * height


def test_lines_tell_time_class_and_delay(capsys):
    lines = Lines(Feed("101", "MLII", 100.0, []), "causal")
    lines.show(np.empty(0), Monitor(100, "causal"), [beat(1.23, "S"), Event(200, "something")])
    printed = capsys.readouterr().out.splitlines()
    assert printed[1:] == ["     1.230 s  S 1.00  label after 150 ms", "     2.000 s  ! something"]


# The command line ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "name one source"),
        (["100", "--stdin", "--fs", "250"], "name one source"),
        (["--stdin"], "--fs"),
        (["--stdin", "--fs", "250", "--speed", "1"], "--speed has no meaning for standard input"),
        (["100", "--fs", "250"], "--fs has no meaning for"),
        (["100", "--units", "mV"], "--units has no meaning for"),
        (["100", "--column", "2"], "--column has no meaning for a record"),
        (["--stdin", "--fs", "250", "--column", "3"], "no column '3'"),
        (["--stdin", "--fs", "20"], "100 to 1000 Hz"),
        (["absent"], "absent.hea"),
        (["absent", "--speed", "-2"], "--speed"),
    ],
)
def test_wrong_options_end_with_one_line_and_status_2(arguments, message, pretrained, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(networks, "PRETRAINED", pretrained)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"0\n")))
    assert main.main(["stream", *arguments, "--preset", "edge", "--out", str(tmp_path / "out")]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1 and message in errors[0]


@pytest.mark.parametrize("mode", ["causal", "diagnostic"])
def test_standard_input_from_the_command_line(mode, pretrained, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(networks, "PRETRAINED", pretrained)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text_of(ecg()))))
    options = ["--fs", "250", "--preset", "edge", "--mode", mode, "--out", str(tmp_path)]
    assert main.main(["stream", "--stdin", *options]) == 0
    assert len(wfdb.rdann(str(tmp_path / "stdin"), "pred").sample) == 20
    assert f"{mode} mode" in capsys.readouterr().out


def started(pretrained: Path, out: Path) -> subprocess.Popen:
    """The real program reading a pipe, with the checkpoints of these tests."""
    program = f"""import sys; sys.path.insert(0, {str(ROOT)!r})
from deep_ecg.networks import classifier; from pathlib import Path
classifier.PRETRAINED = Path({str(pretrained)!r}); import main; sys.exit(main.main(sys.argv[1:]))"""
    options = ["stream", "--stdin", "--fs", "250", "--preset", "edge", "--out", str(out)]
    return subprocess.Popen(
        [sys.executable, "-c", program, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        preexec_fn=None if machine.WINDOWS else with_signals,
    )  # fmt: skip


def with_signals():
    """As from a terminal: what runs these tests in the background ignores some signals, and so would the program."""
    for name in ("SIGINT", "SIGHUP", "SIGQUIT"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)


def test_ctrl_c_saves_what_was_seen_and_ends_with_status_130(pretrained, tmp_path):
    process = started(pretrained, tmp_path)
    process.stdin.write(text_of(ecg()))
    process.stdin.flush()
    while b"label after" not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 130
    assert errors.decode().strip().startswith("Interrupted after") and b"Traceback" not in errors
    assert len(wfdb.rdann(str(tmp_path / "stdin"), "pred").sample) >= 1


def test_a_reader_that_goes_away_is_no_error(pretrained, tmp_path):
    process = started(pretrained, tmp_path)
    process.stdout.close()
    process.stdin.write(text_of(ecg()))
    process.stdin.close()
    errors = process.stderr.read()
    assert process.wait(LIMIT_S) == 0 and errors == b""


def test_a_terminal_as_input_is_told_what_is_waited_for(pretrained, monkeypatch, tmp_path, capsys):
    terminal = io.TextIOWrapper(io.BytesIO(text_of(ecg())))
    monkeypatch.setattr(terminal, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(networks, "PRETRAINED", pretrained)
    monkeypatch.setattr(sys, "stdin", terminal)
    assert main.main(["stream", "--stdin", "--fs", "250", "--preset", "edge", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().err.splitlines() == [commands.WAITS]


# What is left however the process ends -------------------------------------------------------------------------------


def told_lines(process: subprocess.Popen, beats: int) -> list[str]:
    """The lines told by the process up to its beat of that number."""
    lines: list[str] = []
    while sum("label after" in line for line in lines) < beats:
        lines.append(process.stdout.readline().decode())
        assert lines[-1], "it ended before"
    return lines


def told_beats(lines: list[str]) -> list[list[str]]:
    """Time and class of each beat told."""
    return [[line.split()[0], line.split()[2]] for line in lines if "label after" in line]


def table_beats(folder: Path) -> list[list[str]]:
    """The same of each beat in the table, all of whose lines must be whole."""
    text = (folder / "stdin.csv").read_text()
    assert text.endswith("\n")
    rows = [line.split(",") for line in text.splitlines()]
    assert {len(row) for row in rows} == {len(rows[0])}
    return [[f"{float(row[1]):.3f}", row[2]] for row in rows[1:]]


@pytest.mark.skipif(machine.WINDOWS, reason="it has no such signals")
@pytest.mark.parametrize("name, status", [("SIGTERM", 143), ("SIGHUP", 129), ("SIGINT", 130), ("SIGQUIT", 131)])
def test_a_signal_leaves_every_beat_that_was_told(name, status, pretrained, tmp_path):
    process = started(pretrained, tmp_path)
    process.stdin.write(text_of(ecg()))
    process.stdin.flush()
    lines = told_lines(process, 20)
    process.send_signal(getattr(signal, name))
    rest, errors = process.communicate(timeout=LIMIT_S)
    assert process.returncode == status
    assert re.fullmatch(rf"\n(Interrupted|Ended by {name}) after 1\d\.\d s of signal\.\n", errors.decode())
    told = told_beats(lines + rest.decode().splitlines())
    assert len(told) == 20 and table_beats(tmp_path) == told
    assert ("stdin: 20 beats" in rest.decode()) == (name != "SIGHUP")  # with which the terminal has gone
    annotations = wfdb.rdann(str(tmp_path / "stdin"), "pred")
    assert [[f"{sample / FS_HZ:.3f}", symbol] for sample, symbol in zip(annotations.sample, annotations.symbol)] == told


@pytest.mark.skipif(machine.WINDOWS, reason="it has no such signals")
def test_a_killed_stream_leaves_whole_lines_of_what_was_told(pretrained, tmp_path):
    process = started(pretrained, tmp_path)
    process.stdin.write(text_of(ecg()))
    process.stdin.flush()
    told = told_beats(told_lines(process, 20))
    process.kill()
    process.communicate(timeout=LIMIT_S)
    assert table_beats(tmp_path) == told
    symbols = wfdb.rdann(str(tmp_path / "stdin"), "pred").symbol  # of the first beats: SAVE_S have not passed
    assert symbols == [name for _, name in told[: len(symbols)]] and symbols


def test_files_that_grow_are_those_that_are_written_at_once(classifier, tmp_path, monkeypatch):
    """With an annotation file saved at each beat, notes and the SYNTHETIC mark too."""
    for folder, save_s in (("grown", 0.0), ("whole", 1e9)):
        monkeypatch.setattr(beat_files, "SAVE_S", save_s)
        feed = Feed("made", "MLII", FS_HZ, np.array_split(ecg(), 200), synthetic=True)
        follow(feed, classifier, tmp_path / folder, min_confidence=0.3)
    for name in ("made-SYNTHETIC.csv", "made.pred"):
        assert (tmp_path / "grown" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    read = wfdb.rdann(str(tmp_path / "grown" / "made"), "pred")
    assert read.fs == FS_HZ and len(read.sample) == 20 and set(read.aux_note) == {"not classified"}
    assert b"SYNTHETIC" in (tmp_path / "grown" / "made.pred").read_bytes()


def test_what_a_stream_keeps_does_not_grow(classifier, tmp_path):
    monitor = Monitor(100, "causal")
    for place in range(1000):
        monitor.update(80, [beat(0.8 * place)], "ok")
    assert len(monitor.beats) == live.KEPT_BEATS and monitor.counts["N"] == 1000


def test_two_streams_do_not_write_one_file(tmp_path):
    first = GrowingFile(tmp_path / "stdin.csv")
    first.append("a\n")
    if not machine.WINDOWS:
        with pytest.raises(DeepECGError, match=r"stdin.csv is being written by another run"):
            GrowingFile(tmp_path / "stdin.csv")
    first.append("b\n")
    first.close()
    assert (tmp_path / "stdin.csv").read_text() == "a\nb\n"


@pytest.mark.parametrize("text, status, said", [(b"0\n" * 3000, 4, b"no beat was found"), (b"x\n", 2, b"no number")])
def test_no_beat_and_no_numbers_have_a_status_of_their_own(text, status, said, pretrained, tmp_path):
    process = started(pretrained, tmp_path)
    _, errors = process.communicate(text, timeout=LIMIT_S)
    assert process.returncode == status
    assert errors.count(b"\n") == 1 and said in errors
