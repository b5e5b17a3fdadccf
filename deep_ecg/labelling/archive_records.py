"""Which records a folder or a list of them holds: what `predict FOLDER` and `--list FILE` label."""

import errno
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from deep_ecg.labelling.choice import NO_SETTINGS
from deep_ecg.records import guard
from deep_ecg.records.formats import TAKEN, TextSettings, is_alone, is_ecg_file
from deep_ecg.records.headers import segments_named
from deep_ecg.system.errors import DeepECGError

MAX_LIST_BYTES = 64_000_000
OTHER_FORMATS = frozenset("atc bdf csv dcm ecg edf gdf hl7 ishne mfer mwf scp tsv xml".split())
RESULTS = (".csv", "-events.csv", "-labels.edf", ".json", ".html", ".png")  # beside NAME.pred
OTHERS_NAMED = 5


@dataclass(frozen=True)
class Found:
    """A record of an archive: its path in there without .hea, and what is wrong with that, if anything.

    `target` is the path of its results, without their endings, where that is another.
    """

    name: str
    problem: str | None = None
    target: str = ""

    @property
    def results(self) -> str:
        """The path of its results in the output folder, without endings."""
        return self.target or self.name


def is_folder(record: str) -> bool:
    """Whether `record` of the command line is a folder and not also the name of a record."""
    header = f"{record.removesuffix('.hea')}.hea"
    return bool(record.strip()) and os.path.isdir(record) and not os.path.isfile(header)


def records_below(folder: Path, text: TextSettings = NO_SETTINGS) -> list[Found]:
    """Every record in `folder` and its subfolders, of any format, in order; linked folders are not entered.

    The segments of a record are none of their own, nor are results of `predict`. Of texts those are taken in which
    the ECG and, with `text`, its rate can be told. A subfolder that cannot be listed is among them, with its problem.
    DeepECGError where there are none.
    """
    found = []
    for below, names, problem in _walk(folder):
        if problem:
            found.append(Found(below.as_posix(), problem))
        headers = {name.removesuffix(".hea") for name in names if name.endswith(".hea")}
        segments = set().union(*(segments_named(folder / below / f"{name}.hea") for name in headers))
        files = [name for name in _others(names) if is_ecg_file(folder / below / name, text)]
        here = PurePosixPath(below.as_posix())
        found += _named(here, sorted(headers - segments), sorted(set(files) - headers))
    if not found:
        others = said_of(other_recordings(folder))
        raise DeepECGError(f"folder {folder} holds no record: taken are {TAKEN}{others}")
    return sorted(found, key=lambda one: one.name)


def _named(folder: PurePosixPath, records: Sequence[str], files: Sequence[str]) -> list[Found]:
    """The WFDB `records` and other `files` of a `folder`: results have their names, without endings where these differ.

    So b.edf and b.csv become b.edf.pred and b.csv.pred.
    """
    stems = {name: name for name in records} | {name: PurePosixPath(name).stem for name in files}
    counts = Counter(stems.values())
    shorter = {name: stem for name, stem in stems.items() if counts[stem] == 1 and stem != name}
    return [Found(str(folder / name), target=str(folder / shorter[name]) if name in shorter else "") for name in stems]


def other_recordings(folder: Path, taken: Sequence[Found] = ()) -> list[str]:
    """Files in `folder` and its subfolders that look like recordings by their names and are not `taken`, in order."""
    names = {one.name for one in taken}
    found = []
    for below, names_there, _ in _walk(folder):
        stems = [name.removesuffix(".hea") for name in names_there if name.endswith(".hea")]
        tables = {f"{stem}{ending}" for stem in stems for ending in RESULTS}
        found += [(below / name).as_posix() for name in _others(names_there) if name not in tables]
    return sorted(name for name in found if name.rpartition(".")[2].lower() in OTHER_FORMATS and name not in names)


