"""Signs between words and numbers in English, and the numbers that no shape has read.

Signs that are not spoken (* _ ~ ^ ` \\ | < > …) are dropped in the end.
"""

from __future__ import annotations

import re

from tts.normalize.english.codes import is_dialled
from tts.normalize.english.formulas import COMPARISONS
from tts.normalize.english.numbers import NUMBER, SMALL, SMALL_DIGITS, START, TENS, Variety, number
from tts.normalize.english.scan import DIGIT, MARK, Shape, spaced, text_before
from tts.normalize.english.units import UNIT_WORDS, UNITS
from tts.normalize.tables import words
from tts.normalize.typography import DROPPED, close_gaps

LINE_DASH = re.compile(r"^([ \t]*)[—–―][ \t]*", re.MULTILINE)
DASH_AT_LINE_END = re.compile(r"(?<! )[—―](?=[ \t]*\n)")
LAST_DASH = re.compile(r"(?<! )[—―](?=[\"')\]]*(?:\n|\Z)|[\"'.,!?;:)])")
EM_DASH = re.compile(r"(?<! )(?<!\n) ?(?:[—―]|(?<= )–(?= )|(?<=\w)--(?=\w)|(?<= )--(?= ))[—―]* ?")
VARIABLE_MINUS = re.compile(r"(?:(?<=\b[b-hj-z])(?<!['’].) [-−] |(?<=\b[nxyk])-)(?=[0-9]{1,6}(?![\w.-]))")
EQUATION = re.compile(r"(?<=[0-9)]) ?[-−–] ?(?=[0-9]{1,15}(?:[.][0-9]{1,15})? ?=)")
RANGE = re.compile(r"(?<=[0-9%])(?:(?: - |-)|(?: ?[–—] ?|~)(?P<minus>[-−])?)(?=[$£€]?[0-9])")
TO = re.compile(r" ?(?:-|[–—~](?P<minus>[-−])?) ?(?=[$£€]?[0-9])")
SPACED = r"[1-9][0-9]{0,2}(?: [0-9]{3}){1,4}(?![\w]| [0-9])"
SPACED_THOUSANDS = re.compile(rf"(?<![\w.,+])(?<![0-9] )(?<!\w[-−]){SPACED}(?:[-–]{SPACED})?(?!-)")
SWISS_THOUSANDS = re.compile(r"(?<![\w.,'])[1-9][0-9]{0,2}(?:'[0-9]{3}){1,4}(?![\w']|[.,][0-9]{3}(?![0-9]))")
LINKED = re.compile(r"(?<=[0-9])-(of|on|in|to|for|by)-(?=[0-9])")  # 10-of-18
# Before two groups of digits, which are then no thousands: Room 101 200.
NUMBERED_THING = re.compile(
    r"(?:\b(?!(?:The|About|Over|Some|Nearly|Almost|Around|In|Of|With|From|To|By|And|For|At|Up|EUR|USD|GBP|CHF|Rs|RM|R)\b)"
    r"[A-Z]\w*|\b(?:pages?|chapter|section|room|lines?|step|no|route|highway|flight|model|type|size|level|version|phase"
    r"|figure|table|verse|psalm|grade|group|channel|unit|part|lot|item|series|top|call|code|extension)) \Z"
)
SCIENTIFIC = re.compile(rf"{START}(?<!\w)(?P<value>{NUMBER})[eE]\+?(?P<power>-?[0-9]{{1,3}})(?!\w)")
CARET = re.compile(r"(?<=[\w)])(?<!\^[0-9])\^(?P<minus>-?)(?=[0-9])")  # the rest of a tower is read by POWER
EVEN = re.compile(r"(?<![\w.,-])(?:50-50|24-7|20-20)(?![\w-]|[.,][0-9])")
IN_A_NAME = re.compile(r"(?<=[A-Za-z])-(?P<number>[0-9]{1,9}(?:\.[0-9]{1,9})?)-(?=[0-9])")
RATIO = re.compile(r"(?<=[0-9]):(?=[0-9]{1,15}(?![0-9a-z]))")
LETTER_NUMBER = re.compile(r"(?<=[A-Za-z])[-–](?=[0-9])")
CSHARP = re.compile(r"\b(?P<letter>[A-GFJ])#(?!\w)")
PLUS_PLUS = re.compile(r"(?<=[A-Za-z])\+\+(?![A-Za-z_+])")
SHORT = {short: UNITS[short][0] for short in "s sec min h hr wk mo mth yr lb oz kg gal bbl".split()}
WHOLE = (*SHORT.values(), "day", "night", "person", "unit", "user", "head", "capita", "share")
PER = SHORT | {name: name for name in WHOLE}
PER_UNIT = rf" ?/ ?(?:{'|'.join(sorted(PER, key=len, reverse=True))})\b"
PER_SIGN = re.compile(
    rf"(?<![\w/-])(?P<left>[A-Za-z0-9-]{{1,30}})(?P<units>(?:{PER_UNIT}){{1,3}})(?:\.(?= [a-z]))?(?! ?/)"
)
COUNTED = re.compile(r"(?:[0-9]|\bper|\bone) \Z")  # 3 eggs/person, per user/month
TIMES_OF = frozenset((*SHORT.values(), "day", "night")) - {"pound", "ounce", "kilogram", "gallon"}
# What may be “per” something: numbers, units, money, and these.
RATED = words("""
price cost fee rate pay salary income revenue profit spend expense earnings gdp requests messages tokens hundred
thousand million billion trillion lakh crore times percent k once twice bit kbit mbit gbit req tok msg ops
""") | {*SMALL, *TENS[2:]}
PRICE = re.compile(
    rf"(?P<money>\b(?:dollars?|cents?|euros?|pounds?|pence))/(?=[a-z])(?!(?:{'|'.join([*SMALL, *TENS[2:]])})\b)"
)
EITHER = re.compile(
    r"\b(?P<a>he|she|his|her|him|himself|herself|yes|true|on|male|female|mother|father|and|either|fan)/(?P<b>she|he|hers?|his|him"
    r"|herself|himself|no|false|off|female|male|father|mother|or|gas)\b",
    re.IGNORECASE,
)
LEADING_SLASH = re.compile(r"(?<!\S)/(?=\w)")
SLASH = re.compile(r"(?<=[\w)\"']) ?/ ?(?=[\w(\"'])")
ABOUT = re.compile(r"(?<![\w~%°])[~≈∼] ?(?=[-−]?[$£€]?\.?[0-9])")
IS_ABOUT = re.compile(r"\w \Z")  # a mile ≈ 1.6 km
MINUS = re.compile(r"(?<![\w.)\]\-−])[-−](?=\.?[0-9])")
MINUS_BETWEEN = re.compile(r"(?<=\w) ?− ?(?=\w)")
PLUS = re.compile(r"(?P<before>[\w)] ?)?\+ ?(?=[\w(]|\.[0-9])")
PLUS_AFTER = re.compile(r"(?<=\w)\+(?!\+)")
GRADE = re.compile(r"\b(?P<grade>an A|a [BCDF])-(?![\w-])")
TIMES = re.compile(r"(?<=[\w)]) ?(?:[×✕⋅]|(?<=[0-9)] )\*(?= )|(?<=\b[a-z] )\*(?= )|(?<=[0-9])\*(?=[0-9])) ?(?=[\w(])")
FOOTNOTE = re.compile(r"(?<=[a-z]{4})[⁰¹²³⁴-⁹]{1,2}(?!\w)")
POWERS = {"²": " squared", "³": " cubed"}
SUPERSCRIPT = re.compile(r"(?<=[\w)])[²³](?![⁰¹²³⁴-⁹])")
POWER = re.compile(r"(?<=[\w)])(?:\^-?[0-9]{1,15}|⁻?[⁰¹²³⁴-⁹]{1,15})")
COMPARED = COMPARISONS | dict(
    row.split(" ", 1)
    for row in "== equals,≈ is about,+/- plus or minus,√ square root of,∞ infinity,→ to,← from,-> to,=> to,⇒ to,& and"
    ",&& and,@ at,π pi,µ micro,‰ per mille,% percent,° degrees".split(",")
)
SIGN = re.compile("|".join(re.escape(sign) for sign in sorted(COMPARED, key=len, reverse=True)))
ONLY_BETWEEN = words("< > = <= >= == != -> =>")
SECTIONS = re.compile(r"(?P<sign>§{1,2}|¶) ?")
SIGNED = {"§": "section ", "§§": "sections ", "¶": "paragraph "}
NEEDED = re.compile(r"[^\w\s.,;:!?'\"()-]|-[.0-9]|[A-F]-|[0-9₀-₉⁰¹²³⁴-⁹]\)?")
LEFT_OUT = re.compile(r"[*_~^`\\|<>#=¦¬¨´¸ˆ˜†‡•‖∙·¯{}$ªº¤+@]+")
UNDERSCORE = re.compile(r"(?<=\w)_+(?=\w)")
EMOTICON = re.compile(r"(?<!\S)[:;]['-]?[)(DP](?![\w)])")
LIST_NUMBER = re.compile(r"^([ \t]*[0-9]{1,3})\)(?=[ \t])", re.MULTILINE)
PLAIN = re.compile(rf"{START}{NUMBER}|(?<![0-9])[0-9]+")


