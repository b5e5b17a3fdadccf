"""Work in processes: results in order, and no worker, file or semaphore that outlives its run."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from joblib import delayed

from deep_ecg.system import machine, workers
from deep_ecg.system.workers import WorkerDied, run_jobs
from tests.support import ROOT
from tests.support.kill import living

LIMIT_S = 60


@pytest.mark.parametrize("threads", [1, 2])
def test_results_come_in_the_order_of_the_jobs(threads):
    large = np.ones(500_000)  # joblib would share it by a file in memory
    assert list(run_jobs((delayed(pow)(large[k] + k, 2) for k in range(6)), threads)) == [1, 4, 9, 16, 25, 36]


def test_a_worker_that_dies_ends_the_jobs_but_not_the_program():
    """As one does that the system ends for want of memory; the next jobs have workers again."""
    jobs = [delayed(pow)(2, 2), delayed(os._exit)(9), delayed(pow)(2, 3)]
    with pytest.raises(WorkerDied, match="memory"):
        list(run_jobs(jobs, 2))
    assert list(run_jobs([delayed(pow)(2, 3)], 2)) == [8]


@pytest.mark.skipif(machine.WINDOWS, reason="kills a group of processes, as Unix has them")
@pytest.mark.parametrize("with_workers", [False, True])
def test_nothing_outlives_a_killed_run(tmp_path, with_workers):
    code = "import sys, time; sys.path.insert(0, sys.argv[1])\n"
    code += "from deep_ecg.system.workers import *; from joblib import delayed\n"
    code += "def job(path): open(path, 'w').close(); time.sleep(600)\n"
    code += "list(run_jobs([delayed(job)(sys.argv[2] + k) for k in 'ab'], 2))"
    mark = ("DEEP_ECG_TEST", f"{os.getpid()}-{with_workers}")
    environment = os.environ | dict([mark])
    command = [sys.executable, "-c", code, str(ROOT), str(tmp_path / "began-")]
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    wait_for(lambda: len(list(tmp_path.iterdir())) == 2)
    assert len(living(*mark)) >= 3
    os.killpg(process.pid, signal.SIGKILL) if with_workers else process.kill()
    process.wait()
    wait_for(lambda: not living(*mark))
    for folder in (workers.SHARED_MEMORY, Path("/tmp")):
        workers._sweep(folder)
    assert not [name for name in os.listdir(workers.SHARED_MEMORY) if f"-{process.pid}-" in name]
    assert not [name for name in os.listdir(workers.SHARED_MEMORY) if f"_{process.pid}_" in name]


def test_what_living_runs_have_in_memory_stays(tmp_path):
    names = [f"sem.loky-{os.getpid()}-abc", f"joblib_memmapping_folder_{os.getpid()}_a_b", "sem.other-99999999-abc"]
    for name in [*names, "sem.loky-99999999-abc"]:  # above the largest number of a process
        (tmp_path / name).touch()
    (tmp_path / "joblib_memmapping_folder_99999999_a").mkdir()
    workers._sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)


def test_joblibs_helper_says_nothing_of_what_an_interrupted_run_has_left():
    """Ctrl-C is one line: the semaphores that it leaves are for the next run to remove."""
    program = (
        "import os\nfrom deep_ecg.system import workers\n"
        "with workers.worker_pool(1): pass\n"
        "from joblib.externals.loky.backend import resource_tracker\n"
        "resource_tracker.ensure_running(); resource_tracker.register('/loky-1-left', 'semlock'); os._exit(0)"
    )
    as_from_outside = {name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, env=as_from_outside, capture_output=True, text=True, timeout=LIMIT_S)
    assert (done.returncode, done.stderr) == (0, "")


def wait_for(holds):
    give_up_s = time.monotonic() + LIMIT_S
    while not holds():
        assert time.monotonic() < give_up_s
        time.sleep(0.05)
