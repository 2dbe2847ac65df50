"""The GPT-2 body of Turbo and Nano: one learned table of positions, counted over conditioning, text and speech; no
guidance, so a request has one row; a head with a bias.

Radford et al. 2019 (Language Models are Unsupervised Multitask Learners).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from tts.chatterbox.kernels.decoding import NORM_EPS, TURBO, DecodeOps, float_logits
from tts.chatterbox.kernels.packed import linear
from tts.chatterbox.rates import HEAD_DIM
from tts.chatterbox.t3.model import START_SPEECH, Mix, TokenModel
from tts.chatterbox.weights.tensors import Tensors

Norm = tuple[Tensor, Tensor]  # weight and bias, (D,) each


@dataclass(frozen=True, slots=True)
class Layer:
    """One decoder layer's weights, each (out, in). D: width, E: feed-forward width."""

    attention_norm: Norm
    qkv: Tensor  # (3D, D)
    qkv_bias: Tensor
    out: Tensor  # (D, D)
    out_bias: Tensor
    mlp_norm: Norm
    up: Tensor  # (E, D)
    up_bias: Tensor
    down: Tensor  # (D, E)
    down_bias: Tensor


class Gpt2(TokenModel):
    """A GPT-2 whose tokens are embedded by tables of text and of speech."""

    rows: ClassVar[int] = 1
    forgets_start: ClassVar[bool] = True
    plain: ClassVar[DecodeOps] = TURBO
    products: ClassVar[tuple[str, ...]] = ("qkv", "out", "up", "down")

    def __init__(self, tensors: Tensors, dtype: torch.dtype, ops: DecodeOps = TURBO) -> None:
        """tensors: of `t3_turbo_v1.safetensors` or its like; ops: of a decode step. Raises: ModelUnavailable."""

        def take(name: str, *shape: int) -> Tensor:
            return tensors.take(name, *shape).to(dtype)

        def norm(name: str) -> Norm:
            return take(f"{name}.weight", width), take(f"{name}.bias", width)

        def weight(name: str, outputs: int, inputs: int) -> Tensor:
            laid = take(f"{name}.weight", inputs, outputs).T  # GPT-2's layout, in which a CPU's product reads it
            return laid.contiguous() if self.device.type == "cuda" or ops is not TURBO else laid

        def layer(name: str) -> Layer:
            attention, mlp = f"{name}.attn", f"{name}.mlp"
            return Layer(
                attention_norm=norm(f"{name}.ln_1"),
                qkv=weight(f"{attention}.c_attn", 3 * width, width),
                qkv_bias=take(f"{attention}.c_attn.bias", 3 * width),
                out=weight(f"{attention}.c_proj", width, width),
                out_bias=take(f"{attention}.c_proj.bias", width),
                mlp_norm=norm(f"{name}.ln_2"),
                up=weight(f"{mlp}.c_fc", inner, width),
                up_bias=take(f"{mlp}.c_fc.bias", inner),
                down=weight(f"{mlp}.c_proj", width, inner),
                down_bias=take(f"{mlp}.c_proj.bias", width),
            )

        super().__init__(tensors, dtype, ops)
        self._text_emb = take("text_emb.weight", -1, -1)
        width = self._text_emb.shape[1]
        self._speech_emb = take("speech_emb.weight", -1, width)
        self._positions = take("tfmr.wpe.weight", -1, width)
        self._norm, self._head = norm("tfmr.ln_f"), take("speech_head.weight", len(self._speech_emb), width)
        self._head_bias = tensors.take("speech_head.bias", len(self._speech_emb)).float()
        self.inner = inner = tensors.take("tfmr.h.0.mlp.c_fc.weight", width, -1).shape[1]
        self._layers = [layer(f"tfmr.h.{i}") for i in range(tensors.count("tfmr.h."))]
        # A quarter of the positions is for the conditioning, which has at most 376 of upstream's 8,196.
        self.max_text_tokens, self.max_speech_tokens = len(self._positions) // 4, len(self._positions) // 2
        # A rotation by 0, so that the Llama's kernel of attention serves here, too.
        tables = torch.ones, torch.zeros
        shape = (len(self._positions), 3, 1, HEAD_DIM)
        self._cos, self._sin = (table(shape, dtype=dtype, device=self.device) for table in tables)

    # --- embeddings ---------------------------------------------------------------------------------------

    def embed_prompt(self, tokens: Tensor) -> Tensor:
        return self._speech_emb[tokens]

    def embed_speech(self, token: Tensor, step: Tensor) -> Tensor:
        return self._speech_emb[token]

    def embed_prefix(self, conditioning: Tensor, text_tokens: Tensor, guided: bool) -> Tensor:
        """(1, C + N + 1, D): conditioning, text, start-of-speech."""
        start = self._speech_emb[START_SPEECH : START_SPEECH + 1]
        return torch.cat((conditioning[0], self._text_emb[text_tokens], start))[None]

    def _at(self, x: Tensor, positions: slice | Tensor) -> Tensor:
        return x + self._positions[positions]

    # --- the transformer ----------------------------------------------------------------------------------

    def _run(
        self, layers: Sequence[Layer], x: Tensor, mix: Mix, ops: DecodeOps, queries: list[Tensor] | None
    ) -> Tensor:
        for index, layer in enumerate(layers):
            mixed, _ = mix(index, linear(layer_norm(x, layer.attention_norm), layer.qkv, layer.qkv_bias))
            ops.linear_bias_add(x, mixed, layer.out, layer.out_bias)
            inner = ops.linear_bias_gelu(layer_norm(x, layer.mlp_norm), layer.up, layer.up_bias)
            ops.linear_bias_add(x, inner, layer.down, layer.down_bias)
        return x

    def _logits(self, x: Tensor, ops: DecodeOps = TURBO) -> Tensor:
        return float_logits(layer_norm(x, self._norm), self._head) + self._head_bias


def layer_norm(x: Tensor, norm: Norm) -> Tensor:
    return F.layer_norm(x, norm[0].shape, *norm, NORM_EPS)
