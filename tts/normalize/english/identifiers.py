"""Identifiers made for machines and catalogues in English: MAC and IP addresses, UUIDs, hashes, serials, model numbers.

Letters and digits are read one by one, with a comma, which is a pause, between their groups.
"""

from __future__ import annotations

import re

from tts.normalize.english.numbers import SMALL, Variety, below_hundred, cardinal, year
from tts.normalize.english.scan import DIGIT, LETTER, MARK, Shape, text_before
from tts.normalize.tables import words

HEX = "[0-9A-Fa-f]"
ALONE, END = r"(?<![\w:.@/-])", r"(?![\w:@-]|\.\w)"
MAC = re.compile(
    rf"{ALONE}(?:{HEX}{{2}}(?P<mark>[:-])(?:{HEX}{{2}}(?P=mark)){{4}}{HEX}{{2}}|{HEX}{{4}}\.{HEX}{{4}}\.{HEX}{{4}}){END}"
)
UUID = re.compile(rf"{ALONE}{HEX}{{8}}(?:-{HEX}{{4}}){{3}}-{HEX}{{12}}{END}")
IPV6 = re.compile(rf"{ALONE}{HEX}{{0,4}}(?:::?{HEX}{{1,4}}){{1,7}}(?:::)?(?:/(?P<prefix>[0-9]{{1,3}}))?{END}")
IPV4 = re.compile(
    r"(?<![\w.])(?P<address>[0-9]{1,3}(?:\.[0-9]{1,3}){3})(?![\w.]*[\w])(?::(?P<port>[0-9]{1,5}))?(?:/(?P<prefix>[0-9]{1,2}))?"
    r"(?![\w/])"
)
PORT = re.compile(r"(?<=\blocalhost):(?=[0-9]{2,5}\b)")
HEXADECIMAL = re.compile(rf"(?<!\w)0x(?P<digits>{HEX}{{1,64}})(?!\w)", re.IGNORECASE)
COLOUR = re.compile(rf"(?<!\w)#(?P<digits>{HEX}{{8}}|{HEX}{{6}}|{HEX}{{3}})(?!\w)")
# Of a commit or a file: letters in lower case mixed with digits.
HASH = re.compile(
    r"(?<![\w./-])(?=[a-f]{0,63}[0-9])(?=[0-9]{0,63}[a-f][a-f0-9]{0,62}[0-9]|[0-9]{3}[0-9]{0,60}[a-f])[0-9a-f]{7,64}(?![\w-])"
)
# Of a parcel, a car, a passport: capitals and at least three digits, without a word.
SERIAL = re.compile(
    r"(?<![\w./-])(?=[A-Z]{0,39}[0-9])(?=[0-9]{0,39}[A-Z])(?=(?:[A-Z]{0,39}[0-9]){3})(?![0-9]{0,39}[A-Z]{5})[A-Z0-9]{9,40}(?![\w-])"
)
KEY = re.compile(r"(?<![\w./-])(?=[A-Z0-9-]{0,60}?[0-9])[A-Z0-9]{4,8}(?:-[A-Z0-9]{4,8}){2,7}(?![\w-])")
IBAN = re.compile(r"(?<!\w)[A-Z]{2}[0-9]{2}(?: [A-Z0-9]{4}){2,7}(?: [A-Z0-9]{1,3})?(?!\w| [0-9])")
# Of an invoice or a ticket: INV-2024-0193.
DOCUMENT = re.compile(r"(?<![\w./-])#? ?(?P<name>[A-Z]{2,5})(?P<groups>(?:-[0-9]{3,8}){2,3})(?![\w-]|\.[0-9])")
# Flight BA 2490: digits in pairs.
FLIGHT = re.compile(
    r"(?<![\w-])(?P<line>[A-Z]{2}|[A-Z][0-9]|[0-9][A-Z]) ?(?P<number>[1-9][0-9]{2,3})(?![\w%]|[.,:-][0-9])"
)
AIRLINES = words("""
AA UA DL BA AF LH KL EK QR SQ IB LX OS SK AY AC WN B6 AS FR U2 EY TK CX JL NH QF VS EI TP AZ SN BR KE OZ NZ W6
""")
FLYING = re.compile(
    r"\b(?i:flights?|flying|fly|boarding|departs?|airport|terminal|gate|[A-Z]{3}) |[→✈]|\b[A-Z]{3} [0-9]"
)
# ISO 9001:2015: the year of a standard.
EDITION = re.compile(r"(?<=[0-9]):(?P<year>(?:19|20)[0-9]{2})(?![\w]|[.,:-][0-9])")
STANDARD = re.compile(r"\b(?:ISO|IEC|EN|DIN|BS|ANSI|ASTM|IEEE)[A-Z/ ]{0,8} ?[0-9-]{2,9}\Z")
# Boeing 747-400: digits in pairs, without “to” between the numbers.
PLANE = re.compile(
    r"(?<![\w.,$£€/-])7(?P<series>[0-8]7)(?:-(?P<variant>[1-9]00|[89]|10)(?P<kind>ER|LR|F)?)?(?![\w%-]|[.,:][0-9])"
)
MAKERS = (
    "Boeing|Airbus|Embraer|Bombardier|Cessna|Antonov|Tupolev|Ilyushin|Fokker|Gulfstream|Falcon|Model|Type|Series|Intel"
    "|ThinkPad|Sony|Canon|Nikon|Bosch|Makita|Siemens|Honda|Yamaha|Casio"
)
MODEL_DASH = re.compile(r"-(?=[0-9]{2,5}[A-Z]{0,3}\b(?!-[0-9]| ?%| percent))")
MODEL = re.compile(
    rf"(?:\b(?:{MAKERS}) (?:[A-Z]{{1,4}}-?[0-9]{{1,5}}|[0-9]{{2,5}})|(?<![\w-])[A-Za-z]{{1,3}}[0-9]{{1,4}})\Z"
)
COUNTED_MODEL = re.compile(r"-(?:[0-9]{3,5}|[0-9]{2,5}[A-Z]{1,3})\b")
QUARTER = re.compile(r"(?<![\w-])[QHpPvV][0-9]{1,4}\Z")


