"""Text in pieces: each sentence leaves as soon as it is complete, and however the text is cut, the same ones do."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tts.text.test_segments import least_s
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


CUTS = st.lists(st.integers(min_value=0, max_value=250), max_size=30)


def cut(text: str, cuts: list[int]) -> list[str]:
    return [text[start:end] for start, end in pairwise([0, *sorted(cuts), len(text)])]


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
NAMED = "Put the <think> tag before it. A <thought> too. "
WRAPPED = (
    "The quick brown fox jumps over the\nlazy dog and into the dark for-\nest of the night. And then\nit sleeps.\n"
)
UNWRAPPED = "The quick brown fox jumps over the lazy dog and into the dark forest of the night."


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        pytest.param(STORY, WHOLE, id="a story"),
        pytest.param(REASONED, ["Hm.", "It is so.", "3 < 4 & 5."], id="reasoning is in no sentence"),
        pytest.param(NAMED, ["Put the <think> tag before it.", "A <thought> too."], id="an opening tag is a word"),
        pytest.param(NAMED + "And </think> done.", ["Put the done."], id="unless one closes it"),
        pytest.param("<think&gt;No.&lt;/think>Yes. ", ["Yes."], id="a tag may be half escaped"),
        pytest.param(WRAPPED, [UNWRAPPED, "And then", "it sleeps."], id="wrapped lines are joined"),
    ],
)
@given(CUTS)
def test_however_it_is_cut_the_sentences_are_the_same(text: str, sentences: list[str], cuts: list[int]) -> None:
    assert said_in_all(*cut(text, cuts)) == sentences


def test_what_was_left_out_is_known_and_after_a_flush_it_answers_again() -> None:
    sentences = Sentences()
    sentences.push("Hi. ")
    assert not sentences.has_left_out
    sentences.push("<think>Hm.")
    assert sentences.has_left_out
    assert sentences.flush() == []
    assert [s.text for s in sentences.push("Ho. ")] == ["Ho."]


def test_no_more_than_a_segment_waits_for_the_tag_that_may_close_reasoning() -> None:
    sentences = Sentences()
    pieces = ["Put the <think> tag here. ", *["And on it goes. "] * 100]
    found = [sentence.text for piece in pieces for sentence in sentences.push(piece)]
    assert found[:2] == ["Put the <think> tag here.", "And on it goes."]
    assert len(found) > 90
    assert not sentences.has_left_out


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
    short_s, long_s = (least_s(lambda text=(unit * n)[:n]: Sentences().push(text)) for n in (5_000, 20_000))
    assert long_s < 8 * short_s


def test_nothing_waits_that_is_complete_and_after_a_flush_it_goes_on() -> None:
    sentences = Sentences()
    assert [s.text for s in sentences.push("One is here. Two is here. Thr")] == ["One is here.", "Two is here."]
    assert [s.text for s in sentences.flush()] == ["Thr"]
    assert sentences.flush() == []
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
    endless = ["and ", "then "] * 200
    assert len(said(*endless)) >= 3
    assert max(map(len, said(*endless))) <= MAX_OPEN_CHARS
    assert " ".join(said_in_all(*endless)) + " " == "".join(endless)
