"""The queue endpoint: RunPod jobs in, a dict or a stream of events out.

`handler(job)` answers a job with one dict; `stream_handler(job)` with events as they come. `main()` starts
RunPod's SDK with the one that `STREAMING` asks for, because the SDK decides by the kind of function. A job that names a
route of the HTTP server gets that route's answer. Importing this file loads no model, no torch, no SDK and no routes.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import signal
import sys
from collections.abc import AsyncGenerator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from service.app import Service, build
from service.bridge import bridge
from service.drain import Drain, exit_at_once, tie_children
from service.events import AudioEvent, EndEvent, ErrorEvent, Event
from service.json_events import audio_fields, base64_text, events_of
from service.logs import configure_logging
from service.queue_jobs import QueueJobs
from service.telemetry import JobClock
from settings import Settings, SettingsError
from validation.errors import WorkerError, printable
from validation.route import names_route

if TYPE_CHECKING:
    from web.in_process import HttpRoutes

log = logging.getLogger(__name__)

JOBS = QueueJobs()
MAX_ID_CHARS = 100  # in the log


@cache
def service() -> Service:
    """The service of this process, built from its environment at first use."""
    return build(Settings.of_this_process())


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(service().settings.max_concurrency, thread_name_prefix="job")


@cache
def _routes() -> HttpRoutes:
    from web.in_process import HttpRoutes  # here, because few queues are asked for a route

    return HttpRoutes(service())


async def _http_routes() -> HttpRoutes:
    """The first time they are imported, which takes half a second: not in the event loop."""
    await asyncio.to_thread(import_module, "web.in_process")
    return _routes()


async def handler(job: dict[str, Any]) -> Any:
    """Answer one job: the joined reply with base64 audio, a route's answer, or the error reply. Never raises."""
    JOBS.note()
    if names_route(given := _given(job).get("input")):
        routes = await _http_routes()
        answer = await routes.joined(_id_of(job), given, job.get("s3Config"))
    else:
        answer = await _reply(job)
    if _must_be_replaced():
        if isinstance(answer, dict):
            answer |= {"refresh_worker": True}
        else:
            _leave_when_idle()
    return _unlogged(answer)


async def _reply(job: object) -> dict[str, Any]:
    answer: dict[str, Any] = {}
    async with aclosing(_events(job, joined=True)) as events:
        async for event in events:
            match event:
                case EndEvent():
                    answer = event.reply
                    if (file := event.take_file()) is not None:  # megabytes, so not on the event loop
                        answer = {"audio": await asyncio.to_thread(base64_text, file)} | answer
                        del file
                case ErrorEvent():
                    answer = event.error.to_reply()
    return answer


async def stream_handler(job: dict[str, Any]) -> AsyncGenerator[Any]:
    """Answer one job with events: audio pieces, then `end`, or a route's answer; or `error`, and then the SDK's own
    error.

    The SDK hides a dict that has an `error` key from the client's `/stream` and keeps only its text, so the
    error goes out twice: as an event that carries everything, then as the text that fails the job.
    """
    JOBS.note()
    failed = ""
    if names_route(given := _given(job).get("input")):
        routes = await _http_routes()
        pieces = routes.streamed(_id_of(job), given, job.get("s3Config"))
    else:
        pieces = _stream(job)
    async with aclosing(pieces):
        async for piece in pieces:
            if isinstance(piece, dict) and piece.get("type") == "error":
                failed = piece["detail"]["error"]
            yield _unlogged(piece)
    if failed:  # whether the worker is still healthy is known once the events have ended
        if _must_be_replaced():  # the SDK ignores `refresh_worker` in a stream
            _leave_when_idle()
        yield _unlogged({"error": failed})