def _others(names: Sequence[str]) -> Iterator[str]:
    """Of the `names` of the files of a folder those that are neither of WFDB records nor results of `predict`."""
    headers = {name.rpartition(".")[0] for name in names if name.endswith(".hea")}
    labelled = {name.rpartition(".")[0] for name in names if name.endswith(".pred")}
    results = {f"{stem}{ending}" for stem in labelled for ending in RESULTS}
    for name in names:
        stem, _, ending = name.rpartition(".")
        belongs = stem in headers and ending.lower() not in OTHER_FORMATS
        if not (belongs or name in results or name.endswith((".hea", ".pred")) or stem.endswith("-SYNTHETIC")):
            yield name


def _walk(folder: Path) -> Iterator[tuple[Path, list[str], str | None]]:
    """Each folder in `folder`, as a path in there, with the names of its files, and why it cannot be listed, if so.

    However deep they are: os.walk calls itself for each.
    """
    left = [Path()]
    while left:
        below, names, problem = left.pop(), [], None
        try:
            with os.scandir(folder / below) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        left.append(below / entry.name)
                    else:
                        names.append(entry.name)
        except OSError as error:
            mend = "shorten its path" if error.errno == errno.ENAMETOOLONG else "mend its permissions"
            problem = f"folder {folder / below} cannot be listed ({error.strerror}): {mend}"
        yield below, names, problem


def said_of(others: Sequence[str]) -> str:
    """Of files that look like recordings: how many there are, and the first few."""
    if not others:
        return ""
    named = ", ".join([*others[:OTHERS_NAMED], *["..."] * (len(others) > OTHERS_NAMED)])
    return f"; {len(others):,} that look like recordings but tell no format, rate or ECG were left out: {named}"


def records_listed(path: Path) -> list[Found]:
    """The records that the file `path` names, one a line, below its own folder, as RECORDS of PhysioNet does.

    Each once, in order, empty lines left out; one that leads out of the folder has that as its problem. DeepECGError
    where the file cannot be read or names none.
    """
    try:
        guard.check_file(path, MAX_LIST_BYTES)
        text = path.read_bytes().decode(errors="surrogateescape")
    except (OSError, ValueError) as error:
        raise DeepECGError(f"list {path} cannot be read ({getattr(error, 'strerror', None) or error})") from None
    names = dict.fromkeys(line.strip().removesuffix(".hea") for line in text.split("\n"))
    found = {one.name: one for one in (_listed(name, path) for name in names if name)}
    if not found:
        raise DeepECGError(f"list {path} names no record: one a line is needed")
    good = [PurePosixPath(name) for name, one in found.items() if not one.problem]
    files = [name for name in good if is_alone(path.parent / name)]
    for folder in dict.fromkeys(name.parent for name in good):
        here = [name.name for name in good if name.parent == folder]
        of_files = [name.name for name in files if name.parent == folder]
        found |= {one.name: one for one in _named(folder, [name for name in here if name not in of_files], of_files)}
    return list(found.values())


def _listed(name: str, path: Path) -> Found:
    relative, root = PurePosixPath(name), path.parent
    try:
        inside = not relative.is_absolute() and ".." not in relative.parts and relative.parts
        if inside and (root / relative).parent.resolve().is_relative_to(root.resolve()):
            return Found(str(relative), _problem_of_link(root / relative))
    except (OSError, RuntimeError, ValueError):  # links in a circle; names that cannot be
        pass
    return Found(name, f"record {name} of list {path} leads out of its folder: name records below {root} alone")


def _problem_of_link(path: Path) -> str | None:
    """What is wrong with a file of that name that is a link to elsewhere: such are not followed unasked."""
    try:
        guard.check_file(path, beside=path.with_name("beside"))
    except FileNotFoundError:  # the name of a WFDB record is that of no file
        return None
    except ValueError as error:
        return f"record {path}: {error}" if path.is_symlink() else None
    return None
