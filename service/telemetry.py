"""Times, counts and log lines of jobs. `info`, `/metrics` and the log read the same ledger.

Nothing here holds a text, a recording or a secret.
"""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram

from validation.errors import JobTimeout

log = logging.getLogger(__name__)

COMPLETED, CANCELLED = "COMPLETED", "CANCELLED"
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
FACTORS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.0, 2.0, 5.0)
INFO_BOUNDS = frozenset({0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0})  # the buckets that `info` reports


class JobStopped(Exception):
    """The client left. Not an error: no client is left to reply to."""


@dataclass(slots=True)
class JobClock:
    """The times of one job (time.monotonic), and whether its client is still there. `part_of`: the clock of the batch
    that the job is part of, whose end and time limit are this job's too."""

    entered_at: float = field(default_factory=time.monotonic)
    started_at: float | None = None
    first_bytes_at: float | None = None
    stopped: bool = False
    part_of: JobClock | None = None

    def stop(self) -> None:
        """Make the job end at its next check. May be called from any thread, also after the end."""
        self.stopped = True

    def require_wanted(self) -> None:
        """Raises: JobStopped."""
        if self.stopped or (self.part_of and self.part_of.stopped):
            raise JobStopped

    def check(self, timeout_s: float) -> None:
        """Raises: JobStopped, JobTimeout after `timeout_s` of work."""
        self.require_wanted()
        if self.left_s(timeout_s) < 0:
            raise JobTimeout(f"the job was given up after {timeout_s:g} s")

    def left_s(self, timeout_s: float) -> float:
        """Seconds of work that are left."""
        return timeout_s - (self.part_of or self).running_s

    def start(self) -> None:
        self.started_at = time.monotonic()

    def mark_first_bytes(self) -> None:
        self.first_bytes_at = self.first_bytes_at or time.monotonic()

    @property
    def queue_wait_s(self) -> float:
        return (self.started_at or time.monotonic()) - self.entered_at

    @property
    def first_chunk_s(self) -> float | None:
        return None if self.first_bytes_at is None else self.first_bytes_at - self.entered_at

    @property
    def running_s(self) -> float:
        """Seconds since the work started; since the job arrived, if it has not."""
        return time.monotonic() - (self.started_at or self.entered_at)


def work_metrics(work_s: float, sound_s: float) -> dict[str, float | None]:
    """The metrics of a reply about all of its work and sound."""
    rtf = round(work_s / sound_s, 4) if sound_s else None
    return {"total_generation_time": round(work_s, 4), "total_audio_duration": round(sound_s, 6), "rtf": rtf}


class Telemetry:
    """The ledger of one service, with a Prometheus registry of its own. Thread-safe."""

    def __init__(self) -> None:
        self._born_at = time.monotonic()
        self.registry = own = CollectorRegistry()
        about = "Jobs ended: COMPLETED, CANCELLED or an error's code"
        self._jobs = Counter("tts_jobs", about, ("outcome",), registry=own)
        about = "What engines noticed about segments: unfinished, went_on, went_back, windowed"
        self._remarks = Counter("tts_remarks", about, ("kind",), registry=own)
        about = "From a job's arrival to its first bytes"
        self._first_chunk = Histogram("tts_first_chunk_seconds", about, buckets=SECONDS, registry=own)
        self._waited = Histogram("tts_queue_wait_seconds", "A job's wait for its turn", buckets=SECONDS, registry=own)
        self._rtf = Histogram("tts_rtf", "Seconds of work for a second of sound", buckets=FACTORS, registry=own)
        self._audio = Counter("tts_audio_seconds", "Seconds of sound made by completed jobs", registry=own)

    @property
    def uptime_s(self) -> float:
        return time.monotonic() - self._born_at

    def outcomes(self) -> dict[str, int]:
        """Number of jobs ended so far, by outcome: COMPLETED, CANCELLED or an error code."""
        return _by_label(self._jobs)

    def remarks(self) -> dict[str, int]:
        """Number of segments so far about which an engine made a remark, by its kind."""
        return _by_label(self._remarks)

    def measured(self) -> dict[str, Any]:
        """JSON-ready histograms: seconds to the first bytes, seconds in the queue, real-time factors."""
        histograms = {"latency_to_first_chunk": self._first_chunk, "queue_wait": self._waited, "rtf": self._rtf}
        return {name: _snapshot(histogram) for name, histogram in histograms.items()}

    def job_ended(self, job_id: str, operation: str, outcome: str, clock: JobClock, facts: dict[str, Any]) -> None:
        """Count and measure a job that had its turn, and write its line."""
        self._waited.observe(clock.queue_wait_s)
        if clock.first_chunk_s is not None:
            self._first_chunk.observe(clock.first_chunk_s)
        if facts.get("rtf") is not None:
            self._rtf.observe(facts["rtf"])
            self._audio.inc(facts["total_audio_duration"])
        for kind, count in facts.get("remarks", {}).items():
            self._remarks.labels(kind).inc(count)
        self._note(job_id, operation, outcome, clock, facts)

    def job_abandoned(self, job_id: str, operation: str, clock: JobClock) -> None:
        """Count a job whose client left before its turn, and write its line; nothing if it had its turn."""
        if clock.started_at is None:
            clock.start()
            self._note(job_id, operation, CANCELLED, clock, {})

    def _note(self, job_id: str, operation: str, outcome: str, clock: JobClock, facts: dict[str, Any]) -> None:
        self._jobs.labels(outcome).inc()
        line = {
            "event": "job",
            "id": job_id,
            "operation": operation,
            "outcome": outcome,
            "seconds": round(clock.running_s, 4),
            "queue_wait": round(clock.queue_wait_s, 4),
        }
        log.info("%s", json.dumps(line | facts), extra={"facts": line | facts})


def _by_label(counter: Counter) -> dict[str, int]:
    """The counts of a counter with one label."""
    (family,) = counter.collect()
    samples = (sample for sample in family.samples if sample.name.endswith("_total"))
    return {label: int(sample.value) for sample in samples for label in sample.labels.values()}


def _snapshot(histogram: Histogram) -> dict[str, Any]:
    """`count`, `sum`, and `at_most`: bound → number of values not above it."""
    (family,) = histogram.collect()
    values = {sample.labels.get("le", sample.name.rpartition("_")[2]): sample.value for sample in family.samples}
    at_most = {f"{bound:g}": int(values[str(bound)]) for bound in sorted(INFO_BOUNDS) if str(bound) in values}
    return {"count": int(values["count"]), "sum": round(values["sum"], 4), "at_most": at_most}
