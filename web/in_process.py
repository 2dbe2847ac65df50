"""The HTTP server's routes without a socket: what the queue answers to a job that names one.

The very application of the HTTP server is called, in the caller's event loop. RunPod has checked the key, and no other
site's page can ask here: there are neither keys nor origins. A joined answer is one JSON value, a streamed one comes as
it is made. RunPod carries JSON only, so audio is base64.
"""

from __future__ import annotations

import asyncio
import codecs
import json
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.routing import Match
from starlette.types import Message, Scope

from service.app import Service
from service.json_events import MAX_EVENT_JSON_BYTES, base64_text, events_of, json_bytes
from service.synthesis import MAX_EVENT_BYTES
from validation.errors import Fault, InternalError, InvalidInput, OutputTooLarge, WorkerError
from validation.route import RouteCall, parse_route
from web.application import application
from web.jobs import Jobs
from web.metrics import Metrics
from web.readiness import Readiness

MESSAGES_AHEAD = 8  # of the application, before the caller has taken them
TEXT_CHARS = 200_000  # at a time: JSON writes a character as up to three bytes
JSON, TEXTS = "application/json", ("text/", "application/x-ndjson", "application/jsonl")
FIELDS = {"x-format": "format", "content-type": "mime_type", "x-voice": "voice", "x-ignored-fields": "ignored_fields"}
NUMBERS = {"x-sample-rate": "sample_rate", "x-seed": "seed"}
Json = dict[str, Any]


class HttpRoutes:
    """The routes of one service. Never raises, but where it is cancelled."""

    def __init__(self, service: Service) -> None:
        self._service, self._metrics = service, Metrics(service.telemetry.registry)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._jobs: Jobs | None = None
        self._app: FastAPI

    async def joined(self, job_id: str, raw: object, s3_config: object = None) -> Any:
        """The whole answer, or the error reply."""
        try:
            async with self._answer(job_id, raw, s3_config) as answer:
                return await self._whole(answer)
        except WorkerError as error:
            return error.to_reply()

    async def streamed(self, job_id: str, raw: object, s3_config: object = None) -> AsyncGenerator[Any]:
        """The answer in pieces, each small enough for RunPod; `{"type": "error", "detail": ERROR REPLY}` last if it
        failed."""
        sent_bytes = 0
        try:
            async with self._answer(job_id, raw, s3_config) as answer, aclosing(_pieces(answer)) as pieces:
                async for piece in pieces:
                    if self._service.settings.stream_aggregate:
                        sent_bytes += json_bytes(piece)
                        self._require_room(sent_bytes)
                    yield piece
        except WorkerError as error:
            yield {"type": "error", "detail": error.to_reply()}

    async def _whole(self, answer: RouteAnswer) -> Any:
        body = bytearray()
        async for piece in answer.body():
            body += piece
            self._require_room(len(body))
        value = await asyncio.to_thread(answer.value, bytes(body))
        self._require_room(await asyncio.to_thread(json_bytes, value))
        return answer.failure(value) if answer.has_failed else value

    def _require_room(self, size_bytes: int) -> None:
        """Raises: OutputTooLarge."""
        if size_bytes > (limit := self._service.settings.max_output_bytes):
            raise OutputTooLarge(f"the answer passes {size_bytes} bytes; the limit is {limit}")

    @asynccontextmanager
    async def _answer(self, job_id: str, raw: object, s3_config: object) -> AsyncIterator[RouteAnswer]:
        """The answer once it has begun. Leaving ends the work for it. Raises: InvalidInput."""
        if s3_config is not None:
            raise InvalidInput("s3Config can't go with a route: the answer comes as over HTTP")
        call = await asyncio.to_thread(parse_route, raw)
        app = self._application()
        scope = _scope(app, call, job_id)
        _require_route(app, scope)
        messages = Messages()
        working = asyncio.create_task(_served(app, scope, call.body, messages), name=f"route of job {job_id}")
        working.add_done_callback(messages.end)

        def stop(_: object) -> None:
            working.cancel()

        # RunPod's SDK cancels a job wherever it is, between two pieces too, and then does not close its iterator.
        task = asyncio.current_task()
        assert task
        task.add_done_callback(stop)
        try:
            yield await RouteAnswer.begun(scope, messages)
        finally:
            task.remove_done_callback(stop)
            working.cancel()
            await asyncio.wait({working})

    def _application(self) -> FastAPI:
        """Of the running loop, to which its jobs belong: a worker has one, and may have a second while it ends."""
        if (loop := asyncio.get_running_loop()) is not self._loop:
            self.close()
            readiness = Readiness()
            readiness.load(lambda: None).join()
            self._loop, self._jobs = loop, Jobs(self._service, readiness, self._metrics)
            self._jobs.max_admitted = sys.maxsize  # the queue has admitted them
            who_may_ask = replace(self._service.settings, api_keys=None, cors_origins=None, serve_page=False)
            self._app = application(self._jobs, who_may_ask)
        return self._app

    def close(self) -> None:
        if self._jobs:
            self._jobs.close()


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
        """The error reply: in its `body` is the route's own error."""
        refused = self.scope["state"].get("refused")
        reply = refused.to_reply() if isinstance(refused, WorkerError) else {}
        return reply | {"error": _message(body) or f"HTTP {self.status}", "status": self.status, "body": body}


