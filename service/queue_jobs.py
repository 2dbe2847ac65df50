"""The queue's jobs that RunPod's SDK has taken and not answered, and those that it never will.

The SDK counts ids, of which two jobs may have the same. It runs each job in a task that ends when its result is posted:
tasks are counted here. A job that a poll brings after SIGTERM is taken by the SDK and never run: it is run here.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

log = logging.getLogger(__name__)

ROUND_S = 0.2
ROUNDS = 3  # of the SDK's event loop, which looks for a job every 0.1 s: what it has not begun by then it never will


class QueueJobs:
    """Counts the tasks of jobs. `note` and `watch` are called in an event loop, all else in any thread."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    def watch(self) -> None:
        """The running loop is the SDK's."""
        self._loop = asyncio.get_running_loop()

    def note(self) -> None:
        """The running task is a job's."""
        if task := asyncio.current_task():
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    @property
    def are_under_way(self) -> bool:
        return bool(self._tasks) or bool(self._taken())

    def run_strays(self, config: dict[str, Any], within_s: float) -> None:
        """Run and answer the jobs that the SDK took and does not run, if there are any."""
        if self._tasks or not self._taken() or not self._is_ignored():
            return
        strays = self._taken()
        log.warning("%d jobs were handed out to a worker that is leaving: they are run", len(strays))
        # A thread, as what is cancelled is waited for, and a step may never end.
        thread = threading.Thread(target=asyncio.run, args=(self._answer(config, strays),), daemon=True)
        thread.start()
        thread.join(within_s)

    def _taken(self) -> list[Any]:
        from runpod.serverless.modules.worker_state import JobsProgress

        return list(JobsProgress())

    def _is_ignored(self) -> bool:
        """Whether the SDK has had its chance to begin what it took."""
        for _ in range(ROUNDS):
            passed = threading.Event()
            try:
                assert self._loop is not None
                self._loop.call_soon_threadsafe(self._loop.call_later, ROUND_S, passed.set)
            except RuntimeError:  # the loop is closed
                return True
            if not passed.wait(10 * ROUND_S) or self._tasks:
                return False
        return bool(self._taken())

    async def _answer(self, config: dict[str, Any], strays: list[Any]) -> None:
        from runpod.http_client import AsyncClientSession
        from runpod.serverless.modules.rp_job import handle_job
        from runpod.serverless.modules.worker_state import JobsProgress

        async with AsyncClientSession() as session:
            results = await asyncio.gather(
                *(handle_job(session, config, vars(job)) for job in strays), return_exceptions=True
            )
        for job, result in zip(strays, results, strict=True):
            JobsProgress().remove(job)
            if isinstance(result, BaseException):
                log.error("job %s could not be answered", job.id, exc_info=result)
