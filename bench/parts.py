"""The time of each part of a chunk, and how near the token model is to the speed of memory.

    python -m bench.parts CHECKPOINT --model turbo

Medians of synchronised calls. The floor of a T3 step is the time of reading its weights once, at the bandwidth of a
large copy in the same run. The flow is timed in each format and with each length of recording. Where `bench.costs`
predicted a figure it is printed beside; one that is off by more than half needs a look. The last line is one JSON
document.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.contenders.turns import TEXT
from bench.document import keep, machine, report
from bench.speech import BUCKETS, PROMPTS_S, options_of, prompted, usual
from tts.chatterbox.model import ChatterboxModel
from tts.chatterbox.models import MODELS, ORIGINAL, ModelSpec
from tts.chatterbox.rates import LOOKAHEAD_TOKENS, MEL_BANDS, SPEECH_CODES
from tts.chatterbox.runtime.cuda_graph import GraphPool
from tts.chatterbox.runtime.device import choose_dtype
from tts.chatterbox.runtime.host import NoiseTape
from tts.chatterbox.s3gen.flow import Flow
from tts.chatterbox.s3gen.network import FlowPrompt
from tts.chatterbox.s3gen.stream import FIRST_CHUNK_TOKENS, STREAMS, ChunkPlan
from tts.chatterbox.t3.sampling import TokenSampling
from tts.chatterbox.vocoder.stream import HiftStream
from tts.chatterbox.watermark import WatermarkStage
from tts.chatterbox.weights.tensors import Tensors
from validation.fields import DEFAULT_CHUNK_TOKENS, DEFAULT_CONTEXT_TOKENS

FIRST, CHUNK, CONTEXT = FIRST_CHUNK_TOKENS, DEFAULT_CHUNK_TOKENS, DEFAULT_CONTEXT_TOKENS
STEADY = 3  # chunks after which every shape was seen
STEPS = 8  # of T3 between two synchronisations, whose time must not count as that of one step
LONGEST_KERNELS = 10
COPY_BYTES = 2**28
RESULTS = Path(__file__).parent / "results"


class Watch:
    """Times calls on one device, and keeps the medians by name."""

    def __init__(self, device: torch.device, times: int, keep: Callable[[], None]) -> None:
        """keep: called after each figure."""
        self._device, self._times, self._keep = device, times, keep
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
        self._keep()
        return self.medians_s[name]

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize()


def measure(model: ChatterboxModel, watch: Watch) -> None:
    """Times everything but the flow."""
    device, t3 = model.device, model.t3
    prefix = model.encoders.prefix(model.built_in, 0.5)
    text, knobs = model.reader.tokens(TEXT, "en"), TokenSampling.of(usual(model.spec))

    def steps(count: int) -> None:
        with model.decoder.generate(lambda: prefix, text, knobs, 1) as fresh:
            fresh.take(count)

    first_s = watch("T3, to the first token", lambda: steps(1))
    watch("T3, to the first chunk", lambda: steps(FIRST + LOOKAHEAD_TOKENS))
    watch("T3, 8 steps more", lambda: steps(1 + STEPS))
    watch.medians_s["T3, a step"] = round((watch.medians_s["T3, 8 steps more"] - first_s) / STEPS, 6)
    source = torch.ones(COPY_BYTES, dtype=torch.uint8, device=device)
    copied_s = watch("a copy of 256 MiB", source.clone)
    watch.medians_s["T3, floor of a step"] = round(copied_s * t3.step_bytes / (2 * COPY_BYTES), 6)
    mel = torch.randn(1, MEL_BANDS, 2 * CHUNK, device=device)
    vocoder = HiftStream(model.hift, 1)
    watch("vocoder, a chunk", lambda: vocoder.push(mel), STEADY)
    if model.watermarker:
        marker, sound = WatermarkStage(model.watermarker), np.random.default_rng(0).normal(0, 0.1, 24_000)
        watch("watermark, a chunk", lambda: marker.push(sound.astype(np.float32)), STEADY)


def measure_flow(flow: Flow, prompt: FlowPrompt, name: str, watch: Watch) -> None:
    first, chunk = (torch.randint(SPEECH_CODES, (count,)).tolist() for count in (FIRST + LOOKAHEAD_TOKENS, CHUNK))
    plan = ChunkPlan(FIRST, CHUNK, CONTEXT)

    def begin(mode: str) -> None:
        STREAMS[mode](flow, prompt, tape(), plan).push(first)

    for mode, kind in STREAMS.items():
        watch(f"flow, {mode}, first chunk, {name}", partial(begin, mode))
        stream = kind(flow, prompt, tape(), plan)
        watch(f"flow, {mode}, a chunk, {name}", partial(stream.push, chunk), STEADY)


def tape() -> NoiseTape:
    return NoiseTape(1, MEL_BANDS)


def flow_in(checkpoint: Path, model: ChatterboxModel, dtype: torch.dtype) -> Flow:
    """The flow in another format, with graphs of the lengths that are timed."""
    flow = Tensors.read(checkpoint, model.spec.s3gen, model.device).at("flow.")
    pool = GraphPool(model.device, "flow")
    return Flow(flow, dtype=dtype, graphs=pool, buckets=BUCKETS if pool.captures else ())


def longest_kernels(run: Callable[[], object]) -> list[list[Any]]:
    """Name, milliseconds and calls of the kernels with the longest time."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        run()
        torch.cuda.synchronize()
    events = sorted(profile.key_averages(), key=lambda event: -event.self_device_time_total)
    return [[e.key[:100], round(e.self_device_time_total / 1000, 4), e.count] for e in events[:LONGEST_KERNELS]]


