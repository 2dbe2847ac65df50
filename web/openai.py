"""POST /v1/audio/speech, GET /v1/models and the lists beside it, in terms of the job contract.

https://platform.openai.com/docs/api-reference/audio/createSpeech, and what clients send besides. What is wrong is
refused; what has no meaning here is left out, and named.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

from starlette.requests import Request

from audio.encode import BY_EXTENSION, BY_MIME_TYPE
from validation.errors import Fault, InvalidInput, UnknownVoice
from validation.faults import type_faults, unknown_voice
from validation.fields import TtsFields
from web.answer import JobRequest
from web.jobs import Jobs
from web.response_encoders import FileEncoder, OpenAiEncoder, ignored_header, timed_reply
from web.tts_request import by_preference, json_body

FORMATS = ("mp3", "opus", "aac", "flac", "wav", "pcm")  # OpenAI's names, which are our file extensions
OTHER_FORMATS = {"ogg": "opus"}  # what clients say for them
PCM_HZ = 24_000  # what OpenAI's pcm is: 16 bit, little-endian, mono, without a header
VOICES = (
    "alloy ash ballad coral echo fable onyx nova sage shimmer verse marin cedar".split()  # OpenAI's own
)
MODELS = ("tts-1", "tts-1-hd", "gpt-4o-mini-tts")  # OpenAI's names, which clients have built in; all mean ours
MODEL_FAMILIES = tuple(f"{name}-" for name in MODELS)  # dated: tts-1-1106
CREATED = int(time.time())  # of every model: when this process began
DEFAULT = "default"
OTHER_IDS = "; OPENAI_VOICES maps other ids"
OURS = {"input": "text", "response_format": "output_format", "timestamps": "word_timestamps"}
EMPTY = frozenset({"model", "voice", "instructions"})  # "" is none, as clients send what was not configured
KNOWN = frozenset({*OURS, *TtsFields.model_fields, "model", "stream", "stream_format"})
TYPES = {"model": str, "instructions": str, "response_format": str, "stream": bool, "timestamps": bool}
Translate: TypeAlias = Callable[..., JobRequest]  # an OpenAI request, `own_format`
NOT_OURS = frozenset({"model", "voice", "response_format", "stream", "stream_format"})


class SpeechReader:
    """Reads requests to /v1/audio/speech."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    async def read(self, request: Request) -> JobRequest:
        """Raises: InvalidInput, UnknownVoice, UnsupportedMediaType, BodyTooLarge, TooSlow."""
        sent = await json_body(request)
        accept = by_preference(",".join(request.headers.getlist("accept")))
        own_format = next((BY_MIME_TYPE[kind] for kind in accept if kind in BY_MIME_TYPE), "")
        return (await self.translator())(sent, own_format=own_format)

    async def translator(self) -> Translate:
        """`openai_job` for this worker."""
        jobs, model = self._jobs, self._jobs.service.settings.tts_engine
        return partial(openai_job, model=model, voices=await jobs.voices(), mapped=jobs.mapped_voices)


def openai_job(
    sent: Mapping[str, Any], model: str, voices: Collection[str], mapped: Mapping[str, str], own_format: str
) -> JobRequest:
    """Translate a request. `model` is the loaded one, `voices` are the library's, `mapped` are names that stand for
    them, `own_format` is the format, by our name, if the body has none.

    Raises: InvalidInput, UnknownVoice.
    """
    given = {name: value for name, value in sent.items() if value is not None and (value != "" or name not in EMPTY)}
    if faults := [*_faults(given, (model, *MODELS))]:
        raise InvalidInput.of(*faults)
    raw = {OURS.get(name, name): value for name, value in given.items() if name in KNOWN - NOT_OURS}
    raw |= _format(given, own_format)
    if not raw.keys() & {"reference_audio", "reference_audio_url"}:  # a recording speaks instead of the voice
        asked = given.get("voice", DEFAULT)
        name = asked["id"] if isinstance(asked, dict) else asked
        raw |= voice_field(name, voices, mapped, VOICES, "; OpenAI's names are the default voice")
    headers = ignored_header([name for name in given if name not in KNOWN])
    if _is_timed(given):
        return JobRequest({"delivery": "inline"} | raw, None, headers, translated=True, joined=timed_reply)
    encoder = OpenAiEncoder() if given.get("stream_format") == "sse" else FileEncoder()
    return JobRequest(raw, encoder, headers, translated=True, sized=not _is_streamed(given))


