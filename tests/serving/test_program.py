"""`main.py serve` as a program: many clients at once, a server that is killed, tokens, and what OpenAPI promises."""

import json
import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest

import deep_ecg
import main
from deep_ecg.serving import command
from tests.serving.conftest import Program, two_shapes
from tests.support.records import refused

EDGE = {"preset": "edge", "runtime": "onnx"}
WAIT_S = 240


def asked(address: str, body: bytes | None = None, **headers: str) -> bytes:
    """The answer of a server; a body is sent as JSON."""
    kind = {"Content-Type": "application/json"} if body else {}
    with urllib.request.urlopen(urllib.request.Request(address, body, kind | headers), timeout=WAIT_S) as answer:
        return answer.read()


def test_ten_clients_at_once_get_their_own_labels(program):
    signals = [np.tile(two_shapes(10 + number), 1 + number % 3) for number in range(10)]
    expected = [deep_ecg.label(signal_mv, 250, **EDGE) for signal_mv in signals]
    answers: dict[int, dict] = {}

    def ask(number: int):
        body = json.dumps({"signal": signals[number].tolist(), "fs": 250}).encode()
        answers[number] = json.loads(asked(f"{program.address}/predict", body))

    clients = [threading.Thread(target=ask, args=[number]) for number in range(10)]
    for one in clients:
        one.start()
    for one in clients:
        one.join(WAIT_S)
    for number, beats in enumerate(expected):
        told = [(beat["sample"], beat["class"]) for beat in answers[number]["beats"]]
        assert told == list(zip(beats.samples.tolist(), beats.classes.tolist()))


def test_it_is_on_loopback_without_a_token(program):
    assert program.address.startswith("http://127.0.0.1:") and program.token is None
    assert json.loads(asked(f"{program.address}/health")) == {"status": "ok"}
    with pytest.raises(urllib.error.HTTPError, match="421"):
        asked(f"{program.address}/health", Host="evil.example")


def test_a_folder_has_one_server(program, tmp_path):
    done = subprocess.run(
        [sys.executable, Path(main.__file__), "serve", "--port", "0", "--out", program.out],
        capture_output=True, text=True, timeout=WAIT_S,
    )  # fmt: skip
    assert done.returncode == 2 and "in use by another run" in done.stderr and done.stderr.count("\n") == 1


def test_at_any_other_address_there_is_a_new_token_every_time(tmp_path):
    """Bound to all addresses, as in the Docker image, and asked over loopback."""
    tokens = set()
    for place in range(2):
        program = Program(tmp_path / str(place), "--host", "0.0.0.0")
        tokens.add(program.token)
        try:
            with pytest.raises(urllib.error.HTTPError, match="401"):
                asked(f"{program.address}/records")
            assert b"records" in asked(f"{program.address}/records", Authorization=f"Bearer {program.token}")
        finally:
            program.kill()
    assert len(tokens) == 2 and all(len(token) >= 32 for token in tokens)


def test_a_package_that_is_missing_is_one_line_with_the_mend(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(command, "find_spec", lambda name: None if name == "uvicorn" else 1)
    assert main.main(["serve", "--out", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said == "error: package uvicorn is not installed: pip install -r requirements-serve.txt\n"


@pytest.mark.parametrize("port", ["-1", "65536"])
def test_a_port_that_is_none_is_refused(port, tmp_path):
    options = {"port": int(port), "out": tmp_path}
    refused(lambda: command.serve_command(options), "--port")


def test_the_description_is_kept_by_what_schemathesis_tries(program, tmp_path):
    pytest.importorskip("schemathesis", reason="schemathesis is not installed: requirements-dev.txt has it")
    run = [Path(sys.executable).with_name("schemathesis"), "run", f"{program.address}/openapi.json"]
    bounded = ["--max-examples", "3", "--workers", "1", "--request-timeout", "60", "--seed", "1", "--no-color"]
    done = subprocess.run(
        [*run, *bounded], cwd=tmp_path, capture_output=True, text=True, timeout=600,
        env=os.environ | {"HYPOTHESIS_STORAGE_DIRECTORY": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
