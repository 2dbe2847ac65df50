"""Our normalisation of punctuation compared to upstream's, on arbitrary text."""

from __future__ import annotations

import warnings

from hypothesis import given
from hypothesis import strategies as st

from tts.chatterbox.punctuation import MARKS, normalize_punctuation
from tts.chatterbox.weights.upstream import import_upstream

import_upstream()
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from chatterbox.tts import punc_norm

PIECES = st.sampled_from([*(mark for mark, _ in MARKS), *"aZ.!?-, \t\n\"'", "ß", "ǆ", "好", "1"])


@given(st.one_of(st.text(min_size=1), st.lists(PIECES, min_size=1).map("".join)))
def test_it_is_upstreams(text: str) -> None:
    assert normalize_punctuation(text) == punc_norm(text)
