"""Our layers are upstream's: every name, every shape, and what a layer is told besides; and none is filled in vain."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tts.chatterbox.voice.encoders import SpeechTokenizer, VoiceEncoder
from tts.chatterbox.weights import skeleton
from tts.chatterbox.weights.find import S3GEN_WEIGHTS, VOICE_ENCODER, read_tensors
from tts.chatterbox.weights.networks import COMPUTED, S3GenNetworks, import_upstream
from tts.chatterbox.weights.skeleton import Unfilled

import_upstream()
from chatterbox.models.t3.modules.perceiver import Perceiver  # noqa: E402

TOLD = ("stride", "padding", "dilation", "groups", "eps")  # what no tensor's shape tells


@pytest.fixture(scope="module")
def state(checkpoint) -> dict[str, torch.Tensor]:
    return read_tensors(checkpoint, S3GEN_WEIGHTS)


def shapes(network: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in network.state_dict().items()}


def test_a_checkpoint_of_upstreams_is_asked_for_tensor_by_tensor(state, oracle):
    """The oracle's networks are upstream's own classes, so nothing of theirs can be forgotten here."""
    with Unfilled():
        ours = S3GenNetworks(state)
    theirs = {name: shape for name, shape in shapes(oracle.s3gen).items() if name not in COMPUTED}
    assert shapes(ours) == theirs
    assert len(theirs) > 500


def test_so_is_the_voice_encoders(checkpoint, oracle):
    assert shapes(VoiceEncoder()) == shapes(oracle.ve)
    assert set(shapes(oracle.ve)) == set(read_tensors(checkpoint, VOICE_ENCODER))


@pytest.mark.parametrize("part", ["flow", "mel2wav"])
def test_layers_are_told_what_upstreams_are(state, oracle, part):
    """Of the vocoder all, for its forward reads them; of the flow the norms: its convolutions' padding is its own."""
    original, kinds = (
        getattr(oracle.s3gen, part),
        (nn.LayerNorm,) if part == "flow" else (nn.Conv1d, nn.ConvTranspose1d),
    )
    with Unfilled():
        ours = dict((skeleton.flow if part == "flow" else skeleton.vocoder)(state).named_modules())
    compared = 0
    for name, theirs in original.named_modules():
        if isinstance(theirs, kinds):
            for told in TOLD:
                assert getattr(ours[name], told, None) == getattr(theirs, told, None), (name, told)
            compared += 1
    assert compared > 20


def test_the_tokenizer_hears_what_upstreams_hears(state, oracle):
    """Its code around our layers is built at the first call, and once."""
    with Unfilled():
        ours = SpeechTokenizer(state)
    own = {name.removeprefix("tokenizer."): tensor for name, tensor in state.items() if name.startswith("tokenizer.")}
    ours.load_state_dict(own, assign=True)
    ours.eval().requires_grad_(False)
    sound = torch.randn(1, 16_000, generator=torch.Generator().manual_seed(0)) / 10
    heard, expected = ours([sound], max_len=20), oracle.s3gen.tokenizer([sound], max_len=20)
    assert heard[0].shape == (1, 20)
    assert all(torch.equal(a, b) for a, b in zip(heard, expected, strict=True))
    assert ours._original is ours._original
    assert set(shapes(ours)) == set(own)  # it is no part of what a checkpoint must hold
    assert ours._original.encoder.conv1.weight.data_ptr() == ours.encoder.conv1.weight.data_ptr()


def test_unfilled_draws_nothing_and_computes_what_is_computed(state):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    with Unfilled():
        layer = nn.Linear(3, 3)
        S3GenNetworks(state)
        VoiceEncoder()
        Perceiver(4, 8, 8)
        assert torch.equal(torch.zeros(2) + 1, torch.ones(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert layer.weight.shape == (3, 3)
    nn.Linear(3, 3)
    assert not torch.equal(torch.get_rng_state(), before)
