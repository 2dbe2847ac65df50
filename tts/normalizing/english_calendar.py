"""Dates, years and times of day in English. It does not know what day it is.

A four-digit number is a year only where something says so: a date, a month before it, a word such as “in” or
“since”, a name before it, another year across a dash, brackets, a sentence that begins with it and goes on with a verb.
"""

from __future__ import annotations

import re

from tts.normalizing.english_abbreviations import WEEKDAYS
from tts.normalizing.english_numbers import Variety, below_hundred, cardinal, digits, number, ordinal, plural, year
from tts.normalizing.english_patterns import DASH, START, stop_after
from tts.normalizing.english_scan import DIGIT, LETTER, MARK, Shape, left
from tts.normalizing.english_units import UNIT

MONTHS = "January February March April May June July August September October November December".split()
SHORT_MONTHS = {name[:3]: name for name in MONTHS} | {"Sept": "September"}
MONTH = rf"\b(?P<month>{'|'.join([*MONTHS, 'Sept', *(name[:3] for name in MONTHS)])})\b\.?"
TH = "(?:st|nd|rd|th)"
YEAR = r"(?:1[0-9]{3}|20[0-9]{2})(?![0-9]|[.,:/][0-9])"
NO_MORE = r"(?![0-9]|[.,:][0-9]|%)"

MONTH_DAY = re.compile(
    rf"{MONTH} (?P<day>[0-9]{{1,2}}){TH}?(?![a-zA-Z]){NO_MORE}(?: ?{DASH} ?(?P<until>[0-9]{{1,2}}){TH}?{NO_MORE}"
    rf"(?![a-zA-Z-]))?(?:,? (?P<year>{YEAR}))?"
)
DAY_MONTH = re.compile(
    rf"(?P<the>\b[Tt]he )?{START}\b(?:(?P<since>[0-9]{{1,2}}){TH}? ?[-–] ?)?(?P<day>[0-9]{{1,2}})(?P<th>{TH})?"
    rf"(?P<of> of)?[ -]{MONTH}(?:(?:,? |-)(?P<year>{YEAR}))?"
)
MONTH_YEAR = re.compile(rf"{MONTH}(?:,| of)? (?P<year>{YEAR})")
ISO_DATE = re.compile(
    r"(?<![0-9/.-])([12][0-9]{3})([-/.])([01]?[0-9])\2([0-3]?[0-9])(?:T(?=[0-2][0-9]:)|(?![0-9/-]|\.[0-9]))"
)
LONG = SHORT_MONTHS | WEEKDAYS
NAME = rf"({'|'.join(sorted({*LONG, *LONG.values()}, key=len, reverse=True))})\b\.?"
NAME_RANGE = re.compile(rf"\b{NAME} ?[-–] ?{NAME}")
DATE_RANGE = re.compile(rf" ?[-–] ?(?={NAME} [0-9]|[0-9]{{1,2}}/)")

DATE = re.compile(
    r"(?P<before>\b[Tt]he )?(?<![0-9/.-])(?P<first>[0-9]{1,2})(?P<mark>[/.-])(?P<second>[0-9]{1,2})(?P=mark)"
    r"(?P<year>[12][0-9]{3}|(?<=/)[0-9]{2})(?![0-9/]|-(?![0-9]{1,2}/)|\.[0-9])"
)
DATE_OF_THIS_YEAR = re.compile(
    r"(?P<before>\b(?:[Oo]n|[Dd]ue|[Uu]ntil|[Bb]efore|[Bb]y(?! [1-9]/[2-9]\b)|[A-Z][a-z]{2,5}day,?) )"
    r"(?P<first>[0-9]{1,2})(?P<mark>/)(?P<second>[0-9]{1,2})(?P<year>)(?![\w/%]|[.,][0-9]| of\b)"
)

HALF = r"[ \t]?(?P<half>[AaPp])(?:\.[Mm]\.|[Mm]\b)"
CLOCK = re.compile(
    rf"(?<![0-9:.,])(?P<hour>[0-9]{{1,2}})(?:(?::(?P<minute>[0-5][0-9])(?::(?P<second>[0-5][0-9])"
    rf"(?:[.,][0-9]{{1,6}})?)?"
    rf"|\.(?P<minute_uk>[0-5][0-9])(?=[ \t]?[AaPp]\.?[Mm]\b))(?:{HALF})?|[ \t]?(?P<half_alone>[AaPp])(?:\.[Mm]\."
    rf"|[Mm]\b))"
    r"(?![0-9:])(?P<zulu>Z\b)?"
)
# A weekday, a month or a zone after “p.m.” goes on with the sentence.
GOES_ON = re.compile(
    rf" (?:(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day|{'|'.join(MONTHS)}|[ECMP][SD]?T|UTC|GMT|BST|CEST?|Eastern"
    rf"|Pacific)\b"
)

