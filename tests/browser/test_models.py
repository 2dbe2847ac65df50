"""What one model has and another has not: defaults, fields without use, languages, tags."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from browser.actions import Serve, Visit, speak_to_the_end
from fakes import FakeEngine

from tts.chatterbox.models import MANNERS, MANY_LANGUAGES, SOUNDS

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser


def test_a_models_own_defaults_are_shown_and_not_sent(serve: Serve, visit: Visit, asked: list[Any]) -> None:
    turbo = FakeEngine(defaults={"top_p": 0.95, "top_k": 1000}, unused_fields=("exaggeration", "cfg", "min_p"))
    page = visit(serve(turbo))
    page.click("#more summary")
    assert page.is_hidden("#exaggeration")
    assert page.is_hidden("#min_p")
    assert page.is_visible("#temperature")
    speak_to_the_end(page, "As the model has it.")
    page.fill("#top_k", "50")
    page.fill("#top_p", "1")
    page.reload()
    page.wait_for_selector(".worker[data-state=ready]")
    speak_to_the_end(page, "As I have it.")
    page.click("#more summary")
    page.click("#reset")

    assert [page.input_value(f"#{name}") for name in ("top_p", "top_k")] == ["0.95", "1000"]
    assert [{name: each[name] for name in ("top_p", "top_k") if name in each} for each in asked] == [
        {},
        {"top_p": 1, "top_k": 50},
    ]


def test_only_what_was_changed_is_remembered(page: Page) -> None:
    """Another model has other defaults."""
    page.click("#more summary")
    page.fill("#temperature", "1.2")
    assert page.evaluate("JSON.parse(localStorage.getItem('chatterbox-worker'))") == {"temperature": "1.2"}
    page.fill("#temperature", "0.8")
    assert page.evaluate("JSON.parse(localStorage.getItem('chatterbox-worker'))") == {}


def test_a_polyglot_model_asks_for_the_language(serve: Serve, visit: Visit, asked: list[Any]) -> None:
    page = visit(serve(FakeEngine(polyglot=True, languages=("en", "de", "fr"))))
    offered = page.locator("#language option")
    assert offered.all_text_contents() == ["American English, as the voice", "English", "German", "French"]
    page.select_option("#voice", "hans")
    assert offered.first.text_content() == "German, as the voice"
    speak_to_the_end(page, "Wie die Stimme.")
    page.select_option("#language", "fr")
    speak_to_the_end(page, "Une autre langue.")
    assert [each.get("language") for each in asked] == [None, "fr"]
    assert "accent" in page.text_content("#remarks")

    page.reload()
    page.wait_for_selector(".worker[data-state=ready]")
    assert page.input_value("#language") == "fr"
    page.check("[value=clone]")
    assert offered.first.text_content() == "English, as the voice"
    page.check("[value=convert]")
    assert page.is_hidden("#language")


def test_one_language_is_no_choice(page: Page) -> None:
    assert page.is_hidden("#language")
    assert page.is_hidden("#tags")


def test_a_tag_is_written_at_the_cursor(serve: Serve, visit: Visit, asked: list[Any]) -> None:
    tags = {"laugh": "[laugh]", "laughs": "[laugh]", "clear throat": "[clear throat]"}
    page = visit(serve(FakeEngine(tags=tags)))
    assert page.locator("#tags button").all_text_contents() == ["laugh", "clear throat"]
    page.fill("#text", "Well, no.")
    page.evaluate("document.getElementById('text').setSelectionRange(5, 5)")
    page.click("#tags :text('laugh')")
    assert page.input_value("#text") == "Well, [laugh] no."
    assert page.text_content("#count") == "17"
    page.keyboard.press("Control+End")
    page.focus("#tags :text('clear')")
    page.keyboard.press("Enter")
    page.keyboard.type("Yes.")  # the text has the focus again
    assert page.input_value("#text") == "Well, [laugh] no. [clear throat] Yes."
    assert asked == []


@pytest.mark.parametrize(("width", "scheme"), [(320, "light"), (375, "dark"), (1280, "light")])
def test_all_that_a_model_may_offer_fits(serve: Serve, visit: Visit, tmp_path: Path, width: int, scheme: str) -> None:
    tags = {name: f"[{name}]" for name in [*SOUNDS, *MANNERS]}
    engine = FakeEngine(tags=tags, polyglot=True, languages=MANY_LANGUAGES)
    page = visit(serve(engine), viewport={"width": width, "height": 812}, color_scheme=scheme, has_touch=width < 500)
    page.screenshot(path=tmp_path / f"models-{scheme}-{width}.png", full_page=True)  # for eyes
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.focus("#tags button:last-child")
    assert page.evaluate("document.activeElement.getBoundingClientRect().right") <= width
    assert page.locator("#language option").count() == 1 + len(MANY_LANGUAGES)
