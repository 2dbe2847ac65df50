"""Rules over the values of a `tts` request, beyond their types, and over the endpoint's capabilities.

A rule sees only fields whose types are valid.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from validation.errors import Fault, InvalidInput, ReferenceAudioError, UnknownVoice, Unsupported, printable
from validation.faults import Finding, named, shown, unknown_voice
from validation.markup import MAX_PAUSE_MS, MAX_PAUSES_MS, Pause, Tag, parts

LANGUAGE_TAG = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,6}")
MAX_URL_CHARS = 2048
WEB_ADDRESS = re.compile(r"https?://[^\s/?#]+[^\s]*", re.IGNORECASE)
MAX_PRONUNCIATIONS, MAX_WORD_CHARS, MAX_RESPELLING_CHARS = 200, 64, 200
URL_SAFE = bytes.maketrans(b"-_", b"+/")
SAME_LANGUAGE = {"nb": "no", "nn": "no", "cmn": "zh", "iw": "he"}  # variants and former tags → the usual one
BLOCK_CHARS = 1 << 16  # split at a time: each word becomes an object of 50 bytes and more
DATA_URI = re.compile(r"data:[^,]{0,200},", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class FormatCapabilities:
    """A format's default sample rate, and the bit rates in kbit/s by sample rate (none: there is no choice)."""

    sample_rate_hz: int
    bitrates_kbps: Mapping[int, Sequence[int]]


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What this endpoint can do.

    `voices` maps each predefined name to its BCP-47 language; `clone_languages` is None where a recording can't be
    cloned; `streaming`: the reply is sent in pieces; `uploads`: there is a bucket; `translated`: the request came in
    another contract's words, so it may have what only ours refuses: a text of signs alone, and `TranslatedFields`;
    `engine` is its name; `max_source_…` are of a recording to convert; `polyglot_languages` are those that every voice
    speaks besides its own, by the engine's tags, `lacking` what further ones lack here; `defaults` are its own values
    for fields that are left out; `tags` are the names of those in a text that it can speak.
    """

    voices: Mapping[str, str]
    default_voice: str
    clone_languages: tuple[str, ...] | None
    decode_modes: tuple[str, ...]
    formats: Mapping[str, FormatCapabilities]
    streamed_normalizations: tuple[str, ...]
    max_text_chars: int
    max_reference_bytes: int
    streaming: bool
    uploads: bool = False
    translated: bool = False
    engine: str = ""
    max_source_bytes: int = 0
    max_source_s: float = 0.0
    polyglot_languages: tuple[str, ...] = ()
    lacking: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    tags: Collection[str] = ()


def speaks(asked: str, spoken: str) -> bool:
    """Whether a voice of language `spoken` serves the tag `asked`: "en" and "en-us" serve each other,
    "en-gb" and "en-us" don't."""
    a, b = _usual(asked), _usual(spoken)
    return a == b or b.startswith(f"{a}-") or a.startswith(f"{b}-")


def _usual(tag: str) -> str:
    primary, dash, rest = tag.lower().partition("-")
    return SAME_LANGUAGE.get(primary, primary) + dash + rest


def is_other_language(asked: object, spoken: Iterable[str]) -> bool:
    """Whether a tag was asked for that a voice of these languages does not serve."""
    is_tag = isinstance(asked, str) and LANGUAGE_TAG.fullmatch(asked)
    return bool(is_tag) and not any(speaks(str(asked), each) for each in spoken)


def chosen_voice(voice: object, language: object, default: str, voices: Mapping[str, str]) -> str:
    """The named voice; else the default one, if the language is its own; else the first of that language; else the
    default one. A name that is no string and a language that is no tag are ignored. `voices` maps names to BCP-47
    languages."""
    if isinstance(voice, str):
        return voice
    if not isinstance(language, str) or not LANGUAGE_TAG.fullmatch(language):
        return default
    return next((name for name in (default, *voices) if speaks(language, voices.get(name, ""))), default)


