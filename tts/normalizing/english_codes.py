"""Digits that count nothing in English: telephone and card numbers, passcodes, versions, parts of acts.

Such digits are read one by one, with a comma, which is a pause, between their groups.
"""

from __future__ import annotations

import re

from tts.normalizing.english_numbers import MAX_DIGITS, Variety, digits, number
from tts.normalizing.english_scan import DIGIT, LETTER, MARK, Shape, left

LONG_RUN = re.compile(rf"(?<![0-9])(?<![0-9][.,])[0-9]{{{MAX_DIGITS + 1},}}")
BEGIN = r"(?<![\w.,$£€/-])"
END = r"(?![\w/%]|[-.,:][0-9])"
PHONE = re.compile(
    rf"{BEGIN}(?:"
    r"\+(?=(?:[ ().-]{0,2}[0-9]){7})[0-9]{1,3}(?:[ .-]?\([0-9]{1,5}\))?(?:[ .-]?[0-9]{1,15}){1,6}"
    r"|(?:1[ .-])?\([0-9]{3}\)[ .-]?[0-9]{3}[ .-][0-9]{4}"
    r"|1-[0-9]{3}(?:-[0-9]{3}-[0-9]{4}|(?=-[A-Z]))"
    r"|[0-9]{3}[.-][0-9]{3}[.-][0-9]{4}"
    r"|(?:1 )?[2-9][0-9]{2} [0-9]{3} [0-9]{4}"
    r"|1[38]00 [0-9]{3} [0-9]{3}|[6-9][0-9]{4} [0-9]{5}"
    r"|\(0[0-9]{1,4}\) ?[0-9]{3,4}[ -]?[0-9]{3,4}"
    r"|0[0-9]{1,4}(?:[ -][0-9]{3,6}){1,3}|0[0-9](?:[ .][0-9]{2}){4}"
    rf"){END}"
)
MIN_DIALLED, MAX_DIALLED = 6, 15  # digits of a telephone number
# After a word that says so, any groups of digits.
DIALLED = re.compile(
    rf"{BEGIN}(?:\([0-9]{{1,5}}\)[ .-]?)?[0-9]{{1,6}}(?:[ .-][0-9]{{1,6}}){{1,8}}{END}|{BEGIN}[0-9]{{7,12}}{END}"
)
DIAL = re.compile(
    r"\b(?:call|dial|ring|phone|telephone|tel|fax|mobile|cell|text|sms|whatsapp|hotline|helpline|landline|contact|reach|ph|mob)"
    r"(?:ing)?(?:[ :.,]{1,2}(?:number|no|us|me|him|her|them|on|at|is|was|now|my|our|or|the office)){0,4}[ :.]{1,3}"
    r"(?:[0-9(][0-9() .-]{5,20} (?:or|and) )?\Z",
    re.IGNORECASE,
)
EXTENSION = re.compile(r"\b[Ee]xtension (?P<digits>[0-9]{1,6})\b")
PHONE_BEFORE = re.compile(r"[0-9][ .-][0-9]{3,4}\Z")
EXTENSION_X = re.compile(r",? ?x ?(?P<digits>[0-9]{1,5})(?![\w.])")
SHORT_PHONE = re.compile(rf"{BEGIN}[0-9]{{3}}-[0-9]{{4}}{END}")
OF_RANGES = re.compile(r"\b(?:[Pp]ages?|pp?\.|[Ff]rom|[Yy]ears?|[Ll]ines?|[Vv]erses?) \Z")
CARD = re.compile(rf"{BEGIN}[0-9]{{4}}(?:[ -][0-9]{{4}}){{2,5}}(?: [0-9]{{1,3}})?{END}")
CODED = re.compile(r"(?<=[A-Z]-)(?P<digits>[0-9]{5,12})(?![\w.,])")  # ABC-12345
CHAIN = re.compile(rf"{BEGIN}[0-9]{{1,15}}(?:-[0-9]{{1,15}}){{2,8}}{END}")
VERSION = re.compile(r"(?<![\w.])(?P<v>[vV])?(?P<first>[0-9]{1,15})(?P<rest>(?:\.[0-9]{1,15}){1,6})(?![0-9]|\.[0-9])")
# What is typed in, told by the word before it; the code of a place after its state; numbers of three for help.
KEYED = re.compile(
    r"(?P<before>\b(?:PIN|OTP|ISSN|IMEI|(?i:code|password|zip|(?:account|card|order|invoice|booking|confirmation|tracking)"
    r" (?:number|id|ending in)))(?: is)?:? |#(?=[0-9]{5})|(?<=[,a-z] )[A-Z]{2} (?=[0-9]{5}\b)"
    r"|\b(?i:call|dial|ring) (?=(?:[2-9]11|999|112|988)\b)|\b(?i:text) [A-Z]{2,12} to (?=[0-9]{5,6}\b))"
    r"(?P<digits>[0-9]{3,15}(?:-[0-9]{4})?)(?![\w/%]|[.,:][0-9])"
)
NUMBER_SIGN = re.compile(r"(?<![\w#&])#(?= ?[0-9])")
# Acts and their parts: 401(k), Rule 12(b)(6).
PARTS = re.compile(r"\b(?P<number>[0-9]{1,4})(?P<parts>\([a-rt-z]\)(?:\([0-9a-z]{1,3}\)){0,3})|\b401k\b")


