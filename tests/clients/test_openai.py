"""OpenAI's SDK at its defaults, and with each of its ways to read an answer."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path

import openai
import pytest
import recipes
from conftest import KEY, Worker
from speech import MP3_PADDING_S, decoded, is_spoken, pcm

TEXT = "Hello there. This sentence costs $5, and it ends here."
ASKED = {"model": "gpt-4o-mini-tts", "voice": "coral", "input": TEXT}


def client(server: Worker) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0)


def test_the_recipe(server: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    recipes.run("Other people's clients", "openai", server.url)
    is_spoken(decoded(Path("hello.mp3").read_bytes()), server.reference("Hello there."), MP3_PADDING_S)


@pytest.mark.parametrize("wanted", ["mp3", "opus", "aac", "flac", "wav", "pcm"])
def test_create(server: Worker, wanted: str) -> None:
    data = client(server).audio.speech.create(**ASKED, response_format=wanted, instructions="Whisper.").read()
    heard = pcm(data) if wanted == "pcm" else decoded(data)
    is_spoken(heard, server.reference(TEXT), MP3_PADDING_S if wanted in ("mp3", "aac") else 0)


def test_with_streaming_response(server: Worker) -> None:
    with client(server).audio.speech.with_streaming_response.create(**ASKED) as answer:
        data = b"".join(answer.iter_bytes())
    is_spoken(decoded(data), server.reference(TEXT), MP3_PADDING_S)


def test_events(server: Worker) -> None:
    with client(server).audio.speech.with_streaming_response.create(**ASKED, stream_format="sse") as answer:
        lines = [line.removeprefix("data: ") for line in answer.iter_lines() if line.startswith("data: ")]
    events = [json.loads(line) for line in lines if line != "[DONE]"]
    sound = b"".join(base64.b64decode(event["audio"]) for event in events if event["type"] == "speech.audio.delta")
    is_spoken(decoded(sound), server.reference(TEXT), MP3_PADDING_S)
    assert events[-1]["type"] == "speech.audio.done"
    assert events[-1]["usage"]["input_tokens"] > 0


def test_asynchronously(server: Worker) -> None:
    async def speak() -> bytes:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key=KEY) as asking:
            return (await asking.audio.speech.create(**ASKED, speed=4.0)).content

    heard = decoded(asyncio.run(speak()))
    assert abs(heard.duration_s - server.reference(TEXT).sound.duration_s / 4) < MP3_PADDING_S + 0.05


def test_models(server: Worker) -> None:
    listed = [model.id for model in client(server).models.list()]
    assert listed
    assert client(server).models.retrieve(listed[0]).id == listed[0]


def test_what_is_wrong_is_openais_error(server: Worker) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client(server).audio.speech.create(**ASKED | {"voice": "nobody at all"})
    assert "heart" in refused.value.message  # the voices that there are
    with pytest.raises(openai.BadRequestError):
        client(server).audio.speech.create(**ASKED | {"input": ""})
