"""The cost of one input: processor seconds, and peak memory.

The peak is the kernel's, reset before each input, so that it includes libav's memory.
"""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

MAX_S = 2.0  # of processor time: the machine may be busy with something else
STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(slots=True)
class Gauge:
    """The costliest of many inputs, with their names. Linux only."""

    worst_s: float = 0.0
    slowest: str = ""
    peak_bytes: int = 0
    largest: str = ""

    @contextmanager
    def over(self, name: str) -> Iterator[None]:
        """Measure one input. SIGPROF arrives after MAX_S, and ends a process that does not handle it."""
        RESET.write_text("5")
        before_bytes, began_s = _memory("VmRSS"), time.process_time()
        signal.setitimer(signal.ITIMER_PROF, MAX_S)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0.0)
            self._note(name, time.process_time() - began_s, _memory("VmHWM") - before_bytes)

    def report(self) -> dict[str, Any]:
        return asdict(self) | {"worst_s": round(self.worst_s, 4)}

    def _note(self, name: str, cost_s: float, taken_bytes: int) -> None:
        if cost_s > self.worst_s:
            self.worst_s, self.slowest = cost_s, name
        if taken_bytes > self.peak_bytes:
            self.peak_bytes, self.largest = taken_bytes, name


def _memory(what: str) -> int:
    found = re.search(rf"{what}:\s+(\d+) kB", STATUS.read_text())
    assert found
    return int(found[1]) * 1024
