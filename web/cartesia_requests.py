"""Cartesia's requests for speech in terms of the job contract, and what is sent for them.

https://docs.cartesia.ai/api-reference/tts/bytes. Values are checked by the contract.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request

from audio.encode import ENCODERS
from service.events import AudioEvent, EndEvent, ErrorEvent, Event, WordTime
from service.json_events import base64_text
from validation.errors import Fault, InvalidInput, WorkerError
from validation.faults import type_faults
from validation.rules import LANGUAGE_TAG, is_other_language
from web.answer import JobRequest
from web.jobs import Jobs
from web.openai import DEFAULT, OTHER_IDS, voice_field
from web.refusals import cartesia_error
from web.response_encoders import EventEncoder, FileEncoder, ignored_header
from web.tts_request import json_body

Json = dict[str, Any]

DEFAULT_VOICES = frozenset(  # that clients have built in: livekit's, the SDK's, and that of Cartesia's own examples
    {
        "f786b574-daa5-4673-aa0c-cbe3e8534c02",
        "6ccbfb76-1fc6-48f7-b71d-91ac6298247b",
        "a0e99841-438c-4a64-b679-ae501e7d6091",
    }
)
ENCODINGS = {  # our formats; a WAV of floats becomes one of 16 bits
    "raw": {"pcm_s16le": "pcm_s16le", "pcm_f32le": "pcm_f32le", "pcm_mulaw": "mulaw_raw", "pcm_alaw": "alaw_raw"},
    "wav": {"pcm_s16le": "wav", "pcm_f32le": "wav", "pcm_mulaw": "mulaw", "pcm_alaw": "alaw"},
    "mp3": {"mp3": "mp3"},
}
MAX_ID_CHARS = 200
SPEEDS = {"slow": 0.8, "normal": 1.0, "fast": 1.25}  # Cartesia's words say no number
TYPES: dict[str, type] = {
    **dict.fromkeys(("context_id", "model_id", "transcript", "language", "locale", "normalization"), str),
    **dict.fromkeys(("continue", "flush", "cancel", "add_timestamps"), bool),
    **dict.fromkeys(("output_format", "generation_config"), dict),
    "max_buffer_delay_ms": int,
}
KNOWN = frozenset({*TYPES, "speed", "voice"})


@dataclass(slots=True)
class Asked:
    """A request in our words: fields of `tts` but `text`. `ignored`: what was sent and is not done here."""

    fields: Json
    ignored: list[str] = field(default_factory=list)


class CartesiaReader:
    """Reads requests for speech."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    async def read_bytes(self, request: Request) -> JobRequest:
        """Raises: InvalidInput, UnknownVoice, UnsupportedMediaType, BodyTooLarge, TooSlow."""
        given = checked(await json_body(request))
        asked = await self.asked(given, *ENCODINGS)
        raw = asked.fields | {"text": given.get("transcript")}
        return JobRequest(raw, FileEncoder(), ignored_header(asked.ignored), translated=True, sized=True)

    async def read_events(self, request: Request) -> JobRequest:
        """Raises: as `read_bytes`."""
        given = checked(await json_body(request))
        asked = await self.asked(given, "raw")
        raw = asked.fields | {"text": given.get("transcript"), "word_timestamps": given.get("add_timestamps")}
        encoder = MessageEncoder(context_id_of(given) if "context_id" in given else None)
        return JobRequest(raw, encoder, ignored_header(asked.ignored), translated=True)

    async def asked(self, given: Json, *containers: str) -> Asked:
        """What a checked request asks for. Raises: InvalidInput, UnknownVoice."""
        config: Json = given.get("generation_config", {})
        if (pace := given.get("speed", "normal")) not in [*SPEEDS]:  # it may be anything
            raise InvalidInput.of(Fault("speed", "must be slow, normal or fast"))
        asked = Asked({"speed": config.get("speed", SPEEDS[pace])})
        asked.ignored += [name for name, value in given.items() if value and name not in KNOWN]
        asked.ignored += [f"generation_config.{name}" for name in config if name != "speed"]
        if (reading := given.get("normalization")) == "off":
            asked.fields["normalize_text"] = False
        elif reading not in (None, "on", "auto"):
            asked.ignored.append("normalization")
        if given.get("language") and given.get("locale") not in (None, "", given["language"]):
            asked.ignored.append("locale")
        _name_format(asked, given.get("output_format", {}), containers)
        await self._name_voice(asked, given.get("voice"), given.get("language") or given.get("locale"))
        return asked

    async def _name_voice(self, asked: Asked, voice: object, language: str | None) -> None:
        """A voice that was named speaks its own language, unless it can speak the one that the client has built in."""
        if language and not LANGUAGE_TAG.fullmatch(language):
            raise InvalidInput.of(Fault("language", "must be a tag such as en or en-US"))
        known = await self._jobs.voices()
        named = voice_field(_voice_id(voice), known, self._jobs.mapped_voices, DEFAULT_VOICES, OTHER_IDS)
        asked.fields |= named
        if not named:
            asked.fields["language"] = language
        elif is_other_language(language, spoken := known[named["voice"]]):
            asked.ignored.append("language")
        elif is_other_language(language, spoken[:1]):
            asked.fields["language"] = language


