"""What one WebSocket's client asked for, and its takes: each a job, all in one voice, of one family of seeds, one file.

Between takes nothing is held: neither a turn nor a thread. It does not know how messages travel.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from service.events import AudioEvent, EndEvent, ErrorEvent
from service.speech import SEED_STEP
from service.worker import Clone
from tts.text.boundaries import Break
from validation.errors import Fault, InvalidInput, UnknownVoice, Unsupported
from validation.faults import named, refusal, typed
from validation.fields import CLONE, MAX_SEED, TtsFields
from web.jobs import Jobs
from web.refusals import NotReady
from web.sentences import Sentence
from web.tts_request import spoken_with
from web.utterance import INNER_FORMAT, Utterance

MAX_TAKE_CHARS = 1000
RECORDING_FIELDS = ("reference_audio", "reference_audio_url", "voice_mode")
OUTER_FIELDS = ("output_format", "sample_rate", "bitrate_kbps", "audio_normalization")  # of the whole, not of a take

Json = dict[str, Any]
SendJson = Callable[[Json], Awaitable[None]]
SendBytes = Callable[[bytes, float], Awaitable[None]]  # with the seconds of sound in them


@dataclass(slots=True)
class Talk:
    """`fields` are those of each job. What it counts is valid at any time."""

    jobs: Jobs
    id: str
    voice: str
    seed: int
    fields: Json  # after `condition` without a recording
    outer: tuple[str, int | None, int | None, str | None]
    sentence_pause_ms: int
    paragraph_pause_ms: int
    sound: Utterance = field(init=False)
    takes: int = 0
    lines: int = 0  # spoken so far; each has a seed of its own
    first_chunk_s: float | None = None
    work_s: float = 0.0
    watermarked: bool = True
    warnings: list[str] = field(default_factory=list)
    clone: Clone | None = None  # the voice of its recording

    def __post_init__(self) -> None:
        self.begin_anew()

    @classmethod
    async def begun(cls, start: Json, jobs: Jobs, talk_id: str) -> Talk:
        """Raises: InvalidInput, UnknownVoice, Unsupported."""
        if start.get("type") != "start":
            raise InvalidInput('the first message must be {"type": "start", …}')
        given = {name: value for name, value in start.items() if value is not None and name != "type"}
        fields = _checked(given)
        if fields.voice is not None:
            await _require_voice(fields.voice, jobs)
        headers = await spoken_with(given, jobs)
        inner = {name: value for name, value in given.items() if name not in OUTER_FIELDS}
        outer = (fields.output_format, fields.sample_rate, fields.bitrate_kbps, fields.audio_normalization)
        pauses = fields.sentence_pause_ms, fields.paragraph_pause_ms
        try:
            return cls(jobs, talk_id, headers.get("X-Voice", ""), given["seed"], inner, outer, *pauses)
        except ValueError as error:  # of the encoder
            raise InvalidInput(str(error), [Fault("bitrate_kbps", str(error))]) from None

    async def condition(self) -> None:
        """Fetch and condition the recording, if there is one, once for all takes. Raises: WorkerError."""
        if not self.fields.keys() & {"reference_audio", "reference_audio_url"}:
            return
        async with self.jobs.condition(f"{self.id}-voice", self.fields | {"text": "A"}) as events:
            self.fields = {name: value for name, value in self.fields.items() if name not in RECORDING_FIELDS}
            self.fields["voice"] = CLONE
            async for event in events:
                match event:
                    case EndEvent():
                        self.clone = event.reply["clone"]
                        self.warnings += event.reply["warnings"]
                        return
                    case ErrorEvent():
                        raise event.error
        raise NotReady("this worker is leaving")

    def begin_anew(self) -> None:
        """A new file."""
        self.sound = Utterance(*self.outer)

    def ready(self) -> Json:
        sound = self.sound
        return {
            "type": "ready",
            "id": self.id,
            "voice": self.voice,
            "seed": self.seed,
            "format": sound.format.name,
            "mime_type": sound.format.mime_type,
            "sample_rate": sound.rate_hz,
        }

    def fits(self, sentences: list[Sentence], following: Sentence) -> bool:
        """Whether one more sentence may go into the same take."""
        return sum(len(each.text) + 2 for each in (*sentences, following)) <= MAX_TAKE_CHARS

    async def say(self, sentences: list[Sentence], send_json: SendJson, send_bytes: SendBytes) -> None:
        """One take: `segment`, its sound, `spoken`. Raises: WorkerError, NotReady where the worker leaves."""
        self.jobs.readiness.require()
        text, index = _text(sentences), self.takes
        self.takes += 1
        await self._pause_before(sentences[0], send_bytes)
        begin = {"type": "segment", "index": index, "text": text, "start": round(self.sound.seconds, 6)}
        running = self.jobs.run(f"{self.id}-{index}", self._job(text), joined=False, clone=self.clone)
        async with running as events:
            async for event in events:
                match event:
                    case AudioEvent():
                        if event.index == 0:
                            await send_json(begin)
                        if data := await asyncio.to_thread(self.sound.push, event.data):
                            await send_bytes(data, event.duration_s)
                    case EndEvent():
                        self._note(event.reply)
                        await send_json({"type": "spoken", "index": index, "end": round(self.sound.seconds, 6)})
                        return
                    case ErrorEvent():
                        raise event.error
        raise NotReady("this worker is leaving")

    def _job(self, text: str) -> Json:
        seed = (self.seed + SEED_STEP * self.lines) % (MAX_SEED + 1)
        own = {"output_format": INNER_FORMAT, "sample_rate": self.sound.rate_hz, "seed": seed}
        return self.fields | own | {"text": text}

    async def _pause_before(self, sentence: Sentence, send_bytes: SendBytes) -> None:
        """What lies between two takes, as it would between two segments of one text."""
        is_paragraph = sentence.begins is Break.PARAGRAPH
        pause_ms = max(self.sentence_pause_ms, self.paragraph_pause_ms * is_paragraph)
        if self.sound.seconds and pause_ms and (data := await asyncio.to_thread(self.sound.silence, pause_ms)):
            await send_bytes(data, pause_ms / 1000)

    def _note(self, reply: Json) -> None:
        metrics = reply["metrics"]
        self.lines += len(reply["segments"])
        self.work_s += metrics["total_generation_time"]
        self.watermarked &= reply["watermarked"]
        self.first_chunk_s = self.first_chunk_s if self.takes > 1 else metrics["latency_to_first_chunk"]
        self.warnings += [warning for warning in reply["warnings"] if warning not in self.warnings]

    async def rest(self) -> bytes:
        """The last bytes of the file."""
        return await asyncio.to_thread(self.sound.flush)

    def end(self) -> Json:
        seconds = self.sound.seconds
        keeps_mark = self.sound.keeps_watermark(self.fields.get("speed", 1.0))
        return {
            "type": "end",
            "id": self.id,
            "duration": round(seconds, 6),
            "takes": self.takes,
            "watermarked": self.takes > 0 and self.watermarked and keeps_mark,
            "metrics": {
                "latency_to_first_chunk": self.first_chunk_s,
                "total_generation_time": round(self.work_s, 4),
                "total_audio_duration": round(seconds, 6),
                "rtf": round(self.work_s / seconds, 4) if seconds else None,
            },
            "warnings": [*self.warnings, *self.sound.warnings],
        }


def _text(sentences: list[Sentence]) -> str:
    text = sentences[0].text
    for sentence in sentences[1:]:
        text += "\n\n" if sentence.begins is Break.PARAGRAPH else "\n" if sentence.is_new_line else " "
        text += sentence.text
    return text


def _checked(given: Json) -> TtsFields:
    """Types and ranges; what else can be wrong the first take tells. Raises: RequestError."""
    if "text" in given:
        raise InvalidInput.of(Fault("text", "comes in messages of its own"))
    fields, findings = typed(TtsFields, given | {"text": "A"})
    if fields is None:
        raise refusal(findings)
    if fields.audio_normalization not in (None, "lufs"):
        message = "needs the whole clip, which a stream never has: leave it out, or ask for lufs"
        raise Unsupported.of(Fault("audio_normalization", message))
    return fields


async def _require_voice(voice: str, jobs: Jobs) -> None:
    if voice not in (known := await jobs.voices()):
        message = f"{voice[:40]!r} is not a voice here; known: {named(known)}"
        raise UnknownVoice.of(Fault("voice", message))
