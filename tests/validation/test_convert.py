"""The `convert` request: every fault at once, and nothing of `tts` that a take has no use for."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from typing import Any

import pytest

from tests.fuzz import asking
from validation.convert import AS_OF_TTS, OLD_NAMES, ConvertFields, ConvertRequest, parse_convert
from validation.errors import InvalidInput, ReferenceAudioError, RequestError, UnknownVoice, Unsupported
from validation.fields import TtsFields
from validation.options import OutputOptions, SoundOptions
from validation.request import DEFAULT_SAMPLING
from validation.rules import Capabilities, FormatCapabilities

TAKE = base64.b64encode(b"a take").decode()
VOICE = base64.b64encode(b"a voice").decode()
FORMATS = {"wav": FormatCapabilities(24_000, {}), "mp3": FormatCapabilities(24_000, {24_000: (32, 64)})}
CAPABILITIES = replace(
    asking.CAPABILITIES, formats=FORMATS, max_reference_bytes=1000, max_source_bytes=2000, max_source_s=600.0
)


def convert(capabilities: Capabilities = CAPABILITIES, **given: Any) -> ConvertRequest:
    asked = {"operation": "convert", "source_audio": TAKE} | given
    return parse_convert({name: value for name, value in asked.items() if value is not None}, capabilities)


def refused(error: type[RequestError], capabilities: Capabilities = CAPABILITIES, **given: Any) -> str:
    with pytest.raises(error) as caught:
        convert(capabilities, **given)
    assert type(caught.value) is error
    return "; ".join(map(str, caught.value.faults))


def test_the_least_request_has_the_defaults() -> None:
    asked = convert(seed=7)
    assert (asked.source, asked.source_url, asked.max_source_duration_s) == (b"a take", None, 600.0)
    assert (asked.voice, asked.reference, asked.max_reference_duration_s) == ("default", None, 30.0)
    assert asked.sampling == replace(DEFAULT_SAMPLING, seed=7, decode_mode="full")
    assert asked.sound == SoundOptions(fade_s=0.02, speed=1.0, trim_silence=False)
    assert asked.output == OutputOptions("wav", 24_000, None, None, "auto", print_metrics=True)
    assert asked.parameters == {
        **{name: TtsFields.model_fields[name].default for name in AS_OF_TTS if not name.startswith("reference")},
        "voice": "default",
        "voice_mode": "predefined",
        "seed": 7,
        "decode_mode": "full",
        "sample_rate": 24_000,
        "max_source_duration_sec": 600.0,
    }


def test_every_field_is_taken() -> None:
    asked = convert(
        source_audio=None,
        source_audio_url="https://example.com/a.wav",
        max_source_duration_sec=5,
        reference_audio=VOICE,
        voice_mode="clone",
        max_reference_duration_sec=9.5,
        seed=2,
        decode_mode="window",
        chunk_size=50,
        context_window=10,
        speed=1.5,
        fade_duration=0.0,
        output_format="mp3",
        sample_rate=24_000,
        bitrate_kbps=64,
        audio_normalization="lufs",
        delivery="inline",
        print_metrics=False,
    )
    assert (asked.source, asked.source_url) == (None, "https://example.com/a.wav")
    assert (asked.max_source_duration_s, asked.max_reference_duration_s) == (5.0, 9.5)
    assert (asked.voice, asked.reference, asked.parameters["voice"]) == ("", b"a voice", "clone")
    how = {"seed": 2, "decode_mode": "window", "chunk_size_tokens": 50, "context_window_tokens": 10}
    assert asked.sampling == replace(DEFAULT_SAMPLING, **how)  # type: ignore[arg-type]
    assert asked.sound == SoundOptions(0.0, 1.5, trim_silence=False)
    assert asked.output == OutputOptions("mp3", 24_000, 64, "lufs", "inline", print_metrics=False)


def test_a_stream_is_decoded_chunk_by_chunk_and_each_random_seed_is_another() -> None:
    streaming = replace(CAPABILITIES, streaming=True)
    assert convert(streaming).sampling.decode_mode == "window"
    assert convert().sampling.seed != convert().sampling.seed


def test_a_shared_field_has_the_rules_of_tts() -> None:
    for name in AS_OF_TTS:
        own, shared = ConvertFields.model_fields[name], TtsFields.model_fields[name]
        assert (own.annotation, own.metadata, own.default) == (shared.annotation, shared.metadata, shared.default)


NO_FIELDS = (
    "text exaggeration cfg_weight cfg temperature top_p top_k min_p repetition_penalty language normalize_text"
    " pronunciations sentence_pause_ms paragraph_pause_ms trim_silence word_timestamps captions".split()
)


def test_every_field_of_tts_is_taken_or_refused() -> None:
    assert AS_OF_TTS | {*NO_FIELDS} == TtsFields.model_fields.keys() - {"operation"}


@pytest.mark.parametrize("name", NO_FIELDS)
def test_what_has_no_meaning_here_is_no_field(name: str) -> None:
    assert f"`{name}` is not a field" in refused(InvalidInput, **{name: TtsFields.model_fields[name].default or "x"})


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"source_audio": None}, InvalidInput, "source_audio is required (or source_audio_url)"),
        ({"source_audio": 5}, InvalidInput, "source_audio must be a string (got 5)"),
        ({"source_audio": ""}, ReferenceAudioError, "source_audio is empty"),
        ({"source_audio": "%%%"}, ReferenceAudioError, "source_audio is not base64"),
        ({"source_audio": "AAAA" * 1000}, ReferenceAudioError, "is about 3000 bytes; at most 2000 are taken"),
        ({"source_audio_url": "https://a.b/c"}, InvalidInput, "source_audio_url can't go with source_audio"),
        ({"source_audio": None, "source_audio_url": "ftp://a"}, InvalidInput, "must be an address that begins with"),
        ({"max_source_duration_sec": 600.5}, InvalidInput, "max_source_duration_sec must be at most 600 (got 600.5)"),
        ({"max_source_duration_sec": 0.5}, InvalidInput, "max_source_duration_sec must be at least 1"),
        ({"max_source_duration_sec": float("nan")}, InvalidInput, "max_source_duration_sec must be a finite number"),
        ({"voice": "nobody"}, UnknownVoice, 'voice "nobody" is not a voice here; known: default, hans'),
        ({"voice": "hans", "reference_audio": VOICE}, InvalidInput, "can't go with a clone"),
        ({"reference_audio": "AAAA" * 500}, ReferenceAudioError, "reference_audio is about 1500 bytes"),
        ({"decode_mode": "block"}, Unsupported, "decode_mode block is not possible with this engine"),
        ({"output_format": "mp3", "bitrate_kbps": 48}, InvalidInput, "bitrate_kbps must be one of 32, 64 for mp3"),
        ({"delivery": "url"}, Unsupported, "url needs a bucket"),
        ({"text": "Hello."}, InvalidInput, "`text` is not a field"),
        ({"operation": "tts"}, InvalidInput, "operation must be 'convert'"),
    ],
)
def test_what_is_wrong_is_said(given: dict[str, Any], error: type[RequestError], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)) as caught:
        convert(**given)
    assert (type(caught.value), len(caught.value.faults)) == (error, 1)


def test_all_faults_are_told_at_once() -> None:
    said = refused(InvalidInput, source_audio=None, voice="nobody", speed=9, txt="a")
    assert [name in said for name in ("source_audio", "nobody", "speed", "`txt`")] == [True] * 4


@pytest.mark.parametrize(("old", "today"), OLD_NAMES.items())
def test_old_names_are_todays(old: str, today: str) -> None:
    value = 9.5 if today.startswith("max") else TAKE
    sent = {"source_audio": None if today == "source_audio" else TAKE, "seed": 1}
    asked, plain = convert(**sent | {old: value}), convert(**sent | {today: value})
    assert replace(asked, warnings=()) == plain
    assert asked.warnings == (f"{old} is called {today} today",)
    assert f"{old} is called {today} today: send one" in refused(InvalidInput, **sent | {old: value, today: value})


def test_old_operations_and_names_of_a_voice_are_todays() -> None:
    asked = convert(operation="voice_transfer", voice_id="hans", seed=1)
    assert replace(asked, warnings=(), given=frozenset()) == replace(convert(voice="hans", seed=1), given=frozenset())
    assert asked.warnings == ("operation voice_transfer is called convert today", "voice_id is called voice today")


def test_an_engine_that_clones_nothing_converts_to_its_own_voices() -> None:
    own = replace(CAPABILITIES, clone_languages=None)
    assert convert(own, voice="hans").voice == "hans"
    assert "asks for a clone" in refused(Unsupported, own, reference_audio=VOICE)
