"""Text in pieces: each sentence leaves as soon as it is complete, and however the text is cut, the same ones do."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts.boundaries import Break
from web.sentences import MAX_OPEN_CHARS, Sentences

STORY = "Dr. Smith paid $3.50 at 5 p.m. on Monday. “Really?” she asked. Yes!\n\nThe end… or not? See example.com now."
WHOLE = [
    "Dr. Smith paid $3.50 at 5 p.m. on Monday.",
    "“Really?” she asked.",
    "Yes!",
    "The end… or not?",
    "See example.com now.",
]


def said(*pieces: str) -> list[str]:
    sentences = Sentences()
    return [sentence.text for piece in pieces for sentence in sentences.push(piece)]


def said_in_all(*pieces: str) -> list[str]:
    sentences = Sentences()
    found = [sentence for piece in pieces for sentence in sentences.push(piece)]
    return [sentence.text for sentence in [*found, *sentences.flush()]]


@pytest.mark.parametrize(
    ("pieces", "complete"),
    [
        (["Hello there"], []),
        (["Hello there", "."], []),
        (["Hello there", ". "], ["Hello there."]),
        (["Hello there.", " How"], ["Hello there."]),
        (["Hello there!\n"], ["Hello there!"]),
        (["Dr", ". ", "Smith", " came. "], ["Dr. Smith came."]),
        (["It is 3", ".", "5 now. "], ["It is 3.5 now."]),
        (["今日は。"], ["今日は。"]),
        (["[pause:1s] "], []),
        (["[pause:1s] Hi. "], ["[pause:1s] Hi."]),
        (["Hi. ", "[pause:", "1s]", " Ho. "], ["Hi.", "[pause:1s] Ho."]),
        (["* * *\n", "And so. "], ["And so."]),
        (["(He said. It was so.) "], []),
        (["\n\n\n"], []),
        (["Well... "], []),
        (["Well... ", "so it is. "], ["Well... so it is."]),
    ],
)
def test_a_sentence_leaves_when_it_is_complete(pieces: list[str], complete: list[str]) -> None:
    assert said(*pieces) == complete


def test_nothing_waits_that_is_complete() -> None:
    sentences = Sentences()
    assert [s.text for s in sentences.push("One is here. Two is here. Thr")] == ["One is here.", "Two is here."]
    assert [s.text for s in sentences.flush()] == ["Thr"]
    assert sentences.flush() == []


def test_after_a_flush_it_goes_on() -> None:
    sentences = Sentences()
    sentences.push("One")
    sentences.flush()
    assert [s.text for s in sentences.push("Two. ")] == ["Two."]


def test_a_blank_line_begins_a_paragraph() -> None:
    sentences = Sentences()
    found = sentences.push("\n\nOne.\nTwo.\n \nThree. ")
    assert [(s.text, s.begins) for s in found] == [
        ("One.", Break.SENTENCE),
        ("Two.", Break.SENTENCE),
        ("Three.", Break.PARAGRAPH),
    ]


def test_the_cuts_are_those_of_the_whole_text() -> None:
    assert said_in_all(STORY) == WHOLE


@given(st.lists(st.integers(min_value=0, max_value=len(STORY)), max_size=20))
def test_however_it_is_cut_the_words_are_the_same(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(STORY)]
    pieces = [STORY[start:end] for start, end in pairwise(places)]
    assert " ".join(said_in_all(*pieces)).split() == STORY.split()


def test_letter_by_letter_the_sentences_are_the_same() -> None:
    assert said_in_all(*STORY) == WHOLE


@given(st.lists(st.text(max_size=8), max_size=12))
def test_no_letter_is_ever_lost(pieces: list[str]) -> None:
    def letters(text: str) -> list[str]:
        return [char for char in text if char.isalnum()]

    whole = "".join(pieces)
    if "[" not in whole:
        assert letters(" ".join(said_in_all(*pieces))) == letters(whole)


def test_a_sentence_without_an_end_is_bounded() -> None:
    endless = "and then " * 200
    sentences = Sentences()
    found = [s.text for piece in endless.split(" ") for s in sentences.push(piece + " ")]
    assert len(found) >= 3
    assert max(map(len, found)) <= MAX_OPEN_CHARS
    rest = [s.text for s in sentences.flush()]
    assert " ".join([*found, *rest]).split() == endless.split()
