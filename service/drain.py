"""Graceful shutdown: on SIGTERM or SIGINT the worker finishes its jobs and exits with status 0.

RunPod's SDK handles these signals too, but then stays until a poll under way ends, up to 90 s. The process exits as
soon as it has been idle for a moment, or when the time limit passes.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

log = logging.getLogger(__name__)

POLL_S = 0.05
SETTLED_S = 0.25  # idle for so long: a job counts as done once its result is posted, and the SDK has work left then
SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Drain:
    """Exits the process after a signal. `busy`: whether any result is still to be posted; `limit_s`: for jobs after the
    signal; `leave`: exits with a status; `run_strays(left_s)`: runs jobs that the SDK has taken and will not run."""

    def __init__(
        self,
        busy: Callable[[], bool],
        limit_s: float,
        leave: Callable[[int], None] | None = None,
        run_strays: Callable[[float], None] = lambda left_s: None,
    ) -> None:
        self._busy, self._limit_s, self._leave, self._run_strays = busy, limit_s, leave or _exit, run_strays
        self._installed = False
        self._thread: threading.Thread | None = None

    def install(self) -> None:
        """Chain to the signal handlers in place, once. Call it in the main thread, after the SDK has set its own."""
        if self._installed:
            return
        self._installed = True
        for number in SIGNALS:
            signal.signal(number, self._handler(signal.getsignal(number)))

    def _handler(self, previous: object) -> Callable[[int, FrameType | None], None]:
        def handle(number: int, frame: FrameType | None) -> None:
            if callable(previous):
                previous(number, frame)
            if self._thread is None:
                self._thread = threading.Thread(target=self._wait, name="drain", daemon=True)
                self._thread.start()

        return handle

    def finish(self) -> None:
        """After a signal: wait for the exit, so that the interpreter does not shut down before it."""
        if self._thread:
            self._thread.join()

    def _wait(self) -> None:
        log.info("shutting down: jobs under way have %g s", self._limit_s)
        deadline, idle_since = time.monotonic() + self._limit_s, time.monotonic()
        while (now := time.monotonic()) < deadline and now - idle_since < SETTLED_S:
            time.sleep(POLL_S)
            if self._busy():
                self._run_strays(deadline - now)
                idle_since = time.monotonic()
        if self._busy():
            log.error("jobs were still under way")
        else:
            log.info("all jobs are done")
        self._leave(0)


def _exit(status: int) -> None:
    """Without cleanup: the SDK's poll is still under way, and threads of libraries may be."""
    logging.shutdown()
    os._exit(status)
