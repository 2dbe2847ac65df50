"""A checkpoint of random, seeded weights in upstream's file names and formats.

    python -m bench.checkpoint.seeded DIRECTORY --size small|full --model original|turbo|…

The real loader loads it and the real code runs on it, so tests need no weights and benchmarks need no network.
Its speech is noise. A few weights are planted, as purely random ones would be a poor stand-in: see `_plant_ending` and
`_plant_pitch`.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from bench.checkpoint import gpt2
from bench.checkpoint.originals import OriginalS3Gen
from bench.checkpoint.tokenizers import ENGLISH_IDS, write_tokenizer
from tts.chatterbox.models import BUILT_IN_VOICE, MODELS, ORIGINAL, VOICE_ENCODER, ModelSpec
from tts.chatterbox.rates import FRAMES_PER_TOKEN, SPEECH_CODES, TOKENS_PER_S
from tts.chatterbox.s3gen.network import ESTIMATOR
from tts.chatterbox.t3.model import STOP_SPEECH
from tts.chatterbox.weights.family import MIXER_WEIGHT
from tts.chatterbox.weights.tensors import UNUSED
from tts.chatterbox.weights.upstream import import_upstream

SPEECH_VOCABULARY, SPEAKER_SIZE = 8194, 256
TEXT_POSITIONS, SPEECH_POSITIONS = 2050, 4100
SIDE, BIAS = 0, 1  # residual channels that only the planted weights use


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large each network is. `full` is upstream's own."""

    t3_width: int
    t3_inner: int
    t3_layers: int
    perceiver_queries: int
    flow_width: int
    flow_heads: int
    flow_inner: int
    flow_layers: int
    estimator_width: int
    estimator_heads: int
    estimator_blocks: int
    estimator_middles: int
    vocoder_width: int
    pitch_width: int
    tokenizer_width: int
    tokenizer_layers: int
    prompt_tokens: int  # of the built-in voice's recording


SIZES = {
    "small": Sizes(128, 256, 2, 8, 64, 2, 128, 1, 32, 1, 1, 2, 64, 32, 64, 1, 2 * TOKENS_PER_S),
    "full": Sizes(1024, 4096, 30, 32, 512, 8, 2048, 6, 256, 8, 4, 12, 512, 512, 1280, 6, 4 * TOKENS_PER_S),
}


def sizes_of(size: str, spec: ModelSpec) -> Sizes:
    """Of a model's networks: `full` is that model's own."""
    return replace(SIZES[size], **gpt2.FULL.get(spec.name, {})) if size == "full" else SIZES[size]


def write_checkpoint(
    directory: Path,
    size: str = "small",
    seed: int = 0,
    speech_tokens: int = 60,
    voice_encoder: Path | None = None,
    model: str = ORIGINAL.name,
) -> Path:
    """Write all of a model's files. Its token model stops after `speech_tokens` tokens; `voice_encoder`: Resemblyzer's
    weights, in place of random ones, so that the encoder tells speakers apart. Returns the directory."""
    directory.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    spec = MODELS[model]
    sizes, text_ids = sizes_of(size, spec), write_tokenizer(directory, spec)
    if spec.is_gpt2:
        t3 = gpt2.turbo_t3(sizes, speech_tokens, gpt2.TEXT_IDS if size == "full" else text_ids)
    else:
        t3 = _t3(sizes, speech_tokens, text_ids)
    save_file(t3, directory / spec.t3)
    save_file(s3gen(sizes, meanflow=spec.is_gpt2), directory / spec.s3gen)
    save_file(resemblyzer(voice_encoder) if voice_encoder else _voice_encoder(), directory / VOICE_ENCODER)
    torch.save(_conditionals(sizes.prompt_tokens, spec), directory / BUILT_IN_VOICE)
    return directory


def write_voice(directory: Path, like: Path, prompt_s: int, model: str = ORIGINAL.name) -> Path:
    """The checkpoint `like`, by links, with a built-in voice whose recording lasts `prompt_s` seconds."""
    directory.mkdir(parents=True, exist_ok=True)
    for name in MODELS[model].files:
        (directory / name).unlink(missing_ok=True)
        if name != BUILT_IN_VOICE:
            (directory / name).symlink_to((like / name).resolve())
    torch.manual_seed(prompt_s)
    torch.save(_conditionals(prompt_s * TOKENS_PER_S, MODELS[model]), directory / BUILT_IN_VOICE)
    return directory


# --- T3 ---------------------------------------------------------------------------------------------------


