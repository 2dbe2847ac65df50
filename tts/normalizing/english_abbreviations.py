"""Abbreviations that are read out, and Roman numerals. It does not know letters that are spelled.

A full stop that also ended the sentence stays; what is no more than an initial (U.S., J. R.) is left alone.
"""

from __future__ import annotations

import re

from tts.normalizing.english_numbers import Variety, cardinal, ordinal
from tts.normalizing.english_patterns import stop_after

TITLES = {
    "Mr": "Mister",
    "Mrs": "Missus",
    "Messrs": "Messieurs",
    "Prof": "Professor",
    "Rev": "Reverend",
    "Hon": "Honorable",
}
TITLES |= {"Gen": "General", "Col": "Colonel", "Maj": "Major", "Capt": "Captain", "Lt": "Lieutenant", "Sgt": "Sergeant"}
TITLES |= {
    "Cpl": "Corporal",
    "Gov": "Governor",
    "Sen": "Senator",
    "Rep": "Representative",
    "Pres": "President",
    "Mt": "Mount",
}
TITLES |= {
    "Supt": "Superintendent",
    "Cmdr": "Commander",
    "Adm": "Admiral",
    "Fr": "Father",
    "Dr": "Doctor",
    "Ft": "Fort",
}
NEEDED = re.compile(r"[.№]|w/|\b(?:[MD]rs?|Prof|vs|aka|Ph ?D)\b")
TITLE = re.compile(rf"\b(?P<short>{'|'.join(TITLES)})\. ?(?=[A-Z]|and (?:Mrs|Ms|Dr)\b)")
BARE_TITLE = re.compile(r"\b(?P<short>Mr|Mrs|Dr|Prof) (?=[A-Z][a-z])")
MS = re.compile(r"\bMs\.(?= ?[A-Z])")

WORDS = {
    "approx": "approximately",
    "Approx": "Approximately",
    "dept": "department",
    "Dept": "Department",
    "vs": "versus",
}
WORDS |= {
    "Inc": "Incorporated",
    "Ltd": "Limited",
    "Corp": "Corporation",
    "Bros": "Brothers",
    "Jr": "Junior",
    "Sr": "Senior",
}
WORDS |= {"Ave": "Avenue", "Blvd": "Boulevard", "Rd": "Road", "Hwy": "Highway", "Pkwy": "Parkway", "Sq": "Square"}
WORDS |= {"etc": "et cetera", "Etc": "Et cetera", "incl": "including", "govt": "government", "Govt": "Government"}
WORDS |= {"misc": "miscellaneous", "Misc": "Miscellaneous", "Assn": "Association", "Univ": "University", "Vs": "Versus"}
WORDS |= {
    "Jan": "January",
    "Feb": "February",
    "Aug": "August",
    "Sept": "September",
    "Oct": "October",
    "Nov": "November",
}
WORDS |= {"Dec": "December", "Mar": "March", "Apr": "April", "Jun": "June", "Jul": "July"}
WORD = re.compile(rf"(?<![\w.-])(?P<short>{'|'.join(sorted(WORDS, key=len, reverse=True))})\.(?!\w)")
COMPANY = re.compile(r"(?<=[a-z&] )Co\.(?!\w)")
BARE_VERSUS = re.compile(r"(?<=\w )vs(?= \w)")

LATIN = (
    (re.compile(r"(?<![\w.])(?P<e>[Ee])\.[ ]?g\.?(?![\w.])"), "or example", {"e": "f", "E": "F"}),
    (re.compile(r"(?<![\w.])(?P<e>[Ii])\.[ ]?e\.?(?![\w.])"), "hat is", {"i": "t", "I": "T"}),
)
ALSO_KNOWN = re.compile(r"(?<![\w.])a\.k\.a\.(?!\w)|(?<![\w.])aka\b")
AND_OTHERS = re.compile(r"(?<=\w )et al\.(?!\w)")
WITH = re.compile(r"(?<![\w/])w/(?P<out>o\b)? ?(?=[\w$\"(])")
DOCTORATE = re.compile(r"\bPh\.? ?D\b\.?(?P<s>s\b)?")

