"""Cartesia's addresses, as its clients use them: bytes, events, lists, and the socket with several contexts."""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import soundfile
from fakes import FakeEngine, by_letters, decoded, pitch_hz, raising_at
from http_server import HANG_S, LONG, Gate, HttpServer, closed_with, open_server, until
from websockets.sync.client import ClientConnection

from validation.errors import OutOfMemory
from web.cartesia import CartesiaWebSocket
from web.cartesia_requests import MAX_ID_CHARS
from web.conversation import MAX_CONTEXTS

pytestmark = pytest.mark.slow

TEXT = "The quick brown fox."
MP3: dict[str, Any] = {"container": "mp3"}
RAW = {"container": "raw", "encoding": "pcm_s16le", "sample_rate": 24_000}
KATIE = "f786b574-daa5-4673-aa0c-cbe3e8534c02"  # livekit's
PIPECAT = (  # 1.14, with the voice that it has by default, which is none
    '{"transcript": %s, "continue": %s, "context_id": "turn", "model_id": "sonic-3.6", '
    '"voice": {"mode": "id", "id": null}, '
    '"output_format": {"container": "raw", "encoding": "pcm_s16le", "sample_rate": 24000}, "add_timestamps": true, '
    '"use_normalized_timestamps": false, "max_buffer_delay_ms": 0, "language": "en"}'
)
LIVEKIT = (  # 1.8
    '{"model_id": "sonic-3", "voice": {"mode": "id", "id": "f786b574-daa5-4673-aa0c-cbe3e8534c02"}, '
    '"output_format": {"container": "raw", "encoding": "pcm_s16le", "sample_rate": 24000}, "language": "en", '
    '"add_timestamps": true, "max_buffer_delay_ms": 0, "context_id": "turn", "transcript": %s, "continue": %s}'
)


SERVER = {"engine": FakeEngine(words=by_letters), "max_concurrency": 4, "openai_voices": {"anna-id": "hans"}}


