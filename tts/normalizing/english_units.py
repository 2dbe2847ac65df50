"""Measures in English: a number and the short name of a unit, percent, feet and inches, fractions, ordinals.

It does not convert: sixty miles stay sixty miles.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise
from math import gcd

from tts.normalizing.english_numbers import DENOMINATORS, Variety, cardinal, fraction, is_one, number, ordinal
from tts.normalizing.english_patterns import NUMBER, START, stop_after
from tts.normalizing.english_scan import DIGIT, LETTER, MARK, Shape

# Short name = singular, = plural where that is not the first noun with an s.
TABLE = """
nm=nanometer µm=micrometer mm=millimeter cm=centimeter m=meter km=kilometer mi=mile yd=yard ft=foot=feet ″=inch=inches
′=foot=feet mm²=square_millimeter cm²=square_centimeter m²=square_meter km²=square_kilometer ha=hectare
mm³=cubic_millimeter cm³=cubic_centimeter m³=cubic_meter km³=cubic_kilometer m2=square_meter m3=cubic_meter
km2=square_kilometer cm2=square_centimeter cm3=cubic_centimeter ft²=square_foot=square_feet ft³=cubic_foot=cubic_feet
sq_ft=square_foot=square_feet sq_m=square_meter sq_km=square_kilometer sq_mi=square_mile
µl=microliter µL=microliter ml=milliliter mL=milliliter cl=centiliter dl=deciliter dL=deciliter l=liter L=liter
gal=gallon fl_oz=fluid_ounce tbsp=tablespoon tsp=teaspoon
µg=microgram mcg=microgram mg=milligram g=gram kg=kilogram t=ton lb=pound lbs=pound oz=ounce st=stone=stone
ns=nanosecond µs=microsecond ms=millisecond s=second sec=second secs=second min=minute mins=minute h=hour hr=hour
hrs=hour wk=week wks=week mo=month yr=year yrs=year
W=watt kW=kilowatt MW=megawatt GW=gigawatt mW=milliwatt Wh=watt_hour kWh=kilowatt_hour MWh=megawatt_hour
GWh=gigawatt_hour TWh=terawatt_hour V=volt mV=millivolt kV=kilovolt mA=milliamp mAh=milliamp_hour Ah=amp_hour Ω=ohm
cal=calorie kcal=kilocalorie kJ=kilojoule kPa=kilopascal psi=pound_per_square_inch hp=horsepower=horsepower
mmol=millimole IU=international_unit mmHg=millimeter_of_mercury=millimeters_of_mercury
KB=kilobyte kB=kilobyte MB=megabyte GB=gigabyte TB=terabyte PB=petabyte MiB=mebibyte GiB=gibibyte Mb=megabit Gb=gigabit
kbps=kilobit_per_second
Mbps=megabit_per_second Gbps=gigabit_per_second px=pixel MP=megapixel dpi=dot_per_inch fps=frame_per_second
Hz=hertz=hertz kHz=kilohertz=kilohertz MHz=megahertz=megahertz GHz=gigahertz=gigahertz dB=decibel lm=lumen
mph=mile_per_hour kph=kilometer_per_hour mpg=mile_per_gallon rpm=revolution_per_minute bpm=beat_per_minute
ppm=part_per_million m/s²=meter_per_second_squared
°C=degree_Celsius=degrees_Celsius °F=degree_Fahrenheit=degrees_Fahrenheit ℃=degree_Celsius=degrees_Celsius
℉=degree_Fahrenheit=degrees_Fahrenheit °=degree º=degree %=percent=percent ‰=per_mille=per_mille
"""


def _names(row: str) -> tuple[str, tuple[str, str]]:
    short, one, *many = row.replace("_", " ").split("=")
    noun, per, rest = one.partition(" per ")
    return short, (one, many[0] if many else f"{noun}s{per}{rest}")


UNITS = dict(map(_names, TABLE.split()))
UNITS |= {short.replace("µ", "μ"): names for short, names in UNITS.items() if "µ" in short}  # micro sign, Greek mu
SIGNS = frozenset("°º%‰℃℉″′")  # may be glued to what follows
BY_LENGTH = sorted(UNITS, key=len, reverse=True)
UNIT = "(?:" + "|".join(re.escape(short) + ("" if short[-1] in SIGNS else r"(?!\w)") for short in BY_LENGTH) + ")"

VALUE = rf"(?P<minus>(?<![\w)])[-−])?{START}(?<![A-Za-z])(?P<value>{NUMBER})"
MEASURE = re.compile(rf"{VALUE}(?P<gap>[ -]?)(?P<unit>{UNIT})(?:/(?P<per>{UNIT}))?(?P<dot>\.(?=\)| ?[a-z]))?")
MAGNITUDE = re.compile(
    rf"{START}(?<![A-Za-z])(?P<value>{NUMBER})(?P<letter>k|K|M|mn|bn|B|tn)(?P<plus>\+)?(?!\w| [A-Z][a-z])"
)
MAGNITUDES = {"k": "thousand", "M": "million", "mn": "million", "bn": "billion", "B": "billion", "tn": "trillion"}
FEET_INCHES = re.compile(
    r"(?<![\w.,'])(?P<feet>[0-9]{1,2}) ?(?:'|′|ft\.?|-foot-) ?(?P<inches>1[01]|[0-9](?:\.[0-9])?)"
    r"(?: ?(?:\"|″|''|in\b)|(?![\w'.]))"
)
INCHES = re.compile(r"(?<=[0-9]) ?(?:in\.(?! ?[0-9])|(?<! )in\b)")  # what has a full stop or no space is no preposition
SQUARE = re.compile(r"(?<=[0-9] )sq\. ?(?=(?:ft|m|km|mi)\b)")
HOURS = re.compile(r"(?<=[0-9]) ?h ?(?P<minutes>[0-9]{1,2}) ?m\b")
MINUTES = re.compile(r"(?<=[0-9]) ?m ?(?P<seconds>[0-9]{1,2}) ?s\b")
TIMES_AS_MUCH = re.compile(rf"{START}\b(?P<value>{NUMBER})(?:x|×)(?=[,.;!?)/]|$| [a-z]{{2,}}\b)")
# In a sum the sign is “times”.
PRODUCT = re.compile(rf"(?<=[0-9]) ?[x×] ?(?={NUMBER}(?: ?=|\^| to the power|[⁰¹²³⁴-⁹]))")
BETWEEN_NUMBERS = re.compile(r"(?<=[0-9]) ?[x×] ?(?=[0-9])")
BY = re.compile(r" ?[x×] ?(?=[0-9])")
NOUN_FOLLOWS = re.compile(r" (?!(?:by|x|wide|long|tall|high|deep|thick|and|or|of|to|in|on|at|is)\b)[a-z]")
INCH_AFTER = re.compile(r"[0-9]\Z")
STARS = re.compile(r"(?<![\w.,$£€])(?P<count>[1-5])\*(?= [a-z])")

IDIOMS = frozenset({(24, 7), (9, 11), (50, 50), (20, 20)})  # only named
VULGAR_FRACTION = re.compile(r"(?P<whole>[0-9]{1,15})?[ ]?(?P<sign>[¼-¾⅐-⅞])")
FRACTION = re.compile(
    rf"{START}(?<![/\w.-])(?:(?P<whole>[0-9]{{1,15}})[ -])?(?P<over>[0-9]{{1,4}}(?:\.[0-9]{{1,2}})?)[/⁄]"
    rf"(?P<under>[0-9]{{1,4}})(?:rds|ths)?(?: ?(?P<unit>{UNIT})(?:\.(?= [a-z]))?)?(?![0-9/.%]*[0-9/%]|[A-Za-z])"
)
ORDINAL = re.compile(
    rf"{START}\b(?P<value>[0-9]{{1,3}}(?:,[0-9]{{3}}){{1,4}}|[0-9]{{1,15}})"
    r"(?i:(?<!11)(?<=1)st|(?<!12)(?<=2)nd|(?<!13)(?<=3)rd|th)\b"
)


def canonical_units(text: str) -> str:
    """10 in. wide, 10 sq. ft., 2h 15m, 8": in the short names that the shapes know."""
    text = SQUARE.sub("sq ", INCHES.sub(lambda m: "″" + stop_after(m), text))
    return _inches(MINUTES.sub(r" min \g<seconds> s", HOURS.sub(r" h \g<minutes> min", text)))


