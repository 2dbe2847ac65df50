"""An answer as JSON, whatever the size of the application's messages, and wherever they end."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest

from validation.errors import InternalError, JobTimeout, UnknownVoice, WorkerError
from web.route_answer import Messages, RouteAnswer, pieces_of

LARGE = 2_000_000
LIMIT_BYTES = 1_000_000  # of RunPod


def pieces(kind: str, *bodies: bytes, status: int = 200, is_whole: bool = True, **state: Any) -> list[Any]:
    async def main() -> list[Any]:
        messages = Messages()
        head = [(b"content-type", kind.encode()), (b"x-format", b"wav"), (b"x-sample-rate", b"24000")]
        await messages.send({"type": "http.response.start", "status": status, "headers": head})
        answer = await RouteAnswer.begun({"state": state}, messages)
        for index, body in enumerate(bodies):
            is_last = is_whole and index == len(bodies) - 1
            await messages.send({"type": "http.response.body", "body": body, "more_body": not is_last})
        messages.end(None)
        return [piece async for piece in pieces_of(answer)]

    return asyncio.run(main())


def assert_small(given: list[Any]) -> None:
    assert len(given) > 1
    assert max(len(json.dumps(piece, ensure_ascii=False).encode()) for piece in given) < LIMIT_BYTES


def test_a_large_file_comes_in_small_events() -> None:
    *events, end = pieces("audio/wav", b"RIFF", bytes(LARGE))
    assert_small(events)
    assert b"".join(base64.b64decode(event["audio"]) for event in events) == b"RIFF" + bytes(LARGE)
    assert [event["index"] for event in events] == list(range(len(events)))
    about = {"format": "wav", "mime_type": "audio/wav", "sample_rate": 24_000}
    assert end == {"type": "end", "bytes": LARGE + 4} | about


@pytest.mark.parametrize("kind", ["text/event-stream; charset=utf-8", "application/x-ndjson", ""])
def test_a_large_text_comes_in_small_strings_of_whole_characters(kind: str) -> None:
    text = "\N{GRINNING FACE}" * (LARGE // 4) + '"' * 300_000
    data = text.encode()
    given = pieces(kind, data[:1001], data[1001:])
    assert_small(given)
    assert "".join(given) == text


def test_a_large_list_comes_in_parts() -> None:
    *parts, end = pieces("application/json", json.dumps(["voice.wav"] * 200_000).encode())
    assert_small([*parts, end])
    assert [name for part in parts for name in part["body"]] == ["voice.wav"] * 200_000
    assert (end["type"], end["in_parts"]) == ("end", ["body"])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": "no", "type": "invalid_request_error"}}, "no"),
        ({"error": "INVALID_INPUT: no", "error_code": "INVALID_INPUT"}, "INVALID_INPUT: no"),
        ({"detail": {"status": "voice_not_found", "message": "no"}}, "no"),
        ({"detail": "no"}, "no"),
        ({"detail": [{"loc": ["body"]}]}, "HTTP 418"),
        (["no"], "HTTP 418"),
    ],
)
def test_an_errors_message_is_found_in_any_contracts_form(body: Any, message: str) -> None:
    (event,) = pieces("application/json", json.dumps(body).encode(), status=418)
    assert event == {"type": "error", "detail": {"error": message, "status": 418, "body": body}}


@pytest.mark.parametrize(
    ("message", "shown"),
    [("UNKNOWN_VOICE: ours, in their words", "UNKNOWN_VOICE: ours, in their words"), ("Oh no", "UNKNOWN_VOICE: who?")],
)
def test_an_error_of_ours_begins_with_its_code(message: str, shown: str) -> None:
    body = json.dumps({"error": message}).encode()
    (event,) = pieces("application/json", body, status=404, refused=UnknownVoice("who?"))
    assert event["detail"] == UnknownVoice("who?").to_reply() | {
        "error": shown,
        "status": 404,
        "body": {"error": message},
    }


@pytest.mark.parametrize(
    ("state", "error"),
    [({"refused": JobTimeout("it took too long")}, JobTimeout), ({}, InternalError)],
    ids=["known", "unknown"],
)
def test_an_answer_that_breaks_off_raises_its_reason(state: Any, error: type[WorkerError]) -> None:
    with pytest.raises(error):
        pieces("audio/wav", b"RIFF", is_whole=False, **state)
