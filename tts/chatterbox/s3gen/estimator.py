"""The flow's estimator: the field that Euler's method follows, on upstream's weights.

A forward of our own: time is the second axis throughout, so that nothing is transposed; queries, keys and values are
one product; what depends on the step alone is computed once. Frames come all at once, or in pieces with a memory of
earlier ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from tts.chatterbox.kernels.estimating import PLAIN, FrameOps
from tts.chatterbox.rates import HEAD_DIM, MEL_BANDS
from tts.chatterbox.runtime.processor import processor
from tts.chatterbox.weights.tensors import Tensors

KERNEL = 3  # of every causal convolution
MIXER = "time_embed_mixer"  # of a distilled network alone


class Recall(Protocol):
    """What a forward uses of earlier frames, layer by layer in the order of the network."""

    def lead(self, x: Tensor) -> Tensor:
        """A convolution's input (B, T, C), with the frames before it: (B, KERNEL − 1 + T, C)."""

    def recall(self, new: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Keys and values of new frames, (2, B, H, T, HEAD_DIM) → those of all frames in memory, in parts."""


class Memory:
    """What later frames need of earlier ones at one Euler step: each convolution's last inputs, each attention's keys
    and values. Layers use it in the order of the network; a counter finds each layer's entry.

    Frames of a forked memory are shared by all forks and stay; of later frames the last `keep` are kept.
    """

    def __init__(self, keep: int, tails: Sequence[Tensor] = (), base: Sequence[tuple[Tensor, Tensor]] = ()) -> None:
        self._keep, self._base = keep, tuple(base)
        self._tails = list(tails)  # (B, KERNEL − 1, C), by convolution
        self._recent: list[tuple[Tensor, Tensor]] = []  # keys and values, (B, H, n, HEAD_DIM), by attention
        self._conv = self._attention = 0  # index of the layer that comes next

    def fork(self, keep: int) -> Memory:
        """A memory that continues from this one, which must not change any more."""
        assert not self._base
        return Memory(keep, self._tails, self._recent)

    def compact(self) -> None:
        """Let go of all that the tails are views of."""
        self._tails = [tail.clone() for tail in self._tails]

    def rewound(self) -> Memory:
        """Itself, at the start of a forward: back at the first layer."""
        self._conv = self._attention = 0
        return self

    def records(self) -> tuple[Tensor, Tensor]:
        """Of all layers, the keys and values (n, B, attentions, 2 · values) and the tails (B, KERNEL − 1, channels)."""
        kept = torch.stack([torch.stack(pair) for pair in self._recent])  # (attentions, 2, B, H, n, HEAD_DIM)
        return kept.permute(4, 2, 0, 1, 3, 5).flatten(3), torch.cat(self._tails, dim=-1)

    def lead(self, x: Tensor) -> Tensor:
        turn, self._conv = self._conv, self._conv + 1
        if turn == len(self._tails):
            self._tails.append(x.new_zeros(x.shape[0], KERNEL - 1, x.shape[2]))
        led = torch.cat((self._tails[turn], x), dim=1)
        self._tails[turn] = led[:, 1 - KERNEL :]
        return led

    def recall(self, new: Tensor) -> list[tuple[Tensor, Tensor]]:
        k, v = new
        turn, self._attention = self._attention, self._attention + 1
        if turn == len(self._recent):
            self._recent.append((k[:, :, :0], v[:, :, :0]))
        recent = tuple(torch.cat(pair, dim=2) for pair in zip(self._recent[turn], (k, v), strict=True))
        first = max(0, recent[0].shape[2] - self._keep)
        self._recent[turn] = (recent[0][:, :, first:], recent[1][:, :, first:])
        return [*self._base[turn : turn + 1], (recent[0], recent[1])]


@dataclass(frozen=True, slots=True)
class Affine:
    """A linear map, or a normalisation: (out, in) or (C,), and its bias."""

    weight: Tensor
    bias: Tensor | None

    @classmethod
    def read(cls, tensors: Tensors, name: str, *shape: int, dtype: torch.dtype, bias: bool = True) -> Affine:
        """shape: of the weight. Raises: ModelUnavailable."""
        weight = tensors.take(f"{name}.weight", *shape)
        return cls(weight.to(dtype), tensors.take(f"{name}.bias", len(weight)).to(dtype) if bias else None)

    @classmethod
    def read_conv(cls, tensors: Tensors, name: str, *shape: int, dtype: torch.dtype) -> Affine:
        """The taps of a convolution as one map: shape (C', C, K) → (C', K · C). Raises: ModelUnavailable."""
        weight = tensors.take(f"{name}.weight", *shape).to(dtype).transpose(1, 2).flatten(1)
        return cls(weight, tensors.take(f"{name}.bias", len(weight)).to(dtype))

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)

    @property
    def parts(self) -> tuple[Tensor, Tensor]:
        assert self.bias is not None
        return self.weight, self.bias


@dataclass(frozen=True, slots=True)
class CausalConv:
    """A convolution over a frame and the two before it: (B, T, C) → (B, T, C')."""

    taps: Affine  # (C', KERNEL · C)
    nothing: Tensor  # (1, KERNEL − 1, C), before the first frame: F.pad would fill and copy, which is a launch more

    @classmethod
    def read(cls, tensors: Tensors, name: str, out: int, channels: int, dtype: torch.dtype) -> CausalConv:
        taps = Affine.read_conv(tensors, name, out, channels, KERNEL, dtype=dtype)
        return cls(taps, taps.weight.new_zeros(1, KERNEL - 1, channels))

    def __call__(self, x: Tensor, memory: Recall | None = None) -> Tensor:
        length = x.shape[1]
        led = memory.lead(x) if memory else torch.cat((self.nothing.expand(x.shape[0], -1, -1), x), dim=1)
        return self.taps(torch.cat([led[:, k : k + length] for k in range(KERNEL)], dim=-1))


@dataclass(frozen=True, slots=True)
class ConvBlock:
    """Convolution, normalisation, Mish; then a step's embedding is added, if one is given."""

    conv: CausalConv
    scale: Affine

    @classmethod
    def read(cls, tensors: Tensors, name: str, width: int, channels: int, dtype: torch.dtype) -> ConvBlock:
        block = tensors.at(f"{name}.block.")
        return cls(CausalConv.read(block, "0", width, channels, dtype), Affine.read(block, "2", width, dtype=dtype))

    def __call__(
        self, x: Tensor, ops: FrameOps, memory: Recall | None = None, embedding: Tensor | None = None
    ) -> Tensor:
        return ops.norm_mish(self.conv(x, memory), *self.scale.parts, embedding)


@dataclass(frozen=True, slots=True)
class Resnet:
    """Two convolution blocks around the step's embedding, and a shortcut."""

    first: ConvBlock
    second: ConvBlock
    shortcut: Affine
    steps: Tensor  # (steps, C): the time embedding of each step, through this block's own layer

    @classmethod
    def read(cls, tensors: Tensors, width: int, channels: int, embeddings: Tensor, dtype: torch.dtype) -> Resnet:
        """embeddings: (steps, D), of the times."""
        steps = Affine.read(tensors, "mlp.1", width, embeddings.shape[1], dtype=embeddings.dtype)(F.mish(embeddings))
        return cls(
            first=ConvBlock.read(tensors, "block1", width, channels, dtype),
            second=ConvBlock.read(tensors, "block2", width, width, dtype),
            shortcut=Affine.read_conv(tensors, "res_conv", width, channels, 1, dtype=dtype),
            steps=steps.to(dtype),
        )

    def __call__(self, x: Tensor, ops: FrameOps, embedding: Tensor, memory: Recall | None = None) -> Tensor:
        """embedding (B or 1, 1, C): of each row's step, one of `steps`."""
        mixed = self.second(self.first(x, ops, memory, embedding), ops, memory)
        return ops.linear_add(x, *self.shortcut.parts, mixed)


@dataclass(frozen=True, slots=True)
class Transformer:
    """Full self-attention and a feed-forward, both residual."""

    attention_norm: Affine
    qkv: Affine
    out: Affine
    mlp_norm: Affine
    up: Affine
    down: Affine

    @classmethod
    def read(cls, tensors: Tensors, width: int, inner: int, dtype: torch.dtype) -> Transformer:
        """width: of the frames; inner: of all heads together."""
        qkv = torch.cat([tensors.take(f"attn1.to_{name}.weight", inner, width) for name in "qkv"])
        return cls(
            attention_norm=Affine.read(tensors, "norm1", width, dtype=dtype),
            qkv=Affine(qkv.to(dtype), None),
            out=Affine.read(tensors, "attn1.to_out.0", width, inner, dtype=dtype),
            mlp_norm=Affine.read(tensors, "norm3", width, dtype=dtype),
            up=Affine.read(tensors, "ff.net.0.proj", 4 * width, width, dtype=dtype),
            down=Affine.read(tensors, "ff.net.2", width, 4 * width, dtype=dtype),
        )

    def __call__(self, x: Tensor, ops: FrameOps, mask: Tensor | None = None, memory: Recall | None = None) -> Tensor:
        qkv = ops.norm_linear(x, *self.attention_norm.parts, self.qkv.weight)  # (B, T, 3 · H · HEAD_DIM)
        qkv = qkv.view(*x.shape[:2], 3, -1, HEAD_DIM).permute(2, 0, 3, 1, 4)  # (3, B, H, T, HEAD_DIM)
        mixed = attend(qkv[0], memory.recall(qkv[1:]) if memory else [(qkv[1], qkv[2])], mask)
        x = ops.linear_add(mixed.transpose(1, 2).flatten(2), *self.out.parts, x)
        hidden = ops.norm_linear_gelu(x, *self.mlp_norm.parts, *self.up.parts)
        return ops.linear_add(hidden, *self.down.parts, x)


def attend(q: Tensor, parts: Sequence[tuple[Tensor, Tensor]], mask: Tensor | None = None) -> Tensor:
    """Attention of q (B, H, T, HEAD_DIM) over keys and values in several parts → the same shape as q.

    mask: added to the scores of each key, (B, keys).
    """
    fused = q.device.type != "cpu" or processor().fuses_attention(q.dtype, len(parts))
    return (attend_fused if fused else attend_plainly)(q, parts, mask)


def attend_fused(q: Tensor, parts: Sequence[tuple[Tensor, Tensor]], mask: Tensor | None) -> Tensor:
    k, v = parts[0] if len(parts) == 1 else (torch.cat(pair, dim=2) for pair in zip(*parts, strict=True))
    bias = None if mask is None else mask[:, None, None].expand(-1, -1, q.shape[2], -1)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)


def attend_plainly(q: Tensor, parts: Sequence[tuple[Tensor, Tensor]], mask: Tensor | None) -> Tensor:
    rows = q.flatten(0, 1)  # (B · H, T, HEAD_DIM)
    keys, values = ([pair[which].flatten(0, 1) for pair in parts] for which in (0, 1))
    bias, beta = (q.new_zeros(1), 0) if mask is None else (mask.repeat_interleave(q.shape[1], 0)[:, None], 1)
    products = [torch.baddbmm(bias, rows, k.transpose(1, 2), beta=beta, alpha=HEAD_DIM**-0.5) for k in keys]
    weights = torch.softmax(products[0] if len(products) == 1 else torch.cat(products, dim=-1), dim=-1)
    shares = torch.split(weights, [k.shape[1] for k in keys], dim=-1)
    mixed = torch.bmm(shares[0], values[0])
    for share, value in zip(shares[1:], values[1:], strict=True):
        mixed = mixed.baddbmm_(share, value)
    return mixed.view(q.shape)


def embed_times(tensors: Tensors, width: int, times: Tensor) -> Tensor:
    """Times in 0 … 1, (steps,) float32, → their embeddings for the resnets, (steps, 4 · width).

    Sines, then cosines, of a thousandfold time (Ho et al. 2020, arXiv:2006.11239, after Vaswani et al.), two layers.
    """
    first = Affine.read(tensors, "linear_1", 4 * width, 4 * MEL_BANDS, dtype=torch.float32)
    second = Affine.read(tensors, "linear_2", 4 * width, 4 * width, dtype=torch.float32)
    half = 2 * MEL_BANDS
    rate = torch.exp(torch.arange(half, device=times.device).float() * -(math.log(10000) / (half - 1)))
    angle = 1000 * times[:, None] * rate
    return second(F.silu(first(torch.cat((angle.sin(), angle.cos()), dim=-1))))


def embed_steps(tensors: Tensors, width: int, times: Tensor) -> Tensor:
    """The embeddings (steps, 4 · width) of the steps between `times` (steps + 1,): those of their starts; those of
    starts and ends mixed, where the network was distilled to average its field over a step.

    Upstream's mean flow (Geng et al. 2025, arXiv:2505.13447; the mixer: arXiv:2510.07979, section 3.3).
    """
    starts = embed_times(tensors.at("time_mlp."), width, times[:-1])
    if not is_distilled(tensors):
        return starts
    ends = embed_times(tensors.at("time_mlp."), width, times[1:])
    mixer = Affine.read(tensors, MIXER, 4 * width, 8 * width, dtype=torch.float32, bias=False)
    return mixer(torch.cat((starts, ends), dim=-1))


@dataclass(frozen=True, slots=True)
class Stack:
    """A resnet, some transformers, and, at the network's ends, one more convolution."""

    resnet: Resnet
    transformers: tuple[Transformer, ...]
    conv: CausalConv | None = None

    def __call__(
        self, x: Tensor, ops: FrameOps, embedding: Tensor, mask: Tensor | None, memory: Recall | None
    ) -> Tensor:
        x = self.resnet(x, ops, embedding, memory)
        for transformer in self.transformers:
            x = transformer(x, ops, mask, memory)
        return x


def estimator_sizes(tensors: Tensors) -> tuple[int, int]:
    """The width of the frames, and that of all heads together. Raises: ModelUnavailable."""
    inner, width = tensors.take("down_blocks.0.1.0.attn1.to_q.weight", -1, -1).shape
    return width, inner


def is_distilled(tensors: Tensors) -> bool:
    """Whether its steps need no guidance, and are few: upstream's "meanflow"."""
    return tensors.has(f"{MIXER}.weight")


class Estimator:
    """The network, for one schedule of times; read-only."""

    def __init__(self, tensors: Tensors, times: Tensor, dtype: torch.dtype, ops: FrameOps = PLAIN) -> None:
        """tensors: upstream's ConditionalDecoder, one stage down and one up; times: (steps + 1,), between which a
        step leads; ops: of captured steps.

        Raises: ModelUnavailable.
        """
        width, inner = estimator_sizes(tensors)
        depth = tensors.count("down_blocks.0.1.")

        def stack(name: str, channels: int, conv: bool = False) -> Stack:
            part = tensors.at(f"{name}.")
            transformers = (Transformer.read(part.at(f"1.{i}."), width, inner, dtype) for i in range(depth))
            return Stack(
                Resnet.read(part.at("0."), width, channels, embeddings, dtype),
                tuple(transformers),
                CausalConv.read(part, "2", width, width, dtype) if conv else None,
            )

        with torch.inference_mode():
            embeddings = embed_steps(tensors, width, times)
            self._down = stack("down_blocks.0", 4 * MEL_BANDS, conv=True)  # x, mu, speaker and condition
            self._middle = tuple(stack(f"mid_blocks.{i}", width) for i in range(tensors.count("mid_blocks.")))
            self._up = stack("up_blocks.0", 2 * width, conv=True)
            self._last = ConvBlock.read(tensors, "final_block", width, width, dtype)
            self._out = Affine.read_conv(tensors, "final_proj", MEL_BANDS, width, 1, dtype=dtype)
            stacks = (self._down, *self._middle, self._up)
            self._steps = torch.stack([stack.resnet.steps for stack in stacks], dim=1)  # (steps, R, C)
        self.dtype, self._ops = dtype, ops

    def __call__(
        self, x: Tensor, fixed: Tensor, step: int | Tensor, mask: Tensor | None = None, memory: Recall | None = None
    ) -> Tensor:
        """The field at x.

        Args: x (B, T, 80); fixed (B, T, 240): mu, speaker and condition; step: its index, an int or (B,)
        int64; mask (B, T): added to the scores of each frame, to hide padding; memory: of earlier frames at this step.
        Returns: (B, T, 80) in the dtype of x.
        """
        # A graph has the index in device memory. What Python launches step by step has the plain lines: a launch of
        # Triton's takes the host 25 to 50 µs, one of torch's 8.
        ops = PLAIN if isinstance(step, int) else self._ops
        # Indexed by a tensor, `self._steps[step]` would wait for its value.
        at_step = self._steps[step][None] if isinstance(step, int) else self._steps.index_select(0, step)
        first, *middle, last = at_step[:, :, None].unbind(1)
        h = skip = self._down(torch.cat((x.to(self.dtype), fixed), dim=-1), ops, first, mask, memory)
        assert self._down.conv
        assert self._up.conv
        h = self._down.conv(h, memory)
        for stack, embedding in zip(self._middle, middle, strict=True):
            h = stack(h, ops, embedding, mask, memory)
        h = self._up.conv(self._up(torch.cat((h, skip), dim=-1), ops, last, mask, memory), memory)
        return self._out(self._last(h, ops, memory)).to(x.dtype)
