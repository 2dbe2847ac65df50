"""Written text → spoken words, so that a model need not guess how $5.50 or 3/4 is read.

Pure, deterministic and idempotent; it never raises. The worker's own marks (pauses, tags) must be removed before.

A text passes through `html_tags`, `typography`, `markup` (Markdown, subtitles; `lines` joins wrapped lines),
`comparisons` (< and >), then `english` or `foreign`. What each language gets:

- English: all of it. Numbers (also with Indian groups), ordinals, fractions, percent, money, years, dates, times and
  timestamps, units, telephone and other digits, identifiers of machines, model numbers, formulas of algebra, LaTeX and
  chemistry, Bible references, Roman numerals, abbreviations, acronyms, addresses, signs. Regions that write the day
  first (GB, AU, NZ, IE, IN, ZA, SG, HK, MT) read 05/03 as the fifth of March and say “and” in 101. No ASCII digit is
  left.
- German, Spanish, French, Italian, Portuguese, Dutch: cardinals and decimals in the language's own notation, ranges,
  percent, the euro, the dollar and the commonest units, dates in digits, n°, written ordinals (German ones with a full
  stop after an article, a possessive or a preposition, and before a month); times of day in German and French only.
  Numbers agree with a noun only where it has a sign. The gender of a noun after a German “mein 4.” is guessed.
- Swedish, Danish, Norwegian (numbers in Bokmål): the same without dates and ordinals.
- Polish, Russian, Finnish, Turkish: bare cardinals and decimals, always in the nominative.
- Every other: the clean-up of typography, formatting and emoji. Its numbers stay digits.

In all of them Markdown, HTML and subtitles become words, wrapped lines are joined, and list items end in a full stop.
Emoji are dropped: their names would be no part of the sentence, and many are English only.

A text grows at most by 24 characters for each of its own, and 64 more; the time is proportional to its length.
"""

from __future__ import annotations

from tts.normalize.comparisons import speak_comparisons
from tts.normalize.english import speak_english
from tts.normalize.foreign import speak_numbers
from tts.normalize.html_tags import strip_tags
from tts.normalize.markup import strip_markdown
from tts.normalize.typography import clean

MAX_PASSES = 6  # a second pass reads what the first uncovered, such as the letters of MP3; the last changes nothing
SAME = {"nn": "nb", "no": "nb", "cmn": "zh"}  # a tag → one whose rules are its own, too


def normalize(text: str, language: str) -> str:
    """The text to speak. `language` is a BCP-47 tag.

    A text that still changes in the last pass (absurdly nested formatting), or of which no letter or digit would be
    left, is returned unchanged.
    """
    primary, region = _subtags(language)
    said = text
    for _ in range(MAX_PASSES):
        before, said = said, _pass(said, primary, region)
        if said == before:
            return said if any(map(str.isalnum, said)) else text
    return text


def _subtags(language: str) -> tuple[str, str]:
    """en-Latn-GB → ("en", "GB")."""
    primary, *rest = language.lower().replace("_", "-").split("-")
    return SAME.get(primary, primary), next((part.upper() for part in rest if len(part) == 2), "")


def _pass(text: str, primary: str, region: str) -> str:
    text = speak_comparisons(strip_markdown(clean(strip_tags(text), primary), primary), primary)
    return speak_english(text, region) if primary == "en" else speak_numbers(text, primary, region)
