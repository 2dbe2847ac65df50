"""Values counted by size, as Prometheus counts them: each bucket holds all that are not above its bound."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from typing import Any


class Histogram:
    """Of one quantity. Safe to use from several threads."""

    def __init__(self, bounds: Sequence[float]) -> None:
        """bounds: rising; what is above the last is in the count alone."""
        self._bounds, self._lock = tuple(bounds), threading.Lock()
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        with self._lock:
            self._counts[bisect_left(self._bounds, value)] += 1
            self._sum += value

    def snapshot(self) -> dict[str, Any]:
        """JSON-ready: `count`, `sum`, and `at_most`, from each bound to how many values are not above it."""
        with self._lock:
            counts, total = list(self._counts), self._sum
        at_most = {f"{bound:g}": count for bound, count in zip(self._bounds, accumulate(counts), strict=False)}
        return {"count": sum(counts), "sum": round(total, 4), "at_most": at_most}
