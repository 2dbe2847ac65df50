"""ElevenLabs' addresses: speech as a file, in bytes or in JSON with alignments, the WebSockets, and voices."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.websockets import WebSocket

from service.alignment import AlignedAudio, Alignment, CharTime
from service.events import AudioEvent, EndEvent, ErrorEvent, Event, WordTime
from service.json_events import base64_text
from web.answer import Answer, JobRequest
from web.elevenlabs_requests import (
    DEFAULT_FORMAT,
    VOICES,
    Json,
    alignment_s,
    conversion_fields,
    format_fields,
    speech_fields,
    voice_object,
)
from web.elevenlabs_socket import Asked, SpeechSocket
from web.forms import MULTIPART
from web.jobs import Jobs
from web.openai import speaking_voice
from web.refusals import UnsupportedMediaType
from web.response_encoders import FileEncoder, ResponseEncoder, Truncated, ignored_header
from web.tts_request import form_body, json_body, media_type

SPEECH = "/v1/text-to-speech/{voice}"
CONVERSIONS = ("/v1/speech-to-speech/{voice}", "/v1/voice-changer/{voice}")  # as its API has it, and its SDK
JSON_LINES = "application/x-ndjson"
LINE_BYTES = 32_000  # of sound in a line: aiohttp reads none of more than 128 KB


def add_elevenlabs(app: FastAPI, jobs: Jobs) -> None:
    _add_speech(app, jobs)
    _add_voices(app, jobs)
    for name, has_contexts in (("stream-input", False), ("multi-stream-input", True)):
        _add_socket(app, jobs, f"{SPEECH}/{name}", has_contexts)


def _add_speech(app: FastAPI, jobs: Jobs) -> None:
    readers = {
        "": SpeechReader(jobs, timed=False, streamed=False),
        "/stream": SpeechReader(jobs, timed=False, streamed=True),
        "/with-timestamps": SpeechReader(jobs, timed=True, streamed=False),
        "/stream/with-timestamps": SpeechReader(jobs, timed=True, streamed=True),
    }

    def add(path: str, reader: SpeechReader | ConversionReader) -> None:
        @app.post(path, include_in_schema=False)
        async def _speech(voice: str) -> Answer:
            return Answer(jobs, reader.read)

    for ending, reader in readers.items():
        add(SPEECH + ending, reader)
    for path in CONVERSIONS:
        add(path, ConversionReader(jobs, streamed=False))
        add(f"{path}/stream", ConversionReader(jobs, streamed=True))


def _add_voices(app: FastAPI, jobs: Jobs) -> None:
    @app.get("/v1/voices/{voice}", include_in_schema=False)
    async def _voice(voice: str) -> JSONResponse:
        found = speaking_voice(voice, await jobs.ask("voices"), jobs.mapped_voices, VOICES)
        return JSONResponse(voice_object(found))

    @app.get("/v2/voices", include_in_schema=False)
    async def _voices() -> JSONResponse:
        voices = [voice_object(voice) for voice in (await jobs.ask("voices"))["voices"]]
        return JSONResponse({"voices": voices, "has_more": False, "total_count": len(voices), "next_page_token": None})


def _add_socket(app: FastAPI, jobs: Jobs, path: str, has_contexts: bool) -> None:
    @app.websocket(path)
    async def _socket(websocket: WebSocket, voice: str) -> None:
        jobs.require_socket()
        asked = await Asked.read(jobs, voice, websocket.query_params)
        await SpeechSocket(websocket, jobs, asked, has_contexts=has_contexts).run()


# --- speech -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SpeechReader:
    """Reads requests for speech: `timed` with alignments, in JSON; `streamed` as it is made."""

    jobs: Jobs
    timed: bool
    streamed: bool

    async def read(self, request: Request) -> JobRequest:
        """Raises: InvalidInput, UnknownVoice, UnsupportedMediaType, BodyTooLarge, TooSlow."""
        body = await json_body(request)
        query = dict(request.query_params)
        sound = format_fields(query.pop("output_format", DEFAULT_FORMAT))
        given = {name: value for name, value in (query | body).items() if value is not None}
        fields, ignored = await speech_fields(self.jobs, request.path_params["voice"], given)
        raw = fields | sound
        raw |= {"word_timestamps": True, "delivery": "inline"} if self.timed else {}
        encoder, headers = self._encoder(raw), ignored_header(ignored)
        return JobRequest(raw, encoder, headers, translated=True, joined=timed_object, sized=not self.streamed)

    def _encoder(self, raw: Json) -> ResponseEncoder | None:
        if not self.timed:
            return FileEncoder()
        return LinesEncoder(str(raw.get("text"))) if self.streamed else None


@dataclass(frozen=True, slots=True)
class ConversionReader:
    """Reads forms that ask for a recording in another voice; `streamed` as it is made."""

    jobs: Jobs
    streamed: bool

    async def read(self, request: Request) -> JobRequest:
        """Raises: InvalidInput, UnknownVoice, UnsupportedMediaType, BodyTooLarge, TooSlow."""
        if media_type(request) != MULTIPART:
            raise UnsupportedMediaType(f"send Content-Type: {MULTIPART}")
        form, query = await form_body(request, frozenset({"audio"})), dict(request.query_params)
        sound = format_fields(query.pop("output_format", DEFAULT_FORMAT))
        fields, ignored = await conversion_fields(self.jobs, request.path_params["voice"], query | form)
        return JobRequest(
            fields | sound, FileEncoder(), ignored_header(ignored), translated=True, sized=not self.streamed
        )


class LinesEncoder:
    """A line of JSON for each piece of sound, with the characters that end in it, in seconds of the whole."""

    def __init__(self, text: str) -> None:
        self._aligned, self._end_s = AlignedAudio(text.strip()), 0.0

    def headers(self, first: AudioEvent) -> dict[str, str]:
        return FileEncoder().headers(first) | {"Content-Type": JSON_LINES}

    def encoded(self, event: Event) -> bytes:
        match event:
            case AudioEvent():
                self._end_s = event.start_s + event.duration_s
                return b"".join(_lines(each.data, chars) for each, chars in self._aligned.push(event))
            case ErrorEvent():
                raise Truncated(str(event.error)) from event.error
        last, chars = self._aligned.flush(self._end_s)
        return _lines(last.data if last else b"", chars) if last or chars else b""


def _lines(data: bytes, chars: Sequence[CharTime]) -> bytes:
    pieces = [data[at : at + LINE_BYTES] for at in range(0, len(data), LINE_BYTES)] or [b""]
    objects = (_timed(base64_text(piece), chars if at == 0 else ()) for at, piece in enumerate(pieces))
    return b"".join(json.dumps(each).encode() + b"\n" for each in objects)


def _timed(audio: str, chars: Sequence[CharTime]) -> Json:
    alignment = alignment_s(chars)
    return {"audio_base64": audio, "alignment": alignment, "normalized_alignment": alignment}


def timed_object(end: EndEvent) -> bytes:
    """The file with the times of all its characters, as JSON."""
    file, reply = end.take_file() or b"", end.reply
    audio = base64_text(file)
    del file
    whole = Alignment(reply["text"])
    words = [WordTime(word["text"], word["start"], word["end"], "") for word in reply["words"]]
    chars = whole.push(words) + whole.flush(reply["duration"])
    return json.dumps(_timed(audio, chars), ensure_ascii=False).encode()
