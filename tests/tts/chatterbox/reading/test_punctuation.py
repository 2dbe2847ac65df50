"""Our normalisation of punctuation compared to upstream's, on arbitrary text."""

from __future__ import annotations

import sys
import types
import warnings
from importlib import import_module

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts.chatterbox.reading.punctuation import MULTILINGUAL, ORIGINAL, TURBO, Punctuation
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


@pytest.mark.parametrize(
    ("name", "ours", "dropped"), [("tts", ORIGINAL, ""), ("mtl_tts", MULTILINGUAL, ""), ("tts_turbo", TURBO, '"“”')]
)
@given(text=TEXTS)
def test_each_is_upstreams_but_for_turbos_quotation_marks(
    name: str, ours: Punctuation, dropped: str, text: str
) -> None:
    bare = text.translate(dict.fromkeys(map(ord, dropped)))
    assert ours.normalize(text) == (upstreams[name](bare) if bare else ".")


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
