"""A checkpoint's tensors → the networks they are for, and a refusal where they don't fit.

Upstream hard-wires the sizes of its parts; here they are read off the tensors' shapes, so that the same builder
takes the real model and a tiny one. What speaks is layers without upstream's code, what listens runs it. It knows
neither files nor voices.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tts.chatterbox.voice.encoders import SpeechTokenizer, VoiceEncoder
from tts.chatterbox.weights import skeleton
from tts.chatterbox.weights.find import S3GEN_WEIGHTS, T3_WEIGHTS, VOICE_ENCODER
from tts.chatterbox.weights.partial_package import import_in_part
from tts.chatterbox.weights.skeleton import Unfilled, count
from validation.errors import ModelUnavailable

# Packages of upstream whose `__init__` would import every model of the family, diffusers and transformers.
PACKAGES = ("chatterbox", "chatterbox.models.s3gen", "chatterbox.models.t3")

GATE = "tfmr.layers.0.mlp.gate_proj.weight"
# The tensors of T3 off which its sizes are read.
SIZED_BY = (
    "text_emb.weight",
    "speech_emb.weight",
    GATE,
    "cond_enc.perceiver.pre_attention_query",
    "cond_enc.spkr_enc.weight",
)


def check_tensors(name: str, state: Mapping[str, Tensor], wanted: Mapping[str, torch.Size]) -> None:
    """Refuse a checkpoint that lacks a tensor, or has one of the wrong shape or with values that are not finite.

    Raises: ModelUnavailable.
    """
    for key, shape in wanted.items():
        if key not in state:
            raise ModelUnavailable(f"{name} lacks the tensor {key}")
        if state[key].shape != shape:
            raise ModelUnavailable(f"{name}: {key} is {list(state[key].shape)}, not {list(shape)}")
        if state[key].is_floating_point() and not is_finite(state[key]):
            raise ModelUnavailable(f"{name} is damaged: {key} holds values that are not finite")


def is_finite(tensor: Tensor) -> bool:
    """One pass and no copy for most tensors: a value that is not finite makes the sum so, too."""
    return bool(tensor.sum(dtype=torch.float32).isfinite()) or bool(tensor.isfinite().all())


def refuse_unknown(name: str, state: Iterable[str], known: Collection[str]) -> None:
    """Refuse a checkpoint with a tensor that no network here has a use for. Raises: ModelUnavailable."""
    if extra := sorted(key for key in state if key not in known):
        more = f" and {len(extra) - 1} more" if len(extra) > 1 else ""
        raise ModelUnavailable(f"{name} is not of this model: it has the unknown tensor {extra[0]}{more}")


# --- building -------------------------------------------------------------------------------------------


def import_upstream() -> None:
    """Make `chatterbox.models…` importable without running what its packages run in their own `__init__`.

    Those import every model of the family, the voice converter and their dependencies, which took 9–16 s.
    Raises: ModelUnavailable.
    """
    try:
        for package in PACKAGES:
            import_in_part(package)
    except ModuleNotFoundError as exc:
        raise ModelUnavailable("the package chatterbox-tts is not installed (extra `chatterbox`)") from exc


class S3GenNetworks(nn.Module):
    """The four networks of `s3gen.safetensors`, under upstream's names.

    `tokenizer` and `speaker_encoder` listen to a reference; `flow` and `mel2wav` speak.
    """

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.tokenizer = SpeechTokenizer(state)
        self.speaker_encoder = speaker_encoder()
        self.flow = skeleton.flow(state)
        self.mel2wav = skeleton.vocoder(state)


def build_s3gen(state: dict[str, Tensor], device: torch.device) -> S3GenNetworks:
    """S3Gen's networks with a checkpoint's weights, float32, ready for inference.

    Raises: ModelUnavailable for a tensor that is missing, wrongly shaped or unknown. Upstream ignores unknown ones, but
    they mean another network: a meanflow decoder without its `time_embed_mixer` speaks noise.
    """
    import_upstream()
    try:
        with Unfilled():
            networks = S3GenNetworks(state)
    except (KeyError, ValueError) as exc:
        raise ModelUnavailable(f"{S3GEN_WEIGHTS} lacks the tensor {exc}") from exc
    wanted = {name: tensor.shape for name, tensor in networks.state_dict().items()}
    check_tensors(S3GEN_WEIGHTS, state, wanted)
    refuse_unknown(S3GEN_WEIGHTS, state, {*wanted, *COMPUTED})
    networks.load_state_dict({name: state[name] for name in wanted}, assign=True)
    return networks.to(device).eval().requires_grad_(False)


# Buffers that upstream computes when it builds its modules; a checkpoint may have them or not. The published one has
# `tokenizer._mel_filters` and no other: its length is that sum to the byte (test_memory.py).
COMPUTED = {"tokenizer._mel_filters", "tokenizer.window", "trim_fade"}


def speaker_encoder() -> nn.Module:
    """Upstream's x-vector network. Its sizes are the same in every model."""
    from chatterbox.models.s3gen.xvector import CAMPPlus

    encoder: nn.Module = CAMPPlus(memory_efficient=False)
    return encoder


