"""One `tts` request from text to encoded bytes: script → speech → level → encoder → events."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from service.captions import captions
from service.events import WordTime
from service.json_events import json_bytes, word_fields
from service.sound_job import SoundJob
from service.speech import Speech
from service.word_times import TimedWord
from tts.text.script import Line, Script, write
from validation.errors import Fault, Unsupported
from validation.request import TtsRequest

SEGMENT_OVERHEAD_BYTES = 64
WORD_OVERHEAD_BYTES = 60


@dataclass(slots=True, kw_only=True)
class Synthesis(SoundJob):
    """A text being spoken."""

    OPERATION: ClassVar[str] = "tts"
    SMALLER: ClassVar[str] = "send the text in several requests"

    request: TtsRequest
    _script: Script = field(init=False)
    _sound: Speech = field(init=False)
    _sent_words: int = 0

    def __post_init__(self) -> None:
        """Raises: Unsupported, InvalidInput, OutputTooLarge."""
        request = self.request
        self._script = write(
            request.text, request.reading, word_times=request.sampling.word_times, tags=self.engine.spec.tags
        )
        if reason := self.engine.spec.refused(self._script.spoken, request.sampling.language):
            raise Unsupported.of(Fault("text", reason))
        # No engine makes the silence for a text without words.
        rate_hz = self._open(self.made_by if self._script.lines else None)
        self.warnings += self._script.warnings
        self._sound = Speech(self.engine, self.conditioning, request.sampling, request.sound, rate_hz, self._script)
        texts = request.text, self._spoken_text(), request.reading.pronunciations
        self._other_json_bytes += sum(map(json_bytes, texts))
        self._other_json_bytes += sum(json_bytes(line.text) + SEGMENT_OVERHEAD_BYTES for line in self._script.lines)
        self._other_json_bytes += sum(map(self._word_bytes, self._script.lines))

    def _planned_s(self) -> tuple[float, float]:
        return self._script.usual_s(self.request.sound.speed)

    def _plan(self, whole_s: float) -> str:
        return f"at an ordinary pace ({whole_s:.0f} s of sound)"

    def _progress(self, seconds: float) -> tuple[str, float]:
        done, of = self._sound.lines_done, len(self._script.lines)
        return f"after {seconds:.0f} s of sound ({done} of {of} segments)", seconds * of / max(done, 1)

    def _other_bytes(self) -> int:
        parts = max(0, self._sound.segments_done - len(self._script.lines))  # of lines that were split
        return SoundJob._other_bytes(self) + SEGMENT_OVERHEAD_BYTES * parts

    def _content(self) -> dict[str, Any]:
        return {"text": self.request.text, **self._spoken_text()}

    def _spoken_text(self) -> dict[str, str]:
        """What is said, where it differs by more than white space."""
        spoken = self._script.spoken
        return {} if spoken.split() == self.request.text.split() else {"spoken_text": spoken}

    def _timings(self) -> dict[str, Any]:
        segments = [
            {"text": part.text, "start": self._seconds(part.start), "end": self._seconds(part.end)}
            for part in self._sound.segments
        ]
        return {"segments": segments, **self._word_times()}

    # --- words -----------------------------------------------------------------------------------------------

    def _words_until(self, sample: int) -> tuple[WordTime, ...] | None:
        if not self.request.output.word_timestamps:
            return None
        first = self._sent_words
        while self._sent_words < len(self._sound.words) and self._sound.words[self._sent_words].end <= sample:
            self._sent_words += 1
        return tuple(map(self._word_time, self._sound.words[first : self._sent_words]))

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

    def _word_times(self) -> dict[str, Any]:
        """The times of the words, if they were asked for, as a list and as captions."""
        output, speech = self.request.output, self._sound
        if not self.request.sampling.word_times:
            return {}
        words = [*map(self._word_time, speech.words)]
        timing = None if speech.is_estimated else self.engine.spec.word_timing
        listed = {"words": [*map(word_fields, words)]} if output.word_timestamps else {}
        shown = {"captions": captions(words, output.captions)} if output.captions else {}
        return {"timing": timing or "estimated", **listed, **shown}
