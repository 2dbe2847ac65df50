"""Text that arrives in pieces, a language model's tokens say, cut into sentences as soon as each is complete.

`tts.text.boundaries` needs to see what follows: a sentence is complete when the next one has begun, or when white space
follows an unambiguous mark.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import product

from tts.normalize.lines import BROKEN, ENDED, continues, joined
from tts.text.boundaries import Break, boundaries
from tts.text.segments import segment
from validation.markup import REASONING, REASONING_NAMES, REASONING_STARTS, Tag, parts

MIN_WRAPPED_CHARS = 30  # of a line that may go on in the next
CONTEXT_CHARS = 80  # before a tag
MAX_OPEN_CHARS = 600  # of a sentence that does not end; then as much of it goes as makes a segment
NEXT_WORD = "A "  # stands for a sentence that is still to come
PLAIN_MARKS = tuple(".!?")
REASONING_TAGS = [*map("".join, product(("<", "&lt;"), ("", "/"), REASONING_NAMES, (">", "&gt;")))]
LONGEST_TAG = max(map(len, REASONING_TAGS))
TAG_START = re.compile("[<&]")
UNSPACED_MARKS = tuple("。！？｡।॥")  # after which no white space is to be waited for


@dataclass(frozen=True, slots=True)
class Sentence:
    """It has a letter, a digit or a tag of the engine's. `begins` is the break before it."""

    text: str
    begins: Break  # SENTENCE: the same line goes on, or a new one begins; PARAGRAPH: a blank line was there
    is_new_line: bool = False


class Sentences:
    """`push()*`, then `flush()`; more may follow. `tags` are the names of those that the engine speaks."""

    def __init__(self, tags: Collection[str] = ()) -> None:
        self._tags = tags
        self._line = ""  # what is not complete
        self._wrapped = ""  # the line before it, where that may go on in it
        self._has_spoken = self._blank = self._is_new_line = False
        self._answer = _Answer()

    @property
    def has_left_out(self) -> bool:
        """Whether the text held a language model's reasoning, which is in no sentence."""
        return self._answer.has_left_out

    def push(self, piece: str) -> list[Sentence]:
        """The sentences that this piece completes."""
        return list(self._pushed(self._answer.push(piece)))

    def flush(self) -> list[Sentence]:
        """All text so far counts as complete. What has no letter or digit is dropped."""
        return [*self._pushed(self._answer.flush()), *self._end_line()]

    def _pushed(self, piece: str) -> Iterator[Sentence]:
        first, *others = piece.replace("\r", "").replace("\u2029", "\n\n").split("\n")
        self._line += first
        yield from self._complete()
        for line in others:
            yield from self._end_line(may_go_on=True)
            self._line = line
            yield from self._complete()

    def _unwrap(self, is_last: bool) -> Iterator[Sentence]:
        """Join the wrapped line to the open one, or end it, as soon as the open one's first word decides."""
        words = self._line.split(maxsplit=1)
        if not self._wrapped or not (is_last or len(words) > 1 or (words and self._line[-1].isspace())):
            return
        line, self._wrapped = self._wrapped, ""
        if words and (continues(line, self._line) or words[0][0].islower()):
            self._line = joined(line, self._line)
        else:
            yield self._sentence(line)
            self._is_new_line = True

    def _complete(self) -> Iterator[Sentence]:
        """Cut off what is complete of the open line."""
        yield from self._unwrap(is_last=False)
        if self._wrapped:
            return
        heads, self._line = _cut(self._line)
        for head in heads:
            yield self._sentence(head)
        if len(self._line) > MAX_OPEN_CHARS and (pieces := segment(self._line)):
            for piece in pieces[:-1]:
                if _says_something(piece.text):
                    yield self._sentence(piece.text)
            self._line = pieces[-1].text + " " * self._line[-1].isspace()

    def _end_line(self, may_go_on: bool = False) -> Iterator[Sentence]:
        yield from self._unwrap(is_last=True)
        is_open = BROKEN.search(self._line) or not ENDED.search(self._line)
        if may_go_on and is_open and len(self._line) >= MIN_WRAPPED_CHARS and _says_something(self._line):
            self._wrapped, self._line = self._line.rstrip(), ""
            return
        if _says_something(self._line, self._tags):
            yield self._sentence(self._line)
        elif may_go_on and not self._line.strip():  # a blank line, and not a flush where a sentence has just ended
            self._blank = self._has_spoken
        self._line, self._is_new_line = "", True

    def _sentence(self, text: str) -> Sentence:
        begins = Break.PARAGRAPH if self._blank else Break.SENTENCE
        is_new_line, self._is_new_line = self._is_new_line and self._has_spoken, False
        self._has_spoken, self._blank = True, False
        return Sentence(" ".join(text.split()), begins, is_new_line)


