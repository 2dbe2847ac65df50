"""POST /tts: the job contract, in every form it can be asked and answered in."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import httpx
import pytest
from fakes import FakeEngine, as_base64, decoded, pitch_hz, raising_at, recording
from http_server import LONG, HttpServer, open_server, until

from audio.encode import ENCODERS
from sync_test import RAW_SUBTYPES
from validation.errors import GpuFault, InternalError, ModelUnavailable, OutOfMemory
from web.response_encoders import EventEncoder, FileEncoder
from web.tts_request import accepted

pytestmark = pytest.mark.slow

SAY = {"text": "Hello there.", "seed": 3}


def events(text: str) -> list[tuple[str, Any]]:
    """Server-sent events, by the letter."""
    blocks = text.removesuffix("\n\n").split("\n\n")
    pairs = [block.split("\n") for block in blocks]
    assert all(len(pair) == 2 for pair in pairs), pairs
    return [(head.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for head, data in pairs]


# --- forms of the answer --------------------------------------------------------------------------------------


def test_json_is_the_joined_reply(server: HttpServer) -> None:
    answer = server.post("/tts", SAY)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    reply = answer.json()
    samples, rate_hz = decoded(base64.b64decode(reply["audio"]))
    assert (rate_hz, len(samples) / rate_hz) == (24_000, reply["duration"])
    assert reply["delivery"] == "inline"
    assert reply["seed"] == 3


@pytest.mark.parametrize("name", ENCODERS)
def test_bytes_are_the_file_as_it_is_made(server: HttpServer, name: str) -> None:
    asked = SAY | {"output_format": name, "voice": "hans", "decode_mode": "window"}
    answer = server.post("/tts", asked, accept="audio/*")
    assert answer.headers["content-type"] == ENCODERS[name].mime_type
    assert "content-length" not in answer.headers
    told = {key: answer.headers[f"x-{key}"] for key in ("format", "voice", "seed", "sample-rate")}
    rate_hz = ENCODERS[name].coded_rate(ENCODERS[name].sample_rate_hz)
    assert told == {"format": name, "voice": "hans", "seed": "3", "sample-rate": str(rate_hz)}
    as_told: dict[str, Any] = {"raw_hz": rate_hz, "raw_as": RAW_SUBTYPES.get(name)}
    samples, rate_hz = decoded(answer.content, **as_told)
    whole, _ = decoded(base64.b64decode(server.post("/tts", asked).json()["audio"]), **as_told)
    assert abs(len(samples) - len(whole)) < 0.25 * rate_hz
    assert pitch_hz(whole, rate_hz) == 450


def test_an_old_name_of_the_operation_is_speech_too(server: HttpServer) -> None:
    answer = server.post("/tts", SAY | {"operation": "expressive_tts"}, accept="audio/mpeg")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "audio/mpeg")


def test_events_are_the_stream_and_its_end(server: HttpServer) -> None:
    asked = SAY | {"chunk_size": 5, "output_format": "pcm_s16le"}
    answer = server.post("/tts", asked, accept="text/event-stream")
    assert answer.headers["content-type"] == "text/event-stream"
    *pieces, (last, end) = events(answer.text)
    assert {name for name, _ in pieces} == {"audio"}
    assert last == "end"
    assert [piece["index"] for _, piece in pieces] == list(range(len(pieces)))
    assert set(pieces[0][1]) == {"index", "audio", "format", "sample_rate", "start", "duration"}
    sound = b"".join(base64.b64decode(piece["audio"]) for _, piece in pieces)
    assert sound == base64.b64decode(server.post("/tts", asked).json()["audio"])
    assert end["bytes"] == len(sound)
    assert end["metrics"]["chunk_count"] > 1
    assert "audio" not in end


def test_a_seed_is_chosen_and_told(server: HttpServer) -> None:
    first = server.post("/tts", {"text": "Hello there."}, accept="audio/wav")
    again = server.post("/tts", {"text": "Hello there.", "seed": int(first.headers["x-seed"])}, accept="audio/wav")
    assert first.content == again.content
    assert first.headers["x-voice"] == "default"


def test_the_voice_that_a_language_chooses_is_told(server: HttpServer) -> None:
    assert server.post("/tts", {"text": "Guten Tag.", "language": "de"}, accept="audio/*").headers["x-voice"] == "hans"


@pytest.mark.parametrize(
    ("accept", "name"),
    [
        ("audio/mpeg", "mp3"),
        ("audio/ogg", "opus"),
        ("audio/aac", "aac"),
        ("audio/*", "wav"),
        ("audio/flac", "flac"),
        ("audio/pcm", "pcm_s16le"),
        ("audio/mp3", "mp3"),
        ("audio/wave", "wav"),
        ("audio/vnd.wave, */*;q=0.1", "wav"),
        ("audio/x-flac", "flac"),
        ("audio/ogg; codecs=opus", "opus"),
        ("audio/basic", "mulaw_raw"),
        ("audio/PCMA", "alaw_raw"),
        ("audio/x-f32le", "pcm_f32le"),
    ],
)
def test_an_exact_type_names_the_format(server: HttpServer, accept: str, name: str) -> None:
    assert server.post("/tts", SAY, accept=accept).headers["x-format"] == name
    assert server.post("/tts", SAY | {"output_format": "opus"}, accept=accept).headers["x-format"] == "opus"


@pytest.mark.parametrize(
    ("header", "wire", "own"),
    [
        ("", None, ""),
        ("*/*", None, ""),
        ("application/json", None, ""),
        ("audio/*", FileEncoder, ""),
        ("text/event-stream", EventEncoder, ""),
        ("text/html, audio/mpeg;q=0.5, application/json;q=0.2", FileEncoder, "mp3"),
        ("audio/*;q=0.1, application/json", None, ""),
        ("audio/*;q=0, */*", None, ""),
    ],
)
def test_accept_is_read_by_weight(header: str, wire: Any, own: str) -> None:
    chosen, named = accepted(header)
    assert (type(chosen) if chosen else None, named) == (wire, own)


def test_what_can_not_be_had_is_406(server: HttpServer) -> None:
    for accept in ("text/html", "audio/webm"):
        answer = server.post("/tts", SAY, accept=accept)
        assert (answer.status_code, answer.json()["error_code"]) == (406, "NOT_ACCEPTABLE")
    twice = [("accept", "image/png"), ("accept", "audio/flac")]
    assert server.http.post("/tts", json=SAY, headers=twice).headers["content-type"] == "audio/flac"


@pytest.mark.parametrize("accept", ["application/json", "audio/*", "text/event-stream"])
def test_an_operation_without_sound_is_json(server: HttpServer, accept: str) -> None:
    answer = server.post("/tts", {"operation": "voices"}, accept=accept)
    assert [voice["name"] for voice in answer.json()["voices"]] == ["default", "hans"]


# --- a form, a recording ----------------------------------------------------------------------------------------


JSON_KINDS = ["application/x-www-form-urlencoded", "application/x-www-form-urlencoded; charset=utf-8", "text/plain", ""]


@pytest.mark.parametrize("kind", JSON_KINDS)
@pytest.mark.parametrize(
    "body", [b'{"text": "Hello."}', b' \n{"text": "a=b&c"}', b"%7B%22text%22%3A%22Hi%22%7D", b"[1]"]
)
@pytest.mark.parametrize("path", ["/tts", "/v1/audio/speech"])
def test_json_that_is_sent_as_something_else_is_told_its_type(
    server: HttpServer, path: str, body: bytes, kind: str
) -> None:
    """curl's -d without a -H says that it is a form: its only field was called `{"text": "Hello."}`."""
    answer = server.http.post(path, content=body, headers={"Content-Type": kind} if kind else {})
    assert answer.status_code == 415
    assert "UNSUPPORTED_MEDIA_TYPE" in answer.text
    assert "send Content-Type: application/json" in answer.text


