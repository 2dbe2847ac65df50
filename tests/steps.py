"""The cost of a call, counted in lines of Python instead of timed, so that a busy machine does not change it.

Work inside one C call is not counted: it takes nanoseconds per byte.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

from validation.errors import WorkerError


def lines_run(work: Callable[[], Any]) -> int:
    """The lines that `work` runs in this thread, even if it raises WorkerError."""
    count = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        with suppress(WorkerError):
            work()
    finally:
        sys.settrace(before)
    return count