def dashes(text: str) -> str:
    """An em dash, or an en dash between spaces → a comma, at the start of a line nothing, before a mark a hyphen."""
    text = DASH_AT_LINE_END.sub(",", text)
    text = LAST_DASH.sub("-", LINE_DASH.sub(r"\1", text))
    return EM_DASH.sub(", ", text)


def canonical_numbers(text: str) -> str:
    """1 000 000 and 1'000'000 → 1000000, 10-of-18 → 10 of 18."""
    text = LINKED.sub(r" \1 ", text)
    text = SWISS_THOUSANDS.sub(lambda match: match[0].replace("'", ""), text)
    return SPACED_THOUSANDS.sub(_joined, text)


def _joined(match: re.Match[str]) -> str:
    is_short = match[0].count(" ") == 1 and not match[0].endswith(" 000")
    is_other = (is_short and NUMBERED_THING.search(text_before(match))) or is_dialled(text_before(match))
    return match[0] if is_other else match[0].replace(" ", "")


def operators(text: str) -> str:
    """Signs that are spoken: plus, per, at, and."""
    if not NEEDED.search(text):
        return text
    text = LIST_NUMBER.sub(r"\1.", text)
    text = PLUS_PLUS.sub(" plus plus", CSHARP.sub(r"\g<letter> sharp", text))
    text = SECTIONS.sub(lambda m: SIGNED[m["sign"]], text)
    text = SUPERSCRIPT.sub(lambda m: POWERS[m[0]], FOOTNOTE.sub("", text))
    text = POWER.sub(
        lambda m: " to the power of " + m[0].lstrip("^").translate(SMALL_DIGITS).replace("-", "minus "), text
    )
    text = PRICE.sub(r"\g<money> per ", PER_SIGN.sub(_per, text.translate(SMALL_DIGITS)))
    text = SLASH.sub(" slash ", EITHER.sub(_either, LEADING_SLASH.sub("slash ", text)))
    text = TIMES.sub(" times ", SIGN.sub(_sign, text))
    text = MINUS_BETWEEN.sub(" minus ", MINUS.sub("minus ", text))
    text = GRADE.sub(r"\g<grade> minus", text)
    return PLUS_AFTER.sub(" plus", PLUS.sub(lambda m: f"{(m['before'] or '').rstrip()} plus ".lstrip(), text))


