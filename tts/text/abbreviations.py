"""Words and numbers of many languages after which a full stop does not end a sentence.

Case matters: "Mar." is a month, "mar" is Spanish for the sea. Rules use only a word and those next to it.
"""

from __future__ import annotations

import re

from tts.normalize.tables import words
from tts.text.graphemes import WIDE_LETTERS

LONGEST = 24  # characters at the end of a word that can be an abbreviation

# Followed by what they introduce: no sentence ends after one.
INTRODUCERS = words("""
Mr Mrs Ms Mx Messrs dr drs prof Rev Hon Mt Ft Gen Col Maj Capt Cmdr Lt Sgt Cpl Gov Sen Rep Pres vs cf viz n° approx e.g
i.e Fig Figs Vol Vols pp Eq Eqs ext Hr Hrn Fr bzw ca evtl ggf inkl exkl zzgl vgl sog bspw geb Dipl ing med phil jur kath
ev Abb Kap Bd z.B z.b d.h u.a MM Mme Mlle Mmes env av éd chap Sra Srta Dra Ud Uds Dña Lic Arq Avda pág págs núm ej Exmo
Profa EE sig sigg dott avv dhr mevr bijv nr blz t.ex bl.a fr.o.m kl Sn np mgr inż ul г ул им проф акад просп обл см тыс
рис стр т.е напр вул див стор вид год napr डॉ प्रो
""")

# These may end a sentence, and do so only before a word that begins one.
ENDERS = words("""
St Sr Jr Ave Blvd Rd Ln Inc Ltd Co Corp Bros dept etc al Ph.D lbs oz ft hrs Jan Feb Mar Apr Jun Jul Aug Sep Sept Oct Nov
Dec Mon Tue Tues Wed Thu Thurs Fri Sat Sun usw Str Jh Mio Mrd Tel Dez Mwst MwSt ecc enz itd itp tzw hod okt UU m.fl m.in
osv руб др гг млн млрд
""")

# Abbreviations before a number, words elsewhere: "No." is an answer, "No. 5" is not.
BEFORE_NUMBER = words("""
Nos no ch sec sect art Eq n fig figs vol vols Opp op bk bks pt pts Par para paras Ex Bl Pl pls Tab Tbl ser App Apdx apt
Ste rm Bldg Flr fl Rt rte Hwy tel ph Fax Mob Ext p pg pgs ll vv ver ep eps cl reg Regs Sch Amend Stat ref refs Cat inv
Ord Cap Div Gr Grp lvl num nbr iss q Ques Thm Lem Prop Cor Def Alg Expt avg circa c Hob Deut Josh Judg Chr Neh Prov Eccl
Isa Jer Ezek Hos Mic Hab Zech Matt Eph Thess Heb Jas Rom Ps Pss Jn Mk Lk Exod Lev Kgs
""")
NUMBER = re.compile(r"\d|[IVXLC]{2,}\b")

# What has no vowel is an abbreviation: hrsg., пгт.
NO_VOWEL = re.compile("[B-DF-HJ-NP-TV-XZБ-ДЖЗЙ-НП-ТФ-Щ]?[b-df-hj-np-tv-xzб-джзй-нп-тф-щ]{1,4}")
INITIALS = re.compile(r"(?:[^\W\d_]\.-?)*[^\W\d_]")  # J. and U.S. and e.g. without the last point
NO_STEM = re.compile(rf"[\s{WIDE_LETTERS}\"'“”‘’„‚«»‹›()\[\]{{}}–—]")
NAMES_WITH_A_MARK = frozenset(["Yahoo!", "Jeopardy!", "Oklahoma!", "Yum!", "Wham!", "Mamma Mia!"])

# Words that begin sentences, but no names. Without "I", "A" and "No", which are also initials and numbers.
STARTER_WORDS = (
    "The|This|That|These|Those|It|He|She|We|They|You|There|Here|Then|But|And|However|When|If|What|Why|How|Who|Where|So"
    "|His|Her|Their|Our|My|Its|In|On|At|As|For|From|To|With|After|Before|While|Since|Because|Although|Now|Not|Also|Yet"
    "|Is|Are|Was|Were|Do|Does|Did|Can|Could|Would|Should|Have|Has|Had|Let|Please|Maybe|Perhaps"
    "|Some|Many|Most|All|Both|Each|Every|Everyone|Everybody|Nobody|Another|Nothing|Everything"
)
STARTER = re.compile(rf"(?:{STARTER_WORDS})(?=[\s,'’]|$)")

ORDINAL = re.compile(r"\d{1,3}\.|\d{1,2}\.\d{1,2}\.")
ORDINAL_BEFORE = words("der dem den des im vom zum zur beim Der Dem Den Im Vom Zum Zur Beim")
ORDINAL_AFTER = re.compile(
    "Januar|Jänner|Februar|März|April|Mai|Juni|Juli|August|September|Oktober|November|Dezember|Jahrhundert|Jh|Weltkrieg"
)
LIST_NUMBER = re.compile(
    r"[•·⁃]?(?:\d{1,3}|[IVXLC]+|[A-Za-zА-Яа-я]|(?:(?:twen|thir|for|fif)ty-)?(?:one|two|three|four|five|six|seven|eight|nine)"
    r"|ten|eleven|twelve|(?:thir|four|fif|six|seven|eigh|nine)teen|twenty|thirty|forty|fifty)\."
)


def abbreviates(word: str, following: str) -> bool:
    """Whether the full stop at the end of `word`, before the text `following`, belongs to an abbreviation."""
    stem = NO_STEM.split(word.removesuffix(".")[-LONGEST:])[-1]
    introduces = _is_among(INTRODUCERS, stem) or _is_among(INTRODUCERS, stem.rpartition(".")[2])
    if introduces or (_is_among(BEFORE_NUMBER, stem) and NUMBER.match(following)):
        return True
    may_end = _is_among(ENDERS, stem) or stem.endswith(("str", "Str"))
    may_end = may_end or INITIALS.fullmatch(stem) is not None or NO_VOWEL.fullmatch(stem) is not None
    return may_end and STARTER.match(following) is None


def is_ordinal(word: str, before: str, following: str) -> bool:
    """Whether `word` is an ordinal written with a full stop, as in German; `before` is the word before it."""
    may_be = before in ORDINAL_BEFORE or ORDINAL_AFTER.match(following) is not None
    return may_be and ORDINAL.fullmatch(word) is not None


def is_list_number(word: str) -> bool:
    """Whether `word`, as the first of its sentence, is the number of a list item: 1. II. a. two."""
    return LIST_NUMBER.fullmatch(word) is not None


def is_name(word: str, following: str) -> bool:
    """Whether the mark at the end of `word` is part of a name: Yahoo!"""
    return word in NAMES_WITH_A_MARK and STARTER.match(following) is None


def _is_among(stems: frozenset[str], stem: str) -> bool:
    """As written, capitalised, or in capitals."""
    if stem in stems or stem[:1].lower() + stem[1:] in stems:
        return True
    return len(stem) > 1 and stem.isupper() and (stem.capitalize() in stems or stem.lower() in stems)
