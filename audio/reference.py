"""A reference recording: bytes of any common format → the voice in them, cleaned, or a refusal that says why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from audio.pcm import Samples
from audio.reference_cleaning import clean

if TYPE_CHECKING:
    from audio.decoder import Decoded

MAX_LEAD_S = 30.0  # of silence in front of the sound; so much more is decoded than is kept
SHORT_SOUND_S = 5.0


@dataclass(frozen=True, slots=True)
class Reference:
    """`samples` are at most the seconds asked for; `truncated`: there were more.

    `source_duration_s` is then the duration in the header, if it has one; else of what was decoded, silence included.
    `warnings` are sentences for the client.
    """

    samples: Samples  # (N,), mono
    sample_rate: int  # Hz
    source_duration_s: float
    truncated: bool
    warnings: tuple[str, ...] = ()


def no_check() -> None:
    """The default of `check`: nothing cancels the work."""


def decode_reference(data: bytes, max_duration_s: float, check: Callable[[], None] = no_check) -> Reference:
    """A recording → `max_duration_s` seconds from where its sound begins, cleaned. `check` as in `decode`.

    Raises ReferenceAudioError for what is no recording, or too short, silent, clipped or out of range.
    """
    decoded = decode(data, max_duration_s + MAX_LEAD_S, check)
    cleaned = clean(decoded.samples, decoded.rate_hz, round(max_duration_s * decoded.rate_hz))
    truncated = cleaned.truncated or not decoded.whole
    warnings = []
    if truncated:
        warnings.append(f"the reference was cut to its first {max_duration_s:g} s")
    if cleaned.sound_s < SHORT_SOUND_S:
        warnings.append(f"the reference has only {cleaned.sound_s:.1f} s of sound; 5 to 15 s give a closer voice")
    return Reference(cleaned.samples, decoded.rate_hz, decoded.duration_s, truncated, tuple(warnings))


def decode(data: bytes, max_duration_s: float, check: Callable[[], None] = no_check) -> Decoded:
    """The first `max_duration_s` seconds, unchanged, at their own rate, one channel.

    `check` is called several times a second while the decoder process works; what it raises ends that process.
    Raises ReferenceAudioError.
    """
    from audio.decoder_process import decode_apart  # here, because it takes 0.13 s, and engines import this module

    return decode_apart(data, max_duration_s, check)
