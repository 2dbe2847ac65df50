"""The words of a text as it was sent, and where each of them is in the lines that are spoken.

A word is what stands between spaces, without the punctuation around it: "$5" is one, though "five dollars" is said.
Dashes and ellipses part words, too. In scripts without spaces a word is an ideograph with the hiragana after it, or a
run of kana. What has no letter or digit is no word.

Spoken words are matched with sent ones by what each sent word would be, if it were read alone; what differs in its
context is shared out by letters between the words that match.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

from tts.text.graphemes import WIDE_LETTERS, spoken_chars

SEPARATORS = "—⸺⸻…。、，！？；：「」『』（）【】《》〈〉・\u2028\u2029"
TOKEN = re.compile(rf"(?:(?!\.{{2}}|--|(?<!\d)–|–(?!\d)|\]\()[^\s{SEPARATORS}])+")
IDEOGRAPHS = "々-〇㐀-䶿一-鿿\uf900-\ufaff\U00020000-\U0003ffff"
UNSPACED = re.compile(f"[{IDEOGRAPHS}][ぁ-ゖー]*|[ぁ-ゖー]+|[ァ-ヺーｦ-ﾟ]+|[^{IDEOGRAPHS}ぁ-ゖァ-ヺーｦ-ﾟ]+")
TAG = re.compile(r"</?[A-Za-z][\w.:-]{0,60}(?:\s[^<>=]*=[^<>]*|\s*/)?>")  # of HTML
KEPT_MARKS = frozenset("%‰#@&+°′″§")  # they are spoken as a part of the word; so is a sign of money
NUMBER_SIGN = re.compile(r"(?<![-−+±.])[-−+±.]++(?=[\d$€£¥])")
ABBREVIATION = re.compile(r"(?:\w\.)+\w")
ATOM = re.compile(rf"[{WIDE_LETTERS}]|[^\W_{WIDE_LETTERS}]+")  # what is compared
WINDOW = 48  # atoms, in which the best match is looked for


@dataclass(frozen=True, slots=True)
class SentWord:
    """A word, and the text from its beginning, punctuation included, to the next word's."""

    text: str
    written: str


@dataclass(frozen=True, slots=True)
class LineWord:
    """A sent word's place in a line that is spoken: `text[first:last]` says it, nothing if it is left out."""

    word: SentWord
    first: int
    last: int

    def within(self, start: int, length: int) -> LineWord:
        """The same word in the part of its line that begins at `start` and has `length` characters."""
        return LineWord(self.word, min(self.first - start, length), min(self.last - start, length))


def sent_words(text: str) -> list[SentWord]:
    """The words in order. Joined, what they were `written` as is the text, but for what precedes the first one."""
    found = [*_words(text)]
    starts = [0, *(start for _, start in found[1:]), len(text)] if found else []
    return [SentWord(word, text[starts[i] : starts[i + 1]]) for i, (word, _) in enumerate(found)]


def place_words(text: str, lines: Sequence[str], read: Callable[[str], str]) -> list[list[LineWord]]:
    """For each line the sent words that begin in it: of every word of `text` one, in order, if there is a line.

    read: what is spoken for a word that stands alone.
    """
    words = sent_words(text)
    spoken = [_Atom(run[0].casefold(), i, *run.span()) for i, line in enumerate(lines) for run in ATOM.finditer(line)]
    placed: list[list[LineWord]] = [[] for _ in lines]
    if not (words and lines):
        return placed
    line = at = 0  # where a word that is left out would be
    owned: list[list[_Atom]] = [[] for _ in words]
    for atom, owner in zip(spoken, _owners(words, spoken, read), strict=True):
        owned[owner].append(atom)
    for word, atoms in zip(words, owned, strict=True):
        if atoms:
            line, at = atoms[0].line, max(atom.last for atom in atoms if atom.line == atoms[0].line)
        placed[line].append(LineWord(word, atoms[0].first if atoms else at, at))
    return placed


class _Atom(NamedTuple):
    """A run of letters and digits in a line."""

    key: str
    line: int
    first: int
    last: int


# --- words of a text --------------------------------------------------------------------------------------------


