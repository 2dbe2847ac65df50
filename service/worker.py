"""What the operations of this process share."""

from __future__ import annotations

from dataclasses import dataclass

from service.bucket import Bucket
from service.telemetry import Telemetry
from settings import Settings
from tts.engine import Conditioning, Engine, EngineSpec
from tts.voices.store import VoiceStore


@dataclass(frozen=True, slots=True)
class Clone:
    """The voice of a session's recording, conditioned once for all of its jobs, which name it "clone"."""

    conditioning: Conditioning
    language: str


@dataclass(frozen=True, slots=True)
class Worker:
    """What the operations work with, built once per process; a job may have a bucket of its own, or its session's
    clone, or be `translated` from another contract (`validation.rules.Capabilities`)."""

    settings: Settings
    engine: Engine
    voices: VoiceStore
    telemetry: Telemetry
    bucket: Bucket | None = None
    clone: Clone | None = None
    translated: bool = False

    @property
    def made_by(self) -> EngineSpec | None:
        """The engine that files name in their metadata; None if they name none (`PROVENANCE=false`)."""
        return self.engine.spec if self.settings.provenance else None
