"""From logits to the next speech token, in the order upstream applies its processors, for S slots at once.

Guidance → repetition penalty → temperature → min_p → top_p → draw. The draw is the inverse of the cumulative
distribution at one uniform number per step, so that a request's tokens depend on its seed alone. Every parameter
is read from device memory, so that a graph captured before a request samples with that request's parameters.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields

import torch
from torch import Tensor

from validation.options import SamplingParams

BROKEN = -1  # in place of a token whose probabilities were not finite


@dataclass(frozen=True, slots=True)
class TokenSampling:
    """Sampling parameters of one request, in the contract's ranges."""

    cfg_weight: float
    temperature: float
    top_p: float
    min_p: float
    repetition_penalty: float

    @classmethod
    def of(cls, params: SamplingParams) -> TokenSampling:
        return cls(*(getattr(params, field.name) for field in fields(cls)))


@dataclass(frozen=True, slots=True)
class Knobs:
    """Sampling parameters of S requests on the device, each (S, 1) float32; in the order of TokenSampling."""

    cfg_weight: Tensor
    temperature: Tensor
    top_p: Tensor
    min_p: Tensor
    repetition_penalty: Tensor

    @classmethod
    def of(cls, requests: list[TokenSampling], device: torch.device) -> Knobs:
        return cls(*torch.tensor([astuple(request) for request in requests]).to(device).T[..., None])

    def write(self, request: TokenSampling) -> None:
        """Set all slots of this view to one request's parameters."""
        for place, value in zip(self.parts, astuple(request), strict=True):
            place.fill_(value)

    def slot(self, index: int) -> Knobs:
        """A view of one slot."""
        return Knobs(*(part[index : index + 1] for part in self.parts))

    @property
    def parts(self) -> tuple[Tensor, ...]:
        return (self.cfg_weight, self.temperature, self.top_p, self.min_p, self.repetition_penalty)


def guide(logits: Tensor, cfg_weight: Tensor) -> Tensor:
    """Classifier-free guidance: (2, S, V), conditional and unconditional rows, → (S, V) float32.

    cond + w · (cond − uncond), Ho & Salimans 2022 (arXiv:2207.12598). (1, S, V) passes unchanged.
    """
    rows = logits.float()
    return rows[0] if len(rows) == 1 else rows[0] + cfg_weight * (rows[0] - rows[1])


def penalize(logits: Tensor, seen: Tensor, penalty: Tensor) -> Tensor:
    """Make tokens that were drawn before less likely, (S, V) → (S, V). Keskar et al. 2019 (arXiv:1909.05858), eq. 2."""
    return torch.where(seen, torch.where(logits < 0, logits * penalty, logits / penalty), logits)


def distribution(logits: Tensor, seen: Tensor, knobs: Knobs) -> Tensor:
    """Guided logits (S, V) → probabilities (S, V) to sample from; those of excluded tokens are exactly 0."""
    probs = torch.softmax(penalize(logits, seen, knobs.repetition_penalty) / knobs.temperature, dim=-1)
    probs = torch.where(probs < knobs.min_p * probs.amax(-1, keepdim=True), 0.0, probs)
    ordered, order = torch.sort(probs / probs.sum(-1, keepdim=True), dim=-1, descending=True)
    before = ordered.cumsum(-1) - ordered  # probability of all likelier tokens
    beyond = (before >= knobs.top_p) & (knobs.top_p < 1.0) & (before > 0.0)  # a tiny top_p is 0 in float32
    probs = probs.masked_fill(torch.zeros_like(seen).scatter(-1, order, beyond), 0.0)
    return probs / probs.sum(-1, keepdim=True)


def draw(probs: Tensor, uniform: Tensor) -> Tensor:
    """The token at which the cumulative distribution (S, V) passes `uniform` (S, 1) in [0, 1): int64 (S,)."""
    cumulative = probs.double().cumsum(-1)
    return (cumulative <= uniform.double() * cumulative[:, -1:]).sum(-1)


def sample(logits: Tensor, seen: Tensor, knobs: Knobs, uniform: Tensor) -> Tensor:
    """Logits (1 or 2, S, V), tokens drawn before (S, V), a number in [0, 1) each (S, 1) → the next tokens, int64 (S,).

    BROKEN where the logits or the probabilities are not finite.
    """
    guided = guide(logits, knobs.cfg_weight)
    probs = distribution(guided, seen, knobs)
    is_finite = (guided.isfinite() & probs.isfinite()).all(-1)
    return torch.where(is_finite, draw(probs, uniform), BROKEN)
