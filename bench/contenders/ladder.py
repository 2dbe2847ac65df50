"""A contender of `bench.ladder`: upstream's own `generate`, with some of its parts replaced by ours.

Each of our parts replaces one method of upstream's; the rest of upstream is unchanged.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from chatterbox.tts import ChatterboxTTS
from torch import Tensor

from bench.contenders.turns import TEXT, Run, serve
from tts.chatterbox.model import ChatterboxModel
from tts.chatterbox.options import LoadOptions
from tts.chatterbox.rates import FRAMES_PER_TOKEN, MEL_BANDS
from tts.chatterbox.t3.sampling import TokenSampling
from tts.chatterbox.vocoder.stream import HiftStream

SEED = 1
EXAGGERATION = 0.5  # upstream's default, as all of its other defaults


def replace_t3(tts: ChatterboxTTS, model: ChatterboxModel) -> None:
    def inference(*, text_tokens: Tensor, **asked: Any) -> Tensor:
        knobs = TokenSampling(**{name: asked[name] for name in TokenSampling.__dataclass_fields__ if name in asked})
        prefix = partial(model.encoders.prefix, model.built_in, EXAGGERATION)
        tokens: list[int] = []
        with model.decoder.generate(prefix, text_tokens[0, 1:-1].cpu(), knobs, SEED) as generation:
            while not generation.finished:
                tokens += generation.take(25)
        return torch.tensor([tokens], device=model.device)

    tts.t3.inference = inference
    tts.t3.tfmr = None  # two gigabytes that are no longer used


def replace_flow(tts: ChatterboxTTS, model: ChatterboxModel) -> None:
    def inference(*, token: Tensor, **_: Any) -> tuple[Tensor, None]:
        prompt = model.built_in.flow
        frames = prompt.mel.shape[1] + token.shape[1] * FRAMES_PER_TOKEN
        noise = torch.randn(1, MEL_BANDS, frames, device=model.device)
        return model.flow.solve(prompt, token, prompt.mel[:, :0], noise), None

    tts.s3gen.flow.inference = inference


def replace_vocoder(tts: ChatterboxTTS, model: ChatterboxModel) -> None:
    def inference(*, speech_feat: Tensor, **_: Any) -> tuple[Tensor, None]:
        stream = HiftStream(model.hift, SEED)
        return torch.cat((stream.push(speech_feat), stream.flush()))[None], None

    tts.s3gen.mel2wav.inference = inference


PARTS = {"t3": replace_t3, "flow": replace_flow, "vocoder": replace_vocoder}


def prepare(options: argparse.Namespace) -> tuple[Callable[[], Run], dict[str, Any]]:
    model = ChatterboxModel.load(
        options.checkpoint, LoadOptions(options.device, options.dtype, options.flow_dtype, watermark=False)
    )
    tts = ChatterboxTTS.from_local(options.checkpoint, model.device.type)
    for part in options.ours:
        PARTS[part](tts, model)

    def run() -> Run:
        started = time.perf_counter()
        samples = tts.generate(TEXT).shape[-1]
        total_s = time.perf_counter() - started
        return Run([(total_s, samples / 24_000)], total_s, samples / 24_000, round(samples / 960))

    return run, {"torch": torch.__version__, "device": str(model.device)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--flow-dtype", default="float32")
    parser.add_argument("--ours", nargs="*", choices=sorted(PARTS), default=[])
    serve(partial(prepare, parser.parse_args()))


if __name__ == "__main__":
    main()
