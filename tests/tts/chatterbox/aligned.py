"""A T3 whose alignment heads are planted to follow the text at a known pace.

A head's query is the Fourier code of the text position that a token speaks, its keys are the codes of the text
positions: their product peaks where the two are equal. The codes are in residual channels of their own, which no layer
writes to, and in the halves of the head's dimensions that rotate least.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from tts.chatterbox.models import ORIGINAL
from tts.chatterbox.rates import HEAD_DIM
from tts.chatterbox.t3.llama import Llama
from tts.chatterbox.weights.tensors import Tensors

HEADS = ((0, 1), (1, 0), (1, 1))
WAVES = 8
CODES, OWN = 2 * WAVES, 2  # channels of a code; the first two are the checkpoint's own (`bench.checkpoint.seeded`)
TEXT, SPEECH = slice(OWN, OWN + CODES), slice(OWN + CODES, OWN + 2 * CODES)
SHARPNESS = 12.0
SLOW = HEAD_DIM // 2 - WAVES  # dimensions from here to the end of a half turn by less than 3e-5 a position


def following(checkpoint: Path, place: Callable[[int], float], dtype: torch.dtype = torch.float32) -> Llama:
    """place: of a token's index, the text position that it speaks; 0 is the start token's."""
    state = load_file(checkpoint / ORIGINAL.t3)
    plant(state, place)
    return Llama(Tensors("t3", state), dtype, HEADS)


def plant(state: dict[str, Tensor], place: Callable[[int], float]) -> None:
    for name, tensor in state.items():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            tensor[OWN : SPEECH.stop] = 0.0
        elif name in ("speech_emb.weight", "text_emb.weight", "text_pos_emb.emb.weight", "speech_pos_emb.emb.weight"):
            tensor[:, OWN : SPEECH.stop] = 0.0
    texts, speech = state["text_pos_emb.emb.weight"], state["speech_pos_emb.emb.weight"]
    texts[:, TEXT] = code(torch.arange(len(texts)).float())
    speech[:, SPEECH] = code(torch.tensor([place(index) for index in range(len(speech))]))
    for layer, head in HEADS:
        for name, read in (("q", SPEECH), ("k", TEXT)):
            weight = state[f"tfmr.layers.{layer}.self_attn.{name}_proj.weight"]
            weight[head * HEAD_DIM : (head + 1) * HEAD_DIM] = projection(read, weight.shape[1])


def code(places: Tensor) -> Tensor:
    """(N,) → (N, CODES): cosines and sines with periods of 4 to 512 positions."""
    angles = places[:, None] * 2 * math.pi / 2.0 ** torch.linspace(2, 9, WAVES)
    return torch.cat((angles.cos(), angles.sin()), 1)


def projection(read: slice, width: int) -> Tensor:
    """(HEAD_DIM, width): the channels into dimensions that hardly rotate."""
    weight = torch.zeros(HEAD_DIM, width)
    scale = (SHARPNESS * HEAD_DIM**0.5 / WAVES) ** 0.5  # so that the peak's score is SHARPNESS
    for wave in range(WAVES):
        weight[SLOW + wave, read.start + wave] = scale
        weight[HEAD_DIM // 2 + SLOW + wave, read.start + WAVES + wave] = scale
    return weight
