"""Digits that count nothing in English: telephone and card numbers, passcodes, versions, house numbers, postcodes.

Such digits are read one by one, with a comma, which is a pause, between their groups.
"""

from __future__ import annotations

import re

from tts.normalize.english.identifiers import spelled
from tts.normalize.english.numbers import MAX_DIGITS, START, Variety, below_hundred, digits, number, two_digits, year
from tts.normalize.english.scan import DIGIT, LETTER, MARK, Shape, spaced, text_before

LONG_RUN = re.compile(rf"(?<![0-9])(?<![0-9][.,])[0-9]{{{MAX_DIGITS + 1},}}")
BEGIN = r"(?<![\w.,$£€/-])"
END = r"(?![\w/%]|[-.,:][0-9])"
PHONE = re.compile(
    rf"{BEGIN}(?:"
    r"\+(?=(?:[ ().-]{0,2}[0-9]){7})[0-9]{1,3}(?:[ .-]?\([0-9]{1,5}\))?(?:[ .-]?[0-9]{1,15}){1,6}"
    r"|(?:1[ .-])?\([0-9]{3}\)[ .-]?[0-9]{3}[ .-][0-9]{4}"
    r"|1-[0-9]{3}(?=-[A-Z])|[0-9]{3}[.-][0-9]{3}[.-][0-9]{4}"
    r"|(?:1 )?[2-9][0-9]{2} [0-9]{3} [0-9]{4}"
    r"|1[38]00 [0-9]{3} [0-9]{3}|[6-9][0-9]{4} [0-9]{5}"
    r"|\(0[0-9]{1,4}\) ?[0-9]{3,4}[ -]?[0-9]{3,4}"
    r"|0[0-9]{1,4}(?:[ -][0-9]{3,8}){1,3}|0[0-9](?:[ .][0-9]{2}){4}"
    r"|[0-9]{4}(?:[ -][0-9]{4}){2,5}(?: [0-9]{1,3})?|[0-9]{1,15}(?:-[0-9]{1,15}){2,8}"  # of a card; any chain
    rf"){END}"
)
MIN_DIALLED, MAX_DIALLED = 6, 15  # digits of a telephone number
# Any groups of digits after words such as “call”.
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
EXTENSION_X = re.compile(r",? ?x ?(?P<digits>[0-9]{1,5})(?!\w|\.[0-9])")
SHORT_PHONE = re.compile(rf"{BEGIN}[0-9]{{3}}-[0-9]{{4}}{END}")
OF_RANGES = re.compile(r"\b(?:[Pp]ages?|pp?\.|[Ff]rom|[Yy]ears?|[Ll]ines?|[Vv]erses?) \Z")
CODED = re.compile(r"(?<=[A-Z]-)(?P<digits>[0-9]{5,12})(?![\w.,])")  # ABC-12345
VERSION = re.compile(r"(?<![\w.])(?P<v>[vV])?(?P<first>[0-9]{1,15})(?P<rest>(?:\.[0-9]{1,15}){1,6})(?![0-9]|\.[0-9])")
# A version, after a program's name or “added in”: 3.10 comes after 3.9.
VERSION_OF_TWO = re.compile(
    rf"{START}(?<!\w)(?P<major>[0-9]{{1,2}})\.(?P<minor>[1-9][0-9]|0[1-9]|x\b)(?![\w/]|[.,][0-9]"
    r"| ?%| ?(?:percent|[mb]illion|thousand|times|each|per|dollars|euros|[GMk]B|k?m|k?g|m?s)\b)"
)
PROGRAM = (
    r"(?:\b(?:Python|Java|JDK|Node(?:\.?js)?|Go|Golang|Rust|Ruby|PHP|Django|Flask|Rails|React|Vue|Angular|Swift|Kotlin|Scala|Perl"
    r"|Ubuntu|Debian|Fedora|macOS|iOS|iPadOS|Android|Windows|Kubernetes|K8s|Docker|Postgres(?:QL)?|MySQL|MariaDB|SQLite"
    r"|Redis|CUDA|PyTorch|TensorFlow|NumPy|pandas|Linux|kernel|Chrome|Firefox|Terraform|Helm|Spark|Kafka|Gradle|Maven"
    r"|Bootstrap|Laravel|TypeScript|GCC|LLVM|Clang|CMake|OpenSSL|nginx|Blender|Unity|Godot|Lua|Julia|Elixir|Erlang|\.NET"
    r"|[Vv]ersions?|[Rr]eleases?|[Ff]irmware|[Pp]atch|VERSION) ?)"
)
PROGRAM_BEFORE = re.compile(rf"{PROGRAM}\Z")
PROGRAM_NEAR = re.compile(rf"{PROGRAM}(?P<major>[0-9]{{1,2}})(?![0-9])")
LINKED = re.compile(
    r"\b(?i:added|introduced|deprecated|removed|new|fixed|changed|available|supported|broken|in|since|to|on|from|than|and"
    r"|or|with|until|before|after|via)[ (]{1,2}\Z|\d(?:\.\d{1,2})?(?:, | ?[-–] ?)\Z"
)
PROGRAM_CHARS = 300  # searched for the name
# Codes after words such as PIN; the zip code after a state; emergency numbers.
KEYED = re.compile(
    r"(?P<before>\b(?:PIN|OTP|ISSN|IMEI|(?i:code|password|zip|(?:account|card|order|invoice|booking|confirmation|tracking)"
    r" (?:number|id|ending in)|account|ref|reference)\.?)(?: is)?:? #?|#(?=[0-9]{5}|[0-9]{3,4}-[0-9]{3,})"
    r"|(?<=[,a-z] )[A-Z]{2} (?=[0-9]{5}\b)"
    r"|\b(?i:call|dial|ring) (?=(?:[2-9]11|999|112|988)\b)|\b(?i:text) [A-Z]{2,12} to (?=[0-9]{5,6}\b))"
    r"(?P<digits>(?:[0-9]{3,15}|[0-9]{2}(?=-[0-9]{3}))(?:-[0-9]{2,15}){0,4})(?![\w/%]|[.,:][0-9])"
)
CODE_RANGE = re.compile(
    r"(?<![\w./-])(?P<letter>[A-Z])(?P<low>[0-9]{1,3})(?: ?(?P<dash>[-–—])|(?<=[CTLS][0-9])/(?=[CTLS])) ?"
    r"(?P<other>[A-Z])(?P<high>[0-9]{1,3})(?![\w/-]|\.[0-9])"
)
LETTERED_RANGE = re.compile(r"(?<![\w.,-])(?P<first>[0-9]{1,3}[a-hA-H])[-–](?P<second>[0-9]{0,3}[a-hA-H])(?![\w-])")
NUMBER_SIGN = re.compile(r"(?<![\w#&])#(?= ?[0-9])")
# Acts and their parts: 401(k), Rule 12(b)(6).
PARTS = re.compile(
    r"\b(?P<number>[0-9]{1,4})(?P<parts>(?:\([a-rt-z]\)|\([0-9]{1,2}\)(?=\([a-z0-9]{1,3}\)))(?:\([0-9a-z]{1,3}\)){0,3})|\b401k\b"
)
ROADS = (
    "Street|Avenue|Boulevard|Road|Highway|Parkway|Square|Drive|Lane|Court|Place|Terrace|Crescent|Way|Close|Circle|Mews"
)
# 221B Baker Street: digits in pairs.
HOUSE = re.compile(
    r"(?<![\w.,$£€/#-])(?P<number>[1-9][0-9]{2,3})(?P<letter>[A-Z])?(?=(?: [NSEW]\.?)?(?: [A-Z][a-z'-]{1,20}){1,3}?"
    rf" (?:{ROADS})\b(?! (?!was\b|has\b)[a-z]{{3,12}}s\b))"
)
UK_POSTCODE = re.compile(
    r"(?<![\w-])(?P<outward>[A-PR-UWYZ][A-HK-Y]?[0-9][0-9A-HJKMNP-Y]?) (?P<inward>[0-9](?![GTP]B|PS|HD|(?<=1)ST"
    r"|(?<=2)ND|(?<=3)RD|TH\b [a-z])[ABD-HJLNP-UW-Z]{2})(?![\w-])"
)
CANADIAN_POSTCODE = re.compile(
    r"(?<![\w-])(?P<outward>[A-CEGHJ-NPR-TVXY][0-9][A-Z])[ -]?(?P<inward>[0-9][A-Z][0-9])(?![\w-])"
)
ZIP_CODE = re.compile(r"(?<![\w.,$£€/-])(?P<outward>[0-9]{5})-(?P<inward>[0-9]{4})(?![\w%]|[.,:-][0-9])")


