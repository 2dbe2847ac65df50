"""ElevenLabs' WebSockets: turns that end, turns that are interrupted, and times of every character."""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import accumulate
from typing import Any
from urllib.parse import urlencode

import pytest
from fakes import FakeEngine, by_letters, decoded, pitch_hz
from http_server import HANG_S, LONG, Gate, HttpServer, open_server, until
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection

from service.events import AudioEvent
from service.session import Take
from tts.text.boundaries import Break
from tts.text.sentences import Sentence
from web.elevenlabs_socket import AT_ONCE_S, AlignedSink

pytestmark = pytest.mark.slow

TEXT = "It costs $5, or more. How are you?"


class Line:
    """One connection, as a client sees it."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.heard: list[dict[str, Any]] = []

    def send(self, *messages: dict[str, Any]) -> None:
        for message in messages:
            self.socket.send(json.dumps(message))

    def hear(self, within_s: float = HANG_S) -> dict[str, Any]:
        self.heard.append(json.loads(self.socket.recv(within_s)))
        return self.heard[-1]

    def until(self, is_it: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        while not is_it(message := self.hear()):
            assert "error" not in message, message
        return message

    def until_final(self, name: str | None = None) -> None:
        self.until(lambda message: message.get("isFinal") and message.get("contextId") == name)

    def drain(self) -> None:
        """Read what has come by now."""
        with suppress(TimeoutError):
            while True:
                self.hear(0.001)

    def closed(self) -> int:
        """The close code; what came before it is kept."""
        with suppress(ConnectionClosed):
            while True:
                self.hear()
        assert self.socket.close_code is not None
        return self.socket.close_code

    def of(self, name: str | None = None) -> list[dict[str, Any]]:
        return [message for message in self.heard if message.get("contextId") == name]

    def sound(self, name: str | None = None) -> bytes:
        return b"".join(base64.b64decode(message["audio"]) for message in self.of(name) if message.get("audio"))

    def text(self, name: str | None = None) -> str:
        return "".join(
            char for message in self.of(name) for char in (message.get("alignment") or {"chars": ""})["chars"]
        )


@contextmanager
def line(server: HttpServer, door: str = "multi-stream-input", voice: str = "hans", **query: Any) -> Iterator[Line]:
    parameters = urlencode({"output_format": "pcm_24000"} | query)
    with server.websocket(f"/v1/text-to-speech/{voice}/{door}?{parameters}") as socket:
        yield Line(socket)


def single(server: HttpServer, **query: Any) -> Any:
    return line(server, "stream-input", **query)


SERVER = {"engine": FakeEngine(words=by_letters)}


@pytest.fixture
def slow() -> Iterator[HttpServer]:
    """A second of speech takes 40 ms."""
    with open_server(FakeEngine(words=by_letters, before_chunk=lambda k: time.sleep(0.04))) as running:
        yield running


def seconds(sound: bytes) -> float:
    samples, rate_hz = decoded(sound, raw_hz=24_000)
    return len(samples) / rate_hz


# --- a turn -------------------------------------------------------------------------------------------------------


def test_a_turn_as_pipecat_sends_it(server: HttpServer) -> None:
    """Sentences as they are written, without a space between; a flush and a close at the end of the turn."""
    with line(server, model_id="eleven_flash_v2_5", auto_mode="true") as talk:
        talk.send({"text": " ", "context_id": "a"}, {"text": "Hello there.", "context_id": "a"})
        talk.until(lambda message: message.get("audio"))
        talk.send({"text": "How are you?", "context_id": "a"}, {"context_id": "a", "flush": True})
        talk.send({"context_id": "a", "close_context": True})
        talk.until_final("a")
        talk.send({"close_socket": True})
        assert talk.closed() == 1000
    assert talk.text("a") == "Hello there. How are you? "
    assert pitch_hz(*decoded(talk.sound("a"), raw_hz=24_000)) == 450
    until(server.at_rest)


def test_a_turn_as_livekit_sends_it(server: HttpServer) -> None:
    with line(server, auto_mode="true", sync_alignment="true", inactivity_timeout=180) as talk:
        talk.send({"text": " ", "voice_settings": {}, "context_id": "a"})
        for text in ("Hello there. ", "How are you? "):
            talk.send({"text": text, "context_id": "a", "flush": True})
        talk.send({"text": "", "context_id": "a", "flush": True}, {"context_id": "a", "close_context": True})
        talk.until_final("a")
    assert talk.text("a") == "Hello there. How are you? "
    starts = [at for message in talk.of("a") for at in (message.get("alignment") or {}).get("charStartTimesMs", [])]
    assert starts == sorted(starts)
    assert starts[-1] / 1000 <= seconds(talk.sound("a"))


def test_a_stream_as_the_sdk_sends_it(server: HttpServer) -> None:
    with single(server) as talk:
        talk.send({"text": " ", "try_trigger_generation": True, "generation_config": {"chunk_length_schedule": [50]}})
        for text in ("Hello ", "there. ", "How ", "are you? "):
            talk.send({"text": text, "try_trigger_generation": True})
        talk.send({"text": ""})
        assert talk.closed() == 1000
    assert talk.heard[-1] == {"isFinal": True}
    assert talk.text() == "Hello there. How are you? "
    assert "contextId" not in talk.heard[0]
    until(server.at_rest)


def test_a_sentence_is_heard_before_the_next_is_written_and_a_flush_completes_one(server: HttpServer) -> None:
    with single(server) as talk:
        talk.send({"text": " "}, {"text": "Hello there. "})
        talk.until(lambda message: message["audio"])
        talk.send({"text": "And more", "flush": True})
        talk.until(lambda _: talk.text().endswith("And more "))


def test_contexts_are_files_of_their_own(server: HttpServer) -> None:
    with line(server, output_format="mp3_44100_64") as talk:
        texts = {"a": "Hello there. ", "b": "One, two, three. ", None: "And nobody's. "}
        for name, text in texts.items():
            named = {"context_id": name} if name else {}
            talk.send({"text": text} | named, {"flush": True} | named, {"close_context": True} | named)
        talk.send({"close_socket": True})
        assert talk.closed() == 1000
    for name, text in texts.items():
        samples, rate_hz = decoded(talk.sound(name))
        assert rate_hz == 44_100
        assert len(samples) / rate_hz == pytest.approx((9 + len(text)) / 25, abs=0.15)
        assert talk.text(name) == text


def test_settings_of_the_first_message() -> None:
    engine, settings = FakeEngine(), {"speed": 2.0, "style": 1.0, "stability": 0.1}
    with open_server(engine) as server, single(server, seed=5, apply_text_normalization="off") as talk:
        talk.send({"text": " ", "voice_settings": settings}, {"text": "It costs $5. "}, {"text": ""})
        assert talk.closed() == 1000
    (heard,) = engine.heard
    assert (heard.seed, heard.exaggeration) == (5, 1.0)
    assert engine.texts == ["It costs $5."]
    assert seconds(talk.sound()) == pytest.approx((10 + 12) / 25 / 2.0, abs=0.05)


# --- alignments ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("in_whole", [True, False])
@pytest.mark.parametrize("tokens_per_char", [0.3, 3.0])
def test_each_character_has_its_time(in_whole: bool, tokens_per_char: float) -> None:
    """Of an engine that speaks each character as long as the next, pieces without a word's end included."""
    engine = FakeEngine(words=by_letters, tokens_per_char=tokens_per_char)
    with open_server(engine) as server, single(server, sync_alignment=str(in_whole).lower()) as talk:
        talk.send({"text": " "}, {"text": TEXT + " "}, {"text": "And that is all. "}, {"text": ""})
        talk.closed()
    aligned = [message["alignment"] for message in talk.heard if message.get("alignment")]
    assert aligned == [message["normalizedAlignment"] for message in talk.heard if message.get("alignment")]
    assert talk.text() == f"{TEXT} And that is all. "
    spans = [each["charStartTimesMs"][-1] + each["charDurationsMs"][-1] for each in aligned]
    zeros = [0] * len(aligned) if in_whole else [0, *accumulate(spans)]  # as pipecat counts
    starts = [zero + at for zero, each in zip(zeros, aligned, strict=False) for at in each["charStartTimesMs"]]
    total_ms = 1000 * seconds(talk.sound())
    assert starts == sorted(starts)
    assert (spans[-1] if in_whole else sum(spans)) == pytest.approx(total_ms, abs=2)
    for at, char in zip(starts, talk.text(), strict=True):
        if char == "$":
            assert at == pytest.approx(total_ms * talk.text().index(char) / len(talk.text()), abs=400)


