"""Sums of money in English. It knows no rates: twenty dollars stay twenty dollars."""

from __future__ import annotations

import re

from tts.normalizing.english_numbers import Variety, cardinal, is_one, number
from tts.normalizing.english_patterns import NUMBER, START

# Singular, plural, and the same of its hundredth part where it has one.
DOLLAR = ("dollar", "dollars", "cent", "cents")
CURRENCIES: dict[str, tuple[str, str, str, str]] = {
    "$": DOLLAR,
    **{
        f"{sign}$": (f"{name} dollar", f"{name} dollars", "cent", "cents")
        for sign, name in {
            "US": "U S",
            "AU": "Australian",
            "A": "Australian",
            "CA": "Canadian",
            "C": "Canadian",
            "NZ": "New Zealand",
            "HK": "Hong Kong",
            "S": "Singapore",
        }.items()
    },
    "£": ("pound", "pounds", "penny", "pence"),
    "€": ("euro", "euros", "cent", "cents"),
    "¥": ("yen", "yen", "", ""),
    "₹": ("rupee", "rupees", "paisa", "paise"),
    "₩": ("won", "won", "", ""),
    "₽": ("ruble", "rubles", "kopeck", "kopecks"),
    "₺": ("lira", "lira", "kurush", "kurush"),
    "₪": ("shekel", "shekels", "agora", "agorot"),
    "₫": ("dong", "dong", "", ""),
    "₴": ("hryvnia", "hryvnias", "", ""),
    "₦": ("naira", "naira", "kobo", "kobo"),
    "฿": ("baht", "baht", "satang", "satang"),
    "₿": ("bitcoin", "bitcoins", "", ""),
}
CODES = {
    "EUR": "€",
    "GBP": "£",
    "JPY": "¥",
    "USD": "US$",
    "AUD": "A$",
    "CAD": "C$",
    "NZD": "NZ$",
    "HKD": "HK$",
    "SGD": "S$",
}
CODES |= {"INR": "₹", "KRW": "₩", "RUB": "₽", "TRY": "₺", "ILS": "₪", "BTC": "₿"}
CURRENCIES |= {code: CURRENCIES[sign] for code, sign in CODES.items()}
CURRENCIES |= {
    "CHF": ("Swiss franc", "Swiss francs", "centime", "centimes"),
    "CNY": ("yuan", "yuan", "fen", "fen"),
    "RMB": ("yuan", "yuan", "fen", "fen"),
    "SEK": ("Swedish krona", "Swedish kronor", "öre", "öre"),
    "NOK": ("Norwegian krone", "Norwegian kroner", "øre", "øre"),
    "DKK": ("Danish krone", "Danish kroner", "øre", "øre"),
    "PLN": ("zloty", "zlotys", "grosz", "groszy"),
    "BRL": ("real", "reais", "centavo", "centavos"),
    "MXN": ("Mexican peso", "Mexican pesos", "centavo", "centavos"),
    "ZAR": ("rand", "rand", "cent", "cents"),
}
MAGNITUDES = {"k": "thousand", "m": "million", "mn": "million", "mln": "million", "b": "billion", "bn": "billion"}
MAGNITUDES |= {"bln": "billion", "t": "trillion", "tn": "trillion", "trn": "trillion"}

