"""A conversation's recording: fetched once, conditioned once, and held no longer."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest
from fakes import FakeEngine, as_base64, decoded, pitch_hz, recording
from http_server import Gate, HttpServer, open_server, until
from loopback import Handler, served

from tests.web.test_websocket import Line, error_of, line

pytestmark = pytest.mark.slow

START = {"type": "start"}


def say(talk: Line, text: str) -> None:
    talk.send("text", text=text)
    talk.until("spoken")


def check_pitch(talk: Line, pitch: float) -> None:
    samples, rate_hz = decoded(talk.sound, raw_hz=24_000)
    assert pitch_hz(samples, rate_hz) == pitch


def test_an_address_is_fetched_once_and_may_expire() -> None:
    """Each take fetched it anew, and the first after it had expired ended the conversation."""
    asked: list[str] = []

    class Expiring(Handler):
        def do_GET(self) -> None:
            asked.append(self.path)
            is_first = len(asked) == 1
            self.answer(200 if is_first else 403, recording(pitch=520.0) if is_first else b"expired")

    with served(Expiring) as address, open_server(allow_private_urls=True) as server:
        with line(server, reference_audio_url=f"{address}/me.wav?signature=1", output_format="pcm_s16le") as talk:
            assert talk.until("ready")["voice"] == "clone"
            until(lambda: len(asked) == 1)  # before there is a text
            for _ in range(3):
                say(talk, "Hello there. ")
            talk.send("cancel")
            talk.until("cancelled")
            talk.sound = b""
            say(talk, "Hello again. ")
            talk.send("end")
            talk.until("end")
        check_pitch(talk, 520.0)
        assert len(asked) == 1
        assert server.engine.conditioned == ["clone"]
        until(server.at_rest)


def test_a_recording_is_conditioned_once_whatever_else_is_spoken_meanwhile() -> None:
    """The worker keeps the last voices ready, of all its callers: a busy one made it anew for every take."""
    with open_server(voice_cache_size=1) as server:
        sent = as_base64(recording(pitch=700.0))
        with line(server, reference_audio=sent, language="en", voice_mode="clone", output_format="pcm_s16le") as talk:
            for other in ("default", "hans", "default"):
                say(talk, "Hello there. ")
                assert server.post("/tts", {"text": "Hi.", "voice": other}).status_code == 200
            talk.send("end")
            talk.until("end")
        check_pitch(talk, 700.0)
        assert server.engine.conditioned.count("clone") == 1
        until(server.at_rest)


def test_what_is_cut_from_it_is_told_once() -> None:
    sent = as_base64(recording(duration_s=9.0))
    with open_server() as server, line(server, reference_audio=sent, max_reference_duration_sec=5.0) as talk:
        for _ in range(2):
            say(talk, "Hello there. ")
        talk.send("end")
        warnings = talk.until("end")["warnings"]
    assert [warning for warning in warnings if "5" in warning] == warnings[:1] != []


def test_it_is_held_no_longer_than_until_it_is_conditioned(gate: Gate) -> None:
    engine = FakeEngine(before_condition=gate)
    with open_server(engine) as server, line(server, reference_audio=as_base64(recording())) as talk:
        budget = server.jobs.input_budget
        talk.until("ready")
        until(lambda: server.jobs.under_way == 1)
        assert budget.held_bytes > 100_000
        talk.send("text", text="Not a whole")
        gate.open()
        until(lambda: budget.held_bytes == 0)
        say(talk, " sentence. ")


@pytest.mark.parametrize(
    ("start", "code"),
    [
        ({"reference_audio": "AAAA"}, "REFERENCE_AUDIO"),
        ({"reference_audio": "?"}, "REFERENCE_AUDIO"),
        ({"reference_audio_url": "ftp://example.com"}, "INVALID_INPUT"),
        ({"reference_audio_url": "http://127.0.0.1:9/me.wav"}, "REFERENCE_AUDIO"),
        ({"voice_mode": "clone"}, "INVALID_INPUT"),
        ({"reference_audio": "AAAA", "voice": "hans"}, "INVALID_INPUT"),
        ({"voice": "clone"}, "UNKNOWN_VOICE"),
    ],
)
def test_what_is_wrong_with_it_is_told_before_there_is_a_text(start: dict[str, Any], code: str) -> None:
    text = [{"type": "text", "text": "Hi. "}] if start == {"voice_mode": "clone"} else []
    with open_server() as server:
        told, closed_with = error_of(server, START | start, *text)
        assert (told["error_code"], closed_with) == (code, 1008)
        until(server.at_rest)


@pytest.mark.parametrize("leaves", [True, False])
def test_who_leaves_meanwhile_leaves_nothing_behind(leaves: bool, gate: Gate) -> None:
    engine = FakeEngine(before_condition=gate)

    def asking(server: HttpServer) -> None:
        with server.websocket(close_timeout=0.1) as socket:
            socket.send(json.dumps(START | {"reference_audio": as_base64(recording())}))
            until(lambda: server.jobs.under_way == 1)
            if not leaves:
                socket.send("{")
                Line(socket).until("error")

    with open_server(engine) as server:
        threading.Timer(0.5, gate.open).start()
        asking(server)
        until(server.at_rest)
        assert engine.heard == []
        assert server.post("/tts", {"text": "Hi."}).status_code == 200
        time.sleep(0.05)
