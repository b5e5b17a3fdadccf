"""The machine and its packages."""

import platform
import resource
from importlib import metadata

RESULTS_DEPEND_ON = {"torch": "torch", "numpy": "numpy", "scipy": "scipy", "wfdb": "wfdb", "sklearn": "scikit-learn"}


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on."""
    packages = {name: metadata.version(package) for name, package in RESULTS_DEPEND_ON.items()}
    return {"python": platform.python_version(), **packages}


def peak_rss_mb() -> float:
    """The most memory that this process, or one that it started and that has ended, has held, in megabytes."""
    return max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1024