def spelled(code: str) -> str:
    """ "3f2" → "three F two"; marks are skipped."""
    return " ".join(SMALL[int(char)] if char in "0123456789" else char.upper() for char in code if char.isalnum())


def _grouped(match: re.Match[str], variety: Variety) -> str:
    return ", ".join(spelled(group) for group in re.findall("[0-9A-Za-z]+", match[0]))


def _mac(match: re.Match[str], variety: Variety) -> str | None:
    """Digits with hyphens are no MAC address: 12-34-56-78-90-12."""
    return None if match["mark"] != ":" and not re.search("[A-Fa-f]", match[0]) else _grouped(match, variety)


def _ipv6(match: re.Match[str], variety: Variety) -> str | None:
    address = match[0].partition("/")[0]
    if not re.search("[0-9]", address) or not ("::" in address or address.count(":") == 7):
        return None
    groups = [spelled(group) for group in address.replace("::", ":\0:").split(":") if group]
    said = ", ".join(group or "double colon" for group in groups)
    return f"{said}, slash {cardinal(int(match['prefix']), variety)}" if match["prefix"] else said


def _ipv4(match: re.Match[str], variety: Variety) -> str:
    said = " dot ".join(cardinal(int(part), variety) for part in match["address"].split("."))
    said += f" port {cardinal(int(match['port']), variety)}" if match["port"] else ""
    return said + (f" slash {cardinal(int(match['prefix']), variety)}" if match["prefix"] else "")


def _key(match: re.Match[str], variety: Variety) -> str | None:
    """A licence key: at least one group has letters and digits, or two are numbers."""
    groups = match[0].split("-")
    is_mixed = any(re.search("[A-Z]", group) and re.search("[0-9]", group) for group in groups)
    digits = sum(group.isdigit() for group in groups)
    return _grouped(match, variety) if is_mixed or 2 <= digits < len(groups) else None


def _plane(match: re.Match[str], variety: Variety) -> str | None:
    variant = match["variant"]
    is_count = not variant or re.search(r"\b[a-z]+s \Z", text_before(match))
    if is_count and not re.search(r"\bBoeing \Z", text_before(match)):
        return None
    series = int(match["series"])
    words = ["seven", below_hundred(series) if series > 9 else f"oh {SMALL[series]}"]
    words += [cardinal(int(variant), variety)] if variant else []
    return " ".join([*words, *(match["kind"] or "")])


def _model_dash(match: re.Match[str], variety: Variety) -> str | None:
    before = text_before(match)
    if MODEL.search(before) is None or QUARTER.search(before):
        return None
    is_made = re.search(rf"\b(?:{MAKERS}) \S*\Z", before) is not None
    return " " if is_made or COUNTED_MODEL.match(match.string, match.start()) else None


def _flight(match: re.Match[str], variety: Variety) -> str | None:
    line, before = match["line"], text_before(match)
    if not re.search(r"\b[Ff]lights? \Z", before) and not (line in AIRLINES and FLYING.search(before)):
        return None
    return f"{spelled(line)} {year(int(match['number']), variety)}"


def _document(match: re.Match[str], variety: Variety) -> str:
    lead = "number " if match[0][0] == "#" else ""
    return lead + f"{' '.join(match['name'])}, {', '.join(spelled(group) for group in match['groups'][1:].split('-'))}"


IDENTIFIERS = (
    Shape(MAC, _mac, DIGIT + LETTER),
    Shape(UUID, _grouped, DIGIT + LETTER),
    Shape(IPV6, _ipv6, DIGIT + LETTER + MARK),
    Shape(IPV4, _ipv4),
    Shape(PORT, lambda m, v: " port ", MARK),
    Shape(HEXADECIMAL, lambda m, v: f"zero X {spelled(m['digits'])}"),
    Shape(COLOUR, lambda m, v: f"number {spelled(m['digits'])}" if re.search("[A-Fa-f]", m[0]) else None, MARK),
    Shape(IBAN, _grouped, LETTER),
    Shape(EDITION, lambda m, v: f", {year(int(m['year']), v)}" if STANDARD.search(text_before(m)) else None, MARK),
    Shape(DOCUMENT, _document, LETTER + MARK),
    Shape(FLIGHT, _flight, DIGIT + LETTER),
    Shape(KEY, _key, DIGIT + LETTER),
    Shape(SERIAL, lambda m, v: spelled(m[0]), DIGIT + LETTER),
    Shape(HASH, lambda m, v: spelled(m[0]), DIGIT + LETTER),
    Shape(PLANE, _plane),
    Shape(MODEL_DASH, _model_dash, MARK),
)
