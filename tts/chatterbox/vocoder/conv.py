"""A convolution over time as one product of matrices, which needs no plan."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, slots=True)
class CentredConv:
    """A convolution over each frame and as many on either side, zeros beyond the ends: (T, C) → (T, C').

    cuDNN plans a convolution again for each length, in each thread; cuBLAS chooses a product's kernel at once.
    """

    taps: Tensor  # (C', K · C)
    bias: Tensor  # (C',)
    nothing: Tensor  # (K // 2, C), before the first frame and after the last

    @classmethod
    def of(cls, weight: Tensor, bias: Tensor) -> CentredConv:
        """weight: (C', C, K), K odd."""
        return cls(weight.transpose(1, 2).flatten(1), bias, weight.new_zeros(weight.shape[2] // 2, weight.shape[1]))

    def __call__(self, x: Tensor) -> Tensor:
        padded = torch.cat((self.nothing, x, self.nothing)).flatten()
        return F.linear(padded.unfold(0, self.taps.shape[1], x.shape[1]), self.taps, self.bias)
