"""A contender of `bench.race`: this project's engine, without service and encoder."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch

from bench.contenders.turns import Run, serve
from bench.speech import generate, options_of, usual
from tts.chatterbox.model import ChatterboxModel
from tts.chatterbox.models import MODELS
from validation.fields import DecodeMode


def prepare(options: argparse.Namespace) -> tuple[Callable[[], Run], dict[str, Any]]:
    mode: DecodeMode = options.mode
    how = replace(options_of(options.model, options.device), dtype=options.dtype, flow_dtype=options.flow_dtype)
    model = ChatterboxModel.load(options.checkpoint, replace(how, graphs=not options.plain))
    params = replace(usual(model.spec), seed=1, decode_mode=mode)
    seeds = count(1)

    def once() -> Run:
        run, samples = generate(model, model.built_in, replace(params, seed=next(seeds)))
        if options.save:
            np.save(options.save, samples)
        return run

    facts = {
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if model.device.type == "cuda" else "cpu",
        "dtype": str(model.dtype),
        "flow_dtype": str(model.flow.dtype),
    }
    return once, facts


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--model", choices=MODELS, default="original")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--flow-dtype", default="auto")
    parser.add_argument("--plain", action="store_true", help="without CUDA graphs")
    parser.add_argument("--mode", choices=get_args(DecodeMode), default="window")
    parser.add_argument("--save", type=Path, help="write each run's samples to this .npy")
    serve(partial(prepare, parser.parse_args()))


if __name__ == "__main__":
    main()
