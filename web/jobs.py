"""The HTTP server's jobs: how many may run and wait, a thread for each, and an end to each whose client left."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, contextmanager
from functools import partial
from typing import Any, TypeAlias

from service.app import Service, operation_of
from service.bridge import bridge
from service.events import Event
from service.session import TtsSession
from service.telemetry import JobClock
from web.budget import InputBudget
from web.buffer import BufferBudget, OutputBuffer
from web.metrics import Metrics
from web.readiness import Readiness
from web.refusals import Busy

log = logging.getLogger(__name__)

DESK_THREADS = 2  # for work that needs no turn, such as lists of voices
MAX_SOCKETS = 200  # each may have as many takes in line as run at once
USUAL_JOB_S = 2.0  # until there was one
FIRST_EVENTS = 3  # up to the first sound: a pause before a session's take, the start, audio
MAX_RETRY_AFTER_S = 60
Work: TypeAlias = Callable[..., Generator[Event]]  # one of the service's jobs, given its clock


class Jobs:
    """The jobs of one event loop. `on_unfit` is called when jobs fail here that would not in a new process."""

    def __init__(
        self, service: Service, readiness: Readiness, metrics: Metrics, on_unfit: Callable[[], None] = lambda: None
    ) -> None:
        self.service, self.readiness, self.metrics = service, readiness, metrics
        self.max_running = service.settings.max_concurrency
        self.max_admitted = self.max_running + service.settings.max_queue
        self.admitted = 0  # requests being served, those that only wait for a slow client included
        self.sockets = 0  # WebSockets open
        self.under_way = 0  # jobs whose events are not all dealt with
        self._on_unfit = on_unfit
        self._turns = asyncio.Semaphore(self.max_running)
        self._threads = ThreadPoolExecutor(self.max_running, thread_name_prefix="job")
        self._desk = ThreadPoolExecutor(DESK_THREADS, thread_name_prefix="desk")
        self._pumps: set[asyncio.Task[None]] = set()
        self.output_budget, self.input_budget = BufferBudget(), InputBudget()
        self._usual_s = USUAL_JOB_S
        self.mapped_voices = service.settings.openai_voices or {}  # other contracts' names → the library's

    def require_place(self) -> None:
        """Raises: Busy, NotReady, where a request would find no place now."""
        self.readiness.require()
        if self.admitted >= self.max_admitted:
            message = f"{self.admitted} requests are being served: no more may be, by MAX_CONCURRENCY and MAX_QUEUE"
            raise Busy(message, {"Retry-After": str(self._retry_after_s())})

    @contextmanager
    def admitted_one(self) -> Iterator[None]:
        """A place for one request, from when it has been read until its last byte is sent.

        Raises: Busy, NotReady.
        """
        self.require_place()
        self.admitted += 1
        try:
            yield
        finally:
            self.admitted -= 1

    def require_socket(self) -> None:
        """Raises: Busy, NotReady, where a WebSocket would find no place now."""
        self.readiness.require()
        if self.sockets >= MAX_SOCKETS:
            raise Busy(f"{MAX_SOCKETS} WebSockets are open, which is all there may be", {"Retry-After": "10"})

    @contextmanager
    def open_socket(self) -> Iterator[None]:
        """A place for one WebSocket that has sent its start. It is not a request's place: most of the time it is idle.

        Raises: Busy, NotReady.
        """
        self.require_socket()
        with self.metrics.sockets.track_inprogress():
            self.sockets += 1
            try:
                yield
            finally:
                self.sockets -= 1

    def _retry_after_s(self) -> int:
        """About when a place will be free."""
        return min(MAX_RETRY_AFTER_S, max(1, math.ceil(self._usual_s / self.max_running)))

    def run(
        self,
        job_id: str,
        raw: object,
        *,
        joined: bool,
        translated: bool = False,
        on_made: Callable[[], None] = lambda: None,
    ) -> AbstractAsyncContextManager[AsyncGenerator[Event]]:
        """`job` for one input of the contract."""
        work = partial(self.service.run, job_id, raw, joined=joined, translated=translated)
        return self.job(job_id, operation_of(raw), work, on_made)

    @asynccontextmanager
    async def job(
        self, job_id: str, operation: str, work: Work, on_made: Callable[[], None] = lambda: None
    ) -> AsyncIterator[AsyncGenerator[Event]]:
        """The job's events as they come. Leaving stops it and waits for the step in flight.

        `on_made` is called when the last event is there, or will never be, whether they were read or not: the input is
        held no longer.
        """
        buffer, clock = OutputBuffer(self.output_budget), JobClock()
        pump = asyncio.create_task(self._pump(work, clock, buffer), name=f"job {job_id}")
        del work  # the input is in it, and the client's reading may outlast the job
        pump.add_done_callback(lambda _: self.service.telemetry.job_abandoned(job_id, operation, clock))
        pump.add_done_callback(lambda _: on_made())
        self._pumps.add(pump)
        self.under_way += 1
        try:
            async with aclosing(buffer.events()) as events:
                yield events
        finally:
            clock.stop()
            try:
                await _ended(pump)
            finally:
                buffer.clear()
                self._pumps.discard(pump)
                self.under_way -= 1

    async def _pump(self, work: Work, clock: JobClock, buffer: OutputBuffer) -> None:
        """One job from its wait for a turn to its last event."""
        try:
            async with self._turn():
                running = work(clock=clock)
                del work  # else the frame would hold the input, and the error of its end the frame
                made = bridge(running, self._threads, one_by_one=FIRST_EVENTS, on_stop=clock.stop)
                async with aclosing(made) as events:
                    await self._pass_on(events, clock, buffer)
        finally:
            buffer.close()

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """First come, first served; a client that leaves while waiting gives up its place."""
        with self.metrics.waiting.track_inprogress():
            await self._turns.acquire()
        try:
            with self.metrics.running.track_inprogress():
                yield
        finally:
            self._turns.release()

    async def _pass_on(self, events: AsyncGenerator[Event], clock: JobClock, buffer: OutputBuffer) -> None:
        try:
            async for event in events:
                await buffer.put(event)
        finally:
            self._usual_s += (clock.running_s - self._usual_s) / 8
            if self.service.must_be_replaced:
                self._on_unfit()

    async def ask(self, operation: str) -> dict[str, Any]:
        """The reply of `voices` or `info`, which needs neither turn nor model. Raises: WorkerError."""
        return await asyncio.get_running_loop().run_in_executor(self._desk, self.service.ask, operation)

    async def session(self, session_id: str, start: dict[str, Any], *, translated: bool = False) -> TtsSession:
        """Raises: WorkerError."""
        made = partial(TtsSession, self.service, session_id, start, translated=translated)
        return await asyncio.get_running_loop().run_in_executor(self._desk, made)

    async def voices(self) -> dict[str, tuple[str, ...]]:
        """What each predefined voice speaks, its own language first, by its name. Raises: WorkerError."""
        spec = self.service.spec
        others = spec.languages if spec.polyglot else ()
        return {voice["name"]: (voice["language"], *others) for voice in (await self.ask("voices"))["voices"]}

    async def stop(self, within_s: float) -> None:
        """End every job that is under way, and wait so long for the steps in flight."""
        for pump in self._pumps:
            pump.cancel()
        if self._pumps:
            await asyncio.wait(self._pumps, timeout=within_s)

    def close(self) -> None:
        """No more jobs will come."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._desk.shutdown(wait=False, cancel_futures=True)


async def _ended(task: asyncio.Task[None]) -> None:
    """Cancel the task and wait for its end. Raises what it raised."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.result()
