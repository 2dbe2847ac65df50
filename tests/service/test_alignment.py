"""Times of characters: every one of the text once, in order, in the time of its word or between two."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest

from service.alignment import Alignment, CharTime
from service.events import WordTime


def word(text: str, start_s: float, end_s: float) -> WordTime:
    return WordTime(text, start_s, end_s, text)


def times(chars: Sequence[CharTime]) -> list[tuple[str, float, float]]:
    return [(each.char, round(each.start_s, 6), round(each.end_s, 6)) for each in chars]


def test_a_words_characters_share_its_time_and_others_the_time_between() -> None:
    alignment = Alignment("Hi, you!")
    assert times(alignment.push([word("Hi", 0.1, 0.3)])) == [("H", 0.1, 0.2), ("i", 0.2, 0.3)]
    assert not alignment.is_spoken
    found = alignment.push([word("you", 0.5, 0.8)])
    assert times(found) == [(",", 0.3, 0.4), (" ", 0.4, 0.5), ("y", 0.5, 0.6), ("o", 0.6, 0.7), ("u", 0.7, 0.8)]
    assert alignment.is_spoken
    assert times(alignment.flush(1.0)) == [("!", 0.8, 1.0)]
    assert alignment.flush(2.0) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            '"Hello there," she said.  Then…',
            [("Hello", 0.2, 0.5), ("there", 0.5, 0.9), ("she", 1.0, 1.2), ("said", 1.2, 2)],
        ),
        (
            "It costs $5 — or £6.",
            [("It", 0, 0.1), ("costs", 0.1, 0.4), ("$5", 0.4, 1), ("or", 1.2, 1.3), ("£6", 1.3, 2)],
        ),
        ("今日は良い。", [("今日は", 0.0, 0.5), ("良い", 0.5, 0.9)]),
        ("no no no", [("no", 0.0, 0.1), ("no", 0.2, 0.2), ("no", 0.2, 0.4)]),
        ("one <b>two</b> three", [("one", 0.0, 0.1), ("two", 0.2, 0.3), ("three", 0.2, 0.4)]),
        ("left out", [("gone", 0.0, 0.1), ("left", 0.1, 0.2)]),
        ("…", []),
        ("", []),
    ],
)
@pytest.mark.parametrize("at_once", [True, False])
def test_every_character_is_there_once_and_times_never_decrease(
    text: str, words: list[tuple[str, float, float]], at_once: bool
) -> None:
    alignment, end_s = Alignment(text), 2.5
    timed = [word(*each) for each in words]
    pieces = [timed] if at_once else [[each] for each in timed]
    chars = [char for piece in pieces for char in alignment.push(piece)] + alignment.flush(end_s)
    assert "".join(char.char for char in chars) == text
    assert all(0.0 <= char.start_s <= char.end_s <= end_s + 1e-9 for char in chars)
    assert all(one.end_s <= other.start_s + 1e-9 for one, other in pairwise(chars))


def test_a_text_may_begin_later() -> None:
    alignment = Alignment("(A) b", start_s=4.0)
    assert times(alignment.push([word("A", 4.2, 4.3)])) == [("(", 4.0, 4.2), ("A", 4.2, 4.3)]
    assert times(alignment.flush(3.0)) == [(")", 4.3, 4.3), (" ", 4.3, 4.3), ("b", 4.3, 4.3)]


@pytest.mark.parametrize("text", ["Go home", "a", "Go home."])
def test_the_last_character_lasts_until_the_sound_ends(text: str) -> None:
    """A word's sound is followed by silence; a client that counts from the last character's end was behind by it."""
    alignment = Alignment(text)
    words = [word("a", 0.1, 0.2)] if text == "a" else [word("Go", 0.1, 0.2), word("home", 0.3, 0.6)]
    spoken = alignment.push(words)
    *_, last = [*spoken, *alignment.flush(1.0)]
    assert (last.char, last.end_s) == (text[-1], 1.0)
    assert alignment.flush(2.0) == []
