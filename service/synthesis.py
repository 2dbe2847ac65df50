"""One `tts` request from text to encoded bytes: script → speech → level → encoder → events.

A joined reply is the join of a stream's pieces, finished by the encoder: there is no second path.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from audio.encode import ENCODERS
from service.captions import captions
from service.events import AudioEvent, EndEvent, StartEvent, WordTime
from service.json_events import base64_bytes, json_bytes, word_fields
from service.output_encoder import OutputEncoder
from service.speech import Speech
from service.telemetry import JobClock
from service.word_times import TimedWord
from tts.engine import Conditioning, Engine, EngineSpec
from tts.text.script import Line, Script, write
from validation.errors import OutputTooLarge
from validation.request import TtsRequest

log = logging.getLogger(__name__)

MAX_EVENT_BYTES = 510_000  # 680 KB of base64; RunPod drops a stream chunk of 1 MB
REPLY_OVERHEAD_BYTES = 4_000  # of the reply's keys that have a bounded length
SEGMENT_OVERHEAD_BYTES = 64
EVENT_OVERHEAD_BYTES = 200
WORD_OVERHEAD_BYTES = 60
SILENCE = 1e-4  # −80 dBFS
TOKENS_PER_S = 25  # the unit of `chunk_size`
HOPELESS = 1.5  # times the limit: a larger estimate is refused before anything is spoken


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one request. `max_output_bytes` is of JSON, base64 included; `max_upload_bytes` of the file if it
    can be uploaded, else 0. `way_out` is appended to OutputTooLarge's message."""

    max_output_bytes: int
    timeout_s: float
    max_upload_bytes: int = 0
    way_out: str = ""


