"""CUDA graphs: a fixed sequence of kernels, recorded once and replayed with one launch; on a CPU the code runs plain.

Captured code must read and write memory that stays where it is, and must not read a value on the host.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, cast

import torch

from tts.chatterbox.runtime.errors import gpu_answers, is_out_of_memory
from validation.errors import GpuFault

log = logging.getLogger(__name__)

WARM_UPS = 2  # lazy initialisation (library handles, workspaces) must not be captured


class CaptureFailed(Exception):
    """One capture failed, and was logged; the caller runs plain instead."""


class GraphPool:
    """The graphs of one part of the model. They share scratch memory, so they must be replayed one at a time.

    Capture the largest shape first: the blocks of a small graph cannot serve a larger one, but the reverse works.
    """

    def __init__(self, device: torch.device, part: str, enabled: bool = True) -> None:
        """part: its name in the log. enabled: False runs everything plain on a GPU too."""
        self.part = part
        self.captures = device.type == "cuda" and enabled
        self.captured = 0  # graphs so far
        self._broken = False
        self._pool: Any = None
        self._stream: Any = None

    @torch.inference_mode()
    def capture(self, run: Callable[[], None]) -> Callable[[], None]:
        """A replacement for `run`, which is called here twice first.

        Raises: CaptureFailed, which makes this part slower and changes nothing else: if memory ran out, a smaller shape
        may still be captured; after another failure no further capture is tried. GpuFault if the GPU is lost.
        """
        if not self.captures:
            return run
        if self._broken:
            raise CaptureFailed(self.part)
        try:
            replay = self._record(run)
        except RuntimeError as exc:  # torch has no narrower class for a failed capture
            self._report(exc)
            raise CaptureFailed(self.part) from exc
        self.captured += 1
        return replay

    def _record(self, run: Callable[[], None]) -> Callable[[], None]:
        if self._stream is None:
            self._stream, self._pool = cast(Any, torch.cuda.Stream)(), torch.cuda.graph_pool_handle()
        current = torch.cuda.current_stream()
        self._stream.wait_stream(current)
        # If the end of a capture fails, torch.cuda.graph stays on its stream; this context leaves it.
        with torch.cuda.stream(self._stream):
            for _ in range(WARM_UPS):
                run()
            self._stream.synchronize()
            graph = torch.cuda.CUDAGraph()
            # Other threads may use the GPU meanwhile; only this thread's calls are recorded.
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
                run()
        current.wait_stream(self._stream)
        replay: Callable[[], None] = graph.replay
        return replay

    def _report(self, error: RuntimeError) -> None:
        if not gpu_answers():
            raise GpuFault(f"the GPU failed while a CUDA graph of the {self.part} was captured") from error
        self._broken = not is_out_of_memory(error)
        which = "this and all further" if self._broken else "one"
        log.warning("the %s runs without %s of its CUDA graphs, and slower: %s", self.part, which, error)
