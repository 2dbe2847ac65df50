"""The original model's reader: English, in graphemes and common groups of them."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from tts.chatterbox.reading.graphemes import GraphemeTokenizer
from tts.chatterbox.reading.punctuation import ORIGINAL
from tts.chatterbox.words import TextWord


class EnglishReader:
    """As upstream's `EnTokenizer`."""

    def __init__(self, path: Path) -> None:
        """Raises: ModelUnavailable."""
        self._tokenizer = GraphemeTokenizer(path)

    def tokens(self, text: str, language: str) -> Tensor:
        return self._tokenizer.tokens(ORIGINAL.normalize(text))

    def words(self, text: str, language: str) -> list[TextWord]:
        return self._tokenizer.words(text, ORIGINAL.normalize(text))
