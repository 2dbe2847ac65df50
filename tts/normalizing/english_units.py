"""Measures in English: a number and the short name of a unit, percent, feet and inches, fractions, ordinals.

It does not convert: sixty miles stay sixty miles.
"""

from __future__ import annotations

import re
from itertools import pairwise

from tts.normalizing.english_numbers import DENOMINATORS, Variety, cardinal, fraction, is_one, number, ordinal
from tts.normalizing.english_patterns import NUMBER, START

UNITS: dict[str, tuple[str, str]] = {}


def _regular(table: str) -> None:
    UNITS.update({short: (name, f"{name}s") for short, name in (row.split("=") for row in table.split(";"))})


_regular("nm=nanometer;µm=micrometer;mm=millimeter;cm=centimeter;dm=decimeter;m=meter;km=kilometer;mi=mile;yd=yard")
_regular("mm²=square millimeter;cm²=square centimeter;m²=square meter;km²=square kilometer;ha=hectare;mi²=square mile")
_regular("mm³=cubic millimeter;cm³=cubic centimeter;m³=cubic meter;km³=cubic kilometer;m2=square meter;m3=cubic meter")
_regular("km2=square kilometer;cm2=square centimeter;cm3=cubic centimeter;µl=microliter;µL=microliter;ml=milliliter")
_regular("mL=milliliter;cl=centiliter;cL=centiliter;dl=deciliter;dL=deciliter;l=liter;L=liter;hl=hectoliter;gal=gallon")
_regular(
    "µg=microgram;mcg=microgram;mg=milligram;g=gram;kg=kilogram;t=ton;lb=pound;lbs=pound;oz=ounce;fl oz=fluid ounce"
)
_regular("ns=nanosecond;µs=microsecond;ms=millisecond;s=second;sec=second;secs=second;min=minute;mins=minute;h=hour")
_regular(
    "hr=hour;hrs=hour;yr=year;yrs=year;mo=month;wk=week;wks=week;W=watt;kW=kilowatt;MW=megawatt;GW=gigawatt;TW=terawatt"
)
_regular("mW=milliwatt;Wh=watt hour;kWh=kilowatt hour;MWh=megawatt hour;GWh=gigawatt hour;TWh=terawatt hour;V=volt")
_regular("mV=millivolt;kV=kilovolt;mA=milliamp;mAh=milliamp hour;Ah=amp hour;Ω=ohm;kΩ=kiloohm;MΩ=megaohm;kJ=kilojoule")
_regular(
    "MJ=megajoule;kN=kilonewton;cal=calorie;kcal=kilocalorie;Pa=pascal;kPa=kilopascal;hPa=hectopascal;MPa=megapascal"
)
_regular("dB=decibel;lm=lumen;px=pixel;MP=megapixel;KB=kilobyte;kB=kilobyte;MB=megabyte;GB=gigabyte;TB=terabyte")
_regular("PB=petabyte;KiB=kibibyte;MiB=mebibyte;GiB=gibibyte;TiB=tebibyte;kb=kilobit;Kb=kilobit;Mb=megabit;Gb=gigabit")
_regular("nmi=nautical mile;kn=knot;ct=carat;tbsp=tablespoon;tsp=teaspoon;mol=mole")
UNITS |= {
    "ft": ("foot", "feet"),
    "sq ft": ("square foot", "square feet"),
    "ft²": ("square foot", "square feet"),
    "ft³": ("cubic foot", "cubic feet"),
    "in²": ("square inch", "square inches"),
    "″": ("inch", "inches"),
    "′": ("foot", "feet"),
    "Hz": ("hertz", "hertz"),
    "kHz": ("kilohertz", "kilohertz"),
    "MHz": ("megahertz", "megahertz"),
    "GHz": ("gigahertz", "gigahertz"),
    "THz": ("terahertz", "terahertz"),
    "mph": ("mile per hour", "miles per hour"),
    "kph": ("kilometer per hour", "kilometers per hour"),
    "mpg": ("mile per gallon", "miles per gallon"),
    "fps": ("frame per second", "frames per second"),
    "rpm": ("revolution per minute", "revolutions per minute"),
    "bpm": ("beat per minute", "beats per minute"),
    "dpi": ("dot per inch", "dots per inch"),
    "ppm": ("part per million", "parts per million"),
    "psi": ("pound per square inch", "pounds per square inch"),
    "bps": ("bit per second", "bits per second"),
    "kbps": ("kilobit per second", "kilobits per second"),
    "Mbps": ("megabit per second", "megabits per second"),
    "Gbps": ("gigabit per second", "gigabits per second"),
    "m/s²": ("meter per second squared", "meters per second squared"),
    "hp": ("horsepower", "horsepower"),
    "°C": ("degree Celsius", "degrees Celsius"),
    "°F": ("degree Fahrenheit", "degrees Fahrenheit"),
    "℃": ("degree Celsius", "degrees Celsius"),
    "℉": ("degree Fahrenheit", "degrees Fahrenheit"),
    "°": ("degree", "degrees"),
    "º": ("degree", "degrees"),
    "%": ("percent", "percent"),
    "‰": ("per mille", "per mille"),
    "pp": ("percentage point", "percentage points"),
}
SIGNS = frozenset("°º%‰℃℉″′")  # may be glued to what follows
UNITS |= {short.replace("µ", "μ"): names for short, names in UNITS.items() if "µ" in short}  # micro sign, Greek mu
BY_LENGTH = sorted(UNITS, key=len, reverse=True)
UNIT = "(?:" + "|".join(re.escape(short) + ("" if short[-1] in SIGNS else r"(?!\w)") for short in BY_LENGTH) + ")"
BRITISH = (("meter", "metre"), ("liter", "litre"))

