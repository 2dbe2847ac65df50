"""The Llama body of the original and multilingual models: rotary positions between tokens, learned ones for text and
for speech, and a second row without text for guidance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from tts.chatterbox.kernels.decoding import PLAIN, DecodeOps
from tts.chatterbox.rates import HEAD_DIM
from tts.chatterbox.t3.model import START_SPEECH, Mix, TokenModel
from tts.chatterbox.weights.tensors import Tensors

START_TEXT, STOP_TEXT = 255, 0
FRAME_TOKENS = 2  # those two, around a text's tokens

# Llama 3's scaled rotary embedding, as upstream's configuration sets it.
ROPE_THETA, ROPE_FACTOR = 500_000.0, 8.0
ROPE_LOW_FREQ, ROPE_HIGH_FREQ, ROPE_OLD_CONTEXT = 1.0, 4.0, 8192

# (layer, head): those that attend to the text that is spoken, by upstream's `AlignmentStreamAnalyzer`.
ALIGNMENT_HEADS = ((9, 2), (12, 15), (13, 11))


@dataclass(frozen=True, slots=True)
class Layer:
    """One decoder layer's weights. D: width, E: feed-forward width."""

    attention_norm: Tensor  # (D,)
    qkv: Tensor  # (3D, D)
    out: Tensor  # (D, D)
    mlp_norm: Tensor  # (D,)
    gate_up: Tensor  # (2E, D)
    down: Tensor  # (D, E)