def vulgar_fractions(text: str) -> str:
    """½ → 1/2, as a fraction is read."""
    return VULGAR_FRACTION.sub(_vulgar, text)


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


def _measure(match: re.Match[str], variety: Variety) -> str | None:
    if match["gap"] == "-" and match["unit"] in SIGNS:
        return None
    is_attribute = match["gap"] == "-" or (match["unit"] == "″" and NOUN_FOLLOWS.match(match.string, match.end()))
    words = ["minus"] if match["minus"] else []
    words += [number(match["value"], variety)]
    words += [_unit(match["unit"], variety, is_singular=is_one(match["value"]) or bool(is_attribute))]
    words += ["per", _unit(match["per"], variety, is_singular=True)] if match["per"] else []
    following = match.string[match.end() : match.end() + 1]
    return " ".join(words) + (" " if following.isalnum() else "")


def _unit(short: str, variety: Variety, *, is_singular: bool) -> str:
    name = UNITS[short][0 if is_singular else 1]
    return name.replace("meter", "metre").replace("liter", "litre") if variety.is_day_first else name


def _magnitude(match: re.Match[str], variety: Variety) -> str:
    value, letter = match["value"], match["letter"]
    # 4K is a screen, 7B a flat or a model.
    is_name = (letter == "K" and len(value) == 1) or (letter == "B" and value.isdigit())
    name = letter if is_name else MAGNITUDES.get(letter, "thousand")
    return f"{number(value, variety)} {name}" + (" plus" if match["plus"] else "")


