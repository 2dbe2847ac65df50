"""The protocol of a reader, and which of them a model has."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Protocol

from torch import Tensor

from tts.chatterbox.models import ModelSpec
from tts.chatterbox.reading.gpt2 import Gpt2Reader
from tts.chatterbox.reading.graphemes import EnglishReader
from tts.chatterbox.reading.multilingual import MultilingualReader
from tts.chatterbox.words import TextWord

log = logging.getLogger(__name__)


class Reader(Protocol):
    """Reads a segment's text as its model was trained to. `language` is one of its spec's `languages`."""

    def tokens(self, text: str, language: str) -> Tensor:
        """(N,) int64 ids, without start and stop; punctuation is made the model's own first.

        Raises: Unsupported, where the language or this text of it can't be read here; ModelUnavailable.
        """

    def words(self, text: str, language: str) -> list[TextWord]:
        """The text's words and which of its ids are theirs; none where the model's attention can't time them."""


def read_reader(spec: ModelSpec, directory: Path) -> Reader:
    """The reader of a model whose checkpoint is in `directory`. Raises: ModelUnavailable."""
    files = [directory / name for name in spec.tokenizer]
    if spec.is_gpt2:
        reader = Gpt2Reader(*files)
        if missing := sorted(tag for tag in {*spec.tags.values()} if not reader.knows(tag)):
            log.warning("%s has no %s: they will be read aloud", spec.tokenizer[-1], ", ".join(missing))
        return reader
    return MultilingualReader(*files) if spec.reader == "multilingual" else EnglishReader(*files)
