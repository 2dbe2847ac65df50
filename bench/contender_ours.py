"""One side of the race: this project's engine, without service and encoder. Driven by `bench.race`."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from bench.turns import Run, serve
from tts.chatterbox.speaker import Speaker
from tts.engine import SamplingParams
from validation.request import DecodeMode

TEXT = "The race is on, and this is the sentence that both sides speak."


def prepare(options: argparse.Namespace) -> tuple[Callable[[], Run], dict[str, Any]]:
    mode: DecodeMode = options.mode
    speaker = Speaker.load(options.checkpoint, options.device, options.dtype, 1000, True, options.flow_dtype)
    params = SamplingParams(0.5, 0.5, 0.8, 1.0, 0.05, 1.2, 1, 25, 50, mode)

    def run() -> Run:
        started, arrivals, samples, tokens = time.perf_counter(), [], 0, 0
        for chunk in speaker.stream(TEXT, speaker.built_in, params):
            arrivals.append((time.perf_counter() - started, len(chunk.samples) / 24_000))
            samples += len(chunk.samples)
            tokens += chunk.speech_tokens or 0
        return Run(arrivals, time.perf_counter() - started, samples / 24_000, tokens)

    versions = {
        "torch": torch.__version__,
        "device": str(speaker.device),
        "dtype": str(speaker.dtype),
        "flow_dtype": str(speaker.flow.dtype),
    }
    return run, versions


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--flow-dtype", default="auto")
    parser.add_argument("--mode", choices=("full", "window"), default="window")
    serve(partial(prepare, parser.parse_args()))


if __name__ == "__main__":
    main()
