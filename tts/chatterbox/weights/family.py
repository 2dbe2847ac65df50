"""Whether a checkpoint's networks are those of the model that was asked for: whatever its files are called, their
tensors tell the family."""

from __future__ import annotations

from tts.chatterbox.models import MODELS, ModelSpec
from tts.chatterbox.weights.tensors import Tensors
from validation.errors import ModelUnavailable

# Readers by the number of text ids that upstream's Llamas were trained on. A fine-tune may have any other number.
TEXT_IDS = {704: "english", 2454: "multilingual"}
MIXER = "flow.decoder.estimator.time_embed_mixer.weight"  # of a flow that was distilled


def check_family(spec: ModelSpec, t3: Tensors, s3gen: Tensors) -> None:
    """Refuse another family's weights, which would speak noise. Raises: ModelUnavailable, naming both models."""
    is_turbo = spec.reader == "gpt2"
    body = "gpt2" if t3.count("tfmr.h.") else TEXT_IDS.get(len(t3.take("text_emb.weight", -1, -1)))
    if body is None and is_turbo:
        body = "english"
    if body and body != spec.reader:
        _refuse(spec, spec.t3, body)
    if s3gen.has(MIXER) != is_turbo:
        _refuse(spec, spec.s3gen, "english" if is_turbo else "gpt2")


def _refuse(spec: ModelSpec, file: str, reader: str) -> None:
    others = " or ".join(name for name, other in MODELS.items() if other.reader == reader)
    raise ModelUnavailable(f"TTS_MODEL is {spec.name}, but {file} is of {others}")
