"""One request for sound being served: a source of samples → level → encoder → events, within limits.

`service.synthesis` has the source that speaks a text, `service.conversion` the one that converts a recording. A joined
reply is the join of a stream's pieces, finished by the encoder: there is no second path.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

from audio.encode import ENCODERS
from service.events import AudioEvent, EndEvent, StartEvent, WordTime
from service.json_events import base64_bytes, json_bytes
from service.output_encoder import OutputEncoder
from service.sound_source import SoundSource
from service.telemetry import JobClock, work_metrics
from tts.engine import Conditioning, Engine, EngineSpec
from validation.errors import OutputTooLarge
from validation.request import SoundRequest

log = logging.getLogger(__name__)

MAX_EVENT_BYTES = 510_000  # 680 KB of base64; RunPod drops a stream chunk of 1 MB
REPLY_OVERHEAD_BYTES = 4_000  # of the reply's keys that have a bounded length
EVENT_OVERHEAD_BYTES = 200
SILENCE = 1e-4  # −80 dBFS
HOPELESS = 1.5
TOKENS_PER_S = 25  # the unit of `chunk_size`


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one request. `max_output_bytes` is of JSON, base64 included; `max_upload_bytes` of the file if it
    can be uploaded, else 0. `way_out` is appended to OutputTooLarge's message."""

    max_output_bytes: int
    timeout_s: float
    max_upload_bytes: int = 0
    way_out: str = ""


