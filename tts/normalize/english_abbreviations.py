"""Abbreviations that are read out.

A full stop that also ended the sentence stays; what is no more than an initial (U.S., J. R.) is left alone.
"""

from __future__ import annotations

import re

from tts.normalize.english_patterns import MONTHS, stop_after


def table(rows: str) -> dict[str, str]:
    return dict(row.replace("_", " ").split("=") for row in rows.split())


def any_of(shorts: dict[str, str]) -> str:
    return f"(?P<short>{'|'.join(map(re.escape, sorted(shorts, key=len, reverse=True)))})"


TITLES = table("""
Mr=Mister Mrs=Missus Ms=Ms Messrs=Messieurs Prof=Professor Rev=Reverend Hon=Honorable Gen=General Col=Colonel
Maj=Major Capt=Captain Lt=Lieutenant Sgt=Sergeant Cpl=Corporal Gov=Governor Sen=Senator Rep=Representative
Pres=President Cmdr=Commander Adm=Admiral Fr=Father Dr=Doctor Ft=Fort Mt=Mount
""")
STREETS = table("Ave=Avenue Blvd=Boulevard Rd=Road Hwy=Highway Pkwy=Parkway Sq=Square")
# A sentence may end with these.
WORDS = STREETS | table("""
dept=department Dept=Department Inc=Incorporated Ltd=Limited Corp=Corporation Bros=Brothers Jr=Junior Sr=Senior
Esq=Esquire et_al=and_others etc=et_cetera Etc=Et_cetera govt=government Govt=Government misc=miscellaneous
Univ=University Sept=September
""")
WORDS |= {name[:3]: name for name in MONTHS if name != "May"}
WEEKDAYS = table("""
Mon=Monday Tue=Tuesday Tues=Tuesday Wed=Wednesday Thu=Thursday Thurs=Thursday Fri=Friday Sat=Saturday Sun=Sunday
""")
# With these the sentence goes on.
LINKS = table("""
avg=average Avg=Average acct=account Acct=Account
vs=versus Vs=Versus incl=including inc._VAT=including_VAT approx=approximately Approx=Approximately a.k.a=also_known_as
aka=also_known_as e.g=for_example E.g=For_example eg=for_example i.e=that_is I.e=That_is ie=that_is
""")
# Read as they stand here, and with a capital.
BEFORE_NUMBER = table("""
nr=number nos=numbers fig=figure figs=figures vol=volume vols=volumes ch=chapter chap=chapter chs=chapters
chaps=chapters cap=chapter bk=book pp=pages p=page pg=page pgs=pages para=paragraph paras=paragraphs par=paragraph
sec=section sect=section secs=sections subsec=subsection art=article arts=articles cl=clause reg=regulation
regs=regulations sched=schedule sch=schedule app=appendix suppl=supplement supp=supplement exh=exhibit tab=table
pl=plate eq=equation eqs=equations thm=theorem prob=problem op=opus opp=opuses mk=mark mod=module wk=week gr=grade
lvl=level cat=category q=question fn=footnote n=note iss=issue vers=version ver=version ln=line apt=apartment
bldg=building rm=room fl=floor ste=suite rte=route hwy=highway dist=district div=division pt=part pts=parts ep=episode
eps=episodes ser=series l=line ll=lines v=verse vv=verses fol=folio col=column pos=position tel=telephone mob=mobile
ph=phone ext=extension ca=circa c=circa max=maximum min=minimum avg=average rev=revision gen=generation
prop=proposition ex=example exs=examples mag=magnitude est=estimated
""") | {"No": "Number", "K": "K", "Rs": "Rs", "Re": "Re", "Fr": "Fr", "SFr": "SFr", "Rp": "Rp", "kr": "kr"}
BEFORE_NUMBER |= {short.capitalize(): long.capitalize() for short, long in BEFORE_NUMBER.items() if len(short) > 1}
# After a number they are units, or end a sentence: wait 5 min. 3 came.
UNITS_TOO = "min|sec|secs|p|c|l|pt|pts|ch|v|wk|n|q|ln"
# Words too, which end a sentence after an article: open the app. 5 people are in it.
WORDS_TOO = frozenset("rev gen art app tab ex prop mag sec col div reg cap mod par pos cat mob prob".split())
# Without a full stop: no words, and no units.
BARE = "Nos|Ch|Sec|[Ff]igs?|[Vv]ols?|pp|[Ee]xt|Op|Chap"
SLASHED = table("""
w/o=without w/c=week_commencing w/e=week_ending b/c=because c/o=care_of y/o=year_old f/u=follow-up
h/o=history_of s/p=status_post y/y=year_over_year m/m=month_over_month q/q=quarter_over_quarter
s/he=she_or_he n/a=N_A i/o=I_O
a/b=A_B a/c=A_C
""")

