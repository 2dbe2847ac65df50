"""The operations around the products of the flow's estimator, in plain torch: a CPU's lines, and the oracle of our
kernels. B: requests; T: frames; C: channels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, slots=True)
class FrameOps:
    """One implementation of each. norm and bias: (C,) each; weight (N, C)."""

    # Layer norm, then a product without a bias: x (B, T, C), norm, its bias, weight → (B, T, N).
    norm_linear: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
    # Likewise, with the product's bias, then GELU.
    norm_linear_gelu: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
    # y (B, T, C) → y · weightᵀ + bias + x, with x (B, T, N): y, weight, bias, x.
    linear_add: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
    # Layer norm and Mish, plus a step's embedding (C,) or (B, 1, C): x (B, T, C), norm, its bias, embedding.
    norm_mish: Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]


def norm_linear(x: Tensor, norm: Tensor, norm_bias: Tensor, weight: Tensor) -> Tensor:
    return F.linear(F.layer_norm(x, norm.shape, norm, norm_bias), weight)


def norm_linear_gelu(x: Tensor, norm: Tensor, norm_bias: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.gelu(F.linear(F.layer_norm(x, norm.shape, norm, norm_bias), weight, bias))


def linear_add(y: Tensor, weight: Tensor, bias: Tensor, x: Tensor) -> Tensor:
    return x + F.linear(y, weight, bias)


def norm_mish(x: Tensor, norm: Tensor, norm_bias: Tensor, embedding: Tensor | None) -> Tensor:
    """Misra 2019 (arXiv:1908.08681)."""
    y = F.mish(F.layer_norm(x, norm.shape, norm, norm_bias))
    return y if embedding is None else y + embedding


PLAIN = FrameOps(norm_linear, norm_linear_gelu, linear_add, norm_mish)
