"""Abbreviations that are read out: titles, streets, states, references, a doctor's notes.

A full stop that also ended the sentence stays; what is no more than an initial (U.S., J. R.) is left alone.
"""

from __future__ import annotations

import re

from tts.normalize.english.scan import stop_after, text_before
from tts.normalize.tables import MONTHS, WEEKDAYS, any_of, table, words

TITLES = table("""
Mr=Mister Mrs=Missus Ms=Ms Messrs=Messieurs Prof=Professor Rev=Reverend Hon=Honorable Gen=General Col=Colonel Maj=Major
Capt=Captain Lt=Lieutenant Sgt=Sergeant Cpl=Corporal Gov=Governor Sen=Senator Rep=Representative Pres=President
Cmdr=Commander Adm=Admiral Fr=Father Dr=Doctor Ft=Fort Mt=Mount
""")
STREETS = table("Ave=Avenue Blvd=Boulevard Rd=Road Hwy=Highway Pkwy=Parkway Sq=Square")
ROADS = STREETS | {"St": "Street", "Dr": "Drive"}
# A sentence may end with these.
WORDS = STREETS | table("""
dept=department Dept=Department Inc=Incorporated Ltd=Limited Corp=Corporation Bros=Brothers Jr=Junior Sr=Senior
Esq=Esquire et_al=and_others etc=et_cetera Etc=Et_cetera govt=government Govt=Government misc=miscellaneous
Univ=University Sept=September
""")
WORDS |= {name[:3]: name for name in MONTHS if name != "May"}
# A sentence does not end after these.
LINKS = table("""
avg=average Avg=Average acct=account Acct=Account vs=versus Vs=Versus incl=including inc._VAT=including_VAT
approx=approximately Approx=Approximately a.k.a=also_known_as aka=also_known_as e.g=for_example E.g=For_example
eg=for_example i.e=that_is I.e=That_is ie=that_is
""")
# In lower case, and with a capital.
BEFORE_NUMBER = table("""
nr=number nos=numbers fig=figure figs=figures vol=volume vols=volumes ch=chapter chap=chapter chs=chapters
chaps=chapters cap=chapter bk=book pp=pages p=page pg=page pgs=pages para=paragraph paras=paragraphs par=paragraph
sec=section sect=section secs=sections subsec=subsection art=article arts=articles cl=clause reg=regulation
regs=regulations sched=schedule sch=schedule app=appendix suppl=supplement supp=supplement exh=exhibit tab=table
pl=plate eq=equation eqs=equations thm=theorem prob=problem op=opus opp=opuses mk=mark mod=module wk=week gr=grade
lvl=level cat=category q=question fn=footnote n=note iss=issue vers=version ver=version ln=line apt=apartment
bldg=building rm=room fl=floor ste=suite rte=route hwy=highway dist=district div=division pt=part pts=parts ep=episode
eps=episodes ser=series l=line ll=lines v=verse vv=verses fol=folio col=column pos=position tel=telephone mob=mobile
ph=phone ext=extension ca=circa c=circa max=maximum min=minimum avg=average rev=revision gen=generation prop=proposition
ex=example exs=examples mag=magnitude est=estimated
""") | {"No": "Number", "K": "K", "Rs": "Rs", "Re": "Re", "Fr": "Fr", "SFr": "SFr", "Rp": "Rp", "kr": "kr"}
BEFORE_NUMBER |= {short.capitalize(): long.capitalize() for short, long in BEFORE_NUMBER.items() if len(short) > 1}
# After a number they are units, or end a sentence: wait 5 min. 3 came.
UNITS_TOO = "min|sec|secs|p|c|l|pt|pts|ch|v|wk|n|q|ln"
# These are also words, after an article: open the app. 5 people are in it.
WORDS_TOO = words("rev gen art app tab ex prop mag sec col div reg cap mod par pos cat mob prob")
# Also without a full stop, since they are neither words nor units.
BARE = "Nos|Ch|Sec|[Ff]igs?|[Vv]ols?|pp|[Ee]xt|Op|Chap"
SLASHED = table("""
w/o=without w/c=week_commencing w/e=week_ending b/c=because c/o=care_of y/o=year_old f/u=follow-up h/o=history_of
s/p=status_post y/y=year_over_year m/m=month_over_month q/q=quarter_over_quarter s/he=she_or_he n/a=N_A i/o=I_O a/b=A_B
a/c=A_C
""")

