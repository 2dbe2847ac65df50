"""T3's prefill: a request's prefix into its rows of the cache, on a GPU as one graph per 64 positions.

A graph's prefix is padded on the right. Attention is causal, so no true position sees the padding; what the padding
writes to the cache is where the request's tokens go, and each is written before anything attends to it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import Tensor

from tts.chatterbox.runtime.cuda_graph import CaptureFailed, GraphPool
from tts.chatterbox.t3.model import TokenModel

BUCKET = 64  # positions


@dataclass(frozen=True, slots=True)
class CapturedPrefill:
    """What one graph leaves in its scratch memory: logits (rows, V), and the queries of the last position."""

    run: Callable[[], None]
    logits: list[Tensor]
    queries: list[Tensor]


class Prefill:
    """For the slots of one cache. Replayed graphs share their input, so one request at a time."""

    def __init__(self, t3: TokenModel, cache: Tensor, slots: int, graphs: GraphPool) -> None:
        """cache: (layers, rows · slots, …), row by row all slots."""
        self._t3, self._cache, self._slots, self._graphs = t3, cache, slots, graphs
        self._captured: dict[tuple[int, int], CapturedPrefill] = {}  # by rows and positions

    def warm_up(self, row_choices: tuple[int, ...], longest: int) -> None:
        """Capture prefixes of up to `longest` positions, the longest first; one whose capture fails runs plain."""
        buckets = range(BUCKET, longest + 1, BUCKET)
        if not (self._graphs.captures and buckets):
            return
        rows, device = max(row_choices), self._t3.device
        self._embeds = torch.zeros(rows, buckets[-1], self._t3.width, dtype=self._t3.dtype, device=device)
        # The graph writes where these tell it: copying from a cache of its own would read and write all once more.
        self._places = torch.arange(rows * self._slots, device=device).view(rows, self._slots)  # of each slot's rows
        self._place, self._last = self._places[:, 0].clone(), torch.zeros(1, dtype=torch.int64, device=device)
        for positions in reversed(buckets):
            for count in row_choices:
                with suppress(CaptureFailed):
                    self._captured[count, positions] = self._capture(count, positions)

    def _capture(self, rows: int, positions: int) -> CapturedPrefill:
        logits: list[Tensor] = []
        queries: list[Tensor] = []
        embeds, place = self._embeds[:rows, :positions], self._place[:rows]

        def run() -> None:
            queries.clear()
            logits[:] = [self._t3.prefill(embeds, self._cache, queries, place, self._last)]

        return CapturedPrefill(self._graphs.capture(run), logits, queries)

    def __call__(self, slot: int, embeds: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Fill the slot's rows with the prefix (rows, P, D).

        Returns: the logits of its last position (rows, V), and what `TokenModel.attention` needs of it; both valid
        until the next call.
        """
        rows, positions = embeds.shape[:2]
        bucket = -(-positions // BUCKET) * BUCKET
        captured = self._captured.get((rows, bucket))
        if captured is None:
            queries: list[Tensor] = []
            cache = self._cache[:, slot :: self._slots][:, :rows]
            return self._t3.prefill(embeds, cache, queries), queries
        self._embeds[:rows, :positions].copy_(embeds)
        self._embeds[:rows, positions:bucket].zero_()  # 0 times what is not finite is not 0
        self._place.copy_(self._places[:, slot])
        self._last.fill_(positions - 1)
        captured.run()
        return captured.logits[0], captured.queries
