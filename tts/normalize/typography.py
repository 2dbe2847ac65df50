"""Typographic characters → those that a speech model was trained on: plain quotes and spaces, no emoji.

Chinese and Japanese keep their punctuation, French its « », Spanish and Russian their dashes.
"""

from __future__ import annotations

import re
import unicodedata

OWN_PUNCTUATION = frozenset({"zh", "ja", "yue"})  # full-width marks, “”, …… and the wide space stay
DROPPED = "\ue000"  # a private character in place of dropped ones, until `close_gaps`

SOFT_BREAK = re.compile("\xad[ \\t]*\\n[ \\t]*")  # a word broken over two lines
PLAIN = re.compile(r"[\n\t -~]*")  # needs no cleaning
# Line breaks, hyphens, slashes of fractions.
PLAIN_CHARS = str.maketrans("\u2028\u2029\x0b\x0c\x85\u2010\u2011\u2012\ufe63⁄∕", "\n\n\n\n\n----//")
# Controls, private use, lone surrogates, soft hyphen, zero-width space, word joiner, byte-order and direction marks.
# The joiners U+200C and U+200D stay: Persian and Hindi are written with them.
INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\ue000-\uf8ff\U000e0000-\U000e007f]"
)
JOINERS = re.compile("[\u200c\u200d]+")
SPACES = re.compile("[\xa0\u1680\u2000-\u200a\u202f\u205f]")
RAISED_LETTERS = "\u02b0-\u02b8\u02e0-\u02e4\u1d2c-\u1d61\u1d78\u1d9b-\u1dbf\u2071\u207f"
# Compatibility characters: raised, lowered, full-width, circled, bold, ligatures, Roman numerals, one-character units.
COMPATIBLE = re.compile(
    f"[{RAISED_LETTERS}\u1d62-\u1d6a\u2090-\u209c"
    "\u2160-\u217f\u2460-\u2473\u24b6-\u24e9\u3251-\u325f\u3380-\u33df\ufb00-\ufb06\uff10-\uff19\uff21-\uff3a\uff41-\uff5a"
    "\U0001d400-\U0001d7ff\U0001f130-\U0001f149]"
)
FULL_WIDTH_MARKS = re.compile("[\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff5e]")
DINGBAT_DIGITS = re.compile("[\u2776-\u2793]")  # ❶, which NFKC keeps
EMOJI = (
    "[\u231a\u231b\u2328\u23cf\u23e9-\u23fa\u25a0-\u25ca\u25cc-\u25ff\u2600-\u2775\u2794-\u27bf\u2b05-\u2b55\u3030\u303d\u3297\u3299"
    "\U0001f000-\U0001f0ff\U0001f14a-\U0001faff\ufe0e\ufe0f\u20e3\u200d]"
)
# Joiners and variation selectors are emoji only inside a run.
EMOJI_RUN = re.compile(f"(?![\u200d\ufe0e\ufe0f]){EMOJI}(?:[ \\t]?{EMOJI})*")
SELECTORS = re.compile("[\ufe0e\ufe0f\u20e3]+")
LEGAL = re.compile("[©®™℠℗]+")
GAP = re.compile(rf"( ?){DROPPED}[{DROPPED} ]*")
BEFORE_GAP_NOTHING = " \t\n([{"
AFTER_GAP_NOTHING = " \t\n.,!?;:)]}"
QUOTES = "\"'"  # no space between one and its words, but one after a closing one

# In 2ⁿ and xʸ a letter alone is a power; in 2ⁿᵈ it is part of a word.
POWER = re.compile(f"(?<=[\\w)])(?<![{RAISED_LETTERS}])[\u207f\u02e3\u02b8\u1d4f\u2071](?![{RAISED_LETTERS}])")

# Accents and primes that were typed for an apostrophe: it´s, it′s, students´ books.
APOSTROPHE = re.compile('(?<=[^\\W\\d_])[´′ʹ](?=[^\\W\\d_])|(?<=[sn])´(?=\\s|\\Z)|(?<![^\\s("])´(?=[a-z])')
PLAIN_MARKS = str.maketrans(dict.fromkeys("‘’‚‛ʼ", "'") | dict.fromkeys("“”„‟", '"') | {"…": "..."})


def clean(text: str, language: str) -> str:
    """The text in plain characters. `language` is a primary subtag, in lower case."""
    if PLAIN.fullmatch(text):
        return text
    text = text.replace("\r\n", "\n").replace("\r", "\n").translate(PLAIN_CHARS)
    text = INVISIBLE.sub("", SOFT_BREAK.sub("", text))
    text = COMPATIBLE.sub(_nfkc, POWER.sub(lambda match: "^" + _nfkc(match), text))
    text = DINGBAT_DIGITS.sub(lambda mark: f"{unicodedata.numeric(mark[0]):.0f}", text)
    if language not in OWN_PUNCTUATION:
        text = FULL_WIDTH_MARKS.sub(_nfkc, SPACES.sub(" ", text)).translate(PLAIN_MARKS)
        text = APOSTROPHE.sub("'", text)
    text = SELECTORS.sub("", LEGAL.sub(DROPPED, EMOJI_RUN.sub(DROPPED, text)))
    return close_gaps(text)


def close_gaps(text: str) -> str:
    """Where something was dropped: one space between words, none before a mark or at an edge."""
    return GAP.sub(_closed, text)


def _closed(gap: re.Match[str]) -> str:
    text, start, end = gap.string, gap.start(), gap.end()
    before, after = text[max(start - 1, 0) : start], text[end : end + 1]
    is_quoted = (before in QUOTES and gap[0][0] != " ") or (after in QUOTES and gap[0][-1] != " ")
    at_edge = not before or before in BEFORE_GAP_NOTHING or not after or after in AFTER_GAP_NOTHING
    return "" if at_edge or is_quoted else " "


def _nfkc(match: re.Match[str]) -> str:
    return unicodedata.normalize("NFKC", match[0])
