"""The `tts` request: JSON in, a frozen `TtsRequest` out, or one error that names every fault at once.

It knows what this endpoint offers (`Offer`, plain data) but not which engine speaks, nor how audio is
decoded: a reference leaves here as bytes.
"""

from __future__ import annotations

import base64
import binascii
import difflib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from validation.errors import (
    Fault,
    InvalidInput,
    ReferenceAudioError,
    RequestError,
    UnknownVoice,
    Unsupported,
    printable,
)

MAX_SEED = 2**32 - 1
MAX_UNKNOWN_FIELDS = 20  # told by name; to find the nearest known name of 20,000 took half a minute
LANGUAGE_TAG = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,6}")
DATA_URI = re.compile(r"data:[^,]{0,200},", re.IGNORECASE)

SAMPLE_RATES_HZ = (16000, 22050, 24000, 44100, 48000)


def _known_rate(rate_hz: int) -> int:
    """A Literal would let 24000.0 pass, which is no whole number."""
    if rate_hz not in SAMPLE_RATES_HZ:
        raise PydanticCustomError("literal_error", "", {"expected": ", ".join(map(str, SAMPLE_RATES_HZ))})
    return rate_hz


Unit = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
DecodeMode = Literal["full", "window", "block"]
VoiceMode = Literal["predefined", "clone"]
Normalization = Literal["peak", "rms"]
Finding: TypeAlias = tuple[type[RequestError], Fault]


@dataclass(frozen=True, slots=True)
class Offer:
    """What this endpoint can do for a request.

    `voices` maps each predefined name to its BCP-47 language; `clone_languages` is None where a recording
    can't be cloned; `streaming` says whether the reply leaves in pieces.
    """

    voices: Mapping[str, str]
    default_voice: str
    clone_languages: tuple[str, ...] | None
    decode_modes: tuple[str, ...]
    max_text_chars: int
    max_reference_bytes: int
    streaming: bool


class TtsFields(BaseModel):
    """The fields of `tts`, their types, ranges and defaults: the table of the contract."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    operation: Literal["tts"] = "tts"
    text: str
    exaggeration: Unit = 0.5
    cfg_weight: Unit = 0.5
    cfg: Unit | None = None
    temperature: Annotated[float, Field(ge=0.1, le=2.0, allow_inf_nan=False)] = 0.8
    top_p: Annotated[float, Field(gt=0.0, le=1.0, allow_inf_nan=False)] = 1.0
    min_p: Unit = 0.05
    repetition_penalty: Annotated[float, Field(ge=1.0, le=2.0, allow_inf_nan=False)] = 1.2
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] | None = None
    language: str | None = None
    chunk_size: Annotated[int, Field(ge=1, le=200)] = 25
    context_window: Annotated[int, Field(ge=0, le=500)] = 50
    fade_duration: Annotated[float, Field(ge=0.0, le=0.5, allow_inf_nan=False)] = 0.02
    decode_mode: Literal["auto", "full", "window", "block"] = "auto"
    print_metrics: bool = True
    voice_mode: VoiceMode | None = None
    voice: str | None = None
    reference_audio: str | None = None
    max_reference_duration_sec: Annotated[float, Field(ge=1.0, le=60.0, allow_inf_nan=False)] = 30.0
    output_format: Literal["wav", "opus", "mp3"] = "wav"
    sample_rate: Annotated[int, AfterValidator(_known_rate)] = 24000
    audio_normalization: Normalization | None = None


@dataclass(frozen=True, slots=True)
class TtsRequest:
    """A request that was understood: every value is the one that will be used.

    `seed` is None where the caller left it to us. `voice` is "" for a clone, whose recording is
    `reference` (undecoded bytes). `given` holds the names of the fields the caller set.
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
    max_reference_duration_s: float
    output_format: str
    sample_rate_hz: int
    audio_normalization: Normalization | None
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
            "output_format": self.output_format,
            "sample_rate": self.sample_rate_hz,
            "audio_normalization": self.audio_normalization,
        }


def parse(raw: object, offer: Offer) -> TtsRequest:
    """Check one job's input against the contract and what this endpoint offers.

    Raises: InvalidInput, UnknownVoice, ReferenceAudioError or Unsupported, whichever kind all the faults
    share; InvalidInput where they are mixed. The message names every fault.
    """
    given = present_fields(raw)
    fields, findings = _typed(given)
    sound = {name: value for name, value in given.items() if name not in {f.field for _, f in findings}}
    findings += [finding for rule in RULES for finding in rule(sound, offer)]
    if fields is None or findings:
        raise _refusal(findings)
    return _resolve(fields, frozenset(given), offer)


