"""Counts in English: so many of a thing (2x T-shirts), products and sizes (3 x 4), stars, and scores of cricket."""

from __future__ import annotations

import re

from tts.normalize.english.numbers import NUMBER, START, Variety, number
from tts.normalize.english.scan import DIGIT, LETTER, MARK, Shape, text_after, text_before

AS_MUCH = (
    r"(?i:as|the|more|less|faster|better|higher|larger|bigger|lower|cheaper|longer|stronger|slower|smaller|optical|digital"
    r"|zoom|speed|growth|return)\b"
)
TIMES_AS_MUCH = re.compile(
    rf"{START}\b(?P<value>{NUMBER})(?:[x×](?=[,.;!?)/]|$|[-–~][0-9]| (?:a|[a-z]{{2,}})\b)| ?[x×](?= {AS_MUCH})"
    r"| [x×](?= (?:a|[a-z]{3,})\b))"
)
# 2x T-shirts and 3 x Widget are counts, a 3x NBA champion is three-time.
QUANTITY = re.compile(
    rf"{START}(?<!\w)(?P<count>[1-9][0-9]{{0,3}})(?:[x×] (?=[A-Z])"
    rf"| [x×] (?=[A-Z][\w-]|(?:[a-z]{{3,15}} ){{0,2}}[a-z]{{2,15}}s\b))"
    rf"(?!{AS_MUCH})"
    r"(?=(?P<title>(?:[\w'-]{1,20} ){0,3}(?i:champions?|winners?|mvp|medall?ist|all-stars?|platinum)\b)?)"
)
PACKS = re.compile(
    rf"{START}(?<!\w)(?P<count>[1-9][0-9]?) ?[x×] ?(?=[0-9.]{{1,5}} ?-?(?:g|kg|ml|mL|l|L|oz|cl)\b "
    r"(?:[a-z]{2,12} ){0,2}(?:tins?|cans?|packs?|packets?|bags?|bottles?|jars?|pouch(?:es)?|tubs?|cartons?|steaks?"
    r"|fillets?|blocks?)\b)"
)
EACH_OF = re.compile(
    r"(?:(?<=[a-z]s )|(?<=[A-Z] )|(?<=\()(?=x ?[0-9]{1,3}\)))x ?(?P<count>[2-9]|(?!86|64|32)[1-9][0-9]{1,2})"
    r"(?=[,.;:)]{0,3}(?:\s|$)(?! ?(?:to|and|=)\b))"
)
# In arithmetic × is “times”, in sizes “by”.
PRODUCT = re.compile(rf"(?<=[0-9]) ?[x×] ?(?={NUMBER}(?: ?=|\^| to the power|[⁰¹²³⁴-⁹]))")
BETWEEN_NUMBERS = re.compile(r"(?<=[0-9]) ?[x×] ?(?=[0-9])")
BY = re.compile(r" ?[x×] ?(?=[0-9])")
WICKETS = re.compile(rf"{START}(?<![/\w$£€-])(?P<runs>[0-9]{{1,3}})/(?P<wickets>[0-9]|10)(?![\w/%]|[.,][0-9])")
CRICKET = re.compile(
    r"\b(?:overs?|stumps|wickets?|innings|chasing|at (?:tea|lunch|the close)|all out|bowled|batsm[ae]n|batters?|cricket"
    r"|T20|ODI)\b"
)
STEP_OF = re.compile(r"(?P<step>[0-9]{1,4})/(?P<last>[0-9]{1,4})(?![\w/%]|[.,][0-9])")
STEP = re.compile(r"\b(?i:steps?|parts?|pages?|days?|slides?|questions?|rounds?|batch|photos?|lessons?|ep|chunk) \Z")
STARS = re.compile(r"(?<![\w.,$£€])(?P<count>[1-5])\*(?= [a-z])")


def _wickets(match: re.Match[str], variety: Variety) -> str | None:
    around = text_before(match) + " " + text_after(match, 60)
    if int(match["runs"]) <= int(match["wickets"]) or not CRICKET.search(around):
        return None
    return f"{number(match['runs'], variety)} for {number(match['wickets'], variety)}"


def _step_of(match: re.Match[str], variety: Variety) -> str | None:
    if STEP.search(text_before(match)) is None or int(match["step"]) > int(match["last"]):
        return None
    return f"{number(match['step'], variety)} of {number(match['last'], variety)}"


COUNTS = (
    Shape(WICKETS, _wickets),
    Shape(STEP_OF, _step_of),
    Shape(PACKS, lambda m, v: f"{number(m['count'], v)} "),
    Shape(QUANTITY, lambda m, v: number(m["count"], v) + ("-time " if m["title"] else " ")),
    Shape(EACH_OF, lambda m, v: f"times {number(m['count'], v)}", LETTER),
)
PRODUCTS = (
    Shape(STARS, lambda m, v: f"{number(m['count'], v)} star"),
    Shape(PRODUCT, lambda m, v: " times ", LETTER + MARK),
    Shape(BETWEEN_NUMBERS, lambda m, v: " by ", LETTER + MARK),
    Shape(BY, lambda m, v: " by ", LETTER + MARK, follows=True),
    Shape(TIMES_AS_MUCH, lambda m, v: f"{number(m['value'], v)} times", DIGIT + MARK),
)
