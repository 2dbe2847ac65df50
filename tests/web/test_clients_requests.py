"""The default requests of other servers' clients, as their sources send them, and what Chatterbox-TTS-Server refuses.

A row for each client: add a list for another contract to REQUESTS.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from fakes import POLYGLOT, FakeEngine, by_letters, decoded, pitch_hz, recording
from http_server import Gate, HttpServer, open_server

from web.openai import VOICES

pytestmark = pytest.mark.slow

TEXT = "The quick brown fox."
SPOKEN_S = 1.2  # of FakeEngine: 10 tokens and one for each character
CODEC_S = 0.15  # by which a codec's frames may be longer
SPEECH, TTS = "/v1/audio/speech", "/tts"
AUDIO = {"mp3": "audio/mpeg", "opus": "audio/ogg", "aac": "audio/aac", "flac": "audio/flac", "wav": "audio/wav"}
PCM, EVENTS, JSON = "audio/pcm", "text/event-stream", "application/json"


@dataclass(frozen=True, slots=True)
class Asked:
    """One client's request, and what it needs: the answer's type, how long the sound is, whose voice it is, which of
    its fields are named as ignored. `sized`: a whole file, with its length in its head."""

    client: str
    path: str
    body: dict[str, Any]
    kind: str
    seconds: float = SPOKEN_S
    voice: str = "default"
    ignored: str = ""
    sized: bool = False
    headers: dict[str, str] = field(default_factory=dict)


def openai(client: str, kind: str, *, seconds: float = SPOKEN_S, **rest: Any) -> Asked:
    own = {name: rest.pop(name) for name in ("ignored", "sized", "headers") if name in rest}
    return Asked(client, SPEECH, {"input": TEXT} | rest, kind, seconds, **own)


OPENAI = [
    openai("pipecat", PCM, model="gpt-4o-mini-tts", voice="alloy", response_format="pcm"),
    openai(
        "pipecat, with instructions",
        PCM,
        model="gpt-4o-mini-tts",
        voice="sage",
        response_format="pcm",
        instructions="Be kind.",
        speed=1.25,
        seconds=SPOKEN_S / 1.25,
        ignored="instructions",
    ),
    openai(
        "livekit", EVENTS, model="gpt-4o-mini-tts", voice="ash", response_format="mp3", speed=1.0, stream_format="sse"
    ),
    openai("livekit, tts-1", AUDIO["mp3"], model="tts-1", voice="ash", response_format="mp3", stream_format="audio"),
    openai("Open WebUI", AUDIO["mp3"], voice="alloy", model="tts-1", headers={"X-OpenWebUI-User-Id": "1"}),
    *(
        openai(
            f"SillyTavern, {name}",
            AUDIO["mp3"],
            response_format="mp3",
            voice="nova",
            speed=speed,
            model="tts-1",
            seconds=SPOKEN_S / speed,
            headers={"Authorization": "Bearer"},
        )
        for name, speed in (("slowest", 0.25), ("fastest", 4))
    ),
    *(
        openai(f"n8n, {form}", AUDIO[form], model="tts-1-hd", voice="onyx", response_format=form, speed=1)
        for form in ("mp3", "opus", "aac", "flac")
    ),
    openai("LibreChat", AUDIO["mp3"], model="tts-1", voice="alloy", backend="x", ignored="backend"),
    openai("LibreChat, not configured", AUDIO["mp3"], model="", voice=""),
    openai("AnythingLLM", AUDIO["mp3"], model="tts-1", voice="alloy"),
    openai("Home Assistant", AUDIO["opus"], model="tts-1", voice="shimmer", response_format="opus", speed=1.0),
    openai("hermes-agent", PCM, model="tts-1", voice="alloy", response_format="pcm"),
    openai("RealtimeTTS", AUDIO["mp3"], model="tts-1", voice="nova", instructions=None, response_format=None),
    openai(
        "SubtitleEdit",
        AUDIO["wav"],
        voice="default",
        language="en",
        response_format="wav",
        consent_attestation="I may.",
        spoken_disclaimer=False,
        ignored="consent_attestation, spoken_disclaimer",
        sized=True,
    ),
    openai("swama", JSON, timestamps=True),
    openai("swama, WAV", JSON, timestamps=True, response_format="wav", sized=True),
    openai("a dated model", AUDIO["mp3"], model="gpt-4o-mini-tts-2025-12-15", voice="cedar"),
    openai("nothing but a text", AUDIO["mp3"]),
    openai("a user", AUDIO["mp3"], model="tts-1", voice="coral", user="u-1", ignored="user"),
    openai("ogg", AUDIO["opus"], response_format="ogg", stream=True),
    openai("a WAV as a stream", AUDIO["wav"], response_format="wav", stream=True),
    openai("a WAV as a stream, in OpenAI's words", AUDIO["wav"], response_format="wav", stream_format="audio"),
    openai("no stream", AUDIO["wav"], response_format="wav", stream=False, sized=True),
    openai("mu-law", AUDIO["wav"], output_format="mulaw", sized=True),
    openai("signs", AUDIO["mp3"], model="tts-1", voice="alloy", input="… 🙂", seconds=0.3),
    openai("Accept: audio/mp3", AUDIO["mp3"], headers={"Accept": "audio/mp3"}),
    openai("Accept: audio/wave", AUDIO["wav"], headers={"Accept": "audio/wave"}, sized=True),
    openai("Accept: audio/x-flac", AUDIO["flac"], headers={"Accept": "audio/x-flac, */*"}),
    openai("Accept, and a format", AUDIO["opus"], response_format="opus", headers={"Accept": "audio/mpeg"}),
    Asked("a voice of ours", SPEECH, {"input": TEXT, "voice": "hans"}, AUDIO["mp3"], voice="hans"),
    Asked("one of OpenAI's name", SPEECH, {"input": TEXT, "voice": "echo"}, AUDIO["mp3"], voice="echo"),
    Asked("a mapped voice", SPEECH, {"input": TEXT, "voice": "fable"}, AUDIO["mp3"], voice="hans"),
    Asked("a voice as an object", SPEECH, {"input": TEXT, "voice": {"id": "fable"}}, AUDIO["mp3"], voice="hans"),
]

SILLY_TAVERN = {
    "voice_mode": "predefined",
    "temperature": 0.8,
    "exaggeration": 0.5,
    "cfg_weight": 0.5,
    "seed": 1234,
    "speed_factor": 1.0,
    "language": "en",
    "split_text": True,
    "chunk_size": 120,
    "output_format": "wav",
}
CUT_BY_ITSELF = "split_text, chunk_size"


def devnen(client: str, kind: str, *, seconds: float = SPOKEN_S, voice: str = "default", **rest: Any) -> Asked:
    own = {name: rest.pop(name) for name in ("ignored", "sized", "headers") if name in rest}
    return Asked(client, TTS, {"text": TEXT} | rest, kind, seconds, voice, **own)


DEVNEN = [
    devnen(
        "SillyTavern, Chatterbox",
        AUDIO["wav"],
        **SILLY_TAVERN,
        predefined_voice_id="default.wav",
        ignored=CUT_BY_ITSELF,
        sized=True,
        headers={"Accept": "*/*", "Cache-Control": "no-cache"},
    ),
    devnen(
        "SillyTavern, a reference",
        AUDIO["opus"],
        **SILLY_TAVERN | {"voice_mode": "clone", "output_format": "opus", "speed_factor": 2},
        reference_audio_filename="echo.wav",
        voice="echo",
        seconds=SPOKEN_S / 2,
        ignored=CUT_BY_ITSELF,
    ),
    devnen(
        "SillyTavern, at the ends of its sliders",
        AUDIO["mp3"],
        **SILLY_TAVERN | {"temperature": 0, "exaggeration": 2, "cfg_weight": 1, "seed": 0, "output_format": "mp3"},
        predefined_voice_id="default.wav",
        ignored=f"{CUT_BY_ITSELF}, temperature",
    ),
    devnen(
        "Tater",
        AUDIO["wav"],
        voice_mode="predefined",
        predefined_voice_id="hans",
        language="de",
        output_format="wav",
        split_text=True,
        chunk_size=120,
        voice="hans",
        ignored=CUT_BY_ITSELF,
        sized=True,
    ),
    devnen(
        "a stream",
        AUDIO["wav"],
        voice_mode="predefined",
        stream=True,
        split_text=True,
        predefined_voice_id="echo.mp3",
        voice="echo",
        ignored="split_text",
    ),
    devnen(
        "more than the model does",
        AUDIO["wav"],
        speed_factor=0.5,
        exaggeration=3,
        seconds=SPOKEN_S * 2,
        ignored="exaggeration",
        sized=True,
    ),
    devnen(
        "a voice of another language",
        AUDIO["wav"],
        predefined_voice_id="hans",
        language="en",
        voice="hans",
        ignored="language",
        sized=True,
    ),
    devnen("no voice chosen", AUDIO["wav"], predefined_voice_id="S1", voice_mode="predefined", sized=True),
    devnen("signs", AUDIO["wav"], text="…", speed_factor=1, seconds=0.3, sized=True),
    devnen("JSON", AUDIO["wav"], speed_factor=1, sized=True, headers={"Accept": "application/json"}),
]
LIVEKIT = {"model_id": "eleven_turbo_v2_5", "voice_settings": None, "apply_text_normalization": "auto"}
SETTINGS = {"stability": 0.5, "similarity_boost": 0.5}
ELEVENLABS = [
    Asked(
        "livekit, ElevenLabs",
        "/v1/text-to-speech/hpp4J3VqNfWAUOO0d1Us/stream?output_format=mp3_22050_32&enable_logging=true",
        {"text": TEXT} | LIVEKIT,
        AUDIO["mp3"],
    ),
    Asked(
        "Open WebUI, ElevenLabs",
        "/v1/text-to-speech/21m00Tcm4TlvDq8ikWAM",
        {"text": TEXT, "model_id": "eleven_multilingual_v2", "voice_settings": SETTINGS},
        AUDIO["mp3"],
        ignored="voice_settings.stability, voice_settings.similarity_boost",
        headers={"Accept": "audio/mpeg", "xi-api-key": "any"},
    ),
    Asked(
        "LibreChat, ElevenLabs",
        "/v1/text-to-speech/hans/stream?output_format=pcm_24000",
        {"text": TEXT, "model_id": "eleven_multilingual_v2"},
        PCM,
        voice="hans",
    ),
]
RAW = {"container": "raw", "encoding": "pcm_s16le", "sample_rate": 24_000}
CARTESIA = [
    Asked(
        "livekit, Cartesia",
        "/tts/bytes",
        {"transcript": TEXT, "model_id": "sonic-3", "language": None, "output_format": RAW}
        | {"voice": {"mode": "id", "id": "f786b574-daa5-4673-aa0c-cbe3e8534c02"}},
        PCM,
        headers={"X-API-Key": "any", "Cartesia-Version": "2025-04-16"},
    ),
    Asked(
        "Cartesia's SDK",
        "/tts/bytes",
        {"transcript": TEXT, "model_id": "sonic-latest", "output_format": RAW | {"container": "wav"}, "voice": "hans"},
        AUDIO["wav"],
        voice="hans",
        sized=True,
        headers={"Accept": "audio/wav"},
    ),
]
REQUESTS = [*OPENAI, *DEVNEN, *ELEVENLABS, *CARTESIA]
BROKEN = [
    (TTS, {"text": "Hi.", "split_text": True}, "detail"),
    (TTS, {"text": "Hi.", "split_text": True, "stream": True}, "detail"),
    (SPEECH, {"input": "Hi."}, "error"),
    (SPEECH, {"input": TEXT, "response_format": "wav", "chunk_size": 5}, "error"),
    (SPEECH, {"input": "Hi.", "timestamps": True}, "error"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpServer]:
    """Two voices of the library, one of them with a name of OpenAI's."""
    voices = tmp_path_factory.mktemp("voices")
    (voices / "echo.wav").write_bytes(recording(pitch=600.0))
    (voices / "anna.wav").write_bytes(recording(pitch=900.0))
    with open_server(FakeEngine(words=by_letters), voices_dir=voices, openai_voices={"fable": "hans"}) as running:
        yield running


