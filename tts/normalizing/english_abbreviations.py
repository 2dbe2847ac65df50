"""Abbreviations that are read out, and Roman numerals. It does not know letters that are spelled.

A full stop that also ended the sentence stays; what is no more than an initial (U.S., J. R.) is left alone.
"""

from __future__ import annotations

import re

from tts.normalizing.english_numbers import Variety, cardinal, ordinal
from tts.normalizing.english_patterns import stop_after


def _table(rows: str) -> dict[str, str]:
    return dict(row.replace("_", " ").split("=") for row in rows.split())


def _any(shorts: dict[str, str]) -> str:
    return f"(?P<short>{'|'.join(map(re.escape, sorted(shorts, key=len, reverse=True)))})"


TITLES = _table("""
Mr=Mister Mrs=Missus Ms=Ms Messrs=Messieurs Prof=Professor Rev=Reverend Hon=Honorable Gen=General Col=Colonel
Maj=Major Capt=Captain Lt=Lieutenant Sgt=Sergeant Cpl=Corporal Gov=Governor Sen=Senator Rep=Representative
Pres=President Cmdr=Commander Adm=Admiral Fr=Father Dr=Doctor Ft=Fort Mt=Mount
""")
STREETS = _table("Ave=Avenue Blvd=Boulevard Rd=Road Hwy=Highway Pkwy=Parkway Sq=Square")
# A sentence may end with these.
WORDS = STREETS | _table("""
dept=department Dept=Department Inc=Incorporated Ltd=Limited Corp=Corporation Bros=Brothers Jr=Junior Sr=Senior
Esq=Esquire et_al=and_others etc=et_cetera Etc=Et_cetera govt=government Govt=Government misc=miscellaneous
Univ=University Jan=January Feb=February Mar=March Apr=April Jun=June Jul=July Aug=August Sept=September Oct=October
Nov=November Dec=December
""")
WEEKDAYS = _table("""
Mon=Monday Tue=Tuesday Tues=Tuesday Wed=Wednesday Thu=Thursday Thurs=Thursday Fri=Friday Sat=Saturday Sun=Sunday
""")
# With these the sentence goes on.
LINKS = _table("""
vs=versus Vs=Versus incl=including inc._VAT=including_VAT approx=approximately Approx=Approximately a.k.a=also_known_as
aka=also_known_as e.g=for_example E.g=For_example eg=for_example i.e=that_is I.e=That_is ie=that_is
""")
BEFORE_NUMBER = _table("""
No=Number Nos=Numbers nos=numbers Fig=Figure fig=figure Figs=Figures figs=figures Vol=Volume vol=volume Ch=Chapter
ch=chapter pp=pages p=page pg=page para=paragraph Sec=Section sec=section Art=Article Eq=Equation eq=equation
Apt=Apartment apt=apartment Bldg=Building Rm=Room Ste=Suite Rte=Route Pt=Part Ep=Episode ep=episode Tel=Telephone
tel=telephone Ext=Extension ext=extension ca=circa c=circa max=maximum Max=Maximum min=minimum Min=Minimum avg=average
""")
SLASHED = _table("""
w/o=without w/c=week_commencing w/e=week_ending b/c=because c/o=care_of y/o=year_old s/he=she_or_he n/a=N_A i/o=I_O
a/b=A_B a/c=A_C
""")

TITLE = re.compile(rf"\b{_any(TITLES)}\. ?(?=[A-Z]|and (?:Mrs|Ms|Dr)\b)")
BARE_TITLE = re.compile(r"\b(?P<short>Mr|Mrs|Dr|Prof) (?=[A-Z][a-z])")
WORD = re.compile(rf"(?<![\w.-]){_any(WORDS)}\.(?!\w)")
LINK = re.compile(rf"(?<![\w.-]){_any(LINKS)}\.?(?![\w.])")
WEEKDAY = re.compile(rf"(?<!he )\b{_any(WEEKDAYS)}(?:\.(?!\w)(?P<date> (?=[A-Z][a-z]+ [0-9]))?|(?=,? [0-9]))")
COMPANY = re.compile(r"(?<=[a-z&] )Co\.(?!\w)(?P<letter> [A-HJ-Z]\b)?")
VERSUS = re.compile(r"(?<=\w )v\.(?= [A-Z])")
SLASHED_WORD = re.compile(rf"(?<![\w/]){_any(SLASHED)}(?![\w/])", re.IGNORECASE)
WITH = re.compile(r"(?<![\w/])w/ ?(?=[\w$\"(])")
DOCTORATE = re.compile(r"\bPh\.? ?D\b\.?(?P<s>s\b)?")
NUMBERED = re.compile(rf"(?<![\w.])(?<![0-9] ){_any(BEFORE_NUMBER)}\. ?(?=[0-9])")
# In small letters it may end a sentence: he said no. 5 people left.
NO = re.compile(r"(?<![\w.])(?<!said )(?<!say )(?<!says )(?<!or )no\. ?(?=[0-9])")
FOUNDED = re.compile(r"\b(?P<e>[Ee])st\. (?=[12][0-9]{3}\b)")
COMPOUND = re.compile(r"(?<=[0-9])(?P<unit> ?(?:ft|hrs?|lbs?))\.(?= ?[0-9]{1,2} ?(?:in|mins?|oz)\b)")

