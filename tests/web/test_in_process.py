"""A queue's job that names a route gets what the HTTP server answers, as JSON; and whoever leaves ends the work."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes import HANG_S, FakeEngine, decoded, raising_at, run, sound_of
from http_server import open_server

import handler
from service.json_events import MAX_EVENT_JSON_BYTES
from validation.errors import GpuFault

pytestmark = pytest.mark.slow

Json = dict[str, Any]
Open = Callable[..., FakeEngine]
TEXT = "The quick brown fox jumps over the lazy dog. Then it sleeps in the warm afternoon sun, and dreams."
SPEECH = {"input": TEXT, "model": "tts-1", "voice": "default", "seed": 17}
ROOT = Path(__file__).parents[2]


def joined(**raw: Any) -> Any:
    answer = run(handler.handler({"id": "job-1", "input": raw}))
    assert json.loads(json.dumps(answer, allow_nan=False)) == answer
    return answer


async def collected(raw: Json) -> list[Any]:
    return [piece async for piece in handler.stream_handler({"id": "job-1", "input": raw})]


def streamed(**raw: Any) -> list[Any]:
    pieces = run(collected(raw))
    assert json.loads(json.dumps(pieces, allow_nan=False)) == pieces
    assert all(len(json.dumps(piece)) < 1_000_000 for piece in pieces)
    return pieces


def speech(**given: Any) -> Json:
    return {"openai_route": "/v1/audio/speech", "openai_input": SPEECH | given}


# --- as over HTTP -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("output_format", ["mp3", "opus", "flac", "pcm", "wav"])
def test_audio_is_the_file_that_http_sends(open_worker: Open, output_format: str) -> None:
    with open_server() as server:
        sent = server.post("/v1/audio/speech", SPEECH | {"response_format": output_format})
    assert sent.status_code == 200
    open_worker()
    whole = joined(**speech(response_format=output_format))
    *pieces, end = streamed(**speech(response_format=output_format))
    assert base64.b64decode(whole.pop("audio")) == sound_of(pieces) == sent.content
    assert whole == {
        "bytes": len(sent.content),
        "format": sent.headers["X-Format"],
        "mime_type": sent.headers["Content-Type"],
        "sample_rate": int(sent.headers["X-Sample-Rate"]),
        "voice": "default",
        "seed": 17,
    }
    assert end == {"type": "end"} | whole
    assert {(piece["type"], piece["format"]) for piece in pieces} == {("audio", whole["format"])}
    assert [piece["index"] for piece in pieces] == list(range(len(pieces)))


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/tts-1", "/v1/voices", "/ping", "/openapi.json"])
def test_json_is_what_http_sends(open_worker: Open, path: str) -> None:
    with open_server() as server:
        sent = server.get(path).json()
    open_worker()
    answers = [joined(route=path), joined(openai_route=path), joined(route=path, method="GET"), *streamed(route=path)]
    assert [*map(untimed, answers)] == [untimed(sent)] * 4


def untimed(value: Any) -> Any:
    if isinstance(value, list):
        return [*map(untimed, value)]
    named = value.items() if isinstance(value, dict) else ()
    return {key: untimed(own) for key, own in named if key not in {"created", "id"}} if named else value


def test_a_job_of_the_contract_is_its_reply(open_worker: Open) -> None:
    open_worker()
    raw = {"text": TEXT, "seed": 17}
    reply = run(handler.handler({"id": "job-1", "input": raw}))
    answer = joined(route="/tts", body=raw)
    assert {key: own for key, own in answer.items() if key != "metrics"} == {
        key: own for key, own in reply.items() if key != "metrics"
    }


def test_server_sent_events_are_text_as_it_comes(open_worker: Open) -> None:
    open_worker()
    whole = joined(**speech(stream_format="sse", response_format="wav"))
    pieces = streamed(**speech(stream_format="sse", response_format="wav"))
    assert {type(piece) for piece in pieces} == {str}
    assert "".join(pieces) == whole
    events = [json.loads(line.removeprefix("data: ")) for line in whole.splitlines() if line.startswith("data: {")]
    assert [event["type"] for event in events[:-1]] == ["speech.audio.delta"] * (len(events) - 1)
    assert events[-1]["type"] == "speech.audio.done"
    samples, rate_hz = decoded(b"".join(base64.b64decode(event["audio"]) for event in events[:-1]))
    assert (rate_hz, len(samples) > rate_hz) == (24_000, True)


def test_a_text_comes_before_it_is_all_there(open_worker: Open) -> None:
    engine = open_worker(FakeEngine(tokens_per_char=10))

    async def main() -> None:
        pieces = handler.stream_handler({"id": "1", "input": speech(stream_format="sse", chunk_size=5)})
        assert (await anext(pieces)).startswith("data: ")
        assert engine.asked < 10
        await pieces.aclose()

    run(main())


def test_a_large_text_and_a_large_json_come_in_pieces(open_worker: Open) -> None:
    open_worker(FakeEngine(tokens_per_char=20))
    *parts, end = streamed(route="/tts", body={"text": TEXT, "seed": 17})
    assert "".join(part["audio"] for part in parts) == joined(route="/tts", body={"text": TEXT, "seed": 17})["audio"]
    assert (end["type"], end["in_parts"]) == ("end", ["audio"])
    events = streamed(**speech(stream_format="sse", chunk_size=200, response_format="wav", decode_mode="full"))
    assert max(len(json.dumps(event)) for event in events) < MAX_EVENT_JSON_BYTES


def test_a_routes_job_is_counted_once_and_logged_by_its_id(open_worker: Open, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    open_worker()
    joined(**speech())
    joined(route="/v1/models")
    assert handler.service().telemetry.outcomes() == {"COMPLETED": 1}
    assert [message for message in caplog.messages if '"id": "job-1"' in message and '"event": "job"' in message]


# --- errors -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "code", "status", "words"),
    [
        (speech(voice="nobody"), "UNKNOWN_VOICE", 400, "'nobody' is not a voice here"),
        (speech(input=""), "INVALID_INPUT", 400, "input must hold at least one letter or digit"),
        ({"route": "/v1/models/none"}, "NOT_FOUND", 404, "the models here are"),
        ({"route": "/tts", "method": "GET"}, "METHOD_NOT_ALLOWED", 405, "this address takes POST, not GET"),
        ({"route": "/tts", "body": {"text": "Hi.", "tempo": 2}}, "INVALID_INPUT", 400, "`tempo` is not a field"),
        ({"route": "/ws/tts"}, "INVALID_INPUT", None, "route is a WebSocket, which the queue can't carry"),
        ({"route": "/"}, "INVALID_INPUT", None, "route is not one of this worker's"),
        ({"route": "/static/page.js"}, "INVALID_INPUT", None, "route is not one of this worker's"),
        ({"route": "v1"}, "INVALID_INPUT", None, "route must be a path"),
    ],
)
def test_an_error_fails_the_job_and_keeps_its_own_form(
    open_worker: Open, raw: Json, code: str, status: int | None, words: str
) -> None:
    """Its text is the job's error; the route's own error is beside it."""
    open_worker()
    reply = joined(**raw)
    event, error = streamed(**raw)
    assert event == {"type": "error", "detail": reply}
    assert error == {"error": reply["error"]}
    assert reply["error"].startswith(f"{code}: ")
    assert words in reply["error"]
    assert reply.get("status") == status
    if status:
        own = reply["body"]["error"]
        assert reply["error"] == (own["message"] if isinstance(own, dict) else own)


def test_a_failure_in_mid_speech_is_the_jobs_error(open_worker: Open) -> None:
    """Of a file over HTTP it would be a connection that breaks off."""
    open_worker(FakeEngine(before_chunk=raising_at(2, GpuFault("the GPU failed"))), RUNPOD_WEBHOOK_GET_JOB="https://x")
    reply = joined(**speech(chunk_size=5))
    assert reply == GpuFault("the GPU failed").to_reply() | {"refresh_worker": True}


def test_a_stream_that_fails_in_mid_speech_says_so_last(open_worker: Open) -> None:
    open_worker(FakeEngine(before_chunk=raising_at(2, GpuFault("the GPU failed"))))
    first, event, error = streamed(**speech(chunk_size=5))
    assert first["type"] == "audio"
    assert (event["type"], event["detail"]["error_code"]) == ("error", "GPU_FAULT")
    assert error == {"error": "GPU_FAULT: the GPU failed"}


def test_lines_that_break_off_in_mid_speech_say_why(open_worker: Open) -> None:
    open_worker(FakeEngine(before_chunk=raising_at(2, GpuFault("the GPU failed"))))
    *_, error = streamed(route="/v1/text-to-speech/default/stream/with-timestamps", body={"text": TEXT})
    assert error == {"error": "GPU_FAULT: the GPU failed"}


def test_a_bucket_beside_a_route_is_refused(open_worker: Open) -> None:
    open_worker()
    reply = run(handler.handler({"id": "1", "input": {"route": "/v1/models"}, "s3Config": {"accessId": "a"}}))
    assert reply["error"] == "INVALID_INPUT: s3Config can't go with a route: the answer comes as over HTTP"


@pytest.mark.parametrize("aggregate", ["true", "false"])
def test_what_comes_back_is_bounded(open_worker: Open, aggregate: str) -> None:
    """The joined reply always, a stream's sum if RunPod keeps it."""
    open_worker(MAX_OUTPUT_BYTES="100000", STREAM_AGGREGATE=aggregate)
    assert joined(**speech(response_format="wav"))["error_code"] == "OUTPUT_TOO_LARGE"
    *_, last = streamed(**speech(response_format="wav"))
    assert last["error"].startswith("OUTPUT_TOO_LARGE") if aggregate == "true" else last["type"] == "end"
    open_worker(MAX_OUTPUT_BYTES="10000", STREAM_AGGREGATE=aggregate)
    assert joined(route="/openapi.json")["error_code"] == "OUTPUT_TOO_LARGE"
    *_, last = streamed(route="/openapi.json")
    assert last.get("error", "").startswith("OUTPUT_TOO_LARGE") == (aggregate == "true")


