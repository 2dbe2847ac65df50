"""The forms in which events travel over HTTP: the bytes of the file, server-sent events, OpenAI's events.

A wire knows neither how many bytes its client takes nor what a job means.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol

from audio.encode import ENCODERS
from service.base64_audio import audio_fields, base64_text
from service.events import AudioEvent, EndEvent, ErrorEvent, Event
from web.refusals import openai_error

EVENT_STREAM = "text/event-stream"


class Truncated(Exception):
    """The file can't be finished, and its form has no words for that: the connection must break."""


class Wire(Protocol):
    """One streamed answer's form."""

    def headers(self, first: AudioEvent) -> dict[str, str]:
        """Of the response whose first event this is."""
        ...

    def encoded(self, event: Event) -> bytes:
        """What goes out for an event. Raises: Truncated."""
        ...


class FileWire:
    """The bytes of the file as they are made."""

    def headers(self, first: AudioEvent) -> dict[str, str]:
        return {"Content-Type": ENCODERS[first.format].mime_type} | _sound_headers(first)

    def encoded(self, event: Event) -> bytes:
        match event:
            case AudioEvent():
                return event.data
            case EndEvent():
                return b""
            case ErrorEvent():
                raise Truncated(str(event.error))


class EventWire:
    """Server-sent events: `audio`, then `end` or `error`."""

    def headers(self, first: AudioEvent) -> dict[str, str]:
        return {"Content-Type": EVENT_STREAM} | _sound_headers(first)

    def encoded(self, event: Event) -> bytes:
        match event:
            case AudioEvent():
                return _sent("audio", audio_fields(event))
            case EndEvent():
                return _sent("end", event.reply)
            case ErrorEvent():
                return _sent("error", event.error.to_reply())


class OpenAiEventWire:
    """OpenAI's events of speech: `speech.audio.delta`, then `speech.audio.done` with the usage."""

    def headers(self, first: AudioEvent) -> dict[str, str]:
        return {"Content-Type": EVENT_STREAM} | _sound_headers(first)

    def encoded(self, event: Event) -> bytes:
        match event:
            case AudioEvent():
                return _sent(None, {"type": "speech.audio.delta", "audio": base64_text(event.data)})
            case EndEvent():
                return _sent(None, {"type": "speech.audio.done", "usage": usage(event.reply)})
            case ErrorEvent():
                return _sent(None, {"type": "error"} | openai_error(event.error))


def usage(reply: Mapping[str, Any]) -> dict[str, int]:
    """OpenAI counts tokens: those of speech are the engine's, those of text are not known, so characters stand for
    them. An engine without tokens has none."""
    spoken, given = reply["metrics"]["speech_tokens"] or 0, len(reply["text"])
    return {"input_tokens": given, "output_tokens": spoken, "total_tokens": given + spoken}


def joined_reply(pieces: list[bytes], end: EndEvent) -> bytes:
    """The contract's reply, as JSON. It takes a while for a long clip: not for the event loop."""
    spoken = {"audio": base64_text(end.seal(b"".join(pieces)))} if end.seal else {}
    return json.dumps(spoken | end.reply, ensure_ascii=False).encode()


def _sound_headers(first: AudioEvent) -> dict[str, str]:
    return {"X-Format": first.format, "X-Sample-Rate": str(first.sample_rate_hz), "Cache-Control": "no-store"}


def _sent(name: str | None, data: Mapping[str, Any]) -> bytes:
    """One event, as https://html.spec.whatwg.org/multipage/server-sent-events.html has it."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(data, ensure_ascii=False)}\n\n".encode()
