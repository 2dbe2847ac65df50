"""The sound is played and drawn while it is generated; stopping, seeking, and a slow worker."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Any

import pytest
from browser.actions import AUDIBLE, DONE, SILENT, Serve, Visit, speak, speak_to_the_end, until
from fakes import HANG_S, FakeEngine
from http_server import Gate

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser


INK = """() => {
  const wave = document.getElementById('wave'), copy = new OffscreenCanvas(wave.width, wave.height);
  const context = copy.getContext('2d', { willReadFrequently: true });
  context.drawImage(wave, 0, 0);
  const { data } = context.getImageData(0, 0, wave.width, wave.height);
  let inked = 0;
  for (let i = 3; i < data.length; i += 4) inked += data[i] > 0;
  return inked / (wave.width * wave.height);
}"""


def drawn_s(page: Page) -> float:
    return float(page.locator("#wave").get_attribute("data-drawn-s") or 0)


def test_a_text_is_spoken(page: Page, asked: list[Any]) -> None:

    speak(page, "Good evening.")
    until(page, AUDIBLE)
    until(page, DONE)
    until(page, SILENT)

    sent = {"operation": "tts", "text": "Good evening.", "voice": "default"}
    assert asked == [sent | {"output_format": "pcm_s16le", "word_timestamps": True}]
    assert page.text_content("#first").endswith(" ms")
    assert float(page.text_content("#rtf")) >= 0
    assert page.text_content("#position") == page.text_content("#duration") == "0.9"


def test_it_plays_and_draws_before_the_end(serve: Serve, visit: Visit, gate: Gate) -> None:
    page = visit(serve(FakeEngine(before_chunk=gate)))

    speak(page, "A sentence that takes four seconds, if it is spoken at one token a letter, and then some.")
    page.wait_for_timeout(150)
    empty = page.evaluate(INK)
    assert drawn_s(page) == 0

    gate.let(1)
    until(page, AUDIBLE)
    until(page, "+document.getElementById('wave').dataset.drawnS > 0.5")
    first_s, first_ink = drawn_s(page), page.evaluate(INK)
    assert first_ink > 2 * empty

    gate.let(1)
    until(page, f"+document.getElementById('wave').dataset.drawnS > {first_s + 0.5}")
    until(page, f"+document.getElementById('position').textContent > {first_s + 0.2}")  # and it is played
    assert page.get_attribute("#stage", "data-state") == "speaking"

    gate.open()
    until(page, DONE)
    assert drawn_s(page) > 3


def test_the_output_latency_is_not_read(page: Page) -> None:
    """Firefox can hang for good when it is read while the sound starts."""
    page.evaluate(
        """() => Object.defineProperty(AudioContext.prototype, "outputLatency",
             { get() { throw new Error("read the output latency"); } })"""
    )
    speak(page, "Heard without it.")
    until(page, AUDIBLE)
    until(page, SILENT)


def test_playback_pauses_once_in_an_underrun(serve: Serve, visit: Visit, gate: Gate) -> None:
    page = visit(serve(FakeEngine(before_chunk=gate)))
    speak(page, "This one runs dry in the middle of what it was about to say.")
    gate.let(1)
    until(page, AUDIBLE)
    until(page, SILENT)

    gate.open()
    until(page, AUDIBLE)

    until(page, DONE)
    assert "it ran out once on the way" in page.text_content("#status")


def test_the_pieces_are_played_without_a_gap(page: Page) -> None:
    """Each piece is scheduled at the end of the previous one: no sample is missing, doubled or moved."""
    page.evaluate(
        """() => {
          window.starts = [];
          const start = AudioBufferSourceNode.prototype.start;
          AudioBufferSourceNode.prototype.start = function (at) {
            const rate = this.context.sampleRate;
            window.starts.push({ at: at * rate, samples: this.buffer.length, rate });
            return start.call(this, at);
          };
        }"""
    )
    speak_to_the_end(page, "A sentence of some length, so that it comes in more than two pieces, one after the other.")

    pieces = page.evaluate("window.starts")
    assert len(pieces) > 2
    for one, next_one in itertools.pairwise(pieces):
        assert one["rate"] == 24000
        assert one["at"] + one["samples"] == pytest.approx(next_one["at"], abs=0.01)


@pytest.mark.parametrize("how", ["Escape", "#stop"])
def test_stopping_is_immediate_and_reaches_the_engine(serve: Serve, visit: Visit, gate: Gate, how: str) -> None:
    engine = FakeEngine(before_chunk=gate)
    page = visit(serve(engine))
    speak(page, "This will be stopped before it has been said, for there is a long way to go.")
    gate.let(1)
    until(page, AUDIBLE)

    page.keyboard.press(how) if how == "Escape" else page.click(how)

    until(page, SILENT)
    assert page.text_content("#status") == "Stopped."
    until(page, "document.querySelector('#takes .facts').textContent.includes('stopped')")
    gate.let(2)  # the engine notices at its next chunk
    deadline = time.monotonic() + HANG_S
    while not engine.closed_in and time.monotonic() < deadline:
        gate.let(1)
        time.sleep(0.02)
    assert engine.closed_in
    assert engine.asked < 5


def test_a_finished_clip_can_be_sought_paused_and_played_again(page: Page) -> None:
    speak_to_the_end(page, "A clip to walk about in, back and forth, for as long as one likes to.")
    page.keyboard.press("Escape")
    box = page.locator("#wave").bounding_box()

    page.mouse.click(box["x"] + 0.5 * box["width"], box["y"] + 40)
    until(page, AUDIBLE)
    assert float(page.text_content("#position")) >= 0.45 * float(page.text_content("#duration"))

    page.click("#play")
    until(page, SILENT)
    assert page.get_attribute("#play", "aria-label") == "Play"
    page.focus("#wave")
    page.keyboard.press("Home")
    until(page, "document.getElementById('position').textContent === '0.0'")
    page.keyboard.press("ArrowRight")
    until(page, "document.getElementById('position').textContent === '1.0'")
    page.keyboard.press("Space")
    until(page, AUDIBLE)
