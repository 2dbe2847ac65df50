"""One scan over a text, from left to right: what is written at each place is classified, then put into words.

A shape is a pattern and what says its matches. At each place where one may begin, the shapes are tried in order, the
most specific first, and the first with words for what it matched wins. What it matched is not looked at again: no
rule sees the words or the remains of another's, and both sides of a match can be looked at as they were written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tts.normalize.english_numbers import Variety

# A number, a word, any mark; a space only before what joins two numbers. Not the inside of a word or a number.
PLACE = re.compile(r"(?<![0-9])[0-9]|(?<![^\W\d_])[^\W\d_]|[^\w\s]|(?<=\w|[%°″′\"]) (?=[-–—−~x×/])")
LEFT_CHARS = 60  # that a rule may look at


DIGIT, LETTER, MARK = "0", "a", "-"  # what a match begins with


@dataclass(frozen=True, slots=True)
class Shape:
    """`say` returns None for a match that is something else."""

    pattern: re.Pattern[str]
    say: Callable[[re.Match[str], Variety], str | None]
    begins: str = DIGIT  # one or more of the three
    follows: bool = False  # only directly after a match of another shape: what joins two of them


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
        """The text with every shape said. Linear, because every pattern's reach is bounded."""
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


def left(match: re.Match[str]) -> str:
    """What stands before a match, as far as a rule may look."""
    return match.string[max(0, match.start() - LEFT_CHARS) : match.start()]
