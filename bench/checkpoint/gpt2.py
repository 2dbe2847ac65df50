"""Random, seeded weights of the token model of Turbo and Nano, in upstream's names.

The stop is planted, as the Llama's is: see `_plant_ending`.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from tts.chatterbox.models import MODELS
from tts.chatterbox.rates import HEAD_DIM, SPEECH_CODES, TOKENS_PER_S
from tts.chatterbox.t3.model import START_SPEECH, STOP_SPEECH

TEXT_IDS = 50_276  # of the published models: GPT-2's and their tags
SPEECH_VOCABULARY, SPEAKER_SIZE, POSITIONS = STOP_SPEECH + 1, 256, 8196
PROMPT_TOKENS = MODELS["turbo"].prompt_s * TOKENS_PER_S  # of the built-in voice

# t3_width, t3_inner and t3_layers of the published ones.
FULL = {
    "turbo": {"t3_width": 1024, "t3_inner": 4096, "t3_layers": 24},
    "nano": {"t3_width": 768, "t3_inner": 3072, "t3_layers": 12},
}
# Pairs of residual channels that only the planted weights use, equal and opposite: text; start-of-speech; the count.
TEXT, START, COUNT = PLANTED = (0, 1), (2, 3), (4, 5)
MARK = 3.0  # in a marked channel
FOCUS = 20.0  # of the counting head: text gets e^−100 of a speech token's attention
STEEPNESS, HEAD = 80.0, 1e4  # of the stop's logit, half a token from the border; its weight


class Body(Protocol):
    """What `seeded.Sizes` has of it."""

    @property
    def t3_width(self) -> int: ...
    @property
    def t3_inner(self) -> int: ...
    @property
    def t3_layers(self) -> int: ...


def turbo_t3(sizes: Body, speech_tokens: int, text_vocabulary: int) -> dict[str, Tensor]:
    """It stops after exactly `speech_tokens` tokens in the built-in voice, and after as many more as another voice's
    prompt is shorter than 15 s; whatever the text."""
    state = drawn(sizes, text_vocabulary)
    _plant_ending(state, speech_tokens)
    return state


def drawn(sizes: Body, text_vocabulary: int) -> dict[str, Tensor]:
    """With nothing planted, for which values would be needed."""
    d, e = sizes.t3_width, sizes.t3_inner
    state = {
        "text_emb.weight": torch.randn(text_vocabulary, d),
        "speech_emb.weight": torch.randn(SPEECH_VOCABULARY, d),
        "text_head.weight": torch.randn(text_vocabulary, d) * d**-0.5,
        # Flat logits would tie: 20 times upstream's initial scale of 0.02.
        "speech_head.weight": torch.randn(SPEECH_VOCABULARY, d) * 0.4 * (32 / d) ** 0.5,
        "speech_head.bias": torch.randn(SPEECH_VOCABULARY),
        "tfmr.wte.weight": torch.randn(text_vocabulary, d),
        "tfmr.wpe.weight": torch.randn(POSITIONS, d) * 0.3,
        "cond_enc.spkr_enc.weight": torch.randn(d, SPEAKER_SIZE),
        "cond_enc.spkr_enc.bias": torch.randn(d) * 0.1,
        **_norm("tfmr.ln_f", d),
    }
    for layer in range(sizes.t3_layers):
        state |= _layer(f"tfmr.h.{layer}", d, e, sizes.t3_layers)
    return state


def _norm(name: str, d: int) -> dict[str, Tensor]:
    return {f"{name}.weight": 1 + 0.1 * torch.randn(d), f"{name}.bias": 0.1 * torch.randn(d)}


def _layer(name: str, d: int, e: int, layers: int) -> dict[str, Tensor]:
    """Weights (in, out), as GPT-2 has them."""
    depth = (2 * layers) ** -0.5  # so that the residual does not grow with depth
    shapes = {"attn.c_attn": (d, 3 * d), "attn.c_proj": (d, d), "mlp.c_fc": (d, e), "mlp.c_proj": (e, d)}
    made = _norm(f"{name}.ln_1", d) | _norm(f"{name}.ln_2", d)
    for part, (inputs, outputs) in shapes.items():
        scale = inputs**-0.5 * (depth if part.endswith("c_proj") else 1.0)
        made[f"{name}.{part}.weight"] = torch.randn(inputs, outputs) * scale
        made[f"{name}.{part}.bias"] = torch.randn(outputs) * 0.1
    return made


def _plant_ending(state: dict[str, Tensor], speech_tokens: int) -> None:
    """Make it stop after exactly so many tokens, and never draw the start token.

    A position tells nothing, for it counts the text, too. So the first layer's first head counts: it attends to all
    speech tokens alike, prompt included, and to no others; only start-of-speech has a value, so the head's output is
    that over their number. It goes to the channels of COUNT, less what it is at the border, and the stop's logit reads
    them. Equal and opposite channels survive the norms' means, and a pair that is 0 stays 0 whatever the rest is.
    The one value is the same at each position because all positions have one norm, and the token no other channels.
    """
    planted = [channel for pair in PLANTED for channel in pair]
    for name, tensor in state.items():
        if name.endswith(("emb.weight", "wpe.weight", "c_proj.weight", "c_proj.bias", "spkr_enc.bias")):
            tensor[..., planted] = 0.0
        elif ".ln_" in name:
            tensor[planted] = float(name.endswith("weight"))
    state["cond_enc.spkr_enc.weight"][planted] = 0.0
    state["speech_head.weight"][:, planted] = 0.0
    free = state["tfmr.wpe.weight"][:, len(planted) :]
    free -= free.mean(1, keepdim=True)
    free *= 0.3 * free.shape[1] ** 0.5 / free.norm(dim=1, keepdim=True)
    signs = torch.tensor([MARK, -MARK])
    state["text_emb.weight"][:, TEXT] = signs
    state["cond_enc.spkr_enc.bias"][list(TEXT)] = signs
    state["speech_emb.weight"][START_SPEECH] = 0.0
    state["speech_emb.weight"][START_SPEECH, START] = signs
    _plant_count(state, PROMPT_TOKENS + speech_tokens + 0.5)
    state["speech_head.bias"][SPEECH_CODES:] = torch.tensor([-1000.0, 0.0])


def _plant_count(state: dict[str, Tensor], border: float) -> None:
    """border: the number of speech tokens from which on the stop is drawn."""
    d = state["tfmr.ln_f.weight"].shape[0]
    attention, bias = state["tfmr.h.0.attn.c_attn.weight"], state["tfmr.h.0.attn.c_attn.bias"]
    for first in (0, d, 2 * d):  # queries, keys and values of the head
        attention[:, first : first + HEAD_DIM] = 0.0
        bias[first : first + HEAD_DIM] = 0.0
    bias[0] = HEAD_DIM**0.5  # by whose root scores are divided
    attention[TEXT, d] = torch.tensor([-FOCUS, FOCUS])
    attention[START, 2 * d] = torch.tensor([0.5, -0.5])
    start = state["tfmr.wpe.weight"][0] + state["speech_emb.weight"][START_SPEECH]
    value = float(torch.nn.functional.layer_norm(start, (d,))[START[0]])
    gain = STEEPNESS * border**2 / (HEAD * value)  # 1/n falls by 1/(2 · border²) in half a token
    out, out_bias = state["tfmr.h.0.attn.c_proj.weight"], state["tfmr.h.0.attn.c_proj.bias"]
    out[:HEAD_DIM] = 0.0
    out[0, COUNT] = torch.tensor([gain, -gain])
    out_bias[list(COUNT)] = torch.tensor([-gain, gain]) * value / border
    state["speech_head.weight"][STOP_SPEECH] = 0.0
    state["speech_head.weight"][STOP_SPEECH, COUNT] = torch.tensor([-HEAD, HEAD])
