"""A blocking generator, iterated from an event loop: its work is done in a thread, and the loop never blocks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import Executor
from typing import Any, TypeVar

T = TypeVar("T")

DONE: Any = object()


async def bridge(
    items: Generator[T],
    executor: Executor,
    *,
    one_by_one: int = 1,
    ahead: int = 8,
    on_stop: Callable[[], None] = lambda: None,
) -> AsyncGenerator[T]:
    """Yield what `items` yields.

    After each of the first `one_by_one` items the thread waits until the consumer asks for the next: a stream's first
    piece is never delayed by work on the second. From then on the thread may be `ahead` items ahead, no more. Whatever
    ends the iteration (exhaustion, an error, `aclose`, cancellation), the generator is closed in its own thread, and
    the step in flight is awaited. A generator that still waits for a thread then never begins. `on_stop` is called at
    that moment, from the loop's thread, so that a long step can be ended.

    Iterate it in one task: the work ends with that task at the latest. RunPod's SDK cancels a job wherever it
    is, between two items too, and then keeps the forgotten iterator alive until the next job.
    """
    loop = asyncio.get_running_loop()
    ready: asyncio.Queue[T] = asyncio.Queue()
    permits, stopped = threading.Semaphore(0), threading.Event()

    def work() -> None:
        try:
            for item in items:
                loop.call_soon_threadsafe(ready.put_nowait, item)
                permits.acquire()
                if stopped.is_set():
                    return
        finally:
            items.close()
            loop.call_soon_threadsafe(ready.put_nowait, DONE)

    def stop(*_: object) -> None:
        stopped.set()
        on_stop()
        permits.release()

    task = asyncio.current_task()
    if task:
        task.add_done_callback(stop)
    working = executor.submit(work)
    taken = 0
    try:
        while (item := await ready.get()) is not DONE:
            yield item
            taken += 1
            permits.release(ahead if taken == one_by_one else 1)
    finally:
        stop()
        if task:
            task.remove_done_callback(stop)
        del task  # its end may be an error that holds this frame
        if not working.cancel():
            await asyncio.wrap_future(working)
