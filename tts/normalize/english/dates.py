"""Dates, years and decades in English: 5 March, 2024-03-05, in 1999, the 1990s, in her 30s, the 747s.

A four-digit number is a year only where something says so: a date, a month before it, a word such as “in” or
“since”, a name before it, another year across a dash, brackets, what the year is of (a 2019 study).
"""

from __future__ import annotations

import re

from tts.normalize.english.numbers import DASH, START, Variety, cardinal, number, ordinal, plural, said_year, two_digits
from tts.normalize.english.scan import DIGIT, LETTER, MARK, Shape, text_before
from tts.normalize.english.times import hour_and_minute
from tts.normalize.english.units import UNIT
from tts.normalize.tables import MONTHS, SHORT_MONTHS, WEEKDAYS

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

# Years and decades.
BEFORE_YEAR = (
    "in|since|by|of|from|until|till|before|after|during|circa|around|about|years?|early|late|mid|summer|winter|spring"
    "|autumn|fall|through|between|christmas|q[1-4]|h[12]|established|fiscal|copyright|for|to|built|founded|throughout|post|pre|born|died|dated|vintage|model"
)
A_YEAR = r"(?:1[1-9][0-9]{2}|20[0-9]{2})(?![0-9]|[.,:/][0-9]|%|°)"
COUNTED = rf"(?![ -]?{UNIT})"  # in 1200 km
CONTEXT = re.compile(rf"\b(?:(?i:{BEFORE_YEAR})(?i: the year)?(?::? |-)|[A-Z]\w{{1,30}} |[FC]Y)\Z")
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
# A 2019 study, the 2015 Honda; but a 1500 calorie diet.
OF_A_YEAR = re.compile(
    rf"(?P<year>{A_YEAR})(?= (?:(?!word|page|line|mile|met[er]|foot|pound|seat|calor|person|year|day)[a-z]{{2,14}} )?"
    r"(?:stud(?:y|ies)|papers?|films?|movie|book|report|survey|elections?|album|novel|song|article|documentary|edition"
    r"|budget|season|vintage|census|law|act|ruling|decision|war|crisis|crash|pandemic|attacks?|speech|remake|adaptation"
    r"|version|interview|review|analysis|agreement|treaty|hurricane|earthquake|floods?|recession|tour|draft|finals?"
    r"|championships?|tournament|race|revolution|campaign|coup|convention|summit|festival|agenda|class|harvest|model|poll|constitution"
    r"|uprising|referendum|outbreak|fire|murder|debut|contract|painting|poem|play)\b|(?<!00) [A-Z][a-z])"
)
ONE_THING = re.compile(r"\b(?i:an?|the|his|her|its|their|our|my|this|that) \Z|\w's \Z")
ERA = re.compile(rf"{START}\b(?P<year>[1-9][0-9]{{0,3}}) ?(?P<era>BCE?|CE|AD)\b")
AD = re.compile(r"\bAD (?P<year>[1-9][0-9]{0,3})\b(?![.,][0-9])")
# 30s: a decade, a plural or seconds.
WITH_S = re.compile(r"(?<![\w.,$£€])(?P<apostrophe>')?(?P<value>[0-9]{1,4}|1,000)(?P<mark>'?)s\b(?!')")
AGES = re.compile(r"(?<![\w.,$£€-])(?P<first>[1-9][0-9])[-–](?P<last>[1-9][0-9])s\b")
LASTS = (
    r"\b(?i:takes?|took|wait(?:s|ed|ing)?|for|in|within|after|every|about|around|approximately|than|last(?:s|ed)?|rest|by"
    r"|only|least|most|just|another|pauses?|paused|hold|in (?:under|over)|takes? (?:under|over)|up to)"
)
DURATION = re.compile(rf"{LASTS} \Z")
TIMED = re.compile(
    r" (?:timeout|time-?out|delay|wait|window|limit|interval|clip|timer|cooldown|pause|gap|break|ad|spot|rest|hold|loop"
    r"|video|sprint|plank|response|latency|countdown|grace|mark)s?\b"
)
A_PLURAL = re.compile(
    r"(?:\b(?:(?i:the|his|her|their|my|your|our|its|early|mid|late|low|high|under|over)|two|three|four|five|six|seven"
    r"|several|many|few|all|Boeing|Airbus|Porsche|Ferrari|Volvo|sizes?|pair of)[ -]|\b[A-Z]\w{0,8}-)\Z"
)
TEMPERATURES = re.compile(
    r"\b(?:[Hh]ighs?|[Ll]ows?|[Tt]emp(?:s|eratures?)|inland|coast\w*|degrees|sunny|cloudy|warm\w*|cool\w*|weather)\b"
)
# In his 20s, 30s and 40s: all are read like the first.
CHAIN = re.compile(r"(?:(?<!\w)'?[0-9]{1,4}'?s(?:,? (?:and|or|to) |, |-|–)(?:the )?){1,4}\Z")
OF_THE_TIME = re.compile(
    r" (?:[A-Z]\w*|music|kids?|movies?|films?|style|fashion|hits?|rock|pop|era|bands?|songs?|shows?|child"
    r"|vibes?|themed|nostalgia|disco|hair|icons?|party|sitcoms?|classics?)\b"
)
ANOTHER = re.compile(r"(?: and | or | to |-|–)(?:the )?'?[0-9]{1,2}'?s\b")
SHORT_YEAR = re.compile(r"(?<![\w'\"])'(?P<year>[0-9]{2})\b(?!['\"%]|[.,:][0-9])")


