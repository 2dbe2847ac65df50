"""The `convert` request: a recording whose words are to be in another voice. Fields, rules, and a frozen request out.

The take keeps its timing, so there is no field that cuts, joins or adds silence, and none about text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import Field, create_model

from validation.aliases import in_todays_names
from validation.errors import Fault, InvalidInput
from validation.faults import Finding, shown
from validation.fields import CLONE, StrictFields, TtsFields
from validation.options import OutputOptions, SamplingParams, SoundOptions, part
from validation.request import DEFAULT_SAMPLING, SoundRequest, checked, used_values
from validation.rules import SOUND_RULES, Capabilities, Rules, decoded_or_none, recording_rule

AS_OF_TTS = frozenset(
    "voice voice_mode reference_audio reference_audio_url max_reference_duration_sec seed decode_mode chunk_size"
    " context_window speed fade_duration output_format sample_rate bitrate_kbps audio_normalization delivery"
    " print_metrics".split()
)
OLD_NAMES = {  # of other servers' voice conversion
    "source_audio_b64": "source_audio",
    "target_audio": "reference_audio",
    "target_voice_b64": "reference_audio",
    "max_target_duration_sec": "max_reference_duration_sec",
}
RECORDINGS = {"source_audio", "source_audio_url", "reference_audio", "reference_audio_url"}

FIELDS: dict[str, Any] = {
    "operation": (Literal["convert"], "convert"),
    "source_audio": (str | None, None),
    "source_audio_url": (str | None, None),
    "max_source_duration_sec": (Annotated[float, Field(ge=1.0, allow_inf_nan=False)] | None, None),  # MAX_SOURCE_S
    **{name: (own.annotation, own) for name, own in TtsFields.model_fields.items() if name in AS_OF_TTS},
}
ConvertFields = create_model("ConvertFields", __base__=StrictFields, **FIELDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertRequest(SoundRequest):
    """`source` is undecoded; where it is None, it is fetched from `source_url`."""

    source: bytes | None
    source_url: str | None
    max_source_duration_s: float


def parse_convert(raw: Mapping[str, Any], capabilities: Capabilities) -> ConvertRequest:
    """Check the present fields. Raises: InvalidInput, UnknownVoice, ReferenceAudioError or Unsupported, whichever kind
    all the faults share; InvalidInput where they are mixed."""
    given, old, warnings = in_todays_names(raw, capabilities)
    for name, today in OLD_NAMES.items():
        if name in given:
            if today in given:
                old.append((InvalidInput, Fault(name, f"is called {today} today: send one of them")))
            given[today] = given.pop(name)
            warnings.append(f"{name} is called {today} today")
    if given.keys().isdisjoint({"source_audio", "source_audio_url"}):
        fault = Fault("source_audio", "is required (or source_audio_url): the recording to convert")
        old.append((InvalidInput, fault))
    fields = checked(ConvertFields, RULES, given, old, capabilities)
    return replace(_resolved(fields.model_dump(), frozenset(given), capabilities), warnings=tuple(warnings))


def _resolved(fields: dict[str, Any], given: frozenset[str], capabilities: Capabilities) -> ConvertRequest:
    values = used_values(fields, given, capabilities)
    values["max_source_duration_sec"] = values["max_source_duration_sec"] or capabilities.max_source_s
    return ConvertRequest(
        source=decoded_or_none(values["source_audio"]),
        source_url=values["source_audio_url"],
        max_source_duration_s=values["max_source_duration_sec"],
        voice="" if values["voice_mode"] == CLONE else values["voice"],
        reference=decoded_or_none(values["reference_audio"]),
        reference_url=values["reference_audio_url"],
        max_reference_duration_s=values["max_reference_duration_sec"],
        sampling=part(SamplingParams, asdict(DEFAULT_SAMPLING) | values),
        sound=part(SoundOptions, values | {"trim_silence": False}),
        output=part(OutputOptions, values),
        parameters={name: value for name, value in values.items() if name not in RECORDINGS | {"operation"}},
        given=given,
    )


def _source_rule(given: dict[str, Any], capabilities: Capabilities) -> Iterator[Finding]:
    yield from recording_rule(given, "source_audio", capabilities.max_source_bytes)
    longest_s, most_s = given.get("max_source_duration_sec"), capabilities.max_source_s
    if isinstance(longest_s, int | float) and longest_s > most_s:
        yield InvalidInput, Fault("max_source_duration_sec", f"must be at most {most_s:g} (got {shown(longest_s)})")


RULES: Rules = (_source_rule, *SOUND_RULES)
