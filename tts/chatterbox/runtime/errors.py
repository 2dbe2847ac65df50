"""torch's errors as ours, and freeing of GPU memory before a retry."""

from __future__ import annotations

import gc
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from validation.errors import GpuFault, OutOfMemory


@contextmanager
def torch_errors() -> Iterator[None]:
    """Raises: OutOfMemory, after which the GPU is usable; GpuFault, after which this process can't use it again."""
    try:
        yield
    except (torch.OutOfMemoryError, torch.AcceleratorError) as exc:
        if not is_out_of_memory(exc):
            raise GpuFault("the GPU failed") from exc
        traceback.clear_frames(exc.__traceback__)  # their variables hold the memory
        raise OutOfMemory("the GPU's memory is full; try again, or with a shorter text") from exc
    except RuntimeError as exc:
        if not gpu_answers():  # GPU libraries have no error classes of their own
            raise GpuFault("the GPU failed") from exc
        raise


def is_out_of_memory(error: Exception) -> bool:
    """Including memory that torch does not allocate itself: pinned memory, graphs, modules that CUDA loads late."""
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in str(error)


def gpu_answers() -> bool:
    """Whether this process's GPU still works; True if none is in use."""
    if not _is_gpu_in_use():
        return True
    try:
        torch.cuda.synchronize()
    except RuntimeError:
        return False
    return True


def free_memory() -> None:
    """Free reference cycles, and the blocks that torch keeps for later allocations."""
    gc.collect()
    if _is_gpu_in_use():
        torch.cuda.empty_cache()


def _is_gpu_in_use() -> bool:
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]
