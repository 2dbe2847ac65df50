"""A recording's voice is upstream's, and it is never written to."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import soundfile
import torch
from small import RATE, buzz

from audio.reference import Reference
from tts.chatterbox.voice.conditioning import ChatterboxVoice


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