def named_ranges(text: str) -> str:
    """Mon-Fri, Jan–Mar: dates without a digit."""
    return LATER_DAY.sub(" to ", NAME_RANGE.sub(lambda m: f"{LONG.get(m[1], m[1])} to {LONG.get(m[2], m[2])}", text))


def _name(match: re.Match[str]) -> str:
    return SHORT_MONTHS.get(match["month"], match["month"])


def _year_after(written: str | None, variety: Variety) -> str:
    """The year of a date, after a comma; "" without one. 70 is 1970, 69 is 2069."""
    if not written:
        return ""
    if len(written) == 2:
        written = ("20" if int(written) < 70 else "19") + written
    return f", {said_year(written, variety)}"


def _date(day: int, month: int, year: str, variety: Variety, the: str = "the ") -> str | None:
    """March fifth, 2024, or the fifth of March, 2024; None where there is no such day."""
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return None
    name, nth, tail = MONTHS[month - 1], ordinal(day, variety), _year_after(year, variety)
    return f"{the}{nth} of {name}{tail}" if variety.is_day_first else f"{name} {nth}{tail}"


def _iso(match: re.Match[str], variety: Variety) -> str | None:
    said = _date(int(match["day"]), int(match["month"]), match["year"], variety)
    return f"{said}, " if said and match[0].endswith("T") else said


def _basic_stamp(match: re.Match[str], variety: Variety) -> str:
    said = _date(int(match["day"]), int(match["month"]), match["year"], variety)
    zulu = ", U T C" if match["zulu"] else ""
    return f"{said}, {hour_and_minute(int(match['hour']), match['minute'], has_half=False)}{zulu}"


def _numeric(match: re.Match[str], variety: Variety) -> str | None:
    """Day and month in the variety's order, or in the other where only that is a date."""
    first, second = int(match["first"]), int(match["second"])
    day_first = variety.is_day_first or match["mark"] == "."
    day, month = (first, second) if day_first else (second, first)
    if month > 12:
        day, month = month, day
    before = match["before"] or ""
    the = before if before.lower() == "the " else ""
    said = _date(day, month, match["year"], variety, the or "the ")
    return said and before.removeprefix(the) + said