BEFORE_YEAR = (
    "in|since|by|of|from|until|till|before|after|during|circa|around|about|years?|early|late|mid|summer|winter|spring"
    "|autumn|fall|through|between|christmas|q[1-4]|h[12]|established|fiscal|copyright|for|to|throughout"
)
A_YEAR = r"(?:1[1-9][0-9]{2}|20[0-9]{2})(?![0-9]|[.,:/][0-9]|%|°)"
COUNTED = rf"(?![ -]?{UNIT})"  # in 1200 km: no year
CONTEXT = re.compile(rf"\b(?:(?i:{BEFORE_YEAR})(?i: the year)?[ -]|[A-Z]\w{{1,30}} )\Z")
YEAR_IN_CONTEXT = re.compile(rf"(?P<year>{A_YEAR})(?![\w-]){COUNTED}")
YEARS = re.compile(
    rf"(?<![\w.,$£€#/-])(?P<first>{A_YEAR}|(?:19|20)[0-9]{{2}}(?=/[0-9]{{2}}(?![\w/.])))"
    rf"(?:(?P<dash>[ ]?[-–—/][ ]?)|(?P<link> to | and | or |, ))"
    rf"(?:(?P<second>{A_YEAR})|(?(dash)(?P<short>[0-9]{{2}})(?!{DASH}?[0-9])|(?!)))(?![\w-]){COUNTED}"
)
YEAR_ALONE = re.compile(
    rf"(?<=[(\[])(?P<bracketed>{A_YEAR})(?=[)\],;])|^(?P<whole>{A_YEAR})(?=[.:]?$)|(?<![\w.,$£€#/-])(?P<year>{A_YEAR})"
    r"(?= (?:was|is|will|has|had|saw|elections?|Olympics|season|model|report|World Cup|Games|film)\b|'s\b)",
    re.MULTILINE,
)
ERA = re.compile(rf"{START}\b(?P<year>[1-9][0-9]{{0,3}}) ?(?P<era>BCE?|CE|AD)\b")
AD = re.compile(r"\bAD (?P<year>[1-9][0-9]{0,3})\b(?![.,][0-9])")
DECADE = re.compile(r"(?<![\w.,$£€])(?P<full>(?:1[1-9]|20)[0-9]0)'?s\b|(?<!\w)'?(?P<short>[1-9]0)'?s\b")
PLURAL = re.compile(r"(?<![\w.,$£€])(?P<value>[0-9]{2,4}|1,000)s\b")
A_KIND = re.compile(r"\bthe \Z|\b[A-Z]-\Z")  # the 747s
SHORT_YEAR = re.compile(r"(?<![\w'\"])'(?P<year>[0-9]{2})\b(?!['\"%]|[.,:][0-9])")


def named_ranges(text: str) -> str:
    """Mon-Fri, Jan–Mar; the only thing of a calendar without a digit."""
    return NAME_RANGE.sub(_names, text)


def _names(match: re.Match[str]) -> str:
    return f"{LONG.get(match[1], match[1])} to {LONG.get(match[2], match[2])}"


def _year(written: str, variety: Variety) -> str:
    value = int(written)
    return year(value, variety) if 1000 < value < 2100 else cardinal(value, variety)


def _name(match: re.Match[str]) -> str:
    return SHORT_MONTHS.get(match["month"], match["month"])


def _is_day(written: str) -> bool:
    return 1 <= int(written) <= 31


def _spoken(day: int, month: str, year_words: str, variety: Variety, the: str = "") -> str:
    tail = f", {year_words}" if year_words else ""
    if variety.is_day_first:
        return f"{the or 'the '}{ordinal(day, variety)} of {month}{tail}"
    return f"{month} {ordinal(day, variety)}{tail}"


def _iso(match: re.Match[str], variety: Variety) -> str | None:
    month, day = int(match[3]), int(match[4])
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return None
    spoken = _spoken(day, MONTHS[month - 1], _year(match[1], variety), variety)
    return f"{spoken}, " if match[0].endswith("T") else spoken


def _numeric(match: re.Match[str], variety: Variety) -> str | None:
    """Day and month in the variety's order, or in the other where only that is a date."""
    first, second = int(match["first"]), int(match["second"])
    day_first = variety.is_day_first or match["mark"] == "."
    day, month = (first, second) if day_first else (second, first)
    if month > 12:
        day, month = month, day
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return None
    before = match["before"] or ""
    the = before if before.lower() == "the " else ""
    return before.removeprefix(the) + _spoken(day, MONTHS[month - 1], _full_year(match["year"], variety), variety, the)


