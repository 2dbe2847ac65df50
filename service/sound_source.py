"""What makes the samples of a job: the base of a text's speech and of a recording's conversion, with their counts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass, field

import numpy as np

from audio.pcm import Samples
from tts.engine import Conditioning, Engine, RemarkKind, SpeechChunk
from validation.options import SamplingParams, SoundOptions


@dataclass(slots=True)
class SoundSource(ABC):
    """`samples()` may be called once. The counts are valid at any time."""

    engine: Engine
    conditioning: Conditioning
    params: SamplingParams  # its seed is the request's
    sound: SoundOptions
    rate_hz: int  # of the reply
    _: KW_ONLY
    warnings: list[str] = field(default_factory=list)
    given: int = 0  # samples so far
    chunks: int = 0
    speech_tokens: int | None = None
    watermarked: bool = False
    peak: float = 0.0  # of what the engine gave
    cut: bool = False  # the token limit was reached
    retries: int = 0
    remarks: Counter[RemarkKind] = field(default_factory=Counter)

    @abstractmethod
    def samples(self) -> Iterator[Samples]:
        """Pieces of the clip at `rate_hz`; an empty one is a heartbeat.

        Raises: whatever the engine raises, but for ImplausibleSpeech.
        """

    def _note(self, chunk: SpeechChunk, place: str = "") -> None:
        """Count the chunk. `place` is where the engine's remarks are about."""
        self.chunks += len(chunk.samples) > 0  # a heartbeat has none
        self.watermarked |= chunk.watermarked
        self.peak = max(self.peak, float(np.abs(chunk.samples).max(initial=0.0)))
        if chunk.speech_tokens is not None:
            self.speech_tokens = (self.speech_tokens or 0) + chunk.speech_tokens
        for remark in chunk.remarks:
            self.remarks[remark.kind] += 1
            self.warnings.append(place + remark.message)

    def _give(self, samples: Samples) -> Samples:
        self.given += len(samples)
        return samples
