"""/ws/tts: text in pieces in, one continuous sound out, interrupted at will."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from fakes import FakeEngine, body_of, by_letters, decoded, pitch_hz, raising_at
from http_server import HANG_S, LONG, Gate, HttpServer, closed_with, open_server, until
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection

from audio.encode import ENCODERS
from service.session import MAX_PIECE_CHARS
from service.speech import SEED_STEP
from sync_test import RAW_SUBTYPES
from validation.errors import OutOfMemory
from web.json_socket import JsonSocket
from web.websocket import TtsWebSocket

pytestmark = pytest.mark.slow


class Line:
    """One WebSocket, as a client sees it."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.sound = b""
        self.heard: list[dict[str, Any]] = []

    def send(self, kind: str, **fields: Any) -> None:
        self.socket.send(json.dumps({"type": kind} | fields))

    def until(self, kind: str) -> dict[str, Any]:
        """The next message of that kind; what came before it is kept."""
        while True:
            message = self.socket.recv(HANG_S)
            if isinstance(message, bytes):
                self.sound += message
                continue
            self.heard.append(json.loads(message))
            if self.heard[-1]["type"] == kind:
                return self.heard[-1]
            assert self.heard[-1]["type"] != "error", self.heard[-1]

    def kinds(self) -> list[str]:
        return [message["type"] for message in self.heard]

    def texts(self) -> list[str]:
        return [message["text"] for message in self.heard if message["type"] == "segment"]


@contextmanager
def line(server: HttpServer, **start: Any) -> Iterator[Line]:
    with server.websocket() as socket:
        spoken = Line(socket)
        spoken.send("start", **start)
        yield spoken


def test_words_become_sentences_become_one_sound(server: HttpServer) -> None:
    with line(server, voice="hans", output_format="pcm_s16le", seed=7) as talk:
        ready = talk.until("ready")
        told = [ready[name] for name in ("voice", "seed", "format", "sample_rate")]
        assert told == ["hans", 7, "pcm_s16le", 24_000]
        for piece in ("Hel", "lo the", "re. How ", "are you?"):
            talk.send("text", text=piece)
        talk.send("end")
        end = talk.until("end")
        assert closed_with(talk.socket) == 1000
    assert " ".join(talk.texts()) == "Hello there. How are you?"
    samples, rate_hz = decoded(talk.sound, raw_hz=24_000)
    assert len(samples) / rate_hz == pytest.approx(end["duration"])
    assert pitch_hz(samples, rate_hz) == 450
    assert end["watermarked"] is True


def test_a_sentence_is_heard_before_the_next_is_written(server: HttpServer) -> None:
    with line(server, output_format="pcm_s16le") as talk:
        talk.send("text", text="Hello there. ")
        talk.until("spoken")
        assert talk.sound
        before = len(talk.sound)
        talk.send("text", text="And more")
        talk.send("flush")
        talk.until("flushed")
        assert len(talk.sound) > before
        assert talk.kinds() == ["ready", "segment", "spoken", "segment", "spoken", "flushed"]
    until(server.at_rest)


@pytest.mark.parametrize("name", ENCODERS)
def test_the_whole_is_one_file(server: HttpServer, name: str) -> None:
    with line(server, output_format=name, audio_normalization="lufs", sentence_pause_ms=100) as talk:
        talk.send("text", text="Hello there. ")
        talk.until("spoken")
        talk.send("text", text="How are you today?")
        talk.send("end")
        end = talk.until("end")
    samples, rate_hz = decoded(talk.sound, ENCODERS[name].sample_rate_hz, RAW_SUBTYPES.get(name))
    assert len(samples) / rate_hz == pytest.approx(end["duration"], abs=0.15)
    assert float(np.abs(samples).max()) > 0.05


def test_each_word_is_told_before_its_sound_in_seconds_of_the_whole() -> None:
    with (
        open_server(FakeEngine(words=by_letters)) as server,
        line(server, output_format="pcm_s16le", word_timestamps=True, captions="srt", sentence_pause_ms=100) as talk,
    ):
        talk.send("text", text="It costs $5. ")
        first = talk.until("spoken")
        heard_s = len(talk.sound) / 2 / 24_000
        talk.send("text", text="And more. ")
        talk.until("segment")
        start_s = talk.heard[-1]["start"]
        talk.send("end")
        end = talk.until("end")
    told = [message for message in talk.heard if message["type"] == "words"]
    words = [f"{word['text']} {message['index']}" for message in told for word in message["words"]]
    assert words == ["It 0", "costs 0", "$5 0", "And 1", "more 1"]
    *_, last_of_first, following, _ = [word for message in told for word in message["words"]]
    assert last_of_first["end"] <= first["end"] == pytest.approx(heard_s)
    assert following["start"] == pytest.approx(start_s) == pytest.approx(first["end"] + 0.1)
    assert end["timing"] == "engine"
    assert end["captions"].splitlines()[2::4] == ["It costs $5.", "And more."]