def decode_base64(encoded: str) -> bytes | None:
    """Base64 → bytes; None if it is not base64. A `data:` URI, white space, the URL-safe alphabet (RFC 4648, section
    5) and missing padding are accepted."""
    body = encoded[match.end() :] if (match := DATA_URI.match(encoded)) else encoded
    blocks = range(0, len(body), BLOCK_CHARS)
    try:
        ascii_blocks = ("".join(body[at : at + BLOCK_CHARS].split()).encode("ascii") for at in blocks)
        joined = b"".join(ascii_blocks).translate(URL_SAFE)
        unpadded = joined.rstrip(b"=")
        return base64.b64decode(unpadded + b"=" * max(len(joined) - len(unpadded), -len(unpadded) % 4), validate=True)
    except ValueError:  # also binascii.Error and UnicodeEncodeError
        return None


def decoded_or_none(encoded: str | None) -> bytes | None:
    return None if encoded is None else decode_base64(encoded)


def _text_rule(given: dict[str, Any], capabilities: Capabilities) -> Iterator[Finding]:
    """Its length first: a text that is too long is not examined further."""
    if not isinstance(text := given.get("text"), str):
        return
    if len(text := text.strip()) > capabilities.max_text_chars:
        message = f"must be at most {capabilities.max_text_chars} characters (got {len(text)})"
        yield InvalidInput, Fault("text", message)
        return
    found = list(parts(text))
    if "\0" in text:
        yield InvalidInput, Fault("text", "holds a NUL character")
    if printable(text) != text:
        yield InvalidInput, Fault("text", "holds a lone surrogate, which is no character")
    is_wordless = not any(char.isalnum() for part in found if isinstance(part, str) for char in part)
    has_tag = any(part.name in capabilities.tags for part in found if isinstance(part, Tag))
    if is_wordless and not has_tag and not (capabilities.translated and text):
        yield InvalidInput, Fault("text", "must hold at least one letter or digit")
    if message := _wrong_pause([part for part in found if isinstance(part, Pause)]):
        yield InvalidInput, Fault("text", message)


def _wrong_pause(pauses: list[Pause]) -> str:
    """The first fault of the pauses, or ""."""
    for pause in pauses:
        if pause.length_ms is None:
            return f"holds {shown(pause.mark)}: a pause is written [pause:500ms] or [pause:1.5s]"
        if pause.length_ms > MAX_PAUSE_MS:
            return f"holds {shown(pause.mark)}: a pause is at most {MAX_PAUSE_MS // 1000} s long"
    if (total_ms := sum(pause.length_ms or 0 for pause in pauses)) > MAX_PAUSES_MS:
        return f"holds pauses of {total_ms / 1000:g} s in all; at most {MAX_PAUSES_MS // 1000} s are allowed"
    return ""


Checks: TypeAlias = tuple[tuple[str, Callable[[str, str], bool]], ...]  # a fault, and whether an entry has it


def _pronunciation_rule(given: dict[str, Any], capabilities: Capabilities) -> Iterator[Finding]:
    """The map's faults, each kind once. Contents are checked only if no entry is too long."""
    if not isinstance(respellings := given.get("pronunciations"), Mapping):
        return
    if len(respellings) > MAX_PRONUNCIATIONS:
        message = f"has {len(respellings)} words; at most {MAX_PRONUNCIATIONS} are taken"
        yield InvalidInput, Fault("pronunciations", message)
        return
    sizes: Checks = (
        (f"a word of more than {MAX_WORD_CHARS} characters", lambda word, _: len(word) > MAX_WORD_CHARS),
        (
            f"a respelling of more than {MAX_RESPELLING_CHARS} characters",
            lambda _, spelled: len(spelled) > MAX_RESPELLING_CHARS,
        ),
    )
    contents: Checks = (
        ("a word without a letter or digit", lambda word, _: not any(map(str.isalnum, word))),
        ("the same word twice", lambda word, _: folded.count(word.strip().casefold()) > 1),
        ("no letter or digit to say", lambda _, spelled: not any(map(str.isalnum, spelled))),
        ("a NUL character or a lone surrogate", lambda word, spelled: _is_no_text(word) or _is_no_text(spelled)),
    )
    if too_long := [*_failing(sizes, respellings)]:
        yield from too_long
        return
    folded = [word.strip().casefold() for word in respellings]
    yield from _failing(contents, respellings)