def _t3(sizes: Sizes, speech_tokens: int, text_ids: int = ENGLISH_IDS) -> dict[str, Tensor]:
    d, e = sizes.t3_width, sizes.t3_inner
    state = {
        "text_emb.weight": torch.randn(text_ids, d),
        "speech_emb.weight": torch.randn(SPEECH_VOCABULARY, d),
        "text_pos_emb.emb.weight": torch.randn(TEXT_POSITIONS, d) * 0.1,
        "speech_pos_emb.emb.weight": torch.randn(SPEECH_POSITIONS, d) * 0.1,
        "text_head.weight": torch.randn(text_ids, d) * d**-0.5,
        # Flat logits would tie: 20 times upstream's initial scale of 0.02.
        "speech_head.weight": torch.randn(SPEECH_VOCABULARY, d) * 0.4 * (32 / d) ** 0.5,
        "tfmr.embed_tokens.weight": torch.randn(8, d),
        "tfmr.norm.weight": torch.ones(d),
    }
    for layer in range(sizes.t3_layers):
        state |= _t3_layer(f"tfmr.layers.{layer}", d, e, sizes.t3_layers)
    import_upstream()
    state |= {f"cond_enc.{name}": tensor for name, tensor in _conditioner(sizes).items()}
    _plant_ending(state, speech_tokens)
    return state


def _t3_layer(name: str, d: int, e: int, layers: int) -> dict[str, Tensor]:
    depth = (2 * layers) ** -0.5  # so that the residual does not grow with depth
    attention = {f"{name}.self_attn.{p}_proj.weight": torch.randn(d, d) * d**-0.5 for p in "qkv"}
    return attention | {
        f"{name}.self_attn.o_proj.weight": torch.randn(d, d) * d**-0.5 * depth,
        f"{name}.mlp.gate_proj.weight": torch.randn(e, d) * d**-0.5,
        f"{name}.mlp.up_proj.weight": torch.randn(e, d) * d**-0.5,
        f"{name}.mlp.down_proj.weight": torch.randn(d, e) * e**-0.5 * depth,
        f"{name}.input_layernorm.weight": torch.ones(d),
        f"{name}.post_attention_layernorm.weight": torch.ones(d),
    }


def _conditioner(sizes: Sizes) -> dict[str, Tensor]:
    from chatterbox.models.t3.modules.perceiver import Perceiver

    d, queries = sizes.t3_width, sizes.perceiver_queries
    perceiver = Perceiver(queries, d, d)
    return {
        "spkr_enc.weight": torch.randn(d, SPEAKER_SIZE),
        "spkr_enc.bias": torch.randn(d) * 0.1,
        "emotion_adv_fc.weight": torch.randn(d, 1),
        **{f"perceiver.{name}": tensor.detach().clone() for name, tensor in perceiver.state_dict().items()},
    }


def _plant_ending(state: dict[str, Tensor], speech_tokens: int) -> None:
    """Make T3 stop after exactly so many tokens, and never draw an id that is neither sound nor stop.

    Random logits would stop once in 8,194 tokens. The head has no bias, so two residual channels carry one:
    nothing writes to them but the speech positions, and the head's rows read them. SIDE tells on which
    side of the end a position is, and favours the stop token there; BIAS is constant and forbids the ids above it.
    """
    for name, tensor in state.items():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            tensor[[SIDE, BIAS]] = 0.0
        elif name in ("speech_emb.weight", "text_emb.weight", "text_pos_emb.emb.weight"):
            tensor[:, [SIDE, BIAS]] = 0.0
    positions, head = state["speech_pos_emb.emb.weight"], state["speech_head.weight"]
    steps = torch.arange(SPEECH_POSITIONS)
    positions[:, SIDE] = torch.where(steps < speech_tokens, -2.0, 2.0)
    positions[:, BIAS] = 2.0
    head[:, [SIDE, BIAS]] = 0.0
    head[STOP_SPEECH, SIDE] = 40.0
    head[SPEECH_CODES:, BIAS] = -40.0
    head[STOP_SPEECH, BIAS] = 0.0


# --- S3Gen and the rest -----------------------------------------------------------------------------------


def s3gen(sizes: Sizes, meanflow: bool = False) -> dict[str, Tensor]:
    """meanflow: Turbo's and Nano's, whose flow was distilled."""
    drawn = OriginalS3Gen(_shapes(sizes))  # upstream's constructors draw the weights
    state = {name: tensor.detach().clone() for name, tensor in drawn.state_dict().items()}
    for name, tensor in state.items():
        if name.endswith("running_mean"):
            tensor.normal_(0.0, 0.1)
    _plant_pitch(state)
    if meanflow:
        plant_mixer(state)
    return {name: tensor for name, tensor in state.items() if name not in UNUSED}


