"""The server's paths: pages, uploads, records with their review, and labels for programs."""

import asyncio
import secrets
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from anyio import to_thread
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles

from config import CLASSES
from deep_ecg.serving import jobs
from deep_ecg.serving.gate import Gate
from deep_ecg.serving.jobs import Fields, Network
from deep_ecg.serving.limits import Limits, Refused
from deep_ecg.serving.live import LiveFeeds
from deep_ecg.serving.openapi import description
from deep_ecg.serving.pool import Pool
from deep_ecg.serving.review import ANNOTATIONS, LOG, Review
from deep_ecg.serving.stored import ABOUT, ERROR, MADE_OF, Stored, trace
from deep_ecg.serving.uploads import Given, Upload, shown, sorted_into_records, unpacked
from deep_ecg.serving.visits import UPLOAD, Visits, title_of
from deep_ecg.system.errors import DeepECGError
from deep_ecg.system.json_files import read_json, write_json

PAGES = Path(__file__).parent / "pages"
CLEANING_S = 3600.0
MOST_POINTS = 20_000  # of a trace
BLOCK_BYTES = 2**20
# What a visitor can take away: file in the record's folder, ending of its name, kind of content.
DOWNLOADS = {
    "pred": (jobs.ANNOTATIONS, ".pred", "application/octet-stream"),
    "csv": (jobs.TABLE, ".csv", "text/csv"),
    "json": (jobs.SUMMARY, ".json", "application/json"),
    "events": (jobs.EVENTS, "-events.csv", "text/csv"),
    "html": (jobs.PAGE, ".html", "text/html"),
    "rev": (ANNOTATIONS, ".rev", "application/octet-stream"),
    "log": (LOG, "-review.jsonl", "application/x-ndjson"),
}
FOLLOWING = ("csv", "json", "events", "html")  # the review
# The report is one file with its programs inside: it may run these, but nothing of this site is within its reach.
REPORT_HEADERS = {
    "Content-Security-Policy": (
        "sandbox allow-scripts allow-popups; default-src 'none'; script-src 'unsafe-inline'; "
        "style-src 'unsafe-inline'; img-src data:; font-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'self'"
    ),
    "X-Frame-Options": "SAMEORIGIN",
}


@dataclass(frozen=True)
class Settings:
    """What a server is started with. `token` is None on loopback."""

    root: Path
    network: Network
    live_network: Network
    token: str | None = None
    processes: int = 1
    limits: Limits = field(default_factory=Limits)


def create_app(settings: Settings) -> Starlette:
    """The ASGI application."""
    server = Server(settings)
    live = server.live
    routes = [
        Route("/", server.page),
        Route("/health", server.health),
        Route("/openapi.json", server.openapi),
        Route("/predict", server.predict, methods=["POST"]),
        Route("/records", server.list_records),
        Route("/records", server.upload, methods=["POST"]),
        Route("/records/{number}", server.about),
        Route("/records/{number}", server.remove, methods=["DELETE"]),
        Route("/records/{number}/review", server.review),
        Route("/records/{number}/review", server.change, methods=["POST"]),
        Route("/records/{number}/beats", server.beats),
        Route("/records/{number}/trace", server.trace),
        Route("/records/{number}/files/{kind}", server.download),
        Route("/records/{number}/report", server.report),
        Route("/examples/{name}", server.example, methods=["POST"]),
        WebSocketRoute("/records/{number}/replay", live.replay),
        WebSocketRoute("/live", live.pushed),
        WebSocketRoute("/watch", live.watched),
        Mount("/pages", StaticFiles(directory=PAGES)),
    ]
    handlers = {Refused: _refused, DeepECGError: _wrong, HTTPException: _http}
    gate = Middleware(Gate, token=settings.token, limits=settings.limits)
    app = Starlette(routes=routes, middleware=[gate], exception_handlers=handlers, lifespan=server.lifespan)
    app.state.server = server
    return app


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    extra = {"Retry-After": "30"} if error.status == 503 else {}
    return JSONResponse({"error": error.why}, error.status, extra)


def _wrong(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 422)


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, dict(error.headers or {}))


