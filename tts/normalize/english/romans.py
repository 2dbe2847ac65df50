"""Roman numerals in English: of rulers, chapters and centuries, and as the heading of a part."""

from __future__ import annotations

import re
from itertools import product

from tts.normalize.english.numbers import Variety, cardinal, ordinal
from tts.normalize.tables import words

NAMES = (
    "Henry|Louis|Charles|Elizabeth|George|Edward|William|Richard|James|Paul|Benedict|Pius|Leo|Gregory|Innocent|Clement"
    "|Napoleon|Catherine|Peter|Alexander|Nicholas|Philip|Francis|Frederick|Ivan|Mary|Ramses|Wilhelm|Otto|John|Robert"
    "|Gustav|Christian|Juan|Carlos|Felipe|Umberto|Ferdinand|Leopold"
)
REGNAL = re.compile(rf"\b(?P<name>{NAMES}) (?P<roman>[IVX]{{2,6}})\b(?!\.[A-Z])")
RULER = re.compile(
    rf"\b(?P<name>(?:King|Queen|Pope|Emperor|Empress|Tsar|Kaiser|Prince) (?:{NAMES})) (?P<roman>[IVX])\b(?!\.)"
)
KINDS = (
    "Chapter|Part|Book|Act|Scene|Volume|Section|Article|Phase|Type|Class|Title|Level|Stage|Appendix|Super Bowl"
    "|World War|Grade|Tier|Episode|Season|Round|Canto|Sonnet"
)
# After these “I” is more often the pronoun: the table I bought.
REFERENCES = "Number|Figure|Table|Plate|Annex|Schedule|Exhibit|Psalm|Opus|Pages?|Equation|Division|Stanza"
# In lower case only before two letters or more: “the part I like” has no numeral.
NUMBERED_ROMAN = re.compile(
    rf"\b(?P<name>{KINDS}|{KINDS.upper()}|(?i:{KINDS}|{REFERENCES})(?= [IVXLC]{{2}})) (?P<roman>[IVX]"
    rf"|[IVXLC]{{2,9}})\b(?!['.]\w)|\b(?P<small_name>(?i:pages?|scene|act|chapter|canto)) (?P<small>[ivxl]{{2,7}}"
    rf"|(?<=Scene )[ivx])(?:[-–](?P<upper>[ivxl]{{1,7}}))?\b(?!['-]?\w)"
)
# A heading, alone in its line or before its title. XL and CV are words; a single letter needs a second numeral.
HEADING = re.compile(
    r"^(?P<space>[ \t]*)(?P<roman>[IVX]|[IVXLC]{2,9})(?:(?P<stop>\.?)[ \t]*$|(?=[.:)] [A-Z]))", re.MULTILINE
)
NO_HEADINGS = words("XL CV CC CLI CI XXX")
NUMERAL = re.compile(r"\b(?:[IVXLC]+(?:st|nd|rd|th)?|[ivxl]+)\b")
CENTURY = re.compile(r"\b(?P<roman>[IVX]{2,6})(?:st|nd|rd|th)?(?= (?:century|Century|Olympi))")
ONES = "I II III IV V VI VII VIII IX".split()
TENS = [one.translate(str.maketrans("IVX", "XLC")) for one in ONES]
NUMERALS = map("".join, product(("", "C", "CC", "CCC"), ("", *TENS), ("", *ONES)))
VALUES = {numeral: value for value, numeral in enumerate(NUMERALS)}  # up to 399, in the usual form


def romans(text: str, variety: Variety) -> str:
    """Henry VIII, Chapter IV, World War II."""
    if not NUMERAL.search(text):
        return text
    text = RULER.sub(lambda m: _regnal(m, variety), REGNAL.sub(lambda m: _regnal(m, variety), text))
    text = NUMBERED_ROMAN.sub(lambda m: _numbered_roman(m, variety), text)
    headings = {m["roman"] for m in HEADING.finditer(text) if VALUES.get(m["roman"], 0)} - NO_HEADINGS
    if any(len(each) > 1 for each in headings):
        text = HEADING.sub(lambda m: _heading(m, variety, among=len(headings)), text)
    return CENTURY.sub(lambda m: ordinal(VALUES[m["roman"]], variety) if m["roman"] in VALUES else m[0], text)


def _regnal(match: re.Match[str], variety: Variety) -> str:
    value = VALUES.get(match["roman"], 0)
    return f"{match['name']} the {ordinal(value, variety).title()}" if value else match[0]


def _numbered_roman(match: re.Match[str], variety: Variety) -> str:
    value = VALUES.get(match["roman"] or match["small"].upper(), 0)
    if not value:
        return match[0]
    words, name = cardinal(value, variety), match["name"] or match["small_name"]
    if match["upper"]:
        words += f" to {cardinal(VALUES.get(match['upper'].upper(), 0), variety)}"
    return f"{name} {words.title() if name[0].isupper() else words}"


def _heading(match: re.Match[str], variety: Variety, among: int) -> str:
    """A heading before a title needs a second one in the text: “IV: saline” is none."""
    if match["stop"] is None and among < 2:
        return match[0]
    value = 0 if match["roman"] in NO_HEADINGS else VALUES.get(match["roman"], 0)
    return f"{match['space']}{cardinal(value, variety).capitalize()}{match['stop'] or ''}" if value else match[0]
