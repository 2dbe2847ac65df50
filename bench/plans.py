"""Which chunk size speaks soonest on this machine without ever running dry.

    python -m bench.plans CHECKPOINT

A listener starts with the first chunk. While the next one is made, what was sent and not yet heard must last: a plan
keeps up where no chunk takes more than MARGIN of it. A checkpoint that speaks for some seconds is needed
(`python -m bench.checkpoint.seeded DIR --speech-tokens 200`). The last line is one JSON document.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from bench.document import tell
from bench.machine import machine
from bench.turns import TEXT
from tts.chatterbox.model import Speaker
from tts.chatterbox.options import LoadOptions
from tts.chatterbox.s3gen.stream import STREAMS
from tts.engine import SamplingParams
from validation.fields import DecodeMode

MARGIN = 0.8
CHUNK_TOKENS = (8, 16, 25, 50, 100, 200)
Arrivals = Sequence[tuple[float, float]]  # per chunk: seconds since the start, and seconds of sound


def strain(arrivals: Arrivals) -> float:
    """The worst chunk's time over the sound that was there to bridge it; over 1.0 the listener hears a gap."""
    (first_s, _), heard_s, worst = arrivals[0], 0.0, 0.0
    for (before_s, sound_s), (after_s, _) in pairwise(arrivals):
        heard_s += sound_s
        left_s = heard_s - (before_s - first_s)
        worst = max(worst, (after_s - before_s) / left_s) if left_s > 0 else float("inf")
    return worst


def best(plans: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The plan that is first heard soonest of those that keep up; None where none does."""
    fitting = [plan for plan in plans if plan["strain"] is not None and plan["strain"] <= MARGIN]
    return min(fitting, key=lambda plan: plan["first_chunk_s"], default=None)


def listen(speaker: Speaker, params: SamplingParams) -> tuple[Arrivals, float]:
    """One run's arrivals, and how long it took in all."""
    started, arrivals = time.perf_counter(), []
    for chunk in speaker.stream(TEXT, speaker.built_in, params):
        if len(chunk.samples):
            arrivals.append((time.perf_counter() - started, len(chunk.samples) / 24_000))
    return arrivals, time.perf_counter() - started


def measure(speaker: Speaker, mode: DecodeMode, chunk_tokens: int, runs: int) -> dict[str, Any]:
    params = SamplingParams(0.5, 0.5, 0.8, 1.0, 0.05, 1.2, 1, chunk_tokens, 50, mode)
    listen(speaker, params)
    heard = [listen(speaker, params) for _ in range(runs)]
    worst = statistics.median(strain(arrivals) for arrivals, _ in heard)
    return {
        "mode": mode,
        "chunk_size": chunk_tokens,
        "first_chunk_s": round(statistics.median(arrivals[0][0] for arrivals, _ in heard), 4),
        "rtf": round(statistics.median(total_s / sum(s for _, s in arrivals) for arrivals, total_s in heard), 4),
        "strain": round(worst, 3) if worst < float("inf") else None,  # JSON knows no infinity
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
    speaker = Speaker.load(options.checkpoint, LoadOptions(options.device))
    modes: list[DecodeMode] = [mode for mode in ("window", "block") if mode in STREAMS]
    plans = [measure(speaker, mode, size, options.runs) for mode in modes for size in options.sizes]
    document = {
        "bench": "plans",
        **machine(),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if speaker.device.type == "cuda" else "cpu",
        "dtype": str(speaker.dtype),
        "flow_dtype": str(speaker.flow.dtype),
        "margin": MARGIN,
        "plans": plans,
        "best": best(plans),
    }
    tell(document, show, options.output)


if __name__ == "__main__":
    main()