def _full_year(written: str, variety: Variety) -> str:
    if not written:
        return ""
    if len(written) == 2:
        written = ("20" if int(written) < 70 else "19") + written
    return _year(written, variety)


def _day_month(match: re.Match[str], variety: Variety) -> str | None:
    """5 March: the fifth of March. What says “of” has the article it needs."""
    if not _is_day(match["day"]) or not _is_day(match["since"] or "1"):
        return None
    the = match["the"] or ("" if match["of"] else "the ")
    tail = f", {_year(match['year'], variety)}" if match["year"] else ""
    since = f"{ordinal(int(match['since']), variety)} to the " if match["since"] else ""
    return f"{the}{since}{ordinal(int(match['day']), variety)} of {_name(match)}{tail}"


def _month_day(match: re.Match[str], variety: Variety) -> str | None:
    if not _is_day(match["day"]) or not _is_day(match["until"] or "1"):
        return None
    until = f" to {ordinal(int(match['until']), variety)}" if match["until"] else ""
    tail = f", {_year(match['year'], variety)}" if match["year"] else ""
    return f"{_name(match)} {ordinal(int(match['day']), variety)}{until}{tail}"


def _plural(match: re.Match[str], variety: Variety) -> str | None:
    """The 747s; of a round number alone, hundreds of people."""
    words = plural(number(match["value"], variety))
    if A_KIND.search(left(match)):
        return words
    return words.removeprefix("one ") if match.string.startswith(" of ", match.end()) else None


def _decade(match: re.Match[str], variety: Variety) -> str:
    return plural(year(int(match["full"]), variety) if match["full"] else below_hundred(int(match["short"])))


def _two_digits(written: str) -> str:
    return below_hundred(int(written)) if written[0] != "0" else f"oh {digits(written[1])}"


def _in_context(match: re.Match[str], variety: Variety) -> str | None:
    return _year(match["year"], variety) if CONTEXT.search(left(match)) else None


def _years(match: re.Match[str], variety: Variety) -> str:
    second = _year(match["second"], variety) if match["second"] else _two_digits(match["short"])
    return _year(match["first"], variety) + (match["link"] or " to ") + second


def _clock(match: re.Match[str], variety: Variety) -> str | None:
    hour, minute = int(match["hour"]), match["minute"] or match["minute_uk"]
    half = match["half"] or match["half_alone"]
    if hour > 24 or (half and not 1 <= hour <= 12):
        return None
    words = [_hour_and_minute(hour, minute, bool(half))]
    if match["second"]:
        words.append(f"and {below_hundred(int(match['second']))} seconds")
    words += [f"{half.upper()} M"] if half else []
    words += ["U T C"] if match["zulu"] else []
    stop = "" if not half or GOES_ON.match(match.string, match.end()) else stop_after(match)
    return " ".join(words) + stop


def _hour_and_minute(hour: int, minute: str | None, has_half: bool) -> str:
    if minute is None or (minute == "00" and has_half):
        return below_hundred(hour)
    if minute == "00":
        return _full_hour(hour)
    return f"{below_hundred(hour)} {_two_digits(minute)}"


def _full_hour(hour: int) -> str:
    if hour in (0, 24):
        return "midnight"
    return f"{below_hundred(hour)} o'clock" if hour <= 12 else f"{below_hundred(hour)} hundred"


DATES = (
    Shape(DATE_RANGE, lambda m, v: " to ", MARK, follows=True),
    Shape(ISO_DATE, _iso),
    Shape(DATE, _numeric, DIGIT + LETTER),
    Shape(DATE_OF_THIS_YEAR, _numeric, LETTER),
    Shape(DAY_MONTH, _day_month, DIGIT + LETTER),
    Shape(MONTH_DAY, _month_day, LETTER),
    Shape(MONTH_YEAR, lambda m, v: f"{_name(m)} {_year(m['year'], v)}", LETTER),
)
TIMES = (Shape(CLOCK, _clock),)
YEARS_AND_DECADES = (
    Shape(ERA, lambda m, v: f"{_year(m['year'], v)} {' '.join(m['era'])}"),
    Shape(AD, lambda m, v: f"A D {_year(m['year'], v)}", LETTER),
    Shape(DECADE, _decade, DIGIT + MARK),
    Shape(PLURAL, _plural),
    Shape(SHORT_YEAR, lambda m, v: _two_digits(m["year"]), MARK),
    Shape(YEARS, _years),
    Shape(YEAR_IN_CONTEXT, _in_context),
    Shape(YEAR_ALONE, lambda m, v: _year(m[0], v)),
)