def costs_of(spec: ModelSpec) -> Path:
    """What `bench.costs` counted and predicted, ± 30 %: a Llama's costs do not depend on its table of text."""
    return RESULTS / (f"costs-{spec.name}.json" if spec.is_gpt2 else "costs.json")


def predictions_s(spec: ModelSpec, device: str) -> dict[str, float]:
    """By part, for a card and a model that `bench.costs` was kept of."""
    if not costs_of(spec).exists():
        return {}
    cards: dict[str, dict[str, Any]] = json.loads(costs_of(spec).read_text())["predicted"]
    of_card: dict[str, list[float]] = next((of["parts_ms"] for card, of in cards.items() if card in device), {})
    return {part: ms[0] / 1000 for part, ms in of_card.items()}


def show(document: dict[str, Any]) -> None:
    predicted_s = document["predicted_s"]
    for name, seconds in document["medians_s"].items():
        beside = f"   predicted {predicted_s[name] * 1000:8.3f}" if name in predicted_s else ""
        print(f"{name:46} {seconds * 1000:10.3f} ms{beside}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the parts of a chunk.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--model", choices=MODELS, default=ORIGINAL.name)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--prompts", type=int, nargs="+", default=PROMPTS_S, metavar="SECONDS")
    parser.add_argument(
        "--flow-dtypes", nargs="+", default=["auto"], choices=("auto", "float32", "float16", "bfloat16")
    )
    parser.add_argument("--output", type=Path, help="also write the document here")
    options = parser.parse_args()
    load = replace(options_of(options.model, options.device), buckets=BUCKETS)
    model = ChatterboxModel.load(options.checkpoint, load)
    on_gpu = model.device.type == "cuda"
    name = torch.cuda.get_device_name() if on_gpu else "cpu"
    predicted_s = predictions_s(model.spec, name)
    document: dict[str, Any] = {"bench": "parts", **machine(), "torch": torch.__version__, "device": name}
    document |= {"model": options.model, "dtype": str(model.dtype), "flow_dtype": str(model.flow.dtype)}
    document["predicted_s"] = predicted_s
    watch = Watch(model.device, options.times, lambda: keep(document, options.output))
    document |= {"medians_s": watch.medians_s, "longest_kernels": {}}
    with torch.inference_mode():
        measure(model, watch)
        for wanted in options.flow_dtypes:
            dtype = choose_dtype(wanted, model.flow.dtype)
            flow = model.flow if dtype == model.flow.dtype else flow_in(options.checkpoint, model, dtype)
            for seconds in options.prompts:
                prompt = prompted(model.built_in, seconds).flow
                label = f"{str(dtype).removeprefix('torch.')}, {seconds} s"
                measure_flow(flow, prompt, label, watch)
                if on_gpu:
                    stream = STREAMS["window"](flow, prompt, tape(), ChunkPlan(FIRST, CHUNK, CONTEXT))
                    first = list(range(FIRST + LOOKAHEAD_TOKENS))
                    document["longest_kernels"][f"first chunk, {label}"] = longest_kernels(partial(stream.push, first))
    peak = torch.cuda.max_memory_allocated() if on_gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    report(document | {"peak_memory_bytes": peak}, show, options.output)


if __name__ == "__main__":
    main()
