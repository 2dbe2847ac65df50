"""Markdown and subtitles → their words. HTML is in `html_tags`, the joining of lines in `lines`."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tts.normalize.lines import NUMBERED, Row, ends_linking, laid_out

# Every repetition is bounded or begins at a mark that it consumes, so that a hostile text takes linear time too.
NEEDED = re.compile(r"[*_~`#<>&|\[=\\\n]|\.{5}|^[ \t]*[-+•◦‣⁃∙·●▪■–—]", re.MULTILINE)
INLINE = re.compile(r"[*_~`|\[=\\]|\.{5}")
FENCE = re.compile(r"[ \t]{0,8}(?:`{3,}|~{3,})[^`~\n]{0,60}\Z")
TABLE_RULE = re.compile(r"[ \t]{0,8}\|?[ \t]?:?-{2,}:?[ \t]*(?:\|[-: \t|]*)\Z")
RULE = re.compile(r"[ \t]{0,8}(?:[-_=*]{2,}|(?:[-_*][ \t]+){2,}[-_*])[ \t]*\Z")
UNDERLINE = re.compile(r"[ \t]{0,3}(?:={2,}|-{2,})[ \t]*\Z")
DEFINITION = re.compile(
    r"[ \t]{0,3}\[[^\[\]\n]{1,100}\]:[ \t]+<?(?:https?://|www\.|/|#|mailto:)\S{0,500}[^\n]{0,200}\Z"
)
NOTE_LABEL = re.compile(r"[ \t]{0,3}\[\^[\w-]{1,40}\]:[ \t]*")
QUOTE = re.compile(r"[ \t]{0,8}(?:>[ \t]?)+")
QUANTITY = re.compile(r"[ \t]{0,8}>=?[ \t]?[-−+~$€£¥]?\.?[0-9]")  # more than, not a quotation
# - 5 + 3 is no list item.
BULLET = re.compile(r"\A([ \t]*)(?:(?:--|[-*+•◦‣⁃∙·●▪■–—])[ \t]+)+(?=\S)(?![0-9.,]+[ \t]*(?:$|[-+*/=]))")
HEADING = re.compile(r"\A([ \t]*)#{1,6}[ \t]+(?=\S)")
HEADING_END = re.compile(r"[ \t]+#{1,6}[ \t]*\Z")
BOLD_LINE = re.compile(r"[ \t]*(\*\*|__)(?=\S)[^*_\n]{1,150}(?<=\S)\1:?[ \t]*\Z")
DECORATED = re.compile(r"[ \t]*([=-])\1{2,}[ \t]*(?P<title>[^=\s-](?:[^\n]{0,150}[^=\s-])?)[ \t]*\1{3,}[ \t]*\Z")
ALERT = re.compile(r"[ \t]*\[!(?P<title>[A-Za-z]{3,20})\][ \t]*\Z")
UNSPACED_NUMBER = re.compile(r"\A([ \t]*[0-9]{1,2}[.)])(?=[A-Z][a-z])")
BOX = re.compile(r"\[[ xX]\][ \t]+")

ADDRESS = r"\((?:[^()\s]|\([^()\s]{0,200}\)){1,500}(?:[ \t](?:\"[^\"\n]{0,200}\"|'[^'\n]{0,200}'))?\)"
LINK = re.compile(rf"!?\[([^\[\]\n]{{0,300}})\](?:{ADDRESS}|(?<!\d\])\[[^\[\]\n]{{1,100}}\])")
TARGET = re.compile(r"\]\([^()\s]{1,500}\)")  # of a link around a link
FOOTNOTE = re.compile(r"(?<=[\w.,!?\"')*_])(?:\[(?:\d{1,3}|\^[\w-]{1,40}|citation needed)\])+")
LEADER = re.compile(r"[ \t]?(?<!\.)(?:\.{5,}+[ \t]?(?=[0-9$£€])|\.{8,}+[ \t]?(?=\w))")  # of a table of contents
ESCAPED = re.compile(r"\\([*_#~`>|!+.=-])")
APOSTROPHE = re.compile(r"(?<=[^\W\d_])`(?=[^\W\d_])")
CODE = re.compile(r"`+")
HIGHLIGHT = re.compile(r"(?<![\w=!<>])==(?=[^\s=])([^=\n]{1,200})(?<=\S)==(?![\w=])")
STRONG = re.compile(r"\*{2,}|~{2,}|(?<!\w)_{2,}(?=\w)|(?<=[\w.,!?])_{2,}(?!\w)")
STRESS_OPENS = re.compile(r"(?<![\w*])[*](?=[^\s*])|(?<!\w)_(?=[^\W_])")
STRESS_CLOSES = re.compile(r"(?<=[^\s*0-9])[*](?!\w)|(?<=[\w.,!?])_(?!\w)")
CELL = re.compile(r"[ \t]?\|(?:[ \t]?\|)*[ \t]?")

# Numbers and times of subtitles, over several of which a sentence may run.
CLOCK = r"(?:[0-9]{1,3}:)?[0-9]{1,2}:[0-9]{2}[.,][0-9]{1,3}"
CUE = re.compile(
    rf"(?<!\n)(?:\n[ \t]*)*+(?:[0-9]{{1,6}}[ \t]*\n)?[ \t]*{CLOCK}[ \t]*-->[ \t]*{CLOCK}[^\n]{{0,100}}(?:\n|\Z)"
)
CAPTIONS_HEAD = re.compile(r"\AWEBVTT[^\n]{0,200}\n")
CAPTION_STYLE = re.compile(r"\{\\[^{}\n]{1,60}\}")


def strip_markdown(text: str, language: str) -> str:
    """The text without marks of formatting, with wrapped lines joined. `language` is a primary subtag."""
    if not NEEDED.search(text):
        return text
    if "-->" in text:
        text = CUE.sub(lambda cue: "\n" if cue.start() else "", CAPTIONS_HEAD.sub("", text))
        text = CAPTION_STYLE.sub("", text)
    rows = list(_rows(text.split("\n")))
    inline = _inline("\n".join(row.text for row in rows)).split("\n") if rows else []
    rows = [Row(line, row.starts, row.ends) for row, line in zip(rows, inline, strict=True)]
    return laid_out(rows, has_capital_nouns=language == "de")


def _rows(lines: list[str]) -> Iterator[Row]:
    """The lines without the marks of headings, list items, quotations and code."""
    is_code = False
    for before, line, following in zip(["", *lines[:-1]], lines, [*lines[1:], ""], strict=True):
        if FENCE.match(line):
            is_code = not is_code
        elif TABLE_RULE.match(line) or DEFINITION.match(line):
            continue
        elif RULE.match(line):
            yield Row("")
        elif is_code:
            yield Row(HEADING.sub(r"\1", line), starts=True, ends=True)
        else:
            yield _row(_unquoted(line, before, following), before, following)


def _unquoted(line: str, before: str, following: str) -> str:
    """A line without the marks of a quotation. In a single line, > before a number is a comparison."""
    quote = QUOTE.match(line)
    if quote is None:
        return line
    is_quoted = QUOTE.match(before) or QUOTE.match(following)
    is_quantity = QUANTITY.match(line) and (not is_quoted or line.lstrip()[1:2] != " ")
    return line if is_quantity else line[quote.end() :]


def _row(line: str, before: str, following: str) -> Row:
    if title := ALERT.match(line) or DECORATED.match(line):
        return Row(title["title"], starts=True, ends=True)
    line = UNSPACED_NUMBER.sub(r"\1 ", line)
    if UNDERLINE.match(following) or BOLD_LINE.match(line):
        return Row(HEADING.sub(r"\1", line), starts=True, ends=True)
    if HEADING.match(line):
        return Row(HEADING_END.sub("", HEADING.sub(r"\1", line)), starts=True, ends=True)
    if NOTE_LABEL.match(line):
        return Row(NOTE_LABEL.sub("", line), starts=True)
    bare = BULLET.sub(r"\1", line, count=1)
    if bare != line or BOX.match(line):
        return Row(BOX.sub("", HEADING.sub(r"\1", bare), count=1), starts=True)
    is_cells = "|" in line and CELL.sub("", line).strip() != ""
    is_numbered = bool(NUMBERED.match(line)) and (bool(NUMBERED.match(before)) or not ends_linking(before))
    return Row(line, starts=is_cells or is_numbered, ends=is_cells)


def _inline(text: str) -> str:
    """Marks inside lines; the line breaks stay."""
    if not INLINE.search(text):
        return text
    text = FOOTNOTE.sub("", TARGET.sub("]", LINK.sub(r"\1", text)))
    text = LEADER.sub(", ", text)
    text = ESCAPED.sub(r"\1", HIGHLIGHT.sub(r"\1", text))
    text = STRONG.sub("", CODE.sub("", APOSTROPHE.sub("'", text)))
    text = STRESS_CLOSES.sub("", STRESS_OPENS.sub("", text))
    return CELL.sub(_cell, text) if "|" in text else text


def _cell(mark: re.Match[str]) -> str:
    line = mark.string
    at_start = mark.start() == 0 or line[mark.start() - 1] == "\n"
    at_end = mark.end() == len(line) or line[mark.end()] == "\n"
    return "" if at_start or at_end else ", "
