"""Live traces over WebSockets: a record replayed, or samples that a program pushes, with labels as they come.

A program sends text, {"signal": [...]} in the unit of the address, or bytes, float32 of the little-endian kind, and
gets a message for each of its own. It may give its feed an unguessable name, under which pages can watch it.
"""

import asyncio
import json
import math
import secrets
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import numpy as np
from anyio import to_thread
from starlette.requests import HTTPConnection
from starlette.types import Message
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from config import CLASSES
from deep_ecg.labelling.live import UNITS, Event, Monitor
from deep_ecg.labelling.stream import Beat, BeatStream
from deep_ecg.serving.jobs import Network, is_number, parsed
from deep_ecg.serving.limits import Limits, Refused
from deep_ecg.serving.stored import MADE_OF, Stored, in_thousandths
from deep_ecg.serving.visits import Visits
from deep_ecg.system.errors import DeepECGError

REPLAY_S = 0.1  # of a replay at a time, at the speed of the record; of a faster one more
SPEEDS = (0.1, 100.0)
LEAST_NAME = 16  # letters in the name of a feed
WATCHER_MESSAGES = 100  # that a slow watcher may lag behind; then it is let go
GOING_AWAY, POLICY, TOO_MANY = 1001, 1008, 1013


class LiveFeeds:
    """The live streams of one server."""

    def __init__(self, visits: Visits, network: Network, limits: Limits):
        self._visits, self._network, self._limits = visits, network, limits
        self._open = 0
        self._watchers: dict[str, set[asyncio.Queue]] = {}

    async def replay(self, socket: WebSocket):
        """A record of the visitor's as a live feed, `speed` times as fast as it was, from sample `first` on."""
        await self._accepted(socket, self._do_replay)

    async def _do_replay(self, socket: WebSocket):
        folder = self._visits.record(socket.state.visitor, socket.path_params["number"])
        if not (folder / MADE_OF).exists():
            raise Refused(409, "this record is not labelled")
        speed, first = _number(socket, "speed", 1.0), int(_number(socket, "first", 0.0))
        if not SPEEDS[0] <= speed <= SPEEDS[1]:
            raise Refused(422, f"speed has to be {SPEEDS[0]:g} to {SPEEDS[1]:g}")
        record = (await to_thread.run_sync(Stored.load, folder)).labelled.record
        stream = await to_thread.run_sync(self._stream, record.fs_hz)
        await _say(socket, stream.greeting(record.name))
        await _until_left(socket, self._play(socket, stream, record.signal_mv[max(first, 0) :], speed))

    async def _play(self, socket: WebSocket, stream: "_Live", signal_mv: np.ndarray, speed: float):
        step = max(round(REPLAY_S * stream.fs_hz * max(speed, 1.0)), 1)
        started_s = time.monotonic()
        for start in range(0, len(signal_mv), step):
            chunk_mv = np.asarray(signal_mv[start : start + step], float)
            await asyncio.sleep(started_s + (start + len(chunk_mv)) / stream.fs_hz / speed - time.monotonic())
            await _say(socket, await to_thread.run_sync(stream.push, chunk_mv))
        await _say(socket, await to_thread.run_sync(stream.finish))

    async def pushed(self, socket: WebSocket):
        """Samples of a program: `fs` in Hz, `unit`, and the name of its `feed` if it is to be watched."""
        await self._accepted(socket, self._take)

    async def _take(self, socket: WebSocket):
        unit, feed = socket.query_params.get("unit", "mV"), socket.query_params.get("feed")
        if unit not in UNITS:
            raise Refused(422, f"unit has to be one of {', '.join(UNITS)}")
        _check_name(feed)
        stream = await to_thread.run_sync(self._stream, _number(socket, "fs", math.nan))
        await self._tell(socket, feed, stream.greeting("live"))
        while True:
            samples = _samples(await socket.receive(), self._limits.message_bytes)
            if samples is None:
                await self._tell(socket, feed, await to_thread.run_sync(stream.finish))
                return
            await self._tell(socket, feed, await to_thread.run_sync(stream.push, samples * UNITS[unit]))

    async def watched(self, socket: WebSocket):
        """What the program that pushes the `feed` is told, and its trace."""
        await self._accepted(socket, self._watch)

    async def _watch(self, socket: WebSocket):
        feed = socket.query_params.get("feed", "")
        _check_name(feed)
        queue: asyncio.Queue = asyncio.Queue(WATCHER_MESSAGES)
        self._watchers.setdefault(feed, set()).add(queue)
        try:
            await _until_left(socket, _pass_on(socket, queue))
        finally:
            self._watchers[feed].discard(queue)
            if not self._watchers[feed]:
                del self._watchers[feed]

    async def _tell(self, socket: WebSocket, feed: str | None, message: dict):
        for queue in self._watchers.get(feed or "", ()):
            with suppress(asyncio.QueueFull):
                queue.put_nowait(message)
        await _say(socket, {name: value for name, value in message.items() if name != "trace"})

    def _stream(self, fs_hz: float) -> "_Live":
        return _Live(BeatStream(self._network.loaded(), fs_hz))

    async def _accepted(self, socket: WebSocket, work: Callable[[WebSocket], Awaitable[None]]):
        """Takes a connection, if there are not too many, for a while; what goes wrong is told in a last message."""
        await socket.accept()
        code, why = 1000, None
        self._open += 1
        try:
            if self._open > self._limits.streams:
                raise Refused(503, "there are too many live streams: try again later")
            async with asyncio.timeout(self._limits.stream_s):
                await work(socket)
        except WebSocketDisconnect:
            return
        except TimeoutError:
            code, why = GOING_AWAY, "a live stream may not last longer"
        except Refused as refusal:
            code, why = (TOO_MANY if refusal.status == 503 else POLICY), refusal.why
        except DeepECGError as error:
            code, why = POLICY, str(error)
        finally:
            self._open -= 1
        if socket.client_state is WebSocketState.CONNECTED:
            with suppress(RuntimeError, WebSocketDisconnect):
                if why:
                    await socket.send_json({"error": why})
                await socket.close(code)


