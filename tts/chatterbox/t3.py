"""T3, the token model: a voice and text tokens in, speech tokens out, one every 40 ms of speech.

Our own Llama decoder on upstream's weights: fused projections, a static key/value cache, float32 logits. Row 0
of a batch is the conditional one; row 1, under guidance, sees no text. It knows nothing of sound.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tts.chatterbox.sampling import TokenSampling, sample
from validation.errors import InternalError

HEAD_DIM = 64
NORM_EPS = 1e-5

START_TEXT, STOP_TEXT = 255, 0
START_SPEECH, STOP_SPEECH = 6561, 6562

# Llama 3's scaled rotary embedding, as upstream's configuration sets it.
ROPE_THETA, ROPE_FACTOR = 500_000.0, 8.0
ROPE_LOW_FREQ, ROPE_HIGH_FREQ, ROPE_OLD_CONTEXT = 1.0, 4.0, 8192


@dataclass(frozen=True, slots=True)
class Layer:
    """One decoder layer's weights. D: width, E: feed-forward width."""

    attention_norm: Tensor  # (D,)
    qkv: Tensor  # (3D, D)
    out: Tensor  # (D, D)
    mlp_norm: Tensor  # (D,)
    gate_up: Tensor  # (2E, D)
    down: Tensor  # (D, E)


@dataclass(slots=True)
class KVCache:
    """Keys and values of one request, (layers, rows, heads, positions, HEAD_DIM), and how many are filled."""

    keys: Tensor
    values: Tensor
    length: int = 0


class T3:
    """The network. Its weights are never written to after construction, so any number of requests share it."""

    def __init__(self, state: Mapping[str, Tensor], device: torch.device, dtype: torch.dtype) -> None:
        def take(name: str) -> Tensor:
            return state[name].to(device, dtype)

        def fuse(prefix: str, *names: str) -> Tensor:
            return torch.cat([state[f"{prefix}.{name}.weight"] for name in names]).to(device, dtype)

        self.device, self.dtype = device, dtype
        self._text_emb, self._speech_emb = take("text_emb.weight"), take("speech_emb.weight")
        self._text_pos, self._speech_pos = take("text_pos_emb.emb.weight"), take("speech_pos_emb.emb.weight")
        self._norm, self._head = take("tfmr.norm.weight"), take("speech_head.weight")
        self._layers = [
            Layer(
                attention_norm=take(f"{layer}.input_layernorm.weight"),
                qkv=fuse(f"{layer}.self_attn", "q_proj", "k_proj", "v_proj"),
                out=take(f"{layer}.self_attn.o_proj.weight"),
                mlp_norm=take(f"{layer}.post_attention_layernorm.weight"),
                gate_up=fuse(f"{layer}.mlp", "gate_proj", "up_proj"),
                down=take(f"{layer}.mlp.down_proj.weight"),
            )
            for layer in (f"tfmr.layers.{i}" for i in range(count_layers(state)))
        ]
        self.width = self._text_emb.shape[1]
        self.heads = self.width // HEAD_DIM
        self.max_speech_tokens = len(self._speech_pos) - 1
        self.max_text_tokens = len(self._text_pos) - 2  # start and stop take two positions
        self._cos, self._sin = _rope_tables(len(self._text_pos) + len(self._speech_pos) + 64, device)

    # --- embeddings ---------------------------------------------------------------------------------------

    def embed_prompt(self, tokens: Tensor) -> Tensor:
        """Speech tokens of a reference (1, N) → (1, N, D), with their positions."""
        return self._speech_emb[tokens] + self._speech_pos[: tokens.shape[1]]

    def embed_prefix(self, conditioning: Tensor, text_tokens: Tensor, guided: bool) -> Tensor:
        """What stands before the first speech token.

        Args: conditioning (1, C, D); text_tokens (N,) without start and stop; guided: add the row without text.
        Returns: (1 or 2, C + N + 4, D): conditioning, text, and start-of-speech twice, as upstream has it.
        """
        framed = F.pad(F.pad(text_tokens, (1, 0), value=START_TEXT), (0, 1), value=STOP_TEXT)
        positions = self._text_pos[: len(framed)]
        start = (self._speech_emb[START_SPEECH] + self._speech_pos[0]).expand(2, -1)
        rows = [torch.cat((conditioning[0], self._text_emb[framed] + positions, start))]
        if guided:
            rows.append(torch.cat((conditioning[0], positions, start)))
        return torch.stack(rows)

    # --- the transformer ----------------------------------------------------------------------------------

    def new_cache(self, rows: int, positions: int) -> KVCache:
        shape = (len(self._layers), rows, self.heads, positions, HEAD_DIM)
        keys = torch.zeros(shape, device=self.device, dtype=self.dtype)
        return KVCache(keys, torch.zeros_like(keys))

    def prefill(self, embeds: Tensor, cache: KVCache) -> Tensor:
        """Fill the cache with the prefix (B, P, D); returns the logits of its last position (B, V), float32."""
        return self._forward(embeds, cache, causal=True)

    def decode_one_token(self, token: Tensor, step: int, cache: KVCache) -> Tensor:
        """Take in the token drawn at `step` (0-based; int64 ()); returns the next logits (B, V), float32."""
        embed = self._speech_emb[token] + self._speech_pos[step + 1]
        return self._forward(embed.expand(cache.keys.shape[1], 1, -1), cache, causal=False)

    def _forward(self, x: Tensor, cache: KVCache, causal: bool) -> Tensor:
        start, end = cache.length, cache.length + x.shape[1]
        cos, sin = self._cos[start:end].to(x.dtype), self._sin[start:end].to(x.dtype)  # (T, HEAD_DIM)
        for index, layer in enumerate(self._layers):
            qkv = F.linear(_rms_norm(x, layer.attention_norm), layer.qkv)  # (B, T, 3D)
            q, k, v = qkv.view(*x.shape[:2], 3, self.heads, HEAD_DIM).permute(2, 0, 3, 1, 4)  # (B, H, T, HEAD_DIM)
            cache.keys[index, :, :, start:end] = _rotate(k, cos, sin)
            cache.values[index, :, :, start:end] = v
            seen = F.scaled_dot_product_attention(
                _rotate(q, cos, sin),
                cache.keys[index, :, :, :end],
                cache.values[index, :, :, :end],
                is_causal=causal,
            )
            x = x + F.linear(seen.transpose(1, 2).flatten(2), layer.out)
            gate, up = F.linear(_rms_norm(x, layer.mlp_norm), layer.gate_up).chunk(2, dim=-1)
            x = x + F.linear(F.silu(gate) * up, layer.down)
        cache.length = end
        return F.linear(_rms_norm(x[:, -1], self._norm), self._head).float()


