"""POST /tts and /convert: the job contract over HTTP. A body and an Accept header → a job's input, and how its events
are sent.

Chatterbox-TTS-Server's clients have the same address: their bodies go to `web.devnen`.
"""

from __future__ import annotations

from typing import Any

from starlette.requests import Request

from audio.encode import BY_MIME_TYPE, ENCODERS
from validation.aliases import todays_operation
from validation.errors import Fault, InvalidInput
from validation.faults import shown
from validation.fields import SOUND_OPERATIONS
from web.answer import JobRequest
from web.budget import Input
from web.devnen import devnen_job, is_devnens
from web.forms import FILE_FIELDS, MULTIPART, URLENCODED, form_fields
from web.jobs import Jobs
from web.objects import json_object
from web.refusals import NotAcceptable, UnsupportedMediaType, detail_response
from web.response_encoders import EventEncoder, FileEncoder, ResponseEncoder


async def read(jobs: Jobs, request: Request) -> JobRequest:
    """Raises: InvalidInput, UnknownVoice, NotAcceptable, UnsupportedMediaType, BodyTooLarge, TooSlow."""
    raw = await _input(request)
    if is_devnens(raw):
        request.state.error_response = detail_response
        return devnen_job(raw, await jobs.voices())
    return _as_accepted(raw, request)


async def read_conversion(request: Request) -> JobRequest:
    """Raises: InvalidInput, NotAcceptable, UnsupportedMediaType, BodyTooLarge, TooSlow."""
    raw = await _input(request)
    if (operation := raw.get("operation")) is None:
        raw["operation"] = "convert"
    elif todays_operation(operation) != "convert":
        raise InvalidInput.of(Fault("operation", f"must be convert at this address (got {shown(operation)})"))
    return _as_accepted(raw, request)


def _as_accepted(raw: dict[str, Any], request: Request) -> JobRequest:
    """Raises: NotAcceptable."""
    encoder, own_format = accepted(",".join(request.headers.getlist("accept")))
    if todays_operation(raw.get("operation")) not in (None, *SOUND_OPERATIONS):
        return JobRequest(raw, None)
    if own_format and raw.get("output_format") is None:
        raw["output_format"] = own_format
    return JobRequest(raw, encoder)


def accepted(header: str) -> tuple[ResponseEncoder | None, str]:
    """How the answer is sent (None: joined), and the output format that an exact audio type names.

    Raises: NotAcceptable.
    """
    for kind in by_preference(header):
        if kind == "audio/*" or kind in BY_MIME_TYPE:
            return FileEncoder(), BY_MIME_TYPE.get(kind, "")
        if kind == "text/event-stream":
            return EventEncoder(), ""
        if kind in ("application/json", "application/*", "*/*"):
            return None, ""
    known = ", ".join(dict.fromkeys(own.mime_type for own in ENCODERS.values()))
    raise NotAcceptable(f"the answer can be application/json, text/event-stream, audio/* or one of {known}")


def by_preference(header: str) -> list[str]:
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
        return await form_body(request)
    raise UnsupportedMediaType("send Content-Type: application/json, or a form as multipart/form-data")


def _without_envelope(given: dict[str, Any]) -> dict[str, Any]:
    """Raises: InvalidInput, for the queue's `{"input": …}`."""
    if isinstance(given.get("input"), dict):
        raise InvalidInput('send what is inside "input": only the queue has it wrapped', [Fault("input", "is wrapped")])
    return given


async def form_body(request: Request, files: frozenset[str] = FILE_FIELDS) -> dict[str, Any]:
    """Raises: InvalidInput, BodyTooLarge, UnsupportedMediaType, TooSlow, Busy."""
    body = await request.body()
    held: Input = request.state.input
    return await held.read(lambda: form_fields(request.headers["content-type"], body, files))


async def json_body(request: Request) -> dict[str, Any]:
    """Raises: UnsupportedMediaType, InvalidInput, BodyTooLarge, TooSlow, Busy."""
    if media_type(request) != "application/json":
        raise UnsupportedMediaType("send Content-Type: application/json")
    return await json_object(await request.body(), "the body", request.state.input)


def media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()
