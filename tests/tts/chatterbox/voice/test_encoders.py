"""Each network takes exactly the tensors of upstream's class, and none is initialised before that."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from tts.chatterbox.model import ChatterboxModel
from tts.chatterbox.models import VOICE_ENCODER
from tts.chatterbox.voice.encoders import SkipInit, SpeakerEncoder, SpeechTokenizer, VoiceEncoder
from tts.chatterbox.weights.tensors import Tensors
from tts.chatterbox.weights.upstream import import_upstream

import_upstream()
from chatterbox.models.t3.modules.perceiver import Perceiver  # noqa: E402


def shapes(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in tensors.items() if name not in ("_mel_filters", "window")}


def test_every_encoder_takes_the_tensors_that_upstreams_has(model: ChatterboxModel, oracle):
    encoders = model.encoders
    assert shapes(encoders.tokenizer.tensors) == shapes(oracle.s3gen.tokenizer.state_dict())
    assert shapes(encoders.speaker_encoder.tensors) == shapes(oracle.s3gen.speaker_encoder.state_dict())
    assert shapes(encoders.voice_encoder.tensors) == shapes(oracle.ve.state_dict())
    assert shapes(encoders.conditioner.tensors) == shapes(oracle.t3.cond_enc.state_dict())


def test_the_tokenizers_tokens_are_upstreams(s3gen: Tensors, oracle):
    """Upstream's code around the tensors is built at the first call, once, and on the same memory."""
    ours = SpeechTokenizer(s3gen.at("tokenizer."))
    sound = torch.randn(1, 16_000, generator=torch.Generator().manual_seed(0)) / 10
    tokens, expected = ours([sound], max_len=20), oracle.s3gen.tokenizer([sound], max_len=20)
    assert tokens[0].shape == (1, 20)
    assert all(torch.equal(a, b) for a, b in zip(tokens, expected, strict=True))
    assert ours._network is ours._network
    assert ours._network.encoder.conv1.weight.data_ptr() == ours.tensors["encoder.conv1.weight"].data_ptr()


def test_the_perceiver_is_upstreams(model: ChatterboxModel, oracle):
    prompt = torch.randn(1, 150, model.t3.width, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode(), pytest.warns(FutureWarning, match="sdp_kernel"):
        expected = oracle.t3.cond_enc.perceiver(prompt)
    assert torch.equal(model.encoders.conditioner.perceiver(prompt), expected)


def test_nothing_is_drawn_and_what_is_computed_is_computed(checkpoint: Path, s3gen: Tensors):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    with SkipInit():
        layer = nn.Linear(3, 3)
        Perceiver(4, 8, 8)
        assert torch.equal(torch.zeros(2) + 1, torch.ones(2))
    SpeakerEncoder(s3gen.at("speaker_encoder."))
    assert VoiceEncoder(Tensors.read(checkpoint, VOICE_ENCODER))._network
    assert torch.equal(torch.get_rng_state(), before)
    assert layer.weight.shape == (3, 3)
    nn.Linear(3, 3)
    assert not torch.equal(torch.get_rng_state(), before)
