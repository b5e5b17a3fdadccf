"""What the user sees: stage headings with their times, banners, and the closing lines. Plain text, one idea a line."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import UnsupportedOperation

WIDTH = 78


def interactive() -> bool:
    """Whether a person is at a terminal: progress bars and questions are for them only."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def banner(*lines: str):
    """Lines in a frame that cannot be missed."""
    print("!" * WIDTH)
    for line in lines:
        print(f"!!  {line}")
    print("!" * WIDTH, flush=True)


def ask(question: str) -> bool:
    """A yes-or-no question at the terminal; Enter means yes."""
    return input(f"{question} [Y/n] ").strip().lower() in ("", "y", "yes")


def abandon_output():
    """Sends to nowhere what cannot be written to the output: else Python's last flush fails as well."""
    with suppress(UnsupportedOperation):  # an output that is no file
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


class Stages:
    """Prints a heading for each stage and keeps how long it took."""

    def __init__(self, count: int):
        self.seconds: dict[str, float] = {}
        self._count = count
        self._start = time.perf_counter()

    @contextmanager
    def __call__(self, name: str, title: str) -> Iterator[None]:
        """Runs the block as the stage `name`, under the heading `title`."""
        print(f"\n[{len(self.seconds) + 1}/{self._count}] {title}", flush=True)
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start
        print(f"      {self.seconds[name]:.1f} s", flush=True)

    def timings_s(self) -> dict[str, float]:
        """Seconds of each stage so far and of the whole run."""
        return {**self.seconds, "total": time.perf_counter() - self._start}
