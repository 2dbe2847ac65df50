"""Digits that count nothing: telephone and card numbers, versions, IP addresses. It calls nobody.

Such digits are read one by one, with a comma, which is a pause, between their groups.
"""

from __future__ import annotations

import re

from tts.normalizing.english_numbers import MAX_DIGITS, Variety, digits, number

LONG_RUN = re.compile(rf"(?<![0-9])(?<![0-9][.,])[0-9]{{{MAX_DIGITS + 1},}}")
BEGIN = r"(?<![\w.,$£€/-])"
END = r"(?![\w/%]|[-.,:][0-9])"
PHONE = re.compile(
    rf"{BEGIN}(?:"
    r"\+[0-9]{1,3}(?:[ .-]?\([0-9]{1,5}\))?(?:[ .-]?[0-9]{2,15}){1,6}"
    r"|(?:1[ .-])?\([0-9]{3}\)[ .-]?[0-9]{3}[ .-][0-9]{4}"
    r"|1-[0-9]{3}-[0-9]{3}-[0-9]{4}"
    r"|[0-9]{3}[.-][0-9]{3}[.-][0-9]{4}"
    r"|0[0-9]{2,4}[ -][0-9]{3,4}[ -]?[0-9]{3,4}"
    rf"){END}"
)
SHORT_PHONE = re.compile(
    rf"(?P<range>\b(?:[Pp]ages?|pp?\.|[Ff]rom|[Yy]ears?|[Ll]ines?|[Vv]erses?) )?{BEGIN}[0-9]{{3}}-[0-9]{{4}}{END}"
)
CARD = re.compile(rf"{BEGIN}[0-9]{{4}}(?:[ -][0-9]{{4}}){{2,4}}{END}")
CHAIN = re.compile(rf"{BEGIN}[0-9]{{1,15}}(?:-[0-9]{{1,15}}){{2,8}}{END}")
VERSION = re.compile(r"(?<![\w.])(?P<v>[vV])?(?P<first>[0-9]{1,15})(?P<rest>(?:\.[0-9]{1,15}){1,6})(?![0-9]|\.[0-9])")
EXTENSION = re.compile(r"\bext\. ?(?=[0-9])")


def codes(text: str, variety: Variety) -> str:
    """All of them; what is shaped like a date was read before."""
    text = LONG_RUN.sub(_long_run, text)
    text = EXTENSION.sub("extension ", text)
    text = CARD.sub(_groups, PHONE.sub(_groups, text))
    text = SHORT_PHONE.sub(lambda m: m[0] if m["range"] else _groups(m), text)
    return CHAIN.sub(_groups, text)


def versions(text: str, variety: Variety) -> str:
    """1.2.3, 192.168.0.1, and v1.2; two numbers without a v are a decimal."""
    return VERSION.sub(lambda m: _version(m, variety), text)


def _long_run(match: re.Match[str]) -> str:
    before = match.string[match.start() - 1 : match.start()] if match.start() else ""
    after = match.string[match.end() : match.end() + 1]
    return (" " if before.isalnum() else "") + digits(match[0]) + (" " if after.isalnum() else "")


def _groups(match: re.Match[str]) -> str:
    plus = "plus " if match[0].startswith("+") else ""
    return plus + ", ".join(digits(group) for group in re.findall(r"[0-9]+", match[0]))


def _version(match: re.Match[str], variety: Variety) -> str:
    parts = [match["first"], *match["rest"][1:].split(".")]
    if not match["v"] and len(parts) == 2:
        return match[0]
    lead = "version " if match["v"] else ""
    return lead + " dot ".join(number(part, variety) for part in parts)
