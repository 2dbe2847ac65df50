"""The hibari engine: its package's own samples, in any chunks, from any thread, and the times of its words."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from fakes import PARAMS, WINDOW
from hibari import Hibari
from hypothesis import given, settings
from hypothesis import strategies as st

from audio.pcm import Samples, peak_dbfs
from tts.engine import SpeechChunk, SpokenWord
from tts.hibari.engine import SAMPLE_RATE_HZ, SAMPLES_PER_TOKEN, HibariEngine, _chunks
from tts.hibari.voice import MAX_WORD_CHARS, Clip
from validation.options import SamplingParams

pytestmark = pytest.mark.slow

SENTENCE = "The quick brown fox jumps over the lazy dog."
SENTENCES = tuple(
    json.loads(line)["text"] for line in (Path(__file__).parents[1] / "data/sentences.jsonl").read_text().splitlines()
)
T = TypeVar("T")
TIMED = replace(PARAMS, word_times=True)
ENGINE = HibariEngine()


def stream(text: str, params: SamplingParams = PARAMS) -> Iterator[SpeechChunk]:
    return ENGINE.stream(text, ENGINE.condition("heart", None), params)


def joined(chunks: Iterator[SpeechChunk]) -> Samples:
    return np.concatenate([chunk.samples for chunk in chunks])


def speak(text: str, params: SamplingParams = PARAMS) -> Samples:
    return joined(stream(text, params))


def spoken_words(text: str) -> list[SpokenWord]:
    return [word for chunk in stream(text, TIMED) for word in chunk.words]


def remarks(text: str) -> list[str]:
    *_, last = stream(text)
    return [remark.message for remark in last.remarks]


# What it says of itself


def test_the_spec_is_of_one_english_voice() -> None:
    spec = ENGINE.spec
    assert [(voice.name, voice.language) for voice in spec.voices] == [("heart", "en-US")]
    assert (spec.default_voice, spec.can_clone, spec.languages, spec.word_timing) == ("heart", False, (), "engine")
    assert (spec.sample_rate_hz, SAMPLES_PER_TOKEN * 25) == (Hibari.sample_rate, SAMPLE_RATE_HZ)


def test_it_loads_once_when_the_voice_is_first_asked_for() -> None:
    engine = HibariEngine()
    assert engine.describe() == {"device": "cpu", "dtype": "int8", "loaded": False}
    with ThreadPoolExecutor(4) as pool:
        voices = list(pool.map(lambda _: engine.condition("heart", None), range(4)))
    assert {id(voice) for voice in voices} == {id(voices[0])}
    assert engine.describe()["loaded"] is True


# Same request, same bytes


def test_the_samples_are_the_packages_own() -> None:
    """Its network gives its durations, too, here, and its words are put together from tokens."""
    hibari = Hibari()
    for text in (SENTENCE, "Why? Well (so I'm told) he can't: “it's” 5% of $2.50, or well-known...", *SENTENCES[:10]):
        rng = np.random.default_rng(PARAMS.seed)
        lines = [hibari.g2p(sentence, normalize_text=False) for sentence in hibari.split_sentences(text)]
        expected = [hibari.from_ids(hibari.ids(line), rng=rng) for line in lines]
        assert speak(text).tobytes() == np.concatenate(expected).tobytes()


def rotated(items: list[T], first: int) -> list[T]:
    return items[first:] + items[:first]


def test_threads_at_once_give_the_bytes_of_each_alone() -> None:
    """Also those that load for themselves, and read words that no dictionary has."""
    requests = [(f"Zorblax {text}", replace(PARAMS, seed=seed)) for seed, text in enumerate(SENTENCES[::30])]
    alone = [speak(*request).tobytes() for request in requests]
    other = HibariEngine()
    barrier = threading.Barrier(8, timeout=60)

    def all_of_them(first: int) -> list[bytes]:
        barrier.wait()
        voice = other.condition("heart", None)
        return [joined(other.stream(text, voice, params)).tobytes() for text, params in rotated(requests, first)]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(all_of_them, range(8))) == [rotated(alone, first) for first in range(8)]
    assert len(set(alone)) == len(requests)


def test_the_seed_is_that_of_the_noise_and_moves_no_word() -> None:
    one, other = (list(stream(SENTENCE, replace(TIMED, seed=seed))) for seed in (1, 2))
    assert speak(SENTENCE, replace(PARAMS, seed=1)).tobytes() == joined(iter(one)).tobytes()
    assert joined(iter(one)).tobytes() != joined(iter(other)).tobytes()
    assert one[0].words == other[0].words


# Chunks


@pytest.mark.parametrize(
    ("clips", "lengths"), [([], [0]), ([0], [0]), ([9], [9]), ([10], [9, 1]), ([9, 9], [9, 9]), ([4, 0, 16], [9, 9, 2])]
)
def test_the_last_chunk_says_so_even_where_it_is_full_or_empty(clips: list[int], lengths: list[int]) -> None:
    chunks = list(_chunks((Clip(np.zeros(length, np.float32), (), ()) for length in clips), 9))
    assert [len(chunk.samples) for chunk in chunks] == lengths
    assert [chunk.finish_reason for chunk in chunks] == [None] * (len(lengths) - 1) + ["stop"]


def test_a_sentence_is_not_computed_before_its_chunk_is_asked_for_and_never_once_it_is_closed() -> None:
    computed = []

    def clips() -> Iterator[Clip]:
        for number in range(9):
            computed.append(number)
            yield Clip(np.zeros(20, np.float32), (), ())

    chunks = _chunks(clips(), 9)
    assert computed == []
    assert [len(next(chunks).samples) for _ in range(2)] == [9, 9]
    assert computed == [0]
    next(chunks)
    chunks.close()  # type: ignore[attr-defined]
    assert computed == [0, 1]


# Text


def test_markup_is_read_out_like_any_other_text() -> None:
    """hibari takes [word](/phonemes/) for the word's pronunciation: here it would be "no"."""
    text = "Say [yes](/nˈO/) now."
    assert [text[word.first : word.last] for word in spoken_words(text)] == ["Say", "[yes](/nˈO/", "now"]
    assert len(speak(text)) > len(speak("Say [yes] now.")) + SAMPLE_RATE_HZ // 2


