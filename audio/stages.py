"""A stage: samples in, samples out, piece by piece. And a chain of them, which is a stage again.

THE LAW, which every stage obeys and one test holds against all of them:

1. `push()*` then one `flush()`, joined in order, give byte for byte the same output however the input was cut
   into pieces; a piece may be empty.
2. The output never lags behind the input by more than `hold_back_s`. A stage that needs the whole clip says
   `math.inf`, and a stream must refuse it.

So a joined reply is the join of the stream, and there is no second path. A stage serves one clip: after
`flush()` it is spent. This module does not know what any stage does to the sound.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from audio.pcm import EMPTY, Samples


class Stage(Protocol):
    """One step of the sound's way from the engine to the encoder."""

    hold_back_s: float

    def push(self, samples: Samples) -> Samples:
        """Take the clip's next piece; return what is ready, which may be nothing."""
        ...

    def flush(self) -> Samples:
        """The clip has ended: return all that was held back."""
        ...


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
