"""Where a line of text may be cut, and how well: after a sentence, a clause or a word, and inside which quotes.

A sentence that goes on after its mark (“Why?” he asked) has only a clause there. In doubt a sentence does not end: a
missed end costs one pause, but a cut after “Dr.” is audible.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise

from tts.text.abbreviations import STARTER_WORDS, abbreviates, is_list_number, is_name, is_ordinal
from tts.text.graphemes import is_inside
from tts.text.pairs import DASHES, OPENERS, depths, pairs
from validation.markup import without_tags

SENTENCE_MARKS = tuple(".!?…‽‼⁇⁈⁉؟۔।॥།༎։።፧။។。！？｡．")
NATIVE_MARK = re.compile("[ա-և]:|[α-ωά-ώ];")  # a full stop in Armenian, a question mark in Greek
LATIN_MARKS = tuple(".!?…‽")  # inside a sentence if a word in lower case follows
CLAUSE_MARKS = tuple(";:,—–،؛፣；：，、､")
CLOSERS = "\"'”“’‘»›)]}」』》〉）】*_`"
BULLETS = DASHES + "•·⁃"
EMOJI = "\u2600-\u27bf\U0001f1e6-\U0001faff\U000e0020-\U000e007f\u200d\ufe0f"

# A word with the space after it. These marks end one without a space too: those of scripts without spaces (but not
# inside a number: １，０００), the zero-width space, and the dash—as here.
UNSPACED = r"[。！？｡।॥؟۔።፧။។‼⁇⁈⁉‽…、､；\u200b]|(?<!\d)—|—(?!\d)|(?<!\d)[，：]|[，：](?!\d)"
TOKEN = re.compile(rf"\S+?(?:{UNSPACED})(?:{UNSPACED}|[”’»)」』》〉）】])*\s*|\S+\s*")
# A sentence's end inside a token: works!Then; after a full stop only before a word that begins sentences: end.The
GLUED = re.compile(rf"(?<=\w\w)(?:[!?]+[\"'”’)\]]*(?=[^\W\d_])|\.(?=(?:{STARTER_WORDS})(?!\S)))")
ADDRESS = re.compile(r"[/@=\\&#{}<>]|www\.")

ONLY_MARKS = re.compile(r"(?:[.!?…‽;:,،؛؟»›”’)\]}%‰€£$¥°]+|(?:\[\d{1,3}\])+) ?")  # [1] is a footnote
ONLY_DASH = re.compile(rf"[{DASHES}]+ ?")
ONLY_EMOJI = re.compile(rf"[{EMOJI}]+ ?")
ONLY_BULLET = re.compile(rf"[{BULLETS}*#>]+ ?")
ELLIPSIS_GOES_ON = re.compile(r"I\b")  # I… I don’t know
TRAILING = re.compile(rf"(?:[{re.escape(CLOSERS)}{EMOJI} ]|\[\d{{1,3}}\])+$")
FOOTNOTE = re.compile(r"\[\d{1,3}\]")
DIGITS = re.compile(r"(?:^|\D)\d{1,3}$")
THREE_DIGITS = re.compile(r"\d{3}(?!\d)")
NO_ITEM = -9
REACH = 60  # characters before and after a place that a rule may use, so that time is linear

CASELESS = "א"  # a letter with which a sentence may begin, and that says nothing of the others
BRACKETS_CLOSED = ")]}）】"
SPELLED = re.compile(r"(?<![^ ])[A-Z](?: [A-Z])+\.\Z")  # the normaliser's F B I, whose last letter is no initial


class Break(IntEnum):
    """What ends at a place in the text, ordered by how good a cut there is."""

    WORD = 1
    CLAUSE = 2
    SENTENCE = 3
    PARAGRAPH = 4


@dataclass(frozen=True, slots=True)
class Boundary:
    """A place where a line may be cut, what ends there, and how many quotes and brackets are open."""

    place: int
    rank: Break
    depth: int


def boundaries(line: str) -> list[Boundary]:
    """The boundaries of a line in order, the last at its end, each after the spaces there.

    The line has single spaces only, and one at its end. No boundary is inside a word, number, URL or grapheme, before a
    mark, or after an abbreviation that belongs to the next word. A tag counts as a word that may begin a sentence. Time
    is linear in the line's length.
    """
    return list(_Reader(without_tags(line, CASELESS)).read())


class _Reader:
    """One line, read from left to right."""

    def __init__(self, line: str) -> None:
        self.line = line
        self.opener_of = pairs(line)
        self.closer_of = {opener: closer for closer, opener in self.opener_of.items()}
        self.depths = depths(len(line), self.opener_of)
        self.has_capitals = line != line.lower()
        self.word_start = 0  # after the last boundary
        self.sentence_start = 0  # after the last end of a sentence, at any depth
        self.outer_start = 0  # after the last one outside quotes and brackets
        self.item = NO_ITEM  # the number of the last item of a list

    def read(self) -> Iterator[Boundary]:
        for end, next_end in pairwise([*_token_ends(self.line), len(self.line)]):
            rank = self._rank(end, self.line[end:next_end])
            if rank is None:
                continue
            yield Boundary(end, rank, self.depths[end])
            self.word_start = end
            if rank is Break.SENTENCE:
                self.sentence_start = end
                self.outer_start = self.outer_start if self.depths[end] else end

    def _rank(self, end: int, token: str) -> Break | None:
        """What ends before `token`, which begins at `end`; None where the line can't be cut."""
        if not token:
            return Break.SENTENCE
        word = self.line[max(self.word_start, end - REACH) : end]
        bare = TRAILING.sub("", word)
        trailing = word[len(bare) :]
        bare = bare.lstrip(OPENERS + " ")
        if not bare or is_inside(self.line, end, self.word_start) or ONLY_MARKS.fullmatch(token):
            return None
        if bare.endswith(SENTENCE_MARKS) or NATIVE_MARK.fullmatch(bare[-2:]):
            return self._rank_after_mark(end, token, bare, trailing)
        return self._rank_after_word(end, token, bare)

    def _rank_after_mark(self, end: int, token: str, bare: str, trailing: str) -> Break | None:
        last = bare[bare.rfind(" ") + 1 :].lstrip(OPENERS + DASHES)
        following = self.line[end : end + REACH].lstrip(OPENERS + " ")
        if last.endswith(".") and not last.endswith(".."):
            if self._numbers_an_item(end, last) or is_ordinal(last, self._before(end), following):
                return None
            is_spelled = SPELLED.search(self.line, max(0, end - REACH), end - len(trailing)) is not None
            if abbreviates(last, following) and not is_spelled:
                return Break.WORD if following[:1].islower() else None
        if is_name(last, following):
            return Break.WORD
        goes_on = self._goes_on(end, bare[-1], trailing, following)
        if self._is_tail(end, token, goes_on):
            return None
        return Break.CLAUSE if goes_on else Break.SENTENCE

    def _rank_after_word(self, end: int, token: str, bare: str) -> Break | None:
        last = bare[bare.rfind(" ") + 1 :]
        is_bullet = ONLY_BULLET.fullmatch(last) is not None and self._is_first(end, last)
        is_number = DIGITS.search(last) is not None and THREE_DIGITS.match(token) is not None
        if is_bullet or is_number or ONLY_DASH.fullmatch(token):
            return None
        is_clause = bare.endswith(CLAUSE_MARKS) or ONLY_DASH.fullmatch(last) is not None
        return Break.CLAUSE if is_clause else Break.WORD

    def _goes_on(self, end: int, mark: str, trailing: str, following: str) -> bool:
        """Whether the sentence goes on after its mark and the closing quotes and brackets after that."""
        closed = FOOTNOTE.sub("", trailing).strip()
        has_space = self.line[end - 1] == " "
        if closed and closed[-1] in BRACKETS_CLOSED:
            if self._is_aside(end - 1 - has_space):
                return True
        elif closed and not has_space and following[:1].isalnum() and self.line[end].isalnum():
            return True  # 「行こう。」と言った
        if self._leads_to_aside(end) or (mark == "…" and not has_space):
            return True
        is_ellipsis = mark == "…" or self.line[max(0, end - REACH) : end].rstrip(" " + CLOSERS).endswith(("..", ". ."))
        if is_ellipsis and ELLIPSIS_GOES_ON.match(following):
            return True
        first = following.lstrip(OPENERS + DASHES + " ")[:1]
        if first == first.title() or mark not in LATIN_MARKS:  # Georgian sentences begin in lower case
            return False
        return self.has_capitals or closed != "" or is_ellipsis

    def _is_aside(self, closer: int) -> bool:
        """Whether the bracket closed here was opened inside the sentence: the man (who?) left."""
        opener = self.opener_of.get(closer)
        if opener is None:
            return False
        start = self.sentence_start if opener >= self.sentence_start else self.outer_start
        return self.line[start : min(opener, start + REACH)].strip(OPENERS + " ") != ""

    def _leads_to_aside(self, end: int) -> bool:
        """Whether the bracket opened here belongs to the sentence before it: “Go.” (Smith 5)."""
        closer = self.closer_of.get(end)
        return closer is not None and self.line[closer + 1] in ".,;:"

    def _is_tail(self, end: int, token: str, goes_on: bool) -> bool:
        """Whether `token` belongs to the sentence that a mark has ended: a dash that continues it, emoji."""
        if ONLY_DASH.fullmatch(token):
            return goes_on
        after = end + len(token)
        return ONLY_EMOJI.fullmatch(token) is not None and not self.line[after : after + 1].islower()

    def _numbers_an_item(self, end: int, word: str) -> bool:
        """Whether `word` is the number of a list item: first in its sentence, or the next number: 1. Eggs 2. Milk"""
        number = int(digits) if (digits := word.strip(BULLETS + ".")).isdecimal() else NO_ITEM
        counts_on = number == self.item + 1
        is_item = counts_on or (self._is_first(end, word) and is_list_number(word))
        if is_item:
            self.item = number
        return is_item

    def _is_first(self, end: int, word: str) -> bool:
        sentence = self.line[self.sentence_start : min(end, self.sentence_start + REACH + 1)]
        return sentence.strip(OPENERS + CLOSERS + BULLETS + " ") == word.strip(BULLETS)

    def _before(self, end: int) -> str:
        words = self.line[max(0, end - REACH) : end].split()
        return words[-2] if len(words) > 1 else ""


def _token_ends(line: str) -> Iterator[int]:
    for match in TOKEN.finditer(line):
        if not ADDRESS.search(match[0]):
            ends = (glued.end() for glued in GLUED.finditer(match[0]))
            yield from (match.start() + end for end in ends if match[0][end].isupper())
        yield match.end()
