"""A monotonic path through the attention of speech tokens to text positions, found as the rows arrive.

The likeliest path by Viterbi's algorithm (Forney 1973, doi 10.1109/PROC.1973.9030) with a beam: each token stays at its
predecessor's position or moves ahead. A position is settled once all paths within the beam agree on it, which depends
on the rows alone, never on how they arrive.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from audio.pcm import Samples

JUMP = 6  # positions that a token moves at most; a seventh is a discontinuity in upstream's analyzer, too
FLOOR = 0.01  # attention below it is noise: so a row without a peak moves no path
BEAM = -3 * math.log(FLOOR)  # a path is given up once it is as bad as one that three rows contradict in full

Positions = npt.NDArray[np.int64]


class MonotonicPath:
    """Give it rows by `push`, then `flush`; both return the positions that are settled since, oldest first."""

    def __init__(self, is_gap: npt.NDArray[np.bool_]) -> None:
        """is_gap (N,): the text positions between words. They are twice as likely as others where a row is flat,
        so that a pause without attention lies between words."""
        self._floor = np.where(is_gap, 2 * FLOOR, FLOOR)
        self._first = 0  # the position of the first score
        self._scores = np.zeros(1)  # (K,), the best path's to each position; −∞ where it was given up
        self._paths: Positions = np.zeros((1, 0), dtype=np.int64)  # (K, U), their unsettled positions

    @property
    def unsettled(self) -> int:
        """How many rows wait for later ones."""
        return int(self._paths.shape[1])

    def push(self, row: Samples) -> list[int]:
        """row (N,): the attention of the next token, 0…1."""
        size = min(len(self._scores) + JUMP, len(row) - self._first)
        reached = np.full(JUMP + size, -np.inf)
        reached[JUMP : JUMP + len(self._scores)] = self._scores
        before = sliding_window_view(reached, JUMP + 1)[:, ::-1]  # (size, JUMP + 1): from 0, 1, … positions before
        moved = before.argmax(1)
        here = slice(self._first, self._first + size)
        scores = before.max(1) + np.log(row[here] + self._floor[here])
        came_from = np.clip(np.arange(size) - moved, 0, len(self._scores) - 1)
        paths = np.column_stack((self._paths[came_from], np.arange(size) + self._first))
        alive = np.flatnonzero(scores >= scores.max() - BEAM)
        kept = np.full(size, -np.inf)
        kept[alive] = scores[alive] - scores.max()
        span = slice(alive[0], alive[-1] + 1)
        self._first, self._scores, self._paths = self._first + int(alive[0]), kept[span], paths[span]
        return self._settle(paths[alive])

    def flush(self) -> list[int]:
        """The rest of the best path."""
        return self._settle(self._paths[self._scores.argmax()][None])

    def _settle(self, paths: Positions) -> list[int]:
        """The positions at which all these paths begin."""
        agreed = (paths == paths[0]).all(0)
        count = len(agreed) if agreed.all() else int(agreed.argmin())
        self._paths = self._paths[:, count:]
        settled: list[int] = paths[0, :count].tolist()
        return settled
