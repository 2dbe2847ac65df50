"""What /openapi.json says of each address: schemas and examples, so that it is complete and true.

Bodies are read by hand, strictly and with every fault at once, so FastAPI can't know them: they are told here. A test
runs every example, another asks at random whatever the schemas allow.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from audio.encode import ENCODERS
from validation.fields import TtsFields
from validation.voices import VoiceAddFields, VoiceDeleteFields
from web.openai import MODELS, OUR_FORMATS
from web.refusals import STATUSES

Json = dict[str, Any]
Answers = dict[int | str, dict[str, Any]]  # by status

STRING, NUMBER, INTEGER, BOOLEAN = ({"type": kind} for kind in ("string", "number", "integer", "boolean"))
TEXT = "Hello from the worker."


def _object(required: str, **properties: Json) -> Json:
    """An object that may hold more than it is described with."""
    return {"type": "object", "required": required.split(), "properties": properties}


ERROR = _object(
    "error error_code details retryable",
    error={"type": "string", "description": "Begins with the code."},
    error_code=STRING,
    details={"type": "array", "items": _object("field message", field=STRING, message=STRING)},
    retryable=BOOLEAN,
)
OPENAI_ERROR = _object(
    "error",
    error=_object(
        "message type param code",
        message=STRING,
        type=STRING,
        param={"type": ["string", "null"]},
        code={"type": ["string", "null"]},
    ),
)
VOICE = _object(
    "name language description reference_duration default source",
    name=STRING,
    language=STRING,
    description=STRING,
    reference_duration={"type": ["number", "null"]},
    default=BOOLEAN,
    source={"enum": ["built-in", "library"]},
)
VOICES = _object("default voices", default=STRING, voices={"type": "array", "items": VOICE})
MODEL = _object("id object created owned_by", id=STRING, object=STRING, created=INTEGER, owned_by=STRING)
MODEL_LIST = _object("object data", object={"const": "list"}, data={"type": "array", "items": MODEL})
INFO = _object(
    "operation engine model versions limits formats", operation={"const": "info"}, engine=STRING, model=STRING
)
REPLY = {"type": "object", "required": ["worker_version"], "description": "What the operation answers (docs/API.md)."}
EVENT = _object("data", event=STRING, data={"type": "string", "contentMediaType": "application/json"})
HEALTH = _object("status reason", status=STRING, reason=STRING)


def _fields(model: type[BaseModel]) -> Json:
    """A model's own schema. Absent and null are the same in the contract."""
    schema = model.model_json_schema()
    for name, own in schema["properties"].items():
        own.pop("title", None)
        if own.get("default", 0) is None:
            del own["default"]
        if name not in schema.get("required", []) and "anyOf" not in own:
            default = {"default": own.pop("default")} if "default" in own else {}
            schema["properties"][name] = {"anyOf": [own, {"type": "null"}]} | default
    return schema


def _bare(operation: str) -> Json:
    """Of an operation without fields."""
    return {
        "title": operation,
        "type": "object",
        "required": ["operation"],
        "properties": {"operation": {"const": operation}},
        "additionalProperties": False,
    }


JOB: Json = {
    "anyOf": [
        _fields(TtsFields),
        _bare("voices"),
        _fields(VoiceAddFields),
        _fields(VoiceDeleteFields),
        _bare("info"),
    ]
}
FORM: Json = {
    "type": "object",
    "required": ["text"],
    "properties": {
        "text": STRING,
        "reference_audio": {"type": "string", "format": "binary", "description": "The recording, as a file."},
    },
    "additionalProperties": True,
    "description": "The fields of the JSON body; numbers and booleans as JSON writes them, `pronunciations` as JSON.",
}
_OURS = {
    name: own
    for name, own in _fields(TtsFields)["properties"].items()
    if name not in ("operation", "text", "voice", "speed", "output_format")
}
SPEECH: Json = {
    "title": "CreateSpeech",
    "type": "object",
    "required": ["model", "input", "voice"],
    "properties": {
        "model": {"type": "string", "examples": [*MODELS], "description": "One that /v1/models lists."},
        "input": STRING,
        "voice": {"anyOf": [STRING, _object("id", id=STRING) | {"additionalProperties": False}]},
        "response_format": {"enum": [*OUR_FORMATS, None], "default": "mp3"},
        "speed": {"anyOf": [{"type": "number", "minimum": 0.5, "maximum": 2.0}, {"type": "null"}], "default": 1.0},
        "stream_format": {"enum": ["audio", "sse", None], "default": "audio"},
        "instructions": {"type": ["string", "null"], "description": "Not used; X-Ignored-Fields then says so."},
        **_OURS,
    },
    "additionalProperties": False,
}

