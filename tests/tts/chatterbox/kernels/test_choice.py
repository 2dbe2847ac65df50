"""Which operations a device gets: kernels where they are right, the plain lines everywhere else, and a warning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tts.chatterbox.kernels import choice, decoding, estimating
from tts.chatterbox.kernels.choice import Draws, decode_ops, decode_trials, frame_ops, frame_trials, right_ones
from tts.chatterbox.kernels.decoding import Attend, DecodeOps
from tts.chatterbox.kernels.estimating import FrameOps
from validation.errors import GpuFault

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
SIZES = (128, 256, 300)
HALF = torch.bfloat16


def same(ops: Any) -> Any:
    """The same operations, of which each can be told from the plain line."""
    return type(ops)(*(wrapped(getattr(ops, name)) for name in type(ops).__slots__))


def wrapped(line: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args: line(*args)


def chosen(fused: DecodeOps) -> DecodeOps:
    return right_ones("token model", fused, decoding.PLAIN, decode_trials(Draws(CPU, HALF), SIZES, (1, 2)), HALF)


# --- what is wrong is left out ----------------------------------------------------------------------------


def fails(*args: Any) -> Any:
    raise RuntimeError("Failed to find C compiler")


def is_nan(x: Tensor, norm: Tensor, weight: Tensor) -> Tensor:
    return decoding.norm_swiglu(x, norm, weight) * torch.nan


def adds_nothing(x: Tensor, y: Tensor, weight: Tensor) -> None:
    x.copy_(y @ weight.T)


def norms_nothing(x: Tensor, norm: Tensor, weight: Tensor) -> Tensor:
    return decoding.norm_logits(x, torch.ones_like(norm), weight)


def draws_the_next(*args: Any) -> Tensor:
    return decoding.PLAIN.sample(*args) + 1


def forgets_the_newest(cos: Tensor, sin: Tensor, position: Tensor, reach: int) -> Attend:
    attend = decoding.attention(cos, sin, position, reach)

    def without(qkv: Tensor, cache: Tensor) -> tuple[Tensor, Tensor]:
        mixed, queries = attend(qkv, cache)
        cache[torch.arange(len(qkv)), 1, :, position] = 0.0
        return mixed, queries

    return without


def reads_too_far(cos: Tensor, sin: Tensor, position: Tensor, reach: int) -> Attend:
    """As if one empty position more had been attended to as much as the others."""
    attend = decoding.attention(cos, sin, position, reach)

    def further(qkv: Tensor, cache: Tensor) -> tuple[Tensor, Tensor]:
        mixed, queries = attend(qkv, cache)
        return mixed * ((position + 1) / (position + 2)).to(mixed.dtype)[:, None], queries

    return further


@pytest.mark.parametrize(
    ("name", "wrong", "why"),
    [
        pytest.param("norm_linear", fails, "C compiler", id="an error"),
        pytest.param("norm_swiglu", is_nan, "differs by nan", id="not finite"),
        pytest.param("norm_logits", norms_nothing, "differs by", id="no norm"),
        pytest.param("linear_add", adds_nothing, "differs by", id="no sum"),
        pytest.param("attention", forgets_the_newest, "differs by", id="a value that is not written"),
        pytest.param("attention", reads_too_far, "differs by", id="a position too many"),
        pytest.param("sample", draws_the_next, "tokens differ", id="another token"),
    ],
)
def test_a_kernel_that_fails_or_is_wrong_is_left_out_and_told(caplog, name, wrong, why):
    fused = replace(same(decoding.PLAIN), **{name: wrong})
    found = chosen(fused)
    assert getattr(found, name) is getattr(decoding.PLAIN, name)
    others = [other for other in DecodeOps.__slots__ if other != name]
    assert [getattr(found, other) for other in others] == [getattr(fused, other) for other in others]
    (record,) = caplog.records
    assert (record.levelname, why in record.getMessage()) == ("WARNING", True), record.getMessage()
    assert f"the token model computes {name} without a kernel of its own" in record.getMessage()


def test_kernels_that_are_right_are_taken_and_nothing_is_told(caplog):
    fused, frames = same(decoding.PLAIN), same(estimating.PLAIN)
    assert chosen(fused) == fused
    trials = frame_trials(Draws(CPU, torch.float16), 96, 64)
    assert right_ones("flow", frames, estimating.PLAIN, trials, torch.float16) == frames
    assert caplog.records == []


@pytest.mark.parametrize("name", FrameOps.__slots__)
def test_a_wrong_kernel_of_the_flow_is_left_out(caplog, name):
    """One that leaves its bias, or its last argument, out."""

    def wrong(*args: Any) -> Tensor:
        kept = [torch.zeros_like(arg) if index in (2, 3) and arg is not None else arg for index, arg in enumerate(args)]
        return getattr(estimating.PLAIN, name)(*kept)

    trials = frame_trials(Draws(CPU, torch.float16), 96, 64)
    fused = replace(same(estimating.PLAIN), **{name: wrong})
    found = right_ones("flow", fused, estimating.PLAIN, trials, torch.float16)
    assert getattr(found, name) is getattr(estimating.PLAIN, name)
    assert f"the flow computes {name} without" in caplog.text


def test_a_gpu_that_a_kernel_broke_is_no_slower_part(monkeypatch):
    monkeypatch.setattr(choice, "gpu_answers", lambda: False)
    with pytest.raises(GpuFault, match="norm_linear of the token model"):
        chosen(replace(decoding.PLAIN, norm_linear=fails))


# --- where there are none ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("device", "dtype", "graphs"), [(CPU, HALF, True), (CUDA, torch.float32, True), (CUDA, HALF, False)]
)
def test_a_cpu_float32_and_what_is_not_captured_have_the_plain_lines(caplog, device, dtype, graphs):
    assert decode_ops(device, dtype, SIZES, (2,), graphs) is decoding.PLAIN
    assert frame_ops(device, dtype, 96, 64, graphs) is estimating.PLAIN
    assert caplog.records == []


def test_without_triton_a_gpu_has_the_plain_lines_and_it_is_told(caplog, monkeypatch):
    monkeypatch.setattr(choice, "find_spec", lambda name: None)
    assert decode_ops(CUDA, HALF, SIZES, (2,)) is decoding.PLAIN
    assert frame_ops(CUDA, HALF, 96, 64) is estimating.PLAIN
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2
    assert "Triton is not installed" in caplog.text


def test_attention_that_reaches_further_than_the_pieces_that_are_joined_is_the_plain_lines():
    """MAX_SEGMENT_TOKENS may be 2000: 2,688 positions of a shared cache, and 42 pieces."""
    pytest.importorskip("triton")
    from tts.chatterbox.kernels import fused
    from tts.chatterbox.kernels.attention import MOST_PIECES, PIECE

    cos, sin, position = torch.ones(4096, 3, 64), torch.zeros(4096, 3, 64), torch.tensor([3])
    near, far = (fused.attention(cos, sin, position, MOST_PIECES * PIECE + more) for more in (0, 1))
    assert (near.__module__, far.__module__) == (fused.__name__, decoding.__name__)
