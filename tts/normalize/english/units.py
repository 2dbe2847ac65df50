"""Measures in English: a number and the short name of a unit, percent, feet and inches, fractions, ordinals.

Nothing is converted: sixty miles stay sixty miles.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise
from math import gcd

from tts.normalize.english.nouns import is_before_noun
from tts.normalize.english.numbers import MAGNITUDES, NUMBER, START, Variety, fraction, is_fraction, number, ordinal
from tts.normalize.english.scan import DIGIT, MARK, Shape, stop_after, text_after, text_before
from tts.normalize.tables import words

# Short names = singular, = plural where that is not the first noun with an s.
TABLE = """
nm=nanometer µm=micrometer mm,mms=millimeter cm,cms,CM=centimeter m,mtr,mtrs=meter km,kms,KM,Km,Kms=kilometer mi=mile
yd,yds=yard ft,Ft=foot=feet ″=inch=inches ′=foot=feet mm²=square_millimeter cm²=square_centimeter m²=square_meter
km²=square_kilometer ha=hectare mm³=cubic_millimeter cm³=cubic_centimeter m³=cubic_meter km³=cubic_kilometer
m2=square_meter m3=cubic_meter km2=square_kilometer cm2=square_centimeter cm3,cc=cubic_centimeter
ft²,sqft=square_foot=square_feet cu_ft,cuft,ft³=cubic_foot=cubic_feet cu_m=cubic_meter cu_yd=cubic_yard
cu_in=cubic_inch=cubic_inches sq_ft=square_foot=square_feet sq_m,sqm=square_meter sq_in=square_inch=square_inches
sq_yd=square_yard sq_cm=square_centimeter sq_km,sqkm=square_kilometer sq_mi=square_mile µl,µL=microliter
ml,mL,mls=milliliter cl=centiliter dl,dL=deciliter l,L,ltr,ltrs,Ltr,Ltrs,lts=liter gal,gals=gallon fl_oz=fluid_ounce
qt,qts=quart tbsp,tbsps,Tbsp,Tbsps,TBSP,tbs,Tbs,tblsp,tbls=tablespoon tsp,tsps,Tsp,Tsps,TSP=teaspoon
µg,mcg,mcgs,ug=microgram mg,mgs,MG=milligram g,gm,gms,grm,grms=gram kg,kgs,Kg,Kgs,KG,KGS=kilogram t=ton
lb,lbs,Lb,Lbs,LBS=pound oz,ozs,Oz,OZ=ounce st=stone=stone ns=nanosecond µs=microsecond ms,msec,msecs=millisecond
s,sec,secs,Sec,Secs=second min,mins,Min,Mins=minute h,hr,hrs,Hr,Hrs,HRS=hour wk,wks=week mo,mos,mth,mths=month
yr,yrs,Yr,Yrs=year W=watt kW=kilowatt MW=megawatt GW=gigawatt mW=milliwatt Wh=watt_hour kWh=kilowatt_hour
MWh=megawatt_hour GWh=gigawatt_hour TWh=terawatt_hour V=volt mV=millivolt kV=kilovolt mA=milliamp mAh=milliamp_hour
Ah=amp_hour Ω=ohm cal,cals=calorie kcal,kcals,Kcal=kilocalorie kJ=kilojoule kPa=kilopascal psi,PSI=pound_per_square_inch
hp,Hp=horsepower=horsepower mmol=millimole IU=international_unit ng=nanogram pg/mL=picogram_per_milliliter
mEq=milliequivalent µmol,umol=micromole nmol=nanomole pmol=picomole U/L=unit_per_liter U/mL=unit_per_milliliter
bbl,bbls=barrel mmHg=millimeter_of_mercury=millimeters_of_mercury KB,KBs,kB,kb=kilobyte MB,MBs,mb=megabyte
GB,GBs,gb=gigabyte TB,TBs,tb=terabyte PB=petabyte MiB=mebibyte GiB=gibibyte Mb=megabit Gb=gigabit
kbps=kilobit_per_second Mbps,mbps,Mbit/s=megabit_per_second Gbps,gbps,Gbit/s=gigabit_per_second pcs=piece
doz=dozen=dozen pkg,pkgs=package ppl=person=people hPa=hectopascal px=pixel MP=megapixel dpi=dot_per_inch
fps=frame_per_second Hz,hz=hertz=hertz kHz,KHz,khz=kilohertz=kilohertz MHz,Mhz,mhz,MHZ=megahertz=megahertz
GHz,Ghz,ghz,GHZ=gigahertz=gigahertz dB=decibel lm=lumen mph,MPH=mile_per_hour
kph,KPH,kmh,kmph,Kmph,KMPH,km/hr,KM/H,Km/h=kilometer_per_hour mpg=mile_per_gallon rpm=revolution_per_minute
bpm=beat_per_minute ppm=part_per_million m/s²=meter_per_second_squared °C,°c,ºC,°_C,º_C=degree_Celsius=degrees_Celsius
°F,°f,ºF,°_F,º_F=degree_Fahrenheit=degrees_Fahrenheit deg,degs=degree deg_C,degC,℃=degree_Celsius=degrees_Celsius
deg_F,degF,℉=degree_Fahrenheit=degrees_Fahrenheit °=degree º=degree %=percent=percent ‰=per_mille=per_mille
"""


def _names(row: str) -> dict[str, tuple[str, str]]:
    shorts, one, *many = row.replace("_", " ").split("=")
    noun, per, rest = one.partition(" per ")
    return dict.fromkeys(shorts.split(","), (one, many[0] if many else f"{noun}s{per}{rest}"))


UNITS = {short: names for row in TABLE.split() for short, names in _names(row).items()}
UNITS |= {short.replace("µ", "μ"): names for short, names in UNITS.items() if "µ" in short}  # micro sign, Greek mu
# The last words of measures: kilogram of 5 mg/kg.
UNIT_WORDS = frozenset(word.rpartition(" ")[2] for names in UNITS.values() for word in names) | UNITS.keys()
UNIT_WORDS |= words("dollar dollars cent cents euro euros pound pounds pence penny rupee rupees")
SIGNS = frozenset("°º%‰℃℉″′")  # may be glued to what follows
BY_LENGTH = sorted(UNITS, key=len, reverse=True)
UNIT = "(?:" + "|".join(re.escape(short) + ("" if short[-1] in SIGNS else r"(?!\w|'s\b)") for short in BY_LENGTH) + ")"

NO_LETTER = "(?<![A-Za-wyz])(?<![A-Za-z]x)"  # before the number; 4x100 m
VALUE = rf"(?P<minus>(?<![\w)])[-−])?{START}{NO_LETTER}(?P<value>{NUMBER})"
MEASURE = re.compile(
    rf"{VALUE}(?P<gap>[ -]?)(?P<unit>{UNIT})(?:/(?P<per>{UNIT}))?(?:(?<=[A-Za-z])\.(?=[),;:]| ?[a-z]))?"
)
# Per volume, whatever is counted: 12,000/µL, cells/mL.
PER_VOLUME = re.compile(r"(?<=[\w⁰¹²³⁴-⁹])/(?P<unit>(?:[µμum]|d)?L|ml|mm³|mm3|cm²|cm³|cm2|cm3|m²|m³|km²)(?![\w/])")
# 250 mg/5 mL, but 5 km/3 mi, which are the same.
PER_MEASURE = re.compile(rf" ?/ ?(?=(?P<value>{NUMBER}) ?(?P<unit>{UNIT}|[CF]\b))")
LAST_UNIT = re.compile(rf"(?<![A-Za-z])(?P<unit>{UNIT}|[CF]) ?\Z")
SAME = [
    frozenset(units.split())
    for units in ("mm cm m km mi yd ft in ″ ′", "ml mL cl dl dL l L gal fl qt", "g kg lb lbs oz", "C F °C °F °")
]
# Of a laboratory: 10^9/L.
PER_POWER = re.compile(rf"10(?:\^(?P<power>[0-9]{{1,2}})|(?P<raised>[⁰¹²³⁴-⁹]{{1,2}})) ?/ ?(?P<unit>{UNIT})")
MAGNITUDE = re.compile(
    rf"{START}{NO_LETTER}(?P<value>{NUMBER})(?P<letter>k|K|M|mn|bn|B|tn)(?P<plus>\+)?(?!\w| [A-Z][a-z])"
)
SCREENS = words("2 4 5 6 8")
DISTANCES = words("5 10 15 20 25 50")
RUN = re.compile(r"\b(?i:ran|runs?|running|runner|race|marathon|jog\w*|parkrun|couch|fun|charity|PB|PR|minutes)\b")
COUNTED = re.compile(
    r" (?:tokens|users|views|followers|subscribers|likes|people|words|lines|requests|downloads|steps)\b"
)
FEET_INCHES = re.compile(
    r"(?<![\w.,'])(?P<feet>[0-9]{1,2}) ?(?:'|′|ft\.?|-foot-) ?(?P<inches>1[01]|[0-9](?:\.[0-9])?)"
    r"(?: ?(?:\"|″|''|in\b)|(?![\w'.]))"
)
INCHES = re.compile(r"(?<=[0-9]) ?(?:in\.(?! ?[0-9])|(?<! )in\b)")  # no preposition with a stop, or without a space
# Of a recipe: 1 c. sugar, 2 T. butter.
KITCHEN = re.compile(r"(?<![\w./-])(?P<count>[0-9]{1,2}(?: ?[0-9]?/[0-9])?) (?P<short>[cTt])\.(?= [a-z]{3,})")
SPOONS = {"c": "cup", "T": "tablespoon", "t": "teaspoon"}
SAME_DEGREES = re.compile(r"(?<=[0-9])°[CF]?(?=(?: ?[-–] ?| to )[-−]?[0-9.]{1,5} ?°[CF])")
# 37,5 °C: neither a list nor thousands, which have three digits.
DECIMAL_COMMA = re.compile(
    r"(?<![\w.,])(?P<whole>[0-9]{1,4}),(?P<tenths>[0-9]{1,2})"
    r"(?= ?(?:[kcm]?m[²³]?|[km]?g|m?[lL]|cl|°C|k?Wh?|ha|GB|MHz|GHz)(?![\w'/]))"
)
SQUARE = re.compile(r"(?<=[0-9] )(?P<kind>sq|cu|fl)\. ?(?=(?:ft|m|km|mi|in|yd|cm|oz)\b)")
HOURS = re.compile(r"(?<=[0-9]) ?h ?(?P<minutes>[0-9]{1,2}) ?m\b")
MINUTES = re.compile(r"(?<=[0-9]) ?m ?(?P<seconds>[0-9]{1,2}) ?s\b")
# 190C is a temperature near an oven, a fever, the weather, or another temperature.
DEGREES = re.compile(rf"{VALUE}(?P<upper>-[0-9]{{1,3}})? ?(?P<unit>[CF])(?![\w'+#-])")
HEAT = re.compile(
    r"\b(?:temp\w*|oven|preheat\w*|(?:re)?heat\w*|bak(?:e|ed|ing)|roast\w*|cook\w*|boil\w*|simmer\w*|fr(?:eez|oz|ie)\w*"
    r"|stor(?:e|ed|age)|weather|forecast|high of|low of|highs|lows|warm\w*|cold\w*|hot\w*|cool\w*|fever|outside|degrees"
    r"|hit|reach\w*|melt\w*|thermostat|fan|gas mark|wash\w*|water|summer|winter|below|above|today|tomorrow|tonight"
    r"|sunny|cloudy|rain\w*|snow\w*|battery|cpu|gpu|ambient|dropp\w*|rose|fell|chill\w*|serve)\b|[0-9][CF]\b|°",
    re.IGNORECASE,
)
SEAT = re.compile(r"\b(?i:seats?|row|gate|flat|room|size|unit|apartment|apt|suite|grade|class|section) \Z")
NOUN_FOLLOWS = re.compile(r" (?!(?:by|x|wide|long|tall|high|deep|thick|and|or|of|to|in|on|at|is)\b)[A-Za-z]")
IDIOMS = frozenset({(24, 7), (9, 11), (50, 50), (20, 20)})  # read as two numbers
VULGAR_FRACTION = re.compile(r"(?:(?P<whole>[0-9]{1,15}) ?)?(?P<sign>[¼-¾⅐-⅞])")
FRACTION = re.compile(
    rf"{START}(?<![/\w.])(?<![^0-9]-)(?<!^-)(?:(?P<whole>[0-9]{{1,15}})[ -])?(?P<over>[0-9]{{1,4}}(?:\.[0-9]{{1,2}})?)"
    rf"[/⁄](?P<under>[0-9]{{1,4}})(?:rds|ths)?(?: ?(?P<unit>{UNIT})(?:\.(?= [a-z]))?)?"
    r"(?![0-9/.%]*[0-9/%]|(?!x[0-9])[A-Za-z])"
)
ORDINAL = re.compile(
    rf"{START}\b(?P<value>[0-9]{{1,3}}(?:,[0-9]{{3}}){{1,4}}|[0-9]{{1,15}})"
    r"(?i:(?<!11)(?<=1)st|(?<!12)(?<=2)nd|(?<!13)(?<=3)rd|th)\b"
)


def canonical_units(text: str) -> str:
    """10 in. wide, 10 sq. ft., 2h 15m, 8": in the short names of UNITS."""
    text = DECIMAL_COMMA.sub(r"\g<whole>.\g<tenths>", SAME_DEGREES.sub("", text))
    text = KITCHEN.sub(_kitchen, text)
    text = SQUARE.sub(r"\g<kind> ", INCHES.sub(lambda m: "″" + stop_after(m), text))
    text = MINUTES.sub(r" min \g<seconds> s", HOURS.sub(r" h \g<minutes> min", text))
    return "\n".join(map(_inches, text.split("\n")))


