"""Weights that lie in memory as oneDNN reads them, for a CPU.

A product of few rows takes as long as reading its weights, and oneDNN brings those that lie row by row into its own
order at each call. The operations are those that torch's compiler gives frozen weights; there are no public ones.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def pack(weight: Tensor, rows: int) -> Tensor:
    """weight (N, K), in a format of `Processor.packed`, → the same values for `linear` alone. rows: for how many the
    order is the best; where oneDNN wants another one for others, it reorders at each call, as it does without."""
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, rows)
    return packed


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (…, K) · weight (N, K)ᵀ + bias (N,) → (…, N), whether the weight is packed or not."""
    if not weight.is_mkldnn:
        return F.linear(x, weight, bias)
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return product
