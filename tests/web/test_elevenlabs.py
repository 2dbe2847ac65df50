"""ElevenLabs' addresses over HTTP: files, bytes, times of characters, voices and models."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import numpy as np
import pytest
from fakes import FakeEngine, by_letters, decoded, pitch_hz
from http_server import LONG, HttpServer, open_server, until
from websockets.exceptions import InvalidStatus

from audio.encode import ALAW_CODES, MULAW_CODES
from web.elevenlabs import LINE_BYTES
from web.elevenlabs_requests import FORMATS, VOICES

pytestmark = pytest.mark.slow

TEXT = "The quick brown fox costs money."
ENDINGS = ("", "/stream", "/with-timestamps", "/stream/with-timestamps")
SECONDS = (10 + len(TEXT)) / 25


SERVER = {"engine": FakeEngine(words=by_letters), "openai_voices": {"my-id": "hans", "other": "default"}}


def ask(
    server: HttpServer, ending: str = "", voice: str = "hans", form: str = "pcm_24000", **body: Any
) -> httpx.Response:
    answer = server.post(f"/v1/text-to-speech/{voice}{ending}?output_format={form}", {"text": TEXT} | body)
    assert answer.status_code == 200, answer.text
    return answer


def objects(answer: httpx.Response) -> list[dict[str, Any]]:
    return [json.loads(line) for line in answer.text.splitlines()]


@pytest.mark.parametrize("form", FORMATS)
def test_every_format(server: HttpServer, form: str) -> None:
    kind, rate_hz = form.split("_")[0], int(form.split("_")[1])
    answer = ask(server, form=form)
    mime = {"pcm": "audio/pcm", "wav": "audio/wav", "mp3": "audio/mpeg", "opus": "audio/ogg"}
    assert answer.headers["content-type"] == mime.get(kind, answer.headers["content-type"])
    data = answer.content
    if kind in ("ulaw", "alaw"):
        codes = MULAW_CODES if kind == "ulaw" else ALAW_CODES
        values = np.zeros(256, dtype=np.int16)
        values[codes] = np.arange(65_536, dtype=np.uint16).view(np.int16)
        data = values[np.frombuffer(data, dtype=np.uint8)].tobytes()
    samples, heard_hz = decoded(data, raw_hz=rate_hz)
    assert heard_hz == rate_hz
    assert len(samples) / rate_hz == pytest.approx(SECONDS, abs=0.15)
    assert pitch_hz(samples, rate_hz) == 450


def test_mp3_is_the_default_and_bytes_come_in_pieces(server: HttpServer) -> None:
    body = {"text": LONG, "model_id": "eleven_turbo_v2_5"}
    with server.http.stream("POST", "/v1/text-to-speech/hans/stream", json=body) as answer:
        pieces = list(answer.iter_raw())
    assert answer.headers["content-type"] == "audio/mpeg"
    assert len(pieces) > 3
    samples, rate_hz = decoded(b"".join(pieces))
    assert rate_hz == 44_100
    assert pitch_hz(samples, rate_hz) == 450


def seconds_of(objects: list[dict[str, Any]]) -> float:
    return sum(len(base64.b64decode(each["audio_base64"])) for each in objects) / 48_000


@pytest.mark.parametrize("ending", ["/with-timestamps", "/stream/with-timestamps"])
def test_every_character_has_its_time_in_the_whole(server: HttpServer, ending: str) -> None:
    text = f"  “Hello”, it costs $5 — or more. {TEXT} Then…  "
    answer = ask(server, ending, text=text)
    told = objects(answer)
    assert (len(told) > 1) == ending.startswith("/stream")
    assert [each["alignment"] for each in told] == [each["normalized_alignment"] for each in told]
    columns = ("characters", "character_start_times_seconds", "character_end_times_seconds")
    chars, starts, ends = (
        [item for each in told if each["alignment"] for item in each["alignment"][name]] for name in columns
    )
    assert "".join(chars) == text.strip()
    assert starts == sorted(starts)
    assert all(start <= end for start, end in zip(starts, ends, strict=True))
    total_s = seconds_of(told)
    assert ends[-1] == pytest.approx(total_s, abs=0.001)
    at = text.strip().index("$5")
    assert starts[at] == pytest.approx(total_s * at / len(text.strip()), abs=0.5)
    assert all(base64.b64decode(each["audio_base64"]) for each in told)


def test_lines_are_lines_to_a_client_that_splits_at_every_kind_of_line_end(server: HttpServer) -> None:
    """httpx, and so ElevenLabs' SDK, does it at U+2028 and U+0085, too."""
    text = "Hello\u2028there\u0085you are."
    answer = ask(server, "/stream/with-timestamps", text=text)
    read = [json.loads(line)["alignment"] for line in answer.iter_lines()]
    assert "".join(char for each in read if each for char in each["characters"]) == text


