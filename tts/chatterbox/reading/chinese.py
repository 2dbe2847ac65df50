"""Chinese as the multilingual model reads it: words apart, and each ideograph by its Cangjie code.

The words are spacy-pkuseg's, by the model that upstream takes, as its training's were.
"""

from __future__ import annotations

import json
import threading
from functools import cached_property
from pathlib import Path
from typing import Any
from unicodedata import category

from tts.chatterbox.weights.tensors import readable
from validation.errors import ModelUnavailable

MODEL = "spacy_ontonotes"
DATA = ("features.msgpack", "weights.npz")  # plain data; without them the package would unpickle another file


class Cangjie:
    """The spelling of ideographs."""

    def __init__(self, path: Path) -> None:
        """path: a list of "character, tab, code"; the second and further ones of a code have their number after it.

        Raises: ModelUnavailable, naming the file.
        """
        codes: dict[str, str] = {}
        others: dict[str, list[str]] = {}  # the characters of a code
        with readable(path.name):
            for entry in json.loads(path.read_text(encoding="utf-8")):
                glyph, code = entry.split("\t")[:2]
                codes[glyph] = code
                others.setdefault(code, []).append(glyph)
        self._spelled = {
            glyph: "".join(f"[cj_{key}]" for key in f"{code}{others[code].index(glyph) or ''}.")
            for glyph, code in codes.items()
            if len(glyph) == 1 and category(glyph) == "Lo"
        }
        if not self._spelled:
            raise ModelUnavailable(f"{path.name} has no ideographs")

    def spell(self, text: str) -> str:
        """`日` → `[cj_a][cj_.]`; what has no code stays, as kana do, and so do punctuation marks, which have one."""
        return "".join(self._spelled.get(char, char) for char in text)


class WordSegmenter:
    """spacy-pkuseg, loaded with the first text."""

    def __init__(self) -> None:
        self._turn = threading.Lock()  # of a package that says nothing of threads

    def lacks(self) -> str | None:
        """What is missing of it."""
        if all((_directory() / name).is_file() for name in DATA):
            return None
        return f"spacy-pkuseg's model {MODEL} is missing in PKUSEG_HOME (docs/DEPLOY.md)"

    def separate(self, text: str) -> str:
        """The text with a space between its words. Raises: ModelUnavailable."""
        with self._turn:
            return " ".join(self._pkuseg.cut(text))

    @cached_property
    def _pkuseg(self) -> Any:
        from spacy_pkuseg import pkuseg

        with readable(f"spacy-pkuseg's model {MODEL}"):
            return pkuseg(str(_directory()))  # by a directory: by its name it would be fetched


def _directory() -> Path:
    from spacy_pkuseg.config import config

    return Path(config.pkuseg_home) / MODEL
