"""Sums of money in English, in the currency they are written in."""

from __future__ import annotations

import re

from tts.normalize.english.nouns import is_before_noun
from tts.normalize.english.numbers import MAGNITUDES, NUMBER, START, Variety, cardinal, number
from tts.normalize.english.scan import DIGIT, LETTER, MARK, Shape, spaced, text_after, text_before
from tts.normalize.tables import words

# Signs and codes of a currency = its name + that of its hundredth, each with a | and its plural where that has no s.
TABLE = """
$=dollar+cent US$,USD=U_S_dollar+cent A$,AU$,AUD=Australian_dollar+cent C$,CA$,CAD=Canadian_dollar+cent
NZ$,NZD=New_Zealand_dollar+cent HK$,HKD=Hong_Kong_dollar+cent S$,SGD=Singapore_dollar+cent NT$,TWD=Taiwan_dollar
J$,JMD=Jamaican_dollar+cent TT$=Trinidad_dollar+cent BZ$=Belize_dollar+cent EC$=East_Caribbean_dollar+cent
N$=Namibian_dollar+cent FJ$=Fiji_dollar+cent RD$=Dominican_peso+centavo £,GBP=pound+penny|pence €,EUR=euro+cent
¥,JPY=yen|yen CN¥,CNY,RMB=yuan|yuan ₹,₨,INR,Rs,Re=rupee+paisa|paise PKR=Pakistani_rupee+paisa|paise
LKR=Sri_Lankan_rupee+cent NPR=Nepalese_rupee+paisa|paise ৳,BDT=taka|taka ₩,KRW=won|won ₽,RUB=ruble ₺=lira|lira
₪,ILS=shekel ₦,NGN=naira|naira ₵,GH₵,GHS=cedi KSh,Ksh,KES=Kenyan_shilling KWD=Kuwaiti_dinar PEN=sol|soles
฿,THB=baht|baht ₱=peso+centavo ₫,VND=dong|dong ₴,UAH=hryvnia ₸,KZT=tenge|tenge ₾,GEL=lari|lari ₼,AZN=manat|manat
₡,CRC=colon|colones ₲,PYG=guarani|guaranies ₿,BTC=bitcoin RM,MYR=ringgit|ringgit+sen|sen Rp,IDR=rupiah|rupiah
CHF,SFr=Swiss_franc Fr=franc kr,Kr=krone|kroner+ore|ore SEK=Swedish_krona|Swedish_kronor
NOK=Norwegian_krone|Norwegian_kroner DKK=Danish_krone|Danish_kroner zł,PLN=zloty+grosz|groszy Kč,CZK=Czech_koruna
HUF=forint AED=dirham SAR,QAR=riyal EGP=Egyptian_pound R$,BRL=real|reais+centavo MX$,Mex$,MXN=Mexican_peso+centavo
AR$,ARS=Argentine_peso+centavo CLP$,CLP=Chilean_peso COP$=Colombian_peso ZAR=rand|rand
"""


def _names(row: str) -> list[str]:
    """ "dollar+cent" → dollar, dollars, cent, cents."""
    pairs = (name.partition("|") for name in row.replace("_", " ").split("+"))
    return [name for one, _, many in pairs for name in (one, many or f"{one}s")]


CURRENCIES = {
    unit: _names(names) for units, names in (row.split("=") for row in TABLE.split()) for unit in units.split(",")
}
CURRENCIES["US $"] = CURRENCIES["US$"]
RUPEES = words("₹ ₨ INR Rs Re PKR NPR LKR BDT ৳")