def _kitchen(match: re.Match[str]) -> str:
    is_singular = match["count"] == "1" or re.fullmatch("[0-9]/[0-9]", match["count"])
    return f"{match['count']} {SPOONS[match['short']]}{'' if is_singular else 's'}"


def vulgar_fractions(text: str) -> str:
    """½ → 1/2."""
    return VULGAR_FRACTION.sub(
        lambda m: f"{m['whole'] or ''} ".lstrip() + unicodedata.normalize("NFKC", m["sign"]).replace("⁄", "/"), text
    )


def _inches(line: str) -> str:
    """A straight quote after a digit means inches, unless it closes a quotation."""
    is_open, pieces = False, line.split('"')
    said = [pieces[0]]
    for before, piece in pairwise(pieces):
        is_inch = not is_open and re.search(r"[0-9]\Z", before) is not None
        is_open ^= not is_inch
        said.append(("″" if is_inch else '"') + piece)
    return "".join(said)


def _measure(match: re.Match[str], variety: Variety) -> str | None:
    if match["gap"] == "-" and match["unit"] in SIGNS:
        return None
    is_inches_of = match["unit"] == "″" and NOUN_FOLLOWS.match(match.string, match.end()) is not None
    is_attribute = match["gap"] == "-" or is_inches_of or is_before_noun(match)
    words = ["minus"] if match["minus"] else []
    words += [number(match["value"], variety)]
    words += [_unit(match["unit"], variety, is_singular=match["value"] == "1" or is_attribute)]
    words += ["per", _unit(match["per"], variety, is_singular=True)] if match["per"] else []
    return " ".join(words) + (" " if text_after(match, 1).isalnum() else "")