def _words(text: str) -> Iterator[tuple[str, int]]:
    """Each word, and where it begins, with the punctuation before it."""
    for token in TOKEN.finditer(TAG.sub(lambda tag: " " * len(tag[0]), text)):
        for part in UNSPACED.finditer(token[0]):
            if word := _stripped(part[0]):
                yield word, token.start() + part.start()


def _stripped(token: str) -> str:
    """Without the punctuation around it; "" if it has no letter or digit."""
    if not any(map(str.isalnum, token)):
        return ""
    first, last = 0, len(token)
    while _is_mark(token[first]):
        first += 1
    while _is_mark(token[last - 1]):
        last -= 1
    sign = next((sign.start() for sign in NUMBER_SIGN.finditer(token, 0, first + 1) if sign.end() == first), first)
    is_abbreviation = token[last : last + 1] == "." and ABBREVIATION.fullmatch(token, first, last)
    return token[sign : last + bool(is_abbreviation)]


def _is_mark(char: str) -> bool:
    category = unicodedata.category(char)
    return category[0] in "PSCZ" and category != "Sc" and char not in KEPT_MARKS


# --- spoken words to sent ones -----------------------------------------------------------------------------------


def _owners(words: Sequence[SentWord], spoken: Sequence[_Atom], read: Callable[[str], str]) -> list[int]:
    """The sent word of each spoken atom, never a smaller one than that of the atom before."""
    cache: dict[str, list[str]] = {}

    def atoms_of(word: str) -> list[str]:
        if word not in cache:
            is_plain = word.isascii() and word.islower() and word.isalpha()
            cache[word] = [atom[0].casefold() for atom in ATOM.finditer(word if is_plain else read(word))] or [word]
        return cache[word]

    expected = [(atom, index) for index, word in enumerate(words) for atom in atoms_of(word.text)]
    owners: list[int] = []
    at = 0  # among the expected atoms
    for i, j in [*_matches([key for key, _ in expected], [atom.key for atom in spoken]), (len(expected), len(spoken))]:
        owners += _shared(expected[at:i], spoken[len(owners) : j], owners[-1] if owners else 0)
        if j < len(spoken):
            owners.append(expected[i][1])
        at = i + 1
    return owners


def _matches(expected: Sequence[str], spoken: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Pairs of atoms that are alike, in order: the most letters within a window that moves by half its length."""
    i = j = 0
    while i < len(expected) and j < len(spoken):
        if expected[i] == spoken[j]:
            yield i, j
            i, j = i + 1, j + 1
            continue
        is_last = max(len(expected) - i, len(spoken) - j) <= WINDOW
        reach = WINDOW if is_last else WINDOW // 2
        pairs = _longest_common(expected[i : i + WINDOW], spoken[j : j + WINDOW])
        near = [(i + a, j + b) for a, b in pairs if max(a, b) < reach]
        yield from near
        i, j = (near[-1][0] + 1, near[-1][1] + 1) if near else (i + reach, j + reach)


def _longest_common(left: Sequence[str], right: Sequence[str]) -> Iterator[tuple[int, int]]:
    """The common subsequence with the most letters (Wagner and Fischer 1974, doi:10.1145/321796.321811)."""
    best = [[0] * (len(right) + 1) for _ in range(len(left) + 1)]  # of what follows each pair
    for i in reversed(range(len(left))):
        for j in reversed(range(len(right))):
            same = best[i + 1][j + 1] + len(left[i]) if left[i] == right[j] else 0
            best[i][j] = max(same, best[i + 1][j], best[i][j + 1])
    i = j = 0
    while i < len(left) and j < len(right):
        if left[i] == right[j] and best[i][j] == best[i + 1][j + 1] + len(left[i]):
            yield i, j
            i, j = i + 1, j + 1
        elif best[i + 1][j] >= best[i][j + 1]:
            i += 1
        else:
            j += 1


def _shared(gap: Sequence[tuple[str, int]], spoken: Sequence[_Atom], before: int) -> list[int]:
    """The owners of atoms that match nothing: the words of the gap, in proportion to their letters; else the one
    before."""
    ends = [*accumulate(spoken_chars(key) for key, _ in gap)]
    sizes = [spoken_chars(atom.key) for atom in spoken]
    middles = [(end - size / 2) / sum(sizes) for size, end in zip(sizes, accumulate(sizes), strict=True)]
    return [gap[bisect_left(ends, middle * ends[-1])][1] if gap else before for middle in middles]
