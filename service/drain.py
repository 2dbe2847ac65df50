"""The end of a worker: on SIGTERM its jobs finish, and it leaves with status 0.

RunPod's SDK does all but the last: it waits up to 90 s for a poll that is under way. So when the SDK has done its part,
the process goes. A job that such a poll brings after the signal is answered first, which the SDK would not do.
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

LOOK_EVERY_S = 0.05
SETTLED_S = 0.25  # a job counts as done when its result was posted; this is for what the SDK does after that
SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Drain:
    """`busy` tells whether there are jobs whose results are not posted; `limit_s` is how long they may take;
    `run_strays` runs those that nobody else will, within the seconds that are left."""

    def __init__(
        self,
        busy: Callable[[], bool],
        limit_s: float,
        leave: Callable[[int], None] | None = None,
        run_strays: Callable[[float], None] = lambda left_s: None,
    ) -> None:
        self._busy, self._limit_s, self._leave, self._run_strays = busy, limit_s, leave or _leave, run_strays
        self._installed = False
        self._thread: threading.Thread | None = None

    def install(self) -> None:
        """Follow the handlers that are there; from the main thread, once they are."""
        if self._installed:
            return
        self._installed = True
        for number in SIGNALS:
            signal.signal(number, self._handler(signal.getsignal(number)))

    def _handler(self, before: object) -> Callable[[int, FrameType | None], None]:
        def handle(number: int, frame: FrameType | None) -> None:
            if callable(before):
                before(number, frame)
            if self._thread is None:
                self._thread = threading.Thread(target=self._wait, name="drain", daemon=True)
                self._thread.start()

        return handle

    def finish(self) -> None:
        """Where a signal came, do not return before the process goes."""
        if self._thread:
            self._thread.join()

    def _wait(self) -> None:
        log.info("the worker was told to end: jobs under way have %g s", self._limit_s)
        deadline, idle_since = time.monotonic() + self._limit_s, time.monotonic()
        while (now := time.monotonic()) < deadline and now - idle_since < SETTLED_S:
            time.sleep(LOOK_EVERY_S)
            if self._busy():
                self._run_strays(deadline - now)
                idle_since = time.monotonic()
        if self._busy():
            log.error("jobs were still under way")
        else:
            log.info("all jobs are done")
        self._leave(0)


def _leave(status: int) -> None:
    """At once: the SDK's poll is still under way, and threads of libraries may be."""
    logging.shutdown()
    os._exit(status)
