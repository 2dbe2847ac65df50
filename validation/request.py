"""The `tts` request: JSON in, a frozen `TtsRequest` out, or one error that names every fault at once.

It knows what this endpoint offers (`Offer`, plain data) but not which engine speaks, nor how audio is
decoded: a reference leaves here as bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from validation.faults import present_fields, refusal, typed
from validation.fields import DecodeMode, Delivery, Normalization, TtsFields, VoiceMode
from validation.rules import RULES, Offer, decode_base64, speaks


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
        return {
            "exaggeration": self.exaggeration,
            "cfg_weight": self.cfg_weight,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "min_p": self.min_p,
            "repetition_penalty": self.repetition_penalty,
            "seed": self.seed,
            "language": self.language,
            "chunk_size": self.chunk_size,
            "context_window": self.context_window,
            "fade_duration": self.fade_duration_s,
            "decode_mode": self.decode_mode,
            "print_metrics": self.print_metrics,
            "voice_mode": self.voice_mode,
            "voice": self.voice,
            "max_reference_duration_sec": self.max_reference_duration_s,
            "normalize_text": self.normalize_text,
            "pronunciations": dict(self.pronunciations),
            "sentence_pause_ms": self.sentence_pause_ms,
            "paragraph_pause_ms": self.paragraph_pause_ms,
            "speed": self.speed,
            "trim_silence": self.trim_silence,
            "output_format": self.output_format,
            "sample_rate": self.sample_rate_hz,
            "bitrate_kbps": self.bitrate_kbps,
            "audio_normalization": self.audio_normalization,
            "delivery": self.delivery,
        }


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
    voice = "" if cloned else _voice(fields, offer)
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


def _voice(fields: TtsFields, offer: Offer) -> str:
    """The named voice; else the default one if it speaks the language asked for; else the first that does."""
    if fields.voice is not None:
        return fields.voice
    asked = fields.language
    candidates = (offer.default_voice, *offer.voices)
    return next(name for name in candidates if asked is None or speaks(asked, offer.voices[name]))


def _decode_mode(fields: TtsFields, given: frozenset[str], offer: Offer) -> DecodeMode:
    if fields.decode_mode != "auto":
        return fields.decode_mode
    chunked = offer.streaming or given & {"chunk_size", "context_window"}
    return "window" if chunked else "full"
