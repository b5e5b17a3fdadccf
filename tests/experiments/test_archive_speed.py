"""The benchmark of archives runs the real command, and its table says what the report does."""

import pytest

from deep_ecg.records.synthetic import write_database
from deep_ecg.system.errors import DeepECGError
from experiments import archive_speed


def test_a_command_is_timed_and_writes_its_records(tmp_path, capfd):
    write_database(tmp_path / "data", ["100"], 1.0)
    found = archive_speed.labelled(tmp_path / "data", tmp_path / "out", "onnx", 1)
    assert found["wall_s"] > 0 and found["cpu_s"] > 0 and found["peak_rss_mb"] > 10
    assert {path.name for path in (tmp_path / "out").glob("100*")} == {"100.pred", "100-SYNTHETIC.csv", "100.json"}
    assert "1 records: 1 labelled" in capfd.readouterr().out


def test_a_command_that_fails_is_no_measurement(tmp_path):
    (tmp_path / "data").mkdir()
    with pytest.raises(DeepECGError, match="status 2"):
        archive_speed.labelled(tmp_path / "data", tmp_path / "out", "onnx", 1)


def test_the_table_by_hand():
    run = {"wall_s": 60.0, "cpu_s": 88.0, "peak_rss_mb": 321.4}
    runs = [{"runtime": "onnx", "workers": 2, "first": run, "again": run | {"wall_s": 4.25}}]
    cells = [cell.strip() for cell in archive_speed.table({"records": 44, "runs": runs})[-1].strip("|").split("|")]
    assert cells == ["onnx", "2", "44", "2.00", "321", "4.2"]
