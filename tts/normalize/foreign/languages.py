"""The tables of languages other than English: decimal points, percent, money, units, months.

A unit's singular includes “one”, which depends on its gender. Nouns with which other numbers agree too (Spanish libra,
Portuguese hora) are left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from tts.normalize.tables import words

Names = dict[str, tuple[str, str]]  # sign → with “one”, plural


@dataclass(frozen=True, slots=True)
class Language:
    """How numbers are written and which words go with them."""

    code: str  # num2words' name
    point: str  # said in a decimal
    group: str = ". "  # between thousands, as a character class; the decimal mark is a comma
    minus: str = "minus"
    to: str = ""  # between the ends of a range; without it ranges are left alone
    hundred: str = ""  # 1100…1999 are counted in hundreds, with this between
    cents: str = " "  # between whole money and its hundredths
    of: str = ""  # between a round number of millions and what is counted
    numero: str = ""  # said for n° before a number
    date: str = "{day} {month} {year}"
    first: str = ""  # said of the first of a month
    units: Names = field(default_factory=dict)


def _units(rows: str) -> Names:
    """ "km,KM=ein Kilometer; h=eine Stunde|Stunden": without a plural, it is the name without its article."""
    units: Names = {}
    for signs, names in (row.split("=") for row in " ".join(rows.split()).split("; ")):
        one, _, many = names.partition("|")
        units |= dict.fromkeys(signs.split(","), (one, many or one.partition(" ")[2]))
    one, many = units["°C"]
    units["°F"] = (re.sub("[Cc]elsius", "Fahrenheit", one), re.sub("[Cc]elsius", "Fahrenheit", many))
    return units | {"° C": (one, many)}


DAY_OF_MONTH = "{day} de {month} de {year}"
SPACES = " '"  # a thin space has become a plain one
DE = _units("""
%=ein Prozent; €,EUR=ein Euro; $=ein Dollar; £=ein Pfund; ¥=ein Yen; CHF=ein Franken; km=ein Kilometer; m=ein Meter;
cm=ein Zentimeter; mm=ein Millimeter; kg=ein Kilogramm; g=ein Gramm; mg=ein Milligramm; l=ein Liter; ml=ein Milliliter;
km/h=ein Kilometer pro Stunde; °C=ein Grad Celsius; °=ein Grad; h=eine Stunde|Stunden; min=eine Minute|Minuten;
s=eine Sekunde|Sekunden; GB=ein Gigabyte; MB=ein Megabyte; m²=ein Quadratmeter; kWh=eine Kilowattstunde|Kilowattstunden;
W=ein Watt; GHz=ein Gigahertz
""")
ES = _units("""
%=uno por ciento; €,EUR=un euro|euros; $=un dólar|dólares; ¥=un yen|yenes; km=un kilómetro|kilómetros;
m=un metro|metros; cm=un centímetro|centímetros; mm=un milímetro|milímetros; kg=un kilogramo|kilogramos;
g=un gramo|gramos; mg=un miligramo|miligramos; l=un litro|litros; ml=un mililitro|mililitros;
km/h=un kilómetro por hora|kilómetros por hora; °C=un grado Celsius|grados Celsius; °=un grado|grados;
min=un minuto|minutos; s=un segundo|segundos; GB=un gigabyte|gigabytes; MB=un megabyte|megabytes;
m²=un metro cuadrado|metros cuadrados; kWh=un kilovatio hora|kilovatios hora; W=un vatio|vatios
""")
FR = _units("""
%=un pour cent; €,EUR=un euro|euros; $=un dollar|dollars; ¥=un yen|yens; CHF=un franc suisse|francs suisses;
km=un kilomètre|kilomètres; m=un mètre|mètres; cm=un centimètre|centimètres; mm=un millimètre|millimètres;
kg=un kilogramme|kilogrammes; g=un gramme|grammes; mg=un milligramme|milligrammes; l=un litre|litres;
ml=un millilitre|millilitres; km/h=un kilomètre par heure|kilomètres par heure; °C=un degré Celsius|degrés Celsius;
°=un degré|degrés; Go=un gigaoctet|gigaoctets; Mo=un mégaoctet|mégaoctets; m²=un mètre carré|mètres carrés;
kWh=un kilowattheure|kilowattheures; W=un watt|watts
""")
IT = _units("""
%=uno per cento; €,EUR=un euro; $=un dollaro|dollari; ¥=uno yen; km=un chilometro|chilometri; m=un metro|metri;
cm=un centimetro|centimetri; mm=un millimetro|millimetri; kg=un chilogrammo|chilogrammi; g=un grammo|grammi;
mg=un milligrammo|milligrammi; l=un litro|litri; ml=un millilitro|millilitri;
km/h=un chilometro all'ora|chilometri all'ora; °C=un grado Celsius|gradi Celsius; °=un grado|gradi; h=un'ora|ore;
min=un minuto|minuti; s=un secondo|secondi; GB=un gigabyte; MB=un megabyte; m²=un metro quadrato|metri quadrati;
W=un watt
""")
PT = _units("""
%=um por cento; €,EUR=um euro|euros; $=um dólar|dólares; R$=um real|reais; km=um quilômetro|quilômetros;
m=um metro|metros; cm=um centímetro|centímetros; mm=um milímetro|milímetros; kg=um quilograma|quilogramas;
g=um grama|gramas; mg=um miligrama|miligramas; l=um litro|litros; ml=um mililitro|mililitros;
km/h=um quilômetro por hora|quilômetros por hora; °C=um grau Celsius|graus Celsius; °=um grau|graus;
min=um minuto|minutos; s=um segundo|segundos; GB=um gigabyte|gigabytes; MB=um megabyte|megabytes;
m²=um metro quadrado|metros quadrados; W=um watt|watts
""")
NL = _units("""
%=één procent; €,EUR=één euro; $=één dollar; £=één pond; km=één kilometer; m=één meter; cm=één centimeter;
mm=één millimeter; kg=één kilogram; g=één gram; mg=één milligram; l=één liter; ml=één milliliter;
km/h=één kilometer per uur; °C=één graad Celsius|graden Celsius; °=één graad|graden; min=één minuut|minuten;
s=één seconde|seconden; GB=één gigabyte; MB=één megabyte; m²=één vierkante meter; W=één watt
""")
SV = _units("""
%=en procent; €,EUR=en euro; $=en dollar; kr,SEK=en krona|kronor; km=en kilometer; m=en meter; cm=en centimeter;
mm=en millimeter; g=ett gram; kg=ett kilogram; l=en liter; ml=en milliliter; km/h=en kilometer i timmen;
°C=en grad Celsius|grader Celsius; °=en grad|grader; min=en minut|minuter; s=en sekund|sekunder; GB=en gigabyte;
MB=en megabyte
""")
DA = _units("""
%=en procent; €,EUR=en euro; $=en dollar; kr,DKK=en krone|kroner; km=en kilometer; m=en meter; cm=en centimeter;
mm=en millimeter; g=et gram; kg=et kilogram; l=en liter; ml=en milliliter; km/t=en kilometer i timen;
°C=en grad celsius|grader celsius; °=en grad|grader; min=et minut|minutter; s=et sekund|sekunder; GB=en gigabyte;
MB=en megabyte
""")
NO = _units("""
%=en prosent; €,EUR=en euro; $=en dollar; kr,NOK=en krone|kroner; km=en kilometer; m=en meter; cm=en centimeter;
mm=en millimeter; g=ett gram; kg=ett kilogram; l=en liter; ml=en milliliter; km/t=en kilometer i timen;
°C=en grad celsius|grader celsius; °=en grad|grader; min=ett minutt|minutter; s=ett sekund|sekunder; GB=en gigabyte;
MB=en megabyte
""")

MONTHS = {
    "de": "Januar Februar März April Mai Juni Juli August September Oktober November Dezember".split(),
    "es": "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre".split(),
    "fr": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre".split(),
    "it": "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre".split(),
    "pt": "janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro dezembro".split(),
    "nl": "januari februari maart april mei juni juli augustus september oktober november december".split(),
}
LANGUAGES = {
    "de": Language("de", "Komma", to="bis", hundred="hundert", numero="Nummer", units=DE),
    "es": Language(
        "es", "coma", minus="menos", to="a", cents=" con ", of="de", numero="número", date=DAY_OF_MONTH, units=ES
    ),
    "fr": Language(
        "fr", "virgule", group=SPACES, minus="moins", to="à", of="de", numero="numéro", first="premier", units=FR
    ),
    "it": Language(
        "it", "virgola", minus="meno", to="a", cents=" e ", of="di", numero="numero", first="primo", units=IT
    ),
    "pt": Language(
        *("pt_BR", "vírgula"),
        minus="menos",
        to="a",
        cents=" e ",
        of="de",
        numero="número",
        date=DAY_OF_MONTH,
        first="primeiro",
        units=PT,
    ),
    "nl": Language("nl", "komma", minus="min", to="tot", hundred="honderd", numero="nummer", units=NL),
    "sv": Language("sv", "komma", group=SPACES, to="till", hundred="hundra", cents=" och ", units=SV),
    "da": Language("da", "komma", to="til", hundred=" hundrede og ", cents=" og ", units=DA),
    "nb": Language("no", "komma", group=SPACES, to="til", hundred=" hundre og ", cents=" og ", units=NO),
    # Their nouns and numerals depend on the case, which needs a grammar: bare numbers only.
    "pl": Language("pl", "przecinek", group=SPACES),
    "ru": Language("ru", "запятая", group=SPACES, minus="минус"),
    "fi": Language("fi", "pilkku", group=SPACES, minus="miinus"),
    "tr": Language("tr", "virgül", minus="eksi"),
}
# Where Spanish and German write 1,234.5 or 1'234.5.
POINT_REGIONS = {"es": words("MX US GT HN NI PA PE DO PR SV"), "de": frozenset({"CH", "LI"})}
