"""A server within the process of the tests, and one in a process of its own."""

import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from deep_ecg.serving.app import Settings, create_app
from deep_ecg.serving.jobs import Network
from deep_ecg.serving.limits import Limits
from tests.support import ROOT
from tests.support.records import write_record

NETWORK, LIVE = Network("diagnostic", "edge", "onnx"), Network("causal", "edge", "onnx")
WAIT_S = 120.0


def two_shapes(count: int = 40, fs_hz: float = 250.0) -> np.ndarray:
    """A lead (n,) of `count` beats 0.8 s apart, the first at 1 s; every fifth is wide, upside down and 0.2 s early."""
    t_s = np.arange(round((2 + 0.8 * count) * fs_hz)) / fs_hz
    signal_mv = 0.005 * np.random.default_rng(0).normal(size=len(t_s))
    for beat in range(count):
        wide = beat % 5 == 4
        at_s = 1 + 0.8 * beat - 0.2 * wide
        signal_mv += (-1.4 if wide else 1.0) * np.exp(-0.5 * ((t_s - at_s) / (0.035 if wide else 0.012)) ** 2)
        signal_mv += (0.4 if wide else 0.2) * np.exp(-0.5 * ((t_s - at_s - 0.25) / 0.05) ** 2)
    return signal_mv


def until_last_beat(count: int) -> np.ndarray:
    """`two_shapes` without the noise after its last T wave, which would be all that a page shows in the end."""
    return two_shapes(count)[: round((1.6 + 0.8 * (count - 1)) * 250)]


@pytest.fixture(scope="session")
def record(tmp_path_factory) -> Path:
    """A WFDB record of `two_shapes` called 77, its path without extension."""
    return write_record(tmp_path_factory.mktemp("record"), "77", two_shapes(), fs=250)


def client_of(root: Path, token: str | None = None, **limits) -> TestClient:
    """A visitor's client of a server of its own."""
    settings = Settings(root, NETWORK, LIVE, token, 1, Limits(**limits))
    return TestClient(create_app(settings), base_url="http://localhost")


@pytest.fixture(scope="session")
def client(tmp_path_factory) -> TestClient:
    """The one visitor of a server within this process."""
    with client_of(tmp_path_factory.mktemp("served")) as client:
        client.get("/")
        yield client


def files_of(path: Path, *endings: str) -> list[tuple]:
    """The files of a WFDB record as a form has them."""
    return [("files", (f"{path.name}{one}", Path(f"{path}{one}").read_bytes())) for one in endings or (".hea", ".dat")]


def labelled(client, files: list[tuple], **fields) -> str:
    """The number of the one record that is uploaded, once it is labelled."""
    answer = client.post("/records", files=files, data=fields)
    assert answer.status_code == 202, answer.text
    [number] = answer.json()["records"]
    return until_labelled(client, number)


def until_labelled(client, number: str) -> str:
    """`number`, once its labelling has ended."""
    end_s = time.monotonic() + WAIT_S
    while client.get(f"/records/{number}").json()["state"] == "waiting":
        assert time.monotonic() < end_s, "it is never labelled"
        time.sleep(0.05)
    return number


class Program:
    """`main.py serve` in a process of its own, at an address of loopback unless `arguments` say another."""

    def __init__(self, out: Path, *arguments: str):
        self.out = out
        command = [sys.executable, ROOT / "main.py", "serve", "--port", "0", "--runtime", "onnx", "--preset", "edge"]
        self.process = subprocess.Popen(
            [*command, "--workers", "1", "--out", out, *arguments], cwd=out.parent, stdout=subprocess.PIPE, text=True
        )
        self.said = self.process.stdout.readline()
        found = re.match(r"Deep-ECG at (http://\S+?)/(?:\?token=(\S+))?$", self.said.strip())
        assert found, self.said
        self.address, self.token = found.groups()
        self.process.stdout.readline()

    def kill(self):
        """Ends it without a warning."""
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> Program:
    """A server that lives as long as the module."""
    program = Program(tmp_path_factory.mktemp("program") / "served")
    yield program
    program.kill()
