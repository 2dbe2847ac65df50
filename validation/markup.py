"""What may stand in a text besides words to speak: `[pause:500ms]` and tags such as `[laugh]`.

It knows the marks' spelling, not what becomes of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

MAX_PAUSE_MS = 10_000
MAX_PAUSES_MS = 60_000  # of one request

# Sounds that a speaker makes between words; those Chatterbox Turbo knows, and their usual other names. What else
# stands in brackets is text.
TAGS = frozenset(
    re.findall(
        r"\w+",
        "laugh laughs laughing laughter chuckle chuckles giggle giggles cough coughs coughing sigh sighs gasp gasps"
        " groan groans moan sniff sniffs sniffle sneeze yawn clear_throat clears_throat shush breath breathe inhale"
        " exhale hum cry crying sob scream whisper whispers",
    )
)
# No repeat gives back what it took (`*+`): a bracket that never closes, with megabytes of blanks in it, would be read
# once for each blank.
MARK = re.compile(
    r"\[\s*+(?:pause\s*+(?P<pause>[:=][^\[\]]*+|)|(?P<tag>[A-Za-z]++(?:[ _][A-Za-z]++)?+))\s*+\]", re.IGNORECASE
)
LENGTH = re.compile(r"[:=]\s*(\d{1,6}(?:\.\d{1,3})?)\s*(ms|s)\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Pause:
    """Silence that was asked for; `length_ms` is None where its length can't be read."""

    mark: str
    length_ms: float | None


@dataclass(frozen=True, slots=True)
class Tag:
    """A sound that was asked for, by its name in lower case, `_` for a space."""

    mark: str
    name: str


def parts(text: str) -> Iterator[str | Pause | Tag]:
    """The text in order: words, pauses, tags. Joined by their marks they are the text."""
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
    name = match["tag"].lower().replace(" ", "_")
    return Tag(match[0], name) if name in TAGS else None
