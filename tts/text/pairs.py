"""Which quote or bracket of a line closes which, in many languages: “a”, „a“, »a«, «a», ”a”, 「a」."""

from __future__ import annotations

import re
from collections import Counter
from itertools import accumulate

OPENERS = "\"'“„‘‚«‹([{¿¡「『《〈（【*_`"
DASHES = "-–—―"
PAIRS = "“” „“” ‘’ ‚‘’ «» »« ‹› ›‹ ”” \"\" '' () [] {} 「」 『』 《》 〈〉 （） 【】".split()
CLOSED_BY = {pair[0]: pair[1:] for pair in PAIRS}
MARKS = re.compile(f"[{re.escape(''.join(PAIRS))}]")


def pairs(line: str) -> dict[int, int]:
    """The place of each closing quote or bracket → the place of its opening one.

    Those that are never closed are ignored. Time is linear in the length.
    """
    opener_of: dict[int, int] = {}
    opened: list[tuple[int, str]] = []
    awaited: Counter[str] = Counter()
    for match in MARKS.finditer(line):
        at, mark = match.start(), match.group()
        if awaited[mark] and (mark not in "\"'’" or not line[at + 1 : at + 2].isalnum()):
            closers = ""
            while mark not in closers:  # one that stays open is forgotten
                opener_of[at], closers = opened.pop()
                awaited.subtract(closers)
        elif mark in CLOSED_BY and _may_open(line, at):
            opened.append((at, CLOSED_BY[mark]))
            awaited.update(CLOSED_BY[mark])
    return opener_of


def _may_open(line: str, at: int) -> bool:
    """A straight quote opens only at the beginning of a word; elsewhere it is an apostrophe, or inches."""
    before, after = line[at - 1 : at], line[at + 1 : at + 2]
    return line[at] not in "\"'”" or ((before in OPENERS + DASHES + " " or not before) and not after.isspace())


def depths(length: int, opener_of: dict[int, int]) -> list[int]:
    """How many pairs are open at each place of a line: (length + 1,)."""
    steps = [0] * (length + 2)
    for closer, opener in opener_of.items():
        steps[opener + 1] += 1
        steps[closer + 1] -= 1
    return list(accumulate(steps))