def test_words_are_told_only_if_they_were_asked_for(server: HttpServer) -> None:
    with line(server, captions="vtt") as talk:
        talk.send("text", text="Hello there. ")
        talk.send("end")
        assert "WEBVTT" in talk.until("end")["captions"]
    assert "words" not in talk.kinds()


def test_after_a_cancel_words_count_from_the_new_files_start(server: HttpServer) -> None:
    with line(server, output_format="pcm_s16le", word_timestamps=True, captions="vtt") as talk:
        talk.send("text", text="Hello there. ")
        talk.until("spoken")
        talk.send("cancel")
        talk.until("cancelled")
        talk.send("text", text="Bye. ")
        talk.send("end")
        end = talk.until("end")
    (word,) = [message for message in talk.heard if message["type"] == "words"][-1]["words"]
    assert (word["text"], word["end"] <= end["duration"]) == ("Bye", True)
    assert "Hello" not in end["captions"]


def test_one_family_of_seeds_as_of_one_text() -> None:
    engine = FakeEngine()
    with open_server(engine) as server, line(server, seed=9) as talk:
        talk.send("text", text="Hello there. ")
        talk.until("spoken")
        talk.send("text", text="How are you? ")
        talk.until("spoken")
    assert [params.seed for params in engine.heard] == [9, (9 + SEED_STEP) % 2**32]


def test_what_waits_goes_as_one_take(gate: Gate) -> None:
    engine = FakeEngine(before_chunk=gate)
    with open_server(engine) as server, line(server) as talk:
        talk.send("text", text="This is the first one. This is the second one. ")
        until(lambda: engine.asked > 0)
        talk.send("text", text="This is the third one. This is the fourth one. ")
        time.sleep(0.1)
        gate.open()
        talk.send("end")
        talk.until("end")
    firsts, lasts = "This is the first one. This is the second one.", "This is the third one. This is the fourth one."
    assert talk.texts() == [firsts, lasts]


def test_a_paragraph_is_a_pause(server: HttpServer) -> None:
    def seconds(text: str) -> float:
        with line(server, paragraph_pause_ms=900) as talk:
            talk.send("text", text="Hello there. ")
            talk.until("spoken")
            talk.send("text", text=text)
            talk.send("end")
            return float(talk.until("end")["duration"])

    assert seconds("\n\nHello.") - seconds("Hello.") == pytest.approx(0.9)


# --- interruption ---------------------------------------------------------------------------------------------


def test_after_a_pause_too_the_first_sound_leaves_before_more_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, asked_meanwhile = FakeEngine(), list[int]()
    send = JsonSocket.send_bytes

    async def send_slowly(self: JsonSocket, data: bytes, sound_s: float) -> None:
        before = engine.asked
        await asyncio.sleep(0.02)
        asked_meanwhile.append(engine.asked - before)
        await send(self, data, sound_s)

    with open_server(engine) as server, line(server, chunk_size=5, sentence_pause_ms=200) as talk:
        talk.send("text", text="Hello there. ")
        talk.until("spoken")
        monkeypatch.setattr(JsonSocket, "send_bytes", send_slowly)
        talk.send("text", text="And here is a sentence of a good many chunks. ")
        talk.until("spoken")
    assert asked_meanwhile[:2] == [0, 0]  # the pause, the first sound


def test_cancel_stops_within_a_chunk_and_drops_what_waits() -> None:
    engine = FakeEngine(before_chunk=lambda k: time.sleep(0.02))
    with open_server(engine) as server, line(server, output_format="wav", chunk_size=5) as talk:
        talk.send("text", text=LONG)
        talk.until("segment")
        began_s, asked = time.monotonic(), engine.asked
        talk.send("cancel")
        talk.until("cancelled")
        assert time.monotonic() - began_s < 1.0
        assert engine.asked - asked < 12
        settled = engine.asked
        time.sleep(0.1)
        assert engine.asked == settled
        talk.sound = b""
        talk.send("text", text="Sorry. ")
        talk.until("spoken")
        talk.send("end")
        end = talk.until("end")
        assert talk.sound[:4] == b"RIFF"  # a new file: who cancelled has thrown the old one away
        assert (end["takes"], end["metrics"]["latency_to_first_chunk"] > 0) == (1, True)  # its own
        assert server.outcomes()["CANCELLED"] == 1
    until(server.at_rest)