class Llama(TokenModel):
    """A Llama with its learned tables of positions."""

    rows: ClassVar[int] = 2
    forgets_start: ClassVar[bool] = False
    plain: ClassVar[DecodeOps] = PLAIN
    products: ClassVar[tuple[str, ...]] = ("qkv", "out", "gate_up", "down")

    def __init__(
        self,
        tensors: Tensors,
        dtype: torch.dtype,
        alignment_heads: tuple[tuple[int, int], ...] = ALIGNMENT_HEADS,
        ops: DecodeOps = PLAIN,
    ) -> None:
        """tensors: of `t3_cfg.safetensors`; alignment_heads: in the order of their layers; ops: of a decode step.

        Raises: ModelUnavailable.
        """

        def take(name: str, *shape: int) -> Tensor:
            return tensors.take(f"{name}.weight", *shape).to(dtype)

        def fuse(prefix: str, names: tuple[str, ...], *shape: int) -> Tensor:
            return torch.cat([tensors.take(f"{prefix}.{name}.weight", *shape) for name in names]).to(dtype)

        super().__init__(tensors, dtype, ops)
        self._text_emb = take("text_emb", -1, -1)
        width = self._text_emb.shape[1]
        self._speech_emb = take("speech_emb", -1, width)
        self._text_pos, self._speech_pos = take("text_pos_emb.emb", -1, width), take("speech_pos_emb.emb", -1, width)
        self._norm, self._head = take("tfmr.norm", width), take("speech_head", len(self._speech_emb), width)
        self.inner = inner = len(tensors.take("tfmr.layers.0.mlp.gate_proj.weight", -1, width))
        self._layers = [
            Layer(
                attention_norm=take(f"{layer}.input_layernorm", width),
                qkv=fuse(f"{layer}.self_attn", ("q_proj", "k_proj", "v_proj"), width, width),
                out=take(f"{layer}.self_attn.o_proj", width, width),
                mlp_norm=take(f"{layer}.post_attention_layernorm", width),
                gate_up=fuse(f"{layer}.mlp", ("gate_proj", "up_proj"), inner, width),
                down=take(f"{layer}.mlp.down_proj", width, inner),
            )
            for layer in (f"tfmr.layers.{i}" for i in range(tensors.count("tfmr.layers.")))
        ]
        known = all(layer < len(self._layers) and head < self.heads for layer, head in alignment_heads)
        self.alignment_heads = alignment_heads if known else ()  # none in a network that is too small
        self.max_speech_tokens = len(self._speech_pos) - 1
        self.max_text_tokens = len(self._text_pos) - FRAME_TOKENS
        cos, sin = rope_tables(len(self._text_pos) + len(self._speech_pos) + 64)
        self._cos, self._sin = cos.to(self.device, dtype), sin.to(self.device, dtype)

    # --- embeddings ---------------------------------------------------------------------------------------

    def embed_prompt(self, tokens: Tensor) -> Tensor:
        """Speech tokens of a reference (1, N) → (1, N, D), with their positions."""
        return self._speech_emb[tokens] + self._speech_pos[: tokens.shape[1]]

    def embed_speech(self, token: Tensor, step: Tensor) -> Tensor:
        """Tokens drawn at `step` (0-based), both int64 (S,) → (S, D)."""
        return self._speech_emb[token] + self._speech_pos[step + 1]  # position 0 is start-of-speech's

    def embed_prefix(self, conditioning: Tensor, text_tokens: Tensor, guided: bool) -> Tensor:
        """The prefix of the first speech token.

        Args: conditioning (1, C, D); text_tokens (N,) without start and stop; guided: add a second row without text.
        Returns: (1 or 2, C + N + 4, D): conditioning, text, and start-of-speech twice, as upstream has it.
        """
        framed = F.pad(F.pad(text_tokens, (1, 0), value=START_TEXT), (0, 1), value=STOP_TEXT)
        positions = self._text_pos[: len(framed)]
        start = (self._speech_emb[START_SPEECH] + self._speech_pos[0]).expand(2, -1)
        rows = [torch.cat((conditioning[0], self._text_emb[framed] + positions, start))]
        if guided:
            rows.append(torch.cat((conditioning[0], positions, start)))
        return torch.stack(rows)

    def _run(
        self, layers: Sequence[Layer], x: Tensor, mix: Mix, ops: DecodeOps, queries: list[Tensor] | None
    ) -> Tensor:
        """Views of the alignment heads' queries cost no launch."""
        for index, layer in enumerate(layers):
            mixed, last = mix(index, ops.norm_linear(x, layer.attention_norm, layer.qkv))
            if queries is not None:
                queries += [last[:, head : head + 1] for at, head in self.alignment_heads if at == index]
            ops.linear_add(x, mixed, layer.out)
            ops.linear_add(x, ops.norm_swiglu(x, layer.mlp_norm, layer.gate_up), layer.down)
        return x

    def _logits(self, x: Tensor, ops: DecodeOps = PLAIN) -> Tensor:
        return ops.norm_logits(x, self._norm, self._head)


def rope_tables(positions: int) -> tuple[Tensor, Tensor]:
    """cos and sin, (positions, 3, 1, HEAD_DIM) for queries, keys and values, of Llama 3.1's frequency-dependent
    scaling: wavelengths beyond the old context are stretched by ROPE_FACTOR, short ones kept, those between blended.
    The first half of sin is negative: rotation swaps the halves."""
    frequency = ROPE_THETA ** -(torch.arange(0, HEAD_DIM, 2, dtype=torch.float32) / HEAD_DIM)
    turns = ROPE_OLD_CONTEXT * frequency / (2 * math.pi)  # in the old context
    keep = ((turns - ROPE_LOW_FREQ) / (ROPE_HIGH_FREQ - ROPE_LOW_FREQ)).clamp(0.0, 1.0)
    frequency = frequency * (keep + (1.0 - keep) / ROPE_FACTOR)
    angles = torch.outer(torch.arange(positions, dtype=torch.float32), frequency)
    cos, sin = angles.cos().repeat(1, 2), torch.cat((-angles.sin(), angles.sin()), dim=1)
    still, level = torch.ones_like(cos), torch.zeros_like(sin)
    return torch.stack((cos, cos, still), 1)[:, :, None], torch.stack((sin, sin, level), 1)[:, :, None]
