"""Requests and lists of Chatterbox-TTS-Server (https://github.com/devnen/Chatterbox-TTS-Server), in our terms.

Its speech has the address of ours, /tts: a body with a field that only its contract has is its. The answer is always
sound. A voice is named as a file, with or without the ending.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeGuard

from validation.errors import Fault, InvalidInput, UnknownVoice
from validation.faults import shown, type_faults, unknown_voice
from validation.fields import TtsFields
from validation.rules import is_other_language
from web.answer import JobRequest
from web.response_encoders import FileEncoder, ignored_header

ONLY_THEIRS = ("predefined_voice_id", "reference_audio_filename", "split_text", "speed_factor")
AS_OURS = ("text", "temperature", "exaggeration", "cfg_weight", "language", "output_format")
CARRIED_OUT = {*AS_OURS, "speed_factor", "seed", "voice_mode", "stream"}
ONLY_OURS = TtsFields.model_fields.keys() - CARRIED_OUT - {"chunk_size"}  # that one has another meaning: characters
LIMITS = {"temperature": (0.0, 0.1), "exaggeration": (3.0, 2.0)}  # theirs and ours; a value between them becomes ours
TYPES = {"predefined_voice_id": str, "reference_audio_filename": str, "split_text": bool, "stream": bool}
RANDOM_SEEDS = (0, -1)
DEFAULTS = ("default", "S1")  # the latter is what SillyTavern sends where the user chose no voice


def is_devnens(given: Mapping[str, Any]) -> bool:
    """Whether a body of /tts is Chatterbox-TTS-Server's."""
    return any(given.get(name) is not None for name in ONLY_THEIRS)


def devnen_job(sent: Mapping[str, Any], voices: Mapping[str, Sequence[str]]) -> JobRequest:
    """Raises: InvalidInput, UnknownVoice."""
    given = {name: value for name, value in sent.items() if value is not None}
    if faults := [*_faults(given)]:
        raise InvalidInput.of(*faults)
    raw = {name: given[name] for name in AS_OURS if name in given}
    raw |= {"speed": given["speed_factor"]} if "speed_factor" in given else {}
    if not _is_number(seed := given.get("seed", 0)) or seed not in RANDOM_SEEDS:
        raw["seed"] = seed
    ids = [name for name in _ids(given) if given.get(name)]  # the first is the voice
    raw |= _voice(ids[0], given[ids[0]], voices) if ids else {}
    ignored = [name for name in given if name not in CARRIED_OUT and name not in ids[:1]]
    for name, (theirs, ours) in LIMITS.items():
        if _is_number(value := given.get(name)) and min(theirs, ours) <= value <= max(theirs, ours) and value != ours:
            raw[name] = ours
            ignored.append(name)
    if "voice" in raw and is_other_language(raw.get("language"), voices[raw["voice"]]):
        del raw["language"]  # clients send the one of their menu, whichever the voice
        ignored.append("language")
    is_streamed = given.get("stream") is True
    return JobRequest(raw, FileEncoder(), ignored_header(ignored), translated=True, sized=not is_streamed)


def _faults(given: Mapping[str, Any]) -> Iterator[Fault]:
    if mixed := sorted(ONLY_OURS & given.keys()):
        theirs = next(name for name in ONLY_THEIRS if name in given)
        message = f"is a field of Chatterbox-TTS-Server's, and {mixed[0]} one of this worker's: send either's alone"
        yield Fault(theirs, message)
    yield from type_faults(given, TYPES)
    if not _is_number(given.get("chunk_size", 0)):
        yield Fault("chunk_size", "must be a number")
    if (mode := given.get("voice_mode", "predefined")) not in ("predefined", "clone"):
        yield Fault("voice_mode", "must be predefined or clone")
    elif mode == "clone" and "reference_audio_filename" not in given:
        yield Fault("reference_audio_filename", "is required when voice_mode is clone")


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _ids(given: Mapping[str, Any]) -> tuple[str, str]:
    """The two fields that name a voice, the one of this mode first."""
    own, other = "predefined_voice_id", "reference_audio_filename"
    return (other, own) if given.get("voice_mode") == "clone" else (own, other)


def _voice(field: str, asked: str, voices: Iterable[str]) -> dict[str, str]:
    """Our field for a voice's file; none for the default voice. Raises: UnknownVoice."""
    for name in (asked, asked.rpartition(".")[0]):
        if name in voices:
            return {"voice": name}
        if name in DEFAULTS:
            return {}
    raise UnknownVoice.of(replace(unknown_voice(shown(asked), voices), field=field))


# --- lists --------------------------------------------------------------------------------------------------------


def predefined_voices(voices: list[dict[str, Any]]) -> list[dict[str, str]]:
    return [{"display_name": voice["name"], "filename": _file(voice["name"])} for voice in voices]


def reference_files(voices: list[dict[str, Any]]) -> list[str]:
    """The library's voices alone: a built-in one has no recording."""
    return [_file(voice["name"]) for voice in voices if voice["source"] == "library"]


def initial_data(listed: Mapping[str, Any], engine: str, model: str) -> dict[str, Any]:
    """What its page loads first. Clients read the lists in it, or only whether it comes."""
    fields = ("temperature", "exaggeration", "cfg_weight")
    defaults: dict[str, Any] = {name: TtsFields.model_fields[name].default for name in fields}
    return {
        "config": {
            "tts_engine": {"default_voice_id": _file(listed["default"])},
            "generation_defaults": defaults | {"seed": 0, "speed_factor": 1.0, "language": "en"},
            "audio_output": {"format": "wav", "sample_rate": 24_000},
        },
        "reference_files": reference_files(listed["voices"]),
        "predefined_voices": predefined_voices(listed["voices"]),
        "presets": [],
        "initial_gen_result": {"outputUrl": None, "filename": None, "genTime": None},
        "model_info": {"loaded": True, "type": engine, "class_name": model},
    }


def _file(name: str) -> str:
    return f"{name}.wav"