@dataclass(slots=True, kw_only=True)
class SoundJob(ABC):
    """One request. `events()` may be called once. `made_by`: as for `OutputEncoder`.

    Raises out of `events()`: OutputTooLarge, JobTimeout, JobStopped, and whatever the engine raises.
    """

    OPERATION: ClassVar[str]
    SMALLER: ClassVar[str]  # the last advice where a reply is too large

    request: SoundRequest
    engine: Engine
    made_by: EngineSpec | None
    conditioning: Conditioning
    clock: JobClock
    limits: Limits
    joined: bool
    cold_start: bool
    warnings: list[str]
    _sound: SoundSource = field(init=False)
    _encoder: OutputEncoder = field(init=False)
    _sent_samples: int = 0
    _sent_bytes: int = 0
    _audio_json_bytes: int = 0
    _other_json_bytes: int = REPLY_OVERHEAD_BYTES
    _events: int = 0

    # --- what each kind of job defines ---------------------------------------------------------------------

    @abstractmethod
    def _planned_s(self) -> tuple[float, float]:
        """Seconds of sound and of silence that are expected."""

    @property
    def _hopeless(self) -> float:
        """Times the limit: if more is expected, it is refused before anything is made."""
        return HOPELESS

    @abstractmethod
    def _plan(self, whole_s: float) -> str:
        """The expected length in words, for an error's message."""

    @abstractmethod
    def _progress(self, seconds: float) -> tuple[str, float]:
        """After so many seconds of sound: the progress in words, for an error's message, and the clip's estimated
        length in seconds."""

    @abstractmethod
    def _content(self) -> dict[str, Any]:
        """The reply's fields about what was asked for."""

    def _timings(self) -> dict[str, Any]:
        """The reply's fields about times in the clip."""
        return {}

    def _words_until(self, sample: int) -> tuple[WordTime, ...] | None:
        """The words that no event had, and that end before this sample; None if they were not asked for."""
        return None

    def _other_bytes(self) -> int:
        """What the reply takes besides audio, as far as is known."""
        return self._other_json_bytes + sum(map(json_bytes, self._sound.warnings))

    # --- events ----------------------------------------------------------------------------------------------

    def _open(self, made_by: EngineSpec | None) -> int:
        """Choose the encoder; its sample rate."""
        output = self.request.output
        self._encoder = OutputEncoder(output, self.request.sound.speed, made_by, joined=self.joined)
        rate_hz = self._encoder.rate_hz
        if rate_hz != output.sample_rate_hz:
            lacking = f"there is no {output.output_format} at {output.sample_rate_hz} Hz here"
            self.warnings.append(f"{lacking}: coded at {rate_hz} Hz")
        return rate_hz

    def events(self) -> Iterator[StartEvent | AudioEvent | EndEvent]:
        """Start, then each piece of audio as soon as there is one, then the end; a joined reply has no pieces."""
        self._refuse_if_hopeless()
        voice, seed = self.request.parameters["voice"], self.request.sampling.seed
        yield StartEvent(voice, seed, self._encoder.format.name, self._encoder.rate_hz)
        if self.joined:
            file = self._encoder.finished([event.data for event in self._audio()])
            self._sent_bytes = len(file)
            yield EndEvent(self._reply(), file)
        else:
            yield from self._audio()
            yield EndEvent(self._reply())

    def _audio(self) -> Iterator[AudioEvent]:
        encoder, sample_bytes = self._encoder, self._encoder.format.pcm_bytes_per_sample
        for samples in self._sound.samples():
            self.clock.check(self.limits.timeout_s)
            levelled = encoder.level(samples)
            if sample_bytes:  # exact, so what is held back counts too
                held_samples = encoder.given_samples - encoder.pushed_samples - len(levelled)
                self._refuse_if_too_large(sample_bytes * held_samples)
            if len(levelled):
                yield from self._pieces(encoder.encode(levelled))
        yield from self._pieces(encoder.flush())

    def _pieces(self, data: bytes) -> Iterator[AudioEvent]:
        """Bytes as events, each small enough for RunPod; none for no bytes."""
        if not data:
            return
        self.clock.mark_first_bytes()
        age_s, rate_hz, output = self.clock.running_s, self._encoder.rate_hz, self.request.output
        first, fresh = self._sent_samples, self._encoder.pushed_samples - self._sent_samples
        for at in range(0, len(data), MAX_EVENT_BYTES):
            piece = data[at : at + MAX_EVENT_BYTES]
            self._audio_json_bytes += base64_bytes(len(piece)) + (0 if self.joined else EVENT_OVERHEAD_BYTES)
            self._refuse_if_too_large()
            start, self._sent_samples = self._sent_samples, first + fresh * (at + len(piece)) // len(data)
            start_s, duration_s = start / rate_hz, (self._sent_samples - start) / rate_hz
            words = self._words_until(self._sent_samples)
            event = AudioEvent(self._events, piece, self._encoder.format.name, rate_hz, start_s, duration_s, words)
            self._sent_bytes += len(piece)
            self._events += 1
            if output.print_metrics:
                log.info("chunk %d: %.3f s of sound, ready after %.3f s", event.index, duration_s, age_s)
            yield event

    # --- limits ----------------------------------------------------------------------------------------------

    def _refuse_if_too_large(self, held_bytes: int = 0) -> None:
        """Stop as soon as the reply is certain to be too large; `held_bytes` of audio will follow."""
        audio = self._audio_json_bytes + base64_bytes(held_bytes)
        if audio > self._audio_budget_bytes():
            so_far, whole_s = self._progress(self._sound.given / self._encoder.rate_hz)
            raise self._too_large("passes", audio, so_far, whole_s)

    def _refuse_if_hopeless(self) -> None:
        """Refuse what is expected to exceed the limit by far."""
        request, encoder = self.request, self._encoder
        speech_s, silence_s = self._planned_s()
        file_bytes = encoder.format.usual_bytes(encoder.rate_hz, request.output.bitrate_kbps, speech_s, silence_s)
        is_chunked = not self.joined and request.sampling.decode_mode != "full"
        events = round(speech_s * TOKENS_PER_S / request.sampling.chunk_size_tokens) if is_chunked else 0
        audio, budget = base64_bytes(file_bytes) + EVENT_OVERHEAD_BYTES * events, self._audio_budget_bytes()
        limit = base64_bytes(self.limits.max_upload_bytes) if self._is_file_limited else self.limits.max_output_bytes
        if audio > budget + (self._hopeless - 1) * limit:
            whole_s = speech_s + silence_s
            raise self._too_large("would pass", audio, self._plan(whole_s), whole_s)

    def _too_large(self, passes: str, audio: int, when: str, whole_s: float) -> OutputTooLarge:
        """The error for `audio` bytes of base64; `whole_s` is the estimated length of the clip."""
        what, limit = f"the reply {passes} {self._other_bytes() + audio} bytes", self.limits.max_output_bytes
        if self._is_file_limited:
            what, limit = f"the file {passes} {audio * 3 // 4} bytes", self.limits.max_upload_bytes
        advice = self._advice(whole_s) + self.limits.way_out
        return OutputTooLarge(f"{what} {when}; the limit is {limit}: {advice}")

    @property
    def _is_file_limited(self) -> bool:
        """Whether the audio can be uploaded, and so has a limit of its own."""
        return self._audio_budget_bytes() == base64_bytes(self.limits.max_upload_bytes) > 0

    def _audio_budget_bytes(self) -> int:
        """Of base64, for the audio: what the rest of the reply leaves, or more if the audio can be uploaded."""
        left = self.limits.max_output_bytes - self._other_bytes()
        return left if left < 0 else max(left, base64_bytes(self.limits.max_upload_bytes))

    def _advice(self, seconds: float) -> str:
        """What would fit, for a clip of about so many seconds."""
        room, asked = self._audio_budget_bytes(), self.request.output
        for name, audio_format in ENCODERS.items():
            rate_hz = audio_format.coded_rate(asked.sample_rate_hz)
            if name != asked.output_format and seconds * audio_format.bytes_per_s(rate_hz, None) * 4 / 3 < room:
                return f'ask for output_format "{name}"'
        return self.SMALLER

    # --- the reply ---------------------------------------------------------------------------------------

    def _reply(self) -> dict[str, Any]:
        request, spec, sound, encoder = self.request, self.engine.spec, self._sound, self._encoder
        watermarked = self._watermarked()
        self.warnings += sound.warnings
        self.warnings += encoder.warnings
        parameters = {**request.parameters, "sample_rate": encoder.rate_hz}
        return {
            "format": encoder.format.name,
            "mime_type": encoder.format.mime_type,
            "bytes": self._sent_bytes,
            "sample_rate": encoder.rate_hz,
            "duration": round(encoder.seconds, 6),
            "operation": self.OPERATION,
            **self._content(),
            "voice": parameters["voice"],
            "voice_mode": parameters["voice_mode"],
            "seed": request.sampling.seed,
            "parameters": parameters,
            "metrics": self._metrics(encoder.seconds),
            **self._timings(),
            "finish_reason": "length" if sound.cut else "stop",
            "watermarked": watermarked,
            "engine": spec.name,
            "model": spec.model,
            "warnings": self.warnings,
        }

    def _watermarked(self) -> bool:
        """Whether the mark is in the encoded file, and not only in the engine's samples."""
        output, speed, sound = self.request.output, self.request.sound.speed, self._sound
        if not sound.watermarked and sound.peak < SILENCE:
            self.warnings.append("the clip is silent, so there is nothing in it to carry a watermark")
        if not sound.watermarked:
            return False
        if not self._encoder.keeps_watermark:
            at = f" at {output.bitrate_kbps} kbit/s" if output.bitrate_kbps else ""
            faster = f" at speed {speed:g}" if speed != 1.0 else ""
            rate_hz = self._encoder.rate_hz
            self.warnings.append(f"{output.output_format}{at} and {rate_hz} Hz{faster} may lose the watermark")
            return False
        return True

    def _seconds(self, samples: int) -> float:
        return round(samples / self._encoder.rate_hz, 6)

    def _metrics(self, duration_s: float) -> dict[str, Any]:
        first_s = self.clock.first_chunk_s
        return {
            "latency_to_first_chunk": round(first_s, 4) if first_s is not None else None,
            **work_metrics(self.clock.running_s, duration_s),
            "chunk_count": self._sound.chunks,
            "speech_tokens": self._sound.speech_tokens,
            "retries": self._sound.retries,
            "queue_wait": round(self.clock.queue_wait_s, 4),
            "cold_start": self.cold_start,
            **({"remarks": dict(self._sound.remarks)} if self._sound.remarks else {}),
        }
