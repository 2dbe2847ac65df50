"""Notes of doctors (Pt. denies pain, 5 mg q6h), and what is counted in short in sports and shops (31 pts, $5 ea.)."""

from __future__ import annotations

import re

from tts.normalize.english_abbreviations import any_of, table
from tts.normalize.english_patterns import stop_after

# Of a doctor's note, and of basketball; twelve points, but 12 pts with sepsis are patients.
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
AFTER_NUMBER = re.compile(rf"(?<=[0-9])[ /]{any_of(COUNTED)}\b(?P<stop>\.(?=\)| [a-z=])|(?![\w/]|\.[\w]))")
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
DOSE = re.compile(rf"(?<![\w.]){any_of(DOSES)}\.(?!\w| box)")
EVERY = re.compile(r"\b[qQ] ?(?P<hours>[0-9]{1,2}(?:-[0-9]{1,2})?) ?(?P<unit>h|hr|hrs|d|wk|min)\b\.?")
EVERY_UNITS = {"h": "hours", "hr": "hours", "hrs": "hours", "d": "days", "wk": "weeks", "min": "minutes"}


def notes(text: str) -> str:
    """Pt. denies pain; 5 mg q6h; 31 pts."""
    text = AFTER_NUMBER.sub(lambda m: " " + COUNTED[m["short"]], PATIENT.sub(_patient, text))
    text = DOSE.sub(lambda m: DOSES[m["short"]] + stop_after(m), text)
    text = AGED.sub(" year old", FOR_DAYS.sub("for ", text))
    text = BARE_DOSE.sub(lambda m: f"{m['unit']} {OFTEN[(m['often'] or 'qd').lower()]} a day", text)
    return EVERY.sub(lambda m: f"every {m['hours']} {EVERY_UNITS[m['unit']]}", text)


def _patient(match: re.Match[str]) -> str:
    word = "patients" if "s" in match[0] else "patient"
    return word.capitalize() if match[0][0] == "P" else word
