"""How far two ways of computing one thing may differ by rounding alone, on any processor.

A sum of n products differs by at most n roundings of its size, in whatever order and width a processor adds (Higham,
Accuracy and Stability of Numerical Algorithms, 2002, section 3.1). A forward adds up those of its layers, as long as no
layer makes a difference larger in relation to its signal.
"""

from __future__ import annotations

import torch
from torch import nn

LAYERS = nn.Linear | nn.Conv1d | nn.ConvTranspose1d


def products(network: nn.Module) -> int:
    """How many products go into one value of the output, summed over the layers as if they were in a row."""
    return sum(
        layer.weight.numel() // (layer.weight.shape[1] if isinstance(layer, nn.ConvTranspose1d) else len(layer.weight))
        for layer in network.modules()
        if isinstance(layer, LAYERS)
    )


def bound(network: nn.Module, dtype: torch.dtype = torch.float32) -> float:
    """The largest difference of two forwards of `network`, over the largest value of its output."""
    return products(network) * torch.finfo(dtype).eps / 2
