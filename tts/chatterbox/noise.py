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
        self._tape = torch.empty(0, width)

    def read(self, start: int, end: int) -> Tensor:
        """Noise of positions start…end: float32 (end − start, width) on the CPU."""
        while len(self._tape) < end:
            block = torch.randn(BLOCK, self._width, generator=self._generator)
            self._tape = torch.cat((self._tape, block))
        return self._tape[start:end]
