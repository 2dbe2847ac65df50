"""The memory budget for what clients send, over all connections: HTTP bodies and WebSocket messages.

The first FREE_BYTES of an input are not counted, so a request without a recording is always accepted; the number of
connections bounds them.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from typing import TypeVar

from web.refusals import Busy

T = TypeVar("T")

INPUT_BYTES = 256_000_000  # a dozen recordings of the largest accepted size
FREE_BYTES = 65_536
LONG_BYTES = 65_536  # longer inputs are parsed in a thread
GIVEN_UP = "more is being sent to this worker at once than it has room for"
RETRY_AFTER_S = 5


class InputBudget:
    """Bytes held: the received part of unfinished inputs, and complete inputs until their job has used them.

    Beyond `most_bytes`, the unfinished input with the largest bytes × seconds is given up, which may be the one that
    is growing. So neither stalled clients nor large ones keep others out for long.
    """

    def __init__(self, most_bytes: int = INPUT_BYTES) -> None:
        self.most_bytes, self.held_bytes = most_bytes, 0
        self._unfinished: set[Input] = set()
        self.reading = asyncio.Lock()

    def input(self, give_up: Callable[[], None]) -> Input:
        """The share of one body, or of one connection's messages. `give_up` is called when it is given up."""
        return Input(self, self._unfinished, give_up)

    def make_room(self, growing: Input) -> None:
        now_s = time.monotonic()
        while self.held_bytes > self.most_bytes and growing.held_bytes:
            worst = max(self._unfinished, key=lambda each: each.held_bytes * (now_s - each.since_s), default=growing)
            worst.give_up()


class Input:
    """One client's share of the budget."""

    def __init__(self, budget: InputBudget, unfinished: set[Input], give_up: Callable[[], None]) -> None:
        self._budget, self._unfinished, self._on_give_up = budget, unfinished, give_up
        self._got_bytes = 0
        self.held_bytes, self.since_s = 0, 0.0
        self.is_given_up = False

    def grow(self, size_bytes: int) -> None:
        """Count received bytes. This input, or another, may be given up for them."""
        self._got_bytes += size_bytes
        more_bytes = max(0, self._got_bytes - FREE_BYTES) - self.held_bytes
        if self.is_given_up or not more_bytes:
            return
        if not self.held_bytes:
            self.since_s = time.monotonic()
            self._unfinished.add(self)
        self._hold(more_bytes)
        self._budget.make_room(self)

    def require(self) -> None:
        """Raises: Busy, if the input was given up."""
        if self.is_given_up:
            raise Busy(GIVEN_UP, {"Retry-After": str(RETRY_AFTER_S)})

    def finish(self) -> None:
        """The input is complete; it can no longer be given up."""
        self._unfinished.discard(self)

    async def read(self, work: Callable[[], T]) -> T:
        """Run `work`, which parses the input, in a thread if it is long; its result is counted instead of the input.

        One at a time, because its size is known only afterwards: one wide character makes all of a string four times
        as large.

        Raises: Busy, and what `work` raises.
        """
        if self._got_bytes <= LONG_BYTES:
            return work()
        async with self._budget.reading:
            made = await asyncio.to_thread(lambda: (result := work(), memory_bytes(result)))
            self.settle(made[1])
            if self.is_given_up:
                del made  # or the error's traceback would keep it
        self.require()
        return made[0]

    def settle(self, size_bytes: int) -> None:
        """The input is complete, and `size_bytes` are held instead of it."""
        self.release()
        self.grow(size_bytes)
        self.finish()

    def release(self) -> None:
        """The bytes are no longer needed; the next ones belong to another input."""
        self._unfinished.discard(self)
        self._got_bytes = 0
        self._hold(-self.held_bytes)

    def give_up(self) -> None:
        self.release()
        self.is_given_up = True
        self._on_give_up()

    def _hold(self, size_bytes: int) -> None:
        self.held_bytes += size_bytes
        self._budget.held_bytes += size_bytes


def memory_bytes(value: object) -> int:
    """The memory that a JSON value takes."""
    total, rest = 0, [value]
    while rest:
        part = rest.pop()
        total += sys.getsizeof(part)
        if isinstance(part, dict):
            rest += [*part, *part.values()]
        elif isinstance(part, list):
            rest += part
    return total