class Server:
    """The answers. What takes long runs in the processes of a `Pool`, what reads files in threads."""

    def __init__(self, settings: Settings):
        self.settings, self.limits = settings, settings.limits
        self.visits = Visits(settings.root, settings.limits)
        self.live = LiveFeeds(self.visits, settings.live_network, settings.limits)
        self._labelling: set[asyncio.Task] = set()
        self._one_change = asyncio.Lock()

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """From the start of the server to its end."""
        self.visits.prepare()
        self.pool = Pool(self.settings.processes, self.limits.waiting, self.limits.labelling_s)
        cleaning = asyncio.create_task(self._clean())
        try:
            yield
        finally:
            cleaning.cancel()
            self.pool.close()

    async def _clean(self):
        while True:
            with suppress(OSError):
                await to_thread.run_sync(self.visits.forget_old)
            await asyncio.sleep(CLEANING_S)

    # Pages and descriptions ------------------------------------------------------------------------------------------

    async def page(self, request: Request) -> Response:
        """The page."""
        return FileResponse(PAGES / "index.html")

    async def health(self, request: Request) -> Response:
        """Whether the server answers."""
        return JSONResponse({"status": "ok"})

    async def openapi(self, request: Request) -> Response:
        """The description of the paths for programs."""
        return JSONResponse(description(self.settings.token is not None))

    # Labels for programs ---------------------------------------------------------------------------------------------

    async def predict(self, request: Request) -> Response:
        """Labels of samples, or of one record in a file or in several."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "application/json":
            body = await self._body(request, self.limits.json_bytes)
            answer = await self.pool.run(jobs.label_json, body, self.settings.network)
        elif kind in ("application/octet-stream", "multipart/form-data"):
            async with self._arrived(request, kind) as (_, files, asked):
                answer = await self.pool.run(jobs.label_file, files, asked, self.settings.network)
        else:
            raise Refused(415, "send application/json, application/octet-stream or multipart/form-data")
        return Response(answer, media_type="application/json")

    # A visitor's records ---------------------------------------------------------------------------------------------

    async def list_records(self, request: Request) -> Response:
        """The visitor's records, the latest first."""
        return JSONResponse({"records": await to_thread.run_sync(self._listed, request.state.visitor)})

    def _listed(self, visitor: str) -> list[dict]:
        return [_about(folder) for folder in self.visits.records(visitor)]

    async def upload(self, request: Request) -> Response:
        """Takes files, and has the records in them labelled."""
        async with self._arrived(request, "multipart/form-data") as (arrival, files, asked):
            uploads = await to_thread.run_sync(sorted_into_records, files)
            if not uploads:
                raise Refused(422, "there is no record among the files")
            folders = []
            for upload in uploads[: self.limits.records]:
                folders.append(self.visits.new_record(request.state.visitor, upload.title))
                moved = await to_thread.run_sync(_moved, arrival, folders[-1], upload)
                self._start(folders[-1], partial(self.pool.run, jobs.label_upload, folders[-1], moved, asked))
        return JSONResponse({"records": [folder.name for folder in folders]}, 202)

    async def example(self, request: Request) -> Response:
        """Makes a SYNTHETIC record that shows a class, and has it labelled."""
        name = request.path_params["name"]
        if name not in CLASSES:
            raise Refused(404, f"there are examples of {', '.join(CLASSES)}")
        arrival = self.visits.new_arrival(request.state.visitor)
        try:
            folder = self.visits.new_record(request.state.visitor, f"SYNTHETIC-{name}")
            made = await to_thread.run_sync(jobs.make_example, arrival, name)
            moved = await to_thread.run_sync(_moved, arrival, folder, made)
            self._start(folder, partial(self.pool.run, jobs.label_upload, folder, moved, jobs.Fields()))
        finally:
            shutil.rmtree(arrival, ignore_errors=True)
        return JSONResponse({"records": [folder.name]}, 202)

    def _start(self, folder: Path, work: Callable[..., Awaitable]):
        task = asyncio.create_task(self._label(folder, work))
        self._labelling.add(task)
        task.add_done_callback(self._labelling.discard)

    async def _label(self, folder: Path, work: Callable[..., Awaitable]):
        """Has a record labelled; what went wrong stands in its folder, and of the upload nothing stays."""
        try:
            await work(self.settings.network)
        except Refused as refusal:
            with suppress(DeepECGError):  # the visitor may have removed the record
                if folder.exists():
                    await to_thread.run_sync(write_json, folder / ERROR, {"error": refusal.why})
        finally:
            await to_thread.run_sync(partial(shutil.rmtree, folder / UPLOAD, ignore_errors=True))

    async def about(self, request: Request) -> Response:
        """What a record is, and how far its labelling is."""
        return JSONResponse(await to_thread.run_sync(_about, self._record(request)))

    async def remove(self, request: Request) -> Response:
        """Removes a record and all that was made of it."""
        await to_thread.run_sync(partial(shutil.rmtree, self._record(request), ignore_errors=True))
        return Response(status_code=204)

    async def download(self, request: Request) -> Response:
        """A file of a record."""
        folder, kind = self._record(request, labelled=True), request.path_params["kind"]
        if kind not in DOWNLOADS:
            raise Refused(404, f"there are the files {', '.join(DOWNLOADS)}")
        if kind in FOLLOWING:
            await self._follow(folder)
        elif kind == "rev":  # a server that was killed may have saved a change, and not yet this
            await to_thread.run_sync(lambda: Review(Stored.load(folder)).write())
        name, ending, media = DOWNLOADS[kind]
        if not (folder / name).is_file():
            raise Refused(404, "there is no such file of this record")
        return FileResponse(folder / name, media_type=media, filename=f"{shown(title_of(folder))}{ending}")

    async def report(self, request: Request) -> Response:
        """The report, to be shown in a frame."""
        folder = self._record(request, labelled=True)
        await self._follow(folder)
        return FileResponse(folder / jobs.PAGE, media_type="text/html", headers=REPORT_HEADERS)

    async def _follow(self, folder: Path):
        """Makes the results anew where labels have been changed since."""
        if await to_thread.run_sync(_is_behind, folder):
            await self.pool.run(jobs.write_results, folder)

    # Review ----------------------------------------------------------------------------------------------------------

    async def review(self, request: Request) -> Response:
        """Counts, shapes and episodes of a record as they are now."""
        folder = self._record(request, labelled=True)
        return JSONResponse(await to_thread.run_sync(lambda: Review(Stored.load(folder)).told()))

    async def change(self, request: Request) -> Response:
        """Changes labels; the answer is that of `review`."""
        folder = self._record(request, labelled=True)
        asked = await self._json(request)

        def changed() -> dict:
            review = Review(Stored.load(folder))
            review.change(asked)
            return review.told()

        async with self._one_change:
            return JSONResponse(await to_thread.run_sync(changed))

    async def beats(self, request: Request) -> Response:
        """The beats of a record as they are labelled now, in columns."""
        folder = self._record(request, labelled=True)
        return JSONResponse(await to_thread.run_sync(_beats, folder))

    async def trace(self, request: Request) -> Response:
        """A stretch of the signal, for a picture."""
        folder = self._record(request, labelled=True)
        numbers = [_whole(request.query_params.get(name, "")) for name in ("first", "last", "points")]
        first, last, points = (number for number in numbers)
        signal_mv = await to_thread.run_sync(lambda: Stored.load(folder).labelled.shown_mv)
        return JSONResponse(await to_thread.run_sync(trace, signal_mv, first, last, min(points, MOST_POINTS)))

    # Requests --------------------------------------------------------------------------------------------------------

    def _record(self, request: Request, labelled: bool = False) -> Path:
        folder = self.visits.record(request.state.visitor, request.path_params["number"])
        if labelled and not (folder / MADE_OF).exists():
            raise Refused(409, "this record is not labelled yet, or could not be")
        return folder

    async def _body(self, request: Request, most: int) -> bytes:
        parts, size = [], 0
        async with self._in_time():
            async for part in request.stream():
                size += len(part)
                _check_size(size, most)
                parts.append(part)
        return b"".join(parts)

    async def _json(self, request: Request) -> dict:
        body = await self._body(request, self.limits.small_bytes)
        try:
            asked = await to_thread.run_sync(jobs.parsed, body)
        except ValueError:
            raise Refused(400, "the body is no JSON") from None
        if not isinstance(asked, dict):
            raise Refused(400, "the body is no JSON object")
        return asked

    @asynccontextmanager
    async def _arrived(self, request: Request, kind: str) -> AsyncIterator[tuple[Path, list[Given], Fields]]:
        """A folder of the visitor's with the files of a request in it, these, and what is said beside them."""
        _check_size(_whole(request.headers.get("content-length", "0")), self.limits.upload_bytes)
        arrival = self.visits.new_arrival(request.state.visitor)
        try:
            async with self._in_time():
                if kind == "application/octet-stream":
                    files, asked = [await self._stream_to(request, arrival)], Fields.of(request.query_params)
                else:
                    files, asked = await self._form(request, arrival)
            if not files:
                raise Refused(400, "there is no file in the request")
            yield arrival, await to_thread.run_sync(unpacked, files, arrival, self.limits), asked
        finally:
            await to_thread.run_sync(partial(shutil.rmtree, arrival, ignore_errors=True))
            with suppress(OSError):  # a visitor without a record leaves nothing
                arrival.parent.rmdir()

    @asynccontextmanager
    async def _in_time(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self.limits.upload_s):
                yield
        except TimeoutError:
            raise Refused(408, f"the upload took longer than {self.limits.upload_s:g} s") from None
        except ClientDisconnect:
            raise Refused(400, "the upload was broken off") from None

    async def _stream_to(self, request: Request, arrival: Path) -> Given:
        path, size = arrival / secrets.token_hex(8), 0
        with path.open("xb") as file:
            async for part in request.stream():
                size += len(part)
                _check_size(size, self.limits.upload_bytes)
                await to_thread.run_sync(file.write, part)
        return Given("upload", path)

    async def _form(self, request: Request, arrival: Path) -> tuple[list[Given], Fields]:
        """The files of a form, written into the folder `arrival`, and its other fields."""
        received, size = request._receive, 0

        async def limited():
            nonlocal size
            message = await received()
            size += len(message.get("body", b""))
            _check_size(size, self.limits.upload_bytes)
            return message

        request = Request(request.scope, limited)
        try:
            async with request.form(max_files=self.limits.files, max_fields=10, max_part_size=1000) as form:
                asked = Fields.of({name: one for name, one in form.multi_items() if isinstance(one, str)})
                files = [one for _, one in form.multi_items() if isinstance(one, UploadFile)]
                given = [await to_thread.run_sync(_kept, one, arrival) for one in files]
                return given, asked
        except (MultiPartException, HTTPException, ValueError) as error:
            raise Refused(400, f"the form cannot be read: {getattr(error, 'detail', error)}") from None


