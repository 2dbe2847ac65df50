"""uvicorn's HTTP and WebSocket protocols with limits on idle connections, unread data and unfinished messages.

HTTP is parsed by h11, because it bounds a request's head (64 KB) and supports HTTP/1.0.
"""

from __future__ import annotations

import asyncio
import resource
from typing import Any

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.frames import CloseCode, Frame

from web.budget import GIVEN_UP, InputBudget

HEAD_WITHIN_S = 10.0
HEAD_BYTES = 65_536
READ_BYTES = 32_768  # per read: as chunks of one byte, h11 parses them in 80 ms; asyncio's 256 KB take 8 times as long
BACKLOG = 100  # connections accepted at once, before any is counted
LATER_MESSAGE_BYTES = 262_144  # a WebSocket message after the first: a piece of text, every character escaped
MAX_FRAGMENTS = 16_384  # of a message: 1.8 KB each in the longest one
WIDEST_BYTES = 4  # per character of a Python string that holds a wide character
FRAGMENT_BYTES = 64  # overhead of a bytes object
MAX_CONNECTIONS = 2000
RESERVED_FILES = 50  # for files that are not connections: models, uploads, libraries


def raise_file_limit() -> None:
    """Raise the soft limit of open files to what MAX_CONNECTIONS need, or to the hard limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * (MAX_CONNECTIONS + BACKLOG) + RESERVED_FILES
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def connections_that_fit() -> int:
    """Connections per server, such that a process with two servers never runs out of files."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(8, min(MAX_CONNECTIONS, (soft - RESERVED_FILES) // 2 - BACKLOG))


class HttpConnection(H11Protocol):
    """Aborts a connection whose request head takes longer than HEAD_WITHIN_S, or beyond `connections_that_fit()`."""

    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.max_size = READ_BYTES  # type: ignore[attr-defined]
        if len(self.connections) > connections_that_fit():
            transport.abort()
        else:
            self._expect_head()

    def data_received(self, data: bytes) -> None:
        if self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]:
            data = data.lstrip(b"\r\n")  # a server ignores empty lines before a request (RFC 9112, 2.2)
        super().data_received(data)
        is_answered = self.conn.our_state is h11.DONE  # the rest of its body may still arrive
        if self.conn.their_state is h11.IDLE or is_answered:
            self._expect_head()
        else:
            self._forget_head()

    def send_400_response(self, msg: str) -> None:
        """Answer 400, unless a response was already begun; then only close."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_head()
        super().connection_lost(exc)

    def _expect_head(self) -> None:
        """Start the timer: at the first byte of a head, or for the first request when the connection opens."""
        self._head_timer = self._head_timer or self.loop.call_later(HEAD_WITHIN_S, self.transport.abort)

    def _forget_head(self) -> None:
        if self._head_timer:
            self._head_timer.cancel()
            self._head_timer = None


class WebSocketConnection(WebSocketsSansIOProtocol):
    """Counts received messages against the input budget, bounds fragments and pongs, and refuses bad handshakes.

    The application finds the connection's share of the budget as `scope["state"]["input"]`, and releases it after it
    has processed a message.
    """

    def __init__(
        self, config: Config, server_state: ServerState, app_state: dict[str, Any], *, budget: InputBudget
    ) -> None:
        self.input = budget.input(lambda: self._fail(CloseCode.TRY_AGAIN_LATER, GIVEN_UP))
        super().__init__(config, server_state, app_state | {"input": self.input})

    def data_received(self, data: bytes) -> None:
        if self.handshake_complete:
            self.input.grow(len(data))
        super().data_received(data)
        if not self.handshake_initiated:  # the head is complete, but not a valid handshake
            self.transport.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            self.transport.close()

    def handle_cont(self, event: Frame) -> None:
        self.input.grow(FRAGMENT_BYTES)
        super().handle_cont(event)
        if len(self.frames) > MAX_FRAGMENTS:
            self._fail(CloseCode.POLICY_VIOLATION, f"a message may come in {MAX_FRAGMENTS} fragments")

    def _fail(self, code: CloseCode, reason: str) -> None:
        """Close the connection and drop the unfinished message."""
        if self.conn.close_sent is None:
            self.frames = []
            self.conn.fail(code, reason)
            self.handle_parser_exception()

    def send_receive_event_to_app(self) -> None:
        is_ascii = all(frame.isascii() for frame in self.frames)
        self.input.settle(sum(map(len, self.frames)) * (1 if is_ascii else WIDEST_BYTES))
        if self.input.is_given_up:
            return
        super().send_receive_event_to_app()
        self.conn.max_message_size = LATER_MESSAGE_BYTES  # only the first may hold a recording

    def handle_ping(self) -> None:
        """Send no pong while the client does not read: unread pongs would fill the memory (RFC 6455, 5.5.3)."""
        if self.writable.is_set():
            super().handle_ping()
        else:
            self.conn.data_to_send()

    def send_keepalive_ping(self) -> None:
        if self.writable.is_set():
            super().send_keepalive_ping()
        else:
            self.schedule_ping()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.input.release()
