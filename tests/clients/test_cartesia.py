"""Cartesia's SDK at its defaults: bytes, and the socket with word times and a cancel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import recipes
from cartesia import Cartesia
from conftest import KEY, Worker
from speech import MP3_PADDING_S, are_timed, decoded, is_spoken, pcm

VOICE = {"mode": "id", "id": "6ccbfb76-1fc6-48f7-b71d-91ac6298247b"}  # the SDK's own
FIRST, SECOND = "Hello there, my friend.", "This sentence costs $5, and it ends here."
LONG = "Somebody talks and talks about one thing or another, without an end in sight. " * 8
FORMATS: list[dict[str, Any]] = [
    {"container": "wav", "encoding": "pcm_s16le", "sample_rate": 24000},
    {"container": "wav", "encoding": "pcm_f32le", "sample_rate": 44100},
    {"container": "mp3", "sample_rate": 44100, "bit_rate": 128000},
    {"container": "raw", "encoding": "pcm_f32le", "sample_rate": 44100},
    {"container": "raw", "encoding": "pcm_s16le", "sample_rate": 16000},
]


def client(server: Worker) -> Cartesia:
    return Cartesia(base_url=server.url, websocket_base_url=server.socket_url, api_key=KEY)


def test_the_recipe(server: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    recipes.run("Cartesia's SDK", "Cartesia", server.url)
    is_spoken(decoded(Path("hello.wav").read_bytes()), server.reference("Hello there."))


@pytest.mark.parametrize("output", FORMATS)
def test_bytes(server: Worker, output: dict[str, Any]) -> None:
    answer = client(server).tts.generate(
        model_id="sonic-3", transcript=FIRST, voice=VOICE["id"], output_format=output, language="en"
    )
    data = answer.read()
    raw = {"pcm_f32le": "<f4", "pcm_s16le": "<i2"}.get(output.get("encoding", ""), "")
    heard = pcm(data, output["sample_rate"], raw) if output["container"] == "raw" else decoded(data)
    assert heard.rate_hz == output["sample_rate"]
    is_spoken(heard, server.reference(FIRST), MP3_PADDING_S if output["container"] == "mp3" else 0)


def test_a_context_of_the_socket_at_its_defaults(server: Worker) -> None:
    """32-bit floats at 44.1 kHz; two transcripts of one context, and their times from its beginning."""
    with client(server).tts.websocket_connect() as connection:
        context = connection.context(voice=VOICE, add_timestamps=True, timeout=20)
        context.push(f"{FIRST} ")
        context.push(SECOND)
        context.no_more_inputs()
        events = list(context.receive())
    assert events[-1].type == "done"
    assert {event.type for event in events} <= {"chunk", "timestamps", "flush_done", "done"}
    reference = server.reference(FIRST) + server.reference(SECOND)
    sound = b"".join(event.audio for event in events if event.type == "chunk")
    is_spoken(pcm(sound, 44100, "<f4"), reference)
    timed = [event.word_timestamps for event in events if event.type == "timestamps"]
    are_timed([word for one in timed for word in one.words], [at for one in timed for at in one.start], reference)


def test_a_context_that_is_cancelled_disturbs_no_other(server: Worker) -> None:
    raw = {"container": "raw", "encoding": "pcm_s16le", "sample_rate": 24000}
    with client(server).tts.websocket_connect() as connection:
        broken_off = connection.context(voice=VOICE, output_format=raw, timeout=20)
        broken_off.push(LONG, flush=True)
        broken_off.cancel()
        following = connection.context(voice=VOICE, output_format=raw, timeout=20)
        following.push(SECOND)
        following.no_more_inputs()
        sound = b"".join(event.audio for event in following.receive() if event.type == "chunk")
    is_spoken(pcm(sound), server.reference(SECOND))


def test_what_is_wrong_is_said_with_the_contexts_id(server: Worker) -> None:
    with client(server).tts.websocket_connect() as connection:
        context = connection.context("mine", voice="nobody at all", timeout=20)
        context.push(FIRST)
        *_, last = context.receive()
    assert last.type == "error"
    assert last.context_id == "mine"
    assert "nobody" in (last.message or "")
