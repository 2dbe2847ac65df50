"""A checkpoint's tensors → upstream's networks, and a refusal where they don't fit.

Upstream hard-wires the sizes of its parts; here they are read off the tensors' shapes, so that the same builder
takes the real model and a tiny one. It knows neither files nor voices.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import sys
import types
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from tts.chatterbox.weights import S3GEN_WEIGHTS, T3_WEIGHTS, VOICE_ENCODER
from validation.errors import ModelUnavailable

log = logging.getLogger(__name__)

UPSTREAM_MODULES = (
    "s3gen.decoder",
    "s3gen.f0_predictor",
    "s3gen.flow",
    "s3gen.flow_matching",
    "s3gen.hifigan",
    "s3gen.utils.mel",
    "s3gen.xvector",
    "s3tokenizer",
    "t3.modules.cond_enc",
    "tokenizers",
    "voice_encoder",
)

GATE = "tfmr.layers.0.mlp.gate_proj.weight"
# The tensors of T3 off which its sizes are read.
SIZED_BY = (
    "text_emb.weight",
    "speech_emb.weight",
    GATE,
    "cond_enc.perceiver.pre_attention_query",
    "cond_enc.spkr_enc.weight",
)
HEAD_DIM = 64  # of T3, the estimator and the speech tokenizer alike; no shape tells it


def check_tensors(name: str, state: Mapping[str, Tensor], wanted: Mapping[str, torch.Size]) -> None:
    """Refuse a checkpoint that lacks a tensor or has one of the wrong shape. Raises: ModelUnavailable."""
    for key, shape in wanted.items():
        if key not in state:
            raise ModelUnavailable(f"{name} lacks the tensor {key}")
        if state[key].shape != shape:
            raise ModelUnavailable(f"{name}: {key} is {list(state[key].shape)}, not {list(shape)}")


# --- building -------------------------------------------------------------------------------------------


def import_upstream() -> None:
    """Make `chatterbox.models…` importable without running the package's own `__init__`.

    That file imports every model of the family, the voice converter and their dependencies, which took 9–16 s;
    the modules used here take a fraction of that.
    """
    if "chatterbox" in sys.modules:
        return
    spec = importlib.util.find_spec("chatterbox")
    if spec is None or spec.submodule_search_locations is None:
        raise ModelUnavailable("the package chatterbox-tts is not installed (extra `chatterbox`)")
    package = types.ModuleType("chatterbox")
    package.__path__ = list(spec.submodule_search_locations)
    sys.modules["chatterbox"] = package
    for name in UPSTREAM_MODULES:  # now, because under `torch.device("meta")` their constants would be empty
        importlib.import_module(f"chatterbox.models.{name}")


class S3GenNetworks(nn.Module):
    """The four networks of `s3gen.safetensors`, under upstream's names.

    `tokenizer` and `speaker_encoder` listen to a reference; `flow` and `mel2wav` speak.
    """

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.tokenizer = _speech_tokenizer(state)
        self.speaker_encoder = _speaker_encoder()
        self.flow = _flow(state)
        self.mel2wav = _vocoder(state)


def build_s3gen(state: dict[str, Tensor], device: torch.device) -> S3GenNetworks:
    """S3Gen's networks with a checkpoint's weights, float32, ready for inference.

    Raises: ModelUnavailable for a missing or wrongly shaped tensor; an extra one is logged, as upstream
    tolerates it.
    """
    import_upstream()
    try:
        with torch.device("meta"):  # no time is spent on initial values
            networks = S3GenNetworks(state)
    except (KeyError, ValueError) as exc:
        raise ModelUnavailable(f"{S3GEN_WEIGHTS} lacks the tensor {exc}") from exc
    wanted = {name: t.shape for name, t in networks.state_dict().items() if name not in COMPUTED}
    check_tensors(S3GEN_WEIGHTS, state, wanted)
    if extra := set(state) - set(wanted) - COMPUTED:
        log.warning("%s: tensors nobody uses: %s", S3GEN_WEIGHTS, ", ".join(sorted(extra)[:5]))
    networks.load_state_dict({k: v for k, v in state.items() if k in wanted}, strict=False, assign=True)
    _recompute_constants(networks)
    return networks.to(device).eval().requires_grad_(False)


# Buffers that upstream computes when it builds its modules; a checkpoint may have them or not.
COMPUTED = {"tokenizer._mel_filters", "tokenizer.window", "trim_fade"}


def build_voice_encoder(state: dict[str, Tensor], device: torch.device) -> Any:
    """Upstream's voice encoder. Raises: ModelUnavailable."""
    import_upstream()
    from chatterbox.models.voice_encoder import VoiceEncoder

    encoder = VoiceEncoder()
    _load_exactly(VOICE_ENCODER, encoder, state)
    return encoder.to(device).eval().requires_grad_(False)