TITLE = re.compile(rf"\b(?P<short>{any_of(TITLES)})\. ?(?=[A-Z]|and (?:Mrs|Ms|Dr)\b)")
BARE_TITLE = re.compile(
    r"(?<![0-9] )\b(?P<short>Mr|Mrs|Dr|Prof|Sgt|Capt|Lt|Cpl|Cmdr|Rev|Maj|Gen(?! Alpha)|Gov|Col|Adm|Mt|Ft)"
    r" (?=[A-Z][a-z])"
)
WORD = re.compile(rf"(?<![\w.-])(?P<short>{any_of(WORDS)})\.(?!\w)")
LINK = re.compile(rf"(?<![\w.-])(?P<short>{any_of(LINKS)})\.?(?![\w.'])")
WEEKDAY = re.compile(
    rf"(?<!he )\b(?P<short>{any_of(WEEKDAYS)})(?:\.(?!\w)(?P<date> (?=[A-Z][a-z]+ [0-9]))?"
    rf"|(?=,? (?:[0-9]|(?:{'|'.join([*(name[:3] for name in MONTHS), *MONTHS, 'Sept'])}) [0-9])))"
)
COMPANY = re.compile(r"(?<=[a-z&] )Co\.(?!\w)(?P<letter> [A-HJ-Z]\b)?")
VERSUS = re.compile(r"(?<=\w )v\.(?= [A-Z])")
SLASHED_WORD = re.compile(rf"(?<![\w/])(?P<short>{any_of(SLASHED)})(?![\w/])", re.IGNORECASE)
WITH = re.compile(r"(?<![\w/])w/ ?(?=[\w$\"(])")
DOCTORATE = re.compile(r"\bPh\.? ?D\b\.?(?P<s>s\b)?")
NUMBERED = re.compile(
    rf"(?<![\w.])(?!(?<=[0-9] )(?:{UNITS_TOO})\b)(?P<short>{any_of(BEFORE_NUMBER)})\. ?"
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
# In lower case it may be an answer: he said no. 5 people left.
NO = re.compile(r"(?<![\w.])(?<!said )(?<!say )(?<!says )(?<!or )no\. ?(?=[0-9])")
COMPOUND = re.compile(r"(?<=[0-9])(?P<unit> ?(?:ft|hrs?|lbs?))\.(?= ?[0-9]{1,2} ?(?:in|mins?|oz)\b)")

# 123 Main St, 42nd Dr: a street and a drive, not a saint and a doctor.
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
NO_STREET = words("""
In The At On Near From To Of And Visit Around For With By Into Via Is Was Meet Ask Dear Saint Like See Call When If As
But Both Then After Before Since Until That This Our My His Her Their Your Here There While Though Not Or So Hello Hi
Thanks Thank
""")
STARTERS = words("e hey t hen here his hat fter hile ur y er is ou ow")  # of He, They, It, Then …

STATES = table("""
Ala=Alabama Ariz=Arizona Ark=Arkansas Calif=California Colo=Colorado Conn=Connecticut Del=Delaware Fla=Florida
Ga=Georgia Ill=Illinois Ind=Indiana Kan=Kansas Ky=Kentucky La=Louisiana Md=Maryland Mass=Massachusetts Mich=Michigan
Minn=Minnesota Miss=Mississippi Mo=Missouri Mont=Montana Neb=Nebraska Nev=Nevada N.H=New_Hampshire N.J=New_Jersey
N.M=New_Mexico N.Y=New_York N.C=North_Carolina N.D=North_Dakota Okla=Oklahoma Ore=Oregon Pa=Pennsylvania
R.I=Rhode_Island S.C=South_Carolina S.D=South_Dakota Tenn=Tennessee Tex=Texas Vt=Vermont Va=Virginia Wash=Washington
W.Va=West_Virginia Wis=Wisconsin Wyo=Wyoming
""")
# After a town and a comma, or a party; not a form of address (Yes, Miss. Oh, Pa.).
NO_TOWN = "Yes|No|Oh|Well|Hello|Hi|Hey|Please|Sorry|Thanks|Okay|So|Now|And|But|Dear|Come"
STATE = re.compile(
    rf"(?P<before>\([DRI]-|\b(?!(?:{NO_TOWN})\b)[A-Z][a-z]{{1,20}}, )"
    rf"(?P<state>{'|'.join(map(re.escape, STATES))})\.(?!\w)"
)

# In a doctor's note “pt” is a patient, in basketball a point: 12 pts with sepsis, but a score of 12 pts.
PATIENT = re.compile(
    r"\b(?:Pts?\.(?= [a-z])|Pts?(?= (?:is|are|was|were|has|had|have|denie[sd]|report(?:s|ed)|present(?:s|ed)?|state[sd]"
    r"|complains|weighs|seen|stable|advised|tolerated|admitted|discharged|will|to)\b)"
    r"|(?<=[Tt]he )pts?\b(?:\.(?= [a-z]))?(?!\.? ?[0-9]| of\b)|[Pp]t(?='s\b)"
    r"|(?<=[0-9] )pts(?= (?:with|w/|were|received|who|had|have|underwent|died|enrolled)\b))"
)
COUNTED = table("""
pts=points pt=point rebs=rebounds reb=rebounds asts=assists ast=assists stl=steals stls=steals blk=blocks blks=blocks
ea=each
""")
AFTER_NUMBER = re.compile(rf"(?<=[0-9])[ /](?P<short>{any_of(COUNTED)})\b(?P<stop>\.(?=\)| [a-z=])|(?![\w/]|\.[\w]))")
DOSES = table("""
b.i.d=twice_a_day t.i.d=three_times_a_day q.i.d=four_times_a_day q.d=once_a_day p.r.n=as_needed p.o=by_mouth
""")
OFTEN = {"b": "twice", "t": "three times", "q": "four times", "qd": "once"}
BARE_DOSE = re.compile(
    r"(?<=[0-9] )(?P<unit>(?:mc?g|g|m[Ll]|units?|tabs?|caps?|puffs?)(?: [A-Za-z-]{2,20})?(?: (?:PO|po|IM|SC))?) "
    r"(?:(?P<often>[bBtTqQ])(?:id|ID)|(?:qd|QD))\b"
)
AGED = re.compile(r"(?<=[0-9])(?:-?yo|[ -]?y\.o\.| yo(?= (?:[MF]|(?:fe)?male|man|woman|boy|girl)\b))(?!\w)")  # 45yo M
FOR_DAYS = re.compile(r"(?<=[A-Za-z] )[x×] ?(?=[0-9]{1,3} ?(?:days?|d|weeks?|wks?|months?|mos?)\b)")
DOSE = re.compile(rf"(?<![\w.])(?P<short>{any_of(DOSES)})\.(?!\w| box)")
EVERY = re.compile(r"\b[qQ] ?(?P<hours>[0-9]{1,2}(?:-[0-9]{1,2})?) ?(?P<unit>h|hr|hrs|d|wk|min)\b\.?")
EVERY_UNITS = {"h": "hours", "hr": "hours", "hrs": "hours", "d": "days", "wk": "weeks", "min": "minutes"}


def abbreviations(text: str) -> str:
    """States, notes, titles, streets, saints, firms, Latin, months; and those of BEFORE_NUMBER only before a number."""
    text = _notes(STATE.sub(_state, text))
    text = NUMERO.sub(lambda m: "Number " if m["n"] == "N" else "number ", NO.sub("number ", text))
    text = BARE_NO.sub("Number ", COMPOUND.sub(r"\g<unit>", text))
    text = DATED.sub(lambda m: DATED_WORDS[m["short"]] + " ", text)
    text = NUMBERED.sub(_numbered, text)
    for pattern in (LETTERED, BARE_NUMBERED):
        text = pattern.sub(lambda m: BEFORE_NUMBER[m["short"]] + " ", text)
    text = ADDRESS.sub(lambda m: f"{m['place']} {ROADS[m['short']]}", text)
    text = BARE_STREET.sub(_bare_street, text)
    text = PLACE.sub(_place, text)
    for pattern in (TITLE, BARE_TITLE):
        text = pattern.sub(lambda m: TITLES[m["short"]] + " ", text)
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
    is_word = match["short"] in WORDS_TOO and OWNED.search(text_before(match))
    return match[0] if is_word else BEFORE_NUMBER[match["short"]] + " "


def _bare_street(match: re.Match[str]) -> str:
    name, short, following = match["name"] or "", match["short"], match["next"] or ""
    after_name = name != "" and name.strip() not in NO_STREET
    if short == "St" and following:
        return f"{name}Saint{following}"
    return f"{name}{ROADS[short]}{following}" if after_name else match[0]


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


def _state(match: re.Match[str]) -> str:
    """Miami, Fla. and (D-Calif.)."""
    stop = "" if match["before"][0] == "(" else stop_after(match)
    return match["before"] + STATES[match["state"]] + stop


def _notes(text: str) -> str:
    """Pt. denies pain; 5 mg q6h; 31 pts; $5 ea."""
    text = AFTER_NUMBER.sub(lambda m: " " + COUNTED[m["short"]], PATIENT.sub(_patient, text))
    text = DOSE.sub(lambda m: DOSES[m["short"]] + stop_after(m), text)
    text = AGED.sub(" year old", FOR_DAYS.sub("for ", text))
    text = BARE_DOSE.sub(lambda m: f"{m['unit']} {OFTEN[(m['often'] or 'qd').lower()]} a day", text)
    return EVERY.sub(lambda m: f"every {m['hours']} {EVERY_UNITS[m['unit']]}", text)


def _patient(match: re.Match[str]) -> str:
    word = "patients" if "s" in match[0] else "patient"
    return word.capitalize() if match[0][0] == "P" else word
