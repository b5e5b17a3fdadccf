"""A server on loopback that answers as PhysioNet does, with faults where a test asks for them."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves `files` under /mitdb/; `faults[name]` holds what goes wrong on the next requests for that file."""

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = files
        self.has_ranges = True
        self.faults: dict[str, list] = {}
        self.requests: list[tuple[str, str | None]] = []  # (file name, Range header)
        self.released = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/mitdb/"

    def handle_error(self, request, client_address):
        """A client that goes away in mid-file is part of these tests."""

    def asked(self, name: str) -> list[str | None]:
        """The Range headers of the requests for one file, in order."""
        return [byte_range for asked_name, byte_range in self.requests if asked_name == name]


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        name = self.path.removeprefix("/mitdb/")
        byte_range = self.headers.get("Range")
        self.server.requests.append((name, byte_range))
        faults = self.server.faults.get(name)
        fault = faults.pop(0) if faults else None
        if fault == "hang":
            self.server.released.wait(10)
            return
        if isinstance(fault, int):
            self.send_error(fault)
            return
        if name not in self.server.files:
            self.send_error(404)
            return
        body = self.server.files[name]
        if fault == "wrong":
            body = bytes(len(body))
        start = int(byte_range.removeprefix("bytes=").rstrip("-")) if byte_range and self.server.has_ranges else 0
        self.send_body(body, start, is_cut=fault == "drop")

    def send_body(self, body: bytes, start: int, is_cut: bool):
        if start and start >= len(body):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        self.wfile.write(body[start : (start + len(body)) // 2 if is_cut else len(body)])


def hash_list(files: dict[str, bytes]) -> bytes:
    """PhysioNet's own layout: one space, files that we do not fetch, no order."""
    lines = [f"{sha256(b'extra')} 100.xws", f"{sha256(b'extra')} x_mitdb/x_108.dat"]
    lines += [f"{sha256(content)} {name}" for name, content in reversed(files.items())]
    return ("\n".join(lines) + "\n").encode()
