"""ASGI middleware that limits the size and the duration of a request's body while it is read.

The application finds the request's share of the `InputBudget` as `scope["state"]["input"]`, and may release it before
the response ends.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from web.budget import InputBudget
from web.refusals import BodyTooLarge, TooSlow, refuse

MAX_BODY_BYTES = 30_000_000  # RunPod's own limit
BODY_WITHIN_S, NEXT_PIECE_WITHIN_S = 60.0, 15.0
LINGER_S, LINGER_BYTES = 1.0, 8_000_000


class BodyLimit:
    """Raises from the application's `receive()`: BodyTooLarge, TooSlow, Busy."""

    def __init__(self, app: ASGIApp, budget: InputBudget, within_s: float = BODY_WITHIN_S) -> None:
        self._app, self._budget, self._within_s = app, budget, within_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        body = _Body(receive, send, self._budget, self._within_s, _announced_bytes(scope))
        if body.announced_bytes > MAX_BODY_BYTES:
            return await refuse(_too_large(), scope, receive, body.send)
        scope.setdefault("state", {})["input"] = body.input
        try:
            return await self._app(scope, body.receive, body.send)
        finally:
            body.input.release()


def _announced_bytes(scope: Scope) -> int:
    length = Headers(scope=scope).get("content-length", "0")
    return int(length) if length.isdecimal() else 0


def _too_large() -> BodyTooLarge:
    return BodyTooLarge(f"the body must be at most {MAX_BODY_BYTES} bytes")


class _Body:
    """One request's body while it is received."""

    def __init__(
        self, receive: Receive, send: Send, budget: InputBudget, within_s: float, announced_bytes: int
    ) -> None:
        self._receive, self._send = receive, send
        self.input = budget.input(self._wake)
        self._waiting: asyncio.Timeout | None = None  # of the pending receive
        self._within_s, self.announced_bytes = within_s, announced_bytes
        self._deadline_s = time.monotonic() + within_s
        self._got_bytes, self._is_whole = 0, False

    async def receive(self) -> Message:
        if self._is_whole:
            return await self._receive()
        self.input.require()
        try:
            async with asyncio.timeout(min(NEXT_PIECE_WITHIN_S, self._deadline_s - time.monotonic())) as self._waiting:
                message = await self._receive()
        except TimeoutError:
            self.input.require()
            rule = f"each piece must come within {NEXT_PIECE_WITHIN_S:g} s, all within {self._within_s:g} s"
            raise TooSlow(f"the body came too slowly: {rule}") from None
        finally:
            self._waiting = None
        self._note(message)
        if self._got_bytes > MAX_BODY_BYTES:
            raise _too_large()
        self.input.grow(len(message.get("body", b"")))
        self.input.require()
        if self._is_whole:
            self.input.finish()
        return message

    def _wake(self) -> None:
        """The input was given up: end the pending receive now."""
        if self._waiting and not self._waiting.expired():  # asyncio refuses to reschedule an expired timeout
            self._waiting.reschedule(0)

    def _note(self, message: Message) -> None:
        self._got_bytes += len(message.get("body", b""))
        self._is_whole = not message.get("more_body", False)

    async def send(self, message: Message) -> None:
        """Pass on a message. A response that ends before the body was read closes the connection, after up to LINGER_S
        of discarding the rest: otherwise a client that is still sending is reset before it can read the response."""
        if self._is_whole or not self._is_more:
            return await self._send(message)
        if message["type"] == "http.response.start":
            headers = [(name, text) for name, text in message["headers"] if name.lower() != b"connection"]
            return await self._send({**message, "headers": [*headers, (b"connection", b"close")]})
        if message.get("more_body"):
            return await self._send(message)
        await self._send({**message, "more_body": True})
        await self._linger()
        return await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    @property
    def _is_more(self) -> bool:
        """Whether part of the body was not received."""
        return self.announced_bytes > self._got_bytes or self._got_bytes > MAX_BODY_BYTES

    async def _linger(self) -> None:
        most_bytes = self._got_bytes + LINGER_BYTES
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                while not self._is_whole and self._got_bytes < most_bytes:
                    self._note(await self._receive())
