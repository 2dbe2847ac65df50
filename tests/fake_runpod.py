"""A small RunPod on loopback: both sides of its queue, so that tests run the SDK's real job loop.

The worker's side (job-take, job-stop, job-done, job-stream, ping) is what `runpod.serverless.start` talks to;
the client's side (/run, /runsync, /status, /stream, /cancel) is the production API. Inputs and outputs are JSON
that passes through; every post is kept with the time of its arrival.

    with FakeRunPod() as fake, worker_process([sys.executable, "handler.py"], log, fake.worker_env()):
        job = fake.wait(fake.submit({"text": "Hello."}))
        assert job.status == "COMPLETED" and len(job.posted) == 1
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Self

from aiohttp import web
from forked import Forked

Json = dict[str, Any]

FINAL = frozenset({"COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"})
CLIENT_ROUTES = frozenset({"run", "runsync", "status", "stream", "cancel"})
STREAM_EVENT_LIMIT_BYTES = 1_000_000
RESULT_LIMIT_BYTES = {"run": 10_000_000, "runsync": 20_000_000}  # by the route of the job
TICK_S = 0.005


@dataclass(frozen=True, slots=True)
class Post:
    """One body that the worker sent; `at_s` is its complete arrival (`time.monotonic()`)."""

    at_s: float
    body: Json
    size_bytes: int

    @property
    def output(self) -> Any:
        return self.body.get("output")


@dataclass(slots=True)
class Job:
    """A job as the platform sees it: `events` are its job-stream posts, `posted` its job-done posts."""

    id: str
    input: Any
    route: str = "run"
    status: str = "IN_QUEUE"
    output: Any = None
    error: Any = None
    events: list[Post] = field(default_factory=list)
    posted: list[Post] = field(default_factory=list)
    refused: list[Post] = field(default_factory=list)  # over a limit: answered 400 and not delivered
    submitted_s: float = field(default_factory=time.monotonic)
    taken_s: float | None = None
    done_s: float | None = None
    stop_sent_s: float | None = None
    events_read: int = 0
    takes: int = 0  # more than one after a worker was lost
    post_s: float = 0.0  # how long the answer to an event takes

    @property
    def is_final(self) -> bool:
        return self.status in FINAL

    def settle(self, status: str) -> None:
        if not self.is_final:
            self.status, self.done_s = status, time.monotonic()

    def view(self) -> Json:
        """The answer of /status, /runsync and /cancel."""
        shown = {"id": self.id, "status": self.status, "output": self.output, "error": self.error}
        return {name: value for name, value in shown.items() if value is not None}


class FakeRunPod:
    """The server. State changes in single atomic steps, so tests may read it from their own thread."""

    def __init__(self, *, poll_s: float = 1.0) -> None:
        """`poll_s`: production holds polls for up to 90 s, and SIGTERM waits for them."""
        self.poll_s, self.max_runsync_wait_s = poll_s, 90.0
        self.api_key, self.endpoint, self.pod_id = "fake-key", "fake-endpoint", "fake-pod"
        self.jobs: dict[str, Job] = {}
        self.pings: list[list[str]] = []  # the jobs that each names
        self.batch_sizes: list[int] = []  # what each job-take asked for
        self.stream_post_s = 0.0  # how long the answer to any event takes
        self.posts_seen = self.posts_failed = 0
        self.fail_post_every = 0  # every n-th post of a worker is answered 500 and not kept; 0: none
        self._queue: deque[Job] = deque()
        self._stops: deque[Job] = deque()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._runner: web.AppRunner

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._runner.cleanup())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # --- for tests

    @property
    def base_url(self) -> str:
        """What production calls https://api.runpod.ai/v2."""
        host, port = self._runner.addresses[0][:2]
        return f"http://{host}:{port}/v2"

    def worker_env(self) -> dict[str, str]:
        """The variables that make a process with this environment a worker of this endpoint."""
        root, query = f"{self.base_url}/{self.endpoint}", "gpu=fake"
        return {
            "RUNPOD_WEBHOOK_GET_JOB": f"{root}/job-take/$ID?{query}",
            "RUNPOD_WEBHOOK_POST_OUTPUT": f"{root}/job-done/$RUNPOD_POD_ID/$ID?{query}",
            "RUNPOD_WEBHOOK_POST_STREAM": f"{root}/job-stream/$RUNPOD_POD_ID/$ID?{query}",
            "RUNPOD_WEBHOOK_PING": f"{root}/ping/$RUNPOD_POD_ID",
            "RUNPOD_PING_INTERVAL": "1000",  # ms; below 1000 the SDK rounds to 0 and spins
            "RUNPOD_AI_API_KEY": self.api_key,
            "RUNPOD_POD_ID": self.pod_id,
            "RUNPOD_ENDPOINT_ID": self.endpoint,
            "RUNPOD_LOG_LEVEL": "INFO",
            "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true",  # they want 8.8.8.8:53
            "RUNPOD_SKIP_GPU_CHECK": "true",
            "NO_PROXY": "127.0.0.1",
        }

    def submit(self, job_input: Any, *, post_s: float = 0.0, job_id: str = "") -> str:
        """Queue a job as /run does; returns its id. What is posted to an id that two jobs have is kept for the last."""
        return self._enqueue(Job(job_id or f"{uuid.uuid4()}-u1", job_input, post_s=post_s)).id

    def cancel(self, job_id: str) -> None:
        """The SDK loses a stop that arrives before the handler has started, about 0.1 s after the take."""
        self._stop(self.jobs[job_id], "CANCELLED")

    def time_out(self, job_id: str) -> None:
        self._stop(self.jobs[job_id], "TIMED_OUT")

    def lose_worker(self) -> list[str]:
        """Put the running jobs back at the head of the queue, as after pings have stopped; their ids."""
        lost = [job for job in self.jobs.values() if job.status == "IN_PROGRESS"]
        for job in lost:
            job.status = "IN_QUEUE"
        self._queue.extendleft(reversed(lost))
        return [job.id for job in lost]

    def wait(self, job_id: str, timeout_s: float = 10.0) -> Job:
        """The job once its status is final. Raises: TimeoutError, with its status."""
        job = self.jobs[job_id]
        wait_until(lambda: job.is_final, timeout_s, lambda: f"job {job_id} is {job.status}")
        return job

    # --- the states of a job

    def _enqueue(self, job: Job) -> Job:
        self.jobs[job.id] = job
        self._queue.append(job)
        return job

    def _take(self) -> Job:
        job = self._queue.popleft()
        job.status, job.taken_s, job.takes = "IN_PROGRESS", time.monotonic(), job.takes + 1
        return job

    def _stop(self, job: Job, status: str) -> None:
        """Cancel or time out: a queued job leaves the queue, a running one goes to job-stop."""
        if job.status == "IN_QUEUE":
            self._queue.remove(job)
        elif job.status == "IN_PROGRESS":
            self._stops.append(job)
        job.settle(status)

    # --- the worker's side

    async def _job_take(self, request: web.Request) -> web.Response:
        wanted = int(request.query.get("batch_size", 1))
        self.batch_sizes.append(wanted)
        if not await self._until(lambda: bool(self._queue), self.poll_s):
            return web.Response(status=204)
        jobs = [self._take() for _ in range(min(wanted, len(self._queue)))]
        taken = [{"id": job.id, "input": job.input} for job in jobs]
        return web.json_response(taken if "batch_size" in request.query else taken[0])

    async def _job_stop(self, request: web.Request) -> web.Response:
        if not await self._until(lambda: bool(self._stops), self.poll_s):
            return web.Response(status=204)
        stopped = [self._stops.popleft() for _ in range(len(self._stops))]
        for job in stopped:
            job.stop_sent_s = time.monotonic()
        return web.json_response({"jobsToStop": [job.id for job in stopped]})

    async def _job_done(self, request: web.Request) -> web.Response:
        job = self._job(request)
        post = await self._accepted(request, job, RESULT_LIMIT_BYTES[job.route])
        if post is None:
            job.settle("COMPLETED")  # as production: the caller sees COMPLETED and no output
            raise web.HTTPBadRequest
        job.posted.append(post)
        if not job.is_final:
            job.output, job.error = post.output, post.body.get("error")
            job.settle("FAILED" if job.error is not None else "COMPLETED")
        return web.json_response({})

    async def _job_stream(self, request: web.Request) -> web.Response:
        job = self._job(request)
        post = await self._accepted(request, job, STREAM_EVENT_LIMIT_BYTES)
        if post is None:
            raise web.HTTPBadRequest
        job.events.append(post)
        await asyncio.sleep(max(self.stream_post_s, job.post_s))
        return web.json_response({})

    async def _accepted(self, request: web.Request, job: Job, limit_bytes: int) -> Post | None:
        """The post, or None where it is too large; some posts are answered 500 if the test asks for that."""
        post = await _post(request)
        self.posts_seen += 1
        if self.fail_post_every and self.posts_seen % self.fail_post_every == 0:
            self.posts_failed += 1
            raise web.HTTPInternalServerError
        if post.size_bytes > limit_bytes:
            job.refused.append(post)
            return None
        return post

    async def _ping(self, request: web.Request) -> web.Response:
        ids = request.query.get("job_id", "")
        self.pings.append(ids.split(",") if ids else [])
        return web.json_response({})

    # --- the client's side

    async def _run(self, request: web.Request) -> web.Response:
        return web.json_response((await self._submitted(request, "run")).view())

    async def _runsync(self, request: web.Request) -> web.Response:
        job = await self._submitted(request, "runsync")
        wait_s = float(request.query.get("wait", 90_000)) / 1000
        await self._until(lambda: job.is_final, min(wait_s, self.max_runsync_wait_s))
        return web.json_response(job.view())

    async def _status(self, request: web.Request) -> web.Response:
        return web.json_response(self._job(request).view())

    async def _stream(self, request: web.Request) -> web.Response:
        job = self._job(request)
        unread = job.events[job.events_read :]
        job.events_read += len(unread)
        return web.json_response({"status": job.status, "stream": [{"output": event.output} for event in unread]})

    async def _cancel(self, request: web.Request) -> web.Response:
        job = self._job(request)
        self._stop(job, "CANCELLED")
        return web.json_response(job.view())

    async def _submitted(self, request: web.Request, route: str) -> Job:
        with suppress(ValueError):
            body = json.loads(await request.read())
            if isinstance(body, dict) and "input" in body:
                prefix = "sync-" if route == "runsync" else ""
                return self._enqueue(Job(f"{prefix}{uuid.uuid4()}-u1", body["input"], route))
        raise web.HTTPBadRequest(text='{"error": "the body must be a JSON object with input"}')

    # --- the server

    def _job(self, request: web.Request) -> Job:
        job = self.jobs.get(request.match_info["job_id"])
        if job is None:
            raise web.HTTPNotFound(text='{"error": "job not found"}')
        return job

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        _, _, endpoint, route, *_ = request.path.split("/", 4) + [""] * 3
        if route in CLIENT_ROUTES and request.headers.get("Authorization") != f"Bearer {self.api_key}":
            raise web.HTTPUnauthorized
        if endpoint != self.endpoint:
            raise web.HTTPNotFound(text='{"error": "endpoint not found"}')
        return await handler(request)

    def _routes(self) -> list[web.RouteDef]:
        root = "/v2/{endpoint}"
        return [
            web.get(f"{root}/job-take/{{pod}}", self._job_take),
            web.get(f"{root}/job-take-batch/{{pod}}", self._job_take),
            web.get(f"{root}/job-stop/{{pod}}", self._job_stop),
            web.post(f"{root}/job-done/{{pod}}/{{job_id}}", self._job_done),
            web.post(f"{root}/job-stream/{{pod}}/{{job_id}}", self._job_stream),
            web.get(f"{root}/ping/{{pod}}", self._ping),
            web.post(f"{root}/run", self._run),
            web.post(f"{root}/runsync", self._runsync),
            web.get(f"{root}/status/{{job_id}}", self._status),
            web.get(f"{root}/stream/{{job_id}}", self._stream),
            web.post(f"{root}/cancel/{{job_id}}", self._cancel),
        ]

    async def _start(self) -> None:
        app = web.Application(middlewares=[self._guard], client_max_size=64_000_000)
        app.add_routes(self._routes())
        # Cancelled on disconnect: the open poll of a dead worker must take no job.
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()

    async def _until(self, ready: Callable[[], bool], timeout_s: float) -> bool:
        deadline_s = time.monotonic() + timeout_s
        while not ready() and time.monotonic() < deadline_s:
            await asyncio.sleep(TICK_S)
        return ready()

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=10)


