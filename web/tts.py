"""POST /tts: the job contract over HTTP. A body and an Accept header → what is asked for.

It knows the contract's fields by name, to read a form and to tell in a header which voice and seed speak, but not what
they may hold: that is `validation`.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping
from typing import Any

from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException
from starlette.requests import Request

from audio.encode import BY_MIME_TYPE, ENCODERS
from validation.errors import Fault, InvalidInput
from validation.fields import MAX_SEED
from validation.rules import chosen_voice
from web.answer import Asked
from web.jobs import Jobs
from web.limits import MAX_BODY_BYTES
from web.objects import bounded_json, json_object
from web.refusals import BodyTooLarge, NotAcceptable, UnsupportedMediaType
from web.wires import EventWire, FileWire, Wire

MAX_FORM_FIELDS = 64
URLENCODED = "application/x-www-form-urlencoded"
MAX_URLENCODED_BYTES = 500_000  # read byte by byte, in the event loop: 70 ms
FILE_FIELD = "reference_audio"
# In a form all values are text; these are read as JSON. Every other field is a string.
JSON_KINDS = (bool, int, float, dict)
STRING_FIELDS = frozenset(
    "operation text language decode_mode voice_mode voice reference_audio reference_audio_url output_format"
    " audio_normalization delivery description".split()
)


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
    told = {"X-Seed": str(raw["seed"]), "X-Voice": await _voice(raw, jobs)}
    return {name: text for name, text in told.items() if text.isascii() and text.isprintable()}


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
        return _without_envelope(await json_object(await request.body(), "the body"))
    if kind in ("multipart/form-data", URLENCODED):
        return await _form_input(request)
    raise UnsupportedMediaType("send Content-Type: application/json, or a form as multipart/form-data")


def _without_envelope(given: dict[str, Any]) -> dict[str, Any]:
    """Raises: InvalidInput, for what the queue is sent."""
    if isinstance(given.get("input"), dict):
        raise InvalidInput('send what is inside "input": only the queue has it wrapped', [Fault("input", "is wrapped")])
    return given


def media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def _form_input(request: Request) -> dict[str, Any]:
    body = await request.body()  # the parser would leave files open where reading fails
    if body[:100].lstrip().startswith((b"{", b"[", b"%7B")):  # curl's -d says of whatever it sends that it is a form
        raise UnsupportedMediaType("the body is JSON: send Content-Type: application/json")
    if media_type(request) == URLENCODED and len(body) > MAX_URLENCODED_BYTES:
        raise BodyTooLarge(f"a form of this type may have {MAX_URLENCODED_BYTES} bytes: send multipart/form-data")
    try:
        async with request.form(max_files=1, max_fields=MAX_FORM_FIELDS, max_part_size=MAX_BODY_BYTES) as form:
            return await _fields(form)
    except MultiPartException as error:
        raise InvalidInput(f"the form can't be read: {error.message}") from None


async def _fields(form: FormData) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for name, value in form.multi_items():
        if name in given:
            raise InvalidInput.of(Fault(name, "is there twice", quoted=True))
        if not isinstance(value, UploadFile):
            given[name] = value if name in STRING_FIELDS else _from_json(value)
        elif name == FILE_FIELD:
            given[name] = base64.b64encode(await value.read()).decode("ascii")
        else:
            raise InvalidInput.of(Fault(name, "can't be a file", quoted=True))
    return given


def _from_json(text: str) -> object:
    """The value of a form's field; what is no number, boolean or object stays text, and is refused as such."""
    try:
        value = bounded_json(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, JSON_KINDS) else text