SIGNS = "".join(unit for unit in CURRENCIES if len(unit) == 1 and unit != "$")
LETTERED = "|".join(unit[:-1] for unit in CURRENCIES if unit[:-1].isalpha() and unit.endswith("$"))
SIGN = rf"(?:\bUS \$|(?:\b(?:{LETTERED}))?\$|(?:\bCN)?¥|(?:\bGH)₵|[{SIGNS}])"
CODE = rf"(?:{'|'.join(code for code in CURRENCIES if code.isalpha() and len(code) > 1)})"
MAGNITUDE = (
    r"(?:[ -]?(?P<magnitude>(?i:thousand|million|mil(?=\b)|billion|trillion|(?:lakh|lac)(?=s?\b)(?: crore)?"
    r"|crore))(?i:s)?\b|(?P<letter>[kKmMbBtT]|[mMbBtT]n|L)\b| ?(?P<crore>[Cc]r)\b)?"
)
SUM = rf"(?P<amount>{NUMBER})(?: ?[-–—~] ?(?:(?P=unit))?(?P<upper>{NUMBER}))?{MAGNITUDE}"
BEFORE = re.compile(
    rf"(?P<minus>(?<!\w)[-−])?(?P<unit>{SIGN}|(?<![\w.]){CODE}(?= ?[-−]?[0-9])) ?(?P<minus_after>[-−](?=[0-9.]))?{SUM}"
    rf"(?:[.,][-–—]+|/[-=](?!\w))?(?: ?(?P<code>{CODE})\b)?"
)
AFTER = re.compile(
    rf"(?P<minus>(?<![\w)])[-−])?{START}(?P<amount>{NUMBER})(?: ?[-–—~] ?(?P<upper>{NUMBER}))?{MAGNITUDE} ?"
    rf"(?P<unit>[{SIGNS}]|\$(?![0-9A-Za-z])|{CODE}\b)"
)
DASHED = re.compile(rf"{START}(?P<amount>{NUMBER})/-(?![\w-])")
PER_NUMBER = re.compile(r" ?/ ?(?=[0-9])")
FOR_MONEY = re.compile(rf"(?<=\b[2-9])(?<![$£€.,-][2-9])/(?={SIGN}[0-9])")  # 2/$15
IS_SUM = re.compile(rf"{SIGN} ?[0-9.,]{{1,20}}[kKmMbB]?n?\Z")
# 2,75 and 1.234,56 beside a sign; 1.500.000, and 50.000 of the currencies without small change.
CONTINENTAL = r"(?P<sum>(?:[0-9]{1,3}(?:\.[0-9]{3}){1,4}|[0-9]{1,9}),[0-9]{2}|[0-9]{1,3}(?:\.[0-9]{3}){2,4})"
CONTINENTAL_AFTER_SIGN = re.compile(
    rf"(?P<sign>(?:{SIGN}|\b{CODE}) ?[-−]?)(?:{CONTINENTAL}|(?P<tenths>[0-9]{{1,3}},[0-9]))(?![0-9]|[.,][0-9])"
)
CONTINENTAL_BEFORE_SIGN = re.compile(rf"(?P<sign>)(?<![0-9.,]){CONTINENTAL}(?= ?(?:[{SIGNS}]|{CODE}\b))")
WITHOUT_CHANGE = re.compile(
    r"(?P<sign>(?:₫|\bRp|\bIDR|COP\$|CLP\$?|\bkr) ?|(?<![\w.,])(?=[0-9.]{1,20} ?(?:kr|₫|VND|IDR|HUF|CLP)(?!\w)))"
    r"(?P<sum>[0-9]{1,3}(?:\.[0-9]{3}){1,4})(?![0-9.,][0-9])"
)
CENTS = re.compile(rf"{START}(?P<amount>{NUMBER}) ?¢")
PENCE = re.compile(rf"{START}(?P<amount>[1-9][0-9]{{0,3}})p\b")
SCREEN_LINES = words("144 240 360 480 540 576 720 1080 1440 2160 4320")
BRITISH = re.compile(r"£|\b[Ss]hares?\b|\bpence\b| per share|\b[0-9]{1,3}p\b")
LONE_SIGN = re.compile(rf"(?<!\w)[{SIGNS}](?!\w)")


def canonical_money(text: str) -> str:
    """2,50 € and €1.234,56 → 2.50 € and €1234.56."""
    for pattern in (CONTINENTAL_AFTER_SIGN, CONTINENTAL_BEFORE_SIGN, WITHOUT_CHANGE):
        text = pattern.sub(lambda m: m["sign"] + m[m.lastgroup or 0].replace(".", "").replace(",", "."), text)
    return text


def _sum(match: re.Match[str], variety: Variety) -> str | None:
    amount, upper, unit = match["amount"], match["upper"], match["unit"]
    letter = match["crore"] or match["letter"] or ""
    if letter[:1] in ("L", "C", "c") and unit not in RUPEES:
        return None
    magnitude = (match["magnitude"] or MAGNITUDES.get(letter.lower()[:1], "")).lower().replace("lac", "lakh")
    magnitude = "million" if magnitude == "mil" else magnitude
    unit = match.groupdict().get("code") or unit  # $5 CAD
    one, many, *_ = CURRENCIES[unit]
    is_attribute = is_before_noun(match)
    if upper or magnitude:
        named = one if is_attribute else many
        words = [number(amount, variety), *(["to", number(upper, variety)] if upper else []), magnitude, named]
        spoken = " ".join(word for word in words if word)
    else:
        spoken = _with_cents(amount, CURRENCIES[unit], variety, is_attribute=is_attribute)
    is_minus = match["minus"] or match.groupdict().get("minus_after")
    return spaced(match, ("minus " if is_minus else "") + spoken)


def _with_cents(amount: str, names: list[str], variety: Variety, *, is_attribute: bool) -> str:
    """Five dollars and fifty cents. Without two decimals it is read as a number: five point five dollars."""
    one, many, *parts_of_one = names
    many = one if is_attribute else many
    whole, _, decimals = amount.partition(".")
    if decimals and (len(decimals) != 2 or not parts_of_one):
        return _count(amount, one, many, variety)
    parts = [_count(whole, one, many, variety)] if whole.strip("0,") or not decimals.strip("0") else []
    if decimals.strip("0"):
        value = int(decimals)
        parts.append(f"{cardinal(value, variety)} {parts_of_one[value != 1 and not is_attribute]}")
    return " and ".join(parts)


def _count(amount: str, one: str, many: str, variety: Variety) -> str:
    return f"{number(amount or '0', variety)} {one if amount == '1' else many}"


def _is_pence(match: re.Match[str], variety: Variety) -> bool:
    if match["amount"] in SCREEN_LINES:
        return False
    around = text_before(match) + text_after(match, 12)
    return variety.is_day_first or BRITISH.search(around) is not None


MONEY = (
    Shape(BEFORE, _sum, LETTER + MARK),
    Shape(AFTER, _sum, DIGIT + MARK),
    Shape(DASHED, lambda m, v: _count(m["amount"], "rupee", "rupees", v)),
    Shape(PER_NUMBER, lambda m, v: " per " if IS_SUM.search(text_before(m)) else None, MARK, follows=True),
    Shape(FOR_MONEY, lambda m, v: " for ", MARK),
    Shape(CENTS, lambda m, v: _count(m["amount"], "cent", "cents", v), DIGIT + MARK),
    Shape(PENCE, lambda m, v: _count(m["amount"], "penny", "pence", v) if _is_pence(m, v) else None),
    Shape(LONE_SIGN, lambda m, v: CURRENCIES[m[0]][1], MARK),
)
