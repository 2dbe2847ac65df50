"""Grapheme boundaries (after Unicode's UAX #29), and how long a text takes to say, in characters."""

from __future__ import annotations

import re
import unicodedata
from itertools import accumulate

# Ideographs, kana and hangul syllables. Speech has about 15 Latin characters a second, but 4–5 of these: each counts as
# 3, so that 93 of them fit where 280 Latin characters do.
WIDE_LETTERS = "々-〇ぁ-ゖァ-ヺㄅ-ㄯㇰ-ㇿ㐀-䶿一-鿿가-힣豈-﫿ｦ-ﾝ\U00020000-\U0003ffff"
WIDE_WEIGHT = 3
DIGIT_LETTERS = 4  # "five"
WIDE_LETTER = re.compile(f"[{WIDE_LETTERS}]")

# What extends the character before it, besides combining marks: conjoining jamo, Thai and Lao am, the joiners, kana
# voicing, skin tones, the tags of a flag.
EXTENDERS = re.compile("[\u1160-\u11ff\u0e33\u0eb3\u200c\u200d\uff9e\uff9f\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]")
THAI_LEADING_VOWELS = "เแโใไເແໂໃໄ"  # written before their consonant
ZERO_WIDTH_JOINER = "\u200d"
FLAG_LETTERS = "".join(map(chr, range(0x1F1E6, 0x1F200)))  # two of them are one flag
VIRAMA_CLASS = 9  # joins two consonants


def spoken_chars(text: str) -> int:
    """The length of a text, with ideographs, kana and hangul syllables counted as three: a measure of its duration."""
    return len(text) + (WIDE_WEIGHT - 1) * (0 if text.isascii() else len(WIDE_LETTER.findall(text)))


def spoken_letters(text: str) -> int:
    """How many Latin letters take about as long to say, digits by their names."""
    return spoken_chars(text) + (DIGIT_LETTERS - 1) * sum(map(str.isdigit, text))


def running_chars(text: str) -> list[int]:
    """The cumulative `spoken_chars` at each place of a text: (len(text) + 1,), from 0."""
    if text.isascii():
        return list(range(len(text) + 1))
    return list(accumulate((WIDE_WEIGHT if WIDE_LETTER.match(char) else 1 for char in text), initial=0))


def is_inside(text: str, place: int, floor: int = 0) -> bool:
    """Whether a cut at `place` would split a grapheme of text[floor:]; a grapheme begins at `floor`."""
    if place >= len(text) or text[place - 1].isspace():
        return False
    before, char = text[place - 1], text[place]
    if char in FLAG_LETTERS and before in FLAG_LETTERS:
        run = text[floor:place]
        return (len(run) - len(run.rstrip(FLAG_LETTERS))) % 2 == 1
    category = unicodedata.category(char)
    if category.startswith("M") or EXTENDERS.match(char) or before == ZERO_WIDTH_JOINER:
        return True
    joins = before in THAI_LEADING_VOWELS or unicodedata.combining(before) == VIRAMA_CLASS
    return joins and category == "Lo"