def test_a_form_with_a_recording_speaks_with_its_voice(server: HttpServer) -> None:
    files = {"reference_audio": ("me.wav", recording(pitch=700.0), "audio/wav")}
    fields = {"text": "Hello there.", "speed": "1.0", "normalize_text": "false", "pronunciations": '{"a": "b"}'}
    answer = server.http.post("/tts", data=fields, files=files)
    assert answer.status_code == 200, answer.text
    reply = answer.json()
    assert reply["voice"] == "clone"
    assert reply["parameters"]["normalize_text"] is False
    assert reply["parameters"]["pronunciations"] == {"a": "b"}
    assert pitch_hz(*decoded(base64.b64decode(reply["audio"]))) == 700


def test_a_text_of_digits_stays_text_in_a_form(server: HttpServer) -> None:
    answer = server.http.post("/tts", data={"text": "1984", "seed": "7"})
    assert (answer.json()["text"], answer.json()["seed"]) == ("1984", 7)


@pytest.mark.parametrize(
    ("fields", "files", "words"),
    [
        ({"text": "Hi.", "speed": "fast"}, None, 'speed must be a number (got "fast")'),
        ({"text": "Hi.", "speed": "NaN"}, None, "speed must be a number"),
        ({"text": "Hi.", "seed": "[1]"}, None, "seed must be a whole number"),
        ({"text": "Hi."}, {"voice": b"x"}, "`voice` can't be a file"),
        ({"text": ["Hi.", "Ho."]}, None, "`text` is there twice"),
    ],
)
def test_a_form_is_refused_as_strictly_as_json(server: HttpServer, fields: Any, files: Any, words: str) -> None:
    answer = server.http.post("/tts", data=fields, files=files)
    assert answer.status_code == 400
    assert words in answer.json()["error"]