def test_cancel_in_silence_is_answered(server: HttpServer) -> None:
    with line(server) as talk:
        talk.send("text", text="not yet a sentence")
        talk.send("cancel")
        talk.until("cancelled")
        talk.send("end")
        assert talk.until("end")["takes"] == 0


def test_who_hangs_up_is_not_spoken_to() -> None:
    engine = FakeEngine(before_chunk=lambda k: time.sleep(0.02))
    with open_server(engine) as server:
        with line(server, chunk_size=5) as talk:
            talk.send("text", text=LONG)
            talk.until("segment")
        until(server.at_rest)
        settled = engine.asked
        time.sleep(0.1)
        assert engine.asked == settled
        assert server.outcomes()["CANCELLED"] == 1


@contextmanager
def cancelled_line(server: HttpServer) -> Iterator[Line]:
    """One that has spoken a take and was cancelled after it; what was heard before is left out."""
    with line(server, output_format="mp3") as talk:
        talk.send("text", text="Hello there. ")
        talk.until("spoken")
        talk.send("cancel")
        talk.until("cancelled")
        talk.sound = b""
        yield talk


def test_after_a_cancel_between_takes_a_new_file_begins(server: HttpServer) -> None:
    with cancelled_line(server) as talk:
        talk.send("text", text="Bye. ")
        talk.send("end")
        end = talk.until("end")
    samples, rate_hz = decoded(talk.sound, "mp3")
    assert len(samples) / rate_hz == pytest.approx(end["duration"], abs=0.15)


def test_after_a_cancel_and_an_end_nothing_of_before_is_heard(server: HttpServer) -> None:
    with cancelled_line(server) as talk:
        talk.send("end")
        assert talk.until("end")["duration"] == 0
    assert body_of(talk.sound) == b""


@pytest.mark.parametrize("signs", ["-" * 700, "." * 650, "= " * 400])
def test_a_long_run_of_signs_is_passed_over(server: HttpServer, signs: str) -> None:
    with line(server) as talk:
        talk.send("text", text=f"Hello there.\n{signs}\nBye.")
        talk.send("end")
        talk.until("end")
    assert " ".join(talk.texts()) == "Hello there. Bye."


@pytest.mark.parametrize("unit", ["。]", "「。」", ". \n", "— ", "\u2029", "<think>", "[.]"])
def test_no_piece_of_text_keeps_the_loop(server: HttpServer, unit: str) -> None:
    """The largest piece there may be, again and again."""
    with line(server) as talk:
        talk.until("ready")
        with server.turns() as turns_s:
            for _ in range(3):
                talk.send("text", text=(unit * MAX_PIECE_CHARS)[:MAX_PIECE_CHARS])
            talk.send("flush")
            talk.until("flushed")
    assert max(turns_s) < 0.5


def test_reasoning_is_not_spoken_and_told_at_the_end(server: HttpServer) -> None:
    with line(server) as talk:
        for piece in ("<th", "ink>Let me", " see. Yes.\n</thi", "nk>\n\nHello ", "there."):
            talk.send("text", text=piece)
        talk.send("end")
        end = talk.until("end")
    assert talk.texts() == ["Hello there."]
    assert end["warnings"] == ["the text holds a language model's reasoning (<think>): left out"]


def test_a_worker_that_leaves_begins_no_other_take() -> None:
    engine = FakeEngine(before_chunk=lambda k: time.sleep(0.02))
    with open_server(engine) as server, line(server, chunk_size=5) as talk:
        talk.send("text", text=LONG)
        talk.until("segment")
        server.end()
        talk.send("text", text="\n\nOne more sentence.\n\n")
        assert talk.until("error")["error_code"] == "NOT_READY"


def test_a_worker_that_leaves_ends_what_it_says() -> None:
    engine = FakeEngine(before_chunk=lambda k: time.sleep(0.01))
    with open_server(engine) as server, line(server, chunk_size=5, output_format="pcm_s16le") as talk:
        talk.send("text", text=LONG)
        talk.until("segment")
        server.end()
        spoken = talk.until("spoken")
        assert len(talk.sound) == pytest.approx(2 * 24_000 * spoken["end"], abs=2)
        assert closed_with(talk.socket) == 1012
    assert server.status == 0


