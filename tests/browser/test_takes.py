"""Takes are kept, compared, used again and saved; settings are remembered, private fields are not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile
from browser.actions import AUDIBLE, DONE, Serve, Visit, saved, speak, speak_to_the_end, until
from fakes import fake_service, pitch_hz, spoken

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("chosen", ["wav", "flac", "mp3", "opus"])
def test_a_download_decodes_to_what_was_played(page: Page, tmp_path: Path, chosen: str) -> None:
    speak_to_the_end(page, "Keep this, please.")
    seed = int(page.text_content("#used-seed"))
    page.select_option("#output_format", chosen)

    path = saved(page, tmp_path)

    assert path.name == f"take-1.{chosen}"
    samples, rate_hz = soundfile.read(path)
    request = {"text": "Keep this, please.", "seed": seed, "output_format": "pcm_s16le"}
    streamed, _ = spoken(fake_service(), request, joined=False)
    played = np.frombuffer(streamed, "<i2") / 32768
    if chosen in ("wav", "flac"):
        assert np.array_equal(samples, played)
    else:
        assert pitch_hz(samples, rate_hz) == 300.0
        assert len(samples) / rate_hz == pytest.approx(len(played) / 24000, abs=0.15)


def test_a_download_is_plain_bytes(page: Page, tmp_path: Path) -> None:
    """Firefox changes the ending of a type that it knows: take-1.opus was saved as take-1.ogx."""
    speak_to_the_end(page, "Keep my name.")
    page.select_option("#output_format", "opus")
    page.evaluate(
        """() => {
          window.types = [];
          const made = URL.createObjectURL;
          URL.createObjectURL = (file) => { window.types.push(file.type); return made.call(URL, file); };
        }"""
    )

    saved(page, tmp_path)

    assert page.evaluate("window.types") == ["application/octet-stream"]


def test_takes_are_kept_compared_and_used_again(page: Page, tmp_path: Path, asked: list[Any]) -> None:
    speak_to_the_end(page, "First.")
    page.select_option("#voice", "hans")
    page.fill("#exaggeration", "0.9")
    speak_to_the_end(page, "Second.")
    assert page.locator("#takes .words").all_text_contents() == ["Second.", "First."]
    assert "hans" in page.locator("#takes .facts").first.text_content()

    page.click("#play-1")
    until(page, AUDIBLE)
    assert page.locator("#takes li[aria-current]").text_content().find("First.") > 0
    assert page.evaluate("document.activeElement.id") == "play-1"

    page.click("#reuse-2")
    assert page.input_value("#text") == "Second."
    assert page.input_value("#voice") == "hans"
    assert page.input_value("#exaggeration") == "0.9"
    page.click("#speak")
    page.wait_for_selector("#play-3")
    until(page, DONE)
    assert asked[2]["seed"] == int(page.text_content("#used-seed"))

    second, third = (soundfile.read(saved(page, tmp_path, f"#save-{k}"))[0] for k in (2, 3))
    assert np.array_equal(second, third)


def test_ten_takes_are_kept(page: Page) -> None:
    for k in range(1, 12):
        speak(page, f"{k}.")
        page.wait_for_selector(f"#play-{k}")
    until(page, DONE)
    assert page.locator("#takes .words").all_text_contents() == [f"{k}." for k in range(11, 1, -1)]


def test_settings_are_remembered_but_not_text_seed_and_key(serve: Serve, visit: Visit) -> None:
    page = visit(serve(api_keys=("a-secret",)), ready=False)
    page.fill("#key", "a-secret")
    page.keyboard.press("Enter")
    page.wait_for_selector(".worker[data-state=ready]")
    page.click("#more summary")
    for name, value in (("temperature", "1.2"), ("speed", "1.5"), ("seed", "7"), ("text", "Something private.")):
        page.fill(f"#{name}", value)
    page.select_option("#voice", "hans")
    page.select_option("#output_format", "opus")

    kept = page.evaluate("JSON.stringify({...localStorage})")
    assert "private" not in kept
    assert "secret" not in kept
    page.reload()
    page.fill("#key", "a-secret")
    page.keyboard.press("Enter")
    page.wait_for_selector(".worker[data-state=ready]")

    names = ("temperature", "speed", "voice", "output_format", "seed", "text")
    values = [page.input_value(f"#{name}") for name in names]
    first_words = page.evaluate("document.getElementById('text').defaultValue")
    assert values == ["1.2", "1.5", "hans", "opus", "", first_words]
    page.click("#more summary")
    page.click("#reset")
    assert page.input_value("#temperature") == "0.8"


def test_only_changed_fields_are_sent(page: Page, asked: list[Any]) -> None:
    page.click("#more summary")
    changes = {"temperature": "1.1", "cfg_weight": "0.3", "speed": "1.25", "seed": "0", "paragraph_pause_ms": "0"}
    for name, value in changes.items():
        page.fill(f"#{name}", value)
    page.select_option("#audio_normalization", "lufs")
    page.uncheck("#normalize_text")
    page.fill("#pronunciations", "SQL = sequel\n\nNguyen=win")
    speak_to_the_end(page, "SQL, Nguyen.")

    numbers = {name: json.loads(value) for name, value in changes.items()}
    assert asked[0] == numbers | {
        "operation": "tts",
        "text": "SQL, Nguyen.",
        "voice": "default",
        "audio_normalization": "lufs",
        "normalize_text": False,
        "pronunciations": {"SQL": "sequel", "Nguyen": "win"},
        "output_format": "pcm_s16le",
        "word_timestamps": True,
    }
