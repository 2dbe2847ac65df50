"""One `tts` request from text to encoded bytes: segments → engine → stages → encoder → events.

A joined reply is the join of these very events: there is no second path. This module does not know which
engine speaks or which door asked.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from audio.encode import ENCODERS, AudioFormat
from audio.pcm import Samples
from audio.resample import Resampler
from audio.shape import NORMALIZERS, RmsNormalizer, Seams
from audio.stages import Chain
from service.events import AudioEvent, EndEvent
from service.telemetry import JobClock, JobStopped
from tts.engine import Conditioning, Engine, SamplingParams
from tts.text import segment
from validation.errors import JobTimeout, OutputTooLarge
from validation.request import TtsRequest

log = logging.getLogger(__name__)

MAX_EVENT_BYTES = 510_000  # 680 KB of base64; RunPod drops a stream chunk of 1 MB
REPLY_OVERHEAD_BYTES = 4_000  # the reply's keys whose length no text decides
SEGMENT_OVERHEAD_BYTES = 64
EVENT_OVERHEAD_BYTES = 200
PCM_BYTES_PER_SAMPLE = 2
SILENCE = 1e-4  # −80 dBFS
SEED_STEP = 0x9E3779B1  # 2^32 / golden ratio: neighbouring requests' segments share no seed


@dataclass(frozen=True, slots=True)
class Limits:
    """Where a request is stopped. `max_output_bytes` counts JSON, base64 included."""

    max_output_bytes: int
    timeout_s: float


@dataclass(slots=True)
class Synthesis:
    """One request under way. `events()` may be called once.

    Raises out of `events()`: OutputTooLarge, JobTimeout, JobStopped, and whatever the engine raises.
    """

    request: TtsRequest
    seed: int
    engine: Engine
    conditioning: Conditioning
    clock: JobClock
    limits: Limits
    joined: bool
    cold_start: bool
    warnings: list[str]
    _format: AudioFormat = field(init=False)
    _rate_hz: int = field(init=False)
    _texts: list[str] = field(init=False)  # one per segment
    _seams: Seams = field(init=False)
    _outline: Chain = field(init=False)  # fades, seams, rate
    _level: Chain = field(init=False)  # may hold all of the clip back
    _outlined_samples: int = 0  # out of the first of the two
    _pushed_samples: int = 0  # into the encoder
    _told_samples: int = 0  # of those, described by events already sent
    _sent_bytes: int = 0
    _audio_json_bytes: int = 0
    _other_json_bytes: int = REPLY_OVERHEAD_BYTES
    _segments_done: int = 0
    _events: int = 0
    _chunks: int = 0
    _tokens: int | None = None
    _watermarked: bool = False
    _peak: float = 0.0
    _cut_segments: int = 0

    def __post_init__(self) -> None:
        request, engine_hz = self.request, self.engine.spec.sample_rate_hz
        self._format = ENCODERS[request.output_format]
        self._rate_hz = self._format.coded_rate(request.sample_rate_hz)
        if self._rate_hz != request.sample_rate_hz:
            self.warnings.append(
                f"{request.output_format} can't carry {request.sample_rate_hz} Hz: coded at {self._rate_hz} Hz"
            )
        # A line of "* * *" is a segment that says nothing, and a model asked to say it makes something up.
        self._texts = [text for text in segment(request.text) if any(map(str.isalnum, text))]
        self._other_json_bytes += _json_bytes(request.text)
        self._other_json_bytes += sum(_json_bytes(text) + SEGMENT_OVERHEAD_BYTES for text in self._texts)
        self._seams = Seams(request.fade_duration_s, engine_hz)
        self._outline = Chain([self._seams, Resampler(engine_hz, self._rate_hz)])
        how = request.audio_normalization
        self._level = Chain([NORMALIZERS[how]()] if how else [])

    def events(self) -> Iterator[AudioEvent | EndEvent]:
        """Everything the request gives, as soon as it is there."""
        encoder = self._format.encoder(self._rate_hz, joined=self.joined)
        for index, text in enumerate(self._texts):
            for samples in self._speak(index, text):
                if len(shaped := self._shape(samples)):
                    yield from self._tell(encoder.push(shaped))
            self._seams.join()
            self._segments_done += 1
        tail = self._count(Chain([self._outline, self._level]).flush())
        yield from self._tell(encoder.push(tail) + encoder.flush())
        yield EndEvent(self._reply(), encoder.seal)

    def _speak(self, index: int, text: str) -> Iterator[Samples]:
        for chunk in self.engine.stream(text, self.conditioning, self._params(index)):
            self._chunks += len(chunk.samples) > 0  # an engine that is still thinking gives none
            self._watermarked |= chunk.watermarked
            self._peak = max(self._peak, float(np.abs(chunk.samples).max(initial=0.0)))
            if chunk.speech_tokens is not None:
                self._tokens = (self._tokens or 0) + chunk.speech_tokens
            if chunk.finish_reason == "length":
                self._cut_segments += 1
                warning = f"segment {index} reached the token limit and may be cut: {text[:40]!r}"
                self.warnings.append(warning)
                self._other_json_bytes += _json_bytes(warning)
            self._check()
            yield chunk.samples

    def _params(self, index: int) -> SamplingParams:
        request = self.request
        return SamplingParams(
            exaggeration=request.exaggeration,
            cfg_weight=request.cfg_weight,
            temperature=request.temperature,
            top_p=request.top_p,
            min_p=request.min_p,
            repetition_penalty=request.repetition_penalty,
            seed=(self.seed + index * SEED_STEP) % 2**32,
            chunk_size_tokens=request.chunk_size,
            context_window_tokens=request.context_window,
            decode_mode=request.decode_mode,
        )

    def _shape(self, samples: Samples) -> Samples:
        outlined = self._outline.push(samples)
        self._outlined_samples += len(outlined)
        shaped = self._count(self._level.push(outlined))
        if self.request.output_format == "wav":  # of PCM it is certain what the samples held back will come to
            self._limit(PCM_BYTES_PER_SAMPLE * (self._outlined_samples - self._pushed_samples))
        return shaped

    def _count(self, samples: Samples) -> Samples:
        self._pushed_samples += len(samples)
        return samples

    def _tell(self, data: bytes) -> Iterator[AudioEvent]:
        """Bytes as events, each small enough for the platform; none for no bytes."""
        if not data:
            return
        self.clock.mark_first_bytes()
        age_s = self.clock.running_s
        first, fresh = self._told_samples, self._pushed_samples - self._told_samples
        for at in range(0, len(data), MAX_EVENT_BYTES):
            piece = data[at : at + MAX_EVENT_BYTES]
            end = first + fresh * (at + len(piece)) // len(data)
            self._spend(piece)
            event = self._event(piece, end)
            if self.request.print_metrics:
                log.info("chunk %d: %.3f s of sound, ready after %.3f s", event.index, event.duration_s, age_s)
            yield event

    def _event(self, piece: bytes, end: int) -> AudioEvent:
        start, self._told_samples = self._told_samples, end
        self._sent_bytes += len(piece)
        self._events += 1
        return AudioEvent(
            index=self._events - 1,
            data=piece,
            format=self.request.output_format,
            sample_rate_hz=self._rate_hz,
            start_s=start / self._rate_hz,
            duration_s=(end - start) / self._rate_hz,
        )

    def _spend(self, piece: bytes) -> None:
        self._audio_json_bytes += _base64_bytes(len(piece)) + (0 if self.joined else EVENT_OVERHEAD_BYTES)
        self._limit()

    def _limit(self, held_bytes: int = 0) -> None:
        """Stop as soon as the reply is certain to grow too large; `held_bytes` of audio will follow."""
        limit = self.limits.max_output_bytes
        size = self._other_json_bytes + self._audio_json_bytes + _base64_bytes(held_bytes)
        if size <= limit:
            return
        seconds = max(self._outlined_samples, self._pushed_samples) / self._rate_hz
        done, of = self._segments_done, len(self._texts)
        raise OutputTooLarge(
            f"the reply passes {size} bytes after {seconds:.0f} s of sound ({done} of {of} segments); "
            f"the limit is {limit}: {self._smaller(seconds * of / max(done, 1))}"
        )

    def _smaller(self, seconds: float) -> str:
        """What would fit, for a clip of about so many seconds."""
        room = self.limits.max_output_bytes - self._other_json_bytes
        for name, audio_format in ENCODERS.items():
            if name != self.request.output_format and seconds * audio_format.bytes_per_s * 4 / 3 < room:
                return f'ask for output_format "{name}"'
        return "send the text in several requests"

    def _check(self) -> None:
        """Between an engine's chunks, of which some are only signs of life: is the job still worth its while?"""
        if self.clock.stopped:
            raise JobStopped
        if self.clock.running_s > self.limits.timeout_s:
            raise JobTimeout(f"the job was given up after {self.limits.timeout_s:g} s")

    # --- the reply ---------------------------------------------------------------------------------------

    def _reply(self) -> dict[str, Any]:
        request, spec = self.request, self.engine.spec
        duration_s = self._pushed_samples / self._rate_hz
        self._warn_of_levels()
        if not self._watermarked and self._peak < SILENCE:
            self.warnings.append("the clip is silent, so there is nothing in it to carry a watermark")
        voice = request.voice or "clone"
        parameters = request.parameters() | {"seed": self.seed, "voice": voice, "sample_rate": self._rate_hz}
        return {
            "format": request.output_format,
            "mime_type": self._format.mime_type,
            "bytes": self._sent_bytes,
            "sample_rate": self._rate_hz,
            "duration": round(duration_s, 6),
            "operation": "tts",
            "text": request.text,
            "voice": voice,
            "voice_mode": request.voice_mode,
            "seed": self.seed,
            "parameters": parameters,
            "metrics": self._metrics(duration_s),
            "segments": self._segments(),
            "finish_reason": "length" if self._cut_segments else "stop",
            "watermarked": self._watermarked,
            "engine": spec.name,
            "model": spec.model,
            "warnings": self.warnings,
        }

    def _metrics(self, duration_s: float) -> dict[str, Any]:
        total_s = self.clock.running_s
        first_s = self.clock.first_chunk_s
        return {
            "latency_to_first_chunk": round(first_s, 4) if first_s is not None else None,
            "total_generation_time": round(total_s, 4),
            "total_audio_duration": round(duration_s, 6),
            "rtf": round(total_s / duration_s, 4) if duration_s else None,
            "chunk_count": self._chunks,
            "speech_tokens": self._tokens,
            "queue_wait": round(self.clock.queue_wait_s, 4),
            "cold_start": self.cold_start,
        }

    def _segments(self) -> list[dict[str, Any]]:
        engine_hz = self.engine.spec.sample_rate_hz
        return [
            {"text": text, "start": round(start / engine_hz, 6), "end": round(end / engine_hz, 6)}
            for text, (start, end) in zip(self._texts, self._seams.segment_spans(), strict=True)
        ]

    def _warn_of_levels(self) -> None:
        self.warnings += self._seams.warnings
        for stage in self._level.stages:
            if isinstance(stage, RmsNormalizer) and stage.shortfall_db > 0.0:
                self.warnings.append(
                    f"rms: a peak limit of {stage.peak_limit_dbfs:g} dBFS held the level {stage.shortfall_db:.1f} dB "
                    f"below {stage.target_dbfs:g} dBFS"
                )


def _json_bytes(text: str) -> int:
    return len(json.dumps(text)) + 2  # and a comma and a space


def _base64_bytes(size_bytes: int) -> int:
    return 4 * -(-size_bytes // 3)
