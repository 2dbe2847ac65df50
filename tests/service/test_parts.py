"""Replies that are too large for one event: their pieces fit, and are the reply again when joined."""

from __future__ import annotations

import json
from typing import Any

import pytest

from service.parts import MAX_EVENT_JSON_BYTES, events_of
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
