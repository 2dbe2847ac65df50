"""What the worker says of itself: one JSON line per job, and the counts behind `info`.

It knows outcomes and times, never a text, a recording or a secret.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from service.histogram import Histogram
from validation.errors import JobTimeout

log = logging.getLogger(__name__)

COMPLETED, CANCELLED = "COMPLETED", "CANCELLED"
SECONDS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
MEASURED = {"latency_to_first_chunk": SECONDS, "queue_wait": SECONDS, "rtf": (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)}


class JobStopped(Exception):
    """Nobody waits for the job any more. No error: it has no reply."""


@dataclass(slots=True)
class JobClock:
    """The times of one job, in seconds since its door took it in, and whether it still matters."""

    entered_at: float = field(default_factory=time.monotonic)
    started_at: float = field(default_factory=time.monotonic)
    first_bytes_at: float | None = None
    stopped: bool = False

    def stop(self) -> None:
        """Have the work end at the next chance. May be called from any thread, and after the end."""
        self.stopped = True

    def require_wanted(self) -> None:
        """Raises: JobStopped."""
        if self.stopped:
            raise JobStopped

    def check(self, timeout_s: float) -> None:
        """Raises: JobStopped, JobTimeout after `timeout_s` of work."""
        self.require_wanted()
        if self.running_s > timeout_s:
            raise JobTimeout(f"the job was given up after {timeout_s:g} s")

    def start(self) -> None:
        self.started_at = time.monotonic()

    def mark_first_bytes(self) -> None:
        self.first_bytes_at = self.first_bytes_at or time.monotonic()

    @property
    def queue_wait_s(self) -> float:
        return self.started_at - self.entered_at

    @property
    def first_chunk_s(self) -> float | None:
        return None if self.first_bytes_at is None else self.first_bytes_at - self.entered_at

    @property
    def running_s(self) -> float:
        """Seconds of work so far, the wait for a turn left out."""
        return time.monotonic() - self.started_at


class Telemetry:
    """Counts jobs by outcome and writes each job's line. Safe to use from several threads."""

    def __init__(self) -> None:
        self._born_at = time.monotonic()
        self._outcomes: Counter[str] = Counter()
        self._measured = {name: Histogram(bounds) for name, bounds in MEASURED.items()}
        self._lock = threading.Lock()

    @property
    def uptime_s(self) -> float:
        return time.monotonic() - self._born_at

    def outcomes(self) -> dict[str, int]:
        """Jobs ended so far, by outcome: COMPLETED, CANCELLED or an error code."""
        with self._lock:
            return dict(self._outcomes)

    def measured(self) -> dict[str, Any]:
        """How good jobs went, as histograms: seconds to the first bytes and in the queue, and real-time factors."""
        return {name: histogram.snapshot() for name, histogram in self._measured.items()}

    def job_ended(self, job_id: str, operation: str, outcome: str, clock: JobClock, facts: dict[str, Any]) -> None:
        """Count one job and write its line."""
        with self._lock:
            self._outcomes[outcome] += 1
        if outcome == COMPLETED:
            self._measure(facts | {"queue_wait": clock.queue_wait_s})
        line = {
            "event": "job",
            "id": job_id,
            "operation": operation,
            "outcome": outcome,
            "seconds": round(clock.running_s, 4),
            "queue_wait": round(clock.queue_wait_s, 4),
        }
        log.info("%s", json.dumps(line | facts), extra={"facts": line | facts})

    def _measure(self, facts: dict[str, Any]) -> None:
        for name, histogram in self._measured.items():
            if (value := facts.get(name)) is not None:
                histogram.observe(value)
