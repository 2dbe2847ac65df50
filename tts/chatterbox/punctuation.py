"""Punctuation as in T3's training data: upstream's `punc_norm`, to which a test compares it.

Upstream's own is in a module that imports the dependencies of every model of the family.
"""

from __future__ import annotations

# In this order: an ellipsis becomes a comma and a space before the space in front of a comma goes.
MARKS = (
    ("...", ", "),
    ("…", ", "),
    (":", ","),
    (" - ", ", "),
    (";", ", "),
    ("—", "-"),
    ("–", "-"),
    (" ,", ","),
    ("“", '"'),
    ("”", '"'),
    ("‘", "'"),
    ("’", "'"),
)
ENDINGS = (".", "!", "?", "-", ",")


def normalize_punctuation(text: str) -> str:
    """A text of at least one character → one line that begins with a capital and ends in a punctuation mark."""
    if text[0].islower():
        text = text[0].upper() + text[1:]
    text = " ".join(text.split())
    for mark, known in MARKS:
        text = text.replace(mark, known)
    text = text.rstrip(" ")
    return text if text.endswith(ENDINGS) else text + "."
