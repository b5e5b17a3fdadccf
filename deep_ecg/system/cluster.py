"""Work shared among the machines of a cluster by `dask.distributed`, an optional package (requirements-cluster.txt).

Scheduler and workers are the user's, started as docs/archives.md says. A worker runs what it is sent only where its
Python, its packages and its copy of this project are those of the machine that sends, for results depend on them.
"""

import hashlib
import logging
import pickle
import platform
import re
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from functools import cache
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deep_ecg.system.errors import DeepECGError
from deep_ecg.system.machine import RESULTS_DEPEND_ON
from deep_ecg.system.workers import Run, WorkerDied

if TYPE_CHECKING:
    from distributed import Client, Future

PROJECT = Path(__file__).resolve().parents[2]
ADDRESS = re.compile(r"(tcp|tls)://[^\s/]+:\d+")
ANSWER_S = 10.0  # within which a scheduler answers
LOOK_S = 2.0  # how often is looked whether there are workers still
ALONE_S = 60.0  # without any: time for a machine to start
IN_FLIGHT = 2000  # jobs that the scheduler knows at a time: work for hundreds of cores, and little for its memory
# As text, for a scheduler that reads what it passes on needs the project then not, and a worker without it answers
# with an error, where it would end over a function that it cannot find.
CALL = f"__import__({__name__!r}, fromlist=['_']).do(about, sent)"
MEND = "docs/archives.md says how scheduler and workers are started"


@contextmanager
def cluster_pool(address: str) -> Iterator[Run]:
    """Gives what runs jobs (joblib's `delayed`) on the workers of the scheduler at `address`, results in their order.

    Workers may come and go: what a lost one was at is done by another. The result of a job that several workers were
    lost over is a WorkerDied. DeepECGError where there is no scheduler or no worker, or none any more, and where a
    worker does not have what this machine has.
    """
    if not ADDRESS.fullmatch(address):
        raise DeepECGError(f"--cluster {address!r} is no address of a scheduler: tcp://HOST:PORT or tls://HOST:PORT")
    try:
        from distributed import Client
    except ImportError:
        raise DeepECGError("package distributed is not installed: pip install -r requirements-cluster.txt") from None
    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what goes wrong is said here, in one line
    try:
        client = Client(address, timeout=ANSWER_S, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        why = str(error).partition("\n")[0]
        raise DeepECGError(f"--cluster {address}: no scheduler answers ({why}); {MEND}") from None
    try:
        yield lambda jobs: _results(client, address, iter(jobs))
    finally:
        client.close(timeout=ANSWER_S)


def _results(client: "Client", address: str, jobs: Iterator) -> Iterator:
    """The results of `jobs` in order, IN_FLIGHT of which are sent ahead."""
    about, sent = about_here(), deque()  # type: dict[str, str], deque[Future]
    while True:
        for job in islice(jobs, IN_FLIGHT - len(sent)):
            sent.append(client.submit(eval, CALL, {"about": about, "sent": pickle.dumps(job)}, pure=False))
        if not sent:
            return
        yield _result(client, address, sent.popleft())


def _result(client: "Client", address: str, future: "Future") -> Any:
    from distributed import KilledWorker

    last_seen_s = time.monotonic()
    while True:
        was_done = future.done()
        try:
            return future.result(timeout=LOOK_S)
        except KilledWorker:
            return WorkerDied("workers were lost over it")
        except CancelledError:
            raise DeepECGError(f"--cluster {address}: the scheduler is gone: start it and the command again") from None
        except ModuleNotFoundError as error:
            raise DeepECGError(f"a worker of {address} has no package {error.name}; {MEND}") from None
        except TimeoutError:
            if was_done:  # it is the job's own
                raise
        try:
            last_seen_s = time.monotonic() if client.nthreads() else last_seen_s
        except OSError:  # the next look at the future tells
            continue
        if time.monotonic() > last_seen_s + ALONE_S:
            raise DeepECGError(f"--cluster {address}: the scheduler has had no worker for {ALONE_S:g} s; {MEND}")


def do(about: dict[str, str], sent: bytes) -> Any:
    """On a worker: the result of the job `sent` by a machine that is as `about` says; DeepECGError on another one.

    Threads of one process would share its folder and its output, which jobs change: workers need to have one each.
    """
    from distributed import get_worker

    worker, here = get_worker(), about_here()
    others = [name for name in about if here.get(name, about[name]) != about[name]]
    if others:
        differing = [f"{name} {here[name]}, not {about[name]}" for name in others]
        raise DeepECGError(f"worker {worker.address} has {'; '.join(differing)}: install the same, start it again")
    if worker.state.nthreads > 1:
        mend = "start it with --nthreads 1 --nworkers N"
        raise DeepECGError(f"worker {worker.address} has {worker.state.nthreads} threads: {mend}")
    function, arguments, options = pickle.loads(sent)
    return function(*arguments, **options)


@cache
def about_here() -> dict[str, str]:
    """What is to be the same on all machines for the same results, as it was when this process first looked.

    Of packages those that are installed: what needs another one says so.
    """
    code = hashlib.sha256()
    for path in sorted([*PROJECT.glob("*.py"), *PROJECT.glob("pretrained/*.json"), *PROJECT.glob("deep_ecg/**/*")]):
        if path.is_file() and path.suffix != ".pyc":
            code.update(path.relative_to(PROJECT).as_posix().encode() + path.read_bytes().replace(b"\r\n", b"\n"))
    about = {"Python": ".".join(platform.python_version_tuple()[:2]), "Deep-ECG": f"of code {code.hexdigest()[:12]}"}
    for name in (*RESULTS_DEPEND_ON.values(), "onnxruntime", "distributed"):
        with suppress(metadata.PackageNotFoundError):
            about[name] = metadata.version(name)
    return about