SIGN = r"(?:(?:\b(?:US|AU|CA|NZ|HK|A|C|S))?\$|[£€¥₹₩₽₺₪₫₴₦฿₿])"
CODE = rf"(?:{'|'.join(code for code in CURRENCIES if code.isalpha())})"
MAGNITUDE = (
    r"(?:[ -]?(?P<magnitude>thousand|million|billion|trillion)\b|(?P<letter>[kKmMbBtT]|[mMbBtT]n|[mb]ln|trn)\b)?"
)
SUM = rf"(?P<amount>{NUMBER})(?: ?[-–—] ?(?:(?P=unit))?(?P<upper>{NUMBER}))?{MAGNITUDE}"
BEFORE = re.compile(
    rf"(?P<minus>(?<!\w)[-−])?(?P<unit>{SIGN}|\b{CODE}(?= ?[0-9])) ?{SUM}(?:[.,][-–—]+)?(?P<bill>(?= (?:bill|note"
    rf"|coin)\b))?"
)
AFTER = re.compile(
    rf"(?P<minus>(?<![\w)])[-−])?{START}(?P<amount>{NUMBER})(?: ?[-–—] ?(?P<upper>{NUMBER}))?{MAGNITUDE} ?"
    rf"(?P<unit>[£€₹₩₽₺₪₫₴₦฿₿]|\$(?![0-9A-Za-z])|{CODE}\b)"
    r"(?P<bill>(?= (?:bill|note|coin)\b))?"
)
SCALED_RANGE = re.compile(r"(?<=[0-9][kKmMbB]) ?[-–—] ?(?=[$£€][0-9])")
DECIMAL_COMMA = re.compile(r"(?<![0-9.,])([0-9]{1,6}),([0-9]{2})(?= ?(?:€|EUR\b))")
CENTS = re.compile(rf"{START}(?P<amount>{NUMBER}) ?¢")
PENCE = re.compile(rf"{START}(?P<amount>[1-9][0-9]?)p\b")
LONE_SIGN = re.compile(r"(?<!\w)[£€¥₹₩₽₺₪₫₴₦฿₿](?!\w)")


def money(text: str, variety: Variety) -> str:
    """Every sum with a sign or a code, before or after it."""
    text = SCALED_RANGE.sub(" to ", text)
    text = DECIMAL_COMMA.sub(r"\1.\2", text)
    text = BEFORE.sub(lambda m: _sum(m, variety), text)
    text = AFTER.sub(lambda m: _sum(m, variety), text)
    text = CENTS.sub(lambda m: _count(m["amount"], "cent", "cents", variety), text)
    if variety.is_day_first:
        text = PENCE.sub(lambda m: _count(m["amount"], "penny", "pence", variety), text)
    return LONE_SIGN.sub(lambda m: CURRENCIES[m[0]][1], text)


def _sum(match: re.Match[str], variety: Variety) -> str:
    amount, upper = match["amount"], match["upper"]
    magnitude = match["magnitude"] or MAGNITUDES.get((match["letter"] or "").lower(), "")
    one, many, _, _ = CURRENCIES[match["unit"]]
    if upper or magnitude:
        words = [number(amount, variety), *(["to", number(upper, variety)] if upper else []), magnitude, many]
        spoken = " ".join(word for word in words if word)
    elif match["bill"] is not None:
        spoken = f"{number(amount, variety)} {one}"
    else:
        spoken = _with_cents(amount, CURRENCIES[match["unit"]], variety)
    return _apart(match, ("minus " if match["minus"] else "") + spoken)


def _with_cents(amount: str, names: tuple[str, str, str, str], variety: Variety) -> str:
    """Five dollars and fifty cents. What has no two decimals is read as a number: five point five dollars."""
    one, many, cent, cents = names
    whole, _, decimals = amount.partition(".")
    if decimals and (len(decimals) != 2 or not cent):
        return _count(amount, one, many, variety)
    parts = [_count(whole, one, many, variety)] if whole.strip("0,") or not decimals.strip("0") else []
    if decimals.strip("0"):
        value = int(decimals)
        parts.append(f"{cardinal(value, variety)} {cent if value == 1 else cents}")
    return " and ".join(parts)


def _count(amount: str, one: str, many: str, variety: Variety) -> str:
    return f"{number(amount or '0', variety)} {one if is_one(amount) else many}"


def _apart(match: re.Match[str], spoken: str) -> str:
    """With a space where the next thing is glued on."""
    following = match.string[match.end() : match.end() + 1]
    before = match.string[match.start() - 1 : match.start()] if match.start() else ""
    return (" " if before.isalnum() else "") + spoken + (" " if following.isalnum() else "")
