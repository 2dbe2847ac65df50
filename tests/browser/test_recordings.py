"""Cloning from a recording: a file chosen or dropped, or the microphone (here one that beeps)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import soundfile
from browser.actions import Serve, Visit, dropped, saved, speak, speak_to_the_end, until, wav
from fakes import FakeEngine, pitch_hz, recording

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("how", ["chosen", "dropped"])
def test_the_voice_of_a_recording_is_cloned(page: Page, tmp_path: Path, how: str) -> None:
    page.check("[value=clone]")
    file = wav(recording(700.0))
    if how == "chosen":
        page.set_input_files("#reference_audio", [file])
    else:
        dropped(page, "reference_audio", file)
    assert page.text_content("#cloning b") == "mine.wav"
    assert page.text_content("#cloning .chosen .note") == "192 kB"
    until(page, "document.querySelector('#cloning audio').duration > 5.9")  # the preview can play

    speak_to_the_end(page, "This is my own voice.")

    samples, rate_hz = soundfile.read(saved(page, tmp_path))
    assert pitch_hz(samples, rate_hz) == 700.0
    assert "mine.wav" in page.text_content("#takes .facts").replace("\u00a0", " ")

    page.click("#cloning .forget")
    page.check("[value=predefined]")
    page.click("#reuse-1")
    assert page.is_checked("[value=clone]")
    assert page.is_visible("#cloning b")


def test_the_voice_of_the_microphone_is_cloned(serve: Serve, visit: Visit) -> None:
    engine = FakeEngine()
    page = visit(serve(engine), permissions=["microphone"])
    page.check("[value=clone]")
    page.click("#cloning .record")
    until(page, "document.querySelector('#cloning meter').value > 0.05")  # it beeps once a second
    page.wait_for_timeout(2600)
    page.click("#cloning .record")
    page.wait_for_selector("#cloning .chosen:not([hidden])")
    assert page.text_content("#cloning b") == "recording.webm"

    speak_to_the_end(page, "Recorded just now.")

    assert engine.texts == ["Recorded just now."]
    assert page.text_content("#takes .facts").replace("\u00a0", " ").startswith("1 · clone of recording.webm")


@pytest.mark.parametrize(
    ("mime_type", "name"),
    [("audio/ogg; codecs=opus", "recording.ogg"), ("audio/mp4", "recording.m4a"), ("", "recording.webm")],
)
def test_a_recording_has_the_ending_of_its_type(serve: Serve, visit: Visit, mime_type: str, name: str) -> None:
    """Older Firefox records Ogg, Safari MP4."""
    page = visit(serve(), permissions=["microphone"])
    page.check("[value=clone]")
    replace_type = "(type) => Object.defineProperty(MediaRecorder.prototype, 'mimeType', { get: () => type })"
    page.evaluate(replace_type, mime_type)
    page.click("#cloning .record")
    page.wait_for_selector("#cloning .recording:not([hidden])")
    page.wait_for_timeout(1200)
    page.click("#cloning .record")
    page.wait_for_selector("#cloning .chosen:not([hidden])")
    assert page.text_content("#cloning b") == name


def test_a_recording_that_the_model_finds_too_short_is_refused_at_once(serve: Serve, visit: Visit) -> None:
    page = visit(serve(FakeEngine(min_reference_s=5.0)), permissions=["microphone"])
    page.check("[value=clone]")
    page.click("#cloning .record")
    page.wait_for_selector("#cloning .recording:not([hidden])")
    page.wait_for_timeout(1200)
    page.click("#cloning .record")
    page.wait_for_selector("#reference_audio-error:not([hidden])")
    message = "The recording was too short; the worker needs 5 s of sound"
    assert page.text_content("#reference_audio-error") == message
    assert page.is_hidden("#cloning .chosen")


def test_a_recording_that_is_missing_too_large_or_refused_is_reported(serve: Serve, visit: Visit) -> None:
    page = visit(serve(max_reference_bytes=50_000))
    page.check("[value=clone]")
    speak(page, "With whose voice?")
    error = page.locator("#reference_audio-error")
    assert error.text_content() == "The recording is missing: choose a file or record one"

    page.set_input_files("#reference_audio", [wav(recording(700.0))])
    assert error.text_content() == "The recording has 192 kB; the worker takes 50 kB"

    page.set_input_files("#reference_audio", [wav(b"no sound at all")])
    assert error.is_hidden()
    page.click("#speak")
    page.wait_for_selector("#reference_audio-error:not([hidden]), #alert:not([hidden])")
