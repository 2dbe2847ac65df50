"""A reference recording: bytes of any common format → the voice in them, or a plain refusal."""

from __future__ import annotations

from collections.abc import Callable

from audio.decoder import Decoded
from audio.decoder_process import decode_apart
from audio.reference import Reference
from audio.reference_cleaning import Cleaned, clean

MAX_LEAD_S = 30.0  # silence in front that is read past
SHORT_SOUND_S = 5.0


def go_on() -> None:
    """The default of `check`: nothing ends the work early."""


def decode_reference(data: bytes, max_duration_s: float, check: Callable[[], None] = go_on) -> Reference:
    """A recording → `max_duration_s` seconds from where its sound begins, cleaned. `check` as in `decode`.

    Raises ReferenceAudioError for what is no recording, or too short, silent, clipped or out of range.
    """
    decoded = decode(data, max_duration_s + MAX_LEAD_S, check)
    cleaned = clean(decoded.samples, decoded.rate_hz, round(max_duration_s * decoded.rate_hz))
    truncated = cleaned.truncated or not decoded.whole
    warnings = _warnings(cleaned, truncated, max_duration_s)
    return Reference(cleaned.samples, decoded.rate_hz, decoded.duration_s, truncated, warnings)


def _warnings(cleaned: Cleaned, truncated: bool, max_duration_s: float) -> tuple[str, ...]:
    cut = f"the reference was cut to its first {max_duration_s:g} s"
    short = f"the reference has only {cleaned.sound_s:.1f} s of sound; 5 to 15 s give a closer voice"
    return (cut,) * truncated + (short,) * (cleaned.sound_s < SHORT_SOUND_S)


def decode(data: bytes, max_duration_s: float, check: Callable[[], None] = go_on) -> Decoded:
    """The first seconds as they are, at their own rate, one channel.

    `check` is called several times a second while a decoder process works; what it raises ends that process.
    Raises ReferenceAudioError.
    """
    return decode_apart(data, max_duration_s, check)
