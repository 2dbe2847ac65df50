"""What each part of a chunk takes, and how near the token model is to the memory's speed.

    python -m bench.parts CHECKPOINT

Medians; the device is waited for around each call. The floor of a T3 step is the time in which its weights can be read
once, at the bandwidth of a large copy measured in the same run. The last line is one JSON document.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.document import tell
from bench.machine import machine
from bench.turns import TEXT
from tts.chatterbox.flow_stream import STREAMS, ChunkPlan
from tts.chatterbox.hift import HiftStream
from tts.chatterbox.noise import NoiseTape
from tts.chatterbox.options import LoadOptions
from tts.chatterbox.rates import SPEECH_CODES
from tts.chatterbox.s3gen import MEL_BANDS
from tts.chatterbox.sampling import TokenSampling
from tts.chatterbox.speaker import Speaker
from tts.chatterbox.utterance import text_tokens
from tts.chatterbox.watermark import WatermarkStage

CHUNK, CONTEXT = 25, 50  # tokens, the default plan
STEADY = 3  # chunks after which every shape was seen
COPY_BYTES = 2**28
KNOBS = TokenSampling(0.5, 0.8, 1.0, 0.05, 1.2)


class Watch:
    """Times calls on one device, and keeps the medians by name."""

    def __init__(self, device: torch.device, times: int) -> None:
        self._device, self._times = device, times
        self.medians_s: dict[str, float] = {}

    def __call__(self, name: str, run: Callable[[], object], warm_up: int = 1) -> float:
        taken = []
        for _ in range(warm_up + self._times):
            self._wait()
            started = time.perf_counter()
            run()
            self._wait()
            taken.append(time.perf_counter() - started)
        self.medians_s[name] = round(statistics.median(taken[warm_up:]), 6)
        return self.medians_s[name]

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize()


def measure(speaker: Speaker, watch: Watch) -> None:
    device, t3, prompt = speaker.device, speaker.t3, speaker.built_in.flow
    prefix = speaker.listeners.prefix(speaker.built_in, 0.5)
    text = text_tokens(speaker.tokenizer, TEXT).to(device)

    def first_token() -> None:
        with speaker.decoder.generate(prefix, text, KNOBS, 1) as fresh:
            fresh.take(1)

    watch("T3, to the first token", first_token)
    with speaker.decoder.generate(prefix, text, KNOBS, 1) as generation:
        watch("T3, a step", lambda: generation.take(1))
    source = torch.ones(COPY_BYTES, dtype=torch.uint8, device=device)
    copied_s = watch("a copy of 256 MiB", source.clone)
    watch.medians_s["T3, floor of a step"] = round(copied_s * t3.step_bytes / (2 * COPY_BYTES), 6)

    chunk = torch.randint(SPEECH_CODES, (CHUNK,)).tolist()
    for mode, kind in STREAMS.items():
        flow = kind(speaker.flow, prompt, NoiseTape(1, MEL_BANDS), ChunkPlan(CHUNK, CHUNK, CONTEXT))
        watch(f"flow, {mode}, a chunk", partial(flow.push, chunk), STEADY)
    mel = torch.randn(1, MEL_BANDS, 2 * CHUNK, device=device)
    vocoder = HiftStream(speaker.hift, 1)
    watch("vocoder, a chunk", lambda: vocoder.push(mel), STEADY)
    if speaker.watermarker:
        marker, sound = WatermarkStage(speaker.watermarker), np.random.default_rng(0).normal(0, 0.1, 24_000)
        watch("watermark, a chunk", lambda: marker.push(sound.astype(np.float32)), STEADY)


def show(document: dict[str, Any]) -> None:
    for name, seconds in document["medians_s"].items():
        print(f"{name:28} {seconds * 1000:10.3f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the parts of a chunk.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--output", type=Path, help="also write the document here")
    options = parser.parse_args()
    speaker = Speaker.load(options.checkpoint, LoadOptions(options.device))
    watch, on_gpu = Watch(speaker.device, options.times), speaker.device.type == "cuda"
    with torch.inference_mode():
        measure(speaker, watch)
    peak = torch.cuda.max_memory_allocated() if on_gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    document = {
        "bench": "parts",
        **machine(),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if on_gpu else "cpu",
        "dtype": str(speaker.dtype),
        "flow_dtype": str(speaker.flow.dtype),
        "medians_s": watch.medians_s,
        "peak_memory_bytes": peak,
    }
    tell(document, show, options.output)


if __name__ == "__main__":
    main()
