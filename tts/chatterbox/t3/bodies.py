"""Which body a checkpoint's token model has, by the names of its tensors."""

from __future__ import annotations

import torch

from tts.chatterbox.t3.gpt2 import Gpt2
from tts.chatterbox.t3.llama import Llama
from tts.chatterbox.t3.model import TokenModel
from tts.chatterbox.weights.family import GPT2_LAYERS
from tts.chatterbox.weights.tensors import Tensors


def token_model(tensors: Tensors, dtype: torch.dtype) -> TokenModel:
    """The token model of a file of weights. Raises: ModelUnavailable."""
    body = Gpt2 if tensors.holds(GPT2_LAYERS) else Llama
    return body(tensors, dtype)
