"""Whether a sum or a measure modifies a noun, so that its unit is singular: a five dollar fee, the 10 km run."""

from __future__ import annotations

import re

from tts.normalize.english.scan import text_before
from tts.normalize.tables import words

# A determiner, and at most one adjective: a new $5 billion deal.
DETERMINED = re.compile(
    r"\b(?:(?i:an?|the|this|that|each|every|another|his|her|its|our|my|your|their)|\w+'s)(?P<between> [a-z-]{2,14})? \Z"
)
FOLLOWING = re.compile(r"(?P<gap>[ -])(?P<word>[A-Za-z][A-Za-z]{0,20})\b(?: (?P<next>[a-z]{2,20})\b)?")
# Nouns that need no determiner: $5 billion deal announced.
NOUNS = words("""
bill note coin deal fine loan fee tax ticket budget settlement investment project fund grant prize contract acquisition
merger lawsuit bonus reward donation voucher coupon discount deficit surplus tin tins cans pack packs packet packets bag
bags bottle bottles jar jars pouch tub carton steak steaks battery batteries bank drive drives ssd charger chargers
cable cables monitor display screen tank laptop motor engine run race relay walk hike sprint dash swim orbit radius
winds gusts mean yield
""")
# Words after a sum or a measure that are no nouns.
NO_NOUN = words("""
of in for to and or more less per from on at by with as is was were are be has had have will would can could may might
must shall should that which who whom whose he she it they we you an the each every if when than but so because off into
onto over under up down out about around between during after before until since here there now then today tomorrow
yesterday tonight later goes went gets got came comes makes made does did do not only back total extra cash apiece left
without within through against across above below behind beyond away ago all both plus minus their his her its our my
your this these those instead too also again still covers buys takes took gave gives went seems remains means helps
towards toward upon via while where nor yet bought spent paid lost won found sold kept sent held brought felt ran began
became stood cost costs pays adds ends starts feels looks equals
""")
ENDS_IN_ED = words("seed bed feed speed shed")


def is_before_noun(match: re.Match[str]) -> bool:
    """Whether the match of a sum or a measure modifies the noun after it; in doubt not."""
    following = FOLLOWING.match(match.string, match.end())
    if following is None:
        return False
    word = following["word"]
    if word in NOUNS or following["gap"] == "-" or (following["next"] in NOUNS and word not in NO_NOUN):
        return True
    before = DETERMINED.search(text_before(match))
    if before is None or (before["between"] or "").strip() in NO_NOUN:
        return False
    return word not in NO_NOUN and word != "I" and (word in ENDS_IN_ED or not word.endswith(("ed", "ly")))
