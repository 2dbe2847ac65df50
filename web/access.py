"""ASGI middleware: request ids, API keys, and protection against other sites' pages. Unexpected exceptions become a 500
here. A key is never logged.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import time
import uuid
from collections.abc import Iterator

from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from validation.errors import InternalError
from web.metrics import Metrics
from web.refusals import Forbidden, Unauthorized, refuse

log = logging.getLogger(__name__)

MAX_ID_CHARS = 100
UNANSWERED = 499  # the client left before the response
KEY_HEADERS = ("xi-api-key", "x-api-key")
KEY_PARAMETER, KEY_IN_QUERY = "api_key", frozenset({"/tts/bytes"})  # there, and in a WebSocket's address
KEY_PROTOCOL = "bearer."  # a browser's WebSocket cannot set headers, so it sends the key as a subprotocol
QUIET = frozenset({"/ping", "/metrics", "/static"})  # not logged: probes, and the twenty files of the page


class RequestIdMiddleware:
    """Gives every request an id, returned as X-Request-Id; counts it by route and logs its status."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self._app(scope, receive, send)
        request_id = sane_id(Headers(scope=scope).get("x-request-id", "")) or uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        route = route_of(scope)  # before the routers change the scope
        began_s, status = time.monotonic(), UNANSWERED

        async def named(message: Message) -> None:
            nonlocal status
            if message["type"] in ("http.response.start", "websocket.http.response.start", "websocket.accept"):
                status = message.get("status", 101)
                message.setdefault("headers", [])
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        try:
            await self._app(scope, receive, named)
        except Exception:  # a defect: the client has an answer with this request's id, and the server goes on
            log.exception("request %s hit a fault of ours", request_id)
            if status == UNANSWERED and scope["type"] == "http":
                error = InternalError("the worker hit a fault of its own; its log has the details")
                await refuse(error, scope, receive, named)
        finally:
            self._note(scope, route, status, time.monotonic() - began_s)

    def _note(self, scope: Scope, route: str, status: int, seconds: float) -> None:
        method = scope["method"] if scope.get("method") in METHODS else "other"
        method = "WEBSOCKET" if scope["type"] == "websocket" else method
        self._metrics.requests.labels(route, method, str(status)).inc()
        if route in QUIET:
            return
        line = {"event": "request", "id": scope["state"]["request_id"], "method": method, "route": route}
        line |= {"status": status, "seconds": round(seconds, 4)}
        refused = {"error": error.in_log()} if (error := scope["state"].get("refused")) else {}
        log.info("%s", json.dumps(line | refused))


def route_of(scope: Scope) -> str:
    """The route's pattern, such as /v1/models/{name}, or "other". The path itself, caller input, is not logged."""
    routes = (route for route in scope["app"].routes if route.matches(scope)[0] is not Match.NONE)
    return next((str(route.path) for route in routes), "other")


METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def sane_id(given: str) -> str:
    """The client's id if it is safe to return and to log, else ""."""
    is_sane = 0 < len(given) <= MAX_ID_CHARS and given.isascii() and given.isprintable()
    return given if is_sane else ""


class ApiKeyMiddleware:
    """Requires one of the API keys, except for the open paths."""

    def __init__(self, app: ASGIApp, keys: tuple[str, ...], open_paths: frozenset[str], open_under: str) -> None:
        self._app, self._open_paths, self._open_under = app, open_paths, open_under
        self._digests = [_digest(key) for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or self._is_open(scope["path"]) or self._has_key(scope):
            return await self._app(scope, receive, send)
        headers = {"WWW-Authenticate": "Bearer"}
        error = Unauthorized("send one of the worker's API keys: `Authorization: Bearer KEY`", headers)
        return await refuse(error, scope, receive, send)

    def _is_open(self, path: str) -> bool:
        return path in self._open_paths or path.startswith(self._open_under)

    def _has_key(self, scope: Scope) -> bool:
        """Compares every key with every given one in constant time."""
        found = [hmac.compare_digest(_digest(given), known) for given in _given(scope) for known in self._digests]
        return any(found)


class SameOriginMiddleware:
    """Refuses requests from pages of other origins, unless allowed. Clients other than browsers send no Origin."""

    def __init__(self, app: ASGIApp, allowed: tuple[str, ...]) -> None:
        self._app, self._allowed = app, allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or not self._is_foreign(Headers(scope=scope)):
            return await self._app(scope, receive, send)
        error = Forbidden("another site's page may not ask here unless CORS_ORIGINS names it (a proxy must pass Host)")
        return await refuse(error, scope, receive, send)

    def _is_foreign(self, headers: Headers) -> bool:
        """By the browser's Sec-Fetch-Site (https://www.w3.org/TR/fetch-metadata/), or else by comparing with Host."""
        origin = headers.get("origin", "")
        if not origin or origin in self._allowed or "*" in self._allowed:
            return False
        if site := headers.get("sec-fetch-site"):
            return site not in ("same-origin", "none")
        forwarded = headers.get("x-forwarded-host", "").partition(",")[0].strip()
        hosts = {headers.get("host", "").lower(), forwarded.lower()} - {""}
        return origin.partition("://")[2].lower() not in hosts


def _given(scope: Scope) -> Iterator[str]:
    """Every key that a request sends: as OpenAI's clients do, as ElevenLabs' and Cartesia's, as a browser's socket."""
    headers = Headers(scope=scope)
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        yield key.strip()
    yield from (headers[name] for name in KEY_HEADERS if name in headers)
    if scope["type"] == "websocket" or scope["path"] in KEY_IN_QUERY:
        yield from QueryParams(scope["query_string"]).getlist(KEY_PARAMETER)
    if scope["type"] == "websocket":
        offered = (name.strip() for name in headers.get("sec-websocket-protocol", "").split(","))
        yield from (name.removeprefix(KEY_PROTOCOL) for name in offered if name.startswith(KEY_PROTOCOL))


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
