"""Upstream's own classes on a seeded checkpoint: the oracle. Nothing here is used outside tests and benchmarks.

Upstream hard-wires its sizes, so the networks are built small first and handed to upstream's objects, whose
methods are then upstream's, untouched.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from bench.checkpoint.originals import OriginalS3Gen, build_original, count
from tts.chatterbox.models import BUILT_IN_VOICE, ORIGINAL, VOICE_ENCODER, ModelSpec
from tts.chatterbox.weights.upstream import import_upstream

import_upstream()

from chatterbox.models.s3gen.s3gen import S3Token2Wav  # noqa: E402
from chatterbox.models.t3 import T3  # noqa: E402
from chatterbox.models.t3.llama_configs import LLAMA_CONFIGS  # noqa: E402
from chatterbox.models.t3.modules.perceiver import Perceiver  # noqa: E402
from chatterbox.models.t3.modules.t3_config import T3Config  # noqa: E402
from chatterbox.models.tokenizers import EnTokenizer  # noqa: E402
from chatterbox.models.voice_encoder import VoiceEncoder  # noqa: E402
from chatterbox.tts import ChatterboxTTS, Conditionals  # noqa: E402


class UpstreamS3Gen(S3Token2Wav):
    """Upstream's S3Gen around networks of another size."""

    def __init__(self, parts: OriginalS3Gen) -> None:
        nn.Module.__init__(self)
        from chatterbox.models.s3gen.utils.mel import mel_spectrogram

        self.tokenizer, self.speaker_encoder = parts.tokenizer, parts.speaker_encoder
        self.flow, self.mel2wav = parts.flow, parts.mel2wav
        self.mel_extractor, self.resamplers = mel_spectrogram, {}
        self.meanflow = self.flow.decoder.estimator.meanflow
        n = 24000 // 50
        fade = torch.zeros(2 * n)
        fade[n:] = (torch.cos(torch.linspace(torch.pi, 0, n)) + 1) / 2
        self.register_buffer("trim_fade", fade, persistent=False)


class Config(T3Config):
    """Without the alignment analyzer, which 0.1.7 has for this one vocabulary and upstream's master no longer has."""

    is_multilingual = False


def upstream_t3(directory: Path) -> T3:
    """Upstream's T3 with the checkpoint's weights."""
    return upstream_llama(load_file(directory / ORIGINAL.t3))


def upstream_llama(state: dict[str, torch.Tensor]) -> T3:
    """Upstream's T3 with a Llama of these weights, strictly loaded."""
    width, layers = state["text_emb.weight"].shape[1], count(state, "tfmr.layers.")
    LLAMA_CONFIGS["seeded"] = LLAMA_CONFIGS["Llama_520M"] | {
        "hidden_size": width,
        "intermediate_size": len(state["tfmr.layers.0.mlp.gate_proj.weight"]),
        "num_hidden_layers": layers,
        "num_attention_heads": width // 64,
        "num_key_value_heads": width // 64,
    }
    config = Config(text_tokens_dict_size=len(state["text_emb.weight"]))
    config.llama_config_name = "seeded"
    t3 = T3(config)
    queries = state["cond_enc.perceiver.pre_attention_query"].shape[1]
    t3.cond_enc.perceiver = Perceiver(queries, width, width)
    t3.load_state_dict(state)
    return t3.eval()


def upstream_turbo_t3(state: dict[str, torch.Tensor]) -> T3:
    """Upstream's T3 with a GPT-2 body of these weights, as `ChatterboxTurboTTS.from_local` sets it up."""
    positions, width = state["tfmr.wpe.weight"].shape
    sizes = {"n_embd": width, "hidden_size": width, "n_head": width // 64, "n_layer": count(state, "tfmr.h.")}
    places = {"n_positions": positions, "n_ctx": positions, "vocab_size": len(state["tfmr.wte.weight"])}
    inner = {"n_inner": state["tfmr.h.0.mlp.c_fc.weight"].shape[1]}
    LLAMA_CONFIGS["seeded-gpt2"] = LLAMA_CONFIGS["GPT2_medium"] | sizes | places | inner
    config = T3Config(text_tokens_dict_size=len(state["text_emb.weight"]))
    config.llama_config_name, config.input_pos_emb = "seeded-gpt2", None
    config.speech_tokens_dict_size, config.speech_cond_prompt_len = len(state["speech_emb.weight"]), 375
    config.use_perceiver_resampler = config.emotion_adv = False
    t3 = T3(config)
    t3.load_state_dict(state)
    return t3.eval()


def upstream_engine(directory: Path, spec: ModelSpec = ORIGINAL) -> Any:
    """Upstream's whole engine on a model's checkpoint of any size."""
    encoder = VoiceEncoder()
    encoder.load_state_dict(load_file(directory / VOICE_ENCODER))
    s3gen = UpstreamS3Gen(build_original(load_file(directory / spec.s3gen)))
    t3 = (upstream_turbo_t3 if spec.is_gpt2 else upstream_llama)(load_file(directory / spec.t3))
    engine, tokenizer = _reading(directory, spec)
    conds = Conditionals.load(directory / BUILT_IN_VOICE)
    return engine(t3, s3gen, encoder.eval(), tokenizer, "cpu", conds)


def _reading(directory: Path, spec: ModelSpec) -> tuple[Any, Any]:
    """The class of upstream's engine, and what it reads with."""
    if spec.reader == "english":
        return ChatterboxTTS, EnTokenizer(str(directory / spec.tokenizer[0]))
    if spec.reader == "gpt2":
        sys.modules.setdefault("pyloudnorm", ModuleType("pyloudnorm"))  # levels references, and is not installed
        from chatterbox.tts_turbo import ChatterboxTurboTTS
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(directory)
        tokenizer.pad_token = tokenizer.eos_token
        return ChatterboxTurboTTS, tokenizer
    from chatterbox.models.tokenizers import MTLTokenizer
    from chatterbox.mtl_tts import ChatterboxMultilingualTTS
    from tokenizers import Tokenizer

    reader = object.__new__(MTLTokenizer)  # its constructor downloads what only Chinese needs
    reader.tokenizer = Tokenizer.from_file(str(directory / spec.tokenizer[0]))
    return ChatterboxMultilingualTTS, reader
