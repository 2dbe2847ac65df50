"""Our kernels as operations of torch, one launch each, and the implementations that consist of them.

Being operations, they are captured, replayed by a recording, and counted on pretended tensors. On a CPU they run where
Triton interprets (TRITON_INTERPRET=1 before its import). Import this where Triton is: see `choice`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from tts.chatterbox.kernels import attention as pieces
from tts.chatterbox.kernels import decoding, drawing, frames, products
from tts.chatterbox.kernels.decoding import Attend, DecodeOps
from tts.chatterbox.kernels.estimating import FrameOps
from tts.chatterbox.kernels.launch import Launch
from tts.chatterbox.rates import HEAD_DIM
from tts.chatterbox.t3.sampling import Knobs

NAMESPACE = "chatterbox"
LIBRARY = torch.library.Library(NAMESPACE, "DEF")  # type: ignore[no-untyped-call]


def operation(schema: str, make: Callable[..., Any], launch: Callable[..., Launch]) -> Any:
    """An operation of torch. schema: its name, arguments and results; make: allocates the results, by the arguments;
    launch: what writes them, given the arguments and those results."""
    name = schema.partition("(")[0]

    def run(*args: Any) -> Any:
        made = make(*args)
        launch(*args, *(() if made is None else (made,))).run()
        return made

    LIBRARY.define(schema)  # type: ignore[no-untyped-call]
    for key in ("CUDA", "CPU"):
        LIBRARY.impl(name, run, key)  # type: ignore[no-untyped-call]
    torch.library.register_fake(f"{NAMESPACE}::{name}", make, lib=LIBRARY)
    return getattr(getattr(torch.ops, NAMESPACE), name).default


def nothing(*args: Any) -> None:
    """What an operation allocates that writes into its arguments."""


# --- a decode step ----------------------------------------------------------------------------------------

_norm_linear = operation(
    "norm_linear(Tensor x, Tensor norm, Tensor weight, ScalarType dtype) -> Tensor",
    lambda x, norm, weight, dtype: x.new_empty(len(x), len(weight), dtype=dtype),
    lambda x, norm, weight, dtype, out: products.skinny_product(x, weight, out, norm),
)
_norm_swiglu = operation(
    "norm_swiglu(Tensor x, Tensor norm, Tensor weight) -> Tensor",
    lambda x, norm, weight: x.new_empty(len(x), len(weight) // 2),
    lambda x, norm, weight, out: products.skinny_product(x, weight, out, norm, gated=True),
)
_linear_add = operation(
    "linear_add_(Tensor(a!) x, Tensor y, Tensor weight) -> ()",
    nothing,
    lambda x, y, weight: products.skinny_product(y, weight, x, add=True),
)
_linear_bias_add = operation(
    "linear_bias_add_(Tensor(a!) x, Tensor y, Tensor weight, Tensor bias) -> ()",
    nothing,
    lambda x, y, weight, bias: products.skinny_product(y, weight, x, bias=bias, add=True),
)
_linear_bias_gelu = operation(
    "linear_bias_gelu(Tensor x, Tensor weight, Tensor bias) -> Tensor",
    lambda x, weight, bias: x.new_empty(len(x), len(weight)),
    lambda x, weight, bias, out: products.skinny_product(x, weight, out, bias=bias, gelu=True),
)
_swiglu = operation(
    "swiglu(Tensor gate_up) -> Tensor",
    lambda gate_up: gate_up.new_empty(len(gate_up), gate_up.shape[1] // 2),
    products.swiglu_rows,
)
_attend_pieces = operation(
    "attend_pieces_(Tensor qkv, Tensor cos, Tensor sin, Tensor(a!) cache, Tensor position, int reach, "
    "Tensor(b!) queries, Tensor(c!) mixed, Tensor(d!) weights) -> ()",
    nothing,
    lambda qkv, cos, sin, cache, position, reach, *made: pieces.pieces_of(qkv, cos, sin, cache, position, *made),
)
_join_pieces = operation(
    "join_pieces(Tensor mixed, Tensor weights, ScalarType dtype) -> Tensor",
    lambda mixed, weights, dtype: mixed.new_empty(len(mixed), mixed.shape[1] * mixed.shape[3], dtype=dtype),
    lambda mixed, weights, dtype, out: pieces.joined(mixed, weights, out),
)
_draw = operation(
    "draw(Tensor logits, Tensor seen, Tensor[] knobs, Tensor uniform, bool turbo) -> Tensor",
    lambda logits, seen, knobs, uniform, turbo: seen.new_empty(len(seen), dtype=torch.int64),
    drawing.draws,
)


def norm_linear(x: Tensor, norm: Tensor, weight: Tensor) -> Tensor:
    if len(x) > products.MOST_ROWS:
        return decoding.norm_linear(x, norm, weight)
    return _norm_linear(x, norm, weight, x.dtype)  # type: ignore[no-any-return]


def norm_logits(x: Tensor, norm: Tensor, weight: Tensor) -> Tensor:
    if len(x) > products.MOST_ROWS:
        return decoding.norm_logits(x, norm, weight)
    return _norm_linear(x, norm, weight, torch.float32)  # type: ignore[no-any-return]


def norm_swiglu(x: Tensor, norm: Tensor, weight: Tensor) -> Tensor:
    if len(x) > products.MOST_ROWS:
        return _swiglu(decoding.norm_linear(x, norm, weight))  # type: ignore[no-any-return]
    return _norm_swiglu(x, norm, weight)  # type: ignore[no-any-return]


def linear_add(x: Tensor, y: Tensor, weight: Tensor) -> None:
    (decoding.linear_add if len(x) > products.TILE else _linear_add)(x, y, weight)


def linear_bias_add(x: Tensor, y: Tensor, weight: Tensor, bias: Tensor) -> None:
    """With cuBLAS it is two launches, so two tiles of rows have a kernel, too."""
    (decoding.linear_bias_add if len(x) > products.MOST_ROWS else _linear_bias_add)(x, y, weight, bias)


def linear_bias_gelu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    if len(x) > products.MOST_ROWS:
        return decoding.linear_bias_gelu(x, weight, bias)
    return _linear_bias_gelu(x, weight, bias)  # type: ignore[no-any-return]


def attention(cos: Tensor, sin: Tensor, position: Tensor, reach: int) -> Attend:
    count = -(-reach // pieces.PIECE)
    if count > pieces.MOST_PIECES:
        return decoding.attention(cos, sin, position, reach)

    def attend(qkv: Tensor, cache: Tensor) -> tuple[Tensor, Tensor]:
        rows, heads = len(qkv), cache.shape[2]
        queries = qkv.new_empty(rows, heads, HEAD_DIM)
        mixed = qkv.new_empty(rows, heads, count, HEAD_DIM, dtype=torch.float32)
        weights = qkv.new_empty(rows, heads, count, 2, dtype=torch.float32)
        _attend_pieces(qkv, cos, sin, cache, position, reach, queries, mixed, weights)
        return _join_pieces(mixed, weights, qkv.dtype), queries

    return attend


def sample(logits: Tensor, seen: Tensor, knobs: Knobs, uniform: Tensor, turbo: bool = False) -> Tensor:
    return _draw(logits, seen, list(knobs.parts), uniform, turbo)  # type: ignore[no-any-return]


DECODE = DecodeOps(
    norm_linear, norm_logits, norm_swiglu, linear_add, linear_bias_add, linear_bias_gelu, attention, sample
)
TURBO_DECODE = replace(DECODE, sample=partial(sample, turbo=True))

# --- the estimator ----------------------------------------------------------------------------------------


def _by_columns(x: Tensor, weight: Tensor) -> Tensor:
    return x.new_empty(*x.shape[:-1], len(weight))


_layer_norm_linear = operation(
    "layer_norm_linear(Tensor x, Tensor norm, Tensor norm_bias, Tensor weight) -> Tensor",
    lambda x, norm, norm_bias, weight: _by_columns(x, weight),
    lambda x, norm, norm_bias, weight, out: frames.product(x, weight, out, (norm, norm_bias)),
)
_layer_norm_linear_gelu = operation(
    "layer_norm_linear_gelu(Tensor x, Tensor norm, Tensor norm_bias, Tensor weight, Tensor bias) -> Tensor",
    lambda x, norm, norm_bias, weight, bias: _by_columns(x, weight),
    lambda x, norm, norm_bias, weight, bias, out: frames.product(x, weight, out, (norm, norm_bias), bias, True),
)
_frame_linear_add = operation(
    "linear_bias_add(Tensor y, Tensor weight, Tensor bias, Tensor x) -> Tensor",
    lambda y, weight, bias, x: _by_columns(y, weight),
    lambda y, weight, bias, x, out: frames.product(y, weight, out, bias=bias, added=x),
)
_norm_mish = operation(
    "norm_mish(Tensor x, Tensor norm, Tensor norm_bias, Tensor? embedding) -> Tensor",
    lambda x, norm, norm_bias, embedding: x.new_empty(x.shape),
    frames.normed_mish,
)


def frame_linear_add(y: Tensor, weight: Tensor, bias: Tensor, x: Tensor) -> Tensor:
    return _frame_linear_add(y.contiguous(), weight, bias, x)  # type: ignore[no-any-return]


FRAMES = FrameOps(_layer_norm_linear, _layer_norm_linear_gelu, frame_linear_add, _norm_mish)
