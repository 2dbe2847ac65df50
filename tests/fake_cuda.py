"""torch.cuda without a GPU: streams and events that write down what was asked of them, and graphs that are recordings.

What is launched has happened at once, and an event has passed as soon as it is recorded, or when `passed` says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from recording import Recording

CUDA = torch.device("cuda")  # of a GraphPool; tensors stay on the CPU


class FakeCuda:
    """Once installed, the lines that launch, wait and capture run on a CPU.

    log: (what, who, whom), in order. fail: by the number of a capture, from 1, the error that its end raises.
    """

    def __init__(self) -> None:
        self.log: list[tuple[str, Any, Any]] = []
        self.streams: list[FakeStream] = []
        self.recordings: list[Recording] = []
        self.fail: dict[int, Exception] = {}
        self.captures = 0
        self.events: list[FakeEvent] = []  # in the order in which they were recorded
        self.passed: int | None = None  # how many of them
        self.current = FakeStream(self)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
        for name, fake in {
            "Stream": lambda device=None, priority=0: FakeStream(self),
            "Event": lambda: FakeEvent(self),
            "CUDAGraph": FakeGraph,
            "graph": self._graph,
            "stream": self._stream,
            "current_stream": lambda device=None: self.current,
            "graph_pool_handle": object,
            "get_device_capability": lambda: (9, 0),
            "mem_get_info": lambda: (2**40, 2**40),
        }.items():
            monkeypatch.setattr(torch.cuda, name, fake)
        monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
        return self

    def logged(self, what: str) -> list[tuple[Any, Any]]:
        return [(who, whom) for entry, who, whom in self.log if entry == what]

    @contextmanager
    def _stream(self, stream: FakeStream) -> Iterator[None]:
        before, self.current = self.current, stream
        try:
            yield
        finally:
            self.current = before

    @contextmanager
    def _graph(self, graph: FakeGraph, pool: Any, stream: FakeStream, capture_error_mode: str) -> Iterator[None]:
        before, self.current = self.current, stream
        self.captures += 1
        with Recording() as recording:
            yield
        recording.finish()
        if error := self.fail.get(self.captures):
            raise error  # torch stays on the capture's stream then, too
        self.current = before
        graph.recording = recording
        self.recordings.append(recording)


class FakeStream:
    def __init__(self, cuda: FakeCuda) -> None:
        self._cuda = cuda
        cuda.streams.append(self)

    def wait_stream(self, other: FakeStream) -> None:
        self._cuda.log.append(("wait", self, other))

    def synchronize(self) -> None:
        self._cuda.log.append(("synchronize", self, None))


class FakeEvent:
    def __init__(self, cuda: FakeCuda) -> None:
        self._cuda = cuda

    def record(self, stream: FakeStream) -> None:
        self._cuda.events.append(self)
        self._cuda.log.append(("record", self, stream))

    def query(self) -> bool:
        return self._cuda.passed is None or self._cuda.events.index(self) < self._cuda.passed


class FakeGraph:
    recording: Recording

    def replay(self) -> None:
        self.recording.replay()
