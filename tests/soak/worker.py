"""The real handler.py in the SDK's real loop, with a probe inside, and an engine that fails at certain texts.

The probe writes a line of figures twice a second to the file that SOAK_PROBE names: the longest stall of the event loop
(also without the wait for a processor, and the longest computation), memory, open files, threads and children. If a
file of that name with the suffix `.tidy` exists, the probe first collects garbage, returns memory to the system and
removes the file.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import runpod.serverless
from steps import processor_denied_s

import handler
from service import app
from tts.engine import Conditioning, Engine, SpeechChunk
from validation.errors import OutOfMemory
from validation.options import SamplingParams

FAILURES: dict[str, Callable[[], Exception]] = {
    "Breakdown": lambda: RuntimeError("the soak asked for a failure"),
    "Shortage": lambda: OutOfMemory("the soak asked for a lack of memory"),
}
TICK_S, WRITE_EVERY_S = 0.005, 0.5


class Failing:
    """An engine whose segments fail after their first chunk if their text contains one of FAILURES."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def stream(self, text: str, voice: Conditioning, params: SamplingParams) -> Iterator[SpeechChunk]:
        failure = next((made for word, made in FAILURES.items() if word in text), None)
        with closing(self._engine.stream(text, voice, params)) as chunks:  # type: ignore[type-var]
            for chunk in chunks:
                yield chunk
                if failure:
                    raise failure()


class Probe:
    """A ticker on the loop, and a thread that writes the figures."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ticker: asyncio.Task[None] | None = None
        self._stall_s = self._kept_s = self._own_s = 0.0
        self._tidying = False

    def begin(self) -> None:
        """From the loop; once."""
        if self._ticker is None:
            self._ticker = asyncio.get_running_loop().create_task(self._tick())
            threading.Thread(target=self._write, name="probe", daemon=True).start()

    async def _tick(self) -> None:
        while True:
            at_s, own_s, denied_s = time.monotonic(), time.thread_time(), processor_denied_s()
            await asyncio.sleep(TICK_S)
            if self._tidying:
                continue
            stall_s = time.monotonic() - at_s - TICK_S
            self._stall_s = max(self._stall_s, stall_s)
            self._kept_s = max(self._kept_s, stall_s - (processor_denied_s() - denied_s))
            self._own_s = max(self._own_s, time.thread_time() - own_s)

    def _write(self) -> None:
        with self._path.open("w", buffering=1) as lines:
            while True:
                if (request := self._path.with_suffix(".tidy")).exists():
                    self._tidy()
                    request.unlink()
                print(json.dumps(self._stalls() | self._tasks() | resources()), file=lines)
                time.sleep(WRITE_EVERY_S)

    def _stalls(self) -> dict[str, float]:
        longest_s = {"stall_ms": self._stall_s, "kept_ms": self._kept_s, "own_ms": self._own_s}
        return {name: round(value_s * 1e3, 1) for name, value_s in longest_s.items()}

    def _tasks(self) -> dict[str, int]:
        assert self._ticker
        return {"tasks": len(asyncio.all_tasks(self._ticker.get_loop()))}

    def _tidy(self) -> None:
        """This stalls the loop, which is not measured meanwhile."""
        self._tidying = True
        gc.collect()
        with suppress(AttributeError):  # glibc's
            ctypes.CDLL(None).malloc_trim(0)
        time.sleep(4 * TICK_S)
        self._tidying = False


def resources() -> dict[str, float]:
    """The resources of this process, by /proc."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "at_s": round(time.monotonic(), 3),
        "rss_mb": round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1),
        "files": len(os.listdir("/proc/self/fd")),
        "threads": len(os.listdir("/proc/self/task")),
        "children": len(children()),
    }


def children() -> list[int]:
    found: list[int] = []
    for task in Path("/proc/self/task").glob("*/children"):
        with suppress(OSError):  # the thread has ended
            found += map(int, task.read_text().split())
    return found


def probed(start: Callable[[dict[str, Any]], None], probe: Probe) -> Callable[[dict[str, Any]], None]:
    """The SDK's `start`; its running loop asks for the concurrency, which starts the probe."""

    def starts(config: dict[str, Any]) -> None:
        concurrency = config["concurrency_modifier"]

        def asked(now: int) -> int:
            probe.begin()
            return int(concurrency(now))

        start(config | {"concurrency_modifier": asked})

    return starts


def failing(make: Callable[[Any], Engine]) -> Callable[[Any], Engine]:
    return lambda settings: Failing(make(settings))  # type: ignore[return-value]


if __name__ == "__main__":
    app.ENGINES.update({name: failing(make) for name, make in app.ENGINES.items()})
    runpod.serverless.start = probed(runpod.serverless.start, Probe(Path(os.environ["SOAK_PROBE"])))
    sys.exit(handler.main())
