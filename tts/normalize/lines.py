"""Wrapped prose is joined, lines of lists and headings get a full stop, verse stays as it is.

Three signs distinguish wrapped prose from lists and verse: the next word would not have fit into the line; the next
line begins in lower case, or after a word that ends no sentence ("the", "and"); sentences end inside lines. Without
them lines are kept, because two lines read as one sentence are worse than one sentence read as two.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby, pairwise

from tts.normalize.tables import words
from tts.text.graphemes import WIDE_LETTER

MIN_WIDTH = 30  # characters of the longest line of wrapped prose
MIN_WIDE_WIDTH = 15  # the same in ideographs or kana
MIN_BROKEN, MIN_LINKING = 8, 12  # characters of a line that ends in a part of a word, or in a word of LINKING
MIN_VERSE = 25  # characters of a line of verse: shorter ones with a capital are names, as in a signature
FILLED = 0.75  # of the width: people and models do not wrap to the character

ENDED = re.compile(r"[.!?…:;,‽。，、！？；：।॥؟۔،؛—–-][\"'”’»)\]}」』*_` ]*\Z")
STOPPED = re.compile(r"[.!?…。！？।؟][\"'”’»)\]}」』*_` ]*\Z")
INNER_STOP = re.compile(r"[.!?][\"'”’)]* +[\"'“‘(]?[A-Z0-9]|[。！？]\S")
VERSE_MARK = re.compile(r"[,;—–][\"'”’ ]*\Z")
ENDABLE = "%°$€£+#"  # besides letters, their signs and digits
CLOSING = "\"'”’»)]」』》） "
BROKEN = re.compile(r"(?P<whole>\S*?)(?P<part>[^\W\d_]{2,})-\Z")
NUMBERED = re.compile(r"[ \t]*\(?(?:[0-9]{1,3}|[A-Za-z]|[ivxIVX]{1,4})[.)][ \t]+(?=\S)")
FIRST_WORD = re.compile(r"[\"'“‘(\[]*(?P<word>\S+)")
LAST_WORD = re.compile(r"(?P<word>[^\W\d_]+)\Z")

# After these no sentence ends, whatever the next word is.
LEADING = words("""
the a an and or my your his its our their from than der die das den dem ein eine und le la les un une et el los las y
""")
# Nor before a word in lower case.
LINKING = LEADING | words("""
of to with for into onto is are was were be been have has had that which who whose if because but nor very can could
will would should may might must von zu zum zur für mit ist sind war bei nach dass oder aber du de des au aux dans sur
pour que qui est del en por con para o e il lo di da do dos das em het een van
""")
# Nor after these, except in verse: and went about / till day was done.
PLACING = words("in on at by about as not no more most this these those her so when where while im auf")
# A line that begins with one of these continues the line before it, even among lines without a mark.
JOINING = words("and or but nor of to in on at by for with that which who because as than from into und oder et ou y")
SUSPENDING = words("and or und oder bis et ou y")  # pre- and post-war
# First parts of words that have a hyphen also inside a line, unless an ending follows: short-lived, shortly.
HYPHENATED = words("""
well self half high low long short old new full first second third one two three four five six seven eight nine twenty
thirty forty fifty sixty seventy eighty ninety cross great open hard hand wide free fast slow left right user real time
state then year day month week near above follow check vice brother mother father sister
""")
ENDING = re.compile(
    r"(?:ly|ings?|ers?|e[dn]s?|est|ness|hood|ments?|it(?:y|ies)|i[sz](?:e[ds]?|ing|ation)|ish|dom|teen|ty|ends?|ful|less|able|s)\b"
)
# A title or a reference at a line's end goes on in the next line.
UNENDED = words("""
Dr. Mr. Mrs. Ms. Prof. St. Rev. Gen. Col. Capt. Lt. Sgt. Sen. Gov. Rep. Mt. Ft. vs. No. Fig. e.g. i.e. cf. pp.
""")


@dataclass(frozen=True, slots=True)
class Row:
    """A line without its bullet. `starts`: it begins an item, a heading or a row, so that the line before it has ended.
    `ends`: it is a heading, a row or a line of code, and ends itself."""

    text: str
    starts: bool = False
    ends: bool = False

    @property
    def is_blank(self) -> bool:
        return not self.text.strip()


def laid_out(rows: list[Row], has_capital_nouns: bool = False) -> str:
    """The text of the rows: wrapped lines joined, a full stop after each heading and each line of a list or table.

    With `has_capital_nouns`, as in German, a capital at the beginning of a line means nothing.
    """
    blocks = list(_blocks(rows))
    is_single = sum(any(not row.is_blank for row in block) for block in blocks) == 1
    lines: list[str] = []
    for block in blocks:
        joined = [row for group in _groups(block) for row in _rejoined(group, has_capital_nouns)]
        is_alone = is_single and len(joined) == 1
        lines += [row.text for row in joined] if is_alone else _ended(joined, has_capital_nouns)
    return "\n".join(lines)


def continues(line: str, following: str) -> bool:
    """Whether a line that ends without a mark goes on in the next, judged by these two alone."""
    first = FIRST_WORD.match(following.lstrip())
    if first is None or not line.strip() or STOPPED.search(line):
        return first is not None and line.split(" ")[-1] in UNENDED
    word = _linking_word(line)
    is_number = first["word"][0].isdigit()
    is_lower = first["word"][0].islower() or is_number
    if first["word"][0].isalpha() and BROKEN.search(line):
        return len(line) >= (MIN_BROKEN if is_lower else MIN_WIDTH)
    if len(line) < MIN_WIDTH:
        return is_lower and len(line) >= MIN_LINKING and word in (LINKING | PLACING if is_number else LINKING)
    return word in LEADING or (is_lower and word in LINKING | PLACING)


def joined(line: str, following: str) -> str:
    """Two lines as one: with a space, a hyphenated word rejoined, or without a space in wide scripts."""
    following = following.lstrip()
    first, broken = FIRST_WORD.match(following), BROKEN.search(line)
    if broken is None or first is None:
        is_wide = WIDE_LETTER.match(line[-1:]) and WIDE_LETTER.match(following[:1])
        return line + following if is_wide else f"{line} {following}"
    word = first["word"]
    if word.lower() in SUSPENDING:
        return f"{line} {following}"
    is_compound = not word[0].islower() or "-" in word or "-" in broken["whole"]
    if is_compound or (broken["part"].lower() in HYPHENATED and not ENDING.match(word)):
        return line + following
    return line[:-1] + following


def _blocks(rows: list[Row]) -> Iterator[list[Row]]:
    """Runs of lines without a blank one, and each blank one alone."""
    for is_blank, run in groupby(rows, key=lambda row: row.is_blank):
        block = list(run)
        yield from ([row] for row in block) if is_blank else [block]


def _groups(block: list[Row]) -> Iterator[list[Row]]:
    """Lines that may be one paragraph, or one item."""
    group: list[Row] = []
    for row in block:
        if group and (group[-1].ends or row.starts):
            yield group
            group = []
        group.append(row)
    yield group


def _rejoined(group: list[Row], has_capital_nouns: bool) -> list[Row]:
    texts = [row.text.rstrip() for row in group]
    rows = [group[0]]
    for (line, following), is_prose in zip(pairwise(texts), _are_prose(texts, has_capital_nouns), strict=True):
        if is_prose or continues(line, following):
            rows[-1] = Row(joined(rows[-1].text.rstrip(), following), rows[-1].starts, rows[-1].ends)
        else:
            rows.append(Row(following))
    return rows


def _are_prose(lines: list[str], has_capital_nouns: bool) -> list[bool]:
    """For each line except the last, whether it was wrapped and goes on in the next."""
    width = max(map(len, lines))
    is_filled = [
        len(line) + 1 + len(following.split(maxsplit=1)[0]) > FILLED * width for line, following in pairwise(lines)
    ]
    if WIDE_LETTER.search(lines[0]):
        return [_is_wide_prose(lines, width)] * len(is_filled)
    is_prose = width >= MIN_WIDTH and _is_prose(lines, is_filled, has_capital_nouns)
    return [
        is_prose and filled and not STOPPED.search(line) for line, filled in zip(lines[:-1], is_filled, strict=True)
    ]


def _is_prose(lines: list[str], is_filled: list[bool], has_capital_nouns: bool) -> bool:
    """Whether at least half of the lines that end without a mark go on in the next one, and sentences end elsewhere."""
    is_one_sentence = all(is_filled) and STOPPED.search(lines[-1]) and not any(map(ENDED.search, lines[:-1]))
    if is_one_sentence and (has_capital_nouns or all(_may_go_on(a, b) for a, b in pairwise(lines))):
        return True
    open_pairs = [
        pair
        for pair, filled in zip(pairwise(lines), is_filled, strict=True)
        if continues(*pair) or (filled and not STOPPED.search(pair[0]))
    ]
    goes_on = [
        continues(a, b) or _first_char(b).islower() or _first_char(b).isdigit() or ends_linking(a)
        for a, b in open_pairs
    ]
    has_sentence = any(map(INNER_STOP.search, lines)) or STOPPED.search(lines[-1]) or any(map(ends_linking, lines[:-1]))
    return bool(has_sentence) and any(goes_on) and 2 * sum(goes_on) >= len(goes_on)


def _is_wide_prose(lines: list[str], width: int) -> bool:
    """In a script without capitals and spaces: lines of one length, some of which end inside a sentence."""
    is_even = width >= MIN_WIDE_WIDTH and all(len(line) >= width - 2 for line in lines[:-1])
    return is_even and not all(map(ENDED.search, lines)) and any(map(INNER_STOP.search, lines))


def _first_char(line: str) -> str:
    return line.lstrip(" \t\"'“‘(")[:1]


def _may_go_on(line: str, following: str) -> bool:
    """In lower case, after a linking word, with a number, or within a name: San / Francisco."""
    first = _first_char(following)
    is_in_name = " " in line.strip() and line.split()[-1][0].isupper() and first.isupper()
    return first.islower() or first.isdigit() or is_in_name or ends_linking(line)


def ends_linking(line: str) -> bool:
    """Whether a line ends in a word after which no sentence ends: "the", "and"."""
    return _linking_word(line) in LINKING | PLACING


def _linking_word(line: str) -> str:
    """The last word of a line of several, in lower case; "" where it is written as a name is: Dr. Who."""
    last = LAST_WORD.search(line)
    return last["word"].lower() if last and last.start() > 0 and not last["word"].istitle() else ""


def _ended(rows: list[Row], has_capital_nouns: bool) -> list[str]:
    """The lines, with a full stop after each one without a mark, except inside a verse or a sentence, and after a
    paragraph of one line, which is spoken alone."""
    if len(rows) == 1 and not rows[0].starts:
        return [rows[0].text]
    block = _Block([row.text for row in rows], has_capital_nouns)
    texts: list[str] = []
    for row, following in zip(rows, [*rows[1:], None], strict=True):
        if following is None or row.starts or row.ends or following.starts:
            is_open = not row.starts and ends_linking(row.text)
        else:
            is_open = block.is_open(row.text, following.text)
        texts.append(row.text if is_open or ENDED.search(row.text) else _with_end(row.text))
    return texts


class _Block:
    """What the marks at the ends of some lines show about the lines without one."""

    def __init__(self, lines: list[str], has_capital_nouns: bool) -> None:
        ended = sum(ENDED.search(line) is not None for line in lines)
        self.has_verse_marks = any(map(VERSE_MARK.search, lines))
        self.has_marks = self.has_verse_marks or any(map(STOPPED.search, lines))
        self.is_verse = self.has_verse_marks and len(lines) > 3 and 2 * ended > len(lines)
        self.is_short = len(lines) < 3
        self.has_capital_nouns = has_capital_nouns

    def is_open(self, line: str, following: str) -> bool:
        """Whether a line without a mark may go on in the next one."""
        first = _first_char(following)
        if self.is_verse or ends_linking(line) or (self.has_capital_nouns and self.has_marks):
            return True
        if first.isupper() or not first.isalpha():
            return self.has_verse_marks and min(len(line), len(following)) >= MIN_VERSE
        return self.has_marks or (self.is_short and first.islower()) or following.split(maxsplit=1)[0] in JOINING


def _with_end(line: str) -> str:
    bare = line.rstrip()
    last = bare.rstrip(CLOSING)[-1:]
    if not last or not (last.isalnum() or last in ENDABLE or unicodedata.category(last)[0] == "M"):
        return line
    return bare + ("。" if WIDE_LETTER.match(last) else "।" if "\u0900" <= last <= "\u09ff" else ".")