def test_a_character_comes_with_the_sound_that_holds_it_or_later() -> None:
    engine = FakeEngine(words=by_letters, tokens_per_char=3.0)
    with open_server(engine) as server, single(server, sync_alignment="true") as talk:
        talk.send({"text": " "}, {"text": TEXT + " "}, {"text": ""})
        talk.closed()
    heard_ms = 0.0
    for message in talk.heard[:-1]:
        heard_ms += 1000 * len(base64.b64decode(message["audio"])) / 48_000
        if chars := message["alignment"]:
            assert chars["charStartTimesMs"][-1] + chars["charDurationsMs"][-1] <= heard_ms + 1
    assert sum(bool(message.get("alignment")) for message in talk.heard) > 2


# --- interruptions ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flushed", [False, True])
def test_a_close_in_mid_speech_ends_the_sound_and_disturbs_no_other(slow: HttpServer, flushed: bool) -> None:
    with line(slow, auto_mode="true") as talk:
        for name in ("a", "b"):
            talk.send({"text": " ", "context_id": name}, {"text": LONG, "context_id": name})
        if flushed:
            talk.send({"context_id": "a", "flush": True})
            time.sleep(2 * AT_ONCE_S)  # in which something is heard
        talk.until(lambda message: message.get("audio") and message["contextId"] == "a")
        talk.drain()
        talk.send({"context_id": "a", "close_context": True})
        closed_s = time.monotonic()
        talk.until_final("a")
        assert time.monotonic() - closed_s < 0.1
        heard = len(talk.of("a"))
        until(lambda: slow.jobs.under_way == 1, 1.0)  # the other's: the engine is free
        talk.send({"context_id": "b", "flush": True}, {"context_id": "b", "close_context": True})
        talk.until_final("b")
    assert len(talk.of("a")) == heard
    assert talk.text("b").split() == LONG.split()
    assert seconds(talk.sound("b")) > 5 * seconds(talk.sound("a"))
    until(slow.at_rest)


