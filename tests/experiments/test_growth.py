"""The benchmark of growth runs every stage on a tiny SYNTHETIC database; its figures on paper are by hand."""

import io
import json
from contextlib import redirect_stdout

import pytest

from config import DATA_DIR_VARIABLE
from deep_ecg.records.synthetic import write_database
from deep_ecg.system.errors import DeepECGError
from deep_ecg.system.text import SYNTHETIC_LINE
from experiments import growth
from experiments.__main__ import main


@pytest.fixture
def here(monkeypatch):
    """Stages in this process."""

    def stage_here(name, folder):
        with redirect_stdout(io.StringIO()) as output:
            growth.stage(name, folder)
        return json.loads(output.getvalue().splitlines()[-1])

    monkeypatch.setattr(growth, "timed", stage_here)
    monkeypatch.delenv(DATA_DIR_VARIABLE, raising=False)


def test_every_stage_is_measured_and_the_report_says_synthetic(here, tmp_path, capsys):
    options = "--records 101 106 108 109 112 100 103 --minutes 1 --times 1 --hours 0.1 0.2"
    assert main(["growth", *options.split(), "--out", str(tmp_path / "growth.json")]) == 0
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
    assert "in what order | 0.2 TB |" in text  # 221,760 MB
    assert "360 Hz) | 0.2 TB |" in text  # 1 MB for 1,060 minutes


def test_a_stage_has_a_process_of_its_own(tmp_path):
    write_database(tmp_path / "data" / "copy0", ("101", "106", "108", "109", "112", "100"), 1.0)
    found = growth.timed("ingest", tmp_path)
    assert found["cpu_s"] >= 0 and found["memory_mb"] > 10


def test_records_of_all_copies_are_divided_as_ds1_and_ds2(tmp_path):
    for copy in ("copy0", "copy1", "copy10"):
        write_database(tmp_path / copy, ("106", "101", "100", "103"), 1.0)
    lists = growth._lists(tmp_path)
    copies = ("copy0", "copy1", "copy10")
    assert lists["train_records"] == tuple(f"{copy}/{name}" for copy in copies for name in ("101", "106"))
    assert lists["validation_records"] == ("copy0/101", "copy0/106", "copy1/101", "copy1/106")
    assert lists["test_records"] == tuple(f"{copy}/{name}" for copy in copies for name in ("100", "103"))


def test_a_stage_that_fails_is_one_line(tmp_path):
    with pytest.raises(DeepECGError, match="stage ingest ended with status"):
        growth.timed("ingest", tmp_path)
