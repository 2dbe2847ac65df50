"""English: text is brought to one notation, then one scan words what has digits, then letters and signs are read.

Notation: LaTeX, addresses, abbreviations, dashes, grouped digits and decimal commas are rewritten first, because the
shapes of the scan expect one way of writing. GRAMMAR lists the shapes in the order in which they are tried.
"""

from __future__ import annotations

import re

from tts.normalize.english.abbreviations import abbreviations
from tts.normalize.english.acronyms import acronyms
from tts.normalize.english.addresses import addresses
from tts.normalize.english.bible import BIBLE, full_names
from tts.normalize.english.codes import CODES
from tts.normalize.english.counts import COUNTS, PRODUCTS
from tts.normalize.english.dates import DATES, YEARS_AND_DECADES, named_ranges
from tts.normalize.english.formulas import FORMULAS, latex
from tts.normalize.english.identifiers import IDENTIFIERS
from tts.normalize.english.money import MONEY, canonical_money
from tts.normalize.english.numbers import Variety
from tts.normalize.english.romans import romans
from tts.normalize.english.scan import Grammar
from tts.normalize.english.signs import BETWEEN, POWERS_OF_TEN, canonical_numbers, dashes, leave_out, numbers, operators
from tts.normalize.english.times import TIMES
from tts.normalize.english.units import CONCENTRATIONS, FRACTIONS, MEASURES, ORDINALS, canonical_units, vulgar_fractions
from tts.normalize.sentences import mark_beginnings, raise_beginnings
from tts.normalize.tables import words
from tts.normalize.typography import JOINERS

DAY_FIRST = words("GB AU NZ IE IN ZA SG HK MT")  # 05/03 is in March, and 101 is a hundred and one
NEEDED = re.compile(r"[0-9₀-₉=^⁺⁻²³]|[:-][A-Fa-f]{2}[:-][A-Fa-f]{2}[:-]")  # by a shape

# The special stands before the general: a date before the numbers in it, an address before its dots.
SHAPES = (
    DATES,  # 5 March 2024, 03/05/2024, 20240305T1000Z
    IDENTIFIERS,  # MAC and IP addresses, hashes, serials, flights: 192.168.0.1, BA 2490
    CONCENTRATIONS,  # 10^9/L, cells/mL
    COUNTS,  # 2x T-shirts, step 3/5, 250/6 (cricket)
    FORMULAS,  # y = 2x - 3, H2SO4
    BIBLE,  # 1 Corinthians 13:4
    POWERS_OF_TEN,  # 6e23, 2^10, ~5
    TIMES,  # 5:30 p.m., 0600 hours, 1:30:15
    CODES,  # postcodes, telephone and card numbers, versions: v1.2, 555-0199
    MONEY,  # $5.50, €3m
    YEARS_AND_DECADES,  # in 1999, the 1990s
    FRACTIONS,  # 3/4 cup
    BETWEEN,  # 5-10, 3:1
    ORDINALS,  # 3rd
    PRODUCTS,  # 3 x 4, 2x faster
    MEASURES,  # 5 km, 190C, 10k
)
GRAMMAR = Grammar(shape for shapes in SHAPES for shape in shapes)


def speak_english(text: str, region: str) -> str:
    """One pass over a text; `region` is the language tag's, in capitals, or ""."""
    variety = Variety(is_day_first=region in DAY_FIRST)
    text = JOINERS.sub("", text).replace("«", '"').replace("»", '"')
    text = mark_beginnings(abbreviations(full_names(addresses(latex(text)))))
    text = vulgar_fractions(dashes(named_ranges(romans(text, variety))))
    if NEEDED.search(text):
        text = GRAMMAR.say(canonical_units(canonical_money(canonical_numbers(text))), variety)
    text = operators(acronyms(text))
    return raise_beginnings(leave_out(numbers(text, variety)))
