"""A contender of `bench.race`: upstream's own `generate`, which does not stream."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from chatterbox.tts import ChatterboxTTS

from bench.contenders.turns import TEXT, Run, serve


def prepare(options: argparse.Namespace) -> tuple[Callable[[], Run], dict[str, Any]]:
    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    tts = ChatterboxTTS.from_local(options.checkpoint, device)

    def run() -> Run:
        started = time.perf_counter()
        samples = tts.generate(TEXT).shape[-1]
        total_s = time.perf_counter() - started
        return Run([(total_s, samples / 24_000)], total_s, samples / 24_000, round(samples / 960))

    name = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    return run, {"torch": torch.__version__, "transformers": transformers.__version__, "device": name}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--device", default="auto")
    serve(partial(prepare, parser.parse_args()))


if __name__ == "__main__":
    main()