# --- errors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accept", ["application/json", "audio/*", "text/event-stream"])
@pytest.mark.parametrize(
    ("asked", "status", "code"),
    [
        ({}, 400, "INVALID_INPUT"),
        ({"text": "Hi.", "speed": 9, "x": 1}, 400, "INVALID_INPUT"),
        ({"operation": "sing"}, 400, "UNKNOWN_OPERATION"),
        ({"text": "Hi.", "voice": "nobody"}, 404, "UNKNOWN_VOICE"),
        ({"text": "Hi.", "reference_audio": as_base64(b"no sound")}, 422, "REFERENCE_AUDIO"),
        ({"text": "Hi.", "decode_mode": "block"}, 422, "UNSUPPORTED"),
    ],
)
def test_a_refusal_has_its_status_in_every_form(
    server: HttpServer, asked: Any, status: int, code: str, accept: str
) -> None:
    answer = server.post("/tts", asked, accept=accept)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json")
    assert set(answer.json()) == {"error", "error_code", "details", "retryable"}
    assert answer.json()["error_code"] == code


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"", ": at character 0 it is no JSON (Expecting value)"),
        (b'{"text": "Hi" "seed": 1}', ": at character 14 it is no JSON (Expecting ',' delimiter)"),
        (b"[]", ""),
        (b'"x"', ""),
        (b'{"text": NaN}', ": it is no JSON"),
        (b"\xff", ": it is no JSON"),
        (b"[" * 100_000, ": it is no JSON"),
    ],
)
def test_what_is_no_json_object_is_refused(server: HttpServer, body: bytes, fault: str) -> None:
    answer = server.http.post("/tts", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_INPUT")
    assert answer.json()["error"] == f"INVALID_INPUT: the body must be a JSON object{fault}"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ModelUnavailable("no weights"), 503),
        (OutOfMemory("no memory"), 503),
        (InternalError("it broke"), 500),
        (RuntimeError("/secret/path"), 500),
    ],
)
def test_a_fault_before_the_first_byte_is_a_status(error: Exception, status: int) -> None:
    with open_server(FakeEngine(before_chunk=raising_at(1, error))) as server:
        answer = server.post("/tts", SAY, accept="audio/*")
        assert answer.status_code == status
        assert "secret" not in answer.text


def test_a_fault_in_mid_stream_breaks_bytes_off_and_is_told_in_events() -> None:
    asked = {"text": LONG, "chunk_size": 5}
    broken = FakeEngine(before_chunk=raising_at(3, InternalError("it broke")))
    with open_server(broken) as server, pytest.raises(httpx.RemoteProtocolError):
        server.post("/tts", asked, accept="audio/*")
    with open_server(FakeEngine(before_chunk=raising_at(3, InternalError("it broke")))) as server:
        told = events(server.post("/tts", asked, accept="text/event-stream").text)
        assert [name for name, _ in told] == ["audio", "audio", "error"]
        assert told[-1][1]["error"] == "INTERNAL: it broke"


def test_a_worker_that_must_be_replaced_is_unhealthy_and_leaves_with_status_1() -> None:
    with open_server(FakeEngine(before_chunk=raising_at(1, GpuFault("the GPU failed")))) as server:
        assert server.post("/tts", SAY).status_code == 503
        until(lambda: server.status is not None)
    assert server.status == 1


def test_a_long_stream_is_not_bound_by_the_limit_of_replies() -> None:
    with open_server(max_output_bytes=10_000) as server:
        assert server.post("/tts", SAY).status_code == 413
        streamed = server.post("/tts", SAY, accept="audio/*")
        assert streamed.status_code == 200
        assert len(streamed.content) > 20_000


def test_the_recordings_file_is_what_was_sent() -> None:
    """A form's file of more than a megabyte, which the parser keeps on disk."""
    long = recording(pitch=520.0, duration_s=35.0, rate_hz=24_000)
    assert len(long) > 1_500_000
    with open_server() as server:
        files = {"reference_audio": ("me.wav", io.BytesIO(long), "audio/wav")}
        reply = server.http.post("/tts", data={"text": "Hi."}, files=files).json()
    assert pitch_hz(*decoded(base64.b64decode(reply["audio"]))) == 520
