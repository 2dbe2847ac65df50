"""The operations that a decode step of T3 consists of, in plain torch: a CPU's lines, and the oracle of our kernels.

B: rows; D: width; E: feed-forward width; H: heads; S: slots; V: vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from tts.chatterbox.kernels.packed import linear
from tts.chatterbox.rates import HEAD_DIM
from tts.chatterbox.t3.sampling import Knobs, sample, turbo_sample

NORM_EPS = 1e-5

Attend = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""A layer's queries, keys and values (B, 3D), and its cache (B, 2, H, positions, HEAD_DIM), which gets the new keys and
values; → what was attended to (B, D), and the rotated queries (B, H, HEAD_DIM)."""


@dataclass(frozen=True, slots=True)
class DecodeOps:
    """One implementation of each."""

    norm_linear: Callable[[Tensor, Tensor, Tensor], Tensor]  # x (B, D), norm (D,), weight (N, D) → (B, N)
    norm_logits: Callable[[Tensor, Tensor, Tensor], Tensor]  # likewise, float32
    norm_swiglu: Callable[[Tensor, Tensor, Tensor], Tensor]  # weight (2E, D): gate, up → (B, E)
    linear_add: Callable[[Tensor, Tensor, Tensor], None]  # x (B, D) += y (B, K) · weight (D, K)ᵀ
    linear_bias_add: Callable[[Tensor, Tensor, Tensor, Tensor], None]  # likewise, and bias (D,)
    linear_bias_gelu: Callable[[Tensor, Tensor, Tensor], Tensor]  # x (B, D), weight (E, D), bias (E,) → (B, E)
    attention: Callable[[Tensor, Tensor, Tensor, int], Attend]  # cos, sin, position (B,), reach: of a step
    sample: Callable[[Tensor, Tensor, Knobs, Tensor], Tensor]  # `t3.sampling.sample`


def rms_norm(x: Tensor, weight: Tensor) -> Tensor:
    """Root-mean-square norm, the mean in float32. Zhang & Sennrich 2019 (arXiv:1910.07467)."""
    return F.rms_norm(x, weight.shape, weight, NORM_EPS)


def norm_linear(x: Tensor, norm: Tensor, weight: Tensor) -> Tensor:
    return linear(rms_norm(x, norm), weight)


def norm_logits(x: Tensor, norm: Tensor, weight: Tensor) -> Tensor:
    return float_logits(rms_norm(x, norm), weight)


def float_logits(x: Tensor, weight: Tensor) -> Tensor:
    """x (B, D) · weight (V, D)ᵀ → (B, V), float32."""
    if x.device.type == "cuda" and x.dtype != torch.float32:
        # cuBLAS writes the float32 sums themselves: in bfloat16, logits around 20 are 0.125 apart.
        return torch.mm(x, weight.T, out_dtype=torch.float32)
    return linear(x, weight).float()


def norm_swiglu(x: Tensor, norm: Tensor, weight: Tensor) -> Tensor:
    """SiLU of the gate, times up. Shazeer 2020 (arXiv:2002.05202)."""
    gate, up = norm_linear(x, norm, weight).chunk(2, dim=-1)
    return F.silu(gate) * up


def linear_add(x: Tensor, y: Tensor, weight: Tensor) -> None:
    if weight.is_mkldnn or weight.dtype != x.dtype:
        x.add_(linear(y, weight))
    else:
        x.addmm_(y, weight.T)


def linear_bias_add(x: Tensor, y: Tensor, weight: Tensor, bias: Tensor) -> None:
    x.add_(linear(y, weight, bias))


def linear_bias_gelu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """With GPT-2's approximation of GELU by tanh."""
    return F.gelu(linear(x, weight, bias), approximate="tanh")


def attention(cos: Tensor, sin: Tensor, position: Tensor, reach: int) -> Attend:
    """cos, sin: `rope_tables`; position (B,) int64: where each row's key and value go; reach: attention reads the
    positions before it."""
    rows = torch.arange(len(position), device=position.device)
    ahead = torch.arange(reach, device=position.device) > position[:, None]  # (B, reach): not written yet
    mask = torch.zeros_like(ahead, dtype=cos.dtype).masked_fill_(ahead, -math.inf)[:, None, None]
    cos, sin = cos[position], sin[position]

    def attend(qkv: Tensor, cache: Tensor) -> tuple[Tensor, Tensor]:
        rotated = rotate(qkv.view(len(qkv), 3, -1, HEAD_DIM), cos, sin).to(cache.dtype)
        cache[rows, :, :, position] = rotated[:, 1:]
        seen, bias = cache[..., :reach, :], mask.to(cache.dtype)
        mixed = F.scaled_dot_product_attention(rotated[:, 0, :, None], seen[:, 0], seen[:, 1], attn_mask=bias)
        return mixed.view(len(qkv), -1).to(qkv.dtype), rotated[:, 0]

    return attend


def rotate(qkv: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position embedding, halves convention, of queries and keys; values pass, for their cos is 1 and their
    sin 0. Su et al. 2021 (arXiv:2104.09864). All three at once, because each operation costs a launch."""
    swapped = qkv.view(*qkv.shape[:-1], 2, -1).flip(-2).flatten(-2)
    return torch.addcmul(qkv * cos, swapped, sin)


PLAIN = DecodeOps(
    norm_linear, norm_logits, norm_swiglu, linear_add, linear_bias_add, linear_bias_gelu, attention, sample
)
TURBO = replace(PLAIN, sample=turbo_sample)  # of GPT-2, whose norms and first products are its own
