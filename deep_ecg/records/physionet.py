"""Fetch the MIT-BIH Arrhythmia Database from PhysioNet and check it against the published SHA-256 hashes.

Source: Moody GB, Mark RG. IEEE Eng in Med and Biol 20(3):45-50 (2001); Goldberger AL et al. Circulation
101(23):e215-e220 (2000). https://physionet.org/content/mitdb/1.0.0/

The transfer is by `requests`, which wfdb uses too, and not by `wfdb.dl_files`: as of wfdb 4.3.1 that asks
physionet.org for the version even when a mirror is set, has no timeout and no hash check, and writes under the final
name, so that a broken file is only known by its size.
"""

import hashlib
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import requests
import urllib3
from tqdm import tqdm

from config import DATA_DIR_VARIABLE
from deep_ecg.system.errors import DeepECGError
from deep_ecg.system.files import locked, sha256_of

HASH_LIST = "SHA256SUMS.txt"
RECORD_LIST = "RECORDS"
ANNOTATIONS = "atr"  # extension of the reference annotations

# `hashes_digest` of the published list of mitdb 1.0.0. Not the hash of the list's own bytes: its order, spacing and
# extra files (.xws, x_mitdb/) differ between the copies that are about, the hashes of the records do not. To check:
# awk '{print $1"  "$2}' SHA256SUMS.txt | grep -E '  (RECORDS|[0-9]{3}\.(atr|dat|hea))$' | LC_ALL=C sort -k2 | sha256sum
MITDB_SHA256SUMS = "132de26d89c6facee32ecdc7e6f57d8348205cac3f418f86be9f190e65869873"

TRANSFER_ERRORS = (requests.RequestException, urllib3.exceptions.HTTPError)  # requests lets those of bad hosts through
CHUNK_BYTES = 16384  # at most this much of a dropped transfer is lost

_HASH_LINE = re.compile(r"([0-9a-fA-F]{64})[ \t]+\*?(\S.*)")
_RECORD_FILE = re.compile(r"RECORDS|[0-9]{3}\.(atr|dat|hea)")


@dataclass(frozen=True)
class Patience:
    """How long a server is waited for, and how often a transfer is tried, each time from where the last broke off."""

    connect_timeout_s: float = 10.0
    read_timeout_s: float = 30.0
    tries: int = 3
    backoff_s: float = 1.0  # before the second try; doubled after every further one


PATIENCE = Patience()


def expected_files(records: Sequence[str], annotations: str = ANNOTATIONS) -> list[str]:
    """The header, signal and reference annotation file of each record, e.g. 100.hea, 100.dat, 100.atr."""
    return [f"{record}.{extension}" for record in records for extension in ("hea", "dat", annotations)]


def missing_files(folder: Path, names: Sequence[str]) -> list[str]:
    """The named files that are not in the folder; an empty or `.part` file does not count as there."""
    return [name for name in names if not _has_content(Path(folder) / name)]


def read_hashes(folder: Path) -> dict[str, str]:
    """File name -> SHA-256 (64 lower-case hex digits) from the folder's SHA256SUMS.txt; {} where it has none.

    Raises DeepECGError when the list is there but cannot be read.
    """
    path = Path(folder) / HASH_LIST
    return _parse_hashes(path) if path.is_file() else {}


def hashes_digest(hashes: Mapping[str, str], names: Sequence[str] = ()) -> str:
    """SHA-256 of the entries for `names`, written as `sha256sum` does, sorted by name.

    Without names, of those for RECORDS and NNN.atr, NNN.dat, NNN.hea. It is the same for every order, spacing and set
    of further files of a published list.
    """
    names = sorted(names or filter(_RECORD_FILE.fullmatch, hashes))
    return hashlib.sha256("".join(f"{hashes.get(name)}  {name}\n" for name in names).encode()).hexdigest()


