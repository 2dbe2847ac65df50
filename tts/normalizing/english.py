"""English: the order in which what is written is read. It knows the order; what each thing sounds like is elsewhere.

What is special comes before what is general: an address before the dots in it, a date before the numbers in it.
"""

from __future__ import annotations

import re

from tts.normalizing.english_abbreviations import abbreviations, romans
from tts.normalizing.english_acronyms import acronyms
from tts.normalizing.english_addresses import addresses
from tts.normalizing.english_calendar import DATES, TIMES, YEARS_AND_DECADES, named_ranges
from tts.normalizing.english_codes import CODES
from tts.normalizing.english_money import MONEY, canonical_money
from tts.normalizing.english_numbers import Variety
from tts.normalizing.english_scan import Grammar
from tts.normalizing.english_symbols import (
    BETWEEN,
    POWERS_OF_TEN,
    canonical_numbers,
    dashes,
    leave_out,
    numbers,
    operators,
)
from tts.normalizing.english_units import FRACTIONS, MEASURES, ORDINALS, canonical_units, vulgar_fractions
from tts.normalizing.sentences import mark_beginnings, raise_beginnings
from tts.normalizing.typography import without_joiners

DAY_FIRST = frozenset("GB AU NZ IE IN ZA SG HK MT".split())  # 05/03 is in March, and 101 is a hundred and one
DIGIT = re.compile(r"[0-9]")


GRAMMAR = Grammar(
    (*POWERS_OF_TEN, *DATES, *TIMES, *CODES, *MONEY, *YEARS_AND_DECADES, *FRACTIONS, *BETWEEN, *ORDINALS, *MEASURES)
)


def speak_english(text: str, region: str) -> str:
    """One pass; `region` is the tag's, in capitals, or ""."""
    variety = Variety(is_day_first=region in DAY_FIRST, says_and=region in DAY_FIRST)
    text = without_joiners(text).replace("«", '"').replace("»", '"')
    text = mark_beginnings(abbreviations(addresses(text)))
    text = vulgar_fractions(dashes(named_ranges(romans(text, variety))))
    if DIGIT.search(text):
        text = GRAMMAR.say(canonical_units(canonical_money(canonical_numbers(text))), variety)
    text = operators(acronyms(text))
    return raise_beginnings(leave_out(numbers(text, variety)))
