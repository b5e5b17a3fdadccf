"""REST: labels of samples and of files, what is refused, and the description of both."""

import io
import json
import zipfile

import numpy as np
import pytest
import wfdb

import deep_ecg
from deep_ecg.serving.openapi import LABELS, REFUSALS
from tests.serving.conftest import client_of, files_of, two_shapes

EDGE = {"preset": "edge", "runtime": "onnx"}
JSON = {"Content-Type": "application/json"}
BYTES = {"Content-Type": "application/octet-stream"}


def zipped(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return packed.getvalue()


def beats_of(answer) -> list[tuple]:
    assert answer.status_code == 200, answer.text
    return [(beat["sample"], beat["class"]) for beat in answer.json()["beats"]]


@pytest.mark.parametrize("unit, scale", [("mV", 1), ("uV", 1000), ("V", 0.001), (None, 1)])
def test_samples_get_the_labels_of_the_function_in_any_unit(client, unit, scale):
    signal_mv = two_shapes(15)
    asked = {"signal": (scale * signal_mv).tolist(), "fs": 250} | ({"unit": unit} if unit else {})
    expected = deep_ecg.label(signal_mv, 250, **EDGE)
    answer = client.post("/predict", json=asked)
    assert beats_of(answer) == list(zip(expected.samples.tolist(), expected.classes.tolist()))
    told = answer.json()
    assert set(LABELS["required"]) <= set(told) and told["summary"]["beats"] == len(expected)
    proba = [list(beat["probabilities"].values()) for beat in told["beats"]]
    np.testing.assert_allclose(proba, expected.probabilities, atol=1e-3)


def test_null_is_a_lost_sample(client):
    signal = two_shapes(15).tolist()
    signal[1000:2500] = [None] * 1500
    answer = client.post("/predict", json={"signal": signal, "fs": 250})
    assert answer.json()["summary"]["silent"][0]["why"] == "missing"
    assert not [sample for sample, _ in beats_of(answer) if 1010 < sample < 2500]


def test_a_record_is_taken_as_files_and_as_an_archive(client, record):
    expected = deep_ecg.label(wfdb.rdrecord(str(record)).p_signal[:, 0], 250, **EDGE)
    expected = list(zip(expected.samples.tolist(), expected.classes.tolist()))
    assert beats_of(client.post("/predict", files=files_of(record), data={"lead": "MLII"})) == expected
    packed = zipped({f"somewhere/77{one}": record.with_suffix(one).read_bytes() for one in (".hea", ".dat")})
    assert beats_of(client.post("/predict", content=packed, headers=BYTES)) == expected
    answer = client.post("/predict", files=files_of(record), data={"lead": "V9"})
    assert answer.status_code == 422 and "no lead 'V9': it has MLII" in answer.json()["error"]
    assert "77" in answer.json()["error"] and "/" not in answer.json()["error"]


GOOD = {"signal": [0.0], "fs": 250}


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b'"a"', b"\xff", b"[" * 100_000, b'{"signal": [NaN], "fs": 250}',
        *(json.dumps(body).encode() for body in (
            {}, {"signal": [0.0]}, {"fs": 250}, GOOD | {"signal": []}, GOOD | {"signal": 1}, GOOD | {"signal": ["1"]},
            GOOD | {"signal": [True]}, GOOD | {"signal": [[1]]}, GOOD | {"signal": [1e10]}, GOOD | {"fs": "250"},
            GOOD | {"fs": 99}, GOOD | {"fs": 1001}, GOOD | {"fs": True}, GOOD | {"fs": None}, GOOD | {"unit": "kV"},
            GOOD | {"unit": None}, GOOD | {"more": 1},
        )),
    ],
)  # fmt: skip
def test_what_is_not_as_described_is_refused_in_one_line(client, body):
    answer = client.post("/predict", content=body, headers=JSON)
    assert answer.status_code == 400 and answer.json()["error"].isprintable()


@pytest.mark.parametrize("kind", ["text/plain", "", "application/x-www-form-urlencoded"])
def test_another_kind_of_content_is_refused(client, kind):
    assert client.post("/predict", content=b"{}", headers={"Content-Type": kind}).status_code == 415


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 1000, b"PK\3\4 no archive", zipped({}), zipped({"a.txt": b"a"})],
    ids=["empty", "zeros", "half a zip", "empty zip", "zip of a text"],
)  # fmt: skip
def test_what_is_no_record_is_refused_without_a_name_of_the_server(client, content, tmp_path):
    answer = client.post("/predict", content=content, headers=BYTES)
    assert answer.status_code in (400, 422), answer.text
    assert answer.json()["error"].isprintable() and "/tmp" not in answer.json()["error"]


@pytest.mark.parametrize("body", [b"", b"--x", b"--x\r\n\r\n--x--"])
def test_a_form_that_is_none_is_refused(client, body):
    for kind in ("multipart/form-data", "multipart/form-data; boundary=x"):
        assert client.post("/predict", content=body, headers={"Content-Type": kind}).status_code == 400


def test_a_request_that_is_too_large_is_refused(tmp_path, record):
    with client_of(tmp_path, upload_bytes=4000, json_bytes=1000) as client:
        assert client.post("/predict", json={"signal": [0.1] * 1000, "fs": 250}).status_code == 413
        assert client.post("/predict", files=files_of(record)).status_code == 413
        assert client.post("/predict", content=b"0" * 5000, headers=BYTES).status_code == 413
        parts = (b"0" * 1000 for _ in range(10))  # of a length that is not told before
        assert client.post("/predict", content=parts, headers=BYTES).status_code == 413
    assert list(tmp_path.iterdir()) == []


def test_nothing_of_a_request_stays(client, record):
    root = client.app.state.server.settings.root
    before = sorted(root.rglob("*"))
    client.post("/predict", files=files_of(record))
    client.post("/predict", content=b"nothing", headers=BYTES)
    assert sorted(root.rglob("*")) == before


def test_health_and_description(client):
    assert client.get("/health").json() == {"status": "ok"}
    described = client.get("/openapi.json").json()
    assert described["openapi"] == "3.1.0" and set(described["paths"]) == {"/health", "/predict"}
    assert set(described["paths"]["/predict"]["post"]["responses"]) == {"200", *REFUSALS}
    assert client.get("/predict").status_code == 405 and client.delete("/health").status_code == 405
    assert client.get("/nothing").status_code == 404