class _Live:
    """A stream with what has been seen of it, as messages."""

    def __init__(self, stream: BeatStream):
        self._stream, self.fs_hz = stream, stream.fs_hz
        self._monitor = Monitor(stream.fs_hz, stream.inputs.mode)

    def greeting(self, name: str) -> dict:
        """The first message."""
        about = {"name": name, "fs": self.fs_hz, "mode": self._stream.inputs.mode}
        return about | {"synthetic": self._stream.classifier.synthetic}

    def push(self, chunk_mv: np.ndarray) -> dict:
        """The next samples (n,) in millivolts; what they made known."""
        return self._message(chunk_mv, self._stream.push(chunk_mv))

    def finish(self) -> dict:
        """What the end made known."""
        return self._message(np.empty(0), self._stream.finish()) | {"ended": True}

    def _message(self, chunk_mv: np.ndarray, beats: list[Beat]) -> dict:
        monitor = self._monitor
        news = monitor.follow(len(chunk_mv), beats, self._stream.changes)
        rate = monitor.heart_rate_per_min
        return {
            "samples": monitor.pushed,
            "signal": monitor.quality,
            "rate_per_min": None if rate is None else round(rate),
            "counts": {name: monitor.counts[name] for name in CLASSES},
            "beats": [self._beat(beat) for beat in beats],
            "alarms": [{"sample": one.sample, "text": one.text} for one in news if isinstance(one, Event)],
            "unit": self._stream.unit,
            "trace": in_thousandths(chunk_mv),
        }

    def _beat(self, beat: Beat) -> dict:
        return {
            "sample": beat.sample,
            "class": CLASSES[beat.label],
            "probabilities": {name: round(float(p), 4) for name, p in zip(CLASSES, beat.proba)},
            "delay_ms": round(self._monitor.delay_ms(beat)),
        }


async def _say(socket: WebSocket, message: dict):
    await socket.send_text(json.dumps(message))


async def _pass_on(socket: WebSocket, queue: asyncio.Queue):
    while True:
        await _say(socket, await queue.get())


async def _until_left(socket: WebSocket, work):
    """Does `work`, which only sends, until it is done or the other side has gone."""
    task, left = asyncio.create_task(work), asyncio.create_task(_left(socket))
    try:
        done, _ = await asyncio.wait({task, left}, return_when=asyncio.FIRST_COMPLETED)
        if task in done:
            task.result()
    finally:
        for one in (task, left):
            one.cancel()
            with suppress(asyncio.CancelledError, WebSocketDisconnect, RuntimeError):
                await one


async def _left(socket: WebSocket):
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass


def _samples(message: Message, most: int) -> np.ndarray | None:
    """The samples (n,) of a message, NaN where they are lost; None where it says that the feed has ended."""
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1000))
    text, data = message.get("text"), message.get("bytes")
    if len(text or data or "") > most:
        raise Refused(413, f"a message may have {most // 2**20} MB: send fewer samples at a time")
    if data is not None:
        if len(data) % 4:
            raise Refused(422, "bytes have to be float32, four for each sample")
        return np.frombuffer(data, "<f4").astype(float)
    try:
        asked = parsed((text or "").encode())
        if asked == {"end": True}:
            return None
        signal = asked["signal"]
        if not isinstance(signal, list) or not all(value is None or is_number(value) for value in signal):
            raise ValueError("no numbers")
        return np.array([math.nan if value is None else value for value in signal], float)
    except (ValueError, TypeError, KeyError, OverflowError):
        raise Refused(422, 'a message has to be {"signal": [...]} with numbers, or {"end": true}') from None


def _number(socket: HTTPConnection, name: str, default: float) -> float:
    try:
        number = float(socket.query_params.get(name, default))
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise Refused(422, f"{name} has to be a number")
    return number


def _check_name(feed: str | None):
    """Refused where others could guess the name of a feed. `None` is a feed that nobody is to watch."""
    if feed is not None and len(feed) < LEAST_NAME:
        raise Refused(422, f"the name of a feed has to have {LEAST_NAME} letters or more, e.g. {secrets.token_hex(8)}")
