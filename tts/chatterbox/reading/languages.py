"""Which of a model's languages can be read here: two of them need a package of their own. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.util import find_spec
from unicodedata import normalize

POINTS = "\u05b0-\u05bd\u05bf\u05c1\u05c2\u05c7"
HEBREW_WORD, POINT = re.compile(f"[א-ת{POINTS}]{{2,}}"), re.compile(f"[{POINTS}]")
UNPOINTED = "needs vowel points (niqqud): Hebrew can't be read without, and nothing here adds them"
PACKAGES = {"ja": "pykakasi", "zh": "spacy_pkuseg"}  # what the extras `ja` and `zh` install


def lacking(languages: Iterable[str]) -> dict[str, str]:
    """Those whose package is not installed, each with what it lacks."""
    missing = {name: PACKAGES[name] for name in languages if name in PACKAGES and not find_spec(PACKAGES[name])}
    return {name: f"the package {package} is not installed (the extra `{name}`)" for name, package in missing.items()}


def refused(text: str, language: str) -> str | None:
    """Why the multilingual model can't read a text whose language it can, to follow "text"."""
    return UNPOINTED if language == "he" and not is_pointed(text) else None


def is_pointed(text: str) -> bool:
    """Whether most Hebrew words of two letters or more have a vowel point; one without Hebrew is."""
    words = HEBREW_WORD.findall(normalize("NFKD", text))
    return 2 * sum(map(bool, map(POINT.search, words))) >= len(words)
