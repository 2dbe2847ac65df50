"""Compile all kernels at the sizes of the real networks, for GPUs that need not be here.

    python -m tts.chatterbox.kernels.ahead

This fills Triton's cache (TRITON_CACHE_DIR) when the image is built, so that a worker compiles nothing. Triton also has
C compiled that loads and launches kernels, and the image has no compiler. Linking that needs a libcuda.so.1, which may
be an empty one, in TRITON_LIBCUDA_PATH and LD_LIBRARY_PATH.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import fields

import torch
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.backends.nvidia.driver import CudaLauncher, CudaUtils
from triton.runtime import driver

from tts.chatterbox.kernels import attention, drawing, frames, products
from tts.chatterbox.kernels.launch import Launch
from tts.chatterbox.rates import HEAD_DIM, MEL_BANDS
from tts.chatterbox.t3.sampling import Knobs

CAPABILITIES = (80, 86, 89, 90, 120)  # A100; A10 and RTX 30xx; L4, L40 and RTX 40xx; H100 and H200; RTX 50xx
WARP = 32

WIDTH, INNER, VOCABULARY, POSITIONS = 1024, 4096, 8194, 1664  # of T3 and its cache
TURBO_VOCABULARY = 6563  # of the GPT-2 bodies
NANO_WIDTH, NANO_INNER = 768, 3072  # Turbo's are the Llama's
FRAME_WIDTH, FRAME_INNER, FRAMES = 256, 512, 704  # of the estimator


class Target:
    """Stands for Triton's driver of a GPU: enough to compile, and nothing to launch."""

    def __init__(self, capability: int) -> None:
        self._capability = capability

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self._capability, WARP)

    def get_current_device(self) -> str:
        """Triton keeps what it compiled by this."""
        return f"sm_{self._capability}"

    def get_current_stream(self, device: str) -> int:
        return 0


def aim(capability: int) -> None:
    """What is compiled from now on is for such a GPU."""
    driver.set_active(Target(capability))


