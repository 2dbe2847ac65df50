"""Segments: nothing lost, nothing too long, and cut only where a reader would breathe."""

from __future__ import annotations

from itertools import accumulate, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tts.text import segment

MARKS_AND_LETTERS = st.sampled_from('aBß1 .,;:!?…—–\n\t"“”()。，！、．؟،।\u0301\u200d\ufe0f\u00a0字の👩🇩한')
TEXTS = st.text(MARKS_AND_LETTERS, max_size=120) | st.text(max_size=120)
GRAPHEMES = [*"ab .,。\n", "e\u0301", "a\u0323\u0302", "한", "น้ำ", "ரீ", "が"]
GRAPHEMES += ["👩‍👩‍👧", "👍🏽", "🇩🇪", "🇫🇷", "❤️"]
LONGEST_GRAPHEME = max(map(len, GRAPHEMES))
examples = settings(max_examples=100, deadline=None, database=None)


def without_space(text: str) -> str:
    return "".join(text.split())


def sentences(text: str) -> list[str]:
    """The segments where nothing is too long or too short."""
    return segment(text, max_chars=10_000, min_chars=0)


# What holds for any text


@examples
@given(TEXTS, st.integers(1, 40), st.integers(0, 40))
def test_no_character_is_lost_doubled_or_moved(text: str, max_chars: int, min_chars: int) -> None:
    assert without_space("".join(segment(text, max_chars, min_chars))) == without_space(text)


@examples
@given(TEXTS, st.integers(1, 40), st.integers(0, 40))
def test_a_segment_is_trimmed_single_spaced_and_fits(text: str, max_chars: int, min_chars: int) -> None:
    for piece in segment(text, max_chars, min_chars):
        assert piece == " ".join(piece.split())
        assert 1 <= len(piece) <= max_chars


@examples
@given(TEXTS, st.integers(1, 40), st.integers(0, 40))
def test_a_fragment_stays_alone_only_where_no_neighbour_has_room(text: str, max_chars: int, min_chars: int) -> None:
    for piece, following in pairwise(segment(text, max_chars, min_chars)):
        if min(len(piece), len(following)) < min_chars:
            assert len(piece) + 1 + len(following) > max_chars


@examples
@given(st.lists(st.sampled_from(GRAPHEMES), max_size=60), st.integers(LONGEST_GRAPHEME, 20))
def test_graphemes_stay_whole(graphemes: list[str], max_chars: int) -> None:
    pieces = segment("".join(graphemes), max_chars, min_chars=0)
    edges = accumulate(len(without_space(grapheme)) for grapheme in graphemes)
    assert set(accumulate(len(without_space(piece)) for piece in pieces)) <= set(edges)


@pytest.mark.parametrize("text", ["", " ", "\n\n\t\u00a0"])
def test_only_space_is_no_segment(text: str) -> None:
    assert segment(text) == []


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="max_chars"):
        segment("a", max_chars=0)


# Sentences


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three? Four… Five", ["One.", "Two!", "Three?", "Four…", "Five"]),
        ('He said "Go." She went. (Late.) So?!', ['He said "Go."', "She went.", "(Late.)", "So?!"]),
        ("“Why?” he asked. “Why not?”", ["“Why?” he asked.", "“Why not?”"]),
        ("¿Qué tal? ¡Bien! Gracias.", ["¿Qué tal?", "¡Bien!", "Gracias."]),
        ("你好。世界！“好的。”他说。真的？", ["你好。", "世界！", "“好的。”", "他说。", "真的？"]),
        ("「行こう。」と言った。元気…", ["「行こう。」", "と言った。", "元気…"]),
        ("كيف حالك؟ أنا بخير. شكرا", ["كيف حالك؟", "أنا بخير.", "شكرا"]),
        ("यह पहला है। यह दूसरा है।", ["यह पहला है।", "यह दूसरा है।"]),
        ("A heading\nand a line\r\n\r\nAnother", ["A heading", "and a line", "Another"]),
        ("It was 1999. Then came 2000.", ["It was 1999.", "Then came 2000."]),
        ("He said no. Then he left.", ["He said no.", "Then he left."]),
        ("Fui al mar. Volví.", ["Fui al mar.", "Volví."]),
    ],
)
def test_a_sentence_ends_at_its_mark(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "Dr. Smith and Mrs. Jones met Prof. Lee in St. Paul.",
        "Use tools, e.g. Hammers, i.e. Things, etc. And more.",
        "The U.S. Army left at 5 p.m. Monday with J. R. R. Tolkien, Ph.D. and all.",
        "See Fig. 3 and No. 5 (vol. 2) on Jan. 6 at 7 p.m. 8 times.",
        "Pi is 3.14, a million 1,000,000 and half past 12:30.",
        "Read https://example.com/a.b?c=d!e;f,g before v1.2.3.",
        "Nach z. B. Anton bzw. Berta usw. Cäsar.",
        "This is approx. five.",
    ],
)
def test_abbreviations_initials_numbers_and_urls_end_none(text: str) -> None:
    assert sentences(text) == [text]


