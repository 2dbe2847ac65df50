"""POST /convert, `convert` at POST /tts, and ElevenLabs' speech-to-speech: a recording in, another voice out."""

from __future__ import annotations

import base64
from typing import Any

import httpx
import pytest
from fakes import FakeEngine, as_base64, decoded, pitch_hz, recording
from http_server import HttpServer, open_server

from tests.web.test_tts_request import events

pytestmark = pytest.mark.slow

CLIP = recording(700.0, 2.0)
TAKE = {"source_audio": as_base64(CLIP), "seed": 3}
ELEVENLABS, OF_ITS_SDK = "/v1/speech-to-speech", "/v1/voice-changer"


@pytest.mark.parametrize(("path", "more"), [("/convert", {}), ("/tts", {"operation": "convert"})])
def test_json_in_json_out(server: HttpServer, path: str, more: dict[str, str]) -> None:
    answer = server.post(path, TAKE | more)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    reply = answer.json()
    assert (reply["operation"], reply["source_duration"], reply["duration"]) == ("convert", 2.0, 2.0)
    assert pitch_hz(*decoded(base64.b64decode(reply["audio"]))) == 300


@pytest.mark.parametrize(("path", "more"), [("/convert", {}), ("/tts", {"operation": "convert"})])
def test_the_answer_comes_as_accept_says(server: HttpServer, path: str, more: dict[str, str]) -> None:
    answer = server.post(path, TAKE | more | {"voice": "hans"}, accept="audio/flac")
    shown = {name: answer.headers[f"x-{name}"] for name in ("format", "voice", "seed", "sample-rate")}
    assert shown == {"format": "flac", "voice": "hans", "seed": "3", "sample-rate": "24000"}
    samples, rate_hz = decoded(answer.content)
    assert (pitch_hz(samples[:48_000], rate_hz), abs(len(samples) - 48_000) < 5000) == (450, True)
    told = events(server.post(path, TAKE | more, accept="text/event-stream").text)
    assert [kind for kind, _ in told] == ["audio"] * (len(told) - 1) + ["end"]
    assert len(told) > 2
    assert told[-1][1]["source_duration"] == 2.0


def test_a_form_has_both_recordings_as_files(server: HttpServer) -> None:
    files = {"source_audio": ("take.wav", CLIP), "reference_audio": ("me.wav", recording(520.0))}
    answer = server.http.post("/convert", data={"speed": "2", "output_format": "wav"}, files=files)
    reply = answer.json()
    assert (answer.status_code, reply["voice"], reply["duration"]) == (200, "clone", pytest.approx(1.0, abs=0.05))
    assert pitch_hz(*decoded(base64.b64decode(reply["audio"]))) == 520


@pytest.mark.parametrize(
    ("given", "status", "message"),
    [
        ({}, 400, "INVALID_INPUT: source_audio is required (or source_audio_url)"),
        (TAKE | {"operation": "tts"}, 400, 'INVALID_INPUT: operation must be convert at this address (got "tts")'),
        (TAKE | {"operation": ["tts"]}, 400, "INVALID_INPUT: operation must be convert at this address"),
        (TAKE | {"text": "Hello."}, 400, "INVALID_INPUT: `text` is not a field"),
        (TAKE | {"voice": "nobody"}, 404, "UNKNOWN_VOICE: voice"),
        ({"source_audio": "AAAA"}, 422, "REFERENCE_AUDIO: the source audio can't be read"),
        ({"input": TAKE}, 400, 'INVALID_INPUT: send what is inside "input"'),
    ],
)
def test_what_is_wrong_has_its_status(server: HttpServer, given: Any, status: int, message: str) -> None:
    answer = server.post("/convert", given, accept="audio/*")
    assert answer.status_code == status
    assert answer.json()["error"].startswith(message)


def test_an_engine_that_can_not_says_so() -> None:
    with open_server(FakeEngine(can_convert=False)) as incapable:
        answer = incapable.post("/convert", TAKE)
        assert (answer.status_code, answer.json()["error_code"]) == (422, "UNSUPPORTED")
        answer = elevenlabs(incapable)
        assert (answer.status_code, answer.json()["detail"]["status"]) == (422, "unsupported")
        models = incapable.get("/v1/models", xi_api_key="x").json()
    assert {model["can_do_voice_conversion"] for model in models} == {False}


# --- ElevenLabs -------------------------------------------------------------------------------------------------


def elevenlabs(
    server: HttpServer, ending: str = "", voice: str = "hans", at: str = ELEVENLABS, **fields: str
) -> httpx.Response:
    path = f"{at}/{voice}{ending}"
    files = {"audio": ("take.wav", CLIP, "audio/wav")}
    return server.http.post(path, params={"output_format": "wav_24000"}, data=fields, files=files)


@pytest.mark.parametrize("at", [ELEVENLABS, OF_ITS_SDK])
@pytest.mark.parametrize("ending", ["", "/stream"])
def test_elevenlabs_form(server: HttpServer, ending: str, at: str) -> None:
    sound = '{"speed": 2.0, "stability": 0.5, "style": 0.3}'
    fields = {"model_id": "eleven_multilingual_sts_v2", "voice_settings": sound, "file_format": "other"}
    answer = elevenlabs(server, ending, at=at, seed="4", remove_background_noise="true", **fields)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "audio/wav"), answer.text
    assert (answer.headers["x-voice"], answer.headers["x-seed"]) == ("hans", "4")
    ignored = {"remove_background_noise", "voice_settings.stability", "voice_settings.style"}
    assert {*answer.headers["x-ignored-fields"].split(", ")} == ignored
    samples, rate_hz = decoded(answer.content)
    assert pitch_hz(samples[:24_000], rate_hz) == 450
    assert (answer.content[4:8] == b"\xff" * 4) == (ending == "/stream")  # sizes that are not known yet
    if not ending:
        assert len(samples) == pytest.approx(24_000, abs=1000)


@pytest.mark.parametrize(
    ("fields", "status", "message"),
    [
        ({"file_format": "pcm_s16le_16"}, 422, "file_format must be other: send a file with a header"),
        ({"voice_settings": "{"}, 422, "voice_settings must be an object"),
        ({"seed": "many"}, 422, "seed must be a whole number"),
        ({"voice": "nobody"}, 404, "nobody"),
    ],
)
def test_what_elevenlabs_form_may_not_say(server: HttpServer, fields: Any, status: int, message: str) -> None:
    for at in (ELEVENLABS, OF_ITS_SDK):
        answer = elevenlabs(server, at=at, **fields)
        assert answer.status_code == status
        assert message in answer.json()["detail"]["message"]


def test_elevenlabs_form_needs_its_file(server: HttpServer) -> None:
    path = f"{ELEVENLABS}/hans"
    answer = server.http.post(path, data={"seed": "1"}, files={"other": ("x", b"x")})
    assert (answer.status_code, "`other` can't be a file" in answer.text) == (422, True)
    boundary = {"content-type": "multipart/form-data; boundary=x"}
    form = b'--x\r\ncontent-disposition: form-data; name="seed"\r\n\r\n1\r\n--x--\r\n'
    answer = server.http.post(path, content=form, headers=boundary)
    assert (answer.status_code, "audio is required" in answer.text) == (422, True)
    answer = server.post(path, {"audio": TAKE["source_audio"]})
    assert (answer.status_code, "multipart/form-data" in answer.text) == (415, True)
    bad = server.http.post(path, files={"audio": ("a.wav", b"nothing")}).json()["detail"]["message"]
    assert "the source audio can't be read" in bad