def _failing(checks: Checks, respellings: Mapping[str, str]) -> Iterator[Finding]:
    for what, fails in checks:
        if (word := next((word for word, spelled in respellings.items() if fails(word, spelled)), None)) is not None:
            yield InvalidInput, Fault("pronunciations", f"holds {what} (at {shown(word)})")


def _is_no_text(text: str) -> bool:
    return "\0" in text or printable(text) != text


def _alias_rule(given: dict[str, Any], capabilities: Capabilities) -> Iterator[Finding]:
    if "cfg" in given and "cfg_weight" in given:
        yield InvalidInput, Fault("cfg", "is another name of cfg_weight: send one of them")


def _voice_rule(given: dict[str, Any], capabilities: Capabilities) -> Iterator[Finding]:
    mode, voice, has_reference = given.get("voice_mode"), given.get("voice"), _has_reference(given)
    is_clone, known = mode == "clone" or has_reference, named(capabilities.voices)
    if mode == "clone" and not has_reference:
        yield InvalidInput, Fault("reference_audio", "is required when voice_mode is clone (or reference_audio_url)")
    by = next((name for name in ("reference_audio", "reference_audio_url") if name in given), "voice_mode")
    if mode == "predefined" and has_reference:
        yield InvalidInput, Fault(by, "needs voice_mode clone (got predefined)")
    if voice is not None and is_clone:
        yield InvalidInput, Fault("voice", "names a predefined voice and can't go with a clone")
    elif voice is not None and voice not in capabilities.voices:
        yield UnknownVoice, unknown_voice(shown(voice), capabilities.voices)
    elif voice is None and not is_clone and capabilities.default_voice not in capabilities.voices:
        message = f"is needed: the default, {shown(capabilities.default_voice)}, is not here; known: {known}"
        yield UnknownVoice, Fault("voice", message)
    if is_clone and capabilities.clone_languages is None:
        message = "asks for a clone, which this worker's engine can't make: name a predefined voice instead"
        yield Unsupported, Fault(by, message)


def _has_reference(given: Mapping[str, Any]) -> bool:
    return "reference_audio" in given or "reference_audio_url" in given


def _reference_rule(given: dict[str, Any], capabilities: Capabilities) -> Iterator[Finding]:
    return recording_rule(given, "reference_audio", capabilities.max_reference_bytes)


def recording_rule(given: Mapping[str, Any], name: str, max_bytes: int) -> Iterator[Finding]:
    """A recording is sent in one of two ways, in `name` or by its address, and is not too large."""
    if isinstance(url := given.get(f"{name}_url"), str):
        if name in given:
            yield InvalidInput, Fault(f"{name}_url", f"can't go with {name}: send one of them")
        if len(url) > MAX_URL_CHARS:
            yield InvalidInput, Fault(f"{name}_url", f"has more than {MAX_URL_CHARS} characters")
        elif not WEB_ADDRESS.fullmatch(url) or printable(url) != url:
            yield InvalidInput, Fault(f"{name}_url", "must be an address that begins with https:// or http://")
    if not isinstance(encoded := given.get(name), str):
        return
    size = len(encoded) * 3 // 4
    if size > max_bytes:
        yield ReferenceAudioError, Fault(name, f"is about {size} bytes; at most {max_bytes} are taken")
    elif not (data := decode_base64(encoded)):
        yield ReferenceAudioError, Fault(name, "is not base64" if data is None else "is empty")


