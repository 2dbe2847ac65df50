"""Costs that a busy machine does not change: lines of Python that were run, and the wait for a processor."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from validation.errors import WorkerError


def lines_run(work: Callable[[], Any]) -> int:
    """The lines that `work` runs in this thread, even if it raises WorkerError; C code is not counted."""
    count = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    gc.disable()  # finalizers that it happens to run would be counted
    sys.settrace(trace)
    try:
        with suppress(WorkerError):
            work()
    finally:
        sys.settrace(before)
        gc.enable()
    return count


def processor_denied_s() -> float:
    """The time that this thread has waited for a processor, by Linux (its sched-stats.rst); 0 elsewhere."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except OSError:
        return 0.0
