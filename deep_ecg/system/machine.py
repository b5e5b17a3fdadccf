"""The machine, its system and its packages. No other file asks which system it is."""

import os
import platform
import select
import sys
import threading
from importlib import metadata
from typing import IO

import psutil

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

WINDOWS = os.name == "nt"
MACOS = sys.platform == "darwin"
MB = 2**20
LOOK_S = 0.2  # between two looks of `Watch`: each takes some milliseconds
RESULTS_DEPEND_ON = {"torch": "torch", "numpy": "numpy", "scipy": "scipy", "wfdb": "wfdb", "sklearn": "scikit-learn"}


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on."""
    packages = {name: metadata.version(package) for name, package in RESULTS_DEPEND_ON.items()}
    return {"python": platform.python_version(), **packages}


def rss_mb() -> float:
    """Memory that this process holds now, in megabytes."""
    return psutil.Process().memory_info().rss / MB


def peak_rss_mb() -> float:
    """The most memory that this process, or one that it started and that has ended, has held, in megabytes.

    Windows tells it of this process alone.
    """
    if resource is None:
        memory = psutil.Process().memory_info()
        return getattr(memory, "peak_wset", memory.rss) / MB
    most = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return most * (1 if MACOS else 1024) / MB


def is_at_rest(stream: IO[bytes], seconds: float) -> bool:
    """Whether nothing has come from `stream` for so long; False at once where the system cannot tell, as of Windows."""
    try:
        return not WINDOWS and not select.select([stream], [], [], seconds)[0]
    except (OSError, ValueError):  # no file of the system
        return False


class Watch(threading.Thread):
    """Looks every LOOK_S, while the block lasts, at process `pid` and all that descend from it.

    `cpu_s`: processor seconds of them all meanwhile; `peak_rss_mb`: the most that one of them held; `peak_private_mb`:
    the most that they held together, without what is a mere copy of a file's pages where the system tells these apart.
    What a process did after the last look at it is not seen.
    """

    def __init__(self, pid: int):
        super().__init__(daemon=True)
        self.peak_rss_mb = self.peak_private_mb = 0.0
        self._process, self._ended = psutil.Process(pid), threading.Event()
        self._cpu_s: dict[psutil.Process, float] = {}
        self._before_s = 0.0

    @property
    def cpu_s(self) -> float:
        """See the class."""
        return sum(self._cpu_s.values()) - self._before_s

    def __enter__(self) -> "Watch":
        self._look()
        self._before_s = sum(self._cpu_s.values())
        self.start()
        return self

    def __exit__(self, *error):
        self._ended.set()
        self.join()

    def run(self):
        """Until the block ends, and once more."""
        while not self._ended.wait(LOOK_S):
            self._look()
        self._look()

    def _look(self):
        private_mb = 0.0
        for process in self._family():
            try:
                memory, times = process.memory_info(), process.cpu_times()
            except psutil.Error:  # it has ended
                continue
            self._cpu_s[process] = times.user + times.system
            self.peak_rss_mb = max(self.peak_rss_mb, memory.rss / MB)
            private_mb += (memory.rss - getattr(memory, "shared", 0)) / MB
        self.peak_private_mb = max(self.peak_private_mb, private_mb)

    def _family(self) -> list[psutil.Process]:
        try:
            return [self._process, *self._process.children(recursive=True)]
        except psutil.Error:
            return []