def checked(sent: Json) -> Json:
    """The fields that are not null. Raises: InvalidInput, for values of other types than theirs."""
    given = {name: value for name, value in sent.items() if value is not None}
    if faults := type_faults(given, TYPES):
        raise InvalidInput.of(*faults)
    return given


def context_id_of(sent: Json) -> str:
    """It is in every message of the answer, so it is short. Raises: InvalidInput."""
    given = sent.get("context_id")
    if isinstance(given, str) and 0 < len(given) <= MAX_ID_CHARS:
        return given
    raise InvalidInput.of(Fault("context_id", f"must be a string of 1 to {MAX_ID_CHARS} characters"))


def _voice_id(voice: object) -> str:
    """Raises: InvalidInput."""
    given = voice.get("id") if isinstance(voice, dict) and voice.get("mode", "id") == "id" else voice
    if given is None or isinstance(given, str):
        return given or DEFAULT
    raise InvalidInput.of(Fault("voice", "must have an id, which is a string: embeddings are not taken here"))


def _name_format(asked: Asked, given: Json, containers: tuple[str, ...]) -> None:
    """Raises: InvalidInput."""
    container, rate_hz = given.get("container"), given.get("sample_rate")
    if container not in containers:
        raise InvalidInput.of(Fault("output_format.container", f"must be {' or '.join(containers)} here"))
    encodings = ENCODINGS[container]
    encoding = "mp3" if container == "mp3" else given.get("encoding")
    if not isinstance(encoding, str) or encoding not in encodings:
        raise InvalidInput.of(Fault("output_format.encoding", f"must be one of {', '.join(encodings)}"))
    asked.fields |= {"output_format": encodings[encoding], "sample_rate": rate_hz}
    if encoding == "pcm_f32le" and container == "wav":
        asked.ignored.append("output_format.encoding")
    if container == "mp3" and (bit_rate := given.get("bit_rate")) is not None:
        _choose_bit_rate(asked, bit_rate)


def _choose_bit_rate(asked: Asked, bit_rate: object) -> None:
    """The highest that MP3 has at this sample rate, up to what was asked for. Raises: InvalidInput."""
    if type(bit_rate) is not int or bit_rate <= 0:
        raise InvalidInput.of(Fault("output_format.bit_rate", "must be a whole number of bits a second"))
    rate_hz, mp3 = asked.fields["sample_rate"], ENCODERS["mp3"]
    legal = mp3.bitrates_kbps(mp3.coded_rate(rate_hz if isinstance(rate_hz, int) else 0))
    kbps = max((kbps for kbps in legal if 1000 * kbps <= bit_rate), default=legal[0])
    asked.fields["bitrate_kbps"] = kbps
    if 1000 * kbps != bit_rate:
        asked.ignored.append("output_format.bit_rate")


# --- messages ---------------------------------------------------------------------------------------------------


class Messages:
    """What is sent of one context."""

    def __init__(self, context_id: str | None) -> None:
        self._common = {"context_id": context_id, "status_code": 206, "done": False}
        self._since_s, self._flushes = time.monotonic(), 0

    def chunk(self, data: bytes) -> Json:
        """`step_time` is in milliseconds."""
        before_s, self._since_s = self._since_s, time.monotonic()
        step_ms = round(1000 * (self._since_s - before_s), 3)
        return {"type": "chunk", "data": base64_text(data), "step_time": step_ms} | self._common

    def timestamps(self, words: Sequence[WordTime]) -> list[Json]:
        """No message if there is no word."""
        listed = {
            "words": [word.written.strip() for word in words],
            "start": [round(word.start_s, 6) for word in words],
            "end": [round(word.end_s, 6) for word in words],
        }
        return [{"type": "timestamps", "word_timestamps": listed} | self._common] if words else []

    def flush_done(self) -> Json:
        self._flushes += 1
        return {"type": "flush_done", "flush_done": True, "flush_id": self._flushes} | self._common

    def done(self) -> Json:
        return {"type": "done"} | self._common | {"done": True}

    def error(self, error: WorkerError) -> Json:
        return {"type": "error"} | self._common | cartesia_error(error) | {"done": True}


class MessageEncoder(EventEncoder):
    """The messages as server-sent events."""

    def __init__(self, context_id: str | None) -> None:
        self._messages = Messages(context_id)

    def encoded(self, event: Event) -> bytes:
        match event:
            case AudioEvent():
                sent = [*self._messages.timestamps(event.words or ()), self._messages.chunk(event.data)]
            case EndEvent():
                sent = [self._messages.done()]
            case ErrorEvent():
                sent = [self._messages.error(event.error)]
            case _:
                sent = []
        return b"".join(f"event: {each['type']}\ndata: {json.dumps(each)}\n\n".encode() for each in sent)