class Line:
    """A client's socket. `told` has the messages of each context."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.told: dict[str | None, list[dict[str, Any]]] = {}

    def say(self, context_id: str, transcript: str, *, more: bool = False, **fields: Any) -> None:
        own = {"context_id": context_id, "transcript": transcript, "continue": more}
        self.socket.send(json.dumps({"model_id": "sonic-3", "voice": "default", "output_format": RAW} | own | fields))

    def until(self, context_id: str | None, kind: str = "done") -> dict[str, Any]:
        while True:
            message: dict[str, Any] = json.loads(self.socket.recv(HANG_S))
            self.told.setdefault(message["context_id"], []).append(message)
            if (message["context_id"], message["type"]) == (context_id, kind):
                return message
            assert kind == "error" or (context_id, "error") != (message["context_id"], message["type"]), message

    def of(self, context_id: str, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.told.get(context_id, []) if message["type"] == kind]

    def sound(self, context_id: str) -> bytes:
        return b"".join(base64.b64decode(message["data"]) for message in self.of(context_id, "chunk"))

    def words(self, context_id: str) -> list[tuple[str, float, float]]:
        timed = [message["word_timestamps"] for message in self.of(context_id, "timestamps")]
        return [word for each in timed for word in zip(each["words"], each["start"], each["end"], strict=True)]


@contextmanager
def line(server: HttpServer) -> Iterator[Line]:
    with server.websocket("/tts/websocket?cartesia_version=2026-03-01") as socket:
        yield Line(socket)


def seconds(sound: bytes) -> float:
    return len(sound) / 2 / 24_000


def pitch(sound: bytes) -> float:
    return pitch_hz(*decoded(sound, raw_hz=24_000))


# --- what the clients send --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "end", "texts"),
    [
        (PIPECAT, "", ("Hello there, my friend.", "It costs $5, sir.")),
        (LIVEKIT, " ", ("Hello there, my friend. ", "It costs $5, sir. ")),
    ],
    ids=["pipecat", "livekit"],
)
def test_a_turn_as_the_frameworks_send_it(server: HttpServer, form: str, end: str, texts: tuple[str, ...]) -> None:
    with line(server) as talk:
        for text in texts:
            talk.socket.send(form % (json.dumps(text), "true"))
        talk.socket.send(form % (json.dumps(end), "false"))
        done = talk.until("turn")
    assert done == {"type": "done", "done": True, "context_id": "turn", "status_code": 206}
    assert pitch(talk.sound("turn")) == 300
    words = talk.words("turn")
    assert " ".join(word for word, _, _ in words) == "Hello there, my friend. It costs $5, sir."
    times = [at for _, start_s, end_s in words for at in (start_s, end_s)]
    assert times == sorted(times)
    assert 1.0 < times[-1] <= seconds(talk.sound("turn"))
    assert [message["flush_id"] for message in talk.of("turn", "flush_done")] == [1, 2]
    assert {message["done"] for message in talk.told["turn"][:-1]} == {False}
    until(server.at_rest)


def test_a_languages_models_tokens_are_spoken_sentence_by_sentence(server: HttpServer) -> None:
    with line(server) as talk:
        for token in ("Hel", "lo the", "re. How ", "are you"):
            talk.say("a", token, more=True, voice={"mode": "id", "id": "hans"}, add_timestamps=True)
        talk.until("a", "chunk")
        talk.say("a", "?")
        talk.until("a")
    assert [word for word, _, _ in talk.words("a")] == ["Hello", "there.", "How", "are", "you?"]
    assert pitch(talk.sound("a")) == 450
    assert talk.of("a", "flush_done") == []


def test_a_sentence_whose_rest_does_not_come_is_spoken_after_the_delay(server: HttpServer) -> None:
    with line(server) as talk:
        talk.say("a", "Half a sen", more=True, max_buffer_delay_ms=100)
        time.sleep(0.06)
        began_s = time.monotonic()
        talk.say("a", "tence", more=True, max_buffer_delay_ms=100)
        talk.until("a", "flush_done")
        assert 0.1 <= time.monotonic() - began_s < 1.0
        spoken_s = seconds(talk.sound("a"))
        assert spoken_s > 0
        talk.say("a", "")
        talk.until("a")
        assert seconds(talk.sound("a")) == spoken_s


def test_a_flush_completes_what_is_there(server: HttpServer) -> None:
    with line(server) as talk:
        talk.say("a", "Half a sentence", more=True)
        talk.say("a", "", more=True, flush=True)
        began_s = time.monotonic()
        assert talk.until("a", "flush_done")["flush_id"] == 1
        assert time.monotonic() - began_s < 1.0
        assert talk.sound("a")
        talk.say("a", "", more=True, flush=True)  # of nothing
        assert talk.until("a", "flush_done")["flush_id"] == 2


def test_contexts_speak_side_by_side_and_each_is_whole(server: HttpServer) -> None:
    voices = {"a": {"mode": "id", "id": "hans"}, "b": {"id": KATIE}, "c": "anna-id"}
    with line(server) as talk:
        for name, voice in voices.items():
            talk.say(name, "Hello there. ", more=True, voice=voice)
        for name in voices:
            talk.say(name, "How are you?")
        for name in voices:
            talk.of(name, "done") or talk.until(name)
    assert [pitch(talk.sound(name)) for name in voices] == [450, 300, 450]
    assert len({len(talk.sound(name)) for name in voices}) == 1


@pytest.mark.parametrize("text", ["…", "!?", "*"])
def test_signs_alone_are_a_short_silence(server: HttpServer, text: str) -> None:
    """pipecat gives a service up that was silent three times."""
    with line(server) as talk:
        talk.say("a", text, more=True, max_buffer_delay_ms=0)
        talk.say("a", "")
        talk.until("a")
    assert talk.sound("a") == bytes(2 * 7200)


def test_an_end_without_text_is_done(server: HttpServer) -> None:
    with line(server) as talk:
        talk.say("a", "")
        talk.until("a")
        talk.say("a", "")  # once more, as pipecat may
        talk.say("b", " ")
        talk.until("b")
    assert [message["type"] for messages in talk.told.values() for message in messages] == ["done", "done"]
    assert talk.sound("a") == talk.sound("b") == b""


# --- interruption -----------------------------------------------------------------------------------------------


def test_a_cancel_in_mid_speech_is_silence_and_the_next_context_is_whole() -> None:
    engine = FakeEngine(before_chunk=lambda k: time.sleep(0.02))
    with open_server(engine, max_concurrency=2) as server, line(server) as talk:
        talk.say("other", LONG, more=True)
        talk.say("a", LONG, more=True, max_buffer_delay_ms=0)
        talk.until("a", "chunk")
        talk.socket.send(json.dumps({"context_id": "a", "cancel": True}))
        cancelled_s, count = time.monotonic(), len(talk.told["a"])
        talk.say("b", TEXT)
        talk.until("b")
        late = talk.told["a"][count:]
        assert late == [] or time.monotonic() - cancelled_s < 0.1
        assert seconds(talk.sound("b")) == pytest.approx((10 + len(TEXT)) / 25)
        assert server.outcomes()["CANCELLED"] == 1
        others = len(talk.of("other", "chunk"))
        talk.until("other", "chunk")
        assert len(talk.of("other", "chunk")) > others
        assert talk.told["a"][count:] == late
    until(server.at_rest)


def test_the_engine_is_free_within_a_chunk_after_a_cancel() -> None:
    engine = FakeEngine(before_chunk=lambda k: time.sleep(0.02))
    with open_server(engine, max_concurrency=1) as server, line(server) as talk:
        talk.say("a", LONG)  # also after its end was sent
        talk.until("a", "chunk")
        talk.socket.send(json.dumps({"context_id": "a", "cancel": True}))
        until(lambda: not server.jobs.under_way)
        asked = engine.asked
        time.sleep(0.1)
        assert engine.asked == asked
        talk.say("a", "Hello?")
        assert "has ended" in talk.until("a", "error")["message"]


def test_who_hangs_up_is_not_spoken_to(caplog: pytest.LogCaptureFixture) -> None:
    engine = FakeEngine(before_chunk=lambda k: time.sleep(0.02))
    with open_server(engine) as server:
        with line(server) as talk:
            talk.say("a", LONG)
            talk.until("a", "chunk")
        until(server.at_rest)
        assert server.outcomes()["CANCELLED"] == 1
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


# --- refusals on the socket -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "status", "words"),
    [
        ({"voice": {"mode": "id", "id": "nobody"}}, 404, "'nobody' is not a voice here; known: anna-id, default, hans"),
        ({"voice": {"mode": "embedding", "embedding": [0.1]}}, 400, "voice must have an id"),
        ({"voice": 5}, 400, "voice must have an id"),
        ({"voice": {"id": 5}}, 400, "voice must have an id"),
        ({"output_format": None}, 400, "output_format.container must be raw here"),
        ({"output_format": RAW | {"container": "wav"}}, 400, "output_format.container must be raw here"),
        ({"output_format": RAW | {"container": []}}, 400, "output_format.container must be raw here"),
        ({"output_format": RAW | {"encoding": "base64"}}, 400, "output_format.encoding must be one of pcm_s16le"),
        ({"output_format": RAW | {"sample_rate": 11_025}}, 400, "output_format.sample_rate must be one of 8000"),
        ({"output_format": RAW | {"sample_rate": "fast"}}, 400, "output_format.sample_rate must be"),
        ({"output_format": "raw"}, 400, "output_format must be an object"),
        ({"generation_config": {"speed": 99}}, 400, "generation_config.speed must be at most"),
        ({"generation_config": {"speed": []}}, 400, "generation_config.speed must be a number"),
        ({"speed": 1.5}, 400, "speed must be slow, normal or fast"),
        ({"speed": "quick"}, 400, "speed must be slow, normal or fast"),
        ({"language": "English, please"}, 400, "language must be a tag"),
        ({"language": "fr"}, 422, "language fr is not spoken here"),
        ({"transcript": 5}, 400, "transcript must be a string"),
        ({"transcript": "A" * 20_001}, 400, "at most 20000 characters"),
        ({"continue": "yes"}, 400, "continue must be true or false"),
        ({"cancel": 1}, 400, "cancel must be true or false"),
        ({"max_buffer_delay_ms": 5001}, 400, "max_buffer_delay_ms must be 0 to 5000"),
        ({"max_buffer_delay_ms": 0.5}, 400, "max_buffer_delay_ms must be a whole number"),
    ],
)
def test_what_is_wrong_is_told_with_its_context_and_the_socket_goes_on(
    server: HttpServer, changed: dict[str, Any], status: int, words: str
) -> None:
    with line(server) as talk:
        talk.say("good", "Hello ", more=True)
        talk.say("bad", **({"transcript": TEXT} | changed))
        error = talk.until("bad", "error")
        talk.say("good", "there.")
        talk.until("good")
    assert (error["status_code"], error["done"]) == (status, True)
    assert words in error["message"]
    assert error["error"] == f"{error['title']}: {error['message']}"
    assert talk.sound("good")
    until(server.at_rest)


@pytest.mark.parametrize("sent", ["{", "[]", b"\0", "{}", '{"context_id": 5}', json.dumps({"context_id": "i" * 201})])
def test_what_has_no_context_is_told_without_one(server: HttpServer, sent: str | bytes) -> None:
    """`context_id` is there and null: pipecat's reader ends where it lacks."""
    assert MAX_ID_CHARS == 200
    with line(server) as talk:
        talk.socket.send(sent)
        assert talk.until(None, "error")["error_code"] == "INVALID_INPUT"
        talk.say("a", TEXT)
        talk.until("a")


