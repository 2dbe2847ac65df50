"""The words of a text as it was sent, and where they are in what is spoken."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tts.normalize.test_normalize import ROWS
from tests.tts.text.test_segments import ENTRIES, least_s
from tts.text.script import write
from tts.text.words import place_words, sent_words
from validation.markup import parts
from validation.options import ReadingOptions


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("Hello, “world”! (Yes.)", "Hello world Yes", id="punctuation is no part"),
        pytest.param("It's well-known: dogs' ears.", "It's well-known dogs ears", id="apostrophes and hyphens are"),
        pytest.param("$5 €6.50, 7% #1 -3 .5 C++ 9°", "$5 €6.50 7% #1 -3 .5 C++ 9°", id="signs that are spoken are"),
        pytest.param("In the U.S. e.g. Dr. who", "In the U.S. e.g. Dr who", id="an abbreviation keeps its stops"),
        pytest.param("wait...what—no – 10–20 a--b", "wait what no 10–20 a b", id="dashes part, but not a range"),
        pytest.param("a & b * 😀 — … c", "a b c", id="signs alone are none"),
        pytest.param("**bold** [text](http://a.b) <b class='x'>c</b>", "bold text http://a.b c", id="markup"),
        pytest.param("我喜欢。东京は大きいテキスト", "我 喜 欢 东 京は 大きい テキスト", id="scripts without spaces"),
        pytest.param("안녕하세요 세계 नमस्ते مرحبا", "안녕하세요 세계 नमस्ते مرحبا", id="scripts with spaces"),
    ],
)
def test_a_word_is_what_was_sent_between_spaces(text: str, words: str) -> None:
    assert [word.text for word in sent_words(text)] == words.split()


def test_what_the_words_were_written_as_is_the_text() -> None:
    text = "  “Well,” she — said: it's $5 & more!\n"
    assert "".join(word.written for word in sent_words(text)) == text


def said(text: str, language: str = "en-US", **reading: object) -> list[tuple[str, str]]:
    script = write(text, ReadingOptions(language, **reading), word_times=True)  # type: ignore[arg-type]
    return [(word.word.text, line.text[word.first : word.last]) for line in script.lines for word in line.words]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("I paid $5.", "I=I paid=paid $5=five dollars", id="one word spoken as two"),
        pytest.param("$5 £6", "$5=five dollars £6=six pounds", id="two in a row"),
        pytest.param("$5 million", "$5=five million=million dollars", id="spoken in another order"),
        pytest.param("7 kg of it", "7=seven kg=kilograms of=of it=it", id="read by its neighbour"),
        pytest.param(
            "on 3/4/2024, at 5pm", "on=on 3/4/2024=March fourth, twenty twenty-four at=at 5pm=five P M", id="date"
        ),
        pytest.param("Ask Nguyen [pause:1s] now", "Ask=Ask Nguyen=Nwin now=now", id="respelled, and a pause"),
        pytest.param("in New York now", "in=in New=Noo York=Yawk now=now", id="two words respelled as one"),
        pytest.param("so [laugh] it <think>x</think> goes", "so=so it=it goes=goes", id="what is not spoken has none"),
        pytest.param("a [docs](http://x.y) b", "a=a docs=docs http://x.y= b=b", id="a word that is left out"),
    ],
)
def test_each_word_has_what_is_said_for_it(text: str, expected: str) -> None:
    found = said(text, pronunciations={"Nguyen": "Nwin", "New York": "Noo Yawk"})
    assert " ".join(f"{word}={spoken}" for word, spoken in found) == expected


def test_without_the_normaliser_words_are_said_as_they_are_sent() -> None:
    found = said("It's $5, Dr. Who", normalize_text=False)
    assert found == [("It's", "It's"), ("$5", "5"), ("Dr", "Dr"), ("Who", "Who")]


def test_a_word_that_is_cut_belongs_to_the_line_in_which_it_begins() -> None:
    script = write("so " + "x" * 900, ReadingOptions("en"), word_times=True)
    first, *others = script.lines
    assert [word.word.text[:3] for word in first.words] == ["so", "xxx"]
    assert first.words[1].last == len(first.text)
    assert not any(line.words for line in others)


def held(text: str, language: str) -> None:
    """Every word once, in order, inside its line, none over another."""
    script = write(text, ReadingOptions(language), word_times=True)
    plain = "\n".join(part if isinstance(part, str) else " " for part in parts(text))
    words = [placed.word.text for line in script.lines for placed in line.words]
    assert "".join(words) == "".join(word.text for word in sent_words(plain))
    for line in script.lines:
        at = 0
        for word in line.words:
            assert at <= word.first <= word.last <= len(line.text)
            at = word.last


def test_every_word_of_every_awkward_text_is_there_once_and_in_order() -> None:
    for language, text in [*(("en", entry["text"]) for entry in ENTRIES), *(row[:2] for row in ROWS)]:
        held(text, language)


@given(st.text(max_size=200), st.sampled_from(["en", "de", "zh"]))
def test_and_of_random_text(text: str, language: str) -> None:
    if any(map(str.isalnum, text)):
        held(text, language)


@given(st.lists(st.text("ab5$ .", max_size=8), max_size=30), st.lists(st.text("abfive $.", max_size=40), max_size=4))
def test_a_reading_that_has_nothing_to_do_with_the_text_does_no_harm(sent: list[str], lines: list[str]) -> None:
    text = " ".join(sent)
    placed = place_words(text, lines, str.upper)
    assert [word.word for line in placed for word in line] == (sent_words(text) if lines else [])


@pytest.mark.parametrize(("before", "mark", "after"), [("", "±", "a"), ("<a ", "=", "")])
def test_the_time_grows_with_the_number_of_marks_and_not_with_its_square(before: str, mark: str, after: str) -> None:
    """A sign before a number and a tag were looked for again from each mark. Four times as many marks take 4 times as
    long, or 16 times; the bound is the geometric mean of the two."""

    few_s, many_s = (least_s(lambda n=n: sent_words(before + mark * n + after), times=5) for n in (4_000, 16_000))
    assert many_s < 8 * few_s


def test_long_texts_have_all_their_words() -> None:
    for text in ("a " * 2500, "1234567890 " * 450, "B2B 3D-5 v1.2.3 " * 300, "x" * 5000, "日本語。" * 1200):
        held(text, "en")
