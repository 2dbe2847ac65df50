"""Text in pieces: each sentence leaves as soon as it is complete, and however the text is cut, the same ones do."""

from __future__ import annotations

from itertools import pairwise
from time import thread_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts.text.boundaries import Break
from tts.text.sentences import MAX_OPEN_CHARS, Sentences

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


REASONED = "Hm. <think>Is it so? Yes.\n</think>\n\nIt is so. &lt;think&gt;No.&lt;/think&gt; 3 < 4 & 5.\n<think>And on"


@given(st.lists(st.integers(min_value=0, max_value=len(REASONED)), max_size=30))
def test_reasoning_is_in_no_sentence_however_it_is_cut(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(REASONED)]
    assert said_in_all(*(REASONED[start:end] for start, end in pairwise(places))) == ["Hm.", "It is so.", "3 < 4 & 5."]


def test_what_was_left_out_is_known_and_after_a_flush_it_answers_again() -> None:
    sentences = Sentences()
    sentences.push("Hi. ")
    assert not sentences.has_left_out
    sentences.push("<think>Hm.")
    assert sentences.has_left_out
    assert sentences.flush() == []
    assert [s.text for s in sentences.push("Ho. ")] == ["Ho."]


NAMED = "Put the <think> tag before it. A <thought> too. "


@given(st.lists(st.integers(min_value=0, max_value=len(NAMED) + 20), max_size=30))
def test_an_opening_tag_within_a_sentence_is_a_word_unless_one_closes_it(cuts: list[int]) -> None:
    closed = NAMED + "And </think> done."
    assert said_in_all(*cut(NAMED, cuts)) == ["Put the <think> tag before it.", "A <thought> too."]
    assert said_in_all(*cut(closed, cuts)) == ["Put the done."]


def cut(text: str, cuts: list[int]) -> list[str]:
    return [text[start:end] for start, end in pairwise([0, *sorted(cuts), len(text)])]


def test_no_more_than_a_segment_waits_for_the_tag_that_may_close_reasoning() -> None:
    sentences = Sentences()
    pieces = ["Put the <think> tag here. ", *["And on it goes. "] * 100]
    said = [sentence.text for piece in pieces for sentence in sentences.push(piece)]
    assert said[:2] == ["Put the <think> tag here.", "And on it goes."]
    assert len(said) > 90
    assert not sentences.has_left_out


WRAPPED = (
    "The quick brown fox jumps over the\nlazy dog and into the dark for-\nest of the night. And then\nit sleeps.\n"
)


@given(st.lists(st.integers(min_value=0, max_value=len(WRAPPED)), max_size=20))
def test_wrapped_lines_are_joined_however_they_are_cut(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(WRAPPED)]
    assert said_in_all(*(WRAPPED[start:end] for start, end in pairwise(places)))[0] == (
        "The quick brown fox jumps over the lazy dog and into the dark forest of the night."
    )


@pytest.mark.parametrize(
    ("text", "new_lines"),
    [("Red\nBlue\n\nGreen", [False, True, True]), ("Red. Blue.\nGreen.", [False, False, True])],
)
def test_a_sentence_knows_whether_it_begins_a_line(text: str, new_lines: list[bool]) -> None:
    sentences = Sentences()
    assert [s.is_new_line for s in [*sentences.push(text), *sentences.flush()]] == new_lines


@pytest.mark.parametrize(
    "unit", ["。]", "「。」", "?!)", "(.)", "[1]", "— ", "… ", ". . ", "“”", "a\n", "<", "&lt;", "\n"]
)
@pytest.mark.slow
def test_time_is_linear_in_the_length(unit: str) -> None:
    """Four times the text: 4 times the work, 16 times where a search begins again at each mark."""
    short_s, long_s = (_push_s((unit * length)[:length]) for length in (5_000, 20_000))
    assert long_s < 8 * short_s


def _push_s(text: str) -> float:
    def once() -> float:
        begun = thread_time()
        Sentences().push(text)
        return thread_time() - begun

    return min(once() for _ in range(2))


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


def test_a_flush_is_no_blank_line() -> None:
    """livekit sends "One. " and a flush; what followed became a paragraph, after 400 ms of silence."""
    sentences = Sentences()
    sentences.push("One. ")
    sentences.flush()
    assert [s.begins for s in sentences.push("Two. ")] == [Break.SENTENCE]


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