def test_the_error_of_a_text_after_the_end_is_not_the_end_of_what_is_spoken() -> None:
    with open_server(FakeEngine(before_chunk=lambda k: time.sleep(0.02))) as server, line(server) as talk:
        talk.say("a", TEXT)
        talk.until("a", "chunk")
        talk.say("a", "And more.")
        error = talk.until("a", "error")
        assert ("has ended: begin another" in error["message"], error["done"]) == (True, False)
        talk.until("a")
        talk.say("a", "And more.")
        assert talk.until("a", "error")["done"] is True
    assert seconds(talk.sound("a")) == pytest.approx((10 + len(TEXT)) / 25)


def test_an_error_ends_its_context(server: HttpServer) -> None:
    with line(server) as talk:
        talk.say("a", "Hello ", more=True)
        talk.say("a", "there", more="perhaps")  # type: ignore[arg-type]
        talk.until("a", "error")
        talk.say("a", "you.")
        assert "has ended" in talk.until("a", "error")["message"]


def test_a_fault_of_the_engine_ends_one_context() -> None:
    engine = FakeEngine(before_chunk=raising_at(1, OutOfMemory("no memory")))
    with open_server(engine) as server, line(server) as talk:
        talk.say("b", "Not yet a sentence", more=True)
        talk.say("a", TEXT, more=True, max_buffer_delay_ms=0)
        error = talk.until("a", "error")
        assert (error["title"], error["status_code"]) == ("Out of memory", 503)
        talk.say("b", ".")
        talk.until("b")
        talk.say("a", TEXT)
        assert "has ended" in talk.until("a", "error")["message"]


