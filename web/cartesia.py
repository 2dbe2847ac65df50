"""Cartesia's addresses: POST /tts/bytes and /tts/sse, GET /voices, and its WebSocket, which speaks several contexts.

    in   {"context_id", "transcript", "continue", "flush", …}: the first message of a context has all fields, later ones
         add text; {"context_id", "cancel": true}
    out  for each context {"type": "timestamps"} and {"type": "chunk"}, {"type": "flush_done"}, then {"type": "done"} or
         {"type": "error"}

https://docs.cartesia.ai/api-reference/tts/websocket.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from service.events import AudioEvent
from service.session import Mark, Take
from validation.errors import Fault, InvalidInput, RequestError, WorkerError
from web.answer import Answer
from web.cartesia_requests import DEFAULT_VOICES, CartesiaReader, Messages, checked, context_id_of
from web.conversation import Contexts, Conversation
from web.jobs import Jobs
from web.json_socket import JsonSocket, until_first_ends
from web.openai import speaking_voice
from web.refusals import TooSlow

log = logging.getLogger(__name__)

Json = dict[str, Any]

IDLE_S = 300.0  # Cartesia's; clients keep a socket for as long
BUFFER_MS, MAX_BUFFER_MS = 3000, 5000  # how long the rest of a sentence is waited for
ENDED_IDS = 1000  # remembered of a socket


def add_cartesia(app: FastAPI, jobs: Jobs) -> None:
    """Cartesia's addresses. Its own documentation describes them, so /openapi.json does not."""
    reader = CartesiaReader(jobs)

    @app.post("/tts/bytes", include_in_schema=False)
    async def _bytes() -> Answer:
        return Answer(jobs, reader.read_bytes)

    @app.post("/tts/sse", include_in_schema=False)
    async def _events() -> Answer:
        return Answer(jobs, reader.read_events)

    @app.get("/voices", include_in_schema=False)
    async def _voices(request: Request) -> JSONResponse:
        return JSONResponse(_page(await jobs.voices(), request.query_params))

    @app.get("/voices/{name}", include_in_schema=False)
    async def _voice(name: str) -> JSONResponse:
        voice = speaking_voice(name, await jobs.ask("voices"), jobs.mapped_voices, DEFAULT_VOICES)
        return JSONResponse(_voice_fields(voice["name"], voice["language"]))

    @app.websocket("/tts/websocket")
    async def _socket(websocket: WebSocket) -> None:
        jobs.require_socket()
        await CartesiaWebSocket(websocket, jobs, reader).run()


def _page(voices: Mapping[str, Sequence[str]], asked: Mapping[str, str]) -> Json:
    """The SDK asks for the voices after the last one of a page until a page is empty."""
    names, after = list(voices), asked.get("starting_after", "")
    names = names[names.index(after) + 1 :] if after in voices else names
    return {"data": [_voice_fields(name, voices[name][0]) for name in names], "has_more": False}


def _voice_fields(name: str, language: str) -> Json:
    common = {"description": "", "tagline": "", "is_owner": True, "access": "private", "visibility": "owner"}
    locales = [{"locale": language, "is_native": True}]
    return {"id": name, "name": name, "language": language.partition("-")[0], "locales": locales, **common}