PITCHES_HZ = {"default": 300, "hans": 450, "echo": 600}


def file_of(answer: httpx.Response) -> bytes:
    """The sound, in whatever it came."""
    kind = answer.headers["content-type"]
    if kind == JSON:
        return base64.b64decode(answer.json()["audio"])
    if kind != EVENTS:
        return answer.content
    events = [json.loads(line.removeprefix("data: ")) for line in answer.text.splitlines() if line]
    assert events[-1]["type"] == "speech.audio.done"
    assert set(events[-1]["usage"]) == {"input_tokens", "output_tokens", "total_tokens"}
    return b"".join(base64.b64decode(event["audio"]) for event in events[:-1])


def has_its_length(wav: bytes) -> bool:
    riff_bytes, at = struct.unpack_from("<I", wav, 4)[0], wav.index(b"data")
    data_bytes = struct.unpack_from("<I", wav, at + 4)[0]
    return riff_bytes == len(wav) - 8 and data_bytes + data_bytes % 2 == len(wav) - at - 8


@pytest.mark.parametrize("asked", REQUESTS, ids=lambda asked: asked.client)
def test_a_clients_request_is_answered(server: HttpServer, asked: Asked) -> None:
    answer = server.http.post(asked.path, json=asked.body, headers=asked.headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == asked.kind
    assert answer.headers.get("x-ignored-fields", "") == asked.ignored
    file = file_of(answer)
    samples, rate_hz = decoded(file, raw_hz=24_000)
    exact = asked.kind in (PCM, AUDIO["wav"], AUDIO["flac"])
    assert len(samples) / rate_hz == pytest.approx(asked.seconds, abs=1e-3 if exact else CODEC_S)
    assert not abs(samples).max() or pitch_hz(samples, rate_hz) == pytest.approx(PITCHES_HZ[asked.voice], rel=0.05)
    assert has_its_length(file) if asked.sized else file[:4] != b"RIFF" or not has_its_length(file)
    assert asked.kind == JSON or ("content-length" in answer.headers) == asked.sized
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize("voice", VOICES)
def test_each_of_openais_voices_speaks(server: HttpServer, voice: str) -> None:
    answer = server.post(SPEECH, {"input": "Hi.", "voice": voice, "response_format": "pcm"})
    assert answer.status_code == 200
    assert answer.headers["x-voice"] == {"echo": "echo", "fable": "hans"}.get(voice, "default")


def test_words_come_with_their_times(server: HttpServer) -> None:
    told = server.post(SPEECH, {"input": TEXT, "timestamps": True, "voice": "alloy"}).json()
    about = [told[name] for name in ("format", "sample_rate", "duration_seconds")]
    assert about == ["mp3", 24_000, SPOKEN_S]
    assert [word["text"] for word in told["words"]] == ["The", "quick", "brown", "fox"]
    times = [time for word in told["words"] for time in (word["start"], word["end"])]
    assert times == sorted(times)
    assert 0 <= times[0] < times[-1] <= SPOKEN_S
    captioned = server.post(SPEECH, {"input": TEXT, "captions": "srt"}).json()
    assert captioned["captions"].startswith("1\n")
    assert "words" not in captioned


STREAMED = [
    (SPEECH, {"input": TEXT, "response_format": "pcm"}),
    (SPEECH, {"input": TEXT, "response_format": "pcm", "stream_format": "sse"}),
    (SPEECH, {"input": TEXT, "response_format": "wav", "stream": True}),
    (TTS, {"text": TEXT, "split_text": True, "stream": True}),
]


@pytest.mark.parametrize(("path", "body"), STREAMED)
def test_a_streams_first_byte_comes_before_its_last_is_made(path: str, body: dict[str, Any]) -> None:
    """The engine waits before its second chunk for the first one to have arrived; a held file would wait in vain."""
    gate = Gate(1)
    with open_server(FakeEngine(before_chunk=gate)) as server, server.http.stream("POST", path, json=body) as answer:
        pieces = answer.iter_raw()
        assert next(pieces)
        gate.open()
        assert sum(map(len, pieces)) > 10_000


def test_a_long_wav_is_streamed_rather_than_held(server: HttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("web.answer.SIZED_BYTES", 10_000)
    body = {"input": TEXT, "response_format": "wav", "seed": 1, "chunk_size": 5}
    answer = server.post(SPEECH, body)
    assert (answer.status_code, "content-length" in answer.headers) == (200, False)
    assert not has_its_length(answer.content)
    assert len(decoded(answer.content)[0]) == round(SPOKEN_S * 24_000)


# --- lists ------------------------------------------------------------------------------------------------------


def test_the_lists_of_openais_clients(server: HttpServer) -> None:
    assert server.get("/v1/").json()["name"] == "chatterbox-worker"
    models = ["chatterbox", "tts-1", "tts-1-hd", "gpt-4o-mini-tts"]
    listed = [{"id": name, "languages": ["en"]} for name in models]
    assert server.get("/v1/audio/models").json() == {"models": listed}
    assert all(model["languages"] == ["en"] for model in server.get("/v1/models").json()["data"])
    assert [model["id"] for model in server.get("/v1/models").json()["data"]] == models
    voices = ["default", "hans", "anna", "echo", "fable", *(name for name in VOICES if name not in ("echo", "fable"))]
    assert server.get("/v1/audio/voices").json() == {"voices": [{"id": name, "name": name} for name in voices]}
    for path in ("/v1/test", "/readyz", "/health"):  # wyoming_openai looks for other servers there
        assert server.get(path).status_code == 404


def test_the_lists_of_devnens_clients(server: HttpServer) -> None:
    predefined = [{"display_name": name, "filename": f"{name}.wav"} for name in ("default", "hans", "anna", "echo")]
    assert server.get("/get_predefined_voices").json() == predefined
    assert server.get("/get_reference_files").json() == ["anna.wav", "echo.wav"]
    told = server.get("/api/ui/initial-data").json()
    assert told["predefined_voices"] == predefined
    assert told["reference_files"] == ["anna.wav", "echo.wav"]
    assert told["config"]["generation_defaults"]["exaggeration"] == 0.5
    for listed in predefined:
        body = {"text": "Hi.", "split_text": True, "predefined_voice_id": listed["filename"]}
        assert server.post(TTS, body).headers["x-voice"] == listed["display_name"]


def test_a_random_seed_is_drawn_and_any_other_is_used(server: HttpServer) -> None:
    def seed(**given: Any) -> str:
        return server.post(TTS, {"text": "Hi.", "split_text": True} | given).headers["x-seed"]

    assert seed(seed=7) == "7"
    assert len({seed(), seed(seed=0), seed(seed=-1), seed(seed=0)}) == 4


def test_exaggeration_is_carried_out_up_to_2() -> None:
    with open_server(engine := FakeEngine()) as server:
        for given in (1.7, 3.0):
            server.post(TTS, {"text": "Hi.", "speed_factor": 1, "exaggeration": given})
    assert [params.exaggeration for params in engine.heard] == [1.7, 2.0]


# --- what is refused --------------------------------------------------------------------------------------------


HI = {"text": "Hi.", "split_text": True}
REFUSED = [
    (HI | {"text": ""}, 400, "INVALID_INPUT: text must hold at least one letter or digit"),
    ({"split_text": True}, 400, "INVALID_INPUT: text is required"),
    (HI | {"speed_factor": 5}, 400, "INVALID_INPUT: speed_factor must be at most 4.0 (got 5)"),
    (HI | {"exaggeration": 3.1}, 400, "INVALID_INPUT: exaggeration must be at most 2.0 (got 3.1)"),
    (HI | {"seed": 2**32}, 400, "INVALID_INPUT: seed must be at most"),
    (HI | {"seed": False}, 400, "INVALID_INPUT: seed must be a whole number (got false)"),
    (HI | {"output_format": "aiff"}, 400, "INVALID_INPUT: output_format must be one of"),
    (HI | {"language": "fr"}, 400, "UNSUPPORTED: language fr is not spoken here"),
    (HI | {"voice_mode": "own"}, 400, "INVALID_INPUT: voice_mode must be predefined or clone"),
    (HI | {"voice_mode": "clone"}, 400, "reference_audio_filename is required when voice_mode is clone"),
    (HI | {"stream": "yes"}, 400, "INVALID_INPUT: stream must be true or false"),
    (HI | {"chunk_size": "120"}, 400, "INVALID_INPUT: chunk_size must be a number"),
    (HI | {"predefined_voice_id": 5}, 400, "INVALID_INPUT: predefined_voice_id must be a string"),
    (
        HI | {"predefined_voice_id": "Abigail.wav"},
        404,
        'UNKNOWN_VOICE: predefined_voice_id "Abigail.wav" is not a voice here; known: default, hans, anna, echo',
    ),
    (
        HI | {"voice_mode": "clone", "reference_audio_filename": "../echo.wav"},
        404,
        'UNKNOWN_VOICE: reference_audio_filename "../echo.wav" is not a voice here',
    ),
    (HI | {"voice": "hans", "speed": 2}, 400, "split_text is a field of Chatterbox-TTS-Server's, and speed one"),
    (HI | {"operation": "info"}, 400, "Chatterbox-TTS-Server's, and operation one of this worker's"),
]


@pytest.mark.parametrize(("body", "status", "words"), REFUSED)
def test_what_is_wrong_is_refused_in_devnens_shape(
    server: HttpServer, body: dict[str, Any], status: int, words: str
) -> None:
    answer = server.post(TTS, body)
    assert (answer.status_code, set(answer.json())) == (status, {"detail"})
    assert words in answer.json()["detail"]
    assert server.at_rest()


@pytest.mark.parametrize(("path", "body", "shape"), BROKEN)
def test_a_failure_before_the_first_byte_has_its_status_and_shape(path: str, body: dict[str, Any], shape: str) -> None:
    """A WAV that is held back fails so after its first sound, too."""

    def broken(k: int) -> None:
        if k == 3 or "chunk_size" not in body:
            raise RuntimeError("no")

    with open_server(FakeEngine(before_chunk=broken)) as server:
        answer = server.post(path, body)
        assert (answer.status_code, set(answer.json())) == (500, {shape})


def test_a_body_of_ours_is_read_as_ours(server: HttpServer) -> None:
    """Null is no field, and `chunk_size` is ours, too."""
    body = {"text": "Hi.", "chunk_size": 25, "stream": None, "predefined_voice_id": None, "speed": 2}
    assert server.post(TTS, body).json()["parameters"]["chunk_size"] == 25
    refused = server.post(TTS, {"text": "Hi.", "stream": True}).json()
    assert refused["error"].startswith("INVALID_INPUT: `stream` is")


def test_a_mapped_name_whose_voice_was_deleted_is_refused(tmp_path: Path) -> None:
    """It spoke with the default voice instead, as OpenAI's names do that nobody has mapped."""
    (tmp_path / "anna.wav").write_bytes(recording())
    with open_server(voices_dir=tmp_path, openai_voices={"alloy": "anna"}) as server:
        (tmp_path / "anna.wav").unlink()
        answers = [server.post("/v1/audio/speech", {"input": "Hi.", "voice": name}) for name in ("alloy", "nova")]
    assert [answer.status_code for answer in answers] == [400, 200]
    assert answers[0].json()["error"]["code"] == "UNKNOWN_VOICE"


# --- an engine whose voices speak every language of it ------------------------------------------------------------

IN_ITS_WORDS = {
    "ours": ("/tts", {"text": TEXT, "voice": "hans", "language": "nb-NO"}),
    "openai": (SPEECH, {"input": TEXT, "voice": "hans", "language": "nb-NO"}),
    "devnen": (TTS, {"text": TEXT, "predefined_voice_id": "hans.wav", "language": "nb-NO"}),
    "elevenlabs": ("/v1/text-to-speech/hans", {"text": TEXT, "language_code": "nb-NO"}),
    "cartesia": ("/tts/bytes", {"transcript": TEXT, "voice": "hans", "language": "nb-NO", "output_format": RAW}),
}


@pytest.mark.parametrize("dialect", IN_ITS_WORDS)
def test_a_named_voice_speaks_the_language_that_is_asked_for(dialect: str) -> None:
    engine, (path, body) = FakeEngine(**POLYGLOT), IN_ITS_WORDS[dialect]
    with open_server(engine) as server:
        answer = server.post(path, body, accept="audio/*")
        assert (answer.status_code, answer.headers.get("x-ignored-fields")) == (200, None)
        assert {params.language for params in engine.heard} == {"no"}
        assert pitch_hz(*decoded(answer.content, raw_hz=24_000)) == PITCHES_HZ["hans"]


def test_its_languages_are_listed() -> None:
    with open_server(FakeEngine(**POLYGLOT)) as server:
        assert server.get("/v1/models").json()["data"][0]["languages"] == ["en", "de", "no", "zh"]
        assert server.get("/v1/audio/models").json()["models"][0]["languages"] == ["en", "de", "no", "zh"]
        (theirs, *_) = server.get("/v1/models", xi_api_key="none").json()
        assert [own["language_id"] for own in theirs["languages"]] == ["en", "de", "no", "zh"]
        assert server.get("/info").json()["languages"] == ["en", "de", "no", "zh"]


UNUSED = {
    "ours": ("/tts", {"text": TEXT, "cfg": 0.2}, "cfg"),
    "openai": (SPEECH, {"input": TEXT, "cfg_weight": 0.2, "speeed": 2}, "speeed, cfg_weight"),
    "openai, timed": (SPEECH, {"input": TEXT, "exaggeration": 0.2, "timestamps": True}, "exaggeration"),
    "devnen": (
        TTS,
        {"text": TEXT, "split_text": True, "exaggeration": 0.2, "temperature": 1},
        "split_text, exaggeration",
    ),
    "elevenlabs": ("/v1/text-to-speech/hans", {"text": TEXT, "voice_settings": {"style": 1}}, "voice_settings.style"),
    "nothing": (SPEECH, {"input": TEXT, "temperature": 1}, None),
}


@pytest.fixture(scope="module")
def bare() -> Iterator[HttpServer]:
    with open_server(FakeEngine(unused_fields=("exaggeration", "cfg_weight", "cfg"))) as running:
        yield running


@pytest.mark.parametrize("dialect", UNUSED)
def test_what_the_engine_has_no_use_for_is_named_as_ignored(bare: HttpServer, dialect: str) -> None:
    path, body, named = UNUSED[dialect]
    answer = bare.post(path, body, accept="audio/*")
    assert (answer.status_code, answer.headers.get("x-ignored-fields")) == (200, named)
