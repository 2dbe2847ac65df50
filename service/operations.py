"""The operations of a job: a function for each, and the table that names them.

Each takes the worker, the raw input, the job's clock and whether its reply is joined, and yields events.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from importlib import metadata
from typing import Any

from audio.encode import ENCODERS
from audio.levels import STREAMED_NORMALIZERS
from audio.source_recording import SourceRecording, decode_source, source_errors
from service import __version__
from service.batch import Operation, batch
from service.conversion import Conversion
from service.delivery import FileDelivery
from service.events import EndEvent, Event
from service.fetch import SOURCE_WITHIN_S, recording_of
from service.json_events import json_bytes
from service.sound_job import Limits, SoundJob
from service.synthesis import Synthesis
from service.telemetry import JobClock
from service.voice_operations import voice_add, voice_delete, voices
from service.worker import Clone, Worker
from tts.engine import Conditioning
from validation.aliases import todays_operation
from validation.convert import ConvertRequest, parse_convert
from validation.errors import OutputTooLarge, UnknownOperation, Unsupported
from validation.faults import present_fields, refuse_fields
from validation.fields import CLONE, SAMPLE_RATES_HZ
from validation.request import SoundRequest, parse
from validation.rules import Capabilities, FormatCapabilities

PACKAGES = (
    *("runpod", "numpy", "av", "soundfile", "soxr", "pydantic"),
    *("torch", "chatterbox-tts", "resemble-perth", "hibari-tts", "onnxruntime"),
)


MAXRSS_BYTES = 1 if sys.platform == "darwin" else 1024
FORMATS = {
    name: FormatCapabilities(
        sample_rate_hz=own.sample_rate_hz,
        bitrates_kbps={rate_hz: own.bitrates_kbps(own.coded_rate(rate_hz)) for rate_hz in SAMPLE_RATES_HZ},
    )
    for name, own in ENCODERS.items()
}


def tts(worker: Worker, raw: Mapping[str, Any], clock: JobClock, joined: bool) -> Iterator[Event]:
    """Speak a text."""
    request = parse(raw, _capabilities(worker, joined))
    yield from _sound(worker, request, partial(Synthesis, request=request), clock, joined)


def convert(worker: Worker, raw: Mapping[str, Any], clock: JobClock, joined: bool) -> Iterator[Event]:
    """Give a recording another voice."""
    if not (spec := worker.engine.spec).can_convert:
        raise Unsupported(f"{spec.name} can't give a recording another voice: convert needs the engine chatterbox")
    request = parse_convert(raw, _capabilities(worker, joined))
    source = _source(worker, request, clock)
    yield from _sound(worker, request, partial(Conversion, request=request, source=source), clock, joined)


def _source(worker: Worker, request: ConvertRequest, clock: JobClock) -> SourceRecording:
    settings, check = worker.settings, partial(clock.check, worker.settings.job_timeout_s)
    with source_errors():
        data = recording_of(
            request.source,
            request.source_url,
            settings,
            check,
            max_bytes=settings.max_source_bytes,
            timeout_s=SOURCE_WITHIN_S,
        )
    assert data is not None  # by `parse_convert`
    return decode_source(data, request.max_source_duration_s, check)


def _sound(
    worker: Worker, request: SoundRequest, job: Callable[..., SoundJob], clock: JobClock, joined: bool
) -> Iterator[Event]:
    """The events of a job that makes sound."""
    cold_start = not worker.engine.describe()["loaded"]
    conditioning, warnings = _conditioned(worker, request, clock)
    warnings += request.warnings
    unused = sorted(request.given & set(worker.engine.spec.unused_fields))
    if unused:
        warnings.append(f"this model has no use for {', '.join(unused)}: it spoke without")
    if not joined and worker.bucket and worker.bucket.of_job:
        warnings.append("s3Config is of no use here: this endpoint streams, its events are the delivery")
    delivery = FileDelivery(request.output.delivery, worker.bucket if joined else None, clock, worker.settings)
    spoken = job(
        engine=worker.engine,
        made_by=worker.made_by,
        conditioning=conditioning,
        clock=clock,
        limits=_limits(worker, delivery, joined),
        joined=joined,
        cold_start=cold_start,
        warnings=warnings,
    )
    for event in spoken.events():
        yield delivery.delivered(event) if isinstance(event, EndEvent) else event


def clone_of(worker: Worker, raw: Mapping[str, Any], clock: JobClock) -> tuple[Clone, list[str]]:
    """The voice of the recording in a `tts` input, conditioned, with warnings about it.

    Raises: WorkerError.
    """
    request = parse(raw, _capabilities(worker, joined=False))
    conditioning, warnings = _conditioned(worker, request, clock)
    return Clone(conditioning, request.reading.language), warnings


def _conditioned(worker: Worker, request: SoundRequest, clock: JobClock) -> tuple[Conditioning, list[str]]:
    if worker.clone and request.voice == CLONE:
        return worker.clone.conditioning, []
    check = partial(clock.check, worker.settings.job_timeout_s)
    recording = recording_of(request.reference, request.reference_url, worker.settings, check)
    check()
    return worker.voices.get(request.voice, recording, request.max_reference_duration_s, check)


def info(worker: Worker, raw: Mapping[str, Any], clock: JobClock, joined: bool) -> Iterator[Event]:
    """What this worker is, what it can do, and its counts."""
    refuse_fields(raw)
    settings, spec = worker.settings, worker.engine.spec
    yield EndEvent(
        {
            "operation": "info",
            "engine": spec.name,
            "model": spec.model,
            "stand_in": spec.stand_in,
            **worker.engine.describe(),
            "versions": {"worker": __version__} | _package_versions(),
            "limits": {
                "max_text_chars": settings.max_text_chars,
                "max_reference_bytes": settings.max_reference_bytes,
                "min_reference_s": spec.min_reference_s,
                "max_source_bytes": settings.max_source_bytes,
                "max_source_s": settings.max_source_s,
                "max_output_bytes": settings.max_output_bytes,
                "max_upload_bytes": settings.max_upload_bytes,
                "max_segment_tokens": settings.segment_tokens,
                "max_concurrency": settings.max_concurrency,
                "job_timeout_s": settings.job_timeout_s,
            },
            "operations": list(OPERATIONS),
            "formats": list(ENCODERS),
            "sample_rates": list(SAMPLE_RATES_HZ),
            "decode_modes": list(spec.decode_modes),
            "voice_cloning": spec.can_clone,
            "voice_conversion": spec.can_convert,
            "word_timing": spec.word_timing or "estimated",
            "languages": list(spec.spoken),
            "polyglot": spec.polyglot,
            "tags": list(dict.fromkeys(spec.tags.values())),
            "defaults": dict(spec.defaults),
            "unused_fields": list(spec.unused_fields),
            "streaming": not joined,
            "uploads": joined and worker.bucket is not None,
            "uptime": round(worker.telemetry.uptime_s, 3),
            "jobs_done": sum(worker.telemetry.outcomes().values()),
            "outcomes": worker.telemetry.outcomes(),
            "remarks": worker.telemetry.remarks(),
            "measured": worker.telemetry.measured(),
            "voice_cache": worker.voices.cached(),
            "memory": {"peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS_BYTES},
        }
    )


def dispatch(worker: Worker, raw: object, clock: JobClock, joined: bool) -> Iterator[Event]:
    """Run the operation the input names; `tts` where it names none."""
    given = present_fields(raw)
    name = todays_operation(given.get("operation", "tts"))
    if not isinstance(name, str) or name not in OPERATIONS:
        shown = repr(name)[:40] if isinstance(name, str) else "that"
        raise UnknownOperation(f"{shown} is not an operation; known: {', '.join(OPERATIONS)}")
    max_bytes = worker.settings.max_output_bytes
    for event in OPERATIONS[name](worker, given, clock, joined):
        # The size of audio was limited as it was made; a list of voices may be large, too.
        if isinstance(event, EndEvent) and (size := json_bytes(event.reply)) > max_bytes:
            raise OutputTooLarge(f"the reply has {size} bytes; the limit is {max_bytes} (MAX_OUTPUT_BYTES)")
        yield event


def _capabilities(worker: Worker, joined: bool) -> Capabilities:
    spec, settings = worker.engine.spec, worker.settings
    own = {CLONE: worker.clone.language} if worker.clone else {}
    return Capabilities(
        voices={voice.name: voice.language for voice in worker.voices.catalogue().values()} | own,
        default_voice=worker.voices.default_voice,
        clone_languages=spec.languages if spec.can_clone else None,
        decode_modes=spec.decode_modes,
        formats=FORMATS,
        streamed_normalizations=tuple(STREAMED_NORMALIZERS),
        max_text_chars=settings.max_text_chars,
        max_reference_bytes=settings.max_reference_bytes,
        streaming=not joined,
        uploads=worker.bucket is not None,
        translated=worker.translated,
        engine=spec.name,
        max_source_bytes=settings.max_source_bytes,
        max_source_s=settings.max_source_s,
        polyglot_languages=spec.languages if spec.polyglot else (),
        lacking=spec.lacking,
        defaults=spec.defaults,
        tags=spec.tags,
    )


def _limits(worker: Worker, delivery: FileDelivery, joined: bool) -> Limits:
    """A stream that is not aggregated has no limit."""
    settings, way_out = worker.settings, ""
    if not joined:
        way_out = "; the sum of a stream's events counts unless STREAM_AGGREGATE=false"
    elif worker.bucket and not delivery.may_upload:
        way_out = '; or for delivery "auto"'
    return Limits(
        max_output_bytes=settings.max_output_bytes if joined or settings.stream_aggregate else 2**62,
        timeout_s=settings.job_timeout_s,
        max_upload_bytes=settings.max_upload_bytes if delivery.may_upload else 0,
        way_out=way_out,
    )


def _package_versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        with suppress(metadata.PackageNotFoundError):  # an optional group that is not installed here
            found[package] = metadata.version(package)
    return found


OPERATIONS: dict[str, Operation] = {
    "tts": tts,
    "convert": convert,
    "batch": partial(batch, tts),
    "voices": voices,
    "voice_add": voice_add,
    "voice_delete": voice_delete,
    "info": info,
}