def test_a_second_close_is_an_interruption(slow: HttpServer) -> None:
    """pipecat closes a context when its text is complete, and again when its sound is interrupted."""
    close = {"context_id": "a", "close_context": True}
    with line(slow) as talk:
        talk.send({"text": LONG, "context_id": "a"}, {"context_id": "a", "flush": True}, close)
        talk.until(lambda message: message.get("audio"))
        talk.send(close)
        talk.until_final("a")
        talk.send(close, {"text": "Next. ", "context_id": "b"}, {"close_socket": True})
        assert talk.closed() == 1000
    assert seconds(talk.sound("a")) < seconds(talk.sound("b")) + 20
    assert talk.text("b") == "Next. "
    assert [message for message in talk.of("a") if message.get("isFinal")] == [{"isFinal": True, "contextId": "a"}]
    until(slow.at_rest)


def test_a_close_that_precedes_all_sound_is_no_interruption(gate: Gate) -> None:
    """However long the flushed text waits for the engine."""
    with open_server(FakeEngine(words=by_letters, before_chunk=gate)) as server, line(server) as talk:
        talk.send({"text": "Hello there. ", "context_id": "a"}, {"context_id": "a", "flush": True})
        time.sleep(AT_ONCE_S + 0.05)
        talk.send({"context_id": "a", "close_context": True})
        time.sleep(0.05)
        gate.open()
        talk.until_final("a")
    assert talk.text("a") == "Hello there. "


def test_a_close_after_more_text_is_an_interruption(slow: HttpServer) -> None:
    with line(slow) as talk:
        talk.send({"text": LONG, "context_id": "a"}, {"context_id": "a", "flush": True})
        talk.send({"text": "More. ", "context_id": "a"}, {"context_id": "a", "close_context": True})
        talk.until_final("a")
    assert len(talk.text("a")) < len(LONG) / 2


def test_a_name_may_be_used_again_for_another_context(server: HttpServer) -> None:
    with line(server) as talk:
        for text in ("First. ", "Second. "):
            talk.send({"text": text, "context_id": "a"}, {"context_id": "a", "flush": True})
            talk.send({"context_id": "a", "close_context": True})
            talk.until_final("a")
            assert talk.text("a") == text
            talk.heard.clear()


@pytest.mark.parametrize("name", ["\ud800", "\u2028", "é" * 200, "a\0b"])
def test_any_text_is_a_name(server: HttpServer, name: str) -> None:
    """A lone surrogate, which UTF-8 does not have, ended the connection without a close code."""
    with line(server) as talk:
        talk.send({"text": "Hello.", "context_id": name, "flush": True}, {"context_id": name, "close_context": True})
        talk.until_final(name)
    assert talk.text(name) == "Hello. "


