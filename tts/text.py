"""Text into segments: pieces short enough for an engine to speak well, cut where a reader would breathe.

A segment is one sentence, or as much of a long one as fits: cut after a clause, else between words, and
inside a word only where the word alone is too long. This module knows neither engines nor languages: its
rules are those that hold wherever the marks it knows are used.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from enum import IntEnum
from itertools import pairwise
from math import ceil

SENTENCE_MARKS = tuple(".!?…؟۔।॥։።။។。！？｡．")
CLAUSE_MARKS = tuple(";:,—–،؛፣；：，、､")
OPENERS = "\"'“„‘‚«‹([{¿¡「『《〈（【"
CLOSERS = "\"'”“’‘»›)]}」』》〉）】"

# A word with the space after it. The marks named here end one without a space too: those of scripts that
# have none (though not inside a number: １，０００), and the dash—as here.
WORD = re.compile(r"\S+?(?:[。！？｡…—、､；]|(?<![0-9０-９])[，：]|[，：](?![0-9０-９]))+[”’»)」』》〉）】]*\s*|\S+\s*")

# What a full stop abbreviates rather than ends: initials (J. and U.S. and e.g. without the last point), and
# the words below as they are written: "Mar." is a month, "mar" is Spanish for the sea.
ABBREVIATION = re.compile(
    r"(?:[^\W\d_]\.)*[^\W\d_]|Mrs?|Ms|Mx|[Dd]r|[Pp]rof|Rev|Hon|St|Mt|Sr|Jr|Gen|Col|Maj|Capt|Lt|Sgt|Gov|Sen|Rep"
    r"|vs|etc|al|cf|approx|[Dd]ept|Inc|Ltd|Co|Corp|Bros|Ave|Blvd|Rd|Ph\.D"
    r"|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec"
    r"|bzw|usw|ca|evtl|ggf|inkl|Nr|Str|Hr|Fr|Mme|Mlle|Sra|Srta|Uds?|Dott|Sig|dhr|mevr"
)
ABBREVIATION_BEFORE_NUMBER = re.compile(r"[Nn]o|Nos|[Ff]igs?|[Vv]ol|pp|[Cc]h|Sec|Art|Eq")

# What belongs to the character before it, besides combining marks: conjoining jamo, Thai and Lao am, the
# joiners, kana voicing, skin tones, the tags of a flag.
EXTENDERS = re.compile("[\u1160-\u11ff\u0e33\u0eb3\u200c\u200d\uff9e\uff9f\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]")
ZERO_WIDTH_JOINER = "\u200d"
FLAG_LETTERS = "".join(map(chr, range(0x1F1E6, 0x1F200)))  # two of them are one flag


class Break(IntEnum):
    """What ends at a place in the text; the higher, the better to cut there."""

    WORD = 1
    CLAUSE = 2
    SENTENCE = 3


def segment(text: str, max_chars: int = 280, min_chars: int = 25) -> list[str]:
    """The segments of a text in order, each of 1…`max_chars` characters; none where there is only space.

    Joined, they are the text up to white space, which becomes single spaces inside a segment. A fragment
    shorter than `min_chars` joins the next segment, or else the one before, if the two fit into one.
    """
    if max_chars < 1:
        raise ValueError(f"max_chars must be at least 1 (got {max_chars})")
    lines = (" ".join(line.split()) + " " for line in text.splitlines())
    pieces = [piece for line in lines for piece in _cut(line, max_chars)]
    return [piece.rstrip() for piece in _join_fragments(pieces, max_chars, min_chars)]


def _cut(line: str, max_chars: int) -> Iterator[str]:
    """The sentences of a line, with the space after them; one that is too long in parts of like length."""
    breaks = _breaks(line)
    start = 0
    for end in (place for place, what in breaks.items() if what is Break.SENTENCE):
        while (rest_chars := len(line[start:end].rstrip())) > max_chars:
            part_chars = rest_chars / ceil(rest_chars / max_chars)
            cut = _best_cut(line, breaks, start, part_chars, max_chars)
            yield line[start:cut]
            start = cut
        yield line[start:end]
        start = end


def _best_cut(line: str, breaks: dict[int, Break], start: int, part_chars: float, max_chars: int) -> int:
    """The best break that fits, of several the one nearest to `part_chars`; without any, inside the word."""
    limit = start + max_chars
    reach = limit + line.startswith(" ", limit)  # the space after a part does not count
    fitting = [place for place in breaks if start < place <= reach]
    if fitting:
        return max(fitting, key=lambda place: (breaks[place], -abs(place - start - part_chars)))
    return next((place for place in range(limit, start, -1) if not _extends(line, place)), limit)


def _breaks(line: str) -> dict[int, Break]:
    ends = [match.end() for match in WORD.finditer(line) if not _extends(line, match.end())]
    return {end: _break_between(line[start:end], line[end:]) for start, end in pairwise([0, *ends])}


def _break_between(word: str, following: str) -> Break:
    bare = word.rstrip().rstrip(CLOSERS).lstrip(OPENERS)
    if not following:
        return Break.SENTENCE
    if bare.endswith(SENTENCE_MARKS) and not _is_abbreviation(bare, following):
        sentence_goes_on = following.lstrip(OPENERS)[:1].islower()  # "Why?" he asked
        return Break.CLAUSE if sentence_goes_on else Break.SENTENCE
    return Break.CLAUSE if bare.endswith(CLAUSE_MARKS) else Break.WORD


def _is_abbreviation(word: str, following: str) -> bool:
    stem = word.removesuffix(".")
    is_before_number = following[0].isdigit() and ABBREVIATION_BEFORE_NUMBER.fullmatch(stem) is not None
    return is_before_number or ABBREVIATION.fullmatch(stem) is not None


def _extends(text: str, index: int) -> bool:
    """Whether the character at `index` is part of the grapheme before it."""
    before, char = text[:index], text[index : index + 1]
    if not char or before[-1].isspace():
        return False
    if char in FLAG_LETTERS:
        return (len(before) - len(before.rstrip(FLAG_LETTERS))) % 2 == 1
    is_combining = unicodedata.category(char).startswith("M") or EXTENDERS.match(char) is not None
    return is_combining or before[-1] == ZERO_WIDTH_JOINER


def _join_fragments(pieces: list[str], max_chars: int, min_chars: int) -> list[str]:
    def joins(fragment: str, both: str) -> bool:
        return len(fragment.rstrip()) < min_chars and len(both.rstrip()) <= max_chars

    forward = _join(pieces, lambda last, piece: joins(last, last + piece))
    return _join(forward, lambda last, piece: joins(piece, last + piece))


def _join(pieces: list[str], belong: Callable[[str, str], bool]) -> list[str]:
    joined: list[str] = []
    for piece in pieces:
        if joined and belong(joined[-1], piece):
            joined[-1] += piece
        else:
            joined.append(piece)
    return joined
