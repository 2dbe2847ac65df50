"""What each model of the family can do; the laws that every engine keeps are in test_engine.py, run on each."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import small

from tts.chatterbox.conversion import convert
from tts.chatterbox.model import ChatterboxModel
from tts.chatterbox.segment import stream_segment
from validation.errors import ModelUnavailable


@pytest.fixture(params=["turbo", "nano", "multilingual"])
def family(request, models) -> ChatterboxModel:
    return models(request.param)


def chunks_of(model, voice=None, text=small.TEXT, **changes):
    params = replace(small.WINDOW, top_p=0.95, top_k=1000, **changes)
    return list(stream_segment(model, text, voice or model.built_in, params))


def joined(chunks):
    return np.concatenate([chunk.samples for chunk in chunks])


def test_a_cloned_voice_speaks_and_a_recording_is_converted_to_its_own_length(family):
    voice = family.condition("clone", small.buzz(family.spec.prompt_s))  # shorter: a seeded GPT-2 stops later
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
