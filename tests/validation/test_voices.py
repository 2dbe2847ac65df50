"""The requests of the voice library: every fault at once, and no name that could be anything but a name."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from validation.errors import InvalidInput, ReferenceAudioError, RequestError, UnknownVoice, Unsupported
from validation.faults import refuse_fields
from validation.voices import MAX_LINE_CHARS, LibraryCapabilities, VoiceAdd, parse_voice_add, parse_voice_delete

CLIP = base64.b64encode(b"a recording").decode()
CAPABILITIES = LibraryCapabilities(
    voices=("default", "hans", "anna", "Björn"),
    built_in=("default", "hans"),
    default_voice="anna",
    languages=("en", "de"),
    max_reference_bytes=1000,
)


def add(**given: Any) -> VoiceAdd:
    asked = {"operation": "voice_add", "voice": "carl", "reference_audio": CLIP} | given
    return parse_voice_add({name: value for name, value in asked.items() if value is not None}, CAPABILITIES)


def refused(error: type[RequestError], **given: Any) -> str:
    with pytest.raises(error) as caught:
        add(**given)
    assert type(caught.value) is error
    return str(caught.value.args[0])


# --- voice_add ----------------------------------------------------------------------------------------------


def test_the_least_request_has_the_defaults() -> None:
    assert add() == VoiceAdd("carl", b"a recording", None, "en", "", "", False, 30.0)


def test_every_field_is_taken() -> None:
    asked = add(
        voice="anna",
        reference_audio=None,
        reference_audio_url="https://example.com/a.wav",
        language="de-AT",
        description="  Größe & „Wärme“ 🎙  ",
        consent=" In writing, 1 May. ",
        replace=True,
        max_reference_duration_sec=60,
    )
    lines = "Größe & „Wärme“ 🎙", "In writing, 1 May."
    assert asked == VoiceAdd("anna", None, "https://example.com/a.wav", "de-AT", *lines, True, 60.0)


@pytest.mark.parametrize("name", ["a", "7", "A-b_c", "x" * 64, "default2", "Clones"])
def test_a_plain_name_is_taken(name: str) -> None:
    assert add(voice=name).voice == name


@pytest.mark.parametrize(
    "name",
    [
        *("", " ", ".", "..", "../carl", "/etc/passwd", "a/b", "a\\b", "C:", "carl.wav", ".carl", "-carl", "_carl"),
        *("carl ", "carl\n", "carl\0", "x" * 65, "Jörg", "ａ", "a*", "a%2e", "a:b", "~root", "$HOME", "é"),
    ],
)
def test_no_other_name_is(name: str) -> None:
    assert refused(InvalidInput, voice=name).startswith("voice must be 1 to 64 of A-Z, a-z, 0-9, _ and -")


@pytest.mark.parametrize("name", ["default", "hans", "Default", "HANS", "clone", "Clone"])
@pytest.mark.parametrize("replace", [True, False])
def test_the_engines_own_names_are_not_free(name: str, replace: bool) -> None:
    assert "is not free" in refused(InvalidInput, voice=name, replace=replace)


def test_a_name_that_is_there_needs_replace() -> None:
    assert refused(InvalidInput, voice="anna") == (
        'voice "anna" is there already: send replace true to put this one in its place'
    )
    assert add(voice="anna", replace=True).replace is True


def test_a_recording_comes_in_one_of_two_ways() -> None:
    assert refused(InvalidInput, reference_audio=None) == "reference_audio is required (or reference_audio_url)"
    assert "can't go with reference_audio" in refused(InvalidInput, reference_audio_url="https://example.com/a.wav")
    assert "must be an address" in refused(InvalidInput, reference_audio=None, reference_audio_url="file:///etc/passwd")
    assert "at most 1000 are taken" in refused(ReferenceAudioError, reference_audio="A" * 2000)
    assert refused(ReferenceAudioError, reference_audio="?") == "reference_audio is not base64"
    assert refused(ReferenceAudioError, reference_audio="") == "reference_audio is empty"


def test_only_a_language_that_a_recording_is_spoken_in() -> None:
    assert refused(Unsupported, language="fr") == "language fr is not spoken with a recording's voice; spoken: en, de"
    assert "must be a BCP-47 tag" in refused(InvalidInput, language="english!")


each_line = pytest.mark.parametrize("name", ["description", "consent"])


@each_line
@pytest.mark.parametrize("text", ["two\nlines", "a\0b", "\x1b[31mred", "a\x85b"])
def test_description_and_consent_are_one_line_of_text(name: str, text: str) -> None:
    assert f"{name} holds a control character" in refused(InvalidInput, **{name: text})


@each_line
def test_description_and_consent_have_their_length(name: str) -> None:
    assert len(getattr(add(**{name: "ü" * MAX_LINE_CHARS}), name)) == MAX_LINE_CHARS
    assert refused(InvalidInput, **{name: "x" * 501}) == f"{name} must be at most 500 characters (got 501)"
    assert "lone surrogate" in refused(InvalidInput, **{name: "\ud800"})
    assert refused(InvalidInput, **{name: True}) == f"{name} must be a string (got true)"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"voice": None}, "voice is required"),
        ({"voice": 5}, "voice must be a string (got 5)"),
        ({"replace": "yes"}, 'replace must be true or false (got "yes")'),
        ({"replace": 1}, "replace must be true or false (got 1)"),
        ({"reference_audio": 5}, "reference_audio must be a string (got 5)"),
        ({"language": ["en"]}, "language must be a string (got a JSON array)"),
        ({"max_reference_duration_sec": 0.5}, "max_reference_duration_sec must be at least 1.0 (got 0.5)"),
        ({"max_reference_duration_sec": 61}, "max_reference_duration_sec must be at most 60.0 (got 61)"),
        ({"max_reference_duration_sec": float("nan")}, "max_reference_duration_sec must be a finite number (got nan)"),
        ({"name": "carl"}, "`name` is not a field"),
        ({"replac": True}, "`replac` is not a field; did you mean `replace`?"),
        ({"text": "Hi."}, "`text` is not a field"),
    ],
)
def test_types_are_strict_and_unknown_fields_are_refused(given: dict[str, Any], message: str) -> None:
    assert refused(InvalidInput, **given) == message


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(InvalidInput) as caught:
        add(voice="../x", reference_audio="?", language="fr", description="a\nb", consent="\0", replace=0, txet=1)
    assert [fault.field for fault in caught.value.faults] == [
        *("replace", "txet", "voice", "reference_audio", "language", "description", "consent")
    ]


# --- voice_delete, voices -------------------------------------------------------------------------------------


def delete(name: Any, **more: Any) -> str:
    return parse_voice_delete({"operation": "voice_delete", "voice": name} | more, CAPABILITIES)


def test_a_voice_of_the_library_can_be_deleted() -> None:
    assert delete("Björn") == "Björn"  # placed by hand: any name that is listed


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("default", InvalidInput, "voice \"default\" is the engine's own and can't be deleted"),
        ("anna", InvalidInput, 'voice "anna" is the default voice and can\'t be deleted'),
        ("nobody", UnknownVoice, 'voice "nobody" is not a voice of the library; known: anna, Björn'),
        ("../anna", UnknownVoice, 'voice "../anna" is not a voice of the library; known: anna, Björn'),
        (5, InvalidInput, "voice must be a string (got 5)"),
    ],
)
def test_no_other_can(name: Any, error: type[RequestError], message: str) -> None:
    with pytest.raises(error) as caught:
        delete(name)
    assert caught.value.args[0] == message


def test_unknown_fields_are_refused_everywhere() -> None:
    for parse in (lambda: delete("Björn", replace=True), lambda: refuse_fields({"operation": "voices", "voice": "a"})):
        with pytest.raises(InvalidInput, match=r"^INVALID_INPUT: `(replace|voice)` is not a field$"):
            parse()
    refuse_fields({"operation": "voices"})
