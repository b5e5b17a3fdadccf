"""Digests of answers: what they are of, and what is told where two checkouts differ."""

import json

import numpy as np
import pytest

from config import DATA_DIR_VARIABLE, Config
from data_loader import load_beats
from deep_ecg.networks.classifier import load_classifier
from deep_ecg.records.database import Source
from experiments import answers
from experiments.__main__ import main


def test_digests_are_sha_256():
    """The examples of FIPS 180-2 for three bytes and for none."""
    assert answers.digest(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert answers.digest() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert answers.digest(b"a", b"bc") == answers.digest(b"abc")


def test_a_bit_a_kind_or_a_shape_makes_another_digest():
    values = np.arange(6, dtype=np.float32)
    others = [values.astype(np.float64), values.reshape(2, 3), values[::-1], np.nextafter(values, np.float32(9))]
    found = {answers.digest(one) for one in (values, *others)}
    assert len(found) == 5
    assert answers.digest(np.repeat(values, 2)[::2]) == answers.digest(values)  # where it lies in memory does not


def test_reports_do_not_depend_on_the_order_of_their_keys():
    assert answers.digest({"a": 1, "b": [0.1, None]}) == answers.digest({"b": [0.1, None], "a": 1})
    assert answers.digest({"a": np.float32(1)}) == answers.digest({"a": 1.0}) != answers.digest({"a": 1.5})


@pytest.fixture
def answered(monkeypatch) -> dict:
    """What this checkout answers, without the work."""
    found = {"diagnostic: beats DS1": "1" * 64, "firmware: deep_ecg.c": "2" * 64}
    monkeypatch.setattr(answers, "answers", lambda: iter(found.items()))
    return found


def test_digests_are_kept_and_compared(answered, tmp_path, capsys):
    kept = tmp_path / "kept.json"
    assert main(["answers", "--out", str(kept)]) == 0
    assert json.loads(kept.read_text()) == answered
    assert main(["answers", "--against", str(kept)]) == 0
    assert f"all 2 answers are those of {kept}" in capsys.readouterr().out


def test_what_differs_is_named_and_status_2(answered, tmp_path, capsys):
    """Of three answers kept one is another and one is not given any more; what is new is no difference."""
    kept = tmp_path / "kept.json"
    kept.write_text(json.dumps({"diagnostic: beats DS1": "1" * 64, "firmware: deep_ecg.c": "0" * 64, "gone": "3" * 64}))
    answered["new"] = "4" * 64
    assert main(["answers", "--against", str(kept)]) == 2
    output, errors = capsys.readouterr()
    assert output.splitlines()[-3:] == [
        f"not in {kept}: new", f"differs from {kept}: firmware: deep_ecg.c", "no longer answered: gone"
    ]  # fmt: skip
    assert errors == f"error: 2 of 3 answers are not those of {kept}: see the lines above\n"


def test_a_missing_file_is_told_before_the_work(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(answers, "answers", lambda: pytest.fail("half an hour for nothing"))
    assert main(["answers", "--against", str(tmp_path / "nowhere.json")]) == 2
    assert "nowhere.json is missing" in capsys.readouterr().err


def test_synthetic_records_are_refused(monkeypatch, synthetic_db, tmp_path, capsys):
    monkeypatch.setenv(DATA_DIR_VARIABLE, str(synthetic_db))
    assert main(["answers", "--out", str(tmp_path / "out.json")]) == 2
    assert "SYNTHETIC" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_answers_of_a_network_are_the_same_each_time_and_another_network_has_others(synthetic_db, tmp_path):
    config = Config(mode="causal", preset="edge", cache_dir=str(tmp_path), threads=1)
    beats = load_beats(Source("synthetic", synthetic_db), ("100", "103"), config)
    first, again, other = (
        answers.of_probabilities(load_classifier(Config(mode="causal", preset=preset), runtime="torch"), beats)
        for preset in ("edge", "edge", "full")
    )
    assert first == again
    assert list(first) == ["weights", "network", "with priors", "calibrated", "labels", "scores"]
    assert all(first[name] != other[name] for name in ("weights", "network", "with priors", "calibrated", "scores"))


def test_a_stream_is_digested_with_everything_that_it_tells(synthetic_db):
    classifier = load_classifier(Config(mode="causal", preset="edge"))
    found = [answers.of_stream(classifier, synthetic_db / name) for name in ("100", "100", "103")]
    assert found[0] == found[1] != found[2]
