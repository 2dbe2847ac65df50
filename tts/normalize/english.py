"""English: text is brought to one notation, then one scan reads what has digits, then letters and signs are read.

Notation: LaTeX, addresses, abbreviations, dashes, grouped digits and decimal commas are rewritten first, because the
shapes of the scan expect one way of writing. Each shape is in the module of its kind.
"""

from __future__ import annotations

import re

from tts.normalize.english_abbreviations import abbreviations
from tts.normalize.english_acronyms import acronyms
from tts.normalize.english_addresses import addresses
from tts.normalize.english_bible import BIBLE, full_names
from tts.normalize.english_calendar import DATES, named_ranges
from tts.normalize.english_chemistry import CHEMISTRY
from tts.normalize.english_codes import CODES
from tts.normalize.english_counts import COUNTS, PRODUCTS
from tts.normalize.english_identifiers import IDENTIFIERS
from tts.normalize.english_math import ALGEBRA, latex
from tts.normalize.english_money import MONEY, canonical_money
from tts.normalize.english_notes import notes
from tts.normalize.english_numbers import Variety
from tts.normalize.english_places import PLACES, states
from tts.normalize.english_romans import romans
from tts.normalize.english_scan import Grammar
from tts.normalize.english_symbols import (
    BETWEEN,
    POWERS_OF_TEN,
    canonical_numbers,
    dashes,
    leave_out,
    numbers,
    operators,
)
from tts.normalize.english_times import TIMES
from tts.normalize.english_units import (
    CONCENTRATIONS,
    FRACTIONS,
    MEASURES,
    ORDINALS,
    canonical_units,
    vulgar_fractions,
)
from tts.normalize.english_years import YEARS_AND_DECADES
from tts.normalize.sentences import mark_beginnings, raise_beginnings
from tts.normalize.typography import without_joiners

DAY_FIRST = frozenset("GB AU NZ IE IN ZA SG HK MT".split())  # 05/03 is in March, and 101 is a hundred and one
NEEDED = re.compile(r"[0-9₀-₉=^⁺⁻²³]|[:-][A-Fa-f]{2}[:-][A-Fa-f]{2}[:-]")  # by a shape


# What is special stands before what is general: a date before the numbers in it, an address before its dots.
GRAMMAR = Grammar(
    [
        *(
            *DATES,
            *IDENTIFIERS,
            *CONCENTRATIONS,
            *COUNTS,
            *ALGEBRA,
            *CHEMISTRY,
            *BIBLE,
            *POWERS_OF_TEN,
            *TIMES,
            *PLACES,
            *CODES,
        ),
        *(*MONEY, *YEARS_AND_DECADES, *FRACTIONS, *BETWEEN, *ORDINALS, *PRODUCTS, *MEASURES),
    ]
)


def speak_english(text: str, region: str) -> str:
    """One pass; `region` is the tag's, in capitals, or ""."""
    variety = Variety(is_day_first=region in DAY_FIRST, says_and=region in DAY_FIRST)
    text = without_joiners(text).replace("«", '"').replace("»", '"')
    text = mark_beginnings(abbreviations(notes(states(full_names(addresses(latex(text)))))))
    text = vulgar_fractions(dashes(named_ranges(romans(text, variety))))
    if NEEDED.search(text):
        text = GRAMMAR.say(canonical_units(canonical_money(canonical_numbers(text))), variety)
    text = operators(acronyms(text))
    return raise_beginnings(leave_out(numbers(text, variety)))
