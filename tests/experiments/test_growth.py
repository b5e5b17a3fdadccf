"""The benchmark of growth runs every stage on a tiny SYNTHETIC database; its figures on paper are by hand."""

import io
import json
from contextlib import redirect_stdout

import pytest

import config as settings
from deep_ecg.scoring.report import SYNTHETIC_LINE
from experiments import growth


@pytest.fixture
def here(monkeypatch):
    """Stages in this process, on seven records instead of 44."""

    def stage_here(name, folder):
        with redirect_stdout(io.StringIO()) as output:
            growth.stage(name, folder)
        return json.loads(output.getvalue().splitlines()[-1])

    monkeypatch.setattr(growth, "timed", stage_here)
    monkeypatch.setattr(growth, "DS1", growth.DS1[:5])
    monkeypatch.setattr(growth, "DS2", growth.DS2[:2])
    monkeypatch.setitem(settings.PRESETS, "edge", settings.PRESETS["edge"])  # the stages change it
    monkeypatch.delenv(settings.DATA_DIR_VARIABLE, raising=False)


def test_every_stage_is_measured_and_the_report_says_synthetic(here, tmp_path, capsys):
    growth.benchmark(tmp_path / "growth.json", minutes=1, times=(1,), hours=(0.1, 0.2))
    report = json.loads((tmp_path / "growth.json").read_text())
    assert report["data_source"] == "synthetic"
    (size,) = report["sizes"]
    assert (size["records"], size["minutes"]) == (7, 7)
    assert all(size[stage]["cpu_s"] >= 0 and size[stage]["memory_mb"] > 10 for stage in growth.STAGES)
    assert size["signal_bytes"] > 7 * 60 * 360 * 3  # two samples in three bytes, and annotations
    assert size["cache_bytes"] > 7 * 60 * 2 * 280 * 4 / 2  # a beat every two seconds at the least
    assert SYNTHETIC_LINE in capsys.readouterr().out


def test_what_thousands_of_patients_need_is_by_hand():
    """From 60 to 1,060 minutes each stage takes 10 s and 1 MB more; 11,000 times two weeks are 221,760,000 minutes."""
    sizes = [
        {
            "times": times, "records": 44 * times, "minutes": minutes, "signal_bytes": 1e6, "cache_bytes": 2e6,
            **{stage: {"cpu_s": 5.0 + minutes / 100, "memory_mb": 300 + minutes / 1000} for stage in growth.STAGES},
        }
        for times, minutes in ((1, 60), (16, 1060))
    ]  # fmt: skip
    record = [{"hours": 1, "cpu_s": 1.0, "memory_mb": 200}, {"hours": 4, "cpu_s": 1.0, "memory_mb": 500}]
    text = "\n".join(growth.table({"sizes": sizes, "record": record}))
    assert text.startswith(SYNTHETIC_LINE)
    assert "| 16 x | 704 | 17.7 | 15.6, 301 |" in text
    assert "| beats and replays, once | 616 processor hours |" in text  # 221,760,000 * 0.01 s
    assert "| training, 8 epochs | 4,928 processor hours |" in text
    assert "| memory of a worker that reads a record of two weeks | 34 GB |" in text  # 336 h of 100 MB
    assert "without windows | 0.2 TB |" in text  # 221,760 MB
    assert "360 Hz) | 0.2 TB |" in text  # 1 MB for 1,060 minutes


def test_a_stage_that_fails_is_one_line(tmp_path):
    with pytest.raises(growth.DeepECGError, match="stage ingest ended with status"):
        growth.timed("ingest", tmp_path)