def _language_rule(given: dict[str, Any], capabilities: Capabilities) -> Iterator[Finding]:
    asked = given.get("language")
    for language, lacks in capabilities.lacking.items():
        if isinstance(asked, str) and speaks(asked, language):
            yield Unsupported, Fault("language", f"{language} can't be read here: {lacks}")
            return
    yield from language_rule(asked, sorted(set(_languages(given, capabilities))), "here")


def language_rule(asked: object, languages: Sequence[str], where: str) -> Iterator[Finding]:
    """A language is a tag that one of `languages` serves; `where` completes the message if none does."""
    if not isinstance(asked, str):
        return
    if not LANGUAGE_TAG.fullmatch(asked):
        yield InvalidInput, Fault("language", f"must be a BCP-47 tag such as en-us (got {shown(asked)})")
    elif not any(speaks(asked, spoken) for spoken in languages):
        yield Unsupported, Fault("language", f"{asked} is not spoken {where}; spoken: {named(languages)}")


def _languages(given: Mapping[str, Any], capabilities: Capabilities) -> tuple[str, ...]:
    if capabilities.polyglot_languages:
        return capabilities.polyglot_languages
    if _has_reference(given) or given.get("voice_mode") == "clone":
        return capabilities.clone_languages or ()
    voice = given.get("voice")
    if isinstance(voice, str) and voice in capabilities.voices:
        return (capabilities.voices[voice],)
    return tuple(capabilities.voices.values())


def _ability_rule(given: dict[str, Any], capabilities: Capabilities) -> Iterator[Finding]:
    mode = given.get("decode_mode", "auto")
    if mode != "auto" and mode not in capabilities.decode_modes:
        known = ", ".join(capabilities.decode_modes)
        yield Unsupported, Fault("decode_mode", f"{mode} is not possible with this engine; possible: {known}")
    level = given.get("audio_normalization")
    if capabilities.streaming and level is not None and level not in capabilities.streamed_normalizations:
        possible = ", ".join(capabilities.streamed_normalizations)
        message = f"{level} needs the whole clip, and this endpoint streams: leave it out, or ask for {possible}"
        yield Unsupported, Fault("audio_normalization", message)


def _bitrate_rule(given: dict[str, Any], capabilities: Capabilities) -> Iterator[Finding]:
    name, asked = given.get("output_format", "wav"), given.get("bitrate_kbps")
    if asked is None or name not in capabilities.formats:
        return
    own = capabilities.formats[name]
    rate_hz = given.get("sample_rate", own.sample_rate_hz)
    legal = own.bitrates_kbps.get(rate_hz, ())
    if not legal:
        yield InvalidInput, Fault("bitrate_kbps", f"is of no use for {name}, which has no choice: leave it out")
    elif asked not in legal:
        known = f"{legal[0]} to {legal[-1]}" if isinstance(legal, range) else "one of " + ", ".join(map(str, legal))
        message = f"must be {known} for {name} at {rate_hz} Hz (got {asked})"
        yield InvalidInput, Fault("bitrate_kbps", message)


def _delivery_rule(given: dict[str, Any], capabilities: Capabilities) -> Iterator[Finding]:
    if given.get("delivery") != "url":
        return
    if capabilities.streaming:
        yield Unsupported, Fault("delivery", "url is not possible: this endpoint streams, its events are the delivery")
    elif not capabilities.uploads:
        message = "url needs a bucket: set up the worker with one (BUCKET_…), or send s3Config beside input"
        yield Unsupported, Fault("delivery", message)


Rules: TypeAlias = tuple[Callable[[dict[str, Any], Capabilities], Iterator[Finding]], ...]
_OUTPUT_RULES: Rules = (_ability_rule, _bitrate_rule, _delivery_rule)
SOUND_RULES: Rules = (_voice_rule, _reference_rule, *_OUTPUT_RULES)  # whatever makes it
_TEXT_RULES: Rules = (_text_rule, _pronunciation_rule, _alias_rule)
RULES: Rules = (*_TEXT_RULES, _voice_rule, _reference_rule, _language_rule, *_OUTPUT_RULES)
