"""On which device a model runs, in which number formats and how exactly, and whether that device can run it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import torch

from tts.chatterbox.runtime.memory import Budget
from tts.chatterbox.runtime.processor import processor
from validation.errors import ModelUnavailable

log = logging.getLogger(__name__)


def choose_device(name: str, budget: Callable[[tuple[int, int]], Budget]) -> torch.device:
    """`auto` is the GPU if there is one. budget: the memory that a GPU of a given capability must have free.

    Raises: ModelUnavailable if a GPU is required and there is none, or if it can't be used.
    """
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise ModelUnavailable("DEVICE=cuda, but no CUDA GPU can be used here")
    if name == "cpu" or not available:
        return torch.device("cpu")
    capability = torch.cuda.get_device_capability()
    free_bytes = torch.cuda.mem_get_info()[0]
    require_usable(torch.cuda.get_device_name(), capability, torch.cuda.get_arch_list(), free_bytes, budget(capability))
    return torch.device("cuda")


def require_usable(
    name: str, capability: tuple[int, int], architectures: Sequence[str], free_bytes: int, budget: Budget
) -> None:
    """Refuse a GPU for which this torch has no code, or with too little free memory. Raises: ModelUnavailable."""
    if not runs_on(capability, architectures):
        major, minor = capability
        raise ModelUnavailable(
            f"this build of torch ({torch.__version__}) has no code for the {name} (sm_{major}{minor}); it has "
            f"{', '.join(architectures)}. An RTX 50xx needs a build for CUDA 12.8 or newer"
        )
    if free_bytes < budget.required:
        raise ModelUnavailable(
            f"the {name} has {gib(free_bytes)} of memory free, and the model needs about {gib(budget.required)}, of "
            f"which {gib(budget.slots + budget.workspaces)} are for MAX_CONCURRENCY jobs at once and "
            f"{gib(budget.graphs)} for CUDA_GRAPHS"
        )
    log.info(
        "GPU memory: about %s of %s; decode_mode block takes up to %s more",
        *(gib(part) for part in (budget.required, free_bytes, budget.block_mode)),
    )


def gib(count_bytes: int) -> str:
    return f"{count_bytes / 2**30:.1f} GiB"


def compute_exactly() -> None:
    """Set how torch computes products on a GPU, for the whole process.

    No TF32, which cuDNN's convolutions use by default: what is float32 is computed as on a CPU. The vocoder's phase
    sums up what its pitch errs, which would be 1e-3; the flow is fast in float16, and the rest is small. No sums in
    half precision across the parts of a product that cuBLAS may split: they are less exact, and overflow in float16.
    Only deterministic algorithms: the same request gives the same audio.
    """
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    torch.backends.cudnn.deterministic = True
    # On Hopper with cuDNN above 9.15 torch prefers cuDNN's attention, which plans for 20 to 40 ms for each new length
    # and thread, and may sum in another order for another length.
    torch.backends.cuda.enable_cudnn_sdp(False)


def share_processors(device: torch.device) -> None:
    """Have each job of a GPU compute its watermarks on one core, in the threads that use torch from now on.

    Jobs are side by side there: a team of threads for each would only make them wait for one another.
    """
    if device.type == "cuda":
        torch.set_num_threads(1)


def runs_on(capability: tuple[int, int], architectures: Sequence[str]) -> bool:
    """Whether there is machine code for this generation, or code that the driver can compile for it.

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
    """The number format of that name; for `auto`, the default."""
    formats = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    return formats.get(name, default)


def token_dtype(device: torch.device) -> torch.dtype:
    """The token model's format for `DTYPE=auto`."""
    if device.type == "cpu" and processor().halves:
        return torch.float16
    return torch.bfloat16 if multiplies_bfloat16(device) else torch.float32


def flow_dtypes(name: str, device: torch.device) -> list[torch.dtype]:
    """The formats to try for the flow, in order, for a value of `FLOW_DTYPE`.

    float16 on a GPU rather than bfloat16: both run on the tensor cores, and after ten Euler steps float16 errs about an
    eighth as much. But its range ends at 65,504, and weights can exceed that: see `finite_flow`.
    """
    if name != "auto":
        return [choose_dtype(name, torch.float32)]
    half = [torch.bfloat16] if multiplies_bfloat16(device) else []
    if device.type == "cuda":
        return [torch.float16, *half, torch.float32]
    return [*half, torch.float32][:1]


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether the hardware does; otherwise bfloat16 is emulated, and slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return processor().multiplies_bfloat16
