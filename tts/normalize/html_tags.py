"""HTML, XML and SSML → plain text with Markdown's marks for its structure: list items, headings, cells.

Three steps: JSON escapes that a template left in, references (`&amp;`), then tags. A word in angle brackets is a tag if
it is a name of HTML, has attributes, or is closed somewhere.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

from tts.normalize.tables import words

MAX_ESCAPED = 4  # times that a text may have been escaped

# A JSON escape. Paths and formulas look like them: C:\\new, \\times.
ESCAPE = re.compile(
    r"(?<![`\\])\\{1,2}(?:(?P<line>(?:r\\{1,2})?n|r(?![a-z]))|(?P<tab>t)|u(?P<code>[0-9a-fA-F]{4})|(?P<quote>[\"'/]))"
)
LATEX_COMMAND = re.compile(
    r"n(?:u|eq?|abla|ot(?:in)?|ewline|earrow|eg|ewcommand)(?![A-Za-z])"
    r"|t(?:heta|imes|au|ext\w*|o|op|an|frac|riangle\w*)(?![a-z])"
)
# No JSON escape: a word with a drive, a server, another escape or a file's name; an escape in quotes or in a sentence.
KEPT = re.compile(
    r"(?<!\S)(?:\S*(?:(?<![A-Za-z])[A-Za-z]:\\|\\(?!u[0-9a-fA-F]{4})[A-Zac-moqsu-z])\S*|\\\\[A-Za-z]\S*|\S+\\\w+\.[a-z]{1,4}(?!\S))"
    r"|(?<=[\"'`(])\\[nrt](?=[\"'`)])|(?<=[\w,] )\\[nrt](?= [a-z])"
)

REFERENCE = re.compile(
    r"&(?:#[0-9]{2,7};?|#[xX][0-9a-fA-F]{2,6};?|[A-Za-z][A-Za-z0-9]{1,31};|(?:nbsp|amp|lt|gt|quot)(?![\w=;]))"
)

OPENER = re.compile(r"<(?=[A-Za-z/!?])")
COMMENT, COMMENT_ENDS = "<!--", "-->"
DATA, DATA_ENDS = "<![CDATA[", "]]>"
DECLARATION = re.compile(r"<[!?][A-Za-z][^<>]{0,1000}>")
# An attribute has a value, or is one that needs none; other words are not attributes: <I am here>.
VALUE = r"(?:\"[^\"<>]{0,2000}\"|'[^'<>]{0,2000}'|[^\s\"'<>=`]{1,2000})"
BARE = (
    "allowfullscreen|async|autofocus|autoplay|checked|controls|default|defer|disabled|hidden|loop|multiple|muted|nowrap"
)
BARE += "|novalidate|open|playsinline|readonly|required|reversed|selected"
TAG = re.compile(
    r"<(?P<closes>/?)(?P<name>[A-Za-z][\w.:-]{0,60})"
    rf"(?P<attributes>(?:\s{{1,100}}(?:[\w.:@-]{{1,80}}\s?=\s?{VALUE}|(?:{BARE})(?=[\s/>])))*+)\s{{0,100}}(?P<is_empty>/?)>"
)
CLOSING = re.compile(r"</([A-Za-z][\w.:-]{0,60})")
RAISED = re.compile(r"<(?P<name>su[pb])(?:\s[^<>]{0,200})?>(?P<text>[^<>]{0,60})</(?P=name)\s?>", re.IGNORECASE)
VOICE = re.compile(r"<[vc](?:\.[\w.]{1,60})?(?: [^<>\n]{1,100})?>")  # of WebVTT
BRACKETED = re.compile(r"<(?P<words>[A-Za-z][^<>\n]{0,300})(?<!\s)>")
SPOKEN_OF = re.compile(r"([\"'`])</?(?P<name>[A-Za-z][\w:-]{0,40})[^<>\n]{0,100}>\1")  # the "<br>" tag
ALT = re.compile(rf"\s(?:alt|alias)\s?=\s?(?P<value>{VALUE})", re.IGNORECASE)

# Names that are always tags. Every other needs a closing tag, or attributes.
NAMES = words("""
a abbr b bdi bdo blockquote br col colgroup dd del dfn div dl dt em fieldset figcaption h1 h2 h3 h4 h5 h6 hr html i
iframe img ins kbd li nav noscript ol p pre q rp rt s samp span speak strong sub sup svg tbody td textarea tfoot th
thead tr tt u ul var wbr
""")
UNSPOKEN = frozenset(("script", "style"))
ITEMS, HEADINGS = words("li dt dd option"), words("h1 h2 h3 h4 h5 h6 title")
LINES = words("""
br tr div section article header footer main aside nav form fieldset address figure figcaption tbody thead tfoot pre
center details summary legend body head html speak caption
""")
LINE, PARAGRAPH, ITEM, HEADING, RULE = "\ue002\ue003\ue004\ue005\ue006"  # private, until all breaks are known
BREAKS = {"hr": RULE} | dict.fromkeys(HEADINGS | words("p ul ol dl table blockquote"), PARAGRAPH)
BREAKS |= dict.fromkeys(ITEMS | LINES, LINE)
OPENS = {"td": " | ", "th": " | "} | dict.fromkeys(ITEMS, ITEM) | dict.fromkeys(HEADINGS, HEADING)
BREAK_RUN = re.compile(f"(?<![\\s{LINE}-{RULE}])[ \t\n]*+[{LINE}-{RULE}][\\s{LINE}-{RULE}]*+")

SUPERSCRIPTS = str.maketrans("0123456789+-−", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻")
SUBSCRIPTS = str.maketrans("0123456789+-−", "₀₁₂₃₄₅₆₇₈₉₊₋₋")
SCRIPT_NUMBER = re.compile(r"[+−-]?[0-9]{1,15}")
NOTE = re.compile(r"\[?(?:[0-9]{1,3}|[a-z*†‡])(?:[,–-] ?[0-9]{1,3})*\]?")
BASE = re.compile(r"(?:\w ?|[)\]])\Z")  # what a superscript or subscript belongs to
EXPONENT = re.compile(r"(?!er|re|nd|rd|st|th|me)[a-z]{1,2}(?:[+−-][0-9a-z]{1,3})?|[+−-][a-z0-9]{1,3}")
TRADE_MARKS = ("TM", "SM", "R", "©", "®", "™", "℠")
RAISED_AFTER_SPACE = re.compile("(?<=[0-9]) (?=[⁻⁺]?[⁰¹²³⁴-⁹])")
DOUBLED = re.compile(r"<<(?P<words>[A-Za-z][^<>\n]{0,300})>>")  # typed for « and »
BEFORE_NOTE = re.compile(r"(?:[a-zA-Z]{4}|[.,;:!?\"')\]»”’])\Z")  # units and variables are shorter


def strip_tags(text: str) -> str:
    """The text without escapes, references and tags."""
    if "\\" in text:
        text = unescaped(text)
    if "&" in text:
        for _ in range(MAX_ESCAPED):
            text = REFERENCE.sub(lambda match: html.unescape(match[0]), text)
    if "<" not in text:
        return text
    pieces = _Scan(DOUBLED.sub(r"\g<words>", text)).pieces()
    return RAISED_AFTER_SPACE.sub("", BREAK_RUN.sub(_break, "".join(pieces)))


def unescaped(text: str) -> str:
    r"""`\n`, `\r\n`, `\t`, `\"` and `\u2019` → their characters, except in paths, formulas and text about them."""
    is_kept = bytearray(len(text))
    for kept in KEPT.finditer(text):
        is_kept[kept.start() : kept.end()] = b"\1" * len(kept[0])

    def character(escape: re.Match[str]) -> str:
        if is_kept[escape.start()] or LATEX_COMMAND.match(text, text.index(escape[0].lstrip("\\"), escape.start())):
            return escape[0]
        if escape["code"]:
            return chr(int(escape["code"], 16))
        return "\n" if escape["line"] else " " if escape["tab"] else escape["quote"]

    return ESCAPE.sub(character, text)


class _Scan:
    """One text, read from left to right. What was once not found is not searched for again."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.closed = {name.lower() for name in CLOSING.findall(text)}
        self.missing: set[str] = set()
        self.is_captions = "-->" in text

    def pieces(self) -> Iterator[str]:
        at = 0
        while opener := OPENER.search(self.text, at):
            yield self.text[at : opener.start()]
            said, at = self._read(opener.start())
            if not said and self.text[max(0, opener.start() - 1) : opener.start()] == self.text[at : at + 1] == " ":
                at += 1  # one space between two words
            yield said
        yield self.text[at:]

    def _read(self, at: int) -> tuple[str, int]:
        """The words for what begins at `at`, and the place after it."""
        text = self.text
        if text.startswith(COMMENT, at) and (end := self._after(COMMENT_ENDS, at)):
            return "", end
        if text.startswith(DATA, at) and (end := self._after(DATA_ENDS, at)):
            return text[at + len(DATA) : end - len(DATA_ENDS)], end
        if match := DECLARATION.match(text, at):
            return "", match.end()
        if match := SPOKEN_OF.match(text, max(0, at - 1)):
            return match["name"], match.end() - 1
        if match := RAISED.match(text, at):
            return _raised(match), match.end()
        if (match := TAG.match(text, at)) and self._is_tag(match):
            name = match["name"].lower()
            skipped = name in UNSPOKEN and not match["closes"] and self._after(f"</{name}>", match.end())
            return _said(match, name), skipped or match.end()
        if self.is_captions and (match := VOICE.match(text, at)):
            return "", match.end()
        if (match := BRACKETED.match(text, at)) and not _compares(match):
            return _words(match), match.end()
        return "<", at + 1

    def _after(self, mark: str, at: int) -> int:
        """The place after the next `mark`; 0 without one."""
        found = -1 if mark in self.missing else self.text.find(mark, at)
        if found < 0:
            self.missing.add(mark)
        return found + len(mark) if found >= 0 else 0

    def _is_tag(self, tag: re.Match[str]) -> bool:
        """A single capital is no tag, but the name of a type, as in List<T>."""
        name = tag["name"].lower()
        if tag["closes"] or tag["is_empty"] or tag["attributes"] or name in self.closed:
            return True
        return name in NAMES and (len(name) > 1 or tag["name"].islower())


