"""Numbers in English: the patterns that match them as they are written, and their words.

Digits are [0-9], because \\d takes those of every script. Every pattern that begins with digits looks back, so
that it is tried once per number and a long run of digits takes linear time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

START = r"(?<![0-9])(?<![0-9][.,])"
INDIAN = r"[0-9]{1,2}(?:,[0-9]{2}){1,5},[0-9]{3}"  # 12,34,567
WHOLE = rf"(?:[0-9]{{1,3}}(?:,[0-9]{{3}}){{1,4}}(?![0-9]|,[0-9]{{3}})|{INDIAN}(?![0-9]|,[0-9])|[0-9]{{1,15}}(?![0-9]))"
NUMBER = rf"(?:{WHOLE}(?:\.[0-9]+)?|\.[0-9]+)"
DASH = "[-–—−~]"

SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
    " seventeen eighteen nineteen"
).split()
SMALL_DIGITS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹₀₁₂₃₄₅₆₇₈₉⁻⁺₊₋", "01234567890123456789-++-")
TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
SCALES = ("", " thousand", " million", " billion", " trillion")
MAGNITUDES = {"k": "thousand", "m": "million", "b": "billion", "t": "trillion", "l": "lakh", "c": "crore"}
MAX_DIGITS = 15  # a longer number is read digit by digit
IRREGULAR = {"one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth"}
IRREGULAR |= {"twelve": "twelfth"}
DENOMINATORS = frozenset({*range(2, 21), 24, 32, 50, 64, 100, 1000})


@dataclass(frozen=True, slots=True)
class Variety:
    """Which English. Outside America 03/05 is the third of May, 101 has an “and”, and a liter is a litre."""

    is_day_first: bool = False


def cardinal(value: int, variety: Variety) -> str:
    """0 ≤ `value` < 10¹⁵."""
    groups = []
    for scale in SCALES:
        value, group = divmod(value, 1000)
        if group:
            groups.append(_below_thousand(group, variety) + scale)
        if scale == "" and variety.is_day_first and 0 < group < 100 and value:
            groups[0] = f"and {groups[0]}"
    return " ".join(reversed(groups)) or SMALL[0]


def _below_thousand(value: int, variety: Variety) -> str:
    hundreds, rest = divmod(value, 100)
    if not hundreds:
        return below_hundred(rest)
    link = " and " if variety.is_day_first else " "
    return f"{SMALL[hundreds]} hundred" + (link + below_hundred(rest) if rest else "")


def below_hundred(value: int) -> str:
    if value < 20:
        return SMALL[value]
    tens, ones = divmod(value, 10)
    return f"{TENS[tens]}-{SMALL[ones]}" if ones else TENS[tens]


def ordinal(value: int, variety: Variety) -> str:
    words = cardinal(value, variety)
    head, mark, last = words.rpartition("-" if words.rfind("-") > words.rfind(" ") else " ")
    if last in IRREGULAR:
        return head + mark + IRREGULAR[last]
    return head + mark + (f"{last[:-1]}ieth" if last.endswith("y") else f"{last}th")


def plural(words: str) -> str:
    """Of a number or an ordinal: nineties, sixes, thirds."""
    if words.endswith("y"):
        return f"{words[:-1]}ies"
    return words + ("es" if words.endswith("x") else "s")


def digits(written: str) -> str:
    """ "407" → "four zero seven"; other characters are skipped."""
    return " ".join(SMALL[int(digit)] for digit in written if digit in "0123456789")


def year(value: int, variety: Variety) -> str:
    """1000 ≤ `value` ≤ 2099: nineteen oh five, two thousand one, twenty twenty-four."""
    century, rest = divmod(value, 100)
    if century % 10 == 0 and rest < 10:
        return cardinal(value, variety)
    if not rest:
        return f"{below_hundred(century)} hundred"
    return f"{below_hundred(century)} " + (below_hundred(rest) if rest > 9 else f"oh {SMALL[rest]}")


def said_year(written: str, variety: Variety) -> str:
    """Of one to four digits: nineteen oh five, seventy-nine."""
    value = int(written)
    return year(value, variety) if 1000 < value < 2100 else cardinal(value, variety)


def two_digits(written: str) -> str:
    """Of a year or a minute: ninety-nine, oh five."""
    return below_hundred(int(written)) if written[0] != "0" else f"oh {digits(written[1])}"


def number(written: str, variety: Variety) -> str:
    """A number as written, without a sign: "1,234.5", "1,50,000", ".5", "007"; any length."""
    whole, _, fraction = written.partition(".")
    is_indian = re.fullmatch(INDIAN, whole) is not None
    whole = whole.replace(",", "")
    head = [_in_lakhs(int(whole), variety) if is_indian else _whole(whole, variety)] if whole else []
    return " ".join([*head, "point", digits(fraction)] if fraction else head)


def _in_lakhs(value: int, variety: Variety) -> str:
    crores, rest = divmod(value, 10_000_000)
    lakhs, rest = divmod(rest, 100_000)
    words = [f"{cardinal(crores, variety)} crore"] if crores else []
    words += [f"{cardinal(lakhs, variety)} lakh"] if lakhs else []
    words += ["and"] if words and variety.is_day_first and 0 < rest < 100 else []
    words += [cardinal(rest, variety)] if rest else []
    return " ".join(words) or SMALL[0]


def _whole(written: str, variety: Variety) -> str:
    if len(written) > MAX_DIGITS or (len(written) > 1 and written[0] == "0"):
        return digits(written)
    return cardinal(int(written), variety)


def is_fraction(over: int, under: int) -> bool:
    """Whether `fraction` has words for it."""
    return 0 < over < under and under in DENOMINATORS


def fraction(numerator: int, denominator: int, variety: Variety) -> str:
    """One half, three quarters, two thirds. Only where `is_fraction`."""
    names = {2: ("half", "halves"), 4: ("quarter", "quarters")}
    part = ordinal(denominator, variety)
    one, many = names.get(denominator, (part, plural(part)))
    return f"{cardinal(numerator, variety)} {one if numerator == 1 else many}"
