"""A recording in another voice: chosen, dropped or recorded, converted, a take like any other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile
from browser.actions import Serve, Visit, assert_fits, dropped, saved, to_the_end, until, wav
from fakes import FakeEngine, pitch_hz, recording

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser


def convert(page: Page, data: bytes) -> None:
    page.check("[value=convert]")
    page.set_input_files("#source_audio", [wav(data)])
    page.click("#speak")


def test_a_recording_is_converted_and_its_take_is_like_any_other(page: Page, tmp_path: Path) -> None:
    page.fill("#exaggeration", "0.9")  # of a text alone
    page.fill("#text", "")
    page.select_option("#voice", "hans")
    assert page.inner_text("#speak") == "Speak"
    convert(page, recording(700.0, 2.5))
    assert page.inner_text("#speak") == "Convert"
    to_the_end(page)

    assert page.text_content("#takes .words") == "mine.wav, converted"
    assert page.text_content("#takes .facts").startswith("1 · hans · ")
    assert page.evaluate("document.getElementById('words').hidden")
    heard, rate_hz = soundfile.read(saved(page, tmp_path))
    assert pitch_hz(heard, rate_hz) == 450.0
    assert len(heard) == 2.5 * rate_hz
    page.select_option("#output_format", "flac")
    assert np.array_equal(soundfile.read(saved(page, tmp_path))[0], heard)


def test_one_recording_speaks_with_the_voice_of_another(serve: Serve, visit: Visit, tmp_path: Path) -> None:
    engine = FakeEngine()
    page = visit(serve(engine))
    page.check("[value=clone]")
    page.set_input_files("#reference_audio", [wav(recording(520.0), "voice.wav")])
    convert(page, recording(700.0))
    to_the_end(page)
    assert pitch_hz(*soundfile.read(saved(page, tmp_path))) == 520.0
    assert "voice.wav" in page.text_content("#takes .facts").replace("\u00a0", " ")

    page.click("#source_audio-drop .forget")
    page.check("[value=predefined]")
    page.check("[value=tts]")
    page.click("#reuse-1")
    assert page.text_content("#source_audio-drop b") == "mine.wav"
    assert page.text_content("#reference_audio-drop b") == "voice.wav"
    page.keyboard.press("Enter")  # the button has the focus
    page.wait_for_selector("#play-2")
    to_the_end(page)
    assert len(engine.sources) == 2
    assert engine.heard[0].seed == engine.heard[1].seed


def test_the_microphone_is_converted(serve: Serve, visit: Visit) -> None:
    engine = FakeEngine()
    page = visit(serve(engine), permissions=["microphone"])
    page.check("[value=convert]")
    page.click("#source_audio-drop .record")
    until(page, "document.querySelector('#source_audio-drop meter').value > 0.05")  # it beeps once a second
    assert page.text_content("#source_audio-drop [role=timer]").endswith(" of 600 s at most")
    page.wait_for_timeout(1500)
    page.click("#source_audio-drop .record")
    page.wait_for_selector("#source_audio-drop .chosen:not([hidden])")
    page.keyboard.press("Control+Enter")
    to_the_end(page)
    [(samples, rate_hz)] = engine.sources
    assert len(samples) / rate_hz > 1.2

    page.click("#source_audio-drop .record")
    page.check("[value=tts]")  # what is out of sight does not listen
    until(page, "document.querySelector('#source_audio-drop .recording').hidden")


def test_a_source_that_is_missing_too_large_or_no_sound_is_reported_at_its_place(serve: Serve, visit: Visit) -> None:
    page = visit(serve(max_source_bytes=200_000))
    error = page.locator("#source_audio-error")
    page.check("[value=convert]")
    page.click("#speak")
    assert error.text_content() == "The recording is missing: choose a file or record one"

    dropped(page, "source_audio", wav(recording(700.0, 7.0)))
    assert error.text_content() == "The recording has 224 kB; the worker takes 200 kB"

    for data, message in (
        (b"no sound at all", "The source audio can't be read: send a whole wav"),
        (recording(amplitude=0.0), "The source audio is silent"),
    ):
        convert(page, data)
        page.wait_for_selector("#source_audio-error:not([hidden])")
        assert error.text_content().startswith(message)
        assert page.evaluate("document.activeElement.id") == "source_audio"
        assert page.is_hidden("#alert")


def test_a_source_that_is_too_long_is_cut_and_the_page_says_so(serve: Serve, visit: Visit) -> None:
    page = visit(serve(max_source_s=2.0))
    convert(page, recording(700.0, 3.0))
    to_the_end(page)
    assert page.text_content("#length") == "2.00 s"
    assert "2 s" in page.text_content("#remarks")


def test_an_engine_that_cannot_convert_offers_none(serve: Serve, visit: Visit) -> None:
    page = visit(serve(FakeEngine(can_convert=False)))
    assert page.is_hidden("#operations")
    assert page.is_visible("#text-label")
    assert visit(serve()).is_visible("#operations")


def test_the_keyboard_reaches_all_of_a_conversion(page: Page) -> None:
    page.focus("[value=tts]")
    page.keyboard.press("ArrowRight")
    reached = []
    for _ in range(3):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.textContent"))
        seen = "((one) => one.matches('.hidden') ? one.labels[0] : one)(document.activeElement)"
        assert page.evaluate(f"getComputedStyle({seen}).outlineStyle") != "none"
    assert reached == ["source_audio", "Record", "speak"]


@pytest.mark.parametrize(("width", "scheme"), [(320, "light"), (375, "dark"), (768, "light")])
def test_a_conversion_fits(serve: Serve, visit: Visit, tmp_path: Path, width: int, scheme: str) -> None:
    page = visit(serve(), viewport={"width": width, "height": 812}, color_scheme=scheme, has_touch=width < 500)
    page.check("[value=clone]")
    page.click("#more summary")
    convert(page, b"no sound at all")
    page.wait_for_selector("#reference_audio-error:not([hidden])")
    page.screenshot(path=tmp_path / f"convert-{scheme}-{width}.png", full_page=True)  # for eyes
    assert_fits(page, width)
