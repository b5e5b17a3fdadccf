"""Records shared among the workers of a real cluster, as processes of this machine: the same bytes, come what may."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from joblib import delayed

import main
from deep_ecg.labelling import cluster as labelling
from deep_ecg.labelling.archive import INTERRUPTED, MANIFEST
from deep_ecg.labelling.archive_records import Found
from deep_ecg.records import synthetic
from deep_ecg.system import cluster
from deep_ecg.system.errors import DeepECGError
from deep_ecg.system.workers import WorkerDied
from tests.support import ROOT
from tests.support.kill import paths_below

LIMIT_S = 120
OPTIONS = ["--preset", "edge", "--runtime", "onnx"]
RECORDS = ["100", "105", "200", "203", "221", "233"]
NO_DISTRIBUTED = "distributed (requirements-cluster.txt) is not installed"


class Cluster:
    """A scheduler on loopback and its workers, each a process."""

    def __init__(self, folder: Path):
        self._folder, self._processes = folder, []
        self.scheduler = self._dask("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-show")
        self.address = ""
        wait_for(lambda: self._file.is_file() and self._file.stat().st_size)
        self.address = json.loads(self._file.read_text())["address"]

    @property
    def _file(self) -> Path:
        return self._folder / "scheduler.json"

    def worker(self, *options: str, project: Path = ROOT) -> subprocess.Popen:
        """One more, started in the folder `project`."""
        where = ["--host", "127.0.0.1", "--local-directory", str(self._folder)]
        return self._dask("worker", *where, *(options or ("--nthreads", "1", "--no-nanny")), project=project)

    def _dask(self, what: str, *options: str, project: Path = ROOT) -> subprocess.Popen:
        command = [sys.executable, "-m", "dask", what, "--scheduler-file", str(self._file), "--no-dashboard"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen([*command, *options], cwd=project, **quiet)
        self._processes.append(process)
        return process

    def end(self, *processes: subprocess.Popen):
        """Ends these, by default all."""
        for process in processes or self._processes:
            process.kill()
            process.wait()


def wait_for(what: Callable):
    give_up_s = time.monotonic() + LIMIT_S
    while not what():
        assert time.monotonic() < give_up_s
        time.sleep(0.005)


@pytest.fixture
def dask(tmp_path_factory, monkeypatch) -> Iterator[Cluster]:
    pytest.importorskip("distributed", reason=NO_DISTRIBUTED)
    monkeypatch.setattr(cluster, "LOOK_S", 0.2)
    there = Cluster(tmp_path_factory.mktemp("dask"))
    yield there
    there.end()


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """SYNTHETIC records and one that is none."""
    folder = tmp_path_factory.mktemp("made")
    for below in (".", "ward 2"):
        synthetic.write_database(folder / below, RECORDS, 1.0)
    (folder / "bad.hea").write_text("not a header\n")
    return folder


@pytest.fixture
def data(made, tmp_path, monkeypatch) -> Path:
    """The path of a copy, relative to the current folder."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(made, "data"))


def files(folder: Path) -> dict[str, bytes]:
    """What is in `folder`, without what a worker was writing when it was killed: the next command there sweeps that."""
    found = [path for path in folder.rglob("*") if path.is_file() and ".unfinished-" not in str(path)]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def notes(folder: Path) -> int:
    return sum(path.suffix == ".json" for path in paths_below(folder))


def started(command: list[str]) -> subprocess.Popen:
    how = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.default_int_handler), "text": True}
    return subprocess.Popen([sys.executable, str(ROOT / "main.py"), *command], stderr=subprocess.PIPE, **how)


def test_with_a_worker_killed_and_the_run_stopped_the_bytes_are_those_of_one_machine(data, dask, capsys):
    assert main.main(["predict", str(data), "--out", "one", "--workers", "1", *OPTIONS]) == 3
    expected = capsys.readouterr()
    lost, other = dask.worker(), dask.worker()
    command = ["predict", str(data), "--out", "many", "--cluster", dask.address, *OPTIONS]

    run = started(command)
    wait_for(lambda: notes(Path("many")))
    run.send_signal(signal.SIGINT)
    assert run.communicate(timeout=LIMIT_S)[1].strip() == INTERRUPTED and run.returncode == 130
    assert not Path("many", MANIFEST).exists()

    before = notes(Path("many"))
    run = started(command)
    wait_for(lambda: notes(Path("many")) > before)
    dask.end(lost)
    said = run.communicate(timeout=LIMIT_S)[1]
    assert (run.returncode, said) == (3, expected.err.replace("one/", "many/"))
    assert files(Path("many")) == files(Path("one"))

    Path("many/ward 2/203.json").unlink()
    assert main.main(command) == 3
    assert "13 records: 12 labelled, 11 of them before, 1 failed, 12 SYNTHETIC" in capsys.readouterr().out
    assert files(Path("many")) == files(Path("one"))
    assert other.poll() is None


