"""Which implementation of the operations a device gets: our kernels where each of them, tried once at load, gives what
the plain lines give; else the plain lines, and a warning."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from typing import Any, TypeVar

import torch
from torch import Tensor

from tts.chatterbox.kernels import decoding, estimating
from tts.chatterbox.kernels.decoding import DecodeOps
from tts.chatterbox.kernels.estimating import FrameOps
from tts.chatterbox.rates import HEAD_DIM, MEL_BANDS
from tts.chatterbox.runtime.errors import gpu_answers
from tts.chatterbox.t3.llama import rope_tables
from tts.chatterbox.t3.sampling import Knobs, TokenSampling
from validation.errors import GpuFault

log = logging.getLogger(__name__)

Ops = TypeVar("Ops", DecodeOps, FrameOps)
Trial = Callable[[Ops], tuple[Tensor, ...]]

# Each side rounds a few times, by half an epsilon of the format at most; sums in another order add to that in float32.
ROUNDINGS, SUMS = 4, 1e-5
POSITIONS, FRAMES = 200, 77  # of a trial: no multiple of a piece or a tile
LLAMA_KERNELS = ("norm_linear", "norm_logits", "norm_swiglu", "linear_add", "attention", "sample")
TURBO_KERNELS = ("linear_bias_add", "linear_bias_gelu", "attention", "sample")  # GPT-2's norms are torch's
SAMPLING = TokenSampling(0.5, 0.8, 0.95, 0.05, 1.2, 100)


def has_kernels(device: torch.device, dtype: torch.dtype, graphs: bool) -> bool:
    """In float32, the fallback of a GPU without anything faster, products are cuBLAS's. graphs: whether steps are
    captured; launched one by one from Python, these kernels take the host longer than torch's."""
    if device.type != "cuda" or dtype == torch.float32 or not graphs:
        return False
    if find_spec("triton") is None:
        log.warning("Triton is not installed: token model and flow run without kernels of their own, and slower")
        return False
    return True


def decode_ops(
    device: torch.device,
    dtype: torch.dtype,
    sizes: tuple[int, int, int],
    rows: Iterable[int],
    graphs: bool = True,
    plain: DecodeOps = decoding.PLAIN,
) -> DecodeOps:
    """For T3's decode step. sizes: D, E, V; rows: the numbers of rows that a step may have; plain: the model's own
    lines. Raises: GpuFault."""
    if not has_kernels(device, dtype, graphs):
        return plain
    from tts.chatterbox.kernels.fused import DECODE, TURBO_DECODE

    is_turbo = plain is decoding.TURBO
    trials = decode_trials(Draws(device, dtype), sizes, rows, guided=not is_turbo)
    trials = {name: trials[name] for name in (TURBO_KERNELS if is_turbo else LLAMA_KERNELS)}
    return right_ones("token model", TURBO_DECODE if is_turbo else DECODE, plain, trials, dtype)


def frame_ops(device: torch.device, dtype: torch.dtype, width: int, inner: int, graphs: bool = True) -> FrameOps:
    """For the flow's estimator. width: of the frames; inner: of all heads together. Raises: GpuFault."""
    if not has_kernels(device, dtype, graphs):
        return estimating.PLAIN
    from tts.chatterbox.kernels.fused import FRAMES as FUSED

    return right_ones("flow", FUSED, estimating.PLAIN, frame_trials(Draws(device, dtype), width, inner), dtype)


class Draws:
    """Random tensors, the same at each start."""

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.device, self.dtype = device, dtype
        self._generator = torch.Generator().manual_seed(0)

    def normal(self, *shape: int) -> Tensor:
        drawn: Tensor = torch.randn(shape, generator=self._generator).to(self.device, self.dtype)
        return drawn

    def weight(self, rows: int, columns: int) -> Tensor:
        """Such that a product keeps the size of what it multiplies."""
        return self.normal(rows, columns) / math.sqrt(columns)

    def uniform(self, *shape: int) -> Tensor:
        drawn: Tensor = torch.rand(shape, generator=self._generator).to(self.device)
        return drawn


def decode_trials(
    draws: Draws, sizes: tuple[int, int, int], rows: Iterable[int], guided: bool = True
) -> Mapping[str, list[Trial[DecodeOps]]]:
    """The trials of each operation, by its name. guided: an even number of rows is that of half as many requests."""
    width, inner, vocabulary = sizes
    norm, qkv, gate_up = 1 + draws.normal(width) / 4, draws.weight(3 * width, width), draws.weight(2 * inner, width)
    down, head, out = draws.weight(width, inner), draws.weight(vocabulary, width), draws.weight(width, width)
    bias, up, up_bias = draws.normal(width), draws.weight(inner, width), draws.normal(inner)
    trials: dict[str, list[Trial[DecodeOps]]] = {name: [] for name in DecodeOps.__slots__}
    for count in rows:
        x, y = draws.normal(count, width), draws.normal(count, inner)
        trials["norm_linear"].append(calls("norm_linear", x, norm, qkv))
        trials["norm_logits"].append(calls("norm_logits", x, norm, head))
        trials["norm_swiglu"].append(calls("norm_swiglu", x, norm, gate_up))
        trials["linear_add"].append(partial(_added, x, y, down))
        trials["linear_bias_add"] += [partial(_added_with, x, each, bias) for each in ((x, out), (y, down))]
        trials["linear_bias_gelu"].append(calls("linear_bias_gelu", x, up, up_bias))
        trials["attention"].append(partial(_attended, _attention_inputs(draws, count, width)))
        trials["sample"].append(calls("sample", *_sampling_inputs(draws, count, vocabulary, guided)))
    return trials


