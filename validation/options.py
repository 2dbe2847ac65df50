"""The parts of a `tts` request, each defined here and handed on whole to the code that uses it.

A field's name is that of the contract, with a unit where the contract has none (`CONTRACT_NAMES`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from validation.fields import CaptionFormat, DecodeMode, DeliveryMode, Normalization, OutputFormat

CONTRACT_NAMES: Final = {
    "chunk_size_tokens": "chunk_size",
    "context_window_tokens": "context_window",
    "fade_s": "fade_duration",
    "sample_rate_hz": "sample_rate",
}
Part = TypeVar("Part")


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How an engine generates one segment.

    `checked`: no samples leave before all tokens were generated and found plausible. `word_times`: the engine reports
    when each word is spoken, if it can; no sample changes by it.
    """

    exaggeration: float
    cfg_weight: float
    temperature: float
    top_p: float
    min_p: float
    repetition_penalty: float
    seed: int
    chunk_size_tokens: int
    context_window_tokens: int
    decode_mode: DecodeMode
    checked: bool = False
    word_times: bool = False
    top_k: int = 0  # 0: of all tokens
    language: str = "en"  # by the engine's own tag, or the voice's


@dataclass(frozen=True, slots=True)
class ReadingOptions:
    """How a text becomes words to speak. `language` is a BCP-47 tag; `pronunciations` maps words to respellings."""

    language: str
    normalize_text: bool = True
    pronunciations: Mapping[str, str] = dataclasses.field(default_factory=dict)
    sentence_pause_ms: float = 0.0
    paragraph_pause_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class SoundOptions:
    """What is done to the samples, whatever they say."""

    fade_s: float
    speed: float
    trim_silence: bool


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """The file and its delivery. `bitrate_kbps` None is the encoder's default."""

    output_format: OutputFormat
    sample_rate_hz: int
    bitrate_kbps: int | None
    audio_normalization: Normalization | None
    delivery: DeliveryMode
    print_metrics: bool
    word_timestamps: bool = False
    captions: CaptionFormat | None = None


def part(kind: type[Part], values: Mapping[str, Any]) -> Part:
    """A part from values under their contract names; a field that is not among them keeps its default."""
    names = {field.name: CONTRACT_NAMES.get(field.name, field.name) for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    return kind(**{own: values[name] for own, name in names.items() if name in values})
