"""The `tts` request: JSON in, a frozen `TtsRequest` out, or one error that names every fault at once."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from validation.aliases import in_todays_names
from validation.faults import Fields, Finding, present_fields, refusal, typed
from validation.fields import CLONE, MAX_SEED, DecodeMode, TranslatedFields, TtsFields
from validation.options import OutputOptions, ReadingOptions, SamplingParams, SoundOptions, part
from validation.rules import RULES, Capabilities, Rules, chosen_voice, decoded_or_none, speaks

NO_PARAMETERS = {"operation", "text", "cfg", "reference_audio", "reference_audio_url"}
DEFAULT_SAMPLING = part(SamplingParams, TtsFields(text="A", seed=0, decode_mode="window", language="en").model_dump())


@dataclass(frozen=True, slots=True, kw_only=True)
class SoundRequest:
    """A valid request for sound, cut into the parts that are handed on; every value is the one that will be used.

    `voice` is "" for a clone, whose recording is `reference` (undecoded bytes) or is fetched from `reference_url`.
    `parameters` are the values by contract name, as the reply shows them; `given` names the fields the caller set;
    `warnings` are about old names and the accent.
    """

    voice: str
    reference: bytes | None
    reference_url: str | None
    max_reference_duration_s: float
    sampling: SamplingParams
    sound: SoundOptions
    output: OutputOptions
    parameters: Mapping[str, Any]
    given: frozenset[str]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TtsRequest(SoundRequest):
    """A text to speak."""

    text: str
    reading: ReadingOptions


def parse(raw: object, capabilities: Capabilities) -> TtsRequest:
    """Check one job's input against the contract and the endpoint's capabilities.

    Raises: InvalidInput, UnknownVoice, ReferenceAudioError or Unsupported, whichever kind all the faults
    share; InvalidInput where they are mixed. The message names every fault.
    """
    given, old, warnings = in_todays_names(present_fields(raw), capabilities)
    fields = checked(TranslatedFields if capabilities.translated else TtsFields, RULES, given, old, capabilities)
    request = _resolved(fields, frozenset(given), capabilities)
    return replace(request, warnings=(*warnings, *_accent(request, capabilities)))


def _accent(request: TtsRequest, capabilities: Capabilities) -> Iterator[str]:
    """A warning where the voice was recorded in another language; a clone's is not known."""
    own = capabilities.voices.get(request.voice)
    if own and not speaks(request.reading.language, own):
        advice = "; cfg_weight 0 lessens it" if request.sampling.cfg_weight else ""
        yield f"spoken with a voice recorded in {own}: expect its accent{advice}"


def checked(
    model: type[Fields], rules: Rules, given: dict[str, Any], earlier: list[Finding], capabilities: Capabilities
) -> Fields:
    """Types first, then rules over the fields whose types are valid. `earlier`: findings made before."""
    fields, findings = typed(model, given)
    findings += earlier
    faulty = {fault.field for _, fault in findings}
    if faulty & {"output_format", "sample_rate"}:
        faulty.add("bitrate_kbps")  # which means nothing without them
    sound = {name: value for name, value in given.items() if name not in faulty}
    findings += [finding for rule in rules for finding in rule(sound, capabilities)]
    if fields is None or findings:
        raise refusal(findings)
    return fields


def _resolved(fields: TtsFields, given: frozenset[str], capabilities: Capabilities) -> TtsRequest:
    values = used_values(fields.model_dump(), given, capabilities)
    values |= {name: value for name, value in capabilities.defaults.items() if name not in given}
    is_clone, voice = values["voice_mode"] == CLONE, values["voice"]
    own_language = (capabilities.clone_languages or ("",))[0] if is_clone else capabilities.voices[voice]
    language = fields.language or own_language
    engines_tag = next((tag for tag in capabilities.polyglot_languages if speaks(language, tag)), own_language)
    values |= {
        "cfg_weight": fields.cfg_weight if fields.cfg is None else fields.cfg,
        "language": language,
        "pronunciations": fields.pronunciations or {},
    }
    word_times = fields.word_timestamps or fields.captions is not None
    return TtsRequest(
        text=fields.text.strip(),
        voice="" if is_clone else voice,
        reference=decoded_or_none(fields.reference_audio),
        reference_url=fields.reference_audio_url,
        max_reference_duration_s=fields.max_reference_duration_sec,
        sampling=part(SamplingParams, values | {"word_times": word_times, "language": engines_tag}),
        reading=part(ReadingOptions, values),
        sound=part(SoundOptions, values),
        output=part(OutputOptions, values),
        parameters={name: value for name, value in values.items() if name not in NO_PARAMETERS},
        given=given,
    )


def used_values(values: dict[str, Any], given: frozenset[str], capabilities: Capabilities) -> dict[str, Any]:
    """The fields of any request for sound, with what is used where one was left out."""
    is_clone = values["reference_audio"] is not None or values["reference_audio_url"] is not None
    default, voices = capabilities.default_voice, capabilities.voices
    return values | {
        "seed": secrets.randbelow(MAX_SEED + 1) if values["seed"] is None else values["seed"],
        "decode_mode": _decode_mode(values["decode_mode"], given, capabilities),
        "voice_mode": CLONE if is_clone else "predefined",
        "voice": CLONE if is_clone else chosen_voice(values["voice"], values.get("language"), default, voices),
        "sample_rate": values["sample_rate"] or capabilities.formats[values["output_format"]].sample_rate_hz,
    }


def _decode_mode(asked: DecodeMode | Literal["auto"], given: frozenset[str], capabilities: Capabilities) -> DecodeMode:
    if asked != "auto":
        return asked
    chunked = capabilities.streaming or given & {"chunk_size", "context_window"}
    return "window" if chunked else "full"
