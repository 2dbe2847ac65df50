"""Attention of a decode step: rotation, writing the new keys and values, and attending to each row's own positions.

The cache is read in pieces of a fixed length, by a program each, and a second kernel joins them ("flash-decoding", Dao
et al. 2023, after arXiv:2205.14135). A row's sums do not depend on how far the other rows are, nor on `reach`; what
is at and beyond a row's position is not read.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from tts.chatterbox.kernels.launch import Launch

PIECE = 64  # positions
MOST_PIECES = 32  # a power of 2
WARPS = 4


@triton.jit(do_not_specialize=["pieces"])
def attend_pieces(
    qkv_at,
    cos_at,
    sin_at,
    cache_at,
    position_at,
    queries_at,
    mixed_at,
    weights_at,
    cache_row,
    cache_values,
    cache_head,
    pieces,
    HEADS: tl.constexpr,
    SIZE: tl.constexpr,
    PIECE: tl.constexpr,
):
    """One piece of one head's keys and values, for one row.

    qkv (B, 3, HEADS, SIZE); cos, sin: rows of 3 · SIZE, by position; cache: steps from row to row, from keys to values
    and from head to head. Writes queries (B, HEADS, SIZE), rotated; mixed (B, HEADS, pieces, SIZE), the values weighted
    by exp(score − largest), and weights (B, HEADS, pieces, 2): the largest score, and the weights' sum.
    """
    row, head, piece = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.program_id(2)
    position = tl.load(position_at + row)
    part = (row * HEADS + head) * pieces + piece
    size = tl.arange(0, SIZE)
    first = piece * PIECE
    if first > position:  # nothing is there: its values count for nothing
        tl.store(weights_at + part * 2, -float("inf"))
        tl.store(weights_at + part * 2 + 1, 0.0)
        tl.store(mixed_at + part * SIZE + size, tl.zeros([SIZE], tl.float32))
        return
    swapped = (size + SIZE // 2) % SIZE
    cos = tl.load(cos_at + position * 3 * SIZE + size).to(tl.float32)
    sin = tl.load(sin_at + position * 3 * SIZE + size).to(tl.float32)
    query_at = qkv_at + (row * 3 * HEADS + head) * SIZE
    key_at = query_at + HEADS * SIZE
    value_at = key_at + HEADS * SIZE
    query = tl.load(query_at + size).to(tl.float32) * cos + tl.load(query_at + swapped).to(tl.float32) * sin
    key = tl.load(key_at + size).to(tl.float32) * cos + tl.load(key_at + swapped).to(tl.float32) * sin
    query, key, value = query.to(cache_at.dtype.element_ty), key.to(cache_at.dtype.element_ty), tl.load(value_at + size)
    keys_at = cache_at + row * cache_row + head * cache_head
    values_at = keys_at + cache_values
    if piece == 0:
        tl.store(queries_at + (row * HEADS + head) * SIZE + size, query)
    if position < first + PIECE:  # the new position is this piece's
        tl.store(keys_at + position * SIZE + size, key)
        tl.store(values_at + position * SIZE + size, value)
    places = first + tl.arange(0, PIECE)
    earlier, new = (places < position)[:, None], (places == position)[:, None]
    there = places[:, None] * SIZE + size[None, :]
    keys = tl.where(new, key[None, :], tl.load(keys_at + there, mask=earlier, other=0.0)).to(tl.float32)
    values = tl.where(new, value[None, :], tl.load(values_at + there, mask=earlier, other=0.0)).to(tl.float32)
    scores = tl.sum(keys * query.to(tl.float32)[None, :], 1) * (SIZE**-0.5)
    scores = tl.where(places <= position, scores, -float("inf"))
    largest = tl.max(scores, 0)
    weights = tl.exp(scores - largest)
    tl.store(mixed_at + part * SIZE + size, tl.sum(values * weights[:, None], 0))
    tl.store(weights_at + part * 2, largest)
    tl.store(weights_at + part * 2 + 1, tl.sum(weights, 0))


@triton.jit(do_not_specialize=["pieces"])
def join_pieces(mixed_at, weights_at, out_at, pieces, SIZE: tl.constexpr, MOST: tl.constexpr):
    """One head of one row: (…, pieces, SIZE) and (…, pieces, 2) → out (…, SIZE). MOST: a power of 2 ≥ pieces."""
    part = tl.program_id(0).to(tl.int64)
    piece, size = tl.arange(0, MOST), tl.arange(0, SIZE)
    inside = piece < pieces
    place = part * pieces + piece
    largest = tl.load(weights_at + place * 2, mask=inside, other=-float("inf"))
    sums = tl.load(weights_at + place * 2 + 1, mask=inside, other=0.0)
    shares = tl.exp(largest - tl.max(largest, 0))
    mixed = tl.load(mixed_at + place[:, None] * SIZE + size[None, :], mask=inside[:, None], other=0.0)
    joined = tl.sum(mixed * shares[:, None], 0) / tl.sum(sums * shares, 0)
    tl.store(out_at + part * SIZE + size, joined.to(out_at.dtype.element_ty))


def pieces_of(
    qkv: Tensor,
    cos: Tensor,
    sin: Tensor,
    cache: Tensor,
    position: Tensor,
    queries: Tensor,
    mixed: Tensor,
    weights: Tensor,
) -> Launch:
    """cache (B, 2, H, positions, SIZE), contiguous from positions on; the rest contiguous."""
    rows, heads, pieces, size = mixed.shape
    args = (qkv, cos, sin, cache, position, queries, mixed, weights, *cache.stride()[:3], pieces)
    options = {"HEADS": heads, "SIZE": size, "PIECE": PIECE, "num_warps": WARPS}
    return Launch(attend_pieces, (rows, heads, pieces), args, options)


def joined(mixed: Tensor, weights: Tensor, out: Tensor) -> Launch:
    """out (B, H · SIZE)."""
    rows, heads, pieces, size = mixed.shape
    options = {"SIZE": size, "MOST": MOST_PIECES, "num_warps": 2}
    assert pieces <= MOST_PIECES
    return Launch(join_pieces, (rows * heads,), (mixed, weights, out, pieces), options)
