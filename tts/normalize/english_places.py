"""Places in English: house numbers, postcodes, and the states of the United States as newspapers shorten them."""

from __future__ import annotations

import re

from tts.normalize.english_identifiers import spelled
from tts.normalize.english_numbers import Variety, below_hundred, year
from tts.normalize.english_patterns import stop_after
from tts.normalize.english_scan import DIGIT, LETTER, Shape
from tts.normalize.english_years import two_digits

STATES = dict(
    row.replace("_", " ").split("=")
    for row in """
    Ala=Alabama Ariz=Arizona Ark=Arkansas Calif=California Colo=Colorado Conn=Connecticut Del=Delaware Fla=Florida
    Ga=Georgia Ill=Illinois Ind=Indiana Kan=Kansas Ky=Kentucky La=Louisiana Md=Maryland Mass=Massachusetts Mich=Michigan
    Minn=Minnesota Miss=Mississippi Mo=Missouri Mont=Montana Neb=Nebraska Nev=Nevada N.H=New_Hampshire N.J=New_Jersey
    N.M=New_Mexico N.Y=New_York N.C=North_Carolina N.D=North_Dakota Okla=Oklahoma Ore=Oregon Pa=Pennsylvania
    R.I=Rhode_Island S.C=South_Carolina S.D=South_Dakota Tenn=Tennessee Tex=Texas Vt=Vermont Va=Virginia Wash=Washington
    W.Va=West_Virginia Wis=Wisconsin Wyo=Wyoming
    """.split()
)
# After a town and a comma, or a party: no girl (Yes, Miss.) and no father (Oh, Pa.).
NO_TOWN = "Yes|No|Oh|Well|Hello|Hi|Hey|Please|Sorry|Thanks|Okay|So|Now|And|But|Dear|Come"
STATE = re.compile(
    rf"(?P<before>\([DRI]-|\b(?!(?:{NO_TOWN})\b)[A-Z][a-z]{{1,20}}, )"
    rf"(?P<state>{'|'.join(map(re.escape, STATES))})\.(?!\w)"
)
ROADS = (
    "Street|Avenue|Boulevard|Road|Highway|Parkway|Square|Drive|Lane|Court|Place|Terrace|Crescent|Way|Close|Circle|Mews"
)
# 221B Baker Street: figures in pairs.
HOUSE = re.compile(
    r"(?<![\w.,$£€/#-])(?P<number>[1-9][0-9]{2,3})(?P<letter>[A-Z])?(?=(?: [NSEW]\.?)?(?: [A-Z][a-z'-]{1,20}){1,3}?"
    rf" (?:{ROADS})\b(?! (?!was\b|has\b)[a-z]{{3,12}}s\b))"
)
BRITISH = re.compile(
    r"(?<![\w-])(?P<outward>[A-PR-UWYZ][A-HK-Y]?[0-9][0-9A-HJKMNP-Y]?) "
    r"(?P<inward>[0-9](?![GTP]B|PS|HD|(?<=1)ST|(?<=2)ND|(?<=3)RD|TH\b [a-z])"
    r"[ABD-HJLNP-UW-Z]{2})(?![\w-])"
)
CANADIAN = re.compile(r"(?<![\w-])(?P<outward>[A-CEGHJ-NPR-TVXY][0-9][A-Z])[ -]?(?P<inward>[0-9][A-Z][0-9])(?![\w-])")
AMERICAN = re.compile(r"(?<![\w.,$£€/-])(?P<outward>[0-9]{5})-(?P<inward>[0-9]{4})(?![\w%]|[.,:-][0-9])")


def states(text: str) -> str:
    """Miami, Fla. and (D-Calif.)."""
    return STATE.sub(_state, text)


def _state(match: re.Match[str]) -> str:
    stop = "" if match["before"][0] == "(" else stop_after(match)
    return match["before"] + STATES[match["state"]] + stop


def _house(match: re.Match[str], variety: Variety) -> str:
    """Sixteen hundred, two twenty-one B, ten oh five."""
    hundreds, rest = match["number"][:-2], match["number"][-2:]
    said = year(int(match["number"]), variety) if rest == "00" else f"{below_hundred(int(hundreds))} {two_digits(rest)}"
    return f"{said} {match['letter']}" if match["letter"] else said


def _postcode(match: re.Match[str], variety: Variety) -> str:
    return f"{spelled(match['outward'])}, {spelled(match['inward'])}"


PLACES = (
    Shape(HOUSE, _house),
    Shape(BRITISH, _postcode, LETTER),
    Shape(CANADIAN, _postcode, LETTER),
    Shape(AMERICAN, _postcode, DIGIT),
)