# --- keys, turns, and jobs that end -----------------------------------------------------------------------


def test_neither_keys_nor_origins_nor_a_full_server_stand_in_the_way(open_worker: Open) -> None:
    open_worker(API_KEYS="secret", CORS_ORIGINS="https://example.com", MAX_CONCURRENCY="1", MAX_QUEUE="0")

    async def main() -> list[Any]:
        jobs = ({"id": f"job-{n}", "input": speech(input="Hi.")} for n in range(8))
        return await asyncio.gather(*map(handler.handler, jobs))

    assert [answer["format"] for answer in run(main())] == ["mp3"] * 8


def test_a_cancelled_job_ends_the_engine_within_a_chunk(open_worker: Open) -> None:
    in_chunk = threading.Event()

    def before_chunk(_: int) -> None:
        in_chunk.set()
        time.sleep(0.02)

    engine = open_worker(FakeEngine(tokens_per_char=10, before_chunk=before_chunk), MAX_CONCURRENCY="1")

    async def main() -> None:
        task = asyncio.create_task(handler.handler({"id": "1", "input": speech(chunk_size=5)}))
        while not in_chunk.is_set():
            await asyncio.sleep(0.001)
        before = engine.asked
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert engine.asked <= before + 1
        assert (await handler.handler({"id": "2", "input": speech(input="Hi.")}))["format"] == "mp3"

    run(main())
    assert handler.service().telemetry.outcomes() == {"CANCELLED": 1, "COMPLETED": 1}


