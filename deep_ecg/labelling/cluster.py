"""`python main.py predict FOLDER --cluster ADDRESS`: the records of an archive, labelled by the workers of a cluster.

The workers read the archive and write the results themselves: it and the output folder lie in a folder that all
machines have under the same path.
"""

import platform
from collections.abc import Iterator, Sequence
from contextlib import chdir
from dataclasses import dataclass, replace
from pathlib import Path

from joblib import delayed

from deep_ecg.labelling.archive import Job, Outcome, alone, label_one
from deep_ecg.labelling.archive_records import Found
from deep_ecg.networks.classifier import PRETRAINED
from deep_ecg.system.cluster import cluster_pool
from deep_ecg.system.errors import DeepECGError
from deep_ecg.system.files import scratch_folder
from deep_ecg.system.workers import WorkerDied


@dataclass(frozen=True)
class Shared:
    """By what a worker tells whether it has the folders of a run.

    `home` is where relative paths lead from, `mark` a folder made in the output folder for this run, `sample` a file
    of the archive with its size, if there is any.
    """

    home: Path
    mark: Path
    sample: tuple[Path, int] | None

    def has_archive(self) -> bool:
        """Whether the sample is there."""
        if self.sample is None:
            return True
        path, size = self.sample
        return path.is_file() and path.stat().st_size == size


def outcomes_of_cluster(job: Job, found: Sequence[Found], address: str) -> Iterator[Outcome]:
    """What comes of each record, in order, labelled by the workers of the scheduler at `address`.

    A record over which workers are lost is done here, in a process of its own, as in a run on one machine. Errors are
    those of `cluster_pool` and `label_one`, and DeepECGError where a worker does not have the folders.
    """
    with cluster_pool(address) as run, scratch_folder(job.out) as mark:
        shared = Shared(_home(job), mark, _sample(job.root, found))
        for one, outcome in zip(found, run(delayed(_label_there)(job, one, shared) for one in found)):
            yield alone(job, one) if isinstance(outcome, WorkerDied) else outcome


def _home(job: Job) -> Path:
    """The folder from where the paths of `job` are to be followed: any, where they are absolute."""
    here = Path.cwd()
    return Path(here.anchor) if all(path.is_absolute() for path in (job.root, job.out, job.checkpoint)) else here


def _sample(root: Path, found: Sequence[Found]) -> tuple[Path, int] | None:
    """The first file of the records that is there, and its size."""
    paths = (root / f"{one.name}{ending}" for one in found if not one.problem for ending in (".hea", ""))
    return next(((path, path.stat().st_size) for path in paths if path.is_file()), None)


def _label_there(job: Job, one: Found, shared: Shared) -> Outcome:
    """On a worker: `label_one`, with paths as they were given, for they are in what it says."""
    if not shared.home.is_dir():
        raise _not_shared(shared.home)
    with chdir(shared.home):
        if not shared.mark.is_dir():
            raise _not_shared(job.out)
        if not shared.has_archive():
            raise _not_shared(job.root)
        if not job.checkpoint.is_file():  # the project may lie elsewhere; the digest tells whether it is the same
            job = replace(job, checkpoint=PRETRAINED / job.checkpoint.name)
        return label_one(job, one)


def _not_shared(folder: Path) -> DeepECGError:
    where = f"{folder} of {platform.node()}, a worker, is not the one of this run"
    return DeepECGError(f"{where}: all machines have to share it under the same path")
