"""Random numbers by absolute position: the same request draws the same noise, however it is cut into chunks.

Drawn on the CPU from the request's own generator, so that no request can disturb another's. It does not know
what the noise is for.
"""

from __future__ import annotations

import torch
from torch import Tensor

BLOCK = 50  # positions drawn at a time: fixed, so that a draw's place in the stream is too


class NoiseTape:
    """Standard normal noise, `width` numbers per position, position 0 first, drawn as far as it is read."""

    def __init__(self, seed: int, width: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)
        self._width = width
        self._blocks: list[Tensor] = []

    def draw(self, end: int) -> None:
        """Draw as far as position `end`; what is read later does not depend on it."""
        while len(self._blocks) * BLOCK < end:
            self._blocks.append(torch.randn(BLOCK, self._width, generator=self._generator))

    def read(self, start: int, end: int) -> Tensor:
        """Noise of positions start…end: float32 (end − start, width) on the CPU."""
        self.draw(end)
        first, last = start // BLOCK, -(-end // BLOCK)
        read = torch.cat([torch.empty(0, self._width), *self._blocks[first:last]])
        return read[start - first * BLOCK : end - first * BLOCK]
