"""Requests to the real service, and their replies decoded."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import av
import numpy as np
import soundfile

from audio.libav_encode import AAC_DELAY_SAMPLES
from audio.pcm import EMPTY, INT16_SCALE, Samples
from audio.reference import Reference
from service.app import ENGINES, Service
from service.events import AudioEvent, EndEvent, ErrorEvent
from service.telemetry import JobClock, Telemetry
from service.worker import Worker
from settings import Settings
from sync_test import RAW_SUBTYPES
from tts.engine import Conditioning, Engine, EngineSpec, SpeechChunk
from tts.voices.store import VoiceStore
from validation.options import SamplingParams

SEED = 17
ROOMY_BYTES = 100_000_000


@dataclass(frozen=True, slots=True)
class DecodedReply:
    """`edges`: the joins of a stream's events, in samples; `spans`: its segments, in samples."""

    samples: Samples
    rate_hz: int
    reply: dict[str, Any]
    file: bytes
    edges: tuple[int, ...]

    @property
    def spans(self) -> list[tuple[int, int]]:
        return [(self._samples(part["start"]), self._samples(part["end"])) for part in self.reply["segments"]]

    @property
    def reported_samples(self) -> int:
        """The duration in the reply."""
        return self._samples(self.reply["duration"])

    def _samples(self, time_s: float) -> int:
        return round(time_s * int(self.reply["sample_rate"]))


@dataclass(slots=True)
class Tap:
    """An engine that keeps the samples of every segment."""

    inner: Engine
    lines: list[list[Samples]] = field(default_factory=list)

    @property
    def spec(self) -> EngineSpec:
        return self.inner.spec

    def describe(self) -> dict[str, Any]:
        return self.inner.describe()

    def condition(self, voice: str, reference: Reference | None) -> Conditioning:
        return self.inner.condition(voice, reference)

    def stream(self, text: str, voice: Conditioning, params: SamplingParams) -> Iterator[SpeechChunk]:
        own: list[Samples] = []
        self.lines.append(own)
        for chunk in self.inner.stream(text, voice, params):
            own.append(chunk.samples)
            yield chunk

    def convert(
        self, source: Samples, source_hz: int, voice: Conditioning, params: SamplingParams
    ) -> Iterator[SpeechChunk]:
        return self.inner.convert(source, source_hz, voice, params)


class Studio:
    """A service around one engine. `settings` choose it, unless one is given."""

    def __init__(self, settings: Settings, engine: Engine | None = None) -> None:
        self.tap = Tap(engine or ENGINES[settings.tts_engine](settings))
        self._store = VoiceStore(self.tap, None, "", 2)
        self._services = {
            roomy: Service(Worker(self._roomy(settings) if roomy else settings, self.tap, self._store, Telemetry()))
            for roomy in (False, True)
        }

    @property
    def rate_hz(self) -> int:
        return self.tap.spec.sample_rate_hz

    def raw(self) -> Samples:
        """The engine's own samples for the last reply."""
        return np.concatenate([EMPTY, *(piece for line in self.tap.lines for piece in line)])

    def speak(self, *, joined: bool = True, roomy: bool = True, **asked: Any) -> DecodedReply:
        """Speak and decode. `roomy` lifts the size limit of replies.

        Raises the error that the service would reply.
        """
        self.tap.lines = []
        raw = {"seed": SEED, "print_metrics": False, **asked}
        edges, pieces = [], []
        for event in self._services[roomy].run("quality", raw, joined=joined, clock=JobClock()):
            if isinstance(event, ErrorEvent):
                raise event.error
            if isinstance(event, AudioEvent):
                edges.append(round(event.start_s * event.sample_rate_hz))
                pieces.append(event.data)
            if isinstance(event, EndEvent):
                reply, file = event.reply, event.file or b"".join(pieces)
        samples, rate_hz = decoded(file, str(reply["format"]), int(reply["sample_rate"]))
        return DecodedReply(samples, rate_hz, reply, file, tuple(edges[1:]))

    @staticmethod
    def _roomy(settings: Settings) -> Settings:
        return replace(settings, max_output_bytes=ROOMY_BYTES, stream_aggregate=False)


def decoded(file: bytes, audio_format: str, raw_hz: int) -> tuple[Samples, int]:
    """Samples and rate: raw PCM at `raw_hz`, Opus by libsndfile, the others by FFmpeg's libraries.

    FFmpeg always decodes Opus at 48 kHz; libsndfile can't read a FLAC without a length. The delay of AAC is removed, as
    its file does not state it.
    """
    if subtype := RAW_SUBTYPES.get(audio_format):
        raw = {"format": "RAW", "subtype": subtype, "samplerate": raw_hz, "channels": 1}
        return soundfile.read(io.BytesIO(file), dtype="float32", **raw)[0], raw_hz
    if audio_format == "opus":
        samples, rate_hz = soundfile.read(io.BytesIO(file), dtype="float32", always_2d=True)
        return _mono(samples.T), rate_hz
    with av.open(io.BytesIO(file), "r") as container:
        frames = list(container.decode(audio=0))
    samples = np.concatenate([EMPTY, *(_mono(frame.to_ndarray()) for frame in frames)])
    return samples[AAC_DELAY_SAMPLES if audio_format == "aac" else 0 :], frames[0].sample_rate


def _mono(samples: np.ndarray[Any, Any]) -> Samples:
    """(1, N), int16 or float. Raises: ValueError, if there are more channels."""
    (channel,) = samples
    return _to_float(channel) if channel.dtype == np.int16 else channel


def _to_float(samples: np.ndarray[Any, Any]) -> Samples:
    return samples.astype(np.float32) / np.float32(INT16_SCALE)
