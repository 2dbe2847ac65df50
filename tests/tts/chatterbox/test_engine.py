"""The engine end to end on a CPU: it loads lazily, repeats itself exactly, keeps nothing of a request; and what each of
the other models adds."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import threading
import types
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import small
import torch
from small import RATE, TEXT, WINDOW, buzz, each_family, joined

from tts.chatterbox.clip import start_fade
from tts.chatterbox.conversion import convert
from tts.chatterbox.engine import ChatterboxEngine
from tts.chatterbox.models import ORIGINAL
from tts.chatterbox.options import LoadOptions
from tts.chatterbox.rates import SAMPLES_PER_TOKEN
from tts.chatterbox.segment import stream_segment
from tts.chatterbox.t3.decoding import Decoder
from tts.chatterbox.voice.conditioning import ChatterboxVoice
from tts.engine import ImplausibleSpeech
from validation.errors import InternalError, ModelUnavailable
from validation.options import SamplingParams


def params(**changes) -> SamplingParams:
    return dataclasses.replace(WINDOW, **changes)


@pytest.fixture(scope="module")
def low(model) -> ChatterboxVoice:
    # Of the longest prompt: a seeded GPT-2 stops at a position, which a shorter one leaves later.
    return model.condition("clone", buzz(model.spec.prompt_s, 110.0))


@pytest.fixture(scope="module")
def high(model) -> ChatterboxVoice:
    return model.condition("clone", buzz(3.0, 210.0))


@pytest.fixture(scope="module")
def say(model) -> Callable[..., np.ndarray]:
    return partial(small.say, model)


# --- chunks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["full", "window", "block"])
def test_a_segment_is_960_samples_per_token_finite_and_audible(model, mode):
    chunks = list(stream_segment(model, TEXT, model.built_in, params(decode_mode=mode)))
    samples = joined(chunks)
    assert len(samples) == SAMPLES_PER_TOKEN * sum(chunk.speech_tokens for chunk in chunks)
    assert np.isfinite(samples).all()
    assert np.abs(samples).max() > 0.01
    assert [c.finish_reason for c in chunks] == [None] * (len(chunks) - 1) + ["stop"]
    assert all(chunk.watermarked for chunk in chunks if len(chunk.samples))


def test_the_first_sound_comes_with_the_nineteenth_token(model):
    """16 tokens and three of lookahead; no further token is computed."""
    tokens = 0
    for chunk in stream_segment(model, TEXT, model.built_in, params()):
        tokens += chunk.speech_tokens
        if len(chunk.samples):
            break
    assert tokens == 19
    assert 0.1 < len(chunk.samples) / RATE < 0.31


@each_family
@pytest.mark.parametrize("mode", ["full", "window", "block"])
def test_a_stream_can_be_stopped_after_a_few_tokens(model, mode):
    stream = stream_segment(model, TEXT, model.built_in, params(decode_mode=mode))
    first = next(stream)
    assert len(first.samples) == 0
    assert 1 <= first.speech_tokens <= 8
    stream.close()


def test_a_clip_begins_with_upstreams_fade(oracle, say):
    """Tokens, mel and samples are compared to upstream's in tests of their own; this is the rest."""
    assert np.allclose(start_fade(), oracle.s3gen.trim_fade.numpy(), atol=1e-6)
    clip = say(decode_mode="full")
    assert np.abs(clip[:400]).max() < 1e-3  # 20 ms of silence, except for the watermark
    assert np.abs(clip[960:]).max() > 0.01


def test_the_token_limit_is_reported(model):
    hasty = dataclasses.replace(model, decoder=Decoder(model.t3, 20, slots=1))
    for mode in ("full", "window", "block"):
        *before, last = stream_segment(hasty, TEXT, model.built_in, params(decode_mode=mode))
        assert last.finish_reason == "length"
        assert sum(chunk.speech_tokens for chunk in (*before, last)) == 20


# --- checked tokens ---------------------------------------------------------------------------------------------


@each_family
@pytest.mark.parametrize("mode", ["full", "window", "block"])
def test_checked_speech_is_the_same_and_comes_when_all_tokens_are_there(model, mode):
    chunks = list(stream_segment(model, TEXT, model.built_in, params(decode_mode=mode, checked=True)))
    first = next(index for index, chunk in enumerate(chunks) if len(chunk.samples))
    assert sum(chunk.speech_tokens for chunk in chunks[first + 1 :]) == 0
    assert (mode == "full") == (first == len(chunks) - 1)
    freely = joined(stream_segment(model, TEXT, model.built_in, params(decode_mode=mode)))
    assert np.array_equal(joined(chunks), freely)
    tokens = sum(chunk.speech_tokens for chunk in chunks) + len(model.spec.tail)
    assert len(freely) == SAMPLES_PER_TOKEN * tokens - model.spec.cut_samples
    assert np.abs(freely).max() > 0.01
    assert [chunk.doubt for chunk in chunks] == [None] * len(chunks)


