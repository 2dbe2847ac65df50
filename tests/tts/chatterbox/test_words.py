"""Words of a text and their times, by rows of attention that are made up."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts.chatterbox.plausibility import AROUND_S, FASTEST_S
from tts.chatterbox.rates import SAMPLES_PER_TOKEN, TOKENS_PER_S
from tts.chatterbox.reading.graphemes import EnglishReader
from tts.chatterbox.reading.punctuation import ORIGINAL
from tts.chatterbox.words import BACK_TOKENS, TAIL_S, TextWord, WordClock

TEXT = "hello there, this is a test of words."
EVERYTHING = TEXT.split()
PER_LETTER = 2  # tokens: 80 ms, an ordinary pace


@pytest.fixture(scope="module")
def reader(model):
    return model.reader


def rows(places: list[int], size: int, noise: float = 0.1) -> np.ndarray:
    """Attention at these places, and a little everywhere."""
    made = np.random.default_rng(0).dirichlet(np.full(size, 0.3), len(places)) * noise
    made[np.arange(len(places)), places] += 0.6
    return made.astype(np.float32)


def steady(first: int, last: int, per_letter: int = PER_LETTER) -> list[int]:
    return [place for place in range(first, last) for _ in range(per_letter)]


def clock(reader, text: str = TEXT) -> WordClock:
    return WordClock(reader.words(text, "en"), len(reader.tokens(text, "en")) + 2)


def heard(reader, places: list[int], text: str = TEXT, **changes: float) -> tuple[list[str], list[str]]:
    """The words that are found, and the kinds of the remarks."""
    made = clock(reader, text)
    made.push(rows(places, len(reader.tokens(text, "en")) + 2, **changes))
    made.flush()
    words = made.ended(len(places) * SAMPLES_PER_TOKEN)
    assert all(0 <= word.start <= word.end <= len(places) * SAMPLES_PER_TOKEN for word in words)
    assert all(before.end <= after.start for before, after in pairwise(words))
    return [text[word.first : word.last] for word in words], [remark.kind for remark in made.remarks]


# --- words of a text ----------------------------------------------------------------------------------------

PIECES = st.sampled_from(
    [*(mark for mark, _ in ORIGINAL.marks), *"aZ.!?-, \t\n\"'[]", "word", "ß", "ǆ", "ŉ", "好", "1", "é", "[SPACE]"]
)


@given(st.one_of(st.text(min_size=1), st.lists(PIECES, min_size=1).map("".join)))
def test_every_word_is_there_once_and_in_order(reader, text):
    words = reader.words(text, "en")
    spelled = [match.span() for match in re.finditer(r"\S+", text) if any(map(str.isalnum, match.group()))]
    assert [(word.first, word.last) for word in words] == spelled
    places = [place for word in words for place in (word.first_token, word.last_token)]
    assert places == sorted(places)
    assert all(1 <= place <= len(reader.tokens(text, "en")) for place in places)


@pytest.mark.parametrize("text", [TEXT, "ßo: “Well” … then—now - it's 5; ‘ok’", "a...b c", "  two   spaces "])
def test_the_tokens_of_a_word_are_its_letters(reader, text):
    """The small tokenizer has a token for each character."""
    spoken = list(ORIGINAL.normalize(text))
    for word in reader.words(text, "en"):
        letters = [char for char in spoken[word.first_token - 1 : word.last_token] if char.isalnum()]
        own = [char for char in text[word.first : word.last].replace("ß", "SS") if char.isalnum()]
        assert "".join(letters).lower() == "".join(own).lower()
        assert spoken[word.first_token - 1].isalnum()
        assert spoken[word.last_token - 1].isalnum()


def test_signs_alone_are_no_words(reader):
    assert reader.words("🎉 — … !", "en") == []
    assert [word.first for word in reader.words("🎉 yes 🎉", "en")] == [2]


def test_a_token_of_several_letters_is_of_its_word(tmp_path: Path):
    """As in the real vocabulary."""
    from tokenizers import Tokenizer
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import Whitespace

    letters = ["[UNK]", "[SPACE]", "[START]", "[STOP]", *"Thethisn.", "th", "is", "this", "Th", "The"]
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(letters))}
    made = Tokenizer(
        BPE(vocabulary, [("t", "h"), ("i", "s"), ("th", "is"), ("T", "h"), ("Th", "e")], unk_token="[UNK]")
    )
    made.pre_tokenizer = Whitespace()
    made.add_special_tokens(["[SPACE]", "[START]", "[STOP]", "[UNK]"])
    made.save(str(tmp_path / "tokenizer.json"))
    words = EnglishReader(tmp_path / "tokenizer.json").words("the  this", "en")
    assert words == [TextWord(0, 3, 1, 1, 3), TextWord(5, 9, 3, 3, 4)]


# --- times --------------------------------------------------------------------------------------------------


def test_times_are_those_of_the_letters(reader):
    """Two tokens for each letter, none for the comma: the second word ends before the pause on it."""
    words = reader.words(TEXT, "en")
    made = clock(reader)
    places = steady(1, 12) + [12] * 20 + steady(13, len(TEXT) + 1)
    made.push(rows(places, len(TEXT) + 2))
    made.flush()
    first, second, third = made.ended(10**9)[:3]
    assert (first.start, first.end) == (0, 10 * SAMPLES_PER_TOKEN)
    assert (second.start, second.end) == (12 * SAMPLES_PER_TOKEN, 22 * SAMPLES_PER_TOKEN)
    assert third.start == (22 + 20 + 2) * SAMPLES_PER_TOKEN
    assert len(made.ended(10**9)) == len(words)


def test_a_word_is_known_once_its_end_is_sound_and_certain(reader):
    made = clock(reader)
    made.push(rows(steady(1, len(TEXT)), len(TEXT) + 2))
    assert made.ended(10 * SAMPLES_PER_TOKEN - 1) == ()
    assert len(made.ended(10 * SAMPLES_PER_TOKEN)) == 1


@given(st.data())
def test_what_is_found_does_not_depend_on_how_rows_arrive(reader, data):
    """Also where the path turns implausible on the way."""
    steps = data.draw(st.lists(st.integers(0, 4), min_size=30, max_size=90))
    places = np.minimum(np.cumsum(steps) // 3, len(TEXT) + 1).tolist()
    given_rows = rows(places, len(TEXT) + 2, noise=data.draw(st.floats(0, 1.5)))
    whole, pieces, told = clock(reader), clock(reader), ()
    whole.push(given_rows)
    at = 0
    while at < len(given_rows):
        size = data.draw(st.integers(1, 30))
        pieces.push(given_rows[at : at + size])
        at += size
        assert pieces.ended(10**9)[: len(told)] == told  # nothing is taken back
        told = pieces.ended(10**9)
    whole.flush(), pieces.flush()
    assert pieces.ended(10**9) == whole.ended(10**9)
    assert pieces.remarks == whole.remarks


# --- what is no path ----------------------------------------------------------------------------------------


def test_a_path_at_an_ordinary_pace_is_plausible(reader):
    assert heard(reader, steady(0, len(TEXT) + 2)) == (EVERYTHING, [])


@pytest.mark.parametrize("concentration", [0.02, 0.1, 1.0, 100.0])
def test_attention_that_knows_nothing_times_nothing(reader, concentration):
    """Peaks anywhere, or none."""
    noise = np.random.default_rng(1).dirichlet(np.full(len(TEXT) + 2, concentration), 100).astype(np.float32)
    made = clock(reader)
    made.push(noise)
    made.flush()
    assert (made.ended(10**9), made.remarks) == ((), ())


def test_a_path_on_which_nothing_is_settled_is_given_up(reader):
    """Flat rows keep all paths alive, each as long as the segment."""
    made = clock(reader)
    made.push(np.full((500, len(TEXT) + 2), 0.02, dtype=np.float32))
    assert AROUND_S * TOKENS_PER_S < made._path.unsettled <= AROUND_S * TOKENS_PER_S + 1


@pytest.mark.parametrize("place", [0, 1, 3])
def test_attention_that_stays_times_nothing_for_long(reader, place):
    """A head that sinks its attention into one position, for four seconds."""
    assert heard(reader, [place] * 100) == ([], [])


def test_a_pace_that_nobody_speaks_is_implausible(reader):
    """Three letters a token, 75 a second, where FASTEST_S allows 33."""
    assert 3 * FASTEST_S * TOKENS_PER_S > 1
    fast = list(range(1, len(TEXT), 3)) + [len(TEXT)] * 40
    words, remarks = heard(reader, fast)
    assert (len(words) < 2, remarks) == (True, [])


def test_after_a_jump_no_further_word_is_timed(reader):
    """Two words well, then four within a moment."""
    words, remarks = heard(reader, steady(1, 14) + steady(29, len(TEXT) + 1))
    assert words[:2] == EVERYTHING[:2]
    assert len(words) < 5
    assert remarks == []


# --- remarks ------------------------------------------------------------------------------------------------


def test_a_text_that_is_not_finished_is_remarked_upon(reader):
    words, remarks = heard(reader, steady(0, 21))
    assert (words, remarks) == (EVERYTHING[:4], ["unfinished"])


@pytest.mark.parametrize("place", [len(TEXT) - 1, len(TEXT), len(TEXT) + 1])
def test_speech_after_the_end_is_remarked_upon(reader, place):
    """Attention stays on the last letter, the full stop or the stop token."""
    end = steady(0, len(TEXT) + 1)
    tail = round(TAIL_S * TOKENS_PER_S)
    assert heard(reader, end + [place] * (2 * tail + 25)) == (EVERYTHING, ["went_on"])
    assert heard(reader, end + [place] * (tail // 2)) == (EVERYTHING, [])


def test_speech_that_goes_back_is_remarked_upon(reader):
    """A repeated word, before the text goes on."""
    back = steady(0, 20) + steady(7, 14) + steady(20, len(TEXT) + 2)
    words, remarks = heard(reader, back)
    assert remarks == ["went_back"]
    assert words[:3] == EVERYTHING[:3]
    once = steady(0, 20) + [7] * (BACK_TOKENS // 2) + steady(20, len(TEXT) + 2)
    assert heard(reader, once) == (EVERYTHING, [])
