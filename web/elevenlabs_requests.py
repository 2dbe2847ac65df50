"""ElevenLabs' requests for speech in terms of the job contract, and its alignments, voices and models.

https://elevenlabs.io/docs/api-reference/text-to-speech. Values are checked by the contract.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from service.alignment import CharTime
from tts.engine import EngineSpec
from validation.errors import Fault, InvalidInput
from validation.faults import shown, type_faults
from validation.rules import is_other_language
from web.jobs import Jobs
from web.objects import bounded_json
from web.openai import OTHER_IDS, voice_field

Json = dict[str, Any]

RATES_HZ = (8000, 16000, 22050, 24000, 32000, 44100, 48000)
MP3_KBPS = {22050: (32,), 24000: (48,), 44100: (32, 64, 96, 128, 192)}
FORMATS: dict[str, Json] = {
    **{f"pcm_{hz}": {"output_format": "pcm_s16le", "sample_rate": hz} for hz in RATES_HZ},
    **{f"wav_{hz}": {"output_format": "wav", "sample_rate": hz} for hz in RATES_HZ},
    **{
        f"mp3_{hz}_{kbps}": {"output_format": "mp3", "sample_rate": hz, "bitrate_kbps": kbps}
        for hz, rates in MP3_KBPS.items()
        for kbps in rates
    },
    "mp3_44100": {"output_format": "mp3", "sample_rate": 44100, "bitrate_kbps": 128},
    **{
        f"opus_48000_{kbps}": {"output_format": "opus", "sample_rate": 48000, "bitrate_kbps": kbps}
        for kbps in (32, 64, 96, 128, 192)
    },
    "ulaw_8000": {"output_format": "mulaw_raw", "sample_rate": 8000},
    "alaw_8000": {"output_format": "alaw_raw", "sample_rate": 8000},
}
DEFAULT_FORMAT = "mp3_44100_128"
VOICES = frozenset(  # ElevenLabs' own, which clients have built in, and pipecat's default
    """21m00Tcm4TlvDq8ikWAM 9BWtsMINqrJLrRacOk9x AZnzlk1XvdvUeBnXmlld CwhRBWXzGAHq8TQ4Fs17 EXAVITQu4vr4xnSDxMaL
    ErXwobaYiN019PkySvjV FGY2WhTYpPnrIDTdsKH5 IKne3meq5aSn9XLyUdCD JBFqnCBsd6RMkjVDRZzb MF3mGyEYCl7XYWbV9V6O
    N2lVS1w4EtoT3dr4eOWO SAz9YHcvj6GT2YYXdXww TX3LPaxmHKxFdv7VOQHJ TxGEqnHWrfWFTfGW9XjX VR6AewLTigWG4xSOukaG
    XB0fDUnXU5powFXDhCwa Xb7hH8MSUJpSbSDYk0k2 XrExE9yKIg1WjnnlVkGX bIHbv24MWmeRgasZH58o cgSgspJ2msm6clMCkdW9
    cjVigY5qzO86Huf0OWal hpp4J3VqNfWAUOO0d1Us iP95p4xoKVk53GoZ742B nPczCjzI2devNBz1zQrb onwK4e9ZLuTAKqWW03F9
    pFZP5JQG7iQjIQuC4Bku pMsXgVXv3BLzUgSXRplE pNInz6obpgDQGcFmaJgB pqHfZKP75CvOlQylNhV4 yoZ06aMxZJJ28mfd3POQ
    None""".split()
)
MODELS = ("eleven_multilingual_v2", "eleven_turbo_v2_5", "eleven_flash_v2_5")  # all mean ours, as any other name does
OURS = {"text": "text", "seed": "seed", "language_code": "language"}
TYPES = {"model_id": str, "language_code": str, "voice_settings": dict}
# Accepted without being named as ignored: what they ask for holds anyway, or is done elsewhere.
DONE = frozenset(
    "model_id optimize_streaming_latency enable_logging voice_settings apply_text_normalization".split()
    + "authorization single_use_token xi_api_key xi-api-key api_key".split()  # `web.access` looks for keys
)


def job_fields(given: Mapping[str, Any]) -> tuple[Json, list[str]]:
    """Our fields for a body's or an address's, nulls left out, and the names of those without effect.

    Raises: InvalidInput.
    """
    faults = type_faults(given, TYPES)
    if (reading := given.get("apply_text_normalization", "auto")) not in ("auto", "on", "off"):
        faults.append(Fault("apply_text_normalization", f"must be auto, on or off (got {shown(reading)})"))
    if faults:
        raise InvalidInput.of(*faults)
    fields = {ours: given[theirs] for theirs, ours in OURS.items() if theirs in given}
    if reading == "off":
        fields["normalize_text"] = False
    sound, ignored = sound_fields(given.get("voice_settings", {}))
    return fields | sound, [*ignored, *(name for name in given if name not in OURS and name not in DONE)]


async def conversion_fields(jobs: Jobs, voice: str, given: Mapping[str, Any]) -> tuple[Json, list[str]]:
    """Our fields for those of a form for speech in another voice, and the names of those without effect.

    Raises: InvalidInput, UnknownVoice.
    """
    if "audio" not in given:
        raise InvalidInput.of(Fault("audio", "is required: the recording, as a file"))
    if (kind := given.get("file_format", "other")) != "other":
        message = f"must be other: send a file with a header, such as wav (got {shown(kind)})"
        raise InvalidInput.of(Fault("file_format", message))
    own = {name: given[name] for name in ("model_id", "seed", "voice_settings") if name in given}
    if isinstance(settings := own.get("voice_settings"), str):
        with suppress(ValueError, RecursionError):  # else it stays a string, and is refused
            own["voice_settings"] = bounded_json(settings)
    fields, ignored = await speech_fields(jobs, voice, own)
    ignored += ["voice_settings.style"] if fields.pop("exaggeration", None) is not None else []
    ignored += [name for name in given if name not in {*own, *DONE, "audio", "file_format"}]
    return {"operation": "convert", "source_audio": given["audio"]} | fields, ignored


def sound_fields(settings: Mapping[str, Any]) -> tuple[Json, list[str]]:
    """Of `voice_settings`: `speed`, and `style`, which exaggerates: 0 is our exaggeration's default, 1 its 1."""
    given = {name: value for name, value in settings.items() if value is not None}
    fields = {"speed": given["speed"]} if "speed" in given else {}
    if "style" in given:
        style = given["style"]
        if isinstance(style, bool) or not isinstance(style, int | float) or not 0.0 <= style <= 1.0:
            raise InvalidInput.of(Fault("voice_settings.style", f"must be a number from 0 to 1 (got {shown(style)})"))
        fields["exaggeration"] = 0.5 + style / 2
    return fields, [f"voice_settings.{name}" for name in given if name not in ("speed", "style")]


