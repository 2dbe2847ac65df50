"""The chunk size with the earliest first sound, of those that never leave the listener without sound on this machine.

    python -m bench.plans CHECKPOINT

A listener starts with the first chunk, and plays on while the next one is made. A plan is good enough if no chunk takes
more than MARGIN of the sound that is left to play. It needs a checkpoint that speaks for some seconds
(`python -m bench.checkpoint.seeded DIR --speech-tokens 200`). The last line is one JSON document.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from bench.document import machine, report
from bench.speech import generate
from tts.chatterbox.model import ChatterboxModel
from tts.chatterbox.options import LoadOptions
from tts.chatterbox.s3gen.stream import STREAMS
from validation.fields import DecodeMode
from validation.request import DEFAULT_SAMPLING

MARGIN = 0.8
CHUNK_TOKENS = (8, 16, 25, 50, 100, 200)
Arrivals = Sequence[tuple[float, float]]  # per chunk: seconds since the start, and seconds of sound


def strain(arrivals: Arrivals) -> float:
    """The worst ratio of a chunk's time to the sound that is left to play; over 1.0 there is an audible gap."""
    (first_s, _), played_s, worst = arrivals[0], 0.0, 0.0
    for (before_s, sound_s), (after_s, _) in pairwise(arrivals):
        played_s += sound_s
        left_s = played_s - (before_s - first_s)
        worst = max(worst, (after_s - before_s) / left_s) if left_s > 0 else float("inf")
    return worst


def best(plans: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The good plan with the earliest first sound; None if there is none."""
    fitting = [plan for plan in plans if plan["strain"] is not None and plan["strain"] <= MARGIN]
    return min(fitting, key=lambda plan: plan["first_chunk_s"], default=None)


def measure(model: ChatterboxModel, mode: DecodeMode, chunk_tokens: int, runs: int) -> dict[str, Any]:
    params = replace(DEFAULT_SAMPLING, seed=1, chunk_size_tokens=chunk_tokens, decode_mode=mode)
    runs_done = [generate(model, model.built_in, params)[0] for _ in range(1 + runs)][1:]  # the first warms up
    worst = statistics.median(strain(run.arrivals) for run in runs_done)
    return {
        "mode": mode,
        "chunk_size": chunk_tokens,
        "first_chunk_s": round(statistics.median(run.arrivals[0][0] for run in runs_done), 4),
        "rtf": round(statistics.median(run.total_s / run.audio_s for run in runs_done), 4),
        "strain": round(worst, 3) if worst < float("inf") else None,  # JSON has no infinity
    }


def show(document: dict[str, Any]) -> None:
    print(f"{'mode':8} {'chunk_size':>10} {'first chunk':>12} {'RTF':>8}  worst chunk, of what bridges it")
    for plan in document["plans"]:
        strained = "runs dry" if plan["strain"] is None else f"{plan['strain']:.2f}"
        print(
            f"{plan['mode']:8} {plan['chunk_size']:10} {plan['first_chunk_s']:10.3f} s {plan['rtf']:8.3f}  {strained}"
        )
    found = document["best"]
    print(f"best: {found['mode']}, chunk_size {found['chunk_size']}" if found else "no plan keeps up on this machine")


def main() -> None:
    parser = argparse.ArgumentParser(description="Search the chunk size that never runs dry.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="+", default=CHUNK_TOKENS, metavar="TOKENS")
    parser.add_argument("--output", type=Path, help="also write the document here")
    options = parser.parse_args()
    model = ChatterboxModel.load(options.checkpoint, LoadOptions(options.device))
    modes: list[DecodeMode] = [mode for mode in ("window", "block") if mode in STREAMS]
    plans = [measure(model, mode, size, options.runs) for mode in modes for size in options.sizes]
    document = {
        "bench": "plans",
        **machine(),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if model.device.type == "cuda" else "cpu",
        "dtype": str(model.dtype),
        "flow_dtype": str(model.flow.dtype),
        "margin": MARGIN,
        "plans": plans,
        "best": best(plans),
    }
    report(document, show, options.output)


if __name__ == "__main__":
    main()
