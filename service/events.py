"""The events of one job, in order: Start → Audio* → End, or Error in place of the rest.

Operations that make no sound have an End alone, and so has a job whose reply is joined, after its Start.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from validation.errors import WorkerError


@dataclass(frozen=True, slots=True)
class StartEvent:
    """A `tts` job begins: its request is valid, and its voice is conditioned. `voice` is "clone" for a recording."""

    voice: str
    seed: int
    format: str
    sample_rate_hz: int


@dataclass(frozen=True, slots=True)
class WordTime:
    """A word as it was sent, and when it is spoken in the clip. `written`: with the punctuation around it."""

    text: str
    start_s: float
    end_s: float
    written: str


@dataclass(frozen=True, slots=True)
class AudioEvent:
    """A piece of the encoded file, never empty. The pieces joined in order are the file.

    `start_s` and `duration_s` describe the samples pushed into the encoder, not what a decoder gets out of
    these bytes alone. `words` end in it, or in a piece before it; None if they were not asked for.
    """

    index: int
    data: bytes
    format: str
    sample_rate_hz: int
    start_s: float
    duration_s: float
    words: tuple[WordTime, ...] | None = None


@dataclass(slots=True)
class EndEvent:
    """The last event of a job that succeeded: the reply without its audio, and the finished file if that is joined."""

    reply: dict[str, Any]
    file: bytes | None = None

    def take_file(self) -> bytes | None:
        """The file, which is not kept here: it may be large, and the reply may be read for minutes."""
        file, self.file = self.file, None
        return file


@dataclass(frozen=True, slots=True)
class ErrorEvent:
    """The last event of a job that failed."""

    error: WorkerError


Event: TypeAlias = StartEvent | AudioEvent | EndEvent | ErrorEvent