def numbers(text: str, variety: Variety) -> str:
    """Read every number that is left; no ASCII digit remains."""
    return PLAIN.sub(lambda m: _plain(m, variety), text)


def leave_out(text: str) -> str:
    """Drop the signs that are not spoken."""
    text = EMOTICON.sub(DROPPED, UNDERSCORE.sub(" ", text))
    return close_gaps(LEFT_OUT.sub(DROPPED, text.replace("–", "-")))


def _scientific(match: re.Match[str], variety: Variety) -> str:
    power = match["power"].lstrip("-")
    minus = "minus " if match["power"] != power else ""
    return f"{number(match['value'], variety)} times ten to the power of {minus}{number(power, variety)}"


def _per(match: re.Match[str]) -> str:
    """Only where the left side is a quantity: 50 requests/second, but day/night and client/user."""
    last = match["left"].rpartition("-")[2].lower()
    units = [PER[unit.strip()] for unit in match["units"].split("/")[1:]]
    is_counted = COUNTED.search(text_before(match)) is not None
    is_many = last.endswith("s") and not last.endswith("ss") and (is_counted or units[0] in TIMES_OF)
    is_quantity = last in RATED or (last in UNIT_WORDS and last not in PER.values()) or last[:1].isdigit()
    if is_quantity or is_many or (is_counted and last in PER.values()):
        return " per ".join([match["left"], *units])
    return match[0]


def _either(match: re.Match[str]) -> str:
    return f"{match['a']} {match['b']}" if match["a"].lower() in ("and", "either") else f"{match['a']} or {match['b']}"


def _sign(match: re.Match[str]) -> str:
    """Signs that are also brackets or decoration are spoken only between two words."""
    text, start, end = match.string, match.start(), match.end()
    before, after = text[max(start - 2, 0) : start], text[end : end + 2]
    if match[0] in ONLY_BETWEEN and not (_has_word(before[::-1]) and _has_word(after)):
        return match[0]
    lead = "" if not before or before[-1].isspace() or before[-1] in "([\"'" else " "
    tail = "" if not after or after[0].isspace() or after[0] in ".,!?;:)]\"'" else " "
    return lead + COMPARED[match[0]] + tail


def _has_word(side: str) -> bool:
    char = side.lstrip(" ")[:1]
    return char.isalnum() or char in ("-", ".", "$", "(", ")", '"', "'", "√") if char else False


def _plain(match: re.Match[str], variety: Variety) -> str:
    is_listed = re.search(r"[^\W_],\Z", text_before(match)) is not None
    return (" " if is_listed else "") + spaced(match, number(match[0], variety))


POWERS_OF_TEN = (
    Shape(SCIENTIFIC, _scientific, DIGIT + MARK),
    Shape(CARET, lambda m, v: " to the power of " + ("minus " if m["minus"] else ""), MARK),
    Shape(ABOUT, lambda m, v: "is about " if m[0][0] == "≈" and IS_ABOUT.search(text_before(m)) else "about ", MARK),
)
BETWEEN = (
    Shape(EQUATION, lambda m, v: " minus ", MARK),
    Shape(VARIABLE_MINUS, lambda m, v: " minus ", MARK),
    Shape(EVEN, lambda m, v: m[0].replace("-", " ")),
    Shape(IN_A_NAME, lambda m, v: f" {m['number']} ", MARK),
    Shape(RANGE, lambda m, v: " to minus " if m["minus"] else " to ", MARK),
    Shape(TO, lambda m, v: " to minus " if m["minus"] else " to ", MARK, follows=True),
    Shape(RATIO, lambda m, v: " to ", MARK),
    Shape(LETTER_NUMBER, lambda m, v: " ", MARK),
)