def verify_files(folder: Path, names: Sequence[str]) -> None:
    """Check each named file of the folder against its SHA256SUMS.txt; a folder without that list is not checked.

    Raises DeepECGError naming the first file that differs from its hash, cannot be read or is not in the list.
    """
    folder = Path(folder)
    if not (folder / HASH_LIST).is_file():
        return
    hashes = read_hashes(folder)
    for name in names:
        if name not in hashes:
            raise DeepECGError(f"{folder / HASH_LIST} does not name {name}: get the whole list from PhysioNet again")
        if _sha256(folder / name) != hashes[name]:
            raise DeepECGError(
                f'{folder / name} differs from its published SHA-256: delete it, then run with data_source "physionet"'
            )


def download(
    folder: Path,
    url: str,
    records: Sequence[str],
    progress: bool = False,
    sums_sha256: str | None = None,
    annotations: str = ANNOTATIONS,
    patience: Patience = PATIENCE,
) -> None:
    """Bring the records into the folder from `url`, a folder laid out as PhysioNet's, every file checked.

    Files already there with the published hash are kept. Each other file grows as `NAME.part`, which a later call
    continues, and takes its name only once its hash is right. Nothing but SHA256SUMS.txt, RECORDS and
    `expected_files(records, annotations)` is written, whatever the list of hashes names.

    progress: show a bar over the files, on a terminal only.
    sums_sha256: `hashes_digest` that the list of hashes must have; None trusts the server's list.
    patience: how long the server is waited for, and how often it is asked.

    Raises DeepECGError, one line, when the server cannot be reached or does not have a file, when the list or a file
    is wrong twice, or when the folder cannot be written. Of two at once into one folder, the second waits.
    """
    files = [RECORD_LIST, *expected_files(records, annotations)]
    download_files(folder, url, files, progress=progress, sums_sha256=sums_sha256, patience=patience)


