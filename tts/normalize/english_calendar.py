"""Dates in English, and timestamps."""

from __future__ import annotations

import re

from tts.normalize.english_abbreviations import WEEKDAYS
from tts.normalize.english_numbers import Variety, ordinal
from tts.normalize.english_patterns import DASH, MONTHS, START
from tts.normalize.english_scan import DIGIT, LETTER, MARK, Shape
from tts.normalize.english_times import hour_and_minute
from tts.normalize.english_years import said_year

SHORT_MONTHS = {name[:3]: name for name in MONTHS} | {"Sept": "September"}
MONTH = rf"\b(?P<month>{'|'.join([*MONTHS, 'Sept', *(name[:3] for name in MONTHS)])})\b"
TH = "(?:st|nd|rd|th)"
YEAR = r"(?:1[0-9]{3}|20[0-9]{2})(?![0-9]|[.,:/][0-9])"
NO_MORE = r"(?![0-9]|[.,:][0-9]|%)"

MONTH_DAY = re.compile(
    rf"{MONTH} (?P<day>[0-9]{{1,2}}){TH}?(?![a-zA-Z]){NO_MORE}(?: ?{DASH} ?(?P<until>[0-9]{{1,2}}){TH}?{NO_MORE}"
    rf"(?![a-zA-Z-]))?(?:,? (?P<year>{YEAR}))?"
)
DAY_MONTH = re.compile(
    rf"(?P<the>\b[Tt]he )?{START}\b(?:(?P<since>[0-9]{{1,2}}){TH}? ?[-–~] ?)?(?P<day>[0-9]{{1,2}})(?P<th>{TH})?"
    rf"(?P<of> of)?[ -]{MONTH}(?:(?:,? |-)(?P<year>{YEAR}))?"
)
MONTH_YEAR = re.compile(rf"{MONTH}(?:,| of)? (?P<year>{YEAR})")
ISO_DATE = re.compile(
    r"(?<![0-9/.-])(?P<year>[12][0-9]{3})(?P<mark>[-/.])(?P<month>[01]?[0-9])(?P=mark)(?P<day>[0-3]?[0-9])(?:T(?=[0-2][0-9]:)|(?![0-9/-]|\.[0-9]))"
)
BASIC_STAMP = re.compile(
    r"(?<!\w)(?P<year>20[0-9]{2})(?P<month>0[1-9]|1[0-2])(?P<day>0[1-9]|[12][0-9]|3[01])T(?P<hour>[01][0-9]|2[0-3])"
    r"(?P<minute>[0-5][0-9])(?:[0-5][0-9])?(?P<zulu>Z)?(?!\w)"
)
YEAR_MONTH = re.compile(
    r"(?<![\w.,$£€#/-])(?P<year>(?:19|20)[0-9]{2})[-/](?P<month>0[1-9]|1[0-2])(?![\w/%-]|[.,:][0-9])"
)
MONTH_OF_YEAR = re.compile(r"(?<![\w.,$£€/-])(?P<month>0[1-9]|1[0-2])/(?P<year>(?:19|20)[0-9]{2})(?![\w/%-]|[.,][0-9])")
LONG = SHORT_MONTHS | WEEKDAYS
NAME = rf"({'|'.join(sorted({*LONG, *LONG.values()}, key=len, reverse=True))})\b\.?"
NAME_RANGE = re.compile(rf"\b{NAME} ?[-–] ?{NAME}")
LATER_DAY = re.compile(rf"(?<=[0-9]) ?[–—] ?(?={NAME},? [A-Z0-9])")  # Mon, Aug 5 – Wed, Aug 7
DATE_RANGE = re.compile(rf" ?[-–] ?(?={NAME} [0-9]|[0-9]{{1,2}}/)")

