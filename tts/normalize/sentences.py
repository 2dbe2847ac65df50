"""Capitals for sentences that begin with a number: without one, the sentence splitter would miss the boundary.

The place is marked before the number is read, and its first letter capitalised after.
"""

from __future__ import annotations

import re

from tts.text.abbreviations import LONGEST, abbreviates

BEGINS = "\ue001"  # a private character, which no cleaned text contains
AFTER_STOP = re.compile(r"(?<=[^\W_A-Z][.!?])([\"')\]]{0,3}[ \t]\"?)(?=[-−+~#$£€¥.]?[0-9])")
# home run!1 run; not in an address, nor in 5!1
UNSPACED = re.compile(r"(?<!\S)(?P<word>[^\s/@:=&]{0,60}[^\W\d_]{2}[!?]{1,3})(?=[$£€]?[0-9])")
ANSWER = "no."  # the abbreviation has become "number" before
MARKED = re.compile(rf"{BEGINS}(?P<letter>[^\W\d_])?")


def mark_beginnings(text: str) -> str:
    return UNSPACED.sub(rf"\g<word> {BEGINS}", AFTER_STOP.sub(_marked, text))


def raise_beginnings(text: str) -> str:
    return MARKED.sub(lambda m: (m["letter"] or "").upper(), text)


def _marked(stop: re.Match[str]) -> str:
    """No sentence begins after an abbreviation that belongs to the number: Op. 27."""
    text, at = stop.string, stop.start()
    if text[at - 1] == "." and stop[1].isspace():
        word = text[max(0, at - LONGEST - 1) : at].split()[-1]
        if word != ANSWER and abbreviates(word, text[stop.end() : stop.end() + LONGEST]):
            return stop[0]
    return stop[1] + BEGINS
