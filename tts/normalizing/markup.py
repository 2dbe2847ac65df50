"""Markdown, a little HTML → the words in them. It does not know what the words mean, nor the worker's own marks."""

from __future__ import annotations

import re

# Every repeat is bounded or starts at a mark that it eats, so a hostile text takes no longer than another.
NEEDED = re.compile(r"[*_~`#<>&|\[=]|^[ \t]*[-+•◦‣⁃∙·●▪■–—]", re.MULTILINE)
FENCE = re.compile(r"^[ \t]{0,8}(?:```|~~~)[ \t]{0,8}[\w+-]{0,20}[ \t]*(?:\n|\Z)", re.MULTILINE)
RULE = re.compile(r"^[ \t]{0,8}(?:[-*_=]{3,}|\|?[ \t]?:?-{3,}[-| \t:]*)[ \t]*(?:\n|\Z)", re.MULTILINE)
# Headings, quotations, bullets, boxes to tick; all at once, because they stand one before the other. "- 5 + 3" is
# a sum.
LEAD = re.compile(
    r"^([ \t]*)(?:(?:#{1,6}|[-*+•◦‣⁃∙·●▪■–—])[ \t]+(?:\[[ xX]\][ \t]+)?|>[ \t]*)+(?=\S)(?![0-9.,]+[ \t]*(?:$|[-+*/=]))",
    re.MULTILINE,
)
LINK = re.compile(r"!?\[([^\[\]\n]{1,300})\]\([^()\s]{1,500}(?:[ \t]\"[^\"\n]{0,200}\")?\)")
TARGET = re.compile(r"\]\([^()\s]{1,500}\)")  # of a link around a link
FOOTNOTE = re.compile(r"(?<=[\w.,!?\"')])\[(?:\d{1,3}|\^[\w-]{1,20}|citation needed)\]")
TAG = re.compile(r"</?[a-zA-Z][a-zA-Z0-9]{0,15}(?:[ \t][^<>\n]{0,300})?/?>")
COMMENT = re.compile(r"<!--[^<>]{0,500}-->")
BREAK_TAG = re.compile(r"<(?:br|/p|/div|/li|/h[1-6])[ \t]?/?>", re.IGNORECASE)
ENTITY = re.compile(r"&(amp|lt|gt|quot|apos|nbsp|#39);")
ENTITIES = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'", "nbsp": " ", "#39": "'"}
CODE = re.compile(r"`+")
STRONG = re.compile(r"\*{2,}|~{2,}|(?<!\w)_{2,}(?=\w)|(?<=[\w.,!?])_{2,}(?!\w)")
STRESS_OPENS = re.compile(r"(?<![\w*])[*](?=[^\s*])|(?<!\w)_(?=[^\W_])")
STRESS_CLOSES = re.compile(r"(?<=[^\s*0-9])[*](?!\w)|(?<=[\w.,!?])_(?!\w)")
CELL = re.compile(r"[ \t]?\|(?:[ \t]?\|)*[ \t]?")


def unwrap(text: str) -> str:
    """The text without the marks of formatting; lines stay lines."""
    if not NEEDED.search(text):
        return text
    text = ENTITY.sub(lambda entity: ENTITIES[entity[1]], text)
    text = TAG.sub("", BREAK_TAG.sub("\n", COMMENT.sub("", text)))
    text = RULE.sub("\n", FENCE.sub("", text))
    text = LEAD.sub(r"\1", text)
    text = FOOTNOTE.sub("", TARGET.sub("]", LINK.sub(r"\1", text)))
    text = STRONG.sub("", CODE.sub("", text))
    text = STRESS_CLOSES.sub("", STRESS_OPENS.sub("", text))
    return CELL.sub(_cell, text) if "|" in text else text


def _cell(mark: re.Match[str]) -> str:
    line = mark.string
    at_start = mark.start() == 0 or line[mark.start() - 1] == "\n"
    at_end = mark.end() == len(line) or line[mark.end()] == "\n"
    return "" if at_start or at_end else ", "
