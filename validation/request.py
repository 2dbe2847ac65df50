"""The `tts` request: JSON in, a frozen `TtsRequest` out, or one error that names every fault at once."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from validation.aliases import in_todays_names
from validation.faults import present_fields, refusal, typed
from validation.fields import CLONE, MAX_SEED, DecodeMode, TranslatedFields, TtsFields
from validation.options import OutputOptions, ReadingOptions, SamplingParams, SoundOptions, part
from validation.rules import RULES, Capabilities, chosen_voice, decode_base64

NO_PARAMETERS = {"operation", "text", "cfg", "reference_audio", "reference_audio_url"}
DEFAULT_SAMPLING = part(SamplingParams, TtsFields(text="A").model_dump() | {"seed": 0, "decode_mode": "window"})


@dataclass(frozen=True, slots=True)
class TtsRequest:
    """A valid request, cut into the parts that are handed on; every value is the one that will be used.

    `voice` is "" for a clone, whose recording is `reference` (undecoded bytes) or is fetched from `reference_url`.
    `parameters` are the values by contract name, as the reply shows them; `given` names the fields the caller set;
    `warnings` are about old names.
    """

    text: str
    voice: str
    reference: bytes | None
    reference_url: str | None
    max_reference_duration_s: float
    sampling: SamplingParams
    reading: ReadingOptions
    sound: SoundOptions
    output: OutputOptions
    parameters: Mapping[str, Any]
    given: frozenset[str]
    warnings: tuple[str, ...] = ()


def parse(raw: object, capabilities: Capabilities) -> TtsRequest:
    """Check one job's input against the contract and the endpoint's capabilities.

    Raises: InvalidInput, UnknownVoice, ReferenceAudioError or Unsupported, whichever kind all the faults
    share; InvalidInput where they are mixed. The message names every fault.
    """
    given, old, warnings = in_todays_names(present_fields(raw), capabilities)
    fields, findings = typed(TranslatedFields if capabilities.translated else TtsFields, given)
    findings += old
    faulty = {fault.field for _, fault in findings}
    if faulty & {"output_format", "sample_rate"}:
        faulty.add("bitrate_kbps")  # which means nothing without them
    sound = {name: value for name, value in given.items() if name not in faulty}
    findings += [finding for rule in RULES for finding in rule(sound, capabilities)]
    if fields is None or findings:
        raise refusal(findings)
    return replace(_resolved(fields, frozenset(given), capabilities), warnings=tuple(warnings))


def _resolved(fields: TtsFields, given: frozenset[str], capabilities: Capabilities) -> TtsRequest:
    is_clone = fields.reference_audio is not None or fields.reference_audio_url is not None
    default, voices = capabilities.default_voice, capabilities.voices
    voice = "" if is_clone else chosen_voice(fields.voice, fields.language, default, voices)
    own_language = (capabilities.clone_languages or ("",))[0] if is_clone else voices[voice]
    own_rate_hz = capabilities.formats[fields.output_format].sample_rate_hz
    values = fields.model_dump() | {
        "cfg_weight": fields.cfg_weight if fields.cfg is None else fields.cfg,
        "seed": secrets.randbelow(MAX_SEED + 1) if fields.seed is None else fields.seed,
        "language": fields.language or own_language,
        "decode_mode": _decode_mode(fields, given, capabilities),
        "voice_mode": CLONE if is_clone else "predefined",
        "voice": voice or CLONE,
        "pronunciations": fields.pronunciations or {},
        "sample_rate": fields.sample_rate or own_rate_hz,
    }
    word_times = fields.word_timestamps or fields.captions is not None
    return TtsRequest(
        text=fields.text.strip(),
        voice=voice,
        reference=decode_base64(fields.reference_audio) if fields.reference_audio is not None else None,
        reference_url=fields.reference_audio_url,
        max_reference_duration_s=fields.max_reference_duration_sec,
        sampling=part(SamplingParams, values | {"word_times": word_times}),
        reading=part(ReadingOptions, values),
        sound=part(SoundOptions, values),
        output=part(OutputOptions, values),
        parameters={name: value for name, value in values.items() if name not in NO_PARAMETERS},
        given=given,
    )


def _decode_mode(fields: TtsFields, given: frozenset[str], capabilities: Capabilities) -> DecodeMode:
    if fields.decode_mode != "auto":
        return fields.decode_mode
    chunked = capabilities.streaming or given & {"chunk_size", "context_window"}
    return "window" if chunked else "full"
