"""Errors are shown at their fields, in the key dialog or in the alert."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import soundfile
from browser.actions import AUDIBLE, Serve, Visit, saved, speak, until
from fakes import FakeEngine, raising_at
from http_server import Gate

from validation.errors import GpuFault

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser


def test_every_fault_is_shown_at_its_field_and_the_first_has_the_focus(page: Page) -> None:
    page.fill("#text", "!!!")
    page.evaluate("document.getElementById('seed').value = '-5'")  # in the folded part

    page.click("#speak")

    page.wait_for_selector("#seed[aria-invalid=true]", state="visible")
    assert page.text_content("#text-error") == "Text must hold at least one letter or digit"
    assert page.text_content("#seed-error") == "Seed must be at least 0 (got -5)"
    assert page.evaluate("document.activeElement.id") == "text"
    assert page.is_hidden("#alert")
    page.keyboard.type("ok")
    assert page.get_attribute("#text", "aria-invalid") is None
    assert page.is_hidden("#text-error")


def test_an_empty_text_is_refused_without_a_request(serve: Serve, visit: Visit, asked: list[Any]) -> None:
    page = visit(serve(max_text_chars=10))
    page.fill("#text", "")
    page.click("#speak")
    assert page.text_content("#text-error") == "Text is empty: write something to speak"
    assert asked == []
    page.fill("#text", "Éclair 🎈 and more")
    assert page.text_content("#text-count") == "17 of 10 characters"
    assert "over" in page.get_attribute("#text-count", "class")


def test_an_error_in_mid_stream_is_shown_and_the_sound_so_far_kept(serve: Serve, visit: Visit, tmp_path: Path) -> None:
    page = visit(serve(FakeEngine(before_chunk=raising_at(3, GpuFault("the GPU fell over")))))
    speak(page, "This goes well for two seconds, and then it does not, which is a pity.")
    page.wait_for_selector("#alert:not([hidden])")
    assert page.text_content("#alert") == "the GPU fell over"
    assert len(soundfile.read(saved(page, tmp_path))[0]) > 24000
    page.select_option("#output_format", "mp3")
    page.click("#download")
    assert "only be saved as WAV" in page.text_content("#alert")


def test_a_broken_connection_is_reported(serve: Serve, visit: Visit, gate: Gate) -> None:
    server = serve(FakeEngine(before_chunk=gate))
    page = visit(server)
    speak(page, "This is being said when the worker has to go, which it does without another word.")
    gate.let(1)
    until(page, AUDIBLE)
    asyncio.run_coroutine_threadsafe(server.jobs.stop(within_s=3), server.loop)
    gate.open()
    page.wait_for_selector("#alert:not([hidden])")
    assert page.text_content("#alert") == "The connection to the worker broke."
    assert page.text_content("#status") == "Not spoken to the end."


def test_a_busy_worker_and_an_unreachable_one_are_reported(serve: Serve, visit: Visit, gate: Gate) -> None:
    server = serve(FakeEngine(before_chunk=gate), max_concurrency=1, max_queue=0)
    page, other = visit(server), visit(server)
    speak(other, "I was here first, and I have a lot to say, as you will hear.")
    until(other, "document.getElementById('stage').dataset.state === 'speaking'")
    speak(page, "Hello?")
    page.wait_for_selector("#alert:not([hidden])")
    assert page.text_content("#alert") == "The worker is busy with others. Try again in 2 s."

    page.context.set_offline(True)
    page.click("#speak")
    until(page, "document.getElementById('alert').textContent.includes('reached')")
    assert page.text_content("#alert") == "The worker can't be reached. Is it running, and are you online?"


def test_the_key_is_asked_for_until_it_is_right(serve: Serve, visit: Visit) -> None:
    page = visit(serve(api_keys=("right",)), ready=False)
    for key in ("wrong", "right"):
        page.wait_for_selector("#key-dialog[open]")
        page.fill("#key", key)
        page.click("#key-dialog .primary")
    assert page.text_content("#key-refused") == "The worker refused that key."
    page.wait_for_selector(".worker[data-state=ready]")

    page.click("#change-key")
    page.fill("#key", "wrong again")
    page.keyboard.press("Enter")
    page.wait_for_selector("#key-dialog[open]")  # the worker was asked, and asks back
    page.keyboard.press("Escape")
    page.wait_for_selector(".worker[data-state=down]")
    speak(page, "Open.")
    page.wait_for_selector("#key-dialog[open]")
    page.keyboard.press("Escape")
    page.wait_for_selector("#alert:not([hidden])")
    assert page.text_content("#alert") == "The worker asks for an API key."
    page.click("#speak")
    page.fill("#key", "right")
    page.keyboard.press("Enter")
    until(page, AUDIBLE)


def test_a_worker_that_loads_is_waited_for(serve: Serve, visit: Visit, gate: Gate) -> None:
    server = serve(FakeEngine(before_condition=gate), wait=False, warmup=True)
    page = visit(server, ready=False)
    page.wait_for_selector(".worker[data-state=loading]")
    speak(page, "Too early.")
    page.wait_for_selector("#alert:not([hidden])")
    assert page.text_content("#alert") == "the model is still being loaded"
    gate.open()
    page.wait_for_selector(".worker[data-state=ready]")
    server.jobs.readiness.drain("it was told to end")
    page.click("#speak")
    until(page, "document.getElementById('alert').textContent.includes('leaving')")


def test_an_engine_without_cloning_offers_no_recording(serve: Serve, visit: Visit) -> None:
    page = visit(serve(FakeEngine(can_clone=False)))
    assert page.is_disabled("[value=clone]")
    assert page.text_content("#voice-note") == "This engine can't take a voice from a recording."
