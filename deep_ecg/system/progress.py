"""How far long work has come: a bar where a person is at a terminal, else a line every few seconds."""

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from tqdm import tqdm

from deep_ecg.system.text import clock

EVERY_S = 8.0  # who waits sees a line at least every ten seconds, also where the processor is busy with other work
Item = TypeVar("Item")


def counted(items: Iterable[Item], title: str, total: int, units: str, bar: bool) -> Iterator[Item]:
    """The `items`, and how many of `total` are done: as a `bar`, else as lines such as "beats: 3 of 22 records"."""
    if bar:
        return iter(tqdm(items, title, total, unit=f" {units}", leave=False))
    return telling(items, lambda done: print(f"      {title}: {done:,} of {total:,} {units}", flush=True))


def telling(items: Iterable[Item], tell: Callable[[int], None], every_s: float = EVERY_S) -> Iterator[Item]:
    """The `items`; every `every_s` seconds `tell` gets the number that are done, also while one takes longer."""
    done = 0
    with repeated(lambda: tell(done), every_s):
        for item in items:
            yield item
            done += 1


class Pace:
    """Says on standard error, every EVERY_S seconds, how much of `total` is done, and when the rest will be."""

    def __init__(self, title: str, total: float, units: str):
        self._title, self._total, self._units = title, total, units
        self._started_s = self._told_s = time.monotonic()
        self._first: float | None = None  # what was done before

    def __call__(self, done: float):
        """Takes in that so much is `done`; the first call, how much was before."""
        now_s = time.monotonic()
        self._first = done if self._first is None else self._first
        if done <= self._first or now_s - self._told_s < EVERY_S:
            return
        self._told_s, left_s = now_s, (now_s - self._started_s) * (self._total - done) / (done - self._first)
        amount = f"{done:,.1f} of {self._total:,.1f} {self._units}"
        print(f"      {self._title}: {amount}, {clock(left_s)} left", file=sys.stderr, flush=True)


@contextmanager
def repeated(call: Callable[[], None], every_s: float = EVERY_S) -> Iterator[None]:
    """Calls `call` every `every_s` seconds while the block lasts, from a thread of its own."""
    ended = threading.Event()

    def work():
        while not ended.wait(every_s):
            call()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
