"""Whether this worker takes work, as /ping reports it: loading → warm → draining, or failed. Nothing here waits."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from enum import Enum

from validation.errors import WorkerError
from web.refusals import NotReady

log = logging.getLogger(__name__)

RETRY_LOADING_S = 2


class Stage(Enum):
    LOADING = "loading"
    WARM = "warm"
    FAILED = "failed"
    DRAINING = "draining"


STATUSES = {Stage.LOADING: 204, Stage.WARM: 200, Stage.FAILED: 503, Stage.DRAINING: 503}  # as RunPod reads them


class Readiness:
    """One stage at a time, set from any thread. The last one is draining."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.stage, self.reason = Stage.LOADING, ""

    def load(self, work: Callable[[], None]) -> threading.Thread:
        """Do the work of loading, which raises nothing but WorkerError, in a daemon thread."""
        thread = threading.Thread(target=self._load, args=(work,), name="load", daemon=True)
        thread.start()
        return thread

    def _load(self, work: Callable[[], None]) -> None:
        try:
            work()
        except WorkerError as error:
            log.critical("the worker can't start: %s", error, exc_info=error.__cause__)
            self._move(Stage.FAILED, str(error))
        else:
            self._move(Stage.WARM, "")

    def drain(self, reason: str) -> None:
        self._move(Stage.DRAINING, reason)

    def _move(self, stage: Stage, reason: str) -> None:
        with self._lock:
            if self.stage is not Stage.DRAINING:
                self.stage, self.reason = stage, reason

    @property
    def status(self) -> int:
        """The HTTP status of /ping."""
        return STATUSES[self.stage]

    def require(self) -> None:
        """Raises: NotReady, where no work is taken."""
        if self.stage is Stage.WARM:
            return
        if self.stage is Stage.LOADING:
            raise NotReady("the model is still being loaded", {"Retry-After": str(RETRY_LOADING_S)})
        what = "could not start" if self.stage is Stage.FAILED else "is leaving"
        raise NotReady(f"this worker {what}: {self.reason}", {"Connection": "close"})
