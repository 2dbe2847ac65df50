"""The requests that change the voice library: JSON in, a frozen request out, or one error that names every fault.

A name is checked here before it becomes part of a path.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field

from validation.errors import Fault, InvalidInput, UnknownVoice, printable
from validation.faults import Fields, Finding, named, refusal, shown, typed
from validation.fields import CLONE, StrictFields
from validation.rules import decoded_or_none, language_rule, recording_rule

VOICE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
MAX_LINE_CHARS = 500  # of a description, and of a consent


@dataclass(frozen=True, slots=True)
class LibraryCapabilities:
    """The voice library of this endpoint. `voices` are all predefined ones, `built_in` the engine's own; `languages`
    are those of a recording, the first is the default."""

    voices: tuple[str, ...]
    built_in: tuple[str, ...]
    default_voice: str
    languages: tuple[str, ...]
    max_reference_bytes: int


Rule: TypeAlias = Callable[[dict[str, Any], LibraryCapabilities], Iterator[Finding]]


class VoiceAddFields(StrictFields):
    """The fields of `voice_add`, their types, ranges and defaults."""

    operation: Literal["voice_add"]
    voice: str
    reference_audio: str | None = None
    reference_audio_url: str | None = None
    language: str | None = None
    description: str = ""
    consent: str = ""
    replace: bool = False
    max_reference_duration_sec: Annotated[float, Field(ge=1.0, le=60.0, allow_inf_nan=False)] = 30.0


class VoiceDeleteFields(StrictFields):
    """The fields of `voice_delete`."""

    operation: Literal["voice_delete"]
    voice: str


@dataclass(frozen=True, slots=True)
class VoiceAdd:
    """A voice to add. `reference` is undecoded; where it is None, it is fetched from `reference_url`."""

    voice: str
    reference: bytes | None
    reference_url: str | None
    language: str
    description: str
    consent: str
    replace: bool
    max_reference_duration_s: float


def parse_voice_add(given: Mapping[str, Any], capabilities: LibraryCapabilities) -> VoiceAdd:
    """Check the present fields. Raises: InvalidInput, ReferenceAudioError or Unsupported, whichever kind all the
    faults share; InvalidInput where they are mixed."""
    fields = _checked(
        VoiceAddFields, given, capabilities, (_new_name_rule, _reference_rule, _language_rule, _line_rule)
    )
    return VoiceAdd(
        voice=fields.voice,
        reference=decoded_or_none(fields.reference_audio),
        reference_url=fields.reference_audio_url,
        language=fields.language or capabilities.languages[0],
        description=fields.description.strip(),
        consent=fields.consent.strip(),
        replace=fields.replace,
        max_reference_duration_s=fields.max_reference_duration_sec,
    )


def parse_voice_delete(given: Mapping[str, Any], capabilities: LibraryCapabilities) -> str:
    """The name of a voice of the library. Raises: InvalidInput, UnknownVoice."""
    return _checked(VoiceDeleteFields, given, capabilities, (_old_name_rule,)).voice


def _checked(
    model: type[Fields], given: Mapping[str, Any], capabilities: LibraryCapabilities, rules: tuple[Rule, ...]
) -> Fields:
    """Types first, then the rules, which skip a field of a wrong type."""
    fields, findings = typed(model, dict(given))
    findings += [finding for rule in rules for finding in rule(dict(given), capabilities)]
    if fields is None or findings:
        raise refusal(findings)
    return fields


def _new_name_rule(given: dict[str, Any], capabilities: LibraryCapabilities) -> Iterator[Finding]:
    if not isinstance(name := given.get("voice"), str):
        return
    if not VOICE_NAME.fullmatch(name):
        message = f"must be 1 to 64 of A-Z, a-z, 0-9, _ and -, the first no sign (got {shown(name)})"
        yield InvalidInput, Fault("voice", message)
    elif name.casefold() in {own.casefold() for own in (*capabilities.built_in, CLONE)}:
        yield InvalidInput, Fault("voice", f"{shown(name)} is not free: the engine has a voice of that name")
    elif name in capabilities.voices and not given.get("replace"):
        yield InvalidInput, name_taken(name)


def name_taken(name: str) -> Fault:
    """Of a name that a voice of the library has."""
    return Fault("voice", f"{shown(name)} is there already: send replace true to put this one in its place")


def _reference_rule(given: dict[str, Any], capabilities: LibraryCapabilities) -> Iterator[Finding]:
    if "reference_audio" not in given and "reference_audio_url" not in given:
        yield InvalidInput, Fault("reference_audio", "is required (or reference_audio_url)")
    yield from recording_rule(given, "reference_audio", capabilities.max_reference_bytes)


def _language_rule(given: dict[str, Any], capabilities: LibraryCapabilities) -> Iterator[Finding]:
    return language_rule(given.get("language"), capabilities.languages, "with a recording's voice")


def _line_rule(given: dict[str, Any], capabilities: LibraryCapabilities) -> Iterator[Finding]:
    for name in ("description", "consent"):
        if isinstance(text := given.get(name), str):
            yield from ((InvalidInput, Fault(name, message)) for message in line_faults(text))


def line_faults(text: str) -> Iterator[str]:
    """The faults of a line of free text about a voice."""
    if (length := len(text.strip())) > MAX_LINE_CHARS:
        yield f"must be at most {MAX_LINE_CHARS} characters (got {length})"
        return
    if printable(text) != text:
        yield "holds a lone surrogate, which is no character"
    if any(unicodedata.category(char) == "Cc" for char in text.strip()):
        yield "holds a control character: it is one line of text"


def _old_name_rule(given: dict[str, Any], capabilities: LibraryCapabilities) -> Iterator[Finding]:
    if not isinstance(name := given.get("voice"), str):
        return
    if name in capabilities.built_in:
        yield InvalidInput, Fault("voice", f"{shown(name)} is the engine's own and can't be deleted")
    elif name not in capabilities.voices:
        yield UnknownVoice, name_unknown(name, (own for own in capabilities.voices if own not in capabilities.built_in))
    elif name == capabilities.default_voice:
        yield InvalidInput, Fault("voice", f"{shown(name)} is the default voice and can't be deleted")


def name_unknown(name: str, known: Iterable[str]) -> Fault:
    """Of a name that no voice of the library has."""
    return Fault("voice", f"{shown(name)} is not a voice of the library; known: {named(known)}")
