"""When each word of a segment is spoken: from the engine's samples to those of the reply.

The engine's times go the way of its samples: trimming, tempo, crossfade, resampling. Where the engine reports none, or
impossible ones, they are estimated from the sound.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from audio.pauses import LevelTrack
from tts.engine import SpeechChunk, SpokenWord
from tts.text.script import Line
from tts.text.words import LineWord, SentWord
from tts.word_times import estimate

WRONG_TIMES = "the engine's word times run backwards or beyond the sound, so they are estimated"

Place: TypeAlias = Callable[[int], int | None]  # a sample of the engine → of the reply; None before that is known


@dataclass(frozen=True, slots=True)
class TimedWord:
    """A sent word, its start and end in samples of the reply."""

    word: SentWord
    start: int
    end: int


class SegmentWords:
    """The words of one segment while it is spoken: `note` its chunks, `ready` after each, `rest` at its end."""

    def __init__(self, line: Line, sample_rate_hz: int) -> None:
        self.is_estimated = False  # whether a word's time is; valid after `rest`
        self.is_refused = False  # whether the engine reported impossible times
        self._line, self._rate_hz = line, sample_rate_hz
        self._left = deque(line.words)
        self._reported: list[SpokenWord] = []
        self._levels = LevelTrack(sample_rate_hz)
        self._samples = 0  # of the engine so far
        self._passed = 0  # characters of the line up to the end of the last word that was ready

    def note(self, chunk: SpeechChunk) -> None:
        self._levels.push(chunk.samples)
        self._samples += len(chunk.samples)
        for word in () if self.is_refused else chunk.words:
            if not self._follows(word):
                self.is_refused = True
                self._reported = [reported for reported in self._reported if reported.last <= self._passed]
                return
            self._reported.append(word)

    def _follows(self, word: SpokenWord) -> bool:
        """Whether a word can be the next one."""
        last, end = (self._reported[-1].last, self._reported[-1].end) if self._reported else (0, 0)
        return last <= word.first < word.last <= len(self._line.text) and end <= word.start <= word.end <= self._samples

    def ready(self, place: Place, until: int) -> Iterator[TimedWord]:
        """The words that certainly end before the sample `until` of the reply, but for the last one, whose end may be
        trimmed."""
        while len(self._left) > 1 and self._reported and self._left[0].last <= self._reported[-1].last:
            start, end = map(place, self._span(self._left[0]))
            if start is None or end is None or end > until:
                return
            word = self._left.popleft()
            self._passed = word.last
            yield TimedWord(word.word, start, end)

    def rest(self, place: Place, first: int, last: int) -> Iterator[TimedWord]:
        """All other words, once the segment is at an end: it is between these two samples of the reply."""
        known = self._reported[-1].last if self._reported else 0
        spans = [self._span(word) for word in self._left if word.last <= known]
        unknown = [word for word in self._left if word.last > known]
        self.is_estimated = bool(unknown)
        for word, span in zip(self._left, [*spans, *self._estimated(unknown)], strict=True):
            start, end = (min(max(first, place(sample) or 0), last) for sample in span)
            yield TimedWord(word.word, start, end)
        self._left.clear()

    def _estimated(self, words: Sequence[LineWord]) -> Iterator[tuple[int, int]]:
        """Of words after the last one that the engine reported: from the sound after that."""
        known, here = (self._reported[-1].last, self._reported[-1].end) if self._reported else (0, 0)
        places = [(max(word.first, known), word.last) for word in words if word.first < word.last]
        found = iter(estimate(self._line.text, places, self._levels.stretches(here), self._rate_hz))
        for word in words:
            start, here = next(found) if word.first < word.last else (here, here)  # the other is left out
            yield start, here

    def _span(self, word: LineWord) -> tuple[int, int]:
        """In the engine's samples; shared out by letters where the engine has fewer words, or others."""
        reported = self._reported
        first = bisect_right(reported, word.first, key=lambda each: each.last)  # the first that ends after it begins
        last = bisect_left(reported, word.last, key=lambda each: each.first) - 1  # the last that begins before it ends
        if first > last or word.first == word.last:  # the engine reported none of it, or it is left out
            before = reported[first - 1] if first else SpokenWord(0, 0, 0, 0)
            none = SpokenWord(word.last, word.last, before.end, before.end)
            after = reported[first] if first < len(reported) else none
            reported = [SpokenWord(before.last, max(before.last + 1, after.first), before.end, after.start)]
            first = last = 0
        return _at(reported[first], word.first), _at(reported[last], word.last)


def _at(word: SpokenWord, char: int) -> int:
    within = min(max(char, word.first), word.last) - word.first
    return word.start + round((word.end - word.start) * within / (word.last - word.first))
