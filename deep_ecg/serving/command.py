"""The command `serve`: the page and the REST interface, on loopback unless another address is asked for."""

import argparse
import ipaddress
import os
import secrets
import socket
from importlib.util import find_spec
from pathlib import Path

from deep_ecg.labelling.commands import add_file_options, add_model_options
from deep_ecg.system.errors import DeepECGError
from deep_ecg.system.files import check_writable, locked

PACKAGES = ("starlette", "uvicorn", "websockets", "python_multipart")
HOST_VARIABLE = "DEEP_ECG_HOST"  # the address to serve at where --host is not given: the Docker image sets it
HOST, PORT = "127.0.0.1", 8000
CONNECTIONS = 400
GRACE_S = 3

# What needs starlette or uvicorn is imported when the server is started: all other commands run without them.


def add_serve(group: argparse._SubParsersAction):
    """The command `serve`."""
    target = group.add_parser(
        "serve",
        help="label, report, review and watch in a browser; REST for programs",
        argument_default=argparse.SUPPRESS,
    )
    target.add_argument("--port", type=int, metavar="N", help=f"default {PORT}; 0: any that is free")
    about = f"address to serve at (default {HOST}, this machine alone); any other asks for a token, which is printed"
    target.add_argument("--host", metavar="H", help=about)
    target.add_argument("--out", type=Path, metavar="DIR", help="folder of the visitors' records (default served)")
    target.add_argument("--workers", type=int, metavar="N", help="labelling processes (default: half of the cores)")
    add_model_options(target)
    add_file_options(target)
    target.set_defaults(command=serve_command)


def serve_command(options: dict):
    """`python main.py serve`: serves until it is interrupted."""
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise DeepECGError(f"package {missing[0]} is not installed: pip install -r requirements-serve.txt")
    host, port = options.get("host", os.environ.get(HOST_VARIABLE) or HOST), options.get("port", PORT)
    workers, out = options.get("workers", max((os.cpu_count() or 1) // 2, 1)), options.get("out", Path("served"))
    if not 0 <= port <= 65535 or workers < 1:
        raise DeepECGError(f"--port has to be 0 to 65535, --workers 1 or more: not {port} and {workers}")
    check_writable(out)
    with locked(out), bound(host, port) as listener:
        _serve(listener, host, out.resolve(), workers, options)


def _serve(listener: socket.socket, host: str, out: Path, workers: int, options: dict):
    import uvicorn

    from deep_ecg.serving.app import Settings, create_app
    from deep_ecg.serving.jobs import Network
    from deep_ecg.serving.limits import Limits

    chosen = {name: options[name] for name in ("mode", "preset", "runtime", "checkpoint") if name in options}
    network = Network(**chosen)
    live = network if network.mode == "causal" else Network("causal", network.preset, network.runtime)
    live.loaded()  # what is wrong with a file is told now, not to the first visitor
    network.loaded()
    token = None if is_loopback(host) else secrets.token_urlsafe(24)
    limits = Limits()
    app = create_app(Settings(out, network, live, token, workers, limits))
    print(
        f"Deep-ECG at {address(listener, host, token)}\nResearch code, not a medical device. Ctrl-C ends.", flush=True
    )
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws_max_size=limits.message_bytes,
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=GRACE_S,
    )
    uvicorn.Server(config).run([listener])


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens at `host` and `port`. DeepECGError where that cannot be."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        why = error.strerror or error
        raise DeepECGError(
            f"{host}, port {port}, cannot be served at ({why}): choose another --port or --host"
        ) from None


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def address(listener: socket.socket, host: str, token: str | None) -> str:
    """The address that a user of this machine opens."""
    shown = "localhost" if host in ("0.0.0.0", "::", "") else host
    shown = f"[{shown}]" if ":" in shown else shown
    return f"http://{shown}:{listener.getsockname()[1]}/" + (f"?token={token}" if token else "")
