"""Which family a checkpoint belongs to, by the shapes of its tensors. Weights of another family than the chosen model's
are refused, whatever their files are called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from tts.chatterbox.models import MODELS, ModelSpec
from tts.chatterbox.s3gen.estimator import MIXER
from tts.chatterbox.s3gen.network import ESTIMATOR
from validation.errors import ModelUnavailable

MIXER_WEIGHT = f"flow.{ESTIMATOR}{MIXER}.weight"  # of a distilled flow: upstream's "meanflow"
Shapes: TypeAlias = Mapping[str, tuple[int, ...]]
# Readers by the number of text ids that upstream's Llamas were trained on. A fine-tune may have any other number.
TEXT_IDS = {704: "english", 2454: "multilingual"}
GPT2_LAYERS = "tfmr.h."  # a Llama's are "tfmr.layers."


def is_gpt2(t3: Shapes) -> bool:
    return any(name.startswith(GPT2_LAYERS) for name in t3)


def is_distilled(s3gen: Shapes) -> bool:
    return MIXER_WEIGHT in s3gen


def check_family(spec: ModelSpec, t3: Shapes, s3gen: Shapes) -> None:
    """Refuse another family's weights, which would speak noise. Raises: ModelUnavailable, naming both models."""
    text = t3.get("text_emb.weight", (0,))
    reader = "gpt2" if is_gpt2(t3) else TEXT_IDS.get(text[0], "english" if spec.is_gpt2 else spec.reader)
    if reader != spec.reader:
        _refuse(spec, spec.t3, reader)
    if is_distilled(s3gen) != spec.is_gpt2:
        _refuse(spec, spec.s3gen, "english" if spec.is_gpt2 else "gpt2")


def _refuse(spec: ModelSpec, file: str, reader: str) -> None:
    others = " or ".join(name for name, other in MODELS.items() if other.reader == reader)
    raise ModelUnavailable(f"TTS_MODEL is {spec.name}, but {file} is of {others}")
