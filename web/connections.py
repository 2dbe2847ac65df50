"""One client's connection: uvicorn's protocols, with an end to whoever holds one and asks for nothing.

It knows neither requests nor answers. h11 reads HTTP, because it bounds a request's head (64 KB) and knows HTTP/1.0.
"""

from __future__ import annotations

import asyncio
import resource

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

HEAD_WITHIN_S = 10.0
MAX_CONNECTIONS = 2000
RESERVED_FILES = 50  # for what is no connection: models, uploads, libraries


def connections_that_fit() -> int:
    """How many a server may have, so that the process, in which there are two, never runs out of files."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(8, min(MAX_CONNECTIONS, (soft - RESERVED_FILES) // 2))


class HttpConnection(H11Protocol):
    """Closed where a request's head takes too long, or where there are too many."""

    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > connections_that_fit():
            transport.abort()
        else:
            self._expect_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        is_answered = self.conn.our_state is h11.DONE  # though the body goes on
        if self.conn.their_state is h11.IDLE or is_answered:
            self._expect_head()
        else:
            self._forget_head()

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
    """Who sends waits for a client that does not read; uvicorn (0.50) has the event for it, and never clears it."""

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.writable.set()
