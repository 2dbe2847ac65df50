"""A blocking generator, driven from an event loop: the work happens in a thread, the loop never waits for it.

It does not know what the items are.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import Executor
from typing import Any, TypeVar

T = TypeVar("T")

DONE: Any = object()


async def bridge(
    items: Generator[T], executor: Executor, ahead: int = 8, on_stop: Callable[[], None] = lambda: None
) -> AsyncGenerator[T]:
    """Yield what `items` yields.

    The thread waits after its first item until that one was taken *and dealt with* (the consumer asked for
    the next): a stream's first piece is never behind work on the second. From then on it may run `ahead`
    items ahead, no further. Whatever ends the iteration (exhaustion, an error, `aclose`, cancellation), the
    generator is closed in its own thread, and the step in flight is waited for. What still waits for a
    thread then never begins. `on_stop` is called at that moment, from the loop's thread, so that a long step can be
    told to end.

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
    grant = ahead
    try:
        while (item := await ready.get()) is not DONE:
            yield item
            permits.release(grant)
            grant = 1
    finally:
        stop()
        if task:
            task.remove_done_callback(stop)
        del task  # its end may be an error that holds this frame
        if not working.cancel():
            await asyncio.wrap_future(working)
