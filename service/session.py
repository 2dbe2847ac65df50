"""Text that arrives in pieces, spoken as one sound: take after take in one voice, of one family of seeds, one file.

A take is a job: as many complete sentences as wait, up to MAX_TAKE_CHARS. Between takes nothing is held.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Any

import numpy as np

from audio.encode import ENCODERS
from audio.pcm import INT16_SCALE, Samples
from service.app import Service
from service.captions import captions
from service.events import AudioEvent, EndEvent, Event, StartEvent, WordTime
from service.output_encoder import OutputEncoder
from service.speech import SEED_STEP
from service.telemetry import JobClock, work_metrics
from service.worker import Clone
from tts.text.boundaries import Break
from tts.text.script import REASONING_LEFT_OUT, WORDLESS_MS
from tts.text.sentences import Sentence, Sentences
from validation.errors import Fault, InvalidInput, UnknownVoice, Unsupported
from validation.faults import refusal, shown, typed, unknown_voice
from validation.fields import CLONE, MAX_SEED, TtsFields
from validation.options import OutputOptions, part
from validation.rules import chosen_voice

MAX_TAKE_CHARS = 1000
MAX_PIECE_CHARS = 20_000
MAX_WAITING_CHARS = 100_000
MAX_WAITING_ITEMS = 20_000
TAKE_FORMAT = "pcm_s16le"  # of each take's own events
REFERENCES = {"reference_audio", "reference_audio_url"}
FILE_FIELDS = {  # of the file, not of a take
    *("output_format", "sample_rate", "bitrate_kbps", "audio_normalization", "word_timestamps", "captions")
}

Json = dict[str, Any]


class Mark(Enum):
    """Waits among the sentences, until all text before it is spoken."""

    FLUSH = auto()
    END = auto()


@dataclass(slots=True)
class Take:
    """Sentences to speak as one job. `start_s` and `end_s` are its place in the session's sound, once it is spoken."""

    index: int
    sentences: list[Sentence]
    start_s: float = 0.0
    end_s: float = 0.0
    last_words: tuple[WordTime, ...] = ()  # that no piece of audio had, if they were asked for

    @property
    def text(self) -> str:
        text = self.sentences[0].text
        for sentence in self.sentences[1:]:
            text += "\n\n" if sentence.begins is Break.PARAGRAPH else "\n" if sentence.is_new_line else " "
            text += sentence.text
        return text

    def has_room_for(self, following: Sentence) -> bool:
        return sum(len(each.text) + 2 for each in (*self.sentences, following)) <= MAX_TAKE_CHARS


@dataclass(slots=True)
class _File:
    """What was spoken since the start, or since the last cancel."""

    encoder: OutputEncoder
    takes: int = 0
    words: list[WordTime] = field(default_factory=list)
    sent_words: int = 0
    timing: str | None = None
    first_chunk_s: float | None = None
    work_s: float = 0.0
    watermarked: bool = True


