"""The multilingual model's reader: small letters, decomposed, after a tag for the language.

Its ids are those of upstream's `MTLTokenizer`, which can't be used: it fetches from the network when it is made. Four
languages have a package of their own there, and are read without where it is missing. Here `ja` and `zh` require
theirs, `he` must be sent with vowel points, and `ru` is read without stress marks, whose package nobody publishes.
"""

from __future__ import annotations

import re
import threading
from functools import cached_property
from pathlib import Path
from typing import Any
from unicodedata import category, normalize

from torch import Tensor

from tts.chatterbox.models import MANY_LANGUAGES
from tts.chatterbox.reading.chinese import Cangjie, WordSegmenter
from tts.chatterbox.reading.graphemes import GraphemeTokenizer
from tts.chatterbox.reading.languages import lacking
from tts.chatterbox.reading.punctuation import MULTILINGUAL
from tts.chatterbox.words import TextWord
from validation.errors import ModelUnavailable, Unsupported

KANJI = re.compile("[\u4e00-\u9fff]")


class MultilingualReader:
    """23 languages, each named by its two letters."""

    def __init__(self, tokenizer: Path, cangjie: Path) -> None:
        """Raises: ModelUnavailable."""
        self._tokenizer = GraphemeTokenizer(tokenizer)
        if not any(self._tokenizer.knows(f"[{language}]") for language in MANY_LANGUAGES):
            raise ModelUnavailable(f"{tokenizer.name} is no tokenizer of this model: it has no language")
        self._cangjie, self._segmenter, self._kana = Cangjie(cangjie), WordSegmenter(), KanaReadings()

    def tokens(self, text: str, language: str) -> Tensor:
        return self._tokenizer.tokens(f"[{language}]{self._spell(text, language)}")

    def words(self, text: str, language: str) -> list[TextWord]:
        if language in ("ja", "zh"):
            return []
        tag = f"[{language}]"
        return self._tokenizer.words(text, tag + self._spell(text, language), len(tag), _letters)

    def _lacks(self, language: str) -> str | None:
        """Why the language can't be read here, as half a sentence after its name; None if it can."""
        if not self._tokenizer.knows(f"[{language}]"):
            return "the checkpoint's tokenizer does not have it"
        if missing := lacking((language,)).get(language):
            return missing
        return self._segmenter.lacks() if language == "zh" else None

    def _spell(self, text: str, language: str) -> str:
        """Raises: Unsupported, ModelUnavailable."""
        if reason := self._lacks(language):
            raise Unsupported(f"{language} can't be read here: {reason}")
        spelled = normalize("NFKD", MULTILINGUAL.normalize(text).lower())
        if language == "zh":
            return self._cangjie.spell(self._segmenter.separate(spelled))
        if language == "ja":
            return self._kana.spell(spelled)
        return spelled.strip() if language == "ko" else spelled


class KanaReadings:
    """Kanji → hiragana by pykakasi, loaded with the first text.

    Upstream decomposes a text before it looks up readings, of which it then finds fewer; its model was trained so.
    """

    def __init__(self) -> None:
        self._turn = threading.Lock()  # of a package that says nothing of threads

    def spell(self, text: str) -> str:
        with self._turn:
            pieces = self._kakasi.convert(text)
        return normalize("NFKD", "".join(_kana(piece["orig"], piece["hira"]) for piece in pieces))

    @cached_property
    def _kakasi(self) -> Any:
        import pykakasi

        untyped: Any = pykakasi.kakasi
        return untyped()


def _kana(written: str, read: str) -> str:
    """A reading that begins as a particle could is set apart, as upstream does."""
    if not KANJI.search(written):
        return written
    return f" {read}" if read.startswith(("は", "へ")) else read


def _letters(char: str) -> int:
    """How many letters, digits and marks it has once it is small and decomposed, whatever is around it."""
    return sum(category(part)[0] in "LNM" for part in normalize("NFKD", char.lower()))