class _Answer:
    """A language model's text without its reasoning: `push()*`, then `flush()`."""

    def __init__(self) -> None:
        self._before, self._held = "", ""  # the end of what was dealt with, and what may belong to a tag
        self._reasons = self.has_left_out = False

    def push(self, piece: str) -> str:
        text = self._before + self._held + piece
        at, kept = len(self._before), ""
        end = _tag_start(text)
        while tag := REASONING.search(text, at):
            begins = self._reasons or tag["closes"] or _begins_reasoning(tag)
            if begins is None:
                end = tag.start()
                break
            kept += "" if self._reasons else text[at : tag.start() if begins else tag.end()]
            self._reasons = bool(begins) and not tag["closes"]
            self.has_left_out |= self._reasons
            at = tag.end()
        end = max(at, end)
        self._before, self._held = text[:end][-CONTEXT_CHARS:], text[end:]
        return kept if self._reasons else kept + text[at:end]

    def flush(self) -> str:
        """The text that follows a flush answers again."""
        held = "" if self._reasons else self._held
        self._before, self._held, self._reasons = "", "", False
        return held


def _begins_reasoning(tag: re.Match[str]) -> bool | None:
    """Whether an opening tag begins reasoning. Within a sentence it is a word unless a closing tag follows within
    MAX_OPEN_CHARS: None while that can't be known."""
    text, start, last = tag.string, tag.start(), tag.start() + MAX_OPEN_CHARS
    if REASONING_STARTS.search(text[max(0, start - CONTEXT_CHARS) : start]):
        return True
    if any(following["closes"] for following in REASONING.finditer(text, tag.end(), last)):
        return True
    return None if len(text) < last else False


def _tag_start(text: str) -> int:
    """Where a tag begins that may go on after the end of `text`; without one, its end."""
    for match in TAG_START.finditer(text, max(0, len(text) - LONGEST_TAG)):
        if any(tag.startswith(text[match.start() :].lower()) for tag in REASONING_TAGS):
            return match.start()
    return len(text)


def _cut(text: str) -> tuple[list[str], str]:
    """The complete sentences, each of which says something, and the rest."""
    words = " ".join(text.split())
    probe = NEXT_WORD if _is_ended(text) else ""
    line = f"{words}{probe or ' '}" if words.endswith(UNSPACED_MARKS) else f"{words} {probe}"
    heads: list[str] = []
    start = checked = 0  # no mark spans two sentences, so what says nothing is looked at once
    for boundary in boundaries(line):
        if boundary.rank < Break.SENTENCE or boundary.depth or boundary.place == len(line):
            continue
        if _says_something(line[checked : boundary.place]):
            heads.append(line[start : boundary.place])
            start = boundary.place
        checked = boundary.place
    rest = words[start:]
    return heads, rest + " " * (bool(rest) and text[-1:].isspace())


def _is_ended(text: str) -> bool:
    """Whether a sentence surely ends here, whatever follows: after a quote or dots it may go on."""
    bare = text.rstrip()
    return text.endswith(UNSPACED_MARKS) or (bare != text and bare.endswith(PLAIN_MARKS) and not bare.endswith(".."))


def _says_something(text: str, tags: Collection[str] = ()) -> bool:
    return any(
        any(map(str.isalnum, part)) if isinstance(part, str) else isinstance(part, Tag) and part.name in tags
        for part in parts(text)
    )
