"""Our normalisation of punctuation compared to upstream's, on arbitrary text."""

from __future__ import annotations

import sys
import types
import warnings
from importlib import import_module

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts.chatterbox.reading.punctuation import MULTILINGUAL, ORIGINAL, TURBO
from tts.chatterbox.weights.upstream import import_upstream

import_upstream()
with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
    warnings.simplefilter("ignore")
    patch.setitem(sys.modules, "pyloudnorm", types.ModuleType("pyloudnorm"))  # not installed, and not called
    upstreams = {name: import_module(f"chatterbox.{name}").punc_norm for name in ("tts", "tts_turbo", "mtl_tts")}

PIECES = st.sampled_from(
    [*(mark for mark, _ in ORIGINAL.marks), *MULTILINGUAL.endings, *"aZ \t\n\"'", "ß", "ǆ", "好", "1", "[laugh]"]
)
TEXTS = st.one_of(st.text(min_size=1), st.lists(PIECES, min_size=1).map("".join))


@given(TEXTS)
def test_the_originals_is_upstreams(text: str) -> None:
    assert ORIGINAL.normalize(text) == upstreams["tts"](text)


@given(TEXTS)
def test_the_multilingual_models_is_upstreams(text: str) -> None:
    assert MULTILINGUAL.normalize(text) == upstreams["mtl_tts"](text)


@given(TEXTS)
def test_turbos_is_upstreams_but_for_quotation_marks(text: str) -> None:
    bare = text.translate(dict.fromkeys(map(ord, '"“”')))
    assert TURBO.normalize(text) == (upstreams["tts_turbo"](bare) if bare else ".")


@pytest.mark.parametrize(
    ("text", "original", "multilingual", "turbo"),
    [
        ("wait... what", "Wait,  what.", "Wait,  what.", "Wait... what."),
        ("a; b - c", "A,  b, c.", "A,  b, c.", "A; b - c."),
        ("好。", "好。.", "好。", "好。."),
        ('he said “no”, "never"', 'He said "no", "never".', 'He said "no", "never".', "He said no, never."),
        ("नमस्ते।", "नमस्ते।.", "नमस्ते।.", "नमस्ते।."),  # upstream's, which knows no danda
        ('" "', '" ".', '" ".', "."),
    ],
)
def test_what_each_makes_of_the_same_text(text: str, original: str, multilingual: str, turbo: str) -> None:
    assert [family.normalize(text) for family in (ORIGINAL, MULTILINGUAL, TURBO)] == [original, multilingual, turbo]