VALUE = rf"(?P<minus>(?<![\w)])[-−])?{START}(?P<value>{NUMBER})"
MEASURE = re.compile(rf"{VALUE}(?P<gap>[ -]?)(?P<unit>{UNIT})(?:/(?P<per>{UNIT}))?(?P<dot>\.(?=[ ]?[a-z]))?")
MAGNITUDE = re.compile(
    rf"{START}(?<![A-Za-z])(?P<value>{NUMBER})(?P<letter>k|K|M|mn|bn|B|tn)(?P<plus>\+)?(?!\w| [A-Z][a-z])"
)
MAGNITUDES = {"k": "thousand", "M": "million", "mn": "million", "bn": "billion", "B": "billion", "tn": "trillion"}
FEET_INCHES = re.compile(
    r"(?<![\w.,])(?P<feet>[0-9]{1,2}) ?(?:'|′|ft\.?|-foot-) ?(?P<inches>[0-9]{1,2}(?:\.[0-9])?) ?(?:\"|″|''|in\b)"
)
FEET_ONLY = re.compile(r"(?<![\w.,'])(?P<feet>[4-7])'(?P<inches>[0-9]|1[01])(?![\w'\"])")
TIMES_AS_MUCH = re.compile(rf"{START}\b(?P<value>{NUMBER})(?:x|×)(?=[,.;!?)]|$| [a-z]{{2,}}\b)")
DIMENSIONS = re.compile(
    rf"(?<=[0-9])(?P<unit> ?[a-z]{{1,2}})? ?[x×] ?(?=[0-9])(?!{NUMBER}(?: ?=|\^| to the power|[⁰¹²³⁴-⁹]))"
)
NOUN_FOLLOWS = re.compile(" [a-z]")
INCH_AFTER = re.compile(r"[0-9]\Z")

IDIOMS = frozenset({(24, 7), (9, 11), (50, 50)})  # only named
VULGAR = dict(
    row.split("=")
    for row in (
        "¼=1/4 ½=1/2 ¾=3/4 ⅐=1/7 ⅑=1/9 ⅒=1/10 ⅓=1/3 ⅔=2/3 ⅕=1/5 ⅖=2/5 ⅗=3/5 ⅘=4/5 ⅙=1/6 ⅚=5/6 ⅛=1/8 ⅜=3/8 ⅝=5/8 ⅞=7/8"
    ).split()
)
VULGAR_FRACTION = re.compile(rf"(?P<whole>[0-9]{{1,15}})?[ ]?(?P<sign>[{''.join(VULGAR)}])")
FRACTION = re.compile(
    rf"{START}(?<![/\w.-])(?:(?P<whole>[0-9]{{1,15}})[ -])?(?P<over>[0-9]{{1,4}}(?:\.[0-9]{{1,2}})?)[/⁄]"
    rf"(?P<under>[0-9]{{1,4}})"
    rf"(?![0-9/.%]*[0-9/%]|[A-Za-z])"
)
ORDINAL = re.compile(
    rf"{START}\b(?P<value>[0-9]{{1,3}}(?:,[0-9]{{3}}){{1,4}}|[0-9]{{1,15}}) ?(?:(?<! )(?:st|nd|rd|th|ST|ND|RD|TH))\b"
)


