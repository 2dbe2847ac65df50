"""What clients of the first version send, in today's names: old operations, other names of `voice`, and fields for what
is now the endpoint's setting. Each is accepted with a warning; docs/MIGRATION.md says what to send instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from validation.errors import Fault, InvalidInput
from validation.faults import Finding, shown
from validation.rules import Capabilities

OPERATION_ALIASES = {
    "expressive_tts": "tts",
    "voice_cloning": "tts",
    "list_local_voices": "voices",
    "voice_conversion": "convert",
    "voice_transfer": "convert",
}
VOICE_ALIASES = ("voice_name", "voice_id")
MODES = ("basic", "streaming", "streaming_voice_cloning")
MODEL = "chatterbox"
ALIASES = (*VOICE_ALIASES, "mode", "streaming", "model", "no_watermark")
REFERENCES_TO_A_VOICE = {"reference_audio", "reference_audio_url", "voice", *VOICE_ALIASES}


def todays_operation(name: object) -> object:
    """The operation that an old name means; any other value as it is."""
    return OPERATION_ALIASES.get(name, name) if isinstance(name, str) else name


def in_todays_names(
    given: Mapping[str, Any], capabilities: Capabilities
) -> tuple[dict[str, Any], list[Finding], list[str]]:
    """The present fields of a `tts` input without old names, what is wrong with these, and warnings about them."""
    named = {name: value for name, value in given.items() if name not in ALIASES}
    warnings = []
    if (today := todays_operation(old := given.get("operation"))) != old:
        named["operation"] = today
        warnings.append(f"operation {old} is called {today} today")
    for alias in (alias for alias in VOICE_ALIASES if alias in given):
        named.setdefault("voice", given[alias])
        warnings.append(f"{alias} is called voice today")
    findings: list[Finding] = [(InvalidInput, fault) for fault in _faults(given)]
    return named, findings, [*warnings, *_differences(given, capabilities)]


def _faults(given: Mapping[str, Any]) -> Iterator[Fault]:
    names = [name for name in ("voice", *VOICE_ALIASES) if name in given]
    if any(given[name] != given[names[0]] for name in names[1:]):
        yield Fault(names[-1], f"and {names[0]} are one, and differ: send one of them")
    mode, model = given.get("mode", MODES[0]), given.get("model", MODEL)
    if mode not in MODES:
        yield Fault("mode", f"must be one of {', '.join(MODES)} (got {shown(mode)})")
    elif mode == "streaming_voice_cloning" and REFERENCES_TO_A_VOICE.isdisjoint(given):
        yield Fault("mode", "streaming_voice_cloning needs reference_audio, reference_audio_url or voice")
    if not isinstance(streaming := given.get("streaming", False), bool):
        yield Fault("streaming", f"must be true or false (got {shown(streaming)})")
    if "no_watermark" in given:
        yield Fault("no_watermark", "is not a field: the endpoint's setting WATERMARK decides", quoted=True)
    if model != MODEL:
        yield Fault("model", f"must be {MODEL}, or left out (got {shown(model)})")


def _differences(given: Mapping[str, Any], capabilities: Capabilities) -> Iterator[str]:
    """Where the worker does something else than the fields say."""
    asked = [given["mode"] != "basic"] if "mode" in given else []
    asked += [given["streaming"]] if "streaming" in given else []
    if any(streams != capabilities.streaming for streams in asked):
        does = "streams" if capabilities.streaming else "answers with the whole file"
        yield f"mode and streaming choose nothing: this endpoint {does}"
    if "model" in given and capabilities.engine not in ("", MODEL):
        yield f"model chooses nothing: this worker speaks with {capabilities.engine}"