async def _stream(job: object) -> AsyncGenerator[dict[str, Any]]:
    async with aclosing(_events(job, joined=False)) as events:
        async for event in events:
            match event:
                case AudioEvent():
                    yield {"type": "audio"} | audio_fields(event)
                case EndEvent():
                    for part in await asyncio.to_thread(events_of, event.reply):
                        yield part
                case ErrorEvent():
                    yield {"type": "error", "detail": event.error.to_reply()}


class Unlogged(dict[str, Any]):
    """A reply that is not logged: with RUNPOD_LOG_LEVEL=DEBUG the SDK logs each, with its text and URL."""

    def __repr__(self) -> str:
        return f"<{len(self)} fields>"


class UnloggedText(str):
    """As `Unlogged`. JSON has the text."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{len(self)} characters>"

    __str__ = __repr__


def _unlogged(reply: Any) -> Any:
    """On RunPod; elsewhere the SDK's local mode shows the reply by writing it into the log."""
    if not service().settings.on_runpod:
        return reply
    return Unlogged(reply) if isinstance(reply, dict) else UnloggedText(reply) if isinstance(reply, str) else reply


def _leave_when_idle() -> None:
    """Running jobs are finished and posted first."""
    os.kill(os.getpid(), signal.SIGTERM)


def _must_be_replaced() -> bool:
    """Whether RunPod is to be asked for a new worker."""
    return service().settings.on_runpod and service().must_be_replaced


def _events(job: object, *, joined: bool) -> AsyncGenerator[Event]:
    """The SDK passes dicts with an id; the service refuses anything else, as any bad input."""
    given, clock = _given(job), JobClock()
    running = service().run(
        _id_of(given), given.get("input"), joined=joined, clock=clock, s3_config=given.get("s3Config")
    )
    return bridge(running, _threads(), one_by_one=2, on_stop=clock.stop)  # the start, and the first audio


def _given(job: object) -> Mapping[str, Any]:
    return job if isinstance(job, Mapping) else {}


def _id_of(job: object) -> str:
    job_id = _given(job).get("id")
    return printable(job_id[:MAX_ID_CHARS]) if isinstance(job_id, str) else ""


def main() -> int:
    """Start the worker: the SDK's job loop on RunPod, its test modes elsewhere."""
    try:
        settings = service().settings
    except SettingsError as error:
        print(f"a setting can't be used: {error}", file=sys.stderr)
        return 2
    configure_logging(settings.log_level, as_json=settings.on_runpod)
    for doubt in settings.misspelled:
        log.warning("%s", doubt)
    # PID 1 has no default action for SIGTERM: without this, one that comes while the model loads is ignored.
    signal.signal(signal.SIGTERM, lambda *_: exit_at_once())
    if settings.warmup and settings.on_runpod:
        try:
            service().warm_up()
        except WorkerError as error:
            log.critical("the worker can't start: %s", error, exc_info=error.__cause__)
            return 1
        gc.freeze()  # half a million permanent objects, whose collection took 0.26 s and stopped all threads
    return _start(settings)


def _start(settings: Settings) -> int:
    import runpod.serverless

    # The SDK's one-shot local modes never iterate a generator: they print it and call that a success.
    streams = settings.streaming and (settings.on_runpod or "--rp_serve_api" in sys.argv)
    config: dict[str, Any] = {
        "handler": stream_handler if streams else handler,
        "return_aggregate_stream": settings.stream_aggregate,
    }
    drain = Drain(
        lambda: JOBS.are_under_way,
        settings.shutdown_timeout_s,
        run_strays=lambda left_s: JOBS.run_strays(config, left_s),
    )

    def concurrency(now: int) -> int:
        """A constant. The SDK calls this in the main thread, after its own signal handlers are set."""
        JOBS.watch()
        drain.install()
        return settings.max_concurrency

    tie_children()
    try:
        runpod.serverless.start(config | {"concurrency_modifier": concurrency})
    except json.JSONDecodeError as error:
        print(f"the test input is not JSON: {error}", file=sys.stderr)
        return 2
    drain.finish()
    return 0


if __name__ == "__main__":
    sys.exit(main())
