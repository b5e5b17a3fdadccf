"""Tests of processes.py: torchrun itself, two processes, against one process or values by hand."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from config import DATA_DIR_VARIABLE
from deep_ecg.system.errors import DeepECGError
from deep_ecg.training import engine, processes
from loss import FocalLoss
from model import FeatureMLP
from tests.support import ROOT

LIMIT_S = 240


def torchrun(script: Path, *arguments: str, folder: Path, data_folder: Path | str = "absent"):
    """Two processes of `script` in `folder`, ended."""
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    return subprocess.run(
        [sys.executable, *launcher, str(script), *arguments],
        cwd=folder,
        env=os.environ | {DATA_DIR_VARIABLE: str(data_folder), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )


def pair(code: str, argument: str, folder: Path) -> list[subprocess.Popen]:
    """Two processes of `code` in `folder` that meet as those of torchrun do, without its launcher."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        environment = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    environment |= {"WORLD_SIZE": "2", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return [
        subprocess.Popen(
            [sys.executable, "-c", code, argument],
            cwd=folder, env=environment | {"RANK": str(rank)}, text=True, **pipes,
        )
        for rank in (0, 1)
    ]


@pytest.fixture
def process(monkeypatch):
    """Makes this process look like one that torchrun has started."""

    def process(rank: int, size: int = 2):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", str(size))

    return process


# Alone -------------------------------------------------------------------------------------------------------------


def test_alone_everything_is_its_own():
    assert (processes.size(), processes.rank(), processes.is_first()) == (1, 0, True)
    assert processes.gathered("a") == ["a"] and processes.from_first("a") == "a"
    assert processes.share_of(np.array(["b", "a", "b"])) == ["b", "a"]
    assert (processes.part_of(128), processes.own_seed(7)) == (128, 7)
    model = torch.nn.Linear(2, 2)
    assert processes.joined(model, 0) is model


def test_patients_are_shared_out_whole_and_evenly(process):
    """Records of 5, 4, 3 and 2 beats: 5 + 2 and 4 + 3."""
    records = np.repeat(["c", "a", "d", "b"], [3, 5, 2, 4])
    shares = []
    for rank in (0, 1):
        process(rank)
        shares.append(processes.share_of(records))
    assert shares == [["a", "d"], ["b", "c"]]


def test_too_many_processes_are_a_clear_error(process):
    process(0, size=3)
    with pytest.raises(DeepECGError, match="3 processes for 2 training records"):
        processes.share_of(np.array(["a", "b"]))
    with pytest.raises(DeepECGError, match="batch_size = 128 is not a multiple of the 3 processes"):
        processes.part_of(128)


def test_each_process_draws_its_own_numbers(process):
    seeds = set()
    for rank in range(3):
        process(rank)
        seeds |= {processes.own_seed(seed) for seed in range(5)}
    assert len(seeds) == 15


# Two processes -----------------------------------------------------------------------------------------------------

TOY = """
import sys
import torch
from deep_ecg.training import processes
from tests.training.test_processes import toy_training

with processes.group():
    print("said by", processes.rank())
    torch.save(toy_training(sys.argv[1]), f"{sys.argv[1]}/{processes.rank()}.pt")
"""


class Toy(torch.nn.Module):
    """Logits from normalised features through one linear layer and BatchNorm's statistics, which it does not use."""

    def __init__(self):
        super().__init__()
        self.features = FeatureMLP(3, 4)
        self.head = torch.nn.Linear(4, 5)
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, windows, features):
        self.seen += self.training * features[:, 0].mean().detach()
        return self.head(self.features(features))


