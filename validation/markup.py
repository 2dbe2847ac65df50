"""The marks in a text: `[pause:500ms]`, tags such as `[laugh]`, and the reasoning (`<think>…</think>`) that language
models write before their answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

MAX_PAUSE_MS = 10_000
MAX_PAUSES_MS = 60_000  # of one request

# Sounds between words and ways of speaking: those of Chatterbox Turbo, and common synonyms. Anything else in brackets
# is text.
TAGS = frozenset(
    name.replace("_", " ")
    for name in (
        "laugh laughs laughing laughter chuckle chuckles giggle giggles cough coughs coughing sigh sighs gasp gasps"
        " groan groans moan sniff sniffs sniffle sneeze yawn clear_throat clears_throat shush breath breathe inhale"
        " exhale hum cry crying sob scream whisper whispers whispering angry fear surprised advertisement dramatic"
        " narration happy sarcastic"
    ).split()
)
# Possessive (`*+`): with backtracking, an open bracket before megabytes of blanks would take quadratic time.
MARK = re.compile(
    r"\[\s*+(?:pause\s*+(?P<pause>[:=][^\[\]]*+|)|(?P<tag>[A-Za-z]++(?:[ _][A-Za-z]++)?+))\s*+\]", re.IGNORECASE
)
# <think> and </think>, also as an escaped text spells them. One that is quoted is a word.
REASONING_NAMES = ("think", "thinking", "thought", "reasoning")
REASONING = re.compile(rf"(?<![`'\"])(?:<|&lt;)(?P<closes>/?)(?:{'|'.join(REASONING_NAMES)})(?:>|&gt;)", re.IGNORECASE)
# Where a model begins to reason. Within a sentence an opening tag that nothing closes is a word: "the <think> tag".
REASONING_STARTS = re.compile(r"(?:\A|[\n.!?:…。！？>\])}*\"'])[ \t]*\Z")
LENGTH = re.compile(r"[:=]\s*(\d{1,6}(?:\.\d{1,3})?)\s*(ms|s)\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Pause:
    """Requested silence; `length_ms` is None where its length can't be parsed."""

    mark: str
    length_ms: float | None


@dataclass(frozen=True, slots=True)
class Tag:
    """A requested sound, or way of speaking, by its name in lower case."""

    mark: str
    name: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """A language model's reasoning, with the tags around it."""

    mark: str


def parts(text: str) -> Iterator[str | Pause | Tag | Reasoning]:
    """The text in order: words, pauses, tags, reasoning. Joined by their marks they are the text."""
    at = 0
    for start, end in _reasoning(text):
        yield from _bracketed(text[at:start])
        yield Reasoning(text[start:end])
        at = end
    yield from _bracketed(text[at:])


def tag_spans(text: str) -> list[tuple[int, int]]:
    """Start and end of each tag."""
    return [match.span() for match in MARK.finditer(text) if isinstance(_mark(match), Tag)]


def without_tags(text: str, filler: str = " ") -> str:
    """The text with a character in place of each of its tags'."""
    return MARK.sub(lambda mark: filler * len(mark[0]) if isinstance(_mark(mark), Tag) else mark[0], text)


def _reasoning(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of each stretch of reasoning: from an opening tag to the next closing one. The closing tag is
    missing where the model was cut off, the opening one where it was part of the prompt."""
    opened: re.Match[str] | None = None
    at = 0
    for tag in REASONING.finditer(text):
        if not tag["closes"]:
            opened = opened or tag
        elif opened or (
            at == 0 and "\n" in (text[tag.start() - 1 : tag.start()], text[tag.end() : tag.end() + 1] or "\n")
        ):
            yield opened.start() if opened else 0, tag.end()
            opened, at = None, tag.end()
    if opened and REASONING_STARTS.search(text[max(0, opened.start() - 80) : opened.start()]):
        yield opened.start(), len(text)


def _bracketed(text: str) -> Iterator[str | Pause | Tag]:
    at = 0
    for match in MARK.finditer(text):
        found = _mark(match)
        if found is None:
            continue
        if match.start() > at:
            yield text[at : match.start()]
        yield found
        at = match.end()
    if at < len(text):
        yield text[at:]


def _mark(match: re.Match[str]) -> Pause | Tag | None:
    if match["pause"] is not None:
        length = LENGTH.fullmatch(match["pause"])
        scale = 1000.0 if length and length[2].lower() == "s" else 1.0
        return Pause(match[0], float(length[1]) * scale if length else None)
    name = match["tag"].lower().replace("_", " ")
    return Tag(match[0], name) if name in TAGS else None
