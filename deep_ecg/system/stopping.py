"""Signals that end a process, taken as Ctrl-C is taken: what has been done is saved first."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# Those that there are on this system and that nobody has chosen to ignore (as nohup does); SIGKILL cannot be caught.
NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGXCPU", "SIGUSR1", "SIGUSR2", "SIGBREAK")


class Stopped(KeyboardInterrupt):
    """A signal has ended the work; entry points exit with 128 and its `number`, as shells tell it."""

    def __init__(self, message: str = "", number: int = signal.SIGINT):
        super().__init__(message)
        self.number = number


class Stops:
    """What `stop_signals` gives: the first signal raises Stopped where it comes, unless it is held."""

    def __init__(self):
        self._held = False
        self._waiting: int | None = None

    def take(self, number: int, frame: FrameType | None):
        """The handler of the signals. Only the first one counts."""
        if not self._held:
            self._held = True
            raise Stopped(number=number)
        self._waiting = self._waiting or number

    def hold(self):
        """From here on signals wait: what is left to do is to save."""
        self._held = True

    @contextmanager
    def held(self) -> Iterator[None]:
        """Signals wait for the end of the block."""
        self._held = True
        yield
        if self._waiting is not None:
            raise Stopped(number=self._waiting)
        self._held = False


@contextmanager
def stop_signals() -> Iterator[Stops]:
    """Within the block a signal that would end the process raises Stopped. Only the main thread can do that."""
    stops = Stops()
    there = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]
    mine = threading.current_thread() is threading.main_thread()
    caught = [number for number in there if mine and signal.getsignal(number) not in (signal.SIG_IGN, None)]
    before = {number: signal.signal(number, stops.take) for number in caught}
    try:
        yield stops
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
