"""/v1/audio/speech/batch: vLLM-Omni's request and reply, item by item what a single request gets."""

from __future__ import annotations

import base64
from typing import Any

import httpx
import pytest
from fakes import decoded, pitch_hz
from http_server import HttpServer

from tests.web.test_hostile import LONGEST_TURN_S
from validation.fields import MAX_INPUTS

pytestmark = pytest.mark.slow

Json = dict[str, Any]
TEXT = "The quick brown fox."


SERVER = {"openai_voices": {"alloy": "hans"}}


def batch(server: HttpServer, *items: Any, **common: Any) -> httpx.Response:
    return server.post("/v1/audio/speech/batch", {"items": [*items], **common})


def pitch(result: Json) -> float:
    return pitch_hz(*decoded(base64.b64decode(result["audio_data"]), raw_hz=24_000))


def test_each_item_is_spoken_with_the_common_fields_unless_it_has_its_own(server: HttpServer) -> None:
    other = {"input": TEXT, "voice": "default", "response_format": "mp3"}
    answer = batch(server, {"input": TEXT}, other, {"input": "…", "voice": None}, voice="alloy", model="tts-1", seed=7)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
    reply = answer.json()
    results = reply.pop("results")
    assert reply == {"id": reply["id"], "total": 3, "succeeded": 3, "failed": 0}
    shown = [(own["index"], own["status"], own["media_type"], own["error"]) for own in results]
    kinds = ("audio/wav", "audio/mpeg", "audio/wav")
    assert shown == [(index, "success", kind, None) for index, kind in enumerate(kinds)]
    assert [*map(pitch, results[:2])] == [450, 300]
    alone = {"input": TEXT, "voice": "alloy", "seed": 7, "response_format": "wav"}
    single = server.post("/v1/audio/speech", alone)
    assert base64.b64decode(results[0]["audio_data"]) == single.content


def test_a_wrong_item_is_its_own_error(server: HttpServer) -> None:
    wrong: list[tuple[Any, str]] = [
        ({}, "INVALID_INPUT: input is required"),
        ({"input": TEXT, "voice": "nobody"}, "UNKNOWN_VOICE: voice 'nobody' is not a voice here"),
        ("Hello.", 'INVALID_INPUT: items must be objects (got "Hello.")'),
        ({"input": TEXT, "speed": 9}, "INVALID_INPUT: speed must be at most 4"),
        ({"input": " "}, "INVALID_INPUT: input must hold at least one letter or digit"),
    ]
    reply = batch(server, {"input": TEXT}, *(item for item, _ in wrong)).json()
    assert (reply["total"], reply["succeeded"], reply["failed"]) == (6, 1, 5)
    first, *others = reply["results"]
    assert (first["status"], first["error"]) == ("success", None)
    for own, (_, words) in zip(others, wrong, strict=True):
        assert (own["status"], own["audio_data"], own["media_type"]) == ("error", None, None)
        assert own["error"].startswith(words)


def test_word_times_come_beside_the_file_and_what_has_no_effect_is_named(server: HttpServer) -> None:
    answer = batch(server, {"input": TEXT, "timestamps": True, "mood": "glad"}, stream=True, task_type="Base")
    (result,) = answer.json()["results"]
    assert [word["text"] for word in result["words"]] == ["The", "quick", "brown", "fox"]
    assert answer.headers["X-Ignored-Fields"] == "stream, task_type, mood"


@pytest.mark.parametrize("items", [None, [], {}, "Hello.", [{"input": "Hi."}] * (MAX_INPUTS + 1)])
def test_what_is_no_batch_is_openais_error(server: HttpServer, items: Any) -> None:
    answer = server.post("/v1/audio/speech/batch", {"items": items})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (400, "items", "INVALID_INPUT")
    assert error["message"] == f"INVALID_INPUT: items must be a list of 1 to {MAX_INPUTS} objects"


def test_a_batch_that_only_has_wrong_items_is_still_a_reply(server: HttpServer) -> None:
    reply = batch(server, {"input": 5}, {"text": ""}).json()
    assert [own["status"] for own in reply["results"]] == ["error", "error"]


def test_a_batch_by_the_contract_is_joined_over_http_too(server: HttpServer) -> None:
    answer = server.post("/tts", {"operation": "batch", "inputs": [{"text": TEXT}, {}]}, Accept="audio/mpeg")
    replies = answer.json()["replies"]
    assert base64.b64decode(replies[0]["audio"]).startswith(b"RIFF")
    assert replies[1]["error_code"] == "INVALID_INPUT"


@pytest.mark.parametrize(
    "junk", [{f"f{number}": 0 for number in range(140_000)}, {"voice": {f"f{number}": 0 for number in range(140_000)}}]
)
def test_many_fields_beside_many_items_do_not_hold_up_the_loop(server: HttpServer, junk: Json) -> None:
    """Each of the items was read with all the fields, in the event loop, for 11 s."""
    with server.turns() as turns_s:
        answer = batch(server, *[{"input": "A"}] * MAX_INPUTS, **junk)
    assert answer.json()["total"] == MAX_INPUTS
    assert max(turns_s) < LONGEST_TURN_S