@pytest.mark.parametrize("digits", ["9" * 70, "1" + ",000" * 30, "²£", "①é", "٣٤٥", "1" * 67])
def test_digits_that_hibari_fails_on_are_read(digits: str) -> None:
    """From 10^66 on, and for superscript digits in a word, it raises an exception."""
    (chunk,) = stream(digits)
    assert peak_dbfs(chunk.samples) > -20.0
    assert chunk.remarks == ()


def test_a_long_word_is_read_to_its_end() -> None:
    """hibari reads 24 letters of a word, unless its dictionary has it, and takes seconds for long addresses."""
    known, unknown = "Supercalifragilisticexpialidocious", "brindlewomp" * 20
    assert len(spoken_words(f"{known}.")) == 1
    words = spoken_words(unknown)
    assert [word.last - word.first for word in words] == [MAX_WORD_CHARS] * 9 + [4]
    assert words[-1].end > 8 * words[0].end


def test_a_sentence_longer_than_any_the_network_knew_is_spoken_in_parts_to_its_end() -> None:
    text = "over and under " * 60 + "the end"
    clips = list(ENGINE.condition("heart", None).clips(text, seed=0))
    assert len(clips) > 1
    assert [text[word.first : word.last] for clip in clips for word in clip.words] == text.split()
    assert all(peak_dbfs(clip.samples) > -20.0 for clip in clips)


@pytest.mark.parametrize(
    ("text", "unread"),
    [
        ("Well done 👩‍👩‍👧 🎉!", []),
        ("Peace 和平 to all, سلام", ["this voice can't read 和平, سلام"]),
        ("Привет, мир!", []),
        ("naïve Zoë, Łódź", []),
    ],
)
def test_words_of_other_scripts_are_left_out_and_named(text: str, unread: list[str]) -> None:
    assert remarks(text) == unread
    assert peak_dbfs(speak(text)) > -20.0


def test_where_nothing_can_be_read_the_only_chunk_is_empty() -> None:
    (chunk,) = stream("早上好，你好吗？", WINDOW)
    assert (len(chunk.samples), chunk.finish_reason, chunk.words) == (0, "stop", ())
    assert [remark.kind for remark in chunk.remarks] == ["unfinished"]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.text(st.sampled_from("aBé19 .,'’-–/$%²①€:;!?()[]&+@#*“_早ع\u200d\u0301\ud800\0"), min_size=1, max_size=60))
def test_any_text_is_spoken_and_its_words_are_in_order_inside_it(text: str) -> None:
    chunks, given_samples = list(stream(text, replace(WINDOW, word_times=True))), 0
    words = [word for chunk in chunks for word in chunk.words]
    for chunk in chunks:
        given_samples += len(chunk.samples)
        assert all(word.end <= given_samples for word in chunk.words)
    assert all(0 <= word.start < word.end for word in words)
    assert all(before.end <= after.start for before, after in pairwise(words))
    assert all(before.last <= after.first for before, after in pairwise(words))
    assert all(any(map(str.isalnum, text[word.first : word.last])) for word in words)


# Word times


def test_every_word_is_timed_once_and_in_order() -> None:
    text = "“Why?” she asked Dr. Hall. He couldn't say: twenty-one, perhaps."
    words = spoken_words(text)
    spoken = ["“Why", "she", "asked", "Dr.", "Hall", "He", "couldn't", "say", "twenty-one", "perhaps"]
    assert [text[word.first : word.last] for word in words] == spoken
    assert all(before.end <= after.start for before, after in pairwise(words))


def test_a_word_that_is_left_out_moves_no_other() -> None:
    (alone,), (word,) = spoken_words("Apple."), spoken_words("和平 Apple.")
    assert (word.start, word.end) == (alone.start, alone.end)


def test_a_word_between_pauses_is_where_it_sounds() -> None:
    """Durations count 25 ms, and so a start may be off by 13 ms; a soft onset takes as long again to be heard."""
    text = "Apple, orange, under, apple, only. Easy, open, arm."
    samples, errors_s = speak(text), []
    power = np.convolve(samples**2, np.full(120, 1 / 120), "same")  # (N,), of 5 ms
    loud = power > power.max() * 10 ** (-32 / 10)
    onsets = [at for at in np.flatnonzero(loud[1:] & ~loud[:-1]) if not loud[max(0, at - 1200) : at].any()]
    for word in spoken_words(text):
        errors_s.append(min((word.start - at for at in onsets), key=abs) / SAMPLE_RATE_HZ)
    assert np.median(np.abs(errors_s)) < 0.025
