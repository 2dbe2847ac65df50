"""One stream as a listener gets it: first chunk, real-time factor, gaps, and how often the host waits for the GPU.

    python -m bench.goals CHECKPOINT --model turbo --variants "float16" "float32" "float32 plain"

One process. A variant is a number format of the flow, with `plain` without CUDA graphs; each is loaded, and speaks in
every mode with recordings of 4 and 10 seconds. The last line is one JSON document, written after each figure.
"""

from __future__ import annotations

import argparse
import statistics
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import torch

from bench.document import attempt, machine, report, show_failures
from bench.race import largest_gap_s, stall_s
from bench.speech import BUCKETS, PROMPTS_S, generate, options_of, prompted, usual
from tts.chatterbox.model import ChatterboxModel
from tts.chatterbox.models import MODELS, ORIGINAL
from validation.fields import DecodeMode


def measure(model: ChatterboxModel, mode: DecodeMode, prompt_s: int, runs: int) -> dict[str, Any]:
    voice = prompted(model.built_in, prompt_s)
    params = replace(usual(model.spec), seed=0, decode_mode=mode)
    waited = [0]
    with counted_waits(model.device) as waits:  # this run also warms up
        generate(model, voice, params, lambda: waited.append(waits()))
    done = [generate(model, voice, replace(params, seed=seed))[0] for seed in range(1, 1 + runs)]
    return {
        "first_chunk_s": round(statistics.median(run.arrivals[0][0] for run in done), 4),
        "rtf": round(statistics.median(run.total_s / run.audio_s for run in done), 4),
        "largest_gap_s": round(max(map(largest_gap_s, done)), 4),
        "stall_s": round(max(map(stall_s, done)), 4),
        "waits": [later - before for before, later in pairwise(waited)],
    }


@contextmanager
def counted_waits(device: torch.device) -> Iterator[Callable[[], int]]:
    """Counts the calls that make the host wait for the GPU, as torch reports them; always 0 on a CPU.

    torch does not report waiting for an event, which is how tokens are awaited.
    """
    if device.type != "cuda":
        yield lambda: 0
        return
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield lambda: sum("called a synchronizing" in str(warning.message) for warning in caught)
        finally:
            torch.cuda.set_sync_debug_mode("default")


def show(document: dict[str, Any]) -> None:
    columns = ("first_chunk_s", "rtf", "largest_gap_s", "stall_s")
    print(f"{'':34}" + "".join(f"{name:>15}" for name in columns) + "   waits by chunk")
    for name, found in document["found"].items():
        if "rtf" in found:
            print(f"{name:34}" + "".join(f"{found[column]:15.4f}" for column in columns) + f"   {found['waits']}")
    show_failures(document, 34)


def main() -> None:
    parser = argparse.ArgumentParser(description="Time one stream in each mode.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--model", choices=MODELS, default=ORIGINAL.name)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--variants", nargs="+", default=["auto"], help="a FLOW_DTYPE, or one and `plain`")
    parser.add_argument("--modes", nargs="+", choices=get_args(DecodeMode), default=get_args(DecodeMode))
    parser.add_argument("--prompts", type=int, nargs="+", default=PROMPTS_S, metavar="SECONDS")
    parser.add_argument("--output", type=Path, help="also write the document here")
    options = parser.parse_args()
    document: dict[str, Any] = {"bench": "goals", **machine(), "torch": torch.__version__, "model": options.model}
    for variant in options.variants:
        dtype, _, plain = variant.partition(" ")
        loaded: list[ChatterboxModel] = []

        def load(dtype: str = dtype, plain: str = plain, loaded: list[ChatterboxModel] = loaded) -> dict[str, Any]:
            usually = options_of(options.model, options.device)
            how = replace(usually, flow_dtype=dtype, graphs=not plain, buckets=BUCKETS)
            loaded.append(ChatterboxModel.load(options.checkpoint, how))
            return {"device": str(loaded[0].device), "flow_dtype": str(loaded[0].flow.dtype)}

        if not attempt(document, f"{variant}, load", load, options.output):
            continue
        for mode in options.modes:
            for prompt_s in options.prompts:
                find = partial(measure, loaded[0], mode, prompt_s, options.runs)
                attempt(document, f"{variant}, {mode}, {prompt_s} s", find, options.output)
    report(document, show, options.output)


if __name__ == "__main__":
    main()