def build_voice_encoder(state: dict[str, Tensor], device: torch.device) -> VoiceEncoder:
    """Raises: ModelUnavailable."""
    with Unfilled():
        encoder = VoiceEncoder()
    _load_exactly(VOICE_ENCODER, encoder, state)
    return encoder.to(device).eval().requires_grad_(False)


def build_tokenizer(path: Path) -> Any:
    """Upstream's text tokenizer. Raises: ModelUnavailable, naming the file."""
    import_upstream()
    from chatterbox.models.tokenizers import EnTokenizer

    try:
        return EnTokenizer(str(path))
    except Exception as exc:  # the library behind it has no other
        raise ModelUnavailable(f"{path.name} can't be read: it is damaged or incomplete") from exc


def build_conditioner(state: Mapping[str, Tensor], device: torch.device) -> Any:
    """Upstream's encoder of what conditions T3: speaker, prompt, emotion; the part of T3 that is no decoder."""
    import_upstream()
    from chatterbox.models.t3.modules.cond_enc import T3CondEnc
    from chatterbox.models.t3.modules.perceiver import Perceiver
    from chatterbox.models.t3.modules.t3_config import T3Config

    prefix = "cond_enc."
    # Copied, as these few would keep the whole of the file mapped.
    own = {name.removeprefix(prefix): t.clone() for name, t in state.items() if name.startswith(prefix)}
    queries, width = own["perceiver.pre_attention_query"].shape[1:]
    with Unfilled():
        encoder = T3CondEnc(T3Config.english_only())
        encoder.perceiver = Perceiver(queries, width, width)
        encoder.spkr_enc = nn.Linear(own["spkr_enc.weight"].shape[1], width)
        encoder.emotion_adv_fc = nn.Linear(1, width, bias=False)
    _load_exactly(f"{T3_WEIGHTS} ({prefix}…)", encoder, own)
    return encoder.to(device).eval().requires_grad_(False)


def check_t3(state: Mapping[str, Tensor]) -> None:
    """Refuse a T3 checkpoint with a tensor missing, extra or of the wrong shape. Raises: ModelUnavailable."""
    for name in SIZED_BY:
        if name not in state:
            raise ModelUnavailable(f"{T3_WEIGHTS} lacks the tensor {name}")
    wanted = dict(_t3_shapes(state, width=state["text_emb.weight"].shape[1], inner=len(state[GATE])))
    check_tensors(T3_WEIGHTS, state, wanted)
    known = set(wanted) | {"tfmr.embed_tokens.weight", "text_head.weight"}  # training's, of no use here
    refuse_unknown(T3_WEIGHTS, (name for name in state if not name.startswith("cond_enc.")), known)


def _t3_shapes(state: Mapping[str, Tensor], width: int, inner: int) -> Iterator[tuple[str, torch.Size]]:
    vocabulary = len(state["speech_emb.weight"])
    yield "text_emb.weight", state["text_emb.weight"].shape
    yield "speech_emb.weight", torch.Size((vocabulary, width))
    for name in ("text_pos_emb.emb.weight", "speech_pos_emb.emb.weight"):
        yield name, torch.Size((len(state[name]) if name in state else 0, width))
    yield "speech_head.weight", torch.Size((vocabulary, width))
    yield "tfmr.norm.weight", torch.Size((width,))
    for layer in (f"tfmr.layers.{i}" for i in range(count(state, "tfmr.layers."))):
        for name in ("input_layernorm", "post_attention_layernorm"):
            yield f"{layer}.{name}.weight", torch.Size((width,))
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            yield f"{layer}.self_attn.{name}.weight", torch.Size((width, width))
        for name in ("gate_proj", "up_proj"):
            yield f"{layer}.mlp.{name}.weight", torch.Size((inner, width))
        yield f"{layer}.mlp.down_proj.weight", torch.Size((width, inner))


def _load_exactly(name: str, module: nn.Module, state: Mapping[str, Tensor]) -> None:
    wanted = {key: tensor.shape for key, tensor in module.state_dict().items()}
    check_tensors(name, state, wanted)
    refuse_unknown(name, state, wanted)
    module.load_state_dict(dict(state), assign=True)
