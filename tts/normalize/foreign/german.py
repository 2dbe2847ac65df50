"""German ordinals written with a full stop: mein 4. Versuch, in der 4. Klasse.

The ending depends on the word before the number, and after “mein” and the like on the gender of the noun, which is
guessed from its last letters. Without such a word, a number with a full stop ends a sentence, or numbers a list item.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from tts.normalize.tables import words

# The word before the number, which decides, and the one before that; ordinals between them are skipped.
BEFORE = re.compile(
    r"(?:(?P<earlier>[^\W\d_]+) )?\b(?P<word>[^\W\d_]+) "
    r"(?:[1-9][0-9]{0,2}\. ?(?:(?:und|oder|bis|bzw\.|-) ?)(?:de[rmns] )?){0,3}\Z"
)
ORDINAL = re.compile(
    r"(?<![\w.,/])(?<![^ .]-)(?P<value>[1-9][0-9]{0,2}(?:\.[0-9]{3}){0,3})\."
    r"(?=(?: (?:und|oder|bis|bzw\.) [1-9][0-9]{0,2}\.){0,3} (?P<noun>[^\W\d_]{2,40}))"
)
CONTRACTED = words("am vom zum zur im beim")
PREPOSITIONS = words("""
in an auf aus bei mit nach seit von zu vor unter über neben hinter zwischen während wegen trotz statt ab ende anfang
mitte zufolge gegenüber
""")
POSSESSIVES = "[mds]ein|kein|ein|ihr|unser|euer|eur|unsr"
STRONG = re.compile(f"(?:{POSSESSIVES}|als)")
OBLIQUE = re.compile(rf"(?:{POSSESSIVES})e[mnrs]|(?:dies|jen|jed|welch|all)e[mn]|de[mns]")
LIKE_THE = re.compile("der|(?:dies|jen|jed|welch)er")
NOMINATIVE = re.compile(rf"die|das|ins|ans|aufs|(?:{POSSESSIVES})e|(?:dies|jen)(?:e|es)|jedes")
NEUTER = re.compile(
    r"(?:jahr|kind|mal|spiel|tor|buch|haus|auto|bier|stück|quartal|semester|kapitel|drittel|viertel|fenster|zimmer|bild|team"
    r"|album|lied|gold|treffen|leben|konzert|rennen|finale|tief|hoch|projekt|thema|produkt|opfer|land|zeichen|ziel|werk"
    r"|wochenende|halbjahr|geschäft|festival|video|foto|gleis|feld|bein|auge|ohr|herz|dorf|rad|pferd|tier|kleid|hotel"
    r"|(?:chen|lein|ment|tum|um))\Z"
)
FEMININE = re.compile(
    r"(?:(?<!nam)(?<!jung)(?<!kund)(?<!zeug)(?<!kolleg)(?<!gedank)e|ung|heit|keit|ion|tät|schaft|ik|ur|ei|frau"
    r"|hand|stadt|nacht|zeit|wahl|bahn|tochter|mutter)\Z"
)
STARTERS = words("""
Der Die Das Ein Eine Er Sie Es Wir Ich Ihr Du Und Aber Oder Dann Danach Da Dort Hier Heute Morgen Gestern Doch Denn Wenn
Weil Als In Im Am An Auf Mit Nach Bei Von Vor Zu Für Nun Jetzt Man Was Wer Wie Wo Warum Alle Auch Noch Nur So Sein Seine
Mein Meine Dieser Diese Dieses Den Dem Damit Deshalb Trotzdem Leider Zum Zur Vielleicht Ist Hat Kann
""")


def ordinals(text: str, ordinal: Callable[[int], str]) -> str:
    """`ordinal` returns a number's ordinal with -e: vierte."""
    return ORDINAL.sub(lambda m: _said(m, ordinal), text)


def _said(match: re.Match[str], ordinal: Callable[[int], str]) -> str:
    before = BEFORE.search(match.string[max(0, match.start() - 80) : match.start()])
    ending = None if before is None or match["noun"] in STARTERS else _ending(before, match["noun"].lower())
    return match[0] if ending is None else ordinal(int(match["value"].replace(".", ""))) + ending


def _ending(before: re.Match[str], noun: str) -> str | None:
    """What follows the -e of an ordinal; None if the word before it precedes none."""
    word, earlier = before["word"].lower(), before["earlier"] or ""
    if word in CONTRACTED or OBLIQUE.fullmatch(word):
        return "n"
    if NOMINATIVE.fullmatch(word):
        return ""
    if LIKE_THE.fullmatch(word):
        is_dative = earlier.lower() in PREPOSITIONS
        is_genitive = earlier[:1].isupper() and before.start() > 0 and FEMININE.search(noun) is not None
        return "n" if is_dative or is_genitive else ""
    if not STRONG.fullmatch(word):
        return None
    if NEUTER.search(noun):
        return "s"
    return "" if FEMININE.search(noun) else "r"