def download_files(
    folder: Path,
    url: str,
    files: Sequence[str],
    title: str = "MIT-BIH",
    variable: str = DATA_DIR_VARIABLE,
    progress: bool = False,
    hashed: bool = True,
    sums_sha256: str | None = None,
    pinned: Sequence[str] = (),
    patience: Patience = PATIENCE,
) -> None:
    """`download` of the named files alone, paths at `url` and in the folder, of the database called `title`.

    variable: the environment variable that names the folder.
    hashed: whether a list of hashes is published; without one, a file is good that has content.
    sums_sha256: `hashes_digest` that the list's entries for the files `pinned`, or all, must have.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        waiting = f"waiting for another run that downloads into {folder}"
        with locked(folder, lambda: print(waiting, flush=True)), requests.Session() as session:
            server = _Server(session, url.rstrip("/") + "/", patience, _local_mend(variable))
            hashes = _fetched_hashes(server, folder, sums_sha256, pinned) if hashed else None
            _download(server, folder, files, hashes, title, progress)
    except OSError as error:
        raise DeepECGError(
            f"cannot write to {folder} ({error.strerror or error}): free some space, or set data_dir or "
            f"{variable} to a folder that can be written"
        ) from error


def _download(
    server: "_Server", folder: Path, files: Sequence[str], hashes: dict[str, str] | None, title: str, progress: bool
):
    for name in files:
        if hashes is not None and name not in hashes:
            raise DeepECGError(
                f"{server.url}{HASH_LIST} does not name {name}: set physionet_url to a copy of the MIT-BIH Arrhythmia "
                "Database"
            )
    # disable=None leaves the bar out where standard error is no terminal.
    with tqdm(files, desc=f"{title} from PhysioNet", unit="file", disable=None if progress else True) as bar:
        for name in bar:
            target = folder / name
            is_good = _has_content if hashes is None else partial(_has_hash, hashes[name])
            if hashes is None:
                _part_of(target).unlink(missing_ok=True)  # which could not be told from a whole file
            if not (target.is_file() and is_good(target)):
                server.fetch(name, target, is_good)


def _fetched_hashes(
    server: "_Server", folder: Path, sums_sha256: str | None, pinned: Sequence[str]
) -> dict[str, str]:
    """The published list of hashes, which then lies in the folder."""
    target = folder / HASH_LIST
    _part_of(target).unlink(missing_ok=True)  # without a hash of its own, a part cannot be told from a whole

    def is_good(path: Path) -> bool:
        return sums_sha256 is None or hashes_digest(_parse_hashes(path), pinned) == sums_sha256

    server.fetch(HASH_LIST, target, is_good)
    return read_hashes(folder)


@dataclass(frozen=True)
class _Server:
    """The folder `url` (which ends with /) of a server, asked over one session with `patience`."""

    session: requests.Session
    url: str
    patience: Patience
    local_mend: str

    def fetch(self, name: str, target: Path, is_good: Callable[[Path], bool]):
        """Bring a file to its final name once `is_good` accepts it; a whole one that is wrong is fetched once more."""
        part = _part_of(target)
        part.parent.mkdir(parents=True, exist_ok=True)  # a record may lie in a subfolder
        for _ in range(2):
            # A run stopped just before the rename leaves a part that is whole.
            if not (part.is_file() and is_good(part)):
                self._transfer(name, part)
            if is_good(part):
                os.replace(part, target)
                return
            part.unlink()
        raise DeepECGError(
            f"{self.url}{name} came twice with content that differs from its published SHA-256: try again later, "
            f"set physionet_url to another copy, {self.local_mend}"
        )

    def _transfer(self, name: str, part: Path):
        """Fill `part`; a dropped or busy server is tried again."""
        tries = self.patience.tries
        for attempt in range(1, tries + 1):
            try:
                self._receive(name, part)
                return
            except TRANSFER_ERRORS as error:
                if attempt == tries or not _is_passing(error):
                    raise DeepECGError(
                        f"cannot download {self.url}{name} ({_reason(error)}): check the connection and physionet_url, "
                        f"{self.local_mend}"
                    ) from error
            time.sleep(self.patience.backoff_s * 2 ** (attempt - 1))

    def _receive(self, name: str, part: Path):
        """One request: continue `part` where the server sends the rest (206), begin anew where it sends all (200)."""
        held = part.stat().st_size if part.is_file() else 0
        headers = {"Accept-Encoding": "identity"}  # a range counts the bytes of the file, not of a compressed form
        if held:
            headers["Range"] = f"bytes={held}-"
        timeout_s = (self.patience.connect_timeout_s, self.patience.read_timeout_s)
        with self.session.get(self.url + name, headers=headers, stream=True, timeout=timeout_s) as response:
            is_rest = response.headers.get("Content-Range", "").startswith(f"bytes {held}-")
            if response.status_code == 416 or (response.status_code == 206 and not is_rest):
                part.unlink(missing_ok=True)
                raise requests.ConnectionError("the range asked for was not sent")
            response.raise_for_status()
            with part.open("ab" if response.status_code == 206 else "wb") as file:
                for chunk in response.iter_content(CHUNK_BYTES):
                    file.write(chunk)


def _local_mend(variable: str) -> str:
    return f'or set data_source to "local" and {variable} to a folder that holds the database'


def _is_passing(error: Exception) -> bool:
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return error.response.status_code >= 500 or error.response.status_code == 429
    dropped = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
    return isinstance(error, dropped)


def _reason(error: Exception) -> str:
    """The failure in a few words; the texts of requests run over many nested exceptions."""
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answers HTTP {error.response.status_code}"
    if isinstance(error, requests.Timeout) or "timed out" in str(error):
        return "no answer in time"
    if isinstance(error, requests.exceptions.SSLError):
        return "the server's certificate is not accepted"
    if isinstance(error, (requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        return "no connection, or it was dropped"
    return type(error).__name__


def _parse_hashes(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise DeepECGError(f"cannot read {path} ({error.strerror}): make it readable or get it again") from error
    matches = (_HASH_LINE.fullmatch(line.strip()) for line in lines)
    return {match[2]: match[1].lower() for match in matches if match}


def _has_hash(sha256: str, path: Path) -> bool:
    return _sha256(path) == sha256


def _sha256(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        raise DeepECGError(f"cannot read {path} ({error.strerror}): make it readable or get it again") from error


def _has_content(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def _part_of(target: Path) -> Path:
    return target.with_name(target.name + ".part")
