"""Turbo's and Nano's reader: GPT-2's byte pairs, and their tags as tokens of their own.

It gives the ids of `transformers.AutoTokenizer`, which upstream uses and whose import takes seconds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from torch import Tensor

from tts.chatterbox.reading.punctuation import TURBO
from tts.chatterbox.weights.tensors import readable
from tts.chatterbox.words import TextWord
from validation.errors import ModelUnavailable

END_OF_TEXT = "<|endoftext|>"  # GPT-2's one special token
FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")


class Gpt2Reader:
    """It knows no language. Words have no times: no attention head of these models is known to follow the text."""

    def __init__(self, vocabulary: Path, merges: Path, added: Path, config: Path) -> None:
        """`added`: tags and their ids, for a checkpoint whose `config` does not describe them.

        Raises: ModelUnavailable, naming the file.
        """
        with readable(f"{vocabulary.name} or {merges.name}"):
            self._tokenizer = Tokenizer(BPE.from_file(str(vocabulary), str(merges)))
        with readable(f"{config.name} or {added.name}"):
            described = json.loads(config.read_text(encoding="utf-8"))
            self._tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=described.get("add_prefix_space", False))
            tags = _added_tokens(described, added)
        self._tokenizer.add_special_tokens([AddedToken(END_OF_TEXT, normalized=False, special=True)])
        for number, token in sorted(tags.items()):
            self._tokenizer.add_tokens([token])
            if self._tokenizer.token_to_id(token.content) != number:
                raise ModelUnavailable(f"{config.name} gives {token.content} an id that {vocabulary.name} can't")

    def knows(self, tag: str) -> bool:
        """Whether it is a token of its own."""
        return self._tokenizer.token_to_id(tag) is not None

    def tokens(self, text: str, language: str) -> Tensor:
        return torch.tensor(self._tokenizer.encode(TURBO.normalize(text)).ids, dtype=torch.int64)

    def words(self, text: str, language: str) -> list[TextWord]:
        return []


def _added_tokens(described: Mapping[str, Any], added: Path) -> dict[int, AddedToken]:
    """By their ids."""
    if tokens := described.get("added_tokens_decoder"):
        return {
            int(number): AddedToken(token["content"], **{flag: token[flag] for flag in FLAGS if flag in token})
            for number, token in tokens.items()
        }
    numbers = json.loads(added.read_text(encoding="utf-8"))
    return {int(number): AddedToken(content, normalized=False) for content, number in numbers.items()}
