"""What a piece of work costs, counted instead of timed: lines of Python run, whatever the machine is busy with.

What C does in one call is not counted: it takes nanoseconds a byte.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from validation.errors import WorkerError


def lines_run(work: Callable[[], Any]) -> int:
    """How many lines it takes in this thread, refused or not."""
    count = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    except WorkerError:
        pass
    finally:
        sys.settrace(before)
    return count
