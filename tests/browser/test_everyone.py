"""Keyboard, screen reader, phone, colour scheme, reduced motion."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from browser.actions import AUDIBLE, SILENT, Serve, Visit, assert_fits, saved, speak_to_the_end, until
from fakes import FakeEngine

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser


def test_the_keyboard_is_enough(page: Page, asked: list[Any]) -> None:
    reached = []
    for _ in range(11):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate("document.activeElement.id || document.activeElement.value || document.activeElement.tagName")
        )
        if reached[-1] == "text":
            page.keyboard.press("Control+A")
            page.keyboard.type("No mouse.")
        if reached[-1] == "exaggeration":
            page.keyboard.press("ArrowRight")
        assert page.evaluate(
            "[document.activeElement, document.activeElement.nextElementSibling]"
            ".some((one) => one && getComputedStyle(one).outlineStyle !== 'none')"
        )
    order = "text speak wave output_format predefined voice exaggeration cfg_weight temperature".split()
    assert [name for name in reached if name in order] == order

    page.keyboard.press("Control+Enter")
    until(page, AUDIBLE)
    page.keyboard.press("Escape")
    until(page, SILENT)
    assert asked[0]["text"] == "No mouse."
    assert asked[0]["exaggeration"] == 0.55


def test_the_first_click_speaks(page: Page, asked: list[Any]) -> None:
    """The text was empty, so a newcomer's first click was an error."""
    page.click("#speak")
    until(page, AUDIBLE)
    assert page.text_content("#count") == str(len(asked[0]["text"]))
    assert asked[0]["text"].startswith("Hello!")


def test_a_stand_in_engine_is_named(serve: Serve, visit: Visit, tmp_path: Path) -> None:
    page = visit(serve(FakeEngine(stand_in=True)))
    assert page.text_content("#stand-in") == (
        "fake speaks here as a stand-in: it shows how the worker works, not how Chatterbox sounds."
    )
    page.screenshot(path=tmp_path / "stand-in.png")  # for eyes
    assert visit(serve()).is_hidden("#stand-in")


def test_the_api_link_works_with_a_key_too(serve: Serve, visit: Visit, tmp_path: Path) -> None:
    page = visit(serve())
    page.click("#api")
    page.wait_for_url("**/openapi.json")
    assert '"/tts"' in page.content()
    page = visit(serve(api_keys=("sk-one",)), ready=False)
    page.fill("#key", "sk-one")
    page.click("#key-form .primary")
    page.wait_for_selector(".worker[data-state=ready]")
    assert "/tts" in json.loads(saved(page, tmp_path, "#api").read_text())["paths"]


def test_every_control_has_a_name(page: Page) -> None:
    speak_to_the_end(page, "Named.")
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, select, input, textarea, canvas[role], meter")]
             .filter((one) => !(one.labels?.length || one.getAttribute("aria-label") || one.textContent.trim()))
             .map((one) => one.outerHTML)"""
    )
    assert nameless == []
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((one) => one.id)")
    assert len(ids) == len(set(ids))
    described = page.evaluate(
        "[...document.querySelectorAll('[aria-describedby]')]"
        ".flatMap((one) => one.getAttribute('aria-describedby').split(' '))"
    )
    assert set(described) <= set(ids)


@pytest.mark.parametrize(
    ("width", "scheme"),
    [(320, "light"), (375, "light"), (375, "dark"), (768, "light"), (1280, "light"), (1280, "dark")],
)
def test_the_page_fits_and_has_contrast(serve: Serve, visit: Visit, tmp_path: Path, width: int, scheme: str) -> None:
    page = visit(serve(), viewport={"width": width, "height": 812}, color_scheme=scheme, has_touch=width < 500)
    speak_to_the_end(page, "Donaudampfschifffahrtsgesellschaftskapitänsmützenabzeichenverleihungsurkunde " * 3)
    page.click("#more summary")
    page.fill("#speed", "9")
    page.click("#speak")
    page.wait_for_selector("#speed[aria-invalid=true]")
    page.check("[value=clone]")
    page.screenshot(path=tmp_path / f"{scheme}-{width}.png", full_page=True)  # for eyes

    assert_fits(page, width)
    pairs = "ink card, ink tint, muted card, muted ground, muted tint, accent card, accent tint, wrong card"
    for pair in f"{pairs}, wrong wrong-tint, on-accent accent".split(", "):
        assert contrast(page, *pair.split()) >= 4.5, pair
    assert contrast(page, "edge", "card") >= 3  # borders of controls (WCAG 1.4.11)


def contrast(page: Page, one: str, other: str) -> float:
    """WCAG 2.2's contrast ratio of two of the page's colours."""
    lighter, darker = sorted((luminance(page, one), luminance(page, other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(page: Page, name: str) -> float:
    """WCAG 2.2's relative luminance."""
    hexed = page.evaluate(f"getComputedStyle(document.documentElement).getPropertyValue('--{name}').trim()")
    parts = [int(hexed[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_reduced_motion_is_respected(serve: Serve, visit: Visit) -> None:
    page = visit(serve(), reduced_motion="reduce")
    speak_to_the_end(page, "Calm.")
    assert page.evaluate("document.getAnimations().length") == 0
