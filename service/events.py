"""What a job gives, in order: pieces of audio, then one end or one error.

A door turns these into its own wire format; nothing here knows of base64, JSON or HTTP.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from validation.errors import WorkerError


@dataclass(frozen=True, slots=True)
class AudioEvent:
    """A piece of the encoded file, never empty. The pieces joined in order are the file.

    `start_s` and `duration_s` describe the sound pushed into the encoder, not what a decoder gets out of
    these bytes alone.
    """

    index: int
    data: bytes
    format: str
    sample_rate_hz: int
    start_s: float
    duration_s: float


@dataclass(frozen=True, slots=True)
class EndEvent:
    """The last event of a good job: the reply without its audio.

    `seal` writes the final sizes into the header of the joined pieces, which a stream can't use; it is None where the
    reply has no audio in it.
    """

    reply: dict[str, Any]
    seal: Callable[[bytes], bytes] | None = None


@dataclass(frozen=True, slots=True)
class ErrorEvent:
    """The last event of a bad one."""

    error: WorkerError


Event: TypeAlias = AudioEvent | EndEvent | ErrorEvent