def test_a_job_that_costs_workers_is_given_up_and_a_scheduler_that_goes_is_told(dask):
    workers = [dask.worker() for _ in range(4)]  # the scheduler gives up after as many
    with cluster.cluster_pool(dask.address) as run:
        assert isinstance(next(run([delayed(os._exit)(1)])), WorkerDied)
        assert [worker.wait(LIMIT_S) for worker in workers] == [1] * 4
        dask.worker()
        results = run([delayed(pow)(2, exp=3), delayed(time.sleep)(LIMIT_S)])
        assert next(results) == 8
        dask.end(dask.scheduler)
        with pytest.raises(DeepECGError, match="the scheduler is gone"):
            next(results)


def test_a_worker_of_another_kind_is_told_in_one_line(data, dask, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cluster, "ALONE_S", 0.5)
    command = ["predict", str(data), "--out", "many", "--cluster", dask.address, *OPTIONS]

    def refused() -> str:
        assert main.main(command) == 2
        said = capsys.readouterr().err
        assert said.startswith("error: ") and said.count("\n") == 1 and not Path("many", MANIFEST).exists()
        return said

    assert "the scheduler has had no worker for 0.5 s" in refused()
    monkeypatch.setattr(cluster, "ALONE_S", LIMIT_S)
    (tmp_path / "none").mkdir()
    other = dask.worker(project=tmp_path / "none")
    assert "has no package deep_ecg; docs/archives.md says" in refused()
    dask.end(other)
    other = dask.worker("--nthreads", "2", "--no-nanny")
    assert "has 2 threads: start it with --nthreads 1 --nworkers N" in refused()
    dask.end(other)
    for name in ("deep_ecg", "pretrained"):
        shutil.copytree(ROOT / name, tmp_path / "copy" / name)
    for path in ROOT.glob("*.py"):
        shutil.copy(path, tmp_path / "copy")
    (tmp_path / "copy" / "config.py").write_text((ROOT / "config.py").read_text() + "\n")
    dask.worker(project=tmp_path / "copy")
    assert "has Deep-ECG of code" in refused()


@pytest.mark.parametrize("name", ["home", "mark", "sample"])
def test_a_worker_without_the_folders_of_the_run_labels_nothing(data, name):
    there = {"home": data, "mark": data, "sample": (Path("data/100.hea"), Path("data/100.hea").stat().st_size)}
    shared = labelling.Shared(**{**there, "home": Path.cwd()})
    other = replace(shared, **{name: (Path("data/100.hea"), 1) if name == "sample" else Path("gone").absolute()})
    job = type("Job", (), {"root": data, "out": data})()
    with pytest.raises(DeepECGError, match="all machines have to share it under the same path"):
        labelling._label_there(job, Found("100"), other)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--cluster", "scheduler"], "'scheduler' is no address of a scheduler: tcp://HOST:PORT"),
        (["--cluster", "tcp://127.0.0.1:1", "--workers", "2"], "--workers has no meaning with --cluster"),
    ],
)
def test_a_wrong_setting_is_one_line(data, capsys, arguments, said):
    assert main.main(["predict", str(data), "--out", "many", *OPTIONS, *arguments]) == 2
    assert said in capsys.readouterr().err


def test_where_there_is_no_scheduler_a_line_says_so(data, capsys, monkeypatch):
    pytest.importorskip("distributed", reason=NO_DISTRIBUTED)
    monkeypatch.setattr(cluster, "ANSWER_S", 0.5)
    assert main.main(["predict", str(data), "--out", "many", "--cluster", "tcp://127.0.0.1:1", *OPTIONS]) == 2
    said = capsys.readouterr().err
    assert "error: --cluster tcp://127.0.0.1:1: no scheduler answers (" in said and said.count("\n") == 1


def test_without_distributed_a_line_says_how_to_get_it(data, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert main.main(["predict", str(data), "--out", "many", "--cluster", "tcp://127.0.0.1:1", *OPTIONS]) == 2
    assert capsys.readouterr().err == (
        "error: package distributed is not installed: pip install -r requirements-cluster.txt\n"
    )