@dataclass(slots=True)
class Synthesis:
    """One request being served. `events()` may be called once. `made_by`: as for `OutputEncoder`.

    Raises out of `events()`: OutputTooLarge, JobTimeout, JobStopped, and whatever the engine raises.
    """

    request: TtsRequest
    engine: Engine
    made_by: EngineSpec | None
    conditioning: Conditioning
    clock: JobClock
    limits: Limits
    joined: bool
    cold_start: bool
    warnings: list[str]
    _script: Script = field(init=False)
    _speech: Speech = field(init=False)
    _encoder: OutputEncoder = field(init=False)
    _sent_samples: int = 0
    _sent_bytes: int = 0
    _sent_words: int = 0
    _audio_json_bytes: int = 0
    _other_json_bytes: int = REPLY_OVERHEAD_BYTES
    _events: int = 0

    def __post_init__(self) -> None:
        request, output = self.request, self.request.output
        self._script = write(request.text, request.reading, word_times=request.sampling.word_times)
        made_by = self.made_by if self._script.lines else None  # who made 0.3 s of silence does not matter
        self._encoder = OutputEncoder(output, request.sound.speed, made_by, joined=self.joined)
        rate_hz = self._encoder.rate_hz
        if rate_hz != output.sample_rate_hz:
            lacking = f"there is no {output.output_format} at {output.sample_rate_hz} Hz here"
            self.warnings.append(f"{lacking}: coded at {rate_hz} Hz")
        self.warnings += self._script.warnings
        self._speech = Speech(self._script, self.engine, self.conditioning, request.sampling, request.sound, rate_hz)
        texts = request.text, self._spoken_text(), request.reading.pronunciations
        self._other_json_bytes += sum(map(json_bytes, texts))
        self._other_json_bytes += sum(json_bytes(line.text) + SEGMENT_OVERHEAD_BYTES for line in self._script.lines)
        self._other_json_bytes += sum(map(self._word_bytes, self._script.lines))

    def events(self) -> Iterator[StartEvent | AudioEvent | EndEvent]:
        """Start, then each piece of audio as soon as there is one, then the end; a joined reply has no pieces."""
        self._refuse_if_hopeless()
        voice, seed = self.request.parameters["voice"], self.request.sampling.seed
        yield StartEvent(voice, seed, self._encoder.format.name, self._encoder.rate_hz)
        if self.joined:
            pieces = [event.data for event in self._audio()]
            yield EndEvent(self._reply(), self._encoder.finished(pieces))
        else:
            yield from self._audio()
            yield EndEvent(self._reply())

    def _audio(self) -> Iterator[AudioEvent]:
        encoder, sample_bytes = self._encoder, self._encoder.format.pcm_bytes_per_sample
        for samples in self._speech.samples():
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
            words = self._words_until(self._sent_samples) if output.word_timestamps else None
            event = AudioEvent(self._events, piece, self._encoder.format.name, rate_hz, start_s, duration_s, words)
            self._sent_bytes += len(piece)
            self._events += 1
            if output.print_metrics:
                log.info("chunk %d: %.3f s of sound, ready after %.3f s", event.index, duration_s, age_s)
            yield event

    def _words_until(self, sample: int) -> tuple[WordTime, ...]:
        """The words that no event had, and that end before this sample."""
        first = self._sent_words
        while self._sent_words < len(self._speech.words) and self._speech.words[self._sent_words].end <= sample:
            self._sent_words += 1
        return tuple(map(self._word_time, self._speech.words[first : self._sent_words]))

    def _word_time(self, timed: TimedWord) -> WordTime:
        word = timed.word
        return WordTime(word.text, self._seconds(timed.start), self._seconds(timed.end), word.written)

    def _word_bytes(self, line: Line) -> int:
        """At most what a line's words take of the reply and a stream's events: each may have a caption of its own."""
        output, words = self.request.output, [placed.word for placed in line.words]
        lists = output.word_timestamps * (1 if self.joined else 2)
        listed = lists * sum(json_bytes(word.text) + WORD_OVERHEAD_BYTES for word in words)
        if not (kind := output.captions):
            return listed
        return listed + sum(json_bytes(captions([WordTime("", 0.0, 0.0, word.written)], kind)) for word in words)

    def _refuse_if_too_large(self, held_bytes: int = 0) -> None:
        """Stop as soon as the reply is certain to be too large; `held_bytes` of audio will follow."""
        audio = self._audio_json_bytes + base64_bytes(held_bytes)
        if audio <= self._audio_budget_bytes():
            return
        seconds = self._speech.given / self._encoder.rate_hz
        done, of = self._speech.lines_done, len(self._script.lines)
        so_far = f"after {seconds:.0f} s of sound ({done} of {of} segments)"
        raise self._too_large("passes", audio, so_far, seconds * of / max(done, 1))

    def _refuse_if_hopeless(self) -> None:
        """Refuse a text that at an ordinary pace would exceed the limit by half."""
        request, encoder = self.request, self._encoder
        speech_s, silence_s = self._script.usual_s(request.sound.speed)
        file_bytes = encoder.format.usual_bytes(encoder.rate_hz, request.output.bitrate_kbps, speech_s, silence_s)
        is_chunked = not self.joined and request.sampling.decode_mode != "full"
        events = round(speech_s * TOKENS_PER_S / request.sampling.chunk_size_tokens) if is_chunked else 0
        audio, budget = base64_bytes(file_bytes) + EVENT_OVERHEAD_BYTES * events, self._audio_budget_bytes()
        limit = base64_bytes(self.limits.max_upload_bytes) if self._is_file_limited else self.limits.max_output_bytes
        if audio > budget + (HOPELESS - 1) * limit:
            whole_s = speech_s + silence_s
            raise self._too_large("would pass", audio, f"at an ordinary pace ({whole_s:.0f} s of sound)", whole_s)

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

    def _other_bytes(self) -> int:
        """What the reply takes besides audio, as far as is known."""
        speech = self._speech
        parts = max(0, speech.segments_done - len(self._script.lines))  # of lines that were split
        return self._other_json_bytes + SEGMENT_OVERHEAD_BYTES * parts + sum(map(json_bytes, speech.warnings))

    def _advice(self, seconds: float) -> str:
        """What would fit, for a clip of about so many seconds."""
        room, asked = self._audio_budget_bytes(), self.request.output
        for name, audio_format in ENCODERS.items():
            rate_hz = audio_format.coded_rate(asked.sample_rate_hz)
            if name != asked.output_format and seconds * audio_format.bytes_per_s(rate_hz, None) * 4 / 3 < room:
                return f'ask for output_format "{name}"'
        return "send the text in several requests"

    # --- the reply ---------------------------------------------------------------------------------------

    def _reply(self) -> dict[str, Any]:
        request, spec, speech, encoder = self.request, self.engine.spec, self._speech, self._encoder
        watermarked = self._watermarked()
        self.warnings += speech.warnings
        self.warnings += encoder.warnings
        parameters = {**request.parameters, "sample_rate": encoder.rate_hz}
        return {
            "format": encoder.format.name,
            "mime_type": encoder.format.mime_type,
            "bytes": self._sent_bytes,
            "sample_rate": encoder.rate_hz,
            "duration": round(encoder.seconds, 6),
            "operation": "tts",
            "text": request.text,
            **self._spoken_text(),
            "voice": parameters["voice"],
            "voice_mode": parameters["voice_mode"],
            "seed": request.sampling.seed,
            "parameters": parameters,
            "metrics": self._metrics(encoder.seconds),
            "segments": [
                {"text": part.text, "start": self._seconds(part.start), "end": self._seconds(part.end)}
                for part in speech.segments
            ],
            **self._word_times(),
            "finish_reason": "length" if speech.cut else "stop",
            "watermarked": watermarked,
            "engine": spec.name,
            "model": spec.model,
            "warnings": self.warnings,
        }

    def _word_times(self) -> dict[str, Any]:
        """The times of the words, if they were asked for, as a list and as captions."""
        output, speech = self.request.output, self._speech
        if not self.request.sampling.word_times:
            return {}
        words = [*map(self._word_time, speech.words)]
        timing = None if speech.is_estimated else self.engine.spec.word_timing
        listed = {"words": [*map(word_fields, words)]} if output.word_timestamps else {}
        shown = {"captions": captions(words, output.captions)} if output.captions else {}
        return {"timing": timing or "estimated", **listed, **shown}

    def _spoken_text(self) -> dict[str, str]:
        """What is said, where it differs by more than white space."""
        spoken = self._script.spoken
        return {} if spoken.split() == self.request.text.split() else {"spoken_text": spoken}

    def _watermarked(self) -> bool:
        """Whether the mark is in the encoded file, and not only in the engine's samples."""
        output, speed, speech = self.request.output, self.request.sound.speed, self._speech
        if not speech.watermarked and speech.peak < SILENCE:
            self.warnings.append("the clip is silent, so there is nothing in it to carry a watermark")
        if not speech.watermarked:
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
        total_s = self.clock.running_s
        first_s = self.clock.first_chunk_s
        return {
            "latency_to_first_chunk": round(first_s, 4) if first_s is not None else None,
            "total_generation_time": round(total_s, 4),
            "total_audio_duration": round(duration_s, 6),
            "rtf": round(total_s / duration_s, 4) if duration_s else None,
            "chunk_count": self._speech.chunks,
            "speech_tokens": self._speech.speech_tokens,
            "retries": self._speech.retries,
            "queue_wait": round(self.clock.queue_wait_s, 4),
            "cold_start": self.cold_start,
            **({"remarks": dict(self._speech.remarks)} if self._speech.remarks else {}),
        }