@pytest.mark.parametrize("mode", ["full", "window", "block"])
@pytest.mark.parametrize(("limit", "text", "reason"), [(20, TEXT, "length"), (1000, TEXT * 20, "pace")])
def test_implausible_tokens_are_refused_before_the_first_sample(model, mode, limit, text, reason):
    hasty = dataclasses.replace(model, decoder=Decoder(model.t3, limit, slots=1))
    received = []
    with pytest.raises(ImplausibleSpeech) as fault:
        received.extend(stream_segment(hasty, text, model.built_in, params(decode_mode=mode, checked=True)))
    assert fault.value.reason == reason
    assert joined(received).size == 0
    *_, last = stream_segment(hasty, text, model.built_in, params(decode_mode=mode))  # unchecked it is spoken
    assert last.doubt.reason == reason
    assert len(last.samples)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 8},
        {"exaggeration": 0.9},
        {"cfg_weight": 0.0},
        {"cfg_weight": 0.9},
        {"temperature": 1.5},
        {"top_p": 0.3},
        {"min_p": 0.9},
        {"repetition_penalty": 2.0},
        {"top_k": 2},
        {"chunk_size_tokens": 10},
        {"context_window_tokens": 5},
        {"decode_mode": "full"},
        {"decode_mode": "block"},
    ],
    ids=lambda change: "-".join(change),
)
def test_every_parameter_acts(say, change):
    usual, changed = say(), say(**change)
    assert len(usual) != len(changed) or not np.array_equal(usual, changed)


@pytest.mark.parametrize("model", ["turbo"], indirect=True, scope="module")
def test_turbo_has_no_use_for_what_its_row_names_and_for_nothing_else(model, say):
    changes = {"exaggeration": 0.9, "cfg_weight": 0.0, "min_p": 0.9}
    assert {*changes, "cfg"} == set(model.spec.unused_fields)
    usual = say()
    for field, value in changes.items():
        assert np.array_equal(say(**{field: value}), usual)
    for change in ({"temperature": 1.5}, {"top_p": 0.3}, {"top_k": 2}, {"repetition_penalty": 2.0}):
        assert not np.array_equal(say(**change), usual)


@pytest.mark.parametrize("model", ["multilingual"], indirect=True, scope="module")
def test_a_language_acts_and_each_that_needs_no_more_is_spoken(say):
    assert not np.array_equal(say(language="fr"), say(language="de"))
    for language, text in {"en": "Hello.", "ko": "안녕하세요.", "ru": "Привет.", "hi": "नमस्ते।"}.items():
        assert len(say(text=text, language=language))


@pytest.mark.parametrize("model", ["turbo", "nano", "multilingual"], indirect=True, scope="module")
def test_a_text_that_the_token_model_has_no_ids_for_is_refused(model, say, monkeypatch):
    """On a GPU an index beyond the table ends the process, and all jobs with it."""
    assert len(say())
    monkeypatch.setattr(type(model.t3), "text_ids", 5)
    with pytest.raises(ModelUnavailable, match=f"{model.spec.tokenizer[0]} is not of {model.spec.t3}: it has the id"):
        say()


def test_a_text_of_400_characters_fits_the_models_positions(model):
    assert len(model.reader.tokens("word " * 80, "en")) <= model.t3.max_text_tokens


# --- nothing is shared between requests --------------------------------------------------------------------


@each_family
def test_a_predefined_request_after_a_clone_is_the_one_before_it(say, low):
    before = say()
    cloned = say(voice=low, exaggeration=1.0)
    assert np.array_equal(say(), before)
    assert not np.array_equal(cloned[: len(before)], before[: len(cloned)])


