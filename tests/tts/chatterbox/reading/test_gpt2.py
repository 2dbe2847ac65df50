"""Turbo's and Nano's ids compared to those of `transformers`, which upstream takes."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tts.chatterbox.models import MODELS, TURBO_TOKENIZER
from tts.chatterbox.reading.gpt2 import END_OF_TEXT
from tts.chatterbox.reading.punctuation import TURBO
from tts.chatterbox.reading.reader import Reader, read_reader
from validation.errors import ModelUnavailable

SPEC = MODELS["turbo"]
TAGS = sorted(set(SPEC.tags.values()))
FLAGS = ("lstrip", "rstrip", "single_word", "normalized", "special")
PIECES = st.sampled_from(
    [*TAGS, *"abcXYZ .,!?\n\t'", END_OF_TEXT, "the thing", "é", "好", "🎉", "’s", "  ", "[Laugh]", "["]
)
TEXTS = st.one_of(st.text(min_size=1), st.lists(PIECES, min_size=1).map("".join))


def upstreams(directory: Path) -> Any:
    """What upstream reads with."""
    from transformers import AutoTokenizer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the library behind it
        tokenizer = AutoTokenizer.from_pretrained(directory)
    tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


@pytest.fixture(scope="module")
def theirs(tokenizers: dict[str, Path]) -> Any:
    return upstreams(tokenizers["turbo"])


@pytest.fixture(scope="module")
def ours(tokenizers: dict[str, Path]) -> Reader:
    return read_reader(SPEC, tokenizers["turbo"])


def ids(tokenizer: Any, text: str) -> list[int]:
    """As `ChatterboxTurboTTS.generate` asks for them."""
    return tokenizer(TURBO.normalize(text), return_tensors="pt", padding=True, truncation=True).input_ids[0].tolist()


@given(TEXTS)
def test_ids_are_upstreams(ours: Reader, theirs: Any, text: str) -> None:
    assert ours.tokens(text, "en").tolist() == ids(theirs, text)


def with_config(tokenizers: dict[str, Path], directory: Path, config: dict[str, Any]) -> Path:
    """A copy of the seeded files with another tokenizer_config.json."""
    for name in TURBO_TOKENIZER:
        (directory / name).write_bytes((tokenizers["turbo"] / name).read_bytes())
    (directory / TURBO_TOKENIZER[-1]).write_text(json.dumps(config))
    return directory


@settings(max_examples=12)
@given(data=st.data())
def test_tags_have_the_flags_of_the_checkpoint(tokenizers, tmp_path_factory, data: st.DataObject) -> None:
    """Upstream's own are not known here."""
    config = json.loads((tokenizers["turbo"] / TURBO_TOKENIZER[-1]).read_text())
    for token in config["added_tokens_decoder"].values():
        if token["content"] != END_OF_TEXT:
            token |= {flag: data.draw(st.booleans(), label=flag) for flag in FLAGS}
    directory = with_config(tokenizers, tmp_path_factory.mktemp("flags"), config)
    ours, theirs = read_reader(SPEC, directory), upstreams(directory)
    for text in data.draw(st.lists(TEXTS, min_size=20, max_size=20)):
        assert ours.tokens(text, "en").tolist() == ids(theirs, text)


def test_tags_may_be_in_a_file_of_their_own(tokenizers: dict[str, Path], tmp_path: Path) -> None:
    directory = with_config(tokenizers, tmp_path, {"tokenizer_class": "GPT2Tokenizer"})
    ours, theirs = read_reader(SPEC, directory), upstreams(directory)
    for text in (f"Oh {tag}well{tag} {END_OF_TEXT} the thing" for tag in TAGS):
        assert ours.tokens(text, "en").tolist() == ids(theirs, text)


def test_a_tag_is_one_token_and_its_letters_are_not(ours: Reader, tokenizers: dict[str, Path]) -> None:
    numbers = json.loads((tokenizers["turbo"] / "added_tokens.json").read_text())
    assert len(numbers) == len(TAGS) == 19
    for tag in TAGS:
        assert ours.tokens(f"Oh {tag} no", "en").tolist().count(numbers[tag]) == 1
        assert numbers[tag] not in ours.tokens(f"Oh {tag.upper()} no", "en").tolist()


def test_tags_that_the_files_lack_are_told(tokenizers: dict[str, Path], tmp_path: Path, caplog) -> None:
    read_reader(SPEC, tokenizers["turbo"])
    assert caplog.messages == []
    known = json.loads((tokenizers["turbo"] / "added_tokens.json").read_text())
    directory = with_config(tokenizers, tmp_path, {})
    (directory / "added_tokens.json").write_text(json.dumps({tag: known[tag] for tag in [*known][:-2]}))
    read_reader(SPEC, directory)
    lacking = ", ".join(sorted([*known][-2:]))
    assert caplog.messages == [f"tokenizer_config.json has no {lacking}: they will be read aloud"]


def test_it_knows_no_times_of_words(ours: Reader) -> None:
    assert ours.words("Hello there.", "en") == []


NO_TOKENS = ('{"damaged": ', "[]", "null", "5", '"x"', "[" * 100_000)  # no JSON, or no object


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("vocab.json", '{"damaged": '),
        ("merges.txt", "no pair\nof\n"),
        *(("tokenizer_config.json", content) for content in NO_TOKENS),
        ("tokenizer_config.json", '{"add_prefix_space": "yes"}'),
        *(
            ("tokenizer_config.json", json.dumps({"added_tokens_decoder": tokens}))
            for tokens in (["x"], "x", {"x": {"content": "x"}}, {"9": {}}, {"9": 5}, {"9": {"content": 5}})
        ),
        ("tokenizer_config.json", '{"added_tokens_decoder": {"9": {"content": "x", "lstrip": "yes"}}}'),
        *(("added_tokens.json", content) for content in (*NO_TOKENS, '{"[laugh]": "x"}', '{"[laugh]": null}')),
    ],
)
def test_a_file_that_is_damaged_or_describes_something_else_is_named(
    tokenizers: dict[str, Path], tmp_path: Path, name: str, content: str
) -> None:
    directory = with_config(tokenizers, tmp_path, {})
    (directory / name).write_text(content)
    with pytest.raises(ModelUnavailable, match=f"{name}.* can't be read"):
        read_reader(SPEC, directory)


def test_a_tag_without_its_id_is_refused(tokenizers: dict[str, Path], tmp_path: Path) -> None:
    directory = with_config(tokenizers, tmp_path, {"added_tokens_decoder": {"9999": {"content": "[laugh]"}}})
    with pytest.raises(ModelUnavailable, match=r"gives \[laugh\] an id that vocab\.json can't"):
        read_reader(SPEC, directory)
