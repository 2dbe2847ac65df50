"""Audio inside JSON, and replies too large for one event: their pieces fit, and are the reply again when joined."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from service.events import AudioEvent, WordTime
from service.json_events import MAX_EVENT_JSON_BYTES, audio_fields, base64_bytes, base64_text, events_of
from sync_test import joined

VOICE = {"name": "x" * 64, "language": "en", "description": "\N{GRINNING FACE}" * 500, "reference_duration": 7.5}
REPLIES: dict[str, dict[str, Any]] = {
    "small": {"operation": "info", "formats": ["wav"]},
    "a full library": {"operation": "voices", "voices": [VOICE | {"name": str(n)} for n in range(1000)]},
    "a long text": {
        "operation": "tts",
        "text": "é" * 100_000,
        "spoken_text": "e" * 700_000,
        "parameters": {"seed": 1},
        "segments": [{"text": "é" * 280, "start": n, "end": n + 1} for n in range(400)],
        "warnings": [],
    },
    "one item that is large": {"operation": "voices", "voices": [VOICE | {"description": "x" * 600_000}] * 3},
}


@pytest.mark.parametrize("name", REPLIES)
def test_each_event_fits_and_together_they_are_the_reply(name: str) -> None:
    reply = REPLIES[name]
    events = events_of(dict(reply))
    assert max(len(json.dumps(event)) for event in events) <= MAX_EVENT_JSON_BYTES
    *parts, end = events
    assert {event["type"] for event in parts} <= {"part"}
    assert end["type"] == "end"
    whole = joined(events)
    whole.pop("in_parts", None)
    assert whole == {"type": "end"} | reply


def test_what_fits_is_one_event() -> None:
    reply = {"operation": "voices", "voices": [VOICE] * 100}
    assert events_of(reply) == [{"type": "end"} | reply]


def test_only_as_much_as_must_goes_before() -> None:
    *parts, end = events_of(REPLIES["a long text"])
    assert end["in_parts"] == ["spoken_text", "segments"]
    assert "text" in end
    assert len(parts) == 4


def test_a_piece_has_the_contracts_names_and_seconds() -> None:
    fields = audio_fields(AudioEvent(3, b"\xff\xfb\x90", "mp3", 24_000, 1 / 3, 0.25))
    assert base64.b64decode(fields.pop("audio")) == b"\xff\xfb\x90"
    assert fields == {"index": 3, "format": "mp3", "sample_rate": 24_000, "start": 0.333333, "duration": 0.25}


def test_a_piece_has_its_words_if_they_were_asked_for() -> None:
    words = (WordTime("$5", 1 / 3, 0.5, "$5, "),)
    assert audio_fields(AudioEvent(3, b"1", "mp3", 24_000, 0.0, 1.0, ()))["words"] == []
    assert audio_fields(AudioEvent(3, b"1", "mp3", 24_000, 0.0, 1.0, words))["words"] == [
        {"text": "$5", "start": 0.333333, "end": 0.5}
    ]


def test_its_length_is_known_before_it_is_made() -> None:
    assert [base64_bytes(count) for count in range(20)] == [len(base64_text(bytes(count))) for count in range(20)]
