"""Products of many frames with the estimator's small matrices: the layer norm in front, bias, GELU or residual behind,
in one kernel; and layer norm with Mish.

A tile's sizes do not depend on the number of frames, so a frame's result does not depend on the other frames, nor on
the other requests.
"""

from __future__ import annotations

import math

import triton
import triton.language as tl
from torch import Tensor

from tts.chatterbox.kernels.launch import Launch

LAYER_NORM_EPS = 1e-5  # torch's default
TILE = (64, 64, 64)  # frames, columns, depth
NORMED_TILE = (64, 128, 32)  # wider, because each tile of columns norms its frames again
FEW_WARPS, MANY_WARPS, STAGES = 4, 8, 3
REGISTERS = 128  # of a thread: two programs of eight warps then fit a multiprocessor


@triton.jit(do_not_specialize=["rows"])
def frames_product(
    x_at,
    norm_at,
    norm_bias_at,
    weight_at,
    bias_at,
    added_at,
    out_at,
    rows,
    columns,
    SUMMED: tl.constexpr,
    WHOLE: tl.constexpr,
    NORM: tl.constexpr,
    GELU: tl.constexpr,
    BIAS: tl.constexpr,
    ADD: tl.constexpr,
    EPS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
):
    """out (rows, columns) = x (rows, SUMMED) · weight (columns, SUMMED)ᵀ, sums in float32.

    NORM: of the layer norm of x, over SUMMED channels (WHOLE: a power of 2 ≥ that). BIAS, GELU, ADD: behind it.
    """
    row = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    depth = tl.arange(0, DEPTH)
    is_row, is_column = (row < rows)[:, None], (column < columns)[None, :]
    mean = tl.zeros([ROWS, 1], tl.float32)
    scale = tl.zeros([ROWS, 1], tl.float32)
    if NORM:
        channel = tl.arange(0, WHOLE)
        inside = is_row & (channel < SUMMED)[None, :]
        whole = tl.load(x_at + row[:, None] * SUMMED + channel[None, :], mask=inside, other=0.0).to(tl.float32)
        mean = (tl.sum(whole, 1) / SUMMED)[:, None]
        apart = tl.where(inside, whole - mean, 0.0)
        scale = tl.rsqrt(tl.sum(apart * apart, 1) / SUMMED + EPS)[:, None]
    x = x_at + row[:, None] * SUMMED + depth[None, :]
    weight = weight_at + column[None, :] * SUMMED + depth[:, None]
    sums = tl.zeros([ROWS, COLUMNS], tl.float32)
    for start in range(0, SUMMED, DEPTH):
        part = tl.load(x + start, mask=is_row, other=0.0)
        if NORM:
            gain = tl.load(norm_at + start + depth).to(tl.float32)[None, :]
            shift = tl.load(norm_bias_at + start + depth).to(tl.float32)[None, :]
            part = ((part.to(tl.float32) - mean) * scale * gain + shift).to(part.dtype)
        sums = tl.dot(part, tl.load(weight + start, mask=is_column, other=0.0), sums, input_precision="ieee")
    if BIAS:
        sums += tl.load(bias_at + column, mask=column < columns, other=0.0).to(tl.float32)[None, :]
    if GELU:
        sums = 0.5 * sums * (1.0 + tl.erf(sums * 0.7071067811865476))
    place = row[:, None] * columns + column[None, :]
    if ADD:
        sums += tl.load(added_at + place, mask=is_row & is_column, other=0.0).to(tl.float32)
    tl.store(out_at + place, sums.to(out_at.dtype.element_ty), mask=is_row & is_column)


@triton.jit(do_not_specialize=["frames", "embedding_row"])
def norm_mish_rows(
    x_at,
    norm_at,
    norm_bias_at,
    embedding_at,
    out_at,
    frames,
    embedding_row,
    CHANNELS: tl.constexpr,
    WHOLE: tl.constexpr,
    EMBEDDED: tl.constexpr,
    EPS: tl.constexpr,
):
    """A frame of x (B · frames, CHANNELS): Mish of its layer norm, plus its request's embedding.

    embedding_row: from one request's embedding to the next one's, 0 if they share it.
    """
    row, channel = tl.program_id(0).to(tl.int64), tl.arange(0, WHOLE)
    inside = channel < CHANNELS
    x = tl.load(x_at + row * CHANNELS + channel, mask=inside, other=0.0).to(tl.float32)
    mean = tl.sum(x, 0) / CHANNELS
    apart = tl.where(inside, x - mean, 0.0)
    scale = tl.rsqrt(tl.sum(apart * apart, 0) / CHANNELS + EPS)
    gain = tl.load(norm_at + channel, mask=inside, other=0.0).to(tl.float32)
    y = apart * scale * gain + tl.load(norm_bias_at + channel, mask=inside, other=0.0).to(tl.float32)
    # tanh(log(1 + e)) = e (e + 2) / (e (e + 2) + 2); beyond 20 it is 1 in float32.
    grown = tl.exp(tl.minimum(y, 20.0))
    more = grown * (grown + 2.0)
    y = y * more / (more + 2.0)
    if EMBEDDED:
        place = (row // frames) * embedding_row + channel
        y += tl.load(embedding_at + place, mask=inside, other=0.0).to(tl.float32)
    tl.store(out_at + row * CHANNELS + channel, y.to(out_at.dtype.element_ty), mask=inside)


def product(
    x: Tensor,
    weight: Tensor,
    out: Tensor,
    norm: tuple[Tensor, Tensor] | None = None,
    bias: Tensor | None = None,
    gelu: bool = False,
    added: Tensor | None = None,
) -> Launch:
    """x (…, C), weight (N, C), out and added (…, N), all contiguous; norm: its gain and bias."""
    columns, summed = weight.shape
    rows = x.numel() // summed
    tile_rows, tile_columns, depth = NORMED_TILE if norm else TILE
    grid = triton.cdiv(rows, tile_rows), triton.cdiv(columns, tile_columns)
    gain, shift = norm or (x, x)
    args = (x, gain, shift, weight, x if bias is None else bias, x if added is None else added, out, rows, columns)
    options = {
        "SUMMED": summed,
        "WHOLE": triton.next_power_of_2(summed),
        "NORM": norm is not None,
        "GELU": gelu,
        "BIAS": bias is not None,
        "ADD": added is not None,
        "EPS": LAYER_NORM_EPS,
        "ROWS": tile_rows,
        "COLUMNS": tile_columns,
        "DEPTH": math.gcd(depth, summed),
        "num_warps": MANY_WARPS if norm else FEW_WARPS,
        "num_stages": STAGES,
        "maxnreg": REGISTERS if norm else None,
    }
    return Launch(frames_product, grid, args, options)


def normed_mish(x: Tensor, norm: Tensor, norm_bias: Tensor, embedding: Tensor | None, out: Tensor) -> Launch:
    """x and out (B, T, C), contiguous; embedding (C,) or (B, 1, C), its channels side by side."""
    requests, frames, channels = x.shape
    embedded = embedding is not None
    of_request = embedding.stride(0) if embedding is not None and embedding.numel() > channels else 0
    args = (x, norm, norm_bias, x if embedding is None else embedding, out, frames, of_request)
    options = {
        "CHANNELS": channels,
        "WHOLE": triton.next_power_of_2(channels),
        "EMBEDDED": embedded,
        "EPS": LAYER_NORM_EPS,
        "num_warps": FEW_WARPS,
    }
    return Launch(norm_mish_rows, (requests * frames,), args, options)