def _long_run(match: re.Match[str], variety: Variety) -> str:
    before = match.string[match.start() - 1 : match.start()] if match.start() else ""
    after = match.string[match.end() : match.end() + 1]
    return (" " if before.isalnum() else "") + digits(match[0]) + (" " if after.isalnum() else "")


def _parts(match: re.Match[str], variety: Variety) -> str:
    """Four oh one k: a nought in the middle of three digits is an “oh”."""
    written, parts = match["number"] or "401", match["parts"] or "k"
    if len(written) == 3 and written[1] == "0" != written[2]:
        written = f"{digits(written[0])} oh {digits(written[2])}"
    return " ".join([written, *re.findall(r"\w+", parts)])


def _groups(match: re.Match[str], variety: Variety) -> str:
    plus = "plus " if match[0].startswith("+") else ""
    return plus + ", ".join(digits(group) for group in re.findall(r"[0-9]+", match[0]))


def is_dialled(before: str) -> bool:
    """Whether the number after this text is dialled: call, fax, my mobile is."""
    return DIAL.search(before) is not None


def _dialled(match: re.Match[str], variety: Variety) -> str | None:
    count = sum(char.isdigit() for char in match[0])
    return _groups(match, variety) if MIN_DIALLED <= count <= MAX_DIALLED and is_dialled(left(match)) else None


def _extension(match: re.Match[str], variety: Variety) -> str:
    written = match["digits"]
    return "extension " + (number(written, variety) if len(written) < 3 else digits(written))


def _extension_x(match: re.Match[str], variety: Variety) -> str | None:
    return f" {_extension(match, variety)}" if PHONE_BEFORE.search(left(match)) else None


def _version(match: re.Match[str], variety: Variety) -> str | None:
    parts = [match["first"], *match["rest"][1:].split(".")]
    if not match["v"] and len(parts) == 2:
        return None
    lead = "version " if match["v"] else ""
    return lead + " dot ".join(number(part, variety) for part in parts)


CODES = (
    Shape(LONG_RUN, _long_run),
    Shape(KEYED, lambda m, v: m["before"].replace("#", "number ") + digits(m["digits"]), LETTER + MARK),
    Shape(CODED, lambda m, v: digits(m["digits"])),
    Shape(NUMBER_SIGN, lambda m, v: "number ", MARK),
    Shape(PARTS, _parts),
    Shape(EXTENSION, _extension, LETTER),
    Shape(EXTENSION_X, _extension_x, LETTER + MARK, follows=True),
    Shape(DIALLED, _dialled, DIGIT + MARK),
    Shape(PHONE, _groups, DIGIT + MARK),
    Shape(CARD, _groups),
    Shape(SHORT_PHONE, lambda m, v: None if OF_RANGES.search(left(m)) else _groups(m, v)),
    Shape(CHAIN, _groups),
    Shape(VERSION, _version, DIGIT + LETTER),
)