# 123 Main St, 42nd St: no saint and no doctor.
ADDRESS = re.compile(
    r"(?P<place>\b(?:[0-9]{1,5}[A-Z]?(?: [NSEW]\.?)?(?: [A-Z][a-z]{1,30}){1,3}|[0-9]{1,3}(?:st|nd|rd|th)))"
    rf" (?P<short>(?:St|Dr)(?! (?!Apt|Suite|Unit)[A-Z][a-z])|{'|'.join(STREETS)})\b(?!\.)"
)
PLACE = re.compile(
    r"(?P<before>\b[0-9]{0,6}(?:st|nd|rd|th)? ?[A-Z][a-z]{1,30} |\b[0-9]{1,4}(?:st|nd|rd|th) )?\b(?P<short>St|Dr)\."
    r"(?P<after> ?(?=[A-Z](?P<next>[a-z]{0,20})))?"
)
NO_STREET = frozenset(
    """
    In The At On Near From To Of And Visit Around For With By Into Via Is Was Meet Ask Dear Saint Like See Call When If
    As But Both Then After Before Since Until That This Our My His Her Their Your Here There While Though Not Or So
    Hello Hi Thanks Thank
    """.split()
)
STARTERS = frozenset("e hey t hen here his hat fter hile ur y er is ou ow".split())  # of He, They, It, Then …

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
    "|World War|Grade|Tier|Episode|Season|Round"
)
# In small letters before two at least: “the part I like” has no numeral.
NUMBERED_ROMAN = re.compile(
    rf"\b(?P<name>{KINDS}|{KINDS.upper()}|(?:{KINDS.lower()})(?= [IVXL]{{2}})) (?P<roman>[IVXL]{{1,7}})\b(?!['.]\w)"
)
NUMERAL = re.compile(r"\b[IVXL]+\b")
CENTURY = re.compile(r"\b(?P<roman>[IVX]{2,6})(?=(?:th)? (?:century|Century|Olympi))")
ROMAN_DIGITS = (("L", 50), ("XL", 40), ("X", 10), ("IX", 9), ("V", 5), ("IV", 4), ("I", 1))


def abbreviations(text: str) -> str:
    """Titles, streets and saints, firms, Latin, months; where a number must follow, before one only."""
    text = COMPOUND.sub(r"\g<unit>", FOUNDED.sub(r"\g<e>stablished ", NO.sub("number ", text)))
    text = NUMBERED.sub(lambda m: BEFORE_NUMBER[m["short"]] + " ", text)
    text = ADDRESS.sub(_address, text)
    text = PLACE.sub(_place, text)
    text = BARE_TITLE.sub(_title, TITLE.sub(_title, text))
    text = DOCTORATE.sub(lambda m: "P H D" + ("'s" if m["s"] else stop_after(m)), text)
    text = WITH.sub("with ", SLASHED_WORD.sub(lambda m: _slashed(m[0]), text))
    text = COMPANY.sub(lambda m: "Company" + (m["letter"] or stop_after(m)), VERSUS.sub("versus", text))
    text = LINK.sub(lambda m: LINKS[m["short"]], text)
    text = WORD.sub(lambda m: WORDS[m["short"]] + stop_after(m), text)
    return WEEKDAY.sub(lambda m: WEEKDAYS[m["short"]] + (m["date"] or stop_after(m)), text)


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


def _slashed(written: str) -> str:
    said = SLASHED[written.lower()]
    return said[0].upper() + said[1:] if written[0].isupper() else said


def _address(match: re.Match[str]) -> str:
    return f"{match['place']} {({'St': 'Street', 'Dr': 'Drive'} | STREETS)[match['short']]}"


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
