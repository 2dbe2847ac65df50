"""WS /ws/tts: text in pieces in, frames of audio out, and an interruption at any moment.

    in   {"type": "start", …fields of `tts` but text…}, {"type": "text", "text": "…"}, {"type": "flush"},
         {"type": "cancel"}, {"type": "end"}
    out  {"type": "ready"}, then per take {"type": "segment"}, frames of bytes, with {"type": "words"} before them if
         they were asked for, {"type": "spoken"}; {"type": "flushed"}, {"type": "cancelled"}, {"type": "end"},
         {"type": "error"}

One task reads messages into a `Conversation`, one speaks it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from service.events import AudioEvent, WordTime
from service.json_events import word_fields
from service.session import Mark, Take, TtsSession
from validation.errors import InvalidInput, WorkerError
from web.budget import memory_bytes
from web.conversation import Conversation
from web.jobs import Jobs
from web.json_socket import IDLE_S, JsonSocket, until_first_ends
from web.refusals import TooSlow
from web.response_encoders import header_text

log = logging.getLogger(__name__)

PROTOCOL = "tts"
START_WITHIN_S = 10.0


class TtsWebSocket:
    """One WebSocket from its first message to its close."""

    def __init__(self, websocket: WebSocket, jobs: Jobs, idle_s: float = IDLE_S) -> None:
        self._socket, self._jobs = JsonSocket(websocket, idle_s), jobs
        self._held = jobs.input_budget.input(lambda: None)  # by the fields of `start`, a recording perhaps

    async def run(self) -> None:
        """Raises nothing but what is a defect."""
        await self._socket.accept(PROTOCOL)
        try:
            start = await self._start()
            with self._jobs.open_socket():
                session = await self._jobs.session(self._socket.id, _fields(start))
                del start  # what it holds is the session's, until that has no more use for it
                try:
                    await self._converse(session)
                finally:
                    session.fields = {}  # an error keeps its frames until the garbage collector runs
        except TimeoutError:
            await self._fail(TooSlow(f"no start came within {START_WITHIN_S:g} s"))
        except WorkerError as error:
            await self._fail(error)
        except WebSocketDisconnect:
            log.info("the client left")
        finally:
            self._held.release()

    async def _start(self) -> dict[str, Any]:
        """The first message. Until it is here the connection has no place among the WebSockets.

        Raises: Busy.
        """
        async with asyncio.timeout(START_WITHIN_S):
            start = await self._socket.message()
        self._held.settle(memory_bytes(start))
        self._held.require()
        return start

    async def _converse(self, session: TtsSession) -> None:
        sink = FrameSink(self._socket)
        conversation = Conversation(session, self._jobs, sink)
        await self._socket.send(_ready(session))
        await until_first_ends(self._read(conversation), self._speak(conversation))

    async def _read(self, conversation: Conversation) -> None:
        """Raises: WebSocketDisconnect, InvalidInput, TooSlow."""
        while True:
            message = await self._socket.message_in_time(lambda: conversation.is_busy)
            match message.get("type"):
                case "text":
                    await conversation.push(message.get("text"))
                case "flush":
                    conversation.mark(Mark.FLUSH)
                case "end":
                    conversation.mark(Mark.END)
                case "cancel":
                    await conversation.cancel()
                    await self._socket.send({"type": "cancelled"})
                case _:
                    raise InvalidInput("type must be text, flush, cancel or end, after one start")

    async def _speak(self, conversation: Conversation) -> None:
        """Raises: WorkerError, WebSocketDisconnect."""
        if conversation.session.has_recording:
            await conversation.condition()
        self._held.settle(memory_bytes(conversation.session.fields))
        await conversation.speak()

    async def _fail(self, error: WorkerError) -> None:
        await self._socket.fail(error, {"type": "error"} | error.to_reply())


class FrameSink:
    """The messages of this dialect."""

    def __init__(self, socket: JsonSocket) -> None:
        self._socket = socket
        self._index = 0  # of the take

    async def began(self, take: Take) -> None:
        self._index = take.index
        start_s = round(take.start_s, 6)
        await self._socket.send({"type": "segment", "index": take.index, "text": take.text, "start": start_s})

    async def audio(self, event: AudioEvent) -> None:
        await self._send_words(event.words or ())
        await self._socket.send_bytes(event.data, event.duration_s)

    async def ended(self, take: Take) -> None:
        await self._send_words(take.last_words)
        await self._socket.send({"type": "spoken", "index": take.index, "end": round(take.end_s, 6)})

    async def _send_words(self, words: Iterable[WordTime]) -> None:
        if listed := [*map(word_fields, words)]:
            await self._socket.send({"type": "words", "index": self._index, "words": listed})

    async def flushed(self) -> None:
        await self._socket.send({"type": "flushed"})

    async def finished(self, rest: bytes, report: dict[str, Any]) -> None:
        if rest:
            await self._socket.send_bytes(rest, 0.0)
        await self._socket.send({"type": "end", "id": self._socket.id} | report)
        await self._socket.close()


def _ready(session: TtsSession) -> dict[str, Any]:
    encoder = session.encoder
    return {
        "type": "ready",
        "id": session.id,
        "voice": header_text(session.voice),
        "seed": session.seed,
        "format": encoder.format.name,
        "mime_type": encoder.format.mime_type,
        "sample_rate": encoder.rate_hz,
    }


def _fields(start: dict[str, Any]) -> dict[str, Any]:
    """What the first message asks for. Raises: InvalidInput."""
    if start.get("type") != "start":
        raise InvalidInput('the first message must be {"type": "start", …}')
    return {name: value for name, value in start.items() if value is not None and name != "type"}
