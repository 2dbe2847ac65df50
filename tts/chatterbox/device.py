"""Where a model runs and in which number format, and whether it can run there at all. It knows no model."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from validation.errors import ModelUnavailable

FREE_BYTES = 5 * 2**30  # [est] weights of 2 GB in float32 and bfloat16, graphs, and room to compute in


def choose_device(name: str, cache_bytes: int = 0) -> torch.device:
    """`auto` is the GPU where there is one. cache_bytes: what will be needed beside the model.

    Raises: ModelUnavailable where a GPU was asked for and none is, or where the one that is can't be used.
    """
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise ModelUnavailable("DEVICE=cuda, but no CUDA GPU can be used here")
    if name == "cpu" or not available:
        return torch.device("cpu")
    require_usable(
        torch.cuda.get_device_name(),
        torch.cuda.get_device_capability(),
        torch.cuda.get_arch_list(),
        torch.cuda.mem_get_info()[0],
        cache_bytes,
    )
    return torch.device("cuda")


def require_usable(
    name: str, capability: tuple[int, int], architectures: Sequence[str], free_bytes: int, cache_bytes: int
) -> None:
    """Refuse a GPU that this build of torch has no code for, or that others have filled. Raises: ModelUnavailable."""
    if not runs_on(capability, architectures):
        major, minor = capability
        raise ModelUnavailable(
            f"this build of torch ({torch.__version__}) has no code for the {name} (sm_{major}{minor}); it has "
            f"{', '.join(architectures)}. An RTX 50xx needs a build for CUDA 12.8 or newer"
        )
    needed_bytes = FREE_BYTES + cache_bytes
    if free_bytes < needed_bytes:
        raise ModelUnavailable(
            f"the {name} has {free_bytes / 2**30:.1f} GiB of memory free, and the model needs about "
            f"{needed_bytes / 2**30:.1f} GiB, of which {cache_bytes / 2**30:.1f} are for MAX_CONCURRENCY jobs at once"
        )


def runs_on(capability: tuple[int, int], architectures: Sequence[str]) -> bool:
    """Whether there is machine code for this very generation, or code that the driver can compile for a later one.

    Machine code (sm_XY) runs on the same major version from its minor on, intermediate code (compute_XY) on all that
    came after (CUDA C++ Programming Guide, "Application Compatibility").
    """
    for architecture in architectures:
        kind, _, digits = architecture.partition("_")
        number = digits.rstrip("abcdefghijklmnopqrstuvwxyz")  # sm_90a has the instructions of that one alone
        if not number.isdigit():
            continue
        version = int(number[:-1]), int(number[-1])
        if number != digits:
            fits = version == capability
        elif kind == "sm":
            fits = version[0] == capability[0] and version <= capability
        else:
            fits = version <= capability
        if fits:
            return True
    return False


def choose_dtype(name: str, default: torch.dtype) -> torch.dtype:
    """The number format of that name; `auto` is the default given."""
    formats = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    return formats.get(name, default)


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether the hardware does; where it does not, bfloat16 is emulated and slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
