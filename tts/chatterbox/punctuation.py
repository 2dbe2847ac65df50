"""The marks and the shape of sentence that T3 knows. It does not know what the sentence means.

The outcome is upstream's `punc_norm`, which a test holds. Its own would do, but it lives in a module that imports
the dependencies of every model of the family.
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
    """A text of at least one character → one line that begins with a capital and ends in a mark."""
    if text[0].islower():
        text = text[0].upper() + text[1:]
    text = " ".join(text.split())
    for mark, known in MARKS:
        text = text.replace(mark, known)
    text = text.rstrip(" ")
    return text if text.endswith(ENDINGS) else text + "."
