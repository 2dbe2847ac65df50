"""The schemas and examples of /openapi.json.

FastAPI can't derive them: our own readers parse the bodies, to report every fault at once. A test runs each example,
another sends random requests that the schemas allow.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import BaseModel

from audio.encode import ENCODERS
from service.json_events import base64_text
from validation.convert import ConvertFields
from validation.fields import MAX_INPUTS, TranslatedFields, TtsFields
from validation.voices import VoiceAddFields, VoiceDeleteFields
from web.openai import FORMATS, MODELS, OTHER_FORMATS
from web.refusals import STATUSES

Json = dict[str, Any]
Answers = dict[int | str, dict[str, Any]]  # by status

STRING, INTEGER, BOOLEAN = ({"type": kind} for kind in ("string", "integer", "boolean"))
NULLABLE_STRING: Json = {"type": ["string", "null"]}
TEXT = "Hello from the worker."


def _object(required: str = "", **properties: Json) -> Json:
    """An object, which may have further properties. Those that `required` names are required; all, if it is empty."""
    return {"type": "object", "required": required.split() or [*properties], "properties": properties}


def _list(items: Json) -> Json:
    return {"type": "array", "items": items}


ERROR = _object(
    error={"type": "string", "description": "Begins with the code."},
    error_code=STRING,
    details=_list(_object(field=STRING, message=STRING)),
    retryable=BOOLEAN,
)
OPENAI_ERROR = _object(error=_object(message=STRING, type=STRING, param=NULLABLE_STRING, code=NULLABLE_STRING))
VOICE = _object(
    "name language description reference_duration default source",
    name=STRING,
    language=STRING,
    description=STRING,
    reference_duration={"type": ["number", "null"]},
    default=BOOLEAN,
    source={"enum": ["built-in", "library"]},
    consent=STRING,
)
VOICES = _object(default=STRING, voices=_list(VOICE))
STRINGS = _list(STRING)
MODEL = _object(id=STRING, object=STRING, created=INTEGER, owned_by=STRING, languages=STRINGS)
MODEL_LIST = _object(object={"const": "list"}, data=_list(MODEL))
IDS = _object(models=_list(_object(id=STRING, languages=STRINGS)))
VOICE_IDS = _object(voices=_list(_object(id=STRING, name=STRING)))
ROOT = _object(name=STRING, version=STRING, models=STRINGS)
FILES = _list(_object(display_name=STRING, filename=STRING))
INITIAL = _object("config reference_files predefined_voices", reference_files=STRINGS, predefined_voices=FILES)
WORD = _object(text=STRING, start={"type": "number"}, end={"type": "number"})
TIMED = _object("format sample_rate duration_seconds", audio=STRING, format=STRING, words=_list(WORD))
INFO = _object(
    "operation engine model versions limits formats", operation={"const": "info"}, engine=STRING, model=STRING
)
REPLY = {"type": "object", "required": ["worker_version"], "description": "What the operation answers (docs/API.md)."}
EVENT = _object("data", event=STRING, data={"type": "string", "contentMediaType": "application/json"})
HEALTH = _object(status=STRING, reason=STRING)


def _fields(model: type[BaseModel]) -> Json:
    """A model's schema, where null is allowed for every optional field: the API treats it as absent."""
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
    """The schema of an operation without fields."""
    return {"title": operation} | _object(operation={"const": operation}) | {"additionalProperties": False}


_TTS, _ADD, _DELETE = _fields(TtsFields), _fields(VoiceAddFields), _fields(VoiceDeleteFields)
CONVERT: Json = _fields(ConvertFields)
_INPUTS: Json = {"type": "array", "minItems": 1, "maxItems": MAX_INPUTS, "items": {}}
_BATCH = _bare("batch") | {"required": ["operation", "inputs"]}
_BATCH["properties"] |= {
    "inputs": _INPUTS | {"description": "Each is a job of `tts`; what is wrong with one is its own."}
}
JOB: Json = {
    "anyOf": [_TTS, CONVERT | {"required": ["operation"]}, _BATCH, _bare("voices"), _ADD, _DELETE, _bare("info")]
}
_FILE: Json = {"type": "string", "format": "binary"}
FORM: Json = _object("text", text=STRING, reference_audio=_FILE | {"description": "The recording, as a file."}) | {
    "additionalProperties": True,
    "description": "The fields of the JSON body; numbers and booleans as JSON writes them, `pronunciations` as JSON.",
}
CONVERT_FORM: Json = {
    "type": "object",
    "properties": {
        "source_audio": _FILE | {"description": "The recording to convert, as a file."},
        "reference_audio": _FILE | {"description": "A recording of the voice, as a file."},
    },
    "additionalProperties": True,
    "description": "The fields of the JSON body, as in a form of /tts.",
}
_NAMED_BY_OPENAI = ("operation", "text", "voice", "speed", "output_format", "word_timestamps")
_TRANSLATED = _fields(TranslatedFields)["properties"]
_OURS = {name: own for name, own in _TRANSLATED.items() if name not in _NAMED_BY_OPENAI}
_FLAG: Json = {"type": ["boolean", "null"]}
SPEECH: Json = {
    "title": "CreateSpeech",
    **_object(
        "input",
        model=NULLABLE_STRING | {"examples": [*MODELS], "description": "One that /v1/models lists."},
        input=STRING,
        voice={"anyOf": [NULLABLE_STRING, _object(id=STRING) | {"additionalProperties": False}]},
        response_format={"enum": [*FORMATS, *OTHER_FORMATS, None], "default": "mp3"},
        speed=_TRANSLATED["speed"],
        stream_format={"enum": ["audio", "sse", None], "default": "audio"},
        stream=_FLAG | {"description": "A WAV is streamed, too; without, its header has its length."},
        timestamps=_FLAG | {"description": "The answer is JSON: the file, and the times of its words."},
        instructions=NULLABLE_STRING | {"description": "Not used; X-Ignored-Fields then says so."},
        **_OURS,
    ),
    "additionalProperties": True,
    "description": "An unknown field has no effect; X-Ignored-Fields names it.",
}

