"""What the user sees: stage headings with their times, banners, and the closing lines. Plain text, one idea a line."""

import logging
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper, UnsupportedOperation
from pathlib import Path

from deep_ecg import INSTALL
from deep_ecg.system import machine
from deep_ecg.system.errors import DeepECGError
from deep_ecg.system.stopping import Stopped

WIDTH = 78
GOES_ON = "Interrupted: the same command goes on from the last whole epoch."  # said after Ctrl-C, as these are
FILES_WHOLE = "Interrupted: files that are there are whole."
NOTHING_WRITTEN = "Interrupted: nothing was written."
TORCH_MEMORY = "DefaultCPUAllocator"  # what torch raises for want of memory is a RuntimeError with this in it


def prepare_streams():
    """Escapes what the output's encoding lacks; a stream that was closed at the start leads nowhere."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = open(os.devnull, mode, encoding="utf-8")  # noqa: SIM115 - for as long as the process lasts
            os.set_inheritable(stream.fileno(), True)  # it has the closed one's number, which a child would miss too
            setattr(sys, name, stream)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


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


def command_line(script: Path, *arguments: object) -> str:
    """The command that runs `script` with `arguments` by the Python that is running, to be pasted where the user is."""
    python = "python" if shutil.which("python") == sys.executable else _from_here(Path(sys.executable))
    join = subprocess.list2cmdline if machine.WINDOWS else shlex.join
    return join([python, _from_here(script), *map(str, arguments)])


def _from_here(path: Path) -> str:
    """The `path` as short as it can be given from the working folder: relative where it lies below that."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def draw_in_place():
    """Makes the terminal obey escape sequences, which that of Windows does only when asked."""
    if machine.WINDOWS:
        os.system("")  # any command leaves it so


def say(text: str):
    """Prints `text` where somebody reads it: work whose results are files goes on without a reader."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        abandon_output()


def abandon_output():
    """Sends to nowhere what cannot be written to the output: else Python's last flush fails as well."""
    with suppress(UnsupportedOperation):  # an output that is no file
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def exit_status(work: Callable[[], object], interrupted: str) -> int:
    """Does `work`; returns the exit status: 0 done, that of a DeepECGError, 2 no room, 130 interrupted.

    Another signal than that of Ctrl-C ends with 128 and its number (Stopped). What went wrong is told in one line;
    after Ctrl-C that is `interrupted`, unless the work has said something itself
    (the text of its KeyboardInterrupt). A reader of the output that goes away is no error.
    """
    prepare_streams()
    try:
        work()
        print(end="", flush=True)
    except DeepECGError as error:
        return _failed(error, error.status)
    except ModuleNotFoundError as error:
        mend = f"{INSTALL}, or, for predict and stream alone, requirements-pi.txt, with no .pt and no --runtime torch"
        return _failed(f"package {error.name} is not installed: {mend}")
    except BrokenPipeError:
        abandon_output()
    except (OSError, MemoryError) as error:
        if not getattr(error, "filename", None):  # the output itself, as likely as not
            abandon_output()
        return _failed(describe_fault(error))
    except RuntimeError as error:
        if TORCH_MEMORY not in str(error):
            raise
        return _failed(describe_fault(MemoryError()))
    except KeyboardInterrupt as stop:
        with suppress(OSError):  # the terminal may be what has gone
            print(f"\n{str(stop) or interrupted}", file=sys.stderr)
        return 128 + (stop.number if isinstance(stop, Stopped) else signal.SIGINT)
    return 0


def _failed(why: object, status: int = 2) -> int:
    print(f"error: {why}", file=sys.stderr)
    return status


def describe_fault(error: OSError | MemoryError) -> str:
    """One line on what this machine did not give."""
    if isinstance(error, MemoryError):
        return "there is not enough memory for this: close other programs, or give it less at a time"
    where = error.filename or "a file or the output"
    return str(DeepECGError(f"{where} cannot be used ({error.strerror or error}): mend its permissions or make room"))


@contextmanager
def quiet(*messages: str) -> Iterator[None]:
    """Silences log records up to warnings, and Python's warnings that match one of `messages`; without any, all."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for message in messages or ("",):
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        logging.disable(level)


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
