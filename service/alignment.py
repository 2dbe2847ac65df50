"""When each character of a text is spoken, from the times of its words: what some contracts report in place of words.

A word's characters share its time evenly; spaces and punctuation share that between two words.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from service.events import AudioEvent, WordTime


@dataclass(frozen=True, slots=True)
class CharTime:
    char: str
    start_s: float
    end_s: float


class Alignment:
    """The characters of one text, each once and in order: `push(words)*`, then `flush(end_s)`. Times never decrease."""

    def __init__(self, text: str, start_s: float = 0.0) -> None:
        self._text, self._at, self._end_s = text, 0, start_s
        self._last: CharTime | None = None  # it lasts until the sound ends: pipecat counts the next text from there

    def push(self, words: Iterable[WordTime]) -> list[CharTime]:
        """The characters up to the end of the last of these words."""
        chars = [char for word in words for char in self._word(word)]
        if chars and self._at == len(self._text):
            self._last = chars.pop()
        return chars

    @property
    def is_spoken(self) -> bool:
        """Whether no word is left: only spaces and punctuation follow, or nothing."""
        return not any(map(str.isalnum, self._text[self._at :]))

    def flush(self, end_s: float) -> list[CharTime]:
        """The rest of the text, whose sound ends at `end_s`."""
        last, self._last = self._last, None
        return [replace(last, end_s=max(last.end_s, end_s))] if last else self._spread(len(self._text), end_s)

    def _word(self, word: WordTime) -> Iterator[CharTime]:
        """A word that is not in the rest of the text, as one in markup may be, has no characters."""
        first = self._text.find(word.text, self._at)
        if first < 0:
            return
        yield from self._spread(first, word.start_s)
        yield from self._spread(first + len(word.text), word.end_s)

    def _spread(self, last: int, end_s: float) -> list[CharTime]:
        """The characters up to `last`, evenly from the end of the one before to `end_s`."""
        chars, start_s = self._text[self._at : last], self._end_s
        self._at, self._end_s = last, max(start_s, end_s)
        step_s = (self._end_s - start_s) / len(chars) if chars else 0.0
        return [CharTime(char, start_s + i * step_s, start_s + (i + 1) * step_s) for i, char in enumerate(chars)]


class AlignedAudio:
    """Pieces of the sound of one text, each with the characters that end in it: `push(event)*`, then `flush(end_s)`.

    From the last word on a piece waits for the next one, because the last piece has what follows that word.
    """

    def __init__(self, text: str, start_s: float = 0.0) -> None:
        self._alignment = Alignment(text, start_s)
        self._held: tuple[AudioEvent, list[CharTime]] | None = None

    def push(self, event: AudioEvent) -> list[tuple[AudioEvent, list[CharTime]]]:
        ready = [self._held] if self._held else []
        aligned = event, self._alignment.push(event.words or ())
        self._held = aligned if self._alignment.is_spoken else None
        return ready if self._held else [*ready, aligned]

    def flush(self, end_s: float, words: Iterable[WordTime] = ()) -> tuple[AudioEvent | None, list[CharTime]]:
        """The last piece, if it waited, and the rest of the characters. `words`: those that no piece had."""
        (event, chars), self._held = self._held or (None, []), None
        return event, [*chars, *self._alignment.push(words), *self._alignment.flush(end_s)]
