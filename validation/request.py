"""The `tts` request: JSON in, a frozen `TtsRequest` out, or one error that names every fault at once.

It knows what this endpoint offers (`Offer`, plain data) but not which engine speaks, nor how audio is
decoded: a reference leaves here as bytes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from validation.faults import present_fields, refusal, typed
from validation.fields import DecodeMode, Delivery, Normalization, TtsFields, VoiceMode
from validation.rules import RULES, Offer, chosen_voice, decode_base64

NOT_TOLD = {"text", "reference", "reference_url", "given"}
CONTRACT_NAMES = {
    "fade_duration_s": "fade_duration",
    "max_reference_duration_s": "max_reference_duration_sec",
    "sample_rate_hz": "sample_rate",
}


@dataclass(frozen=True, slots=True)
class TtsRequest:
    """A request that was understood: every value is the one that will be used.

    `seed` is None where the caller left it to us. `voice` is "" for a clone, whose recording is `reference`
    (undecoded bytes) or lies at `reference_url`. `bitrate_kbps` None is the encoder's own. `given` holds the names of
    the fields the caller set.
    """

    text: str
    exaggeration: float
    cfg_weight: float
    temperature: float
    top_p: float
    min_p: float
    repetition_penalty: float
    seed: int | None
    language: str
    chunk_size: int
    context_window: int
    fade_duration_s: float
    decode_mode: DecodeMode
    print_metrics: bool
    voice_mode: VoiceMode
    voice: str
    reference: bytes | None
    reference_url: str | None
    max_reference_duration_s: float
    normalize_text: bool
    pronunciations: Mapping[str, str]
    sentence_pause_ms: int
    paragraph_pause_ms: int
    speed: float
    trim_silence: bool
    output_format: str
    sample_rate_hz: int
    bitrate_kbps: int | None
    audio_normalization: Normalization | None
    delivery: Delivery
    given: frozenset[str]

    def parameters(self) -> dict[str, Any]:
        """The effective values under their contract names, for the reply (without text and recording)."""
        names = (field.name for field in dataclasses.fields(self) if field.name not in NOT_TOLD)
        told = {CONTRACT_NAMES.get(name, name): getattr(self, name) for name in names}
        return told | {"pronunciations": dict(self.pronunciations)}


def parse(raw: object, offer: Offer) -> TtsRequest:
    """Check one job's input against the contract and what this endpoint offers.

    Raises: InvalidInput, UnknownVoice, ReferenceAudioError or Unsupported, whichever kind all the faults
    share; InvalidInput where they are mixed. The message names every fault.
    """
    given = present_fields(raw)
    fields, findings = typed(TtsFields, given)
    faulty = {fault.field for _, fault in findings}
    if faulty & {"output_format", "sample_rate"}:
        faulty.add("bitrate_kbps")  # which means nothing without them
    sound = {name: value for name, value in given.items() if name not in faulty}
    findings += [finding for rule in RULES for finding in rule(sound, offer)]
    if fields is None or findings:
        raise refusal(findings)
    return _resolve(fields, frozenset(given), offer)


def _resolve(fields: TtsFields, given: frozenset[str], offer: Offer) -> TtsRequest:
    cloned = fields.reference_audio is not None or fields.reference_audio_url is not None
    voice = "" if cloned else chosen_voice(fields.voice, fields.language, offer.default_voice, offer.voices)
    own_language = (offer.clone_languages or ("",))[0] if cloned else offer.voices[voice]
    return TtsRequest(
        text=fields.text.strip(),
        exaggeration=fields.exaggeration,
        cfg_weight=fields.cfg_weight if fields.cfg is None else fields.cfg,
        temperature=fields.temperature,
        top_p=fields.top_p,
        min_p=fields.min_p,
        repetition_penalty=fields.repetition_penalty,
        seed=fields.seed,
        language=fields.language or own_language,
        chunk_size=fields.chunk_size,
        context_window=fields.context_window,
        fade_duration_s=fields.fade_duration,
        decode_mode=_decode_mode(fields, given, offer),
        print_metrics=fields.print_metrics,
        voice_mode="clone" if cloned else "predefined",
        voice=voice,
        reference=decode_base64(fields.reference_audio) if fields.reference_audio is not None else None,
        reference_url=fields.reference_audio_url,
        max_reference_duration_s=fields.max_reference_duration_sec,
        normalize_text=fields.normalize_text,
        pronunciations=fields.pronunciations or {},
        sentence_pause_ms=fields.sentence_pause_ms,
        paragraph_pause_ms=fields.paragraph_pause_ms,
        speed=fields.speed,
        trim_silence=fields.trim_silence,
        output_format=fields.output_format,
        sample_rate_hz=fields.sample_rate or offer.formats[fields.output_format].sample_rate_hz,
        bitrate_kbps=fields.bitrate_kbps,
        audio_normalization=fields.audio_normalization,
        delivery=fields.delivery,
        given=given,
    )


def _decode_mode(fields: TtsFields, given: frozenset[str], offer: Offer) -> DecodeMode:
    if fields.decode_mode != "auto":
        return fields.decode_mode
    chunked = offer.streaming or given & {"chunk_size", "context_window"}
    return "window" if chunked else "full"