# --- refusals ---------------------------------------------------------------------------------------------------


def error_of(server: HttpServer, *messages: Any) -> tuple[dict[str, Any], int]:
    """The error event, and the close code."""
    with server.websocket() as socket:
        for message in messages:
            socket.send(message if isinstance(message, str | bytes) else json.dumps(message))
        return Line(socket).until("error"), closed_with(socket)


START = {"type": "start"}


@pytest.mark.parametrize(
    ("messages", "code", "words"),
    [
        ([START, {"type": "text", "text": "x" * 20_001}], "INVALID_INPUT", "at most 20000 characters"),
        (["{"], "INVALID_INPUT", "must be a JSON object"),
        ([b"\0"], "INVALID_INPUT", "a text frame"),
        (["[]"], "INVALID_INPUT", "must be a JSON object"),
        ([{"type": "text", "text": "Hi."}], "INVALID_INPUT", "the first message must be"),
        ([START | {"text": "Hi."}], "INVALID_INPUT", "text comes in messages of its own"),
        ([START | {"colour": 1, "speed": 9}], "INVALID_INPUT", "`colour` is not a field"),
        ([START | {"voice": "nobody"}], "UNKNOWN_VOICE", "known: default, hans"),
        ([START | {"audio_normalization": "peak"}], "UNSUPPORTED", "ask for lufs"),
        ([START | {"output_format": "mp3", "bitrate_kbps": 7}], "INVALID_INPUT", "7 kbit/s"),
        ([START | {"decode_mode": "block"}, {"type": "text", "text": "Hi. "}], "UNSUPPORTED", "decode_mode"),
        ([START, START], "INVALID_INPUT", "after one start"),
        ([START, {"type": "text", "text": 5}], "INVALID_INPUT", "text must be a string"),
        ([START, *[{"type": "text", "text": "This is a line. " * 1200}] * 7], "INVALID_INPUT", "characters would wait"),
    ],
)
def test_what_can_not_be_is_told_and_closed(server: HttpServer, messages: list[Any], code: str, words: str) -> None:
    told, closed_with = error_of(server, *messages)
    assert (told["error_code"], closed_with) == (code, 1008)
    assert words in told["error"]
    until(server.at_rest)


def test_a_fault_is_told_and_closed() -> None:
    with open_server(FakeEngine(before_chunk=raising_at(1, OutOfMemory("no memory")))) as server:
        told, closed_with = error_of(server, START, {"type": "text", "text": "Hi. "})
    assert (told["error_code"], told["retryable"], closed_with) == ("OUT_OF_MEMORY", True, 1011)


def test_a_silent_client_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TtsWebSocket.__init__, "__defaults__", (0.2,))
    with open_server() as server:
        told, closed_with = error_of(server, START)
    assert (told["error_code"], closed_with) == ("REQUEST_TIMEOUT", 1008)


def test_keys_are_asked_for_and_may_come_as_a_subprotocol() -> None:
    with open_server(api_keys=("sk-one",)) as server:
        with pytest.raises(InvalidStatus) as caught:
            server.websocket()
        assert caught.value.response.status_code == 401
        with server.websocket(subprotocols=["tts", "bearer.sk-one"]) as socket:
            assert socket.subprotocol == "tts"
        with server.websocket(additional_headers={"Authorization": "Bearer sk-one"}) as socket:
            socket.send(json.dumps(START))
            assert json.loads(socket.recv(HANG_S))["type"] == "ready"


def test_a_start_that_is_refused_is_logged_with_its_code_and_its_fields(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with open_server() as server, line(server, speed=9.87) as talk:
        talk.socket.recv(HANG_S)
        until(lambda: '"method": "WEBSOCKET", "route": "/ws/tts", "status": 101' in caplog.text)
        assert '"error": "INVALID_INPUT (speed)"' in caplog.text
        assert "9.87" not in caplog.text


def test_a_refusal_is_no_fault_and_what_stood_in_the_address_is_not_written_down(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    with open_server(api_keys=("sk-one",)) as server, pytest.raises(InvalidStatus):
        server.websocket("/ws/tts?key=platypus")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "platypus" not in caplog.text
    assert '"status": 401' in caplog.text