def _per_power(match: re.Match[str], variety: Variety) -> str:
    power = match["power"] or unicodedata.normalize("NFKC", match["raised"])
    unit = _unit(match["unit"], variety, is_singular=True)
    return f"ten to the power of {number(power, variety)} per {unit}"


def _per_measure(match: re.Match[str], variety: Variety) -> str | None:
    before = LAST_UNIT.search(text_before(match))
    if before is None:
        return None
    pair = {before["unit"], match["unit"]}
    return " or " if len(pair) == 1 or any(pair <= units for units in SAME) else " per "


def _unit(short: str, variety: Variety, *, is_singular: bool) -> str:
    name = UNITS[short][0 if is_singular else 1]
    return name.replace("meter", "metre").replace("liter", "litre") if variety.is_day_first else name


def _degrees(match: re.Match[str], variety: Variety) -> str | None:
    around = text_before(match) + " " + text_after(match, 40).partition("\n")[0]
    is_oven = re.fullmatch("[0-4][0-9][05]|5[0-4][05]|550", match["value"])
    is_heat = match["minus"] or match["upper"] or is_oven or HEAT.search(around)
    if not is_heat or SEAT.search(text_before(match)):
        return None
    words = ["minus"] if match["minus"] else []
    words += [number(match["value"], variety)]
    words += ["to", number(match["upper"][1:], variety)] if match["upper"] else []
    return " ".join([*words, UNITS["°" + match["unit"]][match["value"] != "1" or bool(match["upper"])]])


