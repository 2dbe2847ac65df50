"""From logits to the next speech token, in the order upstream applies its processors.

Guidance → repetition penalty → temperature → min_p → top_p → draw. The draw is the inverse of the cumulative
distribution at one uniform number per step, so that a request's tokens depend on its seed alone. It does not
know where logits come from.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class TokenSampling:
    """The knobs of one request; ranges are those of the contract."""

    cfg_weight: float
    temperature: float
    top_p: float
    min_p: float
    repetition_penalty: float


def guide(logits: Tensor, cfg_weight: float) -> Tensor:
    """Classifier-free guidance: (2, V) conditional and unconditional rows → (V,) float32.

    cond + w · (cond − uncond), Ho & Salimans 2022 (arXiv:2207.12598). One row passes unchanged.
    """
    rows = logits.float()
    return rows[0] if len(rows) == 1 else rows[0] + cfg_weight * (rows[0] - rows[1])


def penalize(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Make tokens that were said less likely, (V,) → (V,). Keskar et al. 2019 (arXiv:1909.05858), eq. 2."""
    return torch.where(seen, torch.where(logits < 0, logits * penalty, logits / penalty), logits)


def distribution(logits: Tensor, seen: Tensor, knobs: TokenSampling) -> Tensor:
    """Guided logits (V,) → the probabilities (V,) that are drawn from; the excluded are exactly 0."""
    probs = torch.softmax(penalize(logits, seen, knobs.repetition_penalty) / knobs.temperature, dim=-1)
    probs = torch.where(probs < knobs.min_p * probs.max(), 0.0, probs)
    if knobs.top_p < 1.0:
        ordered, order = torch.sort(probs / probs.sum(), descending=True)
        beyond = ordered.cumsum(0) - ordered >= knobs.top_p  # the mass before a token already suffices
        probs = probs.masked_fill(torch.zeros_like(seen).scatter(0, order, beyond), 0.0)
    return probs / probs.sum()


def draw(probs: Tensor, uniform: Tensor) -> Tensor:
    """The token at which the cumulative distribution passes `uniform` (in [0, 1)): int64 ()."""
    cumulative = probs.double().cumsum(0)
    passed = cumulative <= uniform.double() * cumulative[-1]
    return passed.sum()


def sample(logits: Tensor, seen: Tensor, knobs: TokenSampling, uniform: Tensor) -> Tensor:
    """Rows of logits (1 or 2, V), the said tokens (V,) and a number in [0, 1) → the next token, int64 ()."""
    return draw(distribution(guide(logits, knobs.cfg_weight), seen, knobs), uniform)
