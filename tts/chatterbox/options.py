"""How a model is to be loaded. No torch in here, so that an engine can be set up before anything heavy is imported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """Values are those of the settings of the same name; `auto` is decided when the device is known."""

    device: str = "auto"
    dtype: str = "auto"  # of the token model
    flow_dtype: str = "auto"
    flow_steps: int = 10  # Euler steps
    max_tokens: int = 1000  # of a segment
    slots: int = 1  # requests that share the token model's steps on a GPU
    watermark: bool = True
    voice_cache_dir: Path | None = None  # None: voices are kept in memory alone
    voice_cache_bytes: int = 1_000_000_000
    graphs: bool = True  # capture CUDA graphs on a GPU
    buckets: tuple[int, ...] = ()  # tokens at once of which the flow has graphs; none named: the usual ones