def _shapes(sizes: Sizes) -> dict[str, Tensor]:
    """The few tensors off which the builder reads the sizes."""
    estimator, weight = "flow.decoder.estimator", "parametrizations.weight.original1"
    wanted = {
        "tokenizer.encoder.conv1.weight": (sizes.tokenizer_width, 128, 3),
        f"tokenizer.encoder.blocks.{sizes.tokenizer_layers - 1}.x": (1,),
        "flow.input_embedding.weight": (SPEECH_CODES, sizes.flow_width),
        "flow.encoder.encoders.0.self_attn.pos_bias_u": (sizes.flow_heads, 1),
        "flow.encoder.encoders.0.feed_forward.w_1.weight": (sizes.flow_inner, 1),
        f"flow.encoder.encoders.{sizes.flow_layers - 1}.x": (1,),
        f"{estimator}.down_blocks.0.1.0.attn1.to_q.weight": (
            sizes.estimator_heads * 64,
            sizes.estimator_width,
        ),
        f"{estimator}.down_blocks.0.1.{sizes.estimator_blocks - 1}.x": (1,),
        f"{estimator}.mid_blocks.{sizes.estimator_middles - 1}.x": (1,),
        f"mel2wav.conv_pre.{weight}": (sizes.vocoder_width, 1),
        f"mel2wav.f0_predictor.condnet.0.{weight}": (sizes.pitch_width, 1),
    }
    return {name: torch.empty(shape, device="meta") for name, shape in wanted.items()}


def plant_mixer(state: dict[str, Tensor]) -> None:
    """Make the flow a distilled one, which mixes start and end of a step. Upstream's initial mixer lets the end out."""
    width = len(state[f"flow.{ESTIMATOR}time_mlp.linear_2.weight"])
    state[MIXER_WEIGHT] = torch.randn(width, 2 * width) * (2 * width) ** -0.5


def _plant_pitch(state: dict[str, Tensor]) -> None:
    """Scale the pitch classifier, or every frame is unvoiced and no harmonic is ever heard."""
    state["mel2wav.f0_predictor.classifier.weight"] *= 2000.0


def _voice_encoder() -> dict[str, Tensor]:
    from chatterbox.models.voice_encoder import VoiceEncoder

    return {name: tensor.detach().clone() for name, tensor in VoiceEncoder().state_dict().items()}


def resemblyzer(weights: Path) -> dict[str, Tensor]:
    """The weights of Resemblyzer's `pretrained.pt`, by the names of Chatterbox's voice encoder."""
    state = torch.load(weights, map_location="cpu", weights_only=True)["model_state"]
    return {name.replace("linear.", "proj."): tensor for name, tensor in state.items()}


def _conditionals(prompt_tokens: int, spec: ModelSpec = ORIGINAL) -> dict[str, object]:
    """The built-in voice of a model, as upstream's `Conditionals.save` lays it out."""
    speaker = torch.rand(1, SPEAKER_SIZE)
    return {
        "t3": {
            "speaker_emb": speaker / speaker.norm(),
            "clap_emb": None,
            "cond_prompt_speech_tokens": torch.randint(SPEECH_CODES, (1, spec.prompt_s * TOKENS_PER_S)),
            "cond_prompt_speech_emb": None,
            "emotion_adv": torch.full((1, 1, 1), 0.5),
        },
        "gen": {
            "prompt_token": torch.randint(SPEECH_CODES, (1, prompt_tokens)),
            "prompt_token_len": torch.tensor([prompt_tokens]),
            "prompt_feat": torch.randn(1, prompt_tokens * FRAMES_PER_TOKEN, 80) - 6.0,
            "prompt_feat_len": None,
            "embedding": torch.randn(1, 192),
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a checkpoint of random, seeded weights.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--size", choices=sorted(SIZES), default="small")
    parser.add_argument("--model", choices=MODELS, default=ORIGINAL.name)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--speech-tokens", type=int, default=60, help="tokens after which T3 stops")
    parser.add_argument("--voice-of", type=Path, help="link that checkpoint, and write a voice alone: --prompt")
    parser.add_argument("--prompt", type=int, default=4, metavar="SECONDS", help="of that voice's recording")
    parser.add_argument("--voice-encoder", type=Path, metavar="FILE", help="Resemblyzer's pretrained.pt")
    options = parser.parse_args()
    unused = ("size", "seed", "speech_tokens", "voice_encoder") if options.voice_of else ("prompt",)
    if any(getattr(options, name) != parser.get_default(name) for name in unused):
        parser.error("--voice-of goes with --prompt alone, and --prompt with --voice-of alone")
    if options.voice_of:
        print(write_voice(options.directory, options.voice_of, options.prompt, options.model))
        return
    drawn = options.size, options.seed, options.speech_tokens
    print(write_checkpoint(options.directory, *drawn, options.voice_encoder, options.model))


if __name__ == "__main__":
    main()
