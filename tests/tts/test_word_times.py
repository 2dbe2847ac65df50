"""Estimated times of words: by letters between pauses, and valid whatever the text and the sound."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from itertools import accumulate, combinations, pairwise, product
from pathlib import Path
from time import thread_time

import numpy as np
import pytest
from fakes import PARAMS
from hypothesis import example, given
from hypothesis import strategies as st

from audio.pauses import LevelTrack
from tts.espeak.engine import EspeakEngine
from tts.word_times import align, estimate

RATE_HZ = 1000
SENTENCES = Path(__file__).parents[1] / "data/sentences.jsonl"
KINDS = {"bracket", "dialogue", "ellipsis", "list", "quote", "german", "romance", "french", "russian", "chinese"}
VOICES = {"german": "de", "romance": "es", "french": "fr", "russian": "ru", "chinese": "zh"}


def spans_of(text: str) -> list[tuple[int, int]]:
    return [word.span() for word in re.finditer(r"\S+", text)]


def times(text: str, *stretches: tuple[int, int]) -> list[tuple[int, int]]:
    return estimate(text, spans_of(text), stretches, RATE_HZ)


def test_without_a_pause_each_word_has_its_share_of_the_letters() -> None:
    """With the space after it: 4, 2 and 4 of 10 characters."""
    assert times("one a four", (100, 1100)) == [(100, 500), (500, 700), (700, 1100)]


def test_a_digit_and_an_ideograph_are_long() -> None:
    """4 and 3 letters."""
    assert times("1 aaa", (0, 800)) == [(0, 500), (500, 800)]
    assert times("好 aaa", (0, 700)) == [(0, 400), (400, 700)]


def test_words_begin_and_end_at_the_pauses() -> None:
    assert times("Yes, he is. No!", (50, 300), (400, 1000), (1300, 1500)) == [
        (50, 300),
        (400, 657),  # "he " is 3 of the 7 characters between the breaks
        (657, 1000),
        (1300, 1500),
    ]


def test_a_break_draws_a_pause_from_a_nearer_gap() -> None:
    """The letters place the pause after "two" (8 of 18 characters) and the comma says otherwise."""
    first, *_ = times("one two, six seven", (0, 450), (600, 1150))[2:]
    assert first[0] == 600
    assert times("one two six seven", (0, 450), (600, 1150))[2][0] == 600
    assert times("one, two six seven", (0, 450), (600, 1150))[1][0] == 600


def test_a_pause_without_a_place_is_inside_of_a_word() -> None:
    assert times("Nevertheless.", (0, 300), (400, 900)) == [(0, 900)]
    assert times("a bbbbbbbbbbbbbbbbbbbbbbbbbbbbb", (0, 10_000), (10_090, 15_000)) == [(0, 962), (962, 15_000)]


def test_of_two_pauses_the_shorter_one_is_left_out() -> None:
    """The letters place the gap at 571 samples of sound; the short pause is at 550, the long one at 800."""
    assert times("one two", (0, 550), (640, 890), (1290, 1490)) == [(0, 890), (1290, 1490)]


@given(st.data(), st.integers(0, 4), st.integers(0, 4))
def test_no_other_pairing_costs_less(data: st.DataObject, pauses: int, gaps: int) -> None:
    cells = st.integers(-5, 5)
    costs = np.array(data.draw(st.lists(cells, min_size=pauses * gaps, max_size=pauses * gaps))).reshape(pauses, gaps)
    left_out = np.array(data.draw(st.lists(cells, min_size=pauses, max_size=pauses)))

    def total(pairs: list[tuple[int, int]]) -> int:
        return int(left_out.sum()) + sum(int(costs[pause - 1, gap - 1] - left_out[pause - 1]) for gap, pause in pairs)

    counts = range(min(pauses, gaps) + 1)
    sides = [[combinations(range(1, some + 1), count) for count in counts] for some in (gaps, pauses)]
    pairings = [list(zip(*pair, strict=True)) for ways in zip(*sides, strict=True) for pair in product(*ways)]
    found = align(costs.astype(np.float64), left_out.astype(np.float64))
    assert found in pairings
    assert total(found) == min(map(total, pairings))


def test_no_words_no_times() -> None:
    assert estimate(" … ", [], [(0, 1000)], RATE_HZ) == []


@st.composite
def stretches(draw: st.DrawFn) -> list[tuple[int, int]]:
    """Up to 30 with pauses between them; one that may be empty, if there is no sound."""
    if draw(st.booleans()):
        start, length = draw(st.integers(0, 500)), draw(st.integers(0, 3))
        return [(start, start + length)]
    lengths = draw(st.lists(st.integers(1, 3000), min_size=2, max_size=60).filter(lambda some: len(some) % 2 == 0))
    places = list(accumulate(lengths))
    return list(zip(places[::2], places[1::2], strict=True))


@given(st.text(st.sampled_from("ab Zé1.,!—'\"字あ ب हि😀\u200d\n"), max_size=280) | st.text(max_size=60), stretches())
@example("a b c d e f", [(0, 1), (500, 501)])  # more words than samples
def test_times_are_in_order_and_in_the_sound_whatever_the_text(text: str, sound: list[tuple[int, int]]) -> None:
    words = times(text, *sound)
    assert len(words) == len(spans_of(text))
    places = [place for word in words for place in word]
    assert places == sorted(places)
    assert all(any(start <= place <= end for start, end in sound) for place in places)
    assert not words or (words[0][0], words[-1][1]) == (sound[0][0], sound[-1][1])


def test_three_hundred_words_between_sixty_pauses_take_less_than_a_second() -> None:
    """It is the product of both: of a segment of the longest, 60 words and 20 pauses, it is a fifteenth."""
    began = thread_time()
    words = times("word, " * 300, *((at, at + 900) for at in range(0, 61_000, 1000)))
    assert thread_time() - began < 1.0
    assert len(words) == 300


@pytest.mark.slow
def test_the_pauses_halve_the_error() -> None:
    """Against eSpeak NG's own times, over texts of several clauses in six languages."""
    engine, errors = EspeakEngine(), []
    for line in SENTENCES.read_text("utf-8").splitlines():
        row = json.loads(line)
        if row["kind"] not in KINDS or len(row["text"]) > 280:
            continue
        voice = engine.condition(VOICES.get(row["kind"], "en-us"), None)
        (chunk,) = engine.stream(row["text"], voice, replace(PARAMS, word_times=True))
        levels = LevelTrack(22_050)
        levels.push(chunk.samples)
        spans = [(word.first, word.last) for word in chunk.words]
        found = levels.stretches()
        for sound in (found, [(found[0][0], found[-1][1])]):
            ours = estimate(row["text"], spans, sound, 22_050)
            errors.append([abs(start - word.start) for (start, _), word in zip(ours, chunk.words, strict=True)])
    with_pauses, without = (np.concatenate(errors[which::2]) for which in (0, 1))
    assert len(errors) > 200
    assert np.median(with_pauses) < np.median(without) / 2
    assert np.percentile(with_pauses, 95) < np.percentile(without, 95) / 2


def test_neighbours_touch_unless_a_pause_is_between_them() -> None:
    words = times("One two three, four five.", (0, 1000), (1200, 2000))
    assert [a[1] == b[0] for a, b in pairwise(words)] == [True, True, False, True]
