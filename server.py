"""The HTTP server's process: sockets, signals, and the order from start to exit. Its routes are in `web`.

`main()` binds at once, loads in the background and serves until SIGTERM: then running streams finish, and it exits with
status 0, or with 1 where jobs fail here that would not in a new process.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import uvicorn

from service.app import Service, build
from service.logs import configure_logging
from settings import Settings, SettingsError
from web.application import application, health_application
from web.budget import InputBudget
from web.connections import BACKLOG, HEAD_BYTES, HttpConnection, WebSocketConnection, raise_file_limit
from web.jobs import Jobs
from web.limits import MAX_BODY_BYTES
from web.metrics import Metrics
from web.readiness import Readiness

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.05
SETTLED_S = 0.25  # without a job under way; a WebSocket has short gaps between its takes
CLOSE_WITHIN_S = 1.0  # for a cancelled step in flight; and for connections, once their jobs have ended
UNREAD_WITHIN_MS = 60_000  # what was sent must be read within this, or the kernel ends the connection


class QuietServer(uvicorn.Server):
    """uvicorn's server without its signal handlers."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Server:
    """One worker from its start to its exit."""

    def __init__(self, service: Service, on_warm: Callable[[], None] = lambda: None) -> None:
        """`on_warm` is called in the thread that loads, before the first job."""
        self._service, self._on_warm = service, on_warm
        self._readiness = Readiness()
        self._ending = asyncio.Event()
        self._status = 0
        self.jobs = Jobs(service, self._readiness, Metrics(service.telemetry.registry), self._must_be_replaced)

    async def serve(self, listener: socket.socket, health_listener: socket.socket | None = None) -> int:
        """Serve until `end`; the exit status."""
        settings = self._service.settings
        servers = [(_server(application(self.jobs), self.jobs.input_budget), listener)]
        if health_listener:
            servers.append((_server(health_application(self._readiness), self.jobs.input_budget), health_listener))
        serving = [asyncio.create_task(server.serve([own])) for server, own in servers]
        self._readiness.load(self._warm_up)
        await self._ending.wait()
        await self._drain(settings.shutdown_timeout_s)
        for server, _ in servers:
            server.should_exit = True
        await asyncio.gather(*serving)
        self.jobs.close()
        return self._status

    def _warm_up(self) -> None:
        if self._service.settings.warmup:
            self._service.warm_up()
        self._on_warm()

    def _must_be_replaced(self) -> None:
        self._status = 1
        self.end("a job hit a fault that only a new process is free of")

    def end(self, reason: str) -> None:
        """Take no more jobs, and leave once the running ones are done. Call it in the event loop's thread."""
        self._readiness.drain(reason)
        self._ending.set()

    async def _drain(self, limit_s: float) -> None:
        """Until no job is under way, or the limit."""
        log.info("the worker is leaving, because %s: jobs under way have %g s", self._readiness.reason, limit_s)
        begun_s = busy_at_s = time.monotonic()
        while (now_s := time.monotonic()) - begun_s < limit_s:
            busy_at_s = now_s if self.jobs.under_way else busy_at_s
            if now_s - busy_at_s >= (SETTLED_S if self.jobs.sockets else 0.0) and not self.jobs.under_way:
                break
            await asyncio.sleep(LOOK_EVERY_S)
        if self.jobs.under_way:
            log.error("%d jobs were still under way", self.jobs.under_way)
            await self.jobs.stop(CLOSE_WITHIN_S)


def _is_no_false_alarm(record: logging.LogRecord) -> bool:
    """uvicorn (0.54) logs an error for every WebSocket refused with a response, and a traceback for invalid UTF-8."""
    false_alarms = ("returned without completing handshake", "Invalid UTF-8 sequence")
    return not any(words in record.getMessage() for words in false_alarms)


def _server(app: object, budget: InputBudget) -> QuietServer:
    uvicorn_log = logging.getLogger("uvicorn.error")
    uvicorn_log.setLevel(logging.WARNING)  # below, it logs URLs with their queries
    uvicorn_log.addFilter(_is_no_false_alarm)
    config = uvicorn.Config(
        app,  # type: ignore[arg-type]
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        http=HttpConnection,
        h11_max_incomplete_event_size=HEAD_BYTES,
        backlog=BACKLOG,
        ws=partial(WebSocketConnection, budget=budget),  # type: ignore[arg-type]
        ws_max_size=MAX_BODY_BYTES,  # the first message may hold a recording
        ws_ping_timeout=None,  # a ping would queue behind the audio: `TtsWebSocket` watches who reads
        ws_per_message_deflate=False,  # audio does not compress, and a small message could inflate to a very large one
        timeout_keep_alive=75,  # longer than load balancers keep a connection
        timeout_graceful_shutdown=round(CLOSE_WITHIN_S),
    )
    return QuietServer(config)


def bound(host: str, port: int, unread_within_ms: int = UNREAD_WITHIN_MS) -> socket.socket:
    """Raises: OSError, where the port can't be bound."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    # Connections inherit it. asyncio sets it only for sockets that name their protocol, which create_server's don't:
    # what follows an answer's first piece would wait for the client's acknowledgement, which comes after 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if sys.platform == "linux":  # inherited, too; else a client that reads nothing would keep one
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, unread_within_ms)
    return listener


def link(host: str, port: int) -> str:
    """The address to open on this machine."""
    name = "localhost" if host in ("0.0.0.0", "::", "") else f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}/"


def _listener(settings: Settings, name: str) -> socket.socket:
    """Raises: SettingsError."""
    port: int = getattr(settings, name)
    try:
        return bound(settings.bind_host, port)
    except (OSError, UnicodeError, TypeError) as error:  # the last two for invalid host names
        where = f"{name.upper()}={port} can't be had at BIND_HOST={settings.bind_host!r}"
        raise SettingsError(f"{where}: {getattr(error, 'strerror', None) or error}") from None


async def _serve(service: Service, listener: socket.socket, health_listener: socket.socket | None) -> int:
    # The objects that are there by now stay. Each full collection of them stops all threads for 0.1 s and more.
    server, loop = Server(service, gc.freeze), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.end, "it received a signal")
    return await server.serve(listener, health_listener)


def main() -> int:
    """Start the worker."""
    try:
        settings = Settings.of_this_process()
        listener = _listener(settings, "port")
        has_own_port = settings.port_health not in (None, settings.port)
        health_listener = _listener(settings, "port_health") if has_own_port else None
        # Bytes are not aggregated; and a rented machine has a GPU.
        service = build(replace(settings, stream_aggregate=False, on_runpod=settings.in_pod))
    except SettingsError as error:
        print(f"a setting can't be used: {error}", file=sys.stderr)
        return 2
    configure_logging(settings.log_level, as_json=settings.in_pod)
    for doubt in settings.misspelled:
        log.warning("%s", doubt)
    raise_file_limit()
    log.info("listening on %s: %s", settings.bind_host, link(settings.bind_host, listener.getsockname()[1]))
    return asyncio.run(_serve(service, listener, health_listener))


if __name__ == "__main__":
    ended_with = main()
    logging.shutdown()
    os._exit(ended_with)  # don't wait for a step that can't be interrupted, or for a model that is loading
