"""How a model is loaded. A file of its own because it imports no torch: an engine is set up before the model loads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tts.chatterbox.models import ORIGINAL, ModelSpec


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """Values of the settings of the same name; `auto` is resolved on the device."""

    device: str = "auto"
    dtype: str = "auto"  # of the token model
    flow_dtype: str = "auto"
    flow_steps: int | None = None  # Euler steps; None: as many as the flow was trained for
    max_tokens: int = 1000  # of a segment
    slots: int = 1  # requests that share the token model's decode steps on a GPU
    watermark: bool = True
    voice_cache_dir: Path | None = None  # None: no voice cache on disk
    voice_cache_bytes: int = 1_000_000_000
    graphs: bool = True  # capture CUDA graphs on a GPU
    buckets: tuple[int, ...] = ()  # sizes, in tokens, of the flow's graphs; empty: the usual ones
    spec: ModelSpec = ORIGINAL