def test_a_thousand_contexts_without_an_end(server: HttpServer) -> None:
    with line(server) as talk:
        for k in range(1000):
            talk.say(str(k), "One", more=True)
        for k in range(MAX_CONTEXTS, 1000):
            assert "contexts are open" in talk.until(str(k), "error")["message"]
        talk.say("0", " sentence.")
        talk.until("0")
        talk.say("another", TEXT)
        talk.until("another")
    assert talk.sound("0")
    until(server.at_rest)


def test_what_waits_in_all_contexts_is_bounded_as_in_one(gate: Gate) -> None:
    with open_server(FakeEngine(before_chunk=gate)) as server, line(server) as talk:
        for k in range(6):
            talk.say(f"{k % 2}", ("A" * 900 + ". ") * 22, more=True)
        talk.say("more", "Hi.")
        assert "too much text waits" in talk.until("more", "error")["message"]
        talk.socket.send(json.dumps({"context_id": "0", "cancel": True}))
        talk.say("1", "")  # its end needs no room
        talk.say("more", "Hi.")
        gate.open()
        talk.until("more")
    assert talk.sound("more")


def test_one_context_after_another_has_no_bound(server: HttpServer) -> None:
    with line(server) as talk:
        for k in range(2 * MAX_CONTEXTS):
            talk.say(str(k), "Hi.")
            talk.until(str(k))


def test_an_idle_socket_is_closed_as_cartesias_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CartesiaWebSocket.__init__, "__defaults__", (0.1,))
    with open_server() as server, line(server) as talk:
        assert closed_with(talk.socket) == 1000


# --- HTTP -------------------------------------------------------------------------------------------------------

RAW_SUBTYPES = {"pcm_s16le": "PCM_16", "pcm_f32le": "FLOAT", "pcm_mulaw": "ULAW", "pcm_alaw": "ALAW"}
WAV_SUBTYPES = RAW_SUBTYPES | {"pcm_f32le": "PCM_16"}


