"""Live traces: what a program is told for its samples, what watchers see, replays, and what is refused."""

import numpy as np
import pytest
from starlette.websockets import WebSocketDisconnect

from config import CLASSES
from deep_ecg.labelling.stream import BeatStream
from tests.serving.conftest import LIVE, client_of, files_of, labelled, two_shapes, until_last_beat

FEED = "0123456789abcdef"


def beats_of(messages: list[dict]) -> list[tuple]:
    return [(beat["sample"], beat["class"]) for message in messages for beat in message.get("beats", ())]


def streamed(signal_mv: np.ndarray) -> list[tuple]:
    """The beats that the stream of the command line tells."""
    stream = BeatStream(LIVE.loaded(), 250)
    return [(beat.sample, CLASSES[beat.label]) for beat in [*stream.push(signal_mv), *stream.finish()]]


@pytest.mark.parametrize("how", ["text", "bytes"])
def test_a_program_is_told_the_beats_of_the_stream(client, how):
    signal_mv, told = until_last_beat(20).astype(np.float32).astype(float), []
    with client.websocket_connect("ws://localhost/live?fs=250&unit=uV") as socket:
        assert socket.receive_json()["mode"] == "causal"
        for chunk in np.array_split(1000 * signal_mv, 30):
            if how == "text":
                socket.send_json({"signal": chunk.tolist()})
            else:
                socket.send_bytes(chunk.astype("<f4").tobytes())
            told.append(socket.receive_json())
        socket.send_json({"end": True})
        told.append(socket.receive_json())
    assert beats_of(told) == streamed(signal_mv)
    last = told[-1]
    assert last["ended"] and last["samples"] == len(signal_mv) and sum(last["counts"].values()) == 20
    assert last["signal"] == "ok" and 60 < last["rate_per_min"] < 100 and "trace" not in last


def test_lost_signal_is_an_alarm(client):
    with client.websocket_connect("ws://localhost/live?fs=250") as socket:
        socket.receive_json()
        socket.send_json({"signal": two_shapes(10).tolist() + [None] * 500})
        told = socket.receive_json()
    assert told["signal"] == "missing" and told["alarms"][-1]["text"] == "signal missing"


def test_pages_watch_what_a_program_pushes(client):
    with (
        client.websocket_connect(f"ws://localhost/watch?feed={FEED}") as page,
        client.websocket_connect("ws://localhost/watch?feed=" + 16 * "x") as other,
    ):
        with client.websocket_connect(f"ws://localhost/live?fs=250&feed={FEED}") as program:
            assert page.receive_json()["fs"] == 250
            program.receive_json()
            program.send_json({"signal": [0.5, None]})
            program.receive_json()
        assert page.receive_json()["trace"] == [500, None]
        other.close()


def test_a_record_is_replayed_with_its_trace(client, record):
    number = labelled(client, files_of(record))
    told = []
    with client.websocket_connect(f"ws://localhost/records/{number}/replay?speed=100") as socket:
        told.append(socket.receive_json())
        while not told[-1].get("ended"):
            told.append(socket.receive_json())
    assert told[0]["name"] == "77" and len(beats_of(told)) == 40
    trace = [value for message in told[1:] for value in message["trace"]]
    assert np.abs(np.array(trace) / 1000 - two_shapes()).max() < 0.01


WRONG = ["[]", "{}", '{"signal": 1}', '{"signal": ["a"]}', '{"signal": [[1, 2]]}', "x", '{"signal": [NaN]}', "[" * 9999]
WRONG += ['{"signal": "12"}', '{"signal": [true]}', '{"signal": [1e999]}', '{"signal": [1e300]}']


@pytest.mark.parametrize("text", WRONG)
def test_a_message_that_is_none_ends_the_stream_with_a_line(client, text):
    with client.websocket_connect("ws://localhost/live?fs=250") as socket:
        socket.receive_json()
        socket.send_text(text)
        told = socket.receive_json()
        if text != "[]" and text != '{"signal": [[1, 2]]}':
            assert told["error"].isprintable()
        if "error" in told:
            with pytest.raises(WebSocketDisconnect):
                socket.receive_json()


@pytest.mark.parametrize(
    "address",
    ["/live", "/live?fs=x", "/live?fs=nan", "/live?fs=50", "/live?fs=250&unit=kV", "/live?fs=250&feed=short", "/watch",
     "/records/0123456789abcdef/replay", "/records/x/replay?speed=0"],
)  # fmt: skip
def test_a_stream_that_cannot_be_is_refused_with_a_line(client, address):
    with client.websocket_connect(f"ws://localhost{address}") as socket:
        assert socket.receive_json()["error"].isprintable()
        with pytest.raises(WebSocketDisconnect):
            socket.receive_json()


def test_there_are_so_many_streams_and_each_message_is_so_large(tmp_path):
    with client_of(tmp_path, streams=1, message_bytes=100) as client:
        with client.websocket_connect("ws://localhost/live?fs=250") as socket:
            socket.receive_json()
            with client.websocket_connect("ws://localhost/live?fs=250") as second:
                assert "too many" in second.receive_json()["error"]
            socket.send_bytes(bytes(104))
            assert "MB" in socket.receive_json()["error"]
        with client.websocket_connect("ws://localhost/live?fs=250") as socket:
            assert socket.receive_json()["fs"] == 250