def test_a_stream_that_the_sdk_forgets_ends_with_its_task(open_worker: Open) -> None:
    """The SDK cancels a job while it posts a piece, and does not close the iterator."""
    engine = open_worker(FakeEngine(tokens_per_char=10, before_chunk=lambda _: time.sleep(0.005)))
    forgotten = []

    async def job() -> None:
        pieces = handler.stream_handler({"id": "1", "input": speech(stream_format="sse", chunk_size=5)})
        forgotten.append(pieces)
        async for _ in pieces:
            await asyncio.sleep(HANG_S)

    async def main() -> None:
        task = asyncio.create_task(job())
        while not engine.asked:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.wait({task})
        await asyncio.sleep(0.05)
        assert len(engine.closed_in) == 1
        await forgotten.pop().aclose()

    run(main())
    assert handler.service().telemetry.outcomes() == {"CANCELLED": 1}


def test_on_runpod_neither_a_text_nor_a_dict_is_shown_in_the_log(open_worker: Open) -> None:
    """At DEBUG the SDK writes each answer into its log, by f-strings."""
    open_worker(RUNPOD_WEBHOOK_GET_JOB="https://x")
    answer = joined(**speech(stream_format="sse"))
    assert (f"{answer}", f"{[answer]}") == (f"<{len(answer)} characters>", f"[<{len(answer)} characters>]")
    assert json.loads(json.dumps(answer, ensure_ascii=False)).startswith("data: ")
    assert f"{joined(route='/v1/models')}" == "<2 fields>"


def test_a_queue_that_is_asked_for_no_route_imports_none() -> None:
    program = "import sys, handler; handler.service(); print(sorted({'web', 'fastapi'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "TTS_ENGINE": "espeak"},
        timeout=30,
    )
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