BEFORE_NUMBER = {"No": "Number", "Nos": "Numbers", "nos": "numbers", "Fig": "Figure", "fig": "figure"}
BEFORE_NUMBER |= {
    "Figs": "Figures",
    "figs": "figures",
    "Vol": "Volume",
    "vol": "volume",
    "Ch": "Chapter",
    "ch": "chapter",
}
BEFORE_NUMBER |= {
    "pp": "pages",
    "p": "page",
    "Sec": "Section",
    "sec": "section",
    "Art": "Article",
    "Eq": "Equation",
    "eq": "equation",
}
BEFORE_NUMBER |= {
    "Apt": "Apartment",
    "apt": "apartment",
    "Tel": "Telephone",
    "tel": "telephone",
    "ca": "circa",
    "c": "circa",
}
BEFORE_NUMBER |= {"Bldg": "Building", "Rm": "Room", "Ste": "Suite", "Pt": "Part", "Ep": "Episode", "ep": "episode"}
NUMBERED = re.compile(rf"(?<![\w.])(?P<short>{'|'.join(sorted(BEFORE_NUMBER, key=len, reverse=True))})\. ?(?=[0-9])")
# "No" in small letters may end a sentence: he said no. 5 people left.
NEGATION = re.compile(
    r"(?<![\w.])no\. ?(?P<value>[0-9]{1,15})(?=[,;:!?)\"']|\.(?![0-9])|$| (?:in|of|on|and|or|is|was)\b)", re.MULTILINE
)
NUMERO = re.compile(r"№ ?(?=[0-9])")

PLACE = re.compile(
    r"(?P<before>\b[0-9]{0,6}(?:st|nd|rd|th)? ?[A-Z][a-z]{1,30} |\b[0-9]{1,4}(?:st|nd|rd|th) )?\b(?P<short>St|Dr)\."
    r"(?P<after> ?(?=[A-Z](?P<next>[a-z]{0,20})))?"
)
NO_STREET = frozenset(
    "In The At On Near From To Of And Visit Around For With By Into Via Is Was Meet Ask Dear Saint Like See Call"
    " When If As But Both"
    " Then After Before Since Until That This Our My His Her Their Your Here There While Though Not Or So Hello Hi"
    " Thanks Thank".split()
)
STARTERS = frozenset("e hey t hen here his hat fter hile ur y er is ou ow".split())  # of He, They, It, Then …

NAMES = (
    "Henry|Louis|Charles|Elizabeth|George|Edward|William|Richard|James|Paul|Benedict|Pius|Leo|Gregory|Innocent"
    "|Clement|Urban"
    "|Napoleon|Catherine|Peter|Alexander|Nicholas|Philip|Francis|Frederick|Ivan|Mary|Ramses|Rameses|Ptolemy|Alfonso"
    "|Ferdinand"
    "|Leopold|Gustav|Christian|Harald|Haakon|Wilhelm|Otto|Joseph|John|Robert|Malcolm|David|Darius|Xerxes|Cyrus"
    "|Mehmed|Murad"
    "|Selim|Boniface|Adrian|Julius|Sixtus|Margrethe|Juan|Carlos|Felipe|Umberto|Victor Emmanuel|Thutmose|Amenhotep"
)
REGNAL = re.compile(rf"\b(?P<name>{NAMES}) (?P<roman>[IVX]{{2,6}})\b(?!\.[A-Z])")
RULER = re.compile(
    rf"\b(?P<name>(?:King|Queen|Pope|Emperor|Empress|Tsar|Kaiser|Prince|Sultan) (?:{NAMES})) (?P<roman>[IVX])\b(?!\.)"
)
KINDS = (
    "Chapter|Part|Book|Act|Scene|Volume|Section|Article|Phase|Type|Class|Title|Level|Stage|Appendix|Super Bowl"
    "|World War|Grade"
    "|Tier|Episode|Season|Round|Schedule|Figure|Table|Theorem|Amendment|Division|Group|Mark|Final Fantasy|Apollo"
    "|Photosystem"
)
# What follows the pronoun rather than the numeral: "the part I like".
GOES_ON = (
    "(?:am|was|have|had|will|would|can|could|do|did|think|know|want|like|love|need|saw|see|said|read|wrote|feel"
    "|mean|guess"
    "|hope|believe|remember|never|always|just|really)\\b"
)
NUMBERED_ROMAN = re.compile(
    rf"\b(?P<name>{KINDS}|{KINDS.upper()}|{KINDS.lower()}) (?P<roman>[IVXL]{{1,7}})\b(?!['.]\w)(?!(?<= I) {GOES_ON})"
)
NUMERAL = re.compile(r"\b[IVXL]+\b")
CENTURY = re.compile(r"\b(?P<roman>[IVX]{2,6})(?=(?:th)? (?:century|Century|Olympi))")
ROMAN_DIGITS = (("L", 50), ("XL", 40), ("X", 10), ("IX", 9), ("V", 5), ("IV", 4), ("I", 1))


