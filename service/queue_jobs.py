"""Tracks the queue's jobs from when RunPod's SDK takes them until it posts their results; runs those it abandons.

A job that the SDK receives after SIGTERM is taken and never run. No public interface lists or answers such jobs, so
this module uses `JobsProgress`, `handle_job` and `AsyncClientSession`, read from SDK 1.12.0 (`rp_scale.JobScaler`).
`JobsProgress` holds ids, which two jobs may share, so the SDK's tasks, which end when a result is posted, count too.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

log = logging.getLogger(__name__)

ROUND_S = 0.2  # the SDK's loop starts waiting jobs every 0.1 s
ROUNDS = 3  # after which a job that has not started never will


class QueueJobs:
    """The jobs under way. `note` and `watch` are called in the SDK's event loop, all else in any thread."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    def watch(self) -> None:
        """Remember the running loop, which is the SDK's."""
        self._loop = asyncio.get_running_loop()

    def note(self) -> None:
        """Count the running task, which is a job's, until it ends."""
        if task := asyncio.current_task():
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    @property
    def are_under_way(self) -> bool:
        return bool(self._tasks or _taken())

    def run_strays(self, config: dict[str, Any], within_s: float) -> None:
        """Run and answer the jobs that the SDK has taken and does not run. `config`: as given to its `start`."""
        if self._tasks or not _taken() or not self._are_abandoned():
            return
        strays = _taken()
        log.warning("%d jobs arrived during the shutdown: they are run", len(strays))
        # In a thread: `asyncio.run` would wait for a step that may never end.
        thread = threading.Thread(target=asyncio.run, args=(_answer(config, strays),), daemon=True)
        thread.start()
        thread.join(within_s)

    def _are_abandoned(self) -> bool:
        """Whether the SDK's loop has had time to start the taken jobs, and has not."""
        for _ in range(ROUNDS):
            passed = threading.Event()
            try:
                assert self._loop is not None
                self._loop.call_soon_threadsafe(self._loop.call_later, ROUND_S, passed.set)
            except RuntimeError:  # the loop is closed
                return True
            if not passed.wait(10 * ROUND_S) or self._tasks:
                return False
        return bool(_taken())


def _taken() -> list[Any]:
    from runpod.serverless.modules.worker_state import JobsProgress

    return list(JobsProgress())


async def _answer(config: dict[str, Any], strays: list[Any]) -> None:
    from runpod.http_client import AsyncClientSession
    from runpod.serverless.modules.rp_job import handle_job
    from runpod.serverless.modules.worker_state import JobsProgress

    async with AsyncClientSession() as session:
        jobs = (handle_job(session, config, vars(job)) for job in strays)
        results = await asyncio.gather(*jobs, return_exceptions=True)
    for job, result in zip(strays, results, strict=True):
        JobsProgress().remove(job)
        if isinstance(result, BaseException):
            log.error("job %s could not be answered", job.id, exc_info=result)