def _magnitude(match: re.Match[str], variety: Variety) -> str | None:
    value, letter = match["value"], match["letter"]
    if len(value) > 4 and value.isdigit() and letter in "kKM":
        return None  # 13900K is a processor
    if letter in "kK" and value in DISTANCES and RUN.search(text_before(match) + text_after(match, 20)):
        return f"{number(value, variety)} K"
    # 4K is a screen, 2700K a light, 7B a flat or a model.
    is_name = (letter == "K" and (value in SCREENS or len(value) == 4)) or (letter == "B" and value.isdigit())
    is_name = is_name and not (letter == "K" and COUNTED.match(match.string, match.end()))
    name = letter if is_name else MAGNITUDES[letter[0].lower()]
    return f"{number(value, variety)} {name}" + (" plus" if match["plus"] else "")


def _fraction(match: re.Match[str], variety: Variety) -> str:
    whole, unit = match["whole"], match["unit"]
    is_part = "." not in match["over"] and _is_part(int(match["over"]), int(match["under"]))
    tail = f" {_unit(unit, variety, is_singular=is_part and not whole)}" if unit else ""
    if not is_part:
        lead = f"{number(whole, variety)} " if whole else ""
        over = match["over"] if "." in match["over"] else str(int(match["over"]))
        under = int(match["under"])
        return lead + number(over, variety) + _between(float(over), under) + number(str(under), variety) + tail
    words = fraction(int(match["over"]), int(match["under"]), variety)
    lead = f"{number(whole, variety)} and " if whole else ""
    return lead + ("a half" if whole and words == "one half" else words) + tail


