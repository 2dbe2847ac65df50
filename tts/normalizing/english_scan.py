"""One scan over a text, from left to right: what is written at each place is classified, then put into words.

A shape is a pattern and what says its matches. At each place where one may begin, the shapes are tried in order, the
most specific first, and the first with words for what it matched wins. What it matched is not looked at again: no
rule sees the words or the remains of another's, and both sides of a match can be looked at as they were written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tts.normalizing.english_numbers import Variety

# A number, a word, any mark; a space only before what joins two numbers. Not the inside of a word or a number.
PLACE = re.compile(r"(?<![0-9])[0-9]|(?<![^\W\d_])[^\W\d_]|[^\w\s]|(?<=\w|[%°″′\"]) (?=[-–—−~x×])")
LEFT_CHARS = 60  # that a rule may look at


@dataclass(frozen=True, slots=True)
class Shape:
    """`say` returns None for a match that is something else."""

    pattern: re.Pattern[str]
    say: Callable[[re.Match[str], Variety], str | None]
    follows: bool = False  # only directly after a match of another shape: what joins two of them


def scan(text: str, shapes: Iterable[Shape], variety: Variety) -> str:
    """The text with every shape said. Linear, because a match is at most as long as its pattern's bounds."""
    leading = tuple(shape for shape in shapes if not shape.follows)
    shapes = tuple(shapes)
    said: list[str] = []
    end = 0
    for place in PLACE.finditer(text):
        start = place.start()
        if start < end:
            continue
        for shape in shapes if start == end and end else leading:
            match = shape.pattern.match(text, start)
            if match and match[0] and (words := shape.say(match, variety)) is not None:
                said += (text[end:start], words)
                end = match.end()
                break
    return "".join([*said, text[end:]])


def left(match: re.Match[str]) -> str:
    """What stands before a match, as far as a rule may look."""
    return match.string[max(0, match.start() - LEFT_CHARS) : match.start()]
