"""A folder for each visitor, known by an unguessable cookie, and in it one for each of the visitor's records."""

import hashlib
import os
import re
import secrets
import shutil
import time
from pathlib import Path

from deep_ecg.serving.limits import Limits, Refused
from deep_ecg.serving.stored import ABOUT, ERROR, MADE_OF
from deep_ecg.system.json_files import write_json

ID = re.compile(r"[0-9a-f]{16}")
ARRIVING = "arriving-"  # begins the name of a folder whose upload has not ended
UPLOAD = "upload"  # what was uploaded, until it is labelled
TITLE = "title.txt"
FOLDER_MODE = 0o700


class Visits:
    """The visitors' folders below `root`."""

    def __init__(self, root: Path, limits: Limits):
        self.root, self._limits = root, limits

    def prepare(self):
        """Makes the root, and removes what a server that was killed has left of uploads that it had not labelled."""
        self.root.mkdir(parents=True, exist_ok=True)
        for visitor in self._visitors():
            for record in visitor.iterdir():
                if not any((record / name).exists() for name in (ABOUT, ERROR)):
                    shutil.rmtree(record, ignore_errors=True)
                elif not any((record / name).exists() for name in (MADE_OF, ERROR)):
                    write_json(record / MADE_OF, {"version": None})  # the results are made when they are asked for

    def forget_old(self):
        """Removes the folders of visitors who have not come for long."""
        for visitor in self._visitors():
            if time.time() - visitor.stat().st_mtime > self._limits.keep_s:
                shutil.rmtree(visitor, ignore_errors=True)

    def _visitors(self) -> list[Path]:
        return [path for path in self.root.iterdir() if path.is_dir() and not path.is_symlink()]

    def folder(self, visitor: str) -> Path:
        """The folder of the visitor with the cookie `visitor`, which need not be there; visited now."""
        folder = self.root / hashlib.sha256(visitor.encode()).hexdigest()[:32]
        if folder.exists():
            os.utime(folder)
        return folder

    def records(self, visitor: str) -> list[Path]:
        """The folders of the visitor's records, the latest first."""
        folder = self.folder(visitor)
        found = [path for path in folder.iterdir() if ID.fullmatch(path.name)] if folder.exists() else []
        return sorted(found, key=lambda path: (path / TITLE).stat().st_mtime if (path / TITLE).exists() else 0)[::-1]

    def record(self, visitor: str, number: str) -> Path:
        """The folder of the visitor's record `number`. Refused where there is none."""
        for folder in self.records(visitor):
            if secrets.compare_digest(folder.name, number):
                return folder
        raise Refused(404, "there is no such record: it may have been removed")

    def new_arrival(self, visitor: str) -> Path:
        """A new folder in the visitor's own, for what is uploaded. Refused where there is no room."""
        if len(self.records(visitor)) >= self._limits.records:
            raise Refused(409, f"you have {self._limits.records} records here: remove some")
        if shutil.disk_usage(self.root).free < self._limits.free_bytes + self._limits.upload_bytes:
            raise Refused(507, "there is no room for uploads on the server now")
        folder = self.folder(visitor)
        folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
        arrival = folder / f"{ARRIVING}{secrets.token_hex(8)}"
        arrival.mkdir(mode=FOLDER_MODE)
        return arrival

    def new_record(self, visitor: str, title: str) -> Path:
        """A new folder for a record that is called `title`."""
        folder = self.folder(visitor) / secrets.token_hex(8)
        folder.mkdir(mode=FOLDER_MODE)
        (folder / TITLE).write_text(title, encoding="utf-8")
        return folder


def title_of(record: Path) -> str:
    """What the record in the folder `record` is called."""
    return (record / TITLE).read_text(encoding="utf-8")
