"""Processes that label records: a bounded queue before them, a time limit on each job, and none that outlives us."""

import asyncio
import multiprocessing
import signal
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any

from deep_ecg.serving.limits import Refused
from deep_ecg.system.console import describe_fault
from deep_ecg.system.errors import DeepECGError

RETRY = "try again in a minute"


class Pool:
    """Runs functions of modules in `processes` of its own; `waiting` more may wait for one of these.

    A job that takes longer than `limit_s` is ended with its process, which is replaced.
    """

    def __init__(self, processes: int, waiting: int, limit_s: float):
        self._most, self._limit_s, self._taken = processes + waiting, limit_s, 0
        self._workers = [_Worker() for _ in range(processes)]
        self._idle: asyncio.Queue[_Worker] = asyncio.Queue()
        for worker in self._workers:
            self._idle.put_nowait(worker)
        self._threads = ThreadPoolExecutor(processes)  # each waits for one process

    async def run(self, function: Callable, *arguments: Any) -> Any:
        """The result of `function(*arguments)`. Refused where too many wait, it takes too long, or the input is bad."""
        if self._taken >= self._most:
            raise Refused(503, f"{self._taken} others wait for their labels: {RETRY}")
        self._taken += 1
        try:
            worker = await self._idle.get()
            try:
                job = asyncio.get_running_loop().run_in_executor(
                    self._threads, worker.call, function, arguments, self._limit_s
                )
                return await asyncio.shield(job)  # who asked may go away: the process is not free before it has ended
            finally:
                job.add_done_callback(lambda _: self._idle.put_nowait(worker))
        finally:
            self._taken -= 1

    def close(self):
        """Ends the processes."""
        for worker in self._workers:
            worker.end()
        self._threads.shutdown(wait=False, cancel_futures=True)


class _Worker:
    """A process that is started when the first job comes, and again when it has ended."""

    def __init__(self):
        self._process: multiprocessing.process.BaseProcess | None = None
        self._pipe: Connection

    def call(self, function: Callable, arguments: tuple, limit_s: float) -> Any:
        if self._process is None or not self._process.is_alive():
            self._start()
        try:
            self._pipe.send((function, arguments))
            if not self._pipe.poll(limit_s):
                self.end()
                raise Refused(504, f"the labelling took longer than {limit_s:g} s and was ended: give less at a time")
            status, answer = self._pipe.recv()
        except (EOFError, OSError):
            self.end()
            raise Refused(
                500, "the labelling process has died: there was too little memory, or the input is broken"
            ) from None
        if status != 200:
            raise Refused(status, answer)
        return answer

    def end(self):
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None

    def _start(self):
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()


def _work(pipe: Connection):
    """Answers jobs until the server is gone: the pipe ends with it, however that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        try:
            function, arguments = pipe.recv()
            pipe.send(_answer(function, arguments))
        except (EOFError, OSError):
            return


def _answer(function: Callable, arguments: tuple) -> tuple[int, Any]:
    try:
        return 200, function(*arguments)
    except Refused as refusal:
        return refusal.status, refusal.why
    except DeepECGError as error:
        return 422, str(error)
    except MemoryError as error:
        return 507, describe_fault(error)
    except Exception:
        traceback.print_exc(file=sys.stderr)
        return 500, "the labelling went wrong: the server's own output says more"
