"""POST /tts: the job contract over HTTP. A body and an Accept header → what is asked for.

It knows the contract's fields by name, to tell in a header which voice and seed speak, but not what they may hold: that
is `validation`.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request

from audio.encode import BY_MIME_TYPE, ENCODERS
from validation.errors import Fault, InvalidInput
from validation.fields import MAX_SEED
from validation.rules import chosen_voice
from web.answer import Asked
from web.budget import Input
from web.forms import MULTIPART, URLENCODED, form_fields
from web.jobs import Jobs
from web.objects import json_object
from web.refusals import NotAcceptable, UnsupportedMediaType
from web.wires import EventWire, FileWire, Wire


class TtsReader:
    """Reads requests to /tts."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    async def read(self, request: Request) -> Asked:
        """Raises: InvalidInput, NotAcceptable, UnsupportedMediaType, BodyTooLarge, TooSlow."""
        wire, own_format = accepted(",".join(request.headers.getlist("accept")))
        raw = await _input(request)
        if not is_speech(raw):
            return Asked(raw, None)
        if own_format and raw.get("output_format") is None:
            raw["output_format"] = own_format
        if wire is None:
            return Asked(raw, None)
        return Asked(raw, wire, await spoken_with(raw, self._jobs))


def is_speech(raw: Mapping[str, Any]) -> bool:
    return raw.get("operation") in (None, "tts")


async def spoken_with(raw: dict[str, Any], jobs: Jobs) -> dict[str, str]:
    """Headers that tell the voice and the seed, which is chosen here where none is asked for."""
    if raw.get("seed") is None:
        raw["seed"] = secrets.randbelow(MAX_SEED + 1)
    seed, voice = raw["seed"], await _voice(raw, jobs)
    told = {"X-Seed": str(seed)} if isinstance(seed, int) else {}  # what else it is, or how large, the job refuses
    return told | ({"X-Voice": voice} if voice.isascii() and voice.isprintable() else {})


async def _voice(raw: Mapping[str, Any], jobs: Jobs) -> str:
    if raw.get("reference_audio") is not None or raw.get("reference_audio_url") is not None:
        return "clone"
    language = raw.get("language")
    known = await jobs.voices() if isinstance(language, str) else {}
    return chosen_voice(raw.get("voice"), language, await jobs.default_voice(), known)


def accepted(header: str) -> tuple[Wire | None, str]:
    """The form of the answer, and the output format that an exact audio type names. Raises: NotAcceptable."""
    for kind in _by_preference(header):
        if kind == "audio/*" or kind in BY_MIME_TYPE:
            return FileWire(), BY_MIME_TYPE.get(kind, "")
        if kind == "text/event-stream":
            return EventWire(), ""
        if kind in ("application/json", "application/*", "*/*"):
            return None, ""
    known = ", ".join(dict.fromkeys(own.mime_type for own in ENCODERS.values()))
    raise NotAcceptable(f"the answer can be application/json, text/event-stream, audio/* or one of {known}")


def _by_preference(header: str) -> list[str]:
    """The types of an Accept header, best first (RFC 9110, 12.5.1); of equals the first."""
    weighed = []
    for part in header.split(","):
        kind, *parameters = (piece.strip() for piece in part.lower().split(";"))
        weighed += [(kind, _weight(parameters))] if kind else []
    weighed.sort(key=lambda pair: -pair[1])
    return [kind for kind, weight in weighed if weight > 0] if weighed else ["*/*"]


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, text = parameter.partition("=")
        if name.strip() == "q":
            try:
                return float(text)
            except ValueError:
                return 0.0
    return 1.0


# --- the body ---------------------------------------------------------------------------------------------------


async def _input(request: Request) -> dict[str, Any]:
    kind = media_type(request)
    if kind == "application/json":
        return _without_envelope(await json_object(await request.body(), "the body", request.state.input))
    if kind in (MULTIPART, URLENCODED):
        body = await request.body()
        held: Input = request.state.input
        return await held.read(lambda: form_fields(request.headers["content-type"], body))
    raise UnsupportedMediaType("send Content-Type: application/json, or a form as multipart/form-data")


def _without_envelope(given: dict[str, Any]) -> dict[str, Any]:
    """Raises: InvalidInput, for what the queue is sent."""
    if isinstance(given.get("input"), dict):
        raise InvalidInput('send what is inside "input": only the queue has it wrapped', [Fault("input", "is wrapped")])
    return given


def media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()
