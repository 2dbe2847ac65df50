"""The engine's laws, for a small checkpoint of each family."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import small

from bench.checkpoint.seeded import write_checkpoint
from tts.chatterbox.conversion import convert
from tts.chatterbox.model import ChatterboxModel
from tts.chatterbox.models import MODELS
from tts.chatterbox.options import LoadOptions
from tts.chatterbox.rates import SAMPLES_PER_TOKEN
from tts.chatterbox.segment import stream_segment
from tts.chatterbox.t3.decoding import Decoder
from validation.errors import ModelUnavailable

MODES = ["full", "window", "block"]
TOKENS = 40
ADDED = {"turbo": 2880, "nano": 2880, "multilingual": -960}  # samples, to those of the drawn tokens


@pytest.fixture(scope="module", params=ADDED)
def family(request, tmp_path_factory) -> ChatterboxModel:
    name = request.param
    directory = write_checkpoint(tmp_path_factory.mktemp(name), speech_tokens=TOKENS, model=name)
    spec = MODELS[name]
    options = LoadOptions("cpu", "float32", "float32", max_tokens=spec.max_tokens, watermark=False, spec=spec)
    return ChatterboxModel.load(directory, options)


def chunks_of(model, voice=None, text=small.TEXT, **changes):
    params = replace(small.WINDOW, top_p=0.95, top_k=1000, **changes)
    return list(stream_segment(model, text, voice or model.built_in, params))


def joined(chunks):
    return np.concatenate([chunk.samples for chunk in chunks])


@pytest.mark.parametrize("mode", MODES)
def test_a_segment_has_its_models_length_to_the_sample_and_its_tokens_are_those_drawn(family, mode):
    chunks = chunks_of(family, decode_mode=mode)
    samples = joined(chunks)
    assert sum(chunk.speech_tokens for chunk in chunks) == TOKENS
    assert len(samples) == SAMPLES_PER_TOKEN * TOKENS + ADDED[family.spec.name]
    assert np.isfinite(samples).all()
    assert np.abs(samples).max() > 0.01
    assert [chunk.finish_reason for chunk in chunks] == [None] * (len(chunks) - 1) + ["stop"]


@pytest.mark.parametrize("mode", MODES)
def test_streamed_is_joined_and_each_time_the_same(family, mode):
    streamed = joined(chunks_of(family, decode_mode=mode))
    assert np.array_equal(streamed, joined(chunks_of(family, decode_mode=mode, checked=True)))
    assert np.array_equal(streamed, joined(chunks_of(family, decode_mode=mode)))
    assert not np.array_equal(streamed, joined(chunks_of(family, decode_mode=mode, seed=8)))


def test_in_a_shared_batch_it_is_as_alone(family):
    """While another has the first slot."""
    shared = replace(family, decoder=Decoder(family.t3, 100, slots=2, share=True))
    other = stream_segment(shared, "Another one.", family.built_in, replace(small.WINDOW, seed=3))
    next(other)
    together = joined(chunks_of(shared))
    other.close()
    alone = joined(chunks_of(family))
    assert together.shape == alone.shape
    assert np.abs(together - alone).max() < 1e-3


def test_a_stream_that_is_left_leaves_its_slot(family):
    whole = joined(chunks_of(family))
    for _ in range(3):  # with one slot
        stream = stream_segment(family, small.TEXT, family.built_in, small.WINDOW)
        next(stream)
        stream.close()
    assert np.array_equal(joined(chunks_of(family)), whole)


def test_a_cloned_voice_speaks_and_a_recording_is_converted_to_its_own_length(family):
    voice = family.condition("clone", small.buzz(15.0))  # the seeded GPT-2 counts the prompt's tokens, too
    assert not np.array_equal(joined(chunks_of(family, voice)), joined(chunks_of(family)))
    source = small.buzz(2.0, rate_hz=16_000).samples
    assert len(joined(convert(family, source, 16_000, voice, small.WINDOW))) == 48_000


def test_a_text_that_the_token_model_has_no_ids_for_is_refused(family, monkeypatch):
    """On a GPU an index beyond the table ends the process, and all jobs with it."""
    monkeypatch.setattr(type(family.t3), "text_ids", 5)
    with pytest.raises(ModelUnavailable, match=f"{family.spec.tokenizer[0]} is not of {family.spec.t3}: it has the id"):
        chunks_of(family)


def test_each_language_that_needs_no_more_is_spoken(family):
    texts = {"en": "Hello.", "fr": "Ça va, l'été ?", "ko": "안녕하세요.", "ru": "Привет.", "hi": "नमस्ते।"}
    sounds = [
        joined(chunks_of(family, text=texts[name], language=name)) for name in family.spec.languages if name in texts
    ]
    assert len(sounds) == (len(texts) if len(family.spec.languages) > 1 else 1)
    assert len({sound.tobytes() for sound in sounds}) == len(sounds)