def present_fields(raw: object) -> dict[str, Any]:
    """The input's fields that are there; null means absent. Raises InvalidInput if it is no object."""
    if not isinstance(raw, Mapping):
        kind = "missing" if raw is None else f"a JSON {_json_type(raw)}"
        raise InvalidInput(f'input must be an object such as {{"text": "Hello."}} (it is {kind})')
    return {_field_name(name): value for name, value in raw.items() if value is not None}


def unknown_fields(names: Sequence[str], known: Iterable[str]) -> list[Fault]:
    """The faults of fields nobody knows, each with the nearest known name; of very many only the first."""
    faults = [_unknown_field(name, known) for name in names[:MAX_UNKNOWN_FIELDS]]
    if more := len(names) - len(faults):
        faults.append(Fault("input", f"has {more} more unknown fields"))
    return faults


def _unknown_field(name: str, known: Iterable[str]) -> Fault:
    near = difflib.get_close_matches(name[:60], list(known), n=1)
    hint = f"; did you mean `{near[0]}`?" if near else ""
    return Fault(name[:60], f"is not a field{hint}")


def describe_faults(faults: Iterable[Fault]) -> str:
    """All faults as one sentence: "temperature must be at most 2.0 (got 3.5); text is required"."""
    return "; ".join(f"{_name(fault)} {fault.message}" for fault in faults)


def _field_name(name: object) -> str:
    """JSON has only strings for names; a caller in Python may have others, even an int too long to print."""
    return name if isinstance(name, str) else _shown(name)


def _name(fault: Fault) -> str:
    return f"`{fault.field}`" if fault.message.startswith("is not a field") else fault.field


def speaks(asked: str, spoken: str) -> bool:
    """Whether a voice of language `spoken` serves the tag `asked`: "en" and "en-us" serve each other,
    "en-gb" and "en-us" don't."""
    a, b = asked.lower(), spoken.lower()
    return a == b or b.startswith(f"{a}-") or a.startswith(f"{b}-")


# --- types and ranges -------------------------------------------------------------------------------------


def _typed(given: dict[str, Any]) -> tuple[TtsFields | None, list[Finding]]:
    try:
        return TtsFields.model_validate(given), []
    except ValidationError as exc:
        errors = exc.errors(include_url=False, include_context=True)
        unknown = [str(error["loc"][0]) for error in errors if error["type"] == "extra_forbidden"]
        faults = [_fault_of(error) for error in errors if error["type"] != "extra_forbidden"]
        faults += unknown_fields(unknown, TtsFields.model_fields)
        return None, [(InvalidInput, fault) for fault in faults]


def _fault_of(error: Any) -> Fault:
    name, kind = str(error["loc"][0]) if error["loc"] else "a field's name", error["type"]
    phrase = PHRASES.get(kind, "is not valid").format(**error.get("ctx", {}))
    return Fault(name, phrase if kind == "missing" else f"{phrase} (got {_shown(error['input'])})")


PHRASES = {
    "missing": "is required",
    "string_type": "must be a string",
    "string_unicode": "holds a lone surrogate, which is no character",
    "float_type": "must be a number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing_size": "is too large",
    "bool_type": "must be true or false",
    "finite_number": "must be a finite number",
    "literal_error": "must be one of {expected}",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
}


def _json_type(value: object) -> str:
    if isinstance(value, bool):
        return "boolean"
    names = {str: "string", int: "number", float: "number", list: "array", Mapping: "object"}
    return next((name for kind, name in names.items() if isinstance(value, kind)), type(value).__name__)


def _shown(value: object) -> str:
    """The value as a short piece of JSON; never more than a few characters of what the caller sent."""
    if isinstance(value, list | tuple | Mapping):
        return f"a JSON {_json_type(value)}"
    if isinstance(value, str):
        return json.dumps(printable(value[:24]) + ("…" if len(value) > 24 else ""), ensure_ascii=False)
    if isinstance(value, int) and value.bit_length() > 64:
        return "a number of more than 64 bits"
    return str(value)[:24] if not isinstance(value, bool) else str(value).lower()


# --- rules over more than one value: each sees only fields whose types are right --------------------------


def _text_rule(given: dict[str, Any], offer: Offer) -> Iterator[Finding]:
    if not isinstance(text := given.get("text"), str):
        return
    length = len(text.strip())
    if "\0" in text:
        yield InvalidInput, Fault("text", "holds a NUL character")
    if printable(text) != text:
        yield InvalidInput, Fault("text", "holds a lone surrogate, which is no character")
    if length > offer.max_text_chars:
        message = f"must be at most {offer.max_text_chars} characters (got {length})"
        yield InvalidInput, Fault("text", message)
    elif not any(char.isalnum() for char in text):
        yield InvalidInput, Fault("text", "must hold at least one letter or digit")


