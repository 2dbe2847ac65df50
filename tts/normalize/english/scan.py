"""One scan from left to right: each place is classified by the first shape that matches, and put into words.

A shape is a pattern and a function that words its matches. Where one may begin, the shapes are tried in order, the
most specific first; the first that returns words wins. Matched text is not scanned again: no rule sees the words that
another produced, and both sides of a match can be inspected as they were written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tts.normalize.english.numbers import Variety

# A number, a word, any mark; a space only before what joins two numbers. Not the inside of a word or a number.
PLACE = re.compile(r"(?<![0-9])[0-9]|(?<![^\W\d_])[^\W\d_]|[^\w\s]|(?<=\w|[%°″′\"]) (?=[-–—−~x×/])")
LOOKBEHIND_CHARS = 60
# After an abbreviation a sentence ends at the end of the line, or before a capital.
SENTENCE_ENDS = re.compile(r"""["')\]]*(?:[ \t]*(?:\n|\Z)|[ \t]+["'(]*[A-Z])""")

DIGIT, LETTER, MARK = "0", "a", "-"  # what a match begins with


@dataclass(frozen=True, slots=True)
class Shape:
    """`say` returns None for a match that is something else."""

    pattern: re.Pattern[str]
    say: Callable[[re.Match[str], Variety], str | None]
    begins: str = DIGIT  # one or more of the three
    follows: bool = False  # only directly after another match: what joins two of them


class Grammar:
    """Shapes in their order, the most specific first."""

    def __init__(self, shapes: Iterable[Shape]) -> None:
        shapes = tuple(shapes)
        self._by_kind = {
            (kind, is_after): [s for s in shapes if kind in s.begins and (is_after or not s.follows)]
            for kind in (DIGIT, LETTER, MARK)
            for is_after in (False, True)
        }

    def say(self, text: str, variety: Variety) -> str:
        """The text with every shape in words. Linear, because the reach of every pattern is bounded."""
        said: list[str] = []
        end = 0
        for place in PLACE.finditer(text):
            start = place.start()
            if start < end:
                continue
            for shape in self._by_kind[_kind(place[0]), 0 < start == end]:
                match = shape.pattern.match(text, start)
                if match and (words := shape.say(match, variety)) is not None:
                    said += (text[end:start], words)
                    end = match.end()
                    break
        return "".join([*said, text[end:]])


def _kind(char: str) -> str:
    if char in "0123456789":
        return DIGIT
    return LETTER if char.isalpha() else MARK


def text_before(match: re.Match[str]) -> str:
    """The last LOOKBEHIND_CHARS characters before a match."""
    return match.string[max(0, match.start() - LOOKBEHIND_CHARS) : match.start()]


def text_after(match: re.Match[str], chars: int) -> str:
    return match.string[match.end() : match.end() + chars]


def spaced(match: re.Match[str], said: str) -> str:
    """The words for a match, with a space where a letter or digit touches it."""
    return (" " if text_before(match)[-1:].isalnum() else "") + said + (" " if text_after(match, 1).isalnum() else "")


def stop_after(match: re.Match[str]) -> str:
    """The full stop to keep where a matched abbreviation ended in one, and the sentence with it."""
    return "." if match[0].endswith(".") and SENTENCE_ENDS.match(match.string, match.end()) else ""
