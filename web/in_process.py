"""The HTTP server's routes without a socket: what the queue answers to a job that names one.

The very application of the HTTP server is called, in the caller's event loop. RunPod has checked the key, and no other
site's page can ask here: there are neither keys nor origins.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import Any

from fastapi import FastAPI
from starlette.routing import Match
from starlette.types import Message, Scope

from service.app import Service
from service.json_events import json_bytes
from validation.errors import Fault, InvalidInput, OutputTooLarge, WorkerError
from validation.route import RouteCall, parse_route
from web.application import application
from web.jobs import Jobs
from web.metrics import Metrics
from web.readiness import Readiness
from web.route_answer import JSON, Messages, RouteAnswer, pieces_of


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
            async with self._answer(job_id, raw, s3_config) as answer, aclosing(pieces_of(answer)) as pieces:
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
        if s3_config not in (None, {}):
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
        """The application of the running event loop. A worker has one loop, and may have a second one during its
        shutdown."""
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
