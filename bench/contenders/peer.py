"""A contender of `bench.race`: chatterbox-streaming 0.1.2, in an environment of its own.

It runs the peer's own `generate_stream` on the same checkpoint. `--tuned` removes what costs it most: the attention
hook, whose analyzer it never uses, and the eager attention that the hook forces.
"""

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
import torch
import transformers
from chatterbox.models.s3gen import S3Gen
from chatterbox.models.t3 import T3
from chatterbox.models.t3.inference.t3_hf_backend import T3HuggingfaceBackend
from chatterbox.models.tokenizers import EnTokenizer
from chatterbox.models.voice_encoder import VoiceEncoder
from chatterbox.tts import ChatterboxTTS, Conditionals
from safetensors.torch import load_file
from turns import TEXT, Run, serve


class Tuned(T3HuggingfaceBackend):
    def forward(self, *args: Any, **options: Any) -> Any:
        return super().forward(*args, **options | {"output_attentions": False})


def load(directory: Path, device: str) -> ChatterboxTTS:
    t3, s3gen, encoder = T3(), S3Gen(), VoiceEncoder()
    t3.load_state_dict(load_file(directory / "t3_cfg.safetensors"))
    missing = s3gen.load_state_dict(load_file(directory / "s3gen.safetensors"), strict=False)
    unexpected = [n for n in missing.missing_keys if n not in ("tokenizer._mel_filters", "tokenizer.window")]
    assert not unexpected, unexpected
    assert not missing.unexpected_keys, missing.unexpected_keys
    encoder.load_state_dict(load_file(directory / "ve.safetensors"))
    for network in (t3, s3gen, encoder):
        network.to(device).eval()
    conds = Conditionals.load(directory / "conds.pt", map_location=device).to(device)
    return ChatterboxTTS(t3, s3gen, encoder, EnTokenizer(str(directory / "tokenizer.json")), device, conds)


def tune(tts: ChatterboxTTS) -> None:
    t3 = tts.t3
    t3.tfmr.config._attn_implementation = "sdpa"
    t3.patched_model = Tuned(config=t3.cfg, llama=t3.tfmr, speech_enc=t3.speech_emb, speech_head=t3.speech_head)
    t3.compiled = True


def prepare(options: argparse.Namespace) -> tuple[Callable[[], Run], dict[str, Any]]:
    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    tts = load(options.checkpoint, device)
    if options.tuned:
        tune(tts)

    def run() -> Run:
        started, arrivals, pieces = time.perf_counter(), [], []
        for audio, _ in tts.generate_stream(TEXT, chunk_size=25, context_window=50, print_metrics=False):
            arrivals.append((time.perf_counter() - started, audio.shape[-1] / 24_000))
            pieces.append(audio[0].numpy())
        total_s, samples = time.perf_counter() - started, np.concatenate(pieces)
        if options.save:
            np.save(options.save, samples)
        return Run(arrivals, total_s, len(samples) / 24_000, round(len(samples) / 960))

    name = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    return run, versions | {"device": name, "tuned": options.tuned}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--tuned", action="store_true")
    parser.add_argument("--save", type=Path, help="write each run's samples to this .npy")
    serve(partial(prepare, parser.parse_args()))


if __name__ == "__main__":
    main()
