"""The words of a take: marked while they sound, and a way to their place in it."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

import pytest
from browser.actions import DONE, SILENT, Serve, Visit, speak, speak_to_the_end, until
from fakes import FakeEngine, by_letters
from http_server import Gate

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

TEXT = "It costs $5, and “they” paid it. [pause:400ms] Then they went home."
SHOWN = "[...document.querySelectorAll('#words span')].map((word) => word.textContent)"
SOUNDING = "document.querySelector('#words .sounding')?.textContent ?? ''"
# The word that is marked in each frame, and the sound's position then, by the audio clock that the player reads.
WATCH = f"""() => {{
  window.frames_ = [];
  const look = () => {{
    frames_.push([+document.getElementById('wave').dataset.positionS, {SOUNDING}]);
    requestAnimationFrame(look);
  }};
  requestAnimationFrame(look);
}}"""
REPLY = """() => {
  window.replies = [];
  const fetch_ = window.fetch;
  window.fetch = async (...given) => {
    const response = await fetch_(...given);
    if (String(given[0]) === 'tts') response.clone().text().then((text) => replies.push(text));
    return response;
  };
}"""


def page_with_words(serve: Serve, visit: Visit, **options: Any) -> Page:
    return visit(serve(FakeEngine(words=by_letters)), **options)


def test_the_word_that_sounds_is_marked_within_a_tenth_of_a_second(serve: Serve, visit: Visit) -> None:
    page = page_with_words(serve, visit)
    page.evaluate(REPLY)
    page.evaluate(WATCH)
    speak(page, TEXT)
    until(page, DONE)
    until(page, SILENT)
    until(page, "replies.length === 1")
    words = page.evaluate("JSON.parse(replies[0].split('data: ').at(-1)).words")
    assert [word["text"] for word in words] == page.evaluate(SHOWN)
    frames = [frame for frame in page.evaluate("frames_") if frame[1]]
    assert len({word for _, word in frames}) > 6
    for position_s, marked in frames:
        assert any(
            word["text"] == marked and word["start"] - 0.1 <= position_s <= word["end"] + 0.1 for word in words
        ), (position_s, marked)
    assert page.text_content("#words") == TEXT


def test_in_a_pause_no_word_is_marked(serve: Serve, visit: Visit) -> None:
    page = page_with_words(serve, visit)
    page.evaluate(WATCH)
    speak(page, "Before. [pause:3s] After.")
    until(page, "+document.getElementById('position').textContent > 2.5")
    marked = [word for position_s, word in page.evaluate("frames_") if 1.2 < position_s < 2.5]
    assert set(marked) == {""}


def test_a_click_on_a_word_plays_from_there(serve: Serve, visit: Visit) -> None:
    page = page_with_words(serve, visit)
    speak_to_the_end(page, TEXT)
    until(page, SILENT)
    page.evaluate(WATCH)
    page.click("#words span:text-is('went')")
    until(page, "frames_.at(-1)[1] === '' && frames_.some(([, word]) => word === 'home')")
    marked = [word for word in page.evaluate("frames_.map(([, word]) => word)") if word]
    assert [word for word, _ in groupby(marked)] == ["went", "home"]


def test_words_can_be_clicked_as_soon_as_they_are_heard_of(serve: Serve, visit: Visit, gate: Gate) -> None:
    page = visit(serve(FakeEngine(before_chunk=gate, words=by_letters)))
    speak(page, "A sentence that takes four seconds, if it is spoken at one token a letter, and then some.")
    gate.let(2)
    until(page, f"{SHOWN}.includes('sentence')")
    assert "some" not in page.evaluate(SHOWN)
    assert page.text_content("#words").endswith("and then some.")
    gate.open()
    until(page, DONE)
    until(page, f"{SHOWN}.at(-1) === 'some'")


def test_words_are_not_looked_for_in_marks(serve: Serve, visit: Visit) -> None:
    """The word of the pause's mark was the one to click."""
    page = page_with_words(serve, visit)
    text = "<think>We rest.</think> Now [pause:300ms] pause, <b title='rest'>rest</b> and rest: <img src=x>"
    speak_to_the_end(page, text)
    assert page.evaluate(SHOWN) == ["Now", "pause", "rest", "and", "rest"]
    before = "[...document.querySelectorAll('#words span')].map((word) => word.previousSibling.data)"
    assert page.evaluate(before) == [
        "<think>We rest.</think> ",
        " [pause:300ms] ",
        ", <b title='rest'>",
        "</b> ",
        " ",
    ]
    assert page.text_content("#words") == text


def test_another_take_shows_its_own_words(serve: Serve, visit: Visit) -> None:
    page = page_with_words(serve, visit)
    for text in ("First things.", "Second thoughts."):
        speak_to_the_end(page, text)
    assert page.evaluate(SHOWN) == ["Second", "thoughts"]
    page.click("#takes li:last-child .again")
    until(page, f"{SHOWN}.join() === 'First,things'")


@pytest.mark.parametrize("width", [375, 1280])
def test_a_long_text_scrolls_to_the_word_that_sounds(serve: Serve, visit: Visit, width: int) -> None:
    page = page_with_words(serve, visit, viewport={"width": width, "height": 800})
    speak_to_the_end(page, "Some words of many, and on. " * 40)
    page.click("#words span:nth-of-type(230)")
    until(
        page,
        """(() => { const word = document.querySelector('#words .sounding');
          if ([...document.querySelectorAll('#words span')].indexOf(word) < 229) return false;
          const [box, line] = ['#words', '#words .sounding'].map((it) => document.querySelector(it)
          .getBoundingClientRect()); return box.top <= line.top && line.bottom <= box.bottom; })()""",
    )
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