def empty(*shape: int, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    """A tensor without memory."""
    return torch.empty(shape, dtype=dtype, device="meta")


def decode_launches() -> Iterator[tuple[str, Launch]]:
    """The launches of a step of T3 in bfloat16, with one tile of rows and with two."""
    norm = empty(WIDTH)
    qkv, head, gate_up = empty(3 * WIDTH, WIDTH), empty(VOCABULARY, WIDTH), empty(2 * INNER, WIDTH)
    for rows in (products.TILE, products.MOST_ROWS):
        x, inner = empty(rows, WIDTH), empty(rows, INNER)
        logits = empty(rows, VOCABULARY, dtype=torch.float32)
        yield f"norm_linear, {rows} rows", products.skinny_product(x, qkv, empty(rows, 3 * WIDTH), norm)
        yield f"norm_logits, {rows} rows", products.skinny_product(x, head, logits, norm)
        yield f"norm_swiglu, {rows} rows", products.skinny_product(x, gate_up, inner, norm, gated=True)
    x, inner = empty(products.TILE, WIDTH), empty(products.TILE, INNER)
    yield "linear_add, attention", products.skinny_product(x, empty(WIDTH, WIDTH), x, add=True)
    yield "linear_add, feed-forward", products.skinny_product(inner, empty(WIDTH, INNER), x, add=True)
    yield "swiglu", products.swiglu_rows(empty(64, 2 * INNER), empty(64, INNER))
    yield from attention_launches()
    yield from ((f"{name}, Nano", launch) for name, launch in attention_launches(NANO_WIDTH))
    for body, *sizes in (("Turbo", WIDTH, INNER), ("Nano", NANO_WIDTH, NANO_INNER)):
        yield from ((f"{name}, {body}", launch) for name, launch in biased_launches(*sizes))
    for name, rows, vocabulary in (
        ("1 rows", 1, VOCABULARY),
        ("2 rows", 2, VOCABULARY),
        ("Turbo", 1, TURBO_VOCABULARY),
    ):
        logits, seen = empty(rows, 4, vocabulary, dtype=torch.float32), empty(4, vocabulary, dtype=torch.bool)
        column, drawn = empty(4, 1, dtype=torch.float32), empty(4, dtype=torch.int64)
        knobs = [column] * len(fields(Knobs))
        yield f"draw, {name}", drawing.draws(logits, seen, knobs, column, name == "Turbo", drawn)


def biased_launches(width: int, inner: int) -> Iterator[tuple[str, Launch]]:
    """Products of a GPT-2."""
    bias, up_bias = empty(width), empty(inner)
    for rows in (products.TILE, products.MOST_ROWS):
        x, y = empty(rows, width), empty(rows, inner)
        up, out, down = empty(inner, width), empty(width, width), empty(width, inner)
        yield f"linear_bias_gelu, {rows} rows", products.skinny_product(x, up, y, bias=up_bias, gelu=True)
        for name, given, weight in (("attention", x, out), ("feed-forward", y, down)):
            launch = products.skinny_product(given, weight, x, bias=bias, add=True)
            yield f"linear_bias_add, {name}, {rows} rows", launch


def attention_launches(width: int = WIDTH) -> Iterator[tuple[str, Launch]]:
    rows, heads, pieces = 2, width // HEAD_DIM, 4
    table, cache = empty(POSITIONS, 3, 1, HEAD_DIM), empty(rows, 2, heads, POSITIONS, HEAD_DIM)
    position, queries = empty(rows, dtype=torch.int64), empty(rows, heads, HEAD_DIM)
    mixed = empty(rows, heads, pieces, HEAD_DIM, dtype=torch.float32)
    weights = empty(rows, heads, pieces, 2, dtype=torch.float32)
    qkv = empty(rows, 3 * width)
    yield "attend_pieces", attention.pieces_of(qkv, table, table, cache, position, queries, mixed, weights)
    yield "join_pieces", attention.joined(mixed, weights, empty(rows, width))


def frame_launches(dtype: torch.dtype) -> Iterator[tuple[str, Launch]]:
    """The launches of a step of the estimator."""

    def half(*shape: int) -> Tensor:
        return empty(*shape, dtype=dtype)

    def wide(channels: int) -> Tensor:
        return half(2, FRAMES, channels)

    x, bias, wide_bias = wide(FRAME_WIDTH), half(FRAME_WIDTH), half(4 * FRAME_WIDTH)
    norm, name = (bias, bias), str(dtype).removeprefix("torch.")
    qkv, up = half(3 * FRAME_INNER, FRAME_WIDTH), half(4 * FRAME_WIDTH, FRAME_WIDTH)
    yield f"layer_norm_linear, {name}", frames.product(x, qkv, wide(3 * FRAME_INNER), norm)
    yield f"layer_norm_linear_gelu, {name}", frames.product(x, up, wide(4 * FRAME_WIDTH), norm, wide_bias, True)
    for summed in (4 * MEL_BANDS, FRAME_WIDTH, FRAME_INNER, 4 * FRAME_WIDTH):
        weight = half(FRAME_WIDTH, summed)
        yield f"linear_bias_add of {summed}, {name}", frames.product(wide(summed), weight, x, bias=bias, added=x)
    yield f"norm_mish, {name}", frames.normed_mish(x, bias, bias, None, x)
    yield f"norm_mish with a step, {name}", frames.normed_mish(x, bias, bias, bias, x)


def launches() -> dict[str, Launch]:
    found = dict(decode_launches())
    for dtype in (torch.float16, torch.bfloat16):
        found |= dict(frame_launches(dtype))
    return found


def main() -> None:
    sys.setdlopenflags(os.RTLD_LAZY)  # an empty libcuda.so.1 lacks what is never called here
    CudaUtils()
    for capability in CAPABILITIES:
        aim(capability)
        for launch in launches().values():
            compiled = launch.compile()
            CudaLauncher(compiled.src, compiled.metadata)


if __name__ == "__main__":
    main()