def test_lines_are_short_enough_for_aiohttp(server: HttpServer) -> None:
    told = objects(ask(server, "/stream/with-timestamps", form="pcm_48000", text=LONG))
    assert max(len(base64.b64decode(each["audio_base64"])) for each in told) <= LINE_BYTES
    assert sum(each["alignment"] is not None for each in told) > 10


@pytest.mark.parametrize("voice", ["hans", "default", "my-id", "other", *sorted(VOICES)])
def test_a_voice_by_its_name_by_the_map_or_as_clients_have_it_built_in(server: HttpServer, voice: str) -> None:
    name, pitch = ("hans", 450) if voice in ("hans", "my-id") else ("default", 300)
    answer = ask(server, voice=voice)
    assert pitch_hz(*decoded(answer.content, raw_hz=24_000)) == pitch
    assert answer.headers["x-voice"] == server.get(f"/v1/voices/{voice}").json()["voice_id"] == name


def test_what_has_a_counterpart_is_done_and_the_rest_is_named() -> None:
    engine = FakeEngine()
    settings = {"stability": 0.5, "similarity_boost": 0.75, "style": 0.5, "use_speaker_boost": True, "speed": 2.0}
    body = {
        "model_id": "any",
        "seed": 5,
        "apply_text_normalization": "off",
        "language_code": "de",
        "voice_settings": settings,
        "previous_text": "Before.",
        "next_text": None,
        "colour": "red",
        "pronunciation_dictionary_locators": [],
    }
    with open_server(engine) as server:
        answer = ask(server, "/stream", **body)
    assert answer.headers["x-seed"] == "5"
    assert engine.heard[0].exaggeration == 0.75
    assert engine.texts == [TEXT]
    assert len(answer.content) / 48_000 == pytest.approx(SECONDS / 2, abs=0.05)
    of_sound = "voice_settings.stability, voice_settings.similarity_boost, voice_settings.use_speaker_boost"
    ignored = f"{of_sound}, previous_text, colour, pronunciation_dictionary_locators"
    assert answer.headers["x-ignored-fields"] == ignored


def test_a_voice_that_is_named_speaks_its_own_language(server: HttpServer) -> None:
    answer = ask(server, voice="hans", language_code="en")
    assert (answer.status_code, answer.headers["x-ignored-fields"]) == (200, "language_code")
    assert "x-ignored-fields" not in ask(server, voice="hans", language_code="de").headers


