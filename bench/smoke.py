"""Whether each part of the model runs on this device, and whether its CUDA graph equals the plain code.

    python -m bench.smoke CHECKPOINT --device cuda --model turbo

A part that fails is reported with its traceback, and the next one is tried. On a CPU the "graphs" are the plain code.
The last line is one JSON document; the status is 1 if a part failed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from bench.contenders.turns import TEXT
from bench.document import attempt, machine, report, show_failures
from bench.speech import options_of, usual
from tts.chatterbox.model import ChatterboxModel
from tts.chatterbox.models import MODELS, ORIGINAL
from tts.chatterbox.rates import SAMPLES_PER_FRAME
from tts.chatterbox.runtime.cuda_graph import GraphPool
from tts.chatterbox.segment import stream_segment
from tts.chatterbox.t3.decoding import Decoder
from tts.chatterbox.t3.sampling import TokenSampling
from tts.chatterbox.vocoder.stream import F0_FRAMES, Window

LIMIT = 40  # tokens


def difference(replayed: torch.Tensor, plain: torch.Tensor) -> float:
    """The largest difference over the largest value."""
    return float(((replayed - plain).abs().max() / plain.abs().max()).item())


def tokens(model: ChatterboxModel, graphs: bool) -> list[int]:
    pool = GraphPool(model.device, "token model", graphs)
    decoder = Decoder(model.t3, LIMIT, 1, pool, share=True)
    if pool.captures and not pool.captured:
        raise RuntimeError("nothing was captured: the log says why")
    prefix = partial(model.encoders.prefix, model.built_in, 0.5)
    knobs = TokenSampling.of(usual(model.spec))
    with decoder.generate(prefix, model.reader.tokens(TEXT, "en"), knobs, seed=0) as generation:
        return generation.take(LIMIT)


def token_model(model: ChatterboxModel) -> dict[str, Any]:
    replayed, plain = tokens(model, graphs=True), tokens(model, graphs=False)
    return {"tokens": len(plain), "equal": sum(a == b for a, b in zip(replayed, plain, strict=True))}


def flow(model: ChatterboxModel) -> dict[str, Any]:
    prompt, device = model.built_in.flow, model.device
    count, known = 25, prompt.mel.shape[1]
    ids, noise = torch.arange(count, device=device)[None], torch.randn(1, 80, known + 2 * count, device=device)

    def solved() -> torch.Tensor:
        return model.flow.solve(prompt, ids, prompt.mel[:, :0], noise)

    plain, model.flow.graphs = solved(), GraphPool(device, "flow")
    model.flow.capture((128,), 0)
    replayed = solved()
    model.flow.capture((), 0)
    return {"dtype": str(model.flow.dtype), "differs": difference(replayed, plain)}


def vocoder(model: ChatterboxModel) -> dict[str, Any]:
    hift, device, frames = model.hift, model.device, 78
    mel, nothing = torch.randn(1, 80, frames + F0_FRAMES, device=device) - 6, torch.zeros(1, 1, 0, device=device)
    noise = torch.randn(frames, hift.harmonics * SAMPLES_PER_FRAME, device=device)
    phase = torch.zeros(hift.harmonics, 1, dtype=torch.float64, device=device)
    given = mel, nothing, phase, noise
    captured = Window(hift, frames, F0_FRAMES, GraphPool(device, "vocoder"))
    return {
        "pitch_hz": float(hift.pitch_hz(mel).mean()),
        "differs": difference(captured(*given)[0], hift.render(*given, ahead=F0_FRAMES)[0]),
    }


def request(model: ChatterboxModel) -> dict[str, Any]:
    params = replace(usual(model.spec), seed=1)
    chunks = [chunk.samples for chunk in stream_segment(model, TEXT, model.built_in, params)]
    return {"seconds": sum(map(len, chunks)) / 24_000}


PARTS: dict[str, Callable[[ChatterboxModel], dict[str, Any]]] = {
    "token model": token_model,
    "flow": flow,
    "vocoder": vocoder,
    "a request": request,
}


def show(document: dict[str, Any]) -> None:
    for name, value in document["found"].items():
        print(f"{name:16} {value}")
    show_failures(document, 16)


def main() -> int:
    parser = argparse.ArgumentParser(description="Try each part of the model on its own.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--model", choices=MODELS, default=ORIGINAL.name)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--output", type=Path, help="also write the document here")
    options = parser.parse_args()
    document: dict[str, Any] = {"bench": "smoke", **machine(), "torch": torch.__version__, "device": options.device}
    document["model"] = options.model
    loaded: list[ChatterboxModel] = []

    def load() -> dict[str, Any]:
        # Without graphs: each part is captured below, on its own.
        how = replace(options_of(options.model, options.device), graphs=False)
        loaded.append(ChatterboxModel.load(options.checkpoint, how))
        return {"dtype": str(loaded[0].dtype), "flow_dtype": str(loaded[0].flow.dtype)}

    if attempt(document, "load", load, options.output):
        with torch.inference_mode():
            for name, part in PARTS.items():
                attempt(document, name, partial(part, loaded[0]), options.output)
    report(document, show, options.output)
    return 1 if document["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
