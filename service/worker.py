"""What the operations of this process share. It does not know what they do with it."""

from __future__ import annotations

from dataclasses import dataclass

from service.bucket import Bucket
from service.telemetry import Telemetry
from settings import Settings
from tts.engine import Conditioning, Engine
from tts.voices.store import VoiceStore


@dataclass(frozen=True, slots=True)
class Clone:
    """The voice of a conversation's recording, conditioned once for all of its jobs, which name it "clone"."""

    conditioning: Conditioning
    language: str


@dataclass(frozen=True, slots=True)
class Worker:
    """All that the operations work with, built once per process; a job that brings a bucket has it in place of ours,
    and one of a conversation may have its clone."""

    settings: Settings
    engine: Engine
    voices: VoiceStore
    telemetry: Telemetry
    bucket: Bucket | None = None
    clone: Clone | None = None
