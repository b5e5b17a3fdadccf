"""Work shared among processes, which leave nothing behind however the run ends."""

import os
import re
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from deep_ecg.system import console
from deep_ecg.system.errors import DeepECGError

# joblib is imported where there is work to share: single records start without it.

LOOK_S = 0.5  # how often a worker looks whether its run is still there
SHARED_MEMORY = Path("/dev/shm")  # of Linux; other systems leave nothing there
LEFT = re.compile(r"(?:sem\.loky-|joblib_memmapping_folder_)(\d+)[-_].*")  # with the number of its process
QUIET = "ignore:resource_tracker:UserWarning"  # joblib's helper, of what an interrupted run has left; see _sweep
Run = Callable[[Iterable], Iterator]  # jobs (joblib's `delayed`) -> their results in the same order


class WorkerDied(DeepECGError):
    """A worker process ended before its work was done."""


def run_jobs(jobs: Iterable, threads: int) -> Iterator:
    """The results of `jobs` in their order, worked on by a `worker_pool` of their own."""
    with worker_pool(threads) as run:
        yield from run(jobs)


@contextmanager
def worker_pool(threads: int) -> Iterator[Run]:
    """Gives what runs jobs in `threads` processes, 0: one a core, which live as long as the block.

    Arrays are sent, not shared: joblib would put large ones into files in memory, which outlive a run that is killed.
    The workers of such a run end within LOOK_S, where joblib's own wait for work for five minutes; the empty folders
    and semaphores that it leaves are removed here. WorkerDied where one of them ends too soon.
    """
    from joblib import Parallel
    from joblib.externals.loky import get_reusable_executor
    from joblib.externals.loky.process_executor import BrokenProcessPool

    for folder in (SHARED_MEMORY, Path(tempfile.gettempdir())):
        _sweep(folder)
    if QUIET not in (warned := os.environ.get("PYTHONWARNINGS", "")):
        os.environ["PYTHONWARNINGS"] = f"{warned},{QUIET}".lstrip(",")
    watched = {"initializer": _end_with, "initargs": (os.getpid(),)}
    try:
        how = {"return_as": "generator", "max_nbytes": None, "batch_size": 1}  # a job is long enough on its own
        yield lambda jobs: Parallel(n_jobs=threads or -1, **how, **watched)(jobs)
    except BrokenProcessPool:
        raise WorkerDied("a worker process has died: there was too little memory, or its input is broken") from None
    finally:
        if threads != 1:
            get_reusable_executor().shutdown(kill_workers=True)


def _end_with(run: int):
    """Ends this worker process soon after process `run`, which started it; Ctrl-C is for that one to answer."""
    from joblib.externals.loky import process_executor

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    console.prepare_streams()
    process_executor._MAX_MEMORY_LEAK_SIZE = sys.maxsize  # torch and mapped beats are no leak, and ending it costs time

    def watch():
        with suppress(psutil.Error):  # it has ended already
            worker, starter = psutil.Process(), psutil.Process(run)
            while worker.ppid() == run and starter.is_running():  # on Windows an orphan keeps its parent's number
                time.sleep(LOOK_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _sweep(folder: Path):
    """Removes semaphores and empty folders of processes that are no more."""
    for name in os.listdir(folder) if folder.is_dir() else ():
        found = LEFT.fullmatch(name)
        if found and not psutil.pid_exists(int(found[1])):
            with suppress(OSError):  # not empty, or another user's
                (os.rmdir if (folder / name).is_dir() else os.unlink)(folder / name)