def test_who_leaves_in_mid_speech_leaves_nothing_behind(slow: HttpServer) -> None:
    with line(slow) as talk:
        talk.send({"text": LONG, "context_id": "a"}, {"text": LONG, "context_id": "b"})
        talk.until(lambda message: message.get("audio"))
    until(slow.at_rest)


# --- silence ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep_alive", [{"text": ""}, {"text": "", "context_id": "a"}])
def test_a_keep_alive_keeps_the_connection(server: HttpServer, keep_alive: dict[str, Any]) -> None:
    with line(server, inactivity_timeout=1) as talk:
        talk.send({"text": " ", "context_id": "a"})
        for _ in range(8):
            time.sleep(0.2)
            talk.send(keep_alive)
        talk.send({"text": "Hello there. ", "context_id": "a"})
        talk.until(lambda message: message.get("audio"))
    until(server.at_rest)


@pytest.mark.parametrize("door", ["stream-input", "multi-stream-input"])
def test_silence_ends_it(server: HttpServer, door: str) -> None:
    with line(server, door, inactivity_timeout=1) as talk:
        talk.send({"text": " "})
        assert talk.closed() == 1008
    assert talk.heard[-1]["error"] == "input_timeout_exceeded"
    until(server.at_rest)


# --- what is wrong ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("door", ["stream-input", "multi-stream-input"])
@pytest.mark.parametrize(
    ("voice", "query", "status", "words"),
    [
        ("nobody", {}, 404, "'nobody' is not a voice here; known: default, hans"),
        ("hans", {"output_format": "pcm_11025"}, 422, "output_format must be one of pcm_8000"),
        ("hans", {"inactivity_timeout": 181}, 422, "must be 1 to 180"),
        ("hans", {"inactivity_timeout": "long"}, 422, "must be a whole number"),
        ("hans", {"auto_mode": "maybe"}, 422, "must be true or false"),
        ("hans", {"apply_text_normalization": "often"}, 422, "must be auto, on or off"),
        ("hans", {"seed": "x"}, 422, "must be a whole number"),
    ],
)
def test_what_is_wrong_with_the_address(
    server: HttpServer, door: str, voice: str, query: Any, status: int, words: str
) -> None:
    with pytest.raises(InvalidStatus) as caught, line(server, door, voice, **query):
        pass
    assert caught.value.response.status_code == status
    assert words in json.loads(caught.value.response.body)["detail"]["message"]


WRONG = [
    ({"text": 5, "context_id": "b"}, "b", "text must be a string (got 5)"),
    ({"context_id": "b"}, "b", "a message has text, flush"),
    ({"type": "start"}, None, "a message has text, flush"),
    ({"text": "Hi. ", "context_id": 5}, None, "context_id must be a string"),
    ({"text": "Hi. ", "context_id": "b" * 201}, None, "context_id must be a string of at most 200"),
    ({"context_id": "b", "flush": True}, "b", "there is nothing to flush"),
    ({"context_id": "a", "flush": "yes"}, "a", "flush must be true or false"),
    ({"context_id": "a", "close_context": 1}, "a", "close_context must be true or false"),
    ({"close_socket": "now"}, None, "close_socket must be true or false"),
    ({"text": "Hi. ", "context_id": "b", "voice_settings": []}, "b", "voice_settings must be an object"),
    ({"text": "Hi. ", "context_id": "b", "voice_settings": {"speed": 9}}, "b", "speed must be at most"),
    ({"text": "Hi. ", "context_id": "b", "voice_settings": {"style": 2}}, "b", "voice_settings.style must be a number"),
    ({"text": "Hi. ", "context_id": "a", "voice_settings": {"speed": 1.5}}, "a", "may only be in the first message"),
    *(({"text": "A" * 20_001, "context_id": name}, name, "at most 20000 characters") for name in ("a", "b")),
]


def test_a_wrong_message_changes_nothing(server: HttpServer) -> None:
    with line(server) as talk:
        talk.send({"text": "Hello there", "context_id": "a"})
        for message, name, words in WRONG:
            talk.send(message)
            told = talk.hear()
            assert (told.get("contextId"), told["error"], told["code"]) == (name, "invalid_parameters", 1008)
            assert words in told["message"]
        for frame in ("{", "[]", b"\0", ""):
            talk.socket.send(frame)
            assert "must be a JSON object" in talk.hear()["message"]
        talk.send({"context_id": "b", "close_context": True})  # which no message has opened
        talk.send({"context_id": "a", "flush": True}, {"context_id": "a", "close_context": True})
        talk.until_final("a")
    assert talk.text("a") == "Hello there "
    assert all("error" in message for message in talk.of("b"))
    until(server.at_rest)