def test_two_threads_speak_at_once(say, low, high):
    """Upstream keeps the last caller's voice in the model; here requests share no voice."""
    alone = say(voice=low, seed=1), say(voice=high, seed=2)
    received: dict[int, np.ndarray] = {}
    jobs = [
        threading.Thread(target=lambda s=s, v=v: received.update({s: say(voice=v, seed=s)}))
        for s, v in [(1, low), (2, high)]
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join(60)
    assert np.array_equal(received[1], alone[0])
    assert np.array_equal(received[2], alone[1])


@each_family
def test_together_each_is_as_if_alone_and_who_leaves_leaves_nothing(model, low):
    """Of two requests that share every decode step, one leaves with its first sound; a third gets its slot."""
    decoder = Decoder(model.t3, 120, slots=2, share=True)
    shared = dataclasses.replace(model, decoder=decoder)
    one = TEXT, low, params(seed=1, temperature=1.5, repetition_penalty=2.0)
    other = "Another text.", model.built_in, params(seed=2, chunk_size_tokens=10)
    leaving, staying = stream_segment(shared, *one), stream_segment(shared, *other)
    received = [next(staying)]
    while not len(next(leaving).samples):
        received.append(next(staying))
    assert decoder._shared.free_slot is None
    leaving.close()
    received += staying
    assert np.array_equal(joined(received), joined(stream_segment(model, *other)))
    decoder.lane.loop.call(lambda: None)  # what was posted is done
    assert (decoder._shared.seats, decoder.lane._asks, decoder.lane._places) == ({}, [], [])
    assert np.array_equal(joined(stream_segment(shared, *one)), joined(stream_segment(model, *one)))


def test_speaking_writes_nothing_to_the_voice(say, low):
    before = {name: tensor.clone() for name, tensor in low.tensors().items()}
    say(voice=low, exaggeration=0.9)
    assert all(torch.equal(tensor, before[name]) for name, tensor in low.tensors().items())
    with pytest.raises(dataclasses.FrozenInstanceError):
        low.speaker = low.prompt


def test_a_voice_of_another_engine_is_refused(model):
    recording = np.zeros(RATE, np.float32)
    for chunks in (stream_segment(model, TEXT, object(), params()), convert(model, recording, RATE, object(), WINDOW)):
        with pytest.raises(InternalError):
            next(chunks)


# --- loading ----------------------------------------------------------------------------------------


def engine(path, **changes) -> ChatterboxEngine:
    options = dataclasses.replace(LoadOptions("cpu", "float32", "float32"), **changes)
    return ChatterboxEngine(model_path=path, options=options)


@pytest.mark.parametrize(
    ("package", "module", "words"),
    [
        ("tts.chatterbox.model", None, r"not installed \(tts\.chatterbox\.model\).*`make sync`.*TTS_ENGINE=hibari"),
        ("tts.chatterbox.model", types.ModuleType("empty"), "installed, but can't be imported"),
        ("perth", None, r"not installed \(perth\)"),
    ],
)
def test_packages_that_are_missing_or_broken_are_told_apart(monkeypatch, checkpoint, package, module, words):
    """The eSpeak installation has none of them; the default engine answered INTERNAL there."""
    monkeypatch.setitem(sys.modules, package, module)
    with pytest.raises(ModelUnavailable, match=words) as caught:
        engine(checkpoint).condition("default", None)
    assert (caught.value.__cause__ is None) == (module is None)  # the cause is logged as a traceback


def test_the_engine_loads_once_at_first_use_and_never_before(checkpoint):
    lazy = engine(checkpoint)
    assert lazy.describe() == {"device": "cpu", "dtype": "float32", "flow_dtype": "float32", "loaded": False}
    assert lazy.spec.default_voice == "default"
    voices = []
    jobs = [threading.Thread(target=lambda: voices.append(lazy.condition("default", None))) for _ in range(4)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join(60)
    assert len({id(voice) for voice in voices}) == 1
    spoken = {"device": "cpu", "dtype": "float32", "flow_dtype": "float32", "cuda_graphs": {}, "loaded": True}
    assert lazy.describe() == spoken


def test_without_the_watermark_the_reply_says_so_and_the_speech_is_the_same_but_for_it(checkpoint, say):
    bare = engine(checkpoint, watermark=False)
    chunks = list(bare.stream(TEXT, bare.condition("default", None), params(decode_mode="full")))
    assert not any(chunk.watermarked for chunk in chunks)
    marked, plain = say(decode_mode="full"), joined(chunks)
    assert marked.shape == plain.shape
    assert 0 < np.abs(marked - plain).max() < 0.5 * np.abs(plain).max()


def test_bfloat16_speaks_too(checkpoint):
    half = engine(checkpoint, dtype="bfloat16", flow_dtype="bfloat16")
    speech = joined(half.stream(TEXT, half.condition("default", None), params()))
    assert np.isfinite(speech).all()
    assert half.describe()["dtype"] == "bfloat16"


def test_importing_the_engine_imports_no_torch():
    code = "import sys, tts.chatterbox.engine; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_reference_of_every_file_name_is_upstreams():
    assert ORIGINAL.files == ("ve.safetensors", "t3_cfg.safetensors", "s3gen.safetensors", "tokenizer.json", "conds.pt")
