"""A stage: samples in, samples out, piece by piece. And a chain of them, which is a stage again.

THE LAW, which every stage obeys and one test holds against all of them:

1. `push()*` then one `flush()`, joined in order, give byte for byte the same output however the input was cut
   into pieces; a piece may be empty.
2. The output never lags behind the input by more than `hold_back_s`. A stage that needs the whole clip says
   `math.inf`, and a stream must refuse it.

So a joined reply is the join of the stream, and there is no second path. A stage serves one clip: after
`flush()` it is spent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from audio.pcm import EMPTY, Samples


class Stage(Protocol):
    """One processing step between the engine and the encoder."""

    hold_back_s: float

    def push(self, samples: Samples) -> Samples:
        """Take the clip's next piece; return what is ready, which may be nothing."""

    def flush(self) -> Samples:
        """The clip has ended: return all that was held back."""


class Chain:
    """Stages in a row."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        self.stages = tuple(stages)
        self.hold_back_s = sum(stage.hold_back_s for stage in self.stages)

    def push(self, samples: Samples) -> Samples:
        for stage in self.stages:
            samples = stage.push(samples)
        return samples

    def flush(self) -> Samples:
        tail = EMPTY
        for stage in self.stages:
            tail = np.concatenate([stage.push(tail), stage.flush()])
        return tail


class Frames:
    """Pieces of any size → frames of `size` samples, so that what is computed per frame obeys the law."""

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

    def map(self, process: Callable[[Samples], Samples], samples: Samples) -> Samples:
        """The results of `process` for each frame that is complete now, joined."""
        return np.concatenate([EMPTY, *map(process, self.push(samples))])

    def map_rest(self, process: Callable[[Samples], Samples], count: int) -> Samples:
        """The next `count` samples of the results, for the rest and as many frames of silence as that takes."""
        frame = np.zeros(self.size, dtype=np.float32)
        rest = self.flush()
        frame[: len(rest)] = rest
        out = [EMPTY]
        while sum(map(len, out)) < count:
            out.append(process(frame))
            frame = np.zeros_like(frame)
        return np.concatenate(out)[:count]
