"""Sampling against the processors upstream uses, on random logits."""

from __future__ import annotations

import pytest
import torch
from scipy import stats
from transformers.generation.logits_process import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TopPLogitsWarper,
)

from tts.chatterbox.sampling import TokenSampling, distribution, draw, guide, sample

VOCABULARY = 8194


def upstream_distribution(logits, said, knobs):
    """As upstream's loop does it: penalty, temperature, min_p, top_p, softmax."""
    ids = torch.tensor([said])
    row = RepetitionPenaltyLogitsProcessor(knobs.repetition_penalty)(ids, logits[None].clone()) / knobs.temperature
    row = MinPLogitsWarper(knobs.min_p)(ids, row)
    return torch.softmax(TopPLogitsWarper(knobs.top_p)(ids, row), -1)[0]


KNOBS = [
    TokenSampling(0.5, 0.8, 1.0, 0.05, 1.2),
    TokenSampling(0.5, 2.0, 0.5, 0.0, 2.0),
    TokenSampling(0.5, 0.1, 0.9, 0.0, 1.0),
    TokenSampling(0.5, 1.0, 0.01, 0.0, 1.5),
    TokenSampling(0.5, 0.8, 1.0, 1.0, 1.2),
]


@pytest.mark.parametrize("knobs", KNOBS)
@pytest.mark.parametrize("seed", range(5))
def test_the_distribution_is_that_of_upstreams_processors(knobs, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(VOCABULARY, generator=generator) * 3
    said = torch.randint(VOCABULARY, (50,), generator=generator).tolist()
    seen = torch.zeros(VOCABULARY, dtype=torch.bool)
    seen[said] = True
    ours, theirs = distribution(logits, seen, knobs), upstream_distribution(logits, said, knobs)
    assert torch.equal(ours > 0, theirs > 0)
    assert (ours - theirs).abs().max() < 1e-6


def test_guidance_is_linear_and_one_row_passes():
    rows = torch.tensor([[1.0, 2.0], [0.5, 3.0]])
    assert guide(rows, 0.5).tolist() == [1.25, 1.5]
    assert guide(rows[:1], 0.5).tolist() == [1.0, 2.0]


def test_draws_follow_the_distribution():
    """Chi-square over 20,000 draws, against the probabilities upstream would draw from."""
    knobs = TokenSampling(0.0, 1.0, 0.9, 0.0, 1.0)
    logits = torch.randn(12, generator=torch.Generator().manual_seed(3))
    seen = torch.zeros(12, dtype=torch.bool)
    uniforms = torch.rand(20_000, generator=torch.Generator().manual_seed(4))
    counts = torch.bincount(torch.stack([sample(logits[None], seen, knobs, u) for u in uniforms]), minlength=12)
    expected = upstream_distribution(logits, [0], knobs).double()
    expected *= len(uniforms) / expected.sum()
    allowed = expected > 0
    assert counts[~allowed].sum() == 0
    assert stats.chisquare(counts[allowed], expected[allowed]).pvalue > 0.001


def test_the_ends_of_the_unit_interval_draw_allowed_tokens():
    probs = torch.tensor([0.0, 0.25, 0.0, 0.75, 0.0])
    assert draw(probs, torch.tensor(0.0)) == 1
    assert draw(probs, torch.tensor(1.0 - 2**-24)) == 3
