"""Bible and Quran references in English: chapter and verse are two numbers, and 1 before a book is First."""

from __future__ import annotations

import re

from tts.normalize.english.numbers import Variety, cardinal
from tts.normalize.english.scan import DIGIT, LETTER, Shape
from tts.normalize.tables import any_of, table, words

# Before a chapter. Most have other meanings too (Rev., Gen.), and need a verse as well.
SHORT = table("""
Gen=Genesis Gn=Genesis Ex=Exodus Exod=Exodus Lev=Leviticus Lv=Leviticus Num=Numbers Deut=Deuteronomy Dt=Deuteronomy
Josh=Joshua Judg=Judges Jdg=Judges Sam=Samuel Kgs=Kings Chr=Chronicles Chron=Chronicles Neh=Nehemiah Esth=Esther
Ps=Psalm Psa=Psalm Pss=Psalms Prov=Proverbs Pr=Proverbs Eccl=Ecclesiastes Isa=Isaiah Jer=Jeremiah Lam=Lamentations
Ezek=Ezekiel Dan=Daniel Hos=Hosea Mic=Micah Hab=Habakkuk Zeph=Zephaniah Hag=Haggai Zech=Zechariah Mal=Malachi Mt=Matthew
Matt=Matthew Mk=Mark Lk=Luke Jn=John Rom=Romans Cor=Corinthians Gal=Galatians Eph=Ephesians Phil=Philippians
Col=Colossians Thess=Thessalonians Tim=Timothy Tit=Titus Philem=Philemon Heb=Hebrews Jas=James Pet=Peter Rev=Revelation
Obad=Obadiah Nah=Nahum Macc=Maccabees Sir=Sirach Eccles=Ecclesiastes Phlm=Philemon
""")
UNSHORTENED = words("Ruth Ezra Job Joel Amos Jonah Acts Jude Quran Qur'an Koran Surah")
BOOKS = any_of({*SHORT.values(), *UNSHORTENED, "Song of Songs", "Song of Solomon"})
NUMBERED_BOOKS = "Samuel|Kings|Chronicles|Corinthians|Thessalonians|Timothy|Peter|John|Maccabees"
VERSE = r"[0-9]{1,3}:[0-9]{1,3}"
SHORTENED = re.compile(
    rf"(?P<number>(?<![\w.:])(?:[123] ?|I{{1,3}} ))?\b(?P<short>{any_of(SHORT)})\b"
    rf"\.? ?(?=(?P<verse>{VERSE}(?![0-9:]| ?[ap]\.?m))|[0-9]{{1,3}}\b(?!:))"
)
REFERENCE = re.compile(
    rf"(?:(?P<number>(?<![\w.:])(?:[123]|I{{1,3}})) (?={NUMBERED_BOOKS}))?\b(?P<book>{BOOKS}) (?P<chapter>[0-9]{{1,3}})"
    r"(?::(?P<verse>[0-9]{1,3})(?: ?[-–] ?(?:(?P<chapter_to>[0-9]{1,3}):)?(?P<to>[0-9]{1,3}))?)?"
    r"(?![\w:]|[.,][0-9]|[ ]?[ap]\.?m\b)"
)
FIRST = {"1": "First", "2": "Second", "3": "Third", "I": "First", "II": "Second", "III": "Third"}


def full_names(text: str) -> str:
    """Gen. 1:1 → Genesis 1:1, 1 Cor. 13 → 1 Corinthians 13."""
    return SHORTENED.sub(_full_name, text)


def _full_name(match: re.Match[str]) -> str:
    number, name = match["number"] or "", SHORT[match["short"]]
    is_numbered = number != "" and name in NUMBERED_BOOKS.split("|")
    if not (match["verse"] or is_numbered or match["short"] in ("Ps", "Pss", "Psa")):
        return match[0]
    return f"{number.strip()} {name} ".lstrip()


def _reference(match: re.Match[str], variety: Variety) -> str | None:
    if not match["number"] and not match["verse"]:
        return None
    words = [FIRST[match["number"]]] if match["number"] else []
    words += [match["book"], cardinal(int(match["chapter"]), variety)]
    words += [cardinal(int(match["verse"]), variety)] if match["verse"] else []
    if match["to"]:
        words += ["to", *(cardinal(int(n), variety) for n in (match["chapter_to"], match["to"]) if n)]
    return " ".join(words)


BIBLE = (Shape(REFERENCE, _reference, DIGIT + LETTER),)