def _day_month(match: re.Match[str], variety: Variety) -> str | None:
    """5 March: the fifth of March. “5th of March” has its article in the text, or none."""
    days = [int(day) for day in (match["since"], match["day"]) if day]
    if not all(1 <= day <= 31 for day in days):
        return None
    the = match["the"] or ("" if match["of"] else "the ")
    nth = " to the ".join(ordinal(day, variety) for day in days)
    return f"{the}{nth} of {_name(match)}{_year_after(match['year'], variety)}"


def _month_day(match: re.Match[str], variety: Variety) -> str | None:
    days = [int(day) for day in (match["day"], match["until"]) if day]
    if not all(1 <= day <= 31 for day in days):
        return None
    nth = " to ".join(ordinal(day, variety) for day in days)
    return f"{_name(match)} {nth}{_year_after(match['year'], variety)}"


def _year_month(match: re.Match[str], variety: Variety) -> str | None:
    """2020-12, but not 2011-12 or 2005-08, which are years."""
    year, month = int(match["year"]), int(match["month"])
    if (month > year % 100 and year >= 2000) or month == (year + 1) % 100:
        return None
    return f"{MONTHS[month - 1]} {said_year(match['year'], variety)}"


def _with_s(match: re.Match[str], variety: Variety) -> str | None:
    """The 1990s, the 747s, in her 30s, two 6s; None where the s is a second."""
    written, text, end = match["value"], match.string, match.end()
    chain = CHAIN.search(text_before(match))
    before = text_before(match)[: chain.start()] if chain else text_before(match)
    value = int(written.replace(",", ""))
    if re.fullmatch("(?:1[1-9]|20)[0-9]0", written):
        return plural(said_year(written, variety))
    words = plural(number(written, variety))
    if text.startswith(" of ", end) and written.strip("0,") == "1" and value > 1:
        return words.removeprefix("one ")
    is_ten = value % 10 == 0 and 10 <= value < 100
    if match["mark"] or (match["apostrophe"] and is_ten):
        return words
    if match["apostrophe"] or TIMED.match(text, end) or DURATION.search(before):
        return None
    values = [value, *(int(each) for each in re.findall("[0-9]+", chain[0] if chain else ""))]
    if is_ten and value < 120 and TEMPERATURES.search(before + text[end : end + 30]):
        return words
    is_listed = chain is not None or ANOTHER.match(text, end) is not None
    is_pair = is_listed and max(values) < 10
    is_decade = is_ten and min(values) > 40 and (is_listed or OF_THE_TIME.match(text, end) is not None)
    return words if is_pair or is_decade or max(values) > 1000 or A_PLURAL.search(before) else None


def _ages(match: re.Match[str], variety: Variety) -> str | None:
    first, last = int(match["first"]), int(match["last"])
    if DURATION.search(text_before(match)) or TIMED.match(match.string, match.end()) or last - first < 4:
        return None
    return f"{cardinal(first, variety)} to {plural(cardinal(last, variety))}"


def _years(match: re.Match[str], variety: Variety) -> str:
    second = said_year(match["second"], variety) if match["second"] else two_digits(match["short"])
    return said_year(match["first"], variety) + (match["link"] or " to ") + second


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
YEARS_AND_DECADES = (
    Shape(ERA, lambda m, v: f"{said_year(m['year'], v)} {' '.join(m['era'])}"),
    Shape(AD, lambda m, v: f"A D {said_year(m['year'], v)}", LETTER),
    Shape(WITH_S, _with_s, DIGIT + MARK),
    Shape(AGES, _ages),
    Shape(SHORT_YEAR, lambda m, v: two_digits(m["year"]), MARK),
    Shape(YEARS, _years),
    Shape(YEAR_IN_CONTEXT, lambda m, v: said_year(m["year"], v) if CONTEXT.search(text_before(m)) else None),
    Shape(OF_A_YEAR, lambda m, v: said_year(m["year"], v) if ONE_THING.search(text_before(m)) else None),
    Shape(YEAR_ALONE, lambda m, v: said_year(m[0], v)),
)