def _parts(match: re.Match[str], variety: Variety) -> str:
    """Four oh one k: a zero in the middle of three digits is “oh”."""
    written, parts = match["number"] or "401", match["parts"] or "k"
    if len(written) == 3 and written[1] == "0" != written[2]:
        written = f"{digits(written[0])} oh {digits(written[2])}"
    return " ".join([written, *re.findall(r"\w+", parts)])


def _groups(match: re.Match[str], variety: Variety) -> str:
    plus = "plus " if match[0].startswith("+") else ""
    return plus + ", ".join(digits(group) for group in re.findall(r"[0-9]+", match[0]))


def is_dialled(before: str) -> bool:
    """Whether the number after this text is a telephone number: call, fax, my mobile is."""
    return DIAL.search(before) is not None


def _dialled(match: re.Match[str], variety: Variety) -> str | None:
    count = sum(char.isdigit() for char in match[0])
    return _groups(match, variety) if MIN_DIALLED <= count <= MAX_DIALLED and is_dialled(text_before(match)) else None


def _keyed(match: re.Match[str], variety: Variety) -> str | None:
    groups = match["digits"].split("-")
    if match["before"] == "#" and len(groups) == 2 and 0 < int(groups[1]) - int(groups[0]) < 100:
        return None  # a range
    return match["before"].replace("#", "number ") + ", ".join(map(digits, groups))