def abbreviations(text: str) -> str:
    """Titles, streets and saints, firms, Latin, months; where a number must follow, before one only."""
    if not NEEDED.search(text):
        return text
    text = NEGATION.sub(lambda m: f"number {m['value']}", text)
    text = NUMERO.sub("number ", NUMBERED.sub(lambda m: BEFORE_NUMBER[m["short"]] + " ", text))
    text = PLACE.sub(_place, text)
    text = MS.sub("Ms", BARE_TITLE.sub(lambda m: TITLES[m["short"]] + " ", TITLE.sub(_title, text)))
    for pattern, rest, first in LATIN:
        text = pattern.sub(lambda m, rest=rest, first=first: first[m["e"]] + rest, text)  # type: ignore[misc]
    text = AND_OTHERS.sub(lambda m: "and others" + stop_after(m), ALSO_KNOWN.sub("also known as", text))
    text = DOCTORATE.sub(lambda m: "P H D" + ("'s" if m["s"] else stop_after(m)), text)
    text = WITH.sub(lambda m: "without " if m["out"] else "with ", text)
    text = COMPANY.sub(lambda m: "Company" + stop_after(m), BARE_VERSUS.sub("versus", text))
    return WORD.sub(lambda m: WORDS[m["short"]] + stop_after(m), text)


def romans(text: str, variety: Variety) -> str:
    """Henry VIII, Chapter IV, World War II."""
    if not NUMERAL.search(text):
        return text
    text = RULER.sub(lambda m: _regnal(m, variety), REGNAL.sub(lambda m: _regnal(m, variety), text))
    text = NUMBERED_ROMAN.sub(lambda m: _numbered(m, variety), text)
    return CENTURY.sub(lambda m: ordinal(value, variety) if (value := roman(m["roman"])) else m[0], text)


def roman(written: str) -> int:
    """The value of a numeral up to 89 in its usual form; 0 for any other."""
    value, rest = 0, written
    for sign, worth in ROMAN_DIGITS:
        while rest.startswith(sign):
            value, rest = value + worth, rest[len(sign) :]
    return value if not rest and _as_roman(value) == written else 0


def _as_roman(value: int) -> str:
    written = ""
    for sign, worth in ROMAN_DIGITS:
        count, value = divmod(value, worth)
        written += sign * count
    return written


def _regnal(match: re.Match[str], variety: Variety) -> str:
    value = roman(match["roman"])
    return f"{match['name']} the {ordinal(value, variety).title()}" if value else match[0]


def _numbered(match: re.Match[str], variety: Variety) -> str:
    value = roman(match["roman"])
    if not value:
        return match[0]
    words = cardinal(value, variety)
    return f"{match['name']} {words.title() if match['name'][0].isupper() else words}"


def _title(match: re.Match[str]) -> str:
    return TITLES[match["short"]] + " "


def _place(match: re.Match[str]) -> str:
    """“St.” and “Dr.” after a name are a street and a drive, before one a saint and a doctor."""
    before, is_saint = match["before"] or "", match["short"] == "St"
    road, person = ("Street", "Saint ") if is_saint else ("Drive", "Doctor ")
    is_numbered = before[:1].isdigit()
    after_name = bool(before) and before.split()[-1] not in NO_STREET
    if match["after"] is None:
        return before + (road + stop_after(match) if after_name or is_saint else match["short"] + ".")
    starts_sentence = match["next"] in STARTERS and match["after"] != ""
    if after_name and (is_numbered or starts_sentence):
        return f"{before}{road}" + (". " if starts_sentence else " ")
    return before + person