DATE = re.compile(
    r"(?P<before>\b[Tt]he )?(?<![0-9/.-])(?P<first>[0-9]{1,2})(?P<mark>[/.-])(?P<second>[0-9]{1,2})(?P=mark)"
    r"(?P<year>[12][0-9]{3}|(?<=/)[0-9]{2})(?![0-9/]|-(?![0-9]{1,2}/)|\.[0-9])"
)
DATE_OF_THIS_YEAR = re.compile(
    r"(?P<before>\b(?:[Oo]n|[Dd]ue|[Uu]ntil|[Bb]efore|[Bb]y(?! [1-9]/[2-9]\b)|[A-Z][a-z]{2,5}day,?) )"
    r"(?P<first>[0-9]{1,2})(?P<mark>/)(?P<second>[0-9]{1,2})(?P<year>)(?![\w/%]|[.,][0-9]| of\b)"
)


def named_ranges(text: str) -> str:
    """Mon-Fri, Jan–Mar; the only thing of a calendar without a digit."""
    return LATER_DAY.sub(" to ", NAME_RANGE.sub(_names, text))


def _names(match: re.Match[str]) -> str:
    return f"{LONG.get(match[1], match[1])} to {LONG.get(match[2], match[2])}"


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
    month, day = int(match["month"]), int(match["day"])
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return None
    spoken = _spoken(day, MONTHS[month - 1], said_year(match["year"], variety), variety)
    return f"{spoken}, " if match[0].endswith("T") else spoken


def _basic_stamp(match: re.Match[str], variety: Variety) -> str:
    spoken = _spoken(int(match["day"]), MONTHS[int(match["month"]) - 1], said_year(match["year"], variety), variety)
    return f"{spoken}, {hour_and_minute(int(match['hour']), match['minute'], False)}" + (
        ", U T C" if match["zulu"] else ""
    )


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
    return before.removeprefix(the) + _spoken(
        day, MONTHS[month - 1], _fullsaid_year(match["year"], variety), variety, the
    )


def _fullsaid_year(written: str, variety: Variety) -> str:
    if not written:
        return ""
    if len(written) == 2:
        written = ("20" if int(written) < 70 else "19") + written
    return said_year(written, variety)


def _day_month(match: re.Match[str], variety: Variety) -> str | None:
    """5 March: the fifth of March. What says “of” has the article it needs."""
    if not _is_day(match["day"]) or not _is_day(match["since"] or "1"):
        return None
    the = match["the"] or ("" if match["of"] else "the ")
    tail = f", {said_year(match['year'], variety)}" if match["year"] else ""
    since = f"{ordinal(int(match['since']), variety)} to the " if match["since"] else ""
    return f"{the}{since}{ordinal(int(match['day']), variety)} of {_name(match)}{tail}"


def _month_day(match: re.Match[str], variety: Variety) -> str | None:
    if not _is_day(match["day"]) or not _is_day(match["until"] or "1"):
        return None
    until = f" to {ordinal(int(match['until']), variety)}" if match["until"] else ""
    tail = f", {said_year(match['year'], variety)}" if match["year"] else ""
    return f"{_name(match)} {ordinal(int(match['day']), variety)}{until}{tail}"


def _year_month(match: re.Match[str], variety: Variety) -> str | None:
    """2020-12, but not 2011-12 or 2005-08, which are years."""
    if int(match["month"]) > int(match["year"][2:]) and match["year"] >= "2000":
        return None
    if int(match["month"]) == (int(match["year"]) + 1) % 100:
        return None
    return f"{MONTHS[int(match['month']) - 1]} {said_year(match['year'], variety)}"


DATES = (
    Shape(DATE_RANGE, lambda m, v: " to ", MARK, follows=True),
    Shape(ISO_DATE, _iso),
    Shape(BASIC_STAMP, _basic_stamp),
    Shape(YEAR_MONTH, _year_month),
    Shape(MONTH_OF_YEAR, lambda m, v: f"{MONTHS[int(m['month']) - 1]} {said_year(m['year'], v)}"),
    Shape(DATE, _numeric, DIGIT + LETTER),
    Shape(DATE_OF_THIS_YEAR, _numeric, LETTER),
    Shape(DAY_MONTH, _day_month, DIGIT + LETTER),
    Shape(MONTH_DAY, _month_day, LETTER),
    Shape(MONTH_YEAR, lambda m, v: f"{_name(m)} {said_year(m['year'], v)}", LETTER),
)