def calls(name: str, *args: Any) -> Trial[Any]:
    """A trial that calls one operation with these arguments."""
    return lambda ops: (getattr(ops, name)(*args),)


def _added(x: Tensor, y: Tensor, weight: Tensor, ops: DecodeOps) -> tuple[Tensor, ...]:
    x = x.clone()
    ops.linear_add(x, y, weight)
    return (x,)


def _added_with(x: Tensor, product: tuple[Tensor, Tensor], bias: Tensor, ops: DecodeOps) -> tuple[Tensor, ...]:
    x = x.clone()
    ops.linear_bias_add(x, *product, bias)
    return (x,)


def _attention_inputs(draws: Draws, rows: int, width: int) -> tuple[Tensor, ...]:
    """cos, sin, positions, a layer's queries, keys and values, and its cache, where nothing is ahead of a row."""
    cos, sin = (table.to(draws.device, draws.dtype) for table in rope_tables(POSITIONS))
    position = torch.linspace(0, POSITIONS - 1, rows).long().to(draws.device)
    cache = draws.normal(rows, 2, width // HEAD_DIM, POSITIONS, HEAD_DIM)
    ahead = torch.arange(POSITIONS, device=draws.device) >= position[:, None]
    cache.masked_fill_(ahead[:, None, None, :, None], 0.0)
    return cos, sin, position, draws.normal(rows, 3 * width), cache


def _attended(inputs: tuple[Tensor, ...], ops: DecodeOps) -> tuple[Tensor, ...]:
    cos, sin, position, qkv, cache = inputs
    cache = cache.clone()
    return (*ops.attention(cos, sin, position, POSITIONS)(qkv, cache), cache)


def _sampling_inputs(draws: Draws, rows: int, vocabulary: int, guided: bool) -> tuple[Tensor, Tensor, Knobs, Tensor]:
    each = 2 if guided and rows % 2 == 0 else 1
    slots = rows // each
    logits = 3 * draws.normal(each, slots, vocabulary).float()
    seen = draws.uniform(slots, vocabulary) < 0.01
    return logits, seen, Knobs.of([SAMPLING] * slots, draws.device), draws.uniform(slots, 1)


def frame_trials(draws: Draws, width: int, inner: int) -> Mapping[str, list[Trial[FrameOps]]]:
    x, norm, shift = draws.normal(2, FRAMES, width), 1 + draws.normal(width) / 4, draws.normal(width)
    qkv, up = draws.weight(3 * inner, width), draws.weight(4 * width, width)
    down, out = draws.weight(width, 4 * width), draws.weight(width, inner)
    bias, wide_bias, embedding = draws.normal(width), draws.normal(4 * width), draws.normal(2, 1, width)
    wide, mixed = draws.normal(2, FRAMES, 4 * width), draws.normal(2, FRAMES, inner)
    given, shortcut = draws.normal(2, FRAMES, 4 * MEL_BANDS), draws.weight(width, 4 * MEL_BANDS)  # of the first block
    sums = (given, shortcut), (mixed, out), (wide, down)
    return {
        "norm_linear": [calls("norm_linear", x, norm, shift, qkv)],
        "norm_linear_gelu": [calls("norm_linear_gelu", x, norm, shift, up, wide_bias)],
        "linear_add": [calls("linear_add", y, weight, bias, x) for y, weight in sums],
        "norm_mish": [calls("norm_mish", x, norm, shift, added) for added in (None, bias, embedding)],
    }


@torch.inference_mode()
def right_ones(part: str, fused: Ops, plain: Ops, trials: Mapping[str, list[Trial[Ops]]], dtype: torch.dtype) -> Ops:
    """The plain lines, with each of the kernels that passes its trials in place of them. Raises: GpuFault."""
    right = {}
    for name, each in trials.items():
        try:
            fault = next(filter(None, (difference(trial(fused), trial(plain), dtype) for trial in each)), None)
        except Exception as exc:  # a compiler's, a driver's, a missing file: there is no common class
            if not gpu_answers():
                raise GpuFault(f"the GPU failed in the kernel {name} of the {part}") from exc
            fault = f"{type(exc).__name__}: {exc}"
        if fault is None:
            right[name] = getattr(fused, name)
        else:
            log.warning("the %s computes %s without a kernel of its own, and slower: %s", part, name, fault)
    return replace(plain, **right)


def difference(found: tuple[Tensor, ...], expected: tuple[Tensor, ...], dtype: torch.dtype) -> str | None:
    """What is wrong with results in this format, compared to those of the plain lines; None if nothing is."""
    for one, other in zip(found, expected, strict=True):
        if not one.is_floating_point():
            if not torch.equal(one, other):
                return f"{int((one != other).sum())} of {len(one)} tokens differ"
            continue
        bound = max(ROUNDINGS * torch.finfo(dtype).eps, SUMS)
        error = float((one.float() - other.float()).norm() / other.float().norm())
        if not error <= bound:  # NaN, too
            return f"the result differs by {error:.1e}, where roundings explain {bound:.1e}"
    return None