def _version_of_two(match: re.Match[str], variety: Variety) -> str | None:
    """Three point ten, twenty-two point oh four, eighteen point x."""
    before, minor = text_before(match), match["minor"]
    if not PROGRAM_BEFORE.search(before):
        if not LINKED.search(before):
            return None
        near = PROGRAM_NEAR.search(match.string[max(0, match.start() - PROGRAM_CHARS) : match.start()])
        if near is None or near["major"] != match["major"]:
            return None
    said = minor if minor == "x" else f"oh {digits(minor[1])}" if minor[0] == "0" else number(minor, variety)
    return f"{number(match['major'], variety)} point {said}"


def _code_range(match: re.Match[str], variety: Variety) -> str | None:
    """L4–L5, Q1-Q3; a hyphen between different letters is a range only for vertebrae."""
    first, second = match["letter"], match["other"]
    if first != second and match["dash"] == "-" and {first, second} - set("CTLS"):
        return None
    link = " to " if match["dash"] else " "
    return f"{first} {number(match['low'], variety)}{link}{second} {number(match['high'], variety)}"


def _lettered(written: str, variety: Variety) -> str:
    figures = written[:-1]
    return f"{number(figures, variety)} {written[-1]}" if figures else written


def _extension(match: re.Match[str], variety: Variety) -> str:
    written = match["digits"]
    return "extension " + (number(written, variety) if len(written) < 3 else digits(written))


def _extension_x(match: re.Match[str], variety: Variety) -> str | None:
    return f" {_extension(match, variety)}" if PHONE_BEFORE.search(text_before(match)) else None


def _version(match: re.Match[str], variety: Variety) -> str | None:
    parts = [match["first"], *match["rest"][1:].split(".")]
    if not match["v"] and len(parts) == 2:
        return None
    lead = "version " if match["v"] else ""
    return lead + " dot ".join(number(part, variety) for part in parts)


def _house(match: re.Match[str], variety: Variety) -> str:
    """Sixteen hundred, two twenty-one B, ten oh five."""
    hundreds, rest = match["number"][:-2], match["number"][-2:]
    said = year(int(match["number"]), variety) if rest == "00" else f"{below_hundred(int(hundreds))} {two_digits(rest)}"
    return f"{said} {match['letter']}" if match["letter"] else said


def _postcode(match: re.Match[str], variety: Variety) -> str:
    return f"{spelled(match['outward'])}, {spelled(match['inward'])}"


CODES = (
    Shape(HOUSE, _house),
    Shape(UK_POSTCODE, _postcode, LETTER),
    Shape(CANADIAN_POSTCODE, _postcode, LETTER),
    Shape(ZIP_CODE, _postcode, DIGIT),
    Shape(LONG_RUN, lambda m, v: spaced(m, digits(m[0]))),
    Shape(KEYED, _keyed, LETTER + MARK),
    Shape(CODE_RANGE, _code_range, LETTER),
    Shape(LETTERED_RANGE, lambda m, v: f"{_lettered(m['first'], v)} to {_lettered(m['second'], v)}"),
    Shape(CODED, lambda m, v: digits(m["digits"])),
    Shape(NUMBER_SIGN, lambda m, v: "number ", MARK),
    Shape(PARTS, _parts),
    Shape(EXTENSION, _extension, LETTER),
    Shape(EXTENSION_X, _extension_x, LETTER + MARK, follows=True),
    Shape(DIALLED, _dialled, DIGIT + MARK),
    Shape(PHONE, _groups, DIGIT + MARK),
    Shape(SHORT_PHONE, lambda m, v: None if OF_RANGES.search(text_before(m)) else _groups(m, v)),
    Shape(VERSION_OF_TWO, _version_of_two),
    Shape(VERSION, _version, DIGIT + LETTER),
)
