"""What is uploaded, put into a visitor's folder under names of our own: no name from outside becomes a path.

The files of a WFDB record name one another, so they get new names in their headers, too.
"""

import re
import secrets
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from deep_ecg.records import guard
from deep_ecg.records.formats import TEXT, is_record, kind_of
from deep_ecg.records.text_files import tells_ecg
from deep_ecg.serving.limits import Limits, Refused
from deep_ecg.system.errors import DeepECGError

ENDING = re.compile(r"\.[A-Za-z0-9]{1,8}")  # of a name, that is kept
OPTION = re.compile(r"--(lead|fs|units)\b")  # of the command line, that a form has as a field
BLOCK_BYTES = 2**20
MOST_NAME = 100


@dataclass(frozen=True)
class Given:
    """An uploaded file: what it is called outside, folders in an archive included, and where it lies."""

    name: str
    path: Path


@dataclass(frozen=True)
class Upload:
    """A record that was uploaded: what it is called, and its main file; `names` are those of the files outside."""

    title: str
    main: Path
    names: dict[str, str]

    def in_words(self, message: str) -> str:
        """`message` with the names from outside in the place of ours."""
        message = message.replace(f"{self.main.parent}/", "")
        for ours, name in self.names.items():
            message = re.sub(rf"\b{ours}\b", lambda _, name=name: name, message)  # type: ignore[misc]
        return OPTION.sub(r"the field \1", message)


def shown(name: str) -> str:
    """A name from outside as it may be printed: its last part, without what cannot be printed."""
    last = PurePosixPath(name.replace("\\", "/")).name
    return "".join(letter for letter in last if letter.isprintable())[:MOST_NAME] or "unnamed"


def unpacked(files: Sequence[Given], folder: Path, limits: Limits) -> list[Given]:
    """The `files`, with the contents of archives in their place, written into `folder`."""
    found: list[Given] = []
    for file in files:
        found += _of_archive(file, folder, limits) if zipfile.is_zipfile(file.path) else [file]
    if len(found) > limits.files:
        raise Refused(413, f"{len(found)} files are more than {limits.files}: give fewer at a time")
    return found


def _of_archive(file: Given, folder: Path, limits: Limits) -> list[Given]:
    left, found = limits.unpacked_bytes, []
    try:
        with zipfile.ZipFile(file.path) as archive:
            members = [one for one in archive.infolist() if not one.is_dir()]
            if len(members) > limits.files:
                raise Refused(413, f"{shown(file.name)} holds {len(members)} files, more than {limits.files}")
            for member in members:
                path = folder / secrets.token_hex(8)
                with archive.open(member) as source, path.open("xb") as target:
                    while block := source.read(BLOCK_BYTES):
                        left -= len(block)
                        if left < 0:
                            raise Refused(413, f"{shown(file.name)} is too large when it is unpacked")
                        target.write(block)
                found.append(Given(member.filename, path))
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, ValueError, OSError) as error:
        raise Refused(
            422, f"{shown(file.name)} is no readable archive ({type(error).__name__}): pack it again"
        ) from None
    return found


def sorted_into_records(files: Sequence[Given]) -> list[Upload]:
    """The records that the `files` are, each file renamed where it lies.

    Files of other formats than WFDB are records of their own; of several, those that are none are left out.
    """
    headers = [file for file in files if file.name.lower().endswith(".hea")]
    others = [file for file in files if file not in headers and _is_other(file.path)]
    if not headers:
        return [_alone(file) for file in (others if len(files) > 1 else files)]
    return [*_wfdb_records([file for file in files if file not in others], headers), *map(_alone, others)]


def _wfdb_records(files: Sequence[Given], headers: Sequence[Given]) -> list[Upload]:
    stems = {file.path: PurePosixPath(file.name.replace("\\", "/")).with_suffix("") for file in files}
    ours = {stem: f"r{number}" for number, stem in enumerate(dict.fromkeys(stems.values()))}
    for file in files:
        ending = PurePosixPath(file.name).suffix
        if ENDING.fullmatch(ending):
            file.path.rename(file.path.with_name(f"{ours[stems[file.path]]}{ending}"))
    segments: set[str] = set()
    for file in headers:
        segments |= _renamed(file.path.with_name(f"{ours[stems[file.path]]}.hea"), stems[file.path].parent, ours)
    names = {mine: stem.name for stem, mine in ours.items()}
    mains = [ours[stems[file.path]] for file in headers]
    folder = files[0].path.parent
    return [Upload(shown(names[one]), folder / one, names) for one in mains if one not in segments]


def _is_other(path: Path) -> bool:
    """Whether the file is a record that is not in WFDB."""
    return is_record(path) and not (kind_of(path) == TEXT and not tells_ecg(path, None, None))


def _alone(file: Given) -> Upload:
    """A file that is a record of its own: readers tell by its content what it is."""
    path = file.path.with_name(f"r{file.path.name}")
    file.path.rename(path)
    return Upload(shown(PurePosixPath(shown(file.name)).stem), path, {path.name: shown(file.name)})


def _renamed(header: Path, parent: PurePosixPath, ours: dict[PurePosixPath, str]) -> set[str]:
    """Gives the `header` of a WFDB record our names of its files; returns those of its segments."""
    try:
        fields, comments = guard.check_header_text(header)
    except (ValueError, OSError) as error:
        raise DeepECGError(f"a header cannot be read: {error}") from None
    segments: set[str] = set()
    lines = []
    for place, line in enumerate(fields):
        name, space, rest = line.partition(" ")
        count = name.partition("/")[2]
        if place == 0:
            several = bool(count)
            name = header.stem + (f"/{count}" if several else "")
        elif name != "~":
            name = _our_name(name, parent, ours)
            segments |= {name} if several else set()
        lines.append(name + space + rest)
    header.write_text("\n".join([*lines, *(f"# {comment}" for comment in comments)]) + "\n", encoding="utf-8")
    return segments


def _our_name(name: str, parent: PurePosixPath, ours: dict[PurePosixPath, str]) -> str:
    path = PurePosixPath(name)
    if parent / path in ours:  # a segment, which has no ending
        return ours[parent / path]
    ending = path.suffix
    if path.name != name or parent / path.with_suffix("") not in ours or not ENDING.fullmatch(ending):
        raise DeepECGError(f"file {shown(name)}, which a header names, is not among the files: give all of them")
    return ours[parent / path.with_suffix("")] + ending
