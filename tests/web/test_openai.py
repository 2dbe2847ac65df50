"""/v1: what OpenAI's own client, and curl, get from this server."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fakes import as_base64, decoded, pitch_hz, recording
from http_server import HANG_S, HttpServer

pytestmark = pytest.mark.slow

openai = pytest.importorskip("openai", reason="`make test-fast` installs none")

TEXT = "The quick brown fox."


SERVER = {"api_keys": ("sk-one", "sk-two"), "openai_voices": {"alloy": "hans", "nova": "default"}}


@pytest.fixture(scope="module")
def client(server: HttpServer) -> Iterator[openai.OpenAI]:
    http = httpx.Client(trust_env=False, timeout=HANG_S)
    with openai.OpenAI(api_key="sk-two", base_url=f"{server.url}/v1", http_client=http, max_retries=0) as client:
        yield client


def sound(data: bytes) -> float:
    """The pitch of a whole file."""
    return pitch_hz(*decoded(data, raw_hz=24_000))


@pytest.mark.parametrize("form", ["mp3", "opus", "aac", "flac", "wav", "pcm"])
def test_every_format_by_the_sdk(client: openai.OpenAI, form: Any) -> None:
    answer = client.audio.speech.create(model="tts-1", voice="alloy", input=TEXT, response_format=form)
    assert sound(answer.content) == 450
    assert answer.response.headers["x-voice"] == "hans"
    expected = {"mp3": "audio/mpeg", "opus": "audio/ogg"}.get(form, f"audio/{form}")
    assert answer.response.headers["content-type"] == expected


@pytest.mark.parametrize("form", ["pcm", "aac"])
def test_the_sdk_streams(client: openai.OpenAI, form: str) -> None:
    asked: dict[str, Any] = {"model": "tts-1", "voice": "nova", "input": TEXT, "response_format": form}
    with client.audio.speech.with_streaming_response.create(**asked, extra_body={"seed": 5, "chunk_size": 5}) as answer:
        pieces = list(answer.iter_bytes())
    assert len(pieces) > 1
    assert sound(b"".join(pieces)) == 300
    assert answer.headers["x-seed"] == "5"


def test_fields_of_our_own_are_taken(client: openai.OpenAI) -> None:
    own: dict[str, Any] = {"reference_audio": as_base64(recording(pitch=700.0)), "output_format": "alaw"}
    asked = {"model": "tts-1", "input": TEXT, "voice": "alloy", **own}
    answer = client.post("/audio/speech", body=asked, cast_to=httpx.Response)
    assert answer.headers["x-format"] == "alaw"
    assert answer.headers["x-voice"] == "clone"
    assert sound(answer.content) == 700


def test_events_are_openais(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": "tts-1", "voice": "default", "input": TEXT, "response_format": "pcm"}
    with client.audio.speech.with_streaming_response.create(**asked, stream_format="sse") as answer:
        lines = [json.loads(line.removeprefix("data: ")) for line in answer.iter_lines() if line]
    assert answer.headers["content-type"] == "text/event-stream"
    *deltas, done = lines
    assert {delta["type"] for delta in deltas} == {"speech.audio.delta"}
    assert sound(b"".join(base64.b64decode(delta["audio"]) for delta in deltas)) == 300
    assert done["type"] == "speech.audio.done"
    usage = done["usage"]
    assert usage["input_tokens"] == len(TEXT)
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] > len(TEXT)


def test_models_are_listed(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["chatterbox", "tts-1", "tts-1-hd", "gpt-4o-mini-tts"]


@pytest.mark.parametrize(
    ("changed", "param", "words"),
    [
        ({"voice": "gert"}, "voice", "'gert' is not a voice here; known: alloy, nova, default, hans; OpenAI's names"),
        ({"voice": 5}, "voice", "must be a name"),
        ({"voice": {"id": 5}}, "voice", "must be a name"),
        ({"model": "whisper-1"}, "model", "is not here; known: chatterbox, tts-1"),
        ({"model": 1}, "model", "must be a string"),
        ({"response_format": "aiff"}, "response_format", "must be one of mp3, opus, aac, flac, wav, pcm"),
        ({"speed": 4.5}, "speed", "must be at most 4.0 (got 4.5)"),
        ({"speed": 0.24}, "speed", "must be at least 0.25"),
        ({"speed": "fast"}, "speed", "must be a number"),
        ({"speed": 10**400}, "speed", "must be a number (got a number of more than 64 bits)"),
        ({"input": ""}, "input", "INVALID_INPUT: input must hold at least one letter or digit"),
        ({"input": " \n"}, "input", "INVALID_INPUT: input must hold at least one letter or digit"),
        ({"input": 5}, "input", "must be a string (got 5)"),
        ({"input": "x" * 5001}, "input", "must be at most 5000 characters"),
        ({"input": None}, "input", "is required"),
        ({"text": "Hi."}, "input", "and text are one"),
        ({"output_format": "wav", "response_format": "wav"}, "response_format", "and output_format are one"),
        ({"stream_format": "ws"}, "stream_format", "must be audio or sse"),
        ({"operation": "info"}, "operation", "is not a field here"),
        ({"instructions": 5, "colour": "red"}, "instructions", "must be a string"),
        ({"stream": "yes"}, "stream", "must be true or false"),
        ({"timestamps": 1}, "timestamps", "must be true or false"),
        ({"timestamps": True, "stream_format": "sse"}, "timestamps", "come with the whole file"),
        ({"word_timestamps": True, "stream": True}, "timestamps", "come with the whole file"),
        ({"timestamps": True, "word_timestamps": True}, "timestamps", "and word_timestamps are one"),
        ({"temperature": 9, "colour": "red"}, "temperature", "must be at most 2.0 (got 9)"),
    ],
)
def test_an_error_has_openais_shape(client: openai.OpenAI, changed: Any, param: str, words: str) -> None:
    asked = {"model": "tts-1", "voice": "default", "input": TEXT} | changed
    with pytest.raises(openai.BadRequestError) as caught:
        client.post("/audio/speech", body=asked, cast_to=httpx.Response)
    assert words in caught.value.message
    assert caught.value.type == "invalid_request_error"
    assert caught.value.param == param
    assert caught.value.code in ("INVALID_INPUT", "UNKNOWN_VOICE")


@pytest.mark.parametrize(
    ("names", "named"),
    [
        (["user", "backend"], "user, backend"),
        (["\ud800", "a\r\nSet-Cookie: b", "ü,", "", "\0", "x" * 41], "?, a??Set-Cookie:?b, ??, ?, ?, " + "x" * 40),
        ([f"n{number}" for number in range(1000)], ", ".join(f"n{n}" for n in range(20)) + ", and 980 more"),
    ],
)
def test_fields_that_nobody_knows_are_named_as_far_as_a_header_can(
    server: HttpServer, names: list[str], named: str
) -> None:
    headers = {"Content-Type": "application/json", "Authorization": "Bearer sk-one"}
    body = json.dumps({"input": "Hi."} | dict.fromkeys(names, 1)).encode()
    answer = server.http.post("/v1/audio/speech", content=body, headers=headers)
    assert (answer.status_code, answer.headers["x-ignored-fields"]) == (200, named)


def test_a_wrong_key_is_told_as_openai_does(server: HttpServer) -> None:
    stranger = openai.OpenAI(api_key="sk-three", base_url=f"{server.url}/v1", max_retries=0)
    with stranger, pytest.raises(openai.AuthenticationError) as caught:
        stranger.audio.speech.create(model="tts-1", voice="default", input=TEXT)
    assert caught.value.code == "UNAUTHORIZED"
    assert "sk-three" not in caught.value.message


def test_an_unknown_address_under_v1_has_openais_shape(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.post("/audio/transcriptions", body={}, cast_to=httpx.Response)
    assert caught.value.code == "NOT_FOUND"


@pytest.mark.skipif(not shutil.which("curl"), reason="no curl here")
def test_curl_as_in_openais_manual(server: HttpServer, tmp_path: Path) -> None:
    asked = json.dumps({"model": "gpt-4o-mini-tts", "input": TEXT, "voice": "alloy"})
    headers = ["-H", "Authorization: Bearer sk-one", "-H", "Content-Type: application/json"]
    command = ["curl", "-sS", "--fail", f"{server.url}/v1/audio/speech", *headers, "-d", asked, "-o", "speech.mp3"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=HANG_S)
    assert sound((tmp_path / "speech.mp3").read_bytes()) == 450