def generate(
    t3: T3, conditioning: Tensor, text_tokens: Tensor, knobs: TokenSampling, seed: int, max_tokens: int
) -> Iterator[int]:
    """Draw speech tokens until the stop token (not given out) or `max_tokens`.

    Args: conditioning (1, C, D) of the voice; text_tokens (N,) int64.
    Each token is computed when it is asked for; nothing outlives the generator. Raises: InternalError where the
    logits are not finite, for then every draw would be token 0.
    """
    embeds = t3.embed_prefix(conditioning, text_tokens, guided=knobs.cfg_weight > 0.0)
    cache = t3.new_cache(rows=len(embeds), positions=embeds.shape[1] + max_tokens)
    uniforms = torch.rand(max_tokens, generator=torch.Generator().manual_seed(seed)).to(t3.device)
    seen = torch.zeros(t3._head.shape[0], dtype=torch.bool, device=t3.device)
    seen[START_SPEECH] = True
    logits = t3.prefill(embeds, cache)
    if not torch.isfinite(logits).all():
        raise InternalError("the token model's logits are not finite: its DTYPE overflows, or its weights are damaged")
    for step in range(max_tokens):
        token = sample(logits, seen, knobs, uniforms[step])
        if (value := int(token)) == STOP_SPEECH:
            return
        yield value
        seen[token] = True
        if step + 1 < max_tokens:
            logits = t3.decode_one_token(token, step, cache)


def count_layers(state: Mapping[str, Tensor]) -> int:
    return 1 + max(int(name.split(".")[2]) for name in state if name.startswith("tfmr.layers."))


def _rms_norm(x: Tensor, weight: Tensor) -> Tensor:
    """Root-mean-square norm, the mean in float32. Zhang & Sennrich 2019 (arXiv:1910.07467)."""
    wide = x.float()
    return weight * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + NORM_EPS)).to(x.dtype)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position embedding, halves convention. Su et al. 2021 (arXiv:2104.09864)."""
    left, right = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-right, left), dim=-1) * sin


def _rope_tables(positions: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """cos and sin, (positions, HEAD_DIM) float32, of Llama 3.1's frequency-dependent scaling: wavelengths
    beyond the old context are stretched by ROPE_FACTOR, short ones kept, those between blended."""
    frequency = ROPE_THETA ** -(torch.arange(0, HEAD_DIM, 2, dtype=torch.float32) / HEAD_DIM)
    turns = ROPE_OLD_CONTEXT * frequency / (2 * math.pi)  # in the old context
    keep = ((turns - ROPE_LOW_FREQ) / (ROPE_HIGH_FREQ - ROPE_LOW_FREQ)).clamp(0.0, 1.0)
    frequency = frequency * (keep + (1.0 - keep) / ROPE_FACTOR)
    angles = torch.outer(torch.arange(positions, dtype=torch.float32), frequency).repeat(1, 2)
    return angles.cos().to(device), angles.sin().to(device)
