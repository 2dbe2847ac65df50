"""A recording's voice is upstream's, and it is never written to."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from tempfile import NamedTemporaryFile
from types import ModuleType

import numpy as np
import pytest
import soundfile
import torch
from small import RATE, buzz

from audio.reference import Reference
from bench.checkpoint import gpt2
from bench.checkpoint.seeded import SIZES, _conditionals
from tts.chatterbox.models import MODELS
from tts.chatterbox.t3.gpt2 import Gpt2
from tts.chatterbox.voice.conditioning import ChatterboxVoice, ReferenceEncoders
from tts.chatterbox.voice.encoders import Conditioner
from tts.chatterbox.weights.tensors import Tensors


@pytest.fixture(scope="module")
def recording() -> np.ndarray:
    return buzz(4.0, 140.0).samples


@pytest.fixture(scope="module")
def ours(model, recording) -> ChatterboxVoice:
    return model.encoders.encode("clone", buzz(4.0, 140.0))


@pytest.fixture(scope="module")
def theirs(oracle, recording, tmp_path_factory):
    path = tmp_path_factory.mktemp("voice") / "reference.wav"
    soundfile.write(path, recording, RATE, subtype="FLOAT")
    before = oracle.conds
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        oracle.prepare_conditionals(str(path), exaggeration=0.3)
        prefix = oracle.t3.prepare_conditioning(oracle.conds.t3)
    made, oracle.conds = oracle.conds, before
    return made, prefix


def test_the_flows_prompt_is_upstreams(ours, theirs):
    conds, _ = theirs
    assert torch.equal(ours.flow.tokens, conds.gen["prompt_token"])
    assert (ours.flow.mel - conds.gen["prompt_feat"]).abs().max() < 1e-4
    assert (ours.flow.speaker - conds.gen["embedding"]).abs().max() < 1e-4


def test_t3s_prefix_is_upstreams_with_the_exaggeration_asked_for(model, ours, theirs):
    _, prefix = theirs
    assert (model.encoders.prefix(ours, 0.3) - prefix).abs().max() < 1e-4
    assert (model.encoders.prefix(ours, 0.4) - prefix).abs().max() > 1e-3


def test_the_built_in_voice_is_upstreams(model, oracle):
    with torch.inference_mode():
        prefix = oracle.t3.prepare_conditioning(oracle.conds.t3)
    assert (model.encoders.prefix(model.built_in, 0.5) - prefix).abs().max() < 1e-4
    assert torch.equal(model.built_in.flow.tokens, oracle.conds.gen["prompt_token"])


def test_the_same_recording_at_another_rate_is_nearly_the_same_voice(model, ours, recording):
    from soxr import resample

    received = model.encoders.encode(
        "clone", Reference(resample(recording, RATE, 44100).astype(np.float32), 44100, 4.0, False)
    )
    assert torch.nn.functional.cosine_similarity(received.speaker, ours.speaker, dim=-1) > 0.999
    assert torch.nn.functional.cosine_similarity(received.flow.speaker, ours.flow.speaker) > 0.99


@pytest.mark.parametrize("seconds", [1.0, 1.013, 5.99, 10.0, 31.7])
def test_mel_and_tokens_of_the_prompt_agree_for_any_length(model, seconds):
    """Upstream warns, and has a frame left over if a clip is no whole number of tokens."""
    voice = model.encoders.encode("clone", buzz(seconds, 140.0))
    assert voice.flow.mel.shape[1] == 2 * voice.flow.tokens.shape[1]
    assert voice.flow.tokens.shape[1] <= 250


def tensors(voice: ChatterboxVoice) -> list[torch.Tensor]:
    return [voice.speaker, voice.prompt, voice.flow.tokens, voice.flow.mel, voice.flow.speaker]


# --- without a perceiver ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def turbo(model) -> ReferenceEncoders:
    """The small model's encoders before a GPT-2."""
    torch.manual_seed(0)
    file = Tensors("t3", gpt2.turbo_t3(SIZES["small"], 60, 300))
    t3 = Gpt2(file, torch.float32)
    conditioner = Conditioner(file.at("cond_enc."), t3.width)
    file.refuse_unknown()
    prompt_s = MODELS["turbo"].prompt_s
    return replace(model.encoders, t3=t3, conditioner=conditioner, prompt_s=prompt_s)


@pytest.fixture(scope="module")
def upstream_turbo(oracle) -> Callable[[Reference], torch.Tensor]:
    """Upstream's prefix of a recording, by `ChatterboxTurboTTS`, without its levelling, whose library is not here."""
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        patch.setitem(sys.modules, "pyloudnorm", ModuleType("pyloudnorm"))
        from chatterbox.tts_turbo import ChatterboxTurboTTS
        from upstream import upstream_turbo_t3

    torch.manual_seed(0)
    t3 = upstream_turbo_t3(gpt2.turbo_t3(SIZES["small"], 60, 300))

    def prefix(recording: Reference) -> torch.Tensor:
        with NamedTemporaryFile(suffix=".wav") as file, warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")
            soundfile.write(file.name, recording.samples, RATE, subtype="FLOAT")
            tts = ChatterboxTurboTTS(t3, oracle.s3gen, oracle.ve, None, "cpu")
            tts.prepare_conditionals(file.name, norm_loudness=False)
            return t3.prepare_conditioning(tts.conds.t3)

    return prefix


@pytest.mark.parametrize(("seconds", "prompt"), [(5.5, 138), (15.0, 375), (17.3, 375)])
def test_turbos_prefix_is_upstreams_for_a_recording_of_any_length(turbo, upstream_turbo, seconds, prompt):
    recording = buzz(seconds, 140.0)
    ours, theirs = turbo.prefix(turbo.encode("clone", recording), 0.5), upstream_turbo(recording)
    assert ours.shape == theirs.shape == (1, 1 + prompt, turbo.t3.width)
    assert (ours - theirs).abs().max() < 1e-4
    assert torch.equal(turbo.prefix(turbo.encode("clone", recording), 1.5), ours)  # it has no emotion
    shorter = replace(turbo, prompt_s=5).encode("clone", recording)
    assert shorter.prompt.shape[1] == 125


def test_the_built_in_voices_prompt_is_as_long_as_its_model_has_it(turbo, tmp_path):
    torch.save(_conditionals(50, MODELS["turbo"]), tmp_path / "conds.pt")
    voice = turbo.read_built_in("default", tmp_path / "conds.pt")
    assert voice.prompt.shape[1] == 375 == turbo.prompt_lengths[-1]
    assert turbo.prompt_lengths[0] == 1
