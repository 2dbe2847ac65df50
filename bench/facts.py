"""Constants of a GPU, without the model: the time of a kernel, bandwidth, products, attention.

    python -m bench.facts

A fact that can't be measured is reported, and the next one is tried. The last line is one JSON document.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from bench.document import attempt, machine, report, show_failures
from tts.chatterbox.runtime.device import compute_exactly

NODES = 1000
ROWS, WIDTH = 4096, 256  # of the estimator's products
COPY_BYTES = 2**28
FORMATS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def median_s(run: Callable[[], object], times: int = 20) -> float:
    taken = []
    for _ in range(times + 3):
        torch.cuda.synchronize()
        started = time.perf_counter()
        run()
        torch.cuda.synchronize()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken[3:])


def device() -> dict[str, Any]:
    free, total = torch.cuda.mem_get_info()
    return {
        "name": torch.cuda.get_device_name(),
        "capability": torch.cuda.get_device_capability(),
        "architectures": torch.cuda.get_arch_list(),
        "free_gib": round(free / 2**30, 1),
        "total_gib": round(total / 2**30, 1),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
    }


def node_us() -> float:
    """One small kernel of a replayed graph, in a chain."""
    x, graph, stream = torch.zeros(256, device="cuda"), torch.cuda.CUDAGraph(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
    x.add_(1.0)  # loads the kernel, which a capture must not
    with torch.cuda.graph(graph, stream=stream):
        for _ in range(NODES):
            x.add_(1.0)
    return round(median_s(graph.replay) / NODES * 1e6, 3)


def product_tflops(dtype: torch.dtype, tf32: bool = False) -> float:
    torch.backends.cuda.matmul.allow_tf32 = tf32
    try:
        x, weight = (torch.randn(size, WIDTH, device="cuda", dtype=dtype) for size in (ROWS, 4 * WIDTH))
        operations = 20 * 2 * ROWS * WIDTH * 4 * WIDTH
        return round(operations / median_s(lambda: [F.linear(x, weight) for _ in range(20)]) / 1e12, 1)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = False


def copy_tb_s() -> float:
    source = torch.ones(COPY_BYTES, dtype=torch.uint8, device="cuda")
    return round(2 * COPY_BYTES / median_s(source.clone) / 1e12, 3)


def attention(dtype: torch.dtype, masked: bool) -> dict[str, float]:
    """Milliseconds per backend that supports it, for 8 heads, 2 rows and 700 frames."""
    q, k, v = (torch.randn(2, 8, 700, 64, device="cuda", dtype=dtype) for _ in range(3))
    mask = torch.zeros(700, device="cuda", dtype=dtype).expand(700, -1) if masked else None
    found = {}
    for backend in (SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH):
        try:
            with sdpa_kernel(backend):
                run = partial(F.scaled_dot_product_attention, q, k, v, attn_mask=mask)
                found[backend.name] = round(median_s(run) * 1000, 4)
        except RuntimeError:  # this backend has no kernel for it
            continue
    return found


FACTS: dict[str, Callable[[], Any]] = {
    "device": device,
    "µs of a graph's node": node_us,
    "TB/s of a copy": copy_tb_s,
    "TFLOP/s, float32": partial(product_tflops, torch.float32),
    "TFLOP/s, TF32": partial(product_tflops, torch.float32, tf32=True),
    "TFLOP/s, float16": partial(product_tflops, torch.float16),
    "TFLOP/s, bfloat16": partial(product_tflops, torch.bfloat16),
}
for _name, _dtype in FORMATS.items():
    FACTS[f"attention, {_name}"] = partial(attention, _dtype, masked=False)
    FACTS[f"attention, {_name}, masked"] = partial(attention, _dtype, masked=True)


def show(document: dict[str, Any]) -> None:
    for name, value in document["found"].items():
        print(f"{name:32} {value}")
    show_failures(document, 32)


def main() -> None:
    parser = argparse.ArgumentParser(description="Look up what a GPU can do.")
    parser.add_argument("--output", type=Path, help="also write the document here")
    options = parser.parse_args()
    compute_exactly()
    document: dict[str, Any] = {"bench": "facts", **machine(), "torch": torch.__version__}
    for name, find in FACTS.items():
        attempt(document, name, find, options.output)
    report(document, show, options.output)


if __name__ == "__main__":
    main()