def _is_timed(given: Mapping[str, Any]) -> bool:
    """Whether the answer is JSON: sound alone has no place for words."""
    return given.get("timestamps") is True or given.get("word_timestamps") is True or "captions" in given


def _is_streamed(given: Mapping[str, Any]) -> bool:
    """Whether a stream was asked for."""
    return given.get("stream") is True or "stream_format" in given


def _faults(given: Mapping[str, Any], models: tuple[str, ...]) -> Iterator[Fault]:
    if "input" not in given and "text" not in given:
        yield Fault("input", "is required")
    for theirs, ours in OURS.items():
        if theirs in given and ours in given:
            yield Fault(theirs, f"and {ours} are one: send one of them")
    if "operation" in given:
        yield Fault("operation", "is not a field here: /tts has operations")
    yield from type_faults(given, TYPES)
    if given.get("stream_format", "audio") not in ("audio", "sse"):
        yield Fault("stream_format", "must be audio or sse")
    yield from _voice_faults(given.get("voice", ""))
    yield from _model_faults(given.get("model"), models)
    if _is_timed(given) and _is_streamed(given):
        yield Fault("timestamps", "come with the whole file: leave out stream and stream_format")


def _voice_faults(voice: object) -> Iterator[Fault]:
    named = voice.get("id") if isinstance(voice, dict) and set(voice) == {"id"} else voice
    if not isinstance(named, str):
        yield Fault("voice", "must be a name, or an object with an id")


def _model_faults(model: object, models: tuple[str, ...]) -> Iterator[Fault]:
    """A name that is neither ours nor OpenAI's is another vendor's model, whose speech this is not."""
    if isinstance(model, str) and model not in models and not model.startswith(MODEL_FAMILIES):
        yield Fault("model", f"is not here; known: {', '.join(models)}")


def _format(given: Mapping[str, Any], own_format: str) -> dict[str, Any]:
    """Our fields for OpenAI's format. Raises: InvalidInput."""
    if "output_format" in given:
        return {}
    name = given.get("response_format", "")
    if not name and own_format:
        return {"output_format": own_format}
    name = OTHER_FORMATS.get(name, name) or "mp3"
    if name not in FORMATS:
        raise InvalidInput.of(Fault("response_format", f"must be one of {', '.join(FORMATS)}"))
    pcm = {"sample_rate": PCM_HZ} if name == "pcm" and "sample_rate" not in given else {}
    return {"output_format": BY_EXTENSION[name]} | pcm


def voice_field(
    asked: str, voices: Collection[str], mapped: Mapping[str, str], built_in: Collection[str], hint: str
) -> dict[str, str]:
    """Our field for a voice of another contract; none is the default voice, which also speaks for the names `built_in`
    its clients. Raises: UnknownVoice."""
    name = mapped.get(asked, asked)
    if name in voices and name != DEFAULT:
        return {"voice": name}
    if name == DEFAULT or name in built_in:
        return {}
    raise UnknownVoice.of(unknown_voice(repr(asked[:40]), dict.fromkeys([*mapped, DEFAULT, *voices]), hint))


def speaking_voice(
    asked: str, listed: Mapping[str, Any], mapped: Mapping[str, str], built_in: Collection[str]
) -> dict[str, Any]:
    """Of the reply of `voices`, the voice that speaks for one of another contract. Raises: UnknownVoice."""
    known: dict[str, dict[str, Any]] = {voice["name"]: voice for voice in listed["voices"]}
    return known[voice_field(asked, known, mapped, built_in, OTHER_IDS).get("voice", listed["default"])]


def openai_models(model: str, languages: Sequence[str]) -> dict[str, dict[str, Any]]:
    """OpenAI's description of each model, and what it speaks: ours under its own name and under OpenAI's."""
    common = {"object": "model", "created": CREATED, "owned_by": "chatterbox-worker", "languages": [*languages]}
    return {name: {"id": name} | common for name in (model, *MODELS)}


def openai_voices(voices: Iterable[str], mapped: Mapping[str, str]) -> list[dict[str, str]]:
    """Every name that a request may give as its voice: the library's, those that stand for them, OpenAI's."""
    return [{"id": name, "name": name} for name in dict.fromkeys([*voices, *mapped, *VOICES])]
