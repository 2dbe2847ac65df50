"""The tokenizer of the models with a Llama body: a file of the `tokenizers` library, in which a space is a token; and
the original model's reader, of English, in graphemes and common groups of them.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor

from tts.chatterbox.reading.punctuation import ORIGINAL
from tts.chatterbox.weights.tensors import readable
from tts.chatterbox.words import TextWord
from tts.text.graphemes import spoken_letters
from validation.errors import ModelUnavailable

SPACE = "[SPACE]"
FRAME = {"[START]", "[STOP]"}  # without which the file is another model's


class GraphemeTokenizer:
    """Text, as its model spells it, → ids; and which of them are a word's."""

    def __init__(self, path: Path) -> None:
        """Raises: ModelUnavailable, naming the file."""
        with readable(path.name):
            self._tokenizer = Tokenizer.from_file(str(path))
        if missing := FRAME - self._tokenizer.get_vocab().keys():
            raise ModelUnavailable(f"{path.name} is no tokenizer of this model: it has no {min(missing)}")

    def knows(self, token: str) -> bool:
        """Whether it is one token."""
        return self._tokenizer.token_to_id(token) is not None

    def tokens(self, spelled: str) -> Tensor:
        """(N,) int64."""
        return torch.tensor(self._tokenizer.encode(spelled.replace(" ", SPACE)).ids, dtype=torch.int64)

    def words(
        self, text: str, spelled: str, first: int = 0, letters: Callable[[str], int] = str.isalnum
    ) -> list[TextWord]:
        """What is between spaces and has a letter or a digit.

        The model reads a text with other punctuation and maybe decomposed, in tokens of several characters. What stays
        the same is the order of letters, so tokens and words are matched by counting them.

        Args: spelled: the text as the model reads it, after a tag of `first` characters; letters: how many letters a
        character of the text has once it is spelled.
        """
        offsets = self._tokenizer.encode(spelled.replace(" ", SPACE)).offsets
        counts = _running(letters, " " * first + spelled[first:].replace(" ", " " * len(SPACE)))
        begins, ends = [counts[start] for start, _ in offsets], [counts[end] for _, end in offsets]
        own = _running(letters, text)
        grown = counts[-1] - own[-1]  # a first letter can become two capitals
        words = []
        for match in re.finditer(r"\S+", text):
            start, end = (own[at] + grown * (at > 0) for at in match.span())
            tokens = bisect_right(ends, start) + 1, bisect_left(begins, end)  # the first and last with letters of it
            if any(map(str.isalnum, match[0])) and tokens[0] <= tokens[1]:
                words.append(TextWord(*match.span(), *tokens, spoken_letters(match[0])))
        return words


class EnglishReader:
    """As upstream's `EnTokenizer`."""

    def __init__(self, path: Path) -> None:
        """Raises: ModelUnavailable."""
        self._tokenizer = GraphemeTokenizer(path)

    def tokens(self, text: str, language: str) -> Tensor:
        return self._tokenizer.tokens(ORIGINAL.normalize(text))

    def words(self, text: str, language: str) -> list[TextWord]:
        return self._tokenizer.words(text, ORIGINAL.normalize(text))


def _running(letters: Callable[[str], int], text: str) -> list[int]:
    """How many letters are before each place."""
    return list(accumulate(map(letters, text), initial=0))
