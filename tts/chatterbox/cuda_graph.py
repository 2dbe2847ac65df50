"""A fixed sequence of kernels, recorded once and replayed with one launch; on a processor, the same lines run plain.

What is captured must read and write memory that stays where it is, and must never look at a value on the host. It
does not know what it captures.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch

WARM_UPS = 2  # lazy initialisation (library handles, workspaces) must not be captured


class GraphPool:
    """Captures on one device. The graphs of a pool share scratch memory, so they must be replayed one at a time."""

    def __init__(self, device: torch.device, enabled: bool = True) -> None:
        """enabled: False runs everything plain on a GPU too: the reference that a graph is compared with."""
        self.captures = device.type == "cuda" and enabled
        self.captured = 0  # graphs so far
        self._pool: Any = None
        self._stream: Any = None

    @torch.inference_mode()
    def capture(self, run: Callable[[], None]) -> Callable[[], None]:
        """What to call instead of `run`. It runs here twice first, so its state must be ready for that."""
        if not self.captures:
            return run
        if self._stream is None:
            self._stream, self._pool = cast(Any, torch.cuda.Stream)(), torch.cuda.graph_pool_handle()
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            for _ in range(WARM_UPS):
                run()
        self._stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        # Other threads may use the GPU meanwhile; only this thread's calls are recorded.
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
            run()
        torch.cuda.current_stream().wait_stream(self._stream)
        self.captured += 1
        replay: Callable[[], None] = graph.replay
        return replay