def spoken(data: bytes, output: dict[str, Any]) -> tuple[Any, int, str]:
    """The samples, their rate, and how they were stored."""
    is_raw = output["container"] == "raw"
    raw = {"format": "RAW", "subtype": RAW_SUBTYPES[output["encoding"]], "samplerate": output["sample_rate"]}
    with soundfile.SoundFile(io.BytesIO(data), **(raw | {"channels": 1} if is_raw else {})) as file:
        return file.read(dtype="float32"), file.samplerate, file.subtype


@pytest.mark.parametrize("rate_hz", [8000, 16_000, 22_050, 24_000, 44_100, 48_000])
@pytest.mark.parametrize("container", ["raw", "wav"])
@pytest.mark.parametrize("encoding", RAW_SUBTYPES)
def test_bytes_in_every_format(server: HttpServer, container: str, encoding: str, rate_hz: int) -> None:
    output = {"container": container, "encoding": encoding, "sample_rate": rate_hz}
    answer = server.post("/tts/bytes", {"transcript": TEXT, "voice": "hans", "output_format": output})
    assert answer.status_code == 200
    samples, own_hz, subtype = spoken(answer.content, output)
    assert (own_hz, subtype) == (rate_hz, (WAV_SUBTYPES if container == "wav" else RAW_SUBTYPES)[encoding])
    assert len(samples) / rate_hz == pytest.approx((10 + len(TEXT)) / 25, abs=0.001)
    assert pitch_hz(samples, rate_hz) == 450
    is_narrowed = (container, encoding) == ("wav", "pcm_f32le")
    assert answer.headers.get("x-ignored-fields") == ("output_format.encoding" if is_narrowed else None)


@pytest.mark.parametrize(
    ("rate_hz", "bit_rate", "kbps"),
    [(44_100, 128_000, 128), (44_100, 192_000, 192), (24_000, 96_000, 96), (24_000, 192_000, 160), (8000, 128_000, 64)],
)
def test_mp3_is_of_the_bit_rate_or_as_near_as_there_is(
    server: HttpServer, rate_hz: int, bit_rate: int, kbps: int
) -> None:
    output = MP3 | {"sample_rate": rate_hz, "bit_rate": bit_rate}
    answer = server.post("/tts/bytes", {"transcript": LONG, "voice": "hans", "output_format": output})
    samples, own_hz = decoded(answer.content)
    assert (own_hz, pitch_hz(samples, own_hz)) == (rate_hz, 450)
    assert 8 * len(answer.content) / (len(samples) / own_hz) == pytest.approx(1000 * kbps, rel=0.02)
    expected = None if 1000 * kbps == bit_rate else "output_format.bit_rate"
    assert answer.headers.get("x-ignored-fields") == expected


def test_what_is_not_done_here_is_named(server: HttpServer) -> None:
    asked = {
        "transcript": TEXT,
        "model_id": "sonic-3",
        "voice": {"mode": "id", "id": "hans"},
        "output_format": RAW,
        "language": "en",  # which pipecat and livekit send whatever the voice
        "generation_config": {"speed": 1.0, "volume": 1.5, "emotion": "happy"},
        "pronunciation_dict_id": "p",
        "save": False,
        "sho\u00e9": 1,
    }
    answer = server.post("/tts/bytes", asked)
    ignored = "pronunciation_dict_id, sho?, generation_config.volume, generation_config.emotion, language"
    assert answer.headers["x-ignored-fields"] == ignored
    assert answer.headers["x-voice"] == "hans"


@pytest.mark.parametrize(
    ("fields", "ratio"),
    [({"generation_config": {"speed": 1.5}}, 1.5), ({"speed": "slow"}, 0.8), ({"speed": "normal"}, 1.0)],
)
def test_speed_is_done(server: HttpServer, fields: dict[str, Any], ratio: float) -> None:
    answer = server.post("/tts/bytes", {"transcript": LONG, "output_format": RAW} | fields)
    assert "x-ignored-fields" not in answer.headers
    usual = server.post("/tts/bytes", {"transcript": LONG, "output_format": RAW})
    assert len(usual.content) / len(answer.content) == pytest.approx(ratio, rel=0.02)


