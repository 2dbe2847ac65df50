"""`make bench`: the cost of the service around the engine, per second of audio; the last line is one JSON document.

An engine that returns prepared noise speaks through the whole path, base64 included; its own time is subtracted.
Medians of several runs, with hardware and versions.
"""

from __future__ import annotations

import base64
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from audio.pcm import Samples
from audio.reference import Reference
from bench.document import machine
from service.app import Service
from service.events import EndEvent, ErrorEvent
from service.telemetry import JobClock, Telemetry
from service.worker import Worker
from settings import Settings
from tts.engine import Conditioning, EngineSpec, EngineVoice, SpeechChunk
from tts.voices.store import VoiceStore
from validation.options import SamplingParams

ROOT = Path(__file__).resolve().parent.parent
RUNS = 7
CLIP_S, CHUNK_S, RATE_HZ = 20, 1, 24_000
GOALS_MS = {"wav": 5.0, "opus": 15.0, "mp3": 25.0}  # per second of audio, two cores, 24 kHz


@dataclass(frozen=True, slots=True)
class NoVoice:
    voice: str = "noise"


class NoiseEngine:
    """Returns prepared chunks and measures its own time."""

    spec = EngineSpec("noise", "noise", RATE_HZ, (EngineVoice("noise", "en"),), "noise", ("full", "window"))

    def __init__(self) -> None:
        noise = np.random.default_rng(0).standard_normal(CHUNK_S * RATE_HZ) * 0.1
        self._chunk = noise.astype(np.float32)
        self.own_s = 0.0

    def describe(self) -> dict[str, Any]:
        return {"device": "cpu", "dtype": "float32", "loaded": True}

    def condition(self, voice: str, reference: Reference | None) -> Conditioning:
        return NoVoice()

    def stream(self, text: str, voice: Conditioning, params: SamplingParams) -> Iterator[SpeechChunk]:
        for _ in range(CLIP_S // CHUNK_S):
            started = time.perf_counter()
            chunk = SpeechChunk(self._chunk.copy(), 25, watermarked=False)
            self.own_s += time.perf_counter() - started
            yield chunk

    def convert(
        self, source: Samples, source_hz: int, voice: Conditioning, params: SamplingParams
    ) -> Iterator[SpeechChunk]:
        raise NotImplementedError


def overhead_ms(audio_format: str, sample_rate: int) -> float:
    """Milliseconds outside the engine per second of audio of one job, median of RUNS."""
    settings = Settings(max_output_bytes=100_000_000, log_level="ERROR")
    engine = NoiseEngine()
    service = Service(Worker(settings, engine, VoiceStore(engine, None, "", 2), Telemetry()))
    raw = {"text": "Noise.", "output_format": audio_format, "sample_rate": sample_rate, "print_metrics": False}
    taken = []
    for _ in range(RUNS + 1):
        engine.own_s, started = 0.0, time.perf_counter()
        for event in service.run("bench", raw, joined=True, clock=JobClock()):
            if isinstance(event, ErrorEvent):
                raise event.error
            if isinstance(event, EndEvent) and event.file:
                base64.b64encode(event.file).decode()
        taken.append(time.perf_counter() - started - engine.own_s)
    return statistics.median(taken[1:]) / CLIP_S * 1000


def import_s() -> float:
    """Seconds of `import handler` in a new interpreter, without the interpreter's start, median of RUNS."""
    code = "import time; t = time.perf_counter(); import handler; print(time.perf_counter() - t)"
    runs = [subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True) for _ in range(RUNS)]
    return statistics.median(float(run.stdout) for run in runs)


def main() -> None:
    rows = {f: {rate: overhead_ms(f, rate) for rate in (24_000, 48_000)} for f in GOALS_MS}
    started_s = import_s()
    print(f"import handler          {started_s:6.3f} s")
    for name, by_rate in rows.items():
        shown = "  ".join(f"{rate} Hz {ms:6.2f} ms" for rate, ms in by_rate.items())
        print(f"{name:5} per second of audio  {shown}   (goal at 24000 Hz: {GOALS_MS[name]:g} ms)")
    document = {
        "bench": "service",
        **machine(),
        "versions": {name: metadata.version(name) for name in ("numpy", "av", "soxr", "pydantic")},
        "import_handler_s": round(started_s, 3),
        "overhead_ms_per_audio_s": {f: {str(r): round(ms, 3) for r, ms in by.items()} for f, by in rows.items()},
        "goals_ms_at_24000_hz": GOALS_MS,
        "goals_met": all(rows[name][24_000] <= goal for name, goal in GOALS_MS.items()),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }
    print(json.dumps(document))


if __name__ == "__main__":
    main()