TITLE = re.compile(rf"\b{any_of(TITLES)}\. ?(?=[A-Z]|and (?:Mrs|Ms|Dr)\b)")
BARE_TITLE = re.compile(
    r"(?<![0-9] )\b(?P<short>Mr|Mrs|Dr|Prof|Sgt|Capt|Lt|Cpl|Cmdr|Rev|Maj|Gen(?! Alpha)|Gov|Col|Adm|Mt|Ft)"
    r" (?=[A-Z][a-z])"
)
WORD = re.compile(rf"(?<![\w.-]){any_of(WORDS)}\.(?!\w)")
LINK = re.compile(rf"(?<![\w.-]){any_of(LINKS)}\.?(?![\w.'])")
WEEKDAY = re.compile(
    rf"(?<!he )\b{any_of(WEEKDAYS)}(?:\.(?!\w)(?P<date> (?=[A-Z][a-z]+ [0-9]))?"
    rf"|(?=,? (?:[0-9]|(?:{'|'.join([*(name[:3] for name in MONTHS), *MONTHS, 'Sept'])}) [0-9])))"
)
COMPANY = re.compile(r"(?<=[a-z&] )Co\.(?!\w)(?P<letter> [A-HJ-Z]\b)?")
VERSUS = re.compile(r"(?<=\w )v\.(?= [A-Z])")
SLASHED_WORD = re.compile(rf"(?<![\w/]){any_of(SLASHED)}(?![\w/])", re.IGNORECASE)
WITH = re.compile(r"(?<![\w/])w/ ?(?=[\w$\"(])")
DOCTORATE = re.compile(r"\bPh\.? ?D\b\.?(?P<s>s\b)?")
NUMBERED = re.compile(
    rf"(?<![\w.])(?!(?<=[0-9] )(?:{UNITS_TOO})\b){any_of(BEFORE_NUMBER)}\. ?"
    r"(?=[0-9]|(?:[IVXL]{2,7}|[ivx]{2,7})\b(?!'))"
)
OWNED = re.compile(
    r"\b(?:the|an?|my|his|her|its|your|our|their|this|that|love|loves|like|modern|fine|street|just|is|no|not)\s\Z"
)
DATED = re.compile(r"(?<![\w.])(?P<short>[Ee]st(?=\.? )|[bd](?=\.))\.? ?(?=[12][0-9]{3}\b)")
DATED_WORDS = {"Est": "Established", "est": "established", "b": "born", "d": "died"}
LETTERED = re.compile(r"\b(?P<short>[Aa]pt|[Bb]ldg|[Rr]m|[Ff]ig|[Aa]pp|[Ee]xh|[Ss]te)\. (?=[B-HJ-Z]\b(?!'))")
BARE_NUMBERED = re.compile(rf"(?<![\w.-])(?P<short>{BARE}) (?=[0-9])")
BARE_NO = re.compile(r"(?<![.!?\n] )(?<!^)\bNo (?=[0-9])|\bNo (?=[0-9]+(?: [A-Z]|[.,:;)]|$))", re.MULTILINE)
NUMERO = re.compile(r"(?<!\w)(?:(?P<n>[Nn])[°º]|№) ?(?=[0-9])")
# In small letters it may end a sentence: he said no. 5 people left.
NO = re.compile(r"(?<![\w.])(?<!said )(?<!say )(?<!says )(?<!or )no\. ?(?=[0-9])")
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
# Without a full stop: after a name a street (Oak St and), before one a saint (onto St Cross Road).
BARE_STREET = re.compile(
    rf"(?P<name>\b[A-Z][a-z]{{1,30}} )?\b(?P<short>St|{'|'.join(STREETS)})\b(?![.'])(?P<next> [A-Z][a-z])?"
)
NO_STREET = frozenset(
    """
    In The At On Near From To Of And Visit Around For With By Into Via Is Was Meet Ask Dear Saint Like See Call When If
    As But Both Then After Before Since Until That This Our My His Her Their Your Here There While Though Not Or So
    Hello Hi Thanks Thank
    """.split()
)
STARTERS = frozenset("e hey t hen here his hat fter hile ur y er is ou ow".split())  # of He, They, It, Then …


def abbreviations(text: str) -> str:
    """Titles, streets and saints, firms, Latin, months; where a number must follow, before one only."""
    text = NUMERO.sub(lambda m: "Number " if m["n"] == "N" else "number ", NO.sub("number ", text))
    text = BARE_NO.sub("Number ", COMPOUND.sub(r"\g<unit>", text))
    text = DATED.sub(lambda m: DATED_WORDS[m["short"]] + " ", text)
    text = NUMBERED.sub(_numbered, text)
    text = LETTERED.sub(lambda m: BEFORE_NUMBER[m["short"]] + " ", text)
    text = BARE_NUMBERED.sub(lambda m: BEFORE_NUMBER[m["short"]] + " ", text)
    text = BARE_STREET.sub(_bare_street, ADDRESS.sub(_address, text))
    text = PLACE.sub(_place, text)
    text = BARE_TITLE.sub(_title, TITLE.sub(_title, text))
    text = DOCTORATE.sub(lambda m: "P H D" + ("'s" if m["s"] else stop_after(m)), text)
    text = WITH.sub("with ", SLASHED_WORD.sub(lambda m: _slashed(m[0]), text))
    text = COMPANY.sub(lambda m: "Company" + (m["letter"] or stop_after(m)), VERSUS.sub("versus", text))
    text = LINK.sub(lambda m: LINKS[m["short"]], text)
    text = WORD.sub(lambda m: WORDS[m["short"]] + stop_after(m), text)
    return WEEKDAY.sub(lambda m: WEEKDAYS[m["short"]] + (m["date"] or stop_after(m)), text)


def _slashed(written: str) -> str:
    said = SLASHED[written.lower()]
    return said[0].upper() + said[1:] if written[0].isupper() else said


def _numbered(match: re.Match[str]) -> str:
    before = match.string[max(0, match.start() - 12) : match.start()]
    if match["short"] in WORDS_TOO and OWNED.search(before):
        return match[0]
    return BEFORE_NUMBER[match["short"]] + " "


def _bare_street(match: re.Match[str]) -> str:
    name, short, following = match["name"] or "", match["short"], match["next"] or ""
    after_name = name != "" and name.strip() not in NO_STREET
    if short == "St" and following:
        return f"{name}Saint{following}"
    return f"{name}{({'St': 'Street'} | STREETS)[short]}{following}" if after_name else match[0]


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
