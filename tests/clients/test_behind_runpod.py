"""Each client with RunPod's key, as the recipe has it, behind a stand-in for RunPod's load balancer.

It refuses what has no `Authorization` of its own; the server behind wants no key, as on RunPod.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import aiohttp
import openai
import pytest
import recipes
import test_livekit
import test_pipecat
from cartesia import Cartesia
from conftest import KEY, Worker, worker
from elevenlabs.client import ElevenLabs
from elevenlabs.core.api_error import ApiError
from front import front
from livekit.plugins import cartesia as livekit_cartesia
from livekit.plugins import elevenlabs as livekit_elevenlabs
from pipecat.services.cartesia.tts import CartesiaTTSService
from pipecat.services.elevenlabs.tts import ElevenLabsHttpTTSService
from speech import MP3_PADDING_S, Sound, decoded, is_spoken

TEXT = "Hello there, my friend."
VOICE = "JBFqnCBsd6RMkjVDRZzb"
HEADERS = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    with worker(tmp_path_factory.mktemp("server") / "log") as running, front(running.url, key=KEY) as port:
        yield Worker(f"http://127.0.0.1:{port}")


def test_openais_key_is_runpods(server: Worker) -> None:
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0)
    heard = decoded(client.audio.speech.create(model="tts-1", voice="alloy", input=TEXT).content)
    is_spoken(heard, server.reference(TEXT), MP3_PADDING_S)


def test_cartesias_key_is_runpods(server: Worker) -> None:
    client = Cartesia(base_url=server.url, websocket_base_url=server.socket_url, api_key=KEY)
    with client.tts.websocket_connect() as connection:
        context = connection.context(voice="6ccbfb76-1fc6-48f7-b71d-91ac6298247b", timeout=20)
        context.push(TEXT)
        context.no_more_inputs()
        assert [event.type for event in context.receive()][-1] == "done"


def test_elevenlabs_with_a_header(server: Worker) -> None:
    with pytest.raises(ApiError) as refused:
        b"".join(ElevenLabs(base_url=server.url, api_key=KEY).text_to_speech.convert(VOICE, text=TEXT))
    assert refused.value.status_code == 401
    client = ElevenLabs(base_url=server.url, api_key="none", headers=HEADERS)
    is_spoken(decoded(b"".join(client.text_to_speech.convert(VOICE, text=TEXT))), server.reference(TEXT), MP3_PADDING_S)


@pytest.mark.parametrize("service", ["ElevenLabsTTSService", "ElevenLabsHttpTTSService", "CartesiaTTSService"])
def test_pipecat_with_a_header(server: Worker, service: str) -> None:
    async def run() -> Sound:
        async with aiohttp.ClientSession(headers=HEADERS) as session:
            if service == "ElevenLabsTTSService":
                tts = recipes.run("Behind RunPod", "BehindRunPod", server.url)["tts"]
            elif service == "ElevenLabsHttpTTSService":
                tts = ElevenLabsHttpTTSService(base_url=server.url, api_key="none", aiohttp_session=session)
            else:
                url = f"{server.socket_url}/tts/websocket"
                tts = CartesiaTTSService(url=url, api_key="none", extra_headers=HEADERS)
            async with test_pipecat.running(tts) as speaking:
                await speaking.say(TEXT)
                await speaking.until_it_has_spoken()
                return speaking.made.sound()

    is_spoken(asyncio.run(run()), server.reference(TEXT))


@pytest.mark.parametrize("plugin", [livekit_elevenlabs, livekit_cartesia])
def test_livekit_with_a_session(server: Worker, plugin: type) -> None:
    base_url = f"{server.url}/v1" if plugin is livekit_elevenlabs else server.url

    async def speak() -> test_livekit.Heard:
        async with aiohttp.ClientSession(headers=HEADERS) as session:
            tts = plugin.TTS(base_url=base_url, api_key="none", http_session=session)
            stream = tts.stream()
            stream.push_text(TEXT)
            stream.end_input()
            heard = await test_livekit.everything(stream)
            await stream.aclose()
            await tts.aclose()
            return heard

    padding_s = MP3_PADDING_S if plugin is livekit_elevenlabs else 0
    is_spoken(test_livekit.run(speak()).sound(), server.reference(TEXT), padding_s)