def _message(body: Any) -> str:
    """Of any contract's error, which is a text, or an object with one, under `error` or `detail`."""
    found = body
    for name in ("error", "detail", "message"):
        found = found.get(name, found) if isinstance(found, Mapping) else found
    return found if isinstance(found, str) else ""


def _broken_off(scope: Scope) -> WorkerError:
    refused = scope["state"].get("refused")
    return refused if isinstance(refused, WorkerError) else InternalError("the answer broke off")


async def _pieces(answer: RouteAnswer) -> AsyncGenerator[Any]:
    if answer.has_failed or answer.kind == JSON:
        value = answer.value(b"".join([piece async for piece in answer.body()]))
        if answer.has_failed:
            yield {"type": "error", "detail": answer.failure(value)}
        elif json_bytes(value) <= MAX_EVENT_JSON_BYTES:
            yield value
        else:
            for event in events_of(value if isinstance(value, dict) else {"body": value}):
                yield event
    elif answer.is_text:
        async for text in _texts(answer):
            yield text
    else:
        async for event in _audio(answer):
            yield event


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


async def _served(app: FastAPI, scope: Scope, body: bytes, messages: Messages) -> None:
    """Call the application: the body once, then nothing more comes."""
    given = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        return given.pop() if given else await asyncio.get_running_loop().create_future()

    await app(scope, receive, messages.send)


def _scope(app: FastAPI, call: RouteCall, job_id: str) -> Scope:
    headers = {b"host": b"queue", b"x-request-id": job_id.encode("latin-1", "replace")}
    if call.body:
        headers |= {b"content-type": JSON.encode(), b"content-length": str(len(call.body)).encode()}
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": call.method,
        "scheme": "http",
        "path": call.path,
        "raw_path": call.path.encode(),
        "query_string": call.query.encode(),
        "root_path": "",
        "headers": [*headers.items()],
        "client": None,
        "server": None,
        "app": app,
        "state": {},
    }


def _require_route(app: FastAPI, scope: Scope) -> None:
    """Raises: InvalidInput."""
    socket = {**scope, "type": "websocket"}
    matches = [(route.matches(scope)[0], route.matches(socket)[0]) for route in app.routes]
    if any(http is not Match.NONE for http, _ in matches):
        return
    if any(websocket is not Match.NONE for _, websocket in matches):
        message = "is a WebSocket, which the queue can't carry: a load-balancing endpoint has it"
        raise InvalidInput.of(Fault("route", message))
    raise InvalidInput.of(Fault("route", 'is not one of this worker\'s: {"route": "/openapi.json"} lists them'))
