"""The errors that only HTTP has, and the HTTP status of each error of `validation.errors`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from validation.errors import WorkerError, printable

OPENAI_PREFIX = "/v1/"
ELEVENLABS_PREFIXES = ("/v1/text-to-speech/", "/v1/speech-to-speech/", "/v1/voice-changer/", "/v1/voices/", "/v2/")
ELEVENLABS_STATUSES = {  # what ElevenLabs calls our errors
    "UNAUTHORIZED": "invalid_api_key",
    "UNKNOWN_VOICE": "voice_not_found",
    "INVALID_INPUT": "invalid_parameters",
    "REQUEST_TIMEOUT": "input_timeout_exceeded",
    "BUSY": "too_many_concurrent_requests",
}
ELEVENLABS_NAMES = {
    "language": "language_code",
    "exaggeration": "voice_settings.style",
    "speed": "voice_settings.speed",
    "sample_rate": "output_format",
    "bitrate_kbps": "output_format",
    "source_audio": "audio",
}
OPENAI_NAMES = {"text": "input", "output_format": "response_format"}  # what OpenAI calls our fields
CARTESIA_PREFIXES = ("/tts/bytes", "/tts/sse", "/tts/websocket", "/voices")
CARTESIA_NAMES = {
    "text": "transcript",
    "sample_rate": "output_format.sample_rate",
    "bitrate_kbps": "output_format.bit_rate",
    "speed": "generation_config.speed",
}
DEVNEN_NAMES = {"speed": "speed_factor"}  # what Chatterbox-TTS-Server calls them


class Refusal(WorkerError):
    """A request refused by the HTTP server itself. `headers` are added to the answer."""

    status: ClassVar[int]

    def __init__(self, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.headers = dict(headers or {})


class Unauthorized(Refusal):
    code, status = "UNAUTHORIZED", 401


class Forbidden(Refusal):
    code, status = "FORBIDDEN", 403


class NotFound(Refusal):
    code, status = "NOT_FOUND", 404


class MethodNotAllowed(Refusal):
    code, status = "METHOD_NOT_ALLOWED", 405


class NotAcceptable(Refusal):
    code, status = "NOT_ACCEPTABLE", 406


class TooSlow(Refusal):
    """The request did not arrive in time."""

    code, status, retryable = "REQUEST_TIMEOUT", 408, True


class BodyTooLarge(Refusal):
    code, status = "BODY_TOO_LARGE", 413


class UnsupportedMediaType(Refusal):
    code, status = "UNSUPPORTED_MEDIA_TYPE", 415


class Busy(Refusal):
    """The limit of requests or WebSockets is reached."""

    code, status, retryable = "BUSY", 429, True


class NotReady(Refusal):
    """The model is loading, could not be loaded, or the worker is leaving."""

    code, status, retryable = "NOT_READY", 503, True


STATUSES = {
    "INVALID_INPUT": 400,
    "UNKNOWN_OPERATION": 400,
    "UNKNOWN_VOICE": 404,
    "REFERENCE_AUDIO": 422,
    "UNSUPPORTED": 422,
    "OUTPUT_TOO_LARGE": 413,
    "MODEL_UNAVAILABLE": 503,
    "OUT_OF_MEMORY": 503,
    "GPU_FAULT": 503,
    "TIMEOUT": 504,
    "DELIVERY_FAILED": 502,
    "INTERNAL": 500,
}


def status_of(error: WorkerError) -> int:
    return error.status if isinstance(error, Refusal) else STATUSES.get(error.code, 500)


def error_response(error: WorkerError, path: str) -> JSONResponse:
    """OpenAI's form of the error under /v1/, ElevenLabs' and Cartesia's at their addresses, else the contract's."""
    headers = error.headers if isinstance(error, Refusal) else {}
    if path.startswith(CARTESIA_PREFIXES):
        return JSONResponse(cartesia_error(error), status_of(error), headers)
    if path.startswith(ELEVENLABS_PREFIXES):
        status = 422 if error.code == "INVALID_INPUT" else status_of(error)
        return JSONResponse({"detail": elevenlabs_error(error)}, status, headers)
    if not path.startswith(OPENAI_PREFIX):
        return JSONResponse(error.to_reply(), status_of(error), headers)
    status = 400 if error.code in ("UNKNOWN_VOICE", "UNSUPPORTED") else status_of(error)
    return JSONResponse(openai_error(error), status, headers)


async def refuse(error: WorkerError, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request, or a WebSocket's handshake, with the error."""
    response = error_response(error, scope["path"])
    if scope["type"] == "websocket":  # uvicorn adds type and length itself
        response.raw_headers = [pair for pair in response.raw_headers if not pair[0].startswith(b"content-")]
    await response(scope, receive, send)


def openai_error(error: WorkerError) -> dict[str, Any]:
    """OpenAI's error object; `param` is the first field at fault, by OpenAI's name, `code` is the contract's."""
    message, field = _reworded(error, OPENAI_NAMES)
    return {
        "error": {
            "message": message,
            "type": _openai_type(status_of(error)),
            "param": printable(field) or None,
            "code": error.code,
        }
    }


def cartesia_error(error: WorkerError) -> dict[str, Any]:
    """Cartesia's error object; `error`, which its versions before 2026 have instead of title and message, too."""
    message = _reworded(error, CARTESIA_NAMES)[0].removeprefix(f"{error.code}: ")
    title = error.code.replace("_", " ").capitalize()
    named = {"title": title, "message": message, "error": f"{title}: {message}"}
    return named | {"error_code": error.code, "status_code": status_of(error)}


def detail_response(error: WorkerError, path: str) -> JSONResponse:
    """The error as FastAPI's servers have it, such as Chatterbox-TTS-Server."""
    message, _ = _reworded(error, DEVNEN_NAMES)
    status = 400 if error.code == "UNSUPPORTED" else status_of(error)
    return JSONResponse({"detail": message}, status, error.headers if isinstance(error, Refusal) else {})


def elevenlabs_error(error: WorkerError) -> dict[str, str]:
    """ElevenLabs' word for the error, and the message."""
    status = ELEVENLABS_STATUSES.get(error.code, error.code.lower())
    return {"status": status, "message": _reworded(error, ELEVENLABS_NAMES)[0]}


def _reworded(error: WorkerError, names: Mapping[str, str]) -> tuple[str, str]:
    """The message and the first field at fault, by the names that another contract has for our fields."""
    faults = [replace(fault, field=names.get(fault.field, fault.field)) for fault in error.faults]
    ours, theirs = ("; ".join(map(str, named)) for named in (error.faults, faults))
    message = str(error).replace(printable(ours), printable(theirs)) if ours else str(error)
    return message, faults[0].field if faults else ""


def _openai_type(status: int) -> str:
    named = {401: "authentication_error", 429: "rate_limit_error"}
    return named.get(status, "server_error" if status >= 500 else "invalid_request_error")