def build_tokenizer(path: Path) -> Any:
    """Upstream's text tokenizer. Raises: ModelUnavailable, naming the file."""
    import_upstream()
    from chatterbox.models.tokenizers import EnTokenizer

    try:
        return EnTokenizer(str(path))
    except Exception as exc:
        raise ModelUnavailable(f"{path.name} can't be read: it is damaged or incomplete") from exc


def build_conditioner(state: Mapping[str, Tensor], device: torch.device) -> Any:
    """Upstream's encoder of what conditions T3: speaker, prompt, emotion; the part of T3 that is no decoder."""
    import_upstream()
    from chatterbox.models.t3.modules.cond_enc import T3CondEnc
    from chatterbox.models.t3.modules.perceiver import Perceiver
    from chatterbox.models.t3.modules.t3_config import T3Config

    prefix = "cond_enc."
    own = {name.removeprefix(prefix): t for name, t in state.items() if name.startswith(prefix)}
    queries, width = own["perceiver.pre_attention_query"].shape[1:]
    with torch.device("meta"):
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
    if extra := sorted(name for name in state if name not in known and not name.startswith("cond_enc.")):
        raise ModelUnavailable(f"{T3_WEIGHTS} has a tensor nobody knows: {extra[0]}")


def _t3_shapes(state: Mapping[str, Tensor], width: int, inner: int) -> Iterator[tuple[str, torch.Size]]:
    vocabulary = len(state["speech_emb.weight"])
    yield "text_emb.weight", state["text_emb.weight"].shape
    yield "speech_emb.weight", torch.Size((vocabulary, width))
    for name in ("text_pos_emb.emb.weight", "speech_pos_emb.emb.weight"):
        yield name, torch.Size((len(state[name]) if name in state else 0, width))
    yield "speech_head.weight", torch.Size((vocabulary, width))
    yield "tfmr.norm.weight", torch.Size((width,))
    for layer in (f"tfmr.layers.{i}" for i in range(_count(state, "tfmr.layers."))):
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
    if extra := sorted(set(state) - set(wanted)):
        raise ModelUnavailable(f"{name} has a tensor nobody knows: {extra[0]}")
    module.load_state_dict(dict(state), assign=True)


def _count(names: Iterable[str], prefix: str) -> int:
    return 1 + max((int(name[len(prefix) :].split(".")[0]) for name in names if name.startswith(prefix)), default=-1)