class TtsSession:
    """One client's text and its takes. Text may come from another thread than the one that speaks."""

    def __init__(self, service: Service, session_id: str, start: Json, *, translated: bool = False) -> None:
        """`start` has the fields of `tts` but `text`; what else can be wrong with them the first take says.
        `translated`: as for `Service.run`.

        Raises: InvalidInput, UnknownVoice, Unsupported.
        """
        fields = _checked(start)
        listed = service.ask("voices")
        voices = {voice["name"]: voice["language"] for voice in listed["voices"]}
        if fields.voice is not None and fields.voice not in voices:
            raise UnknownVoice.of(unknown_voice(repr(fields.voice[:40]), voices))
        self.id, self._service, self._translated = session_id, service, translated
        self.seed = secrets.randbelow(MAX_SEED + 1) if fields.seed is None else fields.seed
        self.has_recording = not REFERENCES.isdisjoint(start)
        predefined = chosen_voice(fields.voice, fields.language, listed["default"], voices)
        self.voice = CLONE if self.has_recording else predefined
        self.fields = {name: value for name, value in start.items() if name not in FILE_FIELDS}  # of each take
        self._speed, self._pauses_ms = fields.speed, (fields.sentence_pause_ms, fields.paragraph_pause_ms)
        rate_hz = fields.sample_rate or ENCODERS[fields.output_format].sample_rate_hz
        self._output = part(OutputOptions, fields.model_dump() | {"sample_rate": rate_hz})
        self._clone: Clone | None = None
        self._sentences = Sentences(self._service.spec.tags)
        self._waiting: deque[Sentence | Mark] = deque()
        self._is_cancelled = False  # since then nothing was spoken
        self._has_text = False
        self._takes = self._lines = 0  # each line spoken has a seed of its own
        self._warnings: list[str] = []
        try:
            self._file = self._new_file()
        except ValueError as error:
            raise InvalidInput(str(error), [Fault("bitrate_kbps", str(error))]) from None

    def _new_file(self) -> _File:
        return _File(OutputEncoder(self._output, self._speed, self._service.made_by, joined=False))

    @property
    def encoder(self) -> OutputEncoder:
        return self._file.encoder

    # --- text -----------------------------------------------------------------------------------------------------

    def push(self, text: object) -> None:
        """Raises: InvalidInput."""
        text = piece_of_text(text)
        if len(text) + self.waiting()[1] > MAX_WAITING_CHARS:
            raise InvalidInput(f"more than {MAX_WAITING_CHARS} characters would wait to be spoken")
        self._require_room()
        self._has_text = self._has_text or bool(text.strip())
        self._waiting.extend(self._sentences.push(text))

    def mark(self, mark: Mark) -> None:
        """All text so far counts as complete, and is followed by the mark. Raises: InvalidInput."""
        self._require_room()
        self._waiting.extend([*self._sentences.flush(), mark])

    def _require_room(self) -> None:
        if len(self._waiting) > MAX_WAITING_ITEMS:
            raise InvalidInput(f"more than {MAX_WAITING_ITEMS} sentences and flushes wait")

    def clear(self) -> None:
        """Text that waits is not spoken."""
        self._sentences = Sentences(self._service.spec.tags)
        self._waiting.clear()

    def cancel(self) -> None:
        """What was spoken counts no more: the next take begins a new file. No take may be running."""
        self._is_cancelled = True

    @property
    def is_waiting(self) -> bool:
        return bool(self._waiting)

    def waiting(self) -> tuple[int, int]:
        """How many sentences and marks wait, and how many characters these have."""
        items = tuple(self._waiting)  # which the other thread may change
        return len(items), sum(len(item.text) for item in items if isinstance(item, Sentence))

    def next(self) -> Take | Mark:
        """What comes next: as much of the text that waits as goes into one take, or a mark."""
        if self._is_cancelled:
            self._is_cancelled, self._file = False, self._new_file()
        item = self._waiting.popleft()
        if isinstance(item, Mark):
            return item
        take = Take(self._takes, [item])
        self._takes += 1
        self._file.takes += 1
        while self._waiting and isinstance(item := self._waiting[0], Sentence) and take.has_room_for(item):
            take.sentences.append(item)
            self._waiting.popleft()
        return take

    # --- speech: each a job's events ------------------------------------------------------------------------------

    def condition(self, clock: JobClock) -> Generator[Event]:
        """Make the recording the voice of all takes. It is not kept."""
        raw = self.fields | {"text": "A"}
        self.fields = {name: value for name, value in self.fields.items() if name not in {*REFERENCES, "voice_mode"}}
        self.fields["voice"] = CLONE
        with closing(self._service.condition(f"{self.id}-voice", raw, clock=clock)) as events:
            for event in events:
                if isinstance(event, EndEvent):
                    self._clone = event.reply["clone"]
                    self._warnings += event.reply["warnings"]
                yield event

    def say(self, take: Take, clock: JobClock) -> Generator[Event]:
        """The events of one take, with the session's file in them; the silence before it precedes its start, which
        comes with its first sound."""
        if silence := self._silence_before(take):
            yield silence
        take.start_s, start = self.encoder.seconds, None
        job_id, raw = f"{self.id}-{take.index}", self._job(take.text)
        running = self._service.run(
            job_id, raw, joined=False, clock=clock, clone=self._clone, translated=self._translated
        )
        with closing(running) as events:
            for event in events:
                if isinstance(event, StartEvent):
                    start = event
                    continue
                if isinstance(event, AudioEvent):
                    if start:
                        yield start
                        start = None
                    self._file.words += [_later(word, take.start_s) for word in event.words or ()]
                    if not (data := self.encoder.encode(self.encoder.level(_samples(event.data)))):
                        continue
                    words = tuple(self._new_words())
                    event = replace(event, data=data, format=self.encoder.format.name, words=words)
                elif isinstance(event, EndEvent):
                    self._note(event.reply)
                    take.last_words = tuple(self._new_words())
                    take.end_s = self.encoder.seconds
                yield event

    def _new_words(self) -> list[WordTime]:
        """Those spoken since the last call, with times of the whole file, if they were asked for."""
        file = self._file
        words, file.sent_words = file.words[file.sent_words :], len(file.words)
        return words if self._output.word_timestamps else []

    def _job(self, text: str) -> Json:
        seed = (self.seed + SEED_STEP * self._lines) % (MAX_SEED + 1)
        own = {"output_format": TAKE_FORMAT, "sample_rate": self.encoder.rate_hz, "seed": seed}
        own["word_timestamps"] = self._output.word_timestamps or self._output.captions is not None
        return self.fields | own | {"text": text}

    def _silence_before(self, take: Take) -> AudioEvent | None:
        """As it would be between two segments of one text."""
        encoder, (pause_ms, paragraph_ms) = self.encoder, self._pauses_ms
        if take.sentences[0].begins is Break.PARAGRAPH:
            pause_ms = max(pause_ms, paragraph_ms)
        if not encoder.seconds or not pause_ms:
            return None
        start_s, data = encoder.seconds, self._silence(pause_ms)
        return AudioEvent(0, data, encoder.format.name, encoder.rate_hz, start_s, pause_ms / 1000) if data else None

    def _silence(self, length_ms: float) -> bytes:
        silence = np.zeros(round(length_ms * self.encoder.rate_hz / 1000), dtype=np.float32)
        return self.encoder.encode(self.encoder.level(silence))

    def _note(self, reply: Json) -> None:
        file, metrics = self._file, reply["metrics"]
        self._lines += len(reply["segments"])
        file.work_s += metrics["total_generation_time"]
        file.watermarked &= reply["watermarked"]
        if "timing" in reply and file.timing != "estimated":
            file.timing = reply["timing"]
        if file.first_chunk_s is None:
            file.first_chunk_s = metrics["latency_to_first_chunk"]
        self._warnings += [warning for warning in reply["warnings"] if warning not in self._warnings]

    def finish(self) -> tuple[bytes, Json]:
        """The last bytes of the file, and the report about it. In another contract, whose clients treat a text without
        sound as a failure, a text of signs alone becomes a short silence, as in `Service.run`."""
        is_wordless = self._translated and self._has_text and not self.encoder.seconds
        rest = (self._silence(WORDLESS_MS) if is_wordless else b"") + self.encoder.flush()
        seconds, file = self.encoder.seconds, self._file
        shown = {"captions": captions(file.words, self._output.captions)} if self._output.captions else {}
        timing = {"timing": file.timing} if file.timing else {}
        left_out = [REASONING_LEFT_OUT] if self._sentences.has_left_out else []
        return rest, {
            "duration": round(seconds, 6),
            "takes": file.takes,
            "watermarked": file.takes > 0 and file.watermarked and self.encoder.keeps_watermark,
            "metrics": {"latency_to_first_chunk": file.first_chunk_s, **work_metrics(file.work_s, seconds)},
            **timing,
            **shown,
            "warnings": [*self._warnings, *left_out, *self.encoder.warnings],
        }


def piece_of_text(sent: object) -> str:
    """Raises: InvalidInput."""
    if not isinstance(sent, str):
        raise InvalidInput.of(Fault("text", f"must be a string (got {shown(sent)})"))
    if len(sent) > MAX_PIECE_CHARS:
        raise InvalidInput(f"a piece of text must be at most {MAX_PIECE_CHARS} characters (got {len(sent)})")
    return sent


def _later(word: WordTime, by_s: float) -> WordTime:
    return replace(word, start_s=word.start_s + by_s, end_s=word.end_s + by_s)


def _samples(pcm: bytes) -> Samples:
    return np.frombuffer(pcm, dtype="<i2").astype(np.float32) / np.float32(INT16_SCALE)


def _checked(start: Json) -> TtsFields:
    """Types and ranges. Raises: InvalidInput, Unsupported."""
    if "text" in start:
        raise InvalidInput.of(Fault("text", "comes in messages of its own"))
    fields, findings = typed(TtsFields, start | {"text": "A"})
    if fields is None:
        raise refusal(findings)
    if fields.audio_normalization not in (None, "lufs"):
        message = "needs the whole clip, which a stream never has: leave it out, or ask for lufs"
        raise Unsupported.of(Fault("audio_normalization", message))
    return fields