def format_fields(name: str) -> Json:
    """Raises: InvalidInput."""
    if name in FORMATS:
        return FORMATS[name]
    raise InvalidInput.of(Fault("output_format", f"must be one of {', '.join(FORMATS)} (got {shown(name)})"))


async def speech_fields(jobs: Jobs, voice: str, given: Mapping[str, Any]) -> tuple[Json, list[str]]:
    """As `job_fields`, with the voice of ours for an id: one that is named speaks no language that it can't,
    whichever the client has built in. Raises: InvalidInput, UnknownVoice."""
    (fields, ignored), known = job_fields(given), await jobs.voices()
    fields |= (named := voice_field(voice, known, jobs.mapped_voices, VOICES, OTHER_IDS))
    if named and is_other_language(fields.get("language"), known[named["voice"]]):
        del fields["language"]
        ignored.append("language_code")
    if "exaggeration" in fields and "exaggeration" in jobs.service.spec.unused_fields:
        del fields["exaggeration"]
        ignored.append("voice_settings.style")
    return fields, ignored


# --- answers ------------------------------------------------------------------------------------------------------


def alignment_s(chars: Sequence[CharTime]) -> Json | None:
    """As HTTP has it."""
    if not chars:
        return None
    return {
        "characters": [each.char for each in chars],
        "character_start_times_seconds": [round(each.start_s, 3) for each in chars],
        "character_end_times_seconds": [round(each.end_s, 3) for each in chars],
    }


def alignment_ms(chars: Sequence[CharTime], zero_ms: int) -> Json | None:
    """As the WebSockets have it."""
    if not chars:
        return None
    starts, ends = [round(1000 * each.start_s) for each in chars], [round(1000 * each.end_s) for each in chars]
    return {
        "chars": [each.char for each in chars],
        "charStartTimesMs": [start - zero_ms for start in starts],
        "charDurationsMs": [end - start for start, end in zip(starts, ends, strict=True)],
    }


def voice_object(voice: Mapping[str, Any]) -> Json:
    """One of our voices, with the fields that ElevenLabs' clients read beside ours."""
    is_own = voice["source"] == "library"
    return {
        **voice,
        "voice_id": voice["name"],
        "category": "cloned" if is_own else "premade",
        "labels": {"language": voice["language"]},
        "samples": None,
        "preview_url": None,
        "settings": None,
        "available_for_tiers": [],
        "high_quality_base_model_ids": [],
        "is_owner": is_own,
    }


def model_objects(model: str, max_text_chars: int, spec: EngineSpec) -> list[Json]:
    """ElevenLabs' description of each model: ours under its own name and under theirs."""
    can = {"can_do_text_to_speech": True, "can_do_voice_conversion": spec.can_convert, "can_be_finetuned": False}
    can |= {"can_use_style": "exaggeration" not in spec.unused_fields}
    can |= {"can_use_speaker_boost": False, "serves_pro_voices": False}
    limits = ("maximum_text_length_per_request", "max_characters_request_free_user")
    common = can | dict.fromkeys((*limits, "max_characters_request_subscribed_user"), max_text_chars)
    languages = [{"language_id": tag, "name": tag} for tag in spec.spoken]
    about = {"description": "The model of this worker.", "token_cost_factor": 1.0, "languages": languages}
    return [{"model_id": name, "name": name} | common | about for name in (model, *MODELS)]
