"""Seeded checkpoints' tokenizers, in upstream's file names and formats: characters and a few groups of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path

from tokenizers.pre_tokenizers import ByteLevel

from tts.chatterbox.models import MANNERS, SOUNDS, ModelSpec
from tts.chatterbox.reading.gpt2 import END_OF_TEXT

ENGLISH_IDS, MULTILINGUAL_IDS = 704, 2454  # upstream's sizes, of which few are used here
SPECIALS = {
    "[STOP]": 0,
    "[UNK]": 1,
    "[SPACE]": 2,
    "[PAD]": 3,
    "[SEP]": 4,
    "[CLS]": 5,
    "[MASK]": 6,
    "[START]": 255,
}
ASCII = range(33, 127)
# Latin letters, combining marks, Greek, Cyrillic; Hebrew and Arabic; Devanagari; jamo; CJK punctuation and kana: after
# NFKD, the scripts of the 23 languages but for ideographs, which are spelled in `CANGJIE`'s codes.
SCRIPTS = (
    range(0xDF, 0x180),
    range(0x300, 0x530),
    range(0x591, 0x700),
    range(0x900, 0x980),
    range(0x1100, 0x1200),
    range(0x3000, 0x3100),
)
PAIRS = (("t", "h"), ("th", "e"), ("i", "n"), ("e", "r"), ("о", "в"))
BYTE_PAIRS = (("t", "h"), ("th", "e"), ("Ġ", "the"), ("i", "n"), ("in", "g"), ("Ġ", "a"), ("o", "u"), ("Ã", "©"))
# As Cangjie5_TC.json: a character and its code, which several can share.
CANGJIE = (
    *(
        "日\ta",
        "曰\ta",
        "月\tb",
        "明\tab",
        "我\thqi",
        "你\tonf",
        "好\tvnd",
        "中\tl",
        "文\tyk",
        "们\toils",
        "再\tmgb",
        "、\tzxac",
        "〇\tmm",
    ),
    *(f"{chr(0x4E00 + number)}\tmm" for number in range(12)),
)


def write_tokenizer(directory: Path, spec: ModelSpec) -> int:
    """Write the files that `spec.tokenizer` names. Returns how many ids a text can have."""
    files, size = {"english": _english, "multilingual": _multilingual, "gpt2": _gpt2}[spec.reader](spec)
    for name, content in zip(spec.tokenizer, files, strict=True):
        written = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
        (directory / name).write_text(written, encoding="utf-8")
    return size


def _english(spec: ModelSpec) -> tuple[Sequence[object], int]:
    return [_graphemes({}, map(chr, ASCII), ())], ENGLISH_IDS


def _multilingual(spec: ModelSpec) -> tuple[Sequence[object], int]:
    codes = [f"[cj_{char}]" for char in ".abcdefghijklmnopqrstuvwxyz0123456789"]
    added = [*(f"[{language}]" for language in spec.languages), *codes]
    characters = map(chr, chain(ASCII, *SCRIPTS))
    tags = {token: MULTILINGUAL_IDS - len(added) + place for place, token in enumerate(added)}
    return [_graphemes(tags, characters, PAIRS), CANGJIE], MULTILINGUAL_IDS


def _graphemes(tags: Mapping[str, int], characters: Iterable[str], merges: Sequence[tuple[str, str]]) -> object:
    """A tokenizer of the `tokenizers` library with upstream's special tokens."""
    added = {**SPECIALS, **tags}
    tokens = chain(characters, map("".join, merges))
    free = (number for number in range(7, MULTILINGUAL_IDS) if number != SPECIALS["[START]"])
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": number, "content": token, **flags} for token, number in added.items()],
        "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": None,
        "decoder": None,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "[UNK]",
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "vocab": added | {token: next(free) for token in tokens},
            "merges": [" ".join(pair) for pair in merges],
        },
    }


def _gpt2(spec: ModelSpec) -> tuple[Sequence[object], int]:
    tokens = [*sorted(ByteLevel.alphabet()), *map("".join, BYTE_PAIRS), END_OF_TEXT]
    tags = {f"[{tag}]": len(tokens) + place for place, tag in enumerate((*SOUNDS, *MANNERS))}
    described = {tokens.index(END_OF_TEXT): END_OF_TEXT} | {number: tag for tag, number in tags.items()}
    config = {
        "add_prefix_space": False,
        "added_tokens_decoder": {
            str(number): {
                "content": token,
                "lstrip": False,
                "normalized": token in tags,
                "rstrip": False,
                "single_word": False,
                "special": token not in tags,
            }
            for number, token in described.items()
        },
        "tokenizer_class": "GPT2Tokenizer",
    }
    merges = "\n".join(("#version: 0.2", *map(" ".join, BYTE_PAIRS), ""))
    vocabulary = {token: number for number, token in enumerate(tokens)}
    return [vocabulary, merges, tags, config], len(tokens) + len(tags)
