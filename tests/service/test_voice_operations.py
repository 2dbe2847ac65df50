"""The voice library through jobs: voices are listed, added, spoken with and deleted, or refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeEngine, as_base64, both_ways, fake_service, pitch_hz, recording, refused, reply_of, spoken
from loopback import Handler, served

from audio.reference import decode_reference
from service import __version__
from service.app import Service


@pytest.fixture
def library(tmp_path: Path) -> Path:
    folder = tmp_path / "voices"
    folder.mkdir()
    return folder


def service_of(library: Path | None, engine: FakeEngine | None = None, **settings: Any) -> Service:
    return fake_service(engine, library, **({"allow_voice_writes": True} | settings))


def addition(tone_hz: float = 500.0, **given: Any) -> dict[str, Any]:
    clip = as_base64(recording(tone_hz))
    return {"operation": "voice_add", "voice": "anna", "reference_audio": clip} | given


def spoken_pitch_hz(service: Service, voice: str) -> float:
    file, _ = spoken(service, {"text": "Hello there, how are you?", "voice": voice})
    decoded = decode_reference(file, 30.0)
    return pitch_hz(decoded.samples, decoded.sample_rate)


# --- voices -------------------------------------------------------------------------------------------------


@both_ways
def test_voices_lists_what_is_known_of_each_and_the_default(joined: bool) -> None:
    voice = {"description": "", "source": "built-in"}
    assert reply_of(fake_service(), {"operation": "voices"}, joined=joined) == {
        "operation": "voices",
        "default": "default",
        "voices": [
            {"name": "default", "language": "en-US", "reference_duration": None, "default": True} | voice,
            {"name": "hans", "language": "de", "reference_duration": 7.5, "default": False} | voice,
        ],
        "worker_version": __version__,
    }


def test_voices_lists_what_tts_takes(library: Path) -> None:
    (library / "anna.wav").write_bytes(recording(500))
    about = {"language": "en-GB", "description": "Warm.", "consent": "By letter."}
    (library / "anna.json").write_text(json.dumps(about))
    service = service_of(library, default_voice="anna", allow_voice_writes=False)
    listed = reply_of(service, {"operation": "voices"})
    assert [voice["name"] for voice in listed["voices"]] == ["default", "hans", "anna"]
    assert [voice["name"] for voice in listed["voices"] if voice["default"]] == [listed["default"]] == ["anna"]
    assert listed["voices"][2] == {
        "name": "anna",
        "language": "en-GB",
        "description": "Warm.",
        "reference_duration": 6.0,
        "default": True,
        "source": "library",
        "consent": "By letter.",
    }
    for voice in listed["voices"]:
        _, reply = spoken(service, {"text": "Hi.", "voice": voice["name"], "language": voice["language"]})
        assert (reply["voice"], reply["parameters"]["language"]) == (voice["name"], voice["language"])


# --- adding and deleting ------------------------------------------------------------------------------------


@both_ways
def test_a_voice_is_added_spoken_with_and_deleted(library: Path, joined: bool) -> None:
    engine = FakeEngine()
    service, neighbour = service_of(library, engine), service_of(library)
    reply = reply_of(service, addition(language="en-US", description="Warm."), joined=joined)
    listed = {
        "name": "anna",
        "language": "en-US",
        "description": "Warm.",
        "reference_duration": 6.0,
        "default": False,
        "source": "library",
    }
    expected = {"operation": "voice_add", "voice": listed, "replaced": False, "warnings": []}
    assert reply == expected | {"worker_version": __version__}
    assert engine.conditioned == []  # no model is loaded for it
    for each in (service, neighbour):
        assert reply_of(each, {"operation": "voices"})["voices"][-1] == listed
        assert spoken_pitch_hz(each, "anna") == 500
    gone = reply_of(neighbour, {"operation": "voice_delete", "voice": "anna"}, joined=joined)
    assert gone == {"operation": "voice_delete", "voice": "anna", "deleted": True, "worker_version": __version__}
    assert list(library.iterdir()) == []
    assert refused(service, {"text": "Hi.", "voice": "anna"})["error_code"] == "UNKNOWN_VOICE"


def test_a_voice_is_replaced_only_where_that_is_asked_for(library: Path) -> None:
    service = service_of(library)
    reply_of(service, addition(500.0))
    assert "is there already" in refused(service, addition(700.0))["error"]
    assert spoken_pitch_hz(service, "anna") == 500
    assert reply_of(service, addition(700.0, replace=True))["replaced"] is True
    assert spoken_pitch_hz(service, "anna") == 700


@both_ways
def test_consent_is_kept_with_the_recording_and_listed_where_there_is_one(library: Path, joined: bool) -> None:
    service, neighbour = service_of(library), service_of(library)
    said = "Anna Ä. agreed in writing, 1 May 2026"
    assert reply_of(service, addition(consent=f" {said} "), joined=joined)["voice"]["consent"] == said
    for each in (service, neighbour, service_of(library)):
        listed = reply_of(each, {"operation": "voices"}, joined=joined)["voices"]
        assert [voice.get("consent") for voice in listed] == [None, None, said]
    assert "consent" not in reply_of(service, addition(replace=True))["voice"]
    assert "consent" not in reply_of(neighbour, {"operation": "voices"})["voices"][-1]


def test_a_change_to_a_recording_is_a_warning(library: Path) -> None:
    reply = reply_of(service_of(library), addition(max_reference_duration_sec=2))
    assert reply["voice"]["reference_duration"] == 2.0
    assert any("cut to its first 2 s" in warning for warning in reply["warnings"])


def test_the_default_voice_and_the_engines_own_stay(library: Path) -> None:
    (library / "anna.wav").write_bytes(recording(500))
    service = service_of(library, default_voice="anna")
    for name in ("anna", "default"):
        error = refused(service, {"operation": "voice_delete", "voice": name})
        assert error["error_code"] == "INVALID_INPUT"
        assert [fault["field"] for fault in error["details"]] == ["voice"]
    assert refused(service, {"operation": "voice_delete", "voice": "bert"})["error"] == (
        'UNKNOWN_VOICE: voice "bert" is not a voice of the library; known: anna'
    )
    assert refused(service, addition(voice="hans", replace=True))["error_code"] == "INVALID_INPUT"
    assert [path.name for path in library.iterdir()] == ["anna.wav"]


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"voice": "../anna"}, "INVALID_INPUT"),
        ({"reference_audio": as_base64(b"RIFF")}, "REFERENCE_AUDIO"),
        ({"reference_audio": as_base64(recording(amplitude=0.0))}, "REFERENCE_AUDIO"),
        ({"reference_audio": None}, "INVALID_INPUT"),
        ({"language": "ja"}, "UNSUPPORTED"),
        ({"text": "Hi."}, "INVALID_INPUT"),
    ],
)
def test_what_is_refused_leaves_no_trace(library: Path, given: dict[str, Any], code: str) -> None:
    error = refused(service_of(library), addition() | given)
    assert error["error_code"] == code
    assert str(library) not in error["error"]
    assert list(library.iterdir()) == []
    assert [path.name for path in library.parent.iterdir()] == ["voices"]


@pytest.mark.parametrize(
    "raw", [addition(), {"operation": "voice_delete", "voice": "anna"}, {"operation": "voice_add"}]
)
def test_an_endpoint_that_may_not_says_which_setting_is_missing(library: Path, raw: dict[str, Any]) -> None:
    (library / "anna.wav").write_bytes(recording(500))
    cases = [
        (fake_service(voices_dir=library), "ALLOW_VOICE_WRITES"),
        (service_of(None), "VOICES_DIR"),
        (service_of(library, FakeEngine(can_clone=False)), "fake can't speak with a recording's voice"),
    ]
    for service, name in cases:
        error = refused(service, raw)
        assert error["error_code"] == "UNSUPPORTED"
        assert name in error["error"]
        assert error["retryable"] is False
    assert [path.name for path in library.iterdir()] == ["anna.wav"]


def test_a_full_library_names_its_setting(library: Path) -> None:
    (library / "bert.wav").write_bytes(recording(500))
    error = refused(service_of(library, max_library_voices=1), addition())
    assert (error["error_code"], "MAX_LIBRARY_VOICES" in error["error"]) == ("UNSUPPORTED", True)


# --- from a web address -------------------------------------------------------------------------------------


@pytest.fixture
def web() -> Iterator[str]:
    class Page(Handler):
        def do_GET(self) -> None:
            self.answer(200, recording(620)) if self.path == "/voice.wav" else self.answer(404)

    with served(Page) as url:
        yield url


def test_a_recording_is_fetched(library: Path, web: str) -> None:
    service = service_of(library, allow_private_urls=True)
    reply_of(service, addition(reference_audio=None, reference_audio_url=f"{web}/voice.wav"))
    assert spoken_pitch_hz(service, "anna") == 620
    error = refused(service, addition(voice="bert", reference_audio=None, reference_audio_url=f"{web}/none.wav"))
    assert error["error_code"] == "REFERENCE_AUDIO"


def test_no_recording_is_fetched_for_a_request_that_is_wrong_or_from_a_private_place(library: Path, web: str) -> None:
    by_url = {"reference_audio": None, "reference_audio_url": f"{web}/voice.wav"}
    assert refused(service_of(library), addition(**by_url))["error_code"] == "REFERENCE_AUDIO"
    assert refused(service_of(library), addition(voice="a b", **by_url))["error_code"] == "INVALID_INPUT"
    assert list(library.iterdir()) == []
