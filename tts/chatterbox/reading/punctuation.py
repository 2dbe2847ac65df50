"""Punctuation as in each model's training data: upstream's `punc_norm`s, to which a test compares them.

Upstream's own are in modules that import the dependencies of every model of the family.
"""

from __future__ import annotations

from dataclasses import dataclass

# In this order: an ellipsis becomes a comma and a space before the space in front of a comma goes.
_TURBO_MARKS = (
    ("…", ", "),
    (":", ","),
    ("—", "-"),
    ("–", "-"),
    (" ,", ","),
    ("“", '"'),
    ("”", '"'),
    ("‘", "'"),
    ("’", "'"),
)
_MARKS = (("...", ", "), *_TURBO_MARKS[:2], (" - ", ", "), (";", ", "), *_TURBO_MARKS[2:])
_ENDINGS = (".", "!", "?", "-", ",")


@dataclass(frozen=True, slots=True)
class Punctuation:
    """What a model knows: each of `marks` is replaced by another, in their order; a text ends in one of `endings`.

    Characters of `dropped` are left out.
    """

    marks: tuple[tuple[str, str], ...]
    endings: tuple[str, ...] = _ENDINGS
    dropped: str = ""

    def normalize(self, text: str) -> str:
        """One line that begins with a capital and ends in a punctuation mark."""
        text = "".join(char for char in text if char not in self.dropped)
        if text[:1].islower():
            text = text[0].upper() + text[1:]
        text = " ".join(text.split())
        for mark, known in self.marks:
            text = text.replace(mark, known)
        text = text.rstrip(" ")
        return text if text.endswith(self.endings) else text + "."


ORIGINAL = Punctuation(_MARKS)
MULTILINGUAL = Punctuation(_MARKS, (*_ENDINGS, *"、，。？！"))
TURBO = Punctuation(_TURBO_MARKS, dropped='"“”')  # upstream keeps them; Turbo voices them as a sigh (docs/LOG.md)
