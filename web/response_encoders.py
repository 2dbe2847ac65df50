"""How events are sent over HTTP: as the bytes of the file, as server-sent events, as OpenAI's events."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from audio.encode import ENCODERS
from service.events import AudioEvent, EndEvent, ErrorEvent, Event, StartEvent
from service.json_events import audio_fields, base64_text
from web.refusals import openai_error

EVENT_STREAM = "text/event-stream"
IGNORED = "X-Ignored-Fields"
MAX_IGNORED, MAX_IGNORED_CHARS = 20, 40  # names in that header, and the length of one


class Truncated(Exception):
    """The file can't be finished, and the encoding has no way to say so: the connection must be closed."""


class ResponseEncoder(Protocol):
    """One streamed answer: its headers, and the bytes of each event after the start."""

    def headers(self, first: AudioEvent) -> dict[str, str]: ...

    def encoded(self, event: Event) -> bytes:
        """Raises: Truncated."""
        ...


class FileEncoder:
    """The bytes of the file as they are made."""

    def headers(self, first: AudioEvent) -> dict[str, str]:
        return {"Content-Type": ENCODERS[first.format].mime_type} | _sound_headers(first)

    def encoded(self, event: Event) -> bytes:
        match event:
            case AudioEvent():
                return event.data
            case ErrorEvent():
                raise Truncated(str(event.error)) from event.error
        return b""


class EventEncoder:
    """Server-sent events: `audio`, then `end` or `error`."""

    def headers(self, first: AudioEvent) -> dict[str, str]:
        return {"Content-Type": EVENT_STREAM} | _sound_headers(first)

    def encoded(self, event: Event) -> bytes:
        match event:
            case AudioEvent():
                return _sse("audio", audio_fields(event))
            case EndEvent():
                return _sse("end", event.reply)
            case ErrorEvent():
                return _sse("error", event.error.to_reply())
        return b""


class OpenAiEncoder(EventEncoder):
    """OpenAI's events of speech: `speech.audio.delta`, then `speech.audio.done` with the usage."""

    def encoded(self, event: Event) -> bytes:
        match event:
            case AudioEvent():
                return _sse(None, {"type": "speech.audio.delta", "audio": base64_text(event.data)})
            case EndEvent():
                return _sse(None, {"type": "speech.audio.done", "usage": usage(event.reply)})
            case ErrorEvent():
                return _sse(None, {"type": "error"} | openai_error(event.error))
        return b""


def usage(reply: Mapping[str, Any]) -> dict[str, int]:
    """OpenAI counts tokens: those of speech are the engine's, those of text are not known, so characters stand for
    them. An engine without tokens has none."""
    spoken, given = reply["metrics"]["speech_tokens"] or 0, len(reply["text"])
    return {"input_tokens": given, "output_tokens": spoken, "total_tokens": given + spoken}


def joined_reply(end: EndEvent) -> bytes:
    """The contract's reply, as JSON. It takes a while for a long clip: not for the event loop."""
    file = end.take_file()
    audio = {} if file is None else {"audio": base64_text(file)}
    del file
    return json.dumps(audio | end.reply, ensure_ascii=False).encode()


def timed_reply(end: EndEvent) -> bytes:
    """The whole file with the times of its words, as JSON that OpenAI-compatible servers have for `timestamps`."""
    file, reply = end.take_file(), end.reply
    audio = {"audio_url": reply["audio_url"]} if file is None else {"audio": base64_text(file)}
    del file
    about = {
        "format": ENCODERS[reply["format"]].extension,
        "sample_rate": reply["sample_rate"],
        "duration_seconds": reply["duration"],
    }
    times = {name: reply[name] for name in ("words", "captions") if name in reply}
    return json.dumps(audio | about | times, ensure_ascii=False).encode()


def ignored_header(names: Sequence[str]) -> dict[str, str]:
    """The header that names the fields without effect, if there are any. The names are the caller's text: characters
    that a header can't hold are replaced."""
    if not names:
        return {}
    listed = [re.sub(r"[^!-+\--~]", "?", name[:MAX_IGNORED_CHARS]) or "?" for name in names[:MAX_IGNORED]]
    more = [f"and {len(names) - MAX_IGNORED} more"] if len(names) > MAX_IGNORED else []
    return {IGNORED: ", ".join(listed + more)}


def spoken_with(start: StartEvent) -> dict[str, str]:
    """Headers with the seed, and with the voice if a header can hold its name."""
    voice = header_text(start.voice)
    return {"X-Seed": str(start.seed)} | ({"X-Voice": voice} if voice else {})


def header_text(name: str) -> str:
    """The name, or "" where a header can't hold it."""
    return name if name.isascii() and name.isprintable() else ""


def _sound_headers(first: AudioEvent) -> dict[str, str]:
    return {"X-Format": first.format, "X-Sample-Rate": str(first.sample_rate_hz), "Cache-Control": "no-store"}


def _sse(name: str | None, data: Mapping[str, Any]) -> bytes:
    """One event, as https://html.spec.whatwg.org/multipage/server-sent-events.html has it."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(data)}\n\n".encode()
