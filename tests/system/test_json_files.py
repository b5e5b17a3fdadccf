"""Reports as JSON files: whole or not at all, no NaN, and one clear line on a file that is none."""

import json

import numpy as np
import pytest

from deep_ecg.system import json_files
from deep_ecg.system.errors import DeepECGError


def test_write_json_keeps_order_and_converts_numpy(tmp_path):
    path = tmp_path / "new" / "report.json"
    report = {"z": np.float32(0.5), "a": np.int64(3), "m": np.array([1, 2]), "none": None, "flag": np.bool_(True)}
    assert json_files.write_json(path, report) == path
    assert list(json.loads(path.read_text())) == ["z", "a", "m", "none", "flag"]
    assert json_files.read_json(path) == {"z": 0.5, "a": 3, "m": [1, 2], "none": None, "flag": True}
    assert [entry.name for entry in path.parent.iterdir()] == ["report.json"]


@pytest.mark.parametrize("bad", [float("nan"), np.float64("inf"), np.float32("nan"), np.array([1.0, np.nan])])
def test_write_json_refuses_nan_and_leaves_the_old_file(tmp_path, bad):
    path = tmp_path / "report.json"
    json_files.write_json(path, {"kept": 1})
    with pytest.raises(DeepECGError, match="report.json"):
        json_files.write_json(path, {"ds2": {"accuracy": bad}})
    assert json_files.read_json(path) == {"kept": 1}
    assert len(list(tmp_path.iterdir())) == 1


def test_write_json_that_cannot_write_names_the_path(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DeepECGError, match="report.json"):
        json_files.write_json(tmp_path / "file" / "report.json", {})


@pytest.mark.parametrize("text", ["", '{"a": ', '{"a": NaN}', "[1]", "\xff"])
def test_read_json_of_a_damaged_file_is_one_clear_line(tmp_path, text):
    path = tmp_path / "report.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(DeepECGError, match="report.json is not a readable report") as error:
        json_files.read_json(path)
    assert "\n" not in str(error.value)


def test_read_json_of_a_missing_file_says_what_to_run(tmp_path):
    with pytest.raises(DeepECGError, match="main.py"):
        json_files.read_json(tmp_path / "report.json")
