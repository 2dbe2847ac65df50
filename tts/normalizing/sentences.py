"""Where a sentence begins with a number, its first word needs a capital, or the splitter would read on.

It does not know what the number becomes: a place is marked before and settled after.
"""

from __future__ import annotations

import re

BEGINS = "\ue001"  # of the private characters, which no cleaned text has
AFTER_STOP = re.compile(r"(?<=[^\W_A-Z][.!?])([\"')\]]{0,3}[ \t]\"?)(?=[-−+~#$£€¥.]?[0-9])")
MARKED = re.compile(rf"{BEGINS}(?P<letter>[^\W\d_])?")


def mark_beginnings(text: str) -> str:
    return AFTER_STOP.sub(rf"\1{BEGINS}", text)


def raise_beginnings(text: str) -> str:
    return MARKED.sub(lambda m: (m["letter"] or "").upper(), text)