def _check_size(size: int, most: int):
    if size > most:
        raise Refused(413, f"the request has more than {most // 2**20} MB: give less at a time")


def _whole(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 12:
        raise Refused(400, "first, last and points have to be whole numbers")
    return int(text)


def _kept(file: UploadFile, arrival: Path) -> Given:
    path = arrival / secrets.token_hex(8)
    with path.open("xb") as target:
        shutil.copyfileobj(file.file, target, BLOCK_BYTES)
    return Given(file.filename or "upload", path)


def _moved(arrival: Path, folder: Path, upload: Upload) -> Upload:
    """`upload` with its files in the record's own `folder`: as links, for several records can share the arrival."""
    home = folder / UPLOAD
    home.mkdir(mode=0o700)
    for path in arrival.iterdir():
        if path.is_file():
            (home / path.name).hardlink_to(path)
    return Upload(upload.title, home / upload.main.name, upload.names)


def _is_behind(folder: Path) -> bool:
    return read_json(folder / MADE_OF)["version"] != Review(Stored.load(folder)).version


def _about(folder: Path) -> dict:
    told = {"id": folder.name, "title": title_of(folder)}
    if (folder / ERROR).exists():
        return told | {"state": "failed", "error": read_json(folder / ERROR)["error"]}
    if not (folder / ABOUT).exists():
        return told | {"state": "waiting"}
    about = read_json(folder / ABOUT)
    kept = {name: about[name] for name in ("lead", "fs_hz", "length", "synthetic", "unit", "network")}
    return told | {"state": "labelled" if (folder / MADE_OF).exists() else "waiting", **kept}


def _beats(folder: Path) -> dict:
    review = Review(Stored.load(folder))
    labelled = review.labelled
    return {
        "version": review.version,
        "samples": labelled.samples.tolist(),
        "classes": "".join(CLASSES[label] for label in labelled.predicted),
        "before": "".join(CLASSES[label] for label in review.stored.labelled.predicted),
        "percent": (100 * review.stored.labelled.proba.max(axis=1, initial=0)).round().astype(int).tolist(),
        "shapes": review.stored.shapes.tolist(),
    }
