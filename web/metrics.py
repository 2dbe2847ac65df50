"""The HTTP server's own figures at /metrics: requests, running and waiting jobs, WebSockets, voices, memory."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector, generate_latest


class Metrics:
    """Adds the server's figures to the registry in which the service counts jobs."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = own = registry
        ProcessCollector(registry=own)
        self.requests = Counter("tts_http_requests", "Requests answered", ("route", "method", "status"), registry=own)
        self.running = Gauge("tts_jobs_running", "Jobs at work", registry=own)
        self.waiting = Gauge("tts_jobs_waiting", "Jobs that wait for their turn", registry=own)
        self.sockets = Gauge("tts_websockets", "Open WebSockets", registry=own)
        self.ready = Gauge("tts_ready", "1 while work is taken", registry=own)
        about = "Voices kept ready in memory, and how many may be"
        self.voices = Gauge("tts_voice_cache", about, ("what",), registry=own)

    def text(self, *, is_ready: bool, voice_cache: Mapping[str, int]) -> bytes:
        """All figures in Prometheus' text format."""
        self.ready.set(is_ready)
        for what, count in voice_cache.items():
            self.voices.labels(what).set(count)
        return generate_latest(self._registry)
