"""Frames: a clip's samples in pieces of one size, the same however the clip was cut when it came.

What is computed frame by frame is then byte for byte the same, too. This module does not know what is.
"""

from __future__ import annotations

import numpy as np

from audio.pcm import EMPTY, Samples


class Frames:
    """`size` samples each. The last one of a clip may be shorter: `flush()` gives it."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._pending = [EMPTY]
        self._count = 0

    def push(self, samples: Samples) -> Samples:
        """All frames that are complete now, (K, size), K may be 0. They are views or copies: don't write to them."""
        self._pending.append(samples)
        self._count += len(samples)
        if self._count < self.size:
            return EMPTY.reshape(0, self.size)
        joined = np.concatenate(self._pending)
        whole = self._count // self.size * self.size
        self._pending, self._count = [joined[whole:].copy()], self._count - whole
        return joined[:whole].reshape(-1, self.size)

    def flush(self) -> Samples:
        """What is left: fewer samples than a frame, maybe none."""
        return np.concatenate(self._pending)