def test_events_are_the_sockets_messages(server: HttpServer) -> None:
    asked = {"transcript": TEXT, "output_format": RAW, "add_timestamps": True, "context_id": "a"}
    answer = server.post("/tts/sse", asked)
    assert answer.headers["content-type"] == "text/event-stream"
    lines = answer.text.splitlines()
    told = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
    assert [f"event: {message['type']}" for message in told] == [line for line in lines if line.startswith("event")]
    assert {message["context_id"] for message in told} == {"a"}
    assert [message["done"] for message in told] == [False] * (len(told) - 1) + [True]
    words = [word for message in told for word in message.get("word_timestamps", {}).get("words", [])]
    assert words == TEXT.split()
    sound = b"".join(base64.b64decode(message.get("data", "")) for message in told)
    assert (pitch(sound), seconds(sound)) == (300, pytest.approx((10 + len(TEXT)) / 25))


def test_events_end_with_the_error() -> None:
    engine = FakeEngine(before_chunk=raising_at(2, OutOfMemory("no memory")))
    with open_server(engine) as server:
        answer = server.post("/tts/sse", {"transcript": LONG, "output_format": RAW, "context_id": "a"})
    last = json.loads(answer.text.strip().splitlines()[-1].removeprefix("data: "))
    assert (last["type"], last["title"], last["done"], last["context_id"]) == ("error", "Out of memory", True, "a")


@pytest.mark.parametrize(
    ("path", "changed", "status", "words"),
    [
        ("/tts/sse", {"context_id": "i" * 201}, 400, "context_id must be a string of 1 to 200 characters"),
        ("/tts/bytes", {"transcript": None}, 400, "transcript is required"),
        ("/tts/bytes", {"transcript": ""}, 400, "transcript must hold at least one letter or digit"),
        ("/tts/bytes", {"voice": "nobody"}, 404, "'nobody' is not a voice here; known: anna-id, default, hans"),
        ("/tts/bytes", {"output_format": {}}, 400, "output_format.container must be raw or wav or mp3 here"),
        ("/tts/bytes", {"output_format": MP3 | {"bit_rate": "128k"}}, 400, "output_format.bit_rate must"),
        ("/tts/bytes", {"output_format": MP3 | {"sample_rate": 5, "bit_rate": 5}}, 400, "sample_rate must"),
        ("/tts/bytes", {"generation_config": {"speed": True}}, 400, "generation_config.speed must be a number"),
        ("/tts/bytes", {"model_id": 3}, 400, "model_id must be a string"),
        ("/tts/sse", {"output_format": {"container": "wav"}}, 400, "output_format.container must be raw here"),
    ],
)
def test_an_error_has_cartesias_shape(
    server: HttpServer, path: str, changed: dict[str, Any], status: int, words: str
) -> None:
    answer = server.post(path, {"transcript": TEXT, "output_format": RAW} | changed)
    body = answer.json()
    assert (answer.status_code, body["status_code"]) == (status, status)
    assert words in body["message"]
    assert body.keys() == {"title", "message", "error", "error_code", "status_code"}


def test_other_refusals_have_it_too(server: HttpServer) -> None:
    form = server.http.post("/tts/bytes", data={"transcript": TEXT})
    assert (form.status_code, form.json()["title"]) == (415, "Unsupported media type")
    method = server.get("/tts/bytes")
    assert (method.status_code, method.json()["error_code"]) == (405, "METHOD_NOT_ALLOWED")


def test_voices_are_listed_page_by_page(server: HttpServer) -> None:
    listed = server.get("/voices").json()
    shown = [(voice["id"], voice["name"], voice["language"]) for voice in listed["data"]]
    assert shown == [("default", "default", "en"), ("hans", "hans", "de")]
    assert listed["has_more"] is False
    assert [voice["id"] for voice in server.get("/voices?starting_after=default").json()["data"]] == ["hans"]
    assert server.get("/voices?starting_after=hans").json()["data"] == []
    assert server.get("/voices/hans").json() == listed["data"][1]
    assert server.get("/voices/anna-id").json() == listed["data"][1]  # as OPENAI_VOICES maps it
    assert server.get(f"/voices/{KATIE}").json() == listed["data"][0]
    assert server.get("/voices/nobody").json()["error_code"] == "UNKNOWN_VOICE"


def test_our_own_tts_is_beside_them(server: HttpServer) -> None:
    assert server.post("/tts", {"text": TEXT}).json()["duration"] > 0
    assert server.post("/tts", {"text": ""}).json()["error"].startswith("INVALID_INPUT: text")
    assert server.get("/tts/nothing").json()["error"] == "NOT_FOUND: nothing is at this address"
