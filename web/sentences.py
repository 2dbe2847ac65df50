"""Text that comes in pieces, a language model's tokens say, cut into sentences as soon as each is complete.

Where a sentence ends is decided by `tts.boundaries`, which must have seen what follows: a sentence is complete when the
next one has begun, or when white space follows a mark that leaves no doubt. It does not know what becomes of one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tts.boundaries import Break, boundaries
from tts.text import segment
from validation.markup import parts

MAX_OPEN_CHARS = 600  # of a sentence that does not end; then as much of it goes as makes a segment
NEXT_WORD = "A "  # stands for a sentence that is still to come
PLAIN_MARKS = tuple(".!?")
UNSPACED_MARKS = tuple("。！？｡।॥")  # after which no white space is to be waited for


@dataclass(frozen=True, slots=True)
class Sentence:
    """Something to say: it holds a letter or digit. `begins` tells what was before it."""

    text: str
    begins: Break  # SENTENCE: the same line goes on, or a new one begins; PARAGRAPH: a blank line was there


class Sentences:
    """`push()*`, then `flush()`; after a flush it goes on."""

    def __init__(self) -> None:
        self._line = ""  # what is not complete
        self._has_spoken = self._blank = False

    def push(self, piece: str) -> list[Sentence]:
        """The sentences that this piece completes."""
        return list(self._pushed(piece))

    def flush(self) -> list[Sentence]:
        """What is there counts as complete. What has nothing to say is dropped."""
        return list(self._end_line())

    def _pushed(self, piece: str) -> Iterator[Sentence]:
        first, *others = piece.replace("\r", "").replace("\u2029", "\n\n").split("\n")
        self._line += first
        yield from self._complete()
        for line in others:
            yield from self._end_line()
            self._line = line
            yield from self._complete()

    def _complete(self) -> Iterator[Sentence]:
        """Cut off what is complete of the open line."""
        heads, self._line = _cut(self._line)
        for head in heads:
            yield self._sentence(head)
        if len(self._line) > MAX_OPEN_CHARS and (pieces := segment(self._line)):
            for piece in pieces[:-1]:
                if _says_something(piece.text):
                    yield self._sentence(piece.text)
            self._line = pieces[-1].text + " " * self._line[-1].isspace()

    def _end_line(self) -> Iterator[Sentence]:
        if _says_something(self._line):
            yield self._sentence(self._line)
        elif not self._line.strip():
            self._blank = self._has_spoken
        self._line = ""

    def _sentence(self, text: str) -> Sentence:
        begins = Break.PARAGRAPH if self._blank else Break.SENTENCE
        self._has_spoken, self._blank = True, False
        return Sentence(" ".join(text.split()), begins)


def _cut(text: str) -> tuple[list[str], str]:
    """The complete sentences, each of which says something, and the rest."""
    words = " ".join(text.split())
    probe = NEXT_WORD if _is_ended(text) else ""
    line = f"{words} {probe}" if words.isascii() or not words.endswith(UNSPACED_MARKS) else f"{words}{probe or ' '}"
    heads: list[str] = []
    start = 0
    for boundary in boundaries(line):
        is_end = boundary.rank >= Break.SENTENCE and not boundary.depth and boundary.place < len(line)
        if is_end and _says_something(line[start : boundary.place]):
            heads.append(line[start : boundary.place])
            start = boundary.place
    rest = words[start:]
    return heads, rest + " " * (bool(rest) and text[-1:].isspace())


def _is_ended(text: str) -> bool:
    """Whether a sentence surely ends here, whatever follows: after a quote or dots it may go on."""
    bare = text.rstrip()
    return text.endswith(UNSPACED_MARKS) or (bare != text and bare.endswith(PLAIN_MARKS) and not bare.endswith(".."))


def _says_something(text: str) -> bool:
    return any(isinstance(part, str) and any(map(str.isalnum, part)) for part in parts(text))
