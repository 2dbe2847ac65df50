"""A contender of `bench.race`: upstream's own `generate`, which does not stream."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import transformers
from chatterbox.models.s3gen import S3Gen
from chatterbox.models.t3 import T3
from chatterbox.models.t3.llama_configs import LLAMA_CONFIGS
from chatterbox.models.t3.modules.t3_config import T3Config
from chatterbox.models.tokenizers import MTLTokenizer
from chatterbox.models.voice_encoder import VoiceEncoder
from chatterbox.tts import ChatterboxTTS
from safetensors.torch import load_file

from bench.contenders.turns import TEXT, Run, serve
from tts.chatterbox.models import MODELS, VOICE_ENCODER, ModelSpec

NANO = {"hidden_size": 768, "n_embd": 768, "n_head": 12, "n_layer": 12}  # upstream's, after 0.1.7


class Multilingual(T3Config):  # type: ignore[misc]
    """Of upstream's current code, which no longer watches the attention; the flag would switch that on."""

    is_multilingual = False


def load(spec: ModelSpec, checkpoint: Path, device: str) -> Callable[[], torch.Tensor]:
    """What speaks TEXT."""
    speak = partial(engine(spec, checkpoint, device).generate, TEXT)
    return partial(speak, "en", repetition_penalty=1.2) if spec.reader == "multilingual" else speak


def engine(spec: ModelSpec, checkpoint: Path, device: str) -> Any:
    if spec.reader == "english":
        return ChatterboxTTS.from_local(checkpoint, device)
    return (_turbo if spec.reader == "gpt2" else _multilingual)(spec, checkpoint, device)


def _turbo(spec: ModelSpec, checkpoint: Path, device: str) -> Any:
    sys.modules.setdefault("pyloudnorm", ModuleType("pyloudnorm"))  # levels references, and is not installed
    from chatterbox.tts_turbo import ChatterboxTurboTTS, Conditionals

    LLAMA_CONFIGS["nano"] = LLAMA_CONFIGS["GPT2_medium"] | NANO
    config = T3Config(text_tokens_dict_size=50_276)
    config.llama_config_name = "nano" if spec.name == "nano" else "GPT2_medium"
    config.speech_tokens_dict_size, config.speech_cond_prompt_len = 6563, 375
    config.input_pos_emb, config.use_perceiver_resampler, config.emotion_adv = None, False, False
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    parts = _networks(config, S3Gen(meanflow=True), spec, checkpoint, device)
    return ChatterboxTurboTTS(*parts, tokenizer, device, Conditionals.load(checkpoint / "conds.pt").to(device))


def _multilingual(spec: ModelSpec, checkpoint: Path, device: str) -> Any:
    from chatterbox.mtl_tts import ChatterboxMultilingualTTS, Conditionals
    from tokenizers import Tokenizer

    tokenizer = object.__new__(MTLTokenizer)  # its constructor downloads what only Chinese needs
    tokenizer.tokenizer = Tokenizer.from_file(str(checkpoint / spec.tokenizer[0]))
    parts = _networks(Multilingual.multilingual(), S3Gen(), spec, checkpoint, device)
    return ChatterboxMultilingualTTS(*parts, tokenizer, device, Conditionals.load(checkpoint / "conds.pt").to(device))


def _networks(config: T3Config, s3gen: S3Gen, spec: ModelSpec, checkpoint: Path, device: str) -> tuple[Any, ...]:
    t3, encoder = T3(config), VoiceEncoder()
    for network, file in ((t3, spec.t3), (s3gen, spec.s3gen), (encoder, VOICE_ENCODER)):
        network.load_state_dict(load_file(checkpoint / file), strict=network is not s3gen)  # its buffers may be absent
        network.to(device).eval()
    return t3, s3gen, encoder


def prepare(options: argparse.Namespace) -> tuple[Callable[[], Run], dict[str, Any]]:
    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    spec = MODELS[options.model]
    generate = load(spec, options.checkpoint, device)

    def run() -> Run:
        started = time.perf_counter()
        samples = generate().shape[-1]
        total_s = time.perf_counter() - started
        tokens = round(samples / 960) - len(spec.tail)
        return Run([(total_s, samples / 24_000)], total_s, samples / 24_000, tokens)

    name = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    return run, {"torch": torch.__version__, "transformers": transformers.__version__, "device": name}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--model", choices=MODELS, default="original")
    parser.add_argument("--device", default="auto")
    serve(partial(prepare, parser.parse_args()))


if __name__ == "__main__":
    main()
