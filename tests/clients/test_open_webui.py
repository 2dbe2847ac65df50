"""Open WebUI's requests (0.12.4, `routers/audio`) to the byte: the program itself is 107 MB and wants a database."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import recipes
from conftest import KEY, Worker
from speech import MP3_PADDING_S, decoded, is_spoken

TEXT = "Hello there. This sentence costs $5, and it ends here."


def base_url(server: Worker) -> str:
    return recipes.box("Open WebUI", "API Base URL").replace("http://YOUR_SERVER:8000", server.url)


def test_its_lists_are_asked_without_a_key(server: Worker) -> None:
    async def ask() -> tuple[Any, Any]:
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{base_url(server)}/audio/models") as answer:
                answer.raise_for_status()
                models = await answer.json()
            async with session.get(f"{base_url(server)}/audio/voices") as answer:
                answer.raise_for_status()
                return models, await answer.json()

    models, voices = asyncio.run(ask())
    assert [model["id"] for model in models["models"]]
    assert "heart" in {voice["id"]: voice["name"] for voice in voices["voices"]}


def test_it_speaks(server: Worker) -> None:
    model, voice = recipes.box("Open WebUI", "TTS Model"), recipes.box("Open WebUI", "TTS Voice")
    headers = {
        "Content-Type": "application/json",
        "Authorization": f"Bearer {KEY}",
        "X-OpenWebUI-User-Name": "Ann%20B.",
    }

    async def ask() -> tuple[str, bytes]:
        async with aiohttp.ClientSession() as session:
            body = {"input": TEXT, "voice": voice, "model": model}
            async with session.post(f"{base_url(server)}/audio/speech", json=body, headers=headers) as answer:
                answer.raise_for_status()
                return answer.headers["Content-Type"], await answer.read()

    content_type, data = asyncio.run(ask())
    assert content_type == "audio/mpeg"
    is_spoken(decoded(data), server.reference(TEXT), MP3_PADDING_S)


def test_it_speaks_with_elevenlabs_contract(server: Worker) -> None:
    settings = {"stability": 0.5, "similarity_boost": 0.5}
    headers = {"Accept": "audio/mpeg", "Content-Type": "application/json", "xi-api-key": KEY}

    async def ask() -> bytes:
        async with aiohttp.ClientSession(headers=headers) as session:
            async with session.get(f"{server.url}/v1/voices") as answer:
                voice = (await answer.json())["voices"][0]["voice_id"]
            body = {"text": TEXT, "model_id": "eleven_multilingual_v2", "voice_settings": settings}
            async with session.post(f"{server.url}/v1/text-to-speech/{voice}", json=body) as answer:
                answer.raise_for_status()
                return await answer.read()

    is_spoken(decoded(asyncio.run(ask())), server.reference(TEXT), MP3_PADDING_S)
