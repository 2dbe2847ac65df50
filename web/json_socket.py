"""A WebSocket that carries JSON messages, whatever its dialect: bounded in memory, in silence, and in slow reading."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any

from starlette.types import Message
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from validation.errors import WorkerError
from web.budget import Input
from web.buffer import ClientGone, ReadRate
from web.objects import json_object
from web.refusals import Busy, TooSlow, status_of

IDLE_S = 120.0  # without a message, while nothing is spoken
NORMAL, NO_STATUS, POLICY, FAULT, LATER = 1000, 1005, 1008, 1011, 1013  # close codes, RFC 6455, 7.4.1


class JsonSocket:
    """One WebSocket. Several tasks may send."""

    def __init__(self, websocket: WebSocket, idle_s: float = IDLE_S) -> None:
        self._socket, self._idle_s = websocket, idle_s
        self.id: str = websocket.scope["state"]["request_id"]
        self.input: Input = websocket.scope["state"]["input"]
        self._rate, self._sending = ReadRate(), asyncio.Lock()

    async def accept(self, protocol: str = "", headers: Mapping[str, str] | None = None) -> None:
        """`protocol` is named in the answer if the client offered it: a browser wants one of those that it offered."""
        offered = self._socket.headers.get("sec-websocket-protocol", "")
        is_named = protocol in (name.strip() for name in offered.split(","))
        raw = [(name.lower().encode(), text.encode()) for name, text in (headers or {}).items()]
        await self._socket.accept(protocol if protocol and is_named else None, raw)

    async def message(self) -> dict[str, Any]:
        """The next message. Raises: WebSocketDisconnect, InvalidInput, Busy."""
        frame = await self._socket.receive()
        if frame["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(frame.get("code", NORMAL))
        try:
            return await json_object(frame.pop("text", "") or "", "a message, which is a text frame,", self.input)
        finally:
            self.input.release()

    async def message_in_time(self, is_busy: Callable[[], bool]) -> dict[str, Any]:
        """The next message. A client may be silent for as long as `is_busy`. Raises: TooSlow, and as `message`."""
        reading = asyncio.create_task(self.message())
        try:
            while not (await asyncio.wait({reading}, timeout=self._idle_s))[0]:
                if not is_busy():
                    raise TooSlow(f"nothing came for {self._idle_s:g} s")
            return reading.result()
        finally:
            reading.cancel()

    async def send(self, message: dict[str, Any], sound_s: float = 0.0) -> None:
        """A message with `sound_s` of audio in it. Raises: WebSocketDisconnect."""
        await self._pass({"type": "websocket.send", "text": json.dumps(message)}, sound_s)

    async def send_bytes(self, data: bytes, sound_s: float) -> None:
        """Raises: WebSocketDisconnect."""
        await self._pass({"type": "websocket.send", "bytes": data}, sound_s)

    async def _pass(self, message: Message, sound_s: float) -> None:
        """Raises: WebSocketDisconnect, also where the client does not read, or where uvicorn has closed the connection,
        which it reports by a RuntimeError."""
        try:
            async with self._sending:
                await self._rate.taken(self._socket.send(message), sound_s)
        except (RuntimeError, ClientGone):
            raise WebSocketDisconnect(NO_STATUS) from None

    async def close(self, code: int = NORMAL) -> None:
        """Raises: WebSocketDisconnect."""
        await self._pass({"type": "websocket.close", "code": code, "reason": ""}, 0.0)

    async def fail(self, error: WorkerError, message: dict[str, Any]) -> None:
        """Send the message, which says what is wrong in the dialect's words, and close."""
        self._socket.state.refused = error  # for the access log
        if self._socket.application_state is not WebSocketState.CONNECTED:
            return
        with suppress(WebSocketDisconnect):  # it may leave at this very moment
            await self.send(message)
            await self.close(close_code(error))


def close_code(error: WorkerError) -> int:
    return LATER if isinstance(error, Busy) else POLICY if status_of(error) < 500 else FAULT


async def until_first_ends(*work: Coroutine[Any, Any, None]) -> None:
    """Run all until one has ended, then cancel the rest. Raises what any of them raised."""
    tasks = {asyncio.create_task(each) for each in work}
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.result()
