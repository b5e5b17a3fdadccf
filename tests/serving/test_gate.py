"""Who is let in, and what every answer says to a browser."""

import pytest
from starlette.websockets import WebSocketDisconnect

from deep_ecg.serving.command import address, bound, is_loopback
from tests.serving.conftest import client_of, files_of, labelled
from tests.support.records import refused

TOKEN = "t" * 32


@pytest.fixture
def guarded(tmp_path):
    with client_of(tmp_path, TOKEN) as client:
        yield client


def test_every_answer_has_the_headers_that_keep_scripts_and_frames_out(client):
    for path in ("/", "/health", "/pages/app.js", "/nothing", "/records"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert headers["x-frame-options"] == "DENY" and headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer" and headers["cache-control"] == "no-store"
    assert "<script>" not in client.get("/").text and " style=" not in client.get("/").text


@pytest.mark.parametrize("host", ["localhost", "localhost:9", "127.0.0.1:8000", "[::1]:8000"])
def test_the_names_of_loopback_are_answered(client, host):
    assert client.get("/health", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.2", "[", ""])
def test_no_other_name_is_on_loopback(client, host):
    """As of a page whose name was made to lead here."""
    assert client.get("/health", headers={"Host": host}).status_code == 421


FOREIGN = [
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://localhost:1"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
]


@pytest.mark.parametrize("headers", FOREIGN)
def test_other_sites_can_change_nothing(client, headers):
    for path in ("/predict", "/records", "/examples/V", "/records/0123456789abcdef/review"):
        assert client.post(path, headers=headers).status_code == 403
    assert client.delete("/records/0123456789abcdef", headers=headers).status_code == 403
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("ws://localhost/live?fs=250", headers=headers):
        pass


def test_our_own_page_and_programs_can(client):
    for headers in ({"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}, {}):
        answer = client.post("/predict", json={"signal": [0.0], "fs": 250}, headers=headers)
        assert answer.status_code == 200


def test_without_the_token_there_is_nothing_but_health_and_description(guarded):
    assert guarded.get("/health").status_code == 200
    assert guarded.get("/openapi.json").json()["paths"]["/predict"]["post"]["security"] == [{"token": []}]
    for path in ("/", "/records", "/pages/app.js", "/?token=wrong", "/?token=%C3%A9"):
        answer = guarded.get(path)
        assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
    assert guarded.post("/predict", json={"signal": [0.0], "fs": 250}).status_code == 401
    with pytest.raises(WebSocketDisconnect), guarded.websocket_connect("ws://localhost/live?fs=250"):
        pass


def test_the_token_opens_as_a_header_and_once_in_the_address(guarded):
    assert guarded.get("/records", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert guarded.get("/records").status_code == 401
    answer = guarded.get(f"/?token={TOKEN}", follow_redirects=False)
    assert answer.status_code == 303 and answer.headers["location"] == "/"
    assert all("HttpOnly; SameSite=Strict" in cookie for cookie in answer.headers.get_list("set-cookie"))
    assert guarded.get("/").status_code == 200 and guarded.get("/records").status_code == 200
    assert guarded.get("/", headers={"Host": "any.example"}).status_code == 200  # the token is what keeps others out


def test_a_visitor_sees_nothing_of_another(client, record):
    number = labelled(client, files_of(record))
    assert client.get(f"/records/{number}").status_code == 200
    mine = dict(client.cookies)
    client.cookies.clear()
    for path in ("", "/review", "/beats", "/report", "/files/csv"):
        assert client.get(f"/records/{number}{path}").status_code == 404
    assert client.get("/records").json() == {"records": []}
    client.cookies.update(mine)
    assert client.get(f"/records/{number}").status_code == 200
    assert client.delete(f"/records/{number}").status_code == 204


@pytest.mark.parametrize("number", ["..", "%2e%2e", "..%2f..", "0" * 16, "a" * 5000, "%00", "title.txt"])
def test_the_number_of_a_record_is_no_path(client, number):
    assert client.get(f"/records/{number}/files/csv").status_code in (400, 404)
    assert client.get(f"/pages/%2e%2e/{number}").status_code == 404


def test_only_loopback_does_without_a_token():
    assert all(map(is_loopback, ("127.0.0.1", "::1", "localhost", "127.8.9.1")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.1.2", "example.org", "")))


def test_an_address_that_cannot_be_had_is_one_line():
    with bound("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        assert address(listener, "127.0.0.1", None) == f"http://127.0.0.1:{port}/"
        assert address(listener, "0.0.0.0", "abc") == f"http://localhost:{port}/?token=abc"
        refused(lambda: bound("127.0.0.1", port), f"port {port}", "--port")
    refused(lambda: bound("203.0.113.7", 0), "203.0.113.7")
