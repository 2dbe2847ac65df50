"""Numbers in the languages of `foreign.languages`, worded by num2words, with units, dates and ordinals by tables.

Numbers that would be read wrongly stay digits: in a longer code, beside a unit that is not in the table, or next to a
letter.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache, lru_cache

from tts.normalize.foreign.german import ordinals as german_ordinals
from tts.normalize.foreign.languages import LANGUAGES, MONTHS, POINT_REGIONS
from tts.normalize.sentences import mark_beginnings, raise_beginnings

MAX_DIGITS = 15  # a longer number is read digit by digit
CURRENCIES = "€$£¥"
VOWELS = "aeiouyéèêh"
LETTER = r"[^\W\d_]"
NEXT_WORD = re.compile(rf"\. +({LETTER})")
ROMANCE_ORDINAL = re.compile(r"(?<![\w.,])(?P<value>[1-9][0-9]?)\.?(?P<mark>[ºª])")
ORDINAL_NL = re.compile(r"(?<![\w.,])(?P<value>[1-9][0-9]?)(?:e|de|ste)\b")
ORDINAL_FR = re.compile(r"(?<![\w.,])(?P<value>[1-9][0-9]{0,3})(?P<mark>er|ère|re|ème|e|nd|nde)\b")
# Italian, Spanish, Portuguese: 1° piano, after an article and before a noun; 45° di … is an angle.
DEGREE_ORDINAL = re.compile(
    r"(?P<article>\b(?i:il|al|del|nel|sul|dal|lo|allo|dello|nello|ogni|el|un|um|o|ao|do|no|pelo|cada) )"
    r"(?P<value>[1-9][0-9]?)°(?=(?<![0-9]{2}°)[.,;!?]|(?<![0-9]{2}°)\Z| [a-z])"
    r"(?! (?:de|di|del|da|do|em|en|all|a|por|per|con|com|su[rdl]|nord|norte|este?|ovest|oeste|gradi|grados|graus)\b)"
)
# Without an article, before nouns that have no angle.
DEGREE_COUNT = re.compile(
    r"(?<![\w.,])(?P<value>[1-9][0-9]?)°(?= (?:piano|posto|secolo|capitolo|premio|turno|classificato|trimestre|anno"
    r"|piso|lugar|puesto|siglo|capítulo|año|andar|século|prêmio)\b)"
)
SHORTENED_ES = re.compile(r"(?<=[Pp]rimer|[Tt]ercer)o(?= (?!(?:del|por|con|que|fue)\b)[a-zá-úñ]{3,})")
SHORT_ES = re.compile(r"(?<![\w.,])(?P<value>[13])\.?er\b")
NUMERO = re.compile(r"(?<!\w)(?:(?P<n>[Nn])\.?[°º]|№) ?(?=[0-9])")
SCALE = {"fr": "millions?|milliards?|M|Md|Mds", "es": "millón|millones", "it": "milion[ei]|miliard[oi]"}
SCALE |= {"pt_BR": "milhão|milhões|bilhão|bilhões"}
SHORT_SCALES = {"M": "millions", "Md": "milliards", "Mds": "milliards"}
MILLIONS = re.compile(r"(?:million|milliard|millón|millon|milion|miliard|milh|bilh)\w*\Z")
CLOCK_DE = re.compile(r"(?<![\w.,:])(?P<hour>[01]?[0-9]|2[0-4]):(?P<minute>[0-5][0-9])(?: Uhr\b)?(?![\w:]|[.,][0-9])")
CLOCK_FR = re.compile(r"(?<![\w.,:])(?P<hour>[01]?[0-9]|2[0-4]) ?[h:] ?(?P<minute>[0-5][0-9])(?![\w:]|[.,][0-9])")
# German: after these words an ordinal ends in -n.
WEAK = "am|vom|zum|dem|den|im|des|beim"
NUMERIC_DATE = re.compile(
    r"(?P<before>\b[^\W\d_]{2,4} )?(?<![\w.,/-])(?P<day>[0-3]?[0-9])(?P<sep>[./-])(?P<month>[01]?[0-9])(?P=sep)"
    r"(?P<year>[12][0-9]{3})(?![\w/-]|[.,:][0-9])"
)


def speak_numbers(text: str, primary: str, region: str) -> str:
    """One pass; the text itself for a language without a table."""
    if primary not in LANGUAGES or not re.search("[0-9]", text):
        return text
    return _reader(primary, region in POINT_REGIONS.get(primary, ())).read(text)


def _any(shapes: Iterable[str]) -> str:
    """A pattern that matches one of them, or nothing if there are none."""
    return f"(?:{'|'.join(shapes) or '(?!)'})"


class NumberReader:
    """One language's numbers → words. `is_point`: decimals have a point, where others have a comma."""

    def __init__(self, primary: str, is_point: bool) -> None:
        language = self.language = LANGUAGES[primary]
        self.is_point, self.months = is_point, MONTHS.get(primary, [])
        group, decimal = (",'", ".") if is_point else (language.group + "'", ",")
        number = rf"(?:[0-9]{{1,3}}(?:[{group}][0-9]{{3}}){{1,4}}(?![0-9])|[0-9]+)(?:{re.escape(decimal)}[0-9]+)?"
        minus = r"(?P<minus>(?<![^\s\ue001(\"'„»«])[-−–])?"
        value = rf"{minus}(?<![\w.,:/+])(?<![0-9]-)(?P<value>{number})(?![0-9])"
        signs = sorted(language.units, key=len, reverse=True)
        names = _any(re.escape(sign) + (r"\b" if sign[-1].isalpha() else "") for sign in signs)
        currencies = _any(re.escape(sign) for sign in signs if sign[-1] in CURRENCIES)
        no_currency = rf"(?<![{CURRENCIES}])(?<![{CURRENCIES}] )"
        months = _any([*self.months, "Jahrhundert"])
        self._measure = re.compile(rf"{value} ?(?P<unit>{names})(?![\w²³/])")
        self._sign_first = re.compile(
            rf"{minus}(?<!\w)(?P<unit>{currencies}) ?(?P<value>{number})(?![\w/-]|[.,:][0-9])"
        )
        self._range = re.compile(rf"(?<![\w.,:/+–-])(?!0[0-9])({number}) ?[-–] ?(?=[0-9]+(?![0-9/:–-]|\.[0-9]))")
        self._plain = re.compile(rf"{no_currency}{value}(?![\w/:º°ª²³]| ?[{CURRENCIES}%°‰]|[.,:-][0-9])")
        self._ordinal_date = re.compile(
            rf"(?P<before>\b{LETTER}{{2,4}} )?(?<![\w.,/-])(?P<day>[1-9][0-9]?)\. ?(?={months}\b)"
        )
        self._pointed = re.compile(rf"(?<=[0-9])(?<!\.[0-9])(?<!\.[0-9]{{2}})\.(?=[0-9]{{1,2}} ?{names}(?![\w²³/]))")
        scales = SCALE.get(language.code, "(?!)")
        self._scaled = re.compile(rf"{value} ?(?P<scale>{scales}) ?(?P<unit>{currencies}|EUR\b)")

    def read(self, text: str) -> str:
        text = self.ordinals_and_times(self.dates(mark_beginnings(text)))
        if not self.is_point:
            text = self._pointed.sub(",", text)
        text = self._scaled.sub(self.scaled, text)
        if self.language.to:
            text = self._range.sub(rf"\1 {self.language.to} ", text)
        text = self._measure.sub(self.measure, self._sign_first.sub(self.measure, text))
        return raise_beginnings(self._plain.sub(self.plain, text))

    def plain(self, match: re.Match[str]) -> str:
        """Not before a full stop and a small letter, which make it an ordinal: 5. und 6."""
        after = NEXT_WORD.match(match.string, match.end())
        return match[0] if after and after[1].islower() else self._minus(match) + self.number(match["value"])

    def cardinal(self, value: int) -> str:
        hundred = self.language.hundred
        if not (hundred and 1100 <= value < 2000):
            return self._words(value)
        head, rest = divmod(value, 100)
        return self._words(head) + (hundred + self._words(rest) if rest else hundred.removesuffix(" og "))

    def _words(self, value: int, form: str = "cardinal") -> str:
        return _library(value, self.language.code, form)

    def number(self, written: str) -> str:
        """As written in this language, without a sign."""
        whole, _, fraction = written.partition("." if self.is_point else ",")
        digits = re.sub("[^0-9]", "", whole)
        if len(digits) > MAX_DIGITS or (len(digits) > 1 and digits[0] == "0"):
            words = self._digits(digits)
        elif digits != whole:
            words = self._words(int(digits))
        else:
            words = self.cardinal(int(digits))
        return f"{words} {self.language.point} {self._digits(fraction)}" if fraction else words

    def _digits(self, digits: str) -> str:
        return " ".join(self._words(int(digit)) for digit in digits)

    def _minus(self, match: re.Match[str]) -> str:
        return f"{self.language.minus} " if match["minus"] else ""

    def measure(self, match: re.Match[str]) -> str:
        """A number with its unit; money with two decimals in two parts."""
        one, many = self.language.units[match["unit"]]
        whole, _, decimals = match["value"].partition("." if self.is_point else ",")
        is_money = match["unit"][-1] in CURRENCIES
        if is_money and len(decimals) == 2 and whole.strip("0") and not decimals.startswith("0"):
            return self._minus(match) + self._counted(whole, one, many) + self.language.cents + self.number(decimals)
        return self._minus(match) + self._counted(whole if is_money and decimals == "00" else match["value"], one, many)

    def _counted(self, written: str, one: str, many: str) -> str:
        if written == "1":
            return one
        words = self._before_noun(self.number(written))
        return self._of_millions(words, many) if MILLIONS.search(words) else f"{words} {many}"

    def _of_millions(self, words: str, many: str) -> str:
        """Un million d'euros, due milioni di euro."""
        if self.language.code == "fr" and many[0] in VOWELS:
            return f"{words} d'{many}"
        return f"{words} {self.language.of} {many}" if self.language.of else f"{words} {many}"

    def scaled(self, match: re.Match[str]) -> str:
        """5 millions €, 3 M€."""
        scale = SHORT_SCALES.get(match["scale"], match["scale"])
        scale = scale.removesuffix("s") if match["value"] == "1" and self.language.code == "fr" else scale
        words = self._before_noun(self.number(match["value"]))
        many = self.language.units[match["unit"]][1]
        return self._minus(match) + self._of_millions(f"{words} {scale}", many)

    def _before_noun(self, words: str) -> str:
        if self.language.code != "es" or not words.endswith("uno"):
            return words
        return words.removesuffix("uno") + ("ún" if words.endswith("veintiuno") else "un")

    def dates(self, text: str) -> str:
        if self.months:
            text = NUMERIC_DATE.sub(self._date, text)
        if self.language.code != "de":
            return text
        return self._ordinal_date.sub(lambda m: f"{m['before'] or ''}{self._day(int(m['day']), m['before'])} ", text)

    def _date(self, match: re.Match[str]) -> str:
        day, month = int(match["day"]), int(match["month"])
        if not (1 <= day <= 31 and 1 <= month <= 12):
            return match[0]
        year, name, before = self.cardinal(int(match["year"])), self.months[month - 1], match["before"] or ""
        return before + self.language.date.format(day=self._day(day, before), month=name, year=year)

    def _day(self, day: int, before: str | None) -> str:
        if self.language.code != "de":
            return self.language.first if day == 1 and self.language.first else self.cardinal(day)
        words, word = self._words(day, "ordinal"), (before or "").strip().lower()
        return words + ("n" if re.fullmatch(WEAK, word) else "" if word in ("der", "die", "das") else "r")

    def ordinals_and_times(self, text: str) -> str:
        if numero := self.language.numero:
            text = NUMERO.sub(lambda m: f"{numero.title() if m['n'] == 'N' else numero} ", text)
        match self.language.code:
            case "de":
                text = german_ordinals(text, lambda value: self._words(value, "ordinal"))
                return CLOCK_DE.sub(lambda m: self._clock(m, "ein Uhr", "Uhr"), text)
            case "fr":
                text = CLOCK_FR.sub(lambda m: self._clock(m, "une heure", "heures"), text)
                return ORDINAL_FR.sub(self._french_ordinal, text)
            case "nl":
                return ORDINAL_NL.sub(lambda m: self._words(int(m["value"]), "ordinal"), text)
            case "es" | "it" | "pt_BR":
                text = SHORT_ES.sub(r"\g<value>º", text) if self.language.code == "es" else text
                text = DEGREE_ORDINAL.sub(lambda m: f"{m['article']}{m['value']}º", text)
                text = DEGREE_COUNT.sub(r"\g<value>º", text)
                text = ROMANCE_ORDINAL.sub(self._romance_ordinal, text)
                return SHORTENED_ES.sub("", text) if self.language.code == "es" else text
        return text

    def _clock(self, match: re.Match[str], one: str, many: str) -> str:
        hour, minute = int(match["hour"]), int(match["minute"])
        words = one if hour == 1 else f"{self.cardinal(hour)} {many}"
        if self.language.code == "fr" and hour == 21:
            words = f"vingt et une {many}"
        return f"{words} {self.cardinal(minute)}" if minute else words

    def _french_ordinal(self, match: re.Match[str]) -> str:
        value = int(match["value"])
        if value == 1:
            return {"er": "premier", "re": "première", "ère": "première"}.get(match["mark"], match[0])
        if match["mark"] in ("nd", "nde"):
            return "second" + match["mark"][2:] if value == 2 else match[0]
        return self._words(value, "ordinal") if match["mark"] in ("e", "ème") else match[0]

    def _romance_ordinal(self, match: re.Match[str]) -> str:
        words = self._words(int(match["value"]), "ordinal")
        if match["mark"] == "º":
            return words
        return " ".join(word.removesuffix("o") + "a" if word.endswith("o") else word for word in words.split())


_reader = cache(NumberReader)


@lru_cache(maxsize=1024)
def _library(value: int, code: str, form: str) -> str:
    from num2words import num2words  # large, and not needed for English

    return str(num2words(value, lang=code, to=form)).replace(",", "")
