"""livekit's plugins at their defaults: a whole text, one in pieces with its times, and a speech that is broken off."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest
import recipes
from conftest import Worker
from livekit.agents import tts as livekit_tts
from livekit.agents import utils
from livekit.agents.types import USERDATA_TIMED_TRANSCRIPT
from speech import MP3_PADDING_S, Sound, are_timed, is_spoken, pcm

FIRST, SECOND = "Hello there, my dear friend of old.", "This sentence costs $5, and it ends here."
LONG = "Somebody talks and talks about one thing or another, without an end in sight. " * 8
PADDING_S = {"elevenlabs": MP3_PADDING_S, "openai": MP3_PADDING_S, "cartesia": 0.0}
STREAMING = ["elevenlabs", "cartesia"]
Result = TypeVar("Result")


@dataclass
class Heard:
    data: bytearray = field(default_factory=bytearray)
    rate_hz: int = 0
    words: list[str] = field(default_factory=list)
    starts_s: list[float] = field(default_factory=list)

    def add(self, event: livekit_tts.SynthesizedAudio) -> None:
        self.rate_hz = event.frame.sample_rate
        self.data += event.frame.data.cast("B")
        for word in event.frame.userdata.get(USERDATA_TIMED_TRANSCRIPT, ()):
            if word.strip():
                self.words.append(word.strip())
                self.starts_s.append(word.start_time)

    def sound(self) -> Sound:
        return pcm(bytes(self.data), self.rate_hz)


async def everything(events: AsyncIterator[livekit_tts.SynthesizedAudio]) -> Heard:
    heard = Heard()
    async for event in events:
        heard.add(event)
    return heard


def plugin(name: str, server: Worker) -> Any:
    return recipes.run("livekit", f"import {name}\n", server.url)["tts"]


def run(speaking: Coroutine[Any, Any, Result]) -> Result:
    async def in_session() -> Result:
        async with utils.http_context.open():
            return await asyncio.wait_for(speaking, 60)

    return asyncio.run(in_session())


@pytest.mark.parametrize("name", PADDING_S)
def test_a_text_is_spoken(server: Worker, name: str) -> None:
    async def speak() -> Heard:
        tts = plugin(name, server)
        tts.prewarm()
        heard = await everything(tts.synthesize(FIRST))
        await tts.aclose()
        return heard

    is_spoken(run(speak()).sound(), server.reference(FIRST), PADDING_S[name])


@pytest.mark.parametrize("name", STREAMING)
def test_a_text_in_pieces_is_spoken_and_timed(server: Worker, name: str) -> None:
    async def speak() -> Heard:
        tts = plugin(name, server)
        stream = tts.stream()
        for word in f"{FIRST} {SECOND}".split(" "):
            stream.push_text(f"{word} ")
        stream.flush()
        stream.end_input()
        heard = await everything(stream)
        await stream.aclose()
        await tts.aclose()
        return heard

    heard, reference = run(speak()), server.reference(FIRST) + server.reference(SECOND)
    is_spoken(heard.sound(), reference, PADDING_S[name])
    are_timed(heard.words, heard.starts_s, reference)


@pytest.mark.parametrize("name", STREAMING)
def test_two_speeches_at_once_are_not_mixed(server: Worker, name: str) -> None:
    """ElevenLabs' plugin sends both as contexts of one socket."""

    async def speak() -> list[Heard]:
        tts = plugin(name, server)
        streams = [tts.stream(), tts.stream()]
        for stream, text in zip(streams, (FIRST, SECOND), strict=True):
            stream.push_text(text)
            stream.end_input()
        both = await asyncio.gather(*map(everything, streams))
        for stream in streams:
            await stream.aclose()
        await tts.aclose()
        return both

    for heard, text in zip(run(speak()), (FIRST, SECOND), strict=True):
        is_spoken(heard.sound(), server.reference(text), PADDING_S[name])
        are_timed(heard.words, heard.starts_s, server.reference(text))


@pytest.mark.parametrize("name", STREAMING)
def test_after_a_speech_that_was_broken_off_the_next_is_whole(server: Worker, name: str) -> None:
    """`aclose` in mid-speech is what a user's barge-in does."""

    async def speak() -> tuple[float, Heard]:
        tts = plugin(name, server)
        stream = tts.stream()
        stream.push_text(LONG)
        stream.flush()
        await anext(stream)
        began = time.monotonic()
        await stream.aclose()
        took_s = time.monotonic() - began
        following = tts.stream()
        following.push_text(SECOND)
        following.end_input()
        heard = await everything(following)
        await following.aclose()
        await tts.aclose()
        return took_s, heard

    took_s, heard = run(speak())
    assert took_s < 0.1
    is_spoken(heard.sound(), server.reference(SECOND), PADDING_S[name])