def _vulgar(match: re.Match[str]) -> str:
    parts = unicodedata.normalize("NFKC", match["sign"]).replace("⁄", "/")
    return f"{match['whole']} {parts}" if match["whole"] else parts


def _fraction(match: re.Match[str], variety: Variety) -> str:
    whole, unit = match["whole"], match["unit"]
    is_part = "." not in match["over"] and _is_part(int(match["over"]), int(match["under"]))
    tail = f" {_unit(unit, variety, is_singular=is_part and not whole)}" if unit else ""
    if not is_part:
        lead = f"{number(whole, variety)} " if whole else ""
        over = match["over"] if "." in match["over"] else str(int(match["over"]))
        under = int(match["under"])
        return lead + number(over, variety) + _between(float(over), under) + cardinal(under, variety) + tail
    words = fraction(int(match["over"]), int(match["under"]), variety)
    lead = f"{number(whole, variety)} and " if whole else ""
    return lead + ("a half" if whole and words == "one half" else words) + tail


def _is_part(over: int, under: int) -> bool:
    """Whether it is said as a fraction: no score, as what could be reduced is one, and no idiom."""
    is_score = (under in (10, 100) and over > 1) or gcd(over, under) > 1
    return not is_score and (over, under) not in IDIOMS and 0 < over < under and under in DENOMINATORS


def _between(over: float, under: int) -> str:
    if (over, under) in IDIOMS:
        return " "
    return " out of " if over <= under <= 100 else " over "


FRACTIONS = (Shape(FRACTION, _fraction),)
ORDINALS = (Shape(ORDINAL, lambda m, v: ordinal(int(m["value"].replace(",", "")), v)),)
MEASURES = (
    Shape(FEET_INCHES, lambda m, v: f"{number(m['feet'], v)} foot {number(m['inches'], v)}"),
    Shape(STARS, lambda m, v: f"{number(m['count'], v)} star"),
    Shape(PRODUCT, lambda m, v: " times ", LETTER + MARK),
    Shape(BETWEEN_NUMBERS, lambda m, v: " by ", LETTER + MARK),
    Shape(BY, lambda m, v: " by ", LETTER + MARK, follows=True),
    Shape(MEASURE, _measure, DIGIT + MARK),
    Shape(MAGNITUDE, _magnitude, DIGIT + MARK),
    Shape(TIMES_AS_MUCH, lambda m, v: f"{number(m['value'], v)} times", DIGIT + MARK),
)
