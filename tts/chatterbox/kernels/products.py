"""Products of a few rows with a large matrix: the norm in front, bias, SwiGLU, GELU or the residual behind, in one
kernel.

A decode step reads each weight once, so a kernel is as fast as its loads: a program streams its columns' weights
through shared memory, and the rows, which are few, come from the cache. No sum is split between programs, so a row's
result does not depend on what the other rows hold.
"""

from __future__ import annotations

import math

import triton
import triton.language as tl
from torch import Tensor

from tts.chatterbox.kernels.decoding import NORM_EPS
from tts.chatterbox.kernels.launch import Launch

# A program reads its COLUMNS' weights from memory and all rows from the L2 cache: rows take longer than weights once
# rows / COLUMNS exceeds the ratio of the two bandwidths, 1.2 on an H200 and 4.4 on an RTX 4090. Up to MOST_ROWS that
# costs less than the launches that a norm and SwiGLU of their own take. Beyond a TILE of rows a sum onto the residual
# is cuBLAS's, which does that in one launch, too.
COLUMNS = 16
TILE, MOST_ROWS = 16, 32  # the rows of a tensor core's tile; of two
WARPS = 4
BLOCK = 1024  # columns of a program of SwiGLU
# Depth and stages: as much is underway at once as memory's latency times its bandwidth, 2.9 MB on an H200 [est], where
# `linear_add` has only 64 programs; half as deep with the norm, which passes through registers, and with two tiles of
# rows, as 99 KiB of shared memory are all that some GPUs have.
NORMED, ADDED = (128, 5), (256, 6)


@triton.jit(do_not_specialize=["rows"])
def skinny(
    x_at,
    norm_at,
    weight_at,
    bias_at,
    out_at,
    rows,
    columns,
    SUMMED: tl.constexpr,
    NORM: tl.constexpr,
    GATED: tl.constexpr,
    BIAS: tl.constexpr,
    GELU: tl.constexpr,
    ADD: tl.constexpr,
    EPS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
):
    """out (rows, columns) = x (rows, SUMMED) · weight (columns, SUMMED)ᵀ, sums in float32.

    NORM: of rms(x) · norm; the rows' scale is applied to the sums. GATED: weight has the gate's columns, then as many
    of up. GELU: by tanh, which is x · sigmoid(1.5957691 · (x + 0.044715 · x³)). ADD: to what `out` holds.
    """
    row, column = tl.arange(0, ROWS), tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    depth = tl.arange(0, DEPTH)
    is_row, is_column = (row < rows)[:, None], (column < columns)[None, :]
    x = x_at + row[:, None] * SUMMED + depth[None, :]
    weight = weight_at + column[None, :] * SUMMED + depth[:, None]
    sums = tl.zeros([ROWS, COLUMNS], tl.float32)
    others = tl.zeros([ROWS, COLUMNS], tl.float32)
    squares = tl.zeros([ROWS], tl.float32)
    for start in range(0, SUMMED, DEPTH):
        part = tl.load(x + start, mask=is_row, other=0.0)
        if NORM:
            exact = part.to(tl.float32)
            squares += tl.sum(exact * exact, 1)
            scale = tl.load(norm_at + start + depth).to(tl.float32)
            part = (exact * scale[None, :]).to(part.dtype)
        sums = tl.dot(part, tl.load(weight + start, mask=is_column, other=0.0), sums, input_precision="ieee")
        if GATED:
            up = tl.load(weight + columns * SUMMED + start, mask=is_column, other=0.0)
            others = tl.dot(part, up, others, input_precision="ieee")
    if NORM:
        scale = tl.rsqrt(squares / SUMMED + EPS)[:, None]
        sums *= scale
        others *= scale
    if GATED:
        sums = sums * tl.sigmoid(sums) * others
    if BIAS:
        sums += tl.load(bias_at + column, mask=column < columns, other=0.0).to(tl.float32)[None, :]
    if GELU:
        sums *= tl.sigmoid(1.5957691 * (sums + 0.044715 * sums * sums * sums))
    out = out_at + row[:, None] * columns + column[None, :]
    if ADD:
        sums += tl.load(out, mask=is_row & is_column, other=0.0).to(tl.float32)
    tl.store(out, sums.to(out_at.dtype.element_ty), mask=is_row & is_column)


@triton.jit
def swiglu(gate_up_at, out_at, inner, BLOCK: tl.constexpr):
    """gate_up (rows, 2 · inner) → silu(gate) · up, (rows, inner)."""
    row, column = tl.program_id(0).to(tl.int64), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = column < inner
    gate = tl.load(gate_up_at + row * 2 * inner + column, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(gate_up_at + row * 2 * inner + inner + column, mask=inside, other=0.0).to(tl.float32)
    tl.store(out_at + row * inner + column, (gate * tl.sigmoid(gate) * up).to(out_at.dtype.element_ty), mask=inside)


def skinny_product(
    x: Tensor,
    weight: Tensor,
    out: Tensor,
    norm: Tensor | None = None,
    bias: Tensor | None = None,
    gated: bool = False,
    gelu: bool = False,
    add: bool = False,
) -> Launch:
    """x (B, K), B ≤ MOST_ROWS; weight (N, K), or (2N, K) if gated; out (B, N); all contiguous."""
    (rows, columns), summed = out.shape, x.shape[1]
    depth, stages = ADDED if add and rows <= TILE else NORMED
    options = {
        "SUMMED": summed,
        "NORM": norm is not None,
        "GATED": gated,
        "BIAS": bias is not None,
        "GELU": gelu,
        "ADD": add,
        "EPS": NORM_EPS,
        "ROWS": TILE if rows <= TILE else MOST_ROWS,
        "COLUMNS": COLUMNS,
        "DEPTH": math.gcd(depth, summed),
        "num_warps": WARPS,
        "num_stages": stages,
    }
    args = (x, x if norm is None else norm, weight, x if bias is None else bias, out, rows, columns)
    return Launch(skinny, (triton.cdiv(columns, COLUMNS),), args, options)


def swiglu_rows(gate_up: Tensor, out: Tensor) -> Launch:
    """gate_up (B, 2E), out (B, E), contiguous."""
    rows, inner = out.shape
    return Launch(swiglu, (rows, triton.cdiv(inner, BLOCK)), (gate_up, out, inner), {"BLOCK": BLOCK})