def toy_training(folder: str) -> dict:
    """What three steps make of eight beats of two patients, each step of all beats; alone, or shared by patient."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(8, 3)).astype(np.float32) * [1, 10, 100] + [0, 5, 50]
    records, labels = np.repeat(["a", "b"], 4), np.arange(8) % 5
    mine = np.isin(records, processes.share_of(records))
    engine.seed_everything(3)
    model = Toy()
    own = torch.from_numpy(features[mine].astype(np.float32))
    model.features.set_normalisation(own)
    processes.pool_normalisation(model.features, len(own))
    beats = engine.BeatTensors(np.zeros((mine.sum(), 1, 8), np.float32), own.numpy(), labels[mine])
    schedule = engine.Schedule(epochs=3, learning_rate=0.01, batch_size=8, weight_decay=0.01)
    history = engine.fit(model, beats, None, FocalLoss(), schedule, seed=3, state_path=Path(folder) / "resume.pt")
    losses = [entry["train_loss"] for entry in history.epochs]
    return {"state": model.state_dict(), "losses": losses, "numbers": torch.rand(3)}


def test_two_processes_train_as_one_does(tmp_path):
    (tmp_path / "alone").mkdir()
    both = pair(TOY, str(tmp_path), tmp_path)
    said = [process.communicate(timeout=LIMIT_S) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert [output for output, _ in said] == ["said by 0\n", ""]
    first, second = torch.load(tmp_path / "0.pt"), torch.load(tmp_path / "1.pt")
    alone = toy_training(str(tmp_path / "alone"))
    for name, value in alone["state"].items():
        assert torch.equal(first["state"][name], second["state"][name]), name
        torch.testing.assert_close(first["state"][name], value, rtol=1e-4, atol=1e-6)
    assert first["losses"] == pytest.approx(alone["losses"], rel=1e-4) and first["losses"] == second["losses"]
    assert not torch.equal(first["numbers"], second["numbers"])  # of dropout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.pt", "1.pt", "alone", "resume.pt"]


LOOPING = """
import sys
import torch
import torch.distributed as dist
from deep_ecg.system.console import exit_status
from deep_ecg.training import processes

def work():
    with processes.group():
        dist.all_reduce(torch.ones(9))
        sys.stderr.write("joined\\n")
        while sys.argv[1] == "train":
            dist.all_reduce(torch.ones(9))
        processes.wait() if processes.is_first() else sys.stdin.read()

sys.exit(exit_status(work, "Interrupted."))
"""


@pytest.mark.parametrize("killed, doing", [(0, "train"), (1, "wait")])
def test_a_process_whose_partner_is_killed_ends_with_one_line(killed, doing, tmp_path):
    both = pair(LOOPING, doing, tmp_path)
    assert [process.stderr.readline() for process in both] == ["joined\n"] * 2
    both[killed].kill()
    left = both[1 - killed]
    _, said = left.communicate(timeout=LIMIT_S)
    both[killed].communicate()
    assert left.returncode == 2
    assert re.fullmatch(rf"error: process {1 - killed} of 2 has lost another one: [^\n]*\n", said), said


def test_processes_that_cannot_meet_say_so_in_one_line(process, monkeypatch):
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    process(0)
    with pytest.raises(DeepECGError, match="the 2 processes cannot meet: start them with torchrun"), processes.group():
        pass


SHORT = """
import functools, sys
import main
from deep_ecg.training import pictures

records = {"train_records": ("106", "118", "124", "203", "208", "209"), "test_records": ("202", "213", "221", "232")}
settings = {"preset": "edge", "epochs": 2, "data_source": "local", "replays": 0, "batch_size": 32, **records}
main.Config = functools.partial(main.Config, validation_records=("118", "124"), **settings)
pictures.draw_run = lambda *arguments: []
sys.exit(main.main(sys.argv[1:]))
"""


def test_a_run_shared_by_two_processes(synthetic_db, tmp_path):
    (tmp_path / "short.py").write_text(SHORT)
    done = torchrun(tmp_path / "short.py", "--seeds", "1", folder=tmp_path, data_folder=synthetic_db)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("[3/6] Train") == 1 and "SYNTHETIC" in done.stdout
    run = tmp_path / "runs" / "diagnostic-edge-SYNTHETIC"
    assert {path.name for path in run.iterdir()} >= {"report.json", "report.md", "seed-1", "validation"}
    assert (run / "seed-1" / "checkpoint.pt").is_file() and not list(run.rglob("resume.pt"))
