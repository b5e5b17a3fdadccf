"""Long work in stages: what is done is kept in a file now and then, so that after a kill the next run goes on there."""

import io
import pickle
import sys
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol, TypeVar

from deep_ecg.system.errors import DeepECGError, NoOutput
from deep_ecg.system.files import atomic_file, sha256_of

EVERY_S = 60.0  # of work that a kill can cost, and that is never kept where it ends sooner
DIGEST_BYTES = 32  # at the end of the file, of all that comes before
PAUSE = 20  # times as long as keeping takes is worked before it is kept again
KNOWN = {  # what a kept stage may be made of, beside classes of this project
    ("builtins", "slice"),
    ("collections", "deque"),
    ("fractions", "Fraction"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy._core.numeric", "_frombuffer"),
}
GOES_ON = "Interrupted: the same command goes on with what is kept in {}."
OWN = ("deep_ecg.", "dsp_filters")
Result = TypeVar("Result")
Made = TypeVar("Made", covariant=True)


class Stage(Protocol[Made]):
    """A stage of the work, which pickle takes as it is between two steps."""

    def steps(self, *sources: Any) -> Iterator[None]:
        """Does what is left of it, a step at a time; what it reads from, the `sources`, is not kept."""

    def result(self) -> Made:
        """What it has made, after the last step."""


class Work:
    """Does one stage after another, and keeps nothing."""

    tells = False  # whether somebody waits who is to be told how far it has come

    def result_of(self, make: Callable[[], Stage[Result]], *sources: Any) -> Result:
        """The result of the next stage, which `make` begins."""
        stage = make()
        for _ in stage.steps(*sources):
            pass
        return stage.result()


    def let_go(self):
        """Frees the memory of the results: there is no further stage."""


NOTHING_KEPT = Work()


class KeptWork(Work):
    """Does the same stages in the same order in every run, and keeps in the file `path` what is done.

    What an earlier run has kept there is taken up if that run's `key` was the same: it says from what and how the work
    is done, and is asked for only where it is needed; with an empty one nothing is kept. With `tells`, standard error
    says what was taken up, and that nothing can be kept where that is so. At the end of a `with` block `path` goes,
    unless that was broken off or there was no room for results.
    """

    def __init__(self, path: Path, key: Callable[[], str], tells: bool = False):
        self._path, self._key, self.tells = path, key, tells
        self._results: list[Any] = []
        self._begun: Stage | None = None
        self._place, self._kept_s, self._pause_s = 0, time.monotonic(), EVERY_S
        if path.is_file():
            self._take_up()

    def result_of(self, make: Callable[[], Stage[Result]], *sources: Any) -> Result:
        """As `Work.result_of`; what is done of it already is not done again."""
        self._place += 1
        if self._place > len(self._results):
            stage, self._begun = self._begun or make(), None
            for _ in stage.steps(*sources):
                if time.monotonic() - self._kept_s >= self._pause_s:
                    self._keep(stage)
            self._results.append(stage.result())
        return self._results[self._place - 1]

    def let_go(self):
        """As `Work.let_go`; the file stays, for what is made of the results may still be broken off."""
        self._results, self._begun = [], None

    def __enter__(self) -> "KeptWork":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object):
        if kind is None or (issubclass(kind, DeepECGError) and not issubclass(kind, NoOutput)):
            self._path.unlink(missing_ok=True)
        elif issubclass(kind, KeyboardInterrupt) and self._path.is_file():
            raise KeyboardInterrupt(GOES_ON.format(self._path)) from None

    def _keep(self, stage: Stage):
        key, began_s = self._key(), time.monotonic()
        self._pause_s = float("inf")
        if key:
            try:
                with atomic_file(self._path) as temporary:
                    self._write(temporary, key, stage)
                self._pause_s = max(EVERY_S, PAUSE * (time.monotonic() - began_s))
            except DeepECGError as error:
                self._say(f"{error}; what is done is not kept meanwhile")
        self._kept_s = time.monotonic()

    def _write(self, path: Path, key: str, stage: Stage):
        with open(path, "wb") as file:
            file.write(key.encode() + b"\n")
            pickle.dump((self._results, stage), file)
            file.flush()
            file.write(bytes.fromhex(sha256_of(path)))

    def _take_up(self):
        try:
            content = self._path.read_bytes()
            key, kept = content[:-DIGEST_BYTES].split(b"\n", 1)
            is_whole = sha256(content[:-DIGEST_BYTES]).digest() == content[-DIGEST_BYTES:]
            if not is_whole or key.decode() != self._key():
                return
            self._results, self._begun = _Unpickler(io.BytesIO(kept)).load()
        except Exception:  # no file of ours, or not whole: it is as if it were not there
            self._results, self._begun = [], None
            return
        self._say(f"going on with what an earlier run has kept in {self._path}")

    def _say(self, line: str):
        if self.tells:
            print(line, file=sys.stderr, flush=True)


class _Unpickler(pickle.Unpickler):
    """Makes nothing but arrays and objects of this project, whoever wrote the file."""

    def find_class(self, module: str, name: str) -> Any:
        """The class or function of that name; UnpicklingError where it is none that a stage is made of."""
        found = super().find_class(module, name)
        if (module, name) in KNOWN or (module.startswith(OWN) and isinstance(found, type)):
            return found
        raise pickle.UnpicklingError(f"{module}.{name}")
