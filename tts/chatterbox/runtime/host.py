"""The host's part in a segment: noise, and copies between host and device that block no other job."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from audio.pcm import Samples

BLOCK = 50  # positions drawn at a time; fixed, so that the numbers do not depend on what is read


class NoiseTape:
    """Standard normal noise by absolute position, `width` numbers each, the same however a clip is cut into chunks.

    Drawn on the CPU from a generator of its own, so that no request can disturb another's.
    """

    def __init__(self, seed: int, width: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)
        self._width = width
        self._blocks: dict[int, Tensor] = {}  # those that may be read yet
        self._drawn = 0  # blocks

    def draw(self, end: int) -> None:
        """Draw the noise before position `end` ahead of its use; this changes no value."""
        while self._drawn * BLOCK < end:
            self._blocks[self._drawn] = torch.randn(BLOCK, self._width, generator=self._generator)
            self._drawn += 1

    def read(self, start: int, end: int) -> Tensor:
        """Noise of positions start…end: float32 (end − start, width) on the CPU."""
        self.draw(end)
        first, last = start // BLOCK, -(-end // BLOCK)
        read = torch.cat([torch.empty(0, self._width), *(self._blocks[index] for index in range(first, last))])
        return read[start - first * BLOCK : end - first * BLOCK]

    def forget(self, end: int) -> None:
        """Free the noise before position `end`, which is not read again."""
        for index in [index for index in self._blocks if index < end // BLOCK]:
            del self._blocks[index]


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A copy on the device of a tensor on the host, which does not wait for it."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


class HostCopy:
    """A copy to the host that is queued on the current stream, without waiting for it."""

    def __init__(self, values: Tensor) -> None:
        self._copy = values
        if values.device.type == "cuda":
            self._copy = torch.empty(values.shape, dtype=torch.float32, pin_memory=True)
            self._copy.copy_(values, non_blocking=True)

    def values(self) -> Samples:
        """Once the stream got there: float32."""
        return np.array(self._copy.numpy(), dtype=np.float32)  # the pinned memory goes back to its pool
