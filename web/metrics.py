"""What Prometheus is told at /metrics: requests, jobs by their end, times, the queue, voices, memory.

It knows numbers and names of routes, never a text or a caller.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from service.telemetry import COMPLETED, JobClock

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
FACTORS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.0, 2.0)
CONTENT_TYPE = CONTENT_TYPE_LATEST


class Metrics:
    """The counts of one door. Each has a registry of its own, so that two doors in a process don't add up."""

    def __init__(self) -> None:
        self.registry = own = CollectorRegistry()
        ProcessCollector(registry=own)
        self.requests = Counter("tts_http_requests", "Requests answered", ("route", "method", "status"), registry=own)
        about = "Jobs ended: COMPLETED, CANCELLED or an error's code"
        self.jobs = Counter("tts_jobs", about, ("outcome",), registry=own)

        self.first_chunk = Histogram(
            "tts_first_chunk_seconds", "From a job's arrival to its first bytes", buckets=SECONDS, registry=own
        )
        self.waited = Histogram("tts_queue_wait_seconds", "A job's wait for its turn", buckets=SECONDS, registry=own)
        self.rtf = Histogram("tts_rtf", "Seconds of work for a second of sound", buckets=FACTORS, registry=own)
        self.audio = Counter("tts_audio_seconds", "Seconds of sound made by completed jobs", registry=own)
        self.running = Gauge("tts_jobs_running", "Jobs at work", registry=own)
        self.waiting = Gauge("tts_jobs_waiting", "Jobs that wait for their turn", registry=own)
        self.sockets = Gauge("tts_websockets", "Open WebSockets", registry=own)
        self.ready = Gauge("tts_ready", "1 while work is taken", registry=own)
        about = "Voices kept ready in memory, and how many may be"
        self.voices = Gauge("tts_voice_cache", about, ("what",), registry=own)

    def job_ended(self, outcome: str, clock: JobClock, reply: Mapping[str, Any]) -> None:
        """Count one job that had its turn."""
        self.jobs.labels(outcome).inc()
        self.waited.observe(clock.queue_wait_s)
        if clock.first_chunk_s is not None:
            self.first_chunk.observe(clock.first_chunk_s)
        figures = reply.get("metrics", {})
        if outcome == COMPLETED and figures.get("rtf") is not None:
            self.rtf.observe(figures["rtf"])
            self.audio.inc(figures["total_audio_duration"])

    def text(self, *, is_ready: bool, voice_cache: Mapping[str, int]) -> bytes:
        """All of it in Prometheus' text format."""
        self.ready.set(is_ready)
        for what, count in voice_cache.items():
            self.voices.labels(what).set(count)
        return generate_latest(self.registry)
