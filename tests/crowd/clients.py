"""Clients of every dialect. Each speaks one text, and reads all of it, or reads slowly, or leaves in mid-sound."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, TypeAlias

import httpx
import websockets.asyncio.client as sockets
from websockets.exceptions import ConnectionClosed, InvalidStatus

TEXT = "One sentence that is long enough to be spoken in a good many chunks, and then some more of it. " * 4
PAUSE_S = 0.02  # of a slow reader, after each piece
LEAVES_AFTER = 3  # pieces
HANG_S = 60.0

Json: TypeAlias = dict[str, Any]


class Manner(Enum):
    GOOD = auto()
    SLOW = auto()
    LEAVING = auto()


@dataclass(frozen=True, slots=True)
class Visit:
    """One client's request: the status, and the bytes of PCM it got (None: it did not ask for PCM, or has left)."""

    status: int
    pcm_bytes: int | None


Dialect: TypeAlias = Callable[[str, httpx.AsyncClient, Manner], "asyncio.Future[Visit] | Any"]


async def _read(pieces: AsyncIterator[bytes], manner: Manner) -> int | None:
    """The size of all pieces; None if the reader left."""
    size = count = 0
    async for piece in pieces:
        size, count = size + len(piece), count + 1
        if manner is Manner.LEAVING and count == LEAVES_AFTER:
            return None
        if manner is Manner.SLOW:
            await asyncio.sleep(PAUSE_S)
    return size


def by_http(path: str, body: Json, *, is_pcm: bool = True, **headers: str) -> Dialect:
    """A POST whose answer is read as it comes."""

    async def visit(address: str, http: httpx.AsyncClient, manner: Manner) -> Visit:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        async with http.stream("POST", f"http://{address}{path}", json=body, headers=sent) as answer:
            if answer.status_code != 200:
                return Visit(answer.status_code, None)
            size = await _read(answer.aiter_raw(4096), manner)
            return Visit(200, size if is_pcm else None)

    return visit


def by_socket(path: str, messages: list[Json], sound: Callable[[str | bytes], bytes | None]) -> Dialect:
    """A WebSocket. `sound` gives the PCM in a message, or None for the last one."""

    async def pieces(socket: sockets.ClientConnection) -> AsyncIterator[bytes]:
        async for message in socket:
            if (data := sound(message)) is None:
                return
            if data:
                yield data

    async def visit(address: str, http: httpx.AsyncClient, manner: Manner) -> Visit:
        try:
            async with sockets.connect(f"ws://{address}{path}", open_timeout=HANG_S, close_timeout=1) as socket:
                for message in messages:
                    await socket.send(json.dumps(message))
                return Visit(200, await _read(pieces(socket), manner))
        except InvalidStatus as refused:
            return Visit(refused.response.status_code, None)
        except ConnectionClosed as closed:
            code = closed.rcvd.code if closed.rcvd else 0
            return Visit(429 if code == 1013 else code, None)

    return visit


def _ours(message: str | bytes) -> bytes | None:
    if isinstance(message, bytes):
        return message
    return None if json.loads(message)["type"] == "end" else b""


def _elevenlabs(message: str | bytes) -> bytes | None:
    told = json.loads(message)
    return None if told.get("isFinal") else base64.b64decode(told.get("audio") or "")


def _cartesia(message: str | bytes) -> bytes | None:
    told = json.loads(message)
    assert told["type"] != "error", told
    return None if told["type"] == "done" else base64.b64decode(told.get("data") or "")


CARTESIA = {
    "model_id": "sonic-3",
    "voice": {"mode": "id", "id": "default"},
    "output_format": {"container": "raw", "encoding": "pcm_s16le", "sample_rate": 24_000},
}
MULTI = "/v1/text-to-speech/default/multi-stream-input?output_format=pcm_24000"
SINGLE = "/v1/text-to-speech/default/stream-input?output_format=pcm_24000"

DIALECTS: dict[str, Dialect] = {
    "ours": by_http("/tts", {"text": TEXT, "output_format": "pcm_s16le"}, accept="audio/*"),
    "ours, joined": by_http("/tts", {"text": TEXT}, is_pcm=False),
    "ours, socket": by_socket(
        "/ws/tts",
        [{"type": "start", "output_format": "pcm_s16le"}, {"type": "text", "text": TEXT}, {"type": "end"}],
        _ours,
    ),
    "openai": by_http(
        "/v1/audio/speech", {"model": "tts-1", "voice": "alloy", "input": TEXT, "response_format": "pcm"}
    ),
    "openai, events": by_http(
        "/v1/audio/speech",
        {"model": "gpt-4o-mini-tts", "voice": "ash", "input": TEXT, "stream_format": "sse"},
        is_pcm=False,
    ),
    "devnen": by_http(
        "/tts",
        {"text": TEXT, "voice_mode": "predefined", "predefined_voice_id": "default", "split_text": True},
        is_pcm=False,
    ),
    "elevenlabs": by_http("/v1/text-to-speech/default/stream?output_format=pcm_24000", {"text": TEXT, "model_id": "x"}),
    "elevenlabs, contexts": by_socket(
        MULTI,
        [
            {"text": " ", "context_id": "a"},
            {"text": TEXT, "context_id": "a"},
            {"context_id": "a", "flush": True},
            {"context_id": "a", "close_context": True},
        ],
        _elevenlabs,
    ),
    "elevenlabs, socket": by_socket(SINGLE, [{"text": " "}, {"text": TEXT}, {"text": ""}], _elevenlabs),
    "cartesia": by_http("/tts/bytes", {"transcript": TEXT} | CARTESIA),
    "cartesia, socket": by_socket(
        "/tts/websocket", [{"transcript": TEXT, "context_id": "a", "continue": False} | CARTESIA], _cartesia
    ),
}