def test_a_text_of_signs_is_a_short_silence(server: HttpServer) -> None:
    (told,) = objects(ask(server, "/with-timestamps", text="…"))
    assert 0.1 < seconds_of([told]) < 0.5
    assert told["alignment"]["characters"] == ["…"]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(
    ("changed", "status", "word", "message"),
    [
        ({"voice": "nobody"}, 404, "voice_not_found", "'nobody' is not a voice here; known: my-id, other, default,"),
        ({"form": "pcm_11025"}, 422, "invalid_parameters", "output_format must be one of pcm_8000"),
        ({"text": None}, 422, "invalid_parameters", "text is required"),
        ({"text": ""}, 422, "invalid_parameters", "text must"),
        ({"text": 5}, 422, "invalid_parameters", "text must be a string"),
        ({"model_id": 5}, 422, "invalid_parameters", "model_id must be a string"),
        ({"seed": -1}, 422, "invalid_parameters", "seed must be at least 0"),
        ({"language_code": "xx", "voice": "default"}, 422, "unsupported", "language_code"),
        ({"voice_settings": "loud"}, 422, "invalid_parameters", "voice_settings must be an object"),
        ({"voice_settings": {"speed": 9}}, 422, "invalid_parameters", "voice_settings.speed must be at most"),
        ({"voice_settings": {"style": True}}, 422, "invalid_parameters", "voice_settings.style must be a number"),
        ({"apply_text_normalization": 1}, 422, "invalid_parameters", "must be auto, on or off"),
    ],
)
def test_an_error_is_elevenlabs(
    server: HttpServer, ending: str, changed: dict[str, Any], status: int, word: str, message: str
) -> None:
    voice, form = changed.get("voice", "hans"), changed.get("form", "mp3_44100_128")
    body = {"text": TEXT} | {name: value for name, value in changed.items() if name not in ("voice", "form")}
    answer = server.post(f"/v1/text-to-speech/{voice}{ending}?output_format={form}", body)
    assert answer.status_code == status
    detail = answer.json()["detail"]
    assert detail["status"] == word
    assert message in detail["message"]
    until(server.at_rest)


def test_other_errors_have_that_form_too() -> None:
    path, key = "/v1/text-to-speech/hans", {"xi-api-key": "sk-one"}
    with open_server(api_keys=("sk-one",)) as server:
        answers = (
            server.post(path, {"text": TEXT}),
            server.http.post(path, content=b"{", headers=key),
            server.http.get(path, headers=key),
        )
        with pytest.raises(InvalidStatus) as caught:
            server.websocket(f"{path}/multi-stream-input")
        with server.websocket(f"{path}/multi-stream-input", additional_headers=key):
            pass
    told = [(answer.status_code, answer.json()["detail"]["status"]) for answer in answers]
    assert told == [(401, "invalid_api_key"), (415, "unsupported_media_type"), (405, "method_not_allowed")]
    assert (caught.value.response.status_code, b"invalid_api_key" in caught.value.response.body) == (401, True)


def test_a_wav_that_is_not_streamed_has_its_length(server: HttpServer) -> None:
    whole, streamed = (ask(server, ending, form="wav_24000").content for ending in ("", "/stream"))
    assert int.from_bytes(whole[4:8], "little") == len(whole) - 8
    assert streamed[4:8] == b"\xff" * 4


def test_voices_are_listed_for_both_contracts(server: HttpServer) -> None:
    first, second = server.get("/v1/voices"), server.get("/v2/voices?page_size=10")
    listed = first.json()
    assert listed["default"] == "default"
    assert listed["voices"] == second.json()["voices"]
    shown = [(voice["voice_id"], voice["name"], voice["category"]) for voice in listed["voices"]]
    assert shown == [("default", "default", "premade"), ("hans", "hans", "premade")]
    assert (second.json()["has_more"], second.json()["total_count"]) == (False, 2)
    assert server.get("/v1/voices/hans").json() == listed["voices"][1]
    unknown = server.get("/v1/voices/nobody")
    assert "OPENAI_VOICES" in unknown.json()["detail"]["message"]
    assert (unknown.status_code, unknown.json()["detail"]["status"]) == (404, "voice_not_found")


def test_models_are_elevenlabs_where_its_key_is_sent(server: HttpServer) -> None:
    models = server.get("/v1/models", xi_api_key="anything").json()
    names = "chatterbox eleven_multilingual_v2 eleven_turbo_v2_5 eleven_flash_v2_5"
    assert [model["model_id"] for model in models] == names.split()
    assert all(model["can_do_text_to_speech"] for model in models)
    assert server.get("/v1/models").json()["object"] == "list"
