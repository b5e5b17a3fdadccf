"""What every request passes: where it may come from, whose it is, and the headers of every answer.

A page of another site must not use this server through a visitor's browser: requests that change something, and
WebSockets, have to come from our own pages (Origin), and a server on loopback answers under the names of loopback
alone, so that no name that was made to lead here (DNS rebinding) is one of ours.
"""

import secrets
from collections.abc import Sequence
from http.cookies import SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deep_ecg.serving.limits import Limits, Refused

LOOPBACK = ("localhost", "127.0.0.1", "::1")
VISITOR, TOKEN = "deep_ecg_visitor", "deep_ecg_token"  # cookies
OPEN = ("/health", "/openapi.json")  # paths that need no token
UNSAFE = ("POST", "PUT", "PATCH", "DELETE")
VISITOR_BYTES = 24
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}


class Gate:
    """ASGI middleware. `token` is None where none is asked for: on loopback alone."""

    def __init__(self, app: ASGIApp, token: str | None, limits: Limits):
        self._app, self._token, self._limits = app, token, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send):
        """Answers a request, or lets it pass."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        cookies = {name: one.value for name, one in SimpleCookie(headers.get("cookie", "")).items()}
        try:
            check_host(headers, self._token is None)
            if scope["type"] == "websocket" or scope["method"] in UNSAFE:
                check_origin(headers)
            given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [])
            self._check_token(scope, headers, cookies, given)
        except Refused as refusal:
            await _refuse(refusal, scope, receive, send)
            return
        if scope["type"] == "websocket":
            scope["state"] = {**scope.get("state", {}), "visitor": cookies.get(VISITOR, "")}
            await self._app(scope, receive, send)
            return
        visitor = cookies.get(VISITOR, "")
        new = len(visitor) < VISITOR_BYTES
        visitor = secrets.token_urlsafe(VISITOR_BYTES) if new else visitor
        scope["state"] = {**scope.get("state", {}), "visitor": visitor}
        added = [_cookie(VISITOR, visitor, int(self._limits.keep_s))] if new and scope["path"] == "/" else []
        if self._token and given and scope["path"] == "/" and scope["method"] == "GET":
            await self._with_headers(RedirectResponse("/", 303), [_cookie(TOKEN, self._token, None)])(
                scope, receive, send
            )
            return
        await self._app(scope, receive, _adding(send, added))

    def _check_token(self, scope: Scope, headers: Headers, cookies: dict[str, str], given: Sequence[str]):
        if self._token is None or scope["path"] in OPEN:
            return
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        if not any(
            secrets.compare_digest(one.encode(), self._token.encode())
            for one in (bearer, cookies.get(TOKEN, ""), *given)
        ):
            raise Refused(401, "this address needs the token that the server has printed: open /?token=TOKEN once")

    def _with_headers(self, response: Response, cookies: Sequence[str]) -> Response:
        for name, value in HEADERS.items():
            response.headers[name] = value
        for cookie in cookies:
            response.headers.append("Set-Cookie", cookie)
        return response


def _cookie(name: str, value: str, age_s: int | None) -> str:
    lasting = "" if age_s is None else f"; Max-Age={age_s}"
    return f"{name}={value}; Path=/; HttpOnly; SameSite=Strict{lasting}"


def _adding(send: Send, cookies: Sequence[str]) -> Send:
    """Sends answers with HEADERS, where they do not have such ones, and with `cookies`."""

    async def sending(message: Message):
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            for cookie in cookies:
                headers.append("Set-Cookie", cookie)
        await send(message)

    return sending


async def _refuse(refusal: Refused, scope: Scope, receive: Receive, send: Send):
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": refusal.why[:100]})
        return
    extra = {"WWW-Authenticate": "Bearer"} if refusal.status == 401 else {}
    await JSONResponse({"error": refusal.why}, refusal.status, extra)(scope, receive, _adding(send, []))


def check_host(headers: Headers, loopback: bool):
    """Refused where the request is for a name that is not one of loopback, and only these are `loopback`."""
    try:
        name = urlsplit(f"//{headers.get('host', '')}").hostname
    except ValueError:
        name = None
    if name is None or (loopback and name not in LOOPBACK):
        raise Refused(421, "this server answers as localhost and 127.0.0.1 alone")


def check_origin(headers: Headers):
    """Refused where a browser says that the request comes from a page that is not ours."""
    origin, site = headers.get("origin"), headers.get("sec-fetch-site", "same-origin")
    foreign = origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").lower()
    if foreign or site not in ("same-origin", "none"):
        raise Refused(403, "the request comes from another site")
