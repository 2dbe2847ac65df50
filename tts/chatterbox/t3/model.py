"""The token model: a voice and text tokens in, the logits of the next speech token out.

Our own decoders on upstream's weights: fused projections, a static key/value cache, float32 logits. What all have in
common is here; `Llama` and `Gpt2` add embeddings, positions and layers. A model holds weights only; callers hold the
caches.
"""

from __future__ import annotations

import math
import mmap
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from tts.chatterbox.kernels.decoding import PLAIN, DecodeOps, rotate
from tts.chatterbox.kernels.packed import HalfWeight
from tts.chatterbox.rates import HEAD_DIM
from tts.chatterbox.runtime.processor import processor
from tts.chatterbox.weights.tensors import Tensors

START_SPEECH, STOP_SPEECH = 6561, 6562

Mix = Callable[[int, Tensor], tuple[Tensor, Tensor]]
"""A layer's number, its queries, keys and values (N, 3D) → what they attended to, (N, D), and the queries of the last
position, (B, heads, HEAD_DIM)."""


class TokenModel(ABC):
    """The network. Its weights are read-only, so any number of requests share it. D: width, V: speech vocabulary."""

    rows: ClassVar[int]  # of a request in the cache: 2 with guidance
    forgets_start: ClassVar[bool]  # the penalty has seen start-of-speech at the first token only
    plain: ClassVar[DecodeOps]  # in plain torch
    products: ClassVar[tuple[str, ...]]  # the large weights of a layer, by their names in it

    # Set by a body's constructor.
    max_text_tokens: int
    max_speech_tokens: int
    inner: int  # the width between a layer's feed-forward products
    alignment_heads: tuple[tuple[int, int], ...] = ()  # (layer, head): those that attend to the text that is spoken
    _layers: list[Any]  # of the body's own dataclass: a prefill's, and a step's unless `halve` gave it its own
    _text_emb: Tensor  # (text ids, D)
    _speech_emb: Tensor  # (V, D)
    _head: Tensor  # (V, D)
    _cos: Tensor  # `rope_tables`
    _sin: Tensor

    def __init__(self, tensors: Tensors, dtype: torch.dtype, ops: DecodeOps) -> None:
        self.device, self.dtype, self.ops = tensors.device, dtype, ops
        self._halved: list[Any] = []

    @property
    def width(self) -> int:
        return self._speech_emb.shape[1]

    @property
    def heads(self) -> int:
        return self.width // HEAD_DIM

    @property
    def vocabulary(self) -> int:
        return len(self._speech_emb)

    @property
    def text_ids(self) -> int:
        return len(self._text_emb)

    @property
    def step_bytes(self) -> int:
        """Of weights that each decode step reads."""
        products = [getattr(layer, name) for layer in self._halved or self._layers for name in self.products]
        return sum(weight.nbytes for weight in (*products, self._head))

    def pack(self, pack: Callable[[Tensor], Tensor]) -> None:
        """Replace the weights of all products, layer by layer, so that only one layer's are there twice."""
        for index, layer in enumerate(self._layers):
            self._layers[index] = replace(layer, **{name: pack(getattr(layer, name)) for name in self.products})
        self._head = pack(self._head)

    def halve(self, prefill: torch.dtype) -> None:
        """Have a step read float16: it takes as long as reading its weights. All else stays float32.

        prefill: the format of its products, which take as long as multiplying; in float32 they read a step's weights.
        Raises: ModelUnavailable if a weight is beyond float16's range.
        """
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            for index, layer in enumerate(self._layers):
                weights = [getattr(layer, name) for name in self.products]
                half = replace(layer, **dict(zip(self.products, pool.map(HalfWeight, weights), strict=True)))
                self._halved.append(half)
                many = dict(zip(self.products, [weight.to(prefill) for weight in weights], strict=True))
                self._layers[index] = half if prefill == torch.float32 else replace(layer, **many)
        self._head = cast(Tensor, HalfWeight(self._head))

    # --- embeddings ---------------------------------------------------------------------------------------

    @abstractmethod
    def embed_prompt(self, tokens: Tensor) -> Tensor:
        """Speech tokens of a reference (1, N) → (1, N, D)."""

    @abstractmethod
    def embed_speech(self, token: Tensor, step: Tensor) -> Tensor:
        """Tokens drawn at `step` (0-based), both int64 (S,) → (S, D)."""

    @abstractmethod
    def embed_prefix(self, conditioning: Tensor, text_tokens: Tensor, guided: bool) -> Tensor:
        """The prefix of the first speech token: (rows, P, D).

        Args: conditioning (1, C, D); text_tokens (N,) without start and stop; guided: add a second row without text,
        if the model has such rows.
        """

    def _at(self, x: Tensor, positions: slice | Tensor) -> Tensor:
        """Embeddings (…, D) at these positions of the cache, where a body adds something for them."""
        return x

    # --- the transformer ----------------------------------------------------------------------------------

    def new_cache(self, rows: int, positions: int) -> Tensor:
        """Keys and values, (layers, rows, 2, heads, positions, HEAD_DIM); attention computes in their format.

        In float32 on a CPU without AMX, where torch takes eight times as long to attend to bfloat16 (docs/LOG.md), and
        beside float16 weights.
        """
        shape = (len(self._layers), rows, 2, self.heads, positions, HEAD_DIM)
        if self.device.type == "cpu":
            dtype = self.dtype if processor().amx else torch.float32
            # Pages that are zero until they are written: most of half a gigabyte is beyond what a request reaches.
            pages = mmap.mmap(-1, math.prod(shape) * dtype.itemsize, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            return torch.frombuffer(pages, dtype=dtype).view(shape)
        return torch.zeros(shape, device=self.device, dtype=self.dtype)

    def prefill(
        self,
        embeds: Tensor,
        cache: Tensor,
        queries: list[Tensor] | None = None,
        rows: Tensor | None = None,
        last: Tensor | None = None,
    ) -> Tensor:
        """Fill the first P positions of the cache (layers, B, …) with the prefix (B, P, D).

        Args: queries: gets what `attention` needs of the last position; rows (B,) int64: those of a larger cache; last
        (1,) int64: the last position, if padding follows it. A graph reads both from the device.
        Returns: the logits of the last position (B, V), float32.
        """
        length = embeds.shape[1]
        cos, sin = self._cos[:length], self._sin[:length]

        def mix(layer: int, qkv: Tensor) -> tuple[Tensor, Tensor]:
            rotated = rotate(qkv.view(*embeds.shape[:2], 3, self.heads, HEAD_DIM), cos, sin).to(cache.dtype)
            fresh, kept = rotated[:, :, 1:].permute(0, 2, 3, 1, 4), cache[layer][..., :length, :]
            if rows is None:
                fresh = kept.copy_(fresh)  # a CPU attends to these faster
            else:
                kept.index_copy_(0, rows, fresh)
            q = rotated[:, :, 0]
            mixed = F.scaled_dot_product_attention(q.transpose(1, 2), fresh[:, 0], fresh[:, 1], is_causal=True)
            query = q[:, -1] if last is None else q.index_select(1, last)[:, 0]
            return mixed.transpose(1, 2).reshape(-1, self.width).to(qkv.dtype), query

        x = self._at(embeds, slice(length)).flatten(0, 1).clone()
        x = self._run(self._layers, x, mix, self.plain, queries).view(embeds.shape)
        return self._logits(x[:, -1] if last is None else x.index_select(1, last)[:, 0])

    def decode_one_token(
        self, embed: Tensor, cache: Tensor, position: Tensor, reach: int, queries: list[Tensor] | None = None
    ) -> Tensor:
        """One step for B rows, each at a place of its own.

        Args: embed (B, D); position (B,) int64, where each row's key and value go; reach: attention reads the positions
        before it; queries: gets what `attention` needs. A row whose position is at or beyond `reach` must be a paused
        one: its logits, and what it writes at its position, are wrong until it is decoded there again.
        Returns: logits (B, V), float32.
        """
        attend = self.ops.attention(self._cos, self._sin, position, reach)

        def mix(layer: int, qkv: Tensor) -> tuple[Tensor, Tensor]:
            return attend(qkv, cache[layer])

        x = self._run(self._halved or self._layers, self._at(embed, position), mix, self.ops, queries)
        return self._logits(x, self.ops)

    def attention(self, queries: list[Tensor], cache: Tensor, position: Tensor, reach: int) -> Tensor:
        """What the alignment heads attended to, on average over them: (S, reach) float32.

        The layers' own attention keeps no weights, so they are computed once more: softmax(q · k / √HEAD_DIM), Vaswani
        et al. 2017 (arXiv:1706.03762). Args: queries of the last position, one of each head, (B, 1, HEAD_DIM), the S
        conditional rows first; the cache that they attended to; position (S,): they saw what is before it.
        """
        rows, scores = len(position), []
        for query, (layer, head) in zip(queries, self.alignment_heads, strict=True):
            scores.append(query[:rows] @ cache[layer, :rows, 0, head, :reach].transpose(1, 2))
        ahead = torch.arange(reach, device=position.device) >= position[:, None]
        scaled = torch.stack(scores)[:, :, 0].float() * HEAD_DIM**-0.5  # (heads, S, reach)
        weights: Tensor = scaled.masked_fill_(ahead, -math.inf).softmax(-1)
        return weights.mean(0)

    @abstractmethod
    def _run(self, layers: Sequence[Any], x: Tensor, mix: Mix, ops: DecodeOps, queries: list[Tensor] | None) -> Tensor:
        """The layers, in place on x (N, D). `queries` gets what `attention` needs."""

    @abstractmethod
    def _logits(self, x: Tensor, ops: DecodeOps = PLAIN) -> Tensor:
        """The last layer's output (B, D) → (B, V), float32."""
