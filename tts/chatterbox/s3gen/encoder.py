"""The flow's encoder: speech tokens in, the mean mel (mu) that conditions the ODE out, on upstream's weights.

A forward of our own: everything before the first layer that mixes tokens is one table; queries, keys and values are
one product; each head's distance terms are a table, computed once; the upsampling convolution runs at the token rate.
Nothing is read on the host, so that it can be captured in a CUDA graph.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tts.chatterbox.rates import FRAMES_PER_TOKEN, LOOKAHEAD_TOKENS, MEL_BANDS, SPEECH_CODES
from tts.chatterbox.s3gen.estimator import Affine
from tts.chatterbox.weights.tensors import Tensors

FRAME_LAYERS = 4  # after the upsampling; the number of layers before it is the checkpoint's
LAYER_EPS, OTHER_EPS = 1e-12, 1e-5  # upstream's, of the norms
LONGEST_TOKENS = 1280  # the longest prompt, 250, a segment of 1,000, and lookahead
BEFORE_TOKENS = 2  # that a convolution reads back
HIDDEN = -1e9  # added to a masked score; finite, so that a row that is masked throughout gives no NaN
HIDDEN_HALF = -3e4  # the same in float16, which ends at 65,504, with room for the score


@dataclass(frozen=True, slots=True)
class Norm:
    """A layer normalisation in float32, (…, C) → the same."""

    weight: Tensor
    bias: Tensor
    eps: float
    dtype: torch.dtype  # of the result

    @classmethod
    def read(
        cls, tensors: Tensors, name: str, width: int, eps: float, dtype: torch.dtype = torch.float32, scale: float = 1.0
    ) -> Norm:
        weight, bias = (tensors.take(f"{name}.{part}", width) for part in ("weight", "bias"))
        return cls(weight * scale, bias * scale, eps, dtype)

    def __call__(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps).to(self.dtype)


@dataclass(frozen=True, slots=True)
class Window:
    """A convolution over the tokens t − before … t + after, zeros beyond the ends: (B, N, C) → (B, N, C')."""

    taps: Affine  # (C', (before + 1 + after) · C)
    before: int
    after: int

    @classmethod
    def read(cls, tensors: Tensors, name: str, width: int, before: int, after: int) -> Window:
        shape = (width, width, before + 1 + after)
        return cls(Affine.read_conv(tensors, name, *shape, dtype=torch.float32), before, after)

    @classmethod
    def read_doubling(cls, tensors: Tensors, name: str, width: int) -> Window:
        """Repeat each token, then convolve five frames back: the same at the token rate, a frame pair per token.

        Frame 2t reads the tokens t−2, t−2, t−1, t−1, t and frame 2t+1 reads t−2, t−1, t−1, t, t, so the weights
        that meet the same token add up.
        """
        weight, bias = tensors.take(f"{name}.weight", width, width, 5), tensors.take(f"{name}.bias", width)
        a, b, c, d, e = weight.unbind(2)  # (C', C) each, the oldest frame first
        even, odd = torch.stack((a + b, c + d, e), dim=1), torch.stack((a, b + c, d + e), dim=1)
        taps = Affine(torch.cat((even, odd)).flatten(1), bias.repeat(FRAMES_PER_TOKEN))
        return cls(taps, BEFORE_TOKENS, 0)

    def __call__(self, x: Tensor) -> Tensor:
        padded, length = F.pad(x, (0, 0, self.before, self.after)), x.shape[1]
        return self.taps(torch.cat([padded[:, k : k + length] for k in range(self.before + 1 + self.after)], dim=-1))


@dataclass(frozen=True, slots=True)
class Layer:
    """Self-attention by content and by distance, and a feed-forward, both residual.

    The score of query i and key j is ((qᵢ + u)·kⱼ + (qᵢ + v)·r(i − j)) / √D: Dai et al. 2019, arXiv:1901.02860,
    section 3.3. The division is in the weights.
    """

    attention_norm: Norm
    qkv: Affine
    biases: Tensor  # (2, H, 1, 1, D): u and v
    distances: Tensor  # (H, 2 · longest − 1, D): r, from longest − 1 down to 1 − longest
    out: Affine
    mlp_norm: Norm
    up: Affine
    down: Affine

    @classmethod
    def read(cls, tensors: Tensors, heads: int, encodings: Tensor, dtype: torch.dtype) -> Layer:
        """encodings: (2 · longest − 1, C), of all distances. Raises: ModelUnavailable."""
        width = encodings.shape[1]
        attention, head_dim = tensors.at("self_attn."), width // heads
        scales = {"linear_q": head_dim**-0.5, "linear_k": 1, "linear_v": 1}
        weight = torch.cat([attention.take(f"{part}.weight", width, width) * by for part, by in scales.items()])
        bias = torch.cat([attention.take(f"{part}.bias", width) * by for part, by in scales.items()])
        biases = torch.stack([attention.take(f"pos_bias_{part}", heads, head_dim) for part in "uv"]) * head_dim**-0.5
        distances = F.linear(encodings, attention.take("linear_pos.weight", width, width))
        up = Affine.read(tensors, "feed_forward.w_1", -1, width, dtype=dtype)
        return cls(
            attention_norm=Norm.read(tensors, "norm_mha", width, LAYER_EPS, dtype),
            qkv=Affine(weight.to(dtype), bias.to(dtype)),
            biases=biases[:, :, None, None].to(dtype),
            distances=distances.view(-1, heads, head_dim).transpose(0, 1).to(dtype).contiguous(),
            out=Affine.read(attention, "linear_out", width, width, dtype=dtype),
            mlp_norm=Norm.read(tensors, "norm_ff", width, LAYER_EPS, dtype),
            up=up,
            down=Affine.read(tensors, "feed_forward.w_2", width, len(up.weight), dtype=dtype),
        )

    def __call__(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """x (B, N, C) float32; mask (1, B or 1, 1, N): added to the scores of each key."""
        batch, length, _ = x.shape
        heads, reach, head_dim = self.distances.shape
        qkv = self.qkv(self.attention_norm(x)).view(batch, length, 3, heads, head_dim)
        q, k, v = qkv.permute(2, 3, 0, 1, 4)  # (H, B, N, D)
        by_content, by_distance = q + self.biases
        first = (reach + 1) // 2 - length
        distances = self.distances[:, first : first + 2 * length - 1]
        scores = skewed(torch.bmm(by_distance.flatten(1, 2), distances.transpose(1, 2)), length)
        x = x + self.out(attend(by_content, k, v, scores if mask is None else scores + mask))
        return x + self.down(F.silu(self.up(self.mlp_norm(x))))


def skewed(scores: Tensor, length: int) -> Tensor:
    """Scores by distance, (H, B · N, 2N − 1) from N − 1 down, → a view of them by key, (H, B, N, N)."""
    heads, rows, width = scores.shape
    sizes = (heads, rows // length, length, length)
    return scores.as_strided(sizes, (rows * width, length * width, width - 1, 1), length - 1)


def attend(q: Tensor, k: Tensor, v: Tensor, scores: Tensor) -> Tensor:
    """Attention where `scores` (H, B, N, N) are added to q·k; q, k, v (H, B, N, D) → (B, N, H · D).

    On a CPU plain products take 10 to 20 % less time in bfloat16 than the fused kernel, 3 % more in float32.
    """
    mixed = (attend_plainly if q.device.type == "cpu" else attend_fused)(q, k, v, scores)
    return mixed.permute(1, 2, 0, 3).flatten(2)


def attend_fused(q: Tensor, k: Tensor, v: Tensor, scores: Tensor) -> Tensor:
    """One kernel. `scores` may be a view at an odd offset (`skewed`), which torch copies if it has to."""
    return F.scaled_dot_product_attention(q, k, v, attn_mask=scores, scale=1.0)


def attend_plainly(q: Tensor, k: Tensor, v: Tensor, scores: Tensor) -> Tensor:
    q, k, flat = (part.flatten(0, 1) for part in (q, k, v))
    weights = torch.softmax(torch.baddbmm(scores.flatten(0, 1), q, k.transpose(1, 2)), dim=-1)
    return torch.bmm(weights, flat).view(v.shape)


def hide(hidden: Tensor, dtype: torch.dtype) -> Tensor:
    """The mask to add to the scores, so low where `hidden` (bool, any shape) is set that softmax gives 0."""
    return hidden.to(dtype) * (HIDDEN_HALF if dtype == torch.float16 else HIDDEN)


def encode_distances(longest: int, width: int, device: torch.device) -> Tensor:
    """Sines and cosines of the distances longest − 1 … 1 − longest: (2 · longest − 1, width), float32.

    Vaswani et al. 2017, arXiv:1706.03762, section 3.5, interleaved; Dai et al., appendix B, for both signs.
    """
    distance = torch.arange(longest - 1, -longest, -1, dtype=torch.float32, device=device)
    rate = torch.exp(torch.arange(0, width, 2, dtype=torch.float32, device=device) * -(math.log(10000.0) / width))
    angle = distance[:, None] * rate
    return torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(1)


class Encoder:
    """The network. Weights and tables are read-only after construction."""

    def __init__(self, flow: Tensors, dtype: torch.dtype, longest_tokens: int = LONGEST_TOKENS) -> None:
        """flow: upstream's CausalMaskedDiffWithXvec; longest_tokens: the most in one call.

        dtype: of the products in the layers. Residual sums, convolutions and norms stay float32: in bfloat16 mu errs 3
        to 70 times as much, the more the less the layers add.
        Raises: ModelUnavailable.
        """
        net = flow.at("encoder.")
        embedding = flow.take("input_embedding.weight", SPEECH_CODES, -1)
        width = embedding.shape[1]
        heads = len(net.take("encoders.0.self_attn.pos_bias_u", -1, -1))
        scale = math.sqrt(width)  # upstream's, as in Vaswani et al.

        def layers(name: str, number: int, longest: int) -> tuple[Layer, ...]:
            encodings = encode_distances(longest, width, flow.device)
            return tuple(Layer.read(net.at(f"{name}.{i}."), heads, encodings, dtype) for i in range(number))

        with torch.inference_mode():
            linear = Affine.read(net, "embed.out.0", width, width, dtype=torch.float32)
            norm = Norm.read(net, "embed.out.1", width, OTHER_EPS, scale=scale)
            self._table = norm(linear(embedding))  # (ids, C)
            self._ahead = Window.read(net, "pre_lookahead_layer.conv1", width, 0, LOOKAHEAD_TOKENS)
            self._behind = Window.read(net, "pre_lookahead_layer.conv2", width, BEFORE_TOKENS, 0)
            self._layers = layers("encoders", net.count("encoders."), longest_tokens)
            self._double = Window.read_doubling(net, "up_layer.conv", width)
            self._frames_in = Affine.read(net, "up_embed.out.0", width, width, dtype=torch.float32)
            self._frames_norm = Norm.read(net, "up_embed.out.1", width, OTHER_EPS, scale=scale)
            self._frame_layers = layers("up_encoders", FRAME_LAYERS, FRAMES_PER_TOKEN * longest_tokens)
            self._norm = Norm.read(net, "after_norm", width, OTHER_EPS)
            self._out = Affine.read(flow, "encoder_proj", MEL_BANDS, width, dtype=torch.float32)
            self._positions = torch.arange(longest_tokens, device=flow.device)
        self.dtype = dtype

    def __call__(self, tokens: Tensor, length: Tensor | None = None) -> Tensor:
        """The mean mel of every token; it is meaningless for those past `length`.

        The last three tokens read zeros as their lookahead: append three tokens of lookahead for exact frames.

        Args:
            tokens: (B, N) int64, right-padded with any valid id.
            length: () or (B,) int64 on the tokens' device, each ≥ 1: the true number of tokens; None: N.
        Returns: mu (B, 2N, 80) float32.
        Raises: ValueError if N exceeds `longest_tokens`.
        """
        n = tokens.shape[1]
        if n > len(self._positions):
            raise ValueError(f"{n} tokens, where the tables end at {len(self._positions)}")
        x, mask = F.embedding(tokens, self._table), None
        if length is not None:
            valid = self._positions[:n] < length.view(-1, 1)  # (B or 1, N)
            x = x * valid[..., None]  # the lookahead reads past the end, where it needs zeros
            mask = hide(valid.logical_not(), self.dtype)[None, :, None]
        x = x + self._behind(F.leaky_relu(self._ahead(x)))
        x = _through(self._layers, x, mask)
        x = self._double(x).view(x.shape[0], FRAMES_PER_TOKEN * n, -1)
        x = self._frames_norm(self._frames_in(x))
        x = _through(self._frame_layers, x, None if mask is None else mask.repeat_interleave(FRAMES_PER_TOKEN, dim=-1))
        return self._out(self._norm(x))


def _through(layers: tuple[Layer, ...], x: Tensor, mask: Tensor | None) -> Tensor:
    for layer in layers:
        x = layer(x, mask)
    return x
