"""Neither a busy engine nor a large reply blocks the event loop that all jobs share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from fakes import FakeEngine, OpenWorker
from steps import processor_denied_s

import handler

pytestmark = pytest.mark.slow

MOST_WORK_S = 0.050  # of the loop's own thread, at a time
MOST_STALL_S = 0.5  # whatever other threads do: what `/ping` may wait
TICK_S = 0.002
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


async def routed(number: int, asked: dict[str, Any]) -> None:
    """By the route of the HTTP server: the same reply, as JSON, read and written once more."""
    body = {"seed": number, "print_metrics": False} | asked
    reply = await handler.handler({"id": f"job-{number}", "input": {"route": "/tts", "body": body}})
    assert "audio" in reply, reply


async def routed_in_parts(number: int, asked: dict[str, Any]) -> None:
    body = {"seed": number, "print_metrics": False} | asked
    events = handler.stream_handler({"id": f"job-{number}", "input": {"route": "/tts", "body": body}})
    *_, end = [event async for event in events]
    assert end["operation"] == "tts", end


async def longest_s(work: Callable[[int, dict[str, Any]], Any], asked: dict[str, Any]) -> tuple[float, float]:
    """With the jobs running side by side: the longest computation of the loop's thread, and its longest stall without
    the wait for a processor. A stall includes waits for Python's lock, which are longer on fewer processors."""
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
    await asyncio.sleep(2 * TICK_S)  # for the last stall
    ticker.cancel()
    return work_s, stall_s


@pytest.mark.parametrize(
    "asked",
    [
        {"text": LARGE, "decode_mode": "full"},
        {"text": SMALL, "decode_mode": "window", "chunk_size": 5},
        {"text": SMALL, "output_format": "opus", "audio_normalization": "lufs", "speed": 1.2},
    ],
    ids=["large-replies", "many-chunks", "every-stage"],
)
@pytest.mark.parametrize("mode", [joined, streamed, routed, routed_in_parts])
def test_the_loop_is_never_blocked(open_worker: OpenWorker, mode: Callable[..., Any], asked: dict[str, Any]) -> None:
    found: list[tuple[float, float]] = []
    for _ in range(TRIES):
        open_worker(BusyEngine(), MAX_CONCURRENCY=str(JOBS), MAX_OUTPUT_BYTES="19000000")
        found.append(asyncio.run(longest_s(mode, asked)))
        if is_free(*found[-1]):
            return
    pytest.fail(f"seconds of work and of stall: {found}")


def is_free(work_s: float, stall_s: float) -> bool:
    return work_s < MOST_WORK_S and stall_s < MOST_STALL_S


def compute(seconds: float) -> None:
    until_s = time.thread_time() + seconds
    while time.thread_time() < until_s:
        pass


@pytest.mark.parametrize("blocking", [partial(time.sleep, 0.6), partial(compute, 0.06)], ids=["waits", "computes"])
def test_a_blocked_loop_is_noticed(blocking: Callable[[], None]) -> None:
    async def job(number: int, asked: dict[str, Any]) -> None:
        await asyncio.sleep(0.01)
        blocking()

    assert not is_free(*asyncio.run(longest_s(job, {})))
