"""A recording to convert: bytes of any common format → its samples as they are, or a refusal that says why.

Nothing is cut or evened, because the take's timing and manner are what is kept: only an offset is taken off, and what
is very quiet is raised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from audio.pcm import Samples, from_dbfs
from audio.reference import decode, no_check
from audio.reference_cleaning import LOUD_S, SPEECH_DBFS, find_sound
from validation.errors import Fault, ReferenceAudioError

MIN_SOURCE_S = LOUD_S  # of which `find_sound` needs as much
QUIET_DBFS = -46.0  # of speech: 20 dB below an ordinary level


@dataclass(frozen=True, slots=True)
class SourceRecording:
    """`warnings` are sentences for the client."""

    samples: Samples  # (N,), mono
    sample_rate: int  # Hz
    warnings: tuple[str, ...] = ()

    @property
    def duration_s(self) -> float:
        return len(self.samples) / self.sample_rate


def decode_source(data: bytes, max_duration_s: float, check: Callable[[], None] = no_check) -> SourceRecording:
    """The first `max_duration_s` seconds. `check` as in `audio.reference.decode`.

    Raises ReferenceAudioError for what is no recording, too short or silent.
    """
    with source_errors():
        decoded = decode(data, max_duration_s, check)
        samples, rate_hz, warnings = decoded.samples, decoded.rate_hz, []
        if len(samples) < MIN_SOURCE_S * rate_hz:
            lasts = f"lasts {len(samples) / rate_hz:.3f} s"
            raise ReferenceAudioError(f"the reference audio {lasts}; at least {MIN_SOURCE_S:g} s is needed")
        samples -= np.mean(samples, dtype=np.float64).astype(np.float32)
        rms = find_sound(samples, rate_hz).rms
    if not decoded.whole:
        warnings.append(f"the source was cut to its first {max_duration_s:g} s")
    if rms < from_dbfs(QUIET_DBFS):
        gain = min(from_dbfs(SPEECH_DBFS) / rms, 1.0 / float(np.abs(samples).max()))
        samples *= np.float32(gain)
        warnings.append(f"the source is very quiet: it was raised by {20 * np.log10(gain):.0f} dB")
    return SourceRecording(samples, rate_hz, tuple(warnings))


@contextmanager
def source_errors() -> Iterator[None]:
    """What is wrong with a recording, said of the source: the decoder and the fetch know only references."""
    try:
        yield
    except ReferenceAudioError as error:
        message = error.args[0].replace("reference audio", "source audio").replace("reference_audio", "source_audio")
        raise ReferenceAudioError(message, [Fault("source_audio", message)]) from error.__cause__
