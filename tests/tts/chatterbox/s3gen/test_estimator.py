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


def both(network, step: int, frames: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    x, mu, cond = (draw(2, frames, 80, seed=seed) for seed in range(3))
    speaker = draw(2, 1, 80, seed=3).expand_as(mu)
    estimator = Estimator(Tensors("network", network.state_dict()), TIMES, torch.float32)
    ours = estimator(x, torch.cat((mu, speaker, cond), -1), step)
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
    ours, theirs = both(network, step, frames)
    assert (ours - theirs).abs().max() < bound(network) * theirs.abs().max()


def test_the_negative_control_another_steps_embedding_is_seen(network):
    ours, _ = both(network, 0)
    _, theirs = both(network, 2)
    assert (ours - theirs).abs().max() > 1e-2 * theirs.abs().max()
