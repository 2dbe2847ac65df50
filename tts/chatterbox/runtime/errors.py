"""torch's own errors become ours, once; and memory is freed before something is tried again. It knows no model."""

from __future__ import annotations

import gc
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from validation.errors import GpuFault, OutOfMemory


@contextmanager
def torch_errors() -> Iterator[None]:
    """Raises: OutOfMemory, after which the GPU is as good as before; GpuFault, after which it never is again."""
    try:
        yield
    except (torch.OutOfMemoryError, torch.AcceleratorError) as exc:
        if not is_out_of_memory(exc):
            raise GpuFault("the GPU failed") from exc
        traceback.clear_frames(exc.__traceback__)  # whose variables are the memory
        raise OutOfMemory("the GPU's memory is full; try again, or with a shorter text") from exc
    except RuntimeError as exc:
        if not gpu_answers():  # libraries on the GPU have errors of no class of their own
            raise GpuFault("the GPU failed") from exc
        raise


def is_out_of_memory(error: Exception) -> bool:
    """Also where what ran out was not torch's own to give: pinned memory, graphs, modules that CUDA loads late."""
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in str(error)


def gpu_answers() -> bool:
    """False where this process's GPU has failed for good. Without a GPU in use, nothing has."""
    if not _is_gpu_in_use():
        return True
    try:
        torch.cuda.synchronize()
    except RuntimeError:
        return False
    return True


def free_memory() -> None:
    """Give back what nobody uses: cycles, and blocks that torch keeps for the next allocation."""
    gc.collect()
    if _is_gpu_in_use():
        torch.cuda.empty_cache()


def _is_gpu_in_use() -> bool:
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]
