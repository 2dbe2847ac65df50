"""Our forward of the flow's encoder compared to upstream's on the same weights; padding, capture."""

from __future__ import annotations

import pytest
import torch
from rounding import bound
from small import Operations
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensor, FakeTensorMode

from tts.chatterbox.rates import SPEECH_CODES
from tts.chatterbox.s3gen.encoder import Encoder
from tts.chatterbox.weights.tensors import Tensors

LONGEST_TOKENS = 80
FAR, LARGEST = 1e-3, 2.0  # the least difference of unequal mus; the largest value of mu


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    """Ids, every second one at the upper end, where half precision can't hold all integers."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(SPEECH_CODES, shape, generator=generator)
    tokens[:, ::2] = torch.randint(6500, SPEECH_CODES, tokens[:, ::2].shape, generator=generator)
    return tokens


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    assert a.shape == b.shape
    return float((a - b).abs().max())


@pytest.fixture(scope="module")
def flow(oracle):
    return oracle.s3gen.flow


@pytest.fixture(scope="module")
def tensors(flow) -> Tensors:
    return Tensors("flow", flow.state_dict())


@pytest.fixture(scope="module")
def encoder(tensors) -> Encoder:
    return Encoder(tensors, torch.float32, LONGEST_TOKENS)


@pytest.fixture(scope="module")
def near(flow) -> float:
    return bound(flow.encoder) * LARGEST


def upstream(flow, tokens: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
    lengths = torch.full((len(tokens),), tokens.shape[1]) if lengths is None else lengths
    mask = torch.arange(tokens.shape[1]) < lengths[:, None]
    hidden, _ = flow.encoder(flow.input_embedding(tokens) * mask[..., None], lengths)
    return flow.encoder_proj(hidden)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("tokens", [1, 2, 3, 40, 61, LONGEST_TOKENS])
def test_mu_is_upstreams(flow, encoder, near, tokens, batch):
    drawn = draw(batch, tokens)
    ours = encoder(drawn)
    assert ours.dtype == torch.float32
    assert ours.shape == (batch, 2 * tokens, 80)
    assert distance(ours, upstream(flow, drawn)) <= near


def test_the_negative_control_the_last_token_is_heard_in_the_first_frame(encoder, near):
    tokens = draw(1, 40)
    other = tokens.clone()
    other[0, -1] -= 1
    assert distance(encoder(tokens)[:, :1], encoder(other)[:, :1]) > near


@pytest.mark.parametrize("length", [1, 2, 17, 63, 64])
def test_right_padding_changes_nothing(encoder, near, length):
    padded = draw(1, 64)
    exact = encoder(padded[:, :length])
    assert distance(encoder(padded, torch.tensor(length))[:, : 2 * length], exact) <= near
    if length < 64:
        assert distance(encoder(padded)[:, : 2 * length], exact) > FAR


def test_a_batch_of_unequal_lengths_is_each_of_its_rows_and_upstreams_is_not(flow, encoder, near):
    """Upstream zeroes pads before a layer that has a bias, and the lookahead reads that layer's output."""
    tokens, lengths = draw(3, 40), torch.tensor([40, 11, 26])
    ours, theirs = encoder(tokens, lengths), upstream(flow, tokens, lengths)
    for row, length in enumerate(lengths.tolist()):
        exact = upstream(flow, tokens[row : row + 1, :length])[0]
        assert distance(ours[row, : 2 * length], exact) <= near
        assert (distance(theirs[row, : 2 * length], exact) > FAR) == (length < 40)


def test_too_many_tokens_are_refused(encoder):
    with pytest.raises(ValueError, match="81 tokens"):
        encoder(draw(1, LONGEST_TOKENS + 1))


def test_bfloat16_errs_little(tensors, encoder):
    tokens = draw(1, 61)
    exact, near = encoder(tokens), Encoder(tensors, torch.bfloat16, LONGEST_TOKENS)(tokens)
    assert near.dtype == torch.float32
    assert 0 < (near - exact).norm() < 0.01 * exact.norm()


def fake(flow, mode: FakeTensorMode, device: torch.device) -> Tensors:
    """The network's tensors without values, on a device that need not exist."""
    state = {name: FakeTensor(mode, tensor.to("meta"), device) for name, tensor in flow.state_dict().items()}
    return Tensors("flow", state, device, check_values=False)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_graph_could_hold_it(flow, device, dtype):
    """Fake tensors have no values: reading one raises, and so does an operation over two devices."""
    mode = FakeTensorMode()
    with torch.inference_mode(False), torch.no_grad():
        network = fake(flow, mode, torch.device(device))
    with torch.inference_mode(False), torch.no_grad(), mode:
        encoder = Encoder(network, dtype, LONGEST_TOKENS)
        tokens = torch.zeros(2, 40, dtype=torch.long, device=device)
        lengths = torch.ones(2, dtype=torch.long, device=device)
        with Operations() as operations:
            mu = encoder(tokens, lengths)
        with pytest.raises(DataDependentOutputException):
            lengths.max().item()
    assert mu.device.type == device
    assert mu.shape == (2, 80, 80)
    seen = {name.split(".")[0] for name in operations.names}
    assert "addmm" in seen
    from_the_host = {"lift_fresh", "copy_", "scalar_tensor", "_local_scalar_dense", "nonzero", "arange"}
    assert not seen & from_the_host
