"""Weights that lie in memory as a CPU's library reads them.

A product of few rows takes as long as reading its weights. FBGEMM reads float16 nearly as fast as memory gives it, and
computes in float32. oneDNN brings weights that lie row by row into its own order at each call, unless they lie so; its
operations are those that torch's compiler gives frozen weights; there are no public ones.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from validation.errors import ModelUnavailable


def pack(weight: Tensor, rows: int) -> Tensor:
    """weight (N, K), in a format of `Processor.packed`, → the same values for `linear` alone. rows: for how many the
    order is the best; where oneDNN wants another one for others, it reorders at each call, as it does without."""
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, rows)
    return packed


class HalfWeight:
    """A weight (N, K) in float16, for `linear` of x in float32 alone."""

    is_mkldnn = False

    def __init__(self, weight: Tensor) -> None:
        """weight: float32. Raises: ModelUnavailable if it has values beyond the range of float16."""
        if max(map(abs, weight.aminmax())) > torch.finfo(torch.float16).max:
            raise ModelUnavailable("the token model's weights exceed float16: set DTYPE=bfloat16 or float32")
        self.dtype, self.nbytes = torch.float16, 2 * weight.numel()
        self._packed = torch.ops.quantized.linear_prepack_fp16(weight, None)

    def product(self, x: Tensor) -> Tensor:
        product: Tensor = torch.ops.quantized.linear_dynamic_fp16(x, self._packed)
        return product


def linear(x: Tensor, weight: Tensor | HalfWeight, bias: Tensor | None = None) -> Tensor:
    """x (…, K) · weight (N, K)ᵀ + bias (N,) → (…, N), whether the weight is packed or not. Of another format than x, it
    is multiplied in its own."""
    if isinstance(weight, HalfWeight):
        product = weight.product(x)
        return product if bias is None else product.add_(bias)
    if weight.dtype != x.dtype:
        return F.linear(x.to(weight.dtype), weight, bias if bias is None else bias.to(weight.dtype)).to(x.dtype)
    if not weight.is_mkldnn:
        return F.linear(x, weight, bias)
    packed: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return packed
