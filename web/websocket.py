"""WS /ws/tts: text in pieces in, frames of audio out, and an interruption at any moment.

    in   {"type": "start", …fields of `tts` but text…}, {"type": "text", "text": "…"}, {"type": "flush"},
         {"type": "cancel"}, {"type": "end"}
    out  {"type": "ready"}, then per take {"type": "segment"}, frames of bytes, with {"type": "words"} before them if
         they were asked for, {"type": "spoken"}; {"type": "flushed"}, {"type": "cancelled"}, {"type": "end"},
         {"type": "error"}

One task reads messages into a `TtsSession`, one sends the events of its takes.
"""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import suppress
from functools import partial
from typing import Any

from starlette.types import Message
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from service.events import AudioEvent, EndEvent, ErrorEvent, StartEvent
from service.json_events import word_fields
from service.session import Mark, Take, TtsSession
from validation.errors import InvalidInput, WorkerError
from web.budget import Input, memory_bytes
from web.buffer import ClientGone, ReadRate
from web.jobs import Jobs, Work
from web.objects import json_object
from web.refusals import Busy, NotReady, TooSlow, status_of
from web.response_encoders import header_text

log = logging.getLogger(__name__)

PROTOCOL = "tts"
IDLE_S = 120.0  # without a message, while nothing is spoken
START_WITHIN_S = 10.0
MANY_CHARS = 1000  # cut in a thread: up to 0.2 s of work for a piece of the largest size
NORMAL, NO_STATUS, POLICY, FAULT, LATER = 1000, 1005, 1008, 1011, 1013  # close codes, RFC 6455, 7.4.1