def _said(tag: re.Match[str], name: str) -> str:
    if tag["closes"]:
        return BREAKS.get(name, "")
    if name == "img" and (alt := ALT.search(tag["attributes"])):
        return alt["value"].strip("\"'")
    return OPENS.get(name) or BREAKS.get(name, "")


def _raised(match: re.Match[str]) -> str:
    """Numbers as superscripts or subscripts; a number after a word or a mark refers to a note, and is dropped."""
    text, is_raised = match["text"].strip(), match["name"].lower() == "sup"
    is_note = NOTE.fullmatch(text) and BEFORE_NOTE.search(match.string, max(0, match.start() - 4), match.start())
    if is_raised and is_note:
        return ""
    has_base = BASE.search(match.string, max(0, match.start() - 2), match.start()) is not None
    if SCRIPT_NUMBER.fullmatch(text):
        return text.translate(SUPERSCRIPTS if is_raised else SUBSCRIPTS) if has_base else text
    if text.upper() in TRADE_MARKS:
        return ""
    if not is_raised:
        return f" {text}"
    return f"^{text}" if has_base and EXPONENT.fullmatch(text) else text


def _compares(match: re.Match[str]) -> bool:
    """Whether both brackets are comparisons, between words or single signs: a<b and c>d."""
    text, start, end = match.string, match.start(), match.end()
    if " " in match["words"] and text[start - 1 : start].isalnum() and text[end : end + 1].isalnum():
        return True
    has_letter_before = re.search(r"(?<!\w)\w \Z", text[max(0, start - 3) : start]) is not None
    return has_letter_before and re.match(r" \w(?!\w)", text[end : end + 3]) is not None


def _words(match: re.Match[str]) -> str:
    text, start, end = match.string, match.start(), match.end()
    before = " " if text[start - 1 : start].isalnum() else ""
    return before + match["words"] + (" " if text[end : end + 1].isalnum() else "")


def _break(run: re.Match[str]) -> str:
    is_first, is_last = run.start() == 0, run.end() == len(run.string)
    if ITEM in run[0]:
        return "- " if is_first else "\n- "
    if HEADING in run[0]:
        return "# " if is_first else "\n\n# "
    if is_first or is_last:
        return ""
    if RULE in run[0] or PARAGRAPH in run[0] or "\n\n" in run[0]:
        return "\n\n"
    return "\n"
