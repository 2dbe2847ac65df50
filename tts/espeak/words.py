"""eSpeak NG's events into words and their times.

eSpeak NG reports where a word starts, not where it ends, and speaks what it likes as one word: a number is several,
"in the" is one. So a word of its is all of the text up to the next one, and lasts until the silence before that.
"""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Iterator
from typing import IO

from tts.engine import SpokenWord
from tts.espeak.child import END, PAUSE, RECORD, WORD

PIECE = re.compile(r"\S+")


class WordClock:
    """The words of one segment's text, from the records that the child writes to a file.

    Times are nondecreasing, and so are places in the text: what contradicts them is left out.
    """

    def __init__(self, text: str, file: IO[bytes]) -> None:
        self._text = text
        self._file = file
        self._read_bytes = 0
        self._word: tuple[int, int, int] | None = None  # its place in the text, and its first sample
        self._silence: int | None = None  # its first sample, if it goes on
        self._ended: deque[tuple[int, SpokenWord]] = deque()  # and the sample at which that was known
        self._last = SpokenWord(0, 0, 0, 0)

    def take(self, samples: int) -> Iterator[SpokenWord]:
        """The words whose end follows from the events before a sample, which the child has written."""
        self._read()
        while self._ended and self._ended[0][0] < samples:
            yield self._ended.popleft()[1]

    def flush(self, samples: int) -> Iterator[SpokenWord]:
        """All other words; the segment has that many samples."""
        self._read()
        self._end_word(len(self._text), samples)
        yield from (word for _, word in self._ended if word.end <= samples)

    def _read(self) -> None:
        written = os.pread(self._file.fileno(), os.fstat(self._file.fileno()).st_size, self._read_bytes)
        whole = len(written) // RECORD.size * RECORD.size
        self._read_bytes += whole
        for kind, position, length, sample in RECORD.iter_unpack(written[:whole]):
            if kind == WORD:
                self._start_word(position - 1, length, sample)
            elif kind == END:
                self._end_word(position, sample)
            elif kind != PAUSE:
                self._silence = None
            elif self._silence is None:
                self._silence = sample

    def _start_word(self, first: int, length: int, sample: int) -> None:
        """Unless it goes on: eSpeak NG places further words of a number inside of it, those of a sign after it."""
        if self._word and (first < self._word[1] or self._text[first : first + 1].isspace()):
            return
        self._end_word(first, sample)
        self._word = first, first + max(length, 1), sample

    def _end_word(self, place: int, sample: int) -> None:
        """The word in progress goes up to a place of the text, and sounds until the silence before a sample."""
        if self._word:
            first, last, start = self._word
            end = sample if self._silence is None else self._silence
            if self._last.last <= first and self._last.end <= start <= end:
                for word in split(self._text, first, max(last, place), start, end):
                    self._last = word
                    self._ended.append((sample, word))
        self._word = self._silence = None


def split(text: str, first: int, last: int, start: int, end: int) -> Iterator[SpokenWord]:
    """A stretch of text as one word for each part between spaces that has a letter or digit, by their lengths."""
    pieces = [(piece.start(), piece.end()) for piece in PIECE.finditer(text, first, last)]
    pieces = pieces[:1] + [piece for piece in pieces[1:] if any(map(str.isalnum, text[slice(*piece)]))]
    length = sum(last - first for first, last in pieces)
    done = 0
    for first, last in pieces:
        at, done = done, done + last - first
        yield SpokenWord(first, last, start + (end - start) * at // length, start + (end - start) * done // length)
