"""Sums of money in English. It knows no rates: twenty dollars stay twenty dollars."""

from __future__ import annotations

import re

from tts.normalizing.english_numbers import Variety, cardinal, is_one, number
from tts.normalizing.english_patterns import NUMBER, START
from tts.normalizing.english_scan import DIGIT, LETTER, MARK, Shape

# The sign and the code of a currency = singular, plural, and the same of its hundredth part where that is named.
TABLE = """
$ = dollar, dollars, cent, cents
US$ USD = U S dollar, U S dollars, cent, cents
A$ AU$ AUD = Australian dollar, Australian dollars, cent, cents
C$ CA$ CAD = Canadian dollar, Canadian dollars, cent, cents
NZ$ NZD = New Zealand dollar, New Zealand dollars, cent, cents
HK$ HKD = Hong Kong dollar, Hong Kong dollars, cent, cents
S$ SGD = Singapore dollar, Singapore dollars, cent, cents
£ GBP = pound, pounds, penny, pence
€ EUR = euro, euros, cent, cents
¥ JPY = yen, yen
CNY RMB = yuan, yuan
₹ INR = rupee, rupees, paisa, paise
₩ KRW = won, won
₽ RUB = ruble, rubles
₺ = lira, lira
₪ ILS = shekel, shekels
₦ NGN = naira, naira
฿ THB = baht, baht
₿ BTC = bitcoin, bitcoins
CHF = Swiss franc, Swiss francs
SEK = Swedish krona, Swedish kronor
NOK = Norwegian krone, Norwegian kroner
DKK = Danish krone, Danish kroner
PLN = zloty, zlotys
BRL = real, reais
MXN = Mexican peso, Mexican pesos
ZAR = rand, rand
"""
CURRENCIES = {
    unit: names.split(", ")
    for units, names in (row.split(" = ") for row in TABLE.strip().split("\n"))
    for unit in units.split()
}
MAGNITUDES = {"k": "thousand", "m": "million", "b": "billion", "t": "trillion"}  # by the first letter

SIGNS = "£€¥₹₩₽₺₪₦฿₿"
SIGN = rf"(?:(?:\b(?:US|AU|CA|NZ|HK|A|C|S))?\$|[{SIGNS}])"
CODE = rf"(?:{'|'.join(code for code in CURRENCIES if code.isalpha())})"
MAGNITUDE = r"(?:[ -]?(?P<magnitude>thousand|million|billion|trillion)\b|(?P<letter>[kKmMbBtT]|[mMbBtT]n)\b)?"
SUM = rf"(?P<amount>{NUMBER})(?: ?[-–—] ?(?:(?P=unit))?(?P<upper>{NUMBER}))?{MAGNITUDE}"
BEFORE = re.compile(
    rf"(?P<minus>(?<!\w)[-−])?(?P<unit>{SIGN}|\b{CODE}(?= ?[0-9])) ?{SUM}(?:[.,][-–—]+)?(?P<bill>(?= (?:bill|note"
    rf"|coin)\b))?"
)
AFTER = re.compile(
    rf"(?P<minus>(?<![\w)])[-−])?{START}(?P<amount>{NUMBER})(?: ?[-–—] ?(?P<upper>{NUMBER}))?{MAGNITUDE} ?"
    rf"(?P<unit>[{SIGNS}]|\$(?![0-9A-Za-z])|{CODE}\b)"
    r"(?P<bill>(?= (?:bill|note|coin)\b))?"
)
DECIMAL_COMMA = re.compile(r"(?<![0-9.,])([0-9]{1,6}),([0-9]{2})(?= ?(?:€|EUR\b))")
CENTS = re.compile(rf"{START}(?P<amount>{NUMBER}) ?¢")
PENCE = re.compile(rf"{START}(?P<amount>[1-9][0-9]?)p\b")
LONE_SIGN = re.compile(rf"(?<!\w)[{SIGNS}](?!\w)")


def canonical_money(text: str) -> str:
    """2,50 € → 2.50 €."""
    return DECIMAL_COMMA.sub(r"\1.\2", text)


def _sum(match: re.Match[str], variety: Variety) -> str:
    amount, upper = match["amount"], match["upper"]
    magnitude = match["magnitude"] or MAGNITUDES.get((match["letter"] or "").lower()[:1], "")
    one, many, *_ = CURRENCIES[match["unit"]]
    if upper or magnitude:
        words = [number(amount, variety), *(["to", number(upper, variety)] if upper else []), magnitude, many]
        spoken = " ".join(word for word in words if word)
    elif match["bill"] is not None:
        spoken = f"{number(amount, variety)} {one}"
    else:
        spoken = _with_cents(amount, CURRENCIES[match["unit"]], variety)
    return _apart(match, ("minus " if match["minus"] else "") + spoken)


def _with_cents(amount: str, names: list[str], variety: Variety) -> str:
    """Five dollars and fifty cents. What has no two decimals is read as a number: five point five dollars."""
    one, many, *parts_of_one = names
    whole, _, decimals = amount.partition(".")
    if decimals and (len(decimals) != 2 or not parts_of_one):
        return _count(amount, one, many, variety)
    parts = [_count(whole, one, many, variety)] if whole.strip("0,") or not decimals.strip("0") else []
    if decimals.strip("0"):
        value = int(decimals)
        parts.append(f"{cardinal(value, variety)} {parts_of_one[value != 1]}")
    return " and ".join(parts)


def _count(amount: str, one: str, many: str, variety: Variety) -> str:
    return f"{number(amount or '0', variety)} {one if is_one(amount) else many}"


def _apart(match: re.Match[str], spoken: str) -> str:
    """With a space where the next thing is glued on."""
    following = match.string[match.end() : match.end() + 1]
    before = match.string[match.start() - 1 : match.start()] if match.start() else ""
    return (" " if before.isalnum() else "") + spoken + (" " if following.isalnum() else "")


MONEY = (
    Shape(BEFORE, _sum, LETTER + MARK),
    Shape(AFTER, _sum, DIGIT + MARK),
    Shape(CENTS, lambda m, v: _count(m["amount"], "cent", "cents", v), DIGIT + MARK),
    Shape(PENCE, lambda m, v: _count(m["amount"], "penny", "pence", v) if v.is_day_first else None),
    Shape(LONE_SIGN, lambda m, v: CURRENCIES[m[0]][1], MARK),
)