def test_text_after_the_close_is_refused_and_the_rest_is_spoken(slow: HttpServer) -> None:
    with line(slow) as talk:
        talk.send({"text": LONG, "context_id": "a"}, {"context_id": "a", "flush": True})
        talk.send({"context_id": "a", "close_context": True}, {"text": "More. ", "context_id": "a"})
        while "error" not in (told := talk.hear()):
            pass
        assert "the context is closed" in told["message"]
        talk.until_final("a")
    assert talk.text("a").split() == LONG.split()


@pytest.mark.parametrize("message", [message for message, name, _ in WRONG if name == "b" and "text" in message])
def test_without_contexts_it_ends_the_connection(server: HttpServer, message: dict[str, Any]) -> None:
    with single(server) as talk:
        talk.send(message)
        assert talk.closed() == 1008
    assert talk.heard[-1]["error"] == "invalid_parameters"
    until(server.at_rest)


@pytest.mark.parametrize("door", ["stream-input", "multi-stream-input"])
def test_a_message_is_not_kept_while_the_next_is_awaited(server: HttpServer, door: str) -> None:
    """A first message may have 20 MB, and a connection may be silent for three minutes."""
    with line(server, door) as talk:
        talk.send({"text": "Hello there. ", "voice_settings": {"kept": [*range(54_321)]}})
        talk.until(lambda message: message.get("audio"))
        gc.collect()
        assert not any(type(each) is list and len(each) == 54_321 for each in gc.get_objects())


def test_what_waits_in_all_contexts_is_bounded_as_in_one(gate: Gate) -> None:
    """Twenty contexts held twenty times as much: 60 MB for each connection."""
    with open_server(FakeEngine(words=by_letters, before_chunk=gate)) as server, line(server) as talk:
        talk.send(*({"text": ("A" * 900 + ". ") * 22, "context_id": f"{k % 2}"} for k in range(6)))
        talk.send({"text": "Hi. ", "context_id": "more"}, {"context_id": "more", "close_context": True})
        assert (told := talk.hear())["contextId"] == "more"
        assert "too much text waits" in told["message"]
        talk.send({"context_id": "0", "close_context": True}, {"text": "Hi. ", "context_id": "more", "flush": True})
        talk.send({"context_id": "more", "close_context": True})
        gate.open()
        talk.until_final("more")
    assert talk.text("more") == "Hi. "


def test_an_engines_error_names_its_context_and_ends_no_other() -> None:
    def fails(text: str, samples: int) -> Any:
        if "fail" in text:
            raise RuntimeError("out of order")
        return by_letters(text, samples)

    with open_server(FakeEngine(words=fails)) as server, line(server) as talk:
        talk.send({"text": "This will fail. ", "context_id": "a"})
        told = talk.hear()
        assert (told["error"], told["code"], told["contextId"]) == ("internal", 1011, "a")
        talk.send({"text": "This will not. ", "context_id": "b"}, {"close_socket": True})
        assert talk.closed() == 1000
        assert talk.text("b") == "This will not. "
        with single(server) as other:
            other.send({"text": "This will fail. "}, {"text": ""})
            assert other.closed() == 1011
        assert other.heard[-1]["error"] == "internal"
        until(server.at_rest)


def test_what_is_left_out_of_the_address_is_named(server: HttpServer) -> None:
    with line(server, model_id="x", enable_logging="true", enable_ssml_parsing="false", colour="red") as talk:
        assert talk.socket.response
        assert talk.socket.response.headers["x-ignored-fields"] == "enable_ssml_parsing, colour"


def test_a_piece_that_arrives_as_its_context_is_stopped_is_not_sent() -> None:
    class Sent(list[dict[str, Any]]):
        async def send(self, message: dict[str, Any], sound_s: float = 0.0) -> None:
            self.append(message)

    async def stop_between_two_pieces(sent: Sent) -> None:
        sink = AlignedSink(sent, {"contextId": "a"}, in_whole=False)  # type: ignore[arg-type]
        await sink.began(Take(0, [Sentence("Hello there.", Break.SENTENCE)]))
        await sink.audio(AudioEvent(0, b"12", "pcm_s16le", 24_000, 0.0, 0.1))
        await sink.stop()
        await sink.audio(AudioEvent(1, b"34", "pcm_s16le", 24_000, 0.1, 0.1))

    sent = Sent()
    asyncio.run(stop_between_two_pieces(sent))
    assert [message.get("audio") or message["isFinal"] for message in sent] == ["MTI=", True]