SPEECH_BATCH: Json = {
    "title": "CreateSpeechBatch",
    **_object(items=_INPUTS | {"description": "Each has CreateSpeech's fields; an error is its own."}),
    "additionalProperties": True,
    "description": "Fields beside `items` are each item's, unless it has its own.",
}
_RESULT = _object(index=INTEGER, status={"enum": ["success", "error"]})
BATCH_RESULTS = _object("id results total succeeded failed", id=STRING, results=_list(_RESULT), total=INTEGER)


def _example(summary: str, value: Json) -> Json:
    return {"summary": summary, "value": value}


_SOUND = {"speed": 1.2, "output_format": "mp3", "bitrate_kbps": 64, "audio_normalization": "lufs"}
JOB_EXAMPLES = {
    "speech": _example("The shortest job", {"text": TEXT}),
    "manner": _example("How it is to sound", {"text": TEXT, **_SOUND}),
    "batch": _example("Two jobs in one", {"operation": "batch", "inputs": [{"text": TEXT}, {"text": "Two."}]}),
    "voices": _example("What voices there are", {"operation": "voices"}),
    "info": _example("What this worker is", {"operation": "info"}),
}
_SPEECH = {"model": "tts-1", "input": TEXT, "voice": "default"}
_EVENTS = _SPEECH | {"response_format": "pcm", "stream_format": "sse", "seed": 7}
SPEECH_EXAMPLES = {
    "speech": _example("A file", _SPEECH),
    "events": _example("Events, with fields of our own", _EVENTS),
}
BATCH_EXAMPLES = {"batch": _example("Two files", {"items": [{"input": TEXT}, {"input": "Two."}]})}
FORM_EXAMPLES = {"form": _example("A form", {"text": TEXT, "speed": "1.1"})}


def _hum() -> str:
    """A file of half a second, in base64."""
    encoder = ENCODERS["opus"].encoder(8000, joined=True, bitrate_kbps=6, comment="")
    hum = 0.3 * np.sin(np.arange(4000) / 5).astype(np.float32)
    return base64_text(encoder.seal(encoder.push(hum) + encoder.flush()))


CONVERT_EXAMPLES = {"take": _example("Half a second of a hum", {"source_audio": _hum()})}

ID_HEADER = {"X-Request-Id": {"schema": STRING, "description": "The client's own where it sent one, else made here."}}
RETRY_HEADER = {"Retry-After": {"schema": STRING, "description": "Seconds."}}
SOUND_HEADERS = {
    name: {"schema": STRING} for name in ("X-Format", "X-Sample-Rate", "X-Seed", "X-Voice", "X-Ignored-Fields")
}


def body(
    examples: Mapping[str, Any], schema: Json, form: Json | None = None, form_examples: Json | None = None
) -> Json:
    """For `openapi_extra`."""
    content: Json = {"application/json": {"schema": schema, "examples": dict(examples)}}
    if form:
        content["multipart/form-data"] = {"schema": form, "examples": form_examples or dict(examples)}
    return {"requestBody": {"required": True, "content": content}}


def answer(about: str, schema: Json, **headers: Json) -> Json:
    content = {"application/json": {"schema": schema}}
    return {"description": about, "content": content, "headers": ID_HEADER | headers}


def speech_answers(reply: Json, error: Json) -> Answers:
    """The responses of an address that speaks: the sound in every form, and every error."""
    mime_types = sorted({encoder.mime_type for encoder in ENCODERS.values()})
    sound: Json = {mime: {"schema": {"type": "string", "format": "binary"}} for mime in mime_types}
    sound |= {"text/event-stream": {"schema": EVENT}, "application/json": {"schema": reply}}
    spoken: Answers = {200: {"description": "The speech.", "content": sound, "headers": ID_HEADER | SOUND_HEADERS}}
    return job_answers("", reply, error) | spoken


def job_answers(about: str, reply: Json, error: Json) -> Answers:
    """The responses of an address that answers a job by JSON, and every error."""
    answers: Answers = {200: answer(about, reply)}
    statuses = {*STATUSES.values(), 401, 403, 406, 408, 413, 415}
    answers |= {status: answer(PHRASES[status], error) for status in sorted(statuses)}
    answers[429] = answer(PHRASES[429], error, **RETRY_HEADER)
    return answers


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
