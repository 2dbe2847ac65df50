"""Our forward of the estimator compared to upstream's on the same weights."""

from __future__ import annotations

import pytest
import torch
from rounding import bound

from tts.chatterbox.s3gen.estimator import Estimator
from tts.chatterbox.weights.tensors import Tensors

TIMES = torch.tensor([0.0, 0.2, 0.9, 1.0])


def draw(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def network(oracle):
    return oracle.s3gen.flow.decoder.estimator


def estimator(network, dtype: torch.dtype) -> Estimator:
    return Estimator(Tensors("network", network.state_dict()), TIMES, dtype)


def both(network, dtype: torch.dtype, step: int, frames: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    x, mu, cond = (draw(2, frames, 80, seed=seed) for seed in range(3))
    speaker = draw(2, 1, 80, seed=3).expand_as(mu)
    with torch.inference_mode():
        ours = estimator(network, dtype)(x, torch.cat((mu, speaker, cond), -1).to(dtype), step)
        theirs = network(
            x=x.transpose(1, 2),
            mask=torch.ones(2, 1, frames),
            mu=mu.transpose(1, 2),
            t=TIMES[step].expand(2),
            r=TIMES[step + 1].expand(2),  # read by a distilled network alone
            spks=speaker[:, 0],
            cond=cond.transpose(1, 2),
        )
    return ours, theirs.transpose(1, 2)


@pytest.mark.parametrize("step", range(3))
@pytest.mark.parametrize("frames", [1, 2, 60])
def test_the_field_is_upstreams(network, step, frames):
    ours, theirs = both(network, torch.float32, step, frames)
    assert (ours - theirs).abs().max() < bound(network) * theirs.abs().max()


def test_bfloat16_errs_by_a_few_percent_at_most(network):
    """Measured full-size: about 3 % of the largest value (docs/LOG.md)."""
    ours, theirs = both(network, torch.bfloat16, 1)
    assert ours.dtype == torch.float32
    assert (ours - theirs).abs().max() < 0.05 * theirs.abs().max()


def test_the_negative_control_another_steps_embedding_is_seen(network):
    ours, _ = both(network, torch.float32, 0)
    _, theirs = both(network, torch.float32, 2)
    assert (ours - theirs).abs().max() > 1e-2 * theirs.abs().max()


def test_a_convolution_reads_no_later_frame(network):
    """Attention sees all frames, so only the first convolution is tested."""
    conv = estimator(network, torch.float32)._down.resnet.first.conv
    x = draw(1, 9, 320, seed=5)
    later = x.clone()
    later[:, 6:] += 1.0
    assert torch.equal(conv(x)[:, :6], conv(later)[:, :6])
    assert not torch.equal(conv(x)[:, 6:], conv(later)[:, 6:])
