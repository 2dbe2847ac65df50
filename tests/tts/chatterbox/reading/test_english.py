"""The original model's ids compared to upstream's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts.chatterbox.models import ORIGINAL
from tts.chatterbox.reading.reader import read_reader
from tts.chatterbox.weights.upstream import import_upstream
from validation.errors import ModelUnavailable

import_upstream()
from chatterbox.models.tokenizers import EnTokenizer  # noqa: E402
from chatterbox.tts import punc_norm  # noqa: E402

PIECES = st.sampled_from([*"abcXYZ .,!?\n", "[SPACE]", "[START]", "[UNK]", "…", "é", "好", "the "])


@given(text=st.one_of(st.text(min_size=1), st.lists(PIECES, min_size=1).map("".join)))
def test_ids_are_upstreams(tokenizers: dict[str, Path], text: str) -> None:
    theirs = EnTokenizer(str(tokenizers["original"] / "tokenizer.json")).text_to_tokens(punc_norm(text))
    assert read_reader(ORIGINAL, tokenizers["original"]).tokens(text, "en").tolist() == theirs[0].tolist()


@pytest.mark.parametrize("content", ["", "{}", "no JSON", None])
def test_a_file_that_is_no_tokenizer_is_named(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(ModelUnavailable, match=r"tokenizer\.json can't be read"):
        read_reader(ORIGINAL, tmp_path)


def test_another_models_tokenizer_is_refused(tokenizers: dict[str, Path], tmp_path: Path) -> None:
    other = json.loads((tokenizers["original"] / "tokenizer.json").read_text())
    other["added_tokens"] = [token for token in other["added_tokens"] if token["content"] != "[START]"]
    del other["model"]["vocab"]["[START]"]
    (tmp_path / "tokenizer.json").write_text(json.dumps(other))
    with pytest.raises(ModelUnavailable, match=r"no tokenizer of this model: it has no \[START\]"):
        read_reader(ORIGINAL, tmp_path)
