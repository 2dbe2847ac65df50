"""Graceful shutdown: on SIGTERM or SIGINT the worker finishes its jobs and exits with status 0.

RunPod's SDK handles these signals too, but then stays until a poll under way ends, up to 90 s. The process exits as
soon as it has been idle for a moment, or when the time limit passes. It takes along the process that the SDK has
forked, which reports the worker alive until it is killed.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType

log = logging.getLogger(__name__)

POLL_S = 0.05
SETTLED_S = 0.25  # idle for so long: a job counts as done once its result is posted, and the SDK has work left then
SIGNALS = (signal.SIGTERM, signal.SIGINT)
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def exit_at_once() -> None:
    """With status 0, without cleanup: the SDK's poll and threads, as that which loads the model, may still run."""
    logging.shutdown()
    os._exit(0)


class Drain:
    """Exits the process after a signal. `busy`: whether any result is still to be posted; `limit_s`: for jobs after the
    signal; `leave`: exits; `run_strays(left_s)`: runs jobs that the SDK has taken and will not run."""

    def __init__(
        self,
        busy: Callable[[], bool],
        limit_s: float,
        leave: Callable[[], None] = exit_at_once,
        run_strays: Callable[[float], None] = lambda left_s: None,
    ) -> None:
        self._busy, self._limit_s, self._leave, self._run_strays = busy, limit_s, leave, run_strays
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
        self._leave()


def tie_children() -> None:
    """From now on the kernel kills each child that the main thread forks once this process has ended; on Linux only.

    The signal is sent when the forking thread ends, which for other threads may be long before the process does.
    """
    if sys.platform != "linux":
        return
    prctl, parent, main_thread = ctypes.CDLL(None).prctl, os.getpid(), threading.get_ident()

    def tie() -> None:
        if os.getpid() != parent and threading.get_ident() == main_thread:  # the forking thread keeps its id
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:  # it ended before the call
                os._exit(0)

    os.register_at_fork(after_in_child=tie)