class CartesiaWebSocket:
    """One WebSocket with its contexts."""

    def __init__(self, websocket: WebSocket, jobs: Jobs, reader: CartesiaReader, idle_s: float = IDLE_S) -> None:
        self._socket, self._jobs, self._reader = JsonSocket(websocket, idle_s), jobs, reader
        self._contexts = Contexts(jobs, self._socket.id, self._failed)
        self._ended = deque[str](maxlen=ENDED_IDS)  # contexts that take no more text
        self._completing: dict[str, asyncio.TimerHandle] = {}

    async def run(self) -> None:
        """Raises nothing but what is a defect."""
        await self._socket.accept()
        try:
            with self._jobs.open_socket():
                await until_first_ends(self._read(), self._contexts.until_failed())
        except TooSlow:
            with suppress(WebSocketDisconnect):
                await self._socket.close()  # as Cartesia does: clients connect again
        except WorkerError as error:
            await self._socket.fail(error, self._error(error, None))
        except WebSocketDisconnect:
            log.info("the client left")
        finally:
            await self._contexts.close()

    async def _read(self) -> None:
        """Raises: WebSocketDisconnect, TooSlow, Busy."""
        while True:
            await self._read_one()

    async def _read_one(self) -> None:
        """Raises: as `_read`."""
        context_id = None
        try:
            sent = await self._socket.message_in_time(lambda: self._contexts.is_busy)
            context_id = context_id_of(sent)
            await self._take(context_id, checked(sent))
        except RequestError as error:
            if context_id not in self._ended:
                self._drop(context_id)
            await self._socket.send(self._error(error, context_id))

    async def _take(self, name: str, given: Json) -> None:
        """Raises: InvalidInput, UnknownVoice."""
        if timer := self._completing.pop(name, None):
            timer.cancel()
        if given.get("cancel"):
            self._drop(name)
        elif name not in self._ended:
            await self._push(name, given)
        elif given.get("transcript", "").strip():
            raise InvalidInput.of(Fault("context_id", "is that of a context that has ended: begin another"))

    async def _push(self, name: str, given: Json) -> None:
        """Raises: InvalidInput, UnknownVoice."""
        delay_ms = given.get("max_buffer_delay_ms", BUFFER_MS)
        if not 0 <= delay_ms <= MAX_BUFFER_MS:
            raise InvalidInput.of(Fault("max_buffer_delay_ms", f"must be 0 to {MAX_BUFFER_MS}"))
        conversation = self._contexts.get(name) or await self._open(name, given)
        await conversation.push(given.get("transcript", ""))
        if not given.get("continue", False):
            conversation.mark(Mark.END)
            self._ended.append(name)
        elif given.get("flush") or not delay_ms:
            conversation.mark(Mark.FLUSH)
        else:
            loop = asyncio.get_running_loop()
            self._completing[name] = loop.call_later(delay_ms / 1000, self._complete, name, conversation)

    async def _open(self, name: str, given: Json) -> Conversation:
        asked = await self._reader.asked(given, "raw")
        fields = asked.fields | {"word_timestamps": given.get("add_timestamps")}
        start = {field: value for field, value in fields.items() if value is not None}
        return await self._contexts.open(name, start, lambda session: ContextSink(self._socket, name))

    def _complete(self, name: str, conversation: Conversation) -> None:
        """The rest of a sentence did not come in time."""
        del self._completing[name]
        if self._contexts.get(name) is conversation:
            with suppress(InvalidInput):  # so much waits that it need not be completed
                conversation.mark(Mark.FLUSH)

    def _drop(self, name: str | None) -> None:
        if name is not None and self._contexts.get(name):
            self._contexts.drop(name)
            self._ended.append(name)

    async def _failed(self, name: str, error: WorkerError) -> None:
        self._ended.append(name)
        await self._socket.send(self._error(error, name))

    def _error(self, error: WorkerError, name: str | None) -> Json:
        """`done` is false for a wrong message to a context that has all its text and still speaks it."""
        is_done = name is None or self._contexts.get(name) is None
        return Messages(name).error(error) | {"request_id": self._socket.id, "done": is_done}


class ContextSink:
    """The messages of one context on its socket."""

    def __init__(self, socket: JsonSocket, context_id: str) -> None:
        self._socket, self._messages = socket, Messages(context_id)

    async def began(self, take: Take) -> None:
        pass

    async def audio(self, event: AudioEvent) -> None:
        await self._send(*self._messages.timestamps(event.words or ()))
        await self._socket.send(self._messages.chunk(event.data), event.duration_s)

    async def ended(self, take: Take) -> None:
        await self._send(*self._messages.timestamps(take.last_words))

    async def flushed(self) -> None:
        await self._send(self._messages.flush_done())

    async def finished(self, rest: bytes, report: Json) -> None:
        await self._send(*([self._messages.chunk(rest)] if rest else []), self._messages.done())

    async def _send(self, *messages: Json) -> None:
        for message in messages:
            await self._socket.send(message)
