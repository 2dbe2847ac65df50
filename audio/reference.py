"""A recording of a voice, decoded and cleaned. It knows neither bytes nor what is made of it."""

from __future__ import annotations

from dataclasses import dataclass

from audio.pcm import Samples


@dataclass(frozen=True, slots=True)
class Reference:
    """`samples` are at most the seconds asked for; `truncated` tells that there were more.

    `source_duration_s` is then what the header says, if it says; else it is what was decoded, silence included.
    `warnings` are for the caller who sent it: sentences.
    """

    samples: Samples  # (N,), mono
    sample_rate: int  # Hz
    source_duration_s: float
    truncated: bool
    warnings: tuple[str, ...] = ()
