"""Years, decades and plurals of numbers in English: in 1999, the 1990s, in her 30s, the 747s.

A four-digit number is a year only where something says so: a date, a month before it, a word such as “in” or
“since”, a name before it, another year across a dash, brackets, what the year is of (a 2019 study).
"""

from __future__ import annotations

import re

from tts.normalize.english_numbers import Variety, below_hundred, cardinal, digits, number, plural, year
from tts.normalize.english_patterns import DASH, START
from tts.normalize.english_scan import DIGIT, LETTER, MARK, Shape, left
from tts.normalize.english_units import UNIT

BEFORE_YEAR = (
    "in|since|by|of|from|until|till|before|after|during|circa|around|about|years?|early|late|mid|summer|winter|spring"
    "|autumn|fall|through|between|christmas|q[1-4]|h[12]|established|fiscal|copyright|for|to|built|founded|throughout|post|pre|born|died|dated|vintage|model"
)
A_YEAR = r"(?:1[1-9][0-9]{2}|20[0-9]{2})(?![0-9]|[.,:/][0-9]|%|°)"
COUNTED = rf"(?![ -]?{UNIT})"  # in 1200 km: no year
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
# A 2019 study, the 2015 Honda: one thing of a year. A 1500 calorie diet has none.
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
# In his 20s, 30s and 40s: what the first is, they all are.
CHAIN = re.compile(r"(?:(?<!\w)'?[0-9]{1,4}'?s(?:,? (?:and|or|to) |, |-|–)(?:the )?){1,4}\Z")
OF_THE_TIME = re.compile(
    r" (?:[A-Z]\w*|music|kids?|movies?|films?|style|fashion|hits?|rock|pop|era|bands?|songs?|shows?|child"
    r"|vibes?|themed|nostalgia|disco|hair|icons?|party|sitcoms?|classics?)\b"
)
ANOTHER = re.compile(r"(?: and | or | to |-|–)(?:the )?'?[0-9]{1,2}'?s\b")
SHORT_YEAR = re.compile(r"(?<![\w'\"])'(?P<year>[0-9]{2})\b(?!['\"%]|[.,:][0-9])")


def said_year(written: str, variety: Variety) -> str:
    """Of one to four digits: nineteen oh five, seventy-nine."""
    value = int(written)
    return year(value, variety) if 1000 < value < 2100 else cardinal(value, variety)


def _with_s(match: re.Match[str], variety: Variety) -> str | None:
    """The 1990s, the 747s, in her 30s, two 6s; None where the s is a second."""
    written, text, end = match["value"], match.string, match.end()
    chain = CHAIN.search(left(match))
    before = left(match)[: chain.start()] if chain else left(match)
    value = int(written.replace(",", ""))
    if re.fullmatch("(?:1[1-9]|20)[0-9]0", written):
        return plural(year(value, variety))
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
    if DURATION.search(left(match)) or TIMED.match(match.string, match.end()) or last - first < 4:
        return None
    return f"{cardinal(first, variety)} to {plural(cardinal(last, variety))}"


def two_digits(written: str) -> str:
    """Of a year or a minute: ninety-nine, oh five."""
    return below_hundred(int(written)) if written[0] != "0" else f"oh {digits(written[1])}"


def _in_context(match: re.Match[str], variety: Variety) -> str | None:
    return said_year(match["year"], variety) if CONTEXT.search(left(match)) else None


def _of_a_year(match: re.Match[str], variety: Variety) -> str | None:
    return said_year(match["year"], variety) if ONE_THING.search(left(match)) else None


def _years(match: re.Match[str], variety: Variety) -> str:
    second = said_year(match["second"], variety) if match["second"] else two_digits(match["short"])
    return said_year(match["first"], variety) + (match["link"] or " to ") + second


YEARS_AND_DECADES = (
    Shape(ERA, lambda m, v: f"{said_year(m['year'], v)} {' '.join(m['era'])}"),
    Shape(AD, lambda m, v: f"A D {said_year(m['year'], v)}", LETTER),
    Shape(WITH_S, _with_s, DIGIT + MARK),
    Shape(AGES, _ages),
    Shape(SHORT_YEAR, lambda m, v: two_digits(m["year"]), MARK),
    Shape(YEARS, _years),
    Shape(YEAR_IN_CONTEXT, _in_context),
    Shape(OF_A_YEAR, _of_a_year),
    Shape(YEAR_ALONE, lambda m, v: said_year(m[0], v)),
)
