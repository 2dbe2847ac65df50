"""Word times of the whole engine, by a T3 whose heads are planted to follow the text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import fakes
import numpy as np
import pytest
import torch
from aligned import HEADS, following
from small import TEXT, WINDOW

from tts.chatterbox import segment
from tts.chatterbox.engine import ChatterboxEngine
from tts.chatterbox.model import ChatterboxModel
from tts.chatterbox.models import ORIGINAL
from tts.chatterbox.options import LoadOptions
from tts.chatterbox.rates import SAMPLES_PER_TOKEN, TOKENS_PER_S
from tts.chatterbox.segment import stream_segment
from tts.chatterbox.t3 import decoding
from tts.chatterbox.t3.decoding import Decoder
from tts.chatterbox.t3.llama import Llama
from tts.chatterbox.weights.tensors import Tensors
from tts.engine import SpeechChunk, SpokenWord

MODES = ["window", "full", "block"]
ASKED = replace(WINDOW, word_times=True)
COMMA, PAUSE = 20, 8  # the token that reaches the comma, and how many it lasts


def place(token: int) -> float:
    """The text position that a token speaks: 15 letters a second, and a pause on the comma."""
    return 0.6 * (token - min(max(token - COMMA, 0), PAUSE))


def with_t3(model: ChatterboxModel, t3: Llama, **sharing: int | bool) -> ChatterboxModel:
    return replace(model, t3=t3, decoder=Decoder(t3, 1000, **({"slots": 1} | sharing)))


@pytest.fixture(scope="module")
def planted(checkpoint: Path, model: ChatterboxModel) -> ChatterboxModel:
    return with_t3(model, following(checkpoint, place))


def spoken(model: ChatterboxModel, params=ASKED, text: str = TEXT) -> Iterator[SpeechChunk]:
    return stream_segment(model, text, model.built_in, params)


def joined(chunks: list[SpeechChunk]) -> tuple[np.ndarray, list[SpokenWord]]:
    return np.concatenate([c.samples for c in chunks]), [word for c in chunks for word in c.words]


def first_token_at(position: int) -> int:
    """The first token that is nearer to a text position than to the one before."""
    return next(token for token in range(1000) if place(token) >= position - 0.5)


@pytest.mark.parametrize("checked", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_times_are_within_40_ms_of_what_was_planted(planted, mode, checked):
    samples, words = joined(list(spoken(planted, replace(ASKED, decode_mode=mode, checked=checked))))
    assert [TEXT[word.first : word.last] for word in words] == TEXT.split()
    for word, known in zip(words, planted.reader.words(TEXT, "en"), strict=True):
        assert abs(word.start - first_token_at(known.first_token) * SAMPLES_PER_TOKEN) <= SAMPLES_PER_TOKEN
        assert abs(word.end - first_token_at(known.last_token + 1) * SAMPLES_PER_TOKEN) <= SAMPLES_PER_TOKEN
    assert words[0].start >= 0
    assert words[-1].end <= len(samples)


def test_streamed_and_joined_have_the_same_words(planted):
    """In whatever chunks the segment leaves."""
    each = [{"decode_mode": "full"}, {}, {"decode_mode": "block"}, {"chunk_size_tokens": 10}, {"checked": True}]
    found = [joined(list(spoken(planted, replace(ASKED, **changes))))[1] for changes in each]
    assert found == [found[0]] * len(each)


@pytest.mark.parametrize("mode", ["window", "block"])
def test_a_word_is_told_with_the_piece_that_holds_its_end(planted, mode):
    """Its place is certain by then: what is rendered lags behind the tokens."""
    sent = before = 0
    chunks = list(spoken(planted, replace(ASKED, decode_mode=mode, chunk_size_tokens=10)))
    for chunk in chunks:
        sent += len(chunk.samples)
        assert all(before < word.end <= sent for word in chunk.words)
        before = sent
    assert len([chunk for chunk in chunks if chunk.words]) >= 3


@pytest.mark.parametrize("mode", MODES)
def test_asking_changes_no_sample(planted, mode):
    plain, timed = (
        list(spoken(planted, replace(WINDOW, decode_mode=mode, word_times=word_times))) for word_times in (False, True)
    )
    assert [len(chunk.samples) for chunk in plain] == [len(chunk.samples) for chunk in timed]
    assert np.array_equal(joined(plain)[0], joined(timed)[0])
    assert joined(plain)[1] == []
    assert len(joined(timed)[1]) == len(TEXT.split())


def test_side_by_side_each_is_as_if_alone(planted):
    """Two slots of one batch, chunk by chunk in turn; only one asks."""
    pair = with_t3(planted, planted.t3, slots=2, share=True)
    alone = [joined(list(spoken(planted, params))) for params in (ASKED, replace(WINDOW, seed=8))]
    streams = [spoken(pair, params) for params in (ASKED, replace(WINDOW, seed=8))]
    received: list[list[SpeechChunk]] = [[], []]
    while any(got := [next(stream, None) for stream in streams]):
        for chunks, chunk in zip(received, got, strict=True):
            chunks += [chunk] if chunk else []
    for chunks, (samples, words) in zip(received, alone, strict=True):
        assert np.array_equal(joined(chunks)[0], samples)
        assert joined(chunks)[1] == words
    assert (len(alone[0][1]), len(alone[1][1])) == (len(TEXT.split()), 0)


def test_ids_that_are_no_sound_take_no_time(planted, monkeypatch):
    """Every third token is dropped, as upstream drops ids above the codes: what is left is 40 ms each."""
    kept = joined(list(spoken(planted)))[1]
    for module in (segment, decoding):
        monkeypatch.setattr(module, "SPEECH_CODES", 4000)
    samples, words = joined(list(spoken(planted)))
    assert len(samples) < 55 * SAMPLES_PER_TOKEN
    assert words[-1].end <= len(samples)
    assert 0 < words[-1].end < kept[len(words) - 1].end


def test_random_heads_time_nothing(model, checkpoint):
    """What they attend to is noise; so is what they remark."""
    t3 = Llama(Tensors.read(checkpoint, ORIGINAL.t3), torch.float32, HEADS)
    for seed in range(2):
        chunks = list(spoken(with_t3(model, t3), replace(ASKED, seed=seed)))
        assert joined(chunks)[1] == []
        assert [chunk.remarks for chunk in chunks] == [()] * len(chunks)


def test_a_network_without_these_heads_times_nothing(model):
    assert joined(list(spoken(model)))[1] == []


def test_remarks_come_with_the_last_chunk_and_change_nothing(checkpoint, planted):
    """The text is spoken in half the time, or only half of it."""
    for pace, kind in ((1.1, "went_on"), (0.3, "unfinished")):
        model = with_t3(planted, following(checkpoint, lambda token, pace=pace: min(pace * token, len(TEXT) + 1)))
        *before, last = spoken(model)
        assert [remark.kind for remark in last.remarks] == [kind]
        assert [chunk.remarks for chunk in before] == [()] * len(before)
        assert last.finish_reason == "stop"
        assert list(spoken(model, WINDOW))[-1].remarks == ()


def test_a_text_without_words_is_spoken(planted):
    samples, words = joined(list(spoken(planted, text="🎉 … !")))
    assert len(samples)
    assert words == []


@pytest.mark.parametrize("is_joined", [True, False])
def test_a_reply_has_these_times_and_says_where_they_come_from(planted, checkpoint, is_joined):
    engine = ChatterboxEngine(model_path=checkpoint, options=LoadOptions())
    engine._model = planted
    _, reply = fakes.spoken(
        fakes.fake_service(engine), {"text": TEXT, "seed": WINDOW.seed, "word_timestamps": True}, joined=is_joined
    )
    assert reply["timing"] == engine.spec.word_timing == "attention"
    assert [word["text"] for word in reply["words"]] == TEXT.replace(",", "").rstrip(".").split()
    for word, known in zip(reply["words"], planted.reader.words(TEXT, "en"), strict=True):
        assert word["start"] == pytest.approx(first_token_at(known.first_token) / TOKENS_PER_S, abs=1 / TOKENS_PER_S)
