"""The bridge: the first item never waits for the second, the run-ahead is bounded, every exit closes the source."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from concurrent.futures import Executor, Future
from contextlib import aclosing
from queue import SimpleQueue
from typing import Any, TypeVar

import pytest
from fakes import HANG_S, run

from service.bridge import bridge

T = TypeVar("T")


class Source:
    """A generator of 0, 1, 2, … that remembers how far it was driven, and where it was closed."""

    def __init__(self, count: int, fail_at: int | None = None, pause_s: float = 0.0) -> None:
        self._count, self._fail_at, self._pause_s = count, fail_at, pause_s
        self.begun = 0  # items that were asked for
        self.threads: set[int] = set()
        self.closed = threading.Event()
        self.closed_in = 0

    def items(self) -> Generator[int]:
        try:
            for number in range(self._count):
                self._step(number)
                yield number
        finally:
            self.closed_in = threading.get_ident()
            self.closed.set()

    def _step(self, number: int) -> None:
        self.begun = number + 1
        self.threads.add(threading.get_ident())
        time.sleep(self._pause_s)
        if number == self._fail_at:
            raise ValueError(f"item {number}")


class OneThread(Executor):
    """A pool of one thread that is not joined: a broken bridge must fail tests, not hang them."""

    def __init__(self) -> None:
        self._work: SimpleQueue[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]] | None] = SimpleQueue()
        threading.Thread(target=self._run, daemon=True).start()

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        future: Future[T] = Future()
        self._work.put((future, fn, args))
        return future

    def _run(self) -> None:
        for future, fn, args in iter(self._work.get, None):
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(fn(*args))
                except (ValueError, RuntimeError) as error:  # a source failed; the loop is closed
                    future.set_exception(error)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._work.put(None)


@pytest.fixture
def thread() -> Iterator[Executor]:
    with OneThread() as executor:
        yield executor


async def cancelled(task: asyncio.Task[Any], times: int = 1) -> None:
    """Cancel the task and wait for its end."""
    for _ in range(times):
        task.cancel()
        await asyncio.sleep(0.01 if times > 1 else 0)
    with pytest.raises(asyncio.CancelledError):
        await task


async def drain(items: AsyncGenerator[Any]) -> None:
    async for _ in items:
        pass


async def settled(source: Source) -> int:
    """How many items were begun, once it has not gone on for a while."""
    before = -1
    while before != source.begun:
        before = source.begun
        await asyncio.sleep(0.02)
    return source.begun


@pytest.mark.parametrize("count", [0, 100])
def test_all_items_arrive_in_order(thread: Executor, count: int) -> None:
    source = Source(count)

    async def main() -> list[int]:
        return [item async for item in bridge(source.items(), thread)]

    assert run(main()) == list(range(count))
    assert source.closed.is_set()
    assert source.threads <= {source.closed_in}  # one, and not the loop's
    assert threading.get_ident() != source.closed_in


def test_the_second_item_is_not_begun_before_the_first_is_dealt_with(thread: Executor) -> None:
    """A client's first sound must not wait for a GPU that is busy with its second."""
    source = Source(5)

    async def main() -> None:
        async for item in bridge(source.items(), thread):
            if item == 0:
                assert await settled(source) == 1

    run(main())
    assert source.begun == 5


@pytest.mark.parametrize("ahead", [1, 3, 8])
def test_the_run_ahead_is_bounded_and_used(thread: Executor, ahead: int) -> None:
    source = Source(40)

    async def main() -> None:
        async for item in bridge(source.items(), thread, ahead=ahead):
            if 0 < item < 10:  # items 0…item-1 are dealt with
                assert await settled(source) == item + ahead

    run(main())
    assert source.begun == 40


def test_an_error_comes_after_the_items_before_it(thread: Executor) -> None:
    source, seen = Source(5, fail_at=3), []

    async def main() -> None:
        async for item in bridge(source.items(), thread):
            seen.append(item)

    with pytest.raises(ValueError, match="item 3"):
        run(main())
    assert seen == [0, 1, 2]
    assert source.closed.is_set()


@pytest.mark.parametrize("taken", [1, 2, 5])
def test_a_consumer_that_walks_away_ends_the_work_in_its_own_thread(thread: Executor, taken: int) -> None:
    source = Source(10_000, pause_s=0.001)

    async def main() -> None:
        async with aclosing(bridge(source.items(), thread, ahead=2)) as items:
            async for item in items:
                if item == taken - 1:
                    break
        assert source.closed.is_set()  # when aclose returns, not some time later

    run(main())
    assert source.begun <= taken + 2
    assert {source.closed_in} == source.threads


def test_a_long_step_can_be_stopped(thread: Executor) -> None:
    stopped = threading.Event()

    def long_step() -> Generator[int]:
        yield stopped.wait(HANG_S)

    async def main() -> None:
        task = asyncio.create_task(anext(bridge(long_step(), thread, on_stop=stopped.set)))
        await asyncio.sleep(0.05)
        await cancelled(task)

    started = time.monotonic()
    run(main())
    assert stopped.is_set()
    assert time.monotonic() - started < HANG_S / 2


def test_a_second_cancel_still_lets_the_thread_end(thread: Executor) -> None:
    source = Source(10_000, pause_s=0.1)

    async def main() -> None:
        task = asyncio.create_task(drain(bridge(source.items(), thread)))
        await asyncio.sleep(0.03)
        await cancelled(task, times=2)

    run(main())
    assert source.closed.wait(HANG_S)
    assert source.begun == 1


def test_work_cancelled_before_it_began_never_begins(thread: Executor) -> None:
    """It once waited for its turn and then made its first item for a caller that had left: seconds of a GPU."""
    waiting, release = Source(3), threading.Event()
    thread.submit(release.wait, HANG_S)

    async def main() -> None:
        task = asyncio.create_task(drain(bridge(waiting.items(), thread)))
        await asyncio.sleep(0.02)
        await cancelled(task)
        assert not release.is_set()
        release.set()

    try:
        run(main())
    finally:
        release.set()
    thread.submit(int).result(HANG_S)
    assert waiting.begun == 0


def test_a_task_cancelled_between_two_items_ends_the_work_even_if_the_stream_is_kept(
    thread: Executor,
) -> None:
    """So does the SDK: it is cancelled while it posts an item, and remembers the iterator until the next job."""
    source = Source(10_000)
    items = bridge(source.items(), thread)

    async def consume() -> None:
        async for _ in items:
            await asyncio.sleep(HANG_S)

    async def main() -> None:
        task = asyncio.create_task(consume())
        assert await settled(source) == 1
        await cancelled(task)
        while not source.closed.is_set():
            await asyncio.sleep(0.01)
        await items.aclose()

    run(main())
    assert source.begun == 1


def test_a_task_may_have_many_streams_and_keeps_none(thread: Executor) -> None:
    """A connection's task lives for hours: what each stream hung onto it would pile up."""

    async def main() -> str:
        for _ in range(5):
            async for _ in bridge(Source(2).items(), thread):
                assert "bridge.<locals>.stop" in repr(asyncio.current_task())
        return repr(asyncio.current_task())

    assert "bridge.<locals>.stop" not in run(main())


def test_a_stream_dropped_without_aclose_frees_its_thread(thread: Executor) -> None:
    """So does the SDK: after an error event it stops reading and forgets the generator."""
    source = Source(10_000)

    async def main() -> None:
        async for _ in bridge(source.items(), thread):
            break
        while not source.closed.is_set():
            await asyncio.sleep(0.01)

    run(main())
    assert {source.closed_in} == source.threads
