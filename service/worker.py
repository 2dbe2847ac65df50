"""What the operations of this process share. It does not know what they do with it."""

from __future__ import annotations

from dataclasses import dataclass

from service.bucket import Bucket
from service.telemetry import Telemetry
from settings import Settings
from tts.engine import Engine
from tts.voices import VoiceStore


@dataclass(frozen=True, slots=True)
class Worker:
    """All that the operations work with, built once per process; a job that brings a bucket has it in place of ours."""

    settings: Settings
    engine: Engine
    voices: VoiceStore
    telemetry: Telemetry
    bucket: Bucket | None = None
