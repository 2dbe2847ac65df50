"""The operations of the voice library: list, add, delete. No model is loaded: a voice is conditioned when it first
speaks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from service.events import EndEvent, Event
from service.fetch import recording_of
from service.telemetry import JobClock
from service.worker import Worker
from tts.engine import EngineVoice
from tts.voices.recording import About
from validation.errors import Unsupported
from validation.faults import refuse_fields
from validation.voices import LibraryCapabilities, parse_voice_add, parse_voice_delete


def voices(worker: Worker, raw: Mapping[str, Any], clock: JobClock, joined: bool) -> Iterator[Event]:
    """The predefined voices."""
    refuse_fields(raw)
    default = worker.voices.default_voice
    listed = [_listed(voice, default) for voice in worker.voices.catalogue().values()]
    reply: dict[str, Any] = {"operation": "voices", "voices": listed, "default": default}
    if (asked := raw.get("operation")) != "voices":
        reply |= {"local_voices": listed, "total_local_voices": len(listed)}
        reply["warnings"] = [f"operation {asked} is called voices today, and local_voices voices"]
    yield EndEvent(reply)


def voice_add(worker: Worker, raw: Mapping[str, Any], clock: JobClock, joined: bool) -> Iterator[Event]:
    """Add a recording as a voice."""
    _refuse_unless_writable(worker)
    request = parse_voice_add(raw, _capabilities(worker))
    check = partial(clock.check, worker.settings.job_timeout_s)
    recording = recording_of(request.reference, request.reference_url, worker.settings, check)
    assert recording is not None  # by `parse_voice_add`
    added = worker.voices.add(
        request.voice,
        recording,
        request.max_reference_duration_s,
        About(request.language, request.description, request.consent),
        replace=request.replace,
        check=check,
    )
    yield EndEvent(
        {
            "operation": "voice_add",
            "voice": _listed(added.voice, worker.voices.default_voice),
            "replaced": added.replaced,
            "warnings": list(added.warnings),
        }
    )


def voice_delete(worker: Worker, raw: Mapping[str, Any], clock: JobClock, joined: bool) -> Iterator[Event]:
    """Remove a voice of the library."""
    _refuse_unless_writable(worker)
    name = parse_voice_delete(raw, _capabilities(worker))
    worker.voices.delete(name)
    yield EndEvent({"operation": "voice_delete", "voice": name, "deleted": True})


def _refuse_unless_writable(worker: Worker) -> None:
    settings = worker.settings
    if not worker.engine.spec.can_clone:
        raise Unsupported(f"{worker.engine.spec.name} can't speak with a recording's voice, so it has no voice library")
    if settings.voices_dir is None:
        raise Unsupported("this endpoint has no voice library: its VOICES_DIR is not set")
    if not settings.allow_voice_writes:
        raise Unsupported("this endpoint's voice library can't be changed: ALLOW_VOICE_WRITES is not set")


def _capabilities(worker: Worker) -> LibraryCapabilities:
    spec = worker.engine.spec
    return LibraryCapabilities(
        voices=tuple(worker.voices.catalogue()),
        built_in=tuple(voice.name for voice in spec.voices),
        default_voice=worker.voices.default_voice,
        languages=spec.languages,
        max_reference_bytes=worker.settings.max_reference_bytes,
    )


def _listed(voice: EngineVoice, default: str) -> dict[str, Any]:
    return {
        "name": voice.name,
        "language": voice.language,
        "description": voice.description,
        "reference_duration": voice.reference_duration_s,
        "default": voice.name == default,
        "source": voice.source,
        **({"consent": voice.consent} if voice.consent else {}),
    }