# Fragments


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hi! How are you doing this fine morning?", ["Hi! How are you doing this fine morning?"]),
        ("This sentence is long enough. Yes.", ["This sentence is long enough. Yes."]),
        (
            "This sentence is long enough. Yes. The next one is as well, you see.",
            ["This sentence is long enough.", "Yes. The next one is as well, you see."],
        ),
        ("1. Buy milk. 2. Go home.", ["1. Buy milk. 2. Go home."]),
        ("Hi!", ["Hi!"]),
        ("好。\n行。", ["好。 行。"]),
    ],
)
def test_a_fragment_joins_the_next_segment_or_the_last(text: str, expected: list[str]) -> None:
    assert segment(text) == expected


def test_a_run_of_short_sentences_does_not_pile_up_into_one_segment() -> None:
    """The first sound would wait for all of it."""
    assert max(map(len, segment("No. Never. Not me. " * 20))) < 60


# What is too long


@pytest.mark.parametrize("mark", [",", ";", ":", " —", "…"])
def test_a_long_sentence_is_cut_after_a_clause(mark: str) -> None:
    clause, rest = f"the first clause of some length{mark}", "word " * 52
    assert segment(f"{clause} {rest}") == [clause, rest.strip()]


def test_of_many_clauses_the_parts_are_of_like_length() -> None:
    clause = "a clause of about forty characters here"
    assert [len(piece) for piece in segment(", ".join([clause] * 12))] == [245, 244]


def test_a_number_is_not_cut_at_its_comma() -> None:
    assert segment("字字字，１，０００元字", max_chars=8, min_chars=0) == ["字字字，", "１，０００元字"]


def test_a_long_clause_is_cut_between_words_in_equal_parts() -> None:
    pieces = segment("word " * 60)  # 299 characters
    assert [len(piece) for piece in pieces] == [149, 149]


def test_a_clause_of_a_script_without_spaces_is_cut_at_its_comma() -> None:
    pieces = segment("天气很好，" * 60)  # 300 characters
    assert [len(piece) for piece in pieces] == [150, 150]
    assert all(piece.endswith("，") for piece in pieces)


@pytest.mark.parametrize("word", ["w" * 600, "字" * 600, "ก" * 600])
def test_a_word_that_is_too_long_is_cut_hard(word: str) -> None:
    assert [len(piece) for piece in segment(word)] == [280, 280, 40]


def test_the_space_at_a_cut_does_not_count_and_a_comma_does() -> None:
    assert segment("abcde fghij", max_chars=5, min_chars=0) == ["abcde", "fghij"]
    assert segment("字字字字字，字字", max_chars=5, min_chars=0) == ["字字字字字", "，字字"]


def test_words_stay_whole_beside_one_that_is_too_long() -> None:
    pieces = segment("see " * 30 + "w" * 300 + " and so on" * 10)
    assert pieces[0] == ("see " * 30).strip()
    assert "".join(pieces).count("w") == 300


def test_a_url_is_not_cut() -> None:
    url = "https://example.com/" + "path.to/" * 20
    assert any(url in piece for piece in segment(f"{'word ' * 40}{url} {'word ' * 40}"))