def _speech_tokenizer(state: Mapping[str, Tensor]) -> nn.Module:
    from chatterbox.models.s3tokenizer import S3Tokenizer
    from s3tokenizer.model_v2 import AudioEncoderV2, FSQVectorQuantization

    tokenizer = cast(nn.Module, S3Tokenizer("speech_tokenizer_v2_25hz"))  # it ignores the sizes it is given, so:
    width, bands, _ = state["tokenizer.encoder.conv1.weight"].shape
    layers = _count(state, "tokenizer.encoder.blocks.")
    tokenizer.encoder = AudioEncoderV2(bands, width, width // HEAD_DIM, layers, stride=2, use_sdpa=False)
    tokenizer.quantizer = FSQVectorQuantization(width, 3**8)
    return tokenizer


def _speaker_encoder() -> nn.Module:
    from chatterbox.models.s3gen.xvector import CAMPPlus

    encoder: nn.Module = CAMPPlus(memory_efficient=False)
    return encoder


def _flow(state: Mapping[str, Tensor]) -> nn.Module:
    from chatterbox.models.s3gen.configs import CFM_PARAMS
    from chatterbox.models.s3gen.flow import CausalMaskedDiffWithXvec
    from chatterbox.models.s3gen.flow_matching import CausalConditionalCFM

    decoder = CausalConditionalCFM(spk_emb_dim=80, cfm_params=CFM_PARAMS, estimator=_estimator(state))
    width = state["flow.input_embedding.weight"].shape[1]
    flow: nn.Module = CausalMaskedDiffWithXvec(input_size=width, encoder=_flow_encoder(state), decoder=decoder)
    return flow


def _flow_encoder(state: Mapping[str, Tensor]) -> nn.Module:
    from chatterbox.models.s3gen.transformer.upsample_encoder import (
        PreLookaheadLayer,
        Upsample1D,
        UpsampleConformerEncoder,
    )

    width = state["flow.input_embedding.weight"].shape[1]
    encoder: nn.Module = UpsampleConformerEncoder(
        input_size=width,
        output_size=width,
        attention_heads=state["flow.encoder.encoders.0.self_attn.pos_bias_u"].shape[0],
        linear_units=state["flow.encoder.encoders.0.feed_forward.w_1.weight"].shape[0],
        num_blocks=_count(state, "flow.encoder.encoders."),
        input_layer="linear",
        pos_enc_layer_type="rel_pos_espnet",
        selfattention_layer_type="rel_selfattn",
        normalize_before=True,
        use_cnn_module=False,
        macaron_style=False,
    )
    encoder.pre_lookahead_layer = PreLookaheadLayer(channels=width, pre_lookahead_len=3)  # both hard-wired to 512
    encoder.up_layer = Upsample1D(channels=width, out_channels=width, stride=2)
    return encoder


def _estimator(state: Mapping[str, Tensor]) -> nn.Module:
    from chatterbox.models.s3gen.decoder import ConditionalDecoder

    prefix = "flow.decoder.estimator."
    queries, width = state[f"{prefix}down_blocks.0.1.0.attn1.to_q.weight"].shape
    estimator: nn.Module = ConditionalDecoder(
        channels=[width],
        attention_head_dim=HEAD_DIM,
        n_blocks=_count(state, f"{prefix}down_blocks.0.1."),
        num_mid_blocks=_count(state, f"{prefix}mid_blocks."),
        num_heads=queries // HEAD_DIM,
    )
    return estimator


def _vocoder(state: Mapping[str, Tensor]) -> nn.Module:
    from chatterbox.models.s3gen.f0_predictor import ConvRNNF0Predictor
    from chatterbox.models.s3gen.hifigan import HiFTGenerator

    weight = "parametrizations.weight.original1"
    generator: nn.Module = HiFTGenerator(
        sampling_rate=24_000,
        base_channels=state[f"mel2wav.conv_pre.{weight}"].shape[0],
        upsample_rates=[8, 5, 3],
        upsample_kernel_sizes=[16, 11, 7],
        source_resblock_kernel_sizes=[7, 7, 11],
        source_resblock_dilation_sizes=[[1, 3, 5]] * 3,
        f0_predictor=ConvRNNF0Predictor(cond_channels=state[f"mel2wav.f0_predictor.condnet.0.{weight}"].shape[0]),
    )
    return generator


def _recompute_constants(networks: Any) -> None:
    """Give values to the tensors that upstream computes in its constructors and that are no weights."""
    from chatterbox.models.s3gen.transformer.embedding import EspnetRelPositionalEncoding
    from chatterbox.models.s3tokenizer import S3Tokenizer
    from s3tokenizer.model_v2 import precompute_freqs_cis

    with torch.device("meta"):
        filters = S3Tokenizer("speech_tokenizer_v2_25hz")._mel_filters  # made from NumPy, so it has values
    networks.tokenizer._mel_filters = filters
    networks.tokenizer.window = torch.hann_window(networks.tokenizer.n_fft)
    networks.tokenizer.encoder.freqs_cis = precompute_freqs_cis(HEAD_DIM, 1024 * 2)
    for module in networks.modules():
        if isinstance(module, EspnetRelPositionalEncoding):
            module.pe = None
            module.extend_pe(torch.tensor(0.0).expand(1, 5000))
