"""Marks in a text: which they are, what they say, and what only looks like one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts.chatterbox.models import MODELS
from validation.markup import Pause, Reasoning, Tag, parts, tag_spans, without_tags


@pytest.mark.parametrize(
    ("mark", "length_ms"),
    [
        ("[pause:500ms]", 500.0),
        ("[pause:1.5s]", 1500.0),
        ("[PAUSE: 2 S]", 2000.0),
        ("[ pause = 250 ms ]", 250.0),
        ("[pause:0ms]", 0.0),
        ("[pause:70s]", 70_000.0),
        ("[pause]", None),
        ("[pause:]", None),
        ("[pause:soon]", None),
        ("[pause:-1s]", None),
        ("[pause:1e3ms]", None),
        ("[pause:5]", None),
    ],
)
def test_a_pause_has_a_length_or_is_known_to_lack_one(mark: str, length_ms: float | None) -> None:
    assert list(parts(f"a {mark} b")) == ["a ", Pause(mark, length_ms), " b"]


@pytest.mark.parametrize(
    ("mark", "name"),
    [
        ("[laugh]", "laugh"),
        ("[Cough]", "cough"),
        ("[clear throat]", "clear throat"),
        ("[clear_throat]", "clear throat"),
    ],
)
def test_a_tag_has_a_name(mark: str, name: str) -> None:
    assert list(parts(mark)) == [Tag(mark, name)]


def test_every_tag_of_a_model_is_known_in_each_of_its_spellings() -> None:
    for spelling in {
        name for spec in MODELS.values() for name in (*spec.tags, *(tag[1:-1] for tag in spec.tags.values()))
    }:
        assert list(parts(f"[{spelling}]")) == [Tag(f"[{spelling}]", spelling)]


def test_tags_are_blanks_where_they_stood() -> None:
    text = "[sic] Well [laugh], [Clear_Throat]so [pause:1s]."
    assert [text[first:last] for first, last in tag_spans(text)] == ["[laugh]", "[Clear_Throat]"]
    assert without_tags(text) == "[sic] Well        ,               so [pause:1s]."


@pytest.mark.parametrize(
    "text",
    ["[sic]", "[see page 3]", "[pause the video]", "[pauses]", "laugh", "[laugh", "laugh]", "[]", "[[]]", "(laugh)"],
)
def test_other_brackets_are_text(text: str) -> None:
    assert list(parts(text)) == [text]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("<think>a</think>b", [Reasoning("<think>a</think>"), "b"]),
        ("b <Thinking>[laugh]</Thinking>", ["b ", Reasoning("<Thinking>[laugh]</Thinking>")]),
        ("a. <think>b", ["a. ", Reasoning("<think>b")]),
        ("<think>a<think>b</think>c", [Reasoning("<think>a<think>b</think>"), "c"]),
        ("a</think>\nb", [Reasoning("a</think>"), "\nb"]),
        ("the <think> tag", ["the <think> tag"]),
        ("the </think> tag", ["the </think> tag"]),
        ("`<think>` and `</think>`", ["`<think>` and `</think>`"]),
        ("<thinker>a</thinker>", ["<thinker>a</thinker>"]),
    ],
)
def test_reasoning_goes_from_tag_to_tag(text: str, found: list[object]) -> None:
    assert list(parts(text)) == found


MARKS = ["[pause:1s]", "[laugh]", "[", "]", "pause", ":", "1s", " ", "a", "[sic]", "\n"]
REASONING = ["<think>", "</think>", "&lt;reasoning&gt;", "`", "[laugh]", "[", " ", "a", ".", "\n"]


@given(st.lists(st.sampled_from(MARKS)) | st.lists(st.sampled_from(REASONING)))
def test_nothing_of_a_text_is_lost(pieces: list[str]) -> None:
    text = "".join(pieces)
    assert "".join(part if isinstance(part, str) else part.mark for part in parts(text)) == text


def test_the_longest_text_is_read_at_once() -> None:
    """A row of brackets that never close takes no time to speak of."""
    for text in ("[pause:" * 20_000, "[" * 100_000, "[laugh" * 20_000, "[a " * 30_000):
        assert list(parts(text)) == [text]
