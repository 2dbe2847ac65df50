"""Names of the contract's first clients: each means today's, is warned about, and is wrong where it says nothing."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import pytest

from tests.fuzz.asking import CAPABILITIES
from validation.aliases import ALIASES, MODES, OPERATION_ALIASES, todays_operation
from validation.errors import InvalidInput
from validation.request import TtsRequest, parse
from validation.rules import Capabilities

OURS = replace(CAPABILITIES, voices={"default": "en", "hans": "de", "ana": "es-419"}, engine="chatterbox")
RECORDING = base64.b64encode(b"a recording").decode()
STREAMING = replace(OURS, streaming=True)
JOINED_NOTE = "mode and streaming choose nothing: this endpoint answers with the whole file"
STREAMED_NOTE = "mode and streaming choose nothing: this endpoint streams"


def parsed(capabilities: Capabilities, **given: Any) -> TtsRequest:
    return parse({"text": "Hello."} | given, capabilities)


@pytest.mark.parametrize(
    ("given", "means", "warnings"),
    [
        ({"voice_name": "hans"}, {"voice": "hans"}, ["voice_name is called voice today"]),
        ({"voice_id": "hans"}, {"voice": "hans"}, ["voice_id is called voice today"]),
        ({"voice": "hans", "voice_id": "hans"}, {"voice": "hans"}, ["voice_id is called voice today"]),
        ({"operation": "expressive_tts"}, {}, ["operation expressive_tts is called tts today"]),
        (
            {"operation": "voice_cloning", "reference_audio": RECORDING},
            {"reference_audio": RECORDING},
            ["operation voice_cloning is called tts today"],
        ),
        ({"model": "chatterbox", "mode": "basic", "streaming": False}, {}, []),
        ({"mode": "streaming"}, {}, [JOINED_NOTE]),
        ({"streaming": True, "mode": "streaming"}, {}, [JOINED_NOTE]),
        (
            {"mode": "streaming_voice_cloning", "voice_name": "hans"},
            {"voice": "hans"},
            ["voice_name is …", JOINED_NOTE],
        ),
    ],
)
def test_an_old_name_means_todays(given: dict[str, Any], means: dict[str, Any], warnings: list[str]) -> None:
    old, new = parsed(OURS, seed=1, **given), parsed(OURS, seed=1, **means)
    assert replace(old, warnings=(), given=new.given) == new
    assert old.given - {"operation"} == new.given
    assert [said if "…" not in meant else meant for said, meant in zip(old.warnings, warnings, strict=True)] == warnings
    assert not {*ALIASES} & old.parameters.keys()


@pytest.mark.parametrize(
    ("given", "warnings"),
    [
        ({"mode": "streaming", "streaming": True}, []),
        ({"mode": "streaming_voice_cloning", "reference_audio": RECORDING}, []),
        ({"mode": "basic"}, [STREAMED_NOTE]),
        ({"streaming": False}, [STREAMED_NOTE]),
    ],
)
def test_what_a_streaming_endpoint_does_anyway_needs_no_warning(given: dict[str, Any], warnings: list[str]) -> None:
    assert list(parsed(STREAMING, **given).warnings) == warnings


def test_another_engine_says_that_it_spoke() -> None:
    espeak = replace(OURS, engine="espeak")
    assert parsed(espeak, model="chatterbox").warnings == ("model chooses nothing: this worker speaks with espeak",)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"voice": "hans", "voice_name": "ana"}, "voice_name and voice are one, and differ: send one of them"),
        ({"voice_name": "hans", "voice_id": "ana"}, "voice_id and voice_name are one, and differ: send one of them"),
        ({"voice_id": 5}, "voice must be a string (got 5)"),
        ({"mode": "quick"}, f'mode must be one of {", ".join(MODES)} (got "quick")'),
        ({"mode": ["basic"]}, f"mode must be one of {', '.join(MODES)} (got a JSON array)"),
        (
            {"mode": "streaming_voice_cloning"},
            "mode streaming_voice_cloning needs reference_audio, reference_audio_url or voice",
        ),
        ({"streaming": "true"}, 'streaming must be true or false (got "true")'),
        ({"model": "turbo"}, 'model must be chatterbox, or left out (got "turbo")'),
        ({"model": {}, "top_q": 1}, "`top_q` is not a field; did you mean `top_p`?; model must be chatterbox, or …"),
        ({"no_watermark": True}, "`no_watermark` is not a field: the endpoint's setting WATERMARK decides"),
        ({"voicename": "hans"}, "`voicename` is not a field; did you mean `voice_mode`?"),
    ],
)
def test_what_says_nothing_is_one_clear_error(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parsed(OURS, **given)
    assert caught.value.args[0].startswith(message.removesuffix("…"))


def test_other_operations_stay_as_they_are() -> None:
    assert [todays_operation(name) for name in ("info", "sing", None, 5, ["tts"])] == ["info", "sing", None, 5, ["tts"]]
    assert {*map(todays_operation, OPERATION_ALIASES)} == {"tts", "voices", "convert"}