def _alias_rule(given: dict[str, Any], offer: Offer) -> Iterator[Finding]:
    if "cfg" in given and "cfg_weight" in given:
        yield InvalidInput, Fault("cfg", "is another name of cfg_weight: send one of them")


def _voice_rule(given: dict[str, Any], offer: Offer) -> Iterator[Finding]:
    mode, voice, has_reference = given.get("voice_mode"), given.get("voice"), "reference_audio" in given
    is_clone, known = mode == "clone" or has_reference, ", ".join(offer.voices)
    if mode == "clone" and not has_reference:
        yield InvalidInput, Fault("reference_audio", "is required when voice_mode is clone")
    if mode == "predefined" and has_reference:
        yield InvalidInput, Fault("reference_audio", "needs voice_mode clone (got predefined)")
    if voice is not None and is_clone:
        yield InvalidInput, Fault("voice", "names a predefined voice and can't go with a clone")
    elif voice is not None and voice not in offer.voices:
        yield UnknownVoice, Fault("voice", f"{_shown(voice)} is not a voice here; known: {known}")
    elif voice is None and not is_clone and offer.default_voice not in offer.voices:
        message = f"is needed: the default, {_shown(offer.default_voice)}, is not here; known: {known}"
        yield UnknownVoice, Fault("voice", message)
    if is_clone and offer.clone_languages is None:
        message = "clone is not possible with this engine: use a predefined voice"
        yield Unsupported, Fault("voice_mode", message)


def _reference_rule(given: dict[str, Any], offer: Offer) -> Iterator[Finding]:
    if not isinstance(encoded := given.get("reference_audio"), str):
        return
    size = len(encoded) * 3 // 4
    if size > offer.max_reference_bytes:
        message = f"is about {size} bytes; at most {offer.max_reference_bytes} are taken"
        yield ReferenceAudioError, Fault("reference_audio", message)
    elif not (data := decode_base64(encoded)):
        message = "is not base64" if data is None else "is empty"
        yield ReferenceAudioError, Fault("reference_audio", message)


def _language_rule(given: dict[str, Any], offer: Offer) -> Iterator[Finding]:
    if not isinstance(asked := given.get("language"), str):
        return
    languages = _languages(given, offer)
    if not LANGUAGE_TAG.fullmatch(asked):
        yield InvalidInput, Fault("language", f"must be a BCP-47 tag such as en-us (got {_shown(asked)})")
    elif not any(speaks(asked, spoken) for spoken in languages):
        known = ", ".join(sorted(set(languages))) or "nothing"
        yield Unsupported, Fault("language", f"{asked} is not spoken here; spoken: {known}")


def _languages(given: Mapping[str, Any], offer: Offer) -> tuple[str, ...]:
    if "reference_audio" in given or given.get("voice_mode") == "clone":
        return offer.clone_languages or ()
    voice = given.get("voice")
    if isinstance(voice, str) and voice in offer.voices:
        return (offer.voices[voice],)
    return tuple(offer.voices.values())


def _ability_rule(given: dict[str, Any], offer: Offer) -> Iterator[Finding]:
    mode = given.get("decode_mode", "auto")
    if mode != "auto" and mode not in offer.decode_modes:
        known = ", ".join(offer.decode_modes)
        yield Unsupported, Fault("decode_mode", f"{mode} is not possible with this engine; possible: {known}")
    if offer.streaming and "audio_normalization" in given:
        message = "needs the whole clip, and this endpoint streams: leave it out, or use a joined endpoint"
        yield Unsupported, Fault("audio_normalization", message)


RULES: tuple[Callable[[dict[str, Any], Offer], Iterator[Finding]], ...] = (
    _text_rule,
    _alias_rule,
    _voice_rule,
    _reference_rule,
    _language_rule,
    _ability_rule,
)


# --- outcomes ---------------------------------------------------------------------------------------------


def _refusal(findings: list[Finding]) -> RequestError:
    kinds = {kind for kind, _ in findings}
    kind = kinds.pop() if len(kinds) == 1 else InvalidInput
    faults = [fault for _, fault in findings]
    return kind(describe_faults(faults), faults)


def decode_base64(encoded: str) -> bytes | None:
    """Base64 (a `data:` URI is fine, so is white space) → bytes; None if it is not base64."""
    try:
        body = encoded[match.end() :] if (match := DATA_URI.match(encoded)) else encoded
        return base64.b64decode("".join(body.split()), validate=True)
    except (binascii.Error, ValueError):
        return None


def _resolve(fields: TtsFields, given: frozenset[str], offer: Offer) -> TtsRequest:
    cloned = fields.reference_audio is not None
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
        max_reference_duration_s=fields.max_reference_duration_sec,
        output_format=fields.output_format,
        sample_rate_hz=fields.sample_rate,
        audio_normalization=fields.audio_normalization,
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
