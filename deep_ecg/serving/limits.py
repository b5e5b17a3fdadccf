"""What a visitor may ask of the server, and how it refuses."""

from dataclasses import dataclass

MB = 2**20


@dataclass(frozen=True)
class Limits:
    """Limits of one server; sizes in bytes."""

    upload_bytes: int = 256 * MB  # of a request: a day of three leads at 250 Hz has 130 MB
    json_bytes: int = 64 * MB
    small_bytes: int = 64 * 1024  # of a request that holds no signal
    unpacked_bytes: int = 1024 * MB  # of an archive
    files: int = 500  # of an upload, and of an archive
    upload_s: float = 900.0
    labelling_s: float = 900.0
    waiting: int = 20  # labellings that wait for a process
    records: int = 50  # of a visitor
    free_bytes: int = 1024 * MB  # that an upload must leave on the disk
    streams: int = 32  # live ones, of all visitors
    stream_s: float = 24 * 3600.0
    message_bytes: int = MB  # of a live stream at a time
    keep_s: float = 7 * 24 * 3600.0  # a visitor's folder after the last visit


class Refused(Exception):
    """A request that is not answered; `status` of HTTP, and the reason in one line."""

    def __init__(self, status: int, why: str):
        super().__init__(why)
        self.status, self.why = status, why