def wait_until(
    ready: Callable[[], bool], timeout_s: float = 10.0, state: Callable[[], str] = lambda: "still waiting"
) -> None:
    """Wait for `ready()`. Raises: TimeoutError, with `state()`."""
    deadline_s = time.monotonic() + timeout_s
    while not ready():
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"not within {timeout_s} s; {state()}")
        time.sleep(TICK_S)


async def _post(request: web.Request) -> Post:
    """The worker's body; JSON as production reads it, so NaN and Infinity are refused."""
    raw = await request.read()
    try:
        body = json.loads(raw, parse_constant=_no_constant)
    except ValueError as exc:
        raise web.HTTPBadRequest(text=str(exc)) from exc
    return Post(time.monotonic(), body, len(raw))


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


@dataclass(frozen=True, slots=True)
class WorkerProcess:
    """A child process and its log: a file, as the SDK's ping process would hold a pipe open."""

    process: subprocess.Popen[bytes] | Forked
    log: Path

    def terminate(self, timeout_s: float = 10.0) -> int:
        """SIGTERM, as the platform does it; the exit code."""
        self.process.terminate()
        return self.process.wait(timeout_s)

    def log_text(self) -> str:
        return self.log.read_text(errors="replace")


_start_program = partial(subprocess.Popen, stderr=subprocess.STDOUT, start_new_session=True)


@contextmanager
def worker_process(
    command: Sequence[str], log: Path, env: Mapping[str, str], *, cwd: Path | None = None, real: bool = False
) -> Iterator[WorkerProcess]:
    """Run `command`, Python and a script, in this process's environment and `env` on top; what is left of it is
    killed at the end. It is forked (not on macOS, whose libraries don't survive that) unless `real`.

    It gets a session of its own: the SDK pings from a forked child that would outlive a killed parent.
    """
    start = _start_program if real or sys.platform != "linux" else Forked
    with log.open("wb") as out:
        process = start(command, cwd=cwd, env={**os.environ, "PYTHONUNBUFFERED": "1", **env}, stdout=out)
    try:
        yield WorkerProcess(process, log)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