JOB_EXAMPLES = {
    "speech": {"summary": "The shortest job", "value": {"text": TEXT}},
    "manner": {
        "summary": "How it is to sound",
        "value": {
            "text": TEXT,
            "speed": 1.2,
            "output_format": "mp3",
            "bitrate_kbps": 64,
            "audio_normalization": "lufs",
        },
    },
    "voices": {"summary": "What voices there are", "value": {"operation": "voices"}},
    "info": {"summary": "What this worker is", "value": {"operation": "info"}},
}
SPEECH_EXAMPLES = {
    "speech": {"summary": "A file", "value": {"model": "tts-1", "input": TEXT, "voice": "default"}},
    "events": {
        "summary": "Events, with fields of our own",
        "value": {
            "model": "tts-1",
            "input": TEXT,
            "voice": "default",
            "response_format": "pcm",
            "stream_format": "sse",
            "seed": 7,
        },
    },
}
FORM_EXAMPLES = {"form": {"summary": "A form", "value": {"text": TEXT, "speed": "1.1"}}}

ID_HEADER = {"X-Request-Id": {"schema": STRING, "description": "The client's own where it sent one, else made here."}}
RETRY_HEADER = {"Retry-After": {"schema": STRING, "description": "Seconds."}}
SOUND_HEADERS = {
    "X-Format": {"schema": STRING},
    "X-Sample-Rate": {"schema": STRING},
    "X-Seed": {"schema": STRING},
    "X-Voice": {"schema": STRING},
}


def body(examples: Mapping[str, Any], schema: Json, form: Json | None = None) -> Json:
    """For `openapi_extra`."""
    content: Json = {"application/json": {"schema": schema, "examples": dict(examples)}}
    if form:
        content["multipart/form-data"] = {"schema": form, "examples": FORM_EXAMPLES}
    return {"requestBody": {"required": True, "content": content}}


def answer(about: str, schema: Json, **headers: Json) -> Json:
    return {
        "description": about,
        "content": {"application/json": {"schema": schema}},
        "headers": ID_HEADER | headers,
    }


def speech_answers(reply: Json | None, error: Json, *, events: bool) -> Answers:
    """Of an address that speaks: the sound in every form, and every refusal."""
    sound: Json = {mime: {"schema": {"type": "string", "format": "binary"}} for mime in _mime_types()}
    sound |= {"text/event-stream": {"schema": EVENT}} if events else {}
    sound |= {"application/json": {"schema": reply}} if reply else {}
    told: Answers = {200: {"description": "The speech.", "content": sound, "headers": ID_HEADER | SOUND_HEADERS}}
    refusals = {*STATUSES.values(), 401, 403, 406, 408, 413, 415}
    told |= {status: answer(PHRASES[status], error) for status in sorted(refusals)}
    told[429] = answer(PHRASES[429], error, **RETRY_HEADER)
    return told


def _mime_types() -> list[str]:
    return sorted({own.mime_type for own in ENCODERS.values()})


PHRASES = {
    400: "The request is wrong; the message names every fault.",
    401: "An API key is needed.",
    403: "Another site's page asked.",
    404: "It is not here.",
    406: "None of the types in Accept can be had.",
    408: "The body did not arrive in time.",
    413: "The body is over 30 MB, or the reply would be too large.",
    415: "The body's type is not known.",
    422: "The recording can't be used, or this engine can't do what was asked.",
    429: "As many requests are being served as may be.",
    500: "A fault of the worker.",
    502: "The audio could not be uploaded.",
    503: "The model is loading, could not be loaded, or the worker is about to leave.",
    504: "The job took too long.",
}
