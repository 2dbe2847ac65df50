"""The HTTP server on loopback in this process: uvicorn in a thread, the real service, a fake engine."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from fakes import HANG_S, FakeEngine, fake_service
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from server import Server, bound
from web.jobs import Jobs

LONG = "One sentence that is long enough to be spoken in a good many chunks, and then some more of it. " * 8


@dataclass
class HttpServer:
    """A running server and its clients. `status` is its exit status, once it has ended."""

    port: int
    health_port: int
    engine: FakeEngine
    worker: Server = field(init=False)
    loop: asyncio.AbstractEventLoop = field(init=False)
    status: int | None = None
    http: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        self.http = self.client()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def jobs(self) -> Jobs:
        return self.worker.jobs

    def websocket(self, path: str = "/ws/tts", **options: Any) -> ClientConnection:
        options = {"open_timeout": HANG_S, "close_timeout": 1} | options
        return connect(f"ws://127.0.0.1:{self.port}{path}", **options)

    def connection(self, takes_bytes: int | None = None) -> socket.socket:
        """A client's end; `takes_bytes` come in while it reads nothing."""
        client = socket.socket()
        client.settimeout(HANG_S)
        if takes_bytes:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, takes_bytes)
        client.connect(("127.0.0.1", self.port))
        return client

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=HANG_S, verify=False, trust_env=False, **options)

    def post(self, path: str, json: Any, **headers: str) -> httpx.Response:
        return self.http.post(path, json=json, headers={name.replace("_", "-"): text for name, text in headers.items()})

    @contextmanager
    def asking(self, text: str) -> Iterator[threading.Thread]:
        """Another client speaks a text meanwhile; at the end its response was awaited, and was 200."""
        statuses: list[int] = []

        def ask() -> None:
            with self.client() as client:
                statuses.append(client.post("/tts", json={"text": text}).status_code)

        asking = threading.Thread(target=ask)
        asking.start()
        yield asking
        asking.join(HANG_S)
        assert statuses == [200]

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self.http.get(path, headers={name.replace("_", "-"): text for name, text in headers.items()})

    def ping(self) -> int:
        return self.get("/ping").status_code

    def end(self) -> None:
        self.loop.call_soon_threadsafe(self.worker.end, "it was told to end")

    def outcomes(self) -> dict[str, int]:
        return self.jobs.service.telemetry.outcomes()

    @contextmanager
    def turns(self) -> Iterator[list[float]]:
        """What this process computes between two turns of the server's loop meanwhile, in seconds. Of the clock there
        may be more: other processes make it longer, and change nothing in this."""
        turns_s = [0.0]

        async def turn() -> None:
            while True:
                before_s = time.process_time()
                await asyncio.sleep(0.005)
                turns_s.append(time.process_time() - before_s)

        turning = asyncio.run_coroutine_threadsafe(turn(), self.loop)
        try:
            yield turns_s
        finally:
            turning.cancel()

    def at_rest(self) -> bool:
        """Whether no job is in progress, no place is taken and no input is held."""
        jobs = self.jobs
        counts = jobs.under_way, jobs.admitted, jobs.sockets, jobs.input_budget.held_bytes
        return not any(counts) and not jobs._pumps


class Gate:
    """For `before_chunk` and `before_condition`: the first `free` of them pass, and as many as `let` says; all once it
    is open."""

    def __init__(self, free: int = 0) -> None:
        self._permits = threading.Semaphore(free)
        self._is_open = False

    def __call__(self, _: object) -> None:
        if not self._is_open:
            assert self._permits.acquire(timeout=HANG_S)

    def let(self, number: int) -> None:
        self._permits.release(number)

    def open(self) -> None:
        self._is_open = True
        self._permits.release(1000)


def post_head(path: str, size_bytes: int, *, kind: str = "application/json", accept: str = "*/*") -> bytes:
    """What precedes a body."""
    lines = (f"POST {path} HTTP/1.1", "Host: x", f"Content-Type: {kind}", f"Accept: {accept}")
    return "\r\n".join([*lines, f"Content-Length: {size_bytes}", "\r\n"]).encode()


def closed_with(line: ClientConnection) -> int:
    """The close code of a WebSocket on which nothing more comes."""
    with pytest.raises(ConnectionClosed):
        line.recv(HANG_S)
    assert line.close_code is not None
    return line.close_code


def until(ready: Callable[[], bool], within_s: float = HANG_S, what: str = "it did not happen") -> None:
    deadline_s = time.monotonic() + within_s
    while not ready():
        assert time.monotonic() < deadline_s, what
        time.sleep(0.005)


@contextmanager
def open_server(engine: FakeEngine | None = None, *, wait: bool = True, **settings: Any) -> Iterator[HttpServer]:
    """A server, warm unless `wait` is false. At the end it must stop by itself, with no thread left."""
    engine = engine or FakeEngine()
    listener, health_listener = bound("127.0.0.1", 0), bound("127.0.0.1", 0)
    running = HttpServer(listener.getsockname()[1], health_listener.getsockname()[1], engine)
    settings = {"stream_aggregate": False, "shutdown_timeout_s": 5.0, "warmup": False} | settings
    service, begun = fake_service(engine, **settings), threading.Event()

    async def serve(own: socket.socket, health: socket.socket) -> int:
        running.worker, running.loop = Server(service), asyncio.get_running_loop()
        begun.set()
        return await running.worker.serve(own, health)

    def run() -> None:
        running.status = asyncio.run(serve(listener, health_listener))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert begun.wait(HANG_S)
    try:
        if wait:
            until(lambda: running.ping() != 204, HANG_S)
        yield running
    finally:
        if running.status is None:
            running.end()
        running.http.close()
        thread.join(HANG_S)
        assert not thread.is_alive(), "the server did not stop"