def _is_part(over: int, under: int) -> bool:
    """Whether it is read as a fraction: not an idiom, and not a score, such as one that could be reduced."""
    is_score = (under in (10, 100) and over > 1) or gcd(over, under) > 1
    return not is_score and (over, under) not in IDIOMS and is_fraction(over, under)


def _between(over: float, under: int) -> str:
    if (over, under) in IDIOMS:
        return " "
    return " out of " if over <= under <= 100 else " over "


FRACTIONS = (Shape(FRACTION, _fraction),)
ORDINALS = (Shape(ORDINAL, lambda m, v: ordinal(int(m["value"].replace(",", "")), v)),)
CONCENTRATIONS = (
    Shape(PER_POWER, _per_power),
    Shape(PER_VOLUME, lambda m, v: f" per {_unit(m['unit'], v, is_singular=True)}", MARK),
    Shape(PER_MEASURE, _per_measure, MARK, follows=True),
)
MEASURES = (
    Shape(FEET_INCHES, lambda m, v: f"{number(m['feet'], v)} foot {number(m['inches'], v)}"),
    Shape(DEGREES, _degrees, DIGIT + MARK),
    Shape(MEASURE, _measure, DIGIT + MARK),
    Shape(MAGNITUDE, _magnitude, DIGIT + MARK),
)