class TtsWebSocket:
    """One WebSocket from its first message to its close."""

    def __init__(self, websocket: WebSocket, jobs: Jobs, idle_s: float = IDLE_S) -> None:
        self._socket, self._jobs, self._idle_s = websocket, jobs, idle_s
        self._id: str = websocket.scope["state"]["request_id"]
        self._news = asyncio.Event()  # something waits in the session
        self._take: asyncio.Task[None] | None = None
        self._rate = ReadRate()
        self._input: Input = websocket.scope["state"]["input"]
        self._held = jobs.input_budget.input(lambda: None)  # by the fields of `start`, a recording perhaps

    async def run(self) -> None:
        """Raises nothing but what is a defect."""
        offered = self._socket.headers.get("sec-websocket-protocol", "")
        is_named = PROTOCOL in (name.strip() for name in offered.split(","))  # a browser wants one that it offered
        await self._socket.accept(PROTOCOL if is_named else None)
        try:
            start = await self._start()
            with self._jobs.open_socket():
                session = await self._jobs.session(self._id, _fields(start))
                del start  # what it holds is the session's, until that has no more use for it
                try:
                    await self._send(self._ready(session))
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
            start = await self._message()
        self._input.release()
        self._held.settle(memory_bytes(start))
        self._held.require()
        return start

    def _ready(self, session: TtsSession) -> dict[str, Any]:
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

    async def _converse(self, session: TtsSession) -> None:
        """Both tasks, until one has ended."""
        tasks = {asyncio.create_task(self._read(session)), asyncio.create_task(self._speak(session))}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled():
                task.result()

    # --- messages → the session -----------------------------------------------------------------------------------

    async def _read(self, session: TtsSession) -> None:
        """Raises: WebSocketDisconnect, InvalidInput, TooSlow."""
        while True:
            message = await self._message_in_time(session)
            self._input.release()
            match message.get("type"):
                case "text":
                    await self._push(session, message.get("text"))
                case "flush":
                    session.mark(Mark.FLUSH)
                case "end":
                    session.mark(Mark.END)
                case "cancel":
                    await self._cancel(session)
                case _:
                    raise InvalidInput("type must be text, flush, cancel or end, after one start")
            self._news.set()

    async def _push(self, session: TtsSession, text: object) -> None:
        if isinstance(text, str) and len(text) >= MANY_CHARS:
            await asyncio.to_thread(session.push, text)
        else:
            session.push(text)

    async def _message_in_time(self, session: TtsSession) -> dict[str, Any]:
        """The next message. A client may be silent for as long as it is spoken to. Raises: TooSlow."""
        reading = asyncio.create_task(self._message())
        try:
            while not (await asyncio.wait({reading}, timeout=self._idle_s))[0]:
                if not session.is_waiting and self._take is None:
                    raise TooSlow(f"nothing came for {self._idle_s:g} s")
            return reading.result()
        finally:
            reading.cancel()

    async def _cancel(self, session: TtsSession) -> None:
        """After the answer to this nothing is sent of what waits or is being spoken."""
        session.clear()
        if self._take:
            self._take.cancel()
            await asyncio.wait({self._take})
        session.cancel()
        await self._send({"type": "cancelled"})

    # --- the session's events → messages --------------------------------------------------------------------------

    async def _speak(self, session: TtsSession) -> None:
        """Take after take, until the end. Raises: WorkerError."""
        if session.has_recording:
            await self._run("voice", session.condition, None)
        self._held.settle(memory_bytes(session.fields))
        while True:
            while not session.is_waiting:
                self._news.clear()
                await self._news.wait()
            match session.next():
                case Mark.END:
                    return await self._finish(session)
                case Mark.FLUSH:
                    await self._send({"type": "flushed"})
                case Take() as take:
                    await self._say(session, take)

    async def _say(self, session: TtsSession, take: Take) -> None:
        """Speak one take, which `_cancel` may end. Raises: WorkerError."""
        self._jobs.readiness.require()
        self._take = asyncio.create_task(self._run(str(take.index), partial(session.say, take), take))
        try:
            await asyncio.wait({self._take})
        finally:
            running, self._take = self._take, None
            running.cancel()
            await asyncio.wait({running})
        if not running.cancelled():
            running.result()

    async def _run(self, name: str, work: Work, take: Take | None) -> None:
        """One of the session's jobs. Raises: WorkerError, NotReady where the worker leaves."""
        async with self._jobs.job(f"{self._id}-{name}", "tts" if take else "clone", work) as events:
            async for event in events:
                match event:
                    case StartEvent() if take:
                        start_s = round(take.start_s, 6)
                        await self._send({"type": "segment", "index": take.index, "text": take.text, "start": start_s})
                    case AudioEvent():
                        await self._send_words(take, [*map(word_fields, event.words or ())])
                        await self._send_bytes(event.data, event.duration_s)
                    case EndEvent():
                        if take:
                            await self._send_words(take, event.reply.get("words", []))
                            await self._send({"type": "spoken", "index": take.index, "end": round(take.end_s, 6)})
                        return
                    case ErrorEvent():
                        raise event.error
        raise NotReady("this worker is leaving")

    async def _send_words(self, take: Take | None, words: list[dict[str, Any]]) -> None:
        if take and words:
            await self._send({"type": "words", "index": take.index, "words": words})

    async def _finish(self, session: TtsSession) -> None:
        rest, report = await asyncio.to_thread(session.finish)
        if rest:
            await self._send_bytes(rest, 0.0)
        await self._send({"type": "end", "id": self._id} | report)
        await self._socket.close(NORMAL)

    # --- the connection -------------------------------------------------------------------------------------------

    async def _message(self) -> dict[str, Any]:
        """Raises: WebSocketDisconnect, InvalidInput."""
        frame = await self._socket.receive()
        if frame["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(frame.get("code", NORMAL))
        return await json_object(frame.pop("text", "") or "", "a message, which is a text frame,", self._input)

    async def _send(self, message: dict[str, Any]) -> None:
        await self._pass({"type": "websocket.send", "text": json.dumps(message, ensure_ascii=False)})

    async def _send_bytes(self, data: bytes, sound_s: float) -> None:
        await self._pass({"type": "websocket.send", "bytes": data}, sound_s)

    async def _pass(self, message: Message, sound_s: float = 0.0) -> None:
        """Raises: WebSocketDisconnect, also where nobody reads, or where uvicorn has closed the connection, which it
        reports by a RuntimeError."""
        try:
            await self._rate.taken(self._socket.send(message), sound_s)
        except (RuntimeError, ClientGone):
            raise WebSocketDisconnect(NO_STATUS) from None

    async def _fail(self, error: WorkerError) -> None:
        self._socket.state.refused = error  # for the access log
        if self._socket.application_state is not WebSocketState.CONNECTED:
            return
        with suppress(WebSocketDisconnect, RuntimeError):  # it may leave at this very moment
            await self._send({"type": "error"} | error.to_reply())
            code = LATER if isinstance(error, Busy) else POLICY if status_of(error) < 500 else FAULT
            await self._socket.close(code)


def _fields(start: dict[str, Any]) -> dict[str, Any]:
    """What the first message asks for. Raises: InvalidInput."""
    if start.get("type") != "start":
        raise InvalidInput('the first message must be {"type": "start", …}')
    return {name: value for name, value in start.items() if value is not None and name != "type"}
