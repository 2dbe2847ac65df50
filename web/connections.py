"""One client's connection: uvicorn's protocols, with an end to whoever holds one and asks for nothing.

It knows neither requests nor answers. h11 reads HTTP, because it bounds a request's head (64 KB) and knows HTTP/1.0.
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
READ_BYTES = 32_768  # at a time: as chunks of one byte they take h11 some 80 ms, asyncio's own 256 KB eight times that
BACKLOG = 100  # accepted in one go, before any is counted
LATER_MESSAGE_BYTES = 262_144  # of a WebSocket: a piece of text, every character of it escaped
MAX_FRAGMENTS = 16_384  # of a message: of 1.8 KB each where it is as long as may be
WIDEST_BYTES = 4  # of each character of a text, where one of them is wide
FRAGMENT_BYTES = 64  # that Python takes for each besides what is in it
MAX_CONNECTIONS = 2000
RESERVED_FILES = 50  # for what is no connection: models, uploads, libraries


def raise_file_limit() -> None:
    """As far as it may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * (MAX_CONNECTIONS + BACKLOG) + RESERVED_FILES
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def connections_that_fit() -> int:
    """How many a server may have, so that the process, in which there are two, never runs out of files."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(8, min(MAX_CONNECTIONS, (soft - RESERVED_FILES) // 2 - BACKLOG))


class HttpConnection(H11Protocol):
    """Closed where a request's head takes too long, or where there are too many."""

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
            data = data.lstrip(b"\r\n")  # between requests they mean nothing (RFC 9112, 2.2)
        super().data_received(data)
        is_answered = self.conn.our_state is h11.DONE  # though the body goes on
        if self.conn.their_state is h11.IDLE or is_answered:
            self._expect_head()
        else:
            self._forget_head()

    def send_400_response(self, msg: str) -> None:
        """Only where there was no other answer yet."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_head()
        super().connection_lost(exc)

    def _expect_head(self) -> None:
        """From its first byte on; of a connection's first request, from the beginning."""
        self._head_timer = self._head_timer or self.loop.call_later(HEAD_WITHIN_S, self.transport.abort)

    def _forget_head(self) -> None:
        if self._head_timer:
            self._head_timer.cancel()
            self._head_timer = None


class WebSocketConnection(WebSocketsSansIOProtocol):
    """uvicorn's (0.50), where it waits for a client that does not read, and lets go of one that never shook hands.

    What has come of a message counts against the budget. The application finds the connection's share of it as
    `scope["state"]["input"]`, to release it once it has dealt with a message.
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
        if not self.handshake_initiated:  # the request came whole, and is none that opens a WebSocket
            self.transport.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            self.transport.close()

    def handle_cont(self, event: Frame) -> None:
        self.input.grow(FRAGMENT_BYTES)
        super().handle_cont(event)
        if len(self.frames) > MAX_FRAGMENTS:
            self._fail(CloseCode.POLICY_VIOLATION, f"a message may come in {MAX_FRAGMENTS} fragments")

    def _fail(self, code: CloseCode, reason: str) -> None:
        """Close, and keep nothing of an unfinished message."""
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
        self.conn.max_message_size = LATER_MESSAGE_BYTES  # the first may hold a recording

    def handle_ping(self) -> None:
        """Who sends pings and reads no pongs gets none, instead of filling the memory with them (RFC 6455, 5.5.3)."""
        if self.writable.is_set():
            super().handle_ping()
        else:
            self.conn.data_to_send()

    def send_keepalive_ping(self) -> None:
        if self.writable.is_set():
            super().send_keepalive_ping()
        else:
            self.schedule_ping()

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.input.release()
        self.writable.set()