def measures(text: str, variety: Variety) -> str:
    """Feet and inches, every number with a unit, and 5k, 3M, 2x."""
    text = FEET_INCHES.sub(lambda m: _feet_inches(m, variety), text)
    text = FEET_ONLY.sub(lambda m: _feet_inches(m, variety), text)
    text = _inches(DIMENSIONS.sub(lambda m: f"{m['unit'] or ''} by ", text))
    text = MEASURE.sub(lambda m: _measure(m, variety), text)
    text = MAGNITUDE.sub(lambda m: _magnitude(m, variety), text)
    return TIMES_AS_MUCH.sub(lambda m: f"{number(m['value'], variety)} times", text)


def vulgar_fractions(text: str) -> str:
    """½ → 1/2, as `fractions` reads it."""
    return VULGAR_FRACTION.sub(_vulgar, text)


def fractions(text: str, variety: Variety) -> str:
    """3/4, 2 1/2, 24/7, 10/10, 120/80."""
    return FRACTION.sub(lambda m: _fraction(m, variety), text)


def ordinals(text: str, variety: Variety) -> str:
    return ORDINAL.sub(lambda m: ordinal(int(m["value"].replace(",", "")), variety), text)


def _feet_inches(match: re.Match[str], variety: Variety) -> str:
    return f"{number(match['feet'], variety)} foot {number(match['inches'], variety)}"


def _inches(text: str) -> str:
    """A straight quote after a digit is inches, unless it closes a quotation that a quote before it opened."""
    if '"' not in text:
        return text
    return "\n".join(_inches_of_line(line) for line in text.split("\n"))


def _inches_of_line(line: str) -> str:
    is_open, pieces = False, line.split('"')
    said = [pieces[0]]
    for before, piece in pairwise(pieces):
        is_inch = not is_open and INCH_AFTER.search(before[-1:]) is not None
        is_open = is_open if is_inch else not is_open
        said.append(("″" if is_inch else '"') + piece)
    return "".join(said)


def _measure(match: re.Match[str], variety: Variety) -> str:
    one, many = UNITS[match["unit"]]
    if match["gap"] == "-" and match["unit"] in SIGNS:
        return match[0]
    is_attribute = match["gap"] == "-" or (match["unit"] == "″" and NOUN_FOLLOWS.match(match.string, match.end()))
    is_singular = is_one(match["value"]) or is_attribute
    words = ["minus"] if match["minus"] else []
    words += [number(match["value"], variety), one if is_singular else many]
    words += ["per", UNITS[match["per"]][0]] if match["per"] else []
    spoken = " ".join(words)
    if variety.is_day_first:
        for american, british in BRITISH:
            spoken = spoken.replace(american, british)
    following = match.string[match.end() : match.end() + 1]
    return spoken + (" " if following.isalnum() else "")


def _magnitude(match: re.Match[str], variety: Variety) -> str:
    if match["letter"] == "K" and len(match["value"]) == 1:
        return f"{number(match['value'], variety)} K"  # 4K is a screen
    name = MAGNITUDES.get(match["letter"], "thousand")
    return f"{number(match['value'], variety)} {name}" + (" plus" if match["plus"] else "")


def _vulgar(match: re.Match[str]) -> str:
    parts = VULGAR[match["sign"]]
    return f"{match['whole']} {parts}" if match["whole"] else parts


def _fraction(match: re.Match[str], variety: Variety) -> str:
    if "." in match["over"]:
        return f"{number(match['over'], variety)} out of {number(match['under'], variety)}"
    over, under = int(match["over"]), int(match["under"])
    whole = f"{number(match['whole'], variety)} and " if match["whole"] else ""
    if whole and (over, under) == (1, 2):
        return f"{whole}a half"
    is_score = under in (10, 100) and over > 1
    if not is_score and (over, under) not in IDIOMS and 0 < over < under and under in DENOMINATORS:
        return whole + fraction(over, under, variety)
    lead = f"{number(match['whole'], variety)} " if match["whole"] else ""
    return lead + f"{cardinal(over, variety)}{_between(over, under)}{cardinal(under, variety)}"


def _between(over: int, under: int) -> str:
    if (over, under) in IDIOMS:
        return " "
    return " out of " if over <= under <= 100 else " over "
