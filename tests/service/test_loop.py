"""The event loop that all jobs share is never kept waiting: not by an engine at work, not by large replies."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakeEngine

import handler

pytestmark = pytest.mark.slow

MOST_WORK_S = 0.050  # of the loop's own thread, at a time
MOST_STALL_S = 0.5  # whatever the other threads do: what a `/ping` may wait
TICK_S = 0.002
SCHEDSTAT = Path("/proc/thread-self/schedstat")
TRIES = 5  # other programs share the machine: the best counts
JOBS = 4
LARGE = "This is a long text that is spoken, and spoken on. " * 60  # 125 s: 6 MB of WAV
SMALL = LARGE[:250]


class BusyEngine(FakeEngine):
    """Computes between chunks as an engine does: long calls that let other threads run."""

    def __init__(self, **how: Any) -> None:
        super().__init__(before_chunk=lambda k: self._compute(), **how)
        self._matrix = np.ones((300, 300), dtype=np.float32)

    def _compute(self) -> None:
        self._matrix = self._matrix @ self._matrix / 300


async def joined(number: int, asked: dict[str, Any]) -> None:
    reply = await handler.handler({"id": f"job-{number}", "input": {"seed": number, "print_metrics": False} | asked})
    assert "audio" in reply, reply


async def streamed(number: int, asked: dict[str, Any]) -> None:
    job = {"id": f"job-{number}", "input": {"seed": number, "print_metrics": False} | asked}
    events = [event async for event in handler.stream_handler(job)]
    assert events[-1]["type"] == "end", events[-1]


async def longest_s(work: Callable[[int, dict[str, Any]], Any], asked: dict[str, Any]) -> tuple[float, float]:
    """While the jobs ran side by side, the longest time for which the loop's thread computed without coming round, and
    for which it did not come round at all; but for what it was ready to run and had no processor, which is the
    machine's affair. The second includes waits for Python's lock, which last longer where processors are few."""
    work_s = stall_s = 0.0

    async def tick() -> None:
        nonlocal work_s, stall_s
        while True:
            at_s, computed_s, denied_s = time.monotonic(), time.thread_time(), processor_denied_s()
            await asyncio.sleep(TICK_S)
            work_s = max(work_s, time.thread_time() - computed_s)
            stall_s = max(stall_s, time.monotonic() - at_s - TICK_S - (processor_denied_s() - denied_s))

    ticker = asyncio.create_task(tick())
    await asyncio.gather(*(work(number, asked) for number in range(JOBS)))
    await asyncio.sleep(2 * TICK_S)  # so that it sees the last stall, too
    ticker.cancel()
    return work_s, stall_s


def processor_denied_s() -> float:
    """How long this thread has waited in the scheduler's queue so far, where the system tells (Linux,
    Documentation/scheduler/sched-stats.rst)."""
    try:
        return int(SCHEDSTAT.read_text().split()[1]) / 1e9
    except OSError:
        return 0.0


@pytest.mark.parametrize(
    "asked",
    [
        {"text": LARGE, "decode_mode": "full"},
        {"text": SMALL, "decode_mode": "window", "chunk_size": 5},
        {"text": SMALL, "output_format": "opus", "audio_normalization": "lufs", "speed": 1.2},
    ],
    ids=["large-replies", "many-chunks", "every-stage"],
)
@pytest.mark.parametrize("door", [joined, streamed])
def test_the_loop_is_never_kept_waiting(
    open_worker: Callable[..., FakeEngine], door: Callable[..., Any], asked: dict[str, Any]
) -> None:
    found: list[tuple[float, float]] = []
    for _ in range(TRIES):
        open_worker(BusyEngine(), MAX_CONCURRENCY=str(JOBS), MAX_OUTPUT_BYTES="19000000")
        found.append(asyncio.run(longest_s(door, asked)))
        if is_free(*found[-1]):
            return
    pytest.fail(f"seconds of work and of standing still: {found}")


def is_free(work_s: float, stall_s: float) -> bool:
    return work_s < MOST_WORK_S and stall_s < MOST_STALL_S


def compute(seconds: float) -> None:
    until_s = time.thread_time() + seconds
    while time.thread_time() < until_s:
        pass


@pytest.mark.parametrize("blocking", [partial(time.sleep, 0.6), partial(compute, 0.06)], ids=["waits", "computes"])
def test_a_loop_that_is_kept_waiting_is_noticed(blocking: Callable[[], None]) -> None:
    async def job(number: int, asked: dict[str, Any]) -> None:
        await asyncio.sleep(0.01)
        blocking()

    assert not is_free(*asyncio.run(longest_s(job, {})))
