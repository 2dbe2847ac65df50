"""From logits to the next speech token, in the order upstream applies its processors, for S slots at once.

Guidance → one of two orders → draw. The original's: repetition penalty → temperature → min_p → top_p → top_k, of which
upstream has all but the last; Turbo's: temperature → top_k → top_p → repetition penalty. The draw is the inverse of the
cumulative distribution at one uniform number per step, so that a request's tokens depend on its seed alone. Every
parameter is read from device memory, so that a graph captured before a request samples with that request's parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, dataclass, fields
from functools import partial

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
    top_k: int = 0  # 0: of all tokens

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
    top_k: Tensor

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
        return tuple(getattr(self, field.name) for field in fields(self))


def guide(logits: Tensor, cfg_weight: Tensor) -> Tensor:
    """Classifier-free guidance: (2, S, V), conditional and unconditional rows, → (S, V) float32.

    cond + w · (cond − uncond), Ho & Salimans 2022 (arXiv:2207.12598). (1, S, V) passes unchanged.
    """
    rows = logits.float()
    return rows[0] if len(rows) == 1 else rows[0] + cfg_weight * (rows[0] - rows[1])


def penalize(logits: Tensor, seen: Tensor, penalty: Tensor) -> Tensor:
    """Make tokens that were drawn before less likely, (S, V) → (S, V). Keskar et al. 2019 (arXiv:1909.05858), eq. 2."""
    return torch.where(seen, torch.where(logits < 0, logits * penalty, logits / penalty), logits)


def beyond_top_k(ordered: Tensor, top_k: Tensor) -> Tensor:
    """Which of the values (S, V), in descending order, are less than the top_k-th; none where that is 0."""
    size = ordered.shape[-1]
    last = torch.where(top_k < 1.0, size, top_k).clamp(max=size).long() - 1
    return ordered < ordered.gather(-1, last)


def beyond_top_p(ordered: Tensor, top_p: Tensor) -> Tensor:
    """Before which of the probabilities (S, V), in descending order, likelier ones sum up to top_p; none where it
    is 1."""
    before = ordered.cumsum(-1) - ordered
    return (before >= top_p) & (top_p < 1.0) & (before > 0.0)  # a tiny top_p is 0 in float32


def distribution(logits: Tensor, seen: Tensor, knobs: Knobs) -> Tensor:
    """Guided logits (S, V) → probabilities (S, V) to sample from; those of excluded tokens are exactly 0.

    The original's order.
    """
    probs = torch.softmax(penalize(logits, seen, knobs.repetition_penalty) / knobs.temperature, dim=-1)
    probs = torch.where(probs < knobs.min_p * probs.amax(-1, keepdim=True), 0.0, probs)
    ordered, order = torch.sort(probs / probs.sum(-1, keepdim=True), dim=-1, descending=True)
    beyond = beyond_top_p(ordered, knobs.top_p) | beyond_top_k(ordered, knobs.top_k)
    probs = probs.masked_fill(torch.zeros_like(seen).scatter(-1, order, beyond), 0.0)
    return probs / probs.sum(-1, keepdim=True)


def turbo_distribution(logits: Tensor, seen: Tensor, knobs: Knobs) -> Tensor:
    """As `distribution`, in Turbo's order: the penalty changes how likely the kept tokens are, and not which are kept.
    min_p is not used."""
    scaled = logits / knobs.temperature
    ordered, order = torch.sort(scaled, dim=-1, descending=True)
    beyond = beyond_top_k(ordered, knobs.top_k)
    beyond |= beyond_top_p(torch.softmax(ordered.masked_fill(beyond, -torch.inf), dim=-1), knobs.top_p)
    excluded = torch.zeros_like(seen).scatter(-1, order, beyond)
    penalized = penalize(scaled, seen, knobs.repetition_penalty)
    return torch.softmax(penalized.masked_fill(excluded, -torch.inf), dim=-1)


def draw(probs: Tensor, uniform: Tensor) -> Tensor:
    """The token at which the cumulative distribution (S, V) passes `uniform` (S, 1) in [0, 1): int64 (S,)."""
    cumulative = probs.double().cumsum(-1)
    return (cumulative <= uniform.double() * cumulative[:, -1:]).sum(-1)


def sample(
    logits: Tensor,
    seen: Tensor,
    knobs: Knobs,
    uniform: Tensor,
    distribution: Callable[[Tensor, Tensor, Knobs], Tensor] = distribution,
) -> Tensor:
    """Logits (1 or 2, S, V), tokens drawn before (S, V), a number in [0, 1) each (S, 1) → the next tokens, int64 (S,).

    BROKEN where the logits or the probabilities are not finite.
    """
    guided = guide(logits, knobs.cfg_weight)
    probs = distribution(guided, seen, knobs)
    is_finite = (guided.isfinite() & probs.isfinite()).all(-1)
    return torch.where(is_finite, draw(probs, uniform), BROKEN)


turbo_sample = partial(sample, distribution=turbo_distribution)
