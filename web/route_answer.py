"""The answer of a route as what RunPod carries, which is JSON: values, texts, and audio as base64.

A joined answer is one value, a streamed one comes as it is made, in pieces small enough for RunPod.
"""

from __future__ import annotations

import asyncio
import codecs
import json
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import Headers
from starlette.types import Message, Scope

from service.json_events import MAX_EVENT_JSON_BYTES, base64_text, events_of, json_bytes
from service.sound_job import MAX_EVENT_BYTES
from validation.errors import InternalError, WorkerError

MESSAGES_AHEAD = 8  # of the application, before the caller has taken them
TEXT_CHARS = 200_000  # at a time: JSON writes a character as up to four bytes
JSON, TEXTS = "application/json", ("text/", "application/x-ndjson", "application/jsonl")
FIELDS = {"x-format": "format", "content-type": "mime_type", "x-voice": "voice", "x-ignored-fields": "ignored_fields"}
NUMBERS = {"x-sample-rate": "sample_rate", "x-seed": "seed"}
Json = dict[str, Any]


class Messages:
    """Between the application and who takes its answer: it waits when it is MESSAGES_AHEAD."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[Message | None] = asyncio.Queue()
        self._room = asyncio.Semaphore(MESSAGES_AHEAD)

    async def send(self, message: Message) -> None:
        await self._room.acquire()
        self._waiting.put_nowait(message)

    def end(self, _: object) -> None:
        self._waiting.put_nowait(None)

    async def next(self) -> Message | None:
        """None once the application has ended."""
        message = await self._waiting.get()
        self._room.release()
        return message


@dataclass(frozen=True, slots=True)
class RouteAnswer:
    """An answer that has begun: its head, and the messages that are its body."""

    status: int
    headers: Headers
    scope: Scope
    messages: Messages

    @classmethod
    async def begun(cls, scope: Scope, messages: Messages) -> RouteAnswer:
        """Raises: InternalError."""
        if (start := await messages.next()) is None:
            raise _broken_off(scope)
        return cls(start["status"], Headers(raw=start["headers"]), scope, messages)

    async def body(self) -> AsyncGenerator[bytes]:
        """Its bytes as they come. Raises: the error that ended it too early."""
        while (message := await self.messages.next()) is not None:
            if data := message.get("body"):
                yield data
            if not message.get("more_body", False):
                return
        raise _broken_off(self.scope)

    @property
    def has_failed(self) -> bool:
        return self.status >= 400

    @property
    def kind(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def is_text(self) -> bool:
        return not self.kind or self.kind == JSON or self.kind.startswith(TEXTS)

    def value(self, body: bytes) -> Any:
        """The body as one JSON value."""
        if self.kind == JSON and body:
            return json.loads(body)
        if self.is_text:
            return body.decode(errors="replace")
        return {"audio": base64_text(body), "bytes": len(body)} | self.fields()

    def fields(self) -> Json:
        """What the head says of a file, by the contract's names."""
        texts = {ours: self.headers[name] for name, ours in FIELDS.items() if name in self.headers}
        return texts | {ours: int(self.headers[name]) for name, ours in NUMBERS.items() if name in self.headers}

    def failure(self, body: Any) -> Json:
        """The error reply: `body` is the route's own error, whose text is the reply's if it begins with the code."""
        refused, reply = self.scope["state"].get("refused"), {"error": _message(body) or f"HTTP {self.status}"}
        if isinstance(refused, WorkerError):
            reply = refused.to_reply() | (reply if reply["error"].startswith(f"{refused.code}: ") else {})
        return reply | {"status": self.status, "body": body}


def _message(body: Any) -> str:
    """Of any contract's error, which is a text, or an object with one, under `error` or `detail`."""
    found = body
    for name in ("error", "detail", "message"):
        found = found.get(name, found) if isinstance(found, Mapping) else found
    return found if isinstance(found, str) else ""


def _broken_off(scope: Scope) -> WorkerError:
    refused = scope["state"].get("refused")
    return refused if isinstance(refused, WorkerError) else InternalError("the answer broke off")


async def pieces_of(answer: RouteAnswer) -> AsyncGenerator[Any]:
    """The answer as it comes; an event of type "error" if it is one."""
    if answer.has_failed or answer.kind == JSON:
        body = b"".join([piece async for piece in answer.body()])
        for value in await asyncio.to_thread(_values, answer, body):
            yield value
    elif answer.is_text:
        async for text in _texts(answer):
            yield text
    else:
        async for event in _audio(answer):
            yield event


def _values(answer: RouteAnswer, body: bytes) -> list[Any]:
    value = answer.value(body)
    if answer.has_failed:
        return [{"type": "error", "detail": answer.failure(value)}]
    if json_bytes(value) <= MAX_EVENT_JSON_BYTES:
        return [value]
    return events_of(value if isinstance(value, dict) else {"body": value})


async def _texts(answer: RouteAnswer) -> AsyncGenerator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    async for piece in answer.body():
        text = decoder.decode(piece)
        for at in range(0, len(text), TEXT_CHARS):
            yield text[at : at + TEXT_CHARS]


async def _audio(answer: RouteAnswer) -> AsyncGenerator[Json]:
    index = size_bytes = 0
    about = answer.fields()
    of_each = {name: about[name] for name in ("format", "sample_rate") if name in about}
    async for piece in answer.body():
        size_bytes += len(piece)
        for at in range(0, len(piece), MAX_EVENT_BYTES):
            audio = base64_text(piece[at : at + MAX_EVENT_BYTES])
            yield {"type": "audio", "index": index, "audio": audio} | of_each
            index += 1
    yield {"type": "end", "bytes": size_bytes} | about
