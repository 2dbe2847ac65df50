"""POST /v1/audio/speech and GET /v1/models as OpenAI documents them, in terms of the job contract.

https://platform.openai.com/docs/api-reference/audio/createSpeech. Values are checked by the contract, except where
OpenAI's range is wider.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request

from audio.encode import BY_EXTENSION
from validation.errors import Fault, InvalidInput, UnknownVoice, WorkerError
from validation.faults import unknown_voice
from web.answer import JobRequest
from web.jobs import Jobs
from web.objects import json_object
from web.refusals import UnsupportedMediaType
from web.response_encoders import FileEncoder, OpenAiEncoder
from web.tts_request import media_type

FORMATS = ("mp3", "opus", "aac", "flac", "wav", "pcm")  # OpenAI's names, which are our file extensions
PCM_HZ = 24_000  # what OpenAI's pcm is: 16 bit, little-endian, mono, without a header
VOICES = (
    "alloy ash ballad coral echo fable onyx nova sage shimmer verse marin cedar".split()  # OpenAI's own
)
MODELS = ("tts-1", "tts-1-hd", "gpt-4o-mini-tts")  # OpenAI's names, which clients have built in; all mean ours
DEFAULT = "default"
OURS = {"input": "text", "response_format": "output_format"}
IGNORED = "X-Ignored-Fields"


class SpeechReader:
    """Reads requests to /v1/audio/speech. `voices` maps OpenAI's names, or any other, to the library's."""

    def __init__(self, jobs: Jobs, model: str, voices: Mapping[str, str]) -> None:
        self._jobs, self._models, self._voices = jobs, (model, *MODELS), voices

    async def read(self, request: Request) -> JobRequest:
        """Raises: InvalidInput, UnknownVoice, UnsupportedMediaType, BodyTooLarge, TooSlow."""
        if media_type(request) != "application/json":
            raise UnsupportedMediaType("send Content-Type: application/json")
        sent = await json_object(await request.body(), "the body", request.state.input)
        given = {name: value for name, value in sent.items() if value is not None}
        faults = [*_faults(given), *self._model_faults(given)]
        if faults:
            raise InvalidInput.of(*faults)
        raw = {OURS.get(name, name): value for name, value in given.items() if name not in NOT_OURS}
        raw |= _format(given)
        await self._name_voice(raw, given["voice"])
        headers = {IGNORED: "instructions"} if given.get("instructions") else {}
        encoder = OpenAiEncoder() if given.get("stream_format") == "sse" else FileEncoder()
        return JobRequest(raw, encoder, headers)

    def _model_faults(self, given: Mapping[str, Any]) -> list[Fault]:
        model = given.get("model")
        if not isinstance(model, str) or model in self._models:
            return []
        return [Fault("model", f"is not here; known: {', '.join(self._models)}")]

    async def _name_voice(self, raw: dict[str, Any], voice: str | dict[str, Any]) -> None:
        """Puts the library's name into `raw`; a recording beside it speaks instead of it."""
        asked = voice["id"] if isinstance(voice, dict) else voice
        del raw["voice"]
        if "reference_audio" in raw or "reference_audio_url" in raw or asked == DEFAULT:
            return
        name = self._voices.get(asked, asked)
        if name == DEFAULT:
            return
        if name not in (known := await self._jobs.voices()):
            raise _unknown(asked, [*self._voices, DEFAULT, *known])
        raw["voice"] = name


NOT_OURS = frozenset({"model", "response_format", "stream_format", "instructions"})


def _unknown(asked: str, known: list[str]) -> WorkerError:
    hint = "; OPENAI_VOICES maps OpenAI's names" if asked in VOICES else ""
    return UnknownVoice.of(unknown_voice(repr(asked[:40]), dict.fromkeys(known), hint))


def _faults(given: Mapping[str, Any]) -> list[Fault]:
    faults = [Fault(name, "is required") for name in ("model", "voice") if name not in given]
    if "input" not in given and "text" not in given:
        faults.append(Fault("input", "is required"))
    faults += [
        Fault(theirs, f"and {ours} are one: send one of them")
        for theirs, ours in OURS.items()
        if theirs in given and ours in given
    ]
    if "operation" in given:
        faults.append(Fault("operation", "is not a field here: /tts has operations"))
    for name in ("model", "instructions", "response_format"):
        if name in given and not isinstance(given[name], str):
            faults.append(Fault(name, "must be a string"))
    if given.get("stream_format", "audio") not in ("audio", "sse"):
        faults.append(Fault("stream_format", "must be audio or sse"))
    return [*faults, *_voice_faults(given.get("voice", "")), *_speed_faults(given.get("speed", 1.0))]


def _voice_faults(voice: object) -> list[Fault]:
    named = voice.get("id") if isinstance(voice, dict) and set(voice) == {"id"} else voice
    return [] if isinstance(named, str) else [Fault("voice", "must be a name, or an object with an id")]


def _speed_faults(speed: object) -> list[Fault]:
    """OpenAI accepts 0.25 to 4. A value that is no number is refused by the contract."""
    if isinstance(speed, int | float) and not isinstance(speed, bool) and not 0.5 <= speed <= 2.0:
        shown = f"{speed:g}" if isinstance(speed, float) else str(speed)[:20]
        return [Fault("speed", f"must be 0.5 to 2 here, not OpenAI's 0.25 to 4 (got {shown})")]
    return []


def _format(given: Mapping[str, Any]) -> dict[str, Any]:
    """Our fields for OpenAI's format. Raises: InvalidInput."""
    if "output_format" in given:
        return {}
    name = given.get("response_format", "mp3")
    if name in FORMATS:
        pcm = {"sample_rate": PCM_HZ} if name == "pcm" and "sample_rate" not in given else {}
        return {"output_format": BY_EXTENSION[name]} | pcm
    raise InvalidInput.of(Fault("response_format", f"must be one of {', '.join(FORMATS)}"))


def models(model: str, created: int) -> dict[str, dict[str, Any]]:
    """OpenAI's description of each model: ours under its own name and under OpenAI's."""
    common = {"object": "model", "created": created, "owned_by": "chatterbox-worker"}
    return {name: {"id": name} | common for name in (model, *MODELS)}
